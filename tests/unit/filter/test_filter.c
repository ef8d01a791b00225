/* A route's chain of filters, over shards as the compiler writes them. */
#include "filter/filter.h"

#include "../../lib/snapshot_make.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct make_rule rules[] = {
    {.path = "/old",   .id = 1},
    {.path = "/other", .id = 2}
};
static const struct make_host host_rules = {.pattern = "a.example", .rules = rules, .rule_n = 2};

static void make(struct buf *b)
{
    buf_init(b, 1 << 20);
    assert_int_equal(make_host(b, "ingress", &host_rules), E_OK);
}

static const struct snap_route *route(const struct snap_host *h, uint32_t i)
{
    const struct snap_route *routes = snap_array_get(h, h->routes);
    return &routes[i];
}

static void a_redirect_answers(void **state)
{
    struct buf b;
    struct http_request request = {.method = STR("GET")};
    struct filter_request r = {.request = &request};
    struct filter_answer answer;
    (void)state;
    make(&b);
    const struct snap_host *h = snap_at(&b, 0, const struct snap_host);
    assert_int_equal(route(h, 0)->filters.n, 1); /* snapshot_make.h gives one to the first route */
    assert_int_equal(filter_run(h, route(h, 0), &r, &answer), FILTER_ANSWER);
    assert_int_equal(answer.status, 301);
    assert_int_equal(answer.reason, REASON_redirect);
    assert_true(str_eq(answer.location, STR("/new")));
    buf_fini(&b);
}

static void a_route_without_filters_passes(void **state)
{
    struct buf b;
    struct http_request request = {.method = STR("GET")};
    struct filter_request r = {.request = &request};
    struct filter_answer answer = {.status = 7};
    (void)state;
    make(&b);
    const struct snap_host *h = snap_at(&b, 0, const struct snap_host);
    assert_int_equal(filter_run(h, route(h, 1), &r, &answer), FILTER_PASS);
    assert_int_equal(answer.status, 7);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_redirect_answers),
        cmocka_unit_test(a_route_without_filters_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
