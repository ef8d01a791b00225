/* One request to an endpoint.
 *
 *   opened ──> waits for the connection ──> sent ──> response head ──> body ──> released
 *                        └──────────────────┴───────────┴──> on_closed
 *
 * nghttp2 holds what waits. A stream lives until nghttp2 has closed it and its owner is done: a
 * response that has come whole is delivered even when the connection is gone. What can be said of a
 * request that broke (RFC 9113 sections 6.8, 8.7): with REFUSED_STREAM, or above a GOAWAY's last
 * stream, it was not processed; nor was one whose HEADERS have not left, or were not acknowledged
 * by a peer that ended in good order. */
#include "http2/client_priv.h"

#include "http2/emit.h"

static const struct http_stream_ops stream_ops;

static struct client_conn *conn_of(const struct http2_stream *s)
{
    return client_conn_of(s->conn);
}

/* ---- life ---- */

struct http2_stream *client_stream_new(struct client_conn *c)
{
    struct http2_stream *s = http2_stream_new(&c->base, &stream_ops);
    if (s != NULL) {
        s->has_owner = true; /* who opened it; nothing happens before events are set */
    }
    return s;
}

/* The owner is done, or is about to be told. */
static void stream_leave(struct http2_stream *s)
{
    conn_of(s)->free_n++;
    http2_conn_defer(s->conn);
}

void client_stream_lose(struct http2_stream *s, enum reason why, bool is_unsent)
{
    if (s->has_owner) {
        stream_leave(s);
        http2_stream_break(s, why, is_unsent);
    }
}

/* Nothing more of it goes either way; what was to be sent never ends. */
static void stream_give_up(struct http2_stream *s)
{
    s->is_out_ended = false;
    http2_stream_forget(s);
    http2_stream_reset(s, NGHTTP2_CANCEL);
}

void client_stream_refuse(struct http2_stream *s, enum reason why, bool is_unsent)
{
    stream_give_up(s);
    client_stream_lose(s, why, is_unsent);
}

static bool is_whole(const struct http2_stream *s)
{
    return s->has_response && s->is_in_ended;
}

/* The owner waits for nothing but what is here already. */
static bool is_served_on(const struct http2_stream *s)
{
    return s->has_owner && is_whole(s) && s->fault == REASON_none;
}

/* As in http1/client.c: the peer has closed before the request reached it. */
static bool is_untouched(const struct http2_stream *s)
{
    struct transport *t = &s->conn->link.transport;
    uint64_t taken = t->ops->taken(t);
    return taken != 0 && taken <= s->sent_before + 1;
}

static enum reason reason_amid(enum reason why)
{
    return why == REASON_upstream_reset     ? REASON_upstream_cut
           : why == REASON_upstream_timeout ? REASON_upstream_stalled
                                            : why;
}

bool client_stream_cut(struct http2_stream *s, enum reason why, bool has_ended_well)
{
    s->is_closed = true; /* nothing is sent on it any more */
    if (is_served_on(s)) {
        http2_stream_update_wait(s);
        return false;
    }
    if (s->fault != REASON_none) { /* it was lost before */
        client_stream_lose(s, s->fault, s->is_unsent);
        return true;
    }
    bool is_unshaken = transport_handshake_fault(&s->conn->link.transport) != REASON_none;
    bool is_unsent =
        !s->is_begun || is_unshaken || (!s->has_response && has_ended_well && is_untouched(s));
    client_stream_lose(s, s->has_response ? reason_amid(why) : why, is_unsent);
    return true;
}

/* ---- sending ---- */

/* The one protocol that HTTP/2 can switch to. What else an Upgrade asks for may be passed over: RFC
 * 9110 section 7.8. */
static bool is_websocket(struct str upgrade)
{
    struct str item;
    while (upgrade.n > 0) {
        (void)str_cut(upgrade, ',', &item, &upgrade); /* the last one has no comma behind it */
        if (str_eq_nocase(str_trim(item), STR("websocket"))) {
            return true;
        }
    }
    return false;
}

