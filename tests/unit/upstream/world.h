/* A set of upstreams without sockets: one service "n/s/80", endpoint i is 10.0.x.y port 1000 + i,
 * dialers whose connections exist at once, and a clock that the test turns. The test is the
 * exchange: it opens, reports, releases. */
#pragma once

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "snapshot/write.h"
#include "upstream/upstream.h"

enum { WORLD_ENDPOINTS_MAX = 1024, WORLD_DIALERS = 2 };

static struct stats_endpoint_region world_region; /* of the world at hand; large */

#define WORLD_KEY STR("n/s/80")

struct world_conn {
    struct http_conn base; /* first */
    struct http_stream stream;
    uint32_t endpoint;
    bool is_open;
    struct world_conn *next; /* unused ones */
};

struct world_dialer {
    struct http_dialer base; /* first */
    struct world *world;
    uint32_t taken_n; /* by services */
};

struct world {
    struct upstream_dialers upstream; /* first */
    struct world_dialer dialers[WORLD_DIALERS];
    struct stats_page *stats;
    struct snapshot snapshot;
    struct upstream_set *set;
    struct stats_endpoint_table *shown;
    struct buf shard, segments[2];
    uint64_t generation;
    usec_t now;
    /* what the test says about endpoints */
    enum err dial_err[WORLD_ENDPOINTS_MAX];
    uint32_t weight[WORLD_ENDPOINTS_MAX];
    bool is_left_out[WORLD_ENDPOINTS_MAX];
    uint8_t balance;
    uint8_t dialer;                  /* which one a service takes */
    bool is_dialer_refused;          /* it takes none */
    uint32_t stream_max;             /* of a connection; 0 = 1 */
    uint32_t conn_max;               /* one more is E_LIMIT; 0 = any number */
    void (*on_cut)(struct world *w); /* the set closes a busy connection; NULL = nobody cares */
    bool is_stream_refused;          /* the next open() on a connection gives NULL */
    bool is_slow_to_connect;         /* connections do not stand yet */
    /* what happened */
    uint32_t dial_n[WORLD_ENDPOINTS_MAX];
    uint32_t open_n[WORLD_ENDPOINTS_MAX]; /* open connections */
    uint32_t conn_n;
    struct world_conn *unused;
};

/* ---- the dialer ---- */

static inline struct world_conn *world_conn_of(const struct upstream_pick *pick)
{
    return container_of(pick->stream, struct world_conn, stream);
}

static inline struct http_stream *world_stream_open(struct http_conn *base)
{
    struct world_conn *c = (struct world_conn *)base;
    struct world *w = c->stream.owner;
    assert_true(c->is_open && base->stream_n < base->stream_max);
    if (w->is_stream_refused) {
        return NULL;
    }
    base->stream_n++;
    if (!w->is_slow_to_connect) {
        base->events->on_connected(base);
    }
    return &c->stream;
}

static inline void world_conn_gone(struct world_conn *c)
{
    struct world *w = c->stream.owner;
    assert_true(c->is_open);
    c->is_open = false;
    c->base.dialer->conn_n--;
    c->next = w->unused;
    w->unused = c;
    w->open_n[c->endpoint]--;
    w->conn_n--;
}

static inline void world_conn_close(struct http_conn *base)
{
    struct world_conn *c = (struct world_conn *)base;
    struct world *w = c->stream.owner;
    world_conn_gone(c);
    if (base->stream_n > 0 && w->on_cut != NULL) {
        w->on_cut(w);
    }
}

static const struct http_conn_ops world_conn_ops = {
    .open = world_stream_open,
    .close = world_conn_close,
};

static inline enum err world_dial(struct http_dialer *d, const struct ip *ip, uint16_t port,
                                  const struct http_conn_events *events, void *owner,
                                  struct http_conn **ret)
{
    struct world *w = ((struct world_dialer *)d)->world;
    uint32_t i = (uint32_t)(port - 1000);
    assert_true(((struct world_dialer *)d)->taken_n > 0);
    assert_int_equal(ip->family, 4);
    w->dial_n[i]++;
    if (w->dial_err[i] != E_OK) {
        return w->dial_err[i];
    }
    if (w->conn_max > 0 && w->conn_n >= w->conn_max) {
        return E_LIMIT;
    }
    struct world_conn *c = w->unused;
    if (c != NULL) {
        w->unused = c->next;
    } else {
        c = malloc(sizeof(*c));
    }
    *c = (struct world_conn){.endpoint = i, .is_open = true};
    c->base = (struct http_conn){&world_conn_ops, events, owner};
    c->base.stream_max = w->stream_max == 0 ? 1 : w->stream_max;
    c->base.use_n = 99; /* the owner's: not the dialer's business */
    c->stream.owner = w;
    w->open_n[i]++;
    w->conn_n++;
    d->conn_n++;
    *ret = &c->base;
    return E_OK;
}

