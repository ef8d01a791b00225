/* Connections: kept, used again, ended. */
#include "world.h"

static void test_warmest_first(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    struct upstream_pick a = world_open(w), b = world_open(w);
    struct http_stream *last = b.stream;
    assert_false(a.is_reused || b.is_reused);
    world_answer(w, &a, 1);
    world_answer(w, &b, 1);
    assert_int_equal(stats_get(&w->stats->upstream_idle), 2);
    struct upstream_pick c = world_open(w);
    assert_true(c.is_reused && c.stream == last);
    assert_int_equal(stats_get(&w->stats->upstream_reuses), 1);
    struct upstream_pick d;
    assert_int_equal(world_try(w, NULL, true, &d), E_OK);
    assert_false(d.is_reused);
    assert_int_equal(w->dial_n[0], 3);
    assert_int_equal(stats_get(&w->stats->upstream_busy), 2);
    assert_int_equal(stats_get(&w->stats->upstream_idle), 1);
    world_answer(w, &c, 1);
    world_answer(w, &d, 1);
    world_free(w);
}

static void test_requests_limit(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    for (uint32_t i = 1; i <= UPSTREAM_CONN_REQUESTS_MAX; i++) {
        struct upstream_pick pick = world_open(w);
        assert_int_equal(w->dial_n[0], 1);
        assert_int_equal(stats_get(&w->stats->limit_upstream_requests), 0);
        world_answer(w, &pick, 1);
    }
    assert_int_equal(stats_get(&w->stats->limit_upstream_requests), 1);
    assert_int_equal(w->conn_n, 0);
    struct upstream_pick pick = world_open(w);
    assert_int_equal(w->dial_n[0], 2);
    world_answer(w, &pick, 1);
    assert_int_equal(w->conn_n, 1);
    world_free(w);
}

static void test_age_limit(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    struct upstream_pick old = world_open(w);
    w->now += 5;
    struct upstream_pick young = world_open(w), pick;
    world_answer(w, &young, 1);
    world_answer(w, &old, 1); /* the warmest */
    w->now += UPSTREAM_CONN_AGE_MAX - 6;
    pick = world_open(w);
    assert_ptr_equal(pick.stream, old.stream);
    world_answer(w, &pick, 1);
    w->now += 1;
    pick = world_open(w); /* too old by nothing: the younger one serves */
    assert_ptr_equal(pick.stream, young.stream);
    assert_true(pick.is_reused);
    assert_int_equal(w->conn_n, 1);
    assert_int_equal(stats_get(&w->stats->limit_upstream_age), 1);
    w->now += 5; /* grows old while it is busy: nothing is cut */
    assert_int_equal(w->conn_n, 1);
    world_answer(w, &pick, 1);
    pick = world_open(w);
    assert_false(pick.is_reused);
    world_answer(w, &pick, 1);
    world_free(w);
}

static void test_idle_limit(void **state)
{
    (void)state;
    enum { N = UPSTREAM_IDLE_PER_ENDPOINT_MAX + 1 };
    struct upstream_pick open[N];
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    for (uint32_t i = 0; i < N; i++) {
        open[i] = world_open(w);
    }
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(stats_get(&w->stats->limit_upstream_idle), 0);
        world_answer(w, &open[i], 1);
    }
    assert_int_equal(stats_get(&w->stats->limit_upstream_idle), 1);
    assert_int_equal(stats_get(&w->stats->upstream_idle), UPSTREAM_IDLE_PER_ENDPOINT_MAX);
    assert_int_equal(w->conn_n, UPSTREAM_IDLE_PER_ENDPOINT_MAX);
    world_free(w);
}

/* Beyond the worker's limit the coldest one goes, whosever it is. */
static void test_idle_limit_of_all(void **state)
{
    (void)state;
    enum { ENDPOINTS = 32, N = UPSTREAM_IDLE_MAX };
    struct upstream_pick *open = calloc(N, sizeof(*open));
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, ENDPOINTS);
    for (uint32_t i = 0; i < N; i++) {
        open[i] = world_open(w);
    }
    struct upstream_pick last = world_open(w);
    for (uint32_t i = 0; i < N; i++) {
        world_answer(w, &open[i], 1);
    }
    assert_int_equal(stats_get(&w->stats->limit_upstream_idle), 0);
    assert_int_equal(stats_get(&w->stats->upstream_idle), N);
    world_answer(w, &last, 1);
    assert_int_equal(stats_get(&w->stats->limit_upstream_idle), 1);
    assert_int_equal(stats_get(&w->stats->upstream_idle), N);
    assert_false(world_conn_of(&open[0])->is_open);
    assert_true(world_conn_of(&open[1])->is_open && world_conn_of(&last)->is_open);
    free(open);
    world_free(w);
}

