/* status/events: what becomes an Event, what is counted up, what is dropped. */
#include "status/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake.h"

enum { TEXT_MAX = 8192 };

struct bench {
    struct fake fake;
    struct store *store;
    struct events_options options;
    struct events *e;
    uint32_t post_status, patch_status;
    enum kube_method method; /* of the last call */
    char path[TEXT_MAX], body[TEXT_MAX];
    size_t posts, patches;
    int present_n; /* diagnostics that there are now */
    size_t asked;
};

static void api(void *arg, const struct fake_request *request, struct fake_answer *ret)
{
    struct bench *b = arg;
    bool is_post = request->method == KUBE_POST;
    assert_true(is_post || request->method == KUBE_PATCH);
    assert_true(
        str_eq(request->content_type, is_post ? STR("") : STR("application/merge-patch+json")));
    b->method = request->method;
    b->posts += is_post;
    b->patches += !is_post;
    assert_true(str_to_cstr(request->path, b->path, sizeof(b->path)));
    assert_true(str_to_cstr(request->body, b->body, sizeof(b->body)));
    ret->status = is_post ? b->post_status : b->patch_status;
}

static struct diag diag_on(const char *name, const char *what)
{
    return (struct diag){.severity = DIAG_ERROR,
                         .reason = DIAG_InvalidHost,
                         .kind = STR("Ingress"),
                         .namespace_name = STR("in"),
                         .name = str_from_cstr(name),
                         .field = STR("spec.rules[0].host"),
                         .what = str_from_cstr(what),
                         .why = STR("a host has no port"),
                         .mend = STR("drop it")};
}

static enum err each_diag(void *arg, diag_fn *fn, void *fn_arg)
{
    struct bench *b = arg;
    b->asked++;
    for (int i = 0; i < b->present_n; i++) {
        char what[32];
        (void)snprintf(what, sizeof(what), "present %d", i);
        struct diag d = diag_on("a", what);
        fn(fn_arg, &d);
    }
    return E_OK;
}

static void bench_init(struct bench *b)
{
    *b = (struct bench){.post_status = 201, .patch_status = 200};
    fake_init(&b->fake, api, b);
    assert_int_equal(store_new(&b->store), E_OK);
    fake_put(b->store, "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"Ingress\","
                       "\"metadata\":{\"name\":\"a\",\"namespace\":\"in\",\"uid\":\"u1\"},"
                       "\"spec\":{\"rules\":[{}]}}");
    fake_put(b->store, "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"IngressClass\","
                       "\"metadata\":{\"name\":\"c\",\"uid\":\"u2\"},"
                       "\"spec\":{\"controller\":\"a.b/c\"}}");
    b->options = (struct events_options){.loop = b->fake.loop,
                                         .client = b->fake.client,
                                         .store = b->store,
                                         .controller = STR("lintel.dev/ingress-controller"),
                                         .instance = STR("pod-0"),
                                         .each_diag = each_diag,
                                         .arg = b};
    assert_int_equal(events_open(&b->options, &b->e), E_OK);
}

static void start(struct bench *b)
{
    events_switch(b->e, true);
    fake_run(&b->fake, 100 * USEC_PER_MS);
}

static void bench_fini(struct bench *b)
{
    events_close(b->e);
    store_free(b->store);
    fake_fini(&b->fake);
}

static void tell(struct bench *b, const char *name, const char *what)
{
    struct diag d = diag_on(name, what);
    events_on_diag(b->e, &d);
}

static void expect_calls(struct bench *b, size_t posts, size_t patches, usec_t time)
{
    size_t posts_before = b->posts, patches_before = b->patches;
    fake_run(&b->fake, time);
    assert_int_equal(b->posts - posts_before, posts);
    assert_int_equal(b->patches - patches_before, patches);
}

/* ---- tests ---- */

