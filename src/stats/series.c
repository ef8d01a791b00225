/* The writer's half of series.h. What a worker needs to find its series is its own memory: an index
 * by label hash, and before it a cache by address, which most requests hit: then recording is a
 * dozen plain additions. Two series whose 64-bit hashes are equal are taken for one. */
#include "stats/series.h"

#include <stddef.h>

#include "base/mem.h"
#include "snapshot/schema.h"

enum { CACHE_N = 512, HEADS_N = 2 * SERIES_MAX, NO_SLOT = 0xffff, OTHER_SLOT = 0 };
_Static_assert((int)SERIES_MAX < (int)NO_SLOT && (HEADS_N & (HEADS_N - 1)) == 0,
               "slots are 16-bit numbers");
_Static_assert(sizeof(struct series_labels) % sizeof(uint64_t) == 0, "labels are copied as words");

enum { STATE_FREE, STATE_WRITTEN, STATE_LIVE, STATE_MASK };

struct cached {
    const void *route, *backend;
    uint64_t generation;
    uint32_t tail; /* method, reason, status; never 0 */
    uint32_t slot;
};

struct series_table {
    struct series_region *region;
    bool is_per_host;
    usec_t swept; /* last look for retired series */
    uint16_t free_slot;
    uint16_t heads[HEADS_N]; /* chains of slots by hash */
    uint16_t next[SERIES_MAX];
    struct cached cache[CACHE_N];
};

/* ---- buckets ---- */

const uint64_t series_size_bounds[SERIES_SIZES_N] = {1 << 8,  1 << 10, 1 << 12, 1 << 14, 1 << 16,
                                                     1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26};

static unsigned bit_length(uint64_t v)
{
    return v == 0 ? 0 : 64U - (unsigned)__builtin_clzll(v);
}

/* Powers of four from 256 on. */
static unsigned size_bucket(uint64_t v)
{
    unsigned n = bit_length(v == 0 ? 0 : v - 1);
    unsigned i = n <= 8 ? 0 : (n - 7) / 2;
    return i < SERIES_SIZES_N ? i : SERIES_SIZES_N;
}

static void sizes_add(struct series_sizes *s, uint64_t v)
{
    stats_add(&s->sum, v);
    stats_add(&s->counts[size_bucket(v)], 1);
}

static void figures_add(struct series_figures *f, const struct series_sample *s)
{
    stats_durations_add(&f->duration, s->duration);
    if (s->connect != SERIES_NONE) {
        stats_durations_add(&f->connect, s->connect);
    }
    if (s->header != SERIES_NONE) {
        stats_durations_add(&f->header, s->header);
    }
    if (s->response != SERIES_NONE) {
        stats_durations_add(&f->response, s->response);
    }
    sizes_add(&f->request_size, s->request_bytes);
    sizes_add(&f->response_size, s->response_bytes);
}

/* ---- labels ---- */

static enum series_method method_of(struct str m)
{
    for (unsigned i = SERIES_GET; i < SERIES_METHODS_N; i++) {
        if (str_eq(m, str_from_cstr(series_method_name((enum series_method)i)))) {
            return (enum series_method)i;
        }
    }
    return SERIES_OTHER;
}

/* As much as there is room for, and no half of a UTF-8 character. */
static uint16_t text_add(struct series_labels *l, size_t *n, struct str s)
{
    struct str cut = str_first(s, SERIES_TEXT_BYTES - *n);
    while (cut.n < s.n && cut.n > 0 && ((unsigned char)s.p[cut.n] & 0xc0) == 0x80) {
        cut.n--;
    }
    mem_copy(l->text + *n, cut.p, cut.n);
    *n += cut.n;
    return (uint16_t)cut.n;
}

/* "<namespace>/<service>/<port>". */
static struct str service_of(const struct snap_host *host, const struct snap_backend *backend)
{
    struct str namespace_name, rest, service, port;
    (void)str_cut(snap_str_get(host, backend->service), '/', &namespace_name, &rest);
    (void)str_cut(rest, '/', &service, &port); /* our own key: both are there */
    return service;
}

static struct series_texts texts_of(const struct series_table *t, const struct series_key *k)
{
    struct series_texts x = {STR_EMPTY, STR_EMPTY, STR_EMPTY, STR("_"), STR_EMPTY};
    if (k->route != NULL) {
        struct str host = snap_str_get(k->host, k->host->host);
        x.namespace_name = snap_str_get(k->host, k->route->owner_namespace);
        x.ingress = snap_str_get(k->host, k->route->owner_name);
        x.path = snap_str_get(k->host, k->route->path);
        x.path = x.path.n > 0 ? x.path : STR("/"); /* a default backend, as ingress-nginx says it */
        x.host = host.n > 0 ? host : x.host;
    }
    if (k->backend != NULL) {
        x.service = service_of(k->host, k->backend);
    }
    x.host = t->is_per_host ? x.host : STR_EMPTY;
    return x;
}

