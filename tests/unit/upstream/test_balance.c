/* Who is picked how often, and in which order. */
#include "world.h"

enum { PICKS = 100 * 1000 };

/* n requests one after the other, each answered at once; counts[i] = those that endpoint i got. */
static void run(struct world *w, uint32_t n, uint32_t *counts)
{
    memset(counts, 0, WORLD_ENDPOINTS_MAX * sizeof(*counts));
    for (uint32_t i = 0; i < n; i++) {
        struct upstream_pick pick = world_open(w);
        counts[world_endpoint(&pick)]++;
        w->now += 100;
        world_answer(w, &pick, 100);
    }
}

static void assert_near(uint32_t have, double want, double part)
{
    assert_true((double)have >= want * (1 - part) && (double)have <= want * (1 + part));
}

/* ---- round robin ---- */

static void test_round_robin_is_exact(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, 10, 1000};
    uint32_t counts[WORLD_ENDPOINTS_MAX];
    for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
        struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, sizes[s]);
        uint32_t rounds = PICKS / sizes[s];
        run(w, rounds * sizes[s], counts);
        for (uint32_t i = 0; i < sizes[s]; i++) {
            assert_int_equal(counts[i], rounds);
        }
        world_free(w);
    }
}

static void test_round_robin_alternates(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 3);
    uint32_t last = WORLD_ENDPOINTS_MAX;
    for (int i = 0; i < 30; i++) {
        struct upstream_pick pick = world_open(w);
        assert_true(last == WORLD_ENDPOINTS_MAX || world_endpoint(&pick) == (last + 1) % 3);
        last = world_endpoint(&pick);
        world_answer(w, &pick, 1);
    }
    world_free(w);
}

static void test_weights_are_shares(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 2, 3, 4, 90};
    uint32_t counts[WORLD_ENDPOINTS_MAX];
    struct world *w = world_new_with(SNAP_BALANCE_ROUND_ROBIN, weights, 5);
    run(w, PICKS, counts);
    for (uint32_t i = 0; i < 5; i++) { /* no chance in it but for the first turn of each */
        assert_true(abs((int)counts[i] - (int)(weights[i] * PICKS / 100)) <= 2);
    }
    world_free(w);
}

/* The turns of the heavy one are spread out: a a b a a b, not a a a a b b. */
static void test_weights_are_smooth(void **state)
{
    (void)state;
    static const uint32_t weights[] = {2, 1};
    struct world *w = world_new_with(SNAP_BALANCE_ROUND_ROBIN, weights, 2);
    uint32_t light_at = 0;
    for (uint32_t i = 1; i <= 3000; i++) {
        struct upstream_pick pick = world_open(w);
        if (world_endpoint(&pick) == 1) {
            assert_true(light_at == 0 || (i - light_at >= 2 && i - light_at <= 4));
            light_at = i;
        }
        world_answer(w, &pick, 1);
    }
    assert_true(light_at >= 2997);
    world_free(w);
}

static void test_largest_weights(void **state)
{
    (void)state;
    static const uint32_t weights[] = {UINT32_MAX - 1, 1};
    uint32_t counts[WORLD_ENDPOINTS_MAX];
    struct world *w = world_new_with(SNAP_BALANCE_ROUND_ROBIN, weights, 2);
    run(w, PICKS, counts);
    assert_true(counts[1] <= 1);
    world_free(w);
}

/* A changed weight counts at once, not after the last turn of the old one. */
static void test_weight_changes(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1000, 1};
    uint32_t counts[WORLD_ENDPOINTS_MAX];
    struct world *w = world_new_with(SNAP_BALANCE_ROUND_ROBIN, weights, 2);
    run(w, 1500, counts);
    w->weight[1] = 500;
    world_publish(w, 2);
    run(w, 1500, counts);
    assert_true(abs((int)counts[1] - 500) <= 3);
    w->weight[0] = w->weight[1] = 7; /* equal ones: plain round robin */
    world_publish(w, 2);
    run(w, 1000, counts);
    assert_int_equal(counts[0], 500);
    world_free(w);
}