bool client_stream_is_misplaced(const struct http2_stream *s)
{
    const struct client_conn *c = client_conn_of(s->conn);
    return s->is_connect && c->state == CLIENT_OPEN && !c->has_extended_connect;
}

/* RFC 8441 section 5: the handshake's key and its answer are no part of it here. */
static void handshake_note(struct http2_stream *s, const struct http_request *r)
{
    struct str key;
    s->is_connect = is_websocket(r->upgrade);
    s->has_accept =
        s->is_connect && http_field_find(r->fields, r->field_n, STR("sec-websocket-key"), &key);
    if (s->has_accept) {
        websocket_accept(key, s->accept);
    }
}

static void field_emit(const struct http2_stream *s, const struct http_request *r,
                       const struct field *f, struct http2_emit *e)
{
    if (f->id == FIELD_host) { /* RFC 9113 section 8.3.1: :authority says it */
        return;
    }
    if (f->id == FIELD_te) { /* RFC 9113 section 8.2.2 */
        if (str_eq_nocase(f->value, STR("trailers"))) {
            http2_emit_add(e, f->name, f->value);
        }
    } else if (f->id == FIELD_content_length && r->body == HTTP_BODY_LENGTH && !s->is_connect) {
        http2_emit_length(e, f, 0);
    } else if (!s->is_connect || !str_eq_nocase(f->name, STR("sec-websocket-key"))) {
        http2_emit_field(e, f);
    }
}

static void request_emit(const struct http2_stream *s, const struct http_request *r,
                         struct http2_emit *e)
{
    bool is_tls = conn_of(s)->dialer->opener != NULL;
    struct str authority = r->authority;
    (void)http_field_get(r->fields, r->field_n, FIELD_host, &authority);
    http2_emit_begin(e);
    http2_emit_add(e, STR(":method"), s->is_connect ? STR("CONNECT") : r->method);
    if (s->is_connect) {
        http2_emit_add(e, STR(":protocol"), STR("websocket"));
    }
    http2_emit_add(e, STR(":scheme"), is_tls ? STR("https") : STR("http"));
    http2_emit_add(e, STR(":path"), r->target);
    if (authority.n > 0) {
        http2_emit_add(e, STR(":authority"), authority);
    }
    for (uint32_t i = 0; i < r->field_n; i++) {
        field_emit(s, r, &r->fields[i], e);
    }
    if (r->body == HTTP_BODY_LENGTH && !s->is_connect) {
        http2_emit_length(e, NULL, r->body_n);
    }
}

/* The owner is told at the end of the tick. */
static enum err stream_fail(struct http2_stream *s, enum reason why, bool is_unsent)
{
    s->fault = why;
    s->is_unsent = is_unsent;
    s->is_closed = true;
    s->now = STR_EMPTY;
    http2_stream_defer(s);
    return E_AGAIN;
}

static enum err stream_submit(struct http2_stream *s, const struct http2_emit *e, bool is_bare)
{
    nghttp2_data_provider provider = http2_stream_body(s);
    int32_t id = nghttp2_submit_request(s->conn->link.session, NULL, e->nv, e->n,
                                        is_bare ? NULL : &provider, s);
    if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE) { /* RFC 9113 section 5.1.1: all are used up */
        conn_of(s)->is_leaving = conn_of(s)->is_capacity_stale = true;
        return stream_fail(s, REASON_upstream_refused, true);
    }
    if (id < 0) {
        s->now = STR_EMPTY;
        return E_NOMEM;
    }
    s->id = id;
    return E_OK;
}

/* A broken stream is told of by on_closed, or has its response: what is still sent is dropped. */
static enum err sent(struct http2_stream *s, enum err e)
{
    if (e == E_OK && !s->is_begun && !s->is_out_ended && !s->is_closed) {
        s->is_send_blocked = true; /* so that the request is not pulled before it can go */
        return E_AGAIN;
    }
    return e == E_CLOSED ? E_OK : e;
}

