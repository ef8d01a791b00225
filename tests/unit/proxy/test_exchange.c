/* Whole exchanges over real sockets, in one process: what the client sees and what the endpoint
 * saw. */
#include "rig.h"

#include "http/stream.h"
#include "stats/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define assert_has(text, part)                                                                     \
    do {                                                                                           \
        const char *text_ = (text);                                                                \
        if (strstr(text_, (part)) == NULL) {                                                       \
            fail_msg("no \"%s\" in:\n%s", (part), text_);                                          \
        }                                                                                          \
    } while (0)
#define assert_has_not(text, part)                                                                 \
    do {                                                                                           \
        const char *text_ = (text);                                                                \
        if (strstr(text_, (part)) != NULL) {                                                       \
            fail_msg("\"%s\" in:\n%s", (part), text_);                                             \
        }                                                                                          \
    } while (0)
#define RESPONSE "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static int setup(void **state)
{
    *state = rig_new();
    return 0;
}

static int teardown(void **state)
{
    rig_free(*state);
    return 0;
}

static void get_goes_through(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c,
             "GET /x?y=1 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nAccept: */*\r\n\r\n");
    int u = rig_accept_any(r, &i);
    const char *seen = rig_recv(r, u);
    assert_has(seen, "GET /x?y=1 HTTP/1.1\r\nHost: a\r\n");
    assert_has(seen, "X-Forwarded-For: 192.0.2.7\r\n");
    assert_has(seen, "X-Original-Forwarded-For: 6.6.6.6\r\n"); /* for who knows what it is */
    rig_send(r, u, RESPONSE);
    const char *got = rig_recv(r, c);
    assert_has(got, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_false(rig_is_closed(r, c));
    assert_int_equal(stats_get(&rig_stats(r)->requests), 1);
    assert_int_equal(stats_get(&rig_stats(r)->upstream_idle), 1);
    assert_int_equal(stats_get(&rig_stats(r)->upstream_busy), 0);
    assert_int_equal(stats_get(&rig_stats(r)->requests_in_flight), 0);
    close(u);
    close(c);
}

static void connections_are_kept_on_both_sides(void **state)
{
    struct rig *r = *state;
    int c = rig_client(r), u[2] = {-1, -1};
    for (int n = 0; n < 6; n++) {
        rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        int i, fresh = rig_accept_any(r, &i);
        if (fresh >= 0) {
            u[i] = fresh;
        }
        for (i = 0; i < 2; i++) {
            if (u[i] >= 0 && strlen(rig_recv(r, u[i])) > 0) {
                rig_send(r, u[i], RESPONSE);
            }
        }
        assert_has(rig_recv(r, c), "hi");
    }
    assert_int_equal(stats_get(&rig_stats(r)->upstream_connects), 2); /* one to each endpoint */
    assert_int_equal(stats_get(&rig_stats(r)->upstream_reuses), 4);
    close(u[0]);
    close(u[1]);
    close(c);
}

/* Every split of the request and of the response gives the same result. */
static void pieces_make_no_difference(void **state)
{
    static const char request[] =
        "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n";
    static const char response[] = "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
                                   "3\r\nabc\r\n0\r\n\r\n";
    struct rig *r = *state;
    for (size_t cut = 1; cut < sizeof(request) - 1; cut++) {
        int i, c = rig_client(r);
        rig_send_n(r, c, request, cut);
        rig_send(r, c, request + cut);
        int u = rig_accept_any(r, &i);
        const char *seen = rig_recv(r, u);
        if (strlen(seen) == 0) {
            fail_msg("nothing reached the endpoint for a cut at %zu, descriptor %d", cut, u);
        }
        assert_has(seen, "POST /p HTTP/1.1\r\n");
        assert_has(seen, "transfer-encoding: chunked\r\n");
        assert_has(seen, "0\r\n\r\n");
        size_t at = cut % (sizeof(response) - 2) + 1;
        rig_send_n(r, u, response, at);
        rig_send(r, u, response + at);
        const char *got = rig_recv(r, c);
        assert_has(got, "HTTP/1.1 201 Created\r\n");
        assert_has(got, "transfer-encoding: chunked\r\n");
        assert_has(got, "0\r\n\r\n");
        close(u);
        close(c);
        rig_run(r);
    }
    assert_int_equal(stats_get(&rig_stats(r)->responses_2xx), sizeof(request) - 2);
}

