/* The dialer of tunnels by itself, as a pool and a stream's owner see it: connecting and not,
 * closing from either side, what is told to whom and in which order. (Tunnels as a whole:
 * proxy/tunnel.) */
#include "tcp/client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

struct world {
    struct loop *loop;
    struct snap_settings settings;
    struct http_budget budget;
    struct stats_page *stats;
    struct tcp_context context;
    struct tcp_dialer dialer;
    int listen_fd;
    uint16_t port;
    char told[1000]; /* callbacks, one word each */
    struct http_stream *stream;
};

static struct world *world;

static void tell(const char *word)
{
    size_t n = strlen(world->told);
    (void)snprintf(world->told + n, sizeof(world->told) - n, "%s ", word);
}

static void on_response(struct http_stream *s, const struct http_response *r, struct str body,
                        bool is_end)
{
    assert_true(r->is_tunnel && body.n == 0 && !is_end && s->connected > 0);
    tell("response");
}

static void on_body(struct http_stream *s, struct str data, bool is_end)
{
    char word[64];
    (void)s;
    (void)snprintf(word, sizeof(word), "%.*s%s", STR_ARG(data), is_end ? "end" : "");
    tell(word);
}

static void on_writable(struct http_stream *s)
{
    (void)s;
    tell("writable");
}

static void on_stream_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    (void)s;
    tell(is_unsent ? "unsent" : "sent");
    tell(reason_name(why));
}

static const struct http_stream_events stream_events = {.on_response = on_response,
                                                        .on_body = on_body,
                                                        .on_writable = on_writable,
                                                        .on_closed = on_stream_closed};

static void on_connected(struct http_conn *c)
{
    (void)c;
    tell("connected");
}

static void on_conn_closed(struct http_conn *c, enum reason why, bool has_connected)
{
    (void)c;
    (void)why;
    tell(has_connected ? "pool:over" : "pool:failed");
}

static const struct http_conn_events conn_events = {.on_connected = on_connected,
                                                    .on_closed = on_conn_closed};

static int listen_any(int backlog, uint16_t *ret_port)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t n = sizeof(in);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
    *ret_port = ntohs(in.sin_port);
    return fd;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    w->settings = snap_settings_default;
    w->budget.max = UINT64_MAX;
    w->stats = aligned_alloc(64, sizeof(*w->stats));
    memset(w->stats, 0, sizeof(*w->stats));
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(tcp_context_init(&w->context, w->loop, &w->settings, &w->budget, w->stats),
                     E_OK);
    tcp_dialer_init(&w->dialer, &w->context, 0);
    w->listen_fd = listen_any(16, &w->port);
    *state = world = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    assert_int_equal(loop_step(w->loop, 0), E_OK); /* frees */
    assert_int_equal(w->budget.used, 0);
    tcp_context_fini(&w->context);
    loop_free(w->loop);
    (void)close(w->listen_fd);
    free(w->stats);
    free(w);
    return 0;
}

static const struct http_tunnel tunnel; /* that there is one is all that counts here */
static const struct http_peer peer = {
    .ip = {4, {192, 0, 2, 7}},
      .port = 1
};

/* A connection with its stream, as a pool opens it, with a tunnel asked for. */
static struct http_conn *dial(struct world *w, uint16_t port)
{
    const struct ip loopback = {
        4, {127, 0, 0, 1}
    };
    const struct http_request request = {.peer = &peer, .tunnel = &tunnel};
    struct http_dialer *d = &w->dialer.dialer;
    struct http_conn *c = NULL;
    w->told[0] = '\0';
    assert_int_equal(d->dial(d, &loopback, port, &conn_events, w, &c), E_OK);
    assert_ptr_equal(c->owner, w);
    assert_int_equal(c->stream_max, 1);
    w->stream = c->ops->open(c);
    w->stream->events = &stream_events;
    assert_int_equal(w->stream->ops->send_request(w->stream, &request, STR_EMPTY, false), E_AGAIN);
    assert_string_equal(w->told, ""); /* never during the call */
    return c;
}

static void expect(struct world *w, const char *told)
{
    for (int i = 0; i < 100 && strcmp(w->told, told) != 0; i++) {
        assert_int_equal(loop_step(w->loop, 10 * USEC_PER_MS), E_OK);
    }
    assert_string_equal(w->told, told);
    w->told[0] = '\0';
}

