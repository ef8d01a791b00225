/* The upstream side of HTTP/1.
 *
 *   CONNECTING ──> SHAKING ──> IDLE <──> BUSY
 *        └────────────┴─────────┴─────────┴──> DEAD
 *
 * One stream at a time. A stream may be opened while CONNECTING or SHAKING (hands, where the
 * transport is one that does): its request is held until the connection stands. BUSY reads at once
 * until the response head is there, after that only when the stream's owner pulls. The connection
 * goes back to IDLE when both messages are complete, the stream is released and nothing unasked-for
 * has come; in every other case it is closed. DEAD waits for the end of the tick to be freed. */
#include "http1/client.h"

#include <errno.h>
#include <sys/epoll.h>

#include "base/mem.h"
#include "event/dial.h"
#include "http1/body.h"
#include "http1/emit.h"

enum state { CONNECTING, SHAKING, IDLE, BUSY, DEAD };

enum wait {
    WAIT_NONE,
    WAIT_CONNECT,
    WAIT_SHAKE,
    WAIT_WRITE,
    WAIT_HEAD,
    WAIT_READ,
    WAIT_IDLE,
    WAITS_N
};

enum { INTERIM_MAX = 16 }; /* 1xx responses before the real one */

struct conn {
    struct http1_channel channel; /* first */
    struct http1_dialer *dialer;
    struct http_conn base; /* what the pool sees */
    struct http_stream stream;
    struct timer timer;
    struct deferred work;
    struct h1_scan scan;
    size_t seen_n; /* bytes of an unfinished head that were scanned: wait for more than these */
    struct body_in body_in;
    struct body_out body_out;
    enum state state;
    enum wait wait;
    bool has_stream;
    bool is_calling;
    bool is_pulled;
    bool is_send_blocked;
    bool has_response; /* its head was reported */
    bool is_head;
    bool is_keep_alive;
    bool is_upgrade;     /* the request asked to switch protocols */
    bool is_tunnel;      /* and the response agreed */
    bool must_finish;    /* tunnel: our end is to be sent when everything is flushed */
    bool has_sent;       /* the kernel took some byte of the request */
    bool is_send_broken; /* it takes no more: what is still to be sent is dropped, the response that
                            may have come before is read, then the connection ends */
    uint8_t interim_n;
    uint64_t sent_before; /* bytes sent on the connection before this request */
};

static const struct {
    size_t timeout; /* offset in struct snap_settings */
    size_t counter; /* offset of the stats_value in struct stats_page; 0 = none */
} waits[WAITS_N] = {
    [WAIT_CONNECT] = {offsetof(struct snap_settings, proxy_connect_timeout),
                      offsetof(struct stats_page,                                                          timeout_upstream_connect)},
    [WAIT_SHAKE] = {offsetof(struct snap_settings,                             proxy_connect_timeout),
                      offsetof(struct stats_page, timeout_upstream_handshake)},
    [WAIT_WRITE] = {offsetof(struct snap_settings,  proxy_send_timeout),
                      offsetof(struct stats_page,                        timeout_upstream_write)},
    [WAIT_HEAD] = {offsetof(struct snap_settings,    proxy_read_timeout),
                      offsetof(struct stats_page,        timeout_upstream_head)},
    [WAIT_READ] = {offsetof(struct snap_settings,       proxy_read_timeout),
                      offsetof(struct stats_page,                           timeout_upstream_read)},
    [WAIT_IDLE] = {offsetof(struct snap_settings, upstream_keepalive_timeout), 0                                                         },
};

static void conn_run(struct conn *c);
static bool step_shake(struct conn *c);
static timer_fn conn_on_timer;
static deferred_fn conn_on_work;

static struct conn *conn_of_stream(struct http_stream *s)
{
    return container_of(s, struct conn, stream);
}

static struct loop *conn_loop(const struct conn *c)
{
    return c->dialer->context->loop;
}

/* ---- life ---- */

static void conn_free(struct deferred *d)
{
    struct conn *c = container_of(d, struct conn, work);
    c->dialer->dialer.conn_n--;
    mem_free(c);
}

