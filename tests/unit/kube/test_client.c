/* Calls over real sockets to a scripted server in the same loop: what is sent, how answers and ends
 * are told, budget, limits, cancelling, no memory. HTTP/2 and TLS: tests/system/test_kube_*. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "kube/client.h"

enum { SERVED_MAX = KUBE_CALLS_BURST + KUBE_CALLS_PER_SECOND, HEARD_MAX = 1 << 20 };

/* Answers each request with the same bytes; keeps what it heard. */
struct server {
    struct loop *loop;
    struct watch listener;
    struct watch conns[SERVED_MAX];
    size_t request_n;
    struct str answer; /* empty: none, the connection stays */
    bool is_closing;   /* after the answer */
    struct buf heard;
};

static struct server server;

static void conn_end(struct watch *w)
{
    int fd = w->fd;
    loop_unwatch(server.loop, w);
    assert_int_equal(close(fd), 0);
}

static void on_conn(struct watch *w, uint32_t events)
{
    char text[65536];
    (void)events;
    ssize_t n = recv(w->fd, text, sizeof(text), MSG_DONTWAIT);
    if (n <= 0) {
        conn_end(w);
        return;
    }
    buf_add(&server.heard, text, (size_t)n);
    /* heads come whole here; a body comes with its head or after it */
    size_t end = buf_str(&server.heard).n;
    if (end < 4 || memmem(text, (size_t)n, "\r\n\r\n", 4) == NULL) {
        return;
    }
    server.request_n++;
    if (server.answer.n > 0) {
        assert_int_equal(send(w->fd, server.answer.p, server.answer.n, MSG_NOSIGNAL),
                         server.answer.n);
    }
    if (server.is_closing) {
        conn_end(w);
    }
}

static void on_accept(struct watch *w, uint32_t events)
{
    (void)events;
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    size_t i = 0;
    while (i < SERVED_MAX && server.conns[i].on_event != NULL) {
        i++;
    }
    assert_true(i < SERVED_MAX);
    assert_int_equal(loop_watch_level(server.loop, &server.conns[i], fd, EPOLLIN, on_conn), E_OK);
}

static uint16_t server_open(struct loop *loop)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    server = (struct server){.loop = loop};
    buf_init(&server.heard, HEARD_MAX);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 4096), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    assert_int_equal(loop_watch_level(loop, &server.listener, fd, EPOLLIN, on_accept), E_OK);
    return ntohs(a.sin_port);
}

static void server_close(void)
{
    for (size_t i = 0; i < SERVED_MAX; i++) {
        if (server.conns[i].on_event != NULL) {
            conn_end(&server.conns[i]);
        }
    }
    conn_end(&server.listener);
    buf_fini(&server.heard);
}

/* A call under test and what it told. */
struct told {
    struct kube_call *call;
    bool is_open, is_done;
    struct buf body;
    struct kube_result result;
    char reason[64], message[600];
    bool cancels; /* in on_data */
};

static void on_open(void *arg)
{
    struct told *t = arg;
    assert_false(t->is_open || t->is_done);
    t->is_open = true;
}

static void on_data(void *arg, struct str piece)
{
    struct told *t = arg;
    assert_true(t->is_open && !t->is_done);
    buf_add_str(&t->body, piece);
    if (t->cancels) {
        kube_call_cancel(t->call);
    }
}

static void on_done(void *arg, const struct kube_result *result)
{
    struct told *t = arg;
    assert_false(t->is_done);
    t->is_done = true;
    t->result = *result;
    assert_true(str_to_cstr(result->reason, t->reason, sizeof(t->reason)));
    assert_true(str_to_cstr(result->message, t->message, sizeof(t->message)));
}

static const struct kube_call_events events = {on_open, on_data, on_done};

struct world {
    struct loop *loop;
    struct kube_config config;
    char address[64];
    struct kube_client *client;
};

