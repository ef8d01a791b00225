/* Body framing: in by pieces of any size, out with what was announced. */
#include "http1/body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_MAX = 512 };

/* ---- in ---- */

/* Feeds text in pieces of step bytes; what was left over of the last one is put in *ret_rest. */
static enum err feed(struct body_in *b, const char *text, size_t step, char *ret_data,
                     size_t *ret_rest)
{
    char bytes[TEXT_MAX];
    size_t n = strlen(text), data_n = 0, held_n = 0;
    enum h1_fault fault = H1_FAULT_NONE;
    for (size_t at = 0; at < n && !b->is_done; at += step) {
        size_t piece = n - at < step ? n - at : step;
        struct str rest, data;
        memcpy(bytes + held_n, text + at, piece); /* behind what was not taken yet */
        rest = str_make(bytes, held_n + piece);
        enum err e = body_in_take(b, &rest, &data, &fault);
        if (e != E_OK) {
            assert_int_not_equal(fault, H1_FAULT_NONE);
            return e;
        }
        memcpy(ret_data + data_n, data.p, data.n);
        data_n += data.n;
        *ret_rest = n - at - piece + rest.n;
        memmove(bytes, rest.p, rest.n);
        held_n = rest.n;
    }
    ret_data[data_n] = '\0';
    return E_OK;
}

static void check_in(enum h1_body kind, uint64_t n, const char *text, const char *data, size_t rest)
{
    for (size_t step = 1; step <= strlen(text); step++) {
        char got[TEXT_MAX];
        size_t got_rest = 0;
        struct body_in b;
        body_in_start(&b, kind, n);
        assert_int_equal(feed(&b, text, step, got, &got_rest), E_OK);
        assert_string_equal(got, data);
        assert_int_equal(got_rest, rest);
        assert_true(b.is_done || kind == H1_BODY_UNTIL_CLOSE);
    }
}

static void a_counted_body_ends_at_its_length(void **state)
{
    (void)state;
    check_in(H1_BODY_LENGTH, 5, "hello", "hello", 0);
    check_in(H1_BODY_LENGTH, 5, "helloGET", "hello", 3); /* the next message is left alone */
}

static void one_byte_less_is_not_the_end(void **state)
{
    char got[TEXT_MAX];
    size_t rest;
    struct body_in b;
    (void)state;
    body_in_start(&b, H1_BODY_LENGTH, 5);
    assert_int_equal(feed(&b, "hell", 4, got, &rest), E_OK);
    assert_false(b.is_done);
    assert_int_equal(body_in_end(&b), E_CLOSED);
}

static void empty_bodies_are_done_at_once(void **state)
{
    struct body_in b;
    (void)state;
    body_in_start(&b, H1_BODY_NONE, 0);
    assert_true(b.is_done);
    body_in_start(&b, H1_BODY_LENGTH, 0);
    assert_true(b.is_done);
    body_in_start(&b, H1_BODY_CHUNKED, 0);
    assert_false(b.is_done);
}

static void chunks_are_moved_together(void **state)
{
    (void)state;
    check_in(H1_BODY_CHUNKED, 0, "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nT: v\r\n\r\n",
             "hello world", 0);
    check_in(H1_BODY_CHUNKED, 0, "1\r\nx\r\n0\r\n\r\nGET /", "x", 5);
}

static void broken_chunks_are_refused_in_any_pieces(void **state)
{
    static const char *const texts[] = {"5\r\nhelloX", "g\r\n", "5\nhello\r\n", "0\r\n:\r\n\r\n",
                                        "11111111111111111\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        for (size_t step = 1; step <= strlen(texts[i]); step++) {
            char got[TEXT_MAX];
            size_t rest;
            struct body_in b;
            body_in_start(&b, H1_BODY_CHUNKED, 0);
            assert_int_equal(feed(&b, texts[i], step, got, &rest), E_PROTO);
        }
    }
}

