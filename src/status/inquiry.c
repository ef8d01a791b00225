/* Answers are gathered whole and read at the end: they are small, or pages. */
#include "status/inquiry.h"

#include "base/limits.h"
#include "document/json.h"

void inquiry_init(struct inquiry *a, struct kube_client *client)
{
    *a = (struct inquiry){.client = client};
    buf_init(&a->body, STATUS_ANSWER_BYTES_MAX);
}

void inquiry_fini(struct inquiry *a)
{
    inquiry_cancel(a);
    buf_fini(&a->body);
}

bool inquiry_is_under_way(const struct inquiry *a)
{
    return a->call != NULL;
}

void inquiry_cancel(struct inquiry *a)
{
    struct kube_call *call = a->call;
    a->call = NULL;
    kube_call_cancel(call);
}

static void on_data(void *arg, struct str piece)
{
    struct inquiry *a = arg;
    buf_add_str(&a->body, piece);
}

/* ---- the answer ---- */

struct reading {
    struct inquiry *a;
    const struct kube_result *result;
    bool is_told;
};

/* Only the first document counts: an answer is one. */
static enum err on_document(void *arg, const struct tree_node *root)
{
    struct reading *r = arg;
    if (!r->is_told) {
        r->is_told = true;
        r->a->on_answer(r->a, r->result, root);
    }
    return E_OK;
}

static void on_diag(void *arg, const struct diag *d)
{
    (void)arg;
    (void)d; /* what is told in the end is E_PROTO */
}

static void tell_failure(struct inquiry *a, const struct kube_result *result, enum err e,
                         struct str message)
{
    struct kube_result failed = *result;
    failed.error = e;
    failed.message = message;
    a->on_answer(a, &failed, NULL);
}

/* The callback may ask anew or end the ask: nothing of a is used after it. */
static void read_answer(struct inquiry *a, const struct kube_result *result)
{
    struct buf body = a->body;
    buf_init(&a->body, STATUS_ANSWER_BYTES_MAX);
    struct reading r = {.a = a, .result = result};
    const struct tree_sink sink = {.arg = &r, .on_document = on_document, .on_diag = on_diag};
    if (body.bad) {
        enum err e = body.n >= body.max / 2 ? E_LIMIT : E_NOMEM;
        tell_failure(a, result, e, STR("the answer is too long"));
    } else {
        enum err e = json_parse(buf_str(&body), &sink);
        if (!r.is_told) {
            tell_failure(a, result, e == E_OK ? E_PROTO : e, STR("the answer is no JSON"));
        }
    }
    buf_fini(&body);
}

static void on_done(void *arg, const struct kube_result *result)
{
    struct inquiry *a = arg;
    a->call = NULL;
    if (kube_result_is_ok(result)) {
        read_answer(a, result);
    } else {
        a->on_answer(a, result, NULL);
    }
}

enum err inquiry_start(struct inquiry *a, const struct kube_request *request, inquiry_fn *on_answer)
{
    static const struct kube_call_events events = {.on_data = on_data, .on_done = on_done};
    struct kube_request r = *request;
    inquiry_cancel(a);
    buf_reset(&a->body);
    a->on_answer = on_answer;
    r.timeout = r.timeout == 0 ? TIMEOUT_STATUS_CALL : r.timeout;
    return kube_call_start(a->client, &r, &events, a, &a->call);
}
