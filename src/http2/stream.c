/* One stream, whichever side.
 *
 * What comes in is given to the owner at once when it has pulled, else kept: never more than the
 * stream's window, which grows only by what the owner got. What the owner sends goes to nghttp2 out
 * of the caller's memory as far as windows and the socket allow; the rest is kept, and E_AGAIN
 * asks for patience. Inside of nghttp2, which takes nothing then, all is kept. */
#include "base/mem.h"
#include "http2/conn.h"

static timer_fn stream_on_timer;
static deferred_fn stream_on_work;

static struct http2_context *context_of(const struct http2_stream *s)
{
    return s->conn->link.context;
}

static nghttp2_session *session_of(const struct http2_stream *s)
{
    return s->conn->link.session;
}

static size_t out_n(const struct http2_stream *s)
{
    return s->out.n - s->out_at;
}

/* ---- life ---- */

/* Tells the connection and the budget what is held now. */
static void stream_account(struct http2_stream *s)
{
    struct http_budget *budget = context_of(s)->budget;
    size_t held_n = s->in.n + s->out.n + s->trailers_n;
    budget->used += held_n;
    budget->used -= s->held_n;
    s->held_n = held_n;
    s->conn->in_n += s->in.n - s->held_in_n;
    s->conn->out_n += s->out.n - s->held_out_n;
    s->held_in_n = s->in.n;
    s->held_out_n = s->out.n;
}

static struct http2_stream *spare_pop(struct http2_context *x)
{
    x->stream_n--;
    stats_sub(&x->stats->http2_spare_streams, sizeof(struct http2_stream));
    return container_of(list_pop(&x->streams), struct http2_stream, node);
}

struct http2_stream *http2_stream_new(struct http2_conn *c, const struct http_stream_ops *ops)
{
    struct http2_context *x = c->link.context;
    struct http2_stream *s = x->stream_n == 0 ? mem_alloc(sizeof(*s)) : spare_pop(x);
    if (s == NULL) {
        return NULL;
    }
    *s = (struct http2_stream){.base = {.ops = ops}, .conn = c};
    buf_init(&s->in, HTTP2_STREAM_WINDOW_BYTES);
    buf_init(&s->out, CONN_PENDING_BYTES_MAX);
    list_append(&c->streams, &s->node);
    c->stream_n++;
    return s;
}

static void in_drop(struct http2_stream *s)
{
    http2_stream_consume(s, s->in.n);
    buf_fini(&s->in);
    stream_account(s);
}

static void out_drop(struct http2_stream *s)
{
    buf_fini(&s->out);
    s->out_at = 0;
    stream_account(s);
}

void http2_stream_free(struct http2_stream *s)
{
    struct http2_context *x = context_of(s);
    list_del(&s->node);
    list_del(&s->writable_node);
    s->conn->stream_n--;
    loop_disarm(x->loop, &s->timer);
    loop_undefer(&s->work);
    mem_free(s->trailers_in);
    mem_free(s->trailers_out);
    s->trailers_n = 0;
    in_drop(s);
    out_drop(s);
    if (x->stream_n < HTTP2_STREAMS_KEPT) {
        x->stream_n++;
        stats_add(&x->stats->http2_spare_streams, sizeof(*s));
        list_push(&x->streams, &s->node);
    } else {
        mem_free(s);
    }
}

void http2_streams_fini(struct http2_context *x)
{
    while (x->stream_n > 0) {
        mem_free(spare_pop(x));
    }
}

void http2_stream_break(struct http2_stream *s, enum reason why, bool is_unsent)
{
    if (s->has_owner) {
        s->has_owner = false;
        s->base.events->on_closed(&s->base, why, is_unsent);
    }
}

void http2_stream_reset(struct http2_stream *s, uint32_t code)
{
    if (!s->is_closed &&
        nghttp2_submit_rst_stream(session_of(s), NGHTTP2_FLAG_NONE, s->id, code) != 0) {
        s->conn->link.is_broken = true; /* out of memory */
    }
    http2_conn_defer(s->conn);
}