static inline struct http_dialer *world_take(struct upstream_dialers *d,
                                             const struct snap_service *s)
{
    struct world *w = (struct world *)d;
    assert_int_equal(s->protocol, SNAP_HTTP1);
    if (w->is_dialer_refused) {
        return NULL;
    }
    w->dialers[w->dialer].taken_n++;
    return &w->dialers[w->dialer].base;
}

static inline void world_give(struct upstream_dialers *d, struct http_dialer *dialer)
{
    (void)d;
    assert_true(((struct world_dialer *)dialer)->taken_n-- > 0);
}

/* ---- the snapshot ---- */

static inline void world_shard(struct world *w, uint32_t n)
{
    struct buf *b = &w->shard;
    uint32_t made = 0;
    struct snap_service s = {
        .status = SNAP_SERVICE_OK, .protocol = SNAP_HTTP1, .balance = w->balance};
    for (uint32_t i = 0; i < n; i++) {
        made += !w->is_left_out[i];
    }
    buf_reset(b);
    snap_shard_begin(b, SNAP_SERVICE, sizeof(s), WORLD_KEY);
    s.namespace_name = snap_add_str(b, STR("n"));
    s.name = snap_add_str(b, STR("s"));
    s.port = snap_add_str(b, STR("80"));
    s.variant = s.tls_name = s.ciphers = s.authority = s.certificate = snap_add_str(b, STR_EMPTY);
    s.endpoints = snap_add_array(b, made, sizeof(struct snap_endpoint));
    struct snap_endpoint *at = snap_at(b, s.endpoints.offset, struct snap_endpoint);
    for (uint32_t i = 0; i < n; i++) {
        if (!w->is_left_out[i]) {
            *at++ = (struct snap_endpoint){
                .family = 4,
                .port = (uint16_t)(1000 + i),
                .weight = w->weight[i] > 0 ? w->weight[i] : 1,
                .address = {10, 0, (uint8_t)(i >> 8), (uint8_t)i}
            };
        }
    }
    s.shard = *snap_at(b, 0, struct snap_shard);
    *snap_at(b, 0, struct snap_service) = s;
    assert_int_equal(snap_shard_end(b), E_OK);
}

static inline void world_change(void *arg, enum snap_kind kind, struct str key,
                                const struct snapshot_entry *entry)
{
    struct world *w = arg;
    assert_int_equal(kind, SNAP_SERVICE);
    upstream_set_update(w->set, key, entry == NULL ? NULL : (const void *)entry->shard);
}

/* A new generation with the endpoints 0..n-1, but for those left out. */
static inline void world_publish(struct world *w, uint32_t n)
{
    struct snapshot_segment *segment;
    struct snapshot_fault fault;
    const struct snap_shard *shard;
    struct buf *out = &w->segments[w->generation++ % 2]; /* the one before last is unused */
    world_shard(w, n);
    shard = snap_at(&w->shard, 0, struct snap_shard);
    buf_reset(out);
    assert_int_equal(snapshot_segment_write(out, &shard, 1, 0, w->generation), E_OK);
    assert_int_equal(snapshot_segment_borrow(out->p, out->n, &segment, &fault), E_OK);
    assert_int_equal(snapshot_segment_verify(segment, SIZE_MAX, &fault), E_OK);
    assert_int_equal(snapshot_apply(&w->snapshot, segment, world_change, w), E_OK);
    snapshot_segment_unref(segment);
}

/* ---- life ---- */

static inline enum err world_set_new(struct world *w, uint32_t seed, struct upstream_set **ret)
{
    return upstream_set_new(&w->snapshot, &w->upstream, &snap_settings_default, w->stats, w->shown,
                            seed, ret);
}

