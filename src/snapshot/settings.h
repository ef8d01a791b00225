/* snapshot/settings.h: the numbers of settings.def as a struct, in the snapshot and in memory
 * alike. */
#pragma once

#include "base/limits.h"

#include <stdbool.h>
#include <stdint.h>

struct snap_settings { /* every one in the unit of its type: bytes, microseconds, 0 or 1 */
#define SETTING(id, name, type, argument, text, value, low, high, help) uint64_t id;
#include "snapshot/settings.def"
#undef SETTING
};

/* The defaults. */
extern const struct snap_settings snap_settings_default;
/* NULL when every number is in its range, else the option that is not. */
const char *snap_settings_check(const struct snap_settings *s);
