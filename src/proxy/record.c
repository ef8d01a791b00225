/* What remains of an exchange: its line in the access log, its share in the counters. */
#include "proxy/exchange.h"

#include "event/transport.h"

struct str exchange_id(const struct exchange *x)
{
    return x->request_id_n == 0 ? x->client_request_id : str_make(x->request_id, x->request_id_n);
}

static void count_status(struct stats_page *stats, uint16_t status)
{
    stats_value *const classes[] = {&stats->responses_1xx, &stats->responses_2xx,
                                    &stats->responses_3xx, &stats->responses_4xx,
                                    &stats->responses_5xx};
    if (status >= 100 && status < 600) {
        stats_add(classes[status / 100 - 1], 1);
    }
}

enum { UPSTREAM_NAME_BYTES = 384 };

/* "<namespace>-<service>-<port>" out of a key, which may have a variant behind that. */
static struct str upstream_name(struct str key, char *room)
{
    struct wr w = wr_make(room, UPSTREAM_NAME_BYTES);
    struct str part;
    for (int i = 0; i < 3 && key.n > 0; i++) {
        (void)str_cut(key, '/', &part, &key); /* the last one may have nothing behind it */
        wr_str(&w, i == 0 ? STR_EMPTY : STR("-"));
        wr_str(&w, part);
    }
    return str_make(room, wr_n(&w));
}

/* tls may be NULL. */
static void entry_set_tls(struct access_entry *e, const struct transport_tls *tls)
{
    if (tls == NULL) {
        return;
    }
    e->is_tls = true;
    e->is_session_reused = tls->is_resumed;
    e->tls_version = tls->version;
    e->tls_cipher = tls->cipher;
    e->server_name = tls->server_name;
    e->client_verdict = tls->client == NULL ? STR("NONE") : tls->client->verdict;
}

static void exchange_log(struct exchange *x, usec_t now)
{
    struct proxy *p = x->proxy;
    char room[UPSTREAM_NAME_BYTES];
    if (p->log->format == ACCESS_LOG_OFF) {
        return;
    }
    const struct http_request *r = &x->request;
    struct access_entry e = {
        .client = x->origin.client,
        .method = r->method,
        .target = r->target,
        .authority = r->authority,
        .request_id = exchange_id(x),
        .version = r->version,
        .status = x->status == 0 ? 499 : x->status,
        .request_bytes = x->request_bytes,
        .body_bytes = x->body_bytes,
        .duration = now - x->began,
        .has_upstream = x->tries > 0,
        .upstream_ip = x->upstream_ip,
        .upstream_port = x->upstream_port,
        .upstream_status = x->upstream_status,
        .upstream_bytes = x->upstream_bytes,
        .upstream_duration = x->tries > 0 ? now - x->upstream_began : 0,
        .reason = x->reason,
        .has_grpc_status = x->has_grpc_status,
        .grpc_status = x->grpc_status,
    };
    entry_set_tls(&e, r->peer->tls);
    (void)http_field_get(r->fields, r->field_n, FIELD_referer, &e.referer);
    (void)http_field_get(r->fields, r->field_n, FIELD_user_agent, &e.user_agent);
    if (x->match.route != NULL) {
        e.route_namespace = snap_str_get(x->match.host, x->match.route->owner_namespace);
        e.route_name = snap_str_get(x->match.host, x->match.route->owner_name);
    }
    if (x->backend != NULL) {
        e.upstream_name = snap_str_get(x->match.host, x->backend->log_name);
    } else if (x->is_passed_through) {
        e.upstream_name = upstream_name(x->service, room);
    }
    access_log_write(p->log, &e, clock_wall());
}

static void exchange_count(struct exchange *x, usec_t now)
{
    bool has_route = x->match.route != NULL;
    bool has_upstream = x->tries > 0;
    struct series_key key = {
        .host = has_route ? x->match.host : NULL,
        .route = x->match.route,
        .backend = x->backend,
        .generation = has_route ? snapshot_segment_header(x->match.segment)->generation : 0,
        .method = x->request.method,
        .status = x->status == 0 ? 499 : x->status,
        .reason = x->reason,
    };
    struct series_sample sample = {
        .now = now,
        .duration = now - x->began,
        .connect = has_upstream ? x->connect : SERIES_NONE,
        .header = x->upstream_status != 0 ? x->header : SERIES_NONE,
        .response = x->upstream_status != 0 ? now - x->upstream_began : SERIES_NONE,
        .request_bytes = x->request_bytes,
        .response_bytes = x->body_bytes,
    };
    /* Tunnels last for hours and are no requests: they would only spoil what is said of these. */
    if (x->proxy->series != NULL && !x->is_passed_through) {
        series_record(x->proxy->series, &key, &sample);
    }
}

void exchange_upgraded(struct exchange *x)
{
    struct stats_page *stats = x->proxy->stats;
    bool is_http2 = x->request.version == 20;
    x->is_websocket = str_eq_nocase(x->request.upgrade, STR("websocket"));
    if (x->is_websocket) {
        stats_add(is_http2 ? &stats->websockets_http2 : &stats->websockets_http1, 1);
        stats_add(is_http2 ? &stats->websockets_now_http2 : &stats->websockets_now_http1, 1);
    }
}

static void websocket_end(const struct exchange *x)
{
    struct stats_page *stats = x->proxy->stats;
    bool is_http2 = x->request.version == 20;
    if (x->is_websocket) {
        stats_sub(is_http2 ? &stats->websockets_now_http2 : &stats->websockets_now_http1, 1);
    }
}

void exchange_record(struct exchange *x, usec_t now)
{
    struct stats_page *stats = x->proxy->stats;
    exchange_log(x, now);
    exchange_count(x, now);
    websocket_end(x);
    stats_add(&stats->requests, 1);
    stats_sub(&stats->requests_in_flight, 1);
    count_status(stats, x->status);
    if (x->is_grpc) {
        exchange_grpc_count(x);
    }
    if (x->reason != REASON_none) {
        stats_add(&stats->reasons[x->reason], 1);
    }
}

void proxy_on_rejected(struct http_handler *h, const struct http_peer *peer, struct str start,
                       enum reason why)
{
    struct proxy *p = container_of(h, struct proxy, handler);
    struct access_entry e = {
        .client = peer->ip,
        .target = str_first(start, str_find(start, '\r')),
        .version = 11,
        .status = reason_status(why),
        .request_bytes = start.n,
        .reason = why,
    };
    entry_set_tls(&e, peer->tls);
    stats_add(&p->stats->requests, 1);
    stats_add(&p->stats->reasons[why], 1);
    count_status(p->stats, e.status);
    access_log_write(p->log, &e, clock_wall());
}