/* Ends the connection without telling anybody. */
static void conn_kill(struct conn *c)
{
    c->state = DEAD;
    c->has_stream = false;
    channel_close(&c->channel, false);
    loop_disarm(conn_loop(c), &c->timer);
    loop_defer(conn_loop(c), &c->work, conn_free);
}

/* Requests are held until it does. */
static bool conn_stands(const struct conn *c)
{
    return c->state != CONNECTING && c->state != SHAKING;
}

/* Ends the connection and tells the pool, then the stream's owner. */
static void conn_end(struct conn *c, enum reason why, bool is_unsent)
{
    const struct http_stream_events *events = c->has_stream ? c->stream.events : NULL;
    bool has_connected = conn_stands(c);
    if (c->state == DEAD) {
        return;
    }
    conn_kill(c);
    c->base.events->on_closed(&c->base, why, has_connected);
    if (events != NULL) {
        events->on_closed(&c->stream, why, is_unsent);
    }
}

static void conn_abort(struct conn *c, enum reason why)
{
    conn_end(c, why, !c->has_sent);
}

static void conn_wait(struct conn *c, enum wait wait)
{
    const char *settings = (const char *)c->dialer->context->settings;
    c->wait = wait;
    if (wait == WAIT_WRITE) {
        channel_mark(&c->channel);
    }
    if (wait != WAIT_NONE) {
        usec_t timeout = *(const uint64_t *)(const void *)(settings + waits[wait].timeout);
        loop_arm(conn_loop(c), &c->timer, timeout, conn_on_timer);
    }
}

/* What to wait for when nothing is held for sending. */
static enum wait wait_when_flushed(const struct conn *c)
{
    if (c->state == IDLE) {
        return WAIT_IDLE;
    }
    if (c->is_send_broken) {
        return c->has_response ? WAIT_READ : WAIT_HEAD;
    }
    if (!c->has_response) { /* the answer may take its time while the request is still coming */
        return c->body_out.is_done ? WAIT_HEAD : WAIT_NONE;
    }
    return c->is_pulled ? WAIT_READ : WAIT_NONE;
}

/* ---- the stream's operations ---- */

static void conn_send_broke(struct conn *c)
{
    channel_drop_held(&c->channel);
    c->is_send_broken = true;
    c->channel.is_readable = true;
    conn_wait(c, wait_when_flushed(c));
    loop_defer(conn_loop(c), &c->work, conn_on_work);
}

static enum err conn_send(struct conn *c, struct iovec *parts, int part_n)
{
    enum err e;
    if (c->is_send_broken) {
        return E_OK;
    }
    if (!conn_stands(c)) {
        e = channel_hold(&c->channel, parts, part_n, 0);
        c->is_send_blocked = e == E_AGAIN;
        return e;
    }
    e = channel_send(&c->channel, parts, part_n);
    if (e == E_CLOSED || e == E_SYS || e == E_PROTO) {
        conn_send_broke(c);
        return E_OK;
    }
    c->has_sent = true;
    c->is_send_blocked = e == E_AGAIN;
    conn_wait(c, e == E_AGAIN ? WAIT_WRITE : wait_when_flushed(c));
    return e;
}

static void request_framing(struct conn *c, const struct http_request *r)
{
    switch (r->body) {
    case HTTP_BODY_NONE:
        c->body_out = (struct body_out){.coding = BODY_OUT_NONE};
        return;
    case HTTP_BODY_LENGTH:
        c->body_out = (struct body_out){BODY_OUT_PLAIN, .left = r->body_n, .has_length = true};
        return;
    case HTTP_BODY_STREAM:
        c->body_out = (struct body_out){.coding = BODY_OUT_CHUNKED};
        return;
    }
}

