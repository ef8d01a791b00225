/* lintel top without a terminal: reading /debug/top, differences, percentiles, the two views. */
#include "cli/top_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "document/json.h"

enum { TEXT_BYTES = 1 << 20 };

/* A world with two routes; numbers in the order in which they are asked for below. */
#define SAMPLE(time, requests, slow, fives, pid, cpu, reason)                                      \
    "{\"version\":\"9.9\",\"time_us\":" #time ",\"generation\":7,\"behind_us\":0,"                 \
    "\"lag_last_us\":1500,\"is_draining\":false,\"requests\":" #requests                           \
    ",\"responses\":[0,0," #requests ",0,0," #fives "],\"duration\":[" #requests "," #slow ",0],"  \
    "\"bounds_us\":[100,1000],\"in_flight\":3,\"bytes_in\":2048,\"bytes_out\":1048576,"            \
    "\"reasons\":[{\"name\":\"no_route\",\"count\":" #reason                                       \
    "},{\"name\":\"never\",\"count\":0}],"                                                         \
    "\"processes\":[{\"name\":\"worker-0\",\"is_running\":true,\"pid\":" #pid ",\"cpu_us\":" #cpu  \
    ",\"resident_bytes\":3145728,\"restarts\":1}],\"routes\":[{\"namespace\":\"n\",\"ingress\":"   \
    "\"quiet\",\"service\":\"s\",\"host\":\"q.test\",\"path\":\"/\",\"responses\":[0,0,5,0,0,0],"  \
    "\"sent_bytes\":50,\"duration\":[5,0,0]},{\"namespace\":\"n\",\"ingress\":\"busy\","           \
    "\"service\":\"s\",\"host\":\"b.test\",\"path\":\"/"                                           \
    "\\u001b[2J\\u00e9\",\"responses\":[0,0," #requests ",0,0," #fives                             \
    "],\"sent_bytes\":100,\"duration\":[" #requests "," #slow ",0]}],"                             \
    "\"routes_left_out\":0,\"endpoints_left_out\":0,\"endpoints\":[{\"address\":\"10.0.0.1:80\","  \
    "\"service\":\"n/s/"                                                                           \
    "80\",\"state\":\"ejected\",\"last_failure\":\"timeout\",\"timeout\":" #fives                  \
    ",\"workers\":1,\"workers_ejecting\":1}]}"

static void parse(struct top_sample *s, const char *json)
{
    assert_int_equal(top_sample_parse(str_from_cstr(json), s), E_OK);
}

static void what_came_in_between(void **state)
{
    struct top_sample now, before;
    uint64_t totals[2];
    (void)state;
    parse(&before, SAMPLE(1000000, 100, 10, 1, 5, 700, 40));
    parse(&now, SAMPLE(3000000, 160, 30, 4, 5, 900, 42));
    assert_int_equal(top_sample_since(&now, &before, totals), 2000000);
    assert_int_equal(now.scalars[TOP_requests], 60);
    assert_int_equal(now.scalars[TOP_generation], 7); /* is what it is */
    assert_int_equal(now.scalars[TOP_in_flight], 3);
    assert_int_equal(now.classes[5], 3);
    assert_int_equal(top_histogram_n(&now.duration), 80);
    assert_int_equal(now.reasons[0].count, 2);
    assert_int_equal(totals[0], 42);
    assert_int_equal(now.processes[0].cpu_us, 200);
    assert_true(str_eq(now.routes[0].ingress, STR("busy"))); /* most requests first */
    assert_int_equal(top_histogram_n(&now.routes[0].duration), 80);
    assert_int_equal(top_histogram_n(&now.routes[1].duration), 0);
    top_sample_fini(&now);
    top_sample_fini(&before);
}

