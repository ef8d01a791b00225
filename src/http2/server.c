/* The client side of HTTP/2: one connection.
 *
 *   OPEN ──GOAWAY sent or received, no streams left──> CLOSING ──> DEAD
 *
 * nghttp2 keeps the rules of frames, of HPACK and of messages, and asks by callbacks; streams are
 * in server_stream.c. Nobody sends or frees inside of a callback: what is to be done is noted, and
 * conn_settle() does it afterwards. Going away takes two GOAWAY (RFC 9113 section 6.8): the first
 * names no stream and is followed by a PING; whatever the client opened before it saw that is still
 * served. CLOSING sends what is gathered, then waits for the client's end, so that it can read our
 * last words. DEAD waits for the end of the tick to be freed. */
#include "http2/server.h"

#include <sys/epoll.h>

#include "base/mem.h"
#include "http2/server_priv.h"

enum { RECEIVES_MAX = 4 }; /* in one go before others get their turn */

static const struct {
    size_t timeout; /* offset in struct snap_settings; 0 = fixed */
    usec_t fixed;
    size_t counter; /* offset of the stats_value in struct stats_page; 0 = none */
} waits[CONN_WAITS_N] = {
    [CONN_WAIT_HEAD] = {offsetof(struct snap_settings, client_header_timeout),                   0,
                        offsetof(struct stats_page, timeout_client_head)},
    [CONN_WAIT_IDLE] = {offsetof(struct snap_settings,         keep_alive),                                                 0,
                        offsetof(struct stats_page, timeout_client_idle)},
    [CONN_WAIT_WRITE] = {offsetof(struct snap_settings,                            send_timeout),                                              0,
                        offsetof(struct stats_page, timeout_client_write)},
    [CONN_WAIT_NOTICE] = {0, TIMEOUT_HTTP2_NOTICE, 0},
    [CONN_WAIT_LINGER] = {0,        TIMEOUT_LINGER,                                                0                                                                                             },
};

static timer_fn conn_on_timer;
static deferred_fn conn_on_work;
static void conn_settle(struct server_conn *c);

static struct server_conn *conn_of(void *user)
{
    return container_of(user, struct server_conn, link);
}

static struct stream *stream_get(struct server_conn *c, int32_t id)
{
    return nghttp2_session_get_stream_user_data(c->link.session, id);
}

void conn_defer(struct server_conn *c)
{
    if (c->state != CONN_DEAD) {
        loop_defer(c->link.context->loop, &c->work, conn_on_work);
    }
}

/* ---- life ---- */

static void conn_free(struct deferred *d)
{
    struct server_conn *c = container_of(d, struct server_conn, work);
    http2_link_fini(&c->link);
    mem_free(c);
}

/* Ends everything; the owners of streams are told. Not inside of nghttp2. */
static void conn_kill(struct server_conn *c, enum reason why, bool has_reset)
{
    if (c->state == CONN_DEAD) {
        return;
    }
    c->state = CONN_DEAD;
    c->held = NULL;
    while (!list_is_empty(&c->streams)) {
        struct stream *s = container_of(c->streams.next, struct stream, node);
        s->is_closed = true; /* nothing is sent on it any more */
        stream_break(s, why);
        stream_free(s);
    }
    stats_sub(c->is_counted_idle ? &c->server->stats->conns_idle : &c->server->stats->conns_active,
              1);
    http2_link_close(&c->link, has_reset);
    buf_fini(&c->kept_head);
    loop_disarm(c->link.context->loop, &c->timer);
    list_del(&c->node);
    c->server->conn_n--;
    loop_defer(c->link.context->loop, &c->work, conn_free);
}

/* The peer did what it must not: it is told by GOAWAY, then the connection ends. */
static void conn_condemn(struct server_conn *c, uint32_t code)
{
    if (!c->is_condemned) {
        c->is_condemned = true;
        if (nghttp2_session_terminate_session(c->link.session, code) != 0) {
            c->link.is_broken = true; /* out of memory */
        }
        conn_defer(c);
    }
}

static void conn_noise(struct server_conn *c, enum http2_noise noise)
{
    usec_t now = loop_now(c->link.context->loop);
    if (!c->is_condemned && !http2_guard_allows(&c->guard, noise, now, c->server->stats)) {
        conn_condemn(c, NGHTTP2_ENHANCE_YOUR_CALM);
    }
}

