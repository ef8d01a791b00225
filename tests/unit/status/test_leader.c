/* status/leader: against an API that keeps one Lease and refuses writes that are based on another
 * version, with replicas whose clocks differ and an API that fails. */
#include "status/leader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "document/json.h"
#include "fake.h"

#define TTL (30 * USEC_PER_SEC)

enum { REPLICAS = 3, TEXT_MAX = 128 };

/* ---- the API ---- */

struct lease {
    bool is_there;
    unsigned version;
    char holder[TEXT_MAX], renew[TEXT_MAX], acquire[TEXT_MAX];
    int64_t duration, transitions;
    unsigned writes;
};

struct bench {
    struct fake fake;
    struct lease lease;
    bool is_down, is_deaf;  /* no answers; writes happen but the answer is lost */
    unsigned random_faults; /* percent */
    uint32_t status;        /* for every call, when not 0 */
    unsigned reads;
    struct leader *leaders[REPLICAS];
    struct leader_options options[REPLICAS];
    int leading_n, gained_n;
};

static void copy(char *to, struct str from)
{
    assert_true(str_to_cstr(from, to, TEXT_MAX));
}

static enum err take_body(void *arg, const struct tree_node *root)
{
    struct bench *b = arg;
    struct lease *lease = &b->lease;
    const struct tree_node *spec = tree_get(root, STR("spec")), *node;
    copy(lease->holder, tree_get_string(spec, STR("holderIdentity")));
    copy(lease->renew, tree_get_string(spec, STR("renewTime")));
    assert_true(tree_to_int(tree_get(spec, STR("leaseDurationSeconds")), &lease->duration));
    if ((node = tree_get(spec, STR("acquireTime"))) != NULL) {
        copy(lease->acquire, tree_text(node));
    }
    if ((node = tree_get(spec, STR("leaseTransitions"))) != NULL) {
        assert_true(tree_to_int(node, &lease->transitions));
    }
    lease->is_there = true;
    lease->version++;
    lease->writes++;
    return E_OK;
}

static void emit_lease(const struct lease *l, struct buf *out)
{
    buf_addf(out,
             "{\"metadata\":{\"resourceVersion\":\"%u\"},\"spec\":{\"holderIdentity\":\"%s\","
             "\"leaseDurationSeconds\":%d,\"renewTime\":\"%s\",\"leaseTransitions\":%d}}",
             l->version, l->holder, (int)l->duration, l->renew, (int)l->transitions);
}

static enum err check_version(void *arg, const struct tree_node *root)
{
    char text[TEXT_MAX], want[TEXT_MAX];
    struct bench *b = arg;
    copy(text, tree_get_string(tree_get(root, STR("metadata")), STR("resourceVersion")));
    (void)snprintf(want, sizeof(want), "%u", b->lease.version);
    return strcmp(text, want) == 0 ? E_OK : E_REFUSED;
}

static uint32_t write_lease(struct bench *b, const struct fake_request *request)
{
    const struct tree_sink check = {.arg = b, .on_document = check_version};
    const struct tree_sink take = {.arg = b, .on_document = take_body};
    if (request->method == KUBE_POST) {
        if (b->lease.is_there) {
            return 409;
        }
        assert_true(has_text(request->body, "\"name\":\"lintel-leader\",\"namespace\":\"ns\""));
    } else if (!b->lease.is_there) {
        return 404;
    } else if (json_parse(request->body, &check) != E_OK) {
        return 409;
    }
    assert_int_equal(json_parse(request->body, &take), E_OK);
    return request->method == KUBE_POST ? 201 : 200;
}

static bool is_unlucky(const struct bench *b)
{
    return b->random_faults > 0 && (unsigned)rand() % 100 < b->random_faults;
}

static void api(void *arg, const struct fake_request *request, struct fake_answer *ret)
{
    struct bench *b = arg;
    if (b->is_down || is_unlucky(b)) {
        ret->error = rand() % 2 == 0 ? E_TIMEOUT : E_CLOSED;
        return;
    }
    if (b->status != 0) {
        ret->status = b->status;
        return;
    }
    assert_true(
        str_eq(request->path,
               request->method == KUBE_POST
                   ? STR("/apis/coordination.k8s.io/v1/namespaces/ns/leases")
                   : STR("/apis/coordination.k8s.io/v1/namespaces/ns/leases/lintel-leader")));
    if (request->method == KUBE_GET) {
        b->reads++;
        ret->status = b->lease.is_there ? 200 : 404;
    } else {
        ret->status = write_lease(b, request);
    }
    if (b->is_deaf || is_unlucky(b)) {
        ret->error = E_TIMEOUT;
    } else if (ret->status < 300) {
        emit_lease(&b->lease, &ret->body);
    }
}

