/* One try after the other at an endpoint: the request goes to it, its response comes back and is
 * passed on, or it breaks, and another try is made where that is safe. The endpoint's side of an
 * exchange; the client's, and every end of it, are in exchange.c. */
#include "proxy/exchange.h"

#include "base/limits.h"

static const struct http_stream_events upstream_events;

/* ---- a try ---- */

static enum reason reason_of_open(enum err e)
{
    switch (e) {
    case E_NOTFOUND:
        return REASON_no_endpoints;
    case E_LIMIT:
    case E_NOMEM:
        return REASON_overloaded;
    case E_PROTO:
        return REASON_upstream_tls_missing;
    default:
        return REASON_connect_refused;
    }
}

static enum err exchange_send(struct exchange *x)
{
    struct forward_text text;
    struct http_request out = x->request;
    if (x->is_passed_through) {
        return x->upstream->ops->send_request(x->upstream, &out, STR_EMPTY, false);
    }
    out.fields = x->proxy->fields;
    out.field_n = forward_request_fields(&x->request, &x->origin, global_of(x->proxy),
                                         exchange_id(x), &text, x->proxy->fields);
    exchange_trailers_pass(x, x->client, x->upstream);
    return x->upstream->ops->send_request(x->upstream, &out, x->first_body, x->is_first_end);
}

/* A service that shrinks under the request had more of them before. */
static void refusals_allow(struct exchange *x, uint32_t endpoint_n)
{
    uint32_t n = endpoint_n - 1 < UPSTREAM_REFUSALS_MAX ? endpoint_n - 1 : UPSTREAM_REFUSALS_MAX;
    x->refusals_max = n > x->refusals_max ? (uint8_t)n : x->refusals_max;
}

void exchange_try(struct exchange *x, enum reason before)
{
    struct proxy *p = x->proxy;
    bool is_fresh = before != REASON_none && x->pick.is_reused;
    struct upstream_ask ask = {
        .service = x->service,
        .service_hash = x->service_hash,
        .now = clock_monotonic(),
        .avoid = is_fresh ? NULL : x->pick.endpoint, /* a dead kept connection is not its fault */
        .is_next = before == REASON_connect_refused,
        .is_elsewhere = before == REASON_upstream_reset,
        .fresh_since = is_fresh ? x->pick.began : 0,
    };
    enum err e = upstream_open(p->upstreams, &ask, &x->pick);
    if (e != E_OK) {
        exchange_answer(x, ask.is_elsewhere && e == E_REFUSED ? before : reason_of_open(e));
        return;
    }
    stats_add(&p->stats->upstream_retries, before == REASON_none ? 0 : 1);
    x->tries++;
    refusals_allow(x, x->pick.endpoint_n);
    x->upstream_began = ask.now;
    x->connect = x->pick.is_reused ? 0 : SERIES_NONE;
    x->upstream_ip = upstream_endpoint_ip(x->pick.endpoint);
    x->upstream_port = upstream_endpoint_port(x->pick.endpoint);
    x->upstream = x->pick.stream;
    x->upstream->events = &upstream_events;
    x->upstream->owner = x;
    e = exchange_send(x);
    if (e == E_OK && !x->is_request_ended) {
        x->client->ops->pull(x->client);
    } else if (e != E_OK && e != E_AGAIN) {
        exchange_answer(x, e == E_LIMIT ? REASON_head_too_large : REASON_overloaded);
    }
}

/* ---- another one ---- */

/* RFC 9110 section 9.2.2. */
static bool is_idempotent(struct str method)
{
    static const struct str methods[] = {STR_INIT("GET"),   STR_INIT("HEAD"), STR_INIT("OPTIONS"),
                                         STR_INIT("TRACE"), STR_INIT("PUT"),  STR_INIT("DELETE")};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (str_eq(method, methods[i])) {
            return true;
        }
    }
    return false;
}

/* May the request go to another endpoint? Everything that was sent must still be here, and either
 * nothing of it was processed, or doing it twice does no harm: RFC 9110 section 9.2.2, RFC 9112
 * section 9.3.1. */
static bool can_retry(const struct exchange *x, enum reason why, bool is_unsent)
{
    uint32_t tries_max =
        why == REASON_upstream_goaway ? UPSTREAM_GOAWAY_TRIES_MAX : UPSTREAM_TRIES_MAX;
    if (x->has_responded || x->is_request_started || x->tries >= tries_max ||
        x->refusals > x->refusals_max || (!x->is_first_body_kept && x->first_body.n > 0)) {
        return false;
    }
    return is_unsent || (why == REASON_upstream_reset && is_idempotent(x->request.method));
}

