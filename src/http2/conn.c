/* One connection, whichever side: what nghttp2 tells of frames. */
#include "http2/conn.h"

#include <sys/epoll.h>

#include "base/mem.h"

static struct http2_conn *conn_of(void *user)
{
    return container_of(user, struct http2_conn, link);
}

static struct http2_stream *stream_get(struct http2_conn *c, int32_t id)
{
    return nghttp2_session_get_stream_user_data(c->link.session, id);
}

static stats_value *counter_at(struct stats_page *stats, size_t offset)
{
    return (stats_value *)(void *)((char *)stats + offset);
}

/* ---- for both sides ---- */

void http2_conn_defer(struct http2_conn *c)
{
    if (!c->is_over) {
        loop_defer(c->link.context->loop, &c->work, c->side->on_work);
    }
}

void http2_conn_condemn(struct http2_conn *c, uint32_t code)
{
    if (!c->is_condemned) {
        c->is_condemned = true;
        if (nghttp2_session_terminate_session(c->link.session, code) != 0) {
            c->link.is_broken = true; /* out of memory */
        }
        http2_conn_defer(c);
    }
}

void http2_conn_noise(struct http2_conn *c, enum http2_noise noise)
{
    usec_t now = loop_now(c->link.context->loop);
    if (!c->is_condemned && !http2_guard_allows(&c->guard, noise, now)) {
        stats_add(c->side->noise != 0 ? counter_at(c->stats, c->side->noise)
                                      : http2_guard_counter(c->stats, noise),
                  1);
        http2_conn_condemn(c, NGHTTP2_ENHANCE_YOUR_CALM);
    }
}

void http2_conn_count_head(struct http2_conn *c)
{
    const struct http2_head *h = c->link.context->head;
    bool is_bytes = h->decoded_n > h->bytes_max;
    size_t offset = is_bytes ? c->side->limit_head_bytes : c->side->limit_head_fields;
    stats_add(counter_at(c->stats, offset), 1);
}

usec_t http2_wait_time(const struct http2_conn *c, const struct http2_wait *wait)
{
    const char *settings = (const char *)c->link.context->settings;
    return wait->fixed != 0 ? wait->fixed
                            : *(const uint64_t *)(const void *)(settings + wait->timeout);
}

void http2_wait_count(const struct http2_conn *c, const struct http2_wait *wait)
{
    if (wait->counter != 0) {
        stats_add(counter_at(c->stats, wait->counter), 1);
    }
}

/* Tells the budget of the header section that is kept. */
static void conn_account(struct http2_conn *c)
{
    c->link.context->budget->used += c->kept_head.n;
    c->link.context->budget->used -= c->kept_head_n;
    c->kept_head_n = c->kept_head.n;
}

/* nghttp2 tells the peer that there is room again once half of the connection's window was taken:
 * never, where the other half belongs to bodies that stand still. */
static void conn_open_window(struct http2_conn *c)
{
    nghttp2_session *session = c->link.session;
    int32_t window = nghttp2_session_get_effective_local_window_size(session);
    int32_t came_n = nghttp2_session_get_effective_recv_data_length(session);
    int32_t taken_n = came_n - (int32_t)c->in_n;
    if (came_n > window / 2 && taken_n >= HTTP2_WINDOW_STEP_BYTES &&
        nghttp2_submit_window_update(session, NGHTTP2_FLAG_NONE, 0, taken_n) != 0) {
        c->link.is_broken = true; /* out of memory */
    }
}

/* ---- header sections ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct http2_conn *c = conn_of(user);
    struct http2_context *x = c->link.context;
    (void)session;
    int fault = c->side->on_head_begins(c, frame);
    if (fault != 0) {
        return fault;
    }
    bool is_request = frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    bool is_trailers = c->side->is_server && !is_request;
    c->is_in_head = true;
    http2_head_begin(x->head, is_trailers ? TRAILER_BYTES_MAX : x->settings->max_header_bytes,
                     (uint32_t)x->settings->max_header_fields);
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
    struct http2_conn *c = conn_of(user);
    (void)session;
    (void)frame;
    (void)flags;
    if (http2_head_add(c->link.context->head, str_of(name), str_of(value)) != E_OK) {
        stats_add(counter_at(c->stats, c->side->limit_head_bytes), 1);
        http2_conn_condemn(c, NGHTTP2_ENHANCE_YOUR_CALM);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return 0;
}

/* RFC 9113 section 8.1.1: a malformed message is not passed over, and not repaired. */
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

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int fault,
                            void *user)
{
    struct http2_conn *c = conn_of(user);
    (void)session;
    (void)fault;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        c->is_in_head = false;
        c->side->on_head_invalid(c, frame);
    }
    return 0;
}

