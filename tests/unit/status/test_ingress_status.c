/* status/ingress_status: what is written, when, and what is not. */
#include "status/ingress_status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake.h"

enum { TEXT_MAX = 4096 };

struct bench {
    struct fake fake;
    struct store *store;
    struct store_listener listener;
    struct ingress_status_options options;
    struct ingress_status *s;
    /* the API */
    uint32_t status;
    enum err error;
    bool applies;                        /* what is written comes back by the watch, at once */
    char path[TEXT_MAX], body[TEXT_MAX]; /* of the last call */
    int forbidden, cleared;
    size_t asked; /* whose it is */
};

static void put(struct bench *b, const char *name, const char *class, const char *uid,
                const char *status)
{
    char json[TEXT_MAX];
    (void)snprintf(json, sizeof(json),
                   "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"Ingress\",\"metadata\":{"
                   "\"name\":\"%s\",\"namespace\":\"in\",\"uid\":\"%s\"},\"spec\":{"
                   "\"ingressClassName\":\"%s\",\"rules\":[{}]},\"status\":{\"loadBalancer\":{"
                   "\"ingress\":[%s]}}}",
                   name, uid, class, status);
    fake_put(b->store, json);
}

/* The watch brings back what was applied to the Ingress of that path. */
static void apply(struct bench *b, const struct fake_request *request)
{
    static const char before[] = "/ingresses/", list[] = "\"ingress\":[";
    char name[64], status[TEXT_MAX] = "";
    const char *from = strstr(b->path, before) + sizeof(before) - 1;
    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(from, "/"), from);
    const char *items = strstr(b->body, list);
    (void)request;
    if (items != NULL) {
        items += sizeof(list) - 1;
        (void)snprintf(status, sizeof(status), "%.*s", (int)strcspn(items, "]"), items);
    }
    const struct ingress *old =
        (const void *)store_get(b->store, OBJECT_INGRESS, STR("in"), str_from_cstr(name));
    if (old != NULL) {
        char class[64], uid[64];
        assert_true(str_to_cstr(old->class_name, class, sizeof(class)));
        assert_true(str_to_cstr(old->object.uid, uid, sizeof(uid)));
        put(b, name, class, uid, status);
    }
}

static void api(void *arg, const struct fake_request *request, struct fake_answer *ret)
{
    struct bench *b = arg;
    assert_int_equal(request->method, KUBE_PATCH);
    assert_true(str_eq(request->content_type, STR("application/apply-patch+yaml")));
    assert_true(str_to_cstr(request->path, b->path, sizeof(b->path)));
    assert_true(str_to_cstr(request->body, b->body, sizeof(b->body)));
    ret->status = b->status;
    ret->error = b->error;
    if (b->applies && b->status == 200 && b->error == E_OK) {
        apply(b, request);
    }
}

static bool is_ours(void *arg, const struct ingress *ingress)
{
    ((struct bench *)arg)->asked++;
    return str_eq(ingress->class_name, STR("lintel"));
}

static void on_forbidden(void *arg, const struct ingress *ingress)
{
    assert_non_null(ingress);
    ((struct bench *)arg)->forbidden++;
}

static void on_change(void *arg, const struct object *old_object, const struct object *new_object)
{
    struct bench *b = arg;
    ingress_status_on_change(b->s, (const void *)old_object, (const void *)new_object);
}

static void bench_init(struct bench *b)
{
    *b = (struct bench){.status = 200, .applies = true};
    fake_init(&b->fake, api, b);
    assert_int_equal(store_new(&b->store), E_OK);
    b->options = (struct ingress_status_options){.loop = b->fake.loop,
                                                 .client = b->fake.client,
                                                 .store = b->store,
                                                 .is_ours = is_ours,
                                                 .on_forbidden = on_forbidden,
                                                 .arg = b};
    assert_int_equal(ingress_status_open(&b->options, &b->s), E_OK);
    store_listen(b->store, &b->listener, on_change, b);
}

