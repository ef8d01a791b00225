/* status/line: turns, parallel calls, pauses, second tries. */
#include "status/line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "fake.h"

enum { JOBS = 200, PARALLEL = 3 };

struct job {
    struct line_job job;
    int id, made, ended;
    bool has_result, is_ok, is_idle;
};

struct bench {
    struct fake fake;
    struct line line;
    struct job jobs[JOBS];
    enum line_verdict verdict;
    uint32_t status;
    enum err error;
    usec_t retry_after;
    char order[512]; /* ids as they arrive at the API */
    size_t arrived;
    usec_t arrived_at;
    bool again_at_end;
};

static void api(void *arg, const struct fake_request *request, struct fake_answer *ret)
{
    struct bench *b = arg;
    size_t n = strlen(b->order);
    b->arrived++;
    b->arrived_at = fake_now();
    (void)snprintf(b->order + n, sizeof(b->order) - n, "%.*s ",
                   STR_ARG(str_from(request->path, 1)));
    ret->status = b->status;
    ret->error = b->error;
    ret->retry_after = b->retry_after;
    buf_add_str(&ret->body, STR("ignored"));
}

static bool make(void *arg, struct line_job *j, struct kube_request *request, struct buf *path,
                 struct buf *body)
{
    struct job *job = container_of(j, struct job, job);
    (void)arg;
    job->made++;
    buf_addf(path, "/%d", job->id);
    buf_add_str(body, STR("{}"));
    request->method = KUBE_PATCH;
    return !job->is_idle;
}

static enum line_verdict judge(void *arg, struct line_job *j, const struct kube_result *result)
{
    struct bench *b = arg;
    (void)j;
    assert_false(kube_result_is_ok(result));
    return b->verdict;
}

static void on_end(void *arg, struct line_job *j, const struct kube_result *result)
{
    struct bench *b = arg;
    struct job *job = container_of(j, struct job, job);
    assert_false(line_job_is_in(j));
    job->ended++;
    job->has_result = result != NULL;
    job->is_ok = result != NULL && kube_result_is_ok(result);
    if (b->again_at_end && job->ended == 1) {
        line_add(&b->line, j);
    }
}

static const struct line_ops ops = {.make = make, .judge = judge, .on_end = on_end};

static void bench_init(struct bench *b)
{
    *b = (struct bench){.status = 200};
    fake_init(&b->fake, api, b);
    line_init(&b->line, b->fake.loop, b->fake.client, &ops, b, PARALLEL);
    for (int i = 0; i < JOBS; i++) {
        b->jobs[i].id = i;
    }
}

static void bench_fini(struct bench *b)
{
    line_fini(&b->line);
    fake_fini(&b->fake);
}

static void add(struct bench *b, int id)
{
    line_add(&b->line, &b->jobs[id].job);
}

static void in_turn_and_in_parallel(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (int i = 0; i < 8; i++) {
        add(&b, i);
    }
    add(&b, 0); /* waits already */
    assert_false(line_is_empty(&b.line));
    fake_run(&b.fake, USEC_PER_SEC);
    assert_true(line_is_empty(&b.line));
    assert_string_equal(b.order, "0 1 2 3 4 5 6 7 ");
    assert_int_equal(b.fake.most_under_way, PARALLEL);
    for (int i = 0; i < 8; i++) {
        assert_true(b.jobs[i].ended == 1 && b.jobs[i].is_ok);
    }
    bench_fini(&b);
}

static void idle_jobs_cost_no_call(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (int i = 0; i < JOBS; i++) {
        b.jobs[i].is_idle = i != JOBS - 1;
        add(&b, i);
    }
    assert_int_equal(loop_step(b.fake.loop, 0), E_OK);
    assert_int_equal(b.jobs[STATUS_STEP - 1].ended, 1);
    assert_int_equal(b.jobs[STATUS_STEP].ended, 0); /* in the next tick */
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.fake.started, 1);
    assert_true(b.jobs[0].ended == 1 && !b.jobs[0].has_result);
    assert_true(b.jobs[JOBS - 1].is_ok);
    bench_fini(&b);
}

static void once_more_while_under_way(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    add(&b, 0);
    assert_int_equal(loop_step(b.fake.loop, 0), E_OK);
    assert_non_null(b.jobs[0].job.call);
    add(&b, 0);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_string_equal(b.order, "0 0 ");
    assert_int_equal(b.jobs[0].ended, 1);
    b.again_at_end = true;
    add(&b, 1);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.jobs[1].ended, 2);
    bench_fini(&b);
}

static void pauses_double_and_are_forgiven(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.verdict = LINE_AGAIN;
    b.status = 500;
    usec_t before = 0, want = STATUS_RETRY_MIN;
    add(&b, 0);
    for (size_t i = 1; i <= STATUS_TRIES_MAX; i++) {
        while (b.arrived < i) {
            assert_int_equal(loop_step(b.fake.loop, USEC_PER_SEC), E_OK);
        }
        if (i > 1) {
            assert_in_range(b.arrived_at - before, want * 9 / 10, want * 11 / 10 + 30000);
            want *= 2;
        }
        before = b.arrived_at;
    }
    fake_run(&b.fake, STATUS_RETRY_MAX * 2);
    assert_int_equal(b.arrived, STATUS_TRIES_MAX); /* n tries, not n + 1 */
    assert_true(b.jobs[0].ended == 1 && b.jobs[0].has_result && !b.jobs[0].is_ok);
    assert_int_equal(b.line.retries, STATUS_TRIES_MAX - 1);
    b.status = 200;
    add(&b, 1);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_true(b.jobs[1].is_ok);
    assert_int_equal(b.line.pause, 0);
    bench_fini(&b);
}

