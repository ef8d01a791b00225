/* The client side of HTTP/2: one connection.
 *
 *   open ──GOAWAY sent or received, no streams left──> closing ──> dead
 *
 * nghttp2 keeps the rules of frames, of HPACK and of messages; what it tells goes through conn.c,
 * and requests are in server_stream.c. Going away takes two GOAWAY (RFC 9113 section 6.8): the
 * first names no stream and is followed by a PING; whatever the client opened before it saw that is
 * still served. A closing one sends what is gathered, then waits for the client's end, so that it
 * can read our last words. A dead one waits for the end of the tick to be freed. */
#include "http2/server.h"

#include <sys/epoll.h>

#include "base/mem.h"
#include "http2/server_priv.h"

enum { RECEIVES_MAX = 4 }; /* in one go before others get their turn */

static const struct http2_wait waits[CONN_WAITS_N] = {
    [CONN_WAIT_HEAD] = {.timeout = offsetof(struct snap_settings, client_header_timeout),
                        .counter = offsetof(struct stats_page, timeout_client_head)},
    [CONN_WAIT_IDLE] = {.timeout = offsetof(struct snap_settings,    keep_alive),
                        .counter = offsetof(struct stats_page, timeout_client_idle)},
    [CONN_WAIT_WRITE] = {.timeout = offsetof(struct snap_settings,                                        send_timeout),
                        .counter = offsetof(struct stats_page, timeout_client_write)},
    [CONN_WAIT_NOTICE] = {.fixed = TIMEOUT_HTTP2_NOTICE                         },
    [CONN_WAIT_LINGER] = {.fixed = TIMEOUT_LINGER                   },
};

static timer_fn conn_on_timer;
static deferred_fn conn_on_work;

/* ---- life ---- */

static void conn_free(struct deferred *d)
{
    struct server_conn *c = container_of(d, struct server_conn, base.work);
    http2_conn_fini(&c->base);
    mem_free(c);
}

/* Ends everything; the owners of streams are told. Not inside of nghttp2. */
static void conn_kill(struct server_conn *c, enum reason why, bool has_reset)
{
    struct http2_conn *base = &c->base;
    struct stats_page *stats = base->stats;
    if (base->is_over) {
        return;
    }
    base->is_over = true;
    http2_conn_cut(base);
    while (!list_is_empty(&base->streams)) {
        struct http2_stream *s = container_of(base->streams.next, struct http2_stream, node);
        s->is_closed = true; /* nothing is sent on it any more */
        http2_stream_break(s, why, false);
        server_stream_free(s);
    }
    http2_conn_close(base,
                     has_reset); /* only now: the owners have read what it tells of the peer */
    stats_sub(c->is_counted_idle ? &stats->conns_idle : &stats->conns_active, 1);
    list_del(&c->node);
    c->server->conn_n--;
    loop_defer(base->link.context->loop, &base->work, conn_free);
}

/* ---- receiving ---- */

