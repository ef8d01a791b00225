/* One libcurl handle for each question; the list of those under way says which names are wanted. */
#include "controller/responders.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "base/limits.h"
#include "base/mem.h"
#include "kube/multi.h"
#include "source/resolver.h"

enum { QUESTION_BYTES_MAX = 64 * 1024, STATUS_OK = 200 };

struct responders {
    struct loop *loop;
    struct responders_options options;
    struct kube_multi multi;
    struct store *names;       /* what they resolve to; nobody else's */
    struct resolver *resolver; /* NULL: c-ares cannot start; then only addresses can be asked */
    struct list questions;
    size_t n;
    struct deferred restart; /* libcurl gave up on itself */
};

struct question {
    struct list link;
    struct responders *responders;
    struct question_text text; /* in memory */
    question_fn *on_done;
    void *arg;
    struct arena memory;
    struct timer timer;
    struct deferred begin;
    bool is_name, is_sending;

    /* since it is sent */
    CURL *easy;
    struct curl_slist *headers;
    struct buf body;
    bool is_refused, is_too_long;
    char error_text[CURL_ERROR_SIZE];
};

/* ---- which names are wanted ---- */

static void names_want(struct responders *r)
{
    if (r->resolver == NULL) {
        return;
    }
    resolver_begin(r->resolver);
    list_each(it, &r->questions)
    {
        const struct question *q = container_of(it, struct question, link);
        if (q->is_name) {
            (void)resolver_want(r->resolver, q->text.host); /* else it has no answer in time */
        }
    }
    resolver_end(r->resolver);
}

/* ---- the end ---- */

static void question_free(struct question *q)
{
    struct responders *r = q->responders;
    list_del(&q->link);
    r->n--;
    loop_disarm(r->loop, &q->timer);
    loop_undefer(&q->begin);
    if (q->easy != NULL) {
        (void)curl_multi_remove_handle(r->multi.curl, q->easy); /* none of it: no matter */
        curl_easy_cleanup(q->easy);
    }
    curl_slist_free_all(q->headers);
    buf_fini(&q->body);
    arena_fini(&q->memory);
    mem_free(q);
}

static void question_end(struct question *q, enum err e, const char *detail)
{
    struct responders *r = q->responders;
    q->on_done(q->arg, e, e == E_OK ? buf_str(&q->body) : STR_EMPTY, detail);
    question_free(q);
    names_want(r);
}

void question_cancel(struct question *q)
{
    if (q != NULL) {
        struct responders *r = q->responders;
        question_free(q);
        names_want(r);
    }
}

static void on_timeout(struct timer *t)
{
    struct question *q = container_of(t, struct question, timer);
    question_end(q, E_TIMEOUT,
                 q->is_sending ? "no answer in time" : "its name did not resolve in time");
}

/* ---- what comes back ---- */

static size_t on_write(char *p, size_t one, size_t n, void *arg)
{
    struct question *q = arg;
    (void)one;
    buf_add(&q->body, p, n);
    q->is_too_long = q->body.bad;
    return q->body.bad ? 0 : n;
}

static enum err code_to_err(const struct question *q, CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return E_OK;
    case CURLE_OUT_OF_MEMORY:
        return E_NOMEM;
    case CURLE_OPERATION_TIMEDOUT:
        return E_TIMEOUT;
    case CURLE_FILESIZE_EXCEEDED: /* said before */
        return E_LIMIT;
    default:
        return q->is_too_long ? E_LIMIT : q->is_refused ? E_REFUSED : E_CLOSED;
    }
}

static void on_transfer_done(void *arg, CURL *easy, CURLcode code)
{
    struct question *q = NULL;
    long status = 0;
    (void)arg;
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&q);   /* was set */
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status); /* 0 then */
    enum err e = code_to_err(q, code);
    if (e == E_OK && status != STATUS_OK) {
        e = E_PROTO;
    }
    question_end(q, e,
                 e == E_REFUSED ? "its address is not one that may be asked"
                 : e == E_PROTO ? "the status is not 200"
                 : e == E_LIMIT ? "the answer is too long"
                                : q->error_text);
}

/* ---- who may be asked ---- */

static bool ip_from_address(const struct curl_sockaddr *a, struct ip *ret)
{
    *ret = (struct ip){0};
    if (a->family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)&a->addr;
        ret->family = 4;
        mem_copy(ret->bytes, &v4->sin_addr, sizeof(v4->sin_addr));
        return true;
    }
    if (a->family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)&a->addr;
        ret->family = 6;
        mem_copy(ret->bytes, &v6->sin6_addr, sizeof(v6->sin6_addr));
        *ret = ip_unmapped(ret); /* ::ffff:127.0.0.1 leads where 127.0.0.1 does */
        return true;
    }
    return false;
}

static bool is_allowed(const struct responders *r, const struct ip *ip)
{
    if (r->options.allowed_n == 0) {
        return !ip_is_loopback(ip) && !ip_is_unusable(ip);
    }
    for (uint32_t i = 0; i < r->options.allowed_n; i++) {
        if (ip_prefix_has(&r->options.allowed[i], ip)) {
            return true;
        }
    }
    return false;
}

