/* The upstream side of HTTP/2: one connection.
 *
 *   CONNECTING ──> SHAKING ──> GREETING ──SETTINGS──> OPEN ──GOAWAY──> (leaving) ──last stream──>
 * over └─────────────┴────────────┴────────────────────┴──> cut ──last response delivered──> over
 *
 * SHAKING (hands) is where the transport is TLS: that happens inside receive().
 * Streams may be opened from the first moment; nghttp2 holds their requests until SETTINGS have
 * said how many may go at a time, so that what an endpoint cannot take, or a server that does not
 * speak HTTP/2, costs no request. The pool is told of changes at the end of the tick, outside of
 * nghttp2. An endpoint under a stream that waited in vain, and of which nothing else was heard
 * either, is asked by PING whether it is there; until it answers, the pool gets no further stream
 * here. Its kernel is watched by ours: event/dial.h. */
#include "http2/client.h"

#include <errno.h>
#include <sys/epoll.h>

#include "base/mem.h"
#include "event/dial.h"
#include "http2/client_priv.h"

enum { RECEIVES_MAX = 4 }; /* in one go before others get their turn */

static const struct http2_wait waits[CLIENT_WAITS_N] = {
    [CLIENT_WAIT_CONNECT] = {.timeout = offsetof(struct snap_settings, proxy_connect_timeout),
                             .counter = offsetof(struct stats_page, timeout_upstream_connect)},
    [CLIENT_WAIT_SHAKE] = {.timeout = offsetof(struct snap_settings,               proxy_connect_timeout),
                             .counter = offsetof(struct stats_page, timeout_upstream_handshake)},
    [CLIENT_WAIT_WRITE] = {.timeout = offsetof(struct snap_settings,    proxy_send_timeout),
                             .counter = offsetof(struct stats_page, timeout_upstream_write)},
    [CLIENT_WAIT_PONG] = {.fixed = TIMEOUT_UPSTREAM_PONG,
                             .counter = offsetof(struct stats_page,                       timeout_upstream_pong)},
    [CLIENT_WAIT_IDLE] = {.timeout = offsetof(struct snap_settings,    upstream_keepalive_timeout)  },
};

static timer_fn conn_on_timer;
static deferred_fn conn_on_work;

static struct loop *loop_of(const struct client_conn *c)
{
    return c->base.link.context->loop;
}

static struct http2_stream *stream_at(struct list *it)
{
    return container_of(it, struct http2_stream, node);
}

/* ---- the end ---- */

static void conn_free(struct deferred *d)
{
    struct client_conn *c = container_of(d, struct client_conn, base.work);
    http2_conn_fini(&c->base);
    c->dialer->dialer.conn_n--;
    mem_free(c);
}

/* Nobody is told. */
static void conn_over(struct client_conn *c)
{
    c->base.is_over = true;
    if (!c->base.is_cut) {
        http2_conn_close(&c->base, false);
    }
    while (!list_is_empty(&c->base.streams)) {
        http2_stream_free(stream_at(c->base.streams.next));
    }
    loop_defer(loop_of(c), &c->base.work, conn_free);
}

/* RFC 9113 section 5.4.1: a word before the end. */
static void conn_say(struct client_conn *c, uint32_t code)
{
    if (c->state == CLIENT_OPEN && !c->base.link.is_broken &&
        nghttp2_session_terminate_session(c->base.link.session, code) == 0) {
        http2_link_pump(&c->base.link);
        http2_link_flush(&c->base.link);
    }
}

static void capacity_set(struct client_conn *c, uint32_t stream_max)
{
    if (stream_max != c->pool.stream_max) {
        c->pool.stream_max = stream_max;
        c->pool.events->on_capacity(&c->pool);
    }
}

/* The connection is gone. Streams break, but for those whose response is here already;
 * has_ended_well: by the endpoint's end. */