/* ---- receiving ---- */

/* Hands the request over that waited for its first DATA. */
static void conn_begin_held(struct server_conn *c, struct str body, bool is_end)
{
    struct stream *s = c->held;
    if (s != NULL) {
        c->held = NULL;
        stream_begin(s, body, is_end);
    }
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *head, void *user)
{
    struct server_conn *c = conn_of(user);
    (void)session;
    bool is_data = head->type == NGHTTP2_DATA;
    c->frame_left = is_data ? head->length : 0;
    if (c->held != NULL && (!is_data || head->stream_id != c->held->id)) {
        conn_begin_held(c, STR_EMPTY, false);
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct server_conn *c = conn_of(user);
    struct http2_context *x = c->link.context;
    c->is_in_head = true;
    http2_head_begin(x->head, x->settings->max_header_bytes,
                     (uint32_t)x->settings->max_header_fields);
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    struct stream *s = stream_new(c, frame->hd.stream_id);
    if (s == NULL) {
        stats_add(&c->server->stats->limit_memory, 1);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    (void)nghttp2_session_set_stream_user_data(session, s->id, s); /* it is there */
    return 0;
}

static struct str str_of(nghttp2_rcbuf *b)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(b);
    return str_make((const char *)v.base, v.len);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    struct server_conn *c = conn_of(user);
    (void)session;
    (void)frame;
    (void)flags;
    if (http2_head_add(c->link.context->head, str_of(name), str_of(value)) != E_OK) {
        stats_add(&c->server->stats->limit_head_bytes, 1);
        conn_condemn(c, NGHTTP2_ENHANCE_YOUR_CALM);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return 0;
}

/* RFC 9113 section 8.1.1: a malformed request is not passed over, and not repaired. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    (void)name;
    (void)value;
    (void)flags;
    (void)user;
    (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                    NGHTTP2_PROTOCOL_ERROR); /* else INTERNAL_ERROR is sent */
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* nghttp2 counts the streams; beyond the maximum it refuses them, or the connection of a client
 * that has acknowledged it: RFC 9113 section 5.1.2. */
static bool is_excess(const struct server_conn *c, const nghttp2_frame *frame)
{
    return c->stream_n >= c->link.context->settings->http2_max_concurrent_streams &&
           nghttp2_session_get_stream_user_data(c->link.session, frame->hd.stream_id) == NULL;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int fault,
                            void *user)
{
    struct server_conn *c = conn_of(user);
    (void)session;
    (void)fault;
    if (frame->hd.type != NGHTTP2_HEADERS) {
        return 0;
    }
    c->is_in_head = false;
    if (is_excess(c, frame)) {
        stats_add(&c->server->stats->limit_http2_streams, 1);
    } else {
        c->server->handler->on_rejected(c->server->handler, &c->peer, STR_EMPTY,
                                        REASON_bad_request);
    }
    return 0;
}

/* RFC 9218 section 4: without a word from the client, streams of one urgency take turns, instead of
 * one after the other. */
static void stream_be_fair(struct server_conn *c, int32_t id)
{
    nghttp2_extpri priority = {.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1};
    if (!c->link.context->head->has_priority) {
        (void)nghttp2_session_change_extpri_stream_priority(c->link.session, id, &priority,
                                                            0); /* an ordering, not a need */
    }
}

static void conn_go_away(struct server_conn *c);

static void on_request_head(struct server_conn *c, const nghttp2_frame *frame)
{
    struct stream *s = stream_get(c, frame->hd.stream_id);
    c->is_in_head = false;
    if (s == NULL || c->is_condemned) {
        return;
    }
    http2_head_end(c->link.context->head);
    stream_be_fair(c, s->id);
    c->held = s;
    if (++c->request_n >= c->link.context->settings->keep_alive_requests) {
        conn_go_away(c);
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        conn_begin_held(c, STR_EMPTY, true);
    }
}

static void on_trailers(struct server_conn *c, const nghttp2_frame *frame)
{
    struct stream *s = stream_get(c, frame->hd.stream_id);
    c->is_in_head = false;
    if (s != NULL) {
        stream_trailers(s);
    }
}

static void on_data_end(struct server_conn *c, const nghttp2_frame *frame)
{
    struct stream *s = stream_get(c, frame->hd.stream_id);
    if (s == NULL) {
        return;
    }
    if (c->held == s) {
        conn_begin_held(c, STR_EMPTY, true);
    } else if (!s->is_in_ended) {
        stream_data(s, STR_EMPTY, true);
    }
}

static void on_data_frame(struct server_conn *c, const nghttp2_frame *frame)
{
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        on_data_end(c, frame);
    } else if (frame->hd.length == frame->data.padlen) {
        conn_noise(c, HTTP2_NOISE_EMPTY);
        return;
    }
    http2_guard_useful(&c->guard);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct server_conn *c = conn_of(user);
    bool is_ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
    (void)session;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        http2_guard_useful(&c->guard);
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
            on_request_head(c, frame);
        } else {
            on_trailers(c, frame);
        }
        break;
    case NGHTTP2_DATA:
        on_data_frame(c, frame);
        break;
    case NGHTTP2_RST_STREAM:
        conn_noise(c, HTTP2_NOISE_RESET);
        break;
    case NGHTTP2_PING:
        if (!is_ack) {
            conn_noise(c, HTTP2_NOISE_PING);
        } else if (c->is_noticed && !c->is_told) {
            conn_go_away(c); /* it has seen the first GOAWAY */
        }
        break;
    case NGHTTP2_SETTINGS:
        c->has_settings = true;
        if (!is_ack) {
            conn_noise(c, HTTP2_NOISE_SETTINGS);
        }
        break;
    default: /* link_on_received() has seen it */
        break;
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user)
{
    struct server_conn *c = conn_of(user);
    struct stream *s = stream_get(c, id);
    struct str data = str_make((const char *)p, n);
    c->frame_left -= n;
    bool is_end = (flags & NGHTTP2_FLAG_END_STREAM) != 0 && c->frame_left == 0;
    if (s == NULL || c->is_condemned) {
        (void)nghttp2_session_consume_connection(session, n); /* out of memory shows later */
    } else if (c->held == s) {
        conn_begin_held(c, data, is_end);
    } else {
        stream_data(s, data, is_end);
    }
    return 0;
}

