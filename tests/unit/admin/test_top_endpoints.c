/* The endpoints of /debug/top: how rows of several workers become one, and which come first. */
#include "admin/top_endpoints.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "stats/endpoints.h"

enum { WORKERS = 2, TEXT_BYTES = 4 << 20 };

struct world {
    struct stats_area *area;
    struct stats_endpoint_table *tables[WORKERS];
    struct buf out;
    int fd;
};

static void make_world(struct world *w)
{
    assert_int_equal(stats_create(WORKERS, &w->area, &w->fd), E_OK);
    buf_init(&w->out, TEXT_BYTES);
    for (uint32_t i = 0; i < WORKERS; i++) {
        stats_set(&w->area->workers[i].pid, 1);
        assert_int_equal(stats_endpoint_table_new(stats_endpoint_region(w->area, i), &w->tables[i]),
                         E_OK);
    }
}

static void free_world(struct world *w)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        stats_endpoint_table_free(w->tables[i]);
    }
    buf_fini(&w->out);
    stats_close(w->area);
    close(w->fd);
}

static struct stats_endpoint *take(struct world *w, uint32_t worker, const char *address,
                                   uint16_t port)
{
    struct ip ip;
    assert_int_equal(ip_parse(str_from_cstr(address), &ip), E_OK);
    return stats_endpoint_take(w->tables[worker], &ip, port, STR("n/s/80"));
}

static void emit(struct world *w)
{
    struct json j = json_make(&w->out, false);
    buf_reset(&w->out);
    json_object(&j);
    assert_int_equal(top_emit_endpoints(&j, w->area), E_OK);
    json_end_object(&j);
    assert_false(w->out.bad);
}

/* Where text begins in the output; it is there. */
static size_t at(struct world *w, const char *text)
{
    const char *found = memmem(w->out.p, w->out.n, text, strlen(text));
    if (found == NULL) {
        print_error("no %s in %.*s\n", text, STR_ARG(buf_str(&w->out)));
        fail();
    }
    return (size_t)(found - w->out.p);
}

static void nothing_yet(void **state)
{
    struct world w;
    (void)state;
    make_world(&w);
    emit(&w);
    assert_true(str_eq(buf_str(&w.out), STR("{\"endpoints\":[],\"endpoints_left_out\":0}")));
    free_world(&w);
}

static void two_workers_make_one_row(void **state)
{
    struct world w;
    (void)state;
    make_world(&w);
    struct stats_endpoint *a = take(&w, 0, "10.0.0.1", 8080), *b = take(&w, 1, "10.0.0.1", 8080);
    stats_set(&a->in_flight, 2);
    stats_set(&a->connections, 5);
    stats_set(&a->idle, 3);
    stats_set(&a->outcomes[STATS_ENDPOINT_ANSWERED], 10);
    stats_set(&a->latency_sum, 1000);
    stats_set(&a->ewma, 100);
    stats_set(&b->connections, 1);
    stats_set(&b->idle, 2); /* read a moment later: never a negative number */
    stats_set(&b->outcomes[STATS_ENDPOINT_ANSWERED], 1);
    stats_set(&b->outcomes[STATS_ENDPOINT_RESET], 4);
    stats_set(&b->latency_sum, 11);
    emit(&w);
    (void)at(&w, "{\"endpoints\":[{\"address\":\"10.0.0.1:8080\",\"service\":\"n/s/80\","
                 "\"state\":\"ok\",\"ejected_for_us\":0,\"workers\":2,\"workers_ejecting\":0,"
                 "\"last_failure\":\"\",\"answered\":11,\"connect\":0,\"reset\":4,"
                 "\"timeout\":0,\"abandoned\":0,\"latency_sum_us\":1011,\"ewma_us\":100,"
                 "\"in_flight\":2,\"connections_busy\":1,\"connections_idle\":5}]");
    free_world(&w);
}

static void the_worst_state_counts(void **state)
{
    struct world w;
    (void)state;
    make_world(&w);
    struct stats_endpoint *a = take(&w, 0, "2001:db8::1", 80), *b = take(&w, 1, "2001:db8::1", 80);
    usec_t now = clock_monotonic();
    stats_set(&a->state, STATS_ENDPOINT_EJECTED);
    stats_set(&a->until, now + 1000 * USEC_PER_SEC - 1);
    stats_set(&a->failed_at, now - 5);
    stats_set(&a->failed_how, STATS_ENDPOINT_CONNECT_FAILED);
    stats_set(&b->failed_at, now - 9); /* the other one's was later */
    stats_set(&b->failed_how, STATS_ENDPOINT_TIMEOUT);
    emit(&w);
    (void)at(&w, "\"address\":\"[2001:db8::1]:80\"");
    (void)at(&w, "\"state\":\"ejected\",\"ejected_for_us\":9"); /* 999.9... s */
    (void)at(&w, "\"workers\":2,\"workers_ejecting\":1,\"last_failure\":\"connect\"");
    stats_set(&a->until, 1); /* its time is over, but nobody has asked */
    emit(&w);
    (void)at(&w, "\"state\":\"ejected\",\"ejected_for_us\":0");
    stats_set(&b->state, STATS_ENDPOINT_PROBING);
    emit(&w);
    (void)at(&w, "\"state\":\"ejected\"");
    (void)at(&w, "\"workers_ejecting\":2");
    stats_set(&a->state, STATS_ENDPOINT_OK);
    emit(&w);
    (void)at(&w, "\"state\":\"probing\",\"ejected_for_us\":0,\"workers\":2,\"workers_ejecting\":1");
    free_world(&w);
}

