/* The far end of a connection of http2/client.c: a listening socket, frames as they are wished for,
 * and what came, frame by frame. And who looks on: the pool and the owners of streams, as figures.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>

#include "base/mem.h"
#include "http2/client.h"

enum { STREAMS = 8, TEXT = 4096, GOT = 1 << 20 };

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

struct owner { /* of a stream */
    struct http_stream *stream;
    uint16_t status, interim;
    char fields[TEXT], body[TEXT], trailers[TEXT];
    size_t body_n;
    enum http_body kind;
    uint64_t length;
    bool is_tunnel, is_complete, is_closed, is_unsent, is_writable;
    bool is_patient; /* does not pull */
    bool is_kept;    /* not released when it is complete */
    enum reason why;
};

struct world {
    struct loop *loop;
    struct snap_settings settings;
    struct http_budget budget;
    struct http2_context context;
    struct http2_dialer dialer;
    struct stats_page *stats;
    struct http_conn *conn; /* NULL: closed */
    struct owner owners[STREAMS];
    int listener, fd;
    uint16_t port;
    uint32_t connected_n, free_n, capacity_n;
    bool is_conn_closed, has_connected;
    uint8_t got[GOT];
    size_t got_n;
    nghttp2_hd_inflater *inflater;
};

/* ---- the pool ---- */

static struct world *pool_world(struct http_conn *c)
{
    return c->owner;
}

static void pool_on_connected(struct http_conn *c)
{
    pool_world(c)->connected_n++;
}

static void pool_on_free(struct http_conn *c)
{
    pool_world(c)->free_n++;
}

static void pool_on_capacity(struct http_conn *c)
{
    pool_world(c)->capacity_n++;
}

static void pool_on_closed(struct http_conn *c, enum reason why, bool has_connected)
{
    struct world *w = pool_world(c);
    (void)why;
    assert_false(w->is_conn_closed);
    w->is_conn_closed = true;
    w->has_connected = has_connected;
    w->conn = NULL;
}

static const struct http_conn_events pool_events = {
    .on_connected = pool_on_connected,
    .on_free = pool_on_free,
    .on_capacity = pool_on_capacity,
    .on_closed = pool_on_closed,
};

/* ---- owners ---- */

static void owner_text(char *to, const struct field *fields, uint32_t n)
{
    size_t at = strlen(to);
    for (uint32_t i = 0; i < n; i++) {
        at += (size_t)snprintf(to + at, TEXT - at, "%.*s=%.*s;", (int)fields[i].name.n,
                               fields[i].name.p, (int)fields[i].value.n, fields[i].value.p);
    }
}

static void owner_release(struct owner *o)
{
    struct http_stream *s = o->stream;
    o->stream = NULL;
    s->ops->release(s);
}

static void owner_take(struct owner *o, struct str data, bool is_end)
{
    assert_true(o->body_n + data.n <= sizeof(o->body));
    memcpy(o->body + o->body_n, data.p, data.n);
    o->body_n += data.n;
    o->is_complete = is_end;
    if (is_end) {
        owner_text(o->trailers, o->stream->received.fields, o->stream->received.n);
    }
    if (is_end && !o->is_kept) {
        owner_release(o);
    } else if (!is_end && !o->is_patient) {
        o->stream->ops->pull(o->stream);
    }
}

static void owner_on_response(struct http_stream *s, const struct http_response *r, struct str body,
                              bool is_end)
{
    struct owner *o = s->owner;
    assert_int_equal(o->status, 0);
    o->status = r->status;
    o->kind = r->body;
    o->length = r->body_n;
    o->is_tunnel = r->is_tunnel;
    owner_text(o->fields, r->fields, r->field_n);
    owner_take(o, body, is_end);
}

static void owner_on_interim(struct http_stream *s, const struct http_response *r)
{
    struct owner *o = s->owner;
    o->interim = r->status;
}

static void owner_on_body(struct http_stream *s, struct str data, bool is_end)
{
    owner_take(s->owner, data, is_end);
}

