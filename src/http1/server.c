/* The client side of HTTP/1.
 *
 *   IDLE ──first byte──> HEAD ──head complete──> EXCHANGE ──both messages complete──> IDLE
 *     └──────whole head in one read────────────────^  └──> CLOSING ──> DEAD
 *
 * IDLE and HEAD read; EXCHANGE reads only when the stream's owner pulls; CLOSING sends what is
 * held, then discards what the client still sends for a moment, so that it sees our last response
 * instead of a reset. DEAD waits for the end of the tick to be freed. Invariant: stream.events is
 * set exactly while an owner holds the stream (state EXCHANGE). */
#include "http1/server.h"

#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/answer.h"
#include "http1/body.h"
#include "http1/emit.h"
#include "wire/uri.h"

enum state { IDLE, HEAD, EXCHANGE, CLOSING, DEAD };

/* What the connection waits for; each has a named timeout. */
enum wait {
    WAIT_NONE,
    WAIT_HANDSHAKE, /* of TLS */
    WAIT_IDLE,
    WAIT_HEAD,
    WAIT_BODY,
    WAIT_WRITE,
    WAIT_RESPONSE, /* with the client's half closed: most likely it is gone altogether */
    WAIT_LINGER,
    WAITS_N
};

struct conn {
    struct http1_channel channel; /* first */
    struct http1_server *server;
    struct list link;
    struct timer timer;
    struct deferred work;
    struct http_stream stream;
    struct http_peer peer;
    struct h1_scan scan;
    size_t seen_n; /* bytes of an unfinished head that were scanned: wait for more than these */
    struct body_in body_in;
    struct body_out body_out;
    enum state state;
    enum wait wait;
    bool is_calling;      /* inside a callback to the owner: work waits until it returns */
    bool is_pulled;       /* the owner waits for on_body */
    bool is_send_blocked; /* the owner waits for on_writable */
    bool has_responded;   /* the response head is out */
    bool is_broken;       /* a send failed: bytes are missing, nothing may follow */
    bool is_head;         /* the request's method is HEAD */
    bool is_keep_alive;
    bool owes_continue; /* RFC 9110 section 10.1.1: 100 before the body is read */
    bool is_finished;   /* CLOSING: our end is sent */
    bool is_tunnel;     /* after a 101 */
    uint32_t request_n; /* on this connection */
    uint8_t minor;
};

static const struct {
    size_t timeout; /* offset in struct snap_settings */
    size_t counter; /* offset of the stats_value in struct stats_page; 0 = none */
} waits[WAITS_N] = {
    [WAIT_HANDSHAKE] = {offsetof(struct snap_settings, client_header_timeout),
                        offsetof(struct stats_page, timeout_client_handshake)},
    [WAIT_IDLE] = {offsetof(struct snap_settings,    keep_alive),
                        offsetof(struct stats_page, timeout_client_idle)},
    [WAIT_HEAD] = {offsetof(struct snap_settings,               client_header_timeout),
                        offsetof(struct stats_page, timeout_client_head)},
    [WAIT_BODY] = {offsetof(struct snap_settings,                             client_body_timeout),
                        offsetof(struct stats_page, timeout_client_body)},
    [WAIT_WRITE] = {offsetof(struct snap_settings,    send_timeout),
                        offsetof(struct stats_page, timeout_client_write)},
    [WAIT_RESPONSE] = {offsetof(struct snap_settings, client_half_close_timeout),
                        offsetof(struct stats_page, timeout_client_half_close)},
    [WAIT_LINGER] = {TIMEOUT_LINGER,         0                                                        },
};

static void conn_run(struct conn *c);
static timer_fn conn_on_timer;
static deferred_fn conn_on_work;

static struct conn *conn_of_stream(struct http_stream *s)
{
    return container_of(s, struct conn, stream);
}

/* ---- life ---- */

static void conn_free(struct deferred *d)
{
    struct conn *c = container_of(d, struct conn, work);
    mem_free(c);
}

