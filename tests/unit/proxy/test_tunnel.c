/* Connections that are passed through, by the whole data path over real sockets: bytes both ways,
 * ends and breaks of either side, endpoints that refuse, PROXY headers, slow readers, silence, and
 * every allocation and system call failing once. */
#include "rig_net.h"

#include "base/mem.h"
#include "stats/stats.h"
#include "wire/proxy_header.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { LARGE = 3 << 20, SMALL_BUFFER = 4096 };

static int setup(void **state)
{
    struct rig *r = rig_new();
    rig_speak_tcp(r, 0);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    rig_free(*state);
    return 0;
}

static uint64_t reason_count(struct rig *r, enum reason why)
{
    return stats_get(&rig_stats(r)->reasons[why]);
}

static void assert_over(struct rig *r, uint64_t tunnel_n)
{
    rig_run(r);
    struct stats_page *stats = rig_stats(r);
    assert_int_equal(stats_get(&stats->requests), tunnel_n);
    assert_int_equal(stats_get(&stats->requests_in_flight), 0);
    assert_int_equal(stats_get(&stats->tunnels), 0);
    assert_int_equal(stats_get(&stats->conns_active), 0);
    assert_int_equal(stats_get(&stats->upstream_busy) + stats_get(&stats->upstream_idle), 0);
}

/* True when the other side has ended by a reset. */
static bool is_reset(struct rig *r, int fd)
{
    char c;
    rig_run(r);
    ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);
    return n < 0 && errno == ECONNRESET;
}

/* ---- bytes ---- */

static void bytes_go_both_ways(void **state)
{
    struct rig *r = *state;
    int i, c = rig_tunnel(r, "a.example", 0);
    rig_send(r, c, "hello");
    int u = rig_accept_any(r, &i);
    assert_string_equal(rig_recv(r, u), "hello");
    rig_send(r, u, "welcome");
    assert_string_equal(rig_recv(r, c), "welcome");
    rig_send_n(r, c, "\0\x16\x03\n", 4); /* whatever they are */
    assert_memory_equal(rig_recv(r, u), "\0\x16\x03\n", 4);
    assert_int_equal(stats_get(&rig_stats(r)->tunnels), 1);
    assert_int_equal(stats_get(&rig_stats(r)->bytes_in), 9);
    assert_int_equal(stats_get(&rig_stats(r)->bytes_out), 7);
    rig_set_endpoints(r, 0); /* a new configuration does not disturb it */
    rig_drain(r);            /* nor does the beginning of a drain */
    rig_send(r, c, "still");
    assert_string_equal(rig_recv(r, u), "still");
    close(c);
    assert_true(rig_is_closed(r, u));
    close(u);
    assert_over(r, 1);
    assert_int_equal(stats_get(&rig_stats(r)->responses_2xx), 1);
}

static void each_has_a_line_in_the_log(void **state)
{
    static const struct {
        const char *name;
        const char *want[6];
    } cases[] = {
        {"a.example",
         {"\"remote_addr\":\"192.0.2.7\"", "\"method\":\"TCP\",\"host\":\"a.example\"",
          "\"protocol\":\"tcp/passthrough\",\"status\":200",
          "\"request_length\":5,\"body_bytes_sent\":7",
          "\"upstream\":\"ns-s-80\",\"upstream_addr\":\"127.0.0.1:", "\"reason\":\"none\""}},
        {"",
         {"\"host\":\"\",\"target\":\"-\"", "\"status\":502",
          "\"request_length\":0,\"body_bytes_sent\":0", "\"upstream\":\"ns-s-80\"",
          "\"reason\":\"connect_refused\"", "\"namespace\":\"\""}                          },
    };
    struct rig *r = *state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    rig_log_to(r, ends[1]);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[4096];
        int at, c = rig_tunnel(r, cases[i].name, 0);
        rig_send(r, c, "hello");
        int u = rig_accept_any(r, &at);
        if (u >= 0) {
            assert_string_equal(rig_recv(r, u), "hello");
            rig_send(r, u, "welcome");
            assert_string_equal(rig_recv(r, c), "welcome");
            close(u);
        }
        rig_run(r);
        close(c);
        rig_run(r);
        rig_log_flush(r);
        ssize_t n = read(ends[0], line, sizeof(line) - 1);
        assert_true(n > 0);
        line[n] = '\0';
        for (size_t j = 0; j < 6; j++) {
            if (strstr(line, cases[i].want[j]) == NULL) {
                fail_msg("no %s in %s", cases[i].want[j], line);
            }
        }
        rig_endpoint_close(r, 0);
        rig_endpoint_close(r, 1);
    }
    close(ends[0]);
    close(ends[1]);
}

