/* admin/respond: paths, methods, who may see what, and readiness. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admin/handler.h"
#include "base/mem.h"
#include "stats/stats.h"

#include <string.h>
#include <unistd.h>

struct world {
    struct stats_area *stats;
    struct snapshot snapshot;
    struct admin_views views;
    struct http_peer peer;
    struct admin_response response;
    struct store *store;
};

static void fake_metrics(void *arg, struct metrics_input *in)
{
    (void)arg;
    in->batches = 4711;
}

static struct explain_world fake_world(void *arg)
{
    struct world *w = arg;
    return (struct explain_world){.snapshot = &w->snapshot};
}

static void fake_dump(void *arg, bool is_json, struct buf *out)
{
    (void)arg;
    buf_add_str(out, is_json ? STR("json dump") : STR("text dump"));
}

static struct certs_world fake_certs(void *arg)
{
    struct world *w = arg;
    return (struct certs_world){
        .world = {.snapshot = &w->snapshot, .store = w->store}
    };
}

static enum err fake_each_diag(void *arg, diag_fn *fn, void *fn_arg)
{
    const struct diag d = {.severity = DIAG_ERROR,
                           .reason = DIAG_InvalidHost,
                           .file = STR("a.yaml"),
                           .line = 7,
                           .what = STR("is bad")};
    (void)arg;
    fn(fn_arg, &d);
    return E_OK;
}

static int make_world(void **state)
{
    static struct world w; /* NOLINT: the fixture of this file */
    int fd;
    w = (struct world){0};
    assert_int_equal(stats_create(2, &w.stats, &fd), E_OK);
    close(fd);
    snapshot_init(&w.snapshot);
    assert_int_equal(store_new(&w.store), E_OK);
    w.views = (struct admin_views){.arg = &w,
                                   .stats = w.stats,
                                   .metrics = fake_metrics,
                                   .world = fake_world,
                                   .dump = fake_dump,
                                   .certs = fake_certs,
                                   .each_diag = fake_each_diag};
    assert_int_equal(ip_parse(STR("127.0.0.1"), &w.peer.ip), E_OK);
    buf_init(&w.response.body, 1 << 20);
    *state = &w;
    return 0;
}

static int free_world(void **state)
{
    struct world *w = *state;
    admin_response_drop_rest(&w->response);
    buf_fini(&w->response.body);
    store_free(w->store);
    snapshot_fini(&w->snapshot);
    stats_close(w->stats);
    return 0;
}

static uint16_t ask(struct world *w, const char *method, const char *target)
{
    struct http_request r = {
        .method = str_from_cstr(method), .target = str_from_cstr(target), .peer = &w->peer};
    struct buf body = w->response.body;
    buf_reset(&body);
    admin_response_drop_rest(&w->response);
    w->response = (struct admin_response){.body = body};
    admin_respond(&w->views, &r, &w->response);
    buf_add_char(&w->response.body, 0);
    return w->response.status;
}

static bool says(const struct world *w, const char *text)
{
    return strstr(w->response.body.p, text) != NULL;
}

static void paths_and_methods(void **state)
{
    struct world *w = *state;
    assert_int_equal(ask(w, "GET", "/healthz"), 200);
    assert_string_equal(w->response.body.p, "ok\n");
    assert_int_equal(ask(w, "HEAD", "/healthz"), 200);
    assert_int_equal(ask(w, "GET", "/healthz?x=1"), 200);
    assert_int_equal(ask(w, "GET", "/healthz/"), 404);
    assert_string_equal(w->response.type, "application/json");
    assert_true(says(w, "\"error\":\"not_found\""));
    assert_int_equal(ask(w, "GET", "/"), 404);
    assert_int_equal(ask(w, "GET", "*"), 404);
    assert_int_equal(ask(w, "POST", "/healthz"), 405);
    assert_int_equal(ask(w, "DELETE", "/debug/dump"), 405);
    assert_int_equal(ask(w, "POST", "/nothing"), 404);
    assert_int_equal(ask(w, "GET", ""), 400);
}

static void readiness(void **state)
{
    struct world *w = *state;
    assert_int_equal(ask(w, "GET", "/readyz"), 503);
    assert_true(says(w, "worker 0 has no configuration yet"));
    assert_true(says(w, "worker 1 has no configuration yet"));
    assert_true(says(w, "no worker is running"));
    stats_set(&w->stats->workers[0].generation, 1);
    stats_set(&w->stats->workers[0].pid, 10);
    assert_int_equal(ask(w, "GET", "/readyz"), 503);
    stats_set(&w->stats->workers[1].generation, 1);
    assert_int_equal(ask(w, "GET", "/readyz"), 200); /* one of two is being restarted */
    stats_set(&w->stats->is_draining, 1);
    assert_int_equal(ask(w, "GET", "/readyz"), 503);
    assert_true(says(w, "draining"));
    assert_int_equal(ask(w, "GET", "/healthz"), 200);
    stats_set(&w->stats->is_draining, 0);
    stats_set(&w->stats->workers[0].pid, 0);
    assert_int_equal(ask(w, "GET", "/readyz"), 503);
}

