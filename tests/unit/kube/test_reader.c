/* Bodies into entries: whole, byte by byte and split at each offset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "kube/reader.h"

enum { OUT_MAX = 1 << 20 };

static enum err on_entry(void *arg, const struct kube_entry *e)
{
    static const char *const names[] = {"object", "gone", "bookmark", "page", "error"};
    struct str name = tree_get_string(tree_get(e->object, STR("metadata")), STR("name"));
    buf_addf(arg, "%s(%.*s@%.*s", names[e->kind], STR_ARG(name), STR_ARG(e->version));
    if (e->next.n > 0) {
        buf_addf(arg, " next %.*s", STR_ARG(e->next));
    }
    if (e->kind == KUBE_ENTRY_ERROR) {
        buf_addf(arg, " %u %.*s %.*s %u", e->status.code, STR_ARG(e->status.reason),
                 STR_ARG(e->status.message), (unsigned)(e->status.retry_after / USEC_PER_SEC));
    }
    buf_add_char(arg, ')');
    return str_eq(name, STR("stop")) ? E_CLOSED : E_OK;
}

static enum err run(struct buf *out, enum kube_body body, struct str text, size_t first,
                    size_t step)
{
    struct kube_reader *r;
    enum err e = kube_reader_new(body, on_entry, out, &r);
    if (e != E_OK) {
        return e;
    }
    for (size_t at = 0, n = first; e == E_OK && at < text.n; at += n, n = step) {
        e = kube_reader_feed(r, str_first(str_from(text, at), n));
        n = at == 0 ? first : step;
    }
    if (e == E_OK) {
        e = kube_reader_end(r);
    }
    kube_reader_free(r);
    return e;
}

struct body_case {
    enum kube_body body;
    struct str text;
    enum err e;
    const char *want;
};

static void check(const struct body_case *c, size_t first, size_t step)
{
    struct buf out;
    buf_init(&out, OUT_MAX);
    enum err e = run(&out, c->body, c->text, first, step);
    buf_add_char(&out, '\0');
    if (e != c->e || !str_eq(str_from_cstr(out.p), str_from_cstr(c->want))) {
        fail_msg("%s\nsplit at %zu, step %zu: %s, %s; want %s, %s", c->text.p, first, step,
                 err_text(e), out.p, err_text(c->e), c->want);
    }
    buf_fini(&out);
}

#define META(name, version)                                                                        \
    "\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"" version "\"}"
#define EVENT(type, name, version) "{\"type\":\"" type "\",\"object\":{" META(name, version) "}}\n"

static void bodies(void **state)
{
    /* clang-format off */ /* it crashes on this table */
    static const struct body_case cases[] = {
        {KUBE_BODY_LIST, STR_INIT("{\"kind\":\"List\",\"metadata\":{\"resourceVersion\":\"7\"},"
                                  "\"items\":[{" META("a", "1") "},{" META("b", "2") "}]}"),
         E_OK, "object(a@1)object(b@2)page(@7)"},
        {KUBE_BODY_LIST, STR_INIT("{\"items\":null,\"metadata\":{\"resourceVersion\":\"7\","
                                  "\"continue\":\"x\"}}"),
         E_OK, "page(@7 next x)"},
        {KUBE_BODY_LIST, STR_INIT("{\"items\":[{\"metadata\":{\"name\":\"a\"}}]}"), E_PROTO,
         "object(a@)"},
        {KUBE_BODY_LIST, STR_INIT("{\"items\":[7]}"), E_PROTO, ""},
        {KUBE_BODY_LIST, STR_INIT("{\"metadata\":{\"resourceVersion\":\"7\"},\"items\":["), E_PROTO,
         ""},
        {KUBE_BODY_LIST, STR_INIT(""), E_PROTO, ""},
        {KUBE_BODY_LIST, STR_INIT("<html>"), E_PROTO, ""},
        {KUBE_BODY_LIST, STR_INIT("{\"items\":[{" META("stop", "1") "},{" META("b", "2") "}]}"),
         E_CLOSED, "object(stop@1)"},
        {KUBE_BODY_LIST, STR_INIT("{\"metadata\":{\"resourceVersion\":\"7\"}}"
                                  "{\"metadata\":{\"resourceVersion\":\"7\"}}"),
         E_PROTO, "page(@7)"},
        {KUBE_BODY_WATCH,
         STR_INIT(EVENT("ADDED", "a", "1") EVENT("MODIFIED", "a", "2") EVENT("DELETED", "a", "3")
                      EVENT("BOOKMARK", "", "9")),
         E_OK, "object(a@1)object(a@2)gone(a@3)bookmark(@9)"},
        {KUBE_BODY_WATCH, STR_INIT(""), E_OK, ""},
        {KUBE_BODY_WATCH, STR_INIT(EVENT("ADDED", "a", "1") "{\"type\":"), E_PROTO, "object(a@1)"},
        {KUBE_BODY_WATCH, STR_INIT(EVENT("NEW", "a", "1") EVENT("ADDED", "b", "2")), E_OK,
         "object(b@2)"},
        {KUBE_BODY_WATCH, STR_INIT("{\"object\":{" META("a", "1") "}}"), E_PROTO, ""},
        {KUBE_BODY_WATCH, STR_INIT(EVENT("ADDED", "a", "")), E_PROTO, ""},
        {KUBE_BODY_WATCH, STR_INIT("{\"type\":\"ADDED\",\"object\":null}"), E_PROTO, ""},
        {KUBE_BODY_WATCH,
         STR_INIT(EVENT("ADDED", "a", "1234567890123456789012345678901234567890123456789012345678"
                                      "901234")),
         E_OK,
         "object(a@1234567890123456789012345678901234567890123456789012345678901234)"},
        {KUBE_BODY_WATCH,
         STR_INIT(EVENT("ADDED", "a", "1234567890123456789012345678901234567890123456789012345678"
                                      "9012345")),
         E_PROTO, ""},
        {KUBE_BODY_WATCH,
         STR_INIT("{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,"
                  "\"reason\":\"Expired\",\"message\":\"too old\"}}"),
         E_OK, "error(@ 410 Expired too old 0)"},
        {KUBE_BODY_WATCH,
         STR_INIT("{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":504,"
                  "\"reason\":\"Timeout\",\"details\":{\"retryAfterSeconds\":3,\"causes\":"
                  "[{\"reason\":\"x\"},{\"reason\":\"ResourceVersionTooLarge\"}]}}}"),
         E_OK, "error(@ 504 ResourceVersionTooLarge  3)"},
        {KUBE_BODY_WATCH,
         STR_INIT("{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":403,"
                  "\"reason\":\"Forbidden\",\"details\":{\"causes\":"
                  "[{\"reason\":\"NamespaceTerminating\"}]}}}"),
         E_OK, "error(@ 403 NamespaceTerminating  0)"},
        {KUBE_BODY_WATCH,
         STR_INIT("{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":-1,"
                  "\"details\":{\"retryAfterSeconds\":-5,\"causes\":{}}}}"),
         E_OK, "error(@ 0   0)"},
        {KUBE_BODY_WATCH, STR_INIT("{\"type\":\"ERROR\",\"object\":{}}"), E_PROTO, ""},
        {KUBE_BODY_OBJECT, STR_INIT("{" META("a", "1") "}"), E_OK, "object(a@1)"},
        {KUBE_BODY_OBJECT, STR_INIT("{" META("a", "1") "}{" META("b", "2") "}"), E_PROTO,
         "object(a@1)"},
        {KUBE_BODY_OBJECT, STR_INIT("[]"), E_PROTO, ""},
        {KUBE_BODY_OBJECT, STR_INIT(""), E_PROTO, ""},
    };
    /* clang-format on */
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check(&cases[i], cases[i].text.n, 1);
        check(&cases[i], 1, 1);
        for (size_t at = 1; at < cases[i].text.n; at++) {
            check(&cases[i], at, cases[i].text.n);
        }
    }
}

