/* One GET at a time, driven by the loop that read the objects. */
#include "cli/cluster.h"

#include "model/decode.h"

enum { PATH_BYTES = 1024 };

struct question {
    struct kube_reader *reader;
    struct kube_call *call;
    struct cluster_answer answer;
    bool is_done;
};

static void on_data(void *arg, struct str piece)
{
    struct question *q = arg;
    if (q->answer.error == E_OK) {
        q->answer.error = kube_reader_feed(q->reader, piece);
    }
}

static enum err error_of(const struct kube_result *r)
{
    if (r->error != E_OK) {
        return r->error;
    }
    return r->status == 404 ? E_NOTFOUND : kube_result_is_ok(r) ? E_OK : E_REFUSED;
}

static void on_done(void *arg, const struct kube_result *result)
{
    struct question *q = arg;
    enum err e = error_of(result);
    q->is_done = true;
    q->answer.status = result->status;
    if (q->answer.error == E_OK) {
        q->answer.error = e != E_OK ? e : kube_reader_end(q->reader);
    }
}

static const struct kube_call_events call_events = {.on_data = on_data, .on_done = on_done};

/* The call has a deadline of its own. */
static void wait(const struct offline *o, struct question *q)
{
    while (!q->is_done) {
        enum err e = loop_step(o->loop, USEC_PER_SEC);
        if (e != E_OK) {
            kube_call_cancel(q->call);
            q->answer.error = e;
            return;
        }
    }
}

struct cluster_answer cluster_get(const struct offline *o, enum kube_body body, struct str path,
                                  kube_entry_fn *fn, void *arg)
{
    struct question q = {0};
    const struct kube_request request = {.method = KUBE_GET, .path = path, .body = STR_EMPTY};
    q.answer.error = kube_reader_new(body, fn, arg, &q.reader);
    if (q.answer.error == E_OK) {
        q.answer.error = kube_call_start(o->client, &request, &call_events, &q, &q.call);
    }
    if (q.answer.error == E_OK) {
        wait(o, &q);
    }
    kube_reader_free(q.reader);
    return q.answer;
}

/* ---- Secrets ---- */

struct decoding {
    struct store *store;
};

static void ignore(void *arg, const struct diag *d)
{
    (void)arg;
    (void)d; /* what is wrong with a certificate is told by who looks at it */
}

static enum err take_secret(void *arg, const struct kube_entry *entry)
{
    struct decoding *d = arg;
    struct object *o = NULL;
    const struct decode_source source = {.file = STR_EMPTY, .on_diag = ignore};
    if (entry->object == NULL) {
        return E_OK;
    }
    TRY(decode_object(decode_kind_find(STR("v1"), STR("Secret")), entry->object, &source, &o));
    return o == NULL ? E_PROTO : store_put(d->store, o);
}

struct cluster_answer cluster_get_secret(const struct offline *o, struct str namespace_name,
                                         struct str name)
{
    struct decoding d = {o->store};
    char path[PATH_BYTES];
    struct wr w = wr_make(path, sizeof(path));
    wr_str(&w, STR("/api/v1/namespaces/"));
    wr_str(&w, namespace_name);
    wr_str(&w, STR("/secrets/"));
    wr_str(&w, name);
    if (w.bad) {
        return (struct cluster_answer){.error = E_LIMIT};
    }
    return cluster_get(o, KUBE_BODY_OBJECT, str_make(path, wr_n(&w)), take_secret, &d);
}
