/* The shared area: two processes see the same, wrong descriptors are refused, the table fits. */
#include "stats/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "os/memfd.h"
#include "stats/series.h"

static void test_two_processes_share_it(void **state)
{
    struct stats_area *area, *other;
    int fd;
    (void)state;
    assert_int_equal(stats_create(2, &area, &fd), E_OK);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0); /* survives exec */
    assert_int_equal(area->worker_n, 2);
    assert_int_equal(stats_get(&area->workers[1].requests), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (stats_open(fd, &other) != E_OK) {
            _exit(1);
        }
        stats_add(&other->workers[1].requests, 5);
        stats_sub(&other->workers[1].requests, 2);
        stats_set(&other->generation, 9);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(stats_get(&area->workers[1].requests), 3);
    assert_int_equal(stats_get(&area->generation), 9);
    assert_int_equal(ftruncate(fd, 0), -1); /* nobody pulls it away */
    stats_close(area);
    close(fd);
}

static enum err open_of(const void *p, size_t n)
{
    struct stats_area *area = NULL;
    int fd;
    assert_int_equal(memfd_make("test", &fd), E_OK);
    assert_int_equal(memfd_write(fd, p, n), E_OK);
    enum err e = stats_open(fd, &area);
    stats_close(area);
    close(fd);
    return e;
}

static void test_open_refuses_what_is_no_area(void **state)
{
    static union {
        struct stats_area area;
        char bytes[STATS_SERIES_OFFSET + 1];
    } sample; /* without workers, so that nothing follows it */
    struct stats_area *area;
    (void)state;
    sample.area.magic = STATS_MAGIC;
    sample.area.bytes = STATS_SERIES_OFFSET;
    assert_int_equal(open_of(&sample, STATS_SERIES_OFFSET), E_OK);
    assert_int_equal(open_of(&sample, STATS_SERIES_OFFSET - 1), E_PROTO);
    assert_int_equal(open_of(&sample, STATS_SERIES_OFFSET + 1), E_PROTO);
    sample.area.worker_n = 1; /* its series are missing */
    assert_int_equal(open_of(&sample, STATS_SERIES_OFFSET), E_PROTO);
    sample.area.worker_n = WORKERS_MAX + 1;
    assert_int_equal(open_of(&sample, STATS_SERIES_OFFSET), E_PROTO);
    sample.area.worker_n = 0;
    sample.area.magic++;
    assert_int_equal(open_of(&sample, STATS_SERIES_OFFSET), E_PROTO);
    sample.area.magic--;
    sample.area.bytes++;
    assert_int_equal(open_of(&sample, STATS_SERIES_OFFSET), E_PROTO);
    assert_int_equal(stats_open(-1, &area), E_SYS);
}

static void test_the_most_workers_fit(void **state)
{
    struct stats_area *area, *other;
    int fd;
    (void)state;
    assert_int_equal(stats_create(WORKERS_MAX, &area, &fd), E_OK);
    stats_set(&series_region(area, WORKERS_MAX - 1)->folded, 5);
    assert_int_equal(stats_open(fd, &other), E_OK);
    assert_int_equal(stats_get(&series_region(other, WORKERS_MAX - 1)->folded), 5);
    stats_close(other);
    stats_close(area);
    close(fd);
}

static void test_table_covers_each_counter_once(void **state)
{
    bool is_seen[sizeof(struct stats_page)] = {false};
    (void)state;
    assert_true(stats_counter_n > 20);
    for (uint32_t i = 0; i < stats_counter_n; i++) {
        const struct stats_counter *c = &stats_counters[i];
        assert_true(c->offset + sizeof(stats_value) <= sizeof(struct stats_page));
        assert_false(is_seen[c->offset]);
        is_seen[c->offset] = true;
        assert_true(strncmp(c->metric, "lintel_", 7) == 0);
        assert_true(strlen(c->help) > 0);
        /* Prometheus: a name that ends in _total is a counter, any other here a gauge */
        size_t n = strlen(c->metric);
        assert_int_equal(c->is_gauge, strcmp(c->metric + n - 6, "_total") != 0);
    }
}

static void test_table_covers_each_histogram_once(void **state)
{
    bool is_seen[sizeof(struct stats_page)] = {false};
    (void)state;
    assert_true(stats_histogram_n > 0);
    for (uint32_t i = 0; i < stats_histogram_n; i++) {
        const struct stats_histogram *h = &stats_histograms[i];
        assert_true(h->offset + sizeof(struct stats_durations) <= sizeof(struct stats_page));
        assert_false(is_seen[h->offset]);
        is_seen[h->offset] = true;
        assert_true(str_has_prefix(str_from_cstr(h->metric), STR("lintel_")));
        assert_true(str_has_suffix(str_from_cstr(h->metric), STR("_duration_seconds")));
        assert_true(strlen(h->help) > 0);
    }
}

static void test_clear_gauges_keeps_counters(void **state)
{
    struct stats_area *area;
    int fd;
    (void)state;
    assert_int_equal(stats_create(1, &area, &fd), E_OK);
    struct stats_page *page = &area->workers[0];
    stats_set(&page->pid, 77);
    stats_set(&page->restarts, 2);
    stats_set(&page->requests, 3);
    stats_set(&page->conns_active, 4);
    stats_set(&page->generation, 5);
    stats_set(&page->reasons[REASON_no_route], 6);
    stats_durations_add(&page->tls_shaken_full, 7);
    stats_page_clear_gauges(page);
    assert_int_equal(stats_get(&page->pid), 0);
    assert_int_equal(stats_get(&page->conns_active), 0);
    assert_int_equal(stats_get(&page->generation), 0);
    assert_int_equal(stats_get(&page->restarts), 2);
    assert_int_equal(stats_get(&page->requests), 3);
    assert_int_equal(stats_get(&page->reasons[REASON_no_route]), 6);
    assert_int_equal(stats_get(&page->tls_shaken_full.sum), 7);
    stats_close(area);
    stats_close(NULL);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_processes_share_it),
        cmocka_unit_test(test_open_refuses_what_is_no_area),
        cmocka_unit_test(test_the_most_workers_fit),
        cmocka_unit_test(test_table_covers_each_counter_once),
        cmocka_unit_test(test_table_covers_each_histogram_once),
        cmocka_unit_test(test_clear_gauges_keeps_counters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