static enum err stream_send_request(struct http_stream *s, const struct http_request *r,
                                    struct str body, bool is_end)
{
    struct conn *c = conn_of_stream(s);
    struct wr w = wr_make(c->dialer->context->emit, EMIT_BYTES);
    request_framing(c, r);
    c->is_head = r->is_head;
    c->is_upgrade = r->upgrade.n > 0;
    emit_request_line(&w, r);
    bool has_length = emit_fields(&w, r->fields, r->field_n, r->body == HTTP_BODY_LENGTH);
    emit_framing(&w, r->body, r->body_n, has_length);
    struct str te;
    if (c->is_upgrade) {
        wr_str(&w, STR("connection: upgrade\r\n"));
    } else if (http_field_get(r->fields, r->field_n, FIELD_te, &te)) {
        wr_str(&w, STR("connection: te\r\n")); /* RFC 9110 section 10.1.4 */
    }
    wr_str(&w, STR("\r\n"));
    if (w.bad) {
        return E_LIMIT;
    }
    struct body_frame frame;
    struct iovec parts[1 + BODY_PARTS] = {
        {w.start, wr_n(&w)}
    };
    int part_n = 1;
    struct str trailers = emit_trailers(&w, s->to_send.fields, s->to_send.n);
    TRY(body_out_frame(&c->body_out, body, is_end, trailers, &frame, parts, &part_n));
    return conn_send(c, parts, part_n);
}

/* Half of a tunnel has ended: pass it on behind the last byte. */
static void conn_finish_if_due(struct conn *c)
{
    if (c->must_finish && channel_is_flushed(&c->channel)) {
        c->must_finish = false;
        c->channel.transport.ops->finish(&c->channel.transport);
    }
}

static enum err stream_send_body(struct http_stream *s, struct str data, bool is_end)
{
    struct conn *c = conn_of_stream(s);
    struct body_frame frame;
    struct iovec parts[BODY_PARTS];
    int part_n = 0;
    struct wr w = wr_make(c->dialer->context->emit, EMIT_BYTES);
    struct str trailers = emit_trailers(&w, s->to_send.fields, s->to_send.n);
    TRY(body_out_frame(&c->body_out, data, is_end, trailers, &frame, parts, &part_n));
    c->must_finish = c->is_tunnel && is_end;
    if (part_n == 0) {
        conn_finish_if_due(c);
        conn_wait(c, channel_is_flushed(&c->channel) ? wait_when_flushed(c) : WAIT_WRITE);
        return E_OK;
    }
    enum err e = conn_send(c, parts, part_n);
    conn_finish_if_due(c);
    return e;
}

static void stream_pull(struct http_stream *s)
{
    struct conn *c = conn_of_stream(s);
    c->is_pulled = true;
    if (channel_is_flushed(&c->channel)) {
        conn_wait(c, wait_when_flushed(c));
    }
    if (!c->is_calling && (c->channel.is_readable || c->channel.in.n > 0)) {
        loop_defer(conn_loop(c), &c->work, conn_on_work);
    }
}

static void conn_offer(struct conn *c)
{
    c->base.stream_n = 0;
    c->base.events->on_free(&c->base);
}

static void stream_release(struct http_stream *s)
{
    struct conn *c = conn_of_stream(s);
    bool is_reusable = !c->is_send_broken && c->has_response && c->is_keep_alive &&
                       c->body_in.is_done && c->body_out.is_done && channel_is_flushed(&c->channel);
    if (!c->is_calling) { /* outside of our own callback nobody looks at what has come since */
        is_reusable = is_reusable && !c->channel.is_readable && c->channel.in.n == 0;
    }
    c->has_stream = false;
    if (c->state == DEAD) {
        return;
    }
    if (!is_reusable) {
        bool has_connected = conn_stands(c);
        conn_kill(c);
        c->base.events->on_closed(&c->base, REASON_none, has_connected);
        return;
    }
    c->state = IDLE;
    conn_wait(c, WAIT_IDLE);
    if (!c->is_calling) {
        conn_offer(c);
    } /* else conn_settle(), once it is known that nothing unasked-for follows the response */
}

static const struct http_stream_ops stream_ops = {
    .send_request = stream_send_request,
    .send_body = stream_send_body,
    .pull = stream_pull,
    .release = stream_release,
};

/* ---- receiving ---- */

static struct http_response response_of(const struct conn *c, const struct h1_response *h)
{
    return (struct http_response){
        .status = h->status,
        .fields = c->dialer->context->fields,
        .field_n = h->field_n,
        .body = h->body == H1_BODY_NONE     ? HTTP_BODY_NONE
                : h->body == H1_BODY_LENGTH ? HTTP_BODY_LENGTH
                                            : HTTP_BODY_STREAM,
        .body_n = h->body_n,
        .is_tunnel = c->is_tunnel,
    };
}

