/* HTTP/1 response heads: the status line and the length of the body. */
#include "wire/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { FIELDS = 4 };

/* clang-format off */
static const struct {
    struct str head;
    enum h1_fault fault;
} bad[] = {
    {STR_INIT("HTTP/1.1 200 OK\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("\r\nHTTP/1.1 200 OK\r\n\r\n"), H1_FAULT_VERSION},
    {STR_INIT("HTTP/2 200 OK\r\n\r\n"), H1_FAULT_VERSION},
    {STR_INIT("HTTP/1.2 200 OK\r\n\r\n"), H1_FAULT_VERSION},
    {STR_INIT("http/1.1 200 OK\r\n\r\n"), H1_FAULT_VERSION},
    {STR_INIT("ICY 200 OK\r\n\r\n"), H1_FAULT_VERSION},
    {STR_INIT("HTTP/1.1\r\n\r\n"), H1_FAULT_VERSION},
    {STR_INIT("HTTP/1.1  200 OK\r\n\r\n"), H1_FAULT_STATUS},
    {STR_INIT("HTTP/1.1 20 OK\r\n\r\n"), H1_FAULT_STATUS},
    {STR_INIT("HTTP/1.1 099 OK\r\n\r\n"), H1_FAULT_STATUS},
    {STR_INIT("HTTP/1.1 600 OK\r\n\r\n"), H1_FAULT_STATUS},
    {STR_INIT("HTTP/1.1 2x0 OK\r\n\r\n"), H1_FAULT_STATUS},
    {STR_INIT("HTTP/1.1 2000 OK\r\n\r\n"), H1_FAULT_STATUS},
    {STR_INIT("HTTP/1.1 200\tOK\r\n\r\n"), H1_FAULT_STATUS},
    {STR_INIT("HTTP/1.1 200 O\x01K\r\n\r\n"), H1_FAULT_STATUS},
    {STR_INIT("HTTP/1.1 200 O\rK\r\n\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("HTTP/1.1 200\nA: b\r\n\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("HTTP/1.1 200 OK\nA: b\r\n\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("HTTP/1.1 200 OK\r\nA : b\r\n\r\n"), H1_FAULT_FIELD_NAME},
    {STR_INIT("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"), H1_FAULT_FOLDED},
    {STR_INIT("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
     H1_FAULT_LENGTH},
    {STR_INIT("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), H1_FAULT_LENGTH},
    {STR_INIT("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
     H1_FAULT_TE_AND_LENGTH},
    {STR_INIT("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"), H1_FAULT_TE},
    {STR_INIT("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), H1_FAULT_TE},
};
/* clang-format on */

static void refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct field fields[FIELDS];
        struct h1_response r;
        enum h1_fault fault = H1_FAULT_NONE;
        enum err e =
            h1_response_parse(bad[i].head.p, bad[i].head.n, false, fields, FIELDS, &r, &fault);
        if (e != E_PROTO || fault != bad[i].fault) {
            fail_msg("case %zu: %s: %s\n%.*s", i, err_text(e), h1_fault_text(fault),
                     STR_ARG(bad[i].head));
        }
    }
}

/* clang-format off */
static const struct {
    struct str head;
    bool is_head;
    uint16_t status;
    struct str reason;
    bool is_keep_alive;
    enum h1_body body;
    uint64_t body_n;
} good[] = {
    {STR_INIT("HTTP/1.1 200 OK\r\n\r\n"), false, 200, STR_INIT("OK"), false, H1_BODY_UNTIL_CLOSE,
     0},
    {STR_INIT("HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n"), false, 200, STR_INIT(""), true,
     H1_BODY_LENGTH, 5},
    {STR_INIT("HTTP/1.1 599\r\nContent-Length: 0\r\n\r\n"), false, 599, STR_INIT(""), true,
     H1_BODY_LENGTH, 0},
    {STR_INIT("HTTP/1.1 404 Not \xc3\xa4\t there\r\nTransfer-Encoding: chunked\r\n\r\n"), false,
     404, STR_INIT("Not \xc3\xa4\t there"), true, H1_BODY_CHUNKED, 0},
    {STR_INIT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"), false, 200,
     STR_INIT("OK"), false, H1_BODY_LENGTH, 5},
    {STR_INIT("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"), false, 200, STR_INIT("OK"), false,
     H1_BODY_LENGTH, 5},
    {STR_INIT("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"), false, 200,
     STR_INIT("OK"), true, H1_BODY_LENGTH, 5},
    {STR_INIT("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"), false, 200, STR_INIT("OK"),
     false, H1_BODY_UNTIL_CLOSE, 0},
    {STR_INIT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), true, 200, STR_INIT("OK"), true,
     H1_BODY_NONE, 0},
    {STR_INIT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), true, 200, STR_INIT("OK"),
     true, H1_BODY_NONE, 0},
    {STR_INIT("HTTP/1.1 304 -\r\nContent-Length: 5\r\n\r\n"), false, 304, STR_INIT("-"), true,
     H1_BODY_NONE, 0},
    {STR_INIT("HTTP/1.1 204 -\r\nContent-Length: 5\r\n\r\n"), false, 204, STR_INIT("-"), true,
     H1_BODY_NONE, 0},
    {STR_INIT("HTTP/1.1 100 Continue\r\n\r\n"), false, 100, STR_INIT("Continue"), true,
     H1_BODY_NONE, 0},
    {STR_INIT("HTTP/1.1 101 -\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), false, 101,
     STR_INIT("-"), true, H1_BODY_NONE, 0},
    /* Rules for requests do not apply. */
    {STR_INIT("HTTP/1.1 205 -\r\nContent-Length: 0\r\nHost: a b\r\nHost: c\r\n\r\n"), false, 205,
     STR_INIT("-"), true, H1_BODY_LENGTH, 0},
};
/* clang-format on */

static void accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct field fields[FIELDS];
        struct h1_response r;
        enum h1_fault fault = H1_FAULT_NONE;
        enum err e = h1_response_parse(good[i].head.p, good[i].head.n, good[i].is_head, fields,
                                       FIELDS, &r, &fault);
        if (e != E_OK || r.status != good[i].status || !str_eq(r.reason, good[i].reason) ||
            r.is_keep_alive != good[i].is_keep_alive || r.body != good[i].body ||
            r.body_n != good[i].body_n) {
            fail_msg("case %zu: %s: %s\n%.*s", i, err_text(e), h1_fault_text(fault),
                     STR_ARG(good[i].head));
        }
    }
}

static void field_limit(void **state)
{
    (void)state;
    static const char head[] = "HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n";
    struct field fields[FIELDS];
    struct h1_response r;
    enum h1_fault fault = H1_FAULT_NONE;
    assert_int_equal(h1_response_parse(head, sizeof(head) - 1, false, fields, 2, &r, &fault), E_OK);
    assert_int_equal(r.field_n, 2);
    assert_int_equal(h1_response_parse(head, sizeof(head) - 1, false, fields, 1, &r, &fault),
                     E_PROTO);
    assert_int_equal(fault, H1_FAULT_TOO_MANY_FIELDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses),
        cmocka_unit_test(accepts),
        cmocka_unit_test(field_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
