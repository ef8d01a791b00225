/* status/text: times, escapes, chance. */
#include "status/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(struct buf *b, const char *want)
{
    if (!str_eq(buf_str(b), str_from_cstr(want))) {
        fail_msg("want %s, got %.*s", want, STR_ARG(buf_str(b)));
    }
    buf_reset(b);
}

static void micro_times(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    text_add_micro_time(&b, 0);
    expect(&b, "1970-01-01T00:00:00.000000Z");
    text_add_micro_time(&b, 1767323045 * USEC_PER_SEC + 60);
    expect(&b, "2026-01-02T03:04:05.000060Z");
    text_add_micro_time(&b, 1767323045 * USEC_PER_SEC + 999999);
    expect(&b, "2026-01-02T03:04:05.999999Z");
    buf_fini(&b);
}

static void escapes(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    text_add_escaped(&b, STR("app.kubernetes.io/name=a b,c_~-Z9"));
    expect(&b, "app.kubernetes.io%2Fname%3Da%20b%2Cc_~-Z9");
    text_add_escaped(&b, STR("\xff\0&"));
    expect(&b, "%FF%00%26");
    buf_fini(&b);
}

static void jitter_is_near(void **state)
{
    (void)state;
    usec_t least = UINT64_MAX, most = 0;
    for (int i = 0; i < 2000; i++) {
        usec_t t = text_jitter(1000);
        least = t < least ? t : least;
        most = t > most ? t : most;
    }
    assert_true(least >= 900 && least < 950 && most <= 1100 && most > 1050);
    assert_int_equal(text_jitter(0), 0);
    assert_in_range(text_jitter(1), 1, 1);
}

static void random_digits(void **state)
{
    (void)state;
    struct buf a, b;
    buf_init(&a, 16);
    buf_init(&b, 16);
    text_add_random(&a, 16);
    text_add_random(&b, 16);
    assert_true(a.n == 16 && b.n == 16 && !str_eq(buf_str(&a), buf_str(&b)));
    for (size_t i = 0; i < a.n; i++) {
        assert_non_null(strchr("0123456789abcdef", a.p[i]));
    }
    buf_fini(&a);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(micro_times),
        cmocka_unit_test(escapes),
        cmocka_unit_test(jitter_is_near),
        cmocka_unit_test(random_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
