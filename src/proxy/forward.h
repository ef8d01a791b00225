/* proxy/forward.h: who the client is, which fields go on to the next hop, and which are added.
 * Private to proxy/. RFC 9110 section 7.6; the added ones as ingress-nginx sends them. */
#pragma once

#include "http/stream.h"
#include "snapshot/schema.h"

enum { FORWARD_ADDED_MAX = 17, REQUEST_ID_BYTES = 32 };

/* Where a request really comes from: the connection's peer or, when that is a trusted proxy, what
 * it says in X-Forwarded-*. The strs point into the request. */
struct forward_origin {
    struct ip client;
    struct str scheme, host, port;              /* port is empty: the listener's */
    struct str forwarded_for;                   /* as it came; empty = did not */
    const struct transport_client *certificate; /* that the client has shown, where the host asks
                                                   for one; NULL: it does not */
    bool is_believed; /* the peer is a trusted proxy, and what it says of clients counts */
};

/* global: the present configuration, or NULL: nobody is believed. */
void forward_origin_find(const struct http_request *r, const struct snap_global *global,
                         struct forward_origin *ret);

struct forward_text { /* what added fields point to */
    char client[IP_TEXT_MAX];
    char port[8];
    char forwarded_for[1024];
};

/* Writes the fields of r that go on to out (room: r->field_n + FORWARD_ADDED_MAX) and those that
 * are added; returns how many. request_id: the one to send. text must outlive out. */
uint32_t forward_request_fields(const struct http_request *r, const struct forward_origin *origin,
                                const struct snap_global *global, struct str request_id,
                                struct forward_text *text, struct field *out);
/* The same for a response. */
uint32_t forward_response_fields(const struct http_response *r, struct field *out);
/* False when one of the protocols is HTTP/2 or TLS: a tunnel of these would lead requests past us
 * (h2c smuggling); RFC 9110 section 7.8 lets us ignore Upgrade. */
bool forward_may_upgrade(struct str upgrade);
/* Those of the trailers that may go on: none that frames, routes or is ours to say. out has room
 * for in->n. RFC 9110 section 6.5.1. */
struct http_trailers forward_trailers(const struct http_trailers *in, struct field *out);
/* True when TE says that trailers are welcome: RFC 9110 section 10.1.4. */
bool forward_takes_trailers(const struct http_request *r);