static void conn_kill(struct conn *c, bool has_reset)
{
    struct http1_server *server = c->server;
    if (c->state == DEAD) {
        return;
    }
    stats_sub(c->state == IDLE ? &server->stats->conns_idle : &server->stats->conns_active, 1);
    c->state = DEAD;
    channel_close(&c->channel, has_reset);
    loop_disarm(server->context->loop, &c->timer);
    list_del(&c->link);
    server->conn_n--;
    loop_defer(server->context->loop, &c->work, conn_free);
}

static void conn_enter(struct conn *c, enum state to)
{
    struct stats_page *stats = c->server->stats;
    if ((c->state == IDLE) != (to == IDLE)) {
        stats_sub(c->state == IDLE ? &stats->conns_idle : &stats->conns_active, 1);
        stats_add(to == IDLE ? &stats->conns_idle : &stats->conns_active, 1);
    }
    c->state = to;
}

static void conn_wait(struct conn *c, enum wait wait)
{
    const char *settings = (const char *)c->server->context->settings;
    c->wait = wait;
    if (wait == WAIT_WRITE) {
        channel_mark(&c->channel);
    }
    if (wait != WAIT_NONE) {
        usec_t timeout = wait == WAIT_LINGER
                             ? TIMEOUT_LINGER
                             : *(const uint64_t *)(const void *)(settings + waits[wait].timeout);
        loop_arm(c->server->context->loop, &c->timer, timeout, conn_on_timer);
    }
}

/* Tells the owner that the stream broke. */
static void stream_break(struct conn *c, enum reason why)
{
    const struct http_stream_events *events = c->stream.events;
    c->stream.events = NULL;
    if (events != NULL) {
        events->on_closed(&c->stream, why, false);
    }
}

static void conn_abort(struct conn *c, enum reason why, bool has_reset)
{
    stream_break(c, why);
    conn_kill(c, has_reset);
}

/* ---- sending ---- */

static enum err conn_send(struct conn *c, struct iovec *parts, int part_n)
{
    for (int i = 0; i < part_n; i++) {
        stats_add(&c->server->stats->bytes_out, parts[i].iov_len);
    }
    enum err e = channel_send(&c->channel, parts, part_n);
    if (e == E_AGAIN) {
        conn_wait(c, WAIT_WRITE);
    }
    c->is_broken = c->is_broken || (e != E_OK && e != E_AGAIN);
    return e;
}

/* How the body goes out. RFC 9112 section 6.1: no transfer coding to an HTTP/1.0 client; there, the
 * end of the connection is the end of the body. */
static enum http_body response_framing(struct conn *c, const struct http_response *r)
{
    c->body_out = (struct body_out){.coding = BODY_OUT_NONE};
    if (c->is_head || r->body == HTTP_BODY_NONE) {
        return c->is_head ? r->body : HTTP_BODY_NONE;
    }
    if (r->body == HTTP_BODY_LENGTH) {
        c->body_out = (struct body_out){BODY_OUT_PLAIN, .left = r->body_n, .has_length = true};
        return HTTP_BODY_LENGTH;
    }
    if (c->minor == 0 || r->is_tunnel) {
        c->body_out.coding = BODY_OUT_PLAIN;
        c->is_keep_alive = false;
        return HTTP_BODY_NONE;
    }
    c->body_out.coding = BODY_OUT_CHUNKED;
    return HTTP_BODY_STREAM;
}

