/* When endpoints are ejected, and how they come back. */
#include "world.h"

/* Requests until one goes to endpoint i; the others are answered. */
static struct upstream_pick open_at(struct world *w, uint32_t i)
{
    for (int n = 0; n < 1000; n++) {
        struct upstream_pick pick = world_open(w);
        if (world_endpoint(&pick) == i) {
            return pick;
        }
        world_answer(w, &pick, 100);
    }
    fail();
    return (struct upstream_pick){0};
}

static void fail_at(struct world *w, uint32_t i, uint32_t times)
{
    for (uint32_t n = 0; n < times; n++) {
        struct upstream_pick pick = open_at(w, i);
        world_fail(&pick, REASON_connect_refused, 0);
    }
}

/* True when endpoint i gets some of the next requests; none of them is a probe. */
static bool is_served(struct world *w, uint32_t i, uint32_t n)
{
    bool is_picked = false;
    for (uint32_t k = 0; k < 20 * n; k++) {
        struct upstream_pick pick = world_open(w);
        assert_false(pick.is_probe);
        is_picked = is_picked || world_endpoint(&pick) == i;
        world_answer(w, &pick, 100);
    }
    return is_picked;
}

static uint64_t ejected(struct world *w)
{
    return stats_get(&w->stats->upstream_ejected);
}

static void test_failures_in_a_row(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 4);
    fail_at(w, 2, UPSTREAM_FAILURES_MAX - 1);
    assert_int_equal(ejected(w), 0);
    assert_true(is_served(w, 2, 4)); /* and answers, which forgives */
    fail_at(w, 2, UPSTREAM_FAILURES_MAX - 1);
    assert_int_equal(ejected(w), 0);
    fail_at(w, 2, 1);
    assert_int_equal(ejected(w), 1);
    assert_int_equal(stats_get(&w->stats->upstream_ejections), 1);
    assert_false(is_served(w, 2, 4));
    world_free(w);
}

/* What counts as a failure, and what does not. */
static void test_outcomes(void **state)
{
    (void)state;
    static const struct {
        enum reason why;
        bool is_failure;
    } cases[] = {
        {REASON_connect_refused,      true },
        {REASON_connect_timeout,      true },
        {REASON_upstream_tls,         true },
        {REASON_upstream_certificate, true },
        {REASON_upstream_reset,       true },
        {REASON_upstream_timeout,     true },
        {REASON_upstream_invalid,     false},
        {REASON_client_abort,         false},
        {REASON_none,                 false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
        for (uint32_t n = 0; n < UPSTREAM_FAILURES_MAX; n++) {
            struct upstream_pick pick = open_at(w, 1);
            assert_false(pick.is_reused);
            world_fail(&pick, cases[i].why, 5);
        }
        assert_int_equal(ejected(w), cases[i].is_failure);
        world_free(w);
    }
}

/* A kept-alive connection that died while it was idle says nothing; one that is silent does. */
static void test_dead_idle_connections(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    for (int i = 0; i < 20; i++) {
        struct upstream_pick pick = open_at(w, 1);
        if (!pick.is_reused) {
            upstream_report(&pick, UPSTREAM_ABANDONED, 0);
            world_finish(&pick);
            pick = open_at(w, 1);
        }
        assert_true(pick.is_reused);
        world_fail(&pick, REASON_upstream_reset, 1);
    }
    assert_int_equal(ejected(w), 0);
    for (int i = 0; i < UPSTREAM_FAILURES_MAX; i++) {
        struct upstream_pick pick = open_at(w, 1);
        if (!pick.is_reused) {
            upstream_report(&pick, UPSTREAM_ABANDONED, 0);
            world_finish(&pick);
            pick = open_at(w, 1);
        }
        world_fail(&pick, REASON_upstream_timeout, 1);
    }
    assert_int_equal(ejected(w), 1);
    world_free(w);
}

/* Only the first report of a pick counts. */
static void test_reports_once(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    struct upstream_pick pick = open_at(w, 1);
    for (int i = 0; i < 2 * UPSTREAM_FAILURES_MAX; i++) {
        upstream_report(&pick, UPSTREAM_TIMEOUT, 1);
    }
    assert_int_equal(ejected(w), 0);
    world_finish(&pick);
    pick = (struct upstream_pick){0};
    upstream_report(&pick, UPSTREAM_TIMEOUT, 1);
    world_free(w);
}

/* Time after time: 5, 10, 20, 40, 60, 60 seconds, one probe at the end of each. */
static void test_timeline(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 4);
    usec_t time = UPSTREAM_EJECT_MIN;
    fail_at(w, 2, UPSTREAM_FAILURES_MAX);
    for (uint64_t round = 1; round <= 8; round++) {
        assert_int_equal(stats_get(&w->stats->upstream_ejections), round);
        w->now += time - 1;
        assert_false(is_served(w, 2, 4));
        w->now += 1;
        struct upstream_pick probe = world_open(w);
        assert_int_equal(world_endpoint(&probe), 2);
        assert_true(probe.is_probe && !probe.is_reused);
        assert_false(is_served(w, 2, 4)); /* a single one */
        world_fail(&probe, REASON_connect_refused, 0);
        assert_int_equal(ejected(w), 1);
        time = 2 * time < UPSTREAM_EJECT_MAX ? 2 * time : UPSTREAM_EJECT_MAX;
    }
    assert_int_equal(time, 60 * USEC_PER_SEC);
    w->now += time;
    struct upstream_pick probe = open_at(w, 2);
    assert_true(probe.is_probe);
    world_answer(w, &probe, 50);
    assert_int_equal(ejected(w), 0);
    assert_true(is_served(w, 2, 4));
    world_free(w);
}