/* A new endpoint takes its share, no more: it does not catch up on what came before it. */
static void test_weighted_newcomer(void **state)
{
    (void)state;
    static const uint32_t weights[] = {3, 1, 2};
    uint32_t counts[WORLD_ENDPOINTS_MAX];
    struct world *w = world_new_with(SNAP_BALANCE_ROUND_ROBIN, weights, 3);
    world_publish(w, 2);
    run(w, 40000, counts);
    assert_int_equal(counts[2], 0);
    world_publish(w, 3);
    run(w, 6000, counts);
    assert_true(abs((int)counts[0] - 3000) <= 2);
    assert_true(abs((int)counts[1] - 1000) <= 2);
    assert_true(abs((int)counts[2] - 2000) <= 2);
    world_free(w);
}

/* Workers begin at different endpoints, whatever the way. */
static void test_seeds_differ(void **state)
{
    (void)state;
    static const uint32_t weights[][10] = {
        {1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
        {3, 3, 3, 3, 3, 3, 3, 3, 3, 4}
    };
    for (size_t i = 0; i < 2; i++) {
        struct world *w = world_new_with(SNAP_BALANCE_ROUND_ROBIN, weights[i], 10);
        bool has_begun[10] = {false};
        uint32_t begun_n = 0;
        for (uint32_t seed = 0; seed < 64; seed++) {
            world_seed(w, seed);
            struct upstream_pick pick = world_open(w);
            begun_n += !has_begun[world_endpoint(&pick)];
            has_begun[world_endpoint(&pick)] = true;
            world_answer(w, &pick, 1);
        }
        assert_true(begun_n >= 9);
        world_free(w);
    }
}

/* ---- least connections ---- */

/* Slow endpoints end up with fewer requests: each answers at its own pace. */
static void test_least_conn_follows_load(void **state)
{
    (void)state;
    static const uint32_t pace[] = {1, 2, 4}; /* ticks for an answer */
    enum { TICKS = 30000, OPEN_MAX = 64 };
    struct upstream_pick open[OPEN_MAX];
    uint32_t due[OPEN_MAX], counts[3] = {0}, n = 0;
    struct world *w = world_new(SNAP_BALANCE_LEAST_CONN, 3);
    for (uint32_t tick = 0; tick < TICKS; tick++) {
        for (uint32_t i = 0; i < n;) {
            if (due[i] <= tick) {
                world_answer(w, &open[i], 1);
                open[i] = open[--n];
                due[i] = due[n];
            } else {
                i++;
            }
        }
        while (n < 7) { /* seven requests at any time */
            open[n] = world_open(w);
            uint32_t e = world_endpoint(&open[n]);
            counts[e]++;
            due[n++] = tick + pace[e];
        }
    }
    assert_true(counts[0] > counts[1] && counts[1] > counts[2]);
    assert_near(counts[0], 2.0 * counts[1], 0.15);
    while (n > 0) {
        world_answer(w, &open[--n], 1);
    }
    world_free(w);
}

/* Never more than one request apart, whatever the order in which they end. */
static void test_least_conn_is_level(void **state)
{
    (void)state;
    enum { ENDPOINTS = 10, OPEN = 57 };
    struct upstream_pick open[OPEN];
    uint32_t load[ENDPOINTS] = {0}, random = 1;
    struct world *w = world_new(SNAP_BALANCE_LEAST_CONN, ENDPOINTS);
    for (uint32_t i = 0; i < PICKS; i++) {
        uint32_t at = i < OPEN ? i : (random = random * 1664525 + 1013904223) >> 8;
        at %= OPEN;
        if (i >= OPEN) {
            load[world_endpoint(&open[at])]--;
            world_answer(w, &open[at], 1);
        }
        uint32_t least = UINT32_MAX;
        for (uint32_t e = 0; e < ENDPOINTS; e++) {
            least = load[e] < least ? load[e] : least;
        }
        open[at] = world_open(w);
        assert_int_equal(load[world_endpoint(&open[at])], least);
        load[world_endpoint(&open[at])]++;
    }
    for (uint32_t i = 0; i < OPEN; i++) {
        world_answer(w, &open[i], 1);
    }
    world_free(w);
}

/* With nothing under way it is round robin. */
static void test_least_conn_idle_rotates(void **state)
{
    (void)state;
    uint32_t counts[WORLD_ENDPOINTS_MAX];
    struct world *w = world_new(SNAP_BALANCE_LEAST_CONN, 10);
    run(w, PICKS, counts);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(counts[i], PICKS / 10);
    }
    world_free(w);
}