static void bench_fini(struct bench *b)
{
    store_unlisten(&b->listener);
    ingress_status_close(b->s);
    store_free(b->store);
    fake_fini(&b->fake);
}

static const struct published_address one[] = {
    {STR_INIT("192.0.2.1"), STR_INIT("")},
};
static const struct published_address two[] = {
    {STR_INIT(""),          STR_INIT("lb.example")},
    {STR_INIT("192.0.2.1"), STR_INIT("x")         },
};
#define ONE   "{\"ip\":\"192.0.2.1\"}"
#define TWO   "{\"hostname\":\"lb.example\"},{\"ip\":\"192.0.2.1\",\"hostname\":\"x\"}"
#define OTHER "{\"ip\":\"203.0.113.5\"}"
#define HEAD                                                                                       \
    "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"Ingress\",\"metadata\":{\"name\":\"a\","  \
    "\"namespace\":\"in\",\"uid\":\"u1\"}"

static void publish(struct bench *b, const struct published_address *items, uint32_t n)
{
    ingress_status_publish(b->s, (struct address_list){items, n, true});
}

static void start(struct bench *b)
{
    publish(b, one, 1);
    ingress_status_switch(b->s, true);
    fake_run(&b->fake, USEC_PER_SEC);
}

static uint32_t published_n(const struct bench *b, const char *name)
{
    const struct object *o = store_get(b->store, OBJECT_INGRESS, STR("in"), str_from_cstr(name));
    return ((const struct ingress *)o)->published_n;
}

/* Expects that many calls since the last time. */
static void expect_calls(struct bench *b, size_t n, usec_t time)
{
    size_t before = b->fake.started;
    fake_run(&b->fake, time);
    assert_int_equal(b->fake.started - before, n);
}

/* ---- tests ---- */

static void writes_what_differs_and_nothing_else(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "a", "lintel", "u1", "");
    put(&b, "right", "lintel", "u2", ONE);
    put(&b, "other", "nginx", "u3", OTHER);
    put(&b, "fresh", "nginx", "u4", "");
    start(&b);
    assert_int_equal(b.fake.started, 1);
    assert_string_equal(b.path, "/apis/networking.k8s.io/v1/namespaces/in/ingresses/a/status"
                                "?fieldManager=lintel&force=true");
    assert_string_equal(b.body, HEAD ",\"status\":{\"loadBalancer\":{\"ingress\":[" ONE "]}}}");
    expect_calls(&b, 0, 10 * STATUS_REFRESH);
    assert_int_equal(ingress_status_counters(b.s)->written, 1);
    bench_fini(&b);
}

static void a_wrong_value_of_ours_is_replaced(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "a", "lintel", "u1", OTHER);
    start(&b);
    assert_int_equal(b.fake.started, 1);
    publish(&b, two, 2);
    expect_calls(&b, 1, USEC_PER_SEC);
    assert_string_equal(b.body, HEAD ",\"status\":{\"loadBalancer\":{\"ingress\":[" TWO "]}}}");
    put(&b, "a", "lintel", "u1", ONE); /* somebody writes into it */
    expect_calls(&b, 1, USEC_PER_SEC);
    assert_int_equal(published_n(&b, "a"), 2);
    bench_fini(&b);
}

static void nothing_while_off_or_unknown(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "a", "lintel", "u1", "");
    publish(&b, one, 1);
    expect_calls(&b, 0, 2 * STATUS_REFRESH);
    ingress_status_publish(b.s, (struct address_list){0});
    ingress_status_switch(b.s, true);
    put(&b, "b", "lintel", "u2", "");
    expect_calls(&b, 0, 2 * STATUS_REFRESH);
    publish(&b, one, 1);
    expect_calls(&b, 2, USEC_PER_SEC);
    ingress_status_switch(b.s, false);
    put(&b, "c", "lintel", "u3", "");
    expect_calls(&b, 0, 2 * STATUS_REFRESH);
    bench_fini(&b);
}