static int on_head_begins(struct http2_conn *base, const nghttp2_frame *frame)
{
    struct server_conn *c = server_conn_of(base);
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    struct http2_stream *s = server_stream_new(c, frame->hd.stream_id);
    if (s == NULL) {
        stats_add(&base->stats->limit_memory, 1);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    (void)nghttp2_session_set_stream_user_data(base->link.session, s->id, s); /* it is there */
    return 0;
}

/* nghttp2 counts the streams; beyond the maximum it refuses them, or the connection of a client
 * that has acknowledged it: RFC 9113 section 5.1.2. */
static bool is_excess(const struct http2_conn *c, const nghttp2_frame *frame)
{
    return c->stream_n >= c->link.context->settings->http2_max_concurrent_streams &&
           nghttp2_session_get_stream_user_data(c->link.session, frame->hd.stream_id) == NULL;
}

static void on_head_invalid(struct http2_conn *base, const nghttp2_frame *frame)
{
    struct server_conn *c = server_conn_of(base);
    struct http_handler *handler = c->server->handler;
    if (is_excess(base, frame)) {
        stats_add(&base->stats->limit_http2_streams, 1);
    } else {
        handler->on_rejected(handler, &c->peer, STR_EMPTY, REASON_bad_request);
    }
}

/* RFC 9218 section 4: without a word from the client, streams of one urgency take turns, instead of
 * one after the other. */
static void stream_be_fair(struct http2_conn *c, int32_t id)
{
    nghttp2_extpri priority = {.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1};
    if (!c->link.context->head->has_priority) {
        (void)nghttp2_session_change_extpri_stream_priority(c->link.session, id, &priority,
                                                            0); /* an ordering, not a need */
    }
}

/* What a client unpacks here by a few bytes stays until the response: so it has a limit, however
 * many requests it is made of. What is refused was not begun: RFC 9113 section 8.7. */
static bool stream_has_room(struct server_conn *c, struct http2_stream *s)
{
    struct http2_context *x = c->base.link.context;
    const struct http2_head *head = x->head;
    size_t n = 0;
    if (head->fault == REASON_none) { /* else it is answered now */
        n = head->n + head->field_n * sizeof(head->fields[0]);
    }
    if (c->heads_n > 0 && c->heads_n + n > http2_conn_max(x, HTTP2_CONN_HEADS_MAX)) {
        stats_add(&c->base.stats->limit_http2_heads, 1);
        (void)nghttp2_submit_rst_stream(c->base.link.session, NGHTTP2_FLAG_NONE, s->id,
                                        NGHTTP2_REFUSED_STREAM); /* out of memory shows later */
        return false;
    }
    s->head_n = n;
    c->heads_n += n;
    return true;
}

/* RFC 9113 section 6.8. */
static void conn_go_away(struct server_conn *c)
{
    struct http2_conn *base = &c->base;
    nghttp2_session *session = base->link.session;
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
    base->link.is_broken = base->link.is_broken || fault != 0; /* out of memory */
    http2_conn_defer(base);
}

static void on_head(struct http2_conn *base, struct http2_stream *s, const nghttp2_frame *frame)
{
    struct server_conn *c = server_conn_of(base);
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        http2_stream_trailers(s);
        return;
    }
    http2_head_end(base->link.context->head);
    if (c->wait == CONN_WAIT_IDLE || c->wait == CONN_WAIT_HEAD) {
        c->wait = CONN_WAIT_NONE; /* anew, even if the answer is gone before anybody looks */
    }
    if (!stream_has_room(c, s)) {
        return;
    }
    stream_be_fair(base, s->id);
    if (++c->request_n >= base->link.context->settings->keep_alive_requests) {
        conn_go_away(c);
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        server_stream_begin(s, STR_EMPTY, true);
    } else {
        base->held = s;
    }
}

static void on_frame(struct http2_conn *base, struct http2_stream *s, const nghttp2_frame *frame)
{
    struct server_conn *c = server_conn_of(base);
    (void)s;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        http2_conn_noise(base, HTTP2_NOISE_RESET);
    } else if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 &&
               c->is_noticed && !c->is_told) {
        conn_go_away(c); /* it has seen the first GOAWAY */
    }
}

static const struct http2_side side = {
    .is_server = true,
    .limit_head_bytes = offsetof(struct stats_page, limit_head_bytes),
    .limit_head_fields = offsetof(struct stats_page, limit_head_fields),
    .stream_waits =
        {
                       [STREAM_WAIT_BODY] = {.timeout = offsetof(struct snap_settings, client_body_timeout),
                                  .counter = offsetof(struct stats_page, timeout_client_body)},
                       [STREAM_WAIT_WINDOW] = {.timeout = offsetof(struct snap_settings, send_timeout),
                                    .counter = offsetof(struct stats_page, timeout_client_write)},
                       },
    .on_work = conn_on_work,
    .on_head_begins = on_head_begins,
    .on_head = on_head,
    .on_head_invalid = on_head_invalid,
    .on_frame = on_frame,
    .begin = server_stream_begin,
    .on_over = server_stream_over,
    .on_end_sent = server_stream_end_sent,
    .finish = server_stream_finish,
    .wait_of = server_stream_wait,
    .on_timeout = server_stream_timeout,
};

