/* One HTTP/2 connection of a server over a socket pair. The test is the client, by bytes, and the
 * handler: without a function of its own every request is answered with "hello". */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "http2/server_priv.h"

struct world;
typedef void world_request_fn(struct world *w, struct http_stream *s);

struct world {
    struct http_handler handler; /* first */
    world_request_fn *on_request;
    struct loop *loop;
    struct http_budget budget;
    struct snap_settings settings;
    struct http2_context context;
    struct http2_server server;
    struct stats_page *stats;
    struct transport transport;
    int fd; /* the client's */
};

static void world_hello(struct world *w, struct http_stream *s)
{
    struct http_response response = {.status = 200, .body = HTTP_BODY_LENGTH, .body_n = 5};
    (void)w;
    (void)s->ops->send_response(s, &response, STR("hello"), true); /* may be out of memory */
    s->ops->release(s);
}

static void world_on_request(struct http_handler *h, struct http_stream *s,
                             const struct http_request *r, struct str body, bool is_end)
{
    struct world *w = (struct world *)(void *)h;
    (void)body;
    (void)is_end;
    assert_true(str_eq(r->authority, STR("a.test")));
    s->events = NULL;
    w->on_request(w, s);
}

static void world_on_event(struct watch *w, uint32_t events)
{
    (void)w;
    (void)events;
}

static inline void world_init(struct world *w, world_request_fn *on_request)
{
    int fds[2];
    *w = (struct world){.handler.on_request = world_on_request,
                        .on_request = on_request == NULL ? world_hello : on_request,
                        .budget = {.max = 1 << 30},
                        .settings = snap_settings_default};
    w->stats = mem_calloc(1, sizeof(*w->stats));
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(http2_context_init(&w->context, w->loop, &w->settings, &w->budget, w->stats),
                     E_OK);
    assert_int_equal(http2_server_init(&w->server, &w->context, &w->handler, w->stats), E_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(transport_plain_open(&w->transport, w->loop, fds[0], world_on_event), E_OK);
    w->fd = fds[1];
}

static inline void world_fini(struct world *w)
{
    http2_server_fini(&w->server);
    assert_int_equal(loop_step(w->loop, 0), E_OK);
    assert_int_equal(w->budget.used, 0);
    http2_context_fini(&w->context);
    loop_free(w->loop);
    mem_free(w->stats);
    (void)close(w->fd);
}

/* The connection begins, with empty SETTINGS. */
static inline enum err world_take(struct world *w)
{
    struct http_peer peer = {.ip = {.family = 4}};
    return http2_server_take(&w->server, &w->transport, &peer,
                             STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"));
}

static inline struct server_conn *world_conn(struct world *w)
{
    return container_of(w->server.conns.next, struct server_conn, node);
}

static inline void world_turn(struct world *w)
{
    for (int i = 0; i < 4; i++) {
        assert_int_equal(loop_step(w->loop, 0), E_OK);
    }
}

/* Everything is sent and processed; what comes back is thrown away. */
static inline void world_send(struct world *w, struct str bytes)
{
    char sink[4096];
    while (bytes.n > 0) {
        ssize_t n = send(w->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        assert_true(n > 0);
        bytes = str_from(bytes, (size_t)n);
        world_turn(w);
        while (recv(w->fd, sink, sizeof(sink), 0) > 0) {
        }
    }
}