/* ---- the bench ---- */

static void on_change(void *arg, bool is_leading)
{
    struct bench *b = arg;
    b->leading_n += is_leading ? 1 : -1;
    b->gained_n += is_leading;
    assert_in_range(b->leading_n, 0, 1); /* the one rule */
}

static void bench_init(struct bench *b)
{
    *b = (struct bench){0};
    fake_init(&b->fake, api, b);
}

static void start(struct bench *b, int i, const char *identity)
{
    b->options[i] = (struct leader_options){.loop = b->fake.loop,
                                            .client = b->fake.client,
                                            .namespace_name = STR("ns"),
                                            .name = STR("lintel-leader"),
                                            .identity = str_from_cstr(identity),
                                            .duration = TTL,
                                            .on_change = on_change,
                                            .arg = b};
    assert_int_equal(leader_open(&b->options[i], &b->leaders[i]), E_OK);
}

static void stop(struct bench *b, int i)
{
    if (b->leaders[i] != NULL && leader_is_leading(b->leaders[i])) {
        b->leading_n--; /* it dies without a word */
    }
    leader_free(b->leaders[i]);
    b->leaders[i] = NULL;
}

static void bench_fini(struct bench *b)
{
    for (int i = 0; i < REPLICAS; i++) {
        stop(b, i);
    }
    fake_fini(&b->fake);
}

static bool leads(const struct bench *b, int i)
{
    return leader_is_leading(b->leaders[i]);
}

static void set_lease(struct bench *b, const char *holder, int duration)
{
    b->lease.is_there = true;
    b->lease.version++;
    b->lease.duration = duration;
    b->lease.transitions = 4;
    copy(b->lease.holder, str_from_cstr(holder));
    copy(b->lease.renew, STR("1999-01-01T00:00:00.000000Z"));
}

static void on_released(void *arg)
{
    ++*(int *)arg;
}

/* ---- tests ---- */

static void takes_an_absent_lease_and_keeps_it(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, USEC_PER_SEC);
    assert_true(leads(&b, 0));
    assert_string_equal(b.lease.holder, "pod-a");
    assert_true(b.lease.duration == 30 && b.lease.transitions == 0);
    assert_string_equal(b.lease.acquire, b.lease.renew);
    char acquired[TEXT_MAX];
    copy(acquired, str_from_cstr(b.lease.acquire));
    unsigned writes = b.lease.writes;
    fake_run(&b.fake, 600 * USEC_PER_SEC);
    assert_true(leads(&b, 0));
    assert_in_range(b.lease.writes - writes, 54, 67); /* every ttl / 3 */
    assert_string_equal(b.lease.acquire, acquired);
    assert_string_not_equal(b.lease.renew, acquired);
    assert_int_equal(leader_counters(b.leaders[0])->gained, 1);
    bench_fini(&b);
}

static void takes_a_free_lease_at_once(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    set_lease(&b, "", 1);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, USEC_PER_SEC);
    assert_true(leads(&b, 0));
    assert_int_equal(b.lease.transitions, 5);
    bench_fini(&b);
}

static void comes_back_as_itself_at_once(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, USEC_PER_SEC);
    stop(&b, 0);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, USEC_PER_SEC);
    assert_true(leads(&b, 0));
    assert_int_equal(b.lease.transitions, 0);
    bench_fini(&b);
}

/* The dates in the Lease are decades old: only our own clock counts. */
static void waits_for_the_holders_duration(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    set_lease(&b, "pod-z", 60);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, 59 * USEC_PER_SEC);
    assert_false(leads(&b, 0));
    fake_run(&b.fake, 4 * USEC_PER_SEC);
    assert_true(leads(&b, 0));
    assert_int_equal(b.lease.transitions, 5);
    bench_fini(&b);
}

