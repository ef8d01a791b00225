/* proxy/exchange.h: one request and its response, as the files of proxy/ share it. Private to
 * proxy/. */
#pragma once

#include "base/buf.h"
#include "filter/filter.h"
#include "proxy/forward.h"
#include "proxy/proxy.h"
#include "proxy/secure.h"
#include "route/match.h"

enum { BODY_KEPT_MAX = 16 * 1024 };

struct exchange {
    struct proxy *proxy;
    struct list link;
    size_t block_bytes;
    struct http_stream *client;         /* NULL once released */
    struct http_stream *upstream;       /* NULL while there is none */
    struct http_request request;        /* in our memory */
    struct route_match match;           /* match.segment is held */
    const struct snap_backend *backend; /* NULL when passed through */
    struct str service;                 /* key of the SNAP_SERVICE shard it goes to */
    uint64_t service_hash;
    struct upstream_pick pick;
    struct str first_body;   /* kept beginning of the request body */
    struct buf kept;         /* that memory, when it came in several pieces */
    bool is_first_body_kept; /* not with trailers: these are gone when a retry needs them */
    bool takes_trailers;     /* the client */
    bool is_first_end;       /* first_body is the whole body */
    bool is_request_ended;   /* the client has sent all */
    bool is_request_started; /* body bytes beyond first_body have gone upstream, and are gone */
    bool is_grpc;
    bool has_grpc_status;
    uint8_t grpc_status;    /* what the response says, ours or the endpoint's */
    bool has_responded;     /* the response head is on its way to the client */
    bool is_refused_plain;  /* the host is not served without TLS */
    bool is_passed_through; /* no request: a connection whose bytes go on as they are */
    bool is_tunnel;         /* that, or after a 101: each side ends its half by itself */
    bool is_websocket;      /* that was opened */
    bool is_response_ended; /* a tunnel whose endpoint has ended its half */
    uint8_t tries;          /* that reached an endpoint, or may have */
    uint8_t refusals;       /* connections refused */
    uint8_t refusals_max;   /* as many as there were endpoints */
    uint16_t status, upstream_status;
    enum reason reason;
    struct ip upstream_ip;
    uint16_t upstream_port;
    struct forward_origin origin;
    struct timer deadline; /* of gRPC: the client's own */
    usec_t began, upstream_began;
    usec_t connect, header; /* of the last try, from upstream_began */
    uint64_t request_bytes, request_body_bytes, body_bytes, upstream_bytes;
    char request_id[REQUEST_ID_BYTES];
    size_t request_id_n; /* 0: the client's is in the request */
    struct str client_request_id;
};

/* ---- exchange.c ---- */

/* The only way out: releases what is still held, logs, counts, frees. */
void exchange_end(struct exchange *x);
/* Ends it in the middle of a response, or when its client is gone. */
void exchange_cut(struct exchange *x, enum reason why);
/* Ends it with a response of our own; before any other response only. */
void exchange_answer(struct exchange *x, enum reason why);
/* What came behind one side's body goes behind the other's. */
void exchange_trailers_pass(struct exchange *x, const struct http_stream *from,
                            struct http_stream *to);

/* ---- try.c ---- */

/* Opens a stream to an endpoint and sends the request; before: why the last one broke, REASON_none
 * the first time. Ends the exchange when that cannot be. */
void exchange_try(struct exchange *x, enum reason before);

/* ---- request.c ---- */

/* What exchange_request_copy() needs behind the exchange. */
size_t exchange_request_bytes(const struct http_request *r, struct str body);
/* Copies the request: head bytes, fields, and with is_first_body_kept the body's first piece. */
void exchange_request_copy(struct exchange *x, const struct http_request *r, struct str body);
/* One more piece of the body is about to go upstream. */
void exchange_body_keep(struct exchange *x, struct str data, bool is_end);
/* It is not needed any more. */
void exchange_body_drop(struct exchange *x);

/* The client's, or one of our own. */
void exchange_id_set(struct exchange *x);
/* For request ids and backend picks, never for secrets. */
uint64_t exchange_random(struct proxy *p);

/* ---- grpc.c ---- */

/* The grpc-status among these fields of a response, if it is one of gRPC. */
void exchange_grpc_note(struct exchange *x, const struct field *fields, uint32_t n);
void exchange_grpc_count(const struct exchange *x);

/* ---- record.c ---- */
/* Room for a head in proxy.fields, with what is added to it; trailers have theirs behind. */
enum { HEAD_ROOM = HEAD_FIELDS_MAX + FORWARD_ADDED_MAX + FILTER_FIELDS_MAX };

/* NULL as long as there is no configuration. */
const struct snap_global *global_of(const struct proxy *p);
/* Most routes have none: this look is all that they pay. */
static inline bool exchange_has_filters(const struct exchange *x)
{
    return x->match.route != NULL && x->match.route->filters.n > 0;
}
/* Asks the filters of the route, of which there are some. scratch: FILTER_SCRATCH_BYTES. */
enum filter_verdict exchange_filter_request(const struct exchange *x, char *scratch,
                                            struct filter_answer *ret);
/* Makes response what the filters of the route, of which there are some, want it to be; its fields
 * move to proxy.fields. */
void exchange_filter_response(const struct exchange *x, struct http_response *response);

/* The id that goes upstream and into the log. */
struct str exchange_id(const struct exchange *x);
/* The endpoint has switched protocols: counts what it is. */
void exchange_upgraded(struct exchange *x);
/* Writes the exchange's line and counts it; before its streams are released. now: monotonic. */
void exchange_record(struct exchange *x, usec_t now);
/* The same for bytes that did not become a request: an on_rejected of struct http_handler. */
void proxy_on_rejected(struct http_handler *h, const struct http_peer *peer, struct str start,
                       enum reason why);
