/* The writer's half of endpoints.h. Which slots are free is the worker's own memory: nothing that
 * another process could write to leads anywhere. */
#include "stats/endpoints.h"

#include "base/mem.h"

enum { OTHER_SLOT = 0, NO_SLOT = 0xffff };
_Static_assert((int)STATS_ENDPOINTS_MAX < (int)NO_SLOT, "slots are 16-bit numbers");
_Static_assert(sizeof(struct stats_endpoint_labels) % sizeof(uint64_t) == 0,
               "labels are copied as words");

enum { STATE_FREE, STATE_WRITTEN, STATE_LIVE, STATE_MASK };

struct stats_endpoint_table {
    struct stats_endpoint_region *region;
    uint16_t used_n;
    uint16_t free_slot; /* the first of a chain, or NO_SLOT */
    uint16_t next[STATS_ENDPOINTS_MAX];
};

/* ---- one slot ---- */

static void figures_clear(struct stats_endpoint *e)
{
    for (stats_value *v = &e->in_flight; v < &e->hash; v++) {
        stats_set(v, 0);
    }
}

static void labels_write(struct stats_endpoint *e, const struct stats_endpoint_labels *l)
{
    for (size_t i = 0; i < sizeof(e->labels) / sizeof(e->labels[0]); i++) {
        uint64_t word;
        mem_copy(&word, (const char *)l + i * sizeof(word), sizeof(word));
        stats_set(&e->labels[i], word);
    }
    stats_set(&e->hash, hash_bytes(l, sizeof(*l)));
}

static void life_begin(struct stats_endpoint *e, const struct stats_endpoint_labels *l)
{
    uint64_t version = (stats_get(&e->version) | STATE_MASK) + 1; /* the next life */
    stats_set(&e->version, version | STATE_WRITTEN);
    atomic_thread_fence(memory_order_release);
    figures_clear(e);
    labels_write(e, l);
    atomic_store_explicit(&e->version, version | STATE_LIVE, memory_order_release);
}

static void life_end(struct stats_endpoint *e)
{
    stats_set(&e->version, stats_get(&e->version) & ~(uint64_t)STATE_MASK);
}

/* ---- all of them ---- */

static uint16_t slot_take(struct stats_endpoint_table *t)
{
    uint16_t slot = t->free_slot;
    if (slot != NO_SLOT) {
        t->free_slot = t->next[slot];
        return slot;
    }
    if (t->used_n == STATS_ENDPOINTS_MAX) {
        return OTHER_SLOT;
    }
    slot = t->used_n++;
    stats_set(&t->region->used_n, t->used_n);
    return slot;
}

static struct stats_endpoint_labels labels_of(const struct ip *ip, uint16_t port,
                                              struct str service)
{
    struct stats_endpoint_labels l = {.ip = *ip, .port = port};
    struct str cut = str_first(service, STATS_ENDPOINT_SERVICE_BYTES);
    l.service_n = (uint8_t)cut.n;
    mem_copy(l.service, cut.p, cut.n);
    return l;
}
_Static_assert(STATS_ENDPOINT_SERVICE_BYTES <= UINT8_MAX, "service_n holds it");

struct stats_endpoint *stats_endpoint_take(struct stats_endpoint_table *t, const struct ip *ip,
                                           uint16_t port, struct str service)
{
    uint16_t slot = slot_take(t);
    if (slot == OTHER_SLOT) {
        stats_add(&t->region->folded_n, 1);
    } else {
        struct stats_endpoint_labels l = labels_of(ip, port, service);
        life_begin(&t->region->items[slot], &l);
    }
    return &t->region->items[slot];
}

void stats_endpoint_give(struct stats_endpoint_table *t, struct stats_endpoint *e)
{
    if (stats_endpoint_is_other(t, e)) {
        stats_sub(&t->region->folded_n, 1);
        return;
    }
    uint16_t slot = (uint16_t)(e - t->region->items);
    life_end(e);
    t->next[slot] = t->free_slot;
    t->free_slot = slot;
}

bool stats_endpoint_is_other(const struct stats_endpoint_table *t, const struct stats_endpoint *e)
{
    return e == &t->region->items[OTHER_SLOT];
}

/* ---- birth ---- */

/* A process that died has left its slots behind. */
static void region_empty(struct stats_endpoint_region *region)
{
    const struct ip none = {0};
    const struct stats_endpoint_labels other = labels_of(&none, 0, STR("_other"));
    uint64_t used_n = stats_get(&region->used_n);
    for (uint64_t i = 0; i < used_n && i < STATS_ENDPOINTS_MAX; i++) {
        life_end(&region->items[i]);
    }
    stats_set(&region->folded_n, 0);
    life_begin(&region->items[OTHER_SLOT], &other);
    stats_set(&region->used_n, 1);
}

enum err stats_endpoint_table_new(struct stats_endpoint_region *region,
                                  struct stats_endpoint_table **ret)
{
    struct stats_endpoint_table *t = mem_calloc(1, sizeof(*t));
    if (t == NULL) {
        return E_NOMEM;
    }
    t->region = region;
    t->used_n = 1;
    t->free_slot = NO_SLOT;
    region_empty(region);
    *ret = t;
    return E_OK;
}

void stats_endpoint_table_free(struct stats_endpoint_table *t)
{
    mem_free(t);
}