void http2_stream_defer(struct http2_stream *s)
{
    loop_defer(context_of(s)->loop, &s->work, stream_on_work);
}

void http2_stream_forget(struct http2_stream *s)
{
    in_drop(s);
    if (!s->is_out_ended) {
        out_drop(s);
    }
}

/* ---- waiting ---- */

static enum http2_stream_wait wait_of(const struct http2_stream *s)
{
    return out_n(s) > 0 ? STREAM_WAIT_WINDOW : s->conn->side->wait_of(s);
}

void http2_stream_rearm(struct http2_stream *s)
{
    struct loop *loop = context_of(s)->loop;
    s->wait = wait_of(s);
    s->marked_n = s->sent_n;
    s->waits_since = loop_now(loop);
    if (s->wait != STREAM_WAIT_NONE) {
        loop_arm(loop, &s->timer, http2_wait_time(s->conn, &s->conn->side->stream_waits[s->wait]),
                 stream_on_timer);
    }
}

void http2_stream_update_wait(struct http2_stream *s)
{
    if (wait_of(s) != s->wait) {
        http2_stream_rearm(s);
    }
}

/* Windows that are opened byte by byte are closed. */
static bool stream_is_stalled(const struct http2_stream *s)
{
    nghttp2_session *session = session_of(s);
    return s->sent_n - s->marked_n < HTTP2_DRIP_BYTES &&
           (nghttp2_session_get_stream_remote_window_size(session, s->id) <= 0 ||
            nghttp2_session_get_remote_window_size(session) <= 0);
}

static void stream_on_timer(struct timer *t)
{
    struct http2_stream *s = container_of(t, struct http2_stream, timer);
    enum http2_stream_wait wait = s->wait;
    if (wait == STREAM_WAIT_NONE || s->is_closed) {
        return;
    }
    if (wait == STREAM_WAIT_WINDOW && !stream_is_stalled(s)) {
        http2_stream_rearm(s); /* slow, or held up by the socket, which has a time of its own */
        return;
    }
    http2_wait_count(s->conn, &s->conn->side->stream_waits[wait]);
    s->conn->side->on_timeout(s, wait);
}

/* ---- receiving ---- */

void http2_stream_consume(struct http2_stream *s, size_t n)
{
    if (n == 0 || s->conn->is_cut) {
        return;
    }
    int fault = s->is_closed || s->is_in_ended
                    ? nghttp2_session_consume_connection(session_of(s), n)
                    : nghttp2_session_consume(session_of(s), s->id, n);
    if (fault != 0) {
        http2_conn_defer(s->conn); /* out of memory shows at the next call */
    }
}

/* How much of n bytes the owner is to get at once. */
static size_t stream_room(struct http2_stream *s, size_t n)
{
    size_t room = s->base.events->room == NULL ? n : s->base.events->room(&s->base);
    return n < room ? n : room;
}

static void stream_deliver(struct http2_stream *s, struct str data, bool is_end)
{
    s->is_pulled = false;
    s->is_in_told = is_end;
    s->is_calling = true;
    s->base.events->on_body(&s->base, data, is_end);
    s->is_calling = false;
}

/* What is left of *in behind its first n bytes. */
static void stream_keep(struct http2_stream *s, struct buf *in, size_t n)
{
    if (n == in->n) {
        buf_fini(in);
    } else {
        buf_drop(in, n);
        s->in = *in;
    }
    stream_account(s);
}

void http2_stream_serve(struct http2_stream *s)
{
    while (s->has_owner && s->is_pulled && !s->is_in_told && (s->in.n > 0 || s->is_in_ended)) {
        struct buf in = s->in; /* the owner may be done with the stream: forget() */
        buf_init(&s->in, in.max);
        size_t n = stream_room(s, in.n);
        stream_deliver(s, str_first(buf_str(&in), n), s->is_in_ended && n == in.n);
        n = s->has_owner ? n : in.n;
        http2_stream_consume(s, n);
        stream_keep(s, &in, n);
    }
}

