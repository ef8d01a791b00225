/* One call: what libcurl is told of it, what comes in, and how it ends. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "base/mem.h"
#include "document/json.h"
#include "kube/client_priv.h"
#include "kube/status.h"

#if defined(__x86_64__)
#define ARCHITECTURE "amd64"
#elif defined(__aarch64__)
#define ARCHITECTURE "arm64"
#else
#define ARCHITECTURE "other"
#endif
#define USER_AGENT "lintel/" LINTEL_VERSION " (linux/" ARCHITECTURE ")"

enum {
    MESSAGE_BYTES_MAX = 400,
    ERROR_TREE_BYTES_MAX = 4 * KUBE_ERROR_BYTES_MAX,
    STREAM_BYTES = 2 * 1024, /* libcurl's buffer: there may be thousands of watches */
    ANSWER_BYTES = 64 * 1024,
};

/* ---- what comes in ---- */

static bool has_ended(const struct kube_call *call)
{
    return call->is_cancelled || call->cut != E_OK;
}

static void hear(struct kube_call *call)
{
    struct kube_client *c = call->client;
    call->heard_at = loop_now(c->loop);
    if (call->is_stream) {
        loop_arm(c->loop, &call->timer, call->timeout, call->timer.on_fire);
    }
}

static bool is_success(uint32_t status)
{
    return status >= 200 && status <= 299;
}

/* Line by line; the empty one ends the head. Anything but n ends the transfer. */
static size_t on_header(char *p, size_t one, size_t n, void *arg)
{
    struct kube_call *call = arg;
    long status = 0;
    (void)one;
    hear(call);
    if (n > 2 || (n > 0 && p[0] != '\r' && p[0] != '\n')) {
        return n;
    }
    (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status); /* 0 then */
    if (status < 200) {
        return n; /* interim: RFC 9110 section 15.2 */
    }
    bool is_first = call->status == 0; /* not the trailers */
    call->status = (uint32_t)status;
    if (call == call->client->opener) {
        client_opened(call->client);
    }
    if (is_first && is_success(call->status) && call->events.on_open != NULL && !has_ended(call)) {
        call->events.on_open(call->arg);
    }
    return has_ended(call) ? 0 : n;
}

static size_t take_error_body(struct kube_call *call, struct str piece)
{
    buf_add_str(&call->error_body, str_first(piece, KUBE_ERROR_BYTES_MAX - call->error_body.n));
    call->has_enough = call->received > KUBE_ERROR_BYTES_MAX;
    return call->has_enough ? 0 : piece.n;
}

static size_t on_write(char *p, size_t one, size_t n, void *arg)
{
    struct kube_call *call = arg;
    (void)one;
    if (has_ended(call)) {
        return 0;
    }
    hear(call);
    call->received += n;
    call->client->counters.received_bytes += n;
    if (!is_success(call->status)) {
        return take_error_body(call, (struct str){p, n});
    }
    if (!call->is_stream && call->received > KUBE_ANSWER_BYTES_MAX) {
        call->cut = E_LIMIT;
        return 0;
    }
    call->events.on_data(call->arg, (struct str){p, n});
    return has_ended(call) ? 0 : n;
}

/* ---- the end ---- */

/* What to tell, with the memory that it borrows from. */
struct verdict {
    struct kube_result result;
    struct arena arena;
};

static enum err on_status(void *arg, const struct tree_node *root)
{
    struct verdict *v = arg;
    struct kube_status s;
    if (kube_status_read(root, &s) && arena_str(&v->arena, s.reason, &v->result.reason) &&
        arena_str(&v->arena, s.message, &v->result.message) && s.retry_after > 0) {
        v->result.retry_after = s.retry_after;
    }
    return E_OK;
}

static void on_no_status(void *arg, const struct diag *d)
{
    (void)arg; /* a proxy's page, say: the text itself is shown */
    (void)d;
}