static void an_event_in_full(void **state)
{
    (void)state;
    struct bench b;
    char name[64] = "";
    bench_init(&b);
    start(&b);
    tell(&b, "a", "is \"a:80\"");
    expect_calls(&b, 1, 0, USEC_PER_SEC);
    assert_string_equal(b.path, "/apis/events.k8s.io/v1/namespaces/in/events");
    const char *from = strstr(b.body, "\"name\":\"a.");
    assert_non_null(from);
    (void)snprintf(name, sizeof(name), "%.18s", from + 8);
    assert_int_equal(strspn(name + 2, "0123456789abcdef"), 16);
    char want[TEXT_MAX];
    const char *time = strstr(b.body, "\"eventTime\":\"2026-");
    assert_non_null(time);
    (void)snprintf(want, sizeof(want),
                   "{\"apiVersion\":\"events.k8s.io/v1\",\"kind\":\"Event\",\"metadata\":{"
                   "\"name\":\"%s\",\"namespace\":\"in\"},\"eventTime\":\"%.27s\","
                   "\"reportingController\":\"lintel.dev/ingress-controller\","
                   "\"reportingInstance\":\"pod-0\",\"action\":\"Compile\","
                   "\"reason\":\"InvalidHost\",\"regarding\":{"
                   "\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"Ingress\",\"name\":\"a\","
                   "\"namespace\":\"in\",\"uid\":\"u1\"},\"note\":\"spec.rules[0].host: is "
                   "\\\"a:80\\\": a host has no port; drop it\",\"type\":\"Warning\"}",
                   name, time + 13);
    assert_string_equal(b.body, want);
    assert_int_equal(events_counters(b.e)->created, 1);
    bench_fini(&b);
}

static void others_than_diagnostics(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    const struct object *class = store_get(b.store, OBJECT_INGRESS_CLASS, STR_EMPTY, STR("c"));
    events_tell(b.e, class, false, STR("Sync"), STR("Sync"), STR("all is well"));
    expect_calls(&b, 1, 0, USEC_PER_SEC);
    /* An object without a namespace has its Events in this one. */
    assert_string_equal(b.path, "/apis/events.k8s.io/v1/namespaces/default/events");
    struct str body = str_from_cstr(b.body);
    assert_true(has_text(body, "\"kind\":\"IngressClass\",\"name\":\"c\",\"uid\":\"u2\"}"));
    assert_true(has_text(body, "\"note\":\"all is well\",\"type\":\"Normal\""));
    bench_fini(&b);
}

static void not_every_diagnostic(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    tell(&b, "a", "off"); /* not switched on */
    start(&b);
    struct diag d = diag_on("a", "x");
    d.kind = STR("Resolution"); /* of our own */
    events_on_diag(b.e, &d);
    d = diag_on("", "x"); /* of a file */
    events_on_diag(b.e, &d);
    expect_calls(&b, 0, 0, USEC_PER_SEC);
    tell(&b, "unknown", "x"); /* not in the store: without uid */
    expect_calls(&b, 1, 0, USEC_PER_SEC);
    assert_false(has_text(str_from_cstr(b.body), "uid"));
    bench_fini(&b);
}

static void the_same_again_is_counted_up(void **state)
{
    (void)state;
    struct bench b;
    char name[64];
    bench_init(&b);
    start(&b);
    tell(&b, "a", "x");
    fake_run(&b.fake, USEC_PER_SEC);
    (void)snprintf(name, sizeof(name), "%.18s", strstr(b.body, "\"name\":\"a.") + 8);
    for (int i = 0; i < 10; i++) {
        tell(&b, "a", "x");
    }
    expect_calls(&b, 0, 0, EVENTS_SERIES / 2);
    expect_calls(&b, 0, 1, 2 * EVENTS_SERIES); /* once, with all of them */
    assert_true(has_text(str_from_cstr(b.path), name));
    assert_true(
        has_text(str_from_cstr(b.body), "{\"series\":{\"count\":11,\"lastObservedTime\":\"2026-"));
    expect_calls(&b, 0, 0, 3 * EVENTS_SERIES);
    tell(&b, "a", "x");
    expect_calls(&b, 0, 1, USEC_PER_SEC); /* late enough: at once */
    tell(&b, "a", "y");
    expect_calls(&b, 1, 0, USEC_PER_SEC); /* another text is another Event */
    assert_int_equal(events_counters(b.e)->counted_up, 2);
    bench_fini(&b);
}

static void what_lasts_is_told_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.present_n = 2;
    start(&b);
    assert_int_equal(b.posts, 2);
    expect_calls(&b, 0, 0, EVENTS_REPEAT * 8 / 10);
    expect_calls(&b, 0, 2, EVENTS_REPEAT / 2);
    bench_fini(&b);
}

