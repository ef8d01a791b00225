/* Handshakes take turns: how many go on in one tick and in which order, how many may be under way,
 * and what happens when connections or the context go meanwhile. */
#include "site_world.h"

#include <fcntl.h>

#include "../../lib/durations.h"
#include "tls/tls_priv.h"

enum { MANY = 3 * TLS_HANDSHAKES_PER_TICK + 2 };

/* Each has said its ClientHello. */
static void connect_many(struct site_world *w, struct site_end *ends, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        site_connect(w, &ends[i], "a.test");
        assert_int_equal(SSL_do_handshake(ends[i].client), -1);
        ERR_clear_error();
    }
}

static void close_many(struct site_end *ends, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        site_close(&ends[i]);
    }
}

/* True when the server has answered its hello. */
static bool is_answered(const struct site_end *e)
{
    char p;
    return recv(e->fd, &p, 1, MSG_PEEK) == 1;
}

static size_t answered_n(const struct site_end *ends, size_t n)
{
    size_t answered = 0;
    for (size_t i = 0; i < n; i++) {
        answered += is_answered(&ends[i]);
    }
    return answered;
}

/* ---- turns ---- */

static void a_tick_has_so_many_turns(void **state)
{
    struct site_world *w = *state;
    struct site_end ends[MANY];
    site_usual(w);
    connect_many(w, ends, MANY);
    for (size_t tick = 1; tick <= 4; tick++) {
        site_step(w);
        size_t want = tick * TLS_HANDSHAKES_PER_TICK;
        assert_int_equal(answered_n(ends, MANY), want < MANY ? want : MANY);
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(site_shake(&ends[i]), 0);
    }
    assert_int_equal(w->server.opened, MANY);
    assert_int_equal(w->server.shaken, MANY);
    assert_int_equal(w->server.shaking_n, 0);
    close_many(ends, MANY);
}

/* Whoever came first: even when those behind have bytes more often. */
static void turns_go_in_the_order_of_coming(void **state)
{
    struct site_world *w = *state;
    struct site_end ends[MANY];
    site_usual(w);
    connect_many(w, ends, MANY);
    site_step(w);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(is_answered(&ends[i]), i < TLS_HANDSHAKES_PER_TICK);
    }
    for (size_t i = MANY - 1; i > MANY - 4; i--) { /* woken again, with nothing that helps */
        assert_int_equal(write(ends[i].fd, "\x16", 1), 1);
    }
    site_step(w);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(is_answered(&ends[i]), i < 2 * TLS_HANDSHAKES_PER_TICK);
    }
    close_many(ends, MANY);
}

/* Connections that stand are served in every tick, whatever waits. */
static void others_are_not_held_up(void **state)
{
    struct site_world *w = *state;
    struct site_end ends[MANY], standing;
    site_usual(w);
    site_connect(w, &standing, "a.test");
    assert_int_equal(site_shake(&standing), 0);
    connect_many(w, ends, MANY);
    for (size_t i = 0; i < 3; i++) {
        site_exchange(&standing);
    }
    close_many(ends, MANY);
    site_close(&standing);
}

/* The end of a handshake takes a turn as well, so nobody is overtaken for ever: bytes that complete
 * nothing cost theirs, too. */
static void crumbs_take_turns(void **state)
{
    struct site_world *w = *state;
    struct site_end crumbs[TLS_HANDSHAKES_PER_TICK], honest;
    size_t ticks = 0;
    site_usual(w);
    for (size_t i = 0; i < TLS_HANDSHAKES_PER_TICK; i++) {
        assert_int_equal(site_open(w, &crumbs[i]), E_OK);
    }
    site_connect(w, &honest, "a.test");
    for (; SSL_do_handshake(honest.client) != 1 && ticks < SITE_STEPS_MAX; ticks++) {
        for (size_t i = 0; i < TLS_HANDSHAKES_PER_TICK; i++) {
            static const char start[] = "\x16\x03\x01\x0f\xff\x01\x00\x0f\xfb\x03\x03";
            assert_int_equal(write(crumbs[i].fd, ticks < sizeof(start) - 1 ? &start[ticks] : "", 1),
                             1);
        }
        site_step(w);
        ERR_clear_error();
    }
    assert_true(ticks <= 6);
    close_many(crumbs, TLS_HANDSHAKES_PER_TICK);
    site_close(&honest);
}