static void it_stands_and_carries(void **state)
{
    struct world *w = *state;
    (void)dial(w, w->port);
    expect(w, "connected response writable ");
    int fd = accept(w->listen_fd, NULL, NULL);
    assert_int_equal(w->stream->ops->send_body(w->stream, STR("ping"), false), E_OK);
    char got[8];
    assert_int_equal(recv(fd, got, sizeof(got), 0), 4);
    assert_int_equal(send(fd, "pong", 4, 0), 4);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(loop_step(w->loop, USEC_PER_MS), E_OK);
    }
    assert_string_equal(w->told, ""); /* not before it is asked for */
    w->stream->ops->pull(w->stream);
    expect(w, "pong ");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    w->stream->ops->pull(w->stream);
    expect(w, "end ");
    assert_int_equal(w->stream->ops->send_body(w->stream, STR_EMPTY, true), E_OK);
    assert_int_equal(recv(fd, got, sizeof(got), 0), 0);
    w->stream->ops->release(w->stream);
    assert_string_equal(w->told, "pool:over ");
    assert_int_equal(stats_get(&w->stats->upstream_connects), 1);
    (void)close(fd);
}

static void nobody_is_there(void **state)
{
    struct world *w = *state;
    (void)close(w->listen_fd);
    const struct ip loopback = {
        4, {127, 0, 0, 1}
    };
    struct http_conn *c = NULL;
    struct http_dialer *d = &w->dialer.dialer;
    enum err e = d->dial(d, &loopback, w->port, &conn_events, w, &c);
    if (e == E_OK) { /* told at once or by an event, as the kernel likes */
        w->stream = c->ops->open(c);
        w->stream->events = &stream_events;
        expect(w, "pool:failed unsent connect_refused ");
    } else {
        assert_int_equal(e, E_REFUSED);
    }
    assert_int_equal(stats_get(&w->stats->upstream_connect_failures), 1);
    w->listen_fd = -1;
}

/* A listener that nobody accepts from, with its queue full, lets others wait. */
static void nobody_answers(void **state)
{
    enum { FILL = 4 };
    struct world *w = *state;
    uint16_t port;
    int fds[FILL], full = listen_any(0, &port);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < FILL; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], (struct sockaddr *)&in, sizeof(in)); /* the first ones stand */
    }
    w->settings.proxy_connect_timeout = 50 * USEC_PER_MS;
    (void)dial(w, port);
    expect(w, "pool:failed unsent connect_timeout ");
    assert_int_equal(stats_get(&w->stats->timeout_upstream_connect), 1);
    for (int i = 0; i < FILL; i++) {
        (void)close(fds[i]);
    }
    (void)close(full);
}

static void the_endpoint_breaks_it(void **state)
{
    struct linger linger = {1, 0};
    struct world *w = *state;
    (void)dial(w, w->port);
    expect(w, "connected response writable ");
    int fd = accept(w->listen_fd, NULL, NULL);
    w->stream->ops->pull(w->stream);
    assert_int_equal(send(fd, "last", 4, 0), 4);
    expect(w, "last ");
    w->stream->ops->pull(w->stream);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    (void)close(fd);
    expect(w, "pool:over sent upstream_cut ");
}

static void the_pool_closes_it(void **state)
{
    struct world *w = *state;
    struct http_conn *c = dial(w, w->port);
    c->ops->close(c);
    assert_string_equal(w->told, "unsent none "); /* the pool knows by itself */
    c = dial(w, w->port);
    expect(w, "connected response writable ");
    c->ops->close(c);
    assert_string_equal(w->told, "sent none ");
}

static void the_owner_releases_it(void **state)
{
    struct world *w = *state;
    (void)dial(w, w->port);
    w->stream->ops->release(w->stream);
    assert_string_equal(w->told, "pool:failed ");
    (void)dial(w, w->port);
    expect(w, "connected response writable ");
    w->stream->ops->release(w->stream);
    assert_string_equal(w->told, "pool:over ");
}

static void a_request_is_refused(void **state)
{
    struct world *w = *state;
    struct http_conn *c = dial(w, w->port);
    const struct http_request request = {.peer = &peer, .method = STR("GET")};
    assert_int_equal(w->stream->ops->send_request(w->stream, &request, STR_EMPTY, true), E_PROTO);
    c->ops->close(c);
}

static void no_memory(void **state)
{
    struct world *w = *state;
    const struct ip loopback = {
        4, {127, 0, 0, 1}
    };
    struct http_conn *c;
    struct tcp_context other;
    mem_fail_from(1);
    assert_int_equal(
        w->dialer.dialer.dial(&w->dialer.dialer, &loopback, w->port, &conn_events, w, &c), E_NOMEM);
    assert_int_equal(tcp_context_init(&other, w->loop, &w->settings, &w->budget, w->stats),
                     E_NOMEM);
    mem_fail_from(0);
    tcp_context_fini(&other);
    assert_int_equal(stats_get(&w->stats->limit_memory), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_stands_and_carries),  TEST(nobody_is_there),    TEST(nobody_answers),
        TEST(the_endpoint_breaks_it), TEST(the_pool_closes_it), TEST(the_owner_releases_it),
        TEST(a_request_is_refused),   TEST(no_memory),
    };
    return cmocka_run_group_tests_name("tcp/client", tests, NULL, NULL);
}