static void owner_on_writable(struct http_stream *s)
{
    struct owner *o = s->owner;
    o->is_writable = true;
}

static void owner_on_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    struct owner *o = s->owner;
    assert_ptr_equal(o->stream, s);
    assert_false(o->is_closed);
    o->stream = NULL;
    o->is_closed = true;
    o->why = why;
    o->is_unsent = is_unsent;
}

static const struct http_stream_events owner_events = {
    .on_response = owner_on_response,
    .on_interim = owner_on_interim,
    .on_body = owner_on_body,
    .on_writable = owner_on_writable,
    .on_closed = owner_on_closed,
};

/* ---- life ---- */

static void world_init(struct world *w)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t n = sizeof(in);
    *w = (struct world){.budget = {.max = 1 << 30}, .settings = snap_settings_default, .fd = -1};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    w->stats = aligned_alloc(64, sizeof(*w->stats));
    memset(w->stats, 0, sizeof(*w->stats));
    w->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(w->listener, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(w->listener, 8), 0);
    assert_int_equal(getsockname(w->listener, (struct sockaddr *)&in, &n), 0);
    w->port = ntohs(in.sin_port);
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(http2_context_init(&w->context, w->loop, &w->settings, &w->budget, w->stats),
                     E_OK);
    assert_int_equal(http2_dialer_init(&w->dialer, &w->context, w->stats, NULL), E_OK);
    assert_int_equal(nghttp2_hd_inflate_new(&w->inflater), 0);
}

static void turn(struct world *w)
{
    for (int i = 0; i < 8; i++) {
        assert_int_equal(loop_step(w->loop, 1000), E_OK);
    }
}

static void world_fini(struct world *w)
{
    if (w->conn != NULL) {
        w->conn->ops->close(w->conn);
    }
    for (size_t i = 0; i < STREAMS; i++) {
        assert_null(w->owners[i].stream);
    }
    assert_int_equal(loop_step(w->loop, 0), E_OK);
    assert_int_equal(w->dialer.dialer.conn_n, 0);
    assert_int_equal(w->budget.used, 0);
    http2_dialer_fini(&w->dialer);
    http2_context_fini(&w->context);
    loop_free(w->loop);
    nghttp2_hd_inflate_del(w->inflater);
    free(w->stats);
    (void)close(w->listener);
    if (w->fd >= 0) {
        (void)close(w->fd);
    }
}

static enum err dial(struct world *w)
{
    static const struct ip ip = {
        4, {127, 0, 0, 1}
    };
    struct http_dialer *d = &w->dialer.dialer;
    return d->dial(d, &ip, w->port, &pool_events, w, &w->conn);
}

