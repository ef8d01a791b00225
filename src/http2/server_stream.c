/* One stream of a client's connection.
 *
 *   request head ──> owner ──release──> (rest goes out) ──> closed by nghttp2 ──> freed
 *                      └──reset by the client──> on_closed ──> freed
 *
 * What comes in is given to the owner at once when it has pulled, else kept: never more than the
 * stream's window, which grows only by what the owner got. What the owner sends goes to nghttp2 out
 * of the caller's memory as far as windows and the socket allow; the rest is kept, and E_AGAIN
 * asks for patience. Inside of nghttp2, which takes nothing then, all is kept. */
#include "http2/server_priv.h"

#include <sys/random.h>

#include "base/mem.h"
#include "http/answer.h"
#include "wire/base64.h"
#include "wire/uri.h"

enum { STREAMS_KEPT = 64, PSEUDO_MAX = 1, OWN_FIELDS_MAX = 1 };

static const struct {
    size_t timeout; /* offset in struct snap_settings */
    size_t counter; /* offset of the stats_value in struct stats_page */
} waits[STREAM_WAITS_N] = {
    [STREAM_WAIT_BODY] = {offsetof(struct snap_settings, client_body_timeout),
                          offsetof(struct stats_page, timeout_client_body) },
    [STREAM_WAIT_WINDOW] = {offsetof(struct snap_settings, send_timeout),
                          offsetof(struct stats_page, timeout_client_write)},
};

static timer_fn stream_on_timer;
static deferred_fn stream_on_work;
static const struct http_stream_ops stream_ops;

static struct stream *stream_of(struct http_stream *s)
{
    return container_of(s, struct stream, base);
}

static struct http2_context *context_of(const struct stream *s)
{
    return s->conn->link.context;
}

static struct stats_page *stats_of(const struct stream *s)
{
    return s->conn->server->stats;
}

static nghttp2_session *session_of(const struct stream *s)
{
    return s->conn->link.session;
}

static size_t out_n(const struct stream *s)
{
    return s->out.n - s->out_at;
}

/* ---- life ---- */

static void stream_account(struct stream *s)
{
    size_t held_n = s->in.n + s->out.n;
    context_of(s)->budget->used += held_n;
    context_of(s)->budget->used -= s->held_n;
    s->held_n = held_n;
}

struct stream *stream_new(struct server_conn *c, int32_t id)
{
    struct http2_server *server = c->server;
    struct list *free_one = list_pop(&server->streams);
    struct stream *s =
        free_one == NULL ? mem_alloc(sizeof(*s)) : container_of(free_one, struct stream, node);
    if (s == NULL) {
        return NULL;
    }
    server->stream_n -= free_one != NULL;
    *s = (struct stream){.base = {.ops = &stream_ops}, .conn = c, .id = id};
    buf_init(&s->in, HTTP2_STREAM_WINDOW_BYTES);
    buf_init(&s->out, CONN_PENDING_BYTES_MAX);
    list_append(&c->streams, &s->node);
    c->stream_n++;
    return s;
}

void stream_free(struct stream *s)
{
    struct http2_server *server = s->conn->server;
    list_del(&s->node);
    list_del(&s->writable_node);
    s->conn->stream_n--;
    loop_disarm(context_of(s)->loop, &s->timer);
    loop_undefer(&s->work);
    buf_fini(&s->in);
    buf_fini(&s->out);
    stream_account(s);
    mem_free(s->trailers_in);
    mem_free(s->trailers_out);
    if (server->stream_n < STREAMS_KEPT) {
        server->stream_n++;
        list_push(&server->streams, &s->node);
    } else {
        mem_free(s);
    }
}

void stream_break(struct stream *s, enum reason why)
{
    if (s->has_owner) {
        s->has_owner = false;
        s->base.events->on_closed(&s->base, why, false);
    }
}

static void stream_reset(struct stream *s, uint32_t code)
{
    if (!s->is_closed &&
        nghttp2_submit_rst_stream(session_of(s), NGHTTP2_FLAG_NONE, s->id, code) != 0) {
        s->conn->link.is_broken = true; /* out of memory */
    }
    conn_defer(s->conn);
}

