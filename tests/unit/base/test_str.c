/* Borrowed byte runs. */
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct str none = {NULL, 0};

static void comparing(void **state)
{
    (void)state;
    assert_true(str_eq(STR("a"), STR("a")));
    assert_true(str_eq(none, STR("")));
    assert_false(str_eq(STR("a"), STR("b")));
    assert_false(str_eq(STR("a"), STR("ab")));
    assert_false(str_eq(STR("a\0b"), STR("a\0c")));
    assert_true(str_cmp(STR("a"), STR("a")) == 0);
    assert_true(str_cmp(STR("a"), STR("b")) < 0);
    assert_true(str_cmp(STR("b"), STR("ab")) > 0);
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_cmp(STR("ab"), STR("a")) > 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0); /* bytes, not chars */
    assert_true(str_cmp(none, STR("a")) < 0);
    assert_true(str_cmp(none, none) == 0);
}

/* Every pair of bytes, at every place of a word and of what is left behind whole words. */
static void comparing_without_case(void **state)
{
    (void)state;
    char a[20], b[20];
    for (size_t n = 1; n <= sizeof(a); n++) {
        for (int x = 0; x < 256; x++) {
            for (int y = 0; y < 256; y += n == 1 ? 1 : 32) {
                size_t at = (size_t)(x + y) % n;
                memset(a, 'q', sizeof(a));
                memset(b, 'Q', sizeof(b));
                a[at] = (char)x;
                b[at] = (char)(n == 1 ? y : x ^ y);
                bool want = ascii_lower(a[at]) == ascii_lower(b[at]);
                if (str_eq_nocase((struct str){a, n}, (struct str){b, n}) != want) {
                    fail_msg("length %zu at %zu: %02x %02x", n, at, (uint8_t)a[at], (uint8_t)b[at]);
                }
            }
        }
    }
    assert_true(str_eq_nocase(none, STR("")));
    assert_false(str_eq_nocase(STR("a"), STR("aa")));
}

static void affixes(void **state)
{
    (void)state;
    assert_true(str_has_prefix(STR("abc"), STR("ab")));
    assert_true(str_has_prefix(STR("abc"), STR("")));
    assert_true(str_has_prefix(none, none));
    assert_false(str_has_prefix(STR("ab"), STR("abc")));
    assert_false(str_has_prefix(STR("abc"), STR("b")));
    assert_true(str_has_suffix(STR("abc"), STR("bc")));
    assert_true(str_has_suffix(STR("abc"), STR("")));
    assert_false(str_has_suffix(STR("bc"), STR("abc")));
    assert_false(str_has_suffix(STR("abc"), STR("b")));
}

static void cutting(void **state)
{
    (void)state;
    struct str head, rest;
    assert_int_equal(str_find(STR("abc"), 'c'), 2);
    assert_int_equal(str_find(STR("abc"), 'd'), 3);
    assert_int_equal(str_find(none, 'd'), 0);
    assert_true(str_eq(str_from(STR("abc"), 1), STR("bc")));
    assert_true(str_eq(str_from(STR("abc"), 4), STR("")));
    assert_int_equal(str_from(none, 4).n, 0);
    assert_true(str_eq(str_first(STR("abc"), 2), STR("ab")));
    assert_true(str_eq(str_first(STR("abc"), 4), STR("abc")));
    assert_true(str_cut(STR("a=b=c"), '=', &head, &rest));
    assert_true(str_eq(head, STR("a")) && str_eq(rest, STR("b=c")));
    assert_true(str_cut(STR("="), '=', &head, &rest));
    assert_true(head.n == 0 && rest.n == 0);
    assert_false(str_cut(STR("ab"), '=', &head, &rest));
    assert_true(str_eq(head, STR("ab")) && rest.n == 0);
    assert_false(str_cut(none, '=', &head, &rest));
    assert_true(head.n == 0 && rest.n == 0);
}

static void trimming(void **state)
{
    (void)state;
    assert_true(str_eq(str_trim(STR(" \ta b\t ")), STR("a b")));
    assert_true(str_eq(str_trim(STR("\na\r")), STR("\na\r")));
    assert_int_equal(str_trim(STR(" \t ")).n, 0);
    assert_int_equal(str_trim(none).n, 0);
}

static void numbers(void **state)
{
    (void)state;
    uint64_t value = 7;
    assert_true(str_to_u64(STR("0"), 0, &value) && value == 0);
    assert_true(str_to_u64(STR("0042"), 42, &value) && value == 42);
    assert_false(str_to_u64(STR("43"), 42, &value));
    assert_true(str_to_u64(STR("18446744073709551615"), UINT64_MAX, &value) && value == UINT64_MAX);
    static const struct str bad[] = {
        STR_INIT(""),
        STR_INIT("18446744073709551616"),
        STR_INIT("99999999999999999999"),
        STR_INIT("-1"),
        STR_INIT("+1"),
        STR_INIT(" 1"),
        STR_INIT("1 "),
        STR_INIT("1a"),
        STR_INIT("1\0"),
    };
    value = 7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(str_to_u64(bad[i], UINT64_MAX, &value));
        assert_int_equal(value, 7);
    }
}

static void c_strings(void **state)
{
    (void)state;
    char room[4];
    assert_true(str_eq(str_from_cstr("ab"), STR("ab")));
    assert_int_equal(str_from_cstr(NULL).n, 0);
    assert_true(str_to_cstr(STR("abc"), room, sizeof(room)));
    assert_string_equal(room, "abc");
    assert_false(str_to_cstr(STR("abcd"), room, sizeof(room)));
    assert_false(str_to_cstr(STR("a\0b"), room, sizeof(room)));
    assert_true(str_to_cstr(none, room, 1));
    assert_string_equal(room, "");
    assert_false(str_to_cstr(none, room, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparing), cmocka_unit_test(comparing_without_case),
        cmocka_unit_test(affixes),   cmocka_unit_test(cutting),
        cmocka_unit_test(trimming),  cmocka_unit_test(numbers),
        cmocka_unit_test(c_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