static void what_is_stale_is_forgotten(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    tell(&b, "a", "x");
    expect_calls(&b, 1, 0, EVENTS_KNOWN - 2 * EVENTS_SERIES);
    tell(&b, "a", "x");
    expect_calls(&b, 0, 1, EVENTS_KNOWN + 2 * EVENTS_SERIES);
    tell(&b, "a", "x"); /* the API server has forgotten it by now */
    expect_calls(&b, 1, 0, USEC_PER_SEC);
    bench_fini(&b);
}

static void an_event_of_a_leader_before_us(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.post_status = 409;
    start(&b);
    tell(&b, "a", "x");
    expect_calls(&b, 1, 0, 2 * EVENTS_SERIES);
    tell(&b, "a", "x");
    expect_calls(&b, 0, 1, USEC_PER_SEC);
    assert_int_equal(events_counters(b.e)->refused, 0);
    bench_fini(&b);
}

static void the_name_follows_from_the_content(void **state)
{
    (void)state;
    char names[2][64];
    for (int i = 0; i < 2; i++) {
        struct bench b;
        bench_init(&b);
        start(&b);
        tell(&b, "a", "x");
        fake_run(&b.fake, USEC_PER_SEC);
        (void)snprintf(names[i], sizeof(names[i]), "%.18s", strstr(b.body, "\"name\":\"a.") + 8);
        bench_fini(&b);
    }
    assert_string_equal(names[0], names[1]);
}

static void an_event_that_was_deleted(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    tell(&b, "a", "x");
    fake_run(&b.fake, EVENTS_SERIES);
    b.patch_status = 404;
    tell(&b, "a", "x");
    expect_calls(&b, 1, 1, 5 * EVENTS_SERIES);
    bench_fini(&b);
}

static void refusals_and_failures(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    b.post_status = 403;
    tell(&b, "a", "x");
    tell(&b, "a", "y"); /* a forbidden one holds nobody up */
    expect_calls(&b, 2, 0, 2 * EVENTS_SERIES);
    assert_int_equal(events_counters(b.e)->refused, 2);
    b.post_status = 500;
    tell(&b, "a", "x");
    fake_run(&b.fake, USEC_PER_SEC / 2);
    b.post_status = 201;
    fake_run(&b.fake, 5 * USEC_PER_SEC);
    assert_int_equal(events_counters(b.e)->created, 1);
    assert_int_equal(events_retries(b.e), 1);
    bench_fini(&b);
}

static void budget_of_an_object(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    for (int i = 0; i < EVENTS_OBJECT_BURST + 1; i++) {
        char what[16];
        (void)snprintf(what, sizeof(what), "x%d", i);
        assert_int_equal(events_counters(b.e)->dropped_budget, 0);
        tell(&b, "a", what);
    }
    assert_int_equal(events_counters(b.e)->dropped_budget, 1);
    expect_calls(&b, EVENTS_OBJECT_BURST, 0, USEC_PER_SEC);
    tell(&b, "other", "x");
    expect_calls(&b, 1, 0, EVENTS_OBJECT_PERIOD);
    tell(&b, "a", "one more");
    tell(&b, "a", "and another one");
    expect_calls(&b, 1, 0, USEC_PER_SEC);
    assert_int_equal(events_counters(b.e)->dropped_budget, 2);
    bench_fini(&b);
}

static void budget_of_all(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    for (int i = 0; i < EVENTS_BURST + 1; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "o%d", i);
        assert_int_equal(events_counters(b.e)->dropped_budget, 0);
        tell(&b, name, "x");
    }
    assert_int_equal(events_counters(b.e)->dropped_budget, 1);
    expect_calls(&b, EVENTS_BURST, 0, 10 * USEC_PER_SEC);
    assert_int_equal(b.fake.most_under_way, EVENTS_WRITES_MAX);
    bench_fini(&b);
}

static void table_limit(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    for (int i = 0; i < EVENTS_KNOWN_MAX + 1; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "o%d", i);
        assert_int_equal(events_counters(b.e)->dropped_table, 0);
        tell(&b, name, "x");
        fake_run(&b.fake, EVENTS_PERIOD);
    }
    assert_int_equal(events_counters(b.e)->dropped_budget, 0);
    assert_int_equal(events_counters(b.e)->dropped_table, 1);
    fake_run(&b.fake, EVENTS_KNOWN + 2 * EVENTS_SERIES);
    tell(&b, "new", "x"); /* there is room again */
    assert_int_equal(events_counters(b.e)->dropped_table, 1);
    bench_fini(&b);
}