static enum stream_wait wait_of(const struct stream *s)
{
    if (out_n(s) > 0) {
        return STREAM_WAIT_WINDOW;
    }
    /* The other side times a tunnel, as long as it takes part. */
    bool is_timed = !s->is_tunnel || s->is_out_ended;
    return s->has_owner && s->is_pulled && !s->is_in_ended && is_timed ? STREAM_WAIT_BODY
                                                                       : STREAM_WAIT_NONE;
}

static void stream_rearm(struct stream *s)
{
    const char *settings = (const char *)context_of(s)->settings;
    s->wait = wait_of(s);
    s->marked_n = s->sent_n;
    if (s->wait != STREAM_WAIT_NONE) {
        usec_t timeout = *(const uint64_t *)(const void *)(settings + waits[s->wait].timeout);
        loop_arm(context_of(s)->loop, &s->timer, timeout, stream_on_timer);
    }
}

static void stream_update_wait(struct stream *s)
{
    if (wait_of(s) != s->wait) {
        stream_rearm(s);
    }
}

/* ---- receiving ---- */

/* The windows grow by what has left our memory. */
static void stream_consume(struct stream *s, size_t n)
{
    int fault = s->is_closed || s->is_in_ended
                    ? nghttp2_session_consume_connection(session_of(s), n)
                    : nghttp2_session_consume(session_of(s), s->id, n);
    if (n > 0 && fault != 0) {
        conn_defer(s->conn); /* out of memory shows at the next call */
    }
}

static void stream_deliver(struct stream *s, struct str data, bool is_end)
{
    s->is_pulled = false;
    s->is_in_told = is_end;
    s->is_calling = true;
    s->base.events->on_body(&s->base, data, is_end);
    s->is_calling = false;
}

/* What was kept, as long as the owner asks. */
static void stream_serve(struct stream *s)
{
    while (s->has_owner && s->is_pulled && !s->is_in_told && (s->in.n > 0 || s->is_in_ended)) {
        size_t n = s->in.n;
        stream_deliver(s, buf_str(&s->in), s->is_in_ended);
        buf_fini(&s->in);
        stream_account(s);
        stream_consume(s, n);
    }
}

static void stream_on_work(struct deferred *d)
{
    struct stream *s = container_of(d, struct stream, work);
    struct server_conn *c = s->conn;
    if (s->is_closed) {
        stream_break(s, REASON_client_abort);
        stream_free(s);
        conn_defer(c);
        return;
    }
    stream_serve(s);
    stream_update_wait(s);
    conn_defer(c);
}

void stream_data(struct stream *s, struct str data, bool is_end)
{
    s->in_n += data.n;
    bool is_whole = !s->has_in_length || s->in_n == s->in_length;
    is_end = is_end && is_whole; /* else nghttp2 is about to find out */
    if (s->has_owner && s->is_pulled && s->in.n == 0) {
        s->is_in_ended = is_end;
        stream_deliver(s, data, is_end);
        stream_consume(s, data.n);
    } else if (!s->has_owner) {
        s->is_in_ended = is_end;
        stream_consume(s, data.n);
    } else {
        buf_add_str(&s->in, data);
        stream_account(s);
        s->is_in_ended = is_end;
        if (s->in.bad) {
            stats_add(&stats_of(s)->limit_memory, 1);
            stream_reset(s, NGHTTP2_INTERNAL_ERROR);
            return;
        }
    }
    stream_serve(s); /* pulled in the meantime, the end is all that is left */
    if (s->wait == STREAM_WAIT_BODY) {
        stream_rearm(s);
    }
}

