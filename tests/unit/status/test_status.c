/* status/status: the parts together: who writes and when, the end, the metrics. */
#include "status/status.h"

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
    struct status_options options;
    struct status_callbacks callbacks;
    struct status *s;
    /* the API */
    char lease[TEXT_MAX];
    unsigned version;
    const char *others; /* further pods, each with a comma in front */
    uint32_t patch_status, pods_status;
    bool is_down;
    size_t status_writes, status_clears, events, leases, pod_lists;
    char event[TEXT_MAX], status[TEXT_MAX];
    char order[TEXT_MAX]; /* of what was written: c = cleared, l = lease */
    int closed;
    usec_t closed_at;
};

static void note(struct bench *b, const char *what)
{
    size_t n = strlen(b->order);
    (void)snprintf(b->order + n, sizeof(b->order) - n, "%s", what);
}

static void serve_lease(struct bench *b, const struct fake_request *request,
                        struct fake_answer *ret)
{
    static const char field[] = "\"holderIdentity\":\"";
    if (request->method != KUBE_GET) {
        char body[TEXT_MAX];
        assert_true(str_to_cstr(request->body, body, sizeof(body)));
        const char *from = strstr(body, field) + sizeof(field) - 1;
        (void)snprintf(b->lease, sizeof(b->lease), "%.*s", (int)strcspn(from, "\""), from);
        b->version++;
        b->leases++;
        note(b, b->lease[0] == 0 ? "l" : "");
    }
    ret->status = b->version == 0 ? 404 : 200;
    buf_addf(&ret->body,
             "{\"metadata\":{\"resourceVersion\":\"%u\"},\"spec\":{\"holderIdentity\":\"%s\","
             "\"leaseDurationSeconds\":30,\"renewTime\":\"%u\"}}",
             b->version, b->lease, b->version);
}

static void serve_status(struct bench *b, const struct fake_request *request,
                         struct fake_answer *ret)
{
    bool is_write = has_text(request->body, "loadBalancer");
    b->status_writes += is_write;
    b->status_clears += !is_write;
    note(b, is_write ? "" : "c");
    assert_true(str_to_cstr(request->body, b->status, sizeof(b->status)));
    ret->status = b->patch_status;
}

static void api(void *arg, const struct fake_request *request, struct fake_answer *ret)
{
    struct bench *b = arg;
    struct str path = request->path;
    if (b->is_down) {
        ret->error = E_TIMEOUT;
    } else if (has_text(path, "/leases")) {
        serve_lease(b, request, ret);
    } else if (has_text(path, "/ingresses/")) {
        serve_status(b, request, ret);
    } else if (has_text(path, "/events")) {
        b->events++;
        assert_true(str_to_cstr(request->body, b->event, sizeof(b->event)));
    } else if (has_text(path, "/pods?")) {
        b->pod_lists++;
        ret->status = b->pods_status;
        buf_addf(&ret->body,
                 "{\"items\":[{\"metadata\":{\"name\":\"pod-0\"},"
                 "\"status\":{\"phase\":\"Running\"}}%s]}",
                 b->others);
    } else if (has_text(path, "/pods/pod-0")) {
        buf_add_str(&ret->body, STR("{\"metadata\":{\"labels\":{\"app\":\"l\"}}}"));
    } else {
        fail_msg("%.*s", STR_ARG(path));
    }
}

static bool is_ours(void *arg, const struct ingress *ingress)
{
    (void)arg;
    return str_eq(ingress->class_name, STR("lintel"));
}

static enum err each_diag(void *arg, diag_fn *fn, void *fn_arg)
{
    (void)arg;
    (void)fn;
    (void)fn_arg;
    return E_OK;
}

static void on_closed(void *arg)
{
    struct bench *b = arg;
    b->closed++;
    b->closed_at = fake_now();
}

