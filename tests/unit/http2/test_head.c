/* Header sections put together as lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "http2/head.h"

static struct http2_head head;

static void add(const char *name, const char *value)
{
    assert_int_equal(http2_head_add(&head, str_from_cstr(name), str_from_cstr(value)), E_OK);
}

static void assert_str(struct str got, const char *wanted)
{
    assert_true(str_eq(got, str_from_cstr(wanted)));
}

static void fill(void)
{
    http2_head_begin(&head, 1000, 10);
    add(":method", "GET");
    add(":path", "/a");
    add(":authority", "a.test");
    add("x-one", "1");
    add("cookie", "a=b");
    add("user-agent", "me");
    add("cookie", "c=d");
}

static void check_filled(void)
{
    assert_str(head.method, "GET");
    assert_str(head.path, "/a");
    assert_str(head.authority, "a.test");
    assert_int_equal(head.field_n, 3);
    assert_int_equal(head.fields[1].id, FIELD_user_agent);
    assert_str(head.fields[2].name, "cookie");
    assert_str(head.fields[2].value, "a=b; c=d");
    /* one run of lines, for one copy */
    const char *lines = head.fields[0].name.p;
    assert_memory_equal(lines, "x-one: 1\r\nuser-agent: me\r\ncookie: a=b; c=d\r\n", 44);
    assert_int_equal(head.fields[0].line_n + head.fields[1].line_n + head.fields[2].line_n, 44);
}

static void test_lines_and_crumbs(void **state)
{
    (void)state;
    fill();
    http2_head_end(&head);
    check_filled();
}

static void test_keep_and_restore(void **state)
{
    (void)state;
    struct buf kept;
    buf_init(&kept, sizeof(head));
    fill();
    assert_int_equal(http2_head_keep(&head, &kept), E_OK);
    http2_head_begin(&head, 10, 1); /* somebody else's */
    add("x-other", "fills the same room with other bytes, all of it and more");
    http2_head_restore(&head, &kept);
    http2_head_end(&head);
    check_filled();
    assert_null(kept.p);
}

static void test_no_memory_to_keep(void **state)
{
    (void)state;
    struct buf kept;
    buf_init(&kept, sizeof(head));
    fill();
    mem_fail_from(1);
    assert_int_equal(http2_head_keep(&head, &kept), E_NOMEM);
    mem_fail_from(0);
    buf_fini(&kept);
}

static void test_bytes_max(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        http2_head_begin(&head, 20, 10); /* 5 + 11 + 4 */
        add("x-abc", extra == 0 ? "01234567890" : "012345678901");
        assert_int_equal(head.fault, extra == 0 ? REASON_none : REASON_head_too_large);
        assert_int_equal(head.field_n, extra == 0);
    }
}

static void test_fields_max(void **state)
{
    (void)state;
    http2_head_begin(&head, 1000, 2);
    add(":path", "/"); /* does not count */
    add("a", "1");
    add("b", "2");
    add("cookie", "joined, and counted as crumbs");
    assert_int_equal(head.fault, REASON_none);
    add("c", "3");
    assert_int_equal(head.fault, REASON_head_too_large);
    http2_head_end(&head);
}

static void test_crumbs_max(void **state)
{
    (void)state;
    http2_head_begin(&head, HEAD_BYTES_MAX, HEAD_FIELDS_MAX);
    for (int i = 0; i < HTTP2_COOKIE_CRUMBS_MAX; i++) {
        add("cookie", "a=b");
    }
    assert_int_equal(head.fault, REASON_none);
    add("cookie", "a=b");
    assert_int_equal(head.fault, REASON_head_too_large);
    http2_head_end(&head);
    assert_int_equal(head.fields[0].value.n, HTTP2_COOKIE_CRUMBS_MAX * 5 - 2);
}

/* The largest of everything fits its room: the cookie of one byte crumbs grows by its blanks. */
static void test_room(void **state)
{
    (void)state;
    static char long_value[HEAD_BYTES_MAX];
    http2_head_begin(&head, HEAD_BYTES_MAX, HEAD_FIELDS_MAX);
    for (size_t i = 0; i < sizeof(long_value); i++) {
        long_value[i] = 'x';
    }
    struct str value = str_make(long_value, HEAD_BYTES_MAX - 10);
    assert_int_equal(http2_head_add(&head, STR("cookie"), value), E_OK);
    assert_int_equal(head.fault, REASON_none);
    http2_head_end(&head);
    http2_head_add_own(&head, FIELD_OTHER, STR("sec-websocket-key"),
                       STR("24 bytes of base64......"));
    assert_int_equal(head.field_n, 2);
}

static void test_target_max(void **state)
{
    (void)state;
    static char path[TARGET_BYTES_MAX + 1];
    for (size_t i = 0; i < sizeof(path); i++) {
        path[i] = '/';
    }
    for (size_t extra = 0; extra < 2; extra++) {
        http2_head_begin(&head, HEAD_BYTES_MAX, HEAD_FIELDS_MAX);
        assert_int_equal(
            http2_head_add(&head, STR(":path"), str_make(path, TARGET_BYTES_MAX + extra)), E_OK);
        assert_int_equal(head.fault, extra == 0 ? REASON_none : REASON_target_too_long);
    }
}

static void test_decoded_max(void **state)
{
    (void)state;
    static char value[4096];
    http2_head_begin(&head, 1000, 10);
    size_t n = 0;
    struct str v = str_make(value, sizeof(value) - 5); /* 1 + 4 for the name and the line */
    while (http2_head_add(&head, STR("x"), v) == E_OK) {
        n++;
    }
    assert_int_equal(n, HTTP2_DECODED_BYTES_MAX / 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_and_crumbs),
        cmocka_unit_test(test_keep_and_restore),
        cmocka_unit_test(test_no_memory_to_keep),
        cmocka_unit_test(test_bytes_max),
        cmocka_unit_test(test_fields_max),
        cmocka_unit_test(test_crumbs_max),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_target_max),
        cmocka_unit_test(test_decoded_max),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
