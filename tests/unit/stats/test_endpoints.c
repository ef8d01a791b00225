/* Slots of endpoints: taken and given back, at the limit, after a worker's death, and what a reader
 * makes of them. */
#include "stats/endpoints.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <unistd.h>

#include "base/mem.h"

enum { WORKERS = 2 };

struct world {
    struct stats_area *area;
    struct stats_endpoint_table *tables[WORKERS];
    int fd;
};

static void make_world(struct world *w)
{
    assert_int_equal(stats_create(WORKERS, &w->area, &w->fd), E_OK);
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
    stats_close(w->area);
    close(w->fd);
}

static struct stats_endpoint *take(struct world *w, uint32_t worker, uint16_t port)
{
    const struct ip ip = {
        .family = 4, .bytes = {10, 0, 0, 1}
    };
    return stats_endpoint_take(w->tables[worker], &ip, port, STR("n/s/80"));
}

static size_t shown_n(const struct world *w)
{
    struct stats_endpoint_set set;
    assert_int_equal(stats_endpoint_set_init(&set, w->area), E_OK);
    size_t n = set.n;
    stats_endpoint_set_fini(&set);
    return n;
}

static void the_reader_sees_what_is_taken(void **state)
{
    struct world w;
    struct stats_endpoint_set set;
    struct stats_endpoint_labels l;
    (void)state;
    make_world(&w);
    assert_int_equal(shown_n(&w), 0); /* "_other" only when it stands for somebody */
    struct stats_endpoint *e = take(&w, 1, 8080);
    stats_add(&e->in_flight, 3);
    assert_int_equal(stats_endpoint_set_init(&set, w.area), E_OK);
    assert_int_equal(set.n, 1);
    assert_int_equal(set.refs[0].worker, 1);
    const struct stats_endpoint *seen = stats_endpoint_get(w.area, &set.refs[0]);
    assert_int_equal(stats_get(&seen->in_flight), 3);
    assert_true(stats_endpoint_labels_read(seen, &set.refs[0], &l));
    assert_int_equal(l.ip.family, 4);
    assert_int_equal(l.ip.bytes[3], 1);
    assert_int_equal(l.port, 8080);
    assert_true(str_eq(str_make(l.service, l.service_n), STR("n/s/80")));
    stats_endpoint_give(w.tables[1], e);
    assert_false(stats_endpoint_labels_read(seen, &set.refs[0], &l));
    assert_int_equal(shown_n(&w), 0);
    assert_true(take(&w, 1, 9090) == e); /* another life in the same place */
    assert_int_equal(stats_get(&e->in_flight), 0);
    assert_false(stats_endpoint_labels_read(seen, &set.refs[0], &l));
    stats_endpoint_set_fini(&set);
    free_world(&w);
}

/* The same endpoint of two workers is one group; another port or service is another endpoint. */
static void equal_ones_are_neighbours(void **state)
{
    struct world w;
    struct stats_endpoint_set set;
    const struct ip ip = {
        .family = 4, .bytes = {10, 0, 0, 1}
    };
    (void)state;
    make_world(&w);
    (void)take(&w, 0, 1);
    (void)take(&w, 0, 2);
    (void)take(&w, 1, 2);
    (void)stats_endpoint_take(w.tables[1], &ip, 1, STR("n/other/80"));
    (void)take(&w, 1, 1);
    assert_int_equal(stats_endpoint_set_init(&set, w.area), E_OK);
    assert_int_equal(set.n, 5);
    size_t groups = 0, pairs = 0;
    for (size_t i = 0; i < set.n; i++) {
        bool is_next = i > 0 && set.refs[i].hash == set.refs[i - 1].hash;
        assert_true(!is_next || set.refs[i].worker == 1);
        groups += !is_next;
        pairs += is_next;
    }
    assert_int_equal(groups, 3);
    assert_int_equal(pairs, 2);
    stats_endpoint_set_fini(&set);
    free_world(&w);
}

