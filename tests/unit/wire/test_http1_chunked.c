/* The chunked coding: whole, byte by byte, split at each offset; limits at n and n + 1. */
#include "wire/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"

/* clang-format off */
static const struct {
    struct str bytes, body;
    size_t left_n; /* bytes behind the message */
    enum h1_fault fault;
    enum err e;
} cases[] = {
    {STR_INIT("0\r\n\r\n"), STR_INIT(""), 0, H1_FAULT_NONE, E_OK},
    {STR_INIT("5\r\nhello\r\n0\r\n\r\nGET"), STR_INIT("hello"), 3, H1_FAULT_NONE, E_OK},
    {STR_INIT("1\r\na\r\n00002\r\nbc\r\n000\r\n\r\n"), STR_INIT("abc"), 0, H1_FAULT_NONE, E_OK},
    {STR_INIT("A\r\n0123456789\r\n0\r\n\r\n"), STR_INIT("0123456789"), 0, H1_FAULT_NONE, E_OK},
    {STR_INIT("a\r\n0123456789\r\n0\r\n\r\n"), STR_INIT("0123456789"), 0, H1_FAULT_NONE, E_OK},
    {STR_INIT("1;a=b;c=\"d\t\xc3\"\r\na\r\n0 \t;x\r\n\r\n"), STR_INIT("a"), 0, H1_FAULT_NONE, E_OK},
    {STR_INIT("4\r\n\r\n\r\n\r\n0\r\n\r\n"), STR_INIT("\r\n\r\n"), 0, H1_FAULT_NONE, E_OK},
    {STR_INIT("0\r\nA: b\r\nC:\r\n\r\n0\r\n"), STR_INIT(""), 3, H1_FAULT_NONE, E_OK},
    {STR_INIT("5\r\nhel"), STR_INIT("hel"), 0, H1_FAULT_NONE, E_AGAIN},
    {STR_INIT("5\r\nhello\r\n0\r\n\r"), STR_INIT("hello"), 0, H1_FAULT_NONE, E_AGAIN},
    {STR_INIT(""), STR_INIT(""), 0, H1_FAULT_NONE, E_AGAIN},
    {STR_INIT("\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT(";a\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("g\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("0x1\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT(" 1\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("+1\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("-1\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("1 \r\na\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("1 1\r\na\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("1\na\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("1\ra\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("1;a\nb\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("1;a\rb\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("1;a\0b\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("1\r\nab\r\n"), STR_INIT("a"), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("1\r\na\n"), STR_INIT("a"), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("1\r\na\rb"), STR_INIT("a"), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("00000000000000001\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("10000000000000000\r\n"), STR_INIT(""), 0, H1_FAULT_CHUNK, E_PROTO},
    {STR_INIT("0\r\n\n"), STR_INIT(""), 0, H1_FAULT_TRAILER, E_PROTO},
    {STR_INIT("0\r\n\ra"), STR_INIT(""), 0, H1_FAULT_TRAILER, E_PROTO},
    {STR_INIT("0\r\n a\r\n"), STR_INIT(""), 0, H1_FAULT_TRAILER, E_PROTO},
    {STR_INIT("0\r\nA: b\r\n c\r\n"), STR_INIT(""), 0, H1_FAULT_TRAILER, E_PROTO},
    {STR_INIT("0\r\nA\r\n"), STR_INIT(""), 0, H1_FAULT_TRAILER, E_PROTO},
    {STR_INIT("0\r\nA : b\r\n"), STR_INIT(""), 0, H1_FAULT_TRAILER, E_PROTO},
    {STR_INIT("0\r\n: b\r\n"), STR_INIT(""), 0, H1_FAULT_TRAILER, E_PROTO},
    {STR_INIT("0\r\nA: b\n"), STR_INIT(""), 0, H1_FAULT_TRAILER, E_PROTO},
    {STR_INIT("0\r\nA: b\rc"), STR_INIT(""), 0, H1_FAULT_TRAILER, E_PROTO},
    {STR_INIT("0\r\nA: \x01\r\n"), STR_INIT(""), 0, H1_FAULT_TRAILER, E_PROTO},
};
/* clang-format on */

enum { CASES_N = sizeof(cases) / sizeof(cases[0]), BODY_MAX = 64 };

/* Decodes what is in p, adds the data to w; E_OK at the end of the message only. */
static enum err decode(struct h1_chunked *c, struct str *p, struct wr *w, enum h1_fault *fault)
{
    struct str data;
    enum err e;
    while ((e = h1_chunked_next(c, p, &data, fault)) == E_OK && c->state != H1_CHUNK_DONE) {
        assert_true(data.n > 0);
        wr_str(w, data);
    }
    return e;
}

/* In pieces of the given sizes: at bytes first, then step bytes each. */
static void run(size_t i, size_t at, size_t step)
{
    char body[BODY_MAX];
    struct wr w = wr_make(body, sizeof(body));
    struct h1_chunked c = {0};
    enum h1_fault fault = H1_FAULT_NONE;
    enum err e = E_AGAIN;
    size_t n = 0, left_n = 0;
    do {
        size_t piece_n = n == 0 ? at : step;
        struct str piece = str_first(str_from(cases[i].bytes, n), piece_n);
        n += piece.n;
        e = decode(&c, &piece, &w, &fault);
        left_n = piece.n + cases[i].bytes.n - n;
    } while (e == E_AGAIN && n < cases[i].bytes.n);
    if (e != cases[i].e || fault != cases[i].fault || (e == E_OK && left_n != cases[i].left_n) ||
        !str_eq((struct str){body, wr_n(&w)}, cases[i].body)) {
        fail_msg("case %zu at %zu by %zu: %s: %s", i, at, step, err_text(e), h1_fault_text(fault));
    }
}

static void whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES_N; i++) {
        run(i, cases[i].bytes.n, 1);
    }
}

static void bytewise(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES_N; i++) {
        run(i, 1, 1);
    }
}

static void split_at_each_offset(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES_N; i++) {
        for (size_t at = 1; at < cases[i].bytes.n; at++) {
            run(i, at, cases[i].bytes.n);
        }
    }
}

static enum err decode_all(const char *p, size_t n, enum h1_fault *fault)
{
    struct h1_chunked c = {0};
    struct str bytes = {p, n};
    char body[BODY_MAX];
    struct wr w = wr_make(body, sizeof(body));
    return decode(&c, &bytes, &w, fault);
}

static void size_line_limit(void **state)
{
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        char bytes[CHUNK_LINE_BYTES_MAX + 8];
        struct wr w = wr_make(bytes, sizeof(bytes));
        enum h1_fault fault = H1_FAULT_NONE;
        wr_str(&w, STR("0;"));
        while (wr_n(&w) < CHUNK_LINE_BYTES_MAX - 2 + over) {
            wr_char(&w, 'x');
        }
        wr_str(&w, STR("\r\n\r\n"));
        assert_int_equal(decode_all(bytes, wr_n(&w), &fault), over == 0 ? E_OK : E_PROTO);
        assert_int_equal(fault, over == 0 ? H1_FAULT_NONE : H1_FAULT_CHUNK);
    }
}

static void trailer_limit(void **state)
{
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        char bytes[TRAILER_BYTES_MAX + 8];
        struct wr w = wr_make(bytes, sizeof(bytes));
        enum h1_fault fault = H1_FAULT_NONE;
        wr_str(&w, STR("0\r\n"));
        for (size_t n = 0; n < TRAILER_BYTES_MAX - 2 - 8; n += 8) {
            wr_str(&w, STR("A: 345\r\n"));
        }
        wr_str(&w, STR("A:"));
        while (wr_n(&w) < 3 + TRAILER_BYTES_MAX - 4 + over) {
            wr_char(&w, 'x');
        }
        wr_str(&w, STR("\r\n\r\n"));
        assert_false(w.bad);
        assert_int_equal(decode_all(bytes, wr_n(&w), &fault), over == 0 ? E_OK : E_PROTO);
        assert_int_equal(fault, over == 0 ? H1_FAULT_NONE : H1_FAULT_TRAILER);
    }
}

/* Each line has its own limit: many small chunks go on for ever. */
static void many_chunks(void **state)
{
    (void)state;
    struct h1_chunked c = {0};
    for (int i = 0; i < 10000; i++) {
        struct str p = STR("1;x\r\na\r\n"), data;
        enum h1_fault fault = H1_FAULT_NONE;
        assert_int_equal(h1_chunked_next(&c, &p, &data, &fault), E_OK);
        assert_true(str_eq(data, STR("a")));
        assert_int_equal(h1_chunked_next(&c, &p, &data, &fault), E_AGAIN);
        assert_int_equal(p.n, 0);
    }
}

static void largest_size(void **state)
{
    (void)state;
    struct h1_chunked c = {0};
    struct str p = STR("FFFFFFFFFFFFFFFF\r\nabc"), data;
    enum h1_fault fault = H1_FAULT_NONE;
    assert_int_equal(h1_chunked_next(&c, &p, &data, &fault), E_OK);
    assert_true(str_eq(data, STR("abc")));
    assert_true(c.left == UINT64_MAX - 3);
}

static void done_stays_done(void **state)
{
    (void)state;
    struct h1_chunked c = {0};
    struct str p = STR("0\r\n\r\nnext"), data;
    enum h1_fault fault = H1_FAULT_NONE;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(h1_chunked_next(&c, &p, &data, &fault), E_OK);
        assert_int_equal(data.n, 0);
        assert_true(str_eq(p, STR("next")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(bytewise),
        cmocka_unit_test(split_at_each_offset),
        cmocka_unit_test(size_line_limit),
        cmocka_unit_test(trailer_limit),
        cmocka_unit_test(many_chunks),
        cmocka_unit_test(largest_size),
        cmocka_unit_test(done_stays_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