static enum err stream_send_response(struct http_stream *s, const struct http_response *r,
                                     struct str body, bool is_end)
{
    struct conn *c = conn_of_stream(s);
    must(!c->has_responded);
    struct wr w = wr_make(c->server->context->emit, EMIT_BYTES);
    enum http_body framing = response_framing(c, r);
    if (r->is_last || c->server->is_draining) {
        c->is_keep_alive = false;
    }
    emit_status_line(&w, r->status);
    /* RFC 9110 section 8.6: no Content-Length in a 204 */
    bool keeps_length =
        framing != HTTP_BODY_STREAM && c->body_out.coding != BODY_OUT_CHUNKED && r->status != 204;
    bool has_length = emit_fields(&w, r->fields, r->field_n, keeps_length);
    emit_framing(&w, framing, r->body_n, has_length);
    if (r->is_tunnel) {
        wr_str(&w, STR("connection: upgrade\r\n"));
        c->is_tunnel = true;
        body_in_start(&c->body_in, H1_BODY_UNTIL_CLOSE, 0);
    } else if (!c->is_keep_alive) {
        wr_str(&w, STR("connection: close\r\n"));
    } else if (c->minor == 0) {
        wr_str(&w, STR("connection: keep-alive\r\n"));
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
    c->has_responded = true;
    c->owes_continue = false;
    if (c->wait == WAIT_RESPONSE) {
        conn_wait(c, WAIT_NONE);
    }
    TRY(body_out_frame(&c->body_out, body, is_end, trailers, &frame, parts, &part_n));
    enum err e = conn_send(c, parts, part_n);
    c->is_send_blocked = e == E_AGAIN;
    return e;
}

/* Half of a tunnel has ended: pass it on behind the last byte. */
static void conn_finish_if_due(struct conn *c)
{
    if (c->is_tunnel && c->body_out.is_done && !c->is_finished && channel_is_flushed(&c->channel)) {
        c->is_finished = true;
        c->channel.transport.ops->finish(&c->channel.transport);
    }
}

static enum err stream_send_body(struct http_stream *s, struct str data, bool is_end)
{
    struct conn *c = conn_of_stream(s);
    struct body_frame frame;
    struct iovec parts[BODY_PARTS];
    int part_n = 0;
    struct wr w = wr_make(c->server->context->emit, EMIT_BYTES);
    struct str trailers = emit_trailers(&w, s->to_send.fields, s->to_send.n);
    TRY(body_out_frame(&c->body_out, data, is_end, trailers, &frame, parts, &part_n));
    enum err e = part_n == 0 ? E_OK : conn_send(c, parts, part_n);
    c->is_send_blocked = e == E_AGAIN;
    conn_finish_if_due(c);
    return e;
}

/* RFC 9110 section 15.2: not to HTTP/1.0 clients, and never after the final response. */
static void stream_send_interim(struct http_stream *s, const struct http_response *r)
{
    struct conn *c = conn_of_stream(s);
    struct wr w = wr_make(c->server->context->emit, EMIT_BYTES);
    if (c->minor == 0 || c->has_responded) {
        return;
    }
    emit_status_line(&w, r->status);
    (void)emit_fields(&w, r->fields, r->field_n, false);
    wr_str(&w, STR("\r\n"));
    if (!w.bad) {
        (void)conn_send(c, &(struct iovec){w.start, wr_n(&w)}, 1); /* breaks show at the response */
    }
}

static void stream_pull(struct http_stream *s)
{
    struct conn *c = conn_of_stream(s);
    c->is_pulled = true;
    if (c->owes_continue) {
        c->owes_continue = false;
        struct str text = STR("HTTP/1.1 100 Continue\r\n\r\n");
        struct wr w = wr_make(c->server->context->emit, EMIT_BYTES);
        wr_str(&w, text);
        (void)conn_send(c, &(struct iovec){w.start, wr_n(&w)},
                        1); /* a broken connection shows on read */
    }
    if (!c->is_calling) {
        loop_defer(c->server->context->loop, &c->work, conn_on_work);
    }
}

/* Everything is answered: close, but let the client read the answer first. */
static void conn_close_gently(struct conn *c)
{
    conn_enter(c, CLOSING);
    conn_wait(c, channel_is_flushed(&c->channel) ? WAIT_LINGER : WAIT_WRITE);
    c->is_finished = false;
}

static void stream_release(struct http_stream *s)
{
    struct conn *c = conn_of_stream(s);
    c->stream.events = NULL;
    bool is_complete = c->has_responded && c->body_out.is_done && !c->is_broken;
    if (!is_complete) {
        /* Chunked and counted bodies show a clean end as too early; a body that ends with the
         * connection does not: only a reset tells. */
        bool has_reset =
            c->has_responded && c->body_out.coding == BODY_OUT_PLAIN && !c->body_out.has_length;
        conn_kill(c, has_reset || c->is_broken);
        return;
    }
    if (c->is_keep_alive && c->body_in.is_done && !c->server->is_draining) {
        conn_enter(c, IDLE);
        conn_wait(c, channel_is_flushed(&c->channel) ? WAIT_IDLE : WAIT_WRITE);
    } else {
        conn_close_gently(c);
    }
    bool has_work = c->state == CLOSING || c->channel.in.n > 0 || c->channel.is_readable;
    if (has_work && !c->is_calling) {
        loop_defer(c->server->context->loop, &c->work, conn_on_work);
    }
}

static const struct http_stream_ops stream_ops = {
    .send_response = stream_send_response,
    .send_interim = stream_send_interim,
    .send_body = stream_send_body,
    .pull = stream_pull,
    .release = stream_release,
};

/* ---- receiving ---- */

/* Answers what never became a request (or whose body broke) and closes. */
static void conn_reject(struct conn *c, enum reason why)
{
    struct http_answer answer;
    http_answer_make(&answer, why, 0, STR_EMPTY, STR_EMPTY, (int64_t)(clock_wall() / USEC_PER_SEC));
    answer.response.is_last = true;
    c->has_responded = false;
    enum err e = stream_send_response(&c->stream, &answer.response, answer.body, true);
    if (e == E_OK || e == E_AGAIN) {
        conn_close_gently(c);
    } else {
        conn_kill(c, false);
    }
}

static void conn_reject_head(struct conn *c, enum reason why, struct str start)
{
    struct stats_page *stats = c->server->stats;
    if (why == REASON_head_too_large) {
        stats_add(&stats->limit_head_bytes, 1);
    }
    c->server->handler->on_rejected(c->server->handler, &c->peer, start, why);
    c->minor = 1;
    c->is_head = false;
    conn_reject(c, why);
}

static enum reason reason_of_fault(enum h1_fault fault)
{
    switch (fault) {
    case H1_FAULT_VERSION:
        return REASON_version_not_supported;
    case H1_FAULT_TOO_MANY_FIELDS:
        return REASON_head_too_large;
    case H1_FAULT_TARGET_LONG:
        return REASON_target_too_long;
    default: /* everything else is the client's mistake */
        return REASON_bad_request;
    }
}

/* The part of the head that on_request() carries. */
static struct http_request request_of(const struct conn *c, const struct h1_request *h,
                                      struct str head)
{
    return (struct http_request){
        .head = head,
        .method = h->method,
        .authority = h->host,
        .target = h->target,
        .fields = c->server->context->fields,
        .field_n = h->field_n,
        .body = h->body == H1_BODY_NONE     ? HTTP_BODY_NONE
                : h->body == H1_BODY_LENGTH ? HTTP_BODY_LENGTH
                                            : HTTP_BODY_STREAM,
        .body_n = h->body_n,
        .version = (uint8_t)(10 + h->minor),
        .is_head = c->is_head,
        .expects_other = h->expects_other,
        .peer = &c->peer,
    };
}

/* "http://host?query" has no path, but in origin form it begins with one: the query moves over the
 * blank behind the target, which nobody needs any more. */
static struct str target_with_path(struct str query)
{
    union { /* the head lies in a receive buffer of ours */
        const char *p;
        char *writable;
    } at = {query.p - 1}; /* the '?' */
    memmove(at.writable + 1, at.p, query.n + 1);
    at.writable[0] = '/';
    return str_make(at.p, query.n + 2);
}

/* What request_of() cannot take over as it is: an absolute target goes on in origin form (RFC 9112
 * section 3.2.2); and the value of Upgrade. */
static void request_complete(struct http_request *r, const struct h1_request *h)
{
    struct str authority, path, query;
    if (h->has_upgrade) {
        (void)http_field_get(r->fields, r->field_n, FIELD_upgrade, &r->upgrade); /* it is there */
    }
    if (r->target.p[0] == '/' || r->target.p[0] == '*' || str_eq(r->method, STR("CONNECT"))) {
        return;
    }
    if (uri_split(r->target, &authority, &path, &query) != E_OK) {
        return; /* cannot be: the parser has split it */
    }
    if (path.p > r->target.p && path.p < r->target.p + r->target.n) {
        r->target = str_from(r->target, (size_t)(path.p - r->target.p));
    } else {
        r->target = query.n > 0 ? target_with_path(query) : STR("/");
    }
}

/* bytes begins with a whole head of head_n bytes. *rest gets what is not part of the request's
 * first delivery. */
static void conn_dispatch(struct conn *c, struct str bytes, size_t head_n, struct str *rest)
{
    struct http1_context *x = c->server->context;
    struct h1_request h;
    enum h1_fault fault = H1_FAULT_NONE;
    struct str data;
    *rest = str_from(bytes, head_n);
    enum err e = h1_request_parse(bytes.p, head_n, x->fields,
                                  (uint32_t)x->settings->max_header_fields, &h, &fault);
    if (e == E_OK) {
        body_in_start(&c->body_in, h.body, h.body_n);
        e = body_in_take(&c->body_in, rest, &data, &fault);
    }
    if (e != E_OK) {
        if (fault == H1_FAULT_TOO_MANY_FIELDS) {
            stats_add(&c->server->stats->limit_head_fields, 1);
        }
        conn_reject_head(c, reason_of_fault(fault), str_first(bytes, head_n));
        return;
    }
    c->is_head = str_eq(h.method, STR("HEAD"));
    struct http_request request = request_of(c, &h, str_first(bytes, head_n));
    request_complete(&request, &h);
    c->minor = h.minor;
    c->is_keep_alive =
        h.is_keep_alive && ++c->request_n < c->server->context->settings->keep_alive_requests;
    c->owes_continue = h.expects_continue && h.minor > 0 && data.n == 0 && !c->body_in.is_done;
    c->has_responded = c->is_pulled = c->is_send_blocked = false;
    c->scan = (struct h1_scan){0};
    c->seen_n = c->body_in.is_done ? 0 : rest->n; /* a part of the trailer section */
    c->stream = (struct http_stream){.ops = &stream_ops};
    c->stream.received = body_in_trailers(&c->body_in, c->server->context);
    conn_enter(c, EXCHANGE);
    conn_wait(c, WAIT_NONE);
    c->is_calling = true;
    c->server->handler->on_request(c->server->handler, &c->stream, &request, data,
                                   c->body_in.is_done);
    c->is_calling = false;
}

/* More bytes than were looked at already. */
static enum err conn_more(struct conn *c, size_t seen, struct str *ret)
{
    *ret = channel_kept(&c->channel);
    if (ret->n > seen) {
        return E_OK;
    }
    enum err e = channel_receive(&c->channel, ret);
    if (e == E_OK) {
        stats_add(&c->server->stats->bytes_in, ret->n - seen);
    }
    return e;
}

static void conn_keep(struct conn *c, struct str rest)
{
    if (c->state == DEAD) {
        c->channel.context->is_receive_busy = false; /* its buffers are gone */
    } else if (channel_keep(&c->channel, rest) != E_OK) {
        stats_add(&c->server->stats->limit_memory, 1);
        conn_abort(c, REASON_overloaded, false);
    }
}

/* RFC 9112 section 3: when the request line alone is too much, the target is too long. */
static enum reason reason_of_excess(struct str head)
{
    return str_find(head, '\r') > TARGET_BYTES_MAX ? REASON_target_too_long : REASON_head_too_large;
}

/* ---- HTTP/2 ---- */

static bool is_preface(struct str bytes)
{
    struct str preface = STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); /* RFC 9113 section 3.4 */
    size_t n = bytes.n < preface.n ? bytes.n : preface.n;
    return n > 0 && str_eq(str_first(bytes, n), str_first(preface, n));
}

