/* One object by GET, as a tree. */
#include "source/api_priv.h"

static void finish(struct fetch *fetch)
{
    json_reader_free(fetch->reader);
    fetch->reader = NULL;
    fetch->call = NULL;
}

static enum err on_document(void *arg, const struct tree_node *root)
{
    struct fetch *fetch = arg;
    fetch->on_object(fetch, root);
    return E_OK;
}

static void on_diag(void *arg, const struct diag *d)
{
    (void)arg;
    (void)d; /* the error says that it is not JSON */
}

static void on_data(void *arg, struct str piece)
{
    struct fetch *fetch = arg;
    if (fetch->error == E_OK) {
        fetch->error = json_reader_feed(fetch->reader, piece);
    }
}

static enum fetch_result result_of(struct fetch *fetch, const struct kube_result *result)
{
    if (!kube_result_is_ok(result)) {
        bool is_refused = result->status == 401 || result->status == 403;
        return result->status == 404 ? FETCH_MISSING : is_refused ? FETCH_REFUSED : FETCH_FAILED;
    }
    if (fetch->error == E_OK && result->error == E_OK) {
        fetch->error = json_reader_end(fetch->reader);
    }
    return fetch->error == E_OK && result->error == E_OK ? FETCH_FOUND : FETCH_FAILED;
}

static void on_done(void *arg, const struct kube_result *result)
{
    struct fetch *fetch = arg;
    enum fetch_result found = result_of(fetch, result);
    struct str why = result->message;
    if (fetch->error != E_OK) {
        why = str_from_cstr(err_text(fetch->error));
    }
    finish(fetch);
    fetch->on_done(fetch, found, why);
}

static const struct kube_call_events call_events = {.on_data = on_data, .on_done = on_done};

enum err fetch_start(struct fetch *fetch, struct kube_client *client, struct str path)
{
    const struct tree_sink sink = {.arg = fetch, .on_document = on_document, .on_diag = on_diag};
    const struct kube_request request = {.method = KUBE_GET, .path = path, .body = STR_EMPTY};
    must(fetch->call == NULL);
    fetch->error = E_OK;
    TRY(json_reader_new(&sink, &fetch->reader));
    enum err e = kube_call_start(client, &request, &call_events, fetch, &fetch->call);
    if (e != E_OK) {
        finish(fetch);
    }
    return e;
}

void fetch_cancel(struct fetch *fetch)
{
    if (fetch->call != NULL) {
        kube_call_cancel(fetch->call);
        finish(fetch);
    }
}