/* The address that will be connected to, whatever the URL looked like. */
static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct question *q = arg;
    struct ip ip;
    (void)purpose;
    if (!ip_from_address(a, &ip) || !is_allowed(q->responders, &ip)) {
        q->is_refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* ---- the request ---- */

/* libcurl refuses only for want of memory, or when it lacks a feature. */
struct setup {
    CURL *easy;
    CURLcode code; /* the first failure */
};

#define SET(s, option, value)                                                                      \
    ((s)->code = (s)->code != CURLE_OK ? (s)->code : curl_easy_setopt((s)->easy, option, value))

static void set_connection(struct setup *s, struct question *q)
{
    SET(s, CURLOPT_NOSIGNAL, 1L);
    SET(s, CURLOPT_PROTOCOLS_STR, "http");
    SET(s, CURLOPT_FOLLOWLOCATION, 0L);
    SET(s, CURLOPT_PROXY, ""); /* not that of the environment either */
    SET(s, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(s, CURLOPT_HTTP09_ALLOWED, 0L);
    SET(s, CURLOPT_FRESH_CONNECT, 1L);
    SET(s, CURLOPT_FORBID_REUSE, 1L);
    SET(s, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    SET(s, CURLOPT_OPENSOCKETDATA, q);
}

static void set_transfer(struct setup *s, struct question *q, const char *url)
{
    SET(s, CURLOPT_PRIVATE, q);
    SET(s, CURLOPT_URL, url); /* copied */
    SET(s, CURLOPT_PATH_AS_IS, 1L);
    SET(s, CURLOPT_HTTPHEADER, q->headers);
    SET(s, CURLOPT_POST, 1L);
    SET(s, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->text.body.n);
    SET(s, CURLOPT_POSTFIELDS, q->text.body.p); /* borrowed from the question */
    SET(s, CURLOPT_WRITEFUNCTION, on_write);
    SET(s, CURLOPT_WRITEDATA, q);
    SET(s, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)OCSP_RESPONSE_BYTES_MAX);
    SET(s, CURLOPT_ERRORBUFFER, q->error_text);
    SET(s, CURLOPT_NOPROGRESS, 1L);
}

/* Errors: E_NOMEM. */
static enum err header_add(struct question *q, const char *line)
{
    struct curl_slist *longer = curl_slist_append(q->headers, line);
    if (longer == NULL) {
        return E_NOMEM;
    }
    q->headers = longer;
    return E_OK;
}

/* RFC 6960 appendix A.1. */
static enum err headers_make(struct question *q, struct buf *scratch)
{
    buf_reset(scratch);
    buf_addf(scratch, "Host: %.*s%c", STR_ARG(q->text.authority), 0);
    TRY(scratch->bad ? E_NOMEM : E_OK);
    TRY(header_add(q, scratch->p));
    TRY(header_add(q, "Content-Type: application/ocsp-request"));
    TRY(header_add(q, "Accept: application/ocsp-response"));
    TRY(header_add(q, "Expect:")); /* no waiting for 100 Continue */
    return header_add(q, "User-Agent: lintel/" LINTEL_VERSION);
}

/* The address instead of the name: nothing is left to be resolved. */
static enum err url_make(const struct question *q, const struct ip *ip, struct buf *out)
{
    char text[IP_TEXT_MAX];
    struct wr w = wr_make(text, sizeof(text));
    ip_emit(&w, ip);
    buf_reset(out);
    buf_addf(out, ip->family == 6 ? "http://[%.*s]:%u%.*s%c" : "http://%.*s:%u%.*s%c",
             (int)wr_n(&w), text, q->text.port, STR_ARG(q->text.target), 0);
    return out->bad ? E_NOMEM : E_OK;
}

static enum err transfer_start(struct question *q, const struct ip *ip, struct buf *scratch)
{
    struct responders *r = q->responders;
    TRY(r->multi.curl != NULL ? E_OK : kube_multi_open(&r->multi));
    TRY(headers_make(q, scratch));
    TRY(url_make(q, ip, scratch));
    struct setup s = {.easy = curl_easy_init()};
    q->easy = s.easy;
    if (s.easy == NULL) {
        return E_NOMEM;
    }
    set_connection(&s, q);
    set_transfer(&s, q, scratch->p);
    if (s.code != CURLE_OK) {
        return E_NOMEM;
    }
    return curl_multi_add_handle(r->multi.curl, s.easy) == CURLM_OK ? E_OK : E_NOMEM;
}

static void question_send(struct question *q, const struct ip *ip)
{
    struct buf scratch;
    buf_init(&scratch, QUESTION_BYTES_MAX);
    q->is_sending = true;
    enum err e = transfer_start(q, ip, &scratch);
    buf_fini(&scratch);
    if (e != E_OK) {
        question_end(q, e, err_text(e));
    }
}

/* ---- from a name to an address ---- */

static void question_resolved(struct question *q, const struct resolution *found)
{
    if (found->address_n > 0) {
        question_send(q, &found->addresses[q->text.turn % found->address_n]);
    } else if (found->is_refused) {
        question_end(q, E_REFUSED, "its name leads to addresses that may not be asked");
    } else {
        question_end(q, E_NOTFOUND, "its name does not resolve");
    }
}

/* True when q may be gone. */
static bool question_look(struct question *q)
{
    const struct object *found =
        q->is_sending || !q->is_name
            ? NULL
            : store_get(q->responders->names, OBJECT_RESOLUTION, STR_EMPTY, q->text.host);
    if (found != NULL) {
        question_resolved(q, (const struct resolution *)(const void *)found);
    }
    return found != NULL;
}

/* A question's end may be the end of others, or the beginning: once more from the start, then. */
static void on_names(void *arg)
{
    const struct responders *r = arg;
    bool has_changed = true;
    while (has_changed) {
        has_changed = false;
        for (struct list *it = r->questions.next; it != &r->questions && !has_changed;) {
            struct question *q = container_of(it, struct question, link);
            it = it->next;
            has_changed = question_look(q);
        }
    }
}

static void on_begin(struct deferred *d)
{
    struct question *q = container_of(d, struct question, begin);
    struct responders *r = q->responders;
    struct ip ip;
    if (ip_parse(q->text.host, &ip) == E_OK) {
        question_send(q, &ip);
    } else if (r->resolver == NULL) {
        question_end(q, E_NOTFOUND, "names cannot be resolved");
    } else {
        q->is_name = true;
        names_want(r);
        (void)question_look(q); /* somebody else may have asked for that name */
    }
}

static bool texts_copy(struct question *q, const struct question_text *from)
{
    struct question_text *to = &q->text;
    *to = *from;
    return arena_str(&q->memory, from->host, &to->host) &&
           arena_str(&q->memory, from->authority, &to->authority) &&
           arena_str(&q->memory, from->target, &to->target) &&
           arena_str(&q->memory, from->body, &to->body);
}

enum err question_ask(struct responders *r, const struct question_text *text, question_fn *on_done,
                      void *arg, struct question **ret)
{
    struct question *q = mem_calloc(1, sizeof(*q));
    if (q == NULL) {
        return E_NOMEM;
    }
    *q = (struct question){.responders = r, .on_done = on_done, .arg = arg};
    arena_init(&q->memory, QUESTION_BYTES_MAX);
    buf_init(&q->body, OCSP_RESPONSE_BYTES_MAX);
    if (!texts_copy(q, text)) {
        arena_fini(&q->memory);
        mem_free(q);
        return E_NOMEM;
    }
    list_append(&r->questions, &q->link);
    r->n++;
    loop_arm(r->loop, &q->timer, r->options.timeout, on_timeout);
    loop_defer(r->loop, &q->begin, on_begin);
    *ret = q;
    return E_OK;
}

/* ---- the whole ---- */

static void on_restart(struct deferred *d)
{
    struct responders *r = container_of(d, struct responders, restart);
    struct list failing;
    list_init(&failing);
    list_each(it, &r->questions)
    {
        struct question *q = container_of(it, struct question, link);
        if (q->is_sending) {
            list_del(it);
            list_append(&failing, it);
        }
    }
    while (!list_is_empty(&failing)) {
        question_end(container_of(failing.next, struct question, link), E_NOMEM,
                     "libcurl has failed");
    }
    kube_multi_close(&r->multi); /* the next question opens it */
}

static void on_broken(void *arg)
{
    struct responders *r = arg;
    loop_defer(r->loop, &r->restart, on_restart);
}

static enum err parts_make(struct responders *r)
{
    const struct resolver_options o = {
        .servers = r->options.servers, .on_batch = on_names, .arg = r};
    TRY(kube_multi_open(&r->multi));
    TRY(store_new(&r->names));
    enum err e = resolver_new(r->loop, r->names, &o, &r->resolver);
    return e == E_NOMEM ? E_NOMEM : E_OK; /* without one, some can be asked */
}

enum err responders_new(struct loop *loop, const struct responders_options *options,
                        struct responders **ret)
{
    TRY(kube_curl_open());
    struct responders *r = mem_calloc(1, sizeof(*r));
    if (r == NULL) {
        kube_curl_close();
        return E_NOMEM;
    }
    *r = (struct responders){.loop = loop, .options = *options};
    r->options.timeout = options->timeout == 0 ? TIMEOUT_OCSP_ANSWER : options->timeout;
    r->multi = (struct kube_multi){
        .loop = loop, .on_done = on_transfer_done, .on_broken = on_broken, .arg = r};
    kube_multi_init(&r->multi);
    list_init(&r->questions);
    enum err e = parts_make(r);
    if (e != E_OK) {
        responders_free(r);
        return e;
    }
    *ret = r;
    return E_OK;
}

void responders_free(struct responders *r)
{
    if (r == NULL) {
        return;
    }
    while (!list_is_empty(&r->questions)) {
        question_free(container_of(r->questions.next, struct question, link));
    }
    loop_undefer(&r->restart);
    kube_multi_close(&r->multi);
    resolver_free(r->resolver);
    store_free(r->names);
    mem_free(r);
    kube_curl_close();
}

size_t responders_n(const struct responders *r)
{
    return r->n;
}
