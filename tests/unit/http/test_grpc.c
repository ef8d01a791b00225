/* Reasons to gRPC codes, and answers in gRPC. */
#include "http/grpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/answer.h"

static void test_codes(void **state)
{
    static const struct {
        enum reason why;
        enum grpc_code code;
    } rows[] = {
        {REASON_bad_request,           GRPC_INTERNAL           },
        {REASON_head_too_large,        GRPC_RESOURCE_EXHAUSTED },
        {REASON_too_large,             GRPC_RESOURCE_EXHAUSTED },
        {REASON_target_too_long,       GRPC_RESOURCE_EXHAUSTED },
        {REASON_client_timeout,        GRPC_DEADLINE_EXCEEDED  },
        {REASON_method_not_supported,  GRPC_UNIMPLEMENTED      },
        {REASON_version_not_supported, GRPC_INTERNAL           },
        {REASON_expectation_failed,    GRPC_FAILED_PRECONDITION},
        {REASON_no_route,              GRPC_UNIMPLEMENTED      },
        {REASON_redirect,              GRPC_UNKNOWN            },
        {REASON_no_endpoints,          GRPC_UNAVAILABLE        },
        {REASON_connect_refused,       GRPC_UNAVAILABLE        },
        {REASON_connect_timeout,       GRPC_UNAVAILABLE        },
        {REASON_upstream_reset,        GRPC_UNAVAILABLE        },
        {REASON_upstream_refused,      GRPC_UNAVAILABLE        },
        {REASON_upstream_goaway,       GRPC_UNAVAILABLE        },
        {REASON_upstream_timeout,      GRPC_DEADLINE_EXCEEDED  },
        {REASON_deadline_exceeded,     GRPC_DEADLINE_EXCEEDED  },
        {REASON_upstream_invalid,      GRPC_INTERNAL           },
        {REASON_upstream_canceled,     GRPC_CANCELLED          },
        {REASON_upgrade_not_supported, GRPC_UNIMPLEMENTED      },
        {REASON_upstream_cut,          GRPC_UNAVAILABLE        },
        {REASON_upstream_stalled,      GRPC_DEADLINE_EXCEEDED  },
        {REASON_client_abort,          GRPC_CANCELLED          },
        {REASON_draining,              GRPC_UNAVAILABLE        },
        {REASON_overloaded,            GRPC_UNAVAILABLE        },
        {REASON_internal,              GRPC_INTERNAL           },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(http_grpc_code(rows[i].why, reason_status(rows[i].why)), rows[i].code);
    }
}

/* A status that a filter gives says more than the reason's own. */
static void test_codes_by_status(void **state)
{
    (void)state;
    assert_int_equal(http_grpc_code(REASON_no_route, 401), GRPC_UNAUTHENTICATED);
    assert_int_equal(http_grpc_code(REASON_no_route, 403), GRPC_PERMISSION_DENIED);
    assert_int_equal(http_grpc_code(REASON_no_route, 429), GRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(http_grpc_code(REASON_no_route, 418), GRPC_UNKNOWN);
}

static void test_requests(void **state)
{
    static const struct field fields[] = {
        {STR_INIT("content-type"), STR_INIT("application/grpc+proto"), FIELD_content_type, 0},
    };
    struct str type;
    (void)state;
    assert_true(http_is_grpc(fields, 1, &type));
    assert_true(str_eq(type, STR("application/grpc+proto")));
    assert_false(http_is_grpc(fields, 0, &type));
}

static void test_responses(void **state)
{
    static const struct field good[] = {
        {STR_INIT("Grpc-Status"), STR_INIT("14"), FIELD_OTHER, 0}
    };
    static const struct field bad[] = {
        {STR_INIT("grpc-status"), STR_INIT("x"), FIELD_OTHER, 0}
    };
    uint8_t code;
    (void)state;
    assert_true(http_grpc_status(good, 1, &code));
    assert_int_equal(code, 14);
    assert_false(http_grpc_status(bad, 1, &code));
    assert_false(http_grpc_status(good, 0, &code));
}

static void check_field(const struct http_answer *a, const char *name, const char *value)
{
    struct str got;
    assert_true(
        http_field_find(a->response.fields, a->response.field_n, str_from_cstr(name), &got));
    assert_true(str_eq(got, str_from_cstr(value)));
}

static void test_answers(void **state)
{
    (void)state;
    for (int r = 1; r < REASONS_N; r++) {
        struct http_answer a;
        http_answer_make_grpc(&a, (enum reason)r, 0, STR("application/grpc"), 784111777);
        assert_int_equal(a.response.status, 200);
        assert_true(a.response.body == HTTP_BODY_LENGTH && a.response.body_n == 0);
        assert_int_equal(a.body.n, 0);
        assert_true(a.response.field_n <= ANSWER_FIELDS_MAX);
        check_field(&a, "x-lintel-reason", reason_name((enum reason)r));
        check_field(&a, "grpc-message", reason_text((enum reason)r));
    }
    struct http_answer a;
    http_answer_make_grpc(&a, REASON_no_endpoints, 0, STR("application/grpc+x"), 784111777);
    check_field(&a, "grpc-status", "14");
    check_field(&a, "content-type", "application/grpc+x");
    check_field(&a, "date", "Sun, 06 Nov 1994 08:49:37 GMT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes),    cmocka_unit_test(test_codes_by_status),
        cmocka_unit_test(test_requests), cmocka_unit_test(test_responses),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