static void read_error_body(struct verdict *v, struct str body)
{
    struct tree_sink sink = {v, on_status, on_no_status};
    struct str rest;
    (void)json_parse(body, &sink); /* no memory: shown as text */
    if (v->result.message.n == 0) {
        (void)str_cut(str_first(body, MESSAGE_BYTES_MAX), '\n', &v->result.message, &rest);
    }
}

static enum err code_to_err(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return E_OK;
    case CURLE_OUT_OF_MEMORY:
        return E_NOMEM;
    case CURLE_OPERATION_TIMEDOUT:
        return E_TIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
        return E_REFUSED;
    default:
        return E_CLOSED;
    }
}

static struct str failure_text(const struct kube_call *call, enum err e, CURLcode code)
{
    if (call->cut != E_OK && call->error_text[0] == '\0') {
        return e == E_TIMEOUT ? call->is_stream ? STR("the server has been silent for too long")
                                                : STR("no answer within the time allowed")
               : e == E_LIMIT ? STR("the answer is too long")
                              : str_from_cstr(err_text(e));
    }
    return str_from_cstr(call->error_text[0] != '\0' ? call->error_text : curl_easy_strerror(code));
}

static void judge(struct kube_call *call, CURLcode code, struct verdict *v)
{
    curl_off_t seconds = 0;
    enum err e = call->cut != E_OK ? call->cut : call->has_enough ? E_OK : code_to_err(code);
    v->result = (struct kube_result){.error = e, .status = call->status};
    if (e != E_OK) {
        v->result.message = failure_text(call, e, code);
        return;
    }
    if (call->easy != NULL &&
        curl_easy_getinfo(call->easy, CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK && seconds > 0) {
        v->result.retry_after = (usec_t)(seconds < INT32_MAX ? seconds : INT32_MAX) * USEC_PER_SEC;
    }
    if (!is_success(call->status)) {
        read_error_body(v, buf_str(&call->error_body));
    }
}

static void count(struct kube_call *call, const struct kube_result *r)
{
    struct kube_client *c = call->client;
    c->counters.failed_transport += r->error != E_OK;
    c->counters.failed_status += r->error == E_OK && !is_success(r->status);
    if (r->error == E_OK && r->status == 401) {
        c->counters.unauthorized++;
        credential_doubt(&c->token);
    }
}

void call_finish(struct kube_call *call, CURLcode code)
{
    struct verdict v = {0};
    arena_init(&v.arena, ERROR_TREE_BYTES_MAX);
    judge(call, code, &v);
    count(call, &v.result);
    if (call == call->client->opener) {
        client_unreachable(call->client, v.result.message);
    }
    call->is_cancelled = true; /* no callback after this one */
    call->events.on_done(call->arg, &v.result);
    arena_fini(&v.arena);
    client_call_free(call);
}

void call_fail(struct kube_call *call, enum err e, const char *why)
{
    struct wr w = wr_make(call->error_text, sizeof(call->error_text) - 1);
    wr_str(&w, str_first(str_from_cstr(why), sizeof(call->error_text) - 1));
    call->error_text[wr_n(&w)] = '\0';
    call->cut = e;
    call_finish(call, CURLE_OK);
}

static void on_timeout(struct timer *t)
{
    struct kube_call *call = container_of(t, struct kube_call, timer);
    kube_multi_cut_silent(&call->client->multi, call->easy, call->heard_at);
    call_fail(call, E_TIMEOUT, NULL);
}

void call_release(struct kube_call *call)
{
    loop_disarm(call->client->loop, &call->timer);
    if (call->easy != NULL) {
        (void)curl_multi_remove_handle(call->client->multi.curl,
                                       call->easy); /* none of it: no matter */
        curl_easy_cleanup(call->easy);
    }
    for (struct curl_slist *h = call->headers; h != NULL; h = h->next) {
        explicit_bzero(h->data, strlen(h->data)); /* one of them is the token */
    }
    curl_slist_free_all(call->headers);
    curl_slist_free_all(call->connect_to);
    blob_unref(call->ca);
    blob_unref(call->certificate);
    blob_unref(call->key);
    buf_fini(&call->error_body);
}

/* ---- the beginning ---- */

/* Close-on-exec, and a peer that vanished is noticed by its silence below TCP. */
static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct kube_client *c = arg;
    (void)purpose;
    c->counters.connects++;
    int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
    unsigned ms = (unsigned)(TIMEOUT_KUBE_PEER / USEC_PER_MS);
    if (fd >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms)); /* a help, no must */
    }
    return fd;
}