/* Requests under way stand in the proportion of the weights. */
static void load_by_weight(uint8_t balance)
{
    static const uint32_t weights[] = {1, 3};
    enum { OPEN = 400 };
    struct upstream_pick open[OPEN];
    uint32_t counts[2] = {0};
    struct world *w = world_new_with(balance, weights, 2);
    for (uint32_t i = 0; i < OPEN; i++) {
        open[i] = world_open(w);
        counts[world_endpoint(&open[i])]++;
    }
    assert_true(abs((int)counts[0] - 100) <= 1);
    for (uint32_t i = 0; i < OPEN; i++) {
        world_answer(w, &open[i], 1);
    }
    world_free(w);
}

static void test_least_conn_weights(void **state)
{
    (void)state;
    load_by_weight(SNAP_BALANCE_LEAST_CONN);
}

/* The least loaded of those that are left is found, whoever is ejected. */
static void test_least_conn_with_ejections(void **state)
{
    (void)state;
    enum { ENDPOINTS = 33, OPEN = 100 };
    for (uint32_t seed = 1; seed <= 200; seed++) {
        struct upstream_pick open[ENDPOINTS + OPEN];
        uint32_t load[ENDPOINTS] = {0}, failures[ENDPOINTS] = {0}, n = 0, random = seed;
        struct world *w = world_new(SNAP_BALANCE_LEAST_CONN, ENDPOINTS);
        for (uint32_t i = 0; i < OPEN; i++) {
            open[n] = world_open(w);
            load[world_endpoint(&open[n++])]++;
        }
        for (uint32_t i = 0; i < OPEN / 2; i++) { /* some end: the loads differ */
            random = random * 1664525 + 1013904223;
            uint32_t at = (random >> 8) % n;
            load[world_endpoint(&open[at])]--;
            world_answer(w, &open[at], 1);
            open[at] = open[--n];
        }
        for (uint32_t i = 0; i < n; i++) { /* some fail, under way as they are */
            uint32_t e = world_endpoint(&open[i]);
            for (; e % 3 == seed % 3 && failures[e] < UPSTREAM_FAILURES_MAX; failures[e]++) {
                struct upstream_pick again = open[i];
                upstream_report(&again, UPSTREAM_TIMEOUT, 0);
            }
        }
        assert_true(stats_get(&w->stats->upstream_ejected) > 0);
        for (uint32_t i = 0; i < ENDPOINTS; i++) {
            uint32_t least = UINT32_MAX;
            for (uint32_t e = 0; e < ENDPOINTS; e++) {
                least = failures[e] == 0 && load[e] < least ? load[e] : least;
            }
            open[n] = world_open(w);
            assert_int_equal(failures[world_endpoint(&open[n])], 0);
            assert_int_equal(load[world_endpoint(&open[n])]++, least);
            n++;
        }
        while (n > 0) {
            world_finish(&open[--n]);
        }
        world_free(w);
    }
}

/* ---- latency ---- */

static void test_latency_equal_is_even(void **state)
{
    (void)state;
    uint32_t counts[WORLD_ENDPOINTS_MAX];
    struct world *w = world_new(SNAP_BALANCE_LATENCY, 10);
    run(w, PICKS, counts);
    for (uint32_t i = 0; i < 10; i++) {
        assert_near(counts[i], PICKS / 10.0, 0.15);
    }
    world_free(w);
}

/* The slowest of n equal ones loses every comparison, and gets another chance as it is forgotten.
 */
