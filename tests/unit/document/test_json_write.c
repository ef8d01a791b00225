/* admin/json: commas, nesting, indentation, strings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "document/json_write.h"

static void emit_all(struct json *j)
{
    json_object(j);
    json_name_u64(j, "a", UINT64_MAX);
    json_name(j, "b");
    json_array(j);
    json_bool(j, true);
    json_null(j);
    json_cstr(j, NULL);
    json_array(j);
    json_end_array(j);
    json_object(j);
    json_end_object(j);
    json_end_array(j);
    json_name_cstr(j, "c", "x");
    json_name_bool(j, "d", false);
    json_end_object(j);
    json_finish(j);
}

static void one_line(void **state)
{
    struct buf b;
    struct json j;
    (void)state;
    buf_init(&b, 4096);
    j = json_make(&b, false);
    emit_all(&j);
    buf_add_char(&b, 0);
    assert_string_equal(b.p, "{\"a\":18446744073709551615,\"b\":[true,null,null,[],{}],\"c\":\"x\","
                             "\"d\":false}\n");
    buf_fini(&b);
}

static void indented(void **state)
{
    struct buf b;
    struct json j;
    (void)state;
    buf_init(&b, 4096);
    j = json_make(&b, true);
    json_object(&j);
    json_name(&j, "a");
    json_array(&j);
    json_u64(&j, 1);
    json_u64(&j, 2);
    json_end_array(&j);
    json_name(&j, "b");
    json_array(&j);
    json_end_array(&j);
    json_end_object(&j);
    json_finish(&j);
    buf_add_char(&b, 0);
    assert_string_equal(b.p, "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": []\n}\n");
    buf_fini(&b);
}

/* Well-formed UTF-8 stays, everything else becomes U+FFFD byte by byte: RFC 3629. */
static void strings(void **state)
{
    static const struct {
        struct str in;
        const char *out;
    } cases[] = {
        {STR_INIT(""),                                       "\"\""                            },
        {STR_INIT("a\"b\\c/"),                               "\"a\\\"b\\\\c/\""                },
        {STR_INIT("\n\t\x01\x7f"),                           "\"\\n\\u0009\\u0001\\u007f\""    },
        {STR_INIT("a\0b"),                                   "\"a\\u0000b\""                   },
        {STR_INIT("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
         "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\""                                          },
        {STR_INIT("\xff"),                                   "\"\\ufffd\""                     },
        {STR_INIT("\xc3"),                                   "\"\\ufffd\""                     },
        {STR_INIT("\xc0\x80"),                               "\"\\ufffd\\ufffd\""              },
        {STR_INIT("\xe0\x80\x80"),                           "\"\\ufffd\\ufffd\\ufffd\""       },
        {STR_INIT("\xed\xa0\x80"),                           "\"\\ufffd\\ufffd\\ufffd\""       },
        {STR_INIT("\xf4\x90\x80\x80"),                       "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {STR_INIT("\xc3("),                                  "\"\\ufffd(\""                    },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b;
        buf_init(&b, 4096);
        struct json j = json_make(&b, false);
        json_str(&j, cases[i].in);
        buf_add_char(&b, 0);
        assert_string_equal(b.p, cases[i].out);
        buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line),
        cmocka_unit_test(indented),
        cmocka_unit_test(strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
