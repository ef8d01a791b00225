/* The reader's half of series.h. Nothing here trusts the shared memory further than that it is
 * mapped: a worker may be dead, half through a write, or in an intruder's hands. */
#include "stats/series.h"

#include <stdlib.h>

#include "base/mem.h"

enum { STATE_LIVE = 2, STATE_MASK = 3 };

static const char *const method_names[SERIES_METHODS_N] = {
    [SERIES_OTHER] = "OTHER",     [SERIES_GET] = "GET",         [SERIES_HEAD] = "HEAD",
    [SERIES_POST] = "POST",       [SERIES_PUT] = "PUT",         [SERIES_DELETE] = "DELETE",
    [SERIES_CONNECT] = "CONNECT", [SERIES_OPTIONS] = "OPTIONS", [SERIES_TRACE] = "TRACE",
    [SERIES_PATCH] = "PATCH"};

const char *series_method_name(enum series_method m)
{
    return method_names[m];
}

enum series_method series_method_of(const struct series_labels *l)
{
    return l->method < SERIES_METHODS_N ? (enum series_method)l->method : SERIES_OTHER;
}

struct series_region *series_region(const struct stats_area *area, uint32_t index)
{
    must(index < area->worker_n);
    const struct series_region *regions = (const void *)((const char *)area + STATS_SERIES_OFFSET);
    return (struct series_region *)(uintptr_t)&regions[index]; /* const is the area's, not theirs */
}

const struct series *series_get(const struct stats_area *area, const struct series_ref *r)
{
    return &series_region(area, r->worker)->items[r->slot];
}

bool series_is_same(const struct series *s, const struct series_ref *r)
{
    atomic_thread_fence(memory_order_acquire);
    return stats_get(&s->version) == r->version;
}

bool series_labels_read(const struct series *s, const struct series_ref *r,
                        struct series_labels *ret)
{
    for (size_t i = 0; i < sizeof(s->labels) / sizeof(s->labels[0]); i++) {
        uint64_t word = stats_get(&s->labels[i]);
        mem_copy((char *)ret + i * sizeof(word), &word, sizeof(word));
    }
    return series_is_same(s, r);
}

static struct str text_take(const struct series_labels *l, size_t *at, uint16_t n)
{
    struct str s = str_first(str_from(str_make(l->text, SERIES_TEXT_BYTES), *at), n);
    *at += s.n;
    return s;
}

struct series_texts series_texts(const struct series_labels *l)
{
    struct series_texts x;
    size_t at = 0;
    x.namespace_name = text_take(l, &at, l->namespace_n);
    x.ingress = text_take(l, &at, l->ingress_n);
    x.service = text_take(l, &at, l->service_n);
    x.host = text_take(l, &at, l->host_n);
    x.path = text_take(l, &at, l->path_n);
    return x;
}

/* ---- all of them ---- */

static size_t used_n(const struct stats_area *area, uint32_t worker)
{
    uint64_t n = stats_get(&series_region(area, worker)->used_n);
    return n < SERIES_MAX ? (size_t)n : SERIES_MAX;
}

static int ref_compare(const void *a, const void *b)
{
    const struct series_ref *x = a, *y = b;
    if (x->group != y->group) {
        return x->group < y->group ? -1 : 1;
    }
    return (x->worker > y->worker) - (x->worker < y->worker);
}

static void refs_add(struct series_set *set, const struct stats_area *area, uint32_t worker,
                     size_t n, enum series_order order)
{
    for (size_t slot = 0; slot < n; slot++) {
        const struct series *s = &series_region(area, worker)->items[slot];
        uint64_t version = atomic_load_explicit(&s->version, memory_order_acquire);
        bool is_live = (version & STATE_MASK) == STATE_LIVE && stats_get(&s->retired) != version;
        bool is_used = slot > 0 || stats_get(&s->used) > 0; /* "_other" is there from the start */
        if (is_live && is_used) {
            set->refs[set->n++] = (struct series_ref){
                .group = stats_get(order == SERIES_BY_LABELS ? &s->hash : &s->route_hash),
                .version = version,
                .worker = (uint16_t)worker,
                .slot = (uint16_t)slot};
        }
    }
}

enum err series_set_init(struct series_set *s, const struct stats_area *area,
                         enum series_order order)
{
    size_t counts[WORKERS_MAX], sum = 0;
    *s = (struct series_set){0};
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
        refs_add(s, area, i, counts[i], order);
    }
    qsort(s->refs, s->n, sizeof(*s->refs), ref_compare);
    return E_OK;
}

void series_set_fini(struct series_set *s)
{
    mem_free(s->refs);
    *s = (struct series_set){0};
}

size_t series_set_group(const struct series_set *s, size_t first)
{
    size_t i = first;
    while (i < s->n && s->refs[i].group == s->refs[first].group) {
        i++;
    }
    return i;
}

/* ---- the end of a life ---- */

static usec_t idle_time(const struct stats_area *area, const struct series_set *set, size_t first,
                        size_t end, usec_t now)
{
    usec_t last = 0;
    for (size_t i = first; i < end; i++) {
        usec_t used = stats_get(&series_get(area, &set->refs[i])->used);
        last = used > last ? used : last;
    }
    return last < now ? now - last : 0;
}

static bool is_over(const struct stats_area *area, const struct series_ref *r, usec_t idle,
                    series_present_fn *is_present, const void *arg)
{
    struct series_labels l;
    if (r->slot == 0 || idle < SERIES_GONE_MAX) { /* slot 0: "_other" stays */
        return false;
    }
    if (idle >= SERIES_IDLE_MAX) {
        return true;
    }
    if (!series_labels_read(series_get(area, r), r, &l) || l.ingress_n == 0) {
        return false;
    }
    struct series_texts x = series_texts(&l);
    return !is_present(arg, x.namespace_name, x.ingress);
}

enum err series_retire(struct stats_area *area, usec_t now, series_present_fn *is_present,
                       const void *arg)
{
    struct series_set set;
    TRY(series_set_init(&set, area, SERIES_BY_LABELS));
    for (size_t first = 0, end; first < set.n; first = end) {
        end = series_set_group(&set, first);
        usec_t idle = idle_time(area, &set, first, end, now);
        bool is_end = is_over(area, &set.refs[first], idle, is_present, arg);
        for (size_t i = first; is_end && i < end; i++) {
            const struct series_ref *r = &set.refs[i];
            stats_set(&series_region(area, r->worker)->items[r->slot].retired, r->version);
        }
    }
    series_set_fini(&set);
    return E_OK;
}
