/* The server without memory, and what it keeps for a connection that is idle. The rest is seen from
 * outside: tests/system/test_http2.py and test_http2_rules.py. */
#include "world.h"

static const char request[] = /* GET / of a.test, in HPACK: RFC 7541 appendix A */
    "\0\0\13\1\5\0\0\0\1\x82\x86\x84\x41\x06"
    "a.test";

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

static void be_patient(struct world *w, struct http_stream *s)
{
    (void)w;
    s->events = &patient;
}

static bool has_closed, had_transport; /* what on_peer_closed() has seen */

static void on_peer_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    const struct http2_conn *c = http2_stream_of(s)->conn;
    on_closed(s, why, is_unsent);
    has_closed = true;
    had_transport = c->link.transport.watch.fd >= 0;
}

static void read_peer_at_end(struct world *w, struct http_stream *s)
{
    static const struct http_stream_events events = {.on_body = on_body,
                                                     .on_closed = on_peer_closed};
    (void)w;
    s->events = &events;
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
    world_init(&w, NULL);
    assert_int_equal(world_take(&w), E_OK);
    assert_int_equal(w.budget.used, 0); /* our SETTINGS leave with this tick */
    world_turn(&w);
    size_t before = world_conn(&w)->base.link.memory.used;
    assert_in_range(before, 1, 28 * 1024); /* nghttp2 keeps one frame of 16 KB */
    assert_int_equal(send(w.fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
    world_turn(&w);
    assert_true(has_hello(&w));
    assert_true(world_conn(&w)->base.link.memory.used <
                before + 2048); /* header tables: no buffer, no stream */
    assert_int_equal(w.budget.used, 0);
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
    world_turn(w);
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
    world_init(&w, be_patient);
    assert_int_equal(world_take(&w), E_OK);
    for (uint32_t i = 0; i < N; i++) {
        send_frame(&w, 1, 4, 3 + 2 * i, post, sizeof(post) - 1);
        for (int part = 0; part < HTTP2_STREAM_WINDOW_BYTES / PIECE - 1; part++) {
            send_frame(&w, 0, 0, 3 + 2 * i, data, PIECE);
        }
        send_frame(&w, 3, 0, 3 + 2 * i, "\0\0\0\x8", 4);
    }
    while (recv(w.fd, sink, sizeof(sink), 0) > 0) {
    }
    w.on_request = world_hello;
    send_frame(&w, 1, 5, 3 + 2 * N, request + 9, sizeof(request) - 10);
    assert_true(has_hello(&w));
    world_fini(&w);
}

/* The access log reads who the client was, and the transport knows what TLS has told. */
static void test_owners_are_told_before_the_transport_goes(void **state)
{
    struct world w;
    (void)state;
    has_closed = had_transport = false;
    world_init(&w, read_peer_at_end);
    assert_int_equal(world_take(&w), E_OK);
    assert_int_equal(send(w.fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
    world_turn(&w);
    assert_int_equal(shutdown(w.fd, SHUT_RDWR), 0);
    world_turn(&w);
    assert_true(has_closed && had_transport);
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
        world_init(&w, NULL);
        mem_fail_from(nth);
        if (world_take(&w) == E_OK) {
            (void)send(w.fd, request, sizeof(request) - 1, MSG_NOSIGNAL); /* may be closed */
            world_turn(&w);
        }
        mem_fail_from(0);
        world_turn(&w);
        has_answered = has_hello(&w);
        world_fini(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_idle_connection_keeps_little),
        cmocka_unit_test(test_windows_of_given_up_requests),
        cmocka_unit_test(test_owners_are_told_before_the_transport_goes),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