/* Without a descriptor left, idle connections to others make room; with none of these it fails. */
static void test_idle_makes_room(void **state)
{
    (void)state;
    enum { ENDPOINTS = 20, N = UPSTREAM_IDLE_SHED + 2 };
    struct upstream_pick open[N], pick;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, ENDPOINTS);
    for (uint32_t i = 0; i < N; i++) {
        open[i] = world_open(w);
    }
    w->conn_max = N;
    assert_int_equal(world_try(w, NULL, true, &pick), E_LIMIT);
    for (uint32_t i = 0; i < N; i++) {
        world_answer(w, &open[i], 1);
    }
    assert_int_equal(world_try(w, NULL, true, &pick), E_OK);
    assert_int_equal(stats_get(&w->stats->upstream_idle), N - UPSTREAM_IDLE_SHED);
    for (uint32_t i = 0; i < N; i++) { /* the warmest stay */
        assert_true(i < UPSTREAM_IDLE_SHED || world_conn_of(&open[i])->is_open);
    }
    world_answer(w, &pick, 1);
    world_free(w);
}

static void test_idle_connection_closes(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    struct upstream_pick pick = world_open(w);
    world_answer(w, &pick, 1);
    world_cut(&pick, REASON_none); /* by its idle timeout, or its peer */
    assert_int_equal(stats_get(&w->stats->upstream_idle), 0);
    pick = world_open(w);
    assert_false(pick.is_reused);
    world_cut(&pick, REASON_upstream_cut); /* in mid-response */
    upstream_report(&pick, UPSTREAM_ANSWERED, 1);
    assert_int_equal(stats_get(&w->stats->upstream_busy), 0);
    world_free(w);
}

/* A stream that cannot be made is an error, and its connection is given back, whether it was a new
 * one or a kept-alive one. */
static void test_no_stream(void **state)
{
    (void)state;
    struct upstream_pick pick, old = {0};
    struct world *w = world_new(SNAP_BALANCE_LEAST_CONN, 1);
    w->is_stream_refused = true;
    assert_int_equal(world_try(w, NULL, false, &old), E_NOMEM);
    assert_null(old.stream);
    assert_int_equal(w->conn_n, 0);
    w->is_stream_refused = false;
    pick = world_open(w);
    world_answer(w, &pick, 1);
    w->is_stream_refused = true;
    assert_int_equal(world_try(w, NULL, false, &pick), E_NOMEM);
    assert_int_equal(w->conn_n, 0);
    assert_int_equal(stats_get(&w->stats->limit_memory), 2);
    assert_int_equal(stats_get(&w->stats->upstream_busy), 0);
    assert_int_equal(stats_get(&w->stats->upstream_idle), 0);
    w->is_stream_refused = false;
    pick = world_open(w);
    world_answer(w, &pick, 1);
    world_free(w);
}

static void test_dial_errors(void **state)
{
    (void)state;
    static const enum err errors[] = {E_NOMEM, E_LIMIT, E_SYS, E_PROTO, E_REFUSED};
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    struct upstream_pick pick = {0};
    for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        w->dial_err[0] = errors[i];
        assert_int_equal(world_try(w, NULL, false, &pick), errors[i]);
        assert_null(pick.stream);
    }
    w->dial_err[0] = E_OK;
    pick = world_open(w);
    world_answer(w, &pick, 1);
    world_free(w);
}

/* The set closes busy connections too. */
static void test_free_while_busy(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_LEAST_CONN, 3);
    struct upstream_pick a = world_open(w), b = world_open(w), c = world_open(w);
    world_answer(w, &b, 1);
    world_publish(w, 1); /* busy connections of endpoints that have left among them */
    (void)a;
    (void)c;
    assert_int_equal(w->conn_n, 2 + (w->open_n[0] == 1 && world_endpoint(&b) == 0));
    world_free(w);
}

static void ask_again(struct world *w)
{
    struct upstream_pick pick;
    assert_int_equal(world_try(w, NULL, false, &pick), E_NOTFOUND);
    w->is_stream_refused = true; /* seen */
}

/* Who is cut off by the end of the set and tries again finds nothing, in good order. */
static void test_free_and_retries(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 2);
    (void)world_open(w);
    (void)world_open(w);
    w->on_cut = ask_again;
    upstream_set_free(w->set);
    assert_true(w->is_stream_refused);
    w->set = NULL;
    world_free(w);
}

/* HTTP/2: as many streams as it takes, then a second connection. */
static void test_many_streams_on_a_connection(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    struct upstream_pick picks[5];
    w->stream_max = 3;
    for (size_t i = 0; i < 5; i++) {
        picks[i] = world_open(w);
        assert_int_equal(picks[i].is_reused, i != 0 && i != 3);
        assert_int_equal(w->dial_n[0], i < 3 ? 1 : 2);
    }
    assert_int_equal(stats_get(&w->stats->upstream_busy), 2);
    world_answer(w, &picks[0], 1); /* room in the first one again, which is the warmer one now */
    struct upstream_pick again = world_open(w);
    assert_ptr_equal(again.stream, picks[1].stream);
    assert_int_equal(w->dial_n[0], 2);
    w->is_stream_refused = true; /* out of memory: the others on it go on */
    struct upstream_pick none;
    assert_int_equal(world_try(w, NULL, false, &none), E_NOMEM);
    w->is_stream_refused = false;
    assert_int_equal(w->conn_n, 2);
    world_answer(w, &again, 1);
    for (size_t i = 1; i < 5; i++) {
        world_answer(w, &picks[i], 1);
    }
    assert_int_equal(stats_get(&w->stats->upstream_busy), 0);
    assert_int_equal(stats_get(&w->stats->upstream_idle), 2);
    world_free(w);
}

