/* worker/upstream_tls.h: dialers of services whose endpoints are spoken to over TLS, one for each
 * service and what its shard says: trust, certificate and sessions of one are no business of
 * another, nor is one protocol's of the other. A dialer is the same one as long as nothing of that
 * changes, so that connections and sessions live across generations that only change endpoints.
 * What it takes of the snapshots (authorities, our certificate, its key) is looked up by the first
 * connection, and until it is all there, by each: keys come by a stream of their own. Private to
 * worker/. */
#pragma once

#include "base/hash.h"
#include "http1/client.h"
#include "http2/client.h"
#include "snapshot/snapshot.h"
#include "tls/client.h"

struct upstream_tls {
    struct http1_context *http1;
    struct http2_context *http2;
    struct tls_shared *shared;
    const struct snapshot *routes, *secrets;
    struct stats_page *stats;
    struct map dialers; /* of struct tls_dialer, by hash of what they were made from */
    struct list given;  /* those that no service has at present */
    struct timer sweep; /* armed while there are some */
    struct buf facts;   /* working space */
    struct http_dialer unable, refusing;
};

/* Borrows everything for its life. */
void upstream_tls_init(struct upstream_tls *u, struct http1_context *http1,
                       struct http2_context *http2, struct tls_shared *shared,
                       const struct snapshot *routes, const struct snapshot *secrets,
                       struct stats_page *stats);
/* After the last connection. */
void upstream_tls_fini(struct upstream_tls *u);
/* As upstream_dialers.take and give, for a service with is_tls. dial() of the result gives E_PROTO
 * without connecting when what TLS needs is not there. */
struct http_dialer *upstream_tls_take(struct upstream_tls *u, const struct snap_service *s);
void upstream_tls_give(struct upstream_tls *u, struct http_dialer *dialer);
