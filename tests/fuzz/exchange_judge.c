/* The judgement of one run of fuzz_exchange.c, by bytes alone:
 *   - what a client got bears its own tag only, and so does what its requests brought to endpoints;
 *   - every request at an endpoint is one that this client sent, in its order, with its body, and
 *     not more often than it was sent and retried;
 *   - a client's responses are well-formed, not more than its requests, each Lintel's own or what
 * an endpoint answered to this client, in order, and whole only if the endpoint's was whole. */
#include "exchange_judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 128, MESSAGES_MAX = 256 };

void bytes_add(struct bytes *b, const char *p, size_t n)
{
    if (b->n + n + 1 > b->cap) {
        b->cap = 2 * (b->n + n) + 64;
        b->p = realloc(b->p, b->cap);
        if (b->p == NULL) {
            abort();
        }
    }
    if (n > 0) {
        memcpy(b->p + b->n, p, n);
    }
    b->n += n;
}

void bytes_fini(struct bytes *b)
{
    free(b->p);
    *b = (struct bytes){0};
}

static struct str str_of(const struct bytes *b)
{
    return b->n == 0 ? STR_EMPTY : str_make(b->p, b->n);
}

static _Noreturn void die(const char *what, int who, struct str bytes)
{
    (void)fprintf(stderr, "\nfuzz_exchange: %s (client or upstream %d):\n%.*s\n", what, who,
                  STR_ARG(bytes));
    abort();
}

/* ---- one message ---- */

void message_fini(struct message *m)
{
    bytes_fini(&m->body);
}

static enum err body_parse(struct str s, enum h1_body kind, uint64_t n, struct message *m)
{
    struct h1_chunked chunked = {0};
    enum h1_fault fault;
    struct str rest = s, run;
    switch (kind) {
    case H1_BODY_NONE:
        m->is_complete = true;
        return E_OK;
    case H1_BODY_UNTIL_CLOSE:
        m->is_until_close = true;
        bytes_add(&m->body, s.p, s.n);
        m->n += s.n;
        return E_AGAIN;
    case H1_BODY_LENGTH:
        run = str_first(s, n < s.n ? (size_t)n : s.n);
        bytes_add(&m->body, run.p, run.n);
        m->n += run.n;
        m->is_complete = run.n == n;
        return m->is_complete ? E_OK : E_AGAIN;
    case H1_BODY_CHUNKED:
        break;
    }
    while (chunked.state != H1_CHUNK_DONE) {
        enum err e = h1_chunked_next(&chunked, &rest, &run, &fault);
        if (e != E_OK) {
            m->n += s.n - rest.n;
            return e;
        }
        bytes_add(&m->body, run.p, run.n);
    }
    m->n += s.n - rest.n;
    m->is_complete = true;
    return E_OK;
}

/* "198.51.100.7": 7 */
static uint8_t client_of(const struct field *fields, uint32_t n)
{
    uint64_t client;
    for (uint32_t i = 0; i < n; i++) {
        if (str_eq_nocase(fields[i].name, STR("x-real-ip")) &&
            str_has_prefix(fields[i].value, STR("198.51.100.")) &&
            str_to_u64(str_from(fields[i].value, 11), 255, &client)) {
            return (uint8_t)client;
        }
    }
    return 0;
}

enum err message_parse(struct str s, bool is_request, bool is_head, struct message *ret)
{
    struct field fields[FIELDS_MAX];
    struct h1_scan scan = {0};
    struct h1_request request;
    struct h1_response response;
    enum h1_fault fault;
    size_t head_n;
    *ret = (struct message){0};
    TRY(h1_head_scan(&scan, s.p, s.n, &head_n));
    ret->n = head_n;
    if (is_request) {
        TRY(h1_request_parse(s.p, head_n, fields, FIELDS_MAX, &request, &fault));
        ret->has_head = true;
        ret->method = request.method;
        ret->target = request.target;
        ret->client = client_of(fields, request.field_n);
        return body_parse(str_from(s, head_n), request.body, request.body_n, ret);
    }
    TRY(h1_response_parse(s.p, head_n, is_head, fields, FIELDS_MAX, &response, &fault));
    ret->has_head = true;
    ret->status = response.status;
    for (uint32_t i = 0; i < response.field_n; i++) {
        ret->is_own = ret->is_own || str_eq_nocase(fields[i].name, STR("x-lintel-reason"));
    }
    return body_parse(str_from(s, head_n), response.body, response.body_n, ret);
}

