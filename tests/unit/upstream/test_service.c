/* Services and endpoints over generations, and without memory. */
#include "world.h"

#include <malloc.h>

static void test_unknown_service(void **state)
{
    (void)state;
    struct upstream_pick pick;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 0);
    struct upstream_ask ask = {
        .service = STR("n/other/80"), .service_hash = hash_str(STR("n/other/80")), .now = w->now};
    assert_int_equal(upstream_open(w->set, &ask, &pick), E_NOTFOUND);
    assert_int_equal(world_try(w, NULL, false, &pick), E_NOTFOUND); /* no endpoint */
    world_publish(w, 1);
    assert_int_equal(world_try(w, NULL, false, &pick), E_OK);
    world_answer(w, &pick, 1);
    world_publish(w, 0);
    assert_int_equal(w->conn_n, 0);
    assert_int_equal(world_try(w, NULL, false, &pick), E_NOTFOUND);
    world_free(w);
}

/* An endpoint that leaves: idle connections are closed at once, busy ones when they are done. */
static void test_leaving(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    struct upstream_pick a = world_open(w), b = world_open(w), c = world_open(w), d = world_open(w);
    struct upstream_pick *all[] = {&a, &b, &c, &d}, *busy[2];
    uint32_t busy_n = 0;
    for (size_t i = 0; i < 2; i++) {
        world_answer(w, all[i], 1);
    }
    for (size_t i = 2; i < 4; i++) {
        if (world_endpoint(all[i]) == 1) {
            busy[busy_n++] = all[i];
        } else {
            world_answer(w, all[i], 1);
        }
    }
    assert_int_equal(busy_n, 1);
    assert_int_equal(w->open_n[1], 2);
    world_publish(w, 1);
    assert_int_equal(w->open_n[1], 1);
    world_answer(w, busy[0], 1);
    assert_int_equal(w->open_n[1], 0);
    assert_int_equal(w->open_n[0], 2); /* those of the other one stay */
    world_free(w);
}

/* It comes back while its old self has a request: a new one, with connections of its own. */
static void test_leaves_and_comes_back(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    struct upstream_pick old = world_open(w);
    world_publish(w, 0);
    world_publish(w, 1);
    struct upstream_pick new = world_open(w);
    assert_ptr_not_equal(old.endpoint, new.endpoint);
    assert_int_equal(w->open_n[0], 2);
    world_answer(w, &old, 1);
    assert_int_equal(w->open_n[0], 1);
    world_answer(w, &new, 1);
    assert_int_equal(w->open_n[0], 1);
    new = world_open(w);
    assert_true(new.is_reused);
    world_answer(w, &new, 1);
    world_free(w);
}

static void test_service_deleted(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    struct upstream_pick a = world_open(w), b = world_open(w);
    world_answer(w, &a, 1);
    upstream_set_update(w->set, WORLD_KEY, NULL);
    assert_int_equal(w->conn_n, 1);
    world_fail(&b, REASON_upstream_reset, 1);
    assert_int_equal(w->conn_n, 0);
    upstream_set_update(w->set, WORLD_KEY, NULL); /* nobody knows it any more */
    world_free(w);
}

/* The service is spoken to in another way: idle connections end at once, busy ones with what they
 * have under way, and neither gets a further request. */
static void test_other_dialer(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    w->stream_max = 2;
    struct upstream_pick a = world_open(w), b = world_open(w), busy = world_open(w), pick;
    world_answer(w, &a, 1);
    world_answer(w, &b, 1);
    assert_int_equal(w->conn_n, 2);
    w->dialer = 1;
    w->weight[0] = 2; /* something has changed */
    world_publish(w, 1);
    assert_int_equal(w->conn_n, 1);
    assert_int_equal(w->dialers[0].base.conn_n, 1);
    assert_int_equal(w->dialers[0].taken_n, 0);
    pick = world_open(w); /* the busy one has room, but speaks as before */
    assert_false(pick.is_reused);
    assert_int_equal(w->dialers[1].base.conn_n, 1);
    world_answer(w, &busy, 1);
    assert_int_equal(w->dialers[0].base.conn_n, 0);
    world_answer(w, &pick, 1);
    pick = world_open(w);
    assert_true(pick.is_reused);
    world_answer(w, &pick, 1);
    world_free(w);
}