/* libcurl refuses only for want of memory, or when it lacks a feature. */
struct setup {
    CURL *easy;
    CURLcode code; /* the first failure */
};

#define SET(s, option, value)                                                                      \
    ((s)->code = (s)->code != CURLE_OK ? (s)->code : curl_easy_setopt((s)->easy, option, value))

static void set_blob(struct setup *s, CURLoption option, struct blob *b)
{
    if (b != NULL) { /* borrowed: the call holds a reference */
        struct curl_blob blob = {b->bytes, b->n, CURL_BLOB_NOCOPY};
        SET(s, option, &blob);
    }
}

static void set_tls(struct setup *s, struct kube_call *call)
{
    struct kube_client *c = call->client;
    usec_t now = loop_now(c->loop);
    bool is_verified = !c->config->is_insecure;
    call->ca = blob_ref(credential_get(&c->ca, now));
    call->certificate = blob_ref(credential_get(&c->certificate, now));
    call->key = blob_ref(credential_get(&c->key, now));
    SET(s, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(s, CURLOPT_SSL_VERIFYPEER, is_verified ? 1L : 0L);
    SET(s, CURLOPT_SSL_VERIFYHOST, is_verified ? 2L : 0L);
    if (c->config->ca_pem != NULL || c->config->ca_file != NULL) { /* it and no other */
        SET(s, CURLOPT_CAINFO, NULL);
        SET(s, CURLOPT_CAPATH, NULL);
    }
    set_blob(s, CURLOPT_CAINFO_BLOB, call->ca);
    set_blob(s, CURLOPT_SSLCERT_BLOB, call->certificate);
    set_blob(s, CURLOPT_SSLKEY_BLOB, call->key);
}

static void set_connection(struct setup *s, struct kube_call *call)
{
    const struct kube_client *c = call->client;
    SET(s, CURLOPT_HTTP_VERSION,
        c->is_tls ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    SET(s, CURLOPT_PIPEWAIT, c->is_tls ? 1L : 0L);
    SET(s, CURLOPT_NOSIGNAL, 1L);
    SET(s, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(s, CURLOPT_CONNECTTIMEOUT_MS, (long)(TIMEOUT_KUBE_CONNECT / USEC_PER_MS));
    SET(s, CURLOPT_TCP_KEEPALIVE, 1L);
    SET(s, CURLOPT_TCP_KEEPIDLE, (long)(TIMEOUT_KUBE_PEER / USEC_PER_SEC / 2));
    SET(s, CURLOPT_TCP_KEEPINTVL, (long)(TIMEOUT_KUBE_PEER / USEC_PER_SEC / 6));
    SET(s, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    SET(s, CURLOPT_OPENSOCKETDATA, call->client);
    SET(s, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    if (c->config->proxy_url != NULL) {
        SET(s, CURLOPT_PROXY, c->config->proxy_url);
    }
    if (call->connect_to != NULL) {
        SET(s, CURLOPT_CONNECT_TO, call->connect_to);
    }
}

static void set_callbacks(struct setup *s, struct kube_call *call)
{
    SET(s, CURLOPT_PRIVATE, call);
    SET(s, CURLOPT_HEADERFUNCTION, on_header);
    SET(s, CURLOPT_HEADERDATA, call);
    SET(s, CURLOPT_WRITEFUNCTION, on_write);
    SET(s, CURLOPT_WRITEDATA, call);
    SET(s, CURLOPT_ERRORBUFFER, call->error_text);
    SET(s, CURLOPT_NOPROGRESS, 1L);
    SET(s, CURLOPT_BUFFERSIZE, call->is_stream ? (long)STREAM_BYTES : (long)ANSWER_BYTES);
}

static void set_request(struct setup *s, const struct kube_call *call)
{
    static const char *const names[] = {
        [KUBE_GET] = "GET",     [KUBE_POST] = "POST",     [KUBE_PUT] = "PUT",
        [KUBE_PATCH] = "PATCH", [KUBE_DELETE] = "DELETE",
    };
    SET(s, CURLOPT_URL, call->url.p);
    SET(s, CURLOPT_PATH_AS_IS, 1L);
    SET(s, CURLOPT_USERAGENT, USER_AGENT);
    SET(s, CURLOPT_HTTPHEADER, call->headers);
    if (call->method == KUBE_GET) {
        SET(s, CURLOPT_ACCEPT_ENCODING, call->is_stream ? NULL : "gzip");
        return;
    }
    if (call->method != KUBE_DELETE || call->body.n > 0) {
        SET(s, CURLOPT_POST, 1L);
        SET(s, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.n);
        SET(s, CURLOPT_POSTFIELDS, call->body.p); /* borrowed from the call */
    }
    SET(s, CURLOPT_CUSTOMREQUEST, names[call->method]);
}

/* Errors: E_NOMEM. */
static enum err add_line(struct curl_slist **list, struct str name, struct str value)
{
    struct buf line;
    buf_init(&line, name.n + value.n + 1);
    buf_add_str(&line, name);
    buf_add_str(&line, value);
    buf_add_char(&line, '\0');
    struct curl_slist *longer = line.bad ? NULL : curl_slist_append(*list, line.p);
    if (line.p != NULL) {
        explicit_bzero(line.p, line.n);
    }
    buf_fini(&line);
    if (longer == NULL) {
        return E_NOMEM;
    }
    *list = longer;
    return E_OK;
}

/* Only what a token is made of: a line end in the file is none, and must not get into the head. */
static struct str token_text(const struct blob *b)
{
    struct str s = {b->bytes, b->n}, first, rest;
    (void)str_cut(s, '\n', &first, &rest);
    (void)str_cut(first, '\r', &s, &rest);
    return str_trim(s);
}

static enum err make_headers(struct kube_call *call)
{
    struct kube_client *c = call->client;
    const struct blob *token = credential_get(&c->token, loop_now(c->loop));
    struct curl_slist **list = &call->headers;
    TRY(add_line(list, STR("Accept: "), STR("application/json")));
    TRY(add_line(list, STR("Expect:"), STR_EMPTY)); /* no waiting for 100 Continue */
    if (token != NULL && token_text(token).n > 0) {
        TRY(add_line(list, STR("Authorization: Bearer "), token_text(token)));
    }
    if (call->body.n > 0) {
        TRY(add_line(list, STR("Content-Type: "), str_from_cstr(call->content_type)));
    }
    if (c->connect_to.n > 0) { /* the URL has the name to verify, the head the real one */
        TRY(add_line(list, STR("Host: "), c->host));
        TRY(add_line(&call->connect_to, c->connect_to, STR_EMPTY));
    }
    return E_OK;
}

enum err call_send(struct kube_call *call)
{
    struct kube_client *c = call->client;
    struct setup s = {.easy = curl_easy_init()};
    call->easy = s.easy;
    if (s.easy == NULL) {
        return E_NOMEM;
    }
    TRY(make_headers(call));
    set_callbacks(&s, call);
    set_connection(&s, call);
    if (c->is_tls) {
        set_tls(&s, call);
    }
    set_request(&s, call);
    if (s.code != CURLE_OK) {
        return s.code == CURLE_OUT_OF_MEMORY ? E_NOMEM : E_SYS;
    }
    call->heard_at = loop_now(c->loop);
    loop_arm(c->loop, &call->timer, call->timeout, on_timeout);
    return curl_multi_add_handle(c->multi.curl, s.easy) == CURLM_OK ? E_OK : E_NOMEM;
}
