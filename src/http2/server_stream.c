/* One request of a client's connection.
 *
 *   request head ──> owner ──release──> (rest goes out) ──> closed by nghttp2 ──> freed
 *                      └──reset by the client──> on_closed ──> freed
 *
 * What holds for streams of both sides is in stream.c. */
#include "http2/server_priv.h"

#include <sys/random.h>

#include "base/mem.h"
#include "http/answer.h"
#include "http/grpc.h"
#include "http2/emit.h"
#include "wire/base64.h"
#include "wire/uri.h"

static const struct http_stream_ops stream_ops;

static struct http2_context *context_of(const struct http2_stream *s)
{
    return s->conn->link.context;
}

struct http2_stream *server_stream_new(struct server_conn *c, int32_t id)
{
    struct http2_stream *s = http2_stream_new(&c->base, &stream_ops);
    if (s != NULL) {
        s->id = id;
    }
    return s;
}

void server_stream_free(struct http2_stream *s)
{
    server_conn_of(s->conn)->heads_n -= s->head_n;
    http2_stream_free(s);
}

/* ---- a request ---- */

static void stream_answer(struct http2_stream *s, enum reason why)
{
    struct http_answer answer;
    int64_t now_s = (int64_t)(clock_wall() / USEC_PER_SEC);
    if (s->is_grpc) {
        http_answer_make_grpc(&answer, why, 0, STR("application/grpc"), now_s);
    } else {
        http_answer_make(&answer, why, 0, STR_EMPTY, STR_EMPTY, now_s);
    }
    (void)stream_ops.send_response(&s->base, &answer.response, answer.body, true);
    s->is_pulled = false;
    stream_ops.release(&s->base);
}

static void stream_reject(struct http2_stream *s, enum reason why)
{
    struct server_conn *c = server_conn_of(s->conn);
    struct http_handler *handler = c->server->handler;
    if (why == REASON_head_too_large) {
        http2_conn_count_head(s->conn);
    }
    handler->on_rejected(handler, &c->peer, context_of(s)->head->path, why);
    stream_answer(s, why);
}

/* RFC 9113 section 8.3.1: Host, when it is there, says what :authority says. */
static bool authority_find(struct http2_head *h)
{
    uint32_t host_n = 0;
    for (uint32_t i = 0; i < h->field_n; i++) {
        if (h->fields[i].id != FIELD_host) {
            continue;
        }
        if (h->has_authority && !str_eq_nocase(h->fields[i].value, h->authority)) {
            return false;
        }
        h->authority = h->fields[i].value;
        host_n++;
    }
    return host_n < 2 && host_is_valid(h->authority);
}

static bool target_is_valid(const struct http2_head *h)
{
    struct str authority, path, query;
    if (str_eq(h->path, STR("*"))) {
        return str_eq(h->method, STR("OPTIONS"));
    }
    return h->path.n > 0 && h->path.p[0] == '/' &&
           uri_split(h->path, &authority, &path, &query) == E_OK;
}

static enum reason request_fault(struct http2_head *h)
{
    if (h->fault != REASON_none) {
        return h->fault;
    }
    if (!authority_find(h)) {
        return REASON_bad_request;
    }
    if (!str_eq(h->method, STR("CONNECT"))) {
        return target_is_valid(h) ? REASON_none : REASON_bad_request;
    }
    if (h->protocol.n == 0) {
        h->path = h->authority; /* as a request line has it; the handler says no */
        return REASON_none;
    }
    if (!str_eq_nocase(h->protocol, STR("websocket"))) {
        return REASON_method_not_supported;
    }
    return target_is_valid(h) ? REASON_none : REASON_bad_request;
}

/* RFC 8441 section 5: what the HTTP/1.1 handshake has besides. Its key proves nothing here. */
static enum err connect_complete(struct http2_stream *s, struct http2_head *h)
{
    char random[16];
    struct str old;
    s->is_connect = true;
    h->method = STR("GET");
    if (http_field_find(h->fields, h->field_n, STR("sec-websocket-key"), &old)) {
        return E_OK;
    }
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        return E_SYS;
    }
    struct buf key;
    buf_init(&key, 64);
    base64_emit(&key, str_make(random, sizeof(random)));
    bool is_made = !key.bad;
    if (is_made) {
        http2_head_add_own(h, FIELD_OTHER, STR("sec-websocket-key"), buf_str(&key));
    }
    buf_fini(&key);
    return is_made ? E_OK : E_NOMEM;
}

static void expect_read(struct http2_stream *s, const struct http2_head *h, struct http_request *r)
{
    struct str expect;
    if (http_field_get(h->fields, h->field_n, FIELD_expect, &expect)) {
        s->owes_continue = str_eq_nocase(expect, STR("100-continue"));
        r->expects_other = !s->owes_continue;
    }
}