/* ---- tags ---- */

static void check_tags(struct str s, int client, const char *what)
{
    for (size_t i = 0; i + 3 < s.n; i++) {
        if (s.p[i] == '{' && s.p[i + 1] == 'k' && s.p[i + 3] == '}' && s.p[i + 2] != '0' + client) {
            die(what, client, s);
        }
    }
}

/* ---- lists of messages ---- */

struct messages {
    struct message items[MESSAGES_MAX];
    int n;
};

static void messages_fini(struct messages *m)
{
    for (int i = 0; i < m->n; i++) {
        message_fini(&m->items[i]);
    }
    m->n = 0;
}

static void requests_of_client(const struct client *c, struct messages *ret)
{
    struct str rest = str_of(&c->sent);
    enum err e = E_OK;
    while (e == E_OK && rest.n > 0 && ret->n < MESSAGES_MAX) {
        struct message *m = &ret->items[ret->n];
        e = message_parse(rest, true, false, m);
        if (m->has_head) {
            ret->n++;
            rest = str_from(rest, m->n);
        }
    }
}

struct arrival { /* a request at an endpoint, or the response to it */
    unsigned order;
    const struct upstream *upstream;
    int index;
};

static int arrival_cmp(const void *a, const void *b)
{
    unsigned x = ((const struct arrival *)a)->order, y = ((const struct arrival *)b)->order;
    return x < y ? -1 : x > y;
}

static int arrivals_of_client(const struct record *r, int client, struct arrival *ret)
{
    int n = 0;
    for (int u = 0; u < r->upstream_n; u++) {
        for (int i = 0; i < r->upstreams[u].seen_n && n < MESSAGES_MAX; i++) {
            if (r->upstreams[u].seen[i].client == client + 1) {
                ret[n++] = (struct arrival){r->upstreams[u].seen[i].order, &r->upstreams[u], i};
            }
        }
    }
    qsort(ret, (size_t)n, sizeof(*ret), arrival_cmp);
    return n;
}

/* ---- requests ---- */

/* Origin form of a target: what it is after "http://authority". */
static struct str origin_form(struct str target)
{
    if (target.n > 0 && target.p[0] != '/' && target.p[0] != '*') {
        size_t i = 0;
        while (i + 2 < target.n && memcmp(target.p + i, "://", 3) != 0) {
            i++;
        }
        target = str_from(target, i + 3);
        for (i = 0; i < target.n && target.p[i] != '/' && target.p[i] != '?'; i++) {
        }
        target = str_from(target, i);
    }
    return target.n == 0 || str_eq(target, STR("*")) ? STR("/") : target;
}

static bool is_same_target(struct str sent, struct str seen)
{
    struct str a = origin_form(sent), b = origin_form(seen);
    return str_eq(a, b) || (a.p[0] == '?' && b.n == a.n + 1 && str_eq(a, str_from(b, 1)));
}

static bool is_request_of(const struct message *seen, const struct message *sent)
{
    if (!str_eq(seen->method, sent->method) || !is_same_target(sent->target, seen->target)) {
        return false;
    }
    return str_has_prefix(str_of(&sent->body), str_of(&seen->body)) &&
           (!seen->is_complete || (sent->is_complete && sent->body.n == seen->body.n));
}

static struct str seen_bytes(const struct upstream *u, int i)
{
    size_t end = i + 1 < u->seen_n ? u->seen[i + 1].begin : u->received.n;
    return str_make(u->received.p + u->seen[i].begin, end - u->seen[i].begin);
}