/* The far end's socket. */
static void take(struct world *w)
{
    for (int i = 0; i < 100 && w->fd < 0; i++) {
        turn(w);
        w->fd = accept4(w->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    assert_true(w->fd >= 0);
    int one = 1;
    (void)setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* or it waits for us */
    turn(w);
}

/* ---- frames ---- */

static void raw_send(struct world *w, const void *p, size_t n)
{
    assert_int_equal(send(w->fd, p, n, MSG_NOSIGNAL), n);
}

static void frame_send(struct world *w, uint8_t type, uint8_t flags, uint32_t stream,
                       const void *payload, size_t n)
{
    const uint8_t head[9] = {(uint8_t)(n >> 16),
                             (uint8_t)(n >> 8),
                             (uint8_t)n,
                             type,
                             flags,
                             (uint8_t)(stream >> 24),
                             (uint8_t)(stream >> 16),
                             (uint8_t)(stream >> 8),
                             (uint8_t)stream};
    raw_send(w, head, sizeof(head));
    raw_send(w, payload, n);
}

/* A frame whose payload is a string constant. */
#define SEND(w, type, flags, stream, text)                                                         \
    (frame_send(w, type, flags, stream, text, sizeof(text) - 1), turn(w))

static void settings_send(struct world *w, uint16_t id, uint32_t value)
{
    const uint8_t entry[6] = {(uint8_t)(id >> 8),     (uint8_t)id,           (uint8_t)(value >> 24),
                              (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    frame_send(w, SETTINGS, 0, 0, entry, id == 0 ? 0 : sizeof(entry));
    turn(w);
}

/* Connected, and the peer has greeted. */
static void world_open(struct world *w)
{
    world_init(w);
    assert_int_equal(dial(w), E_OK);
    take(w);
    settings_send(w, 0, 0);
    frame_send(w, SETTINGS, ACK, 0, "", 0);
    turn(w);
}

static void receive(struct world *w)
{
    ssize_t n;
    turn(w);
    while ((n = recv(w->fd, w->got + w->got_n, sizeof(w->got) - w->got_n, 0)) > 0) {
        w->got_n += (size_t)n;
        turn(w);
    }
}

/* The nth frame (from 0) of a type that has come; NULL: there is none. Points to its head. */
static const uint8_t *frame_got(struct world *w, uint8_t type, size_t nth, size_t *ret_n)
{
    receive(w);
    for (size_t at = NGHTTP2_CLIENT_MAGIC_LEN; at + 9 <= w->got_n;) {
        const uint8_t *head = w->got + at;
        size_t n = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (head[3] == type && nth-- == 0) {
            *ret_n = n;
            return head;
        }
        at += 9 + n;
    }
    return NULL;
}

static size_t frames_n(struct world *w, uint8_t type)
{
    size_t i = 0, n;
    while (frame_got(w, type, i, &n) != NULL) {
        i++;
    }
    return i;
}

static uint32_t u32_of(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The header section of the nth HEADERS, as "name=value;". Each only once, in order. */
static void head_got(struct world *w, size_t nth, char *text)
{
    size_t n, used = 0;
    const uint8_t *head = frame_got(w, HEADERS, nth, &n);
    assert_non_null(head);
    const uint8_t *p = head + 9;
    text[0] = '\0';
    for (int flags = 0; n > 0 || (flags & NGHTTP2_HD_INFLATE_EMIT) != 0;) {
        nghttp2_nv nv;
        ssize_t taken = nghttp2_hd_inflate_hd2(w->inflater, &nv, &flags, p, n, 1);
        assert_true(taken >= 0);
        p += taken;
        n -= (size_t)taken;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
            used += (size_t)snprintf(text + used, TEXT - used, "%.*s=%.*s;", (int)nv.namelen,
                                     nv.name, (int)nv.valuelen, nv.value);
        }
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
            nghttp2_hd_inflate_end_headers(w->inflater);
            break;
        }
    }
}

/* ---- requests ---- */

static struct http_request request_make(struct str method, const struct field *fields, uint32_t n)
{
    return (struct http_request){.method = method,
                                 .authority = STR("a.test"),
                                 .target = STR("/"),
                                 .fields = fields,
                                 .field_n = n,
                                 .is_head = str_eq(method, STR("HEAD"))};
}

/* NULL: out of memory. */
static struct owner *stream_open(struct world *w, size_t i)
{
    struct owner *o = &w->owners[i];
    assert_true(w->conn->stream_n < w->conn->stream_max);
    o->stream = w->conn->ops->open(w->conn);
    if (o->stream == NULL) {
        return NULL;
    }
    o->stream->events = &owner_events;
    o->stream->owner = o;
    return o;
}

static struct owner *ask_with(struct world *w, size_t i, const struct http_request *r,
                              struct str body, bool is_end)
{
    struct owner *o = stream_open(w, i);
    assert_non_null(o);
    enum err e = o->stream->ops->send_request(o->stream, r, body, is_end);
    assert_true(e == E_OK || e == E_AGAIN);
    if (is_end) {
        o->stream->ops->pull(o->stream);
    }
    turn(w);
    return o;
}

static struct owner *ask(struct world *w, size_t i)
{
    struct http_request r = request_make(STR("GET"), NULL, 0);
    return ask_with(w, i, &r, STR_EMPTY, true);
}
