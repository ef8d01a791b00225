/* The memory of one connection: counted, bounded, failing as any other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "http2/context.h"

static void test_memory_is_counted(void **state)
{
    (void)state;
    struct http_budget budget = {0};
    struct http2_memory m;
    http2_memory_init(&m, &budget, HTTP2_CONN_MEMORY_MAX);
    char *p = http2_mem_alloc(100, &m);
    assert_true(m.used >= 100);
    p[99] = 'x';
    p = http2_mem_resize(p, 1000, &m);
    assert_true(p[99] == 'x' && m.used >= 1000);
    char *zero = http2_mem_calloc(10, 10, &m);
    assert_int_equal(zero[99], 0);
    http2_mem_free(p, &m);
    http2_mem_free(NULL, &m);
    http2_mem_free(zero, &m);
    assert_int_equal(m.used, 0);
    assert_int_equal(budget.used, 0);
    assert_null(http2_mem_calloc(SIZE_MAX / 2, 3, &m));
}

/* What every idle connection may have is not counted as requests in flight; one byte more is. */
static void test_memory_of_an_idle_connection(void **state)
{
    (void)state;
    struct http_budget budget = {.used = 7};
    struct http2_memory m;
    http2_memory_init(&m, &budget, HTTP2_CONN_MEMORY_MAX);
    void *p = http2_mem_alloc(1, &m);
    p = http2_mem_resize(p, HTTP2_CONN_IDLE_BYTES - (m.used - 1), &m);
    assert_int_equal(m.used, HTTP2_CONN_IDLE_BYTES);
    assert_int_equal(budget.used, 7);
    p = http2_mem_resize(p, HTTP2_CONN_IDLE_BYTES, &m);
    assert_int_equal(budget.used, 7 + m.used - HTTP2_CONN_IDLE_BYTES);
    void *other = http2_mem_alloc(100, &m);
    assert_int_equal(budget.used, 7 + m.used - HTTP2_CONN_IDLE_BYTES);
    http2_mem_free(p, &m);
    assert_int_equal(budget.used, 7);
    http2_mem_free(other, &m);
    assert_int_equal(budget.used, 7);
}

/* The blocks of a new session: side by side, cleared, counted like others; freed or resized one by
 * one, and what has no place any more is the heap's. */
static void test_memory_in_pages(void **state)
{
    (void)state;
    struct http_budget budget = {0};
    struct http2_memory m;
    http2_memory_init(&m, &budget, HTTP2_CONN_MEMORY_MAX);
    http2_memory_begin(&m);
    char *first = http2_mem_alloc(100, &m);
    char *second = http2_mem_calloc(10, 10, &m);
    char *large = http2_mem_alloc(HTTP2_SESSION_BYTES / 2, &m);
    char *outside = http2_mem_alloc(HTTP2_SESSION_BYTES / 2, &m);
    assert_in_range(second - first, 100, 200);
    assert_in_range(large - first, 200, 400);
    assert_false(outside >= m.pages && outside < m.pages + HTTP2_SESSION_BYTES);
    assert_int_equal(second[99], 0);
    http2_memory_begun(&m);
    size_t used = m.used;
    char *later = http2_mem_alloc(1, &m);
    assert_false(later >= m.pages && later < m.pages + HTTP2_SESSION_BYTES);
    first[99] = 'x';
    first = http2_mem_resize(first, 200, &m);
    assert_int_equal(first[99], 'x');
    assert_false(first >= m.pages && first < m.pages + HTTP2_SESSION_BYTES);
    second = http2_mem_resize(second, 50, &m);
    http2_mem_free(second, &m);
    http2_mem_free(later, &m);
    assert_int_equal(m.used, used + 100 - (second == NULL ? 0 : 100 + 32));
    http2_memory_clear(&m);
    assert_int_equal(m.used, 0);
    assert_null(m.pages);
    assert_int_equal(budget.used, 0);
}

/* To the last byte, and one more. */
static void test_pages_end(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct http_budget budget = {0};
        struct http2_memory m;
        http2_memory_init(&m, &budget, HTTP2_CONN_MEMORY_MAX);
        http2_memory_begin(&m);
        char *p = http2_mem_alloc(HTTP2_SESSION_BYTES - 32 + extra, &m);
        assert_int_equal(p == m.pages + 32, extra == 0);
        p[HTTP2_SESSION_BYTES - 33] = 'x';
        http2_memory_clear(&m);
    }
}

