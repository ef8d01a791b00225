/* HTTP/1 request heads: what is refused and why, what the fields mean. */
#include "base/buf.h"
#include "base/limits.h"
#include "wire/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FIELDS = 8 };

/* clang-format off */
static const struct {
    struct str head;
    enum h1_fault fault;
} bad[] = {
    {STR_INIT(""), H1_FAULT_LINE_END},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("\r\n\r\n"), H1_FAULT_METHOD},
    {STR_INIT("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_METHOD},
    {STR_INIT(" GET / HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_METHOD},
    {STR_INIT("G@T / HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_METHOD},
    {STR_INIT("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_METHOD},
    {STR_INIT("GET\r\n\r\n"), H1_FAULT_METHOD},
    {STR_INIT("GET\n/ HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("GET \r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("GET /\r\n\r\n"), H1_FAULT_TARGET}, /* HTTP/0.9 */
    {STR_INIT("GET a HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("GET /\t HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("CONNECT [::1] HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("CONNECT http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_TARGET},
    {STR_INIT("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), H1_FAULT_VERSION},
    {STR_INIT("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), H1_FAULT_VERSION},
    {STR_INIT("GET / http/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_LINE},
    {STR_INIT("GET / HTTP/01.1\r\nHost: a\r\n\r\n"), H1_FAULT_LINE},
    {STR_INIT("GET / HTTP/1.11\r\nHost: a\r\n\r\n"), H1_FAULT_LINE},
    {STR_INIT("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"), H1_FAULT_LINE},
    {STR_INIT("GET /  HTTP/1.1\r\nHost: a\r\n\r\n"), H1_FAULT_LINE},
    {STR_INIT("GET / \r\n\r\n"), H1_FAULT_LINE},
    {STR_INIT("GET / HTTP/1.1\nHost: a\r\n\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("GET / HTTP/1.1\rHost: a\r\n\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\rB: c\r\n\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nB\0: c\r\n\r\n"), H1_FAULT_LINE_END},
    {STR_INIT("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), H1_FAULT_FIELD_NAME},
    {STR_INIT("GET / HTTP/1.1\r\nHost\r\n\r\n"), H1_FAULT_FIELD_NAME},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"), H1_FAULT_FIELD_NAME},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nB(: c\r\n\r\n"), H1_FAULT_FIELD_NAME},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nB\xe9: c\r\n\r\n"), H1_FAULT_FIELD_NAME},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\n\r\nB: c\r\n\r\n"), H1_FAULT_FIELD_NAME},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nB: c\x01\r\n\r\n"), H1_FAULT_FIELD_VALUE},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nB: c\x7f\r\n\r\n"), H1_FAULT_FIELD_VALUE},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"), H1_FAULT_FOLDED},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n"), H1_FAULT_FOLDED},
    {STR_INIT("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), H1_FAULT_FOLDED},
    {STR_INIT("GET / HTTP/1.1\r\nA: a\r\n\r\n"), H1_FAULT_HOST},
    {STR_INIT("GET http://a/ HTTP/1.1\r\n\r\n"), H1_FAULT_HOST},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"), H1_FAULT_HOST},
    {STR_INIT("GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n"), H1_FAULT_HOST},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), H1_FAULT_HOST},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), H1_FAULT_HOST},
    {STR_INIT("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), H1_FAULT_HOST},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), H1_FAULT_HOST},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"), H1_FAULT_HOST},
    {STR_INIT("GET http://a/ HTTP/1.1\r\nHost: b:x\r\n\r\n"), H1_FAULT_HOST},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"), H1_FAULT_LENGTH},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"), H1_FAULT_LENGTH},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"), H1_FAULT_LENGTH},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n"), H1_FAULT_LENGTH},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n"), H1_FAULT_LENGTH},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"), H1_FAULT_LENGTH},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"),
     H1_FAULT_LENGTH},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
     H1_FAULT_LENGTH},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n"),
     H1_FAULT_LENGTH},
    {STR_INIT( "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunk"
              "ed\r\n\r\n"), H1_FAULT_TE_AND_LENGTH},
    {STR_INIT( "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length:"
              " 0\r\n\r\n"), H1_FAULT_TE_AND_LENGTH},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"), H1_FAULT_TE},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
     H1_FAULT_TE},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"),
     H1_FAULT_TE},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"), H1_FAULT_TE},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;a=b\r\n\r\n"), H1_FAULT_TE},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \013chunked\r\n\r\n"),
     H1_FAULT_FIELD_VALUE},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
              "Transfer-Encoding: chunked\r\n\r\n"), H1_FAULT_TE},
    {STR_INIT("GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), H1_FAULT_TE},
};
/* clang-format on */

static void refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct field fields[FIELDS];
        struct h1_request r;
        enum h1_fault fault = H1_FAULT_NONE;
        enum err e = h1_request_parse(bad[i].head.p, bad[i].head.n, fields, FIELDS, &r, &fault);
        if (e != E_PROTO || fault != bad[i].fault) {
            fail_msg("case %zu: %s: %s\n%.*s", i, err_text(e), h1_fault_text(fault),
                     STR_ARG(bad[i].head));
        }
    }
}

