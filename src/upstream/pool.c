/* The connections of one endpoint.
 *
 *   dial ──> busy <──> idle          a connection is in the list of its state
 *              └─────────┴──> closed
 *
 * A busy one that can take further streams (HTTP/2) also stands in the list of those with room, by
 * its idle_link, and is preferred: one connection for many requests is what they are for.
 * The one used last serves first, so that those not needed run into their idle timeout (which is
 * the protocol's). All idle ones of the worker stand in one more list, the coldest in front, which
 * goes first beyond UPSTREAM_IDLE_MAX and when descriptors run out. A connection ends after
 * upstream-keepalive-requests requests, when it is idle in front of more than
 * upstream-keepalive-connections others, and when it is older than upstream-keepalive-time at the
 * moment it would be used again: so no request is ever cut by age. One that came from another
 * dialer than the service has now gets no further request either. */
#include "upstream/upstream_priv.h"

static struct stats_page *stats_of(const struct upstream_endpoint *e)
{
    return e->set->stats;
}

/* ---- membership ---- */

static void busy_add(struct upstream_endpoint *e, struct http_conn *c)
{
    list_push(&e->busy, &c->link);
    stats_add(&stats_of(e)->upstream_busy, 1);
}

/* Opened in the way in which the service is spoken to now; false too when there is no service. */
static bool is_current(const struct upstream_endpoint *e, const struct http_conn *c)
{
    return e->service != NULL && e->service->dialer == c->dialer;
}

static bool has_room(const struct upstream_endpoint *e, const struct http_conn *c)
{
    return c->stream_n < c->stream_max &&
           c->use_n < e->set->settings->upstream_keepalive_requests && is_current(e, c);
}

/* Of a busy connection: whether it has room may have changed. */
static void room_update(struct upstream_endpoint *e, struct http_conn *c)
{
    list_del(&c->idle_link);
    if (has_room(e, c)) {
        list_push(&e->room, &c->idle_link);
    }
}

static void busy_del(struct upstream_endpoint *e, struct http_conn *c)
{
    list_del(&c->link);
    list_del(&c->idle_link);
    stats_sub(&stats_of(e)->upstream_busy, 1);
}

static void idle_add(struct upstream_endpoint *e, struct http_conn *c)
{
    list_push(&e->idle, &c->link);
    list_append(&e->set->idle, &c->idle_link);
    e->idle_n++;
    e->set->idle_n++;
    stats_add(&stats_of(e)->upstream_idle, 1);
    stats_add(&e->shown->idle, 1);
}

static void idle_del(struct upstream_endpoint *e, struct http_conn *c)
{
    list_del(&c->link);
    list_del(&c->idle_link);
    e->idle_n--;
    e->set->idle_n--;
    stats_sub(&stats_of(e)->upstream_idle, 1);
    stats_sub(&e->shown->idle, 1);
}

static void load_set(struct upstream_endpoint *e, uint32_t stream_n)
{
    stats_add(&e->shown->in_flight, (uint64_t)stream_n - e->stream_n); /* wraps around: also less */
    e->stream_n = stream_n;
    balance_load_changed(e);
}

static void conn_made(struct upstream_endpoint *e)
{
    e->conn_n++;
    stats_add(&e->shown->connections, 1);
}

static void conn_over(struct upstream_endpoint *e)
{
    e->conn_n--;
    stats_sub(&e->shown->connections, 1);
}

static void idle_close(struct upstream_endpoint *e, struct http_conn *c)
{
    idle_del(e, c);
    conn_over(e);
    c->ops->close(c);
}

/* The one of the whole set that has been idle for longest; false: there is none. */
static bool coldest_close(struct upstream_set *s)
{
    if (list_is_empty(&s->idle)) {
        return false;
    }
    struct http_conn *c = container_of(s->idle.next, struct http_conn, idle_link);
    idle_close(c->owner, c);
    return true;
}

void pool_close_idle(struct upstream_endpoint *e)
{
    while (!list_is_empty(&e->idle)) {
        idle_close(e, container_of(e->idle.next, struct http_conn, link));
    }
}

void pool_close_all(struct upstream_endpoint *e)
{
    pool_close_idle(e);
    while (!list_is_empty(&e->busy)) {
        struct http_conn *c = container_of(e->busy.next, struct http_conn, link);
        busy_del(e, c);
        load_set(e, e->stream_n - c->stream_n);
        conn_over(e);
        c->ops->close(c);
    }
}

/* ---- events ---- */

/* What a connection takes is known once it stands; the next one begins with what the last said. */
static void capacity_learn(struct http_conn *c)
{
    struct upstream_endpoint *e = c->owner;
    if (c->stream_max > 0) {
        e->stream_max = c->stream_max;
    }
}

static void on_connected(struct http_conn *c)
{
    c->has_stood = true;
    capacity_learn(c);
}

static void on_capacity(struct http_conn *c)
{
    capacity_learn(c);
    if (c->stream_n > 0) {
        room_update(c->owner, c);
    }
}

/* Why a connection that has become free is not kept; NULL: it is. */
static stats_value *limit_hit(const struct upstream_endpoint *e, const struct http_conn *c)
{
    if (c->use_n >= e->set->settings->upstream_keepalive_requests) {
        return &stats_of(e)->limit_upstream_requests;
    }
    return e->idle_n >= e->set->settings->upstream_keepalive_connections
               ? &stats_of(e)->limit_upstream_idle
               : NULL;
}