static void the_endpoint_may_speak_first(void **state)
{
    struct rig *r = *state;
    int i, c = rig_tunnel(r, "", 0);
    int u = rig_accept_any(r, &i);
    rig_send(r, u, "220 ready\r\n");
    assert_string_equal(rig_recv(r, c), "220 ready\r\n");
    close(u);
    assert_true(rig_is_closed(r, c));
    close(c);
    assert_over(r, 1);
}

static void either_half_may_end_first(void **state)
{
    struct rig *r = *state;
    for (int turn = 0; turn < 2; turn++) {
        int i, c = rig_tunnel(r, "a", 0);
        int u = rig_accept_any(r, &i);
        int first = turn == 0 ? c : u, second = turn == 0 ? u : c;
        rig_send(r, first, "last words");
        assert_int_equal(shutdown(first, SHUT_WR), 0);
        assert_string_equal(rig_recv(r, second), "last words");
        assert_true(rig_is_closed(r, second));
        rig_send(r, second, "still here");
        assert_string_equal(rig_recv(r, first), "still here");
        assert_false(rig_is_closed(r, first));
        assert_int_equal(shutdown(second, SHUT_WR), 0);
        assert_true(rig_is_closed(r, first) && !is_reset(r, first) && !is_reset(r, second));
        close(c);
        close(u);
    }
    assert_over(r, 2);
    assert_int_equal(reason_count(r, REASON_client_abort), 0);
}

/* A pattern that shows a byte that is missing, doubled or in another place. */
static char byte_at(size_t at)
{
    return (char)(at * 2654435761U >> 13);
}