/* The client speaks HTTP/2, or may be about to say so: nothing but these bytes has come. */
static bool conn_is_heirs(const struct conn *c, struct str bytes)
{
    const struct http1_heir *heir = c->server->heir;
    if (heir == NULL || c->request_n > 0) {
        return false;
    }
    return heir->is_chosen != NULL ? heir->is_chosen(&c->channel.transport) : is_preface(bytes);
}

static bool conn_bequeath(struct conn *c, struct str bytes)
{
    struct http1_heir *heir = c->server->heir;
    enum { PREFACE_BYTES = 24 };
    if (heir->is_chosen == NULL && bytes.n < PREFACE_BYTES) {
        return false;
    }
    heir->take(heir, &c->channel.transport, &c->peer, bytes);
    c->channel.context->is_receive_busy = false;
    conn_kill(c, false);
    return true;
}

/* The handshake has failed because the client knows of none. */
static bool conn_is_plain(const struct conn *c)
{
    const struct transport *t = &c->channel.transport;
    const char *text;
    return c->wait == WAIT_HANDSHAKE && t->ops->why != NULL &&
           t->ops->why(t, &text) == REASON_plain_http;
}

/* Between requests, or with half a head, nobody waits for an answer. */
static bool head_lost(struct conn *c)
{
    if (!conn_is_plain(c)) {
        conn_kill(c, false);
        return false;
    }
    conn_reject_head(c, REASON_plain_http, STR_EMPTY);
    return true;
}