/* ---- connections that go while they wait ---- */

static void waiting_ones_may_be_closed(void **state)
{
    struct site_world *w = *state;
    struct site_end ends[MANY];
    site_usual(w);
    connect_many(w, ends, MANY);
    site_step(w);
    for (size_t i = TLS_HANDSHAKES_PER_TICK; i < 2 * TLS_HANDSHAKES_PER_TICK; i++) {
        site_close(&ends[i]);
    }
    assert_int_equal(w->server.shaking_n, MANY - TLS_HANDSHAKES_PER_TICK);
    site_step(w); /* the turns of those are not lost */
    for (size_t i = 2 * TLS_HANDSHAKES_PER_TICK; i < MANY; i++) {
        assert_int_equal(is_answered(&ends[i]), i < 3 * TLS_HANDSHAKES_PER_TICK);
    }
    for (size_t i = 2 * TLS_HANDSHAKES_PER_TICK; i < MANY; i++) {
        assert_int_equal(site_shake(&ends[i]), 0);
        site_close(&ends[i]);
    }
    close_many(ends, TLS_HANDSHAKES_PER_TICK);
    assert_int_equal(w->server.shaking_n, 0);
    assert_true(list_is_empty(&w->server.waiting));
}

static void all_that_wait_may_be_closed(void **state)
{
    struct site_world *w = *state;
    struct site_end ends[MANY];
    site_usual(w);
    connect_many(w, ends, MANY);
    site_step(w);
    close_many(ends, MANY);
    site_step(w); /* nobody is there to be called */
    assert_true(list_is_empty(&w->server.waiting));
    assert_int_equal(stats_get(&w->stats->tls_failed), MANY);
}

/* The client is gone: its turn tells, and costs nobody else theirs. */
static void clients_may_go_while_they_wait(void **state)
{
    struct site_world *w = *state;
    struct site_end ends[MANY];
    size_t told = 0;
    site_usual(w);
    connect_many(w, ends, MANY);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(shutdown(ends[i].fd, SHUT_WR), 0);
    }
    for (size_t i = 0; i < MANY; i++) {
        site_step(w);
    }
    for (size_t i = 0; i < MANY; i++) {
        told += ends[i].last == E_SYS;
    }
    assert_int_equal(told, MANY);
    assert_int_equal(stats_get(&w->stats->tls_failed), MANY);
    close_many(ends, MANY);
}

/* The loop frees things at the end of a tick, the server among them. */
static void the_server_may_end_with_work_left(void **state)
{
    struct site_world *w = *state;
    struct site_end ends[MANY];
    site_usual(w);
    connect_many(w, ends, MANY);
    site_step(w);
    close_many(ends, MANY);
    tls_server_fini(&w->server);
    site_step(w);
    tls_server_init(&w->server, &w->shared);
}

/* ---- limits ---- */

static void so_many_may_be_under_way(void **state)
{
    struct site_world *w = *state;
    struct site_end e, one, more;
    site_usual(w);
    site_connect(w, &one, "a.test");
    w->server.shaking_n += TLS_HANDSHAKES_MAX - 2;
    assert_int_equal(site_open(w, &e), E_OK);
    assert_int_equal(site_open(w, &more), E_LIMIT);
    assert_int_equal(stats_get(&w->stats->limit_tls_handshakes), 1);
    site_close(&more);
    assert_int_equal(site_shake(&one), 0); /* makes room */
    assert_int_equal(site_open(w, &more), E_OK);
    site_close(&more);
    site_close(&e);
    site_close(&one);
    assert_int_equal(w->server.shaking_n, TLS_HANDSHAKES_MAX - 2);
    w->server.shaking_n = 0;
}

/* Its descriptor is closed, whatever the error is. */
static void what_is_refused_is_closed(void **state)
{
    struct site_world *w = *state;
    struct site_end e;
    char p;
    site_usual(w);
    w->server.shaking_n = TLS_HANDSHAKES_MAX;
    assert_int_equal(site_open(w, &e), E_LIMIT);
    w->server.shaking_n = 0;
    assert_int_equal(read(e.fd, &p, 1), 0);
    site_close(&e);
    w->server.context = NULL;
    assert_int_equal(site_open(w, &e), E_NOTFOUND);
    assert_int_equal(read(e.fd, &p, 1), 0);
    site_close(&e);
    w->server.context = w->context;
    w->server.stats = NULL; /* counted or not */
    w->server.shaking_n = TLS_HANDSHAKES_MAX;
    assert_int_equal(site_open(w, &e), E_LIMIT);
    w->server.shaking_n = 0;
    site_close(&e);
}

