/* The server without memory, and what it keeps for a connection that is idle. The rest is seen from
 * outside: tests/system/test_http2.py and test_http2_rules.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/answer.h"
#include "http2/server.h"

static const char request[] = /* GET / of a.test, in HPACK: RFC 7541 appendix A */
    "\0\0\13\1\5\0\0\0\1\x82\x86\x84\x41\x06"
    "a.test";

struct world {
    struct loop *loop;
    struct http_budget budget;
    struct http2_context context;
    struct http2_server server;
    struct http_handler handler;
    struct stats_page *stats;
    struct transport transport;
    int fd; /* the client's */
};

static void on_body(struct http_stream *s, struct str data, bool is_end)
{
    (void)s;
    (void)data;
    (void)is_end;
    fail(); /* nobody pulls */
}

static void on_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    (void)s;
    assert_true(why == REASON_client_abort && !is_unsent);
}

static const struct http_stream_events patient = {.on_body = on_body, .on_closed = on_closed};

static void on_request(struct http_handler *h, struct http_stream *s, const struct http_request *r,
                       struct str body, bool is_end)
{
    struct http_response response = {.status = 200, .body = HTTP_BODY_LENGTH, .body_n = 5};
    (void)h;
    (void)body;
    if (str_eq(r->method, STR("POST"))) {
        s->events = &patient;
        return;
    }
    assert_true(is_end && str_eq(r->authority, STR("a.test")));
    s->events = NULL;
    (void)s->ops->send_response(s, &response, STR("hello"), true); /* may be out of memory */
    s->ops->release(s);
}

static void on_event(struct watch *w, uint32_t events)
{
    (void)w;
    (void)events;
}

static void world_init(struct world *w)
{
    int fds[2];
    *w = (struct world){.budget = {.max = 1 << 30}, .handler = {.on_request = on_request}};
    w->stats = mem_calloc(1, sizeof(*w->stats));
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(http2_context_init(&w->context, w->loop, &snap_settings_default, &w->budget),
                     E_OK);
    assert_int_equal(http2_server_init(&w->server, &w->context, &w->handler, w->stats), E_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(transport_plain_open(&w->transport, w->loop, fds[0], on_event), E_OK);
    w->fd = fds[1];
}

static void world_fini(struct world *w)
{
    http2_server_fini(&w->server);
    assert_int_equal(loop_step(w->loop, 0), E_OK);
    assert_int_equal(w->budget.used, 0);
    http2_context_fini(&w->context);
    loop_free(w->loop);
    mem_free(w->stats);
    (void)close(w->fd);
}

static enum err take(struct world *w)
{
    struct http_peer peer = {.ip = {.family = 4}};
    return http2_server_take(&w->server, &w->transport, &peer,
                             STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"));
}

static void turn(struct world *w)
{
    for (int i = 0; i < 4; i++) {
        assert_int_equal(loop_step(w->loop, 0), E_OK);
    }
}

static bool has_hello(struct world *w)
{
    char bytes[4096];
    ssize_t n = recv(w->fd, bytes, sizeof(bytes), 0);
    struct str got = str_make(bytes, n < 0 ? 0 : (size_t)n);
    return str_has_suffix(got, STR("hello"));
}

static void test_an_idle_connection_keeps_little(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    assert_int_equal(take(&w), E_OK);
    turn(&w);
    size_t before = w.budget.used;
    assert_in_range(before, 1, 28 * 1024); /* nghttp2 keeps one frame of 16 KB */
    assert_int_equal(send(w.fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
    turn(&w);
    assert_true(has_hello(&w));
    assert_true(w.budget.used < before + 2048); /* header tables: no buffer, no stream */
    assert_int_equal(stats_get(&w.stats->conns_idle), 1);
    assert_int_equal(stats_get(&w.stats->conns_active), 0);
    world_fini(&w);
}

static void send_frame(struct world *w, uint8_t type, uint8_t flags, uint32_t stream,
                       const char *payload, size_t n)
{
    const uint8_t head[9] = {
        (uint8_t)(n >> 16),      (uint8_t)(n >> 8),      (uint8_t)n,     type, flags, 0,
        (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
    assert_int_equal(send(w->fd, head, sizeof(head), 0), sizeof(head));
    assert_int_equal(send(w->fd, payload, n, 0), n);
    turn(w);
}

/* What nobody pulled of a request that its client gives up is given back to the connection's
 * window: else a few of these would end all uploads on it. */
static void test_windows_of_given_up_requests(void **state)
{
    static const char post[] = "\x83\x86\x84\x41\x06"
                               "a.test";
    enum { N = 3 * HTTP2_CONN_WINDOW_BYTES / HTTP2_STREAM_WINDOW_BYTES, PIECE = 16384 };
    static char data[PIECE], sink[4096];
    struct world w;
    (void)state;
    world_init(&w);
    assert_int_equal(take(&w), E_OK);
    for (uint32_t i = 0; i < N; i++) {
        send_frame(&w, 1, 4, 3 + 2 * i, post, sizeof(post) - 1);
        for (int part = 0; part < HTTP2_STREAM_WINDOW_BYTES / PIECE - 1; part++) {
            send_frame(&w, 0, 0, 3 + 2 * i, data, PIECE);
        }
        send_frame(&w, 3, 0, 3 + 2 * i, "\0\0\0\x8", 4);
    }
    while (recv(w.fd, sink, sizeof(sink), 0) > 0) {
    }
    send_frame(&w, 1, 5, 3 + 2 * N, request + 9, sizeof(request) - 10);
    assert_true(has_hello(&w));
    world_fini(&w);
}

/* Whichever allocation fails, and all behind it: the connection ends or the request fails, nothing
 * is lost, and the next connection is served. */
static void test_without_memory(void **state)
{
    (void)state;
    bool has_answered = false;
    for (size_t nth = 1; !has_answered; nth++) {
        struct world w;
        assert_true(nth < 500);
        world_init(&w);
        mem_fail_from(nth);
        if (take(&w) == E_OK) {
            (void)send(w.fd, request, sizeof(request) - 1, MSG_NOSIGNAL); /* may be closed */
            turn(&w);
        }
        mem_fail_from(0);
        turn(&w);
        has_answered = has_hello(&w);
        world_fini(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_idle_connection_keeps_little),
        cmocka_unit_test(test_windows_of_given_up_requests),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
