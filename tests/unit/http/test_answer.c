/* Lintel's own responses: every reason, plain and JSON. */
#include "http/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NOW = 784111777 }; /* Sun, 06 Nov 1994 08:49:37 GMT, as in RFC 9110 */

static void assert_field(const struct http_answer *a, const char *name, const char *value)
{
    struct str got;
    if (!http_field_find(a->response.fields, a->response.field_n, str_from_cstr(name), &got)) {
        fail_msg("no field %s", name);
    }
    assert_int_equal(got.n, strlen(value));
    assert_memory_equal(got.p, value, got.n);
}

static void every_reason_has_an_answer(void **state)
{
    (void)state;
    for (int r = 1; r < REASONS_N; r++) {
        static const struct str accepts[] = {STR_INIT(""), STR_INIT("application/json"),
                                             STR_INIT("text/html")};
        for (size_t i = 0; i < 3; i++) {
            struct http_answer a;
            http_answer_make(&a, (enum reason)r, 400, accepts[i], STR_EMPTY, NOW);
            assert_true(a.body.n > 0 && a.body.n <= ANSWER_BODY_MAX);
            assert_int_equal(a.body.p[a.body.n - 1], '\n');
            assert_int_equal(a.response.body, HTTP_BODY_LENGTH);
            assert_int_equal(a.response.body_n, a.body.n);
            assert_true(a.response.field_n <= ANSWER_FIELDS_MAX);
            assert_field(&a, "x-lintel-reason", reason_name((enum reason)r));
            assert_field(&a, "date", "Sun, 06 Nov 1994 08:49:37 GMT");
        }
    }
}

static void the_status_is_the_reasons_own_or_the_given_one(void **state)
{
    struct http_answer a;
    (void)state;
    http_answer_make(&a, REASON_no_route, 0, STR_EMPTY, STR_EMPTY, NOW);
    assert_int_equal(a.response.status, 404);
    http_answer_make(&a, REASON_redirect, 308, STR_EMPTY, STR("/to"), NOW);
    assert_int_equal(a.response.status, 308);
    assert_field(&a, "location", "/to");
}

static void the_form_is_what_the_client_names_first(void **state)
{
    static const char json[] = "application/json", html[] = "text/html; charset=utf-8",
                      text[] = "text/plain; charset=utf-8";
    static const struct {
        struct str accept;
        const char *type;
    } cases[] = {
        {STR_INIT(""),                                  text},
        {STR_INIT("*/*"),                               text},
        {STR_INIT("application/json"),                  json},
        {STR_INIT("Application/JSON; q=0.9"),           json},
        {STR_INIT("text/html, application/json"),       html},
        {STR_INIT("text/plain, text/html"),             text},
        {STR_INIT("application/json, text/plain, */*"), json},
        {STR_INIT("image/png,  application/json;x=y"),  json},
        {STR_INIT("application/jsonp"),                 text},
        {STR_INIT(",,,"),                               text},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_answer a;
        http_answer_make(&a, REASON_no_route, 0, cases[i].accept, STR_EMPTY, NOW);
        assert_int_equal(a.body.p[0], cases[i].type == json   ? '{'
                                      : cases[i].type == html ? '<'
                                                              : '4');
        assert_field(&a, "content-type", cases[i].type);
    }
}

static void phrases(void **state)
{
    (void)state;
    assert_true(str_eq(http_status_text(200), STR("OK")));
    assert_true(str_eq(http_status_text(431), STR("Request Header Fields Too Large")));
    assert_int_equal(http_status_text(299).n, 0);
    for (int r = 1; r < REASONS_N; r++) { /* what we send has a phrase */
        uint16_t status = reason_status((enum reason)r);
        assert_true(status == 0 || http_status_text(status).n > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_has_an_answer),
        cmocka_unit_test(the_status_is_the_reasons_own_or_the_given_one),
        cmocka_unit_test(the_form_is_what_the_client_names_first),
        cmocka_unit_test(phrases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