static int set_up(void **state)
{
    static struct world w;
    w = (struct world){0};
    (void)signal(SIGPIPE, SIG_IGN);
    (void)unsetenv("http_proxy");
    assert_int_equal(loop_new(&w.loop), E_OK);
    (void)snprintf(w.address, sizeof(w.address), "http://127.0.0.1:%u/base", server_open(w.loop));
    w.config.server = w.address;
    w.config.token = "secret";
    assert_int_equal(kube_client_new(w.loop, &w.config, &w.client), E_OK);
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    kube_client_free(w->client);
    server_close();
    loop_free(w->loop);
    return 0;
}

static void start(struct world *w, struct told *t, struct kube_request request)
{
    *t = (struct told){0};
    buf_init(&t->body, HEARD_MAX);
    request.path = request.path.n > 0 ? request.path : STR("/api/v1/things?limit=1");
    assert_int_equal(kube_call_start(w->client, &request, &events, t, &t->call), E_OK);
}

/* Steps until it is true, at most ten seconds. */
static void wait_for(struct world *w, const bool *question)
{
    usec_t end = clock_monotonic() + 10 * USEC_PER_SEC;
    while (!*question) {
        assert_true(clock_monotonic() < end);
        assert_int_equal(loop_step(w->loop, 10 * USEC_PER_MS), E_OK);
    }
}

static bool has_heard(const char *text)
{
    return memmem(server.heard.p, server.heard.n, text, strlen(text)) != NULL;
}

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Length: "

static void gets(void **state)
{
    struct world *w = *state;
    struct told t;
    server.answer = STR(OK_HEAD "5\r\n\r\nhello");
    start(w, &t, (struct kube_request){0});
    assert_false(t.is_done); /* never from inside kube_call_start() */
    wait_for(w, &t.is_done);
    assert_true(kube_result_is_ok(&t.result));
    assert_true(str_eq(buf_str(&t.body), STR("hello")));
    assert_true(has_heard("GET /base/api/v1/things?limit=1 HTTP/1.1\r\n"));
    assert_true(has_heard("\r\nAuthorization: Bearer secret\r\n"));
    assert_true(has_heard("\r\nAccept: application/json\r\n"));
    assert_true(has_heard("\r\nAccept-Encoding: gzip\r\n"));
    assert_true(has_heard("\r\nUser-Agent: lintel/" LINTEL_VERSION " (linux/"));
    buf_fini(&t.body);
    assert_int_equal(kube_client_counters(w->client)->calls, 1);
    assert_int_equal(kube_client_counters(w->client)->received_bytes, 5);
}