static void conn_cut(struct client_conn *c, enum reason why, bool has_ended_well)
{
    struct http2_conn *base = &c->base;
    if (base->is_cut) {
        return;
    }
    stats_add(&base->stats->upstream_connect_failures, c->state == CLIENT_OPEN ? 0 : 1);
    capacity_set(c, 0);
    base->is_cut = true; /* owners that are told may not send */
    list_each(it, &base->streams)
    {
        struct http2_stream *s = stream_at(it);
        if (client_stream_cut(s, why, has_ended_well)) {
            http2_stream_free(s);
        }
    }
    http2_conn_close(base, false);
    http2_conn_defer(base);
}

/* ---- the pool ---- */

/* Tells of the streams that are done with, then whether the connection is, too. */
static void pool_tell(struct client_conn *c)
{
    struct http_conn *pool = &c->pool;
    bool is_ending = c->is_leaving || c->base.is_cut;
    while (c->free_n > 0 && !(is_ending && pool->stream_n == 1)) {
        c->free_n--;
        pool->stream_n--;
        pool->events->on_free(pool);
        if (c->base.is_over) {
            return;
        }
    }
    if (is_ending && pool->stream_n == c->free_n) {
        conn_say(c, NGHTTP2_NO_ERROR);
        conn_over(c);
        pool->events->on_closed(pool, REASON_none, c->state == CLIENT_OPEN);
    }
}

static struct http_stream *conn_open(struct http_conn *pool)
{
    struct client_conn *c = container_of(pool, struct client_conn, pool);
    must(pool->stream_n < pool->stream_max && !c->base.is_cut);
    struct http2_stream *s = client_stream_new(c);
    if (s == NULL) {
        return NULL;
    }
    pool->stream_n++;
    stats_add(&c->base.stats->upstream_requests_http2, 1);
    return &s->base;
}

static void conn_close(struct http_conn *pool)
{
    struct client_conn *c = container_of(pool, struct client_conn, pool);
    if (c->base.is_over) {
        return;
    }
    conn_say(c, NGHTTP2_NO_ERROR);
    c->base.is_over = c->base.is_cut = true;
    list_each(it, &c->base.streams)
    {
        struct http2_stream *s = stream_at(it);
        s->is_closed = true;
        client_stream_lose(s, REASON_none, !s->is_begun);
    }
    http2_conn_close(&c->base, false);
    conn_over(c);
}

static const struct http_conn_ops conn_ops = {
    .open = conn_open,
    .close = conn_close,
};

/* ---- what it takes ---- */

static uint32_t capacity_of(const struct client_conn *c)
{
    nghttp2_session *session = c->base.link.session;
    uint32_t own = (uint32_t)c->base.link.context->settings->upstream_max_concurrent_streams;
    if (c->is_leaving || c->is_probing || c->base.is_condemned) {
        return 0;
    }
    uint32_t most =
        nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return most < own ? most : own;
}

/* Streams that wait and can never go here, or not for long: they go elsewhere, the youngest first.
 * While the endpoint is only asked whether it is there, they stay. */
static void excess_refuse(struct client_conn *c)
{
    uint32_t n = c->pool.stream_n - c->free_n;
    struct list *streams = &c->base.streams;
    for (struct list *it = streams->prev, *before; it != streams; it = before) {
        struct http2_stream *s = stream_at(it);
        before = it->prev;
        if (client_stream_is_misplaced(s) && s->has_owner && !s->is_begun) {
            client_stream_refuse(s, REASON_upgrade_not_supported, false);
            n--;
        } else if (n > c->pool.stream_max && !c->is_probing && s->has_owner && !s->is_begun) {
            client_stream_refuse(s, REASON_upstream_refused, true);
            n--;
        }
    }
}

/* The endpoint's first SETTINGS are here. */
static void conn_stands(struct client_conn *c)
{
    usec_t now = clock_monotonic(); /* the tick's time is too coarse for durations */
    c->state = CLIENT_OPEN;
    stats_add(&c->base.stats->upstream_connects, 1);
    list_each(it, &c->base.streams)
    {
        stream_at(it)->base.connected = now;
    }
}