/* Soon after it is back, the next ejection goes on where the last one ended; later it begins anew.
 */
static void test_forgiveness(void **state)
{
    (void)state;
    static const struct {
        usec_t good; /* time between the two ejections */
        usec_t time; /* of the second */
    } cases[] = {
        {UPSTREAM_EJECT_MAX - 1, 2 * UPSTREAM_EJECT_MIN},
        {UPSTREAM_EJECT_MAX,     UPSTREAM_EJECT_MIN    },
    };
    for (size_t i = 0; i < 2; i++) {
        struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
        fail_at(w, 0, UPSTREAM_FAILURES_MAX);
        w->now += UPSTREAM_EJECT_MIN;
        struct upstream_pick probe = open_at(w, 0);
        world_answer(w, &probe, 0);
        w->now += cases[i].good;
        fail_at(w, 0, UPSTREAM_FAILURES_MAX);
        w->now += cases[i].time - 1;
        assert_false(is_served(w, 0, 2));
        w->now += 1;
        probe = world_open(w);
        assert_true(probe.is_probe);
        world_answer(w, &probe, 1);
        world_free(w);
    }
}

/* At least half of the endpoints stay, and the only one always. */
static void test_floor(void **state)
{
    (void)state;
    static const uint8_t balances[] = {SNAP_BALANCE_ROUND_ROBIN, SNAP_BALANCE_LEAST_CONN,
                                       SNAP_BALANCE_LATENCY};
    for (size_t b = 0; b < 3; b++) {
        for (uint32_t n = 1; n <= 101; n += n < 9 ? 1 : 23) {
            struct world *w = world_new(balances[b], n);
            for (uint32_t i = 0; i < 100 * n; i++) { /* everything fails */
                struct upstream_pick pick = world_open(w);
                world_fail(&pick, REASON_connect_refused, 0);
            }
            assert_int_equal(ejected(w), n / 2);
            assert_true(stats_get(&w->stats->limit_upstream_ejected) > 0);
            world_free(w);
        }
    }
}

/* The share is of the endpoints there are: when others leave, some come back at once. */
static void test_floor_moves(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 8);
    for (uint32_t i = 0; i < 4; i++) {
        w->now += 1; /* 0 is the first to be back */
        fail_at(w, i, UPSTREAM_FAILURES_MAX);
    }
    assert_int_equal(ejected(w), 4);
    world_publish(w, 7);
    assert_int_equal(ejected(w), 3);
    assert_true(is_served(w, 0, 7));
    assert_false(is_served(w, 1, 7));
    world_publish(w, 2);
    assert_int_equal(ejected(w), 1);
    world_publish(w, 1);
    assert_int_equal(ejected(w), 0);
    assert_true(is_served(w, 0, 1));
    world_free(w);
}