static size_t note_n(const struct bench *b)
{
    const char *from = strstr(b->body, "\"note\":\"");
    assert_non_null(from);
    return strcspn(from + 8, "\"");
}

static void note_limit(void **state)
{
    (void)state;
    struct bench b;
    char note[EVENT_NOTE_BYTES_MAX + 8];
    bench_init(&b);
    start(&b);
    const struct object *o = store_get(b.store, OBJECT_INGRESS, STR("in"), STR("a"));
    memset(note, 'x', sizeof(note));
    for (size_t more = 0; more < 2; more++) {
        events_tell(b.e, o, true, STR("R"), STR("A"), str_make(note, EVENT_NOTE_BYTES_MAX + more));
        fake_run(&b.fake, USEC_PER_SEC);
        assert_int_equal(note_n(&b), EVENT_NOTE_BYTES_MAX);
    }
    memcpy(note + EVENT_NOTE_BYTES_MAX - 1, "\xe2\x82\xac", 3); /* no half characters */
    events_tell(b.e, o, true, STR("R"), STR("A"), str_make(note, EVENT_NOTE_BYTES_MAX + 2));
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(note_n(&b), EVENT_NOTE_BYTES_MAX - 1);
    memset(note, 'y', sizeof(note));
    memcpy(note + EVENT_NOTE_BYTES_MAX - 3, "\xe2\x82\xac", 3);
    events_tell(b.e, o, true, STR("R"), STR("A"), str_make(note, EVENT_NOTE_BYTES_MAX + 2));
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(note_n(&b), EVENT_NOTE_BYTES_MAX);
    bench_fini(&b);
}

static void name_limit(void **state)
{
    (void)state;
    for (size_t n = 236; n < 238; n++) { /* with a dot and 16 digits: 253 and 254 */
        struct bench b;
        char name[256] = "";
        bench_init(&b);
        start(&b);
        memset(name, 'n', n);
        tell(&b, name, "x");
        fake_run(&b.fake, USEC_PER_SEC);
        assert_int_equal(has_text(str_from_cstr(b.body), "\"metadata\":{\"name\":\"lintel."),
                         n == 237);
        bench_fini(&b);
    }
}

static void off_forgets(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    tell(&b, "a", "x");
    events_switch(b.e, false);
    expect_calls(&b, 0, 0, EVENTS_REPEAT * 2);
    assert_int_equal(b.asked, 1);
    b.present_n = 1;
    events_switch(b.e, true);
    expect_calls(&b, 1, 0, USEC_PER_SEC);
    bench_fini(&b);
}

static void out_of_memory(void **state)
{
    (void)state;
    size_t n = 1;
    for (bool is_through = false; !is_through; n++) {
        struct bench b;
        bench_init(&b);
        fake_fail_from(&b.fake, n);
        events_switch(b.e, true);
        tell(&b, "a", "x");
        for (int i = 0; i < 20; i++) {
            assert_int_equal(loop_step(b.fake.loop, USEC_PER_MS), E_OK);
        }
        is_through = events_counters(b.e)->created == 1;
        fake_fail_from(&b.fake, 0);
        fake_run(&b.fake, 60 * USEC_PER_SEC);
        const struct events_counters *c = events_counters(b.e);
        assert_true(c->created + c->dropped_memory + c->refused >= 1);
        bench_fini(&b);
    }
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_in_full),
        cmocka_unit_test(others_than_diagnostics),
        cmocka_unit_test(not_every_diagnostic),
        cmocka_unit_test(the_same_again_is_counted_up),
        cmocka_unit_test(what_lasts_is_told_again),
        cmocka_unit_test(what_is_stale_is_forgotten),
        cmocka_unit_test(an_event_of_a_leader_before_us),
        cmocka_unit_test(the_name_follows_from_the_content),
        cmocka_unit_test(an_event_that_was_deleted),
        cmocka_unit_test(refusals_and_failures),
        cmocka_unit_test(budget_of_an_object),
        cmocka_unit_test(budget_of_all),
        cmocka_unit_test(table_limit),
        cmocka_unit_test(note_limit),
        cmocka_unit_test(name_limit),
        cmocka_unit_test(off_forgets),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