static struct field *fields_copy(const struct field *fields, uint32_t n)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        bytes += fields[i].name.n + fields[i].value.n;
    }
    struct field *copy = mem_alloc(n * sizeof(*copy) + bytes);
    char *at = (char *)(copy + n);
    for (uint32_t i = 0; copy != NULL && i < n; i++) {
        copy[i] = fields[i];
        copy[i].line_n = 0;
        copy[i].name.p = at;
        mem_copy(at, fields[i].name.p, fields[i].name.n);
        at += fields[i].name.n;
        copy[i].value.p = at;
        mem_copy(at, fields[i].value.p, fields[i].value.n);
        at += fields[i].value.n;
    }
    return copy;
}

void stream_trailers(struct stream *s)
{
    struct http2_head *h = context_of(s)->head;
    if (s->has_owner && h->field_n > 0 && h->fault == REASON_none && s->trailers_in == NULL) {
        s->trailers_in = fields_copy(h->fields, h->field_n);
        if (s->trailers_in != NULL) {
            s->base.received = (struct http_trailers){s->trailers_in, h->field_n};
        }
    }
    stream_data(s, STR_EMPTY, true);
}

/* ---- a request ---- */

static void stream_answer(struct stream *s, enum reason why)
{
    struct http_answer answer;
    http_answer_make(&answer, why, 0, STR_EMPTY, STR_EMPTY, (int64_t)(clock_wall() / USEC_PER_SEC));
    (void)stream_ops.send_response(&s->base, &answer.response, answer.body, true);
    s->is_pulled = false;
    stream_ops.release(&s->base);
}

static void stream_reject(struct stream *s, enum reason why)
{
    struct server_conn *c = s->conn;
    struct http2_head *h = context_of(s)->head;
    if (why == REASON_head_too_large) {
        stats_add(h->decoded_n > h->bytes_max ? &stats_of(s)->limit_head_bytes
                                              : &stats_of(s)->limit_head_fields,
                  1);
    }
    c->server->handler->on_rejected(c->server->handler, &c->peer, h->path, why);
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
static enum err connect_complete(struct stream *s, struct http2_head *h)
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

static void expect_read(struct stream *s, const struct http2_head *h, struct http_request *r)
{
    struct str expect;
    if (http_field_get(h->fields, h->field_n, FIELD_expect, &expect)) {
        s->owes_continue = str_eq_nocase(expect, STR("100-continue"));
        r->expects_other = !s->owes_continue;
    }
}

static struct http_request request_of(struct stream *s, const struct http2_head *h)
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
        .peer = &s->conn->peer,
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

void stream_begin(struct stream *s, struct str body, bool is_end)
{
    struct server_conn *c = s->conn;
    struct http2_head *h = context_of(s)->head;
    enum reason fault = request_fault(h);
    s->is_head = str_eq(h->method, STR("HEAD"));
    if (fault == REASON_none && h->protocol.n > 0 && connect_complete(s, h) != E_OK) {
        fault = REASON_internal;
    }
    if (fault != REASON_none) {
        stream_consume(s, body.n);
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
    c->server->handler->on_request(c->server->handler, &s->base, &request, body,
                                   is_end || s->is_connect);
    s->is_calling = false;
    stream_consume(s, body.n);
    stream_serve(s);
    stream_update_wait(s);
}

/* ---- sending ---- */

/* The block that is read from, then nghttp2's own. RFC 9113 section 8.2.2: fields of the connection
 * have no place here. */
static size_t nv_make(const struct http_response *r, uint16_t status, bool is_connect,
                      bool keeps_length, char *status_text, char *length_text, nghttp2_nv *nv)
{
    size_t n = 0;
    struct wr w = wr_make(status_text, 3);
    wr_u64(&w, status);
    nv[n++] = (nghttp2_nv){(uint8_t *)(uintptr_t) ":status", (uint8_t *)status_text, 7, 3, 0};
    bool has_length = false;
    for (uint32_t i = 0; i < r->field_n; i++) {
        const struct field *f = &r->fields[i];
        bool is_length = f->id == FIELD_content_length;
        bool is_dropped =
            is_length ? !keeps_length || has_length
                      : http_field_is_hop_by_hop(f->id) && f->id != FIELD_proxy_authenticate;
        if (is_dropped || (is_connect && str_eq_nocase(f->name, STR("sec-websocket-accept")))) {
            continue;
        }
        has_length = has_length || is_length;
        nv[n++] = (nghttp2_nv){(uint8_t *)(uintptr_t)f->name.p, (uint8_t *)(uintptr_t)f->value.p,
                               f->name.n, f->value.n, 0};
    }
    if (keeps_length && !has_length && r->body == HTTP_BODY_LENGTH) {
        struct wr length = wr_make(length_text, 20);
        wr_u64(&length, r->body_n);
        nv[n++] = (nghttp2_nv){(uint8_t *)(uintptr_t) "content-length", (uint8_t *)length_text, 14,
                               wr_n(&length), 0};
    }
    return n;
}

static bool trailers_submit(struct stream *s)
{
    nghttp2_nv nv[HEAD_FIELDS_MAX];
    for (uint32_t i = 0; i < s->trailers_out_n; i++) {
        const struct field *f = &s->trailers_out[i];
        nv[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)f->name.p, (uint8_t *)(uintptr_t)f->value.p,
                             f->name.n, f->value.n, 0};
    }
    return nghttp2_submit_trailer(session_of(s), s->id, nv, s->trailers_out_n) == 0;
}

ssize_t stream_on_read(nghttp2_session *session, int32_t id, uint8_t *p, size_t n, uint32_t *flags,
                       nghttp2_data_source *source, void *user)
{
    struct stream *s = source->ptr;
    size_t available = out_n(s) + s->now.n;
    (void)session;
    (void)id;
    (void)p;
    (void)user;
    if (available == 0 && !s->is_out_ended) {
        s->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    n = n < available ? n : available;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == available && s->is_out_ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->trailers_out_n > 0 && trailers_submit(s)) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        }
    }
    return (ssize_t)n;
}