/* True when the peer has neither sent nor closed since: an end that came together with the response
 * is not told again. */
static bool is_quiet(struct conn *c)
{
    struct str bytes;
    if (!c->channel.is_readable) {
        return true;
    }
    enum err e = channel_receive(&c->channel, &bytes);
    c->channel.context->is_receive_busy = false;
    return e == E_AGAIN;
}

/* After a callback: what was left over of the received bytes. A connection that went idle in the
 * callback is offered again only if nothing is left: bytes behind a response are never the next
 * one. */
static bool conn_settle(struct conn *c, struct str rest)
{
    if (c->state == DEAD) {
        c->channel.context->is_receive_busy = false;
        return false;
    }
    if (c->state == IDLE) {
        bool is_clean = rest.n == 0;
        (void)channel_keep(&c->channel, STR_EMPTY); /* keeping nothing cannot fail */
        if (is_clean && is_quiet(c)) {
            conn_offer(c);
        } else {
            conn_kill(c);
            c->base.events->on_closed(&c->base, REASON_upstream_invalid, true);
        }
        return false;
    }
    if (channel_keep(&c->channel, rest) != E_OK) {
        stats_add(&c->dialer->stats->limit_memory, 1);
        conn_abort(c, REASON_overloaded);
        return false;
    }
    return true;
}

static void conn_invalid(struct conn *c)
{
    c->channel.context->is_receive_busy = false;
    conn_abort(c, REASON_upstream_invalid);
}

/* An interim response; rest is what follows it. */
static bool conn_interim(struct conn *c, const struct h1_response *h, struct str rest)
{
    if (h->status == 101 || ++c->interim_n > INTERIM_MAX) { /* a switch nobody asked for; a flood */
        conn_invalid(c);
        return false;
    }
    if (h->status != 100) { /* RFC 9110 section 15.2: to be forwarded; 100 is between us and him */
        struct http_response response = response_of(c, h);
        c->is_calling = true;
        c->stream.events->on_interim(&c->stream, &response);
        c->is_calling = false;
    }
    c->scan = (struct h1_scan){0};
    c->seen_n = 0;
    return conn_settle(c, rest);
}

static bool conn_head(struct conn *c, struct str bytes, size_t head_n)
{
    struct h1_response h;
    enum h1_fault fault;
    struct str data;
    struct str rest = str_from(bytes, head_n);
    enum err e =
        h1_response_parse(bytes.p, head_n, c->is_head, c->dialer->context->fields,
                          (uint32_t)c->dialer->context->settings->max_header_fields, &h, &fault);
    if (e == E_OK && h.status == 101 && c->is_upgrade) { /* RFC 9110 section 7.8 */
        c->is_tunnel = true;
        h.body = H1_BODY_UNTIL_CLOSE;
        c->body_out = (struct body_out){.coding = BODY_OUT_PLAIN};
    } else if (e == E_OK && h.status < 200) {
        return conn_interim(c, &h, rest);
    }
    if (e == E_OK) {
        body_in_start(&c->body_in, h.body, h.body_n);
        e = body_in_take(&c->body_in, &rest, &data, &fault);
    }
    if (e != E_OK) {
        conn_invalid(c);
        return false;
    }
    struct http_response response = response_of(c, &h);
    c->has_response = true;
    c->seen_n = c->body_in.is_done ? 0 : rest.n; /* a part of the trailer section */
    c->is_keep_alive = h.is_keep_alive && h.body != H1_BODY_UNTIL_CLOSE;
    conn_wait(c, channel_is_flushed(&c->channel) ? WAIT_NONE : WAIT_WRITE);
    c->stream.received = body_in_trailers(&c->body_in, c->dialer->context);
    c->is_calling = true;
    c->stream.events->on_response(&c->stream, &response, data, c->body_in.is_done);
    c->is_calling = false;
    return conn_settle(c, rest);
}

/* The peer has closed before the request reached it: it acknowledged all that went before and no
 * byte more, and its end came. An end after which bytes lie unread is a reset, so nobody has seen
 * any of it, and the request may go elsewhere whatever its method (RFC 9110 section 9.2.2). This is
 * the usual way in which a kept-alive connection dies under a request. It is the socket's bytes and
 * the socket's end that count: TLS wraps the request into records, and may end without a word. */