/* A step returns true when there may be more to do at once. */
static bool step_head(struct conn *c)
{
    struct str bytes;
    size_t head_n, max = c->server->context->settings->max_header_bytes;
    enum err e = conn_more(c, c->seen_n, &bytes);
    bool is_shaken = c->wait == WAIT_HANDSHAKE && c->channel.transport.is_open;
    if (is_shaken) {
        c->peer.tls = c->channel.transport.tls;
        conn_wait(c, WAIT_IDLE);
    }
    if (e == E_AGAIN) {
        if (is_shaken && conn_is_heirs(c, STR_EMPTY)) {
            (void)conn_bequeath(c, STR_EMPTY); /* chosen, so it goes */
        }
        return false;
    }
    if (e == E_LIMIT) {
        conn_reject_head(c, reason_of_excess(channel_kept(&c->channel)), channel_kept(&c->channel));
        return true;
    }
    if (e != E_OK) {
        return head_lost(c);
    }
    bool is_heirs = conn_is_heirs(c, bytes);
    if (is_heirs && conn_bequeath(c, bytes)) {
        return false;
    }
    e = is_heirs ? E_AGAIN : h1_head_scan(&c->scan, bytes.p, bytes.n, &head_n);
    if (e == E_OK && head_n <= max) {
        struct str rest;
        conn_dispatch(c, bytes, head_n, &rest);
        conn_keep(c, rest);
        return true;
    }
    if (e == E_AGAIN && bytes.n < max) {
        c->seen_n = bytes.n;
        if (c->state == IDLE) {
            conn_enter(c, HEAD);
            conn_wait(c, channel_is_flushed(&c->channel) ? WAIT_HEAD : WAIT_WRITE);
        }
        conn_keep(c, bytes);
        return c->state == HEAD;
    }
    conn_reject_head(c, e == E_PROTO ? REASON_bad_request : reason_of_excess(bytes), bytes);
    conn_keep(c, STR_EMPTY);
    return true;
}