/* The next n bytes of what the owner has sent. */
static void stream_take(struct stream *s, char *to, size_t n)
{
    size_t kept = n < out_n(s) ? n : out_n(s);
    mem_copy(to, s->out.p + s->out_at, kept);
    s->out_at += kept;
    mem_copy(to + kept, s->now.p, n - kept);
    s->now = str_from(s->now, n - kept);
    s->sent_n += n;
    if (s->out_at == s->out.n && s->out.n > 0) {
        buf_fini(&s->out);
        s->out_at = 0;
        stream_account(s);
    }
    if (s->is_send_blocked && out_n(s) == 0 && !list_is_linked(&s->writable_node)) {
        list_append(&s->conn->writable, &s->writable_node);
        conn_defer(s->conn);
    }
}

int stream_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                        size_t n, nghttp2_data_source *source, void *user)
{
    struct stream *s = source->ptr;
    enum { FRAME_HEAD = 9 };
    (void)session;
    (void)frame;
    (void)user;
    char *room = http2_link_room(&s->conn->link, FRAME_HEAD + n);
    if (room == NULL) {
        return s->conn->link.is_broken ? NGHTTP2_ERR_CALLBACK_FAILURE : NGHTTP2_ERR_WOULDBLOCK;
    }
    mem_copy(room, head, FRAME_HEAD);
    stream_take(s, room + FRAME_HEAD, n);
    return 0;
}

void stream_writable(struct stream *s)
{
    list_del(&s->writable_node);
    stream_update_wait(s);
    if (s->has_owner && s->is_send_blocked) {
        s->is_send_blocked = false;
        s->is_calling = true;
        s->base.events->on_writable(&s->base);
        s->is_calling = false;
    }
}

