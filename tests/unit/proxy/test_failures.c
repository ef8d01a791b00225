/* Every allocation and every system call of whole scenarios fails once: the process survives, what
 * the client sees is the right answer, an error or a cut, nothing is left behind, and the next
 * request is served. */
#include "rig_net.h"

#include "base/mem.h"
#include "stats/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { UPSTREAMS_MAX = 16, TEXT_MAX = 1 << 20, BODY_BYTES = 300 * 1000, ROUNDS_MAX = 3000 };

#define OK_RESPONSE "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

struct play {
    struct rig *rig;
    int upstreams[UPSTREAMS_MAX];
    char *seen[UPSTREAMS_MAX]; /* since its last answer */
    size_t seen_n[UPSTREAMS_MAX];
    const char *rest[UPSTREAMS_MAX]; /* of its answer, still to be sent; or NULL */
    int upstream_n;
    char *got;            /* by the client that was read last */
    const char *end;      /* a request is whole when this has come */
    const char *response; /* NULL: the endpoint closes instead, once */
};

/* ---- playing ---- */

static void play_close(struct play *p, int i)
{
    (void)close(p->upstreams[i]);
    p->upstreams[i] = -1;
    p->rest[i] = NULL;
}

static void play_answer(struct play *p, int i)
{
    p->seen_n[i] = 0; /* the next request begins */
    p->seen[i][0] = '\0';
    if (p->response == NULL) {
        play_close(p, i);
        p->response = OK_RESPONSE;
        return;
    }
    p->rest[i] = p->response;
}

static void play_send(struct play *p, int i)
{
    size_t n = p->rest[i] == NULL ? 0 : strlen(p->rest[i]);
    if (n > 0) {
        ssize_t sent = send(p->upstreams[i], p->rest[i], n, MSG_NOSIGNAL | MSG_DONTWAIT);
        p->rest[i] += sent > 0 ? (size_t)sent : 0;
    }
}

static void play_read(struct play *p, int i)
{
    ssize_t n =
        recv(p->upstreams[i], p->seen[i] + p->seen_n[i], TEXT_MAX - p->seen_n[i], MSG_DONTWAIT);
    if (n == 0) {
        play_close(p, i);
    } else if (n > 0) {
        p->seen_n[i] += (size_t)n;
        p->seen[i][p->seen_n[i]] = '\0';
        if (strstr(p->seen[i], p->end) != NULL) {
            play_answer(p, i);
        }
    }
}

/* Lets everybody do what they can. */
static void play_on(struct play *p)
{
    for (int round = 0; round < 12; round++) {
        rig_run(p->rig);
        for (int i = 0; i < RIG_ENDPOINTS; i++) {
            for (int fd; p->upstream_n < UPSTREAMS_MAX && (fd = net_accept(i)) >= 0;) {
                p->upstreams[p->upstream_n] = fd;
                p->seen[p->upstream_n] = calloc(1, TEXT_MAX + 1);
                p->upstream_n++;
            }
        }
        for (int i = 0; i < p->upstream_n; i++) {
            if (p->upstreams[i] >= 0) {
                play_read(p, i);
            }
            if (p->upstreams[i] >= 0) {
                play_send(p, i);
            }
        }
    }
}

static const char *play_got(struct play *p, int client)
{
    size_t n = 0;
    p->got[0] = '\0';
    for (int idle = 0; idle < 3 && n < TEXT_MAX;) {
        ssize_t got = recv(client, p->got + n, TEXT_MAX - n, MSG_DONTWAIT);
        n += got > 0 ? (size_t)got : 0;
        idle = got > 0 ? 0 : idle + 1;
        rig_run(p->rig);
    }
    p->got[n] = '\0';
    return p->got;
}

/* An answer of the endpoint, one of Lintel's own, or nothing. */
static bool judge(const char *got, const char *part)
{
    bool is_response = strncmp(got, "HTTP/1.1 200 ", 13) == 0 ||
                       strncmp(got, "HTTP/1.1 5", 10) == 0 || strncmp(got, "HTTP/1.1 4", 10) == 0;
    if (strlen(got) > 12 && !is_response) {
        fail_msg("not a response: %.100s", got);
    }
    return strstr(got, part) != NULL;
}