static void body_broken(struct conn *c, enum reason why)
{
    bool has_responded = c->has_responded;
    stream_break(c, why);
    if (has_responded) {
        conn_kill(c, false);
    } else {
        conn_reject(c, why);
    }
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
        /* The other side times a tunnel, as long as it takes part. */
        if (c->wait == WAIT_NONE && (!c->is_tunnel || c->body_out.is_done)) {
            conn_wait(c, WAIT_BODY);
        }
        return false;
    }
    if (e == E_CLOSED && body_in_end(&c->body_in) == E_OK) { /* a tunnel's end */
        c->is_pulled = false;
        c->is_calling = true;
        c->stream.events->on_body(&c->stream, STR_EMPTY, true);
        c->is_calling = false;
        return c->state != EXCHANGE;
    }
    if (e != E_OK) {
        conn_abort(c, REASON_client_abort, false);
        return false;
    }
    if (body_in_take(&c->body_in, &bytes, &data, &fault) != E_OK) {
        conn_keep(c, STR_EMPTY);
        body_broken(c, REASON_bad_request);
        return true;
    }
    c->seen_n = c->body_in.is_done ? 0 : bytes.n; /* a part of the trailer section */
    if (c->wait == WAIT_BODY) {
        conn_wait(c, WAIT_NONE);
    }
    if (data.n > 0 || c->body_in.is_done) {
        c->is_pulled = false;
        c->stream.received = body_in_trailers(&c->body_in, c->server->context);
        c->is_calling = true;
        c->stream.events->on_body(&c->stream, data, c->body_in.is_done);
        c->is_calling = false;
    }
    conn_keep(c, bytes);
    return true;
}

