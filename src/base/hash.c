/* XXH3 and an open-addressing table with backward-shift deletion (no tombstones). */
#include "base/hash.h"

#include "base/mem.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { MAP_FIRST = 16 };

uint64_t hash_bytes(const void *p, size_t n)
{
    return XXH3_64bits(p, n);
}

uint64_t hash_str(struct str s)
{
    return XXH3_64bits(s.p, s.n);
}

void map_init(struct map *m)
{
    *m = (struct map){0};
}

void map_fini(struct map *m)
{
    mem_free(m->slots);
    map_init(m);
}

void *map_get(const struct map *m, uint64_t hash, map_eq_fn *eq, const void *key)
{
    if (m->cap == 0) {
        return NULL;
    }
    for (size_t i = hash & (m->cap - 1); m->slots[i].value != NULL; i = (i + 1) & (m->cap - 1)) {
        if (m->slots[i].hash == hash && eq(m->slots[i].value, key)) {
            return m->slots[i].value;
        }
    }
    return NULL;
}

static void map_put(struct map *m, uint64_t hash, void *value)
{
    size_t i = hash & (m->cap - 1);
    while (m->slots[i].value != NULL) {
        i = (i + 1) & (m->cap - 1);
    }
    m->slots[i] = (struct map_slot){hash, value};
}

enum err map_reserve(struct map *m, size_t extra)
{
    size_t want = m->n + extra;
    size_t cap = m->cap == 0 ? MAP_FIRST : m->cap;
    if (want < extra || want > SIZE_MAX / 4) {
        return E_NOMEM;
    }
    while (cap - cap / 4 < want) { /* at most three quarters full */
        cap *= 2;
    }
    if (cap == m->cap) {
        return E_OK;
    }
    struct map bigger = {.slots = mem_calloc(cap, sizeof(*bigger.slots)), .cap = cap, .n = m->n};
    if (bigger.slots == NULL) {
        return E_NOMEM;
    }
    map_each(slot, m)
    {
        map_put(&bigger, slot->hash, slot->value);
    }
    mem_free(m->slots);
    *m = bigger;
    return E_OK;
}

enum err map_add(struct map *m, uint64_t hash, void *value)
{
    must(value != NULL);
    TRY(map_reserve(m, 1));
    map_put(m, hash, value);
    m->n++;
    return E_OK;
}

static struct map_slot *map_slot_of(const struct map *m, uint64_t hash, const void *value)
{
    if (m->cap == 0) {
        return NULL;
    }
    for (size_t i = hash & (m->cap - 1); m->slots[i].value != NULL; i = (i + 1) & (m->cap - 1)) {
        if (m->slots[i].value == value) {
            return &m->slots[i];
        }
    }
    return NULL;
}

bool map_del(struct map *m, uint64_t hash, const void *value)
{
    struct map_slot *slot = map_slot_of(m, hash, value);
    if (slot == NULL) {
        return false;
    }
    size_t mask = m->cap - 1;
    size_t hole = (size_t)(slot - m->slots);
    for (size_t i = (hole + 1) & mask; m->slots[i].value != NULL; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) { /* may move back into the hole */
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct map_slot){0};
    m->n--;
    return true;
}

void map_replace(struct map *m, uint64_t hash, const void *old, void *value)
{
    struct map_slot *slot = map_slot_of(m, hash, old);
    must(slot != NULL && value != NULL);
    slot->value = value;
}
