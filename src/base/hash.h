/* base/hash.h: the tree's one hash function and one hash table.
 * The hash is XXH3 with a fixed seed: the snapshot stores it, so it is part of the format. The
 * tables it serves are filled from configuration only; what clients send is looked up, never added.
 * struct map: open addressing over (hash, value) pairs; the value's owner knows how to compare. */
#pragma once

#include "base/err.h"
#include "base/str.h"

uint64_t hash_bytes(const void *p, size_t n);
uint64_t hash_str(struct str s);

struct map_slot {
    uint64_t hash;
    void *value; /* NULL = free */
};

struct map {
    struct map_slot *slots;
    size_t cap; /* 0 or a power of two */
    size_t n;
};

/* True when value is the one that key names. */
typedef bool map_eq_fn(const void *value, const void *key);

void map_init(struct map *m);
/* Frees the table, not the values. */
void map_fini(struct map *m);
/* NULL when there is none. */
void *map_get(const struct map *m, uint64_t hash, map_eq_fn *eq, const void *key);
/* Room for extra more values, so that as many map_add() calls cannot fail. Errors: E_NOMEM. */
enum err map_reserve(struct map *m, size_t extra);
/* Adds without looking for an equal one. value is not NULL. Errors: E_NOMEM. */
enum err map_add(struct map *m, uint64_t hash, void *value);
/* Removes that very value; false when it is not there. */
bool map_del(struct map *m, uint64_t hash, const void *value);
/* Puts a new value in place of the old one under the same hash; old is there. Cannot fail. */
void map_replace(struct map *m, uint64_t hash, const void *old, void *value);

#define map_each(slot, m)                                                                          \
    for (struct map_slot *slot = (m)->slots; slot != NULL && slot != &(m)->slots[(m)->cap];        \
         slot++)                                                                                   \
        if (slot->value != NULL)