/* The second column is what describe() makes of the head: method, target, host, minor version; k:
 * keep alive, u: upgrade, c: expects continue; the body; the number of fields. */
/* clang-format off */
static const struct {
    struct str head, text;
} good[] = {
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), STR_INIT("GET / [a] 1 k none 1")},
    {STR_INIT("\r\nGET /a?b=%20\"<>[]{}|\\^` HTTP/1.1\r\nhOST:\t a:80 \t\r\n\r\n"),
     STR_INIT("GET /a?b=%20\"<>[]{}|\\^` [a:80] 1 k none 1")},
    {STR_INIT("M!#$%&'*+-.^_`|~ // HTTP/1.1\r\nHost:\r\n\r\n"),
     STR_INIT("M!#$%&'*+-.^_`|~ // [] 1 k none 1")},
    {STR_INIT("GET / HTTP/1.0\r\n\r\n"), STR_INIT("GET / [] 0 - none 0")},
    {STR_INIT("GET / HTTP/1.0\r\nConnection: Keep-Alive, Upgrade\r\nUpgrade: a\r\n"
              "Expect: 100-continue\r\n\r\n"), STR_INIT("GET / [] 0 k none 3")},
    {STR_INIT("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n"),
     STR_INIT("GET / [] 0 - none 2")},
    {STR_INIT("GET / HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: x, ,\tCLOSE\r\n\r\n"),
     STR_INIT("GET / [[::1]:8080] 1 - none 2")},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n"),
     STR_INIT("GET / [a] 1 k none 2")},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
     STR_INIT("GET / [a] 1 ku none 3")},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"),
     STR_INIT("GET / [a] 1 k none 2")},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n"),
     STR_INIT("GET / [a] 1 k none 2")},
    {STR_INIT("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n"
              "Content-Length: 9223372036854775807\r\n\r\n"),
     STR_INIT("POST / [a] 1 kc length:9223372036854775807 3")},
    {STR_INIT("POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n"),
     STR_INIT("POST / [] 0 - length:0 1")},
    {STR_INIT("POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n"),
     STR_INIT("POST / [a] 1 k chunked 2")},
    {STR_INIT("GET HTTP://b:1?x HTTP/1.1\r\nHost: a\r\n\r\n"),
     STR_INIT("GET HTTP://b:1?x [b:1] 1 k none 1")},
    {STR_INIT("GET https://b/ HTTP/1.0\r\n\r\n"), STR_INIT("GET https://b/ [b] 0 - none 0")},
    {STR_INIT("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), STR_INIT("OPTIONS * [a] 1 k none 1")},
    {STR_INIT("CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
     STR_INIT("CONNECT b:443 [b:443] 1 k none 1")},
    {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\t\x80 \r\nY:\r\n\r\n"),
     STR_INIT("GET / [a] 1 k none 3")},
};
/* clang-format on */

static struct str describe(const struct h1_request *r, char *text, size_t cap)
{
    static const char *const bodies[] = {"none", "length", "chunked", "until close"};
    int n = snprintf(text, cap, "%.*s %.*s [%.*s] %d %s%s%s%s %s", STR_ARG(r->method),
                     STR_ARG(r->target), STR_ARG(r->host), r->minor, r->is_keep_alive ? "k" : "",
                     r->has_upgrade ? "u" : "", r->expects_continue ? "c" : "",
                     r->is_keep_alive || r->has_upgrade || r->expects_continue ? "" : "-",
                     bodies[r->body]);
    assert_true(n > 0 && (size_t)n < cap);
    size_t at = (size_t)n;
    if (r->body == H1_BODY_LENGTH) {
        at += (size_t)snprintf(text + at, cap - at, ":%llu", (unsigned long long)r->body_n);
    }
    at += (size_t)snprintf(text + at, cap - at, " %u", r->field_n);
    assert_true(at < cap);
    return (struct str){text, at};
}

static void accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct field fields[FIELDS];
        struct h1_request r;
        enum h1_fault fault = H1_FAULT_NONE;
        if (h1_request_parse(good[i].head.p, good[i].head.n, fields, FIELDS, &r, &fault) != E_OK) {
            fail_msg("case %zu: %s\n%.*s", i, h1_fault_text(fault), STR_ARG(good[i].head));
        }
        char room[256];
        struct str text = describe(&r, room, sizeof(room));
        if (!str_eq(text, good[i].text)) {
            fail_msg("case %zu: %.*s\n%.*s", i, STR_ARG(text), STR_ARG(good[i].text));
        }
    }
}

