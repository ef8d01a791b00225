/* stats/durations.h: how long something took, as a histogram in shared memory. */
#pragma once

#include "base/clock.h"
#include "stats/value.h"

enum { STATS_DURATIONS_N = 16 }; /* bounds; one more bucket for what is longer */

extern const usec_t stats_duration_bounds[STATS_DURATIONS_N]; /* 100 us .. 10 s, inclusive */

struct stats_durations {
    stats_value sum; /* microseconds */
    stats_value counts[STATS_DURATIONS_N + 1];
};

/* Only by its writer. */
void stats_durations_add(struct stats_durations *d, usec_t v);