/* Ejections and their times outlive generations; those who leave and come back begin anew. */
static void test_generations(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 4);
    fail_at(w, 2, UPSTREAM_FAILURES_MAX);
    fail_at(w, 3, UPSTREAM_FAILURES_MAX - 1);
    w->now += UPSTREAM_EJECT_MIN - 1;
    world_publish(w, 6);
    w->balance = SNAP_BALANCE_LEAST_CONN;
    world_publish(w, 6);
    assert_int_equal(ejected(w), 1);
    assert_false(is_served(w, 2, 6));
    w->now += 1;
    struct upstream_pick probe = open_at(w, 2);
    assert_true(probe.is_probe);
    world_publish(w, 5); /* in the middle of the probe */
    world_fail(&probe, REASON_upstream_reset, 3);
    assert_int_equal(stats_get(&w->stats->upstream_ejections), 2);
    assert_int_equal(ejected(w), 1);
    w->is_left_out[2] = true;
    world_publish(w, 5);
    assert_int_equal(ejected(w), 0);
    w->is_left_out[2] = false;
    world_publish(w, 5);
    assert_true(is_served(w, 2, 5));
    world_free(w);
}

/* What is told of an endpoint after it has left is nobody's business. */
static void test_reports_after_leaving(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 3);
    fail_at(w, 2, UPSTREAM_FAILURES_MAX);
    w->now += UPSTREAM_EJECT_MIN;
    struct upstream_pick probe = open_at(w, 2), failed = open_at(w, 1), good = open_at(w, 1);
    world_publish(w, 1);
    assert_int_equal(ejected(w), 0);
    world_fail(&failed, REASON_upstream_reset, 1); /* its connection first: the endpoint is over */
    world_answer(w, &good, 5);
    world_answer(w, &probe, 5);
    assert_int_equal(ejected(w), 0);
    struct upstream_pick pick = world_open_avoiding(w, failed.endpoint);
    world_answer(w, &pick, 5);
    world_free(w);
}

/* Only the probe decides: answers and failures of requests from before the ejection do not. */
static void test_late_reports(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    struct upstream_pick good = open_at(w, 1), bad = open_at(w, 1);
    fail_at(w, 1, UPSTREAM_FAILURES_MAX);
    world_answer(w, &good, 100);
    assert_int_equal(ejected(w), 1);
    w->now += UPSTREAM_EJECT_MIN - 1;
    world_fail(&bad, REASON_upstream_reset, UPSTREAM_EJECT_MIN);
    assert_int_equal(stats_get(&w->stats->upstream_ejections), 1);
    w->now += 1;
    struct upstream_pick probe = world_open(w);
    assert_true(probe.is_probe); /* not put off */
    world_answer(w, &probe, 1);
    world_free(w);
}

/* A probe whose client goes away is followed by the next one at once; one that is never reported,
 * by another after a time. */
static void test_probe_without_outcome(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    fail_at(w, 1, UPSTREAM_FAILURES_MAX);
    w->now += UPSTREAM_EJECT_MIN;
    struct upstream_pick probe = world_open(w);
    assert_true(probe.is_probe);
    upstream_report(&probe, UPSTREAM_ABANDONED, 0);
    world_cut(&probe, REASON_none);
    probe = world_open(w);
    assert_true(probe.is_probe);
    w->now += UPSTREAM_PROBE_AGAIN - 1;
    assert_false(is_served(w, 1, 2));
    w->now += 1;
    struct upstream_pick second = world_open(w);
    assert_true(second.is_probe);
    world_answer(w, &second, 1);
    assert_int_equal(ejected(w), 0);
    world_fail(&probe, REASON_upstream_timeout, 60 * USEC_PER_SEC); /* one failure as any other */
    assert_int_equal(ejected(w), 0);
    world_free(w);
}

/* A request that has failed once is not the one to probe with. */
static void test_retries_do_not_probe(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 3);
    fail_at(w, 2, UPSTREAM_FAILURES_MAX);
    struct upstream_pick first = world_open(w);
    w->now += UPSTREAM_EJECT_MIN;
    struct upstream_pick retry = world_open_avoiding(w, first.endpoint);
    assert_false(retry.is_probe);
    struct upstream_pick probe = world_open(w);
    assert_true(probe.is_probe);
    world_answer(w, &first, 1);
    world_answer(w, &retry, 1);
    world_answer(w, &probe, 1);
    world_free(w);
}

