/* What others see of endpoints follows what happens to them. */
#include "world.h"

/* The slot of endpoint i; NULL: it has none. */
static const struct stats_endpoint *shown_or_null(uint32_t i)
{
    uint64_t n = stats_get(&world_region.used_n);
    for (uint64_t slot = 1; slot < n; slot++) {
        const struct stats_endpoint *e = &world_region.items[slot];
        struct stats_endpoint_ref ref = {.version = stats_get(&e->version)};
        struct stats_endpoint_labels l;
        if (ref.version % 4 != 0 && stats_endpoint_labels_read(e, &ref, &l) && l.port == 1000 + i) {
            assert_true(str_eq(str_make(l.service, l.service_n), WORLD_KEY));
            return e;
        }
    }
    return NULL;
}

static const struct stats_endpoint *shown(uint32_t i)
{
    const struct stats_endpoint *e = shown_or_null(i);
    assert_non_null(e);
    return e;
}

static void assert_connections(const struct stats_endpoint *e, uint64_t in_flight,
                               uint64_t connections, uint64_t idle)
{
    assert_int_equal(stats_get(&e->in_flight), in_flight);
    assert_int_equal(stats_get(&e->connections), connections);
    assert_int_equal(stats_get(&e->idle), idle);
}

static void assert_state(uint32_t i, enum stats_endpoint_state state)
{
    assert_int_equal(stats_get(&shown(i)->state), state);
}

static void test_requests_and_connections(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    assert_null(shown_or_null(0)); /* nobody has asked for it */
    struct upstream_pick first = world_open(w), second = world_open(w);
    const struct stats_endpoint *e = shown(0);
    assert_connections(e, 2, 2, 0);
    world_answer(w, &first, 300);
    assert_connections(e, 1, 2, 1);
    world_answer(w, &second, 500);
    assert_connections(e, 0, 2, 2);
    assert_int_equal(stats_get(&e->outcomes[STATS_ENDPOINT_ANSWERED]), 2);
    assert_int_equal(stats_get(&e->latency_sum), 800);
    assert_int_equal(stats_get(&e->ewma), 0);
    struct upstream_pick third = world_open(w); /* kept alive, and dead */
    assert_connections(e, 1, 2, 1);
    world_fail(&third, REASON_upstream_reset, 10);
    assert_connections(e, 0, 1, 1);
    assert_int_equal(stats_get(&e->outcomes[STATS_ENDPOINT_ABANDONED]), 1);
    assert_int_equal(stats_get(&e->failed_at), 0);
    world_free(w);
}

static void test_failures_by_kind(void **state)
{
    static const struct {
        enum reason why;
        enum stats_endpoint_outcome outcome;
    } cases[] = {
        {REASON_connect_refused,      STATS_ENDPOINT_CONNECT_FAILED},
        {REASON_connect_timeout,      STATS_ENDPOINT_CONNECT_FAILED},
        {REASON_upstream_tls,         STATS_ENDPOINT_CONNECT_FAILED},
        {REASON_upstream_certificate, STATS_ENDPOINT_CONNECT_FAILED},
        {REASON_upstream_reset,       STATS_ENDPOINT_RESET         },
        {REASON_upstream_timeout,     STATS_ENDPOINT_TIMEOUT       },
        {REASON_none,                 STATS_ENDPOINT_ABANDONED     },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
        struct upstream_pick pick = world_open(w);
        world_fail(&pick, cases[i].why, 10);
        const struct stats_endpoint *e = shown(0);
        for (size_t o = 0; o < STATS_ENDPOINT_OUTCOMES_N; o++) {
            assert_int_equal(stats_get(&e->outcomes[o]), o == cases[i].outcome);
        }
        bool is_failure = cases[i].outcome != STATS_ENDPOINT_ABANDONED;
        assert_int_equal(stats_get(&e->failed_at), is_failure ? w->now + 10 : 0);
        assert_int_equal(stats_get(&e->failed_how), is_failure ? cases[i].outcome : 0);
        world_free(w);
    }
}

/* One request to each of two endpoints; endpoint 0 fails until it is ejected. */
static void eject_first(struct world *w)
{
    for (uint32_t i = 0; i < 2 * UPSTREAM_FAILURES_MAX; i++) {
        struct upstream_pick pick = world_open(w);
        if (world_endpoint(&pick) == 0) {
            world_fail(&pick, REASON_upstream_reset, 0);
        } else {
            world_answer(w, &pick, 100);
        }
    }
}

