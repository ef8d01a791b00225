/* controller/responders: from a name to an address, who may be asked, and how a question ends; with
 * a DNS server that knows two names, and an HTTP server that says what a test wants. */
#include "controller/responders.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"

enum { STEPS_MAX = 5000 };

/* One that is nobody's (RFC 5737), one of the loopback. */
static const uint8_t far_address[4] = {192, 0, 2, 1}, near_address[4] = {127, 0, 0, 1};

struct scene {
    struct loop *loop;
    struct responders *responders;
    struct responders_options options;
    struct ip_prefix allowed;
    char servers[32];
    int dns, http, conn;
    uint16_t port;
    bool is_dns_silent;
    const char *answer; /* NULL: none */
    size_t body_n;      /* bytes behind it */
    char request[4096];
    size_t request_n;

    size_t done_n;
    enum err e;
    char body[64], detail[256];
    size_t got_n;
};

/* ---- the servers ---- */

static int open_socket(int type, uint16_t *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

/* The address of a query for "far" or "near"; NULL: there is no such name. */
static const uint8_t *known_address(const uint8_t *query)
{
    return memcmp(query + 12, "\3far\4test", 10) == 0    ? far_address
           : memcmp(query + 12, "\4near\4test", 11) == 0 ? near_address
                                                         : NULL;
}

static void dns_step(struct scene *s)
{
    uint8_t m[600];
    struct sockaddr_in from;
    socklen_t from_n = sizeof(from);
    ssize_t n = recvfrom(s->dns, m, 512, 0, (struct sockaddr *)&from, &from_n);
    if (n < 17 || s->is_dns_silent) {
        return;
    }
    size_t end = 12 + strlen((const char *)m + 12) + 1 + 4;
    const uint8_t *address = known_address(m);
    const uint8_t head[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4};
    m[2] |= 0x80;
    m[3] = (uint8_t)(0x80 | (address == NULL ? 3 : 0));
    memset(m + 6, 0, 6);
    if (address != NULL && m[end - 3] == 1) { /* type A */
        m[7] = 1;
        memcpy(m + end, head, sizeof(head));
        memcpy(m + end + sizeof(head), address, 4);
        end += sizeof(head) + 4;
    }
    (void)sendto(s->dns, m, end, 0, (struct sockaddr *)&from, from_n);
}

static void http_answer(struct scene *s)
{
    static char zeros[64 << 10];
    (void)send(s->conn, s->answer, strlen(s->answer), MSG_NOSIGNAL);
    (void)send(s->conn, zeros, s->body_n, MSG_NOSIGNAL); /* it may be cut off */
    (void)close(s->conn);
    s->conn = -1;
}

static void http_step(struct scene *s)
{
    if (s->conn < 0) {
        s->conn = accept4(s->http, NULL, NULL, SOCK_NONBLOCK);
        return;
    }
    ssize_t n = recv(s->conn, s->request + s->request_n, sizeof(s->request) - 1 - s->request_n, 0);
    s->request_n += n > 0 ? (size_t)n : 0;
    s->request[s->request_n] = '\0';
    if (s->answer != NULL && strstr(s->request, "\r\n\r\n?") != NULL) {
        http_answer(s);
    }
}

static void step(struct scene *s)
{
    assert_int_equal(loop_step(s->loop, USEC_PER_MS), E_OK);
    dns_step(s);
    http_step(s);
}

/* ---- questions ---- */

static void on_done(void *arg, enum err e, struct str body, const char *detail)
{
    struct scene *s = arg;
    s->done_n++;
    s->e = e;
    s->got_n = body.n;
    (void)snprintf(s->body, sizeof(s->body), "%.*s", STR_ARG(str_first(body, 32)));
    (void)snprintf(s->detail, sizeof(s->detail), "%s", detail);
}

static struct question *ask(struct scene *s, const char *host)
{
    struct question *q;
    const struct question_text text = {.host = str_from_cstr(host),
                                       .port = s->port,
                                       .authority = STR("R.test:1"),
                                       .target = STR("/a?b"),
                                       .body = STR("?")};
    assert_int_equal(question_ask(s->responders, &text, on_done, s, &q), E_OK);
    assert_int_equal(s->done_n, 0);
    return q;
}

static enum err outcome(struct scene *s, const char *host)
{
    s->done_n = 0;
    (void)ask(s, host);
    for (int i = 0; i < STEPS_MAX && s->done_n == 0; i++) {
        step(s);
    }
    assert_int_equal(s->done_n, 1);
    assert_int_equal(responders_n(s->responders), 0);
    return s->e;
}

static void responders_make(struct scene *s)
{
    assert_int_equal(responders_new(s->loop, &s->options, &s->responders), E_OK);
}

static int open_scene(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    uint16_t port;
    s->conn = -1;
    s->http = open_socket(SOCK_STREAM, &s->port);
    assert_int_equal(listen(s->http, 8), 0);
    s->dns = open_socket(SOCK_DGRAM, &port);
    (void)snprintf(s->servers, sizeof(s->servers), "127.0.0.1:%u", port);
    assert_int_equal(ip_prefix_parse(STR("127.0.0.0/8"), &s->allowed), E_OK);
    s->options = (struct responders_options){
        .servers = s->servers, .allowed = &s->allowed, .allowed_n = 1, .timeout = USEC_PER_SEC};
    s->answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    assert_int_equal(loop_new(&s->loop), E_OK);
    responders_make(s);
    *state = s;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    responders_free(s->responders);
    loop_free(s->loop);
    (void)close(s->dns);
    (void)close(s->http);
    if (s->conn >= 0) {
        (void)close(s->conn);
    }
    free(s);
    return 0;
}

/* ---- tests ---- */

static void an_answer(void **state)
{
    struct scene *s = *state;
    assert_int_equal(outcome(s, "127.0.0.1"), E_OK);
    assert_string_equal(s->body, "hello");
    assert_true(strncmp(s->request, "POST /a?b HTTP/1.1\r\n", 20) == 0);
    assert_non_null(strstr(s->request, "Host: R.test:1\r\n"));
    assert_non_null(strstr(s->request, "Content-Type: application/ocsp-request\r\n"));
}

static void answers_that_do_not_count(void **state)
{
    struct scene *s = *state;
    static const struct {
        const char *answer;
        enum err e;
    } cases[] = {
        {"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",                                E_PROTO },
        {"HTTP/1.1 302 No\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", E_PROTO },
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut",                             E_CLOSED},
        {"hello",                                                                       E_CLOSED},
        {"",                                                                            E_CLOSED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        s->answer = cases[i].answer;
        s->request_n = 0;
        assert_int_equal(outcome(s, "127.0.0.1"), cases[i].e);
        assert_int_equal(s->got_n, 0);
    }
}

static void the_length_has_a_limit(void **state)
{
    struct scene *s = *state;
    for (size_t i = 0; i < 4; i++) {
        char head[128];
        bool is_over = i % 2 == 1, is_told = i / 2 == 1;
        s->body_n = OCSP_RESPONSE_BYTES_MAX + is_over;
        (void)snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\n%s: %zu\r\n\r\n",
                       is_told ? "Content-Length" : "X", s->body_n);
        s->answer = head;
        s->request_n = 0;
        assert_int_equal(outcome(s, "127.0.0.1"), is_over ? E_LIMIT : E_OK);
        assert_int_equal(s->got_n, is_over ? 0 : s->body_n);
    }
}

static void nobody_answers(void **state)
{
    struct scene *s = *state;
    s->answer = NULL;
    assert_int_equal(outcome(s, "127.0.0.1"), E_TIMEOUT);
    (void)close(s->http);
    s->http = open_socket(SOCK_STREAM, &s->port); /* nobody listens */
    assert_int_equal(outcome(s, "127.0.0.1"), E_CLOSED);
}

/* The address that is connected to is what counts, whatever name led there. */
static void who_may_be_asked(void **state)
{
    struct scene *s = *state;
    assert_int_equal(outcome(s, "10.0.0.1"), E_REFUSED);
    assert_int_equal(outcome(s, "far.test"), E_REFUSED);
    assert_string_equal(s->detail, "its address is not one that may be asked");
    responders_free(s->responders);
    s->options.allowed_n = 0;
    responders_make(s);
    static const char *const refused[] = {"127.0.0.1", "::1",      "::ffff:127.0.0.1", "0.0.0.0",
                                          "::",        "fe80::1",  "169.254.169.254",  "224.0.0.1",
                                          "ff02::1",   "localhost"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_int_equal(outcome(s, refused[i]), E_REFUSED);
    }
    assert_int_equal(s->request_n, 0);
}

static void names(void **state)
{
    struct scene *s = *state;
    assert_int_equal(outcome(s, "nobody.test"), E_NOTFOUND);
    assert_int_equal(outcome(s, "near.test"), E_REFUSED); /* no name leads to the loopback */
    assert_int_equal(outcome(s, "127.1"), E_NOTFOUND);    /* no other way to write it */
    s->is_dns_silent = true;
    assert_int_equal(outcome(s, "far2.test"), E_TIMEOUT);
    assert_string_equal(s->detail, "its name did not resolve in time");
}

static void several_at_once(void **state)
{
    struct scene *s = *state;
    static const char *const hosts[] = {"far.test", "far.test", "nobody.test", "127.0.0.1"};
    for (size_t i = 0; i < 4; i++) {
        (void)ask(s, hosts[i]);
    }
    assert_int_equal(responders_n(s->responders), 4);
    for (int i = 0; i < STEPS_MAX && s->done_n < 4; i++) {
        step(s);
    }
    assert_int_equal(s->done_n, 4);
    assert_int_equal(responders_n(s->responders), 0);
}

static void cancelled(void **state)
{
    struct scene *s = *state;
    s->answer = NULL;
    static const char *const hosts[] = {"far.test", "127.0.0.1"};
    for (int steps = 0; steps < 6; steps++) {
        for (size_t i = 0; i < 2; i++) {
            struct question *q = ask(s, hosts[i]);
            for (int k = 0; k < steps && s->done_n == 0; k++) {
                step(s);
            }
            question_cancel(s->done_n == 0 ? q : NULL);
            assert_int_equal(responders_n(s->responders), 0);
            s->done_n = 0;
        }
    }
    (void)ask(s, "127.0.0.1"); /* and one that is still there at the end */
    (void)ask(s, "far.test");
    step(s);
}

static void out_of_memory(void **state)
{
    struct scene *s = *state;
    enum err e = E_NOMEM;
    responders_free(s->responders);
    s->responders = NULL;
    for (size_t n = 1; e != E_OK; n++) {
        assert_true(n < 1000);
        mem_fail_from(n);
        e = responders_new(s->loop, &s->options, &s->responders);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
    }
    responders_free(s->responders);
    s->options.timeout = 20 * USEC_PER_MS;
    responders_make(s);                /* one with a resolver */
    for (size_t n = 1; n < 200; n++) { /* a question ends, whatever fails */
        struct question *q;
        const struct question_text text = {.host = STR("127.0.0.1"),
                                           .port = s->port,
                                           .authority = STR("a"),
                                           .target = STR("/"),
                                           .body = STR("?")};
        s->done_n = s->request_n = 0;
        mem_fail_from(n);
        e = question_ask(s->responders, &text, on_done, s, &q);
        for (int i = 0; e == E_OK && i < STEPS_MAX && s->done_n == 0; i++) {
            step(s);
        }
        mem_fail_from(0);
        assert_true(e == E_NOMEM || s->done_n == 1);
        assert_int_equal(responders_n(s->responders), 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)
    const struct CMUnitTest tests[] = {
        TEST(an_answer),
        TEST(answers_that_do_not_count),
        TEST(the_length_has_a_limit),
        TEST(nobody_answers),
        TEST(who_may_be_asked),
        TEST(names),
        TEST(several_at_once),
        TEST(cancelled),
        TEST(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
