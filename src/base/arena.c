/* Chunked bump allocator. */
#include "base/arena.h"

#include "base/mem.h"

#include <stdalign.h>
#include <string.h>

enum { ARENA_ALIGN = 16, ARENA_FIRST = 512, ARENA_LARGEST = 64 * 1024 };

struct arena_chunk {
    alignas(ARENA_ALIGN) struct arena_chunk *next;
};

void arena_init(struct arena *a, size_t max)
{
    /* half of the address space: sums of sizes below do not overflow */
    *a = (struct arena){.max = max < PTRDIFF_MAX ? max : PTRDIFF_MAX, .next = ARENA_FIRST};
}

void arena_fini(struct arena *a)
{
    while (a->chunks != NULL) {
        struct arena_chunk *next = a->chunks->next;
        mem_free(a->chunks);
        a->chunks = next;
    }
    arena_init(a, a->max);
}

static bool arena_grow(struct arena *a, size_t size)
{
    size_t room = MEM_IS_WATCHED || size > a->next ? size : a->next;
    struct arena_chunk *chunk = mem_alloc(sizeof(*chunk) + room);
    if (chunk == NULL) {
        return false;
    }
    chunk->next = a->chunks;
    a->chunks = chunk;
    a->at = (char *)(chunk + 1);
    a->end = a->at + room;
    if (a->next < ARENA_LARGEST) {
        a->next *= 2;
    }
    return true;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > a->max - a->used) {
        return NULL;
    }
    size_t asked = size;
    size = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    size_t take = MEM_IS_WATCHED ? (asked > 0 ? asked : 1) : size;
    if ((a->chunks == NULL || MEM_IS_WATCHED || (size_t)(a->end - a->at) < take) &&
        !arena_grow(a, take)) {
        return NULL;
    }
    void *p = a->at;
    a->at += take;
    a->used = size > a->max - a->used ? a->max : a->used + size;
    return p;
}

void *arena_calloc(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        return NULL;
    }
    void *p = arena_alloc(a, bytes);
    if (p != NULL) {
        memset(p, 0, bytes);
    }
    return p;
}

bool arena_str(struct arena *a, struct str s, struct str *ret)
{
    char *p = s.n == SIZE_MAX ? NULL : arena_alloc(a, s.n + 1);
    if (p == NULL) {
        return false;
    }
    mem_copy(p, s.p, s.n);
    p[s.n] = '\0';
    *ret = (struct str){p, s.n};
    return true;
}