static bool play_request(struct play *p, int client, const char *request, const char *part)
{
    if (client < 0) {
        return false;
    }
    rig_send(p->rig, client, request);
    play_on(p);
    return judge(play_got(p, client), part);
}

/* ---- scenarios: true when all went as without failures ---- */

static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

static int new_client(struct play *p)
{
    static const uint8_t network[] = {198, 51, 100};
    p->end = "\r\n\r\n";
    p->response = OK_RESPONSE;
    return rig_client_from(p->rig, network, 1, 4096);
}

static void end_client(struct play *p, int client)
{
    if (client >= 0) {
        (void)close(client);
    }
    play_on(p);
}

static bool simple_get(struct play *p)
{
    int c = new_client(p);
    bool is_good = play_request(p, c, get, "\r\n\r\nhi");
    end_client(p, c);
    return is_good;
}

static bool post_with_a_body(struct play *p)
{
    int c = new_client(p);
    p->end = "hello end";
    if (c >= 0) {
        rig_send(p->rig, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhel");
    }
    bool is_good = play_request(p, c, "lo end", "\r\n\r\nhi");
    end_client(p, c);
    return is_good;
}

static bool chunked_both_ways(struct play *p)
{
    int c = new_client(p);
    p->end = "0\r\n\r\n";
    p->response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    if (c >= 0) {
        rig_send(p->rig, c,
                 "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
    }
    bool is_good = play_request(p, c, "lo\r\n0\r\n\r\n", "2\r\nhi\r\n0\r\n\r\n");
    end_client(p, c);
    return is_good;
}

static bool retry(struct play *p)
{
    int c = new_client(p);
    bool is_good = true;
    for (int i = 0; i < 3; i++) { /* a kept connection to each endpoint, then one is found dead */
        p->response = i < 2 ? OK_RESPONSE : NULL;
        is_good = play_request(p, c, get, "\r\n\r\nhi") && is_good;
    }
    end_client(p, c);
    return is_good;
}

static bool large_to_a_slow_reader(struct play *p)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n";
    char *response = calloc(1, sizeof(head) + BODY_BYTES);
    size_t got = 0;
    memcpy(response, head, sizeof(head) - 1);
    memset(response + sizeof(head) - 1, 'x', BODY_BYTES);
    int c = new_client(p);
    p->response = response;
    if (c >= 0) {
        rig_send(p->rig, c, get);
        for (int turn = 0; turn < 200 && got < BODY_BYTES; turn++) {
            play_on(p); /* the endpoint sends as far as it can, nobody reads */
            got += strlen(play_got(p, c));
        }
    }
    end_client(p, c);
    for (int i = 0; i < p->upstream_n; i++) {
        p->rest[i] = NULL; /* it pointed into response */
    }
    free(response);
    return got >= BODY_BYTES;
}

static bool endpoints_change(struct play *p)
{
    int c = new_client(p);
    bool is_good = play_request(p, c, get, "\r\n\r\nhi");
    is_good = rig_apply_endpoints(p->rig) == E_OK && is_good; /* run() has prepared it: none */
    is_good = play_request(p, c, get, "no_endpoints") && is_good;
    end_client(p, c);
    return is_good;
}

static bool new_clients(struct play *p)
{
    int c[3];
    bool is_good = true;
    for (int i = 0; i < 3; i++) {
        c[i] = new_client(p);
    }
    for (int i = 0; i < 3; i++) {
        is_good = play_request(p, c[i], get, "\r\n\r\nhi") && is_good;
    }
    for (int i = 0; i < 3; i++) {
        end_client(p, c[i]);
    }
    return is_good;
}

/* ---- the loops ---- */

typedef bool scenario_fn(struct play *p);

static int next_fd(void)
{
    int fd = dup(STDERR_FILENO);
    (void)close(fd);
    return fd;
}

static struct play play_new(void)
{
    struct play p = {.rig = rig_new(), .got = calloc(1, TEXT_MAX + 1)};
    net_start(p.rig, 4096);
    return p;
}

static void play_free(struct play *p)
{
    for (int i = 0; i < p->upstream_n; i++) {
        if (p->upstreams[i] >= 0) {
            (void)close(p->upstreams[i]);
        }
        free(p->seen[i]);
    }
    free(p->got);
    rig_free(p->rig);
    net_stop();
}

/* Nothing is left of the scenario, and the next request is served. */
static void still_serves(struct play *p)
{
    struct stats_page *stats = rig_stats(p->rig);
    assert_int_equal(stats_get(&stats->requests_in_flight), 0);
    assert_int_equal(stats_get(&stats->conns_active), 0);
    assert_int_equal(stats_get(&stats->conns_idle), 0);
    assert_int_equal(stats_get(&stats->upstream_busy), 0);
    rig_prepare_endpoints(p->rig, RIG_ENDPOINTS);
    assert_int_equal(rig_apply_endpoints(p->rig), E_OK);
    assert_true(simple_get(p));
    net_advance(200 * USEC_PER_SEC);
    play_on(p);
    assert_int_equal(stats_get(&stats->upstream_idle), 0);
}

/* One run with the nth allocation failing (kind < 0) or the nth system call; false when nothing
 * failed any more. */
static bool run(scenario_fn *scenario, int kind, size_t nth)
{
    struct play p = play_new();
    bool has_failed;
    if (scenario == endpoints_change) {
        rig_prepare_endpoints(p.rig, 0);
    }
    if (kind < 0) {
        mem_fail_from(nth);
    } else {
        net_fail_at((enum net_fault)kind, nth);
    }
    size_t before = mem_calls();
    bool is_good = scenario(&p);
    has_failed = kind < 0 ? mem_calls() - before >= nth : net_has_failed();
    mem_fail_from(0);
    net_fail_at(NET_AGAIN, 0);
    assert_true(is_good || has_failed);
    still_serves(&p);
    play_free(&p);
    return has_failed;
}

static scenario_fn *const scenarios[] = {
    simple_get,       post_with_a_body,       chunked_both_ways, retry,
    endpoints_change, large_to_a_slow_reader, new_clients,
};
enum { SCENARIOS = sizeof(scenarios) / sizeof(scenarios[0]) };

static void loop(int kind)
{
    int fd = next_fd();
    for (size_t i = 0; i < SCENARIOS; i++) {
        size_t nth = 1;
        while (run(scenarios[i], kind, nth)) {
            nth++;
            assert_true(nth < ROUNDS_MAX);
        }
        assert_true(nth > 1 || kind == NET_DESCRIPTORS); /* something did fail */
    }
    assert_int_equal(next_fd(), fd);
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    loop(-1);
}

static void every_call_would_block_once(void **state)
{
    (void)state;
    loop(NET_AGAIN);
}

static void every_call_takes_one_byte_once(void **state)
{
    (void)state;
    loop(NET_PARTIAL);
}

static void every_call_meets_a_reset_once(void **state)
{
    (void)state;
    loop(NET_RESET);
}

static void every_call_meets_the_end_once(void **state)
{
    (void)state;
    loop(NET_END);
}

static void descriptors_run_out_once(void **state)
{
    (void)state;
    loop(NET_DESCRIPTORS);
}

/* A delay is not a failure: nothing but the time of arrival may differ. */
static void blocking_and_short_calls_change_nothing(void **state)
{
    static const enum net_fault kinds[] = {NET_AGAIN, NET_PARTIAL};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        for (size_t nth = 1; nth < 40; nth++) {
            struct play p = play_new();
            net_fail_at(kinds[k], nth);
            assert_true(chunked_both_ways(&p));
            assert_true(simple_get(&p));
            play_free(&p);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(every_call_would_block_once),
        cmocka_unit_test(every_call_takes_one_byte_once),
        cmocka_unit_test(every_call_meets_a_reset_once),
        cmocka_unit_test(every_call_meets_the_end_once),
        cmocka_unit_test(descriptors_run_out_once),
        cmocka_unit_test(blocking_and_short_calls_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
