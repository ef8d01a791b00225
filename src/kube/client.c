/* The client: calls wait in two lines, are sent at the end of the tick as the budget allows, and
 * are freed there when they were cancelled. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "kube/client_priv.h"

enum { CALL_BYTES_MAX = 64 << 20, CLIENT_BYTES_MAX = 1 << 20 };

#define CALL_COST (USEC_PER_SEC / KUBE_CALLS_PER_SECOND)

bool kube_result_is_ok(const struct kube_result *r)
{
    return r->error == E_OK && r->status >= 200 && r->status <= 299;
}

/* ---- the lines ---- */

void client_call_free(struct kube_call *call)
{
    struct kube_client *c = call->client;
    list_del(&call->link);
    c->call_n--;
    c->running_n -= call->easy != NULL;
    if (call == c->opener) {
        client_opened(c);
    }
    call_release(call);
    arena_fini(&call->memory);
    mem_free(call);
}

static void free_all(struct list *calls)
{
    for (struct list *node; (node = list_pop(calls)) != NULL;) {
        client_call_free(container_of(node, struct kube_call, link));
    }
}

/* A bucket of KUBE_CALLS_BURST calls, told as one time: budget_at is when it is full again. */
static usec_t budget_wait(const struct kube_client *c, usec_t now)
{
    usec_t full = c->budget_at > now ? c->budget_at - now : 0;
    usec_t room = (KUBE_CALLS_BURST - 1) * CALL_COST;
    return full > room ? full - room : 0;
}

static void budget_spend(struct kube_client *c, usec_t now)
{
    c->budget_at = (c->budget_at > now ? c->budget_at : now) + CALL_COST;
}

/* libcurl would open a connection for each call that finds the others full. So one call goes ahead,
 * and the rest wait for its answer. Plain HTTP needs a connection for each anyway. */
static bool has_room(const struct kube_client *c)
{
    if (!c->is_tls || c->opener == NULL) {
        return true;
    }
    size_t open_n =
        c->multi.socket_n > 0 ? c->multi.socket_n - 1 : 0; /* one of them is the opener's */
    return c->running_n - 1 < open_n * KUBE_CONNECTION_STREAMS;
}

/* Those of the server share connections. */
static enum err client_open(struct kube_client *c)
{
    TRY(kube_multi_open(&c->multi));
    (void)curl_multi_setopt(c->multi.curl, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX); /* stores */
    (void)curl_multi_setopt(c->multi.curl, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)KUBE_CALLS_MAX);
    return E_OK;
}

static void send_first(struct kube_client *c, struct list *line)
{
    struct list *node = list_pop(line);
    struct kube_call *call = container_of(node, struct kube_call, link);
    list_append(&c->running, node);
    if (c->opener == NULL && c->running_n >= c->multi.socket_n * KUBE_CONNECTION_STREAMS) {
        c->opener = call;
    }
    enum err e = c->multi.curl != NULL ? E_OK : client_open(c);
    e = e == E_OK ? call_send(call) : e;
    c->running_n += call->easy != NULL;
    if (e != E_OK) {
        call_fail(call, e, NULL);
    }
}

static void send_streams(struct kube_client *c, int *budget)
{
    while (*budget > 0 && !list_is_empty(&c->streams) && has_room(c)) {
        (*budget)--;
        send_first(c, &c->streams);
    }
}

static void on_refill(struct timer *t)
{
    struct kube_client *c = container_of(t, struct kube_client, refill);
    loop_defer(c->loop, &c->pump, c->pump.run);
}

static void send_line(struct kube_client *c, int *budget)
{
    usec_t now = loop_now(c->loop);
    while (*budget > 0 && !list_is_empty(&c->line) && has_room(c)) {
        usec_t wait = budget_wait(c, now);
        if (wait > 0) {
            c->counters.throttled++;
            loop_arm(c->loop, &c->refill, wait, on_refill);
            return;
        }
        (*budget)--;
        budget_spend(c, now);
        send_first(c, &c->line);
    }
}

