/* Finding the end of a head: whole, byte by byte, and split at each offset; what never becomes one.
 */
#include "wire/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* clang-format off */
static const struct {
    struct str bytes;
    size_t head_n; /* 0: not complete */
    uint32_t line_n;
    enum err e;
} cases[] = {
    {STR_INIT("GET / HTTP/1.1\r\n\r\n"), 18, 2, E_OK},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n"), 27, 3, E_OK},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html, */*\r\n"
              "X-Long: 0123456789abcdef\r\n\r\n"), 77, 5, E_OK},
    {STR_INIT("\r\nGET / HTTP/1.1\r\n\r\n"), 20, 2, E_OK},
    {STR_INIT("HTTP/1.1 200 OK\r\n\r\n"), 19, 2, E_OK},
    {STR_INIT("G\x01 / HTTP/1.1\r\n\r\n"), 17, 2, E_OK}, /* parsing refuses it */
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\n"), 0, 2, E_AGAIN},
    {STR_INIT("GET / HTTP/1.1\r\n\r"), 0, 1, E_AGAIN},
    {STR_INIT("\r\n"), 0, 0, E_AGAIN},
    {STR_INIT("\r"), 0, 0, E_AGAIN},
    {STR_INIT(""), 0, 0, E_AGAIN},
    {STR_INIT("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), 0, 0, E_PROTO},
    {STR_INIT("\n"), 0, 0, E_PROTO},
    {STR_INIT("\rG"), 0, 0, E_PROTO},
    {STR_INIT(" GET / HTTP/1.1\r\n\r\n"), 0, 0, E_PROTO},
    {STR_INIT("\x16\x03\x01\x02"), 0, 0, E_PROTO}, /* TLS */
    {STR_INIT("GET / HTTP/1.1\n\n"), 0, 0, E_PROTO},
    {STR_INIT("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n"), 0, 1, E_PROTO},
    {STR_INIT("GET / HTTP/1.1\r\nA: b\r\r\n\r\n"), 0, 1, E_PROTO},
    {STR_INIT("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n"), 0, 1, E_PROTO},
    {STR_INIT("GET / HTTP/1.1\r\nA: b\nB: c\r\n\r\n"), 0, 1, E_PROTO},
};
/* clang-format on */

enum { CASES_N = sizeof(cases) / sizeof(cases[0]) };

static void check(size_t i, enum err e, const struct h1_scan *s, size_t head_n)
{
    if (e != cases[i].e || (e == E_OK && head_n != cases[i].head_n) ||
        (e != E_PROTO && s->line_n != cases[i].line_n)) {
        fail_msg("case %zu: %s, head %zu, lines %u", i, err_text(e), head_n, s->line_n);
    }
}

static void whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES_N; i++) {
        struct h1_scan s = {0};
        size_t head_n = 0;
        enum err e = h1_head_scan(&s, cases[i].bytes.p, cases[i].bytes.n, &head_n);
        check(i, e, &s, head_n);
    }
}

static void bytewise(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES_N; i++) {
        struct h1_scan s = {0};
        size_t head_n = 0;
        enum err e = h1_head_scan(&s, cases[i].bytes.p, 0, &head_n);
        for (size_t n = 1; n <= cases[i].bytes.n && e == E_AGAIN; n++) {
            size_t before = s.at;
            e = h1_head_scan(&s, cases[i].bytes.p, n, &head_n);
            assert_true(s.at >= before && s.at <= n);
            assert_true(e != E_AGAIN || n - s.at <= 2); /* no byte is looked at again and again */
        }
        check(i, e, &s, head_n);
    }
}

static void split_at_each_offset(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES_N; i++) {
        for (size_t at = 0; at <= cases[i].bytes.n; at++) {
            struct h1_scan s = {0};
            size_t head_n = 0;
            enum err e = h1_head_scan(&s, cases[i].bytes.p, at, &head_n);
            if (e == E_AGAIN) {
                e = h1_head_scan(&s, cases[i].bytes.p, cases[i].bytes.n, &head_n);
            }
            check(i, e, &s, head_n);
        }
    }
}

/* The scanner works on blocks: a byte that ends it is found at every offset in one. */
static void faults_at_each_offset(void **state)
{
    (void)state;
    static const char bad[] = {'\n', '\r', '\0'};
    char bytes[100];
    for (size_t at = 1; at < 80; at++) {
        for (size_t k = 0; k < sizeof(bad); k++) {
            struct h1_scan s = {0};
            size_t head_n = 0;
            memset(bytes, 'a', sizeof(bytes));
            bytes[at] = bad[k];
            assert_int_equal(h1_head_scan(&s, bytes, sizeof(bytes), &head_n), E_PROTO);
        }
        struct h1_scan s = {0};
        size_t head_n = 0;
        memset(bytes, 'a', sizeof(bytes));
        memcpy(bytes + at, "\r\n\r\n", 4);
        assert_int_equal(h1_head_scan(&s, bytes, sizeof(bytes), &head_n), E_OK);
        assert_int_equal(head_n, at + 4);
    }
}

static void every_fault_has_a_text(void **state)
{
    (void)state;
    for (enum h1_fault f = H1_FAULT_NONE; f < H1_FAULTS_N; f++) {
        assert_non_null(h1_fault_text(f));
        assert_true(strlen(h1_fault_text(f)) > 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(bytewise),
        cmocka_unit_test(split_at_each_offset),
        cmocka_unit_test(faults_at_each_offset),
        cmocka_unit_test(every_fault_has_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