static void stream_on_work(struct deferred *d)
{
    struct http2_stream *s = container_of(d, struct http2_stream, work);
    struct http2_conn *c = s->conn;
    http2_stream_serve(s);
    if (s->is_closed) {
        c->side->finish(s);
    } else {
        http2_stream_update_wait(s);
    }
    http2_conn_defer(c);
}

void http2_stream_data(struct http2_stream *s, struct str data, bool is_end)
{
    s->in_n += data.n;
    bool is_whole = !s->has_in_length || s->in_n == s->in_length;
    is_end = is_end && is_whole; /* else nghttp2 is about to find out */
    if (s->has_owner && s->is_pulled && s->in.n == 0 && stream_room(s, data.n) == data.n) {
        s->is_in_ended = is_end;
        stream_deliver(s, data, is_end);
        http2_stream_consume(s, data.n);
    } else if (!s->has_owner) {
        s->is_in_ended = is_end;
        http2_stream_consume(s, data.n);
    } else if (data.n > s->in.max - s->in.n) { /* beyond its window: nghttp2 has reset it */
        http2_stream_consume(s, data.n);
        return;
    } else {
        buf_add_str(&s->in, data);
        stream_account(s);
        s->is_in_ended = is_end;
        if (s->in.bad) {
            stats_add(&s->conn->stats->limit_memory, 1);
            http2_stream_consume(s, data.n);
            s->fault = REASON_overloaded;
            http2_stream_reset(s, NGHTTP2_INTERNAL_ERROR);
            return;
        }
    }
    http2_stream_serve(s); /* pulled in the meantime, the end is all that is left */
    if (s->wait == STREAM_WAIT_BODY) {
        http2_stream_rearm(s);
    }
}

/* Of trailers. */
static struct field *fields_copy(struct http2_stream *s, const struct field *fields, uint32_t n)
{
    size_t bytes = n * sizeof(*fields);
    for (uint32_t i = 0; i < n; i++) {
        bytes += fields[i].name.n + fields[i].value.n;
    }
    struct field *copy = mem_alloc(bytes);
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
    s->trailers_n += copy == NULL ? 0 : bytes;
    stream_account(s);
    return copy;
}

/* What the peer sends is more than we take. */
static void stream_refuse(struct http2_stream *s, enum reason why)
{
    if (s->conn->side->is_server) {
        http2_stream_break(s, why, false);
    } else {
        s->fault = REASON_upstream_invalid;
    }
    http2_stream_reset(s, NGHTTP2_ENHANCE_YOUR_CALM);
}

void http2_stream_trailers(struct http2_stream *s)
{
    struct http2_head *h = context_of(s)->head;
    if (s->has_owner && h->fault != REASON_none) { /* a part must not pass for the whole message */
        http2_conn_count_head(s->conn);
        stream_refuse(s, h->fault);
        return;
    }
    if (s->has_owner && h->field_n > 0 && s->trailers_in == NULL) {
        s->trailers_in = fields_copy(s, h->fields, h->field_n);
        if (s->trailers_in != NULL) {
            s->base.received = (struct http_trailers){s->trailers_in, h->field_n};
        }
    }
    http2_stream_data(s, STR_EMPTY, true);
}

void http2_stream_pull(struct http2_stream *s)
{
    s->is_pulled = true;
    http2_stream_update_wait(s);
    if (!s->is_calling && (s->in.n > 0 || s->is_in_ended)) {
        http2_stream_defer(s);
    }
}

/* ---- sending ---- */

static bool trailers_submit(struct http2_stream *s)
{
    nghttp2_nv nv[HEAD_FIELDS_MAX];
    for (uint32_t i = 0; i < s->trailers_out_n; i++) {
        const struct field *f = &s->trailers_out[i];
        nv[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)f->name.p, (uint8_t *)(uintptr_t)f->value.p,
                             f->name.n, f->value.n, 0};
    }
    return nghttp2_submit_trailer(session_of(s), s->id, nv, s->trailers_out_n) == 0;
}

