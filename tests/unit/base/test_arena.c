/* Memory that is freed at once: alignment, no overlap, the maximum, memory that cannot be had. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

enum { ALIGN = 16, BLOCKS = 2000 };

static void blocks_are_aligned_and_apart(void **state)
{
    (void)state;
    struct arena a;
    static unsigned char *blocks[BLOCKS];
    arena_init(&a, 64 << 20);
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t n = i * 37 % 301;
        blocks[i] = arena_alloc(&a, n);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % ALIGN, 0);
        memset(blocks[i], (int)(i % 251), n);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        for (size_t k = 0; k < i * 37 % 301; k++) {
            assert_int_equal(blocks[i][k], i % 251);
        }
    }
    void *large = arena_alloc(&a, 1 << 20);
    assert_non_null(large);
    memset(large, 1, 1 << 20);
    arena_fini(&a);
    assert_null(a.chunks);
    assert_int_equal(a.used, 0);
}

static void it_can_be_used_again_after_fini(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 64);
    for (int i = 0; i < 3; i++) {
        assert_non_null(arena_alloc(&a, 64));
        assert_null(arena_alloc(&a, 1));
        arena_fini(&a);
    }
}

static void limit(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 100);
    assert_null(arena_alloc(&a, 101));
    assert_non_null(arena_alloc(&a, 100));
    assert_non_null(arena_alloc(&a, 0));
    assert_null(arena_alloc(&a, 1));
    arena_fini(&a);
    assert_non_null(arena_alloc(&a, 1)); /* rounded up to 16 */
    assert_null(arena_alloc(&a, 85));
    assert_non_null(arena_alloc(&a, 84));
    arena_fini(&a);
}

static void huge_sizes(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, SIZE_MAX);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 8));
    assert_null(arena_alloc(&a, (size_t)PTRDIFF_MAX + 1));
    assert_null(arena_calloc(&a, SIZE_MAX / 2, 3));
    struct str copy;
    assert_false(arena_str(&a, (struct str){"", SIZE_MAX}, &copy));
    arena_fini(&a);
}

static void cleared_memory(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    for (int round = 0; round < 100; round++) {
        unsigned char *p = arena_calloc(&a, 10, 7);
        assert_non_null(p);
        for (size_t i = 0; i < 70; i++) {
            assert_int_equal(p[i], 0);
            p[i] = 0xff;
        }
    }
    assert_non_null(arena_calloc(&a, 0, 7));
    arena_fini(&a);
}

static void strings(void **state)
{
    (void)state;
    struct arena a;
    struct str copy;
    arena_init(&a, 32);
    assert_true(arena_str(&a, STR("a\0b"), &copy));
    assert_true(str_eq(copy, STR("a\0b")));
    assert_int_equal(copy.p[3], '\0');
    assert_true(arena_str(&a, (struct str){NULL, 0}, &copy));
    assert_string_equal(copy.p, "");
    copy = STR("untouched");
    assert_false(arena_str(&a, STR("c"), &copy)); /* 32 bytes are used */
    assert_true(str_eq(copy, STR("untouched")));
    arena_fini(&a);
}

static void memory_runs_out(void **state)
{
    (void)state;
    for (size_t nth = 1; nth < 6; nth++) {
        struct arena a;
        arena_init(&a, 1 << 20);
        mem_fail_from(nth);
        size_t given_n = 0;
        while (given_n < 1000 && arena_alloc(&a, 100) != NULL) {
            given_n++;
        }
        mem_fail_from(0);
        assert_true(given_n < 1000 && given_n >= nth - 1);
        assert_non_null(arena_alloc(&a, 100)); /* and it recovers */
        arena_fini(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_apart),
        cmocka_unit_test(it_can_be_used_again_after_fini),
        cmocka_unit_test(limit),
        cmocka_unit_test(huge_sizes),
        cmocka_unit_test(cleared_memory),
        cmocka_unit_test(strings),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
