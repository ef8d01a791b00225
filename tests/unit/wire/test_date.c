/* Timestamps as text; the C library's calendar as a second opinion. */
#include "wire/date.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>

static const struct {
    struct str text;
    int64_t seconds;
} good[] = {
    {STR_INIT("1970-01-01T00:00:00Z"),           0           },
    {STR_INIT("1969-12-31T23:59:59Z"),           -1          },
    {STR_INIT("2026-01-02T03:04:05Z"),           1767323045  },
    {STR_INIT("2026-01-02T03:04:05.999999999Z"), 1767323045  },
    {STR_INIT("2026-01-02T03:04:05.1Z"),         1767323045  },
    {STR_INIT("2026-01-02T03:04:05+00:00"),      1767323045  },
    {STR_INIT("2026-01-02T03:04:05-00:00"),      1767323045  },
    {STR_INIT("2026-01-02T05:34:05+02:30"),      1767323045  },
    {STR_INIT("2026-01-01T22:04:05.5-05:00"),    1767323045  },
    {STR_INIT("2024-02-29T00:00:00Z"),           1709164800  },
    {STR_INIT("2000-02-29T23:59:59Z"),           951868799   },
    {STR_INIT("0000-01-01T00:00:00Z"),           -62167219200},
    {STR_INIT("0000-02-29T00:00:00Z"),           -62162121600},
    {STR_INIT("9999-12-31T23:59:59Z"),           253402300799},
};

static void parses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int64_t seconds = -7;
        enum err e = date_parse_rfc3339(good[i].text, &seconds);
        if (e != E_OK || seconds != good[i].seconds) {
            fail_msg("%s: %s: %lld", good[i].text.p, err_text(e), (long long)seconds);
        }
    }
}

static void refuses(void **state)
{
    (void)state;
    static const struct str bad[] = {
        STR_INIT(""),
        STR_INIT("2026-01-02"),
        STR_INIT("2026-01-02T03:04:05"),
        STR_INIT("2026-01-02 03:04:05Z"),
        STR_INIT("2026-01-02t03:04:05z"),
        STR_INIT("2026-01-02T03:04:05Z "),
        STR_INIT(" 2026-01-02T03:04:05Z"),
        STR_INIT("2026-1-02T03:04:05Z"),
        STR_INIT("26-01-02T03:04:05Z"),
        STR_INIT("2026-00-02T03:04:05Z"),
        STR_INIT("2026-13-02T03:04:05Z"),
        STR_INIT("2026-01-00T03:04:05Z"),
        STR_INIT("2026-01-32T03:04:05Z"),
        STR_INIT("2026-04-31T03:04:05Z"),
        STR_INIT("2026-02-29T03:04:05Z"),
        STR_INIT("2100-02-29T03:04:05Z"),
        STR_INIT("2026-01-02T24:00:00Z"),
        STR_INIT("2026-01-02T03:60:05Z"),
        STR_INIT("2026-01-02T03:04:60Z"),
        STR_INIT("2026-01-02T03:04:05.Z"),
        STR_INIT("2026-01-02T03:04:05,5Z"),
        STR_INIT("2026-01-02T03:04:05+2:00"),
        STR_INIT("2026-01-02T03:04:05+0200"),
        STR_INIT("2026-01-02T03:04:05+24:00"),
        STR_INIT("2026-01-02T03:04:05+02:60"),
        STR_INIT("2026-01-02T03:04:05+02:00Z"),
        STR_INIT("-026-01-02T03:04:05Z"),
        STR_INIT("2026-01-02T+3:04:05Z"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t seconds = -7;
        if (date_parse_rfc3339(bad[i], &seconds) != E_PROTO || seconds != -7) {
            fail_msg("%s", bad[i].p);
        }
    }
}

typedef void emit_fn(struct wr *w, int64_t seconds);

static void check_emit(emit_fn *emit, int64_t seconds, const char *want)
{
    char room[64];
    size_t n = strlen(want);
    struct wr w = wr_make(room, n);
    emit(&w, seconds);
    if (w.bad || !str_eq((struct str){room, wr_n(&w)}, str_from_cstr(want))) {
        fail_msg("%.*s, not %s", (int)wr_n(&w), room, want);
    }
    w = wr_make(room, n - 1); /* too small */
    emit(&w, seconds);
    assert_true(w.bad);
}

static void emits(void **state)
{
    (void)state;
    check_emit(date_emit_rfc3339, 1767323045, "2026-01-02T03:04:05Z");
    check_emit(date_emit_http, 1767323045, "Fri, 02 Jan 2026 03:04:05 GMT");
    check_emit(date_emit_log, 1767323045, "02/Jan/2026:03:04:05 +0000");
    check_emit(date_emit_http, 784111777, "Sun, 06 Nov 1994 08:49:37 GMT"); /* RFC 9110 */
    check_emit(date_emit_rfc3339, -1, "1969-12-31T23:59:59Z");
}

/* Every day of 500 years, at odd hours. */
static void agrees_with_the_c_library(void **state)
{
    (void)state;
    for (int64_t day = -365LL * 200; day < 365LL * 300; day++) {
        int64_t seconds = day * 86400 + (day * 7919 % 86400 + 86400) % 86400, again;
        time_t t = (time_t)seconds;
        struct tm tm;
        char want[64], room[64];
        assert_non_null(gmtime_r(&t, &tm));
        assert_true(strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0);
        struct wr w = wr_make(room, sizeof(room));
        date_emit_http(&w, seconds);
        assert_true(str_eq((struct str){room, wr_n(&w)}, str_from_cstr(want)));
        w = wr_make(room, sizeof(room));
        date_emit_rfc3339(&w, seconds);
        assert_int_equal(date_parse_rfc3339((struct str){room, wr_n(&w)}, &again), E_OK);
        assert_true(again == seconds);
    }
}

static void years_have_four_digits(void **state)
{
    (void)state;
    static emit_fn *const emitters[] = {date_emit_rfc3339, date_emit_http, date_emit_log};
    static const int64_t bad[] = {-62167219201, 253402300800, INT64_MIN, INT64_MAX};
    for (size_t k = 0; k < sizeof(emitters) / sizeof(emitters[0]); k++) {
        char room[64];
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
            struct wr w = wr_make(room, sizeof(room));
            emitters[k](&w, bad[i]);
            assert_true(w.bad);
        }
        struct wr w = wr_make(room, sizeof(room));
        emitters[k](&w, -62167219200);
        emitters[k](&w, 253402300799);
        assert_false(w.bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),
        cmocka_unit_test(refuses),
        cmocka_unit_test(emits),
        cmocka_unit_test(agrees_with_the_c_library),
        cmocka_unit_test(years_have_four_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
