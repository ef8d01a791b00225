/* Histograms of stats/durations.h, as tests look at them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "stats/durations.h"

static inline uint64_t durations_n(const struct stats_durations *d)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= STATS_DURATIONS_N; i++) {
        n += stats_get(&d->counts[i]);
    }
    return n;
}