/* ---- sending ---- */

/* Resets that say nothing about the client. */
static bool is_own_reset(uint32_t code)
{
    return code == NGHTTP2_NO_ERROR || code == NGHTTP2_INTERNAL_ERROR || code == NGHTTP2_CANCEL;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct server_conn *c = conn_of(user);
    (void)session;
    if (frame->hd.type == NGHTTP2_RST_STREAM && !is_own_reset(frame->rst_stream.error_code)) {
        conn_noise(c, HTTP2_NOISE_PROVOKED);
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) {
        return 0;
    }
    http2_guard_useful(&c->guard);
    struct stream *s = stream_get(c, frame->hd.stream_id);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && s != NULL) {
        stream_end_sent(s);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct server_conn *c = conn_of(user);
    struct stream *s = stream_get(c, id);
    (void)session;
    if (s == NULL) {
        return 0;
    }
    if (c->held == s) {
        c->held = NULL;
    }
    stream_over(s, code);
    conn_defer(c);
    return 0;
}

/* RFC 9113 section 6.8. */
static void conn_go_away(struct server_conn *c)
{
    nghttp2_session *session = c->link.session;
    int fault;
    if (!c->is_noticed) {
        c->is_noticed = true;
        fault = nghttp2_submit_shutdown_notice(session);
        fault = fault != 0 ? fault : nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, NULL);
    } else if (!c->is_told) {
        c->is_told = true;
        fault = nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE,
                                      nghttp2_session_get_last_proc_stream_id(session),
                                      NGHTTP2_NO_ERROR, NULL, 0);
    } else {
        return;
    }
    c->link.is_broken = c->link.is_broken || fault != 0; /* out of memory */
    conn_defer(c);
}

/* ---- what is next ---- */

static enum conn_wait wait_of(const struct server_conn *c)
{
    if (c->link.is_blocked) {
        return CONN_WAIT_WRITE;
    }
    if (c->state == CONN_CLOSING) {
        return CONN_WAIT_LINGER;
    }
    if (c->is_in_head || !c->has_settings) {
        return CONN_WAIT_HEAD;
    }
    if (c->is_noticed && !c->is_told) {
        return CONN_WAIT_NOTICE;
    }
    return c->stream_n == 0 ? CONN_WAIT_IDLE : CONN_WAIT_NONE;
}