static void test_latency_shuns_the_slow(void **state)
{
    (void)state;
    uint32_t counts[5] = {0};
    struct world *w = world_new(SNAP_BALANCE_LATENCY, 5);
    for (uint32_t i = 0; i < PICKS; i++) {
        struct upstream_pick pick = world_open(w);
        uint32_t e = world_endpoint(&pick);
        counts[e]++;
        w->now += 1000;
        world_answer(w, &pick, e == 3 ? 50000 : 1000);
    }
    assert_true(counts[3] > 0 && counts[3] < PICKS / 100);
    assert_near(counts[0], PICKS / 4.0, 0.1);
    world_free(w);
}

/* It was slow once and is not any more: it gets its share again. */
static void test_latency_forgives(void **state)
{
    (void)state;
    uint32_t counts[WORLD_ENDPOINTS_MAX];
    struct world *w = world_new(SNAP_BALANCE_LATENCY, 2);
    struct upstream_pick pick;
    do {
        pick = world_open(w);
        world_answer(w, &pick, world_endpoint(&pick) == 0 ? 1000000 : 100);
    } while (world_endpoint(&pick) != 0);
    run(w, 1000, counts);
    assert_int_equal(counts[0], 0);
    w->now += 20 * UPSTREAM_LATENCY_HALF;
    run(w, PICKS, counts);
    assert_near(counts[0], PICKS / 2.0, 0.1);
    world_free(w);
}

/* Requests under way count: a newcomer without a measurement is not flooded. */
static void test_latency_newcomer_is_not_flooded(void **state)
{
    (void)state;
    enum { OPEN = 100 };
    struct upstream_pick open[OPEN];
    uint32_t counts[WORLD_ENDPOINTS_MAX] = {0};
    struct world *w = world_new(SNAP_BALANCE_LATENCY, 5);
    world_publish(w, 4);
    run(w, 1000, counts);
    world_publish(w, 5);
    memset(counts, 0, sizeof(counts));
    for (uint32_t i = 0; i < OPEN; i++) {
        open[i] = world_open(w);
        counts[world_endpoint(&open[i])]++;
    }
    assert_true(counts[4] > 10 && counts[4] < 35);
    for (uint32_t i = 0; i < OPEN; i++) {
        world_answer(w, &open[i], 100);
    }
    world_free(w);
}

static void test_latency_weights(void **state)
{
    (void)state;
    load_by_weight(SNAP_BALANCE_LATENCY);
}

/* A timeout says how slow the endpoint is, too. */
static void test_latency_counts_timeouts(void **state)
{
    (void)state;
    uint32_t counts[WORLD_ENDPOINTS_MAX];
    struct world *w = world_new(SNAP_BALANCE_LATENCY, 2);
    run(w, 100, counts);
    struct upstream_pick pick = world_open(w);
    uint32_t slow = world_endpoint(&pick);
    w->now += 60 * USEC_PER_SEC;
    world_fail(&pick, REASON_upstream_timeout, 60 * USEC_PER_SEC);
    run(w, 100, counts);
    assert_int_equal(counts[slow], 0);
    world_free(w);
}

/* ---- for all ---- */

static const struct way {
    uint8_t balance;
    uint32_t weights[4];
} ways[] = {
    {SNAP_BALANCE_ROUND_ROBIN, {1, 1, 1, 1}  },
    {SNAP_BALANCE_ROUND_ROBIN, {1, 1, 1, 500}},
    {SNAP_BALANCE_LEAST_CONN,  {1, 1, 1, 1}  },
    {SNAP_BALANCE_LATENCY,     {1, 1, 1, 1}  },
};
enum { WAYS_N = sizeof(ways) / sizeof(ways[0]) };

/* A retry goes elsewhere when there is another one. */
static void test_avoid(void **state)
{
    (void)state;
    for (size_t way = 0; way < WAYS_N; way++) {
        for (uint32_t n = 1; n <= 4; n++) {
            struct world *w = world_new_with(ways[way].balance, ways[way].weights, n);
            for (uint32_t i = 0; i < 1000; i++) {
                struct upstream_pick first = world_open(w);
                usec_t latency = world_endpoint(&first) == 0 ? 10 : 10000;
                if (i % 2 == 0) { /* 0 is the one that all would rather have again */
                    world_answer(w, &first, latency);
                }
                struct upstream_pick second = world_open_avoiding(w, first.endpoint);
                assert_int_equal(first.endpoint == second.endpoint, n == 1);
                if (i % 2 != 0) {
                    world_answer(w, &first, latency);
                }
                world_answer(w, &second, world_endpoint(&second) == 0 ? 10 : 10000);
            }
            world_free(w);
        }
    }
}