/* Fills *l, zero behind the texts; returns the bytes of these. */
static size_t labels_fill(struct series_labels *l, const struct series_texts *x)
{
    size_t n = 0;
    *l = (struct series_labels){0};
    l->namespace_n = text_add(l, &n, x->namespace_name);
    l->ingress_n = text_add(l, &n, x->ingress);
    l->service_n = text_add(l, &n, x->service);
    l->host_n = text_add(l, &n, x->host);
    l->path_n = text_add(l, &n, x->path);
    return n;
}

struct identity {
    struct series_labels labels;
    uint64_t hash, route_hash;
};

static void identity_fill(struct identity *id, const struct series_texts *x, uint8_t method,
                          uint16_t status, enum reason reason)
{
    size_t n = labels_fill(&id->labels, x) + offsetof(struct series_labels, text);
    id->route_hash = hash_bytes(&id->labels, n);
    id->labels.method = method;
    id->labels.status = status;
    id->hash = hash_bytes(&id->labels, n);
    id->labels.reason = (uint8_t)reason;
}

/* ---- one series ---- */

static uint8_t reason_of(const struct series *s)
{
    uint64_t word = stats_get(&s->labels[0]);
    struct series_labels l;
    mem_copy(&l, &word, sizeof(word));
    return l.reason;
}

static bool is_retired(const struct series *s)
{
    return stats_get(&s->retired) == stats_get(&s->version);
}

static uint64_t life_begin(struct series *s)
{
    uint64_t version = ((stats_get(&s->version) | STATE_MASK) + 1) | STATE_WRITTEN;
    stats_set(&s->version, version);
    atomic_thread_fence(memory_order_release);
    stats_value *figures = (stats_value *)(void *)&s->figures;
    for (size_t i = 0; i < sizeof(s->figures) / sizeof(*figures); i++) {
        stats_set(&figures[i], 0);
    }
    return version;
}

static void life_start(struct series *s, uint64_t version)
{
    atomic_store_explicit(&s->version, (version & ~(uint64_t)STATE_MASK) | STATE_LIVE,
                          memory_order_release);
}

static void series_write(struct series *s, const struct identity *id)
{
    uint64_t version = life_begin(s);
    for (size_t i = 0; i < sizeof(s->labels) / sizeof(s->labels[0]); i++) {
        uint64_t word;
        mem_copy(&word, (const char *)&id->labels + i * sizeof(word), sizeof(word));
        stats_set(&s->labels[i], word);
    }
    stats_set(&s->hash, id->hash);
    stats_set(&s->route_hash, id->route_hash);
    life_start(s, version);
}

static void series_free(struct series *s)
{
    stats_set(&s->version, stats_get(&s->version) & ~(uint64_t)STATE_MASK);
}

/* ---- the index ---- */

static uint16_t *head_of(struct series_table *t, uint64_t hash)
{
    return &t->heads[hash & (HEADS_N - 1)];
}

static void index_add(struct series_table *t, uint16_t slot)
{
    uint16_t *head = head_of(t, stats_get(&t->region->items[slot].hash));
    t->next[slot] = *head;
    *head = slot;
}

static void index_del(struct series_table *t, uint16_t slot)
{
    uint16_t *at = head_of(t, stats_get(&t->region->items[slot].hash));
    while (*at != slot) {
        must(*at != NO_SLOT);
        at = &t->next[*at];
    }
    *at = t->next[slot];
}

static uint16_t index_find(struct series_table *t, const struct identity *id)
{
    uint16_t slot = *head_of(t, id->hash);
    while (slot != NO_SLOT && (stats_get(&t->region->items[slot].hash) != id->hash ||
                               reason_of(&t->region->items[slot]) != id->labels.reason)) {
        slot = t->next[slot];
    }
    return slot;
}

static void free_push(struct series_table *t, uint16_t slot)
{
    t->next[slot] = t->free_slot;
    t->free_slot = slot;
}

/* Takes back what the reader has retired. It may have cached entries: all of these are forgotten,
 * also those of requests that had to go to "_other". */
static void sweep(struct series_table *t)
{
    bool has_freed = false;
    uint64_t used_n = stats_get(&t->region->used_n);
    for (uint64_t i = OTHER_SLOT + 1; i < used_n; i++) {
        struct series *s = &t->region->items[i];
        if ((stats_get(&s->version) & STATE_MASK) == STATE_LIVE && is_retired(s)) {
            index_del(t, (uint16_t)i);
            series_free(s);
            stats_sub(&t->region->live_n, 1);
            free_push(t, (uint16_t)i);
            has_freed = true;
        }
    }
    if (has_freed) {
        for (size_t i = 0; i < CACHE_N; i++) {
            t->cache[i] = (struct cached){0};
        }
    }
}

