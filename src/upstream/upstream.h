/* upstream/upstream.h: where requests go: services with their endpoints and kept-alive connections.
 * Keyed by stable identity (the snapshot's service key, the endpoint's address and port), so that
 * they live across generations: a new generation changes the endpoints in place; connections,
 * latencies and ejections of endpoints that stay are kept; endpoints that left get no new request,
 * their idle connections are closed at once, busy ones when they are done. One set for each worker;
 * others see only figures (stats/endpoints.h). Knows no protocol version: connections come from the
 * struct http_dialer that each service is given.
 * Time is passed in (monotonic); the set never looks at a clock. */
#pragma once

#include "base/clock.h"
#include "http/stream.h"
#include "snapshot/snapshot.h"
#include "stats/endpoints.h"

struct upstream_set;
struct upstream_endpoint;

/* Who knows how endpoints are spoken to. */
struct upstream_dialers {
    /* A service is made, or its shard has changed: the dialer for its endpoints. While it is the
     * same one as before, connections are kept. NULL: out of memory. */
    struct http_dialer *(*take)(struct upstream_dialers *d, const struct snap_service *s);
    /* For each take(), once: no further dial by this service. Connections that stand may live on.
     */
    void (*give)(struct upstream_dialers *d, struct http_dialer *dialer);
};

/* Borrows everything for the set's life; settings are those of now. shown: where others see the
 * state of endpoints. seed: where round robin begins and what chance begins with, so that workers
 * do not march in step. Errors: E_NOMEM. */
enum err upstream_set_new(const struct snapshot *snapshot, struct upstream_dialers *dialers,
                          const struct snap_settings *settings, struct stats_page *stats,
                          struct stats_endpoint_table *shown, uint32_t seed,
                          struct upstream_set **ret);
/* Closes every connection, busy ones too: their streams get on_closed, and whoever then asks for
 * another one gets E_NOTFOUND. s may be NULL. */
void upstream_set_free(struct upstream_set *s);
/* Tells of a changed or deleted SNAP_SERVICE shard; shard is NULL when it is gone. */
void upstream_set_update(struct upstream_set *s, struct str key, const struct snap_service *shard);

/* ---- one try of a request ---- */

struct upstream_ask {
    struct str service; /* key of its SNAP_SERVICE shard */
    uint64_t service_hash;
    usec_t now;
    const struct upstream_endpoint *avoid; /* the one that a retry comes from: taken only when there
                                              is no other; NULL = none */
    bool is_next; /* the one behind avoid, not whose turn it is: who goes on asking so, asks all */
    bool is_elsewhere;  /* never to avoid, even when there is no other */
    usec_t fresh_since; /* for the try after a kept-alive connection was found dead: none that was
                           opened up to then, nor an idle one; 0 = any */
};

/* One chosen endpoint and a stream to it. */
struct upstream_pick {
    struct http_stream *stream;
    const struct upstream_endpoint *endpoint; /* valid until the first upstream_set_update() after
                                                 the stream's end */
    uint32_t endpoint_n;                      /* of the service, when it was picked */
    bool is_reused; /* the connection has served before: it may have died unnoticed */
    bool is_probe;  /* the endpoint is ejected; this request finds out whether it is back */
    usec_t began;   /* ask.now */
    struct upstream_endpoint *unreported; /* upstream_report()'s; NULL once it was called */
};

/* Picks an endpoint by the service's way of balancing and opens a stream to it: on the warmest
 * kept-alive connection, else on a new one. Endpoints that refuse at once are passed over. O(1) for
 * round robin and latency, O(log endpoints) with weights and for least connections; allocates
 * nothing but new connections. Errors: E_NOTFOUND (no such service, or no endpoint), E_REFUSED (all
 * refused at once), E_LIMIT (descriptors, ports), E_PROTO (TLS to the service lacks something),
 * E_NOMEM, E_SYS. */
enum err upstream_open(struct upstream_set *s, const struct upstream_ask *ask,
                       struct upstream_pick *ret);

enum upstream_outcome {
    UPSTREAM_ANSWERED = STATS_ENDPOINT_ANSWERED, /* a response head came, whatever its status */
    UPSTREAM_CONNECT_FAILED =
        STATS_ENDPOINT_CONNECT_FAILED,     /* refused, unreachable, not in time, or TLS failed */
    UPSTREAM_RESET = STATS_ENDPOINT_RESET, /* closed before a response */
    UPSTREAM_TIMEOUT = STATS_ENDPOINT_TIMEOUT, /* silent for too long before a response */
    UPSTREAM_ABANDONED =
        STATS_ENDPOINT_ABANDONED /* ended by somebody else: says nothing about the endpoint */
};

/* What a stream's on_closed before any response says about the endpoint. */
enum upstream_outcome upstream_outcome_of(enum reason why);
/* Tells how a try went, elapsed after pick.began. Only the first call for a pick counts, and a
 * zeroed pick is fine, so that every way out may call it. Call it before the stream is released, or
 * inside its on_closed. */
void upstream_report(struct upstream_pick *pick, enum upstream_outcome outcome, usec_t elapsed);

struct ip upstream_endpoint_ip(const struct upstream_endpoint *e);
uint16_t upstream_endpoint_port(const struct upstream_endpoint *e);