static void a_holder_that_renews_stays(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    set_lease(&b, "pod-z", 30);
    start(&b, 0, "pod-a");
    for (int i = 0; i < 20; i++) {
        fake_run(&b.fake, 12 * USEC_PER_SEC);
        (void)snprintf(b.lease.renew, sizeof(b.lease.renew), "whatever %d", i);
        b.lease.version++;
        assert_false(leads(&b, 0));
    }
    fake_run(&b.fake, 50 * USEC_PER_SEC);
    assert_true(leads(&b, 0));
    bench_fini(&b);
}

static void a_dead_leader_is_followed(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, USEC_PER_SEC);
    start(&b, 1, "pod-b");
    fake_run(&b.fake, 100 * USEC_PER_SEC);
    assert_true(leads(&b, 0) && !leads(&b, 1));
    stop(&b, 0);
    fake_run(&b.fake, TTL / 2);
    assert_false(leads(&b, 1));
    fake_run(&b.fake, TTL);
    assert_true(leads(&b, 1));
    assert_string_equal(b.lease.holder, "pod-b");
    assert_int_equal(b.lease.transitions, 1);
    bench_fini(&b);
}

static void gives_up_after_two_thirds(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, USEC_PER_SEC);
    b.is_down = true;
    fake_run(&b.fake, TTL / 3 - USEC_PER_SEC);
    assert_true(leads(&b, 0));
    fake_run(&b.fake, TTL / 3 + USEC_PER_SEC); /* 2/3 after the last renewal at most */
    assert_false(leads(&b, 0));
    assert_int_equal(leader_counters(b.leaders[0])->lost, 1);
    b.is_down = false;
    fake_run(&b.fake, 6 * USEC_PER_SEC);
    assert_true(leads(&b, 0)); /* nobody took it */
    assert_int_equal(b.lease.transitions, 0);
    bench_fini(&b);
}

static void short_failures_are_outlasted(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b, 0, "pod-a");
    for (int i = 0; i < 20; i++) {
        fake_run(&b.fake, 35 * USEC_PER_SEC);
        b.is_down = true;
        fake_run(&b.fake, 5 * USEC_PER_SEC);
        b.is_down = false;
    }
    assert_true(leads(&b, 0));
    assert_int_equal(b.gained_n, 1);
    bench_fini(&b);
}

static void a_lost_answer_is_no_lost_lease(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, 5 * USEC_PER_SEC);
    unsigned writes = b.lease.writes;
    b.is_deaf = true; /* the renewal is written, and its version is not known to us */
    while (b.lease.writes == writes) {
        fake_run(&b.fake, 100 * USEC_PER_MS);
    }
    fake_run(&b.fake, 3 * USEC_PER_SEC);
    b.is_deaf = false;
    fake_run(&b.fake, 100 * USEC_PER_SEC);
    assert_true(leads(&b, 0));
    assert_int_equal(b.gained_n, 1);
    bench_fini(&b);
}

static void steps_down_when_another_holds_it(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, USEC_PER_SEC);
    set_lease(&b, "pod-z", 30); /* by hand */
    fake_run(&b.fake, 15 * USEC_PER_SEC);
    assert_false(leads(&b, 0));
    fake_run(&b.fake, 40 * USEC_PER_SEC);
    assert_true(leads(&b, 0));
    bench_fini(&b);
}

static void a_deleted_lease_is_made_anew(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, USEC_PER_SEC);
    b.lease.is_there = false;
    fake_run(&b.fake, 15 * USEC_PER_SEC);
    assert_true(leads(&b, 0) && b.lease.is_there);
    assert_int_equal(b.gained_n, 1);
    bench_fini(&b);
}

static void a_stopped_process_does_not_lead(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, USEC_PER_SEC);
    b.is_down = true;
    fake_freeze(10 * TTL);
    fake_run(&b.fake, 10 * USEC_PER_MS);
    assert_false(leads(&b, 0));
    bench_fini(&b);
}

static void gives_it_back(void **state)
{
    (void)state;
    struct bench b;
    int released = 0;
    bench_init(&b);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, USEC_PER_SEC);
    start(&b, 1, "pod-b");
    fake_run(&b.fake, USEC_PER_SEC);
    leader_release(b.leaders[0], on_released, &released);
    assert_int_equal(released, 0);
    b.leading_n = 0;
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(released, 1);
    assert_string_equal(b.lease.holder, "");
    fake_run(&b.fake, 12 * USEC_PER_SEC);
    assert_true(leads(&b, 1));
    assert_int_equal(b.lease.transitions, 1);
    released = 0;
    leader_release(b.leaders[0], on_released, &released); /* nothing to give back any more */
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(released, 1);
    assert_string_equal(b.lease.holder, "pod-b");
    bench_fini(&b);
}