static void no_uid_no_write(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "a", "lintel", "", "");
    start(&b);
    assert_int_equal(b.fake.started, 0);
    bench_fini(&b);
}

static void taken_out_when_it_stops_being_ours(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "a", "lintel", "u1", ONE);
    start(&b);
    put(&b, "a", "nginx", "u1", ONE);
    expect_calls(&b, 1, USEC_PER_SEC);
    assert_string_equal(b.body, HEAD "}"); /* our claim is given up */
    assert_int_equal(published_n(&b, "a"), 0);
    put(&b, "a", "nginx", "u1", OTHER);
    expect_calls(&b, 0, 2 * STATUS_REFRESH);
    assert_int_equal(ingress_status_counters(b.s)->cleared, 1);
    bench_fini(&b);
}

/* Its addresses are those of before: that we saw it stop being ours is enough. */
static void taken_out_whatever_it_says(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.applies = false;
    put(&b, "a", "lintel", "u1", OTHER);
    put(&b, "b", "nginx", "u2", OTHER);
    start(&b);
    put(&b, "a", "nginx", "u1", OTHER);
    put(&b, "b", "nginx2", "u2", OTHER);
    expect_calls(&b, 1, USEC_PER_SEC);
    assert_string_equal(b.body, HEAD "}");
    expect_calls(&b, 0, 3 * STATUS_REFRESH); /* once is enough */
    b.applies = true;                        /* else a refresh within this second would try again */
    put(&b, "a", "lintel", "u1", OTHER);
    expect_calls(&b, 1, USEC_PER_SEC);
    assert_true(has_text(str_from_cstr(b.body), "192.0.2.1"));
    bench_fini(&b);
}

/* A controller behind the same load balancer: giving up a claim that we never had changes nothing,
 * and is done once. */
static void the_same_address_of_another_stays(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.applies = false;
    put(&b, "a", "nginx", "u1", ONE);
    start(&b);
    assert_int_equal(b.fake.started, 1);
    expect_calls(&b, 0, 10 * STATUS_REFRESH);
    put(&b, "a", "nginx2", "u1", ONE); /* changes, but not its status */
    expect_calls(&b, 0, 2 * STATUS_REFRESH);
    b.applies = true;
    put(&b, "a", "lintel", "u1", OTHER);
    expect_calls(&b, 1, USEC_PER_SEC);
    put(&b, "a", "nginx", "u1", ONE);
    expect_calls(&b, 1, USEC_PER_SEC);
    bench_fini(&b);
}

static void a_class_decides_for_all(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "a", "lintel", "u1", ONE);
    start(&b);
    b.asked = 0;
    ingress_status_on_class_change(b.s);
    ingress_status_on_class_change(b.s); /* many at once are one look */
    fake_run(&b.fake, 10 * USEC_PER_MS);
    assert_int_equal(b.asked, 1);
    bench_fini(&b);
}

static void no_address_left(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "a", "lintel", "u1", "");
    start(&b);
    publish(&b, NULL, 0);
    expect_calls(&b, 1, USEC_PER_SEC);
    assert_string_equal(b.body, HEAD "}");
    expect_calls(&b, 0, 3 * STATUS_REFRESH);
    bench_fini(&b);
}

static void many_converge_a_few_at_a_time(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (int i = 0; i < 1000; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "i%d", i);
        put(&b, name, "lintel", "u", "");
    }
    publish(&b, one, 1);
    ingress_status_switch(b.s, true);
    assert_int_equal(loop_step(b.fake.loop, 0), E_OK);
    assert_int_equal(ingress_status_waiting(b.s), 1000);
    fake_run(&b.fake, 10 * USEC_PER_SEC);
    assert_int_equal(b.fake.started, 1000);
    assert_int_equal(b.fake.most_under_way, STATUS_WRITES_MAX);
    assert_int_equal(ingress_status_waiting(b.s), 0);
    assert_int_equal(ingress_status_counters(b.s)->written, 1000);
    bench_fini(&b);
}