static void test_no_pages(void **state)
{
    (void)state;
    struct http_budget budget = {0};
    struct http2_memory m;
    http2_memory_init(&m, &budget, HTTP2_CONN_MEMORY_MAX);
    mem_fail_from(1);
    http2_memory_begin(&m);
    mem_fail_from(0);
    assert_null(m.pages);
    assert_non_null(http2_mem_alloc(100, &m));
    http2_memory_clear(&m);
}

static void test_memory_max(void **state)
{
    (void)state;
    struct http_budget budget = {0};
    struct http2_memory m;
    http2_memory_init(&m, &budget, HTTP2_CONN_MEMORY_MAX);
    void *p = http2_mem_alloc(1, &m);
    size_t overhead = m.used - 1;
    http2_mem_free(p, &m);
    (void)http2_mem_alloc(HTTP2_CONN_MEMORY_MAX - overhead, &m);
    assert_false(http2_memory_is_over(&m));
    assert_non_null(http2_mem_alloc(1, &m)); /* between calls only */
    assert_true(http2_memory_is_over(&m));
    http2_memory_clear(&m);
    assert_int_equal(m.used, 0);
    assert_int_equal(budget.used, 0);
}

/* In proportion, but not less than without a word. */
static void test_conn_max(void **state)
{
    (void)state;
    struct snap_settings settings = snap_settings_default;
    struct http2_context x = {.settings = &settings};
    settings.http2_max_concurrent_streams = 1;
    assert_int_equal(http2_conn_max(&x, 1 << 20), 1 << 20);
    settings.http2_max_concurrent_streams = HTTP2_STREAMS_MAX;
    assert_int_equal(http2_conn_max(&x, 1 << 20), 1 << 20);
    settings.http2_max_concurrent_streams = HTTP2_STREAMS_MAX + 1;
    assert_int_equal(http2_conn_max(&x, 1 << 20), (1 << 20) + (1 << 20) / HTTP2_STREAMS_MAX);
    settings.http2_max_concurrent_streams = 4096;
    assert_int_equal(http2_conn_max(&x, 1 << 20), 32 << 20);
}

static void test_memory_fails(void **state)
{
    (void)state;
    struct http_budget budget = {0};
    struct http2_memory m;
    http2_memory_init(&m, &budget, HTTP2_CONN_MEMORY_MAX);
    void *p = http2_mem_alloc(10, &m);
    size_t used = m.used;
    mem_fail_from(1);
    assert_null(http2_mem_alloc(10, &m));
    assert_null(http2_mem_calloc(1, 10, &m));
    assert_null(http2_mem_resize(p, 100, &m));
    mem_fail_from(0);
    assert_int_equal(m.used, used);
    assert_true(m.has_failed);
    http2_mem_free(p, &m);
}

/* What a stream has freed serves the next one; sizes do not mix. */
static void test_small_blocks_come_again(void **state)
{
    (void)state;
    struct http_budget budget = {0};
    stats_value bytes = 0;
    struct http2_spares spares;
    struct http2_memory m;
    http2_spares_init(&spares, &bytes);
    http2_memory_init(&m, &budget, HTTP2_CONN_MEMORY_MAX);
    m.spares = &spares;
    char *held = http2_mem_alloc(100, &m);
    memset(held, 'x', 100);
    http2_mem_free(held, &m);
    assert_int_equal(m.used, 0);
    size_t before = mem_calls();
    char *cleared = http2_mem_calloc(1, 110, &m);
    assert_int_equal(mem_calls() - before, MEM_IS_WATCHED);
    assert_true(cleared[0] == 0 && cleared[109] == 0);
    char *other = http2_mem_alloc(10, &m);
    memset(other, 'o', 10);
    memset(cleared, 'c', 110);
    cleared = http2_mem_resize(cleared, 2000, &m);
    assert_true(other[9] == 'o' && cleared[0] == 'c' && cleared[109] == 'c');
    cleared = http2_mem_resize(cleared, 20, &m);
    assert_true(cleared[19] == 'c' && m.used < 200);
    http2_memory_clear(&m);
    assert_int_equal(m.used, 0);
    http2_spares_fini(&spares);
}

/* n blocks of a size are taken at once and given back. */
static void take_and_give(struct http2_memory *m, size_t bytes, size_t n)
{
    char **held = mem_calloc(n, sizeof(*held));
    for (size_t i = 0; i < n; i++) {
        held[i] = http2_mem_alloc(bytes, m);
        memset(held[i], 'x', bytes);
    }
    for (size_t i = 0; i < n; i++) {
        http2_mem_free(held[i], m);
    }
    mem_free(held);
}