void http2_stream_trail(struct http2_stream *s)
{
    if (s->is_out_ended && s->trailers_out_n > 0 && out_n(s) + s->now.n == 0) {
        s->is_trailed = trailers_submit(s);
    }
}

/* Says how much there is; http2_stream_on_send_data() takes it. */
static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *p, size_t n, uint32_t *flags,
                       nghttp2_data_source *source, void *user)
{
    struct http2_stream *s = source->ptr;
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
        if (s->is_trailed || (s->trailers_out_n > 0 && trailers_submit(s))) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        }
    }
    return (ssize_t)n;
}

nghttp2_data_provider http2_stream_body(struct http2_stream *s)
{
    return (nghttp2_data_provider){.source.ptr = s, .read_callback = on_read};
}

/* The next n bytes of what the owner has sent. */
static void stream_take(struct http2_stream *s, char *to, size_t n)
{
    size_t kept = n < out_n(s) ? n : out_n(s);
    mem_copy(to, s->out.p + s->out_at, kept);
    s->out_at += kept;
    mem_copy(to + kept, s->now.p, n - kept);
    s->now = str_from(s->now, n - kept);
    s->sent_n += n;
    if (s->out_at == s->out.n && s->out.n > 0) {
        out_drop(s);
    }
    if (s->is_send_blocked && out_n(s) == 0 && !list_is_linked(&s->writable_node)) {
        list_append(&s->conn->writable, &s->writable_node);
        http2_conn_defer(s->conn);
    }
}

int http2_stream_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                              size_t n, nghttp2_data_source *source, void *user)
{
    struct http2_stream *s = source->ptr;
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

void http2_stream_writable(struct http2_stream *s)
{
    list_del(&s->writable_node);
    http2_stream_update_wait(s);
    if (s->has_owner && s->is_send_blocked) {
        s->is_send_blocked = false;
        s->is_calling = true;
        s->base.events->on_writable(&s->base);
        s->is_calling = false;
    }
}

enum err http2_stream_push(struct http2_stream *s)
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
        http2_conn_defer(s->conn);
        return s->is_closed && s->is_end_sent ? E_OK : E_CLOSED;
    }
    if (s->now.n > 0) {
        buf_add_str(&s->out, s->now);
        s->now = STR_EMPTY;
        stream_account(s);
    }
    if (s->out.bad) {
        stats_add(&s->conn->stats->limit_memory, 1);
        return E_NOMEM;
    }
    s->is_send_blocked = out_n(s) > 0;
    http2_stream_update_wait(s);
    if (s->conn->link.is_inside) {
        http2_conn_defer(s->conn);
    }
    return s->is_send_blocked ? E_AGAIN : E_OK;
}

enum err http2_stream_note(struct http2_stream *s, struct str data, bool is_end)
{
    if (s->has_out_length) {
        if (data.n > s->out_left || (is_end && data.n < s->out_left)) {
            return E_PROTO; /* RFC 9113 section 8.1.1: such a message must not be made */
        }
        s->out_left -= data.n;
    }
    if (is_end && s->base.to_send.n > 0) {
        s->trailers_out = fields_copy(s, s->base.to_send.fields, s->base.to_send.n);
        s->trailers_out_n = s->trailers_out == NULL ? 0 : s->base.to_send.n;
    }
    s->now = data;
    s->is_out_ended = is_end;
    return E_OK;
}

enum err http2_stream_send_body(struct http2_stream *s, struct str data, bool is_end)
{
    if (s->is_closed || s->conn->link.is_broken) {
        return E_CLOSED;
    }
    if (s->is_out_ended) {
        return E_OK; /* of a message without a body */
    }
    TRY(http2_stream_note(s, data, is_end));
    if (s->conn->side->is_server) { /* a request's head may still have to wait */
        http2_stream_trail(s);
    }
    return http2_stream_push(s);
}