static bool is_untouched(struct conn *c)
{
    struct transport *t = &c->channel.transport;
    uint64_t taken = t->is_at_end ? t->ops->taken(t) : 0;
    return taken != 0 && taken <= c->sent_before + 1;
}

/* The peer ended its side, or the connection broke. */
static void conn_ended(struct conn *c, enum err why)
{
    if (!c->has_response) {
        enum reason handshake = transport_handshake_fault(&c->channel.transport);
        bool is_unsent = handshake != REASON_none || !c->has_sent || is_untouched(c);
        conn_end(c, handshake != REASON_none ? handshake : REASON_upstream_reset, is_unsent);
        return;
    }
    /* RFC 9112 section 9.8: without close_notify, which is another error, it may not be all. */
    if (why == E_CLOSED && body_in_end(&c->body_in) == E_OK && c->is_pulled) {
        c->is_pulled = false;
        c->is_calling = true;
        c->stream.events->on_body(&c->stream, STR_EMPTY, true);
        c->is_calling = false;
        (void)conn_settle(c, STR_EMPTY);
        return;
    }
    conn_abort(c, REASON_upstream_cut);
}

static enum err conn_more(struct conn *c, size_t seen, struct str *ret)
{
    const struct http_stream_events *events = c->stream.events;
    *ret = channel_kept(&c->channel);
    if (ret->n > seen) {
        return E_OK;
    }
    size_t most = events->room == NULL ? RECEIVE_BYTES : events->room(&c->stream);
    return channel_receive_some(&c->channel, most, ret);
}

static bool step_head(struct conn *c)
{
    struct str bytes;
    size_t head_n, max = c->dialer->context->settings->max_header_bytes;
    enum err e = conn_more(c, c->seen_n, &bytes);
    if (e == E_AGAIN) {
        return false;
    }
    if (e == E_LIMIT) {
        stats_add(&c->dialer->stats->limit_response_head_bytes, 1);
        conn_invalid(c);
        return false;
    }
    if (e != E_OK) {
        conn_ended(c, e);
        return false;
    }
    e = h1_head_scan(&c->scan, bytes.p, bytes.n, &head_n);
    if (e == E_OK && head_n <= max) {
        return conn_head(c, bytes, head_n);
    }
    if (e == E_AGAIN && bytes.n < max) {
        c->seen_n = bytes.n;
        return conn_settle(c, bytes);
    }
    if (e != E_PROTO) {
        stats_add(&c->dialer->stats->limit_response_head_bytes, 1);
    }
    conn_invalid(c);
    return false;
}

static bool step_body(struct conn *c)
{
    struct str bytes, data;
    enum h1_fault fault;
    if (!c->is_pulled || c->body_in.is_done) {
        return false;
    }
    enum err e = conn_more(c, c->seen_n, &bytes);
    if (e == E_AGAIN) {
        return false;
    }
    if (e != E_OK) {
        conn_ended(c, e);
        return false;
    }
    if (body_in_take(&c->body_in, &bytes, &data, &fault) != E_OK) {
        conn_invalid(c);
        return false;
    }
    c->seen_n = c->body_in.is_done ? 0 : bytes.n; /* a part of the trailer section */
    if (data.n == 0 && !c->body_in.is_done) {
        return conn_settle(c, bytes);
    }
    c->is_pulled = false;
    conn_wait(c, channel_is_flushed(&c->channel) ? WAIT_NONE : WAIT_WRITE);
    c->stream.received = body_in_trailers(&c->body_in, c->dialer->context);
    c->is_calling = true;
    c->stream.events->on_body(&c->stream, data, c->body_in.is_done);
    c->is_calling = false;
    return conn_settle(c, bytes);
}

/* Nobody asked: the peer has closed, or sends what is not an answer to anything. */
static void step_idle(struct conn *c)
{
    struct str bytes;
    if (channel_receive(&c->channel, &bytes) != E_AGAIN) {
        c->channel.context->is_receive_busy = false;
        conn_kill(c);
        c->base.events->on_closed(&c->base, REASON_none, true);
    }
}