static void sends_bodies(void **state)
{
    static const struct {
        enum kube_method method;
        const char *type, *line, *type_line;
    } cases[] = {
        {KUBE_POST,   NULL,                           "POST",   "Content-Type: application/json\r\n"},
        {KUBE_PUT,    NULL,                           "PUT",    "Content-Type: application/json\r\n"},
        {KUBE_PATCH,  "application/apply-patch+yaml", "PATCH",
         "Content-Type: application/apply-patch+yaml\r\n"                                           },
        {KUBE_DELETE, NULL,                           "DELETE", "Content-Type: application/json\r\n"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct told t;
        server.answer = STR("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}");
        buf_reset(&server.heard);
        start(w, &t,
              (struct kube_request){.method = cases[i].method,
                                    .content_type = cases[i].type,
                                    .body = STR("{\"a\":1}")});
        wait_for(w, &t.is_done);
        assert_true(kube_result_is_ok(&t.result));
        assert_true(has_heard(cases[i].line));
        assert_true(has_heard(cases[i].type_line));
        assert_true(has_heard("\r\n\r\n{\"a\":1}"));
        assert_false(has_heard("Expect"));
        buf_fini(&t.body);
    }
}

static void tells_errors(void **state)
{
    static const struct {
        struct str answer;
        uint32_t status;
        const char *reason, *message;
        usec_t retry_after;
    } cases[] = {
        {STR_INIT(
             "HTTP/1.1 409 X\r\nContent-Length: 63\r\n\r\n"
             "{\"kind\":\"Status\",\"code\":409,\"reason\":\"Conflict\",\"message\":\"m\"}\n "),
         409,                                                                                                  "Conflict", "m", 0               },
        {STR_INIT("HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nslow"),                   429, "",
         "slow",                                                                                                                7 * USEC_PER_SEC},
        {STR_INIT("HTTP/1.1 503 X\r\nContent-Length: 58\r\n\r\n"
                  "{\"kind\":\"Status\",\"details\":{\"retryAfterSeconds\":3}} <pad>  "),
         503,                                                                                                  "",         "",  3 * USEC_PER_SEC},
        {STR_INIT("HTTP/1.1 302 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"),                 302, "",
         "",                                                                                                                    0               },
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct told t;
        server.answer = cases[i].answer;
        start(w, &t, (struct kube_request){0});
        wait_for(w, &t.is_done);
        assert_int_equal(t.result.error, E_OK);
        assert_int_equal(t.result.status, cases[i].status);
        assert_string_equal(t.reason, cases[i].reason);
        assert_true(cases[i].message[0] == '\0' || strcmp(t.message, cases[i].message) == 0);
        assert_int_equal(t.result.retry_after, cases[i].retry_after);
        assert_false(t.is_open);
        buf_fini(&t.body);
    }
    assert_int_equal(server.request_n, sizeof(cases) / sizeof(cases[0])); /* none was followed */
    assert_int_equal(kube_client_counters(w->client)->failed_status, server.request_n);
}

/* Endless bodies of errors are not read to their end. */
static void limits_errors(void **state)
{
    struct world *w = *state;
    struct told t;
    struct buf answer;
    buf_init(&answer, HEARD_MAX);
    buf_add_str(&answer, STR("HTTP/1.1 500 X\r\n\r\n"));
    for (size_t i = 0; i < KUBE_ERROR_BYTES_MAX + 100; i++) {
        buf_add_char(&answer, 'x');
    }
    server.answer = buf_str(&answer); /* and no end */
    start(w, &t, (struct kube_request){0});
    wait_for(w, &t.is_done);
    assert_int_equal(t.result.error, E_OK);
    assert_int_equal(t.result.status, 500);
    assert_int_equal(t.message[0], 'x');
    buf_fini(&t.body);
    buf_fini(&answer);
}

static void tells_cuts(void **state)
{
    struct world *w = *state;
    struct told t;
    server.answer = STR(OK_HEAD "9\r\n\r\nhello");
    server.is_closing = true;
    start(w, &t, (struct kube_request){0});
    wait_for(w, &t.is_done);
    assert_int_equal(t.result.error, E_CLOSED);
    assert_int_equal(t.result.status, 200);
    assert_true(t.message[0] != '\0');
    buf_fini(&t.body);
    assert_int_equal(kube_client_counters(w->client)->failed_transport, 1);
}

static void times_out(void **state)
{
    struct world *w = *state;
    struct told t;
    start(w, &t, (struct kube_request){.timeout = 50 * USEC_PER_MS});
    wait_for(w, &t.is_done);
    assert_int_equal(t.result.error, E_TIMEOUT);
    assert_int_equal(t.result.status, 0);
    buf_fini(&t.body);
    server.answer = STR("HTTP/1.1 200 OK\r\n\r\nx"); /* and then silence */
    start(w, &t, (struct kube_request){.is_stream = true, .timeout = 50 * USEC_PER_MS});
    wait_for(w, &t.is_done);
    assert_int_equal(t.result.error, E_TIMEOUT);
    assert_int_equal(t.result.status, 200);
    assert_true(str_eq(buf_str(&t.body), STR("x")));
    buf_fini(&t.body);
}

static void cancels(void **state)
{
    struct world *w = *state;
    struct told waiting, running, inside, last;
    bool is_heard = false;
    start(w, &waiting, (struct kube_request){0});
    kube_call_cancel(waiting.call);
    start(w, &running, (struct kube_request){0});
    while (!is_heard) {
        assert_int_equal(loop_step(w->loop, 10 * USEC_PER_MS), E_OK);
        is_heard = server.request_n > 0;
    }
    kube_call_cancel(running.call);
    kube_call_cancel(NULL);
    server.answer = STR(OK_HEAD "1\r\n\r\nx");
    start(w, &inside, (struct kube_request){.path = STR("/inside")});
    inside.cancels = true;
    wait_for(w, &inside.is_open);
    start(w, &last, (struct kube_request){0});
    wait_for(w, &last.is_done);
    assert_false(waiting.is_done || running.is_done || inside.is_done);
    buf_fini(&waiting.body);
    buf_fini(&running.body);
    buf_fini(&inside.body);
    buf_fini(&last.body);
}

static void frees_what_runs(void **state)
{
    struct world *w = *state;
    struct told t;
    bool is_heard = false;
    start(w, &t, (struct kube_request){0});
    while (!is_heard) {
        assert_int_equal(loop_step(w->loop, 10 * USEC_PER_MS), E_OK);
        is_heard = server.request_n > 0;
    }
    kube_client_free(w->client);
    w->client = NULL;
    assert_false(t.is_done);
    buf_fini(&t.body);
}

static void refuses_too_many(void **state)
{
    struct world *w = *state;
    struct kube_request request = {.path = STR("/x")};
    struct told t = {0};
    for (size_t i = 0; i < KUBE_CALLS_MAX; i++) {
        assert_int_equal(kube_call_start(w->client, &request, &events, &t, &t.call), E_OK);
    }
    assert_int_equal(kube_call_start(w->client, &request, &events, &t, &t.call), E_LIMIT);
    kube_call_cancel(t.call);
    assert_int_equal(kube_call_start(w->client, &request, &events, &t, &t.call), E_LIMIT);
    /* tear_down() frees them; a cancelled one makes room when the tick ends */
}

/* However many there are: no more than the burst and what time has given. */
static void spends_its_budget(void **state)
{
    struct world *w = *state;
    enum { N = KUBE_CALLS_BURST + KUBE_CALLS_PER_SECOND };
    static struct told t[N];
    usec_t began = clock_monotonic();
    server.answer = STR(OK_HEAD "0\r\nConnection: close\r\n\r\n");
    for (size_t i = 0; i < N; i++) {
        start(w, &t[i], (struct kube_request){0});
        t[i].is_open = false;
    }
    for (size_t i = 0; i < N; i++) {
        wait_for(w, &t[i].is_done);
        buf_fini(&t[i].body);
    }
    assert_true(clock_monotonic() - began >= USEC_PER_SEC * 99 / 100);
}

static void survives_no_memory(void **state)
{
    struct world *w = *state;
    bool is_ok = false;
    server.answer = STR(OK_HEAD "5\r\n\r\nhello");
    kube_client_free(w->client);
    w->client = NULL;
    for (size_t n = 1; !is_ok; n++) {
        struct told t = {0};
        struct kube_request request = {.path = STR("/x"), .timeout = USEC_PER_SEC};
        struct kube_client *c = NULL;
        buf_reset(&server.heard);
        buf_init(&t.body, HEARD_MAX);
        assert_true(buf_reserve(&t.body, 4096) && buf_reserve(&server.heard, 65536));
        mem_fail_from(n);
        enum err e = kube_client_new(w->loop, &w->config, &c);
        if (e == E_OK) {
            e = kube_call_start(c, &request, &events, &t, &t.call);
        }
        while (e == E_OK && !t.is_done) {
            assert_int_equal(loop_step(w->loop, 10 * USEC_PER_MS), E_OK);
        }
        mem_fail_from(0);
        is_ok = e == E_OK && kube_result_is_ok(&t.result);
        assert_true(e == E_OK || e == E_NOMEM);
        kube_client_free(c);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(loop_step(w->loop, 0), E_OK); /* the server notices */
        }
        buf_fini(&t.body);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gets),
        TEST(sends_bodies),
        TEST(tells_errors),
        TEST(limits_errors),
        TEST(tells_cuts),
        TEST(times_out),
        TEST(cancels),
        TEST(frees_what_runs),
        TEST(refuses_too_many),
        TEST(spends_its_budget),
        TEST(survives_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
