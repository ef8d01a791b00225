/* One request and its response.
 *
 *   request ──> match ──> filters ──> open ──> sent ──> response ──> body ──> done
 *                 │          │          ^        │
 *                 └─ answer ─┘          └─retry──┘ (nothing of a response yet, and safe)
 *
 * The head of the request is copied once into the exchange's block: it is needed for a retry and
 * for the log. The first piece of a small body is kept too, so that a request that was never sent
 * can go elsewhere whatever its method. The response passes through without being kept. Ends in
 * exactly one place, exchange_end(), which logs, counts and frees. From open to body: try.c. */
#include "proxy/exchange.h"

#include "base/limits.h"
#include "base/mem.h"
#include "http/answer.h"
#include "http/grpc.h"
#include "proxy/block.h"
#include "route/query.h"

#include <sys/random.h>

enum { PATTERNS_MAX = 1024 };

static const struct http_stream_events client_events;

/* ---- small things ---- */

const struct snap_global *global_of(const struct proxy *p)
{
    const struct snapshot_entry *entry =
        snapshot_find(p->snapshot, SNAP_GLOBAL, STR_EMPTY, hash_str(STR_EMPTY));
    return entry == NULL ? NULL : (const struct snap_global *)(const void *)entry->shard;
}

/* ---- the end ---- */

void exchange_end(struct exchange *x)
{
    struct proxy *p = x->proxy;
    usec_t now = clock_monotonic(); /* the tick's time is too coarse for durations */
    exchange_record(x, now);        /* before the client goes: the log reads its peer */
    upstream_report(&x->pick, UPSTREAM_ABANDONED, now - x->upstream_began);
    if (x->upstream != NULL) {
        x->upstream->ops->release(x->upstream);
    }
    if (x->client != NULL) {
        x->client->cut_by = x->reason;
        x->client->ops->release(x->client);
    }
    loop_disarm(p->loop, &x->deadline);
    exchange_body_drop(x);
    snapshot_segment_unref(x->match.segment);
    list_del(&x->link);
    p->budget->used -= x->block_bytes;
    block_give(p, x, x->block_bytes);
}

void exchange_cut(struct exchange *x, enum reason why)
{
    if (x->reason == REASON_none) {
        x->reason = why;
    }
    exchange_end(x);
}

/* In the client's language. A redirect is none of gRPC's, but libraries in browsers follow it. */
static void answer_make(struct exchange *x, struct str location, struct http_answer *a)
{
    const struct http_request *r = &x->request;
    int64_t now_s = (int64_t)(clock_wall() / USEC_PER_SEC);
    struct str accept = STR_EMPTY, type;
    if (x->is_grpc && location.n == 0 && http_is_grpc(r->fields, r->field_n, &type)) {
        x->has_grpc_status = true;
        x->grpc_status = (uint8_t)http_grpc_code(x->reason, x->status);
        http_answer_make_grpc(a, x->reason, x->status, type, now_s);
        return;
    }
    (void)http_field_get(r->fields, r->field_n, FIELD_accept, &accept);
    http_answer_make(a, x->reason, x->status, accept, location, now_s);
}

/* Ends the exchange with a response of our own; before any other response only. */
static void exchange_answer_with(struct exchange *x, enum reason why, uint16_t status,
                                 struct str location)
{
    struct http_answer answer;
    x->reason = why;
    x->status = status != 0 ? status : reason_status(why);
    answer_make(x, location, &answer);
    answer.response.is_last = x->proxy->is_draining;
    if (exchange_has_filters(x)) {
        exchange_filter_response(x, &answer.response);
    }
    x->has_responded = true;
    x->body_bytes = x->request.is_head || x->is_passed_through ? 0 : answer.body.n;
    (void)x->client->ops->send_response(x->client, &answer.response, answer.body, true);
    /* Whether the client gets it or not, this is the end. */
    exchange_end(x);
}

void exchange_answer(struct exchange *x, enum reason why)
{
    exchange_answer_with(x, why, 0, STR_EMPTY);
}

/* ---- gRPC ---- */

static void on_deadline(struct timer *t)
{
    struct exchange *x = container_of(t, struct exchange, deadline);
    stats_add(&x->proxy->stats->timeout_grpc_deadline, 1);
    if (x->has_responded) {
        exchange_cut(x, REASON_deadline_exceeded);
    } else {
        exchange_answer(x, REASON_deadline_exceeded);
    }
}

/* The endpoint gets grpc-timeout as it came, and we see to it that it is kept: nobody waits for
 * what comes later. What nobody can read is the endpoint's to refuse. */
static void deadline_begin(struct exchange *x)
{
    struct str text;
    usec_t timeout;
    if (x->is_grpc &&
        http_field_find(x->request.fields, x->request.field_n, STR("grpc-timeout"), &text) &&
        grpc_timeout_parse(text, &timeout) == E_OK && timeout < GRPC_DEADLINE_MAX) {
        loop_arm(x->proxy->loop, &x->deadline, timeout, on_deadline);
    }
}

