/* http/budget.h: how much memory requests in flight hold in one process, and how much they may.
 * Whoever keeps bytes of a client or an upstream in memory of its own adds and takes away here; who
 * begins something new asks first. One for each loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct http_budget {
    uint64_t used, max; /* bytes */
};

static inline bool http_budget_is_spent(const struct http_budget *b)
{
    return b->used >= b->max;
}