static void put(struct bench *b, const char *class, const char *host, const char *status)
{
    char json[TEXT_MAX];
    (void)snprintf(json, sizeof(json),
                   "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"Ingress\",\"metadata\":{"
                   "\"name\":\"a\",\"namespace\":\"in\",\"uid\":\"u1\",\"labels\":{\"l\":\"%s\"}},"
                   "\"spec\":{\"ingressClassName\":\"%s\",\"rules\":[{\"host\":\"%s\"}]},"
                   "\"status\":{\"loadBalancer\":{\"ingress\":[%s]}}}",
                   status[0] == 0 ? "" : "labels-do-not-count", class, host, status);
    fake_put(b->store, json);
}

#define OURS "{\"ip\":\"192.0.2.1\"}"

static void bench_init(struct bench *b)
{
    *b = (struct bench){.patch_status = 200, .pods_status = 200, .others = ""};
    fake_init(&b->fake, api, b);
    assert_int_equal(store_new(&b->store), E_OK);
    b->options = (struct status_options){.pod_namespace = STR("ns"),
                                         .pod = STR("pod-0"),
                                         .controller = STR("lintel.dev/ingress-controller"),
                                         .publish_status_address = STR("192.0.2.1"),
                                         .updates_status = true,
                                         .clears_on_shutdown = true,
                                         .has_sync_events = true,
                                         .has_election = true,
                                         .election_namespace = STR("ns"),
                                         .election_id = STR("lintel-leader"),
                                         .election_ttl = 30 * USEC_PER_SEC};
    b->callbacks = (struct status_callbacks){.is_ours = is_ours, .each_diag = each_diag, .arg = b};
}

static enum err open_status(struct bench *b)
{
    return status_open(b->fake.loop, b->fake.client, b->store, &b->options, &b->callbacks, &b->s);
}

static void start(struct bench *b)
{
    assert_int_equal(open_status(b), E_OK);
    status_on_synced(b->s);
    fake_run(&b->fake, USEC_PER_SEC);
}

static void bench_fini(struct bench *b)
{
    status_free(b->s);
    store_free(b->store);
    fake_fini(&b->fake);
}

/* ---- tests ---- */

static void nothing_before_all_is_seen(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "unknown", "a", OURS); /* its class may still turn out to be ours */
    assert_int_equal(open_status(&b), E_OK);
    fake_run(&b.fake, 2 * STATUS_REFRESH);
    assert_true(status_is_leading(b.s));
    assert_int_equal(b.status_writes + b.status_clears + b.events, 0);
    put(&b, "lintel", "a", "");
    status_on_synced(b.s);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.status_writes, 1);
    assert_true(has_text(str_from_cstr(b.status), "[" OURS "]"));
    bench_fini(&b);
}

static void only_the_leader_writes(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.version = 1;
    (void)snprintf(b.lease, sizeof(b.lease), "another");
    put(&b, "lintel", "a", "");
    start(&b);
    struct diag d = {.kind = STR("Ingress"), .namespace_name = STR("in"), .name = STR("a")};
    status_on_diag(b.s, &d);
    fake_run(&b.fake, 20 * USEC_PER_SEC);
    assert_int_equal(b.status_writes + b.events, 0);
    fake_run(&b.fake, 20 * USEC_PER_SEC); /* the other one is dead */
    assert_true(status_is_leading(b.s));
    assert_int_equal(b.status_writes, 1);
    status_on_diag(b.s, &d);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.events, 1);
    b.is_down = true;
    fake_run(&b.fake, 40 * USEC_PER_SEC);
    assert_false(status_is_leading(b.s));
    b.is_down = false;
    bench_fini(&b);
}

static void without_an_election(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.has_election = false;
    put(&b, "lintel", "a", "");
    start(&b);
    assert_true(status_is_leading(b.s));
    assert_true(b.status_writes == 1 && b.leases == 0);
    bench_fini(&b);
}

static void without_status_updates(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.updates_status = false;
    put(&b, "lintel", "a", "");
    start(&b);
    struct diag d = {.kind = STR("Ingress"), .namespace_name = STR("in"), .name = STR("a")};
    status_on_diag(b.s, &d); /* Events are another matter */
    fake_run(&b.fake, 2 * STATUS_REFRESH);
    assert_true(b.status_writes == 0 && b.events == 1);
    status_close(b.s, on_closed, &b);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_true(b.closed == 1 && b.status_clears == 0 && b.pod_lists == 0);
    bench_fini(&b);
}