static void on_head(struct http2_conn *c, struct http2_stream *s, const nghttp2_frame *frame)
{
    c->is_in_head = false;
    http2_guard_useful(&c->guard);
    if (s != NULL && !c->is_condemned) {
        c->side->on_head(c, s, frame);
    }
}

/* ---- bodies ---- */

/* Hands the message over that waited for its first DATA. */
static void begin_held(struct http2_conn *c, struct str body, bool is_end)
{
    struct http2_stream *s = c->held;
    if (s != NULL) {
        c->held = NULL;
        c->side->begin(s, body, is_end);
    }
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *head, void *user)
{
    struct http2_conn *c = conn_of(user);
    (void)session;
    bool is_data = head->type == NGHTTP2_DATA;
    c->frame_left = is_data ? head->length : 0;
    if (c->held != NULL && (!is_data || head->stream_id != c->held->id)) {
        begin_held(c, STR_EMPTY, false);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user)
{
    struct http2_conn *c = conn_of(user);
    struct http2_stream *s = stream_get(c, id);
    struct str data = str_make((const char *)p, n);
    c->frame_left -= n;
    bool is_end = (flags & NGHTTP2_FLAG_END_STREAM) != 0 && c->frame_left == 0;
    if (s == NULL || c->is_condemned) {
        (void)nghttp2_session_consume_connection(session, n); /* out of memory shows later */
    } else if (c->held == s) {
        begin_held(c, data, is_end);
    } else {
        http2_stream_data(s, data, is_end);
    }
    return 0;
}

static void on_data_end(struct http2_conn *c, struct http2_stream *s)
{
    if (s == NULL) {
        return;
    }
    if (c->held == s) {
        begin_held(c, STR_EMPTY, true);
    } else if (!s->is_in_ended) {
        http2_stream_data(s, STR_EMPTY, true);
    }
}

static void on_data_frame(struct http2_conn *c, struct http2_stream *s, const nghttp2_frame *frame)
{
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        on_data_end(c, s);
    } else if (frame->hd.length == frame->data.padlen) {
        http2_conn_noise(c, HTTP2_NOISE_EMPTY);
        return;
    }
    http2_guard_useful(&c->guard);
}

/* ---- frames ---- */

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct http2_conn *c = conn_of(user);
    struct http2_stream *s = stream_get(c, frame->hd.stream_id);
    bool is_ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
    (void)session;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        on_head(c, s, frame);
        return 0;
    case NGHTTP2_DATA:
        on_data_frame(c, s, frame);
        return 0;
    case NGHTTP2_PING:
        if (!is_ack) {
            http2_conn_noise(c, HTTP2_NOISE_PING);
        }
        break;
    case NGHTTP2_SETTINGS:
        c->has_settings = true;
        if (!is_ack) {
            http2_conn_noise(c, HTTP2_NOISE_SETTINGS);
        }
        break;
    default: /* http2_conn_on_received() has seen it */
        break;
    }
    c->side->on_frame(c, s, frame);
    return 0;
}

/* Resets that say nothing about the peer. */
static bool is_own_reset(uint32_t code)
{
    return code == NGHTTP2_NO_ERROR || code == NGHTTP2_INTERNAL_ERROR || code == NGHTTP2_CANCEL;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct http2_conn *c = conn_of(user);
    (void)session;
    if (frame->hd.type == NGHTTP2_RST_STREAM && !is_own_reset(frame->rst_stream.error_code)) {
        http2_conn_noise(c, HTTP2_NOISE_PROVOKED);
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) {
        return 0;
    }
    http2_guard_useful(&c->guard);
    struct http2_stream *s = stream_get(c, frame->hd.stream_id);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && s != NULL) {
        s->is_end_sent = true;
        c->side->on_end_sent(s);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct http2_conn *c = conn_of(user);
    struct http2_stream *s = stream_get(c, id);
    (void)session;
    if (s == NULL) {
        return 0;
    }
    if (c->held == s) {
        c->held = NULL;
    }
    s->is_closed = true;
    c->side->on_over(s, code);
    http2_conn_defer(c);
    return 0;
}

/* Of a client everything but messages; and their frames where the stream is over, which are thrown
 * away: RFC 9113 section 5.1. An endpoint resets requests, and does not know yet which ones we gave
 * up. */