static void draining_until_the_last_connection(void **state)
{
    struct world w;
    (void)state;
    make_world(&w);
    struct stats_endpoint *e = take(&w, 0, "10.0.0.1", 80);
    stats_set(&e->state, STATS_ENDPOINT_DRAINING);
    stats_set(&e->connections, 1);
    emit(&w);
    (void)at(&w, "\"state\":\"draining\"");
    stats_set(&e->connections, 0);
    emit(&w);
    (void)at(&w, "{\"endpoints\":[],");
    free_world(&w);
}

/* Ejected ones, then those that failed last, then those with most answers. */
static void the_order(void **state)
{
    struct world w;
    (void)state;
    make_world(&w);
    stats_set(&take(&w, 0, "10.0.0.1", 80)->outcomes[STATS_ENDPOINT_ANSWERED], 5);
    stats_set(&take(&w, 0, "10.0.0.2", 80)->outcomes[STATS_ENDPOINT_ANSWERED], 50);
    stats_set(&take(&w, 0, "10.0.0.3", 80)->failed_at, 7);
    stats_set(&take(&w, 1, "10.0.0.4", 80)->failed_at, 8);
    stats_set(&take(&w, 1, "10.0.0.5", 80)->state, STATS_ENDPOINT_EJECTED);
    emit(&w);
    assert_true(at(&w, "10.0.0.5:80") < at(&w, "10.0.0.4:80"));
    assert_true(at(&w, "10.0.0.4:80") < at(&w, "10.0.0.3:80"));
    assert_true(at(&w, "10.0.0.3:80") < at(&w, "10.0.0.2:80"));
    assert_true(at(&w, "10.0.0.2:80") < at(&w, "10.0.0.1:80"));
    free_world(&w);
}

static void more_than_are_shown(void **state)
{
    struct world w;
    (void)state;
    make_world(&w);
    for (uint16_t port = 1; port <= TOP_ENDPOINTS_MAX; port++) {
        (void)take(&w, 0, "10.0.0.1", port);
    }
    emit(&w);
    (void)at(&w, "\"endpoints_left_out\":0");
    stats_set(&take(&w, 1, "10.0.0.9", 1)->state, STATS_ENDPOINT_EJECTED);
    emit(&w);
    (void)at(&w, "\"endpoints_left_out\":1");
    (void)at(&w, "10.0.0.9:1"); /* is not the one that is left out */
    free_world(&w);
}

/* "_other": sums of several endpoints, but nothing that would be true of one. */
static void those_without_a_slot(void **state)
{
    struct world w;
    (void)state;
    make_world(&w);
    for (uint32_t i = 1; i < STATS_ENDPOINTS_MAX; i++) {
        (void)take(&w, 0, "10.0.0.1", (uint16_t)i);
    }
    struct stats_endpoint *other = take(&w, 0, "10.0.0.2", 1);
    assert_true(stats_endpoint_is_other(w.tables[0], other));
    stats_set(&other->state, STATS_ENDPOINT_EJECTED);
    stats_set(&other->ewma, 7);
    stats_set(&other->outcomes[STATS_ENDPOINT_ANSWERED], 3);
    emit(&w);
    (void)at(&w, "\"address\":\"\",\"service\":\"_other\",\"state\":\"ok\",\"ejected_for_us\":0,"
                 "\"workers\":1,\"workers_ejecting\":0,\"last_failure\":\"\",\"answered\":3,");
    free_world(&w);
}

static void numbers_of_nonsense(void **state)
{
    struct world w;
    (void)state;
    make_world(&w);
    struct stats_endpoint *e = take(&w, 0, "10.0.0.1", 80);
    stats_set(&e->state, UINT64_MAX);
    stats_set(&e->failed_at, 1);
    stats_set(&e->failed_how, UINT64_MAX);
    memset(e->labels, 0xff, sizeof(e->labels));
    emit(&w);
    (void)at(&w, "\"address\":\"\"");
    (void)at(&w, "\"state\":\"ok\"");
    (void)at(&w, "\"last_failure\":\"\"");
    free_world(&w);
}

static void out_of_memory(void **state)
{
    struct world w;
    (void)state;
    make_world(&w);
    (void)take(&w, 0, "10.0.0.1", 80);
    emit(&w); /* the text has its room */
    for (size_t nth = 1; nth <= 2; nth++) {
        struct json j = json_make(&w.out, false);
        buf_reset(&w.out);
        mem_fail_from(nth);
        assert_int_equal(top_emit_endpoints(&j, w.area), E_NOMEM);
        mem_fail_from(0);
    }
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_yet),
        cmocka_unit_test(two_workers_make_one_row),
        cmocka_unit_test(the_worst_state_counts),
        cmocka_unit_test(draining_until_the_last_connection),
        cmocka_unit_test(the_order),
        cmocka_unit_test(more_than_are_shown),
        cmocka_unit_test(those_without_a_slot),
        cmocka_unit_test(numbers_of_nonsense),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