/* After something was given to nghttp2: as much as possible goes, the rest is kept. */
static enum err stream_push(struct stream *s)
{
    if (s->is_deferred) {
        s->is_deferred = false;
        (void)nghttp2_session_resume_data(session_of(s), s->id); /* the stream is there */
    }
    s->is_busy = true;
    http2_link_pump(&s->conn->link);
    s->is_busy = false;
    if (s->is_closed || s->conn->link.is_broken) {
        s->now = STR_EMPTY;
        conn_defer(s->conn);
        return s->is_closed && s->is_end_sent ? E_OK : E_CLOSED;
    }
    if (s->now.n > 0) {
        buf_add_str(&s->out, s->now);
        s->now = STR_EMPTY;
        stream_account(s);
    }
    if (s->out.bad) {
        stats_add(&stats_of(s)->limit_memory, 1);
        return E_NOMEM;
    }
    s->is_send_blocked = out_n(s) > 0;
    stream_update_wait(s);
    if (s->conn->link.is_inside) {
        conn_defer(s->conn);
    }
    return s->is_send_blocked ? E_AGAIN : E_OK;
}

/* Notes what the owner hands over. */
static enum err stream_note(struct stream *s, struct str data, bool is_end)
{
    if (s->has_out_length) {
        if (data.n > s->out_left || (is_end && data.n < s->out_left)) {
            return E_PROTO; /* RFC 9113 section 8.1.1: such a message must not be made */
        }
        s->out_left -= data.n;
    }
    if (is_end && s->base.to_send.n > 0) {
        s->trailers_out = fields_copy(s->base.to_send.fields, s->base.to_send.n);
        s->trailers_out_n = s->trailers_out == NULL ? 0 : s->base.to_send.n;
    }
    s->now = data;
    s->is_out_ended = is_end;
    return E_OK;
}

static enum err stream_send_response(struct http_stream *base, const struct http_response *r,
                                     struct str body, bool is_end)
{
    struct stream *s = stream_of(base);
    char status_text[3], length_text[20];
    nghttp2_nv nv[PSEUDO_MAX + 2 * HEAD_FIELDS_MAX + OWN_FIELDS_MAX];
    bool has_body = !s->is_head && r->body != HTTP_BODY_NONE;
    if (s->is_closed || s->conn->link.is_broken) {
        return E_CLOSED;
    }
    s->is_tunnel = s->is_connect && r->is_tunnel;
    if (s->is_connect && !s->is_tunnel && r->status < 300) {
        return E_PROTO; /* here it would mean that the tunnel stands: RFC 9110 section 9.3.6 */
    }
    bool keeps_length = r->body != HTTP_BODY_STREAM && r->status != 204 && !s->is_tunnel;
    size_t n = nv_make(r, s->is_tunnel ? 200 : r->status, s->is_tunnel, keeps_length, status_text,
                       length_text, nv);
    has_body = has_body || s->is_tunnel;
    s->has_out_length = has_body && r->body == HTTP_BODY_LENGTH;
    s->out_left = r->body_n;
    s->owes_continue = false;
    bool is_bare = !has_body || (is_end && body.n == 0 && base->to_send.n == 0);
    if (is_bare) {
        s->has_out_length = false;
    }
    TRY(stream_note(s, is_bare ? STR_EMPTY : body, is_end || !has_body));
    nghttp2_data_provider provider = {.source.ptr = s, .read_callback = stream_on_read};
    if (nghttp2_submit_response(session_of(s), s->id, nv, n, is_bare ? NULL : &provider) != 0) {
        s->now = STR_EMPTY;
        s->is_out_ended = false;
        return E_NOMEM;
    }
    s->has_responded = true;
    return stream_push(s);
}

static enum err stream_send_body(struct http_stream *base, struct str data, bool is_end)
{
    struct stream *s = stream_of(base);
    if (s->is_closed || s->conn->link.is_broken) {
        return E_CLOSED;
    }
    if (s->is_out_ended) {
        return E_OK; /* of a message without a body */
    }
    TRY(stream_note(s, data, is_end));
    return stream_push(s);
}

static void stream_interim(struct stream *s, uint16_t status, const struct field *fields,
                           uint32_t field_n)
{
    char status_text[3], length_text[20];
    nghttp2_nv nv[PSEUDO_MAX + 2 * HEAD_FIELDS_MAX + OWN_FIELDS_MAX];
    struct http_response r = {.status = status, .fields = fields, .field_n = field_n};
    if (s->has_responded || s->is_closed || s->conn->link.is_broken) {
        return;
    }
    size_t n = nv_make(&r, status, false, false, status_text, length_text, nv);
    (void)nghttp2_submit_headers(session_of(s), NGHTTP2_FLAG_NONE, s->id, NULL, nv, n,
                                 NULL); /* best effort */
    conn_defer(s->conn);
}