/* Other endpoints, the same way to speak: connections are kept. */
static void test_same_dialer(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    struct upstream_pick pick = world_open(w);
    world_answer(w, &pick, 1);
    world_publish(w, 2);
    world_publish(w, 1);
    assert_int_equal(w->dialers[0].taken_n, 1);
    pick = world_open(w);
    assert_true(pick.is_reused);
    world_answer(w, &pick, 1);
    world_free(w);
}

/* None to be had: the service serves nobody until the next request makes it anew. */
static void test_no_dialer(void **state)
{
    (void)state;
    struct upstream_pick pick;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    pick = world_open(w);
    world_answer(w, &pick, 1);
    w->is_dialer_refused = true;
    w->weight[0] = 2;
    world_publish(w, 1);
    assert_int_equal(w->conn_n, 0);
    assert_int_equal(w->dialers[0].taken_n, 0);
    assert_int_equal(stats_get(&w->stats->limit_memory), 1);
    assert_int_equal(world_try(w, NULL, false, &pick), E_NOMEM);
    w->is_dialer_refused = false;
    pick = world_open(w);
    world_answer(w, &pick, 1);
    world_free(w);
}

/* Endpoints that came and went leave nothing behind. */
static void test_generations_do_not_pile_up(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_LEAST_CONN, 1);
    size_t before = 0;
    for (int i = 0; i < 400; i++) {
        struct upstream_pick pick = world_open(w);
        world_answer(w, &pick, 1);
        world_publish(w, 1);
        world_publish(w, 200);
        before = i == 10 ? mallinfo2().uordblks : before;
    }
    assert_true(mallinfo2().uordblks < before + (1 << 20));
    world_free(w);
}

/* Each allocation fails once: an error or fewer endpoints, never a crash, and it works again. */
static void test_no_memory_at_start(void **state)
{
    (void)state;
    struct upstream_set *set = NULL;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 3);
    mem_fail_from(1);
    assert_int_equal(world_set_new(w, 0, &set), E_NOMEM);
    mem_fail_from(0);
    assert_null(set);
    size_t failed = 0;
    for (size_t nth = 1;; nth++) {
        struct upstream_pick pick;
        upstream_set_free(w->set);
        assert_int_equal(world_set_new(w, 0, &w->set), E_OK);
        size_t calls = mem_calls();
        mem_fail_from(nth);
        enum err e = world_try(w, NULL, false, &pick);
        bool is_over = mem_calls() - calls < nth;
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM || (e == E_NOTFOUND && !is_over));
        failed += e != E_OK;
        if (e == E_OK) {
            world_answer(w, &pick, 1);
        }
        if (is_over) {
            break;
        }
    }
    assert_true(failed >= 3);
    world_free(w);
}

/* Failing again and again does not eat what memory there is. */
static void test_no_memory_does_not_pile_up(void **state)
{
    (void)state;
    struct upstream_pick pick;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 200);
    size_t before = 0;
    for (int i = 0; i < 1000; i++) {
        mem_fail_from(200); /* most of the endpoints are there */
        assert_int_equal(world_try(w, NULL, false, &pick), E_NOMEM);
        before = i == 10 ? mallinfo2().uordblks : before;
    }
    mem_fail_from(0);
    assert_true(mallinfo2().uordblks < before + (1 << 20));
    pick = world_open(w);
    world_answer(w, &pick, 1);
    world_free(w);
}

static void test_no_memory_at_update(void **state)
{
    (void)state;
    for (size_t nth = 1;; nth++) {
        struct world *w = world_new(SNAP_BALANCE_LEAST_CONN, 3);
        struct upstream_pick busy = world_open(w), idle = world_open(w), pick;
        world_answer(w, &idle, 1);
        w->is_left_out[0] = true;
        world_shard(w, 8);
        size_t calls = mem_calls();
        mem_fail_from(nth);
        upstream_set_update(w->set, WORLD_KEY, snap_at(&w->shard, 0, const struct snap_service));
        bool is_over = mem_calls() - calls < nth;
        mem_fail_from(0);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(world_try(w, NULL, false, &pick), E_OK);
            world_answer(w, &pick, 1);
        }
        world_answer(w, &busy, 1);
        world_publish(w, 8);
        for (int i = 0; i < 20; i++) {
            pick = world_open(w);
            assert_int_not_equal(world_endpoint(&pick), 0);
            world_answer(w, &pick, 1);
        }
        world_free(w);
        if (is_over) {
            assert_true(nth > 5);
            return;
        }
    }
}