/* One that goes away (its stream_max falls), or is too old, gets no further stream. */
static void test_room_that_is_no_more(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    w->stream_max = 3;
    struct upstream_pick a = world_open(w);
    world_conn_of(&a)->base.stream_max = 1;
    struct upstream_pick b = world_open(w);
    assert_int_equal(w->dial_n[0], 2);
    w->now += UPSTREAM_CONN_AGE_MAX;
    struct upstream_pick c = world_open(w);
    assert_int_equal(w->dial_n[0], 3);
    assert_int_equal(stats_get(&w->stats->limit_upstream_age), 1);
    world_cut(&b, REASON_upstream_reset);
    world_answer(w, &a, 1);
    world_answer(w, &c, 1);
    world_free(w);
}

/* Requests that a dead connection let down share the next one: only what was there before is
 * shunned. */
static void test_fresh_ones_are_shared(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    struct upstream_pick old, picks[3];
    w->stream_max = 3;
    old = world_open(w);
    for (size_t i = 0; i < 3; i++) {
        struct upstream_ask ask = {.service = WORLD_KEY,
                                   .service_hash = hash_str(WORLD_KEY),
                                   .now = ++w->now,
                                   .fresh_since = old.began};
        assert_int_equal(upstream_open(w->set, &ask, &picks[i]), E_OK);
        assert_ptr_not_equal(picks[i].stream, old.stream);
        assert_int_equal(w->dial_n[0], 2);
    }
    for (size_t i = 0; i < 3; i++) {
        world_answer(w, &picks[i], 1);
    }
    world_answer(w, &old, 1);
    world_free(w);
}

/* Who shares a connection that does not stand yet does not use it again: when it fails, the
 * endpoint is to be shunned, not the connection. */
static void test_sharing_one_that_connects(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    w->stream_max = 3;
    w->is_slow_to_connect = true;
    struct upstream_pick a = world_open(w), b = world_open(w);
    assert_false(a.is_reused || b.is_reused);
    w->is_slow_to_connect = false;
    struct upstream_pick c = world_open(w), d;
    world_answer(w, &c, 1);
    d = world_open(w);
    assert_true(d.is_reused);
    assert_int_equal(w->dial_n[0], 1);
    world_answer(w, &a, 1);
    world_answer(w, &b, 1);
    world_answer(w, &d, 1);
    world_free(w);
}

static void capacity_set(struct upstream_pick *pick, uint32_t n)
{
    struct world_conn *c = world_conn_of(pick);
    c->base.stream_max = n;
    c->base.events->on_capacity(&c->base);
}

/* The peer says what a connection takes: room opens and closes, and the next connection is not
 * given more than the last one took. */
static void test_capacity(void **state)
{
    (void)state;
    struct world *w = world_new(SNAP_BALANCE_ROUND_ROBIN, 1);
    struct upstream_pick a, b, c;
    w->stream_max = 8;
    a = world_open(w);
    capacity_set(&a, 1);
    b = world_open(w);
    assert_int_equal(w->dial_n[0], 2);
    assert_int_equal(world_conn_of(&b)->base.stream_max, 1); /* learned */
    capacity_set(&a, 2);
    c = world_open(w);
    assert_ptr_equal(c.stream, a.stream);
    capacity_set(&a, 0); /* it goes away */
    world_answer(w, &c, 1);
    c = world_open(w);
    assert_int_equal(w->dial_n[0], 3);
    assert_int_equal(world_conn_of(&c)->base.stream_max, 2);
    world_cut(&a, REASON_none);
    world_answer(w, &b, 1);
    world_answer(w, &c, 1);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_warmest_first),
        cmocka_unit_test(test_requests_limit),
        cmocka_unit_test(test_many_streams_on_a_connection),
        cmocka_unit_test(test_room_that_is_no_more),
        cmocka_unit_test(test_fresh_ones_are_shared),
        cmocka_unit_test(test_sharing_one_that_connects),
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_age_limit),
        cmocka_unit_test(test_idle_limit),
        cmocka_unit_test(test_idle_limit_of_all),
        cmocka_unit_test(test_idle_makes_room),
        cmocka_unit_test(test_idle_connection_closes),
        cmocka_unit_test(test_no_stream),
        cmocka_unit_test(test_dial_errors),
        cmocka_unit_test(test_free_while_busy),
        cmocka_unit_test(test_free_and_retries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