/* Steps in one go before others get their turn. */
enum { STEPS_MAX = 16 };

static void conn_run(struct conn *c)
{
    bool has_more = true;
    for (int i = 0; has_more; i++) {
        if (i == STEPS_MAX) {
            loop_defer(conn_loop(c), &c->work, conn_on_work);
            return;
        }
        switch (c->state) {
        case SHAKING:
            has_more = step_shake(c);
            break;
        case IDLE:
            step_idle(c);
            return;
        case BUSY:
            has_more = c->has_response ? step_body(c) : step_head(c);
            break;
        case CONNECTING:
        case DEAD:
            return;
        }
    }
}

static void conn_on_work(struct deferred *d)
{
    conn_run(container_of(d, struct conn, work));
}

/* ---- events ---- */

static enum reason reason_of_connect(int error)
{
    return error == ETIMEDOUT ? REASON_connect_timeout : REASON_connect_refused;
}

static bool conn_stood(struct conn *c)
{
    stats_add(&c->dialer->stats->upstream_connects, 1);
    c->state = c->has_stream ? BUSY : IDLE;
    c->sent_before = c->channel.transport.sent_n;
    c->stream.connected = clock_monotonic(); /* the tick's time is too coarse for durations */
    conn_wait(c, wait_when_flushed(c));
    c->base.events->on_connected(&c->base);
    return c->state != DEAD;
}

/* The socket has connected, or not. */
static bool conn_connected(struct conn *c)
{
    int error = dial_outcome(c->channel.transport.watch.fd);
    if (error != 0) {
        stats_add(&c->dialer->stats->upstream_connect_failures, 1);
        conn_abort(c, reason_of_connect(error));
        return false;
    }
    if (c->channel.transport.is_open) {
        return conn_stood(c);
    }
    c->state = SHAKING;
    conn_wait(c, WAIT_SHAKE); /* the same time again, as nginx does it */
    return true;
}

static void conn_flush(struct conn *c)
{
    enum err e = channel_flush(&c->channel);
    if (e == E_AGAIN) {
        c->has_sent = true;
        conn_wait(c, WAIT_WRITE);
        return;
    }
    if (e != E_OK) {
        conn_send_broke(c);
        return;
    }
    c->has_sent = true;
    conn_finish_if_due(c);
    conn_wait(c, wait_when_flushed(c));
    if (c->is_send_blocked && c->has_stream) {
        c->is_send_blocked = false;
        c->is_calling = true;
        c->stream.events->on_writable(&c->stream);
        c->is_calling = false;
    }
}

static void shake_failed(struct conn *c, enum err e)
{
    enum reason why = transport_handshake_fault(&c->channel.transport);
    if (e == E_NOMEM) {
        stats_add(&c->dialer->stats->limit_memory, 1);
        why = REASON_overloaded;
    }
    stats_add(&c->dialer->stats->upstream_connect_failures, 1);
    conn_abort(c, why != REASON_none ? why : REASON_upstream_reset);
}

/* receive() is what drives the handshake. The one that completes it may bring what the peer says
 * first, which is then looked at like everything that comes too early. */
static bool step_shake(struct conn *c)
{
    struct str bytes = STR_EMPTY;
    enum err e = channel_receive(&c->channel, &bytes);
    if (e != E_OK && e != E_AGAIN) {
        shake_failed(c, e);
        return false;
    }
    if (!c->channel.transport.is_open) {
        return false;
    }
    if (channel_keep(&c->channel, bytes) != E_OK) {
        shake_failed(c, E_NOMEM);
        return false;
    }
    if (!conn_stood(c)) {
        return false;
    }
    if (c->state == IDLE && bytes.n > 0) {
        conn_abort(c, REASON_upstream_invalid);
        return false;
    }
    if (!channel_is_flushed(&c->channel)) {
        conn_flush(c);
    }
    return c->state != DEAD;
}