static void on_free(struct http_conn *c)
{
    struct upstream_endpoint *e = c->owner;
    stats_value *limit = limit_hit(e, c);
    load_set(e, e->stream_n - 1);
    if (c->stream_n > 0) {
        room_update(e, c);
        return;
    }
    busy_del(e, c);
    if (is_current(e, c) && limit == NULL && c->stream_max > 0) {
        idle_add(e, c);
        if (e->set->idle_n > UPSTREAM_IDLE_MAX) {
            stats_add(&stats_of(e)->limit_upstream_idle, 1);
            (void)coldest_close(e->set); /* there is one */
        }
        return;
    }
    if (limit != NULL) {
        stats_add(limit, 1);
    }
    conn_over(e);
    c->ops->close(c);
    endpoint_end_if_over(e);
}

static void on_closed(struct http_conn *c, enum reason why, bool has_connected)
{
    struct upstream_endpoint *e = c->owner;
    (void)why; /* what it says about the endpoint comes by upstream_report() */
    (void)has_connected;
    if (c->stream_n == 0) {
        idle_del(e, c);
    } else {
        busy_del(e, c);
        load_set(e, e->stream_n - c->stream_n);
    }
    conn_over(e);
    endpoint_end_if_over(e);
}

static const struct http_conn_events conn_events = {
    .on_connected = on_connected,
    .on_free = on_free,
    .on_capacity = on_capacity,
    .on_closed = on_closed,
};

/* ---- opening ---- */

void pool_init(struct upstream_endpoint *e)
{
    list_init(&e->idle);
    list_init(&e->busy);
    list_init(&e->room);
}

/* At its first request. */
static void shown_begin(struct upstream_endpoint *e)
{
    struct upstream_set *s = e->set;
    e->shown = stats_endpoint_take(s->shown, &e->ip, e->port, e->service->key);
    if (stats_endpoint_is_other(s->shown, e->shown)) {
        stats_add(&s->stats->limit_stats_endpoints, 1);
    }
}

void pool_fini(struct upstream_endpoint *e)
{
    must(e->conn_n == 0);
    if (e->shown != NULL) {
        stats_endpoint_give(e->set->shown, e->shown);
    }
}

/* The warmest idle connection that is young enough, no longer in a list; NULL: none. */
static struct http_conn *idle_take(struct upstream_endpoint *e, usec_t now)
{
    while (!list_is_empty(&e->idle)) {
        struct http_conn *c = container_of(e->idle.next, struct http_conn, link);
        if (now < c->opened_at + e->set->settings->upstream_keepalive_time) {
            idle_del(e, c);
            return c;
        }
        stats_add(&stats_of(e)->limit_upstream_age, 1);
        idle_close(e, c);
    }
    return NULL;
}

/* A busy connection that takes one more stream; NULL: none. */
static struct http_conn *room_take(struct upstream_endpoint *e, const struct upstream_ask *ask)
{
    list_each(it, &e->room)
    {
        struct http_conn *c = container_of(it, struct http_conn, idle_link);
        bool is_young = ask->now < c->opened_at + e->set->settings->upstream_keepalive_time;
        if (!is_young || !has_room(e, c)) {
            stats_add(&stats_of(e)->limit_upstream_age, is_young ? 0 : 1);
            list_del(&c->idle_link); /* it ends with its last stream */
        } else if (c->opened_at > ask->fresh_since) {
            return c;
        }
    }
    return NULL;
}

/* Idle connections hold descriptors and ports: when these run out, a request is worth more. */
static bool idle_shed(struct upstream_set *s)
{
    uint32_t n = 0;
    while (n < UPSTREAM_IDLE_SHED && coldest_close(s)) {
        n++;
    }
    return n > 0;
}

static enum err conn_dial(struct upstream_endpoint *e, usec_t now, struct http_conn **ret)
{
    struct http_dialer *d = e->service->dialer;
    enum err err = d->dial(d, &e->ip, e->port, &conn_events, e, ret);
    if (err == E_LIMIT && idle_shed(e->set)) {
        err = d->dial(d, &e->ip, e->port, &conn_events, e, ret);
    }
    TRY(err);
    (*ret)->opened_at = now;
    (*ret)->dialer = d;
    (*ret)->use_n = 0;
    (*ret)->has_stood = false;
    if (e->stream_max > 0 && e->stream_max < (*ret)->stream_max) {
        (*ret)->stream_max = e->stream_max;
    }
    conn_made(e);
    return E_OK;
}

enum err pool_open(struct upstream_endpoint *e, const struct upstream_ask *ask,
                   struct upstream_pick *ret)
{
    if (e->shown == NULL) {
        shown_begin(e);
    }
    struct http_conn *c = room_take(e, ask);
    bool is_shared = c != NULL;
    if (!is_shared && ask->fresh_since == 0) {
        c = idle_take(e, ask->now);
    }
    bool is_new = c == NULL;
    if (is_new) {
        TRY(conn_dial(e, ask->now, &c));
    }
    bool is_reused = c->has_stood;
    struct http_stream *stream = c->ops->open(c);
    if (stream == NULL) { /* out of memory: the connection is a good thing to give back */
        stats_add(&stats_of(e)->limit_memory, 1);
        if (!is_shared) {
            conn_over(e);
            c->ops->close(c);
        }
        return E_NOMEM;
    }
    c->use_n++;
    if (!is_shared) {
        busy_add(e, c);
    }
    room_update(e, c);
    load_set(e, e->stream_n + 1);
    stats_add(&stats_of(e)->upstream_reuses, is_new ? 0 : 1);
    *ret = (struct upstream_pick){
        .stream = stream,
        .endpoint = e,
        .endpoint_n = e->service->endpoint_n,
        .is_reused = is_reused,
        .is_probe = e->is_ejected,
        .began = ask->now,
        .unreported = e,
    };
    return E_OK;
}