static void retry_after_is_heeded(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.verdict = LINE_AGAIN;
    b.status = 429;
    b.retry_after = 20 * USEC_PER_SEC;
    add(&b, 0);
    fake_run(&b.fake, 19 * USEC_PER_SEC);
    assert_int_equal(b.arrived, 1);
    b.status = 200;
    fake_run(&b.fake, 2 * USEC_PER_SEC);
    assert_int_equal(b.arrived, 2);
    bench_fini(&b);
}

static void failures_together_count_once(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.verdict = LINE_AGAIN;
    b.status = 503;
    for (int i = 0; i < PARALLEL; i++) {
        add(&b, i);
    }
    fake_run(&b.fake, 100 * USEC_PER_MS);
    assert_int_equal(b.arrived, PARALLEL);
    assert_int_equal(b.line.pause, STATUS_RETRY_MIN);
    bench_fini(&b);
}

static void forbidden_waits_long_and_stays_first(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.verdict = LINE_FORBIDDEN;
    b.status = 403;
    for (int i = 0; i < 6; i++) {
        add(&b, i);
    }
    fake_run(&b.fake, STATUS_RETRY_MAX * 8 / 10);
    assert_int_equal(b.arrived, PARALLEL);
    b.status = 200;
    fake_run(&b.fake, STATUS_RETRY_MAX);
    assert_int_equal(b.arrived, PARALLEL + 6);
    for (int i = 0; i < 6; i++) {
        assert_true(b.jobs[i].is_ok);
    }
    bench_fini(&b);
}

static void anew_without_pause(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.verdict = LINE_ANEW;
    b.status = 404;
    add(&b, 0);
    fake_run(&b.fake, 500 * USEC_PER_MS);
    assert_int_equal(b.arrived, STATUS_TRIES_MAX); /* and not for ever */
    assert_int_equal(b.jobs[0].ended, 1);
    bench_fini(&b);
}

static void no_room_is_a_failure_that_passes(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.fake.start_error = E_LIMIT;
    add(&b, 0);
    fake_run(&b.fake, 100 * USEC_PER_MS);
    assert_int_equal(b.arrived, 0);
    b.fake.start_error = E_OK;
    fake_run(&b.fake, 2 * USEC_PER_SEC);
    assert_true(b.jobs[0].is_ok);
    b.fake.start_error = E_NOMEM;
    add(&b, 1);
    fake_run(&b.fake, STATUS_RETRY_MAX * STATUS_TRIES_MAX);
    assert_true(b.jobs[1].ended == 1 && !b.jobs[1].has_result);
    bench_fini(&b);
}

static void del_makes_room(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.error = E_TIMEOUT;
    for (int i = 0; i < 5; i++) {
        add(&b, i);
    }
    fake_run(&b.fake, 100 * USEC_PER_MS);
    assert_string_equal(b.order, "0 1 2 ");
    b.error = E_OK;
    line_del(&b.jobs[1].job);
    line_del(&b.jobs[3].job);
    line_del(&b.jobs[9].job); /* in no line */
    assert_false(line_job_is_in(&b.jobs[1].job));
    fake_run(&b.fake, 100 * USEC_PER_MS);
    assert_string_equal(b.order, "0 1 2 4 ");
    assert_true(b.jobs[1].ended == 0 && b.jobs[3].ended == 0 && b.jobs[4].ended == 1);
    bench_fini(&b); /* with calls under way */
}

static void what_may_pass(void **state)
{
    (void)state;
    static const struct {
        enum err error;
        uint32_t status;
        bool may;
    } cases[] = {
        {E_OK,      400, false},
        {E_OK,      401, true },
        {E_OK,      403, false},
        {E_OK,      404, false},
        {E_OK,      408, true },
        {E_OK,      409, false},
        {E_OK,      422, false},
        {E_OK,      429, true },
        {E_OK,      499, false},
        {E_OK,      500, true },
        {E_OK,      503, true },
        {E_CLOSED,  0,   true },
        {E_TIMEOUT, 0,   true },
        {E_LIMIT,   200, false},
        {E_REFUSED, 0,   true },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct kube_result r = {.error = cases[i].error, .status = cases[i].status};
        assert_int_equal(line_may_pass(&r), cases[i].may);
    }
}

static void zeroed_memory_is_fine(void **state)
{
    (void)state;
    struct line l = {0};
    line_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_turn_and_in_parallel),
        cmocka_unit_test(idle_jobs_cost_no_call),
        cmocka_unit_test(once_more_while_under_way),
        cmocka_unit_test(pauses_double_and_are_forgiven),
        cmocka_unit_test(retry_after_is_heeded),
        cmocka_unit_test(failures_together_count_once),
        cmocka_unit_test(forbidden_waits_long_and_stays_first),
        cmocka_unit_test(anew_without_pause),
        cmocka_unit_test(no_room_is_a_failure_that_passes),
        cmocka_unit_test(del_makes_room),
        cmocka_unit_test(what_may_pass),
        cmocka_unit_test(zeroed_memory_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