/* Up to a number of each size; the gauge says how much that is. A block's head takes 32 bytes. */
static void test_small_blocks_kept(void **state)
{
    (void)state;
    enum { UNIT = 64, KEPT = MEM_IS_WATCHED ? 0 : HTTP2_SPARES_KEPT };
    struct http_budget budget = {0};
    stats_value bytes = 0;
    struct http2_spares spares;
    struct http2_memory m;
    http2_spares_init(&spares, &bytes);
    http2_memory_init(&m, &budget, HTTP2_CONN_MEMORY_MAX);
    m.spares = &spares;
    take_and_give(&m, UNIT - 32, 1);
    assert_int_equal(stats_get(&bytes), MEM_IS_WATCHED ? 0 : UNIT);
    take_and_give(&m, UNIT - 32, HTTP2_SPARES_KEPT);
    assert_int_equal(stats_get(&bytes), KEPT * UNIT);
    take_and_give(&m, UNIT - 32, HTTP2_SPARES_KEPT + 1);
    assert_int_equal(stats_get(&bytes), KEPT * UNIT);
    take_and_give(&m, UNIT - 32 + 1, HTTP2_SPARES_KEPT + 1);
    assert_int_equal(stats_get(&bytes), KEPT * (UNIT + 2 * UNIT));
    take_and_give(&m, HTTP2_SPARE_SIZES * UNIT - 32 + 1, 1); /* too large to be kept */
    assert_int_equal(stats_get(&bytes), KEPT * (UNIT + 2 * UNIT));
    for (size_t i = 2; i < HTTP2_SPARE_SIZES; i++) {
        take_and_give(&m, i * UNIT, HTTP2_SPARES_KEPT + 1);
    }
    uint64_t all = HTTP2_SPARE_SIZES * (HTTP2_SPARE_SIZES + 1) / 2 * UNIT;
    assert_int_equal(stats_get(&bytes), KEPT * all);
    http2_spares_fini(&spares);
    assert_int_equal(stats_get(&bytes), 0);
}

static void test_gathers_are_kept(void **state)
{
    (void)state;
    enum { MANY = HTTP2_GATHERS_KEPT + 1 };
    struct loop *loop;
    struct http_budget budget = {0};
    struct http2_context x;
    static struct stats_page stats;
    const stats_value *bytes = &stats.http2_spare_gathers;
    char *held[MANY];
    assert_int_equal(loop_new(&loop), E_OK);
    assert_int_equal(http2_context_init(&x, loop, &snap_settings_default, &budget, &stats), E_OK);
    for (int i = 0; i < MANY; i++) {
        held[i] = http2_gather_take(&x);
        held[i][HTTP2_GATHER_BYTES - 1] = 'x';
    }
    for (int i = 0; i < MANY; i++) {
        int kept = i < HTTP2_GATHERS_KEPT ? i : HTTP2_GATHERS_KEPT;
        assert_int_equal(stats_get(bytes), kept * HTTP2_GATHER_BYTES);
        http2_gather_give(&x, held[i]);
    }
    size_t before = mem_calls();
    char *warm = http2_gather_take(&x);
    assert_int_equal(mem_calls(), before);
    assert_int_equal(stats_get(bytes), (HTTP2_GATHERS_KEPT - 1) * HTTP2_GATHER_BYTES);
    http2_gather_give(&x, warm);
    http2_gather_give(&x, NULL);
    http2_context_fini(&x);
    assert_int_equal(stats_get(bytes), 0);
    loop_free(loop);
}

static void test_init_without_memory(void **state)
{
    (void)state;
    struct http_budget budget = {0};
    struct http2_context x;
    static struct stats_page stats;
    for (size_t nth = 1; nth <= 2; nth++) {
        mem_fail_from(nth);
        assert_int_equal(http2_context_init(&x, NULL, &snap_settings_default, &budget, &stats),
                         E_NOMEM);
        mem_fail_from(0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_counted),
        cmocka_unit_test(test_memory_of_an_idle_connection),
        cmocka_unit_test(test_memory_in_pages),
        cmocka_unit_test(test_pages_end),
        cmocka_unit_test(test_no_pages),
        cmocka_unit_test(test_memory_max),
        cmocka_unit_test(test_conn_max),
        cmocka_unit_test(test_memory_fails),
        cmocka_unit_test(test_small_blocks_come_again),
        cmocka_unit_test(test_small_blocks_kept),
        cmocka_unit_test(test_gathers_are_kept),
        cmocka_unit_test(test_init_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