static inline struct world *world_new_with(uint8_t balance, const uint32_t *weights, uint32_t n)
{
    struct world *w = calloc(1, sizeof(*w));
    w->upstream = (struct upstream_dialers){world_take, world_give};
    for (size_t i = 0; i < WORLD_DIALERS; i++) {
        w->dialers[i] = (struct world_dialer){{world_dial}, w};
    }
    w->balance = balance;
    w->now = 1000 * USEC_PER_SEC;
    for (uint32_t i = 0; weights != NULL && i < n; i++) {
        w->weight[i] = weights[i];
    }
    w->stats = aligned_alloc(alignof(struct stats_page), sizeof(*w->stats));
    memset(w->stats, 0, sizeof(*w->stats));
    buf_init(&w->shard, 1 << 20);
    buf_init(&w->segments[0], 1 << 20);
    buf_init(&w->segments[1], 1 << 20);
    snapshot_init(&w->snapshot);
    assert_int_equal(stats_endpoint_table_new(&world_region, &w->shown), E_OK);
    assert_int_equal(world_set_new(w, 7, &w->set), E_OK);
    world_publish(w, n);
    return w;
}

static inline struct world *world_new(uint8_t balance, uint32_t n)
{
    return world_new_with(balance, NULL, n);
}

/* Every gauge is as it should be, and nothing is left open. */
static inline void world_free(struct world *w)
{
    upstream_set_free(w->set);
    w->set = NULL;
    for (size_t i = 1; i < STATS_ENDPOINTS_MAX; i++) { /* all are given back */
        assert_int_equal(stats_get(&world_region.items[i].version) % 4, 0);
    }
    stats_endpoint_table_free(w->shown);
    assert_int_equal(w->conn_n, 0);
    for (size_t i = 0; i < WORLD_DIALERS; i++) {
        assert_int_equal(w->dialers[i].base.conn_n, 0);
        assert_int_equal(w->dialers[i].taken_n, 0);
    }
    assert_int_equal(stats_get(&w->stats->upstream_idle), 0);
    assert_int_equal(stats_get(&w->stats->upstream_busy), 0);
    assert_int_equal(stats_get(&w->stats->upstream_ejected), 0);
    while (w->unused != NULL) {
        struct world_conn *c = w->unused;
        w->unused = c->next;
        free(c);
    }
    snapshot_fini(&w->snapshot);
    buf_fini(&w->shard);
    buf_fini(&w->segments[0]);
    buf_fini(&w->segments[1]);
    free(w->stats);
    free(w);
}

/* The set anew, with another seed; all its requests are done. */
static inline void world_seed(struct world *w, uint32_t seed)
{
    upstream_set_free(w->set);
    assert_int_equal(world_set_new(w, seed, &w->set), E_OK);
}

/* ---- one try ---- */

static inline enum err world_try(struct world *w, const struct upstream_endpoint *avoid,
                                 bool is_fresh, struct upstream_pick *ret)
{
    struct upstream_ask ask = {.service = WORLD_KEY,
                               .service_hash = hash_str(WORLD_KEY),
                               .now = w->now,
                               .avoid = avoid,
                               .fresh_since = is_fresh ? w->now : 0};
    return upstream_open(w->set, &ask, ret);
}

static inline struct upstream_pick world_open_avoiding(struct world *w,
                                                       const struct upstream_endpoint *avoid)
{
    struct upstream_pick pick;
    assert_int_equal(world_try(w, avoid, false, &pick), E_OK);
    return pick;
}

static inline struct upstream_pick world_open(struct world *w)
{
    return world_open_avoiding(w, NULL);
}

static inline uint32_t world_endpoint(const struct upstream_pick *pick)
{
    return (uint32_t)(upstream_endpoint_port(pick->endpoint) - 1000);
}

/* Both messages are complete: the connection can be used again. */
static inline void world_finish(struct upstream_pick *pick)
{
    struct world_conn *c = world_conn_of(pick);
    c->base.stream_n--;
    c->base.events->on_free(&c->base);
}

/* The connection ends with its request. */
static inline void world_cut(struct upstream_pick *pick, enum reason why)
{
    struct world_conn *c = world_conn_of(pick);
    world_conn_gone(c);
    c->base.events->on_closed(&c->base, why, why != REASON_connect_refused);
}

/* The head came after latency. */
static inline void world_answer(struct world *w, struct upstream_pick *pick, usec_t latency)
{
    (void)w;
    upstream_report(pick, UPSTREAM_ANSWERED, latency);
    world_finish(pick);
}

/* It broke before a response, as the exchange sees it: first the connection, then the stream. */
static inline void world_fail(struct upstream_pick *pick, enum reason why, usec_t after)
{
    world_cut(pick, why);
    upstream_report(pick, upstream_outcome_of(why), after);
}
