/* regex/cache.h: compiled patterns by their text, so that none is compiled for each request.
 * Bounded: when it is full, all are dropped and come back as they are needed. */
#pragma once

#include "base/hash.h"
#include "regex/regex.h"

struct regex_cache {
    struct map patterns; /* of struct pattern */
    size_t n, max;
};

void regex_cache_init(struct regex_cache *c, size_t max);
void regex_cache_fini(struct regex_cache *c);
/* NULL: it is none (which is remembered too), or out of memory. Valid until the next call. */
struct regex *regex_cache_get(struct regex_cache *c, struct str pattern);