static enum err stream_send_request(struct http_stream *base, const struct http_request *r,
                                    struct str body, bool is_end)
{
    struct http2_stream *s = http2_stream_of(base);
    struct http2_emit emit;
    handshake_note(s, r);
    if (client_stream_is_misplaced(s)) {
        return stream_fail(s, REASON_upgrade_not_supported, false);
    }
    bool is_bare = !s->is_connect && is_end && body.n == 0 && base->to_send.n == 0;
    s->is_head = r->is_head;
    s->has_out_length = r->body == HTTP_BODY_LENGTH && !is_bare && !s->is_connect;
    s->out_left = r->body_n;
    request_emit(s, r, &emit);
    TRY(http2_stream_note(s, body, is_end && !s->is_connect));
    enum err e = stream_submit(s, &emit, is_bare);
    return e != E_OK ? e : sent(s, http2_stream_push(s));
}

static enum err stream_send_body(struct http_stream *base, struct str data, bool is_end)
{
    struct http2_stream *s = http2_stream_of(base);
    return sent(s, http2_stream_send_body(s, data, is_end));
}

static void stream_pull(struct http_stream *base)
{
    http2_stream_pull(http2_stream_of(base));
}

static void stream_release(struct http_stream *base)
{
    struct http2_stream *s = http2_stream_of(base);
    s->has_owner = false;
    stream_leave(s);
    if (s->is_closed) {
        http2_stream_defer(s); /* who called us looks at it */
        return;
    }
    if (is_whole(s) && s->is_out_ended && s->out.n == 0) {
        http2_stream_forget(s); /* nghttp2 closes it by itself */
    } else {
        stream_give_up(s);
    }
    http2_stream_update_wait(s);
}

static const struct http_stream_ops stream_ops = {
    .send_request = stream_send_request,
    .send_body = stream_send_body,
    .pull = stream_pull,
    .release = stream_release,
};

/* ---- receiving ---- */

static void stream_fault(struct http2_stream *s, enum reason why)
{
    s->fault = why;
    stream_give_up(s);
    client_stream_lose(s, why, false);
}

static struct http_response response_of(const struct http2_stream *s, const struct http2_head *h)
{
    return (struct http_response){
        .status = s->is_tunnel ? 101 : h->status,
        .fields = h->fields,
        .field_n = h->field_n,
        .body = HTTP_BODY_STREAM,
        .is_tunnel = s->is_tunnel,
    };
}

static void stream_interim(struct http2_stream *s, const struct http2_head *h)
{
    if (++s->interim_n > HTTP2_INTERIM_MAX) {
        stream_fault(s, REASON_upstream_invalid);
    } else if (h->status != 100) { /* RFC 9110 section 15.2: 100 is between us and the endpoint */
        struct http_response r = response_of(s, h);
        s->is_calling = true;
        s->base.events->on_interim(&s->base, &r);
        s->is_calling = false;
    }
}

void client_stream_head(struct http2_conn *c, struct http2_stream *s, const nghttp2_frame *frame)
{
    struct http2_head *h = c->link.context->head;
    if (!s->has_owner || s->fault != REASON_none) {
        return; /* nobody waits for it */
    }
    if (h->fault != REASON_none) {
        http2_conn_count_head(c);
        stream_fault(s, REASON_upstream_invalid);
    } else if (s->has_response) {
        http2_stream_trailers(s);
    } else if (h->status < 200) {
        stream_interim(s, h);
    } else if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        http2_head_end(h);
        client_stream_begin(s, STR_EMPTY, true);
    } else {
        http2_head_end(h);
        c->held = s;
    }
}

/* RFC 8441 section 5, as the HTTP/1.1 handshake says it. */
static void tunnel_complete(struct http2_stream *s, struct http2_head *h)
{
    s->is_tunnel = true;
    http2_head_add_own(h, FIELD_upgrade, STR("upgrade"), STR("websocket"));
    if (s->has_accept) {
        http2_head_add_own(h, FIELD_OTHER, STR("sec-websocket-accept"),
                           str_make(s->accept, sizeof(s->accept)));
    }
}

