/* Timeouts, statuses, types and messages of gRPC. */
#include "wire/grpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_timeouts(void **state)
{
    static const struct {
        const char *text;
        usec_t usec;
    } rows[] = {
        {"1H",        3600 * USEC_PER_SEC                     },
        {"2M",        120 * USEC_PER_SEC                      },
        {"10S",       10 * USEC_PER_SEC                       },
        {"5m",        5 * USEC_PER_MS                         },
        {"7u",        7                                       },
        {"1n",        1                                       },
        {"1000n",     1                                       },
        {"1001n",     2                                       },
        {"0S",        0                                       },
        {"00000001S", USEC_PER_SEC                            },
        {"99999999H", UINT64_C(99999999) * 3600 * USEC_PER_SEC},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        usec_t got;
        assert_int_equal(grpc_timeout_parse(str_from_cstr(rows[i].text), &got), E_OK);
        assert_int_equal(got, rows[i].usec);
    }
}

static void test_no_timeouts(void **state)
{
    static const char *const texts[] = {"",    "S",    "1",   "1s",  "1h",  "-1S",
                                        "+1S", "1.S",  " 1S", "1S ", "1SS", "100000000S",
                                        "x",   "0x1S", "1d",  "1 S"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        usec_t got = 77;
        assert_int_equal(grpc_timeout_parse(str_from_cstr(texts[i]), &got), E_PROTO);
        assert_int_equal(got, 77);
    }
}

static void test_statuses(void **state)
{
    uint8_t code = 99;
    (void)state;
    assert_int_equal(grpc_status_parse(STR("0"), &code), E_OK);
    assert_int_equal(code, 0);
    assert_int_equal(grpc_status_parse(STR("16"), &code), E_OK);
    assert_int_equal(code, 16);
    assert_int_equal(grpc_status_parse(STR("17"), &code), E_PROTO);
    assert_int_equal(grpc_status_parse(STR(""), &code), E_PROTO);
    assert_int_equal(grpc_status_parse(STR("-1"), &code), E_PROTO);
    assert_int_equal(code, 16);
}

static void test_types(void **state)
{
    static const char *const good[] = {
        "application/grpc",           "application/grpc+proto",         "Application/GRPC",
        "application/grpc-web+proto", "application/grpc;charset=utf-8", "application/grpc ;a=b"};
    static const char *const bad[] = {"",           "application/grp",  "application/grpcs",
                                      "text/plain", "application/json", " application/grpc"};
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(grpc_is_type(str_from_cstr(good[i])));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(grpc_is_type(str_from_cstr(bad[i])));
    }
}

static void check_message(const char *text, const char *want)
{
    char got[64];
    struct wr w = wr_make(got, sizeof(got));
    grpc_message_emit(&w, str_from_cstr(text));
    assert_false(w.bad);
    assert_true(str_eq(str_make(got, wr_n(&w)), str_from_cstr(want)));
}

static void test_messages(void **state)
{
    char small[4];
    struct wr w = wr_make(small, sizeof(small));
    (void)state;
    check_message("", "");
    check_message("It is so.", "It is so.");
    check_message("100%", "100%25");
    check_message("a\nb\x7f", "a%0Ab%7F");
    check_message("\xc3\xb6", "%C3%B6");
    grpc_message_emit(&w, STR("a%b"));
    assert_true(w.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timeouts), cmocka_unit_test(test_no_timeouts),
        cmocka_unit_test(test_statuses), cmocka_unit_test(test_types),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