static void what_began_anew(void **state)
{
    struct top_sample now, before;
    uint64_t totals[2];
    (void)state;
    parse(&before, SAMPLE(1000000, 100, 10, 1, 5, 700, 40));
    parse(&now, SAMPLE(2000000, 7, 0, 0, 6, 300, 1)); /* everything was restarted */
    (void)top_sample_since(&now, &before, totals);
    assert_int_equal(now.scalars[TOP_requests], 7);
    assert_int_equal(now.processes[0].cpu_us, 300);
    assert_int_equal(now.reasons[0].count, 1);
    top_sample_fini(&now);
    top_sample_fini(&before);
}

static void a_new_route_counts_whole(void **state)
{
    struct top_sample now, before = {0};
    uint64_t totals[2];
    (void)state;
    parse(&now, SAMPLE(2000000, 7, 0, 0, 6, 300, 1));
    (void)top_sample_since(&now, &before, totals);
    assert_int_equal(top_histogram_n(&now.routes[0].duration), 7);
    top_sample_fini(&now);
}

static void answers_that_are_none(void **state)
{
    static const char *const texts[] = {"",
                                        "{}",
                                        "[]",
                                        "7",
                                        "{\"time_us\":1",
                                        "hello",
                                        "{\"time_us\":1}",
                                        "{\"time_us\":-1,\"bounds_us\":[1]}",
                                        "{\"time_us\":1,\"bounds_us\":7}"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct top_sample s;
        assert_int_equal(top_sample_parse(str_from_cstr(texts[i]), &s), E_PROTO);
    }
}

/* Wrong types and too many buckets: nothing is trusted. */
static void strange_answers(void **state)
{
    struct top_sample s;
    struct buf b;
    (void)state;
    buf_init(&b, TEXT_BYTES);
    buf_add_str(&b, STR("{\"time_us\":1,\"routes\":[7,{\"path\":9}],\"endpoints\":[7,{\"state\":9}]"
                        ",\"reasons\":{},\"duration\":["));
    for (size_t i = 0; i < TOP_BUCKETS_MAX + 1; i++) {
        buf_addf(&b, "1,");
    }
    buf_add_str(&b, STR("1],\"bounds_us\":[\"x\",5]}"));
    assert_int_equal(top_sample_parse(buf_str(&b), &s), E_OK);
    assert_int_equal(s.duration.n, TOP_BUCKETS_MAX);
    assert_int_equal(s.route_n, 2);
    assert_int_equal(s.endpoint_n, 2);
    assert_int_equal(s.reason_n, 0);
    top_sample_fini(&s);
    buf_fini(&b);
}

/* ---- endpoints ---- */

#define ENDPOINT(address, state, answered, reset, workers, ejecting, time)                         \
    "{\"address\":\"" address "\",\"service\":\"n/s/80\",\"state\":\"" state                       \
    "\",\"last_failure\":\"reset\",\"answered\":" #answered ",\"reset\":" #reset                   \
    ",\"latency_sum_us\":" #answered ",\"workers\":" #workers ",\"workers_ejecting\":" #ejecting   \
    ",\"ejected_for_us\":" #time                                                                   \
    ",\"ewma_us\":1500,\"in_flight\":9,\"connections_busy\":8,\"connections_idle\":7}"
#define ENDPOINTS(time, left_out, list)                                                            \
    "{\"time_us\":" #time ",\"bounds_us\":[1],\"endpoints_left_out\":" #left_out                   \
    ",\"endpoints\":[" list "]}"

