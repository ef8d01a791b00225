/* base/vec.h: growing arrays. A vector is three fields of its owner (pointer, count, capacity);
 * this grows it in powers of two up to a maximum the owner names. */
#pragma once

#include "base/err.h"

#include <stddef.h>

/* Makes room for one more element. Errors: E_LIMIT at max elements, E_NOMEM. */
enum err vec_room(void **items, size_t n, size_t *cap, size_t item_size, size_t max);

/* VEC_ROOM(v->items, v->n, v->cap, MAX) for any pointer type. */
#define VEC_ROOM(items, n, cap, max)                                                               \
    vec_room((void **)(void *)&(items), (n), &(cap), sizeof(*(items)), (max))