/* ---- trailers ---- */

void exchange_trailers_pass(struct exchange *x, const struct http_stream *from,
                            struct http_stream *to)
{
    struct field *room = x->proxy->fields + HEAD_ROOM;
    to->to_send = forward_trailers(&from->received, room);
}

/* ---- client ---- */

/* A tunnel's bytes are no body. */
static bool is_body_too_large(const struct exchange *x)
{
    uint64_t max = x->proxy->settings->proxy_body_size;
    return max != 0 && !x->is_tunnel &&
           (x->request_body_bytes > max ||
            (x->request.body == HTTP_BODY_LENGTH && x->request.body_n > max));
}

static void refuse_body(struct exchange *x)
{
    stats_add(&x->proxy->stats->limit_body_bytes, 1);
    if (x->has_responded) {
        exchange_cut(x, REASON_too_large);
    } else {
        exchange_answer(x, REASON_too_large);
    }
}

static void client_on_body(struct http_stream *s, struct str data, bool is_end)
{
    struct exchange *x = s->owner;
    x->is_request_ended = is_end;
    x->request_bytes += data.n;
    x->request_body_bytes += data.n;
    if (is_body_too_large(x)) {
        refuse_body(x);
        return;
    }
    if (is_end) {
        exchange_trailers_pass(x, s, x->upstream);
    }
    exchange_body_keep(x, data, is_end);
    enum err e = x->upstream->ops->send_body(x->upstream, data, is_end);
    if (is_end && x->is_response_ended) {
        exchange_end(x);
    } else if (e == E_OK && !is_end) {
        x->client->ops->pull(x->client);
    } else if (e != E_OK && e != E_AGAIN) {
        if (x->has_responded) {
            exchange_cut(x, REASON_overloaded);
        } else {
            exchange_answer(x, REASON_overloaded);
        }
    }
}

static void client_on_writable(struct http_stream *s)
{
    struct exchange *x = s->owner;
    if (!x->is_response_ended) {
        x->upstream->ops->pull(x->upstream);
    }
}

static void client_on_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    struct exchange *x = s->owner;
    (void)is_unsent; /* says something about upstream streams only */
    if (!x->has_responded && reason_status(why) != 0) {
        x->status = reason_status(why); /* the protocol answers this by itself */
    }
    x->client = NULL; /* its peer can be read until we return */
    exchange_cut(x, why);
}

static const struct http_stream_events client_events = {
    .on_body = client_on_body,
    .on_writable = client_on_writable,
    .on_closed = client_on_closed,
};

/* ---- a new request ---- */

static struct exchange *exchange_new(struct proxy *p, struct http_stream *s,
                                     const struct http_request *r, struct str body, bool is_end)
{
    bool is_body_kept = body.n <= BODY_KEPT_MAX && s->received.n == 0;
    size_t block_bytes;
    size_t need =
        sizeof(struct exchange) + exchange_request_bytes(r, is_body_kept ? body : STR_EMPTY);
    struct exchange *x = block_take(p, need, &block_bytes);
    if (x == NULL) {
        return NULL;
    }
    *x = (struct exchange){
        .proxy = p,
        .block_bytes = block_bytes,
        .client = s,
        .is_first_body_kept = is_body_kept,
        .is_first_end = is_end,
        .is_request_ended = is_end,
        .is_passed_through = r->tunnel != NULL,
        .is_tunnel = r->tunnel != NULL,
        .began = clock_monotonic(),
        .request_bytes = (r->tunnel == NULL ? r->head.n : 0) + body.n,
        .request_body_bytes = body.n,
    };
    p->budget->used += block_bytes;
    exchange_request_copy(x, r, body);
    forward_origin_find(&x->request, global_of(p), &x->origin);
    x->takes_trailers = forward_takes_trailers(&x->request);
    if (!forward_may_upgrade(x->request.upgrade)) {
        x->request.upgrade = STR_EMPTY;
    }
    exchange_id_set(x);
    struct str type;
    x->is_grpc = http_is_grpc(r->fields, r->field_n, &type);
    s->events = &client_events;
    s->owner = x;
    list_append(&p->exchanges, &x->link);
    stats_add(&p->stats->requests_in_flight, 1);
    return x;
}

static bool request_field(const void *arg, struct str name, struct str *ret_value)
{
    const struct http_request *r = arg;
    return http_field_find(r->fields, r->field_n, name, ret_value);
}

/* Is this the right connection, and has the client shown what it has to? */
static bool exchange_admit(struct exchange *x, const struct route_query *q)
{
    const struct secure_request r = {x->proxy->snapshot, q->table, q->host, x->request.peer};
    struct secure_verdict v;
    secure_judge(&r, &x->proxy->patterns, &v);
    x->origin.certificate = v.client;
    x->is_refused_plain = v.may_be_sent_on;
    if (v.reason != REASON_none && !v.may_be_sent_on) {
        exchange_answer_with(x, v.reason, v.status, v.location);
        return false;
    }
    return true;
}