/* An unused slot; OTHER_SLOT when there is none. */
static uint16_t slot_take(struct series_table *t, usec_t now)
{
    uint64_t used_n = stats_get(&t->region->used_n);
    if (t->free_slot == NO_SLOT && used_n < SERIES_MAX) {
        stats_set(&t->region->used_n, used_n + 1);
        return (uint16_t)used_n;
    }
    if (t->free_slot == NO_SLOT && now - t->swept >= SERIES_SWEEP_PAUSE) {
        t->swept = now;
        sweep(t);
    }
    uint16_t slot = t->free_slot;
    if (slot == NO_SLOT) {
        return OTHER_SLOT;
    }
    t->free_slot = t->next[slot];
    return slot;
}

static uint16_t series_add(struct series_table *t, const struct identity *id, usec_t now)
{
    uint16_t slot = slot_take(t, now);
    if (slot != OTHER_SLOT) {
        series_write(&t->region->items[slot], id);
        stats_add(&t->region->live_n, 1);
        index_add(t, slot);
    }
    return slot;
}

/* ---- recording ---- */

static struct cached *cache_place(struct series_table *t, const struct cached *c)
{
    uint64_t h = (uint64_t)(uintptr_t)c->route ^ (uint64_t)(uintptr_t)c->backend << 21 ^
                 c->generation << 42 ^ c->tail;
    return &t->cache[h * 0x9e3779b97f4a7c15U >> 55];
}
_Static_assert(CACHE_N == 1 << (64 - 55), "the shift gives an index of the cache");

static bool cached_eq(const struct cached *a, const struct cached *b)
{
    return a->route == b->route && a->backend == b->backend && a->generation == b->generation &&
           a->tail == b->tail;
}

static uint16_t find_slowly(struct series_table *t, const struct series_key *k, uint8_t method,
                            usec_t now)
{
    struct identity id;
    struct series_texts x = texts_of(t, k);
    identity_fill(&id, &x, method, k->status, k->reason);
    uint16_t slot = index_find(t, &id);
    return slot != NO_SLOT ? slot : series_add(t, &id, now);
}

static uint32_t find(struct series_table *t, const struct series_key *k, usec_t now)
{
    uint8_t method = (uint8_t)method_of(k->method);
    struct cached c = {.route = k->route,
                       .backend = k->backend,
                       .generation = k->generation,
                       .tail = 1U << 31 | (uint32_t)method << 24 | (uint32_t)k->reason << 16 |
                               k->status};
    struct cached *place = cache_place(t, &c);
    /* While the table is full, it is asked once in a while whether there is room again. */
    bool is_known =
        cached_eq(place, &c) && (place->slot != OTHER_SLOT || now - t->swept < SERIES_SWEEP_PAUSE);
    if (!is_known) {
        c.slot = find_slowly(t, k, method, now);
        *place = c; /* the look may have cleared the cache, but not moved it */
    }
    return place->slot;
}

void series_record(struct series_table *t, const struct series_key *k,
                   const struct series_sample *s)
{
    uint32_t slot = find(t, k, s->now);
    struct series *at = &t->region->items[slot];
    if (slot == OTHER_SLOT) {
        stats_add(&t->region->folded, 1);
    } else if (is_retired(at)) {
        life_start(at, life_begin(at));
    }
    stats_set(&at->used, s->now);
    figures_add(&at->figures, s);
    figures_add(&t->region->totals, s);
}

/* ---- birth ---- */

static void other_write(struct series_region *region)
{
    const struct str other = STR("_other");
    const struct series_texts x = {other, other, other, other, other};
    struct identity id;
    identity_fill(&id, &x, SERIES_OTHER, 0, REASON_none);
    series_write(&region->items[OTHER_SLOT], &id);
    stats_set(&region->used_n, 1);
}

/* A process that died while it wrote a series left one that nobody can read. */
static void index_build(struct series_table *t)
{
    uint64_t used_n = stats_get(&t->region->used_n), live_n = 0;
    must(used_n <= SERIES_MAX);
    for (uint64_t i = OTHER_SLOT + 1; i < used_n; i++) {
        struct series *s = &t->region->items[i];
        if ((stats_get(&s->version) & STATE_MASK) == STATE_LIVE) {
            index_add(t, (uint16_t)i);
            live_n++;
        } else {
            series_free(s);
            free_push(t, (uint16_t)i);
        }
    }
    stats_set(&t->region->live_n, live_n);
}

enum err series_table_new(struct stats_area *area, uint32_t index, struct series_table **ret)
{
    struct series_table *t = mem_calloc(1, sizeof(*t));
    if (t == NULL) {
        return E_NOMEM;
    }
    t->region = series_region(area, index);
    t->is_per_host = area->is_per_host != 0;
    t->free_slot = NO_SLOT;
    for (size_t i = 0; i < HEADS_N; i++) {
        t->heads[i] = NO_SLOT;
    }
    if (stats_get(&t->region->used_n) == 0) {
        other_write(t->region);
    }
    index_build(t);
    *ret = t;
    return E_OK;
}

void series_table_free(struct series_table *t)
{
    mem_free(t);
}
