/* base/nearest.h: the nearest of several words to a mistyped one. */
#pragma once

#include "base/str.h"

/* Edits (insert, delete, replace, swap of neighbours) that turn a into b; words over 63 bytes are
 * SIZE_MAX apart. */
size_t edit_distance(struct str a, struct str b);

struct nearest {
    struct str word; /* the mistyped one */
    struct str best; /* empty: nothing is near enough to be what was meant */
    size_t distance;
};

struct nearest nearest_make(struct str word);
/* Offers a candidate. */
void nearest_offer(struct nearest *n, struct str candidate);
