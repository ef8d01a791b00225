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

/* ---- responses ---- */

static void field_put(struct filter_response *r, const char *name, const char *value)
{
    struct str text = str_from_cstr(name);
    r->fields[r->field_n++] = (struct field){text, str_from_cstr(value), field_name_id(text), 9};
}

static void fields_are(const struct filter_response *r, const char *text)
{
    char got[256];
    struct wr w = wr_make(got, sizeof(got));
    for (uint32_t i = 0; i < r->field_n; i++) {
        wr_str(&w, r->fields[i].name);
        wr_char(&w, '=');
        wr_str(&w, r->fields[i].value);
        wr_char(&w, ' ');
    }
    assert_true(str_eq(str_make(got, wr_n(&w)), str_from_cstr(text)));
}

static void fields_are_set_and_removed(void **state)
{
    struct field room[8];
    struct filter_response r = {room, 0, 8};
    (void)state;
    filter_field_set(&r, STR("a"), STR("1"));
    fields_are(&r, "a=1 ");
    assert_int_equal(r.fields[0].line_n, 0); /* it was on no line */
    field_put(&r, "B", "2");
    field_put(&r, "A", "3");
    field_put(&r, "ab", "4");
    filter_field_set(&r, STR("a"), STR("5"));
    fields_are(&r, "B=2 ab=4 a=5 ");
    filter_field_set(&r, STR("location"), STR("/"));
    assert_int_equal(r.fields[3].id, FIELD_location);
    filter_field_remove(&r, STR("b"));
    filter_field_remove(&r, STR("nothing"));
    fields_are(&r, "ab=4 a=5 location=/ ");
}

/* Replacing needs no room beyond that for one. */
static void a_full_head_takes_a_replacement(void **state)
{
    struct field room[3];
    struct filter_response r = {room, 0, 3};
    (void)state;
    field_put(&r, "a", "1");
    field_put(&r, "a", "2");
    field_put(&r, "b", "3");
    filter_field_set(&r, STR("b"), STR("4"));
    fields_are(&r, "a=1 a=2 b=4 ");
    filter_field_set(&r, STR("a"), STR("5"));
    fields_are(&r, "b=4 a=5 ");
}

filter_response_fn filter_hsts_response;

static void hsts_is_for_https(void **state)
{
    struct buf b;
    struct field room[2];
    struct filter_response response = {room, 0, 2};
    struct filter_request r = {.scheme = STR("http")};
    (void)state;
    buf_init(&b, 1 << 12);
    snap_shard_begin(&b, SNAP_HOST, sizeof(struct snap_host), STR("t/h"));
    struct snap_filter_hsts f = {snap_add_str(&b, STR("max-age=1"))};
    assert_false(b.bad);
    filter_hsts_response(snap_at(&b, 0, struct snap_shard), &f, &r, &response);
    fields_are(&response, "");
    r.scheme = STR("https");
    filter_hsts_response(snap_at(&b, 0, struct snap_shard), &f, &r, &response);
    fields_are(&response, "strict-transport-security=max-age=1 ");
    buf_fini(&b);
}

static void halves_are_known(void **state)
{
    (void)state;
    assert_true(filter_has_request(SNAP_FILTER_ssl_redirect));
    assert_false(filter_has_response(SNAP_FILTER_ssl_redirect));
    assert_true(filter_has_response(SNAP_FILTER_hsts));
    assert_false(filter_has_request(SNAP_FILTER_hsts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_redirect_answers),
        cmocka_unit_test(a_route_without_filters_passes),
        cmocka_unit_test(fields_are_set_and_removed),
        cmocka_unit_test(a_full_head_takes_a_replacement),
        cmocka_unit_test(hsts_is_for_https),
        cmocka_unit_test(halves_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