static void capacity_update(struct client_conn *c)
{
    c->is_capacity_stale = false;
    c->has_extended_connect =
        nghttp2_session_get_remote_settings(c->base.link.session,
                                            NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
    bool is_new = c->state == CLIENT_GREETING;
    if (is_new) {
        conn_stands(c);
    }
    capacity_set(c, capacity_of(c));
    if (is_new) {
        c->pool.events->on_connected(&c->pool);
    }
    excess_refuse(c);
    if (c->pool.stream_n == c->free_n && c->pool.stream_max == 0 && !c->is_probing) {
        c->is_leaving = true; /* idle, and of no use */
    }
}

/* ---- what is next ---- */

static enum client_wait wait_of(const struct client_conn *c)
{
    if (c->base.is_cut) {
        return CLIENT_WAIT_NONE;
    }
    if (c->state != CLIENT_OPEN) { /* over TLS the same time again, as in HTTP/1 */
        bool is_shaking = c->state != CLIENT_CONNECTING && c->dialer->opener != NULL;
        return is_shaking ? CLIENT_WAIT_SHAKE : CLIENT_WAIT_CONNECT;
    }
    if (c->base.link.is_blocked) {
        return CLIENT_WAIT_WRITE;
    }
    if (c->is_probing) {
        return CLIENT_WAIT_PONG;
    }
    return c->pool.stream_n == 0 ? CLIENT_WAIT_IDLE : CLIENT_WAIT_NONE;
}

static void conn_rearm(struct client_conn *c)
{
    if (c->wait == CLIENT_WAIT_WRITE) {
        http2_link_mark(&c->base.link);
    }
    if (c->wait != CLIENT_WAIT_NONE) {
        loop_arm(loop_of(c), &c->base.timer, http2_wait_time(&c->base, &waits[c->wait]),
                 conn_on_timer);
    }
}

/* The peer ended its side, or the connection broke. */
static enum reason reason_of_end(const struct client_conn *c)
{
    enum reason handshake = transport_handshake_fault(&c->base.link.transport);
    return handshake != REASON_none ? handshake : REASON_upstream_reset;
}

static void conn_send(struct client_conn *c)
{
    struct http2_link *link = &c->base.link;
    if (c->state == CLIENT_SHAKING && link->transport.is_open) {
        c->state = CLIENT_GREETING;
    }
    link->is_waiting = c->state < CLIENT_GREETING;
    http2_conn_pump(&c->base);
    if (c->base.is_condemned) {
        http2_link_flush(link);
        conn_cut(c, REASON_upstream_invalid, false);
    } else if (link->is_broken) { /* out of memory */
        stats_add(&c->base.stats->limit_memory, 1);
        conn_cut(c, REASON_overloaded, false);
    } else if (link->is_deaf && !link->is_readable) { /* what it had to say has been read */
        conn_cut(c, reason_of_end(c), false);
    } else if (nghttp2_session_want_read(link->session) == 0) { /* it broke the rules, or is done */
        http2_link_flush(link);
        conn_cut(c, REASON_upstream_invalid, false);
    }
}

/* Of streams that nghttp2 has closed. */
static void lost_tell(struct client_conn *c)
{
    for (struct list *it; (it = list_pop(&c->lost)) != NULL;) {
        client_stream_finish(container_of(it, struct http2_stream, writable_node));
    }
}

/* After anything that happened: outside of nghttp2, at the top of the stack. */
static void conn_settle(struct client_conn *c)
{
    if (c->base.is_over) {
        return;
    }
    if (!c->base.is_cut && c->is_capacity_stale) {
        capacity_update(c);
    }
    if (!c->base.is_cut) {
        conn_send(c);
    }
    if (!c->base.is_cut && c->is_capacity_stale) { /* by what sending has told */
        capacity_update(c);
    }
    lost_tell(c);
    pool_tell(c);
    enum client_wait wait = wait_of(c);
    if (!c->base.is_over && wait != c->wait) {
        c->wait = wait;
        conn_rearm(c);
    }
}

static void conn_failed(struct client_conn *c, enum err e)
{
    struct stats_page *stats = c->base.stats;
    if (e == E_REFUSED) { /* more to acknowledge than it reads */
        stats_add(&stats->limit_upstream_http2, 1);
        http2_conn_condemn(&c->base, NGHTTP2_ENHANCE_YOUR_CALM);
    } else if (e == E_LIMIT || e == E_NOMEM) {
        stats_add(e == E_LIMIT ? &stats->limit_upstream_http2_memory : &stats->limit_memory, 1);
        conn_cut(c, REASON_overloaded, false);
    } else if (transport_handshake_fault(&c->base.link.transport) != REASON_none) {
        conn_cut(c, reason_of_end(c), false);
    } else if (e == E_PROTO) { /* not even HTTP/2, or TLS that broke later */
        http2_conn_condemn(&c->base, NGHTTP2_PROTOCOL_ERROR);
    } else {
        conn_cut(c, REASON_upstream_reset, e == E_CLOSED);
    }
}

static void conn_read(struct client_conn *c)
{
    enum err e = E_OK;
    for (int i = 0; i < RECEIVES_MAX && e == E_OK && !c->base.is_condemned; i++) {
        size_t n;
        e = http2_conn_receive(&c->base, STR_EMPTY, &n);
        if (n > 0) {
            c->received_at = loop_now(loop_of(c));
            c->is_capacity_stale = c->is_capacity_stale || c->is_probing;
            c->is_probing = false;
        }
    }
    if (e == E_OK) {
        http2_conn_defer(&c->base); /* there may be more */
    } else if (e != E_AGAIN) {
        conn_failed(c, e);
    }
}

static void conn_run(struct client_conn *c)
{
    if (c->base.link.is_readable && !c->base.is_cut) {
        conn_read(c);
    }
    conn_settle(c);
}

static void conn_on_work(struct deferred *d)
{
    conn_run(container_of(d, struct client_conn, base.work));
}

void client_conn_doubt(struct client_conn *c, usec_t since)
{
    if (c->received_at > since || c->is_probing || c->base.is_cut) {
        return;
    }
    c->is_probing = c->is_capacity_stale = true;
    capacity_set(c, 0);
    if (nghttp2_submit_ping(c->base.link.session, NGHTTP2_FLAG_NONE, NULL) != 0) {
        c->base.link.is_broken = true; /* out of memory */
    }
    http2_conn_defer(&c->base);
}

/* ---- events ---- */

static bool conn_connected(struct client_conn *c)
{
    struct http2_link *link = &c->base.link;
    int error = dial_outcome(link->transport.watch.fd);
    if (error != 0) {
        conn_cut(c, error == ETIMEDOUT ? REASON_connect_timeout : REASON_connect_refused, false);
        return false;
    }
    dial_watch_peer(link->transport.watch.fd);
    c->state = link->transport.is_open ? CLIENT_GREETING : CLIENT_SHAKING;
    link->is_readable = c->state == CLIENT_SHAKING; /* receive() drives it */
    return true;
}

static void conn_on_event(struct watch *w, uint32_t events)
{
    struct client_conn *c = container_of(w, struct client_conn, base.link.transport.watch);
    if (c->state == CLIENT_CONNECTING &&
        ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0 || !conn_connected(c))) {
        return;
    }
    /* What has come is read before anything is sent: it may be a GOAWAY. */
    http2_conn_on_event(&c->base, events & ~(uint32_t)EPOLLOUT);
    if (c->base.link.is_readable) {
        conn_read(c);
    }
    if (!c->base.is_cut) {
        http2_conn_on_event(&c->base, events & EPOLLOUT);
        if ((events & EPOLLOUT) != 0 && c->base.link.is_blocked) {
            c->wait = CLIENT_WAIT_NONE; /* it has moved: anew */
        }
    }
    conn_settle(c);
}