static void fail_all(struct list *calls, enum err e, const char *why)
{
    struct list failing;
    list_init(&failing);
    for (struct list *node; (node = list_pop(calls)) != NULL;) {
        list_append(&failing, node);
    }
    for (struct list *node; (node = list_pop(&failing)) != NULL;) {
        list_append(calls, node); /* where it may be cancelled */
        call_fail(container_of(node, struct kube_call, link), e, why);
    }
}

/* libcurl gave up on itself: every call under way ends, and the next one finds it made anew. */
static void start_afresh(struct kube_client *c)
{
    fail_all(&c->running, E_NOMEM, NULL);
    kube_multi_close(&c->multi);
    c->is_broken = false;
}

/* Those who waited for the connection do not try one after the other. */
static void give_up(struct kube_client *c)
{
    fail_all(&c->streams, E_CLOSED, c->why);
    fail_all(&c->line, E_CLOSED, c->why);
    c->is_unreachable = false;
}

static void pump(struct deferred *d)
{
    struct kube_client *c = container_of(d, struct kube_client, pump);
    int budget = KUBE_STARTS_PER_TICK;
    free_all(&c->ended);
    if (c->is_broken) {
        start_afresh(c);
    }
    if (c->is_unreachable) {
        give_up(c);
    }
    send_streams(c, &budget);
    send_line(c, &budget);
    if (budget == 0 || !list_is_empty(&c->ended)) {
        loop_defer(c->loop, &c->pump, pump);
    }
}

static void on_done(void *arg, CURL *easy, CURLcode code)
{
    struct kube_call *call = NULL;
    (void)arg;
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&call); /* was set */
    if (!call->is_cancelled) {
        call_finish(call, code);
    }
}

static void on_broken(void *arg)
{
    struct kube_client *c = arg;
    c->is_broken = true;
    loop_defer(c->loop, &c->pump, pump);
}

void client_opened(struct kube_client *c)
{
    c->opener = NULL;
    loop_defer(c->loop, &c->pump, pump);
}

void client_unreachable(struct kube_client *c, struct str why)
{
    struct wr w = wr_make(c->why, sizeof(c->why) - 1);
    wr_str(&w, str_first(why, sizeof(c->why) - 1));
    c->why[wr_n(&w)] = '\0';
    c->is_unreachable = true;
    client_opened(c);
}

/* ---- calls ---- */

static bool copy_texts(struct kube_call *call, const struct kube_request *request)
{
    struct str base = call->client->base, content_type;
    struct buf url;
    buf_init(&url, base.n + request->path.n);
    buf_add_str(&url, base);
    buf_add_str(&url, request->path);
    bool is_ok = !url.bad && arena_str(&call->memory, buf_str(&url), &call->url) &&
                 arena_str(&call->memory, request->body, &call->body) &&
                 arena_str(&call->memory,
                           request->content_type == NULL ? STR("application/json")
                                                         : str_from_cstr(request->content_type),
                           &content_type);
    buf_fini(&url);
    if (is_ok) {
        call->content_type = content_type.p;
    }
    return is_ok;
}

enum err kube_call_start(struct kube_client *c, const struct kube_request *request,
                         const struct kube_call_events *events, void *arg, struct kube_call **ret)
{
    if (c->call_n >= KUBE_CALLS_MAX) {
        return E_LIMIT;
    }
    struct kube_call *call = mem_calloc(1, sizeof(*call));
    if (call == NULL) {
        return E_NOMEM;
    }
    usec_t standard = request->is_stream ? TIMEOUT_KUBE_SILENCE : TIMEOUT_KUBE_CALL;
    call->client = c;
    call->events = *events;
    call->arg = arg;
    call->method = request->method;
    call->is_stream = request->is_stream;
    call->timeout = request->timeout > 0 ? request->timeout : standard;
    arena_init(&call->memory, CALL_BYTES_MAX);
    buf_init(&call->error_body, KUBE_ERROR_BYTES_MAX);
    if (!copy_texts(call, request)) {
        arena_fini(&call->memory);
        mem_free(call);
        return E_NOMEM;
    }
    c->call_n++;
    c->counters.calls++;
    list_append(call->is_stream ? &c->streams : &c->line, &call->link);
    loop_defer(c->loop, &c->pump, pump);
    *ret = call;
    return E_OK;
}