static void conn_rearm(struct server_conn *c)
{
    const char *settings = (const char *)c->link.context->settings;
    if (c->wait == CONN_WAIT_WRITE) {
        http2_link_mark(&c->link);
    }
    if (c->wait != CONN_WAIT_NONE) {
        usec_t timeout = waits[c->wait].fixed != 0
                             ? waits[c->wait].fixed
                             : *(const uint64_t *)(const void *)(settings + waits[c->wait].timeout);
        loop_arm(c->link.context->loop, &c->timer, timeout, conn_on_timer);
    }
}

static void conn_count(struct server_conn *c)
{
    struct stats_page *stats = c->server->stats;
    bool is_idle = c->stream_n == 0;
    if (is_idle != c->is_counted_idle) {
        stats_sub(is_idle ? &stats->conns_active : &stats->conns_idle, 1);
        stats_add(is_idle ? &stats->conns_idle : &stats->conns_active, 1);
        c->is_counted_idle = is_idle;
    }
}

static void conn_close_if_due(struct server_conn *c)
{
    nghttp2_session *session = c->link.session;
    bool is_over =
        nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0;
    if (c->state != CONN_OPEN || !is_over || c->link.is_blocked) {
        return;
    }
    http2_link_flush(&c->link);
    if (!c->link.is_broken && http2_link_is_flushed(&c->link)) {
        c->state = CONN_CLOSING;
        c->link.transport.ops->finish(&c->link.transport);
        conn_defer(c); /* there may be something to discard */
    }
}

/* After anything that happened: outside of nghttp2, at the top of the stack. */
static void conn_settle(struct server_conn *c)
{
    for (struct list *it; (it = list_pop(&c->writable)) != NULL;) {
        stream_writable(container_of(it, struct stream, writable_node));
    }
    http2_link_pump(&c->link);
    conn_close_if_due(c);
    if (c->link.is_broken) {
        conn_kill(c, REASON_client_abort, false);
        return;
    }
    conn_count(c);
    enum conn_wait wait = wait_of(c);
    if (wait != c->wait) {
        c->wait = wait;
        conn_rearm(c);
    }
}

/* CLOSING: what still comes is thrown away, until the client ends too. */
static void conn_discard(struct server_conn *c)
{
    struct http2_link *l = &c->link;
    for (int i = 0; i < RECEIVES_MAX && l->is_readable; i++) {
        size_t n;
        enum err e =
            l->transport.ops->receive(&l->transport, l->context->receive, RECEIVE_BYTES, &n);
        l->is_readable = e == E_OK && (n == RECEIVE_BYTES || l->has_hangup);
        if (e != E_OK && e != E_AGAIN) {
            conn_kill(c, REASON_client_abort, false);
            return;
        }
    }
    if (l->is_readable) {
        conn_defer(c);
    }
}

/* Feeds nghttp2; around it, the header section that is being decoded comes and goes. */
static enum err conn_receive(struct server_conn *c, struct str first)
{
    struct http2_head *head = c->link.context->head;
    size_t n = first.n;
    if (c->is_in_head) {
        http2_head_restore(head, &c->kept_head);
    }
    enum err e =
        first.n > 0 ? http2_link_feed(&c->link, first) : http2_link_receive(&c->link, 1, &n);
    stats_add(&c->server->stats->bytes_in, n);
    c->link.is_inside = true; /* what the owner answers is not to be sent from here */
    conn_begin_held(c, STR_EMPTY, false);
    c->link.is_inside = false;
    if (c->is_in_head && http2_head_keep(head, &c->kept_head) != E_OK) {
        return E_NOMEM;
    }
    return e;
}