static void large_bodies_go_both_ways(void **state)
{
    enum { N = 700 * 1000 };
    struct rig *r = *state;
    char *body = malloc(N + 1);
    memset(body, 'x', N);
    int i, c = rig_client(r);
    rig_send(r, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 700000\r\n\r\n");
    int u = rig_accept_any(r, &i);
    (void)rig_recv(r, u);
    size_t got = 0, sent = 0;
    for (int turn = 0; turn < 10000 && got < N; turn++) {
        if (sent < N) {
            ssize_t n = send(c, body + sent, N - sent, MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
        }
        got += strlen(rig_recv(r, u));
    }
    assert_int_equal(got, N);
    rig_send(r, u, "HTTP/1.1 200 OK\r\nContent-Length: 700000\r\n\r\n");
    size_t back = 0;
    sent = 0;
    for (int turn = 0; turn < 10000 && back < N; turn++) {
        if (sent < N) {
            ssize_t n = send(u, body + sent, N - sent, MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
        }
        const char *text = rig_recv(r, c);
        const char *end = back == 0 ? strstr(text, "\r\n\r\n") : NULL;
        back += strlen(end == NULL ? text : end + 4);
    }
    assert_int_equal(back, N);
    assert_int_equal(stats_get(&rig_stats(r)->upstream_idle), 1);
    free(body);
    close(u);
    close(c);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c,
             "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
             "GET /3 HTTP/1.1\r\nHost: nobody\r\n\r\n");
    int u = rig_accept_any(r, &i);
    assert_has(rig_recv(r, u), "GET /1 ");
    assert_string_equal(rig_recv(r, c), "");
    rig_send(r, u, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
    int u2 = rig_accept_any(r, &i);
    assert_has(rig_recv(r, u2), "GET /2 ");
    rig_send(r, u2, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
    const char *got = rig_recv(r, c);
    const char *one = strstr(got, "one"), *two = strstr(got, "two");
    assert_true(one != NULL && two != NULL && one < two);
    assert_has(two, "HTTP/1.1 404 Not Found\r\n");
    close(u);
    close(u2);
    close(c);
}

/* The connection dies under the request: the endpoint closed it before the request came, and never
 * saw it. Even a POST goes elsewhere then. */
static void a_post_is_saved_from_a_dying_connection(void **state)
{
    static const char post[] = "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_set_endpoints(r, 1);
    rig_send(r, c, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    int u = rig_accept_any(r, &i);
    (void)rig_recv(r, u);
    rig_send(r, u, RESPONSE);
    assert_has(rig_recv(r, c), "hi");
    assert_int_equal(send(c, post, sizeof(post) - 1, MSG_NOSIGNAL), sizeof(post) - 1);
    close(u); /* Lintel sees the request first, and only then that the endpoint has gone */
    rig_run(r);
    u = rig_accept_any(r, &i);
    assert_true(u >= 0);
    const char *seen = rig_recv(r, u);
    assert_has(seen, "POST /2 HTTP/1.1\r\n");
    assert_has(seen, "\r\n\r\nbody");
    rig_send(r, u, RESPONSE);
    assert_has(rig_recv(r, c), "HTTP/1.1 200 OK\r\n");
    assert_int_equal(stats_get(&rig_stats(r)->upstream_reuses), 1);
    assert_int_equal(stats_get(&rig_stats(r)->upstream_retries), 1);
    close(u);
    close(c);
}

/* The endpoint has read the request, and closes without a word: it may have been done. */
static void a_post_that_was_read_is_not_sent_again(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_set_endpoints(r, 1);
    rig_send(r, c, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    int u = rig_accept_any(r, &i);
    (void)rig_recv(r, u);
    rig_send(r, u, RESPONSE);
    assert_has(rig_recv(r, c), "hi");
    rig_send(r, c, "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    rig_run(r);
    assert_has(rig_recv(r, u), "POST /2 ");
    close(u);
    rig_run(r);
    assert_int_equal(rig_accept_any(r, &i), -1);
    assert_has(rig_recv(r, c), "HTTP/1.1 502 ");
    assert_int_equal(stats_get(&rig_stats(r)->upstream_retries), 0);
    close(c);
}

/* It lay in the endpoint's receive buffer when that was closed: a reset, after which nobody knows.
 */
static void a_post_that_was_received_is_not_sent_again(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_set_endpoints(r, 1);
    rig_send(r, c, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    int u = rig_accept_any(r, &i);
    (void)rig_recv(r, u);
    rig_send(r, u, RESPONSE);
    assert_has(rig_recv(r, c), "hi");
    rig_send(r, c, "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    rig_run(r);
    close(u); /* unread */
    rig_run(r);
    assert_int_equal(rig_accept_any(r, &i), -1);
    assert_has(rig_recv(r, c), "HTTP/1.1 502 ");
    close(c);
}

/* An endpoint dies with a request on a new connection: what may be done twice goes to another one,
 * but never back to the same. */
static void a_get_moves_on_from_an_endpoint_that_dies(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        int endpoints, retries;
    } cases[] = {
        {"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",                        2, 1},
        {"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",                        1, 0},
        {"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 2, 0},
    };
    for (size_t n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
        struct rig *r = rig_new();
        int first, second, c = rig_client(r);
        rig_set_endpoints(r, cases[n].endpoints);
        rig_send(r, c, cases[n].request);
        int u = rig_accept_any(r, &first);
        assert_has(rig_recv(r, u), " /1 HTTP/1.1\r\n");
        close(u);
        rig_run(r);
        assert_int_equal(stats_get(&rig_stats(r)->upstream_retries), cases[n].retries);
        u = rig_accept_any(r, &second);
        if (cases[n].retries == 0) {
            assert_int_equal(u, -1);
            const char *got = rig_recv(r, c);
            assert_has(got, "HTTP/1.1 502 ");
            assert_has(got, "x-lintel-reason: upstream_reset\r\n");
        } else {
            assert_int_not_equal(first, second);
            assert_has(rig_recv(r, u), " /1 HTTP/1.1\r\n");
            rig_send(r, u, RESPONSE);
            assert_has(rig_recv(r, c), "HTTP/1.1 200 OK\r\n");
            close(u);
        }
        close(c);
        rig_free(r);
    }
}

static void own_errors_carry_their_reason(void **state)
{
    static const struct {
        const char *request, *status, *reason;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: b\r\n\r\n",                                                     "HTTP/1.1 404 ", "x-lintel-reason: no_route\r\n"   },
        {"GET / HTTP/1.1\r\n\r\n",                                                                "HTTP/1.1 400 ", "x-lintel-reason: bad_request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         "HTTP/1.1 400 ",                                                                                          "x-lintel-reason: bad_request\r\n"},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n",                                                     "HTTP/1.1 505 ",
         "x-lintel-reason: version_not_supported\r\n"                                                                                                },
        {"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",                                              "HTTP/1.1 ",     "x-lintel-reason: "               },
        {"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello",                          "HTTP/1.1 404 ",
         "x-lintel-reason: no_route\r\n"                                                                                                             },
    };
    struct rig *r = *state;
    for (size_t n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
        int i, c = rig_client(r);
        rig_send(r, c, cases[n].request);
        const char *got = rig_recv(r, c);
        assert_has(got, cases[n].status);
        assert_has(got, cases[n].reason);
        assert_int_equal(rig_accept_any(r, &i), -1);
        close(c);
    }
}

static void heads_over_the_limit_are_refused(void **state)
{
    struct rig *r = *state;
    int c = rig_client(r);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    for (int n = 0; n < 40; n++) {
        char kilo[1025];
        memset(kilo, 'x', 1024);
        kilo[1024] = '\0';
        rig_send(r, c, kilo);
    }
    assert_has(rig_recv(r, c), "HTTP/1.1 431 ");
    close(c);
}

static void head_and_bodyless_statuses_have_no_body(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    int u = rig_accept_any(r, &i);
    rig_send(r, u, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    assert_has(rig_recv(r, c), "Content-Length: 5000\r\n\r\n");
    rig_send(r, c, "HEAD / HTTP/1.1\r\nHost: nobody\r\n\r\n");
    const char *got = rig_recv(r, c);
    assert_has(got, "content-length: ");
    assert_string_equal(strstr(got, "\r\n\r\n"), "\r\n\r\n");
    assert_false(rig_is_closed(r, c));
    close(u);
    close(c);
}

static void a_close_delimited_response_ends_with_the_connection(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    int u = rig_accept_any(r, &i);
    assert_has(rig_recv(r, u), "GET / "); /* closing with unread bytes would be a reset */
    rig_send(r, u, "HTTP/1.0 200 OK\r\n\r\nsome");
    rig_send(r, u, "thing");
    close(u);
    const char *got = rig_recv(r, c);
    assert_has(got, "transfer-encoding: chunked\r\n");
    assert_has(got, "0\r\n\r\n");
    assert_false(rig_is_closed(r, c));
    close(c);
}

static void a_refusing_endpoint_is_passed_over(void **state)
{
    struct rig *r = *state;
    rig_endpoint_close(r, 0);
    for (int n = 0; n < 4; n++) {
        int c = rig_client(r);
        rig_send(r, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        int u = rig_accept(r, 1);
        assert_true(u >= 0);
        assert_has(rig_recv(r, u), "\r\n\r\nhello");
        rig_send(r, u, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert_has(rig_recv(r, c), "HTTP/1.1 200 OK\r\n");
        close(u);
        close(c);
        rig_run(r);
    }
    rig_endpoint_close(r, 1);
    int c = rig_client(r);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const char *got = rig_recv(r, c);
    assert_has(got, "HTTP/1.1 502 ");
    assert_has(got, "x-lintel-reason: connect_refused\r\n");
    close(c);
}

static void a_dead_kept_connection_is_retried_when_safe(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_set_endpoints(r, 1);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    int u = rig_accept_any(r, &i);
    rig_send(r, u, RESPONSE);
    assert_has(rig_recv(r, c), "hi");
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); /* on the kept connection */
    assert_has(rig_recv(r, u), "GET / ");
    close(u); /* without an answer */
    u = rig_accept_any(r, &i);
    assert_true(u >= 0);
    assert_has(rig_recv(r, u), "GET / ");
    rig_send(r, u, RESPONSE);
    assert_has(rig_recv(r, c), "hi");
    rig_send(r, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_has(rig_recv(r, u), "POST / ");
    close(u); /* it may have been done: no second try */
    const char *got = rig_recv(r, c);
    assert_has(got, "HTTP/1.1 502 ");
    assert_has(got, "x-lintel-reason: upstream_reset\r\n");
    assert_int_equal(stats_get(&rig_stats(r)->upstream_retries), 1);
    close(c);
}

static void a_cut_response_is_never_passed_off_as_whole(void **state)
{
    static const char *const responses[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    };
    struct rig *r = *state;
    for (size_t n = 0; n < 2; n++) {
        int i, c = rig_client(r);
        rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        int u = rig_accept_any(r, &i);
        rig_send(r, u, responses[n]);
        close(u);
        const char *got = rig_recv(r, c);
        assert_has(got, "half");
        assert_has_not(got, "\r\n0\r\n\r\n");
        assert_true(rig_is_closed(r, c));
        close(c);
    }
    assert_int_equal(stats_get(&rig_stats(r)->reasons[REASON_upstream_cut]), 2);
}

static void bytes_behind_a_response_never_reach_another_client(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_set_endpoints(r, 1);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    int u = rig_accept_any(r, &i);
    assert_has(rig_recv(r, u), "GET / ");
    rig_send(r, u, RESPONSE "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    assert_has_not(rig_recv(r, c), "evil");
    assert_true(rig_is_closed(r, u));
    assert_int_equal(stats_get(&rig_stats(r)->upstream_idle), 0);
    assert_int_equal(stats_get(&rig_stats(r)->upstream_busy), 0);
    close(u);
    close(c);
}

static void an_endpoint_that_left_gets_nothing_new(void **state)
{
    struct rig *r = *state;
    int c = rig_client(r), u[2] = {-1, -1};
    for (int n = 0; n < 2; n++) {
        rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        int i, fd = rig_accept_any(r, &i);
        u[i] = fd;
        assert_has(rig_recv(r, fd), "GET / ");
        rig_send(r, fd, RESPONSE);
        assert_has(rig_recv(r, c), "hi");
    }
    assert_int_equal(stats_get(&rig_stats(r)->upstream_idle), 2);
    rig_set_endpoints(r, 0);
    assert_int_equal(stats_get(&rig_stats(r)->upstream_idle), 0);
    assert_true(rig_is_closed(r, u[0]) && rig_is_closed(r, u[1]));
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const char *got = rig_recv(r, c);
    assert_has(got, "HTTP/1.1 503 ");
    assert_has(got, "x-lintel-reason: no_endpoints\r\n");
    close(u[0]);
    close(u[1]);
    close(c);
}

static void an_endpoint_that_leaves_finishes_what_it_has(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    int u = rig_accept_any(r, &i);
    (void)rig_recv(r, u);
    rig_set_endpoints(r, 0);
    rig_send(r, u, RESPONSE);
    assert_has(rig_recv(r, c), "hi");
    assert_true(rig_is_closed(r, u));
    close(u);
    close(c);
}

static void a_client_that_goes_away_frees_the_endpoint(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
    int u = rig_accept_any(r, &i);
    assert_has(rig_recv(r, u), "half");
    close(c);
    assert_true(rig_is_closed(r, u));
    assert_int_equal(stats_get(&rig_stats(r)->reasons[REASON_client_abort]), 1);
    assert_int_equal(stats_get(&rig_stats(r)->upstream_busy), 0);
    close(u);
}

static void expect_continue_is_answered_by_us(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c,
             "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    int u = rig_accept_any(r, &i);
    assert_string_equal(rig_recv(r, c), "HTTP/1.1 100 Continue\r\n\r\n");
    rig_send(r, c, "ok");
    const char *seen = rig_recv(r, u);
    assert_has(seen, "ok");
    assert_has_not(seen, "Expect");
    rig_send(r, u, "HTTP/1.1 100 Continue\r\n\r\n" RESPONSE);
    const char *got = rig_recv(r, c);
    assert_has_not(got, "100 Continue");
    assert_has(got, "hi");
    close(u);
    close(c);
}

static void old_clients_get_old_answers(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    int u = rig_accept_any(r, &i);
    rig_send(r, u, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    const char *got = rig_recv(r, c);
    assert_has(got, "connection: close\r\n");
    assert_has_not(got, "chunked");
    assert_string_equal(strstr(got, "\r\n\r\n"), "\r\n\r\nhi");
    assert_true(rig_is_closed(r, c));
    close(u);
    close(c);
}

static void draining_ends_connections_politely(void **state)
{
    struct rig *r = *state;
    int i, idle = rig_client(r), c = rig_client(r);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    int u = rig_accept_any(r, &i);
    rig_drain(r);
    assert_true(rig_is_closed(r, idle));
    assert_false(rig_is_closed(r, c));
    rig_send(r, u, RESPONSE);
    assert_has(rig_recv(r, c), "connection: close\r\n");
    assert_true(rig_is_closed(r, c));
    close(idle);
    close(u);
    close(c);
}

static void a_tunnel_carries_bytes_both_ways(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c,
             "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
             "Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly");
    int u = rig_accept_any(r, &i);
    const char *seen = rig_recv(r, u);
    assert_has(seen, "Upgrade: websocket\r\n");
    assert_has(seen, "connection: upgrade\r\n");
    assert_has(seen, "Sec-WebSocket-Key: k\r\n");
    assert_has_not(seen, "early"); /* not before the endpoint agreed */
    rig_send(r, u,
             "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
             "Upgrade: websocket\r\n\r\nhello");
    const char *got = rig_recv(r, c);
    assert_has(got, "HTTP/1.1 101 Switching Protocols\r\n");
    assert_has(got, "Upgrade: websocket\r\n");
    assert_has(got, "connection: upgrade\r\n");
    assert_has(got, "\r\n\r\nhello");
    assert_string_equal(rig_recv(r, u), "early");
    rig_send(r, c, "ping");
    assert_string_equal(rig_recv(r, u), "ping");
    rig_send(r, u, "pong");
    assert_string_equal(rig_recv(r, c), "pong");
    rig_set_endpoints(r, 0); /* a new configuration does not disturb it */
    rig_send(r, c, "still");
    assert_string_equal(rig_recv(r, u), "still");
    assert_int_equal(shutdown(c, SHUT_WR), 0); /* half of it ends */
    assert_true(rig_is_closed(r, u));
    rig_send(r, u, "bye");
    assert_string_equal(rig_recv(r, c), "bye");
    close(u);
    assert_true(rig_is_closed(r, c));
    assert_int_equal(stats_get(&rig_stats(r)->requests), 1);
    assert_int_equal(stats_get(&rig_stats(r)->upstream_busy), 0);
    close(c);
}

static void an_upgrade_may_be_declined_and_never_forced(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    int u = rig_accept_any(r, &i);
    (void)rig_recv(r, u);
    rig_send(r, u, RESPONSE);
    assert_has(rig_recv(r, c), "HTTP/1.1 200 OK\r\n");
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); /* asks for nothing */
    int fresh = rig_accept_any(r, &i);
    u = fresh >= 0 ? fresh : u;
    (void)rig_recv(r, u);
    rig_send(r, u, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
    const char *got = rig_recv(r, c);
    assert_has(got, "HTTP/1.1 502 ");
    assert_has(got, "x-lintel-reason: upstream_invalid\r\n");
    close(u);
    close(c);
}

static void only_trusted_clients_are_believed(void **state)
{
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, 198.51.100.4, 192.0.2.9\r\n"
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n"
        "X-Forwarded-Port: 8443\r\n\r\n";
    struct rig *r = *state;
    for (int turn = 0; turn < 3; turn++) {
        int i, c = rig_client(r);
        rig_settings(r)->use_forwarded_headers = turn > 0;
        rig_settings(r)->compute_full_forwarded_for = turn > 1;
        rig_set_endpoints(r, 1);
        rig_send(r, c, request);
        int u = rig_accept_any(r, &i);
        const char *seen = rig_recv(r, u);
        bool is_believed = turn > 0;
        assert_has(seen, is_believed ? "X-Real-IP: 198.51.100.4\r\n" : "X-Real-IP: 192.0.2.7\r\n");
        assert_has(seen, turn == 2   ? "X-Forwarded-For: 6.6.6.6, 198.51.100.4, 192.0.2.9, "
                                       "192.0.2.7\r\n"
                         : turn == 1 ? "\r\nX-Forwarded-For: 198.51.100.4\r\n"
                                     : "\r\nX-Forwarded-For: 192.0.2.7\r\n");
        assert_has(seen,
                   is_believed ? "X-Forwarded-Proto: https\r\n" : "X-Forwarded-Proto: http\r\n");
        assert_has(seen,
                   is_believed ? "X-Forwarded-Host: shop.example\r\n" : "X-Forwarded-Host: a\r\n");
        assert_has(seen, is_believed ? "X-Forwarded-Port: 8443\r\n" : "X-Forwarded-Port: 80\r\n");
        close(u);
        close(c);
        rig_run(r);
    }
}

/* The answer to one request on a connection of its own. */
static const char *fetch(struct rig *r, const char *request)
{
    static char got[8192];
    int i, c = rig_client(r);
    rig_send(r, c, request);
    int u = rig_accept_any(r, &i);
    if (u >= 0) {
        (void)rig_recv(r, u);
        rig_send(r, u, RESPONSE);
    }
    (void)snprintf(got, sizeof(got), "%s", rig_recv(r, c));
    close(u);
    close(c);
    rig_run(r);
    return got;
}

static void plain_requests_are_sent_to_https(void **state)
{
    struct rig *r = *state;
    rig_set_tls(r);
    rig_set_endpoints(r, 1);
    const char *got = fetch(r, "GET /x/?y HTTP/1.1\r\nHost: A:80\r\n\r\n");
    assert_has(got, "HTTP/1.1 308 Permanent Redirect\r\n");
    assert_has(got, "\r\nlocation: https://A/x/?y\r\n");
    assert_has(got, "\r\nx-lintel-reason: redirect\r\n");
    assert_has(fetch(r, "GET /plain/x HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 200 OK\r\n");
    got = fetch(r, "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_has(got, "\r\nlocation: https://a/b\r\n"); /* whatever form the target has */
    got = fetch(r, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_has(got, "HTTP/1.1 404 "); /* no path matches "*" */
}

static void a_trusted_proxy_says_what_the_client_uses(void **state)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n"
                                  "X-Forwarded-Host: b.test\r\n\r\n";
    struct rig *r = *state;
    rig_set_tls(r);
    rig_set_endpoints(r, 1);
    assert_has(fetch(r, request), "\r\nlocation: https://a/\r\n"); /* nobody is trusted */
    rig_settings(r)->use_forwarded_headers = 1;
    rig_set_endpoints(r, 1);
    assert_has(fetch(r, request), "HTTP/1.1 200 OK\r\n");
    assert_has(fetch(r, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: HTTP\r\n"
                        "X-Forwarded-Host: b.test:80, c.test\r\n\r\n"),
               "\r\nlocation: https://b.test/\r\n");
}

#define HTTPS "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n"
#define HSTS  "\r\nstrict-transport-security: max-age=9\r\n"

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, part)) != NULL; p++) {
        n++;
    }
    return n;
}

/* What the upstream says of it does not count. */
static void responses_by_https_have_hsts(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_set_tls(r);
    rig_settings(r)->use_forwarded_headers = 1;
    rig_set_endpoints(r, 1);
    rig_send(r, c, HTTPS);
    int u = rig_accept_any(r, &i);
    (void)rig_recv(r, u);
    rig_send(r, u,
             "HTTP/1.1 200 OK\r\nA: b\r\nStrict-Transport-Security: max-age=1\r\nC: d\r\n"
             "STRICT-transport-security: max-age=2; preload\r\nContent-Length: 2\r\n\r\nhi");
    const char *got = rig_recv(r, c);
    assert_has(got, "HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\nContent-Length: 2\r\n");
    assert_has(got, HSTS);
    assert_has_not(got, "max-age=1");
    assert_has_not(got, "max-age=2");
    assert_int_equal(count(got, "max-age="), 1);
    rig_send(r, c, HTTPS); /* on the same connection, and of any status */
    (void)rig_recv(r, u);
    rig_send(r, u, "HTTP/1.1 304 Not Modified\r\n\r\n");
    assert_has(rig_recv(r, c), HSTS);
    close(u);
    close(c);
}

static void our_own_responses_have_it_too(void **state)
{
    struct rig *r = *state;
    rig_set_tls(r);
    rig_settings(r)->use_forwarded_headers = 1;
    rig_set_endpoints(r, 0);
    const char *got = fetch(r, HTTPS);
    assert_has(got, "HTTP/1.1 503 ");
    assert_has(got, "\r\nx-lintel-reason: no_endpoints\r\n");
    assert_has(got, HSTS);
    got = fetch(r, "GET / HTTP/1.1\r\nHost: b\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert_has(got, "HTTP/1.1 404 "); /* no route, so nobody has said anything */
    assert_has_not(got, HSTS);
}

/* RFC 6797 section 7.2; and what the upstream says passes there. */
static void plain_responses_have_no_hsts(void **state)
{
    struct rig *r = *state;
    rig_set_tls(r);
    rig_set_endpoints(r, 1);
    assert_has_not(fetch(r, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "max-age");
    const char *got = fetch(r, "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_has(got, "HTTP/1.1 200 OK\r\n");
    assert_has_not(got, "max-age");
}

/* As many fields as a head may have, and one more. */
static void hsts_fits_behind_a_full_head(void **state)
{
    char response[8192] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n";
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_set_tls(r);
    rig_settings(r)->use_forwarded_headers = 1;
    rig_set_endpoints(r, 1);
    for (int n = 1; n < HEAD_FIELDS_MAX; n++) {
        strncat(response, "a: b\r\n", sizeof(response) - strlen(response) - 1);
    }
    strncat(response, "\r\nhi", sizeof(response) - strlen(response) - 1);
    rig_send(r, c, HTTPS);
    int u = rig_accept_any(r, &i);
    (void)rig_recv(r, u);
    rig_send(r, u, response);
    const char *got = rig_recv(r, c);
    assert_has(got, HSTS);
    assert_int_equal(count(got, "\r\na: b"), HEAD_FIELDS_MAX - 1);
    close(u);
    close(c);
}

static void bodies_over_the_limit_are_refused(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_settings(r)->proxy_body_size = 10;
    rig_send(r, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789");
    int u = rig_accept_any(r, &i);
    assert_has(rig_recv(r, u), "0123456789");
    rig_send(r, u, RESPONSE);
    assert_has(rig_recv(r, c), "HTTP/1.1 200 OK");
    rig_send(r, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
    assert_has(rig_recv(r, c), "HTTP/1.1 413 ");
    close(c);
    c = rig_client(r);
    rig_send(r, c,
             "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n");
    rig_send(r, c, "5\r\n67890\r\n");
    int fresh = rig_accept_any(r, &i);
    const char *got = rig_recv(r, c);
    assert_has(got, "HTTP/1.1 413 ");
    assert_has(got, "x-lintel-reason: too_large\r\n");
    assert_int_equal(stats_get(&rig_stats(r)->limit_body_bytes), 2);
    close(fresh);
    close(u);
    close(c);
}

static void memory_over_the_budget_refuses_new_requests(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r), d = rig_client(r);
    rig_set_budget(r, 4096); /* one exchange */
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const char *got = rig_recv(r, c);
    assert_has(got, "HTTP/1.1 503 ");
    assert_has(got, "x-lintel-reason: overloaded\r\n");
    rig_set_budget(r, 8193);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    int u = rig_accept_any(r, &i);
    rig_send(r, d, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    int v = rig_accept_any(r, &i);
    assert_true(u >= 0 && v >= 0); /* the second one still fits: 8192 < 8193 */
    rig_send(r, u, RESPONSE);
    assert_has(rig_recv(r, c), "hi");
    close(u);
    close(v);
    close(c);
    close(d);
}

static enum err dial_unable(struct http_dialer *d, const struct ip *ip, uint16_t port,
                            const struct http_conn_events *events, void *owner,
                            struct http_conn **ret)
{
    (void)d;
    (void)ip;
    (void)port;
    (void)events;
    (void)owner;
    (void)ret;
    return E_PROTO;
}

/* A Secret that is not there, for example: no try can help. */
static void what_tls_needs_is_missing(void **state)
{
    struct rig *r = *state;
    int c = rig_client(r);
    rig_dialer(r)->dial = dial_unable;
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const char *got = rig_recv(r, c);
    assert_has(got, "HTTP/1.1 503 ");
    assert_has(got, "x-lintel-reason: upstream_tls_missing\r\n");
    close(c);
}

static void an_absolute_target_goes_on_in_origin_form(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_set_endpoints(r, 1);
    rig_send(r, c, "GET http://a/x?y HTTP/1.1\r\nHost: other\r\n\r\n");
    int u = rig_accept_any(r, &i);
    const char *seen = rig_recv(r, u);
    assert_has(seen, "GET /x?y HTTP/1.1\r\n");
    assert_has(seen, "\r\nHost: a\r\n");
    assert_has_not(seen, "other");
    rig_send(r, u, RESPONSE);
    (void)rig_recv(r, c);
    rig_send(r, c, "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n");
    int fresh = rig_accept_any(r, &i);
    u = fresh >= 0 ? fresh : u;
    assert_has(rig_recv(r, u), "GET / HTTP/1.1\r\n");
    rig_send(r, u, RESPONSE);
    (void)rig_recv(r, c);
    rig_send(r, c, "GET http://a?y HTTP/1.1\r\nHost: a\r\n\r\n");
    fresh = rig_accept_any(r, &i);
    u = fresh >= 0 ? fresh : u;
    assert_has(rig_recv(r, u), "GET /?y HTTP/1.1\r\nHost: a\r\n");
    close(u);
    close(c);
}

static void a_connection_serves_so_many_requests(void **state)
{
    struct rig *r = *state;
    int c = rig_client(r);
    rig_settings(r)->keep_alive_requests = 2;
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: no\r\n\r\n");
    assert_has_not(rig_recv(r, c), "connection: close");
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: no\r\n\r\n");
    assert_has(rig_recv(r, c), "connection: close\r\n");
    assert_true(rig_is_closed(r, c));
    close(c);
}

/* The end of a kept connection that comes together with the response is seen before it is used
 * again. */
static void a_connection_that_ends_with_its_response_is_not_kept(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_set_endpoints(r, 1);
    for (int n = 0; n < 3; n++) {
        rig_send(r, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        int u = rig_accept_any(r, &i);
        assert_true(u >= 0);
        assert_has(rig_recv(r, u), "POST / ");
        assert_int_equal(send(u, RESPONSE, strlen(RESPONSE), MSG_NOSIGNAL), strlen(RESPONSE));
        assert_int_equal(shutdown(u, SHUT_WR), 0);
        assert_has(rig_recv(r, c), "hi");
        assert_int_equal(stats_get(&rig_stats(r)->upstream_idle), 0);
        assert_true(rig_is_closed(r, u));
        close(u);
    }
    close(c);
}

static void expectations_that_cannot_be_met_get_417(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\n\r\n");
    const char *got = rig_recv(r, c);
    assert_has(got, "HTTP/1.1 417 ");
    assert_has(got, "x-lintel-reason: expectation_failed\r\n");
    assert_int_equal(rig_accept_any(r, &i), -1);
    assert_false(rig_is_closed(r, c));
    close(c);
}

static void no_tunnel_for_http2(void **state)
{
    static const char *const protocols[] = {"h2c", "websocket, h2c", "HTTP/2.0", "TLS/1.0"};
    struct rig *r = *state;
    rig_set_endpoints(r, 1);
    for (size_t n = 0; n < sizeof(protocols) / sizeof(protocols[0]); n++) {
        int i, c = rig_client(r);
        rig_send(r, c,
                 "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                 "HTTP2-Settings: AAMAAABkAAQAAP__\r\nUpgrade: ");
        rig_send(r, c, protocols[n]);
        rig_send(r, c, "\r\n\r\n");
        int u = rig_accept_any(r, &i);
        const char *seen = rig_recv(r, u);
        assert_has(seen, "GET / ");
        assert_has_not(seen, "pgrade");
        assert_has_not(seen, "HTTP2-Settings");
        close(u);
        close(c);
        rig_run(r);
    }
}

static void trailers_go_both_ways_where_they_are_welcome(void **state)
{
    static const char request[] = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n"
                                  "Connection: TE\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "2\r\nhi\r\n0\r\nX-Sum: 42\r\nContent-Length: 9\r\n"
                                  "X_Real_IP: 6.6.6.6\r\n\r\n";
    static const char response[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                   "2\r\nok\r\n0\r\nX-Took: 7\r\nHost: evil\r\n\r\n";
    struct rig *r = *state;
    rig_set_endpoints(r, 1);
    for (size_t cut = 1; cut < sizeof(request) - 1; cut++) {
        int i, c = rig_client(r);
        rig_send_n(r, c, request, cut);
        rig_send(r, c, request + cut);
        int u = rig_accept_any(r, &i);
        const char *seen = rig_recv(r, u);
        assert_has(seen, "TE: trailers\r\n");
        assert_has(seen, "connection: te\r\n");
        assert_has(seen, "\r\n0\r\nX-Sum: 42\r\n\r\n");
        size_t at = cut % (sizeof(response) - 2) + 1;
        rig_send_n(r, u, response, at);
        rig_send(r, u, response + at);
        assert_has(rig_recv(r, c), "\r\n0\r\nX-Took: 7\r\n\r\n");
        assert_false(rig_is_closed(r, c));
        close(u);
        close(c);
        rig_run(r);
    }
    int i, c = rig_client(r);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); /* does not say that it takes them */
    int u = rig_accept_any(r, &i);
    (void)rig_recv(r, u);
    rig_send(r, u, response);
    const char *got = rig_recv(r, c);
    assert_has(got, "\r\n0\r\n\r\n");
    assert_has_not(got, "X-Took");
    close(u);
    close(c);
}

static void interim_responses_go_to_those_who_know_them(void **state)
{
    struct rig *r = *state;
    rig_set_endpoints(r, 1);
    for (int minor = 0; minor <= 1; minor++) {
        int i, c = rig_client(r);
        rig_send(r, c,
                 minor == 0 ? "GET / HTTP/1.0\r\nHost: a\r\n\r\n"
                            : "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        int u = rig_accept_any(r, &i);
        assert_has(rig_recv(r, u), "GET / ");
        rig_send(r, u, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
        assert_string_equal(rig_recv(r, c),
                            minor == 0 ? "" : "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
        rig_send(r, u, RESPONSE);
        assert_has(rig_recv(r, c), "HTTP/1.1 200 OK\r\n");
        close(u);
        close(c);
        rig_run(r);
    }
}

static void either_half_of_a_tunnel_may_end_first(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    int u = rig_accept_any(r, &i);
    (void)rig_recv(r, u);
    rig_send(r, u, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nlast words");
    assert_int_equal(shutdown(u, SHUT_WR), 0);
    assert_has(rig_recv(r, c), "last words");
    assert_true(rig_is_closed(r, c));
    rig_send(r, c, "still here");
    assert_string_equal(rig_recv(r, u), "still here");
    assert_int_equal(stats_get(&rig_stats(r)->requests), 0);
    close(c);
    assert_true(rig_is_closed(r, u));
    assert_int_equal(stats_get(&rig_stats(r)->requests), 1);
    assert_int_equal(stats_get(&rig_stats(r)->upstream_busy), 0);
    close(u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(get_goes_through, setup, teardown),
        cmocka_unit_test_setup_teardown(connections_are_kept_on_both_sides, setup, teardown),
        cmocka_unit_test_setup_teardown(pieces_make_no_difference, setup, teardown),
        cmocka_unit_test_setup_teardown(large_bodies_go_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(pipelined_requests_are_answered_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_post_is_saved_from_a_dying_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(a_post_that_was_read_is_not_sent_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_post_that_was_received_is_not_sent_again, setup,
                                        teardown),
        cmocka_unit_test(a_get_moves_on_from_an_endpoint_that_dies),
        cmocka_unit_test_setup_teardown(own_errors_carry_their_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(heads_over_the_limit_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(head_and_bodyless_statuses_have_no_body, setup, teardown),
        cmocka_unit_test_setup_teardown(a_close_delimited_response_ends_with_the_connection, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_refusing_endpoint_is_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_kept_connection_is_retried_when_safe, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_cut_response_is_never_passed_off_as_whole, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(bytes_behind_a_response_never_reach_another_client, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_endpoint_that_left_gets_nothing_new, setup, teardown),
        cmocka_unit_test_setup_teardown(an_endpoint_that_leaves_finishes_what_it_has, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_client_that_goes_away_frees_the_endpoint, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(expect_continue_is_answered_by_us, setup, teardown),
        cmocka_unit_test_setup_teardown(old_clients_get_old_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(draining_ends_connections_politely, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tunnel_carries_bytes_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(an_upgrade_may_be_declined_and_never_forced, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(only_trusted_clients_are_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(plain_requests_are_sent_to_https, setup, teardown),
        cmocka_unit_test_setup_teardown(a_trusted_proxy_says_what_the_client_uses, setup, teardown),
        cmocka_unit_test_setup_teardown(responses_by_https_have_hsts, setup, teardown),
        cmocka_unit_test_setup_teardown(our_own_responses_have_it_too, setup, teardown),
        cmocka_unit_test_setup_teardown(plain_responses_have_no_hsts, setup, teardown),
        cmocka_unit_test_setup_teardown(hsts_fits_behind_a_full_head, setup, teardown),
        cmocka_unit_test_setup_teardown(bodies_over_the_limit_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_over_the_budget_refuses_new_requests, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_tls_needs_is_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(an_absolute_target_goes_on_in_origin_form, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_serves_so_many_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_that_ends_with_its_response_is_not_kept, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(expectations_that_cannot_be_met_get_417, setup, teardown),
        cmocka_unit_test_setup_teardown(no_tunnel_for_http2, setup, teardown),
        cmocka_unit_test_setup_teardown(trailers_go_both_ways_where_they_are_welcome, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(interim_responses_go_to_those_who_know_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(either_half_of_a_tunnel_may_end_first, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