static void only_some_bodies_may_end_with_the_connection(void **state)
{
    struct body_in b;
    (void)state;
    body_in_start(&b, H1_BODY_UNTIL_CLOSE, 0);
    assert_int_equal(body_in_end(&b), E_OK);
    assert_true(b.is_done);
    body_in_start(&b, H1_BODY_CHUNKED, 0);
    assert_int_equal(body_in_end(&b), E_CLOSED);
    body_in_start(&b, H1_BODY_LENGTH, 1);
    assert_int_equal(body_in_end(&b), E_CLOSED);
    body_in_start(&b, H1_BODY_LENGTH, 0);
    assert_int_equal(body_in_end(&b), E_OK);
    check_in(H1_BODY_UNTIL_CLOSE, 0, "all of it", "all of it", 0);
}

/* ---- out ---- */

static const char *framed(struct body_out *b, const char *data, bool is_end)
{
    static char text[TEXT_MAX];
    struct body_frame frame;
    struct iovec parts[BODY_PARTS];
    int n = 0;
    size_t at = 0;
    if (body_out_frame(b, str_from_cstr(data), is_end, STR_EMPTY, &frame, parts, &n) != E_OK) {
        return "error";
    }
    assert_true(n <= BODY_PARTS);
    for (int i = 0; i < n; i++) {
        memcpy(text + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    text[at] = '\0';
    return text;
}

static void chunks_are_framed(void **state)
{
    struct body_out b = {.coding = BODY_OUT_CHUNKED};
    (void)state;
    assert_string_equal(framed(&b, "hello world, sixteen", false),
                        "14\r\nhello world, sixteen\r\n");
    assert_string_equal(framed(&b, "", false), ""); /* a chunk of nothing would be the end */
    assert_string_equal(framed(&b, "x", true), "1\r\nx\r\n0\r\n\r\n");
    assert_true(b.is_done);
    b = (struct body_out){.coding = BODY_OUT_CHUNKED};
    assert_string_equal(framed(&b, "", true), "0\r\n\r\n");
}

static void a_length_is_kept_to_the_byte(void **state)
{
    struct body_out b = {BODY_OUT_PLAIN, .left = 5, .has_length = true};
    struct body_out once = b, more = b, less = b;
    (void)state;
    assert_string_equal(framed(&b, "he", false), "he");
    assert_string_equal(framed(&b, "llo", true), "llo");
    assert_true(b.is_done);
    assert_string_equal(framed(&once, "hello", true), "hello");
    assert_string_equal(framed(&more, "hello!", true), "error"); /* n + 1 */
    assert_string_equal(framed(&less, "hell", true), "error");   /* n - 1 */
    assert_false(less.is_done);
}

static void nothing_follows_the_end(void **state)
{
    struct body_out b = {.coding = BODY_OUT_CHUNKED};
    (void)state;
    (void)framed(&b, "", true);
    assert_string_equal(framed(&b, "", true), ""); /* an end twice is no harm, bytes are */
    assert_string_equal(framed(&b, "x", true), "error");
}

static void a_body_that_must_not_be_stays_behind(void **state)
{
    struct body_out b = {.coding = BODY_OUT_NONE};
    (void)state;
    assert_string_equal(framed(&b, "body of a HEAD", true), "");
    assert_true(b.is_done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counted_body_ends_at_its_length),
        cmocka_unit_test(one_byte_less_is_not_the_end),
        cmocka_unit_test(empty_bodies_are_done_at_once),
        cmocka_unit_test(chunks_are_moved_together),
        cmocka_unit_test(broken_chunks_are_refused_in_any_pieces),
        cmocka_unit_test(only_some_bodies_may_end_with_the_connection),
        cmocka_unit_test(chunks_are_framed),
        cmocka_unit_test(a_length_is_kept_to_the_byte),
        cmocka_unit_test(nothing_follows_the_end),
        cmocka_unit_test(a_body_that_must_not_be_stays_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
