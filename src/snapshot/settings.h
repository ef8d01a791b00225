/* snapshot/settings.h: the numbers of settings.def as a struct, in the snapshot and in memory
 * alike. */
#pragma once

#include "base/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct snap_settings { /* every one in the unit of its type: bytes, microseconds, 0 or 1 */
#define SETTING(id, name, type, argument, text, value, low, high, help) uint64_t id;
#include "snapshot/settings.def"
#undef SETTING
};

enum snap_setting_type {
    SNAP_SETTING_DURATION,
    SNAP_SETTING_SIZE,
    SNAP_SETTING_COUNT,
    SNAP_SETTING_FLAG
};

struct snap_setting { /* one of them, for whoever goes through all */
    const char *name; /* of its option, and of its key in a ConfigMap */
    enum snap_setting_type type;
    size_t offset; /* of the uint64_t in struct snap_settings */
    uint64_t low, high;
};

enum { SNAP_SETTINGS_N = sizeof(struct snap_settings) / sizeof(uint64_t) };
extern const struct snap_setting snap_setting_table[SNAP_SETTINGS_N];

/* The defaults. */
extern const struct snap_settings snap_settings_default;
/* NULL when every number is in its range, else the option that is not. */
const char *snap_settings_check(const struct snap_settings *s);