static void test_ejected_probing_and_back(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    eject_first(w);
    assert_state(0, STATS_ENDPOINT_EJECTED);
    assert_state(1, STATS_ENDPOINT_OK);
    assert_int_equal(stats_get(&shown(0)->until), w->now + UPSTREAM_EJECT_MIN);
    w->now += UPSTREAM_EJECT_MIN;
    struct upstream_pick probe = world_open(w);
    assert_int_equal(world_endpoint(&probe), 0);
    assert_state(0, STATS_ENDPOINT_PROBING);
    world_fail(&probe, REASON_upstream_timeout, 0);
    assert_state(0, STATS_ENDPOINT_EJECTED);
    assert_int_equal(stats_get(&shown(0)->until), w->now + 2 * UPSTREAM_EJECT_MIN);
    assert_int_equal(stats_get(&shown(0)->failed_how), STATS_ENDPOINT_TIMEOUT);
    w->now += 2 * UPSTREAM_EJECT_MIN;
    probe = world_open(w);
    world_fail(&probe, REASON_none, 0); /* the client left: another one shall find out */
    assert_state(0, STATS_ENDPOINT_EJECTED);
    assert_int_equal(stats_get(&shown(0)->until), w->now);
    probe = world_open(w);
    world_answer(w, &probe, 100);
    assert_state(0, STATS_ENDPOINT_OK);
    world_free(w);
}

static void test_refused_at_once(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    w->dial_err[0] = E_REFUSED;
    for (uint32_t i = 0; i < 2 * UPSTREAM_FAILURES_MAX; i++) {
        struct upstream_pick pick = world_open(w);
        world_finish(&pick);
        upstream_report(&pick, UPSTREAM_ABANDONED, 0);
    }
    assert_int_equal(stats_get(&shown(0)->outcomes[STATS_ENDPOINT_CONNECT_FAILED]),
                     UPSTREAM_FAILURES_MAX);
    assert_state(0, STATS_ENDPOINT_EJECTED);
    assert_connections(shown(0), 0, 0, 0);
    w->now += UPSTREAM_EJECT_MIN;
    struct upstream_pick pick = world_open(w); /* the probe is refused, too; another one serves */
    assert_state(0, STATS_ENDPOINT_EJECTED);
    assert_int_equal(stats_get(&shown(0)->outcomes[STATS_ENDPOINT_CONNECT_FAILED]),
                     UPSTREAM_FAILURES_MAX + 1);
    world_answer(w, &pick, 1);
    world_free(w);
}

static void test_draining_until_the_last_request_is_done(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    eject_first(w);
    w->now += UPSTREAM_EJECT_MIN;
    struct upstream_pick first = world_open(w), second = world_open(w);
    w->is_left_out[0] = w->is_left_out[1] = true;
    world_publish(w, 3);
    assert_state(0, STATS_ENDPOINT_DRAINING); /* whatever it was before */
    assert_state(1, STATS_ENDPOINT_DRAINING);
    assert_connections(shown(1), 1, 1, 0);
    upstream_report(&first, UPSTREAM_TIMEOUT, 0); /* still counts */
    assert_int_equal(stats_get(&shown(0)->outcomes[STATS_ENDPOINT_TIMEOUT]), 1);
    world_finish(&first);
    world_answer(w, &second, 1);
    world_publish(w, 4); /* what is over is swept */
    assert_null(shown_or_null(0));
    assert_null(shown_or_null(1));
    assert_null(shown_or_null(2));
    world_free(w);
}

/* Only while it is what requests go by. */
static void test_latency_of_balancing(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_LATENCY, 1);
    struct upstream_pick pick = world_open(w);
    world_answer(w, &pick, 700);
    assert_int_equal(stats_get(&shown(0)->ewma), 700);
    w->balance = SNAP_BALANCE_LEAST_CONN;
    world_publish(w, 1);
    assert_int_equal(stats_get(&shown(0)->ewma), 0);
    pick = world_open(w);
    world_answer(w, &pick, 900);
    assert_int_equal(stats_get(&shown(0)->ewma), 0);
    assert_int_equal(stats_get(&shown(0)->latency_sum), 1600);
    world_free(w);
}

static void test_no_room(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    const struct ip ip = {.family = 6};
    static struct stats_endpoint *taken[STATS_ENDPOINTS_MAX];
    for (uint16_t i = 2; i < STATS_ENDPOINTS_MAX; i++) { /* one is left */
        taken[i] = stats_endpoint_take(w->shown, &ip, i, STR("elsewhere"));
    }
    struct upstream_pick first = world_open(w);
    assert_int_equal(stats_get(&w->stats->limit_stats_endpoints), 0);
    struct upstream_pick second = world_open(w);
    assert_int_equal(stats_get(&w->stats->limit_stats_endpoints), 1);
    assert_int_equal(stats_get(&world_region.folded_n), 1);
    assert_connections(&world_region.items[0], 1, 1, 0);
    world_answer(w, &first, 10);
    world_answer(w, &second, 20);
    assert_connections(&world_region.items[0], 0, 1, 1);
    assert_int_equal(stats_get(&world_region.items[0].latency_sum), 20);
    for (uint16_t i = 2; i < STATS_ENDPOINTS_MAX; i++) {
        stats_endpoint_give(w->shown, taken[i]);
    }
    world_free(w);
    assert_int_equal(stats_get(&world_region.folded_n), 0);
    assert_connections(&world_region.items[0], 0, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_and_connections),
        cmocka_unit_test(test_failures_by_kind),
        cmocka_unit_test(test_ejected_probing_and_back),
        cmocka_unit_test(test_refused_at_once),
        cmocka_unit_test(test_draining_until_the_last_request_is_done),
        cmocka_unit_test(test_latency_of_balancing),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
