/* Growing arrays: content survives, the maximum, memory that cannot be had. */
#include "base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

struct numbers {
    int *items;
    size_t n, cap;
};

static enum err add(struct numbers *v, int value, size_t max)
{
    TRY(VEC_ROOM(v->items, v->n, v->cap, max));
    v->items[v->n++] = value;
    return E_OK;
}

static void growing(void **state)
{
    (void)state;
    struct numbers v = {0};
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(add(&v, i, 1000), E_OK);
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(v.items[i], i);
    }
    assert_int_equal(v.cap, 1024);
    mem_free(v.items);
}

static void limit(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 7, 8, 9, 64};
    struct numbers none = {0};
    assert_int_equal(add(&none, 0, 0), E_LIMIT);
    assert_null(none.items);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct numbers v = {0};
        for (size_t k = 0; k < sizes[i]; k++) {
            assert_int_equal(add(&v, 1, sizes[i]), E_OK);
        }
        assert_int_equal(add(&v, 1, sizes[i]), E_LIMIT);
        assert_int_equal(v.n, sizes[i]);
        mem_free(v.items);
    }
}

static void memory_runs_out(void **state)
{
    (void)state;
    for (size_t nth = 1; nth <= 3; nth++) { /* 8, 16, 32 */
        struct numbers v = {0};
        mem_fail_from(nth);
        int n = 0;
        while (n < 100 && add(&v, n, 100) == E_OK) {
            n++;
        }
        mem_fail_from(0);
        assert_int_equal(n, nth == 1 ? 0 : 8 << (nth - 2));
        for (int i = 0; i < n; i++) {
            assert_int_equal(v.items[i], i);
        }
        assert_int_equal(add(&v, n, 100), E_OK); /* and it recovers */
        mem_free(v.items);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growing),
        cmocka_unit_test(limit),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