static struct http_request request_of(struct http2_stream *s, const struct http2_head *h)
{
    struct str length;
    struct http_request r = {
        .head = str_make(h->bytes, h->n),
        .method = h->method,
        .authority = h->authority,
        .target = h->path,
        .fields = h->fields,
        .field_n = h->field_n,
        .version = 20,
        .is_head = str_eq(h->method, STR("HEAD")),
        .upgrade = s->is_connect ? STR("websocket") : STR_EMPTY,
        .peer = &server_conn_of(s->conn)->peer,
    };
    if (http_field_get(h->fields, h->field_n, FIELD_content_length, &length) &&
        str_to_u64(length, INT64_MAX, &r.body_n)) {
        r.body = HTTP_BODY_LENGTH;
        s->has_in_length = true;
        s->in_length = r.body_n;
    } else {
        r.body = s->is_in_ended || s->is_connect ? HTTP_BODY_NONE : HTTP_BODY_STREAM;
    }
    return r;
}

void server_stream_begin(struct http2_stream *s, struct str body, bool is_end)
{
    struct http_handler *handler = server_conn_of(s->conn)->server->handler;
    struct http2_head *h = context_of(s)->head;
    enum reason fault = request_fault(h);
    struct str type;
    s->is_grpc = http_is_grpc(h->fields, h->field_n, &type);
    s->is_head = str_eq(h->method, STR("HEAD"));
    if (fault == REASON_none && h->protocol.n > 0 && connect_complete(s, h) != E_OK) {
        fault = REASON_internal;
    }
    if (fault != REASON_none) {
        http2_stream_consume(s, body.n);
        s->is_in_ended = is_end;
        stream_reject(s, fault);
        return;
    }
    s->is_in_ended = is_end && body.n == 0;
    struct http_request request = request_of(s, h);
    expect_read(s, h, &request);
    s->in_n = body.n;
    is_end = is_end && (!s->has_in_length || s->in_n == s->in_length);
    s->is_in_ended = is_end;
    s->owes_continue = s->owes_continue && body.n == 0 && !is_end;
    s->is_in_told = is_end;
    s->has_owner = s->is_calling = true;
    handler->on_request(handler, &s->base, &request, body, is_end || s->is_connect);
    s->is_calling = false;
    http2_stream_consume(s, body.n);
    http2_stream_serve(s);
    http2_stream_update_wait(s);
}

/* ---- sending ---- */

/* Status and fields; is_interim: of a response before the response, which has no length. */
static void response_emit(const struct http2_stream *s, const struct http_response *r,
                          bool is_interim, struct http2_emit *e, char *status_text)
{
    struct wr w = wr_make(status_text, 3);
    wr_u64(&w, s->is_tunnel ? 200 : r->status);
    bool keeps_length =
        !is_interim && r->body != HTTP_BODY_STREAM && r->status != 204 && !s->is_tunnel;
    http2_emit_begin(e);
    http2_emit_add(e, STR(":status"), str_make(status_text, 3));
    for (uint32_t i = 0; i < r->field_n; i++) {
        const struct field *f = &r->fields[i];
        if (f->id == FIELD_content_length && keeps_length) {
            http2_emit_length(e, f, 0);
        } else if (!s->is_tunnel || !str_eq_nocase(f->name, STR("sec-websocket-accept"))) {
            http2_emit_field(e, f);
        }
    }
    if (keeps_length && r->body == HTTP_BODY_LENGTH) {
        http2_emit_length(e, NULL, r->body_n);
    }
}

static enum err stream_send_response(struct http_stream *base, const struct http_response *r,
                                     struct str body, bool is_end)
{
    struct http2_stream *s = http2_stream_of(base);
    struct http2_emit emit;
    char status_text[3];
    bool has_body = !s->is_head && r->body != HTTP_BODY_NONE;
    if (s->is_closed || s->conn->link.is_broken) {
        return E_CLOSED;
    }
    s->is_tunnel = s->is_connect && r->is_tunnel;
    if (s->is_connect && !s->is_tunnel && r->status < 300) {
        return E_LIMIT; /* here it would mean that the tunnel stands: RFC 9110 section 9.3.6 */
    }
    response_emit(s, r, false, &emit, status_text);
    has_body = has_body || s->is_tunnel;
    s->has_out_length = has_body && r->body == HTTP_BODY_LENGTH;
    s->out_left = r->body_n;
    s->owes_continue = false;
    bool is_bare = !has_body || (is_end && body.n == 0 && base->to_send.n == 0);
    if (is_bare) {
        s->has_out_length = false;
    }
    TRY(http2_stream_note(s, is_bare ? STR_EMPTY : body, is_end || !has_body));
    nghttp2_data_provider provider = http2_stream_body(s);
    if (nghttp2_submit_response(s->conn->link.session, s->id, emit.nv, emit.n,
                                is_bare ? NULL : &provider) != 0) {
        s->now = STR_EMPTY;
        s->is_out_ended = false;
        return E_NOMEM;
    }
    s->has_response = true;
    http2_stream_trail(s);
    return http2_stream_push(s);
}

