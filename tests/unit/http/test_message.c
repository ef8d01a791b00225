/* Looking up fields. */
#include "http/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct field fields[] = {
    {.name = STR_INIT("Host"),   .value = STR_INIT("a"), .id = FIELD_host  },
    {.name = STR_INIT("X-Mine"), .value = STR_INIT("1"), .id = FIELD_OTHER },
    {.name = STR_INIT("x-mine"), .value = STR_INIT("2"), .id = FIELD_OTHER },
    {.name = STR_INIT("Accept"), .value = STR_INIT(""),  .id = FIELD_accept},
};
enum { N = sizeof(fields) / sizeof(fields[0]) };

static void the_first_one_counts(void **state)
{
    struct str value = STR("untouched");
    (void)state;
    assert_true(http_field_find(fields, N, STR("x-MINE"), &value));
    assert_true(str_eq(value, STR("1")));
    assert_true(http_field_get(fields, N, FIELD_host, &value));
    assert_true(str_eq(value, STR("a")));
    assert_true(http_field_get(fields, N, FIELD_accept, &value)); /* empty is not absent */
    assert_int_equal(value.n, 0);
}

static void what_is_not_there_leaves_the_output_alone(void **state)
{
    struct str value = STR("untouched");
    (void)state;
    assert_false(http_field_find(fields, N, STR("x-min"), &value));
    assert_false(http_field_get(fields, N, FIELD_connection, &value));
    assert_false(http_field_get(fields, 0, FIELD_host, &value));
    assert_true(str_eq(value, STR("untouched")));
}

/* RFC 9110 section 7.6.1. */
static void hop_by_hop_fields(void **state)
{
    static const char *const ends_here[] = {
        "Connection", "Keep-Alive",        "Proxy-Connection",   "TE",
        "Upgrade",    "Transfer-Encoding", "Proxy-Authorization"};
    static const char *const goes_on[] = {"Host",   "Content-Length", "Content-Type", "Cookie",
                                          "Accept", "Authorization",  "X-Other"};
    (void)state;
    for (size_t i = 0; i < sizeof(ends_here) / sizeof(ends_here[0]); i++) {
        assert_true(http_field_is_hop_by_hop(field_name_id(str_from_cstr(ends_here[i]))));
    }
    for (size_t i = 0; i < sizeof(goes_on) / sizeof(goes_on[0]); i++) {
        assert_false(http_field_is_hop_by_hop(field_name_id(str_from_cstr(goes_on[i]))));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_one_counts),
        cmocka_unit_test(what_is_not_there_leaves_the_output_alone),
        cmocka_unit_test(hop_by_hop_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