static void conn_on_timer(struct timer *t)
{
    struct client_conn *c = container_of(t, struct client_conn, base.timer);
    enum client_wait wait = c->wait;
    if (wait == CLIENT_WAIT_WRITE && http2_link_has_moved(&c->base.link)) {
        conn_rearm(c); /* slow, but reading */
        return;
    }
    http2_wait_count(&c->base, &waits[wait]);
    switch (wait) {
    case CLIENT_WAIT_NONE:
    case CLIENT_WAITS_N:
        return;
    case CLIENT_WAIT_CONNECT:
    case CLIENT_WAIT_SHAKE:
        conn_cut(c, REASON_connect_timeout, false);
        break;
    case CLIENT_WAIT_WRITE:
    case CLIENT_WAIT_PONG:
        conn_cut(c, REASON_upstream_timeout, false);
        break;
    case CLIENT_WAIT_IDLE:
        c->is_leaving = true;
        break;
    }
    conn_settle(c);
}

static void link_on_broken(struct http2_link *l)
{
    l->is_readable = l->is_readable || l->is_deaf;
    http2_conn_defer(container_of(l, struct http2_conn, link));
}

static void link_on_flushed(struct http2_link *l)
{
    conn_settle(container_of(l, struct client_conn, base.link));
}

static const struct http2_link_events link_events = {
    .on_received = http2_conn_on_received,
    .on_broken = link_on_broken,
    .on_flushed = link_on_flushed,
};