static void sync_events(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "lintel", "a", OURS);
    start(&b);
    assert_int_equal(b.events, 0); /* not for what was there before */
    put(&b, "lintel", "b", OURS);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.events, 1);
    assert_true(has_text(str_from_cstr(b.event), "\"reason\":\"Sync\""));
    assert_true(has_text(str_from_cstr(b.event), "\"type\":\"Normal\""));
    put(&b, "lintel", "b", ""); /* status and labels */
    put(&b, "nginx", "b", "");
    fake_run(&b.fake, 3 * EVENTS_SERIES);
    assert_int_equal(b.events, 1);
    bench_fini(&b);
    bench_init(&b);
    b.options.has_sync_events = false;
    start(&b);
    put(&b, "lintel", "a", OURS);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.events, 0);
    bench_fini(&b);
}

static bool is_ours_by_class(void *arg, const struct ingress *ingress)
{
    const struct bench *b = arg;
    return store_get(b->store, OBJECT_INGRESS_CLASS, STR_EMPTY, ingress->class_name) != NULL;
}

static void a_class_that_goes(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.callbacks.is_ours = is_ours_by_class;
    fake_put(b.store, "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"IngressClass\","
                      "\"metadata\":{\"name\":\"lintel\"},\"spec\":{\"controller\":\"a.b/c\"}}");
    put(&b, "lintel", "a", OURS);
    start(&b);
    assert_int_equal(b.status_clears, 0);
    assert_true(store_del(b.store, OBJECT_INGRESS_CLASS, STR_EMPTY, STR("lintel")));
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.status_clears, 1);
    bench_fini(&b);
}

static void forbidden_becomes_an_event(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.patch_status = 403;
    put(&b, "lintel", "a", "");
    start(&b);
    assert_int_equal(b.events, 1);
    assert_true(has_text(str_from_cstr(b.event), "\"reason\":\"StatusForbidden\""));
    bench_fini(&b);
}

static void the_last_one_clears(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "lintel", "a", OURS);
    b.others = ",{\"metadata\":{\"name\":\"pod-1\",\"deletionTimestamp\":\"x\"},"
               "\"status\":{\"phase\":\"Running\"}},"
               "{\"metadata\":{\"name\":\"pod-2\"},\"status\":{\"phase\":\"Failed\"}}";
    start(&b);
    status_close(b.s, on_closed, &b);
    assert_int_equal(b.closed, 0);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.closed, 1);
    assert_string_equal(b.order, "cl"); /* the lease last */
    assert_false(status_is_leading(b.s));
    fake_run(&b.fake, 2 * TIMEOUT_STATUS_CLOSE);
    assert_int_equal(b.closed, 1);
    bench_fini(&b);
}

static void another_replica_keeps_the_addresses(void **state)
{
    (void)state;
    static const char *const others[] = {
        ",{\"metadata\":{\"name\":\"pod-1\"},\"status\":{\"phase\":\"Running\"}}",
        ",{\"metadata\":{\"name\":\"pod-1\"},\"status\":{\"phase\":\"Pending\"}}"};
    for (size_t i = 0; i < 3; i++) {
        struct bench b;
        bench_init(&b);
        put(&b, "lintel", "a", OURS);
        b.others = i < 2 ? others[i] : "";
        b.options.clears_on_shutdown = i < 2;
        start(&b);
        status_close(b.s, on_closed, &b);
        fake_run(&b.fake, USEC_PER_SEC);
        assert_int_equal(b.closed, 1);
        assert_string_equal(b.order, "l");
        bench_fini(&b);
    }
}

static void unknown_replicas_keep_the_addresses(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "lintel", "a", OURS);
    b.pods_status = 403;
    start(&b);
    status_close(b.s, on_closed, &b);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.closed, 1);
    assert_string_equal(b.order, "l");
    bench_fini(&b);
}

static void the_end_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(&b, "lintel", "a", OURS);
    start(&b);
    b.is_down = true;
    usec_t began = fake_now();
    status_close(b.s, on_closed, &b);
    fake_run(&b.fake, 30 * USEC_PER_SEC);
    assert_int_equal(b.closed, 1);
    assert_in_range(b.closed_at - began, TIMEOUT_STATUS_CLOSE,
                    TIMEOUT_STATUS_CLOSE + USEC_PER_SEC / 10);
    bench_fini(&b);
}