/* An event with a text of that many bytes, in pieces as libcurl gives them. */
static enum err read_long(size_t n, size_t piece)
{
    struct buf in, out;
    buf_init(&in, KUBE_EVENT_BYTES_MAX * 2);
    buf_init(&out, OUT_MAX);
    buf_add_str(&in, STR("{\"type\":\"ADDED\",\"object\":{" META("a", "1") ",\"data\":\""));
    size_t zero = in.n;
    (void)buf_add_zero(&in, n - in.n - 4);
    for (size_t i = zero; i < in.n; i++) {
        in.p[i] = 'x';
    }
    buf_add_str(&in, STR("\"}}\n"));
    assert_false(in.bad);
    assert_int_equal(in.n, n);
    enum err e = run(&out, KUBE_BODY_WATCH, buf_str(&in), piece, piece);
    assert_true(e != E_OK || str_eq(buf_str(&out), STR("object(a@1)")));
    buf_fini(&in);
    buf_fini(&out);
    return e;
}

static void size_limit(void **state)
{
    (void)state;
    assert_int_equal(read_long(KUBE_EVENT_BYTES_MAX, 2048), E_OK);
    assert_int_equal(read_long(KUBE_EVENT_BYTES_MAX + 1, 2048), E_LIMIT);
    assert_int_equal(read_long(KUBE_EVENT_BYTES_MAX, 1 << 20), E_OK);
}

/* Held back or not, an event is told with the piece in which its line ends. */
static void is_told_at_once(void **state)
{
    struct kube_reader *r;
    struct buf in, out;
    (void)state;
    buf_init(&in, OUT_MAX);
    buf_init(&out, OUT_MAX);
    assert_int_equal(kube_reader_new(KUBE_BODY_WATCH, on_entry, &out, &r), E_OK);
    for (size_t n = 1000; n < 400 * 1000; n += 33333) {
        buf_reset(&in);
        buf_reset(&out);
        buf_add_str(&in, STR("{\"type\":\"ADDED\",\"object\":{" META("a", "1") ",\"data\":\""));
        for (size_t i = 0; i < n; i++) {
            buf_add_char(&in, 'x');
        }
        buf_add_str(&in, STR("\"}}\n"));
        for (size_t at = 0; at < in.n; at += 2000) {
            assert_int_equal(kube_reader_feed(r, str_first(str_from(buf_str(&in), at), 2000)),
                             E_OK);
        }
        assert_true(str_eq(buf_str(&out), STR("object(a@1)")));
    }
    assert_int_equal(kube_reader_end(r), E_OK);
    kube_reader_free(r);
    buf_fini(&in);
    buf_fini(&out);
}

static void survives_no_memory(void **state)
{
    static const struct str text = STR_INIT(EVENT("ADDED", "a", "1") EVENT("DELETED", "a", "2"));
    enum err e = E_NOMEM;
    (void)state;
    for (size_t n = 1; e != E_OK; n++) {
        struct buf out;
        buf_init(&out, OUT_MAX);
        mem_fail_from(n);
        e = run(&out, KUBE_BODY_WATCH, text, 10, 10);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies),
        cmocka_unit_test(size_limit),
        cmocka_unit_test(is_told_at_once),
        cmocka_unit_test(survives_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
