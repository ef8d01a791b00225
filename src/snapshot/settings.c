/* Defaults and ranges of the settings. */
#include "snapshot/settings.h"

const struct snap_settings snap_settings_default = {
#define SETTING(id, name, type, argument, text, value, low, high, help) .id = (value),
#include "snapshot/settings.def"
#undef SETTING
};

const struct snap_setting snap_setting_table[SNAP_SETTINGS_N] = {
#define SETTING(id, name, type, argument, text, value, low, high, help)                            \
    {name, SNAP_SETTING_##type, offsetof(struct snap_settings, id), low, high},
#include "snapshot/settings.def"
#undef SETTING
};

static bool is_in(uint64_t value, uint64_t low, uint64_t high)
{
    return value >= low && value <= high;
}

const char *snap_settings_check(const struct snap_settings *s)
{
#define SETTING(id, name, type, argument, text, value, low, high, help)                            \
    if (!is_in(s->id, low, high)) {                                                                \
        return name;                                                                               \
    }
#include "snapshot/settings.def"
#undef SETTING
    return NULL;
}