static void top(void **state)
{
    struct world *w = *state;
    stats_set(&w->stats->workers[0].reasons[REASON_no_route], 7);
    assert_int_equal(ask(w, "GET", "/debug/top"), 200);
    assert_string_equal(w->response.type, "application/json");
    assert_true(says(w, "{\"name\":\"no_route\",\"count\":7}"));
    assert_true(says(w, "\"routes\":["));
    assert_int_equal(ip_parse(STR("10.0.0.1"), &w->peer.ip), E_OK);
    assert_int_equal(ask(w, "GET", "/debug/top"), 403);
}

static void metrics(void **state)
{
    struct world *w = *state;
    assert_int_equal(ask(w, "GET", "/metrics"), 200);
    assert_non_null(w->response.scrape); /* the series come behind */
    assert_string_equal(w->response.type, "text/plain; version=0.0.4; charset=utf-8");
    assert_true(says(w, "lintel_compile_runs_total 4711\n"));
}

static void debug_is_for_the_loopback(void **state)
{
    static const char *const views[] = {"/debug/explain?url=a/", "/debug/dump", "/debug/certs",
                                        "/debug/diagnostics"};
    static const struct {
        const char *ip;
        bool may;
    } peers[] = {
        {"127.0.0.1", true },
        {"127.3.2.1", true },
        {"::1",       true },
        {"10.0.0.1",  false},
        {"::2",       false},
        {"128.0.0.1", false}
    };
    struct world *w = *state;
    for (size_t v = 0; v < 3; v++) {
        for (size_t p = 0; p < sizeof(peers) / sizeof(peers[0]); p++) {
            assert_int_equal(ip_parse(str_from_cstr(peers[p].ip), &w->peer.ip), E_OK);
            assert_int_equal(ask(w, "GET", views[v]), peers[p].may ? 200 : 403);
            assert_int_equal(ask(w, "GET", "/healthz"), 200);
        }
    }
}

static void dump_and_diagnostics_in_both_forms(void **state)
{
    struct world *w = *state;
    const struct http_request certs_request = {
        .method = STR("GET"), .target = STR("/debug/certs"), .peer = &w->peer};
    assert_int_equal(ask(w, "GET", "/debug/dump"), 200);
    assert_true(says(w, "json dump"));
    assert_int_equal(ask(w, "GET", "/debug/dump?output=text"), 200);
    assert_true(says(w, "text dump"));
    assert_int_equal(ask(w, "GET", "/debug/certs"), 200);
    assert_non_null(w->response.page); /* makes the body */
    admin_response_drop_rest(&w->response);
    mem_fail_from(1);
    admin_respond(&w->views, &certs_request, &w->response);
    mem_fail_from(0);
    assert_int_equal(w->response.status, 500);
    assert_null(w->response.page);
    assert_int_equal(ask(w, "GET", "/debug/diagnostics"), 200);
    assert_true(says(w, "\"reason\": \"InvalidHost\"") && says(w, "\"line\": 7"));
    assert_int_equal(ask(w, "GET", "/debug/diagnostics?output=text"), 200);
    assert_true(says(w, "a.yaml:7: error: "));
}

static void bad_parameters(void **state)
{
    static const char *const targets[] = {
        "/debug/explain",
        "/debug/explain?url=",
        "/debug/explain?url=ftp://a/",
        "/debug/explain?url=a&nonsense=1",
        "/debug/explain?url=a&output=xml",
        "/debug/explain?url=%2",
        "/debug/explain?url=a&header=nocolon",
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        assert_int_equal(ask(w, "GET", targets[i]), 400);
        assert_true(says(w, "\"error\":\"bad_request\""));
        assert_null(w->response.outcome);
    }
}

static void explain_without_any_configuration(void **state)
{
    struct world *w = *state;
    assert_int_equal(ask(w, "GET", "/debug/explain?url=http%3A%2F%2Fa.test%2Fb&method=POST"), 200);
    assert_true(says(w, "\"reason\": \"no_route\"") && says(w, "\"match\": null"));
    assert_true(says(w, "\"method\": \"POST\"") && says(w, "\"authority\": \"a.test\""));
    assert_string_equal(w->response.outcome, "refused");
}

static void a_view_that_is_too_large(void **state)
{
    struct world *w = *state;
    buf_fini(&w->response.body);
    buf_init(&w->response.body, 200);
    struct http_request r = {.method = STR("GET"), .target = STR("/metrics"), .peer = &w->peer};
    admin_respond(&w->views, &r, &w->response);
    assert_int_equal(w->response.status, 500);
    assert_false(w->response.body.bad);
    assert_true(w->response.body.n > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(paths_and_methods, make_world, free_world),
        cmocka_unit_test_setup_teardown(readiness, make_world, free_world),
        cmocka_unit_test_setup_teardown(metrics, make_world, free_world),
        cmocka_unit_test_setup_teardown(top, make_world, free_world),
        cmocka_unit_test_setup_teardown(debug_is_for_the_loopback, make_world, free_world),
        cmocka_unit_test_setup_teardown(dump_and_diagnostics_in_both_forms, make_world, free_world),
        cmocka_unit_test_setup_teardown(bad_parameters, make_world, free_world),
        cmocka_unit_test_setup_teardown(explain_without_any_configuration, make_world, free_world),
        cmocka_unit_test_setup_teardown(a_view_that_is_too_large, make_world, free_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
