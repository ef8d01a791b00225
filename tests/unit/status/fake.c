/* The clock and the API of the tests. */
#include "fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "document/json.h"
#include "model/decode.h"

#define EPOCH (1767323045 * USEC_PER_SEC + 6) /* 2026-01-02T03:04:05.000006Z */

/* ---- time ---- */

static usec_t now_us = 1000 * USEC_PER_SEC;

usec_t clock_monotonic(void)
{
    return now_us;
}

usec_t clock_wall(void)
{
    return EPOCH + now_us - 1000 * USEC_PER_SEC;
}

usec_t clock_cpu(void)
{
    return 0;
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
    long n = syscall(SYS_epoll_pwait, fd, events, max, 0, NULL, 8);
    if (n == 0) {
        now_us += (usec_t)timeout_ms * USEC_PER_MS;
    }
    return (int)n;
}

usec_t fake_now(void)
{
    return now_us;
}

void fake_freeze(usec_t time)
{
    now_us += time;
}

void fake_run(struct fake *f, usec_t time)
{
    usec_t end = now_us + time;
    do {
        usec_t left = end > now_us ? end - now_us : 0;
        assert_int_equal(loop_step(f->loop, left), E_OK);
    } while (now_us < end);
    assert_int_equal(loop_step(f->loop, 0), E_OK);
}

/* ---- the client ---- */

struct kube_client {
    struct fake *fake;
};

struct kube_call {
    struct fake *fake;
    struct timer timer;
    enum kube_method method;
    struct buf path, body;
    const char *content_type;
    usec_t timeout, started_at;
    const struct kube_call_events *events;
    void *arg;
};

static void call_free(struct kube_call *c)
{
    c->fake->under_way--;
    loop_disarm(c->fake->loop, &c->timer);
    buf_fini(&c->path);
    buf_fini(&c->body);
    mem_free(c);
}

void kube_call_cancel(struct kube_call *c)
{
    if (c != NULL) {
        call_free(c);
    }
}

bool kube_result_is_ok(const struct kube_result *r)
{
    return r->error == E_OK && r->status >= 200 && r->status <= 299;
}

static void call_end(struct kube_call *c, const struct fake_answer *answer)
{
    const struct kube_call_events *events = c->events;
    void *arg = c->arg;
    const struct kube_result result = {.error = answer->error,
                                       .status = answer->error == E_OK ? answer->status : 0,
                                       .retry_after = answer->retry_after,
                                       .reason = str_from_cstr(answer->reason),
                                       .message = STR("said the fake")};
    struct str body = buf_str(&answer->body);
    if (kube_result_is_ok(&result) && body.n > 0) {
        events->on_data(arg, str_first(body, body.n / 2));
        events->on_data(arg, str_from(body, body.n / 2));
    }
    call_free(c);
    events->on_done(arg, &result);
}

void fake_fail_from(struct fake *f, size_t nth)
{
    f->fail_from = nth;
    f->fail_mark = mem_calls();
    mem_fail_from(nth);
}

/* The API has all the memory it wants. */
static void call_api(struct fake *f, const struct fake_request *request, struct fake_answer *ret)
{
    size_t used = mem_calls() - f->fail_mark;
    size_t left = used < f->fail_from ? f->fail_from - used : 1;
    bool is_failing = f->fail_from > 0;
    mem_fail_from(0);
    if (f->api != NULL) {
        f->api(f->arg, request, ret);
    } else {
        buf_add_str(&ret->body, STR("{}"));
    }
    fake_fail_from(f, is_failing ? left : 0);
}

static void on_timeout(struct timer *t)
{
    call_end(container_of(t, struct kube_call, timer), &(struct fake_answer){.error = E_TIMEOUT});
}

static void on_arrival(struct timer *t)
{
    struct kube_call *c = container_of(t, struct kube_call, timer);
    struct fake *f = c->fake;
    struct fake_answer answer = {.status = 200};
    const struct fake_request request = {c->method, buf_str(&c->path), buf_str(&c->body),
                                         str_from_cstr(c->content_type)};
    buf_init(&answer.body, 64 << 20);
    call_api(f, &request, &answer);
    if (answer.error == E_TIMEOUT) {
        usec_t passed = loop_now(f->loop) - c->started_at;
        loop_arm(f->loop, &c->timer, c->timeout > passed ? c->timeout - passed : 0, on_timeout);
    } else {
        call_end(c, &answer);
    }
    buf_fini(&answer.body);
}

enum err kube_call_start(struct kube_client *client, const struct kube_request *request,
                         const struct kube_call_events *events, void *arg, struct kube_call **ret)
{
    struct fake *f = client->fake;
    if (f->start_error != E_OK) {
        return f->start_error;
    }
    struct kube_call *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        return E_NOMEM;
    }
    *c = (struct kube_call){.fake = f,
                            .method = request->method,
                            .content_type = request->content_type,
                            .timeout = request->timeout,
                            .started_at = loop_now(f->loop),
                            .events = events,
                            .arg = arg};
    f->started++;
    f->under_way++;
    f->most_under_way = f->under_way > f->most_under_way ? f->under_way : f->most_under_way;
    buf_init(&c->path, 1 << 20);
    buf_init(&c->body, 1 << 20);
    buf_add_str(&c->path, request->path);
    buf_add_str(&c->body, request->body);
    if (c->path.bad || c->body.bad) {
        call_free(c);
        return E_NOMEM;
    }
    loop_arm(f->loop, &c->timer, f->latency, on_arrival);
    *ret = c;
    return E_OK;
}

struct kube_client *fake_client(struct fake *f)
{
    struct kube_client *c = mem_calloc(1, sizeof(*c));
    assert_non_null(c);
    c->fake = f;
    return c;
}

void fake_client_free(struct kube_client *c)
{
    mem_free(c);
}

void fake_init(struct fake *f, fake_api_fn *api, void *arg)
{
    *f = (struct fake){.api = api, .arg = arg, .latency = 2 * USEC_PER_MS};
    assert_int_equal(loop_new(&f->loop), E_OK);
    f->client = fake_client(f);
}

void fake_fini(struct fake *f)
{
    assert_int_equal(f->under_way, 0);
    fake_client_free(f->client);
    loop_free(f->loop);
}

/* ---- objects ---- */

static enum err on_document(void *arg, const struct tree_node *root)
{
    struct object **ret = arg;
    const struct decode_kind *kind = decode_kind_find(tree_get_string(root, STR("apiVersion")),
                                                      tree_get_string(root, STR("kind")));
    assert_non_null(kind);
    return decode_object(kind, root, &(struct decode_source){0}, ret);
}

struct object *fake_object(const char *json)
{
    struct object *o = NULL;
    const struct tree_sink sink = {.arg = &o, .on_document = on_document};
    assert_int_equal(json_parse(str_from_cstr(json), &sink), E_OK);
    assert_non_null(o);
    return o;
}

void fake_put(struct store *s, const char *json)
{
    assert_int_equal(store_put(s, fake_object(json)), E_OK);
}

bool has_text(struct str s, const char *part)
{
    return memmem(s.p, s.n, part, strlen(part)) != NULL;
}