static void judge_requests(const struct record *r, int client, const struct messages *sent,
                           const struct arrival *arrivals, int n)
{
    int at = 0;
    for (int i = 0; i < n; i++) {
        struct message seen;
        struct str bytes = seen_bytes(arrivals[i].upstream, arrivals[i].index);
        check_tags(bytes, client, "an endpoint got bytes of another client in this request");
        (void)message_parse(bytes, true, false, &seen); /* it was parsed once already */
        while (at < sent->n && !is_request_of(&seen, &sent->items[at])) {
            at++;
        }
        if (at == sent->n && sent->n < MESSAGES_MAX) {
            die("an endpoint got a request that this client did not send", client, bytes);
        }
        message_fini(&seen);
    }
    if ((uint64_t)n > (uint64_t)sent->n + r->retries && n < MESSAGES_MAX) {
        die("endpoints got more requests than this client sent", client, STR_EMPTY);
    }
}

/* ---- responses ---- */

/* The final response that an endpoint gave to a request, past interim ones. False: none. */
static bool answer_of(const struct arrival *a, struct message *ret)
{
    const struct upstream *u = a->upstream;
    const struct seen *s = &u->seen[a->index];
    struct message request;
    size_t end = a->index + 1 < u->seen_n ? u->seen[a->index + 1].answer : u->sent.n;
    struct str rest = str_make(u->sent.p + s->answer, end - s->answer);
    (void)message_parse(seen_bytes(u, a->index), true, false, &request);
    bool is_head = str_eq(request.method, STR("HEAD"));
    message_fini(&request);
    if (rest.n == 0) {
        return false;
    }
    for (;;) {
        (void)message_parse(rest, false, is_head, ret);
        if (!ret->has_head) {
            return false;
        }
        if (ret->status >= 200) {
            break;
        }
        rest = str_from(rest, ret->n);
        message_fini(ret);
    }
    ret->is_complete = ret->is_complete || (ret->is_until_close && u->has_ended);
    return true;
}

static bool is_answer(const struct record *r, const struct message *got,
                      const struct message *given)
{
    struct str a = str_of(&got->body), b = str_of(&given->body);
    if (got->status != given->status || !str_has_prefix(b, a)) {
        return false;
    }
    if (!got->is_complete || (given->is_until_close && r->has_fault)) {
        return true;
    }
    return given->is_complete && a.n == b.n;
}

static void judge_responses(const struct record *r, int client, const struct messages *sent,
                            const struct arrival *arrivals, int n)
{
    struct str rest = str_of(&r->clients[client].received);
    int at = 0, i = 0;
    while (rest.n > 0) {
        struct message got, given;
        bool is_head = i < sent->n && str_eq(sent->items[i].method, STR("HEAD"));
        enum err e = message_parse(rest, false, is_head, &got);
        if (e == E_PROTO) {
            die("a client got what is no response", client, str_of(&r->clients[client].received));
        }
        bool is_over = e != E_OK || got.status == 101;
        bool is_final = got.has_head && got.status >= 200;
        if (is_final && i > sent->n) {
            die("a client got more responses than it sent requests", client, rest);
        }
        bool is_known = !is_final || got.is_own;
        while (!is_known && at < n) {
            if (answer_of(&arrivals[at], &given)) {
                is_known = is_answer(r, &got, &given);
                message_fini(&given);
            }
            at++;
        }
        if (!is_known && n < MESSAGES_MAX && sent->n < MESSAGES_MAX) {
            die("a client got a response that no endpoint gave it", client, rest);
        }
        i += is_final ? 1 : 0;
        rest = str_from(rest, got.n);
        message_fini(&got);
        if (is_over) {
            return;
        }
    }
}

void judge(const struct record *r)
{
    static struct messages sent;
    struct arrival arrivals[MESSAGES_MAX];
    for (int c = 0; c < r->client_n; c++) {
        check_tags(str_of(&r->clients[c].received), c, "a client got bytes of another one");
        requests_of_client(&r->clients[c], &sent);
        int n = arrivals_of_client(r, c, arrivals);
        judge_requests(r, c, &sent, arrivals, n);
        judge_responses(r, c, &sent, arrivals, n);
        messages_fini(&sent);
    }
}