/* ---- what nghttp2 tells ---- */

/* RFC 9113 section 8.4: our SETTINGS forbid pushes, and stand before any request. */
static int on_head_begins(struct http2_conn *base, const nghttp2_frame *frame)
{
    if (frame->hd.type == NGHTTP2_PUSH_PROMISE) {
        http2_conn_condemn(base, NGHTTP2_PROTOCOL_ERROR);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return 0;
}

/* nghttp2 resets the stream, which is seen when it is over. */
static void on_head_invalid(struct http2_conn *base, const nghttp2_frame *frame)
{
    (void)base;
    (void)frame;
}

static void on_frame(struct http2_conn *base, struct http2_stream *s, const nghttp2_frame *frame)
{
    struct client_conn *c = client_conn_of(base);
    switch (frame->hd.type) {
    case NGHTTP2_RST_STREAM: /* one for each request at most, unless somebody plays */
        if (s != NULL) {
            s->is_reset = true;
        } else {
            http2_conn_noise(base, HTTP2_NOISE_OTHER);
        }
        break;
    case NGHTTP2_GOAWAY: /* at once: its streams are about to look for another connection */
        c->is_leaving = c->is_capacity_stale = true;
        capacity_set(c, 0);
        break;
    case NGHTTP2_SETTINGS:
        c->is_capacity_stale = c->is_capacity_stale || (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0;
        break;
    default:
        break;
    }
}

/* From here on the endpoint may have seen it. */
static int on_frame_leaves(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct http2_conn *base = container_of(user, struct http2_conn, link);
    struct http2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (frame->hd.type != NGHTTP2_HEADERS || s == NULL || s->is_begun) {
        return 0;
    }
    s->is_begun = true;
    s->sent_before = base->link.transport.sent_n;
    if (s->is_send_blocked && s->out.n == 0 && !list_is_linked(&s->writable_node)) {
        list_append(&base->writable, &s->writable_node);
    }
    http2_conn_defer(base);
    http2_stream_update_wait(s);
    return 0;
}

static const struct http2_side side = {
    .limit_head_bytes = offsetof(struct stats_page, limit_response_head_bytes),
    .limit_head_fields = offsetof(struct stats_page, limit_response_head_fields),
    .noise = offsetof(struct stats_page, limit_upstream_http2),
    .stream_waits =
        {
                       [STREAM_WAIT_HEAD] = {.timeout = offsetof(struct snap_settings, proxy_read_timeout),
                                  .counter = offsetof(struct stats_page, timeout_upstream_head)},
                       [STREAM_WAIT_BODY] = {.timeout = offsetof(struct snap_settings, proxy_read_timeout),
                                  .counter = offsetof(struct stats_page, timeout_upstream_read)},
                       [STREAM_WAIT_WINDOW] = {.timeout = offsetof(struct snap_settings, proxy_send_timeout),
                                    .counter = offsetof(struct stats_page, timeout_upstream_write)},
                       },
    .on_work = conn_on_work,
    .on_head_begins = on_head_begins,
    .on_head = client_stream_head,
    .on_head_invalid = on_head_invalid,
    .on_frame = on_frame,
    .begin = client_stream_begin,
    .on_over = client_stream_over,
    .on_end_sent = client_stream_end_sent,
    .finish = client_stream_finish,
    .wait_of = client_stream_wait,
    .on_timeout = client_stream_timeout,
};

/* ---- dialing ---- */

static enum err conn_greet(struct client_conn *c)
{
    const struct snap_settings *settings = c->base.link.context->settings;
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH,          0                                   },
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,  HTTP2_STREAM_WINDOW_BYTES           },
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)settings->max_header_bytes},
    };
    /* As much as all streams may keep, so that a client that reads slowly holds up nobody else's
     * response. */
    uint64_t window = settings->upstream_max_concurrent_streams * HTTP2_STREAM_WINDOW_BYTES;
    window = window < HTTP2_CONN_WINDOW_BYTES ? HTTP2_CONN_WINDOW_BYTES : window;
    nghttp2_session *session = c->base.link.session;
    bool is_done =
        nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, entries,
                                sizeof(entries) / sizeof(entries[0])) == 0 &&
        nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, (int32_t)window) == 0;
    return is_done ? E_OK : E_NOMEM;
}