/* Sends our end, then reads until the client's, so that it is not reset before it has read. */
static bool step_closing(struct conn *c)
{
    struct str bytes;
    if (!channel_is_flushed(&c->channel)) {
        return false;
    }
    if (c->body_in.is_done && c->channel.in.n == 0 && !c->channel.is_readable) {
        conn_kill(c, false); /* the client has nothing under way that could cause a reset */
        return false;
    }
    if (!c->is_finished) {
        c->is_finished = true;
        c->channel.transport.ops->finish(&c->channel.transport);
        conn_wait(c, WAIT_LINGER);
    }
    (void)channel_keep(&c->channel, STR_EMPTY); /* keeping nothing cannot fail */
    enum err e = channel_receive(&c->channel, &bytes);
    if (e == E_OK) {
        return channel_keep(&c->channel, STR_EMPTY) == E_OK;
    }
    if (e != E_AGAIN) {
        conn_kill(c, false);
    }
    return false;
}

/* A client that ends its half behind a complete request may still read the response, but most have
 * just gone away, and TCP does not tell which. What goes out to the latter is answered by a reset;
 * until then the request lasts for a short time only. */
static void conn_doubt(struct conn *c)
{
    if (c->channel.has_hangup && c->state == EXCHANGE && c->wait == WAIT_NONE &&
        c->body_in.is_done && !c->has_responded) {
        conn_wait(c, WAIT_RESPONSE);
    }
}

/* Steps in one go before others get their turn. */
enum { STEPS_MAX = 16 };

static void conn_step(struct conn *c)
{
    bool has_more = true;
    for (int i = 0; has_more; i++) {
        if (i == STEPS_MAX) {
            loop_defer(c->server->context->loop, &c->work, conn_on_work);
            return;
        }
        switch (c->state) {
        case IDLE:
        case HEAD:
            has_more = step_head(c);
            break;
        case EXCHANGE:
            has_more = step_body(c);
            break;
        case CLOSING:
            has_more = step_closing(c);
            break;
        case DEAD:
            return;
        }
    }
}

static void conn_run(struct conn *c)
{
    conn_step(c);
    conn_doubt(c);
}

static void conn_on_work(struct deferred *d)
{
    conn_run(container_of(d, struct conn, work));
}

static enum wait wait_when_flushed(const struct conn *c)
{
    switch (c->state) {
    case IDLE:
        return WAIT_IDLE;
    case HEAD:
        return WAIT_HEAD;
    case CLOSING:
        return WAIT_LINGER;
    case EXCHANGE: /* step_body() knows */
    case DEAD:
        break;
    }
    return WAIT_NONE;
}

static void conn_flush(struct conn *c)
{
    enum err e = channel_flush(&c->channel);
    if (e == E_AGAIN) {
        conn_wait(c, WAIT_WRITE);
        return;
    }
    if (e != E_OK) {
        conn_abort(c, REASON_client_abort, false);
        return;
    }
    conn_wait(c, wait_when_flushed(c));
    conn_finish_if_due(c);
    if (c->is_send_blocked && c->stream.events != NULL) {
        c->is_send_blocked = false;
        c->is_calling = true;
        c->stream.events->on_writable(&c->stream);
        c->is_calling = false;
    }
}