static void deleted_and_made_anew(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    put(&b, "a", "lintel", "u1", "");
    assert_true(store_del(b.store, OBJECT_INGRESS, STR("in"), STR("a")));
    expect_calls(&b, 0, USEC_PER_SEC);
    put(&b, "a", "lintel", "u1", "");
    put(&b, "a", "lintel", "u2", "");
    expect_calls(&b, 1, USEC_PER_SEC);
    assert_true(has_text(str_from_cstr(b.body), "\"uid\":\"u2\""));
    bench_fini(&b);
}

static void refusals_are_dropped(void **state)
{
    (void)state;
    static const uint32_t statuses[] = {404, 409, 422, 400};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        struct bench b;
        bench_init(&b);
        b.status = statuses[i];
        put(&b, "a", "lintel", "u1", "");
        start(&b);
        assert_int_equal(b.fake.started, 1);
        assert_int_equal(ingress_status_counters(b.s)->refused, 1);
        expect_calls(&b, 0, STATUS_REFRESH / 2);
        expect_calls(&b, 1, STATUS_REFRESH); /* the next look at everything */
        bench_fini(&b);
    }
}

static void failures_are_tried_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.error = E_CLOSED;
    put(&b, "a", "lintel", "u1", "");
    start(&b);
    fake_run(&b.fake, 3 * USEC_PER_SEC);
    b.error = E_OK;
    b.status = 500;
    fake_run(&b.fake, 4 * USEC_PER_SEC);
    b.status = 200;
    fake_run(&b.fake, 10 * USEC_PER_SEC);
    assert_int_equal(published_n(&b, "a"), 1);
    assert_in_range(ingress_status_retries(b.s), 2, 4);
    bench_fini(&b);
}

static void an_api_that_is_away_is_given_up_on(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.status = 503;
    put(&b, "a", "lintel", "u1", "");
    start(&b);
    fake_run(&b.fake, 40 * USEC_PER_SEC);
    assert_int_equal(ingress_status_counters(b.s)->given_up, 1);
    b.status = 200;
    fake_run(&b.fake, 2 * STATUS_REFRESH);
    assert_int_equal(published_n(&b, "a"), 1);
    bench_fini(&b);
}

static void forbidden_is_said_once(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.status = 403;
    for (int i = 0; i < 30; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "i%d", i);
        put(&b, name, "lintel", "u", "");
    }
    start(&b);
    fake_run(&b.fake, 5 * STATUS_RETRY_MAX);
    assert_int_equal(b.forbidden, 1);
    assert_true(b.fake.started <= 8 * STATUS_WRITES_MAX);
    b.status = 200;
    fake_run(&b.fake, 2 * STATUS_RETRY_MAX);
    assert_int_equal(ingress_status_counters(b.s)->written, 30);
    b.status = 403;
    put(&b, "i1", "lintel", "u", "");
    fake_run(&b.fake, STATUS_RETRY_MAX);
    assert_int_equal(b.forbidden, 2);
    bench_fini(&b);
}

/* What comes while a write is under way is not lost. */
static void a_change_while_it_is_written(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.fake.latency = 100 * USEC_PER_MS;
    put(&b, "a", "lintel", "u1", "");
    publish(&b, one, 1);
    ingress_status_switch(b.s, true);
    fake_run(&b.fake, 50 * USEC_PER_MS);
    assert_int_equal(b.fake.under_way, 1);
    publish(&b, two, 2);
    fake_run(&b.fake, 500 * USEC_PER_MS);
    assert_int_equal(published_n(&b, "a"), 2);
    assert_int_equal(b.fake.started, 2);
    bench_fini(&b);
}

static void on_cleared(void *arg)
{
    ((struct bench *)arg)->cleared++;
}