static void a_follower_ends_at_once(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.version = 1;
    (void)snprintf(b.lease, sizeof(b.lease), "another");
    start(&b);
    status_close(b.s, on_closed, &b);
    fake_run(&b.fake, 100 * USEC_PER_MS);
    assert_int_equal(b.closed, 1);
    assert_string_equal(b.lease, "another");
    bench_fini(&b);
}

static void identity(void **state)
{
    (void)state;
    struct bench b;
    char first[TEXT_MAX];
    bench_init(&b);
    start(&b);
    assert_string_equal(b.lease, "pod-0");
    bench_fini(&b);
    bench_init(&b);
    b.options.pod = STR_EMPTY;
    start(&b);
    memcpy(first, b.lease, sizeof(first));
    assert_true(strlen(first) > 17 && first[strlen(first) - 17] == '_');
    bench_fini(&b);
    bench_init(&b);
    b.options.pod = STR_EMPTY;
    start(&b);
    assert_string_not_equal(b.lease, first);
    bench_fini(&b);
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.election_id = STR("a/b");
    assert_int_equal(open_status(&b), E_REFUSED);
    b.options.election_id = STR("a");
    b.options.election_namespace = STR("");
    assert_int_equal(open_status(&b), E_REFUSED);
    b.s = NULL;
    bench_fini(&b);
}

struct metrics {
    size_t n;
    uint64_t leading, written;
    char names[8192], last[128];
};

static void on_metric(void *arg, const struct status_metric *m)
{
    struct metrics *all = arg;
    all->n++;
    if (strcmp(m->name, "nginx_ingress_controller_leader_election_status") == 0) {
        assert_string_equal(m->labels, "name=\"lintel-leader\"");
        assert_true(m->is_gauge);
        all->leading = m->value;
    }
    if (strcmp(m->name, "lintel_status_writes_total") == 0 &&
        strcmp(m->labels, "result=\"written\"") == 0) {
        assert_false(m->is_gauge);
        all->written = m->value;
    }
    if (strcmp(all->last, m->name) != 0) { /* lines of one name are neighbours */
        size_t n = strlen(all->names);
        char word[128];
        (void)snprintf(word, sizeof(word), " %s ", m->name);
        assert_null(strstr(all->names, word));
        (void)snprintf(all->names + n, sizeof(all->names) - n, "%s", word);
        (void)snprintf(all->last, sizeof(all->last), "%s", m->name);
    }
}

static void metrics(void **state)
{
    (void)state;
    struct bench b;
    struct metrics all = {0};
    bench_init(&b);
    put(&b, "lintel", "a", "");
    start(&b);
    status_each_metric(b.s, on_metric, &all);
    assert_true(all.leading == 1 && all.written == 1 && all.n > 20);
    bench_fini(&b);
}

static void out_of_memory(void **state)
{
    (void)state;
    size_t n = 1;
    for (enum err e = E_NOMEM; e != E_OK; n++) {
        struct bench b;
        bench_init(&b);
        fake_fail_from(&b.fake, n);
        e = open_status(&b);
        fake_fail_from(&b.fake, 0);
        assert_true(e == E_OK || e == E_NOMEM);
        bench_fini(&b);
    }
    assert_true(n > 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_before_all_is_seen),
        cmocka_unit_test(only_the_leader_writes),
        cmocka_unit_test(without_an_election),
        cmocka_unit_test(without_status_updates),
        cmocka_unit_test(sync_events),
        cmocka_unit_test(a_class_that_goes),
        cmocka_unit_test(forbidden_becomes_an_event),
        cmocka_unit_test(the_last_one_clears),
        cmocka_unit_test(another_replica_keeps_the_addresses),
        cmocka_unit_test(unknown_replicas_keep_the_addresses),
        cmocka_unit_test(the_end_does_not_wait_for_ever),
        cmocka_unit_test(a_follower_ends_at_once),
        cmocka_unit_test(identity),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(metrics),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