static void conn_on_event(struct watch *w, uint32_t events)
{
    struct conn *c = container_of(w, struct conn, channel.transport.watch);
    /* Both ends sent, ours first: a hang-up, but bytes of the client's half may still lie there. */
    bool is_broken = (events & EPOLLERR) != 0 || ((events & EPOLLHUP) != 0 && !c->is_finished);
    if (is_broken && c->state != IDLE && c->state != HEAD) {
        conn_abort(c, REASON_client_abort, false);
        return;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        c->channel.is_readable = true;
    }
    if ((events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        c->channel.has_hangup = true;
    }
    if ((events & EPOLLOUT) != 0 && !channel_is_flushed(&c->channel)) {
        conn_flush(c);
    }
    conn_run(c);
}

static void conn_on_timer(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, timer);
    enum wait wait = c->wait;
    if (wait == WAIT_NONE) {
        return;
    }
    if (wait == WAIT_WRITE && channel_has_moved(&c->channel)) {
        conn_wait(c, WAIT_WRITE); /* slow, but reading */
        return;
    }
    if (waits[wait].counter != 0) {
        stats_add((stats_value *)(void *)((char *)c->server->stats + waits[wait].counter), 1);
    }
    switch (wait) {
    case WAIT_NONE:
    case WAITS_N:
    case WAIT_HANDSHAKE:
    case WAIT_IDLE:
    case WAIT_LINGER:
        conn_kill(c, false);
        return;
    case WAIT_HEAD:
        conn_reject_head(c, REASON_client_timeout, channel_kept(&c->channel));
        break;
    case WAIT_BODY:
        body_broken(c, REASON_client_timeout);
        break;
    case WAIT_RESPONSE:
        conn_abort(c, REASON_client_abort, false);
        return;
    case WAIT_WRITE:
        conn_abort(c, REASON_client_stalled, true);
        return;
    }
    conn_run(c);
}

/* ---- the server ---- */

void http1_server_init(struct http1_server *s, struct http1_context *context,
                       struct http_handler *handler, struct stats_page *stats)
{
    *s = (struct http1_server){.context = context, .handler = handler, .stats = stats};
    list_init(&s->conns);
}

enum err http1_server_accept(struct http1_server *s, int fd, const struct http_peer *peer)
{
    struct conn *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        stats_add(&s->stats->limit_memory, 1);
        (void)close(fd); /* ours by contract */
        return E_NOMEM;
    }
    c->server = s;
    c->peer = *peer;
    channel_init(&c->channel, s->context, HEAD_BYTES_MAX + RECEIVE_BYTES);
    struct transport *t = &c->channel.transport;
    struct loop *loop = s->context->loop;
    enum err e = s->opener == NULL ? transport_plain_open(t, loop, fd, conn_on_event)
                                   : s->opener->open(s->opener, t, loop, fd, conn_on_event);
    if (e != E_OK) {
        mem_free(c);
        return e;
    }
    list_append(&s->conns, &c->link);
    s->conn_n++;
    stats_add(&s->stats->conns_idle, 1);
    /* The first event says that there are bytes. */
    conn_wait(c, t->is_open ? WAIT_IDLE : WAIT_HANDSHAKE);
    return E_OK;
}

void http1_server_drain(struct http1_server *s)
{
    s->is_draining = true;
    list_each(it, &s->conns)
    {
        struct conn *c = container_of(it, struct conn, link);
        if (c->state == IDLE && channel_is_flushed(&c->channel) && c->channel.in.n == 0) {
            conn_kill(c, false);
        }
    }
}

void http1_server_fini(struct http1_server *s)
{
    while (!list_is_empty(&s->conns)) {
        struct conn *c = container_of(s->conns.next, struct conn, link);
        conn_abort(c, REASON_draining, false);
        loop_undefer(&c->work);
        mem_free(c);
    }
}