/* first: bytes that came by another way, before those of the socket. */
static void conn_read(struct server_conn *c, struct str first)
{
    enum err e = E_OK;
    if (c->state == CONN_CLOSING) {
        conn_discard(c);
        return;
    }
    if (c->is_condemned) {
        return; /* once our last words are out, the rest is discarded */
    }
    for (int i = 0; i < RECEIVES_MAX && e == E_OK && !c->is_condemned; i++) {
        e = conn_receive(c, first);
        first = STR_EMPTY;
    }
    if (e == E_REFUSED) {
        stats_add(&c->server->stats->limit_http2_pings, 1);
        conn_condemn(c, NGHTTP2_ENHANCE_YOUR_CALM);
    } else if (e == E_LIMIT || e == E_NOMEM) {
        stats_add(e == E_LIMIT ? &c->server->stats->limit_http2_memory
                               : &c->server->stats->limit_memory,
                  1);
        conn_kill(c, REASON_overloaded, false);
    } else if (e == E_PROTO) { /* not even HTTP/2 */
        conn_condemn(c, NGHTTP2_PROTOCOL_ERROR);
    } else if (e == E_OK) {
        conn_defer(c); /* there may be more */
    } else if (e != E_AGAIN) {
        conn_kill(c, REASON_client_abort, false);
    }
}

static void conn_on_work(struct deferred *d)
{
    struct server_conn *c = container_of(d, struct server_conn, work);
    if (c->link.is_readable) {
        conn_read(c, STR_EMPTY);
    }
    if (c->state != CONN_DEAD) {
        conn_settle(c);
    }
}

static void conn_on_event(struct watch *w, uint32_t events)
{
    struct server_conn *c = container_of(w, struct server_conn, link.transport.watch);
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        c->link.is_readable = true;
    }
    if ((events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        c->link.has_hangup = true;
    }
    if ((events & EPOLLOUT) != 0 && c->link.is_blocked) {
        http2_link_flush(&c->link);
        c->wait = c->link.is_blocked ? CONN_WAIT_NONE : c->wait; /* it has moved: anew */
    }
    if (c->link.is_readable && c->state != CONN_DEAD) {
        conn_read(c, STR_EMPTY);
    }
    if (c->state != CONN_DEAD) {
        conn_settle(c);
    }
}

/* What nghttp2 may pass over in silence. */
static void link_on_received(struct http2_link *l, struct str bytes)
{
    struct server_conn *c = conn_of(l);
    struct http2_frame_head head;
    while (http2_walk_next(&c->walk, &bytes, &head)) {
        if (head.type == NGHTTP2_PRIORITY && head.stream == 0) { /* RFC 9113 section 6.3 */
            conn_condemn(c, NGHTTP2_PROTOCOL_ERROR);
        }
        if (head.type == NGHTTP2_PRIORITY || head.type >= NGHTTP2_WINDOW_UPDATE) {
            conn_noise(c, HTTP2_NOISE_OTHER);
        }
        c->continuation_n = head.type == NGHTTP2_CONTINUATION ? c->continuation_n + 1 : 0;
        if (c->continuation_n == HTTP2_CONTINUATIONS_MAX + 1) {
            stats_add(&c->server->stats->limit_http2_continuations, 1);
            conn_condemn(c, NGHTTP2_ENHANCE_YOUR_CALM);
        }
    }
}

static void link_on_broken(struct http2_link *l)
{
    conn_defer(conn_of(l));
}

static void link_on_flushed(struct http2_link *l)
{
    conn_settle(conn_of(l));
}

static const struct http2_link_events link_events = {
    .on_received = link_on_received,
    .on_broken = link_on_broken,
    .on_flushed = link_on_flushed,
};

static void conn_on_timer(struct timer *t)
{
    struct server_conn *c = container_of(t, struct server_conn, timer);
    enum conn_wait wait = c->wait;
    if (wait == CONN_WAIT_WRITE && http2_link_has_moved(&c->link)) {
        conn_rearm(c); /* slow, but reading */
        return;
    }
    if (waits[wait].counter != 0) {
        stats_add((stats_value *)(void *)((char *)c->server->stats + waits[wait].counter), 1);
    }
    switch (wait) {
    case CONN_WAIT_NONE:
    case CONN_WAITS_N:
        return;
    case CONN_WAIT_HEAD:
    case CONN_WAIT_LINGER:
        conn_kill(c, REASON_client_timeout, false);
        return;
    case CONN_WAIT_WRITE:
        conn_kill(c, REASON_client_stalled, true);
        return;
    case CONN_WAIT_IDLE:
        conn_condemn(c, NGHTTP2_NO_ERROR);
        break;
    case CONN_WAIT_NOTICE:
        conn_go_away(c);
        break;
    }
    conn_settle(c);
}