/* Endpoints come and go while requests are under way; whoever has left gets nothing, the others get
 * something. */
static void test_changes_in_flight(void **state)
{
    (void)state;
    enum { ENDPOINTS = 40, OPEN = 20, ROUNDS = 400 };
    for (size_t way = 0; way < WAYS_N; way++) {
        struct world *w = world_new(ways[way].balance, ENDPOINTS);
        struct upstream_pick open[OPEN];
        uint32_t open_n = 0, random = 99;
        for (uint32_t round = 0; round < ROUNDS; round++) {
            uint32_t counts[ENDPOINTS] = {0};
            for (uint32_t i = 0; i < ENDPOINTS; i++) {
                random = random * 1664525 + 1013904223;
                w->is_left_out[i] = i > 0 && (random >> 16) % 3 == 0;
                w->weight[i] = way == 1 ? 1 + (random >> 20) % 9 : 1;
            }
            world_publish(w, ENDPOINTS);
            for (uint32_t i = 0; i < 400; i++) {
                if (open_n == OPEN) {
                    random = random * 1664525 + 1013904223;
                    uint32_t at = (random >> 16) % OPEN;
                    world_answer(w, &open[at], 100 + (random >> 28));
                    open[at] = open[--open_n];
                }
                w->now += 50;
                open[open_n] = world_open(w);
                assert_false(w->is_left_out[world_endpoint(&open[open_n])]);
                counts[world_endpoint(&open[open_n++])]++;
            }
            for (uint32_t i = 0; way != 3 && i < ENDPOINTS; i++) { /* chance decides by latency */
                assert_true((counts[i] == 0) == w->is_left_out[i]);
            }
        }
        while (open_n > 0) {
            world_answer(w, &open[--open_n], 1);
        }
        world_free(w);
    }
}

/* Another way of balancing takes over without a new connection. */
static void test_policy_changes(void **state)
{
    (void)state;
    uint32_t counts[WORLD_ENDPOINTS_MAX];
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 4);
    run(w, 400, counts);
    for (size_t way = 0; way < 2 * WAYS_N; way++) {
        w->balance = ways[way % WAYS_N].balance;
        memcpy(w->weight, ways[way % WAYS_N].weights, sizeof(ways[0].weights));
        world_publish(w, 4);
        run(w, 2000, counts);
        for (uint32_t i = 0; i < 4; i++) {
            assert_true(counts[i] > 0);
            assert_int_equal(w->dial_n[i], 1);
        }
    }
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_robin_is_exact),
        cmocka_unit_test(test_round_robin_alternates),
        cmocka_unit_test(test_weights_are_shares),
        cmocka_unit_test(test_weights_are_smooth),
        cmocka_unit_test(test_largest_weights),
        cmocka_unit_test(test_weight_changes),
        cmocka_unit_test(test_weighted_newcomer),
        cmocka_unit_test(test_seeds_differ),
        cmocka_unit_test(test_least_conn_follows_load),
        cmocka_unit_test(test_least_conn_is_level),
        cmocka_unit_test(test_least_conn_idle_rotates),
        cmocka_unit_test(test_least_conn_weights),
        cmocka_unit_test(test_least_conn_with_ejections),
        cmocka_unit_test(test_latency_equal_is_even),
        cmocka_unit_test(test_latency_shuns_the_slow),
        cmocka_unit_test(test_latency_forgives),
        cmocka_unit_test(test_latency_newcomer_is_not_flooded),
        cmocka_unit_test(test_latency_weights),
        cmocka_unit_test(test_latency_counts_timeouts),
        cmocka_unit_test(test_avoid),
        cmocka_unit_test(test_changes_in_flight),
        cmocka_unit_test(test_policy_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