/* ---- the context ---- */

/* Handshakes go on by the rules that they began with, waiting ones too. */
static void the_context_may_be_replaced_meanwhile(void **state)
{
    struct site_world *w = *state;
    struct site_end ends[MANY];
    site_usual(w);
    connect_many(w, ends, MANY);
    site_step(w);
    site_context(w);
    site_step(w);
    tls_context_free(w->context);
    w->context = w->server.context = NULL; /* nor is there one at all */
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(site_shake(&ends[i]), 0);
        site_exchange(&ends[i]);
    }
    close_many(ends, MANY);
    site_context(w);
    site_connect(w, &ends[0], "a.test");
    assert_int_equal(site_shake(&ends[0]), 0);
    site_close(&ends[0]);
}

/* ---- what is told of a connection ---- */

static void a_connection_knows_what_was_agreed_on(void **state)
{
    struct site_world *w = *state;
    struct site_end e;
    site_usual(w);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        bool is_13 = version == TLS1_3_VERSION;
        site_version(w, version);
        site_connect(w, &e, "a.test");
        assert_null(e.transport.tls);
        assert_int_equal(site_shake(&e), 0);
        const struct transport_tls *tls = e.transport.tls;
        assert_true(str_eq(tls->server_name, STR("a.test")));
        assert_true(str_eq(tls->version, is_13 ? STR("TLSv1.3") : STR("TLSv1.2")));
        assert_true(str_eq(tls->cipher, str_from_cstr(SSL_get_cipher_name(e.client))));
        assert_int_equal(tls->policy, 0);
        assert_null(tls->client);
        assert_false(tls->is_resumed);
        site_close(&e);
    }
    assert_int_equal(stats_get(&w->stats->tls_handshakes), 2);
    assert_int_equal(stats_get(&w->stats->tls_resumed), 0);
    assert_int_equal(stats_get(&w->stats->tls_failed), 0);
}

/* It moves with its owner. */
static void a_connection_moves_while_it_waits(void **state)
{
    struct site_world *w = *state;
    struct site_end ends[MANY], moved;
    site_usual(w);
    connect_many(w, ends, MANY);
    site_step(w);
    struct site_end *from = &ends[MANY - 1];
    moved = (struct site_end){.world = w, .client = from->client, .fd = from->fd, .last = E_AGAIN};
    assert_int_equal(transport_move(&from->transport, &moved.transport, site_on_event), E_OK);
    assert_int_equal(site_shake(&moved), 0);
    site_exchange(&moved);
    site_close(&moved);
    close_many(ends, MANY - 1);
}

static void failures_are_counted_once(void **state)
{
    struct site_world *w = *state;
    struct site_end e;
    site_usual(w);
    assert_int_equal(site_open(w, &e), E_OK);
    assert_int_equal(write(e.fd, "GET / HTTP/1.1\r\n", 16), 16);
    site_step(w);
    assert_int_equal(e.last, E_PROTO);
    site_close(&e);
    assert_int_equal(stats_get(&w->stats->tls_failed), 1);
    site_connect(w, &e, "a.test"); /* breaks when it stands: no failure of a handshake */
    assert_int_equal(site_shake(&e), 0);
    assert_int_equal(write(e.fd, "\x17\x03\x03\x00\x13garbage garbage gar", 24), 24);
    site_step(w);
    assert_int_equal(e.last, E_PROTO);
    site_close(&e);
    assert_int_equal(stats_get(&w->stats->tls_failed), 1);
    assert_int_equal(stats_get(&w->stats->tls_handshakes), 1);
}

/* ---- how long they took ---- */

static usec_t *begun_at(const struct site_end *e)
{
    return &((struct tls_conn *)e->transport.own)->begun_at;
}

/* By wall clock, from the first bytes: what was said before is no part of it, whoever waits for its
 * turn has begun. Buckets: test_series.c. */