static enum err conn_new(struct http2_dialer *d, struct client_conn **ret)
{
    struct client_conn *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        return E_NOMEM;
    }
    enum err e = http2_conn_init(&c->base, d->context, &side, &link_events, d->calls, d->stats);
    if (e == E_OK && conn_greet(c) != E_OK) {
        http2_conn_fini(&c->base);
        e = E_NOMEM;
    }
    if (e != E_OK) {
        mem_free(c);
        return e;
    }
    c->dialer = d;
    list_init(&c->lost);
    c->base.link.is_waiting = true;
    *ret = c;
    return E_OK;
}

static enum err conn_dial(struct client_conn *c, const struct ip *ip, uint16_t port)
{
    struct transport_opener *opener = c->dialer->opener;
    struct transport *t = &c->base.link.transport;
    struct loop *loop = loop_of(c);
    int fd = -1;
    TRY(dial_begin(ip, port, &fd));
    return opener == NULL ? transport_plain_open(t, loop, fd, conn_on_event)
                          : opener->open(opener, t, loop, fd, conn_on_event);
}

static void count_dial(struct stats_page *stats, enum err e)
{
    stats_value *counter = e == E_NOMEM   ? &stats->limit_memory
                           : e == E_LIMIT ? &stats->limit_descriptors
                                          : &stats->upstream_connect_failures;
    stats_add(counter, 1);
}

static enum err dialer_dial(struct http_dialer *base, const struct ip *ip, uint16_t port,
                            const struct http_conn_events *events, void *owner,
                            struct http_conn **ret)
{
    struct http2_dialer *d = container_of(base, struct http2_dialer, dialer);
    struct client_conn *c = NULL;
    enum err e = conn_new(d, &c);
    if (e == E_OK && (e = conn_dial(c, ip, port)) != E_OK) {
        http2_conn_fini(&c->base);
        mem_free(c);
    }
    if (e != E_OK) {
        count_dial(d->stats, e);
        return e;
    }
    base->conn_n++;
    c->pool = (struct http_conn){&conn_ops, events, owner};
    c->pool.stream_max = (uint32_t)d->context->settings->upstream_max_concurrent_streams;
    c->wait = CLIENT_WAIT_CONNECT;
    conn_rearm(c);
    *ret = &c->pool;
    return E_OK;
}

enum err http2_dialer_init(struct http2_dialer *d, struct http2_context *context,
                           struct stats_page *stats, struct transport_opener *opener)
{
    *d = (struct http2_dialer){{dialer_dial}, context, stats, opener, NULL};
    TRY(http2_calls_new(&d->calls));
    nghttp2_session_callbacks_set_before_frame_send_callback(d->calls, on_frame_leaves);
    return E_OK;
}

void http2_dialer_fini(struct http2_dialer *d)
{
    nghttp2_session_callbacks_del(d->calls);
    d->calls = NULL;
}