static void at_the_limit(void **state)
{
    static struct stats_endpoint *taken[STATS_ENDPOINTS_MAX];
    struct world w;
    (void)state;
    make_world(&w);
    struct stats_endpoint_region *region = stats_endpoint_region(w.area, 0);
    for (uint16_t i = 1; i < STATS_ENDPOINTS_MAX; i++) { /* the first slot is "_other" */
        taken[i] = take(&w, 0, i);
        assert_false(stats_endpoint_is_other(w.tables[0], taken[i]));
    }
    assert_int_equal(shown_n(&w), STATS_ENDPOINTS_MAX - 1);
    struct stats_endpoint *more = take(&w, 0, 5000), *another = take(&w, 0, 5001);
    assert_true(stats_endpoint_is_other(w.tables[0], more));
    assert_true(more == another);
    assert_int_equal(stats_get(&region->folded_n), 2);
    assert_int_equal(shown_n(&w), STATS_ENDPOINTS_MAX);
    stats_endpoint_give(w.tables[0], taken[77]);
    stats_endpoint_give(w.tables[0], more);
    assert_int_equal(stats_get(&region->folded_n), 1);
    assert_true(take(&w, 0, 5000) == taken[77]); /* room again */
    stats_endpoint_give(w.tables[0], another);
    assert_int_equal(stats_get(&region->folded_n), 0);
    assert_int_equal(shown_n(&w), STATS_ENDPOINTS_MAX - 1);
    free_world(&w);
}

static void a_worker_that_died(void **state)
{
    struct world w;
    struct stats_endpoint_set set;
    struct stats_endpoint_labels l;
    (void)state;
    make_world(&w);
    stats_add(&take(&w, 0, 1)->idle, 5);
    (void)take(&w, 0, 2);
    assert_int_equal(stats_endpoint_set_init(&set, w.area), E_OK);
    stats_page_clear_gauges(&w.area->workers[0]);
    assert_int_equal(shown_n(&w), 0); /* nothing is true of it any more */
    stats_endpoint_table_free(w.tables[0]);
    assert_int_equal(stats_endpoint_table_new(stats_endpoint_region(w.area, 0), &w.tables[0]),
                     E_OK);
    stats_set(&w.area->workers[0].pid, 2);
    assert_int_equal(shown_n(&w), 0);
    struct stats_endpoint *e = take(&w, 0, 1);
    assert_int_equal(stats_get(&e->idle), 0);
    for (size_t i = 0; i < set.n; i++) { /* whoever read the old lives can tell */
        assert_false(
            stats_endpoint_labels_read(stats_endpoint_get(w.area, &set.refs[i]), &set.refs[i], &l));
    }
    stats_endpoint_set_fini(&set);
    free_world(&w);
}

/* The reader believes no number. */
static void a_region_of_nonsense(void **state)
{
    struct world w;
    (void)state;
    make_world(&w);
    struct stats_endpoint_region *region = stats_endpoint_region(w.area, 0);
    stats_set(&region->used_n, UINT64_MAX);
    stats_set(&region->items[STATS_ENDPOINTS_MAX - 1].version, 2);
    assert_int_equal(shown_n(&w), 1);
    stats_endpoint_table_free(w.tables[0]);
    assert_int_equal(stats_endpoint_table_new(region, &w.tables[0]), E_OK);
    assert_int_equal(stats_get(&region->used_n), 1);
    assert_int_equal(shown_n(&w), 0);
    free_world(&w);
}

static void a_long_service(void **state)
{
    struct world w;
    struct stats_endpoint_set set;
    struct stats_endpoint_labels l;
    char text[STATS_ENDPOINT_SERVICE_BYTES + 1];
    const struct ip ip = {.family = 6};
    (void)state;
    make_world(&w);
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = 'a';
    }
    for (size_t n = sizeof(text) - 1; n <= sizeof(text); n++) {
        struct stats_endpoint *e = stats_endpoint_take(w.tables[0], &ip, 1, str_make(text, n));
        assert_int_equal(stats_endpoint_set_init(&set, w.area), E_OK);
        assert_true(stats_endpoint_labels_read(e, &set.refs[0], &l));
        assert_int_equal(l.service_n, STATS_ENDPOINT_SERVICE_BYTES);
        stats_endpoint_set_fini(&set);
        stats_endpoint_give(w.tables[0], e);
    }
    free_world(&w);
}

static void out_of_memory(void **state)
{
    struct world w;
    struct stats_endpoint_set set;
    struct stats_endpoint_table *t = NULL;
    (void)state;
    make_world(&w);
    (void)take(&w, 0, 1);
    mem_fail_from(1);
    assert_int_equal(stats_endpoint_table_new(stats_endpoint_region(w.area, 1), &t), E_NOMEM);
    assert_int_equal(stats_endpoint_set_init(&set, w.area), E_NOMEM);
    mem_fail_from(0);
    assert_null(t);
    stats_endpoint_set_fini(&set);
    stats_endpoint_table_free(NULL);
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reader_sees_what_is_taken),
        cmocka_unit_test(equal_ones_are_neighbours),
        cmocka_unit_test(at_the_limit),
        cmocka_unit_test(a_worker_that_died),
        cmocka_unit_test(a_region_of_nonsense),
        cmocka_unit_test(a_long_service),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