void kube_call_cancel(struct kube_call *call)
{
    if (call == NULL || call->is_cancelled) {
        return;
    }
    struct kube_client *c = call->client;
    call->is_cancelled = true;
    loop_disarm(c->loop, &call->timer);
    list_del(&call->link);
    list_append(&c->ended, &call->link);
    loop_defer(c->loop, &c->pump, pump);
}

/* ---- the client ---- */

static bool make_base(struct kube_client *c)
{
    struct str server = str_from_cstr(c->config->server);
    struct str name = str_from_cstr(c->config->tls_server_name);
    c->is_tls = str_has_prefix(server, STR("https://"));
    if (!c->is_tls || name.n == 0) {
        return arena_str(&c->memory, server, &c->base);
    }
    /* libcurl verifies the name that is in the URL: the server's goes there, and is connected to
     * under its real address */
    struct str host, path, port, rest = str_from(server, sizeof("https://") - 1);
    bool has_path = str_cut(rest, '/', &host, &path);
    size_t colon = host.n;
    while (colon > 0 && host.p[colon - 1] != ':' && host.p[colon - 1] != ']') {
        colon--;
    }
    bool has_port = colon > 0 && host.p[colon - 1] == ':';
    port = has_port ? str_from(host, colon - 1) : STR_EMPTY;
    struct buf b;
    buf_init(&b, CLIENT_BYTES_MAX);
    buf_addf(&b, "https://%.*s%.*s%s%.*s", STR_ARG(name), STR_ARG(port), has_path ? "/" : "",
             STR_ARG(path));
    bool is_ok = !b.bad && arena_str(&c->memory, buf_str(&b), &c->base);
    buf_reset(&b);
    buf_addf(&b, "::%.*s%s", STR_ARG(host), has_port ? "" : ":");
    is_ok = is_ok && !b.bad && arena_str(&c->memory, buf_str(&b), &c->connect_to) &&
            arena_str(&c->memory, host, &c->host);
    buf_fini(&b);
    return is_ok;
}

static enum err make_credentials(struct kube_client *c)
{
    const struct kube_config *config = c->config;
    TRY(credential_init(&c->ca, config->ca_pem, config->ca_file));
    TRY(credential_init(&c->certificate, config->certificate_pem, config->certificate_file));
    TRY(credential_init(&c->key, config->key_pem, config->key_file));
    return credential_init(&c->token, config->token, config->token_file);
}

enum err kube_client_new(struct loop *loop, const struct kube_config *config,
                         struct kube_client **ret)
{
    TRY(kube_curl_open());
    struct kube_client *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        kube_curl_close();
        return E_NOMEM;
    }
    c->loop = loop;
    c->config = config;
    struct list *lists[] = {&c->streams, &c->line, &c->running, &c->ended};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        list_init(lists[i]);
    }
    c->pump.run = pump;
    c->multi =
        (struct kube_multi){.loop = loop, .on_done = on_done, .on_broken = on_broken, .arg = c};
    kube_multi_init(&c->multi);
    arena_init(&c->memory, CLIENT_BYTES_MAX);
    enum err e = make_credentials(c);
    e = e == E_OK ? client_open(c) : e;
    if (e == E_OK && !make_base(c)) {
        e = E_NOMEM;
    }
    if (e != E_OK) {
        kube_client_free(c);
        return e;
    }
    *ret = c;
    return E_OK;
}

void kube_client_free(struct kube_client *c)
{
    if (c == NULL) {
        return;
    }
    struct list *lists[] = {&c->streams, &c->line, &c->running, &c->ended};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        free_all(lists[i]);
    }
    kube_multi_close(&c->multi);
    loop_undefer(&c->pump);
    loop_disarm(c->loop, &c->refill);
    credential_fini(&c->ca);
    credential_fini(&c->certificate);
    credential_fini(&c->key);
    credential_fini(&c->token);
    arena_fini(&c->memory);
    mem_free(c);
    kube_curl_close();
}

const struct kube_counters *kube_client_counters(const struct kube_client *c)
{
    return &c->counters;
}

struct loop *kube_client_loop(const struct kube_client *c)
{
    return c->loop;
}