static void conn_on_event(struct watch *w, uint32_t events)
{
    struct conn *c = container_of(w, struct conn, channel.transport.watch);
    if (c->state == CONNECTING &&
        ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0 || !conn_connected(c))) {
        return;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        c->channel.is_readable = true;
    }
    if ((events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        c->channel.has_hangup = true;
    }
    if ((events & EPOLLOUT) != 0 && conn_stands(c) && !channel_is_flushed(&c->channel)) {
        conn_flush(c);
    }
    conn_run(c);
}

static enum reason reason_of_wait(enum wait wait)
{
    switch (wait) {
    case WAIT_CONNECT:
    case WAIT_SHAKE:
        return REASON_connect_timeout;
    case WAIT_READ:
        return REASON_upstream_stalled;
    case WAIT_NONE:
    case WAIT_IDLE:
    case WAITS_N:
        return REASON_none;
    case WAIT_WRITE:
    case WAIT_HEAD:
        break;
    }
    return REASON_upstream_timeout;
}

static void conn_on_timer(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, timer);
    if (c->wait == WAIT_NONE) {
        return;
    }
    if (c->wait == WAIT_WRITE && channel_has_moved(&c->channel)) {
        conn_wait(c, WAIT_WRITE); /* slow, but reading */
        return;
    }
    if (waits[c->wait].counter != 0) {
        stats_add((stats_value *)(void *)((char *)c->dialer->stats + waits[c->wait].counter), 1);
    }
    conn_abort(c, reason_of_wait(c->wait));
}

/* ---- what the pool calls ---- */

static struct http_stream *conn_open(struct http_conn *base)
{
    struct conn *c = container_of(base, struct conn, base);
    must(base->stream_n == 0 && c->state != BUSY && c->state != DEAD);
    base->stream_n = 1;
    stats_add(&c->dialer->stats->upstream_requests_http1, 1);
    c->stream = (struct http_stream){.ops = &stream_ops};
    c->has_stream = true;
    c->has_response = c->is_pulled = c->is_send_blocked = c->has_sent = false;
    c->is_tunnel = c->must_finish = false;
    c->interim_n = 0;
    c->scan = (struct h1_scan){0};
    c->seen_n = 0;
    c->body_out = (struct body_out){0};
    c->sent_before = c->channel.transport.sent_n;
    if (c->state == IDLE) {
        c->state = BUSY;
    }
    return &c->stream;
}

static void conn_close(struct http_conn *base)
{
    struct conn *c = container_of(base, struct conn, base);
    const struct http_stream_events *events = c->has_stream ? c->stream.events : NULL;
    if (c->state == DEAD) {
        return;
    }
    conn_kill(c);
    if (events != NULL) {
        events->on_closed(&c->stream, REASON_none, !c->has_sent);
    }
}

static const struct http_conn_ops conn_ops = {
    .open = conn_open,
    .close = conn_close,
};

/* ---- dialing ---- */

static enum err dialer_dial(struct http_dialer *base, const struct ip *ip, uint16_t port,
                            const struct http_conn_events *events, void *owner,
                            struct http_conn **ret)
{
    struct http1_dialer *d = container_of(base, struct http1_dialer, dialer);
    int fd = -1;
    struct conn *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        stats_add(&d->stats->limit_memory, 1);
        return E_NOMEM;
    }
    enum err e = dial_begin(ip, port, &fd);
    if (e == E_OK) {
        channel_init(&c->channel, d->context, HEAD_BYTES_MAX + RECEIVE_BYTES);
        struct transport *t = &c->channel.transport;
        e = d->opener == NULL ? transport_plain_open(t, d->context->loop, fd, conn_on_event)
                              : d->opener->open(d->opener, t, d->context->loop, fd, conn_on_event);
    }
    if (e != E_OK) {
        stats_add(
            e == E_LIMIT ? &d->stats->limit_descriptors : &d->stats->upstream_connect_failures, 1);
        mem_free(c);
        return e;
    }
    c->dialer = d;
    base->conn_n++;
    c->base = (struct http_conn){&conn_ops, events, owner, .stream_max = 1};
    c->state = CONNECTING;
    conn_wait(c, WAIT_CONNECT);
    *ret = &c->base;
    return E_OK;
}

void http1_dialer_init(struct http1_dialer *d, struct http1_context *context,
                       struct stats_page *stats)
{
    *d = (struct http1_dialer){{dialer_dial}, context, stats, NULL};
}