static void endpoints_in_between(void **state)
{
    struct top_sample now, before;
    uint64_t totals[1];
    (void)state;
    parse(&before,
          ENDPOINTS(1000000, 0,
                    ENDPOINT("a:1", "ok", 10, 2, 2, 0, 0) "," ENDPOINT(
                        "b:1", "ok", 100, 0, 2, 0, 0) "," ENDPOINT("c:1", "ok", 100, 0, 2, 0, 0)));
    parse(&now, ENDPOINTS(2000000, 0,
                          ENDPOINT("a:1", "ok", 15, 2, 2, 0, 0) "," ENDPOINT(
                              "b:1", "ok", 109, 1, 2, 0,
                              0) "," ENDPOINT("c:1", "ok", 60, 0, 2, 0,
                                              0) "," ENDPOINT("d:1", "ok", 3, 0, 2, 0,
                                                              0) "," ENDPOINT("e:1", "ejected", 0,
                                                                              0, 2, 1, 9)));
    assert_int_equal(top_sample_since(&now, &before, totals), 1000000);
    static const struct {
        const char *address;
        uint64_t requests, failures;
    } wanted[] = {
        {"e:1", 0,  0}, /* ejected */
        {"b:1", 10, 1}, /* failures */
        {"a:1", 5,  0},
        {"d:1", 3,  0}, /* new: counts whole */
        {"c:1", 0,  0}, /* one of its workers began anew: nobody knows */
    };
    assert_int_equal(now.endpoint_n, 5);
    for (size_t i = 0; i < 5; i++) {
        const struct top_endpoint *e = &now.endpoints[i];
        assert_true(str_eq(e->address, str_from_cstr(wanted[i].address)));
        assert_int_equal(top_endpoint_requests(e), wanted[i].requests);
        assert_int_equal(top_endpoint_failures(e), wanted[i].failures);
        assert_int_equal(top_endpoint_latency(e), wanted[i].requests > 0 ? 1 : 0);
        assert_int_equal(e->numbers[TOP_ENDPOINT_in_flight], 9); /* is what it is */
    }
    top_sample_fini(&now);
    top_sample_fini(&before);
}

/* It may have been there all the time. */
static void an_endpoint_that_was_left_out(void **state)
{
    struct top_sample now, before;
    uint64_t totals[1];
    (void)state;
    parse(&before, ENDPOINTS(1000000, 1, ""));
    parse(&now, ENDPOINTS(2000000, 1, ENDPOINT("a:1", "ok", 1000, 0, 1, 0, 0)));
    (void)top_sample_since(&now, &before, totals);
    assert_int_equal(top_endpoint_requests(&now.endpoints[0]), 0);
    top_sample_fini(&now);
    top_sample_fini(&before);
}

