/* The reader's half of endpoints.h. Nothing here trusts the shared memory further than that it is
 * mapped. */
#include "stats/endpoints.h"

#include <stdlib.h>

#include "base/mem.h"

enum { STATE_LIVE = 2, STATE_MASK = 3 };

struct stats_endpoint_region *stats_endpoint_region(const struct stats_area *area, uint32_t index)
{
    must(index < area->worker_n);
    const struct stats_endpoint_region *regions =
        (const void *)((const char *)area + stats_endpoint_offset(area->worker_n));
    return (struct stats_endpoint_region *)(uintptr_t)&regions[index]; /* const is the area's, not
                                                                          theirs */
}

const struct stats_endpoint *stats_endpoint_get(const struct stats_area *area,
                                                const struct stats_endpoint_ref *r)
{
    return &stats_endpoint_region(area, r->worker)->items[r->slot];
}

bool stats_endpoint_labels_read(const struct stats_endpoint *e, const struct stats_endpoint_ref *r,
                                struct stats_endpoint_labels *ret)
{
    for (size_t i = 0; i < sizeof(e->labels) / sizeof(e->labels[0]); i++) {
        uint64_t word = stats_get(&e->labels[i]);
        mem_copy((char *)ret + i * sizeof(word), &word, sizeof(word));
    }
    atomic_thread_fence(memory_order_acquire);
    return stats_get(&e->version) == r->version;
}

/* ---- all of them ---- */

/* The slots of one that does not run are nobody's: its successor empties them. */
static size_t used_n(const struct stats_area *area, uint32_t worker)
{
    uint64_t n = stats_get(&stats_endpoint_region(area, worker)->used_n);
    if (stats_get(&area->workers[worker].pid) == 0) {
        return 0;
    }
    return n < STATS_ENDPOINTS_MAX ? (size_t)n : STATS_ENDPOINTS_MAX;
}

static int ref_compare(const void *a, const void *b)
{
    const struct stats_endpoint_ref *x = a, *y = b;
    if (x->hash != y->hash) {
        return x->hash < y->hash ? -1 : 1;
    }
    return (x->worker > y->worker) - (x->worker < y->worker);
}

static void refs_add(struct stats_endpoint_set *set, const struct stats_area *area, uint32_t worker,
                     size_t n)
{
    const struct stats_endpoint_region *region = stats_endpoint_region(area, worker);
    for (size_t slot = 0; slot < n; slot++) {
        const struct stats_endpoint *e = &region->items[slot];
        uint64_t version = atomic_load_explicit(&e->version, memory_order_acquire);
        bool is_used = slot > 0 || stats_get(&region->folded_n) > 0;
        if ((version & STATE_MASK) == STATE_LIVE && is_used) {
            set->refs[set->n++] = (struct stats_endpoint_ref){.hash = stats_get(&e->hash),
                                                              .version = version,
                                                              .worker = (uint16_t)worker,
                                                              .slot = (uint16_t)slot};
        }
    }
}

enum err stats_endpoint_set_init(struct stats_endpoint_set *s, const struct stats_area *area)
{
    size_t counts[WORKERS_MAX], sum = 0;
    *s = (struct stats_endpoint_set){0};
    for (uint32_t i = 0; i < area->worker_n; i++) {
        counts[i] = used_n(area, i);
        sum += counts[i];
    }
    if (sum == 0) {
        return E_OK;
    }
    s->refs = mem_calloc(sum, sizeof(*s->refs));
    if (s->refs == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < area->worker_n; i++) {
        refs_add(s, area, i, counts[i]);
    }
    qsort(s->refs, s->n, sizeof(*s->refs), ref_compare);
    return E_OK;
}

void stats_endpoint_set_fini(struct stats_endpoint_set *s)
{
    mem_free(s->refs);
    *s = (struct stats_endpoint_set){0};
}