/* Writes from, reads to, a few bytes at a time, until all has arrived. */
static void carry(struct rig *r, int from, int to, size_t n, size_t read_n)
{
    static char room[1 << 16];
    size_t sent = 0, got = 0;
    for (int idle = 0; got < n && idle < 20000;) {
        size_t piece = n - sent < sizeof(room) ? n - sent : sizeof(room);
        for (size_t i = 0; i < piece; i++) {
            room[i] = byte_at(sent + i);
        }
        ssize_t w = piece == 0 ? 0 : send(from, room, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += w > 0 ? (size_t)w : 0;
        rig_tick(r);
        ssize_t g = recv(to, room, read_n, MSG_DONTWAIT);
        for (ssize_t i = 0; i < g; i++) {
            assert_int_equal(room[i], byte_at(got + (size_t)i));
        }
        got += g > 0 ? (size_t)g : 0;
        idle = w > 0 || g > 0 ? 0 : idle + 1;
    }
    assert_int_equal(got, n);
}

static void much_goes_both_ways(void **state)
{
    struct rig *r = *state;
    for (int buffer_bytes = 0; buffer_bytes <= SMALL_BUFFER; buffer_bytes += SMALL_BUFFER) {
        int i, c = rig_tunnel(r, "a", buffer_bytes);
        int u = rig_accept_any(r, &i);
        carry(r, c, u, LARGE, 1 << 16);
        carry(r, u, c, LARGE, 3001);
        close(c);
        close(u);
    }
    assert_over(r, 2);
}

/* Who does not read is not read from: what is held stays within the bounds of one read. */
static void slow_readers_hold_the_other_side_back(void **state)
{
    enum { HELD_MAX = 100 * 1000 };
    struct rig *r = *state;
    rig_set_budget(r, HELD_MAX);
    int i, c = rig_tunnel(r, "a", SMALL_BUFFER);
    int u = rig_accept_any(r, &i);
    static char room[1 << 16];
    size_t sent = 0;
    for (int idle = 0; idle < 200;) {
        ssize_t n = send(u, room, sizeof(room), MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        rig_tick(r);
    }
    assert_true(sent > 1 << 16);
    int other = rig_tunnel(r, "a", 0); /* the budget is not spent */
    int v = rig_accept_any(r, &i);
    rig_send(r, other, "x");
    assert_string_equal(rig_recv(r, v), "x");
    close(other);
    close(v);
    for (size_t got = 0; got < sent;) {
        ssize_t n = recv(c, room, sizeof(room), MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        rig_tick(r);
    }
    close(u);
    assert_true(rig_is_closed(r, c));
    close(c);
    assert_over(r, 2);
}

/* Both halves have ended, but one side has not read all yet: it still gets it, to the last byte. */
static void what_is_held_at_the_end_arrives(void **state)
{
    static char room[1 << 16];
    struct rig *r = *state;
    for (int turn = 0; turn < 2; turn++) {
        net_start(r, SMALL_BUFFER);
        int c = rig_tunnel(r, "a", SMALL_BUFFER), u = -1;
        for (int i = 0; i < RIG_ENDPOINTS && u < 0; i++) {
            rig_run(r);
            u = net_accept(i);
        }
        assert_true(u >= 0);
        rig_run(r);
        int reader = turn == 0 ? u : c, writer = turn == 0 ? c : u;
        assert_int_equal(shutdown(reader, SHUT_WR), 0);
        rig_run(r);
        size_t sent = 0;
        for (int idle = 0; idle < 100;) {
            ssize_t n = send(writer, room, 1000, MSG_NOSIGNAL | MSG_DONTWAIT);
            sent += n > 0 ? (size_t)n : 0;
            idle = n > 0 ? 0 : idle + 1;
            rig_tick(r);
        }
        assert_int_equal(shutdown(writer, SHUT_WR), 0);
        size_t got = 0;
        for (int idle = 0; idle < 200;) {
            ssize_t n = recv(reader, room, 777, MSG_DONTWAIT);
            got += n > 0 ? (size_t)n : 0;
            idle = n > 0 ? 0 : idle + 1;
            rig_tick(r);
        }
        assert_int_equal(got, sent);
        assert_true(rig_is_closed(r, reader) && !is_reset(r, reader));
        close(c);
        close(u);
        net_stop();
    }
    assert_over(r, 2);
}

/* ---- the header that endpoints may want ---- */

static void endpoints_are_told_of_the_client(void **state)
{
    struct rig *r = *state;
    for (uint8_t version = 1; version <= 2; version++) {
        rig_speak_tcp(r, version);
        int i, c = rig_tunnel(r, "a", 0);
        rig_send(r, c, "hello");
        int u = rig_accept_any(r, &i);
        char got[256];
        ssize_t got_n = recv(u, got, sizeof(got), 0);
        struct proxy_header h;
        size_t n;
        assert_true(got_n > 5);
        assert_int_equal(proxy_header_parse(str_make(got, (size_t)got_n), &h, &n), E_OK);
        assert_int_equal(h.version, version);
        const struct ip client = {
            4, {192, 0, 2, 7}
        };
        const struct ip ours = {
            4, {192, 0, 2, 1}
        };
        assert_int_equal(ip_cmp(&h.source, &client), 0);
        assert_int_equal(ip_cmp(&h.destination, &ours), 0);
        assert_int_equal(h.source_port, 1234);
        assert_int_equal(h.destination_port, 443);
        assert_int_equal(got_n, n + 5);
        assert_memory_equal(got + n, "hello", 5);
        close(c);
        close(u);
    }
    assert_over(r, 2);
}

/* ---- endpoints that fail ---- */

static void a_refusing_endpoint_is_passed_over(void **state)
{
    struct rig *r = *state;
    rig_speak_tcp(r, 2);
    rig_endpoint_close(r, 0);
    for (int turn = 0; turn < 4; turn++) {
        int c = rig_tunnel(r, "a", 0);
        rig_send(r, c, "hello");
        int u = rig_accept(r, 1);
        assert_true(u >= 0);
        assert_int_equal(recv(u, (char[64]){0}, 64, 0),
                         28 + 5); /* the header, once, and all else */
        close(c);
        close(u);
    }
    assert_over(r, 4);
    assert_true(stats_get(&rig_stats(r)->upstream_retries) >= 1);
    assert_int_equal(reason_count(r, REASON_connect_refused), 0);
}

static void no_endpoint_is_there(void **state)
{
    struct rig *r = *state;
    rig_endpoint_close(r, 0);
    rig_endpoint_close(r, 1);
    int c = rig_tunnel(r, "a", 0);
    assert_true(rig_is_closed(r, c));
    close(c);
    assert_int_equal(reason_count(r, REASON_connect_refused), 1);
    rig_set_endpoints(r, 0);
    c = rig_tunnel(r, "a", 0);
    assert_true(rig_is_closed(r, c));
    assert_int_equal(recv(c, (char[1]){0}, 1, 0), 0); /* not a byte of an answer */
    close(c);
    assert_int_equal(reason_count(r, REASON_no_endpoints), 1);
    assert_over(r, 2);
    assert_int_equal(stats_get(&rig_stats(r)->responses_5xx), 2);
}

/* A service that answers requests and one that takes bytes are not mixed up. */
static void a_request_is_no_tunnel(void **state)
{
    struct rig *r = *state;
    int i, c = rig_client(r);
    rig_send(r, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_non_null(strstr(rig_recv(r, c), "HTTP/1.1 503 "));
    int u = rig_accept_any(r, &i);
    if (u >= 0) {
        assert_string_equal(rig_recv(r, u), "");
        close(u);
    }
    close(c);
}

static void bytes_are_no_request(void **state)
{
    struct rig *r = rig_new(); /* endpoints expect HTTP */
    int i, c = rig_tunnel(r, "a", 0);
    (void)state;
    rig_send(r, c, "GET /secret HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(rig_is_closed(r, c));
    assert_int_equal(rig_accept_any(r, &i), -1);
    assert_int_equal(reason_count(r, REASON_internal), 1);
    assert_over(r, 1);
    close(c);
    rig_free(r);
}

static void breaks_are_passed_on(void **state)
{
    struct linger linger = {1, 0};
    struct rig *r = *state;
    int i, c = rig_tunnel(r, "a", 0);
    int u = rig_accept_any(r, &i);
    rig_send(r, u, "half of");
    assert_string_equal(rig_recv(r, c), "half of");
    assert_int_equal(setsockopt(u, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    close(u);
    assert_true(rig_is_closed(r, c));
    close(c);
    assert_over(r, 1);
    assert_int_equal(reason_count(r, REASON_upstream_cut), 1);

    c = rig_tunnel(r, "a", 0);
    u = rig_accept_any(r, &i);
    rig_send(r, u, "nobody reads this");
    close(c); /* with something unread: a reset */
    assert_true(is_reset(r, u));
    close(u);
    assert_over(r, 2);
    assert_int_equal(reason_count(r, REASON_client_abort), 1);
}

/* It has ended its half and then goes away: nobody reads from it any more, and it is noticed. */
static void a_break_behind_an_end(void **state)
{
    struct linger linger = {1, 0};
    struct rig *r = *state;
    int i, c = rig_tunnel(r, "a", 0);
    int u = rig_accept_any(r, &i);
    assert_int_equal(shutdown(u, SHUT_WR), 0);
    rig_run(r);
    assert_int_equal(setsockopt(u, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    close(u);
    rig_run(r);
    assert_over(r, 1);
    close(c);
}

/* ---- silence ---- */

static int tunnel_with_net(struct rig *r, int *ret_client)
{
    *ret_client = rig_tunnel(r, "a", 0);
    for (int i = 0; i < RIG_ENDPOINTS; i++) {
        rig_run(r);
        int u = net_accept(i);
        if (u >= 0) {
            rig_run(r);
            return u;
        }
    }
    fail();
    return -1;
}

static void silence_ends_it(void **state)
{
    struct rig *r = *state;
    net_start(r, 0);
    for (int speaker = 0; speaker < 2; speaker++) {
        int c, u = tunnel_with_net(r, &c);
        for (int i = 0; i < 20; i++) { /* one side alone is enough to keep it */
            net_advance(500 * USEC_PER_SEC);
            rig_send(r, speaker == 0 ? c : u, "x");
            assert_string_equal(rig_recv(r, speaker == 0 ? u : c), "x");
        }
        net_advance(599 * USEC_PER_SEC);
        rig_run(r);
        assert_false(rig_is_closed(r, c) || rig_is_closed(r, u));
        net_advance(2 * USEC_PER_SEC);
        rig_run(r);
        assert_true(rig_is_closed(r, c) && rig_is_closed(r, u));
        assert_int_equal(stats_get(&rig_stats(r)->timeout_tunnel_idle), speaker + 1);
        close(c);
        close(u);
    }
    assert_over(r, 2);
    assert_int_equal(reason_count(r, REASON_tunnel_idle), 2);
    net_stop();
}

/* The same for each side behind the end of the other. */
static void silence_behind_an_end(void **state)
{
    struct rig *r = *state;
    net_start(r, 0);
    for (int turn = 0; turn < 2; turn++) {
        int c, u = tunnel_with_net(r, &c);
        assert_int_equal(shutdown(turn == 0 ? c : u, SHUT_WR), 0);
        rig_run(r);
        net_advance(599 * USEC_PER_SEC);
        rig_run(r);
        assert_int_equal(stats_get(&rig_stats(r)->tunnels), 1);
        net_advance(2 * USEC_PER_SEC);
        rig_run(r);
        assert_int_equal(stats_get(&rig_stats(r)->tunnels), 0);
        close(c);
        close(u);
    }
    assert_over(r, 2);
    assert_int_equal(reason_count(r, REASON_tunnel_idle), 2);
    net_stop();
}

/* A side that takes nothing of what is held for it. */
static void a_stalled_reader_ends_it(void **state)
{
    static char room[1 << 16];
    struct rig *r = *state;
    for (int turn = 0; turn < 2; turn++) {
        net_start(r, SMALL_BUFFER);
        int c, u = tunnel_with_net(r, &c);
        for (int idle = 0; idle < 100;) {
            idle = send(turn == 0 ? c : u, room, sizeof(room), MSG_NOSIGNAL | MSG_DONTWAIT) > 0
                       ? 0
                       : idle + 1;
            rig_tick(r);
        }
        net_advance(601 * USEC_PER_SEC);
        rig_run(r);
        assert_int_equal(stats_get(&rig_stats(r)->tunnels), 0);
        close(c);
        close(u);
        net_stop();
    }
    assert_over(r, 2);
    assert_int_equal(reason_count(r, REASON_tunnel_idle), 2);
}

/* ---- everything that can fail ---- */

/* A conversation of both sides that ends in good order, as far as that goes. */
static void converse(struct rig *r)
{
    int c = rig_tunnel(r, "a", SMALL_BUFFER), u = -1;
    if (c < 0) {
        return;
    }
    (void)send(c, "hello", 5, MSG_NOSIGNAL | MSG_DONTWAIT);
    for (int tick = 0; tick < 60; tick++) {
        static char room[20000];
        rig_tick(r);
        for (int i = 0; i < RIG_ENDPOINTS && u < 0; i++) {
            u = net_accept(i);
        }
        (void)recv(c, room, sizeof(room), MSG_DONTWAIT);
        if (u >= 0) {
            (void)recv(u, room, sizeof(room), MSG_DONTWAIT);
            (void)send(tick % 2 == 0 ? u : c, room, tick < 20 ? sizeof(room) : 0,
                       MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        if (tick == 30) {
            (void)shutdown(c, SHUT_WR);
        }
        if (tick == 45 && u >= 0) {
            (void)shutdown(u, SHUT_WR);
        }
    }
    close(c);
    if (u >= 0) {
        close(u);
    }
    rig_run(r);
}

static void assert_goes_on(struct rig *r)
{
    int c, u = tunnel_with_net(r, &c);
    rig_send(r, c, "ping");
    assert_string_equal(rig_recv(r, u), "ping");
    close(c);
    close(u);
    rig_run(r);
    assert_int_equal(stats_get(&rig_stats(r)->tunnels), 0);
    assert_int_equal(stats_get(&rig_stats(r)->requests_in_flight), 0);
    assert_int_equal(stats_get(&rig_stats(r)->upstream_busy), 0);
}

static void every_allocation_fails(void **state)
{
    struct rig *r = *state;
    rig_speak_tcp(r, 1);
    for (size_t nth = 1; nth < 60; nth++) {
        net_start(r, SMALL_BUFFER);
        mem_fail_from(nth);
        converse(r);
        mem_fail_from(0);
        net_stop();
        net_start(r, 0);
        net_advance(120 * USEC_PER_SEC); /* ejected endpoints are back */
        rig_speak_tcp(r, 0);
        assert_goes_on(r);
        rig_speak_tcp(r, 1);
        net_stop();
    }
}

static void every_call_fails(void **state)
{
    struct rig *r = *state;
    size_t failed = 0;
    rig_speak_tcp(r, 1);
    for (int kind = 0; kind < NET_FAULTS_N; kind++) {
        bool has_failed = true;
        for (size_t nth = 1; has_failed && nth < 400; nth++) {
            net_start(r, SMALL_BUFFER);
            net_fail_at((enum net_fault)kind, nth);
            converse(r);
            has_failed = net_has_failed();
            failed += has_failed;
            net_fail_at((enum net_fault)kind, 0);
            net_stop();
            net_start(r, 0);
            net_advance(120 * USEC_PER_SEC);
            rig_speak_tcp(r, 0);
            assert_goes_on(r);
            rig_speak_tcp(r, 1);
            net_stop();
        }
    }
    assert_true(failed > 100);
}

/* The worker ends with a tunnel that stands and one that connects. */
static void the_end_of_everything(void **state)
{
    struct rig *r = *state;
    int i, c = rig_tunnel(r, "a", 0), u = rig_accept_any(r, &i);
    rig_send(r, c, "x");
    int connecting = rig_tunnel(r, "a", 0);
    rig_free(r);
    *state = rig_new();
    assert_int_equal(recv(u, (char[2]){0}, 2, 0), 1);
    close(c);
    close(u);
    close(connecting);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_go_both_ways),
        TEST(each_has_a_line_in_the_log),
        TEST(the_endpoint_may_speak_first),
        TEST(either_half_may_end_first),
        TEST(much_goes_both_ways),
        TEST(slow_readers_hold_the_other_side_back),
        TEST(what_is_held_at_the_end_arrives),
        TEST(endpoints_are_told_of_the_client),
        TEST(a_refusing_endpoint_is_passed_over),
        TEST(no_endpoint_is_there),
        TEST(a_request_is_no_tunnel),
        cmocka_unit_test(bytes_are_no_request),
        TEST(breaks_are_passed_on),
        TEST(a_break_behind_an_end),
        TEST(silence_ends_it),
        TEST(silence_behind_an_end),
        TEST(a_stalled_reader_ends_it),
        TEST(every_allocation_fails),
        TEST(every_call_fails),
        TEST(the_end_of_everything),
    };
    return cmocka_run_group_tests_name("proxy/tunnel", tests, NULL, NULL);
}