static void stream_send_interim(struct http_stream *base, const struct http_response *r)
{
    stream_interim(stream_of(base), r->status, r->fields, r->field_n);
}

static void stream_pull(struct http_stream *base)
{
    struct stream *s = stream_of(base);
    s->is_pulled = true;
    if (s->owes_continue) {
        s->owes_continue = false;
        stream_interim(s, 100, NULL, 0);
    }
    stream_update_wait(s);
    if (!s->is_calling && (s->in.n > 0 || s->is_in_ended)) {
        loop_defer(context_of(s)->loop, &s->work, stream_on_work);
    }
}

/* RFC 9113 section 8.1: an answer may come before the request is complete; then the rest of it is
 * not wanted. */
static void stream_stop_request(struct stream *s)
{
    if (s->is_end_sent && !s->is_in_ended) {
        stream_reset(s, NGHTTP2_NO_ERROR);
    }
}

static void stream_release(struct http_stream *base)
{
    struct stream *s = stream_of(base);
    s->has_owner = false;
    if (s->is_closed) {
        loop_defer(context_of(s)->loop, &s->work, stream_on_work); /* who called us looks at it */
        return;
    }
    stream_consume(s, s->in.n);
    buf_fini(&s->in);
    stream_account(s);
    if (s->is_out_ended) {
        stream_stop_request(s);
    } else {
        buf_fini(&s->out); /* cut: the client must see that it is not the end */
        s->out_at = 0;
        stream_account(s);
        stream_reset(s, NGHTTP2_INTERNAL_ERROR);
    }
    stream_update_wait(s);
}

static const struct http_stream_ops stream_ops = {
    .send_response = stream_send_response,
    .send_interim = stream_send_interim,
    .send_body = stream_send_body,
    .pull = stream_pull,
    .release = stream_release,
};

/* ---- what nghttp2 tells ---- */

void stream_end_sent(struct stream *s)
{
    s->is_end_sent = true;
    if (!s->has_owner) {
        stream_stop_request(s);
    }
}

void stream_over(struct stream *s, uint32_t code)
{
    bool is_clean = code == NGHTTP2_NO_ERROR && s->is_end_sent;
    s->is_closed = true;
    if (s->is_busy || (s->has_owner && is_clean) || s->is_calling) {
        loop_defer(context_of(s)->loop, &s->work, stream_on_work); /* unless it is released now */
        return;
    }
    stream_break(s, REASON_client_abort);
    stream_free(s);
}

/* ---- waiting too long ---- */

static bool stream_is_stalled(const struct stream *s)
{
    nghttp2_session *session = session_of(s);
    return s->sent_n == s->marked_n &&
           (nghttp2_session_get_stream_remote_window_size(session, s->id) <= 0 ||
            nghttp2_session_get_remote_window_size(session) <= 0);
}

static void stream_on_timer(struct timer *t)
{
    struct stream *s = container_of(t, struct stream, timer);
    enum stream_wait wait = s->wait;
    bool has_responded = s->has_responded;
    if (wait == STREAM_WAIT_NONE || s->is_closed) {
        return;
    }
    if (wait == STREAM_WAIT_WINDOW && !stream_is_stalled(s)) {
        stream_rearm(s); /* slow, or held up by the socket, which has a time of its own */
        return;
    }
    stats_add((stats_value *)(void *)((char *)stats_of(s) + waits[wait].counter), 1);
    stream_break(s, wait == STREAM_WAIT_BODY ? REASON_client_timeout : REASON_client_stalled);
    if (wait == STREAM_WAIT_BODY && !has_responded) {
        stream_answer(s, REASON_client_timeout);
    } else {
        stream_reset(s, NGHTTP2_CANCEL);
    }
}
