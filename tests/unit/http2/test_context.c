/* The memory of one connection: counted, bounded, failing as any other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

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
    assert_true(m.used >= 100 && budget.used == m.used);
    p[99] = 'x';
    p = http2_mem_resize(p, 1000, &m);
    assert_true(p[99] == 'x' && m.used >= 1000 && budget.used == m.used);
    char *zero = http2_mem_calloc(10, 10, &m);
    assert_int_equal(zero[99], 0);
    http2_mem_free(p, &m);
    http2_mem_free(NULL, &m);
    http2_mem_free(zero, &m);
    assert_int_equal(m.used, 0);
    assert_int_equal(budget.used, 0);
    assert_null(http2_mem_calloc(SIZE_MAX / 2, 3, &m));
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

static void test_gathers_are_kept(void **state)
{
    (void)state;
    struct loop *loop;
    struct http_budget budget = {0};
    struct http2_context x;
    char *held[20];
    assert_int_equal(loop_new(&loop), E_OK);
    assert_int_equal(http2_context_init(&x, loop, &snap_settings_default, &budget), E_OK);
    for (int i = 0; i < 20; i++) {
        held[i] = http2_gather_take(&x);
        held[i][HTTP2_GATHER_BYTES - 1] = 'x';
    }
    for (int i = 0; i < 20; i++) {
        http2_gather_give(&x, held[i]);
    }
    size_t before = mem_calls();
    char *warm = http2_gather_take(&x);
    assert_int_equal(mem_calls(), before);
    http2_gather_give(&x, warm);
    http2_gather_give(&x, NULL);
    http2_context_fini(&x);
    loop_free(loop);
}

static void test_init_without_memory(void **state)
{
    (void)state;
    struct http_budget budget = {0};
    struct http2_context x;
    for (size_t nth = 1; nth <= 2; nth++) {
        mem_fail_from(nth);
        assert_int_equal(http2_context_init(&x, NULL, &snap_settings_default, &budget), E_NOMEM);
        mem_fail_from(0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_counted),   cmocka_unit_test(test_memory_max),
        cmocka_unit_test(test_memory_fails),        cmocka_unit_test(test_gathers_are_kept),
        cmocka_unit_test(test_init_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