static void release_does_not_need_the_api(void **state)
{
    (void)state;
    struct bench b;
    int released = 0;
    bench_init(&b);
    start(&b, 0, "pod-a");
    fake_run(&b.fake, USEC_PER_SEC);
    b.is_down = true;
    leader_release(b.leaders[0], on_released, &released);
    b.leading_n = 0;
    fake_run(&b.fake, 15 * USEC_PER_SEC); /* the call's own timeout */
    assert_int_equal(released, 1);
    bench_fini(&b);
}

static void refusals_are_tried_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.status = 403;
    start(&b, 0, "pod-a");
    fake_run(&b.fake, 60 * USEC_PER_SEC);
    assert_false(leads(&b, 0));
    assert_in_range(b.fake.started, 25, 45); /* neither given up nor a storm */
    b.status = 0;
    fake_run(&b.fake, 5 * USEC_PER_SEC);
    assert_true(leads(&b, 0));
    bench_fini(&b);
}

/* With a third of all calls failing in every way, and replicas that die and come back: never two.
 */
static void never_two(void **state)
{
    (void)state;
    static const char *const names[REPLICAS] = {"pod-a", "pod-b", "pod-c"};
    struct bench b;
    srand(7);
    bench_init(&b);
    for (int i = 0; i < REPLICAS; i++) {
        start(&b, i, names[i]);
    }
    usec_t led = 0;
    for (int step = 0; step < 4000; step++) {
        b.random_faults = step % 400 < 300 ? 35 : 0;
        b.is_down = step % 500 < 20;
        int i = rand() % REPLICAS;
        if (rand() % 40 == 0) {
            stop(&b, i);
            start(&b, i, names[i]);
        }
        if (rand() % 200 == 0) {
            fake_freeze((usec_t)(rand() % 60) * USEC_PER_SEC);
        }
        fake_run(&b.fake, USEC_PER_SEC);
        led += b.leading_n > 0;
    }
    assert_true(led > 2000);
    assert_true(b.gained_n > 10);
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
        b.options[0] = (struct leader_options){.loop = b.fake.loop,
                                               .client = b.fake.client,
                                               .namespace_name = STR("ns"),
                                               .name = STR("lintel-leader"),
                                               .identity = STR("pod-a"),
                                               .duration = TTL,
                                               .on_change = on_change,
                                               .arg = &b};
        enum err e = leader_open(&b.options[0], &b.leaders[0]);
        if (e == E_OK) {
            for (int i = 0; i < 20; i++) {
                assert_int_equal(loop_step(b.fake.loop, USEC_PER_MS), E_OK);
            }
            is_through = leads(&b, 0);
            fake_fail_from(&b.fake, 0);
            fake_run(&b.fake, 5 * USEC_PER_SEC);
            assert_true(leads(&b, 0)); /* it recovers */
        } else {
            assert_int_equal(e, E_NOMEM);
        }
        fake_fail_from(&b.fake, 0);
        bench_fini(&b);
    }
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_an_absent_lease_and_keeps_it),
        cmocka_unit_test(takes_a_free_lease_at_once),
        cmocka_unit_test(comes_back_as_itself_at_once),
        cmocka_unit_test(waits_for_the_holders_duration),
        cmocka_unit_test(a_holder_that_renews_stays),
        cmocka_unit_test(a_dead_leader_is_followed),
        cmocka_unit_test(gives_up_after_two_thirds),
        cmocka_unit_test(short_failures_are_outlasted),
        cmocka_unit_test(a_lost_answer_is_no_lost_lease),
        cmocka_unit_test(steps_down_when_another_holds_it),
        cmocka_unit_test(a_deleted_lease_is_made_anew),
        cmocka_unit_test(a_stopped_process_does_not_lead),
        cmocka_unit_test(gives_it_back),
        cmocka_unit_test(release_does_not_need_the_api),
        cmocka_unit_test(refusals_are_tried_again),
        cmocka_unit_test(never_two),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