static void percentiles(void **state)
{
    const struct top_histogram bounds = {
        {100, 200, 1000},
        3
    };
    static const struct {
        uint64_t counts[4];
        unsigned percent;
        usec_t value;
    } cases[] = {
        {{0, 0, 0, 0},    50, 0   },
        {{100, 0, 0, 0},  50, 50  },
        {{100, 0, 0, 0},  99, 99  },
        {{50, 50, 0, 0},  50, 100 },
        {{50, 50, 0, 0},  99, 198 },
        {{0, 0, 1, 0},    50, 1000},
        {{1, 0, 0, 99},   99, 1000}, /* longer than all bounds */
        {{99, 0, 1, 0},   99, 100 },
        {{990, 0, 0, 10}, 99, 100 },
        {{0, 10, 0, 0},   1,  110 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct top_histogram h = {.n = 4};
        mem_copy(h.counts, cases[i].counts, sizeof(cases[i].counts));
        assert_int_equal(top_percentile(&h, &bounds, cases[i].percent), cases[i].value);
    }
}

/* ---- views ---- */

struct world {
    struct top_sample now;
    uint64_t totals[2];
    struct top_view view;
    struct buf out;
};

static void make_world(struct world *w)
{
    struct top_sample before;
    parse(&before, SAMPLE(1000000, 100, 10, 1, 5, 700000, 40));
    parse(&w->now, SAMPLE(3000000, 160, 30, 4, 5, 1700000, 42));
    usec_t interval = top_sample_since(&w->now, &before, w->totals);
    w->view = (struct top_view){STR("a:1"), &w->now, w->totals, interval};
    top_sample_fini(&before);
    buf_init(&w->out, TEXT_BYTES);
}

static void free_world(struct world *w)
{
    top_sample_fini(&w->now);
    buf_fini(&w->out);
}

static bool says(struct world *w, const char *text)
{
    return w->out.n > 0 && memmem(w->out.p, w->out.n, text, strlen(text)) != NULL;
}

static void text(void **state)
{
    struct world w;
    (void)state;
    make_world(&w);
    top_view_text(&w.out, &w.view, 200, 0, false);
    assert_false(w.out.bad);
    assert_true(says(&w, "lintel 9.9  a:1  workers 1/1  generation 7"));
    assert_true(says(&w, "requests/s 30.0 "));
    assert_true(says(&w, "worker-0         50.0     3.0M         1        5\n"));
    assert_true(says(&w, "no_route                       1.0            42\n"));
    assert_false(says(&w, "never"));        /* did not happen */
    assert_true(says(&w, "b.test/?[2J??")); /* the terminal does not get the escape */
    assert_false(says(&w, "\033"));
    buf_reset(&w.out);
    top_view_text(&w.out, &w.view, 200, 0, true);
    assert_true(says(&w, "\033[1m"));
    free_world(&w);
}

static void view_endpoints(struct buf *out, const char *json, size_t columns, size_t rows)
{
    struct top_sample now, before = {0};
    uint64_t totals[1];
    parse(&now, json);
    (void)top_sample_since(&now, &before, totals);
    const struct top_view v = {STR("a:1"), &now, totals, USEC_PER_SEC};
    buf_reset(out);
    top_view_text(out, &v, columns, rows, false);
    assert_false(out->bad);
    top_sample_fini(&now);
}

static void text_of_endpoints(void **state)
{
    static const char sample[] =
        ENDPOINTS(1, 0,
                  ENDPOINT("10.0.0.1:80", "ejected", 0, 3, 2, 1, 11000001) "," ENDPOINT(
                      "10.0.0.2:80", "probing", 0, 0, 2, 2,
                      0) "," ENDPOINT("10.0.0.3:80", "ok", 20, 0, 2, 0,
                                      0) "," ENDPOINT("", "ok", 10, 0, 2, 0, 0));
    struct world w;
    (void)state;
    buf_init(&w.out, TEXT_BYTES);
    view_endpoints(&w.out, sample, 120, 0);
    assert_true(
        says(&w, "\nENDPOINT    SERVICE             STATE                   REQ/S FLIGHT CONNECT"
                 "   RESET TIMEOUT    MEAN    EWMA  BUSY  IDLE\n"
                 "10.0.0.1:80 n/s/80              ejected 1/2 12s reset     3.0      9     0.0"
                 "     3.0     0.0       -   1.5ms     8     7\n"
                 "10.0.0.2:80 n/s/80              probing reset             0.0 "));
    assert_true(
        says(&w, "\n10.0.0.3:80 n/s/80              ok                       20.0      9     0.0"
                 "     0.0     0.0    1us    1.5ms     8     7\n(others)  "));
    buf_fini(&w.out);
}

/* A window that is too small for all shows some of both. */
static void routes_leave_room_for_endpoints(void **state)
{
    struct world w;
    struct buf json;
    (void)state;
    buf_init(&w.out, TEXT_BYTES);
    buf_init(&json, TEXT_BYTES);
    buf_add_str(&json, STR("{\"time_us\":1,\"bounds_us\":[1],\"routes\":[{}"));
    for (size_t i = 0; i < 100; i++) {
        buf_add_str(&json, STR(",{\"host\":\"a.test\",\"path\":\"/\"}"));
    }
    buf_add_str(&json, STR("],\"endpoints\":[" ENDPOINT("a:1", "ok", 5, 0, 1, 0, 0) "," ENDPOINT(
                           "z:1", "ok", 1, 0, 1, 0, 0) "]}"));
    buf_add_char(&json, 0);
    view_endpoints(&w.out, json.p, 120, 20);
    assert_true(says(&w, "a.test/"));
    assert_true(says(&w, "\na:1 ") && says(&w, "\nz:1 "));
    buf_fini(&json);
    buf_fini(&w.out);
}

/* Any window: no line is too long, no row too many, nothing but whole lines. */
static void any_window(void **state)
{
    struct world w;
    (void)state;
    make_world(&w);
    for (size_t columns = 1; columns <= 130; columns += 3) {
        for (size_t rows = 1; rows <= 20; rows++) {
            struct str rest, line;
            size_t n = 0;
            buf_reset(&w.out);
            top_view_text(&w.out, &w.view, columns, rows, false);
            for (rest = buf_str(&w.out); rest.n > 0; n++) {
                assert_true(str_cut(rest, '\n', &line, &rest));
                assert_true(line.n <= columns);
            }
            assert_true(n > 0 && n <= rows);
        }
    }
    free_world(&w);
}

static enum err on_view(void *arg, const struct tree_node *root)
{
    const struct tree_node *routes = tree_get(root, STR("routes"));
    int64_t n;
    assert_true(tree_to_int(tree_get(root, STR("requests_per_second")), &n) && n == 30);
    assert_true(tree_to_int(tree_get(root, STR("interval_us")), &n) && n == 2000000);
    assert_int_equal(routes->n, 2);
    assert_true(
        str_eq(tree_get_string(tree_item(routes, 0), STR("path")), STR("/\033[2J\xc3\xa9")));
    assert_true(tree_to_int(tree_get(tree_item(routes, 0), STR("requests")), &n) && n == 80);
    const struct tree_node *endpoint = tree_item(tree_get(root, STR("endpoints")), 0);
    assert_true(str_eq(tree_get_string(endpoint, STR("state")), STR("ejected")));
    assert_true(tree_to_int(tree_get(endpoint, STR("failures")), &n) && n == 3);
    assert_true(tree_to_int(tree_get(endpoint, STR("timeout")), &n) && n == 3);
    assert_int_equal(tree_get(root, STR("reasons"))->n, 1);
    *(bool *)arg = true;
    return E_OK;
}

static void on_mistake(void *arg, const struct diag *d)
{
    (void)arg;
    print_error("%.*s\n", STR_ARG(d->what));
    fail();
}

static void json(void **state)
{
    struct world w;
    bool is_read = false;
    const struct tree_sink sink = {.arg = &is_read, .on_document = on_view, .on_diag = on_mistake};
    (void)state;
    make_world(&w);
    top_view_json(&w.out, &w.view);
    assert_int_equal(str_find(buf_str(&w.out), '\n'), w.out.n - 1); /* one line */
    assert_int_equal(json_parse(buf_str(&w.out), &sink), E_OK);
    assert_true(is_read);
    free_world(&w);
}

static void out_of_memory(void **state)
{
    (void)state;
    for (size_t nth = 1;; nth++) {
        struct top_sample s;
        assert_true(nth < 1000);
        mem_fail_from(nth);
        enum err e = top_sample_parse(STR(SAMPLE(1, 2, 3, 4, 5, 6, 7)), &s);
        mem_fail_from(0);
        if (e == E_OK) {
            top_sample_fini(&s);
            assert_true(nth > 1);
            return;
        }
        assert_int_equal(e, E_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_in_between),
        cmocka_unit_test(what_began_anew),
        cmocka_unit_test(a_new_route_counts_whole),
        cmocka_unit_test(answers_that_are_none),
        cmocka_unit_test(strange_answers),
        cmocka_unit_test(endpoints_in_between),
        cmocka_unit_test(an_endpoint_that_was_left_out),
        cmocka_unit_test(percentiles),
        cmocka_unit_test(text),
        cmocka_unit_test(text_of_endpoints),
        cmocka_unit_test(routes_leave_room_for_endpoints),
        cmocka_unit_test(any_window),
        cmocka_unit_test(json),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