/* Several at once: the one that has waited longest is probed first. */
static void test_probes_in_order(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 6);
    static const uint32_t order[] = {4, 1, 5};
    for (size_t i = 0; i < 3; i++) {
        w->now += USEC_PER_SEC;
        fail_at(w, order[i], UPSTREAM_FAILURES_MAX);
    }
    w->now += UPSTREAM_EJECT_MIN;
    for (size_t i = 0; i < 3; i++) {
        struct upstream_pick probe = world_open(w);
        assert_true(probe.is_probe);
        assert_int_equal(world_endpoint(&probe), order[i]);
        world_answer(w, &probe, 1);
    }
    assert_int_equal(ejected(w), 0);
    world_free(w);
}

/* A first ejection ends before a second one that began earlier. */
static void test_probes_by_end(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 4);
    fail_at(w, 2, UPSTREAM_FAILURES_MAX);
    w->now += UPSTREAM_EJECT_MIN;
    struct upstream_pick probe = world_open(w);
    world_fail(&probe, REASON_connect_refused, 0); /* away for twice as long */
    fail_at(w, 3, UPSTREAM_FAILURES_MAX);
    for (uint32_t i = 3; i >= 2; i--) {
        w->now += UPSTREAM_EJECT_MIN;
        probe = world_open(w);
        assert_true(probe.is_probe);
        assert_int_equal(world_endpoint(&probe), i);
        world_answer(w, &probe, 1);
    }
    world_free(w);
}

/* Its idle connections go with it: what comes back is new. */
static void test_ejection_closes_idle(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    struct upstream_pick a = open_at(w, 1), b = open_at(w, 1);
    world_answer(w, &a, 1);
    world_answer(w, &b, 1);
    assert_int_equal(w->open_n[1], 2);
    for (int i = 0; i < UPSTREAM_FAILURES_MAX; i++) {
        struct upstream_pick pick;
        do {
            assert_int_equal(world_try(w, NULL, true, &pick), E_OK);
            upstream_report(&pick,
                            world_endpoint(&pick) == 1 ? UPSTREAM_TIMEOUT : UPSTREAM_ANSWERED, 1);
            world_cut(&pick, REASON_upstream_timeout);
        } while (world_endpoint(&pick) != 1);
    }
    assert_int_equal(ejected(w), 1);
    assert_int_equal(w->open_n[1], 0);
    world_free(w);
}

/* ---- refused at once ---- */

/* The request finds the one endpoint that takes it, each is asked once, and counted as failed. */
static void test_refusals_are_passed_over(void **state)
{
    (void)state;
    static const uint8_t balances[] = {SNAP_BALANCE_ROUND_ROBIN, SNAP_BALANCE_LEAST_CONN,
                                       SNAP_BALANCE_LATENCY};
    for (size_t b = 0; b < 3; b++) {
        for (uint32_t good = 0; good < 6; good++) {
            struct world *w = world_new(balances[b], 6);
            for (uint32_t i = 0; i < 6; i++) {
                w->dial_err[i] = i == good ? E_OK : E_REFUSED;
            }
            struct upstream_pick pick = world_open(w);
            assert_int_equal(world_endpoint(&pick), good);
            for (uint32_t i = 0; i < 6; i++) {
                assert_true(w->dial_n[i] <= 1);
            }
            world_answer(w, &pick, 1);
            for (int i = 0; i < 100; i++) {
                assert_int_equal(world_try(w, NULL, true, &pick), E_OK);
                world_answer(w, &pick, 1);
            }
            assert_int_equal(ejected(w), 3);
            world_free(w);
        }
    }
}

/* The refusal comes a moment later, and others are served in between: still each is met once. */
static void test_refusals_one_after_the_other(void **state)
{
    (void)state;
    enum { N = 20 };
    struct upstream_pick pick, other;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, N);
    bool is_met[N] = {false};
    pick = world_open(w);
    assert_int_equal(pick.endpoint_n, N);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t at = world_endpoint(&pick);
        assert_false(is_met[at]);
        is_met[at] = true;
        struct upstream_ask ask = {.service = WORLD_KEY,
                                   .service_hash = hash_str(WORLD_KEY),
                                   .now = w->now,
                                   .avoid = pick.endpoint,
                                   .is_next = true};
        other = world_open(w);
        world_answer(w, &other, 1);
        world_fail(&pick, REASON_connect_refused, 0);
        assert_int_equal(upstream_open(w->set, &ask, &pick), E_OK);
    }
    world_answer(w, &pick, 1);
    world_free(w);
}

