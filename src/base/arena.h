/* base/arena.h: memory that is freed all at once, with a maximum given at init.
 * Chunks double from a small first one. In ASan builds every allocation is a chunk of its own, so
 * that an overrun inside the arena is seen. Destructors are not run. */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks;
    char *at, *end;
    size_t used; /* bytes handed out, rounded up */
    size_t max;  /* most bytes to hand out */
    size_t next; /* size of the next chunk */
};

/* max is a limit on whoever fills the arena; allocates nothing yet. */
void arena_init(struct arena *a, size_t max);
void arena_fini(struct arena *a);
/* 16-byte aligned, not cleared. NULL over max or out of memory. */
void *arena_alloc(struct arena *a, size_t size);
/* Cleared; n * size is overflow-checked. NULL as above. n = 0 gives a valid pointer. */
void *arena_calloc(struct arena *a, size_t n, size_t size);
/* A copy of s with a NUL behind it. False as above. */
bool arena_str(struct arena *a, struct str s, struct str *ret);