static bool is_noise(const struct http2_conn *c, const struct http2_frame_head *head)
{
    nghttp2_session *session = c->link.session;
    if (!c->side->is_server) {
        return head->type == NGHTTP2_PRIORITY || head->type >= NGHTTP2_WINDOW_UPDATE;
    }
    if (head->type != NGHTTP2_DATA && head->type != NGHTTP2_HEADERS) {
        return true;
    }
    return (int32_t)head->stream <= nghttp2_session_get_last_proc_stream_id(session) &&
           nghttp2_session_get_stream_user_data(session, (int32_t)head->stream) == NULL;
}

void http2_conn_on_received(struct http2_link *l, struct str bytes)
{
    struct http2_conn *c = conn_of(l);
    struct http2_frame_head head;
    while (http2_walk_next(&c->walk, &bytes, &head)) {
        if (head.type == NGHTTP2_PRIORITY && head.stream == 0) { /* RFC 9113 section 6.3 */
            http2_conn_condemn(c, NGHTTP2_PROTOCOL_ERROR);
        }
        if (head.type == NGHTTP2_CONTINUATION && head.payload_n > HTTP2_FRAME_BYTES_MAX) {
            http2_conn_condemn(c, NGHTTP2_FRAME_SIZE_ERROR); /* RFC 9113 section 4.2 */
        }
        if (is_noise(c, &head)) {
            http2_conn_noise(c, HTTP2_NOISE_OTHER);
        }
        c->continuation_n = head.type == NGHTTP2_CONTINUATION ? c->continuation_n + 1 : 0;
        if (c->continuation_n == HTTP2_CONTINUATIONS_MAX + 1) {
            stats_add(&c->stats->limit_http2_continuations, 1);
            http2_conn_condemn(c, NGHTTP2_ENHANCE_YOUR_CALM);
        }
    }
}

enum err http2_calls_new(nghttp2_session_callbacks **ret)
{
    nghttp2_session_callbacks *calls;
    if (nghttp2_session_callbacks_new(&calls) != 0) {
        return E_NOMEM;
    }
    nghttp2_session_callbacks_set_send_callback(calls, http2_link_on_send);
    nghttp2_session_callbacks_set_send_data_callback(calls, http2_stream_on_send_data);
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

/* ---- moving bytes ---- */

enum err http2_conn_receive(struct http2_conn *c, struct str first, size_t *ret_n)
{
    struct http2_head *head = c->link.context->head;
    *ret_n = first.n;
    if (c->is_in_head) {
        http2_head_restore(head, &c->kept_head);
        conn_account(c);
    }
    enum err e =
        first.n > 0 ? http2_link_feed(&c->link, first) : http2_link_receive(&c->link, 1, ret_n);
    c->link.is_inside = true; /* what the owner answers is not to be sent from here */
    begin_held(c, STR_EMPTY, false);
    c->link.is_inside = false;
    if (c->is_in_head && http2_head_keep(head, &c->kept_head) != E_OK) {
        return E_NOMEM;
    }
    conn_account(c);
    return e;
}

void http2_conn_on_event(struct http2_conn *c, uint32_t events)
{
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        c->link.is_readable = true;
    }
    if ((events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        c->link.has_hangup = true;
    }
    if ((events & EPOLLOUT) != 0 && c->link.is_blocked) {
        http2_link_flush(&c->link);
    }
}

void http2_conn_pump(struct http2_conn *c)
{
    for (struct list *it; (it = list_pop(&c->writable)) != NULL;) {
        http2_stream_writable(container_of(it, struct http2_stream, writable_node));
    }
    conn_open_window(c);
    http2_link_pump(&c->link);
}

/* ---- life ---- */

enum err http2_conn_init(struct http2_conn *c, struct http2_context *context,
                         const struct http2_side *side, const struct http2_link_events *events,
                         const nghttp2_session_callbacks *calls, struct stats_page *stats)
{
    c->side = side;
    c->stats = stats;
    list_init(&c->streams);
    list_init(&c->writable);
    buf_init(&c->kept_head, sizeof(struct http2_head));
    enum err e = http2_link_open(&c->link, context, events, calls, side->is_server);
    if (e != E_OK) {
        http2_link_fini(&c->link);
    }
    return e;
}

void http2_conn_cut(struct http2_conn *c)
{
    c->is_cut = c->link.is_broken = true;
    c->held = NULL;
}

void http2_conn_close(struct http2_conn *c, bool has_reset)
{
    http2_conn_cut(c);
    http2_link_close(&c->link, has_reset);
    buf_fini(&c->kept_head);
    conn_account(c);
    loop_disarm(c->link.context->loop, &c->timer);
}

void http2_conn_fini(struct http2_conn *c)
{
    http2_link_fini(&c->link);
}