/* ---- what is next ---- */

static enum conn_wait wait_of(const struct server_conn *c)
{
    const struct http2_conn *base = &c->base;
    if (base->link.is_blocked) { /* who is given up has less time for our last words */
        return base->is_condemned ? CONN_WAIT_LINGER : CONN_WAIT_WRITE;
    }
    if (c->is_closing) {
        return CONN_WAIT_LINGER;
    }
    if (base->is_in_head || !base->has_settings) {
        return CONN_WAIT_HEAD;
    }
    if (c->is_noticed && !c->is_told) {
        return CONN_WAIT_NOTICE;
    }
    return base->stream_n == 0 ? CONN_WAIT_IDLE : CONN_WAIT_NONE;
}

static void conn_rearm(struct server_conn *c)
{
    struct http2_link *link = &c->base.link;
    if (c->wait == CONN_WAIT_WRITE) {
        http2_link_mark(link);
    }
    if (c->wait != CONN_WAIT_NONE) {
        loop_arm(link->context->loop, &c->base.timer, http2_wait_time(&c->base, &waits[c->wait]),
                 conn_on_timer);
    }
}

static void conn_count(struct server_conn *c)
{
    struct stats_page *stats = c->base.stats;
    bool is_idle = c->base.stream_n == 0;
    if (is_idle != c->is_counted_idle) {
        stats_sub(is_idle ? &stats->conns_active : &stats->conns_idle, 1);
        stats_add(is_idle ? &stats->conns_idle : &stats->conns_active, 1);
        c->is_counted_idle = is_idle;
    }
}

static void conn_close_if_due(struct server_conn *c)
{
    struct http2_link *link = &c->base.link;
    bool is_over = nghttp2_session_want_read(link->session) == 0 &&
                   nghttp2_session_want_write(link->session) == 0;
    if (c->is_closing || !is_over || link->is_blocked) {
        return;
    }
    http2_link_flush(link);
    if (!link->is_broken && !link->is_deaf && http2_link_is_flushed(link)) {
        c->is_closing = true;
        link->transport.ops->finish(&link->transport);
        http2_conn_defer(&c->base); /* there may be something to discard */
    }
}