static void upstream_on_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    struct exchange *x = s->owner;
    upstream_report(&x->pick, upstream_outcome_of(why), clock_monotonic() - x->upstream_began);
    x->upstream = NULL;
    if (why == REASON_connect_refused) { /* costs nobody anything, and a service may have shrunk */
        x->tries--;
        x->refusals++;
    }
    if (can_retry(x, why, is_unsent)) {
        exchange_try(x, why);
    } else if (x->has_responded) {
        exchange_cut(x, why == REASON_none ? REASON_upstream_cut : why);
    } else {
        exchange_answer(x, why == REASON_none ? REASON_upstream_reset : why);
    }
}

/* ---- the response ---- */

/* The response is passed on; what is next? */
static void response_went(struct exchange *x, enum err e, bool is_end)
{
    if (e != E_OK && e != E_AGAIN) {
        exchange_cut(x,
                     e == E_CLOSED || e == E_SYS ? REASON_client_abort : REASON_upstream_invalid);
        return;
    }
    if (is_end && x->is_tunnel && !x->is_request_ended) {
        x->is_response_ended = true; /* the client may go on with its half */
    } else if (is_end) {
        exchange_end(x);
    } else if (e == E_OK) {
        x->upstream->ops->pull(x->upstream);
    } /* E_AGAIN: client_on_writable() pulls */
}

static void upstream_on_response(struct http_stream *s, const struct http_response *r,
                                 struct str body, bool is_end)
{
    struct exchange *x = s->owner;
    struct proxy *p = x->proxy;
    struct http_response out = *r;
    out.fields = p->fields;
    out.field_n = forward_response_fields(r, p->fields);
    out.is_last = p->is_draining;
    if (exchange_has_filters(x)) {
        exchange_filter_response(x, &out);
    }
    x->header = clock_monotonic() - x->upstream_began;
    if (s->connected > x->upstream_began) {
        x->connect = s->connected - x->upstream_began;
    }
    upstream_report(&x->pick, UPSTREAM_ANSWERED, x->header);
    exchange_body_drop(x); /* nothing is tried again behind a response */
    exchange_grpc_note(x, r->fields, r->field_n);
    x->status = x->upstream_status = r->status;
    x->body_bytes = x->upstream_bytes = body.n;
    if (is_end && x->takes_trailers) {
        exchange_trailers_pass(x, s, x->client);
    }
    enum err e = x->client->ops->send_response(x->client, &out, body, is_end);
    if (e == E_LIMIT) { /* nothing of it went */
        exchange_answer(x, REASON_upstream_invalid);
        return;
    }
    x->has_responded = true;
    if (r->is_tunnel && (e == E_OK || e == E_AGAIN)) { /* now bytes flow both ways */
        x->is_tunnel = true;
        exchange_upgraded(x);
        x->is_request_ended = false;
        x->client->ops->pull(x->client);
    }
    response_went(x, e, is_end);
}

static void upstream_on_body(struct http_stream *s, struct str data, bool is_end)
{
    struct exchange *x = s->owner;
    x->body_bytes += data.n;
    x->upstream_bytes += data.n;
    if (is_end) {
        exchange_grpc_note(x, s->received.fields, s->received.n);
    }
    if (is_end && x->takes_trailers) {
        exchange_trailers_pass(x, s, x->client);
    }
    response_went(x, x->client->ops->send_body(x->client, data, is_end), is_end);
}

/* ---- the rest of what a stream tells ---- */

static void upstream_on_writable(struct http_stream *s)
{
    struct exchange *x = s->owner;
    if (!x->is_request_ended) {
        x->client->ops->pull(x->client);
    }
}

static void upstream_on_interim(struct http_stream *s, const struct http_response *r)
{
    struct exchange *x = s->owner;
    struct http_response out = *r;
    out.fields = x->proxy->fields;
    out.field_n = forward_response_fields(r, x->proxy->fields);
    x->client->ops->send_interim(x->client, &out);
}

static size_t upstream_room(struct http_stream *s)
{
    struct http_stream *client = ((struct exchange *)s->owner)->client;
    return client->ops->room == NULL ? SIZE_MAX : client->ops->room(client);
}

static const struct http_stream_events upstream_events = {
    .room = upstream_room,
    .on_interim = upstream_on_interim,
    .on_response = upstream_on_response,
    .on_body = upstream_on_body,
    .on_writable = upstream_on_writable,
    .on_closed = upstream_on_closed,
};