static void durations_are_counted(void **state)
{
    struct site_world *w = *state;
    struct site_end ends[MANY];
    const struct stats_durations *d = &w->stats->tls_shaken_full;
    usec_t before = clock_monotonic();
    site_usual(w);
    connect_many(w, ends, MANY);
    site_step(w);
    for (size_t i = 0; i < MANY; i++) { /* the last of them are only waiting */
        assert_in_range(*begun_at(&ends[i]), before, clock_monotonic());
        *begun_at(&ends[i]) -= 7 * USEC_PER_SEC;
    }
    assert_int_equal(stats_get(&d->sum), 0);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(site_shake(&ends[i]), 0);
        site_exchange(&ends[i]); /* adds nothing */
    }
    usec_t since = clock_monotonic() - before;
    assert_in_range(stats_get(&d->sum), MANY * 7 * USEC_PER_SEC, MANY * (7 * USEC_PER_SEC + since));
    close_many(ends, MANY);
}

/* Only of what was completed. Those resumed: test_sessions.c. */
static void failures_have_no_duration(void **state)
{
    struct site_world *w = *state;
    struct site_end e;
    site_usual(w);
    site_connect(w, &e, "a.test");
    (void)SSL_do_handshake(e.client);
    site_step(w);
    site_close(&e);
    assert_int_equal(durations_n(&w->stats->tls_shaken_full), 0);
    assert_false(site_resume(w, "a.test", NULL, NULL));
    assert_int_equal(durations_n(&w->stats->tls_shaken_full), 1);
    assert_int_equal(durations_n(&w->stats->tls_shaken_resumed), 0);
    w->server.stats = NULL; /* counted or not */
    assert_false(site_resume(w, "a.test", NULL, NULL));
    assert_int_equal(durations_n(&w->stats->tls_shaken_full), 1);
}

/* ---- memory ---- */

/* The server's end takes what the client has said, with the n-th allocation of it failing. True:
 * the handshake was completed. */
static bool shakes_short_of_memory(struct site_world *w, size_t nth)
{
    struct site_end e;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    e = (struct site_end){.world = w, .fd = pair[1], .last = E_AGAIN};
    site_client(&e, "a.test"); /* its memory is not what is tested */
    (void)SSL_do_handshake(e.client);
    mem_fail_from(nth);
    enum err opened =
        w->server.opener.open(&w->server.opener, &e.transport, w->loop, pair[0], site_on_event);
    if (opened == E_OK) {
        site_step(w);
    }
    mem_fail_from(0);
    assert_true(opened == E_OK || opened == E_NOMEM);
    e.transport.ops = opened == E_OK ? e.transport.ops : NULL;
    bool is_whole = opened == E_OK && site_shake(&e) == 0;
    site_close(&e);
    return is_whole;
}

/* Refused or broken, never half there. The certificate is decoded before: test_served.c has that.
 * Allocations are some thousand; the first ones, ours among them, are tried one by one. */
static void when_memory_is_out(void **state)
{
    struct site_world *w = *state;
    enum { NTH_MAX = 20 * 1000, CLOSE = 40 };
    size_t nth = 1;
    site_usual(w);
    assert_true(shakes_short_of_memory(w, NTH_MAX));
    while (nth < NTH_MAX && !shakes_short_of_memory(w, nth)) {
        assert_int_equal(w->server.shaking_n, 0);
        nth += 1 + nth / CLOSE;
    }
    assert_in_range(nth, CLOSE, NTH_MAX - 1);
    assert_true(shakes_short_of_memory(w, NTH_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
        TEST(a_tick_has_so_many_turns),
        TEST(turns_go_in_the_order_of_coming),
        TEST(others_are_not_held_up),
        TEST(crumbs_take_turns),
        TEST(waiting_ones_may_be_closed),
        TEST(all_that_wait_may_be_closed),
        TEST(clients_may_go_while_they_wait),
        TEST(the_server_may_end_with_work_left),
        TEST(so_many_may_be_under_way),
        TEST(what_is_refused_is_closed),
        TEST(the_context_may_be_replaced_meanwhile),
        TEST(a_connection_knows_what_was_agreed_on),
        TEST(a_connection_moves_while_it_waits),
        TEST(failures_are_counted_once),
        TEST(durations_are_counted),
        TEST(failures_have_no_duration),
        TEST(when_memory_is_out),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* for the client */
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
