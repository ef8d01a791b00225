/* Heads as they go out. */
#include "http1/emit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char text[512];

static struct wr room(size_t n)
{
    memset(text, '#', sizeof(text));
    return wr_make(text, n);
}

static const char *written(struct wr *w)
{
    assert_false(w->bad);
    text[wr_n(w)] = '\0';
    return text;
}

/* A field as the parser makes it from an HTTP/1 line. */
static struct field line(const char *p, size_t name_n, enum field_name id)
{
    size_t n = strlen(p);
    return (struct field){
        .name = {p,              name_n        },
        .value = {p + name_n + 2, n - name_n - 4},
        .id = id,
        .line_n = (uint32_t)n
    };
}

static struct field made(const char *name, const char *value, enum field_name id)
{
    return (struct field){.name = str_from_cstr(name), .value = str_from_cstr(value), .id = id};
}

static void runs_of_lines_are_copied_as_they_are(void **state)
{
    static const char head[] = "Accept:  x \r\nB: y\r\nC: z\r\nD: w\r\n";
    struct field fields[3] = {
        {.name = {head, 6}, .value = {head + 9, 1}, .line_n = 13},
        line("B: y\r\n", 1, FIELD_OTHER),
        made("New", "field", FIELD_OTHER)
    };
    struct wr w = room(sizeof(text));
    (void)state;
    fields[1].name.p = head + 13; /* side by side with the one before */
    assert_false(emit_fields(&w, fields, 3, false));
    assert_string_equal(written(&w), "Accept:  x \r\nB: y\r\nNew: field\r\n");
    fields[1].name.p = head + 19; /* with a gap: the field between was taken out */
    w = room(sizeof(text));
    assert_false(emit_fields(&w, fields, 2, false));
    assert_string_equal(written(&w), "Accept:  x \r\nC: z\r\n");
}

static void content_length_is_kept_once_or_not_at_all(void **state)
{
    struct field fields[3] = {made("Content-Length", "5", FIELD_content_length),
                              made("content-length", "5", FIELD_content_length),
                              made("A", "b", FIELD_OTHER)};
    struct wr w = room(sizeof(text));
    (void)state;
    assert_true(emit_fields(&w, fields, 3, true));
    assert_string_equal(written(&w), "Content-Length: 5\r\nA: b\r\n");
    w = room(sizeof(text));
    assert_false(emit_fields(&w, fields, 3, false));
    assert_string_equal(written(&w), "A: b\r\n");
}

static void framing_says_the_length_once(void **state)
{
    static const struct {
        enum http_body body;
        bool is_written;
        const char *text;
    } cases[] = {
        {HTTP_BODY_NONE,   false, ""                                        },
        {HTTP_BODY_LENGTH, false, "content-length: 18446744073709551615\r\n"},
        {HTTP_BODY_LENGTH, true,  ""                                        },
        {HTTP_BODY_STREAM, false, "transfer-encoding: chunked\r\n"          },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wr w = room(sizeof(text));
        emit_framing(&w, cases[i].body, UINT64_MAX, cases[i].is_written);
        assert_string_equal(written(&w), cases[i].text);
    }
}

static void first_lines(void **state)
{
    struct http_request r = {.method = STR("PATCH"), .target = STR("/a?b")};
    struct wr w = room(sizeof(text));
    (void)state;
    emit_request_line(&w, &r);
    assert_string_equal(written(&w), "PATCH /a?b HTTP/1.1\r\n");
    w = room(sizeof(text));
    emit_status_line(&w, 200);
    emit_status_line(&w, 503);
    emit_status_line(&w, 599); /* unknown: the blank stays, RFC 9112 section 4 */
    assert_string_equal(written(&w),
                        "HTTP/1.1 200 OK\r\nHTTP/1.1 503 Service Unavailable\r\nHTTP/1.1 599 \r\n");
}

static void a_head_fits_to_the_byte(void **state)
{
    struct field f = made("Name", "value", FIELD_OTHER);
    struct wr w = room(13);
    (void)state;
    (void)emit_fields(&w, &f, 1, false);
    assert_int_equal(wr_n(&w), 13);
    assert_false(w.bad);
    w = room(12);
    (void)emit_fields(&w, &f, 1, false);
    assert_true(w.bad);
    assert_int_equal(text[12], '#');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_of_lines_are_copied_as_they_are),
        cmocka_unit_test(content_length_is_kept_once_or_not_at_all),
        cmocka_unit_test(framing_says_the_length_once),
        cmocka_unit_test(first_lines),
        cmocka_unit_test(a_head_fits_to_the_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
