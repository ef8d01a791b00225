/* Turns, pauses and second tries. */
#include "status/line.h"

#include "base/limits.h"
#include "status/text.h"

enum {
    PATH_BYTES_MAX = 4096,
    BODY_BYTES_MAX = 256 * 1024,
    STATUS_UNAUTHORIZED = 401,
    STATUS_REQUEST_TIMEOUT = 408,
    STATUS_TOO_MANY = 429,
    STATUS_SERVER_ERROR = 500
};

static void on_work(struct deferred *d);

/* ---- pauses ---- */

static bool stands_still(const struct line *l)
{
    return list_is_linked(&l->pause_timer.link);
}

static void on_pause_over(struct timer *t)
{
    struct line *l = container_of(t, struct line, pause_timer);
    loop_defer(l->loop, &l->work, on_work);
}

static void stand_still(struct line *l, usec_t time)
{
    if (!stands_still(l) || l->pause_timer.deadline < loop_now(l->loop) + time) {
        loop_arm(l->loop, &l->pause_timer, time, on_pause_over);
    }
}

/* Failures of calls that were under way together count as one. */
static void back_off(struct line *l, usec_t at_least)
{
    if (!stands_still(l)) {
        l->pause = l->pause == 0 ? STATUS_RETRY_MIN : l->pause * 2;
        l->pause = l->pause > STATUS_RETRY_MAX ? STATUS_RETRY_MAX : l->pause;
    }
    usec_t time = text_jitter(l->pause);
    stand_still(l, time > at_least ? time : at_least);
}

bool line_may_pass(const struct kube_result *r)
{
    if (r->error != E_OK) {
        return r->error != E_LIMIT;
    }
    return r->status == STATUS_UNAUTHORIZED || r->status == STATUS_REQUEST_TIMEOUT ||
           r->status == STATUS_TOO_MANY || r->status >= STATUS_SERVER_ERROR;
}

/* ---- in and out ---- */

static void stop_call(struct line_job *j)
{
    struct kube_call *call = j->call;
    if (call != NULL) {
        j->call = NULL;
        j->line->under_way_n--;
        kube_call_cancel(call);
    } else {
        j->line->waiting_n--;
    }
}

void line_del(struct line_job *j)
{
    if (j->line != NULL) {
        struct line *l = j->line;
        stop_call(j);
        list_del(&j->link);
        *j = (struct line_job){0};
        loop_defer(l->loop, &l->work, on_work); /* somebody else's turn */
    }
}

/* After it the job may be gone. */
static void end(struct line *l, struct line_job *j, const struct kube_result *result)
{
    list_del(&j->link);
    *j = (struct line_job){0};
    l->ops->on_end(l->arg, j, result);
}

static void wait_again(struct line *l, struct line_job *j, bool is_first)
{
    list_del(&j->link);
    if (is_first) {
        list_push(&l->waiting, &j->link);
    } else {
        list_append(&l->waiting, &j->link);
    }
    l->waiting_n++;
}

void line_add(struct line *l, struct line_job *j)
{
    if (j->line != NULL) {
        j->is_again = j->call != NULL;
        return;
    }
    *j = (struct line_job){.line = l};
    list_append(&l->waiting, &j->link);
    l->waiting_n++;
    loop_defer(l->loop, &l->work, on_work);
}

bool line_job_is_in(const struct line_job *j)
{
    return j->line != NULL;
}

bool line_is_empty(const struct line *l)
{
    return l->waiting_n + l->under_way_n == 0;
}

/* ---- outcomes ---- */

static void on_data(void *arg, struct str piece)
{
    (void)arg;
    (void)piece; /* what was written comes back by the watches */
}

static void succeed(struct line *l, struct line_job *j, const struct kube_result *result)
{
    l->pause = 0;
    if (j->is_again) {
        j->is_again = false;
        wait_again(l, j, false);
    } else {
        end(l, j, result);
    }
}

