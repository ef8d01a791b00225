/* Growing and fixed byte builders: content, limits at n and n + 1, the sticky error, memory that
 * cannot be had. */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static void check(const struct buf *b, struct str want)
{
    assert_false(b->bad);
    assert_true(str_eq(buf_str(b), want));
}

static void building(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    check(&b, STR(""));
    buf_add(&b, "ab", 2);
    buf_add(&b, NULL, 0);
    buf_add_str(&b, STR("cd"));
    buf_add_char(&b, '-');
    buf_add_u64(&b, 0);
    buf_add_u64(&b, UINT64_MAX);
    buf_addf(&b, "[%s %d]", "x", -3);
    buf_addf(&b, "%s", "");
    check(&b, STR("abcd-018446744073709551615[x -3]"));
    buf_drop(&b, 4);
    check(&b, STR("-018446744073709551615[x -3]"));
    buf_drop(&b, b.n);
    buf_drop(&b, 0);
    check(&b, STR(""));
    buf_fini(&b);
    assert_null(b.p);
    assert_int_equal(b.max, 1000);
}

static void an_empty_one_takes_nothing(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    buf_addf(&b, "%s", "");
    buf_add_str(&b, (struct str){NULL, 0});
    assert_int_equal(buf_add_zero(&b, 0), 0);
    buf_align(&b, 8);
    buf_drop(&b, 0);
    check(&b, STR(""));
    assert_null(b.p);
    buf_fini(&b);
}

static void growing(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100000);
    for (int i = 0; i < 100000; i++) {
        buf_add_char(&b, (char)i);
    }
    assert_false(b.bad);
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(b.p[i], (char)i);
    }
    assert_int_equal(b.cap, 100000);
    buf_fini(&b);
}

static void zero_and_align(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_add_char(&b, 'a');
    buf_align(&b, 8);
    assert_int_equal(b.n, 8);
    buf_align(&b, 8);
    assert_int_equal(b.n, 8);
    assert_int_equal(buf_add_zero(&b, 3), 8);
    check(&b, STR("a\0\0\0\0\0\0\0\0\0\0"));
    buf_align(&b, 1);
    assert_int_equal(b.n, 11);
    buf_fini(&b);
}

/* Every way to add exactly reaches the maximum, and one byte more is refused and sticks. */
static void fill_add(struct buf *b, size_t n)
{
    char bytes[600];
    memset(bytes, 'x', sizeof(bytes));
    buf_add(b, bytes, n);
}

static void fill_format(struct buf *b, size_t n)
{
    buf_addf(b, "%*s", (int)n, "x");
}

static void fill_zero(struct buf *b, size_t n)
{
    (void)buf_add_zero(b, n);
}

static void limit(void **state)
{
    (void)state;
    static void (*const fills[])(struct buf *, size_t) = {fill_add, fill_format, fill_zero};
    static const size_t sizes[] = {1, 10, 255, 256, 257, 500};
    for (size_t k = 0; k < sizeof(fills) / sizeof(fills[0]); k++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            struct buf b;
            buf_init(&b, sizes[i]);
            fills[k](&b, sizes[i]);
            assert_false(b.bad);
            assert_int_equal(b.n, sizes[i]);
            buf_add_char(&b, 'y');
            assert_true(b.bad);
            assert_int_equal(b.n, sizes[i]); /* what was there is intact */
            buf_reset(&b);
            fills[k](&b, sizes[i] + 1);
            assert_true(b.bad);
            assert_int_equal(b.n, 0);
            buf_add_char(&b, 'y'); /* sticky */
            assert_int_equal(b.n, 0);
            buf_reset(&b);
            buf_add_char(&b, 'y');
            check(&b, STR("y"));
            buf_fini(&b);
        }
    }
}

static void huge_requests(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_add_char(&b, 'a');
    assert_false(buf_reserve(&b, SIZE_MAX));
    buf_reset(&b);
    assert_false(buf_reserve(&b, SIZE_MAX / 2 + 1));
    buf_fini(&b);
}

static void memory_runs_out(void **state)
{
    (void)state;
    for (size_t nth = 1; nth <= 3; nth++) {
        struct buf b;
        buf_init(&b, 1000);
        mem_fail_from(nth);
        for (int i = 0; i < 600; i++) { /* three allocations: 256, 512, 1000 */
            buf_add_char(&b, 'x');
        }
        mem_fail_from(0);
        assert_true(b.bad);
        assert_int_equal(b.n, nth == 1 ? 0 : nth == 2 ? 256 : 512);
        for (size_t i = 0; i < b.n; i++) {
            assert_int_equal(b.p[i], 'x');
        }
        buf_fini(&b);
    }
}

static void fixed_room(void **state)
{
    (void)state;
    char room[32];
    struct wr w = wr_make(room, sizeof(room));
    wr_bytes(&w, "ab", 2);
    wr_bytes(&w, NULL, 0);
    wr_str(&w, STR("c"));
    wr_char(&w, '.');
    wr_u64(&w, 0);
    wr_u64(&w, 123);
    wr_char(&w, '.');
    wr_hex(&w, 0);
    wr_hex(&w, 0xdeadbeef1U);
    assert_false(w.bad);
    assert_true(str_eq((struct str){room, wr_n(&w)}, STR("abc.0123.0deadbeef1")));
}

static void fixed_room_limit(void **state)
{
    (void)state;
    char room[4] = "....";
    struct wr w = wr_make(room, 3);
    wr_str(&w, STR("abc"));
    assert_false(w.bad);
    wr_char(&w, 'd');
    assert_true(w.bad);
    assert_int_equal(room[3], '.');
    w = wr_make(room, 3);
    wr_u64(&w, 1234); /* all or nothing */
    assert_true(w.bad);
    assert_int_equal(wr_n(&w), 0);
    wr_char(&w, 'e'); /* sticky */
    assert_int_equal(wr_n(&w), 0);
    w = wr_make(room, 0);
    wr_bytes(&w, "", 0);
    assert_false(w.bad);
    wr_hex(&w, 1);
    assert_true(w.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(building),
        cmocka_unit_test(an_empty_one_takes_nothing),
        cmocka_unit_test(growing),
        cmocka_unit_test(zero_and_align),
        cmocka_unit_test(limit),
        cmocka_unit_test(huge_requests),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(fixed_room),
        cmocka_unit_test(fixed_room_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
