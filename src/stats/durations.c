/* Buckets of durations. */
#include "stats/durations.h"

const usec_t stats_duration_bounds[STATS_DURATIONS_N] = {
    100,   250,    500,    1000,   2500,    5000,    10000,   25000,
    50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};

static unsigned bit_length(uint64_t v)
{
    return v == 0 ? 0 : 64U - (unsigned)__builtin_clzll(v);
}

/* The length in bits says where to begin; the right bucket is at most two further on. */
static unsigned bucket_of(usec_t v)
{
    static const uint8_t first[] = {0, 0, 0, 0, 0, 0,  0,  0,  1,  2,  3,  4, 4,
                                    5, 6, 7, 8, 9, 10, 11, 12, 13, 13, 14, 15};
    unsigned n = bit_length(v);
    unsigned i = n < sizeof(first) ? first[n] : STATS_DURATIONS_N;
    while (i < STATS_DURATIONS_N && v > stats_duration_bounds[i]) {
        i++;
    }
    return i;
}

void stats_durations_add(struct stats_durations *d, usec_t v)
{
    stats_add(&d->sum, v);
    stats_add(&d->counts[bucket_of(v)], 1);
}