/* After anything that happened: outside of nghttp2, at the top of the stack. */
static void conn_settle(struct server_conn *c)
{
    http2_conn_pump(&c->base);
    conn_close_if_due(c);
    if (c->base.link.is_broken || c->base.link.is_deaf) {
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

/* Closing: what still comes is thrown away, until the client ends too. */
static void conn_discard(struct server_conn *c)
{
    struct http2_link *l = &c->base.link;
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
        http2_conn_defer(&c->base);
    }
}

static void conn_failed(struct server_conn *c, enum err e)
{
    struct stats_page *stats = c->base.stats;
    if (e == E_REFUSED) {
        stats_add(&stats->limit_http2_pings, 1);
        http2_conn_condemn(&c->base, NGHTTP2_ENHANCE_YOUR_CALM);
    } else if (e == E_LIMIT || e == E_NOMEM) {
        stats_add(e == E_LIMIT ? &stats->limit_http2_memory : &stats->limit_memory, 1);
        conn_kill(c, REASON_overloaded, false);
    } else if (e == E_PROTO) { /* not even HTTP/2 */
        http2_conn_condemn(&c->base, NGHTTP2_PROTOCOL_ERROR);
    } else {
        conn_kill(c, REASON_client_abort, false);
    }
}

/* first: bytes that came by another way, before those of the socket. */
static void conn_read(struct server_conn *c, struct str first)
{
    enum err e = E_OK;
    if (c->is_closing) {
        conn_discard(c);
        return;
    }
    if (c->base.is_condemned) {
        return; /* once our last words are out, the rest is discarded */
    }
    for (int i = 0; i < RECEIVES_MAX && e == E_OK && !c->base.is_condemned; i++) {
        size_t n;
        e = http2_conn_receive(&c->base, first, &n);
        stats_add(&c->base.stats->bytes_in, n);
        first = STR_EMPTY;
    }
    if (e == E_OK) {
        http2_conn_defer(&c->base); /* there may be more */
    } else if (e != E_AGAIN) {
        conn_failed(c, e);
    }
}

static void conn_run(struct server_conn *c)
{
    if (c->base.link.is_readable && !c->base.is_over) {
        conn_read(c, STR_EMPTY);
    }
    if (!c->base.is_over) {
        conn_settle(c);
    }
}

static void conn_on_work(struct deferred *d)
{
    conn_run(container_of(d, struct server_conn, base.work));
}

static void conn_on_event(struct watch *w, uint32_t events)
{
    struct server_conn *c = container_of(w, struct server_conn, base.link.transport.watch);
    http2_conn_on_event(&c->base, events);
    if ((events & EPOLLOUT) != 0 && c->base.link.is_blocked) {
        c->wait = CONN_WAIT_NONE; /* it has moved: anew */
    }
    conn_run(c);
}

static void link_on_broken(struct http2_link *l)
{
    http2_conn_defer(container_of(l, struct http2_conn, link));
}

static void link_on_flushed(struct http2_link *l)
{
    conn_settle(container_of(l, struct server_conn, base.link));
}

static const struct http2_link_events link_events = {
    .on_received = http2_conn_on_received,
    .on_broken = link_on_broken,
    .on_flushed = link_on_flushed,
};

static void conn_on_timer(struct timer *t)
{
    struct server_conn *c = container_of(t, struct server_conn, base.timer);
    enum conn_wait wait = c->wait;
    if (wait == CONN_WAIT_WRITE && http2_link_has_moved(&c->base.link)) {
        conn_rearm(c); /* slow, but reading */
        return;
    }
    http2_wait_count(&c->base, &waits[wait]);
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
        http2_conn_condemn(&c->base, NGHTTP2_NO_ERROR);
        break;
    case CONN_WAIT_NOTICE:
        conn_go_away(c);
        break;
    }
    conn_settle(c);
}

/* ---- the server ---- */

enum err http2_server_init(struct http2_server *s, struct http2_context *context,
                           struct http_handler *handler, struct stats_page *stats)
{
    *s = (struct http2_server){.context = context, .handler = handler, .stats = stats};
    list_init(&s->conns);
    return http2_calls_new(&s->calls);
}

static enum err conn_begin(struct http2_conn *c)
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
    enum err e = http2_conn_init(&c->base, s->context, &side, &link_events, s->calls, s->stats);
    if (e == E_OK && conn_begin(&c->base) != E_OK) {
        http2_conn_fini(&c->base);
        e = E_NOMEM;
    }
    if (e != E_OK) {
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
    struct http2_conn *base = &c->base;
    e = transport_move(t, &base->link.transport, conn_on_event);
    if (e != E_OK) {
        http2_conn_fini(base);
        mem_free(c);
        return e;
    }
    list_append(&s->conns, &c->node);
    s->conn_n++;
    stats_add(&s->stats->conns_idle, 1);
    c->is_counted_idle = true;
    base->walk.left = NGHTTP2_CLIENT_MAGIC_LEN;
    base->link.is_readable = true; /* a TLS transport may hold more, without a further event */
    conn_read(c, first);
    if (!base->is_over && s->is_draining) {
        conn_go_away(c);
    }
    if (!base->is_over) {
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
        if (!c->is_closing) {
            conn_go_away(c);
        }
    }
}

void http2_server_fini(struct http2_server *s)
{
    while (!list_is_empty(&s->conns)) {
        struct server_conn *c = container_of(s->conns.next, struct server_conn, node);
        conn_kill(c, REASON_draining, false);
        loop_undefer(&c->base.work);
        conn_free(&c->base.work);
    }
    nghttp2_session_callbacks_del(s->calls);
    s->calls = NULL;
}