/* ---- the server ---- */

static enum err calls_new(nghttp2_session_callbacks **ret)
{
    nghttp2_session_callbacks *calls;
    if (nghttp2_session_callbacks_new(&calls) != 0) {
        return E_NOMEM;
    }
    nghttp2_session_callbacks_set_send_callback(calls, http2_link_on_send);
    nghttp2_session_callbacks_set_send_data_callback(calls, stream_on_send_data);
    nghttp2_session_callbacks_set_on_begin_frame_callback(calls, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(calls, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(calls, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(calls, on_invalid_header);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(calls, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, on_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(calls, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_stream_close);
    *ret = calls;
    return E_OK;
}

enum err http2_server_init(struct http2_server *s, struct http2_context *context,
                           struct http_handler *handler, struct stats_page *stats)
{
    *s = (struct http2_server){.context = context, .handler = handler, .stats = stats};
    list_init(&s->conns);
    list_init(&s->streams);
    return calls_new(&s->calls);
}

static enum err conn_begin(struct server_conn *c)
{
    const struct snap_settings *settings = c->link.context->settings;
    nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,  (uint32_t)settings->http2_max_concurrent_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,     HTTP2_STREAM_WINDOW_BYTES                       },
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,    (uint32_t)settings->max_header_bytes            },
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1                                               },
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES,   1                                               },
    };
    nghttp2_session *session = c->link.session;
    bool is_done = nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, entries,
                                           sizeof(entries) / sizeof(entries[0])) == 0 &&
                   nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
                                                         HTTP2_CONN_WINDOW_BYTES) == 0;
    return is_done ? E_OK : E_NOMEM;
}

static enum err conn_new(struct http2_server *s, const struct http_peer *peer,
                         struct server_conn **ret)
{
    struct server_conn *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        return E_NOMEM;
    }
    c->server = s;
    c->peer = *peer;
    list_init(&c->streams);
    list_init(&c->writable);
    buf_init(&c->kept_head, sizeof(struct http2_head));
    enum err e = http2_link_open(&c->link, s->context, &link_events, s->calls, true);
    if (e == E_OK) {
        e = conn_begin(c);
    }
    if (e != E_OK) {
        http2_link_fini(&c->link);
        mem_free(c);
        return e;
    }
    *ret = c;
    return E_OK;
}

enum err http2_server_take(struct http2_server *s, struct transport *t,
                           const struct http_peer *peer, struct str first)
{
    struct server_conn *c;
    enum err e = conn_new(s, peer, &c);
    if (e != E_OK) {
        stats_add(&s->stats->limit_memory, 1);
        t->ops->close(t, false);
        return e;
    }
    e = transport_move(t, &c->link.transport, conn_on_event);
    if (e != E_OK) {
        http2_link_fini(&c->link);
        mem_free(c);
        return e;
    }
    list_append(&s->conns, &c->node);
    s->conn_n++;
    stats_add(&s->stats->conns_idle, 1);
    c->is_counted_idle = true;
    c->walk.left = NGHTTP2_CLIENT_MAGIC_LEN;
    c->link.is_readable = true; /* a TLS transport may hold more, without a further event */
    conn_read(c, first);
    if (c->state != CONN_DEAD && s->is_draining) {
        conn_go_away(c);
    }
    if (c->state != CONN_DEAD) {
        conn_settle(c);
    }
    return E_OK;
}

void http2_server_drain(struct http2_server *s)
{
    s->is_draining = true;
    list_each(it, &s->conns)
    {
        struct server_conn *c = container_of(it, struct server_conn, node);
        if (c->state == CONN_OPEN) {
            conn_go_away(c);
        }
    }
}

void http2_server_fini(struct http2_server *s)
{
    while (!list_is_empty(&s->conns)) {
        struct server_conn *c = container_of(s->conns.next, struct server_conn, node);
        conn_kill(c, REASON_draining, false);
        loop_undefer(&c->work);
        conn_free(&c->work);
    }
    for (struct list *it; s->stream_n > 0 && (it = list_pop(&s->streams)) != NULL; s->stream_n--) {
        mem_free(container_of(it, struct stream, node));
    }
    nghttp2_session_callbacks_del(s->calls);
    s->calls = NULL;
}