static void test_all_refuse(void **state)
{
    (void)state;
    struct upstream_pick pick;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, UPSTREAM_REFUSALS_MAX);
    for (uint32_t i = 0; i < UPSTREAM_REFUSALS_MAX; i++) {
        w->dial_err[i] = E_REFUSED;
    }
    assert_int_equal(world_try(w, NULL, false, &pick), E_REFUSED);
    for (uint32_t i = 0; i < UPSTREAM_REFUSALS_MAX; i++) {
        assert_int_equal(w->dial_n[i], 1);
    }
    world_free(w);
}

/* As many as the limit are asked, and not one more. */
static void test_refusals_limit(void **state)
{
    (void)state;
    for (uint32_t more = 0; more < 2; more++) {
        struct upstream_pick pick;
        uint32_t asked = 0, n = UPSTREAM_REFUSALS_MAX + 1;
        struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, n);
        /* seed 7: the first turn is endpoint 8's, the last one 7's */
        for (uint32_t i = 0; i < n; i++) {
            w->dial_err[i] = i == (more ? 7 : 6) ? E_OK : E_REFUSED;
        }
        assert_int_equal(world_try(w, NULL, false, &pick), more ? E_REFUSED : E_OK);
        for (uint32_t i = 0; i < n; i++) {
            asked += w->dial_n[i];
        }
        assert_int_equal(asked, UPSTREAM_REFUSALS_MAX);
        if (!more) {
            world_answer(w, &pick, 1);
        }
        world_free(w);
    }
}

/* Where a retry comes from is not asked again while others are. */
static void test_refusals_and_avoid(void **state)
{
    (void)state;
    struct upstream_pick pick;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 4);
    struct upstream_pick first = open_at(w, 2);
    memset(w->dial_n, 0, sizeof(w->dial_n));
    w->dial_err[0] = w->dial_err[1] = w->dial_err[3] = E_REFUSED;
    struct upstream_ask ask = {.service = WORLD_KEY,
                               .service_hash = hash_str(WORLD_KEY),
                               .now = w->now,
                               .avoid = first.endpoint,
                               .fresh_since = w->now};
    assert_int_equal(upstream_open(w->set, &ask, &pick), E_REFUSED);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(w->dial_n[i], i != 2);
    }
    world_answer(w, &first, 1);
    world_free(w);
}

/* A probe that is refused at once costs its request nothing. */
static void test_probe_refused_at_once(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    fail_at(w, 1, UPSTREAM_FAILURES_MAX);
    w->now += UPSTREAM_EJECT_MIN;
    w->dial_err[1] = E_REFUSED;
    struct upstream_pick pick = world_open(w);
    assert_int_equal(world_endpoint(&pick), 0);
    assert_int_equal(stats_get(&w->stats->upstream_ejections), 2);
    world_answer(w, &pick, 1);
    w->now += 2 * UPSTREAM_EJECT_MIN;
    w->dial_err[1] = E_LIMIT; /* our own trouble: it is probed again */
    assert_int_equal(world_try(w, NULL, false, &pick), E_LIMIT);
    w->dial_err[1] = E_OK;
    pick = world_open(w);
    assert_true(pick.is_probe);
    world_answer(w, &pick, 1);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failures_in_a_row),
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_dead_idle_connections),
        cmocka_unit_test(test_reports_once),
        cmocka_unit_test(test_timeline),
        cmocka_unit_test(test_forgiveness),
        cmocka_unit_test(test_floor),
        cmocka_unit_test(test_floor_moves),
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_reports_after_leaving),
        cmocka_unit_test(test_late_reports),
        cmocka_unit_test(test_probe_without_outcome),
        cmocka_unit_test(test_retries_do_not_probe),
        cmocka_unit_test(test_probes_in_order),
        cmocka_unit_test(test_probes_by_end),
        cmocka_unit_test(test_ejection_closes_idle),
        cmocka_unit_test(test_refusals_are_passed_over),
        cmocka_unit_test(test_refusals_one_after_the_other),
        cmocka_unit_test(test_all_refuse),
        cmocka_unit_test(test_refusals_limit),
        cmocka_unit_test(test_refusals_and_avoid),
        cmocka_unit_test(test_probe_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
