/* stats/value.h: a number in shared memory with a single writer: relaxed atomics, so that an
 * increment is one plain add. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t stats_value;

/* Only by its writer. */
static inline void stats_add(stats_value *v, uint64_t n)
{
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void stats_sub(stats_value *v, uint64_t n)
{
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) - n,
                          memory_order_relaxed);
}

static inline void stats_set(stats_value *v, uint64_t n)
{
    atomic_store_explicit(v, n, memory_order_relaxed);
}

static inline uint64_t stats_get(const stats_value *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}
