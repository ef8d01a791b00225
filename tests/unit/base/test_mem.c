/* The heap's door: the n-th allocation fails on demand; sizes that overflow are refused. */
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void the_nth_and_later_ones_fail(void **state)
{
    (void)state;
    void *p[4];
    mem_fail_from(3);
    p[0] = mem_alloc(1);
    p[1] = mem_calloc(1, 1);
    assert_non_null(p[0]);
    assert_non_null(p[1]);
    assert_null(mem_alloc(1));
    assert_null(mem_calloc(1, 1));
    assert_null(mem_resize(p[0], 2, 1)); /* p[0] stays valid */
    *(char *)p[0] = 'x';
    mem_fail_from(0);
    p[0] = mem_resize(p[0], 100, 1);
    assert_non_null(p[0]);
    assert_int_equal(*(char *)p[0], 'x');
    mem_free(p[0]);
    mem_free(p[1]);
    mem_free(NULL);
}

static void calls_are_counted(void **state)
{
    (void)state;
    size_t before = mem_calls();
    void *p = mem_alloc(1);
    p = mem_resize(p, 2, 1);
    mem_free(p);
    assert_int_equal(mem_calls() - before, 2);
}

static void pages(void **state)
{
    (void)state;
    size_t before = mem_calls();
    char *p = mem_pages_alloc(10000);
    assert_non_null(p);
    assert_int_equal(mem_calls() - before, 1);
    assert_int_equal(p[0], 0);
    assert_int_equal(p[9999], 0);
    p[9999] = 'x';
    mem_pages_free(p, 10000);
    mem_pages_free(NULL, 10000);
    mem_fail_from(1);
    assert_null(mem_pages_alloc(10000));
    mem_fail_from(0);
}

static void overflowing_sizes(void **state)
{
    (void)state;
    size_t volatile half = SIZE_MAX / 2; /* volatile: the compiler would warn */
    assert_null(mem_calloc(half, 3));
    assert_null(mem_resize(NULL, half, 3));
}

static void copying(void **state)
{
    (void)state;
    char to[3] = "..";
    mem_copy(NULL, NULL, 0);
    mem_copy(to, "ab", 2);
    assert_string_equal(to, "ab");
}

static void cleared(void **state)
{
    (void)state;
    unsigned char *p = mem_calloc(10, 100);
    assert_non_null(p);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(p[i], 0);
    }
    mem_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_and_later_ones_fail),
        cmocka_unit_test(calls_are_counted),
        cmocka_unit_test(pages),
        cmocka_unit_test(overflowing_sizes),
        cmocka_unit_test(copying),
        cmocka_unit_test(cleared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