static void fields_carry_name_value_id_and_line(void **state)
{
    (void)state;
    static const char head[] = "GET / HTTP/1.1\r\nHost:a\r\nX-Empty:  \r\nuser-AGENT: b c \r\n\r\n";
    struct field f[FIELDS];
    struct h1_request r;
    enum h1_fault fault;
    assert_int_equal(h1_request_parse(head, sizeof(head) - 1, f, FIELDS, &r, &fault), E_OK);
    assert_int_equal(r.field_n, 3);
    assert_int_equal(f[0].id, FIELD_host);
    assert_true(str_eq(f[0].value, STR("a")));
    assert_int_equal(f[0].line_n, 8);
    assert_int_equal(f[1].id, FIELD_OTHER);
    assert_true(str_eq(f[1].name, STR("X-Empty")));
    assert_int_equal(f[1].value.n, 0);
    assert_int_equal(f[1].line_n, 12);
    assert_int_equal(f[2].id, FIELD_user_agent);
    assert_true(str_eq(f[2].name, STR("user-AGENT")));
    assert_true(str_eq(f[2].value, STR("b c")));
    assert_ptr_equal(f[2].name.p + f[2].line_n, head + sizeof(head) - 3);
}

static void field_limit(void **state)
{
    (void)state;
    static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n";
    struct field fields[FIELDS];
    struct h1_request r;
    enum h1_fault fault = H1_FAULT_NONE;
    assert_int_equal(h1_request_parse(head, sizeof(head) - 1, fields, 2, &r, &fault), E_OK);
    assert_int_equal(h1_request_parse(head, sizeof(head) - 1, fields, 1, &r, &fault), E_PROTO);
    assert_int_equal(fault, H1_FAULT_TOO_MANY_FIELDS);
}

static void nothing_is_written_on_failure(void **state)
{
    (void)state;
    static const char head[] = "GET / HTTP/1.1\r\n\r\n";
    struct field fields[FIELDS];
    struct h1_request r, before;
    enum h1_fault fault;
    memset(&r, 0x5a, sizeof(r));
    memset(&before, 0x5a, sizeof(before));
    assert_int_equal(h1_request_parse(head, sizeof(head) - 1, fields, FIELDS, &r, &fault), E_PROTO);
    assert_memory_equal(&r, &before, sizeof(r));
}

/* Each byte in each place: what is accepted has no control byte in it, whatever the place. */
static void every_byte_everywhere(void **state)
{
    (void)state;
    static const char head[] = "GET /p HTTP/1.1\r\nHost: a\r\nName: value and more text\r\n\r\n";
    enum { N = sizeof(head) - 1 };
    char bytes[N];
    for (size_t at = 0; at < N; at++) {
        for (int c = 0; c < 256; c++) {
            struct field fields[FIELDS];
            struct h1_request r;
            enum h1_fault fault;
            memcpy(bytes, head, N);
            bytes[at] = (char)c;
            bool is_ctl = (c < 0x20 && c != '\t') || c == 0x7f;
            enum err e = h1_request_parse(bytes, N, fields, FIELDS, &r, &fault);
            if (is_ctl && head[at] != (char)c) {
                assert_int_equal(e, E_PROTO);
            }
            if (e == E_OK) {
                assert_true((uint8_t)c < 0x80 || (at >= 31 && at < N - 4));
            }
        }
    }
}

static void lists(void **state)
{
    (void)state;
    assert_true(h1_list_has(STR("a"), STR("A")));
    assert_true(h1_list_has(STR(" x ,\tfoo\t, y"), STR("foo")));
    assert_true(h1_list_has(STR(",,b"), STR("b")));
    assert_false(h1_list_has(STR(""), STR("a")));
    assert_false(h1_list_has(STR("foobar, barfoo"), STR("foo")));
    assert_false(h1_list_has(STR("foo bar"), STR("foo")));
    assert_false(h1_list_has(STR(",,"), STR("")));
}

/* RFC 9112 section 3: a target that is too long is told apart, for 414. */
static void targets_are_bounded(void **state)
{
    enum { ROOM = TARGET_BYTES_MAX + 64 };
    (void)state;
    char *text = malloc(ROOM);
    assert_non_null(text);
    for (size_t n = TARGET_BYTES_MAX; n <= TARGET_BYTES_MAX + 1; n++) {
        struct field fields[4];
        struct h1_request r;
        enum h1_fault fault = H1_FAULT_NONE;
        struct wr w = wr_make(text, ROOM);
        wr_str(&w, STR("GET /"));
        for (size_t i = 1; i < n; i++) {
            wr_char(&w, 'x');
        }
        wr_str(&w, STR(" HTTP/1.1\r\nHost: a\r\n\r\n"));
        enum err e = h1_request_parse(text, wr_n(&w), fields, 4, &r, &fault);
        assert_int_equal(e, n == TARGET_BYTES_MAX ? E_OK : E_PROTO);
        assert_int_equal(fault, n == TARGET_BYTES_MAX ? H1_FAULT_NONE : H1_FAULT_TARGET_LONG);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses),
        cmocka_unit_test(accepts),
        cmocka_unit_test(fields_carry_name_value_id_and_line),
        cmocka_unit_test(field_limit),
        cmocka_unit_test(nothing_is_written_on_failure),
        cmocka_unit_test(every_byte_everywhere),
        cmocka_unit_test(lists),
        cmocka_unit_test(targets_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