/* ---- everything at once ---- */

enum { ENDPOINTS = 12, OPEN_MAX = 30, STEPS = 60 * 1000 };

struct play {
    struct world *w;
    struct upstream_pick open[OPEN_MAX];
    uint32_t open_n;
    uint64_t random;
};

static uint32_t chance(struct play *p, uint32_t n)
{
    p->random = p->random * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(p->random >> 33) % n;
}

static void play_end_one(struct play *p)
{
    static const enum reason whys[] = {REASON_connect_refused,  REASON_connect_timeout,
                                       REASON_upstream_reset,   REASON_upstream_timeout,
                                       REASON_upstream_invalid, REASON_none};
    uint32_t at = chance(p, p->open_n);
    struct upstream_pick *pick = &p->open[at];
    if (chance(p, 3) != 0) {
        world_answer(p->w, pick, chance(p, 100000));
    } else if (chance(p, 10) == 0) { /* never reported */
        world_finish(pick);
    } else {
        world_fail(pick, whys[chance(p, 6)], chance(p, 100000));
    }
    p->open[at] = p->open[--p->open_n];
}

static void play_change(struct play *p)
{
    struct world *w = p->w;
    for (uint32_t i = 0; i < ENDPOINTS; i++) {
        w->is_left_out[i] = chance(p, 3) == 0;
        w->weight[i] = chance(p, 2) == 0 ? 1 : 1 + chance(p, 5);
        w->dial_err[i] = chance(p, 8) == 0 ? E_REFUSED : chance(p, 30) == 0 ? E_LIMIT : E_OK;
    }
    w->balance = (uint8_t)chance(p, 3);
    w->dialer = (uint8_t)chance(p, WORLD_DIALERS);
    world_publish(w, ENDPOINTS);
}

static void play_open(struct play *p)
{
    struct upstream_pick pick = {0};
    const struct upstream_endpoint *avoid =
        p->open_n > 0 && chance(p, 2) == 0 ? p->open[0].endpoint : NULL;
    p->w->is_stream_refused = chance(p, 200) == 0;
    if (world_try(p->w, avoid, chance(p, 5) == 0, &pick) != E_OK) {
        return;
    }
    assert_false(p->w->is_left_out[world_endpoint(&pick)]);
    p->open[p->open_n++] = pick;
}

/* Chance plays every part; the gauges say what is true at each step. */
static void test_storm(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct play p = {.w = world_new(SNAP_BALANCE_ROUND_ROBIN, ENDPOINTS), .random = seed};
        for (uint32_t step = 0; step < STEPS; step++) {
            p.w->now += chance(&p, 200000);
            if (chance(&p, 100) == 0) {
                play_change(&p);
            } else if (p.open_n == OPEN_MAX || (p.open_n > 0 && chance(&p, 2) == 0)) {
                play_end_one(&p);
            } else {
                play_open(&p);
            }
            assert_int_equal(stats_get(&p.w->stats->upstream_busy), p.open_n);
            assert_int_equal(stats_get(&p.w->stats->upstream_idle), p.w->conn_n - p.open_n);
            assert_true(stats_get(&p.w->stats->upstream_ejected) <= ENDPOINTS / 2);
        }
        assert_true(stats_get(&p.w->stats->upstream_ejections) > 10);
        while (p.open_n > 0) {
            play_end_one(&p);
        }
        world_free(p.w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_service),
        cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_leaves_and_comes_back),
        cmocka_unit_test(test_service_deleted),
        cmocka_unit_test(test_other_dialer),
        cmocka_unit_test(test_same_dialer),
        cmocka_unit_test(test_no_dialer),
        cmocka_unit_test(test_generations_do_not_pile_up),
        cmocka_unit_test(test_no_memory_at_start),
        cmocka_unit_test(test_no_memory_does_not_pile_up),
        cmocka_unit_test(test_no_memory_at_update),
        cmocka_unit_test(test_storm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