static enum err stream_send_body(struct http_stream *base, struct str data, bool is_end)
{
    return http2_stream_send_body(http2_stream_of(base), data, is_end);
}

static void stream_interim(struct http2_stream *s, const struct http_response *r)
{
    struct http2_emit emit;
    char status_text[3];
    if (s->has_response || s->is_closed || s->conn->link.is_broken) {
        return;
    }
    response_emit(s, r, true, &emit, status_text);
    (void)nghttp2_submit_headers(s->conn->link.session, NGHTTP2_FLAG_NONE, s->id, NULL, emit.nv,
                                 emit.n, NULL); /* best effort */
    http2_conn_defer(s->conn);
}

static void stream_send_interim(struct http_stream *base, const struct http_response *r)
{
    stream_interim(http2_stream_of(base), r);
}

static void stream_pull(struct http_stream *base)
{
    struct http2_stream *s = http2_stream_of(base);
    if (s->owes_continue) {
        s->owes_continue = false;
        stream_interim(s, &(struct http_response){.status = 100});
    }
    http2_stream_pull(s);
}

/* RFC 9113 section 8.1: an answer may come before the request is complete; then the rest of it is
 * not wanted. */
static void stream_stop_request(struct http2_stream *s)
{
    if (s->is_end_sent && !s->is_in_ended) {
        http2_stream_reset(s, NGHTTP2_NO_ERROR);
    }
}

/* CANCEL is what an endpoint has said, or what a deadline means; RFC 9113 section 7. */
static uint32_t reset_code(enum reason why)
{
    return why == REASON_upstream_canceled || why == REASON_deadline_exceeded
               ? NGHTTP2_CANCEL
               : NGHTTP2_INTERNAL_ERROR;
}

static void stream_release(struct http_stream *base)
{
    struct http2_stream *s = http2_stream_of(base);
    s->has_owner = false;
    if (s->is_closed) {
        http2_stream_defer(s); /* who called us looks at it */
        return;
    }
    http2_stream_forget(s);
    if (s->is_out_ended) {
        stream_stop_request(s);
    } else { /* the client must see that it is not the end */
        http2_stream_reset(s, reset_code(base->cut_by));
    }
    http2_stream_update_wait(s);
}

static size_t stream_room(struct http_stream *base)
{
    const struct http2_conn *c = http2_stream_of(base)->conn;
    return c->out_n < HTTP2_CONN_KEPT_BYTES ? RECEIVE_BYTES : HTTP2_PIECE_BYTES;
}

static const struct http_stream_ops stream_ops = {
    .send_response = stream_send_response,
    .send_interim = stream_send_interim,
    .send_body = stream_send_body,
    .room = stream_room,
    .pull = stream_pull,
    .release = stream_release,
};

/* ---- what struct http2_side asks for ---- */

enum http2_stream_wait server_stream_wait(const struct http2_stream *s)
{
    if (s->is_out_ended && !s->is_end_sent) {
        return STREAM_WAIT_WINDOW; /* nghttp2 wants a window for the bare end, too */
    }
    /* The other side times a tunnel, and a request that goes on behind its response's head (gRPC's
     * streams), as long as it takes part. */
    bool is_timed = !s->has_response || s->is_out_ended;
    return s->has_owner && s->is_pulled && !s->is_in_ended && is_timed ? STREAM_WAIT_BODY
                                                                       : STREAM_WAIT_NONE;
}

void server_stream_end_sent(struct http2_stream *s)
{
    if (!s->has_owner) {
        stream_stop_request(s);
    }
}

void server_stream_finish(struct http2_stream *s)
{
    http2_stream_break(s, REASON_client_abort, false);
    server_stream_free(s);
}

void server_stream_over(struct http2_stream *s, uint32_t code)
{
    bool is_clean = code == NGHTTP2_NO_ERROR && s->is_end_sent;
    if (s->is_busy || (s->has_owner && is_clean) || s->is_calling) {
        http2_stream_defer(s); /* unless it is released now */
    } else {
        server_stream_finish(s);
    }
}

void server_stream_timeout(struct http2_stream *s, enum http2_stream_wait wait)
{
    bool has_response = s->has_response, is_body = wait == STREAM_WAIT_BODY;
    http2_stream_break(s, is_body ? REASON_client_timeout : REASON_client_stalled, false);
    if (is_body && !has_response) {
        stream_answer(s, REASON_client_timeout);
    } else {
        http2_stream_reset(s, NGHTTP2_CANCEL);
    }
}