static bool exchange_match(struct exchange *x)
{
    const struct http_request *r = &x->request;
    char scratch[HEAD_BYTES_MAX];
    struct route_query query;
    if (route_query_prepare(route_table(x->proxy->snapshot, r->peer->listener), r->method,
                            r->authority, r->target, scratch, sizeof(scratch), &query) != E_OK) {
        exchange_answer(x, REASON_bad_request);
        return false;
    }
    if (!exchange_admit(x, &query)) {
        return false;
    }
    query.field = request_field;
    query.field_arg = r;
    route_match(x->proxy->snapshot, &query, &x->match);
    if (x->match.route == NULL) {
        x->match.segment = NULL;
        exchange_answer(x, REASON_no_route);
        return false;
    }
    (void)snapshot_segment_ref(x->match.segment); /* the route stays until we are done */
    return true;
}

static bool exchange_filter(struct exchange *x)
{
    char scratch[FILTER_SCRATCH_BYTES];
    struct filter_answer answer;
    if (exchange_filter_request(x, scratch, &answer) == FILTER_ANSWER) {
        exchange_answer_with(x, answer.reason, answer.status, answer.location);
        return false;
    }
    return true;
}

/* False: its endpoints expect requests, which bytes of a client's choice must never become. */
static bool is_for_bytes(const struct proxy *p, const struct http_tunnel *to)
{
    const struct snapshot_entry *e =
        snapshot_find(p->snapshot, SNAP_SERVICE, to->service, to->service_hash);
    return e == NULL || /* without it there is no endpoint */
           ((const struct snap_service *)(const void *)e->shard)->protocol == SNAP_TCP;
}

/* Where it goes was settled before the connection came here: there is no route. */
static void exchange_pass_through(struct exchange *x)
{
    const struct http_tunnel *to = x->request.tunnel;
    x->match.segment = snapshot_segment_ref(to->segment);
    x->service = to->service;
    x->service_hash = to->service_hash;
    if (is_for_bytes(x->proxy, to)) {
        exchange_try(x, REASON_none);
    } else {
        exchange_answer(x, REASON_internal);
    }
}

static void proxy_on_request(struct http_handler *h, struct http_stream *s,
                             const struct http_request *r, struct str body, bool is_end)
{
    struct proxy *p = container_of(h, struct proxy, handler);
    struct exchange *x = exchange_new(p, s, r, body, is_end);
    if (x == NULL) {
        stats_add(&p->stats->limit_memory, 1);
        s->ops->release(s); /* unanswered: the connection is cut */
        return;
    }
    if (str_eq(r->method, STR("CONNECT"))) { /* we are nobody's forward proxy */
        exchange_answer(x, REASON_method_not_supported);
        return;
    }
    if (r->expects_other) { /* RFC 9110 section 10.1.1 */
        exchange_answer(x, REASON_expectation_failed);
        return;
    }
    if (http_budget_is_spent(p->budget)) {
        stats_add(&p->stats->limit_memory, 1);
        exchange_answer(x, REASON_overloaded);
        return;
    }
    if (x->is_passed_through) {
        exchange_pass_through(x);
        return;
    }
    if (is_body_too_large(x)) {
        refuse_body(x);
        return;
    }
    if (!exchange_match(x) || (exchange_has_filters(x) && !exchange_filter(x))) {
        return;
    }
    if (x->is_refused_plain) { /* a redirect would have led to where it can be served */
        exchange_answer(x, REASON_denied);
        return;
    }
    deadline_begin(x);
    uint32_t sum = x->match.route->weight_sum;
    x->backend = route_backend(&x->match, sum < 2 ? 0 : (uint32_t)(exchange_random(p) % sum));
    if (x->backend == NULL) {
        exchange_answer(x, REASON_no_endpoints);
        return;
    }
    const struct snap_backend *b = x->backend;
    bool is_tls = x->request.peer->is_tls;
    x->service = snap_str_get(x->match.host, is_tls ? b->secure : b->service);
    x->service_hash = is_tls ? b->secure_hash : b->service_hash;
    exchange_try(x, REASON_none);
}

/* ---- the proxy ---- */

enum err proxy_init(struct proxy *p)
{
    p->handler = (struct http_handler){proxy_on_request, proxy_on_rejected};
    p->fields = mem_calloc(HEAD_ROOM + HEAD_FIELDS_MAX, sizeof(struct field));
    list_init(&p->exchanges);
    regex_cache_init(&p->patterns, PATTERNS_MAX);
    if (p->fields == NULL) {
        return E_NOMEM;
    }
    if (getrandom(p->random, sizeof(p->random), 0) != sizeof(p->random)) {
        proxy_fini(p);
        return E_SYS;
    }
    p->random[0] |= 1; /* all zero would stay zero */
    return E_OK;
}

void proxy_fini(struct proxy *p)
{
    must(list_is_empty(&p->exchanges));
    blocks_fini(p);
    regex_cache_fini(&p->patterns);
    mem_free(p->fields);
    p->fields = NULL;
}