/* result: NULL when it did not come to an answer. */
static void try_again(struct line *l, struct line_job *j, const struct kube_result *result)
{
    back_off(l, result == NULL ? 0 : result->retry_after);
    if (++j->tries == STATUS_TRIES_MAX) {
        end(l, j, result);
    } else {
        l->retries++;
        wait_again(l, j, false);
    }
}

static void fail(struct line *l, struct line_job *j, const struct kube_result *result)
{
    switch (l->ops->judge(l->arg, j, result)) {
    case LINE_DONE:
        succeed(l, j, result);
        return;
    case LINE_FORBIDDEN:
        wait_again(l, j, true);
        stand_still(l, text_jitter(STATUS_RETRY_MAX));
        return;
    case LINE_ANEW:
        j->is_again = ++j->tries < STATUS_TRIES_MAX;
        succeed(l, j, result);
        return;
    case LINE_AGAIN:
        try_again(l, j, result);
        return;
    }
}

static void on_done(void *arg, const struct kube_result *result)
{
    struct line_job *j = arg;
    struct line *l = j->line;
    j->call = NULL;
    l->under_way_n--;
    loop_defer(l->loop, &l->work, on_work);
    if (kube_result_is_ok(result)) {
        succeed(l, j, result);
    } else {
        fail(l, j, result);
    }
}

/* ---- turns ---- */

/* False: the line stands still. */
static bool start(struct line *l, struct line_job *j, struct kube_request *request)
{
    static const struct kube_call_events events = {.on_data = on_data, .on_done = on_done};
    request->path = buf_str(&l->path);
    request->body = buf_str(&l->body);
    request->timeout = TIMEOUT_STATUS_CALL;
    bool is_whole = !l->path.bad && !l->body.bad;
    if (!is_whole || kube_call_start(l->client, request, &events, j, &j->call) != E_OK) {
        try_again(l, j, NULL); /* no memory, no room: later */
        return false;
    }
    list_append(&l->under_way, &j->link);
    l->under_way_n++;
    return true;
}

static bool take_turn(struct line *l)
{
    struct line_job *j = container_of(list_pop(&l->waiting), struct line_job, link);
    struct kube_request request = {0};
    l->waiting_n--;
    buf_reset(&l->path);
    buf_reset(&l->body);
    if (!l->ops->make(l->arg, j, &request, &l->path, &l->body)) {
        end(l, j, NULL);
        return true;
    }
    return start(l, j, &request);
}

static void on_work(struct deferred *d)
{
    struct line *l = container_of(d, struct line, work);
    for (int i = 0; i < STATUS_STEP; i++) {
        if (l->waiting_n == 0 || l->under_way_n == l->under_way_max || stands_still(l) ||
            !take_turn(l)) {
            return;
        }
    }
    loop_defer(l->loop, d, on_work);
}

/* ---- life ---- */

void line_init(struct line *l, struct loop *loop, struct kube_client *client,
               const struct line_ops *ops, void *arg, uint32_t under_way_max)
{
    *l = (struct line){
        .loop = loop, .client = client, .ops = ops, .arg = arg, .under_way_max = under_way_max};
    list_init(&l->waiting);
    list_init(&l->under_way);
    buf_init(&l->path, PATH_BYTES_MAX);
    buf_init(&l->body, BODY_BYTES_MAX);
}

static void empty(struct list *jobs)
{
    list_each(it, jobs)
    {
        struct line_job *j = container_of(it, struct line_job, link);
        stop_call(j);
        list_del(&j->link);
        *j = (struct line_job){0};
    }
}

void line_fini(struct line *l)
{
    if (l->loop == NULL) {
        return;
    }
    empty(&l->waiting);
    empty(&l->under_way);
    loop_disarm(l->loop, &l->pause_timer);
    loop_undefer(&l->work);
    buf_fini(&l->path);
    buf_fini(&l->body);
    *l = (struct line){0};
}