static void clear_at_the_end(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "a", "lintel", "u1", ONE);
    put(&b, "b", "lintel", "u2", "");
    put(&b, "c", "nginx", "u3", OTHER);
    put(&b, "d", "lintel", "u4", OTHER); /* not written yet, and never will be */
    publish(&b, one, 1);
    ingress_status_switch(b.s, true);
    ingress_status_clear(b.s, on_cleared, &b);
    assert_int_equal(b.cleared, 0);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.cleared, 1);
    assert_int_equal(b.fake.started, 1);
    assert_true(published_n(&b, "a") == 0 && published_n(&b, "c") == 1);
    bench_fini(&b);
}

static void clear_waits_for_the_last(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (int i = 0; i < 50; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "i%d", i);
        put(&b, name, "lintel", "u", ONE);
    }
    start(&b);
    b.status = 500;
    ingress_status_clear(b.s, on_cleared, &b);
    fake_run(&b.fake, 500 * USEC_PER_MS);
    assert_int_equal(b.cleared, 0);
    b.status = 200;
    fake_run(&b.fake, 10 * USEC_PER_SEC);
    assert_int_equal(b.cleared, 1);
    assert_int_equal(ingress_status_counters(b.s)->cleared, 50);
    bench_fini(&b);
}

static void clear_with_nothing_to_do(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "a", "lintel", "u1", ONE);
    ingress_status_clear(b.s, on_cleared, &b); /* it is off */
    fake_run(&b.fake, USEC_PER_SEC);
    assert_true(b.cleared == 1 && b.fake.started == 0);
    bench_fini(&b);
}

static void out_of_memory(void **state)
{
    (void)state;
    size_t n = 1;
    for (bool is_through = false; !is_through; n++) {
        struct bench b;
        bench_init(&b);
        put(&b, "a", "lintel", "u1", "");
        put(&b, "b", "lintel", "u2", "");
        fake_fail_from(&b.fake, n);
        publish(&b, one, 1);
        ingress_status_switch(b.s, true);
        for (int i = 0; i < 30; i++) {
            assert_int_equal(loop_step(b.fake.loop, USEC_PER_MS), E_OK);
        }
        is_through = ingress_status_counters(b.s)->written == 2;
        fake_fail_from(&b.fake, 0);
        fake_run(&b.fake, 3 * STATUS_REFRESH);
        assert_true(published_n(&b, "a") == 1 && published_n(&b, "b") == 1);
        bench_fini(&b);
    }
    assert_true(n > 5);
    struct fake f;
    struct ingress_status *s;
    fake_init(&f, NULL, NULL);
    const struct ingress_status_options options = {.loop = f.loop, .client = f.client};
    fake_fail_from(&f, 1);
    assert_int_equal(ingress_status_open(&options, &s), E_NOMEM);
    fake_fail_from(&f, 0);
    ingress_status_close(NULL);
    fake_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_differs_and_nothing_else),
        cmocka_unit_test(a_wrong_value_of_ours_is_replaced),
        cmocka_unit_test(nothing_while_off_or_unknown),
        cmocka_unit_test(no_uid_no_write),
        cmocka_unit_test(taken_out_when_it_stops_being_ours),
        cmocka_unit_test(taken_out_whatever_it_says),
        cmocka_unit_test(the_same_address_of_another_stays),
        cmocka_unit_test(a_class_decides_for_all),
        cmocka_unit_test(no_address_left),
        cmocka_unit_test(many_converge_a_few_at_a_time),
        cmocka_unit_test(deleted_and_made_anew),
        cmocka_unit_test(refusals_are_dropped),
        cmocka_unit_test(failures_are_tried_again),
        cmocka_unit_test(an_api_that_is_away_is_given_up_on),
        cmocka_unit_test(forbidden_is_said_once),
        cmocka_unit_test(a_change_while_it_is_written),
        cmocka_unit_test(clear_at_the_end),
        cmocka_unit_test(clear_waits_for_the_last),
        cmocka_unit_test(clear_with_nothing_to_do),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