/* RFC 9110 section 6.4.1: whether there can be a body, and how long it will be. */
static void body_note(struct http2_stream *s, const struct http2_head *h, struct http_response *r)
{
    struct str length;
    if (s->is_head || h->status == 204 || h->status == 304) {
        r->body = HTTP_BODY_NONE;
    } else if (!s->is_tunnel &&
               http_field_get(h->fields, h->field_n, FIELD_content_length, &length) &&
               str_to_u64(length, INT64_MAX, &r->body_n)) {
        r->body = HTTP_BODY_LENGTH;
        s->has_in_length = true;
        s->in_length = r->body_n;
    }
}

void client_stream_begin(struct http2_stream *s, struct str body, bool is_end)
{
    struct http2_head *h = s->conn->link.context->head;
    if (!s->has_owner) {
        http2_stream_data(s, body, is_end);
        return;
    }
    if (s->is_connect && h->status < 300) {
        tunnel_complete(s, h);
    }
    struct http_response r = response_of(s, h);
    body_note(s, h, &r);
    s->has_response = true;
    s->in_n = body.n;
    is_end = is_end && (!s->has_in_length || s->in_n == s->in_length);
    s->is_in_ended = s->is_in_told = is_end;
    s->is_calling = true;
    s->base.events->on_response(&s->base, &r, body, is_end);
    s->is_calling = false;
    http2_stream_consume(s, body.n);
    http2_stream_serve(s);
    http2_stream_update_wait(s);
}

/* ---- the end ---- */

static enum reason reason_of(const struct http2_stream *s, uint32_t code, bool *ret_is_unsent)
{
    *ret_is_unsent = s->is_unsent;
    if (s->fault != REASON_none) {
        return s->fault;
    }
    if (code == NGHTTP2_REFUSED_STREAM && !s->has_response) { /* RFC 9113 section 8.7 */
        *ret_is_unsent = true;
        return conn_of(s)->is_leaving ? REASON_upstream_goaway : REASON_upstream_refused;
    }
    if (!s->is_reset) { /* by nghttp2, which the endpoint has caused */
        return REASON_upstream_invalid;
    }
    if (code == NGHTTP2_CANCEL) {
        return REASON_upstream_canceled;
    }
    return s->has_response ? REASON_upstream_cut : REASON_upstream_reset;
}

void client_stream_finish(struct http2_stream *s)
{
    if (is_served_on(s)) {
        http2_stream_update_wait(s);
        return; /* until it is released */
    }
    client_stream_lose(s, s->fault, s->is_unsent);
    http2_stream_free(s);
}

void client_stream_over(struct http2_stream *s, uint32_t code)
{
    list_del(&s->writable_node); /* the rest is not wanted */
    if (is_served_on(s)) {
        http2_stream_update_wait(s);
        return;
    }
    s->fault = reason_of(s, code, &s->is_unsent);
    list_append(&conn_of(s)->lost, &s->writable_node);
}

void client_stream_end_sent(struct http2_stream *s)
{
    http2_stream_update_wait(s);
}

/* ---- waiting ---- */

enum http2_stream_wait client_stream_wait(const struct http2_stream *s)
{
    if (!s->has_owner || s->is_in_ended || s->is_closed || !s->is_begun) {
        return STREAM_WAIT_NONE; /* before it is begun, the connection has a time of its own */
    }
    if (!s->has_response) { /* the answer may take its time while the request is still coming */
        return s->is_out_ended || s->is_connect ? STREAM_WAIT_HEAD : STREAM_WAIT_NONE;
    }
    return s->is_pulled ? STREAM_WAIT_BODY : STREAM_WAIT_NONE;
}

void client_stream_timeout(struct http2_stream *s, enum http2_stream_wait wait)
{
    enum reason why = wait == STREAM_WAIT_BODY ? REASON_upstream_stalled : REASON_upstream_timeout;
    client_conn_doubt(conn_of(s), s->waits_since);
    stream_fault(s, why);
}
