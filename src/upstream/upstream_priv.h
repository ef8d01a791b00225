/* upstream/upstream_priv.h: what the files of this folder share.
 *
 *   upstream.c   the set; opening and reporting one try
 *   service.c    services and their endpoints over generations
 *   balance.c    whose turn it is
 *   health.c     endpoints that fail are ejected, and come back
 *   pool.c       connections of an endpoint
 *
 * Invariants: an endpoint of a service is either ready (slot < service.ready_n, ready[slot] is it)
 * or ejected (in service.ejected); at least half of a service's endpoints are ready. An endpoint
 * that has left (service == NULL) is in set.gone while it has connections, then in set.over until
 * the next update, so that a request that has just failed may still compare it. */
#pragma once

#include "upstream/upstream.h"

#include "base/limits.h"
#include "base/mem.h"
#include "wire/ip.h"

#define SLOT_NONE UINT32_MAX

struct upstream_endpoint {
    struct upstream_set *set;
    struct service *service; /* NULL: it has left */
    struct ip ip;
    uint16_t port;
    uint32_t weight;
    struct stats_endpoint *shown; /* what others see of it; NULL: it never had a request */
    struct list link;             /* in service.ejected, set.gone or set.over */

    uint32_t conn_n, idle_n;
    uint32_t stream_n; /* requests under way */
    struct list idle;  /* connections that can take a stream; the warmest in front */
    struct list busy;
    struct list room;    /* busy ones that can take a further stream, by their idle_link */
    uint32_t stream_max; /* what its connections took last; 0 = not known yet */

    uint32_t slot; /* in service.ready, or SLOT_NONE */
    uint64_t turn; /* weighted: virtual time of its next turn; least connections: number of its last
                      pick. Wraps around. */
    double latency;     /* of response heads, in microseconds, at measured_at; 0 = never measured */
    usec_t measured_at; /* when latency last changed */

    uint8_t failure_n;  /* in a row, up to UPSTREAM_FAILURES_MAX */
    uint8_t ejection_n; /* in a row */
    bool is_ejected;
    usec_t until;   /* ejected: when the next request may probe it */
    usec_t back_at; /* when it last came back */
};

enum policy { ROTATE, WEIGHTED, LEAST_CONN, LATENCY };

struct service {
    struct upstream_set *set;
    struct str key; /* owned, behind the struct */
    uint64_t hash;
    struct http_dialer *dialer;           /* taken; NULL: not yet */
    struct upstream_endpoint **endpoints; /* sorted as in the shard */
    struct upstream_endpoint **ready;     /* behind them; a heap when weighted or by connections */
    uint32_t endpoint_n, ready_n;
    enum policy policy;
    uint32_t next;  /* rotation: slot of the last pick */
    uint64_t turn;  /* of the last pick */
    double latency; /* the mean, for endpoints that were never measured */
    usec_t measured_at;
    struct list ejected; /* endpoint.link, by until */
    uint32_t ejected_n;
};

struct upstream_set {
    const struct snapshot *snapshot;
    struct upstream_dialers *dialers;
    const struct snap_settings *settings;
    struct stats_page *stats;
    struct stats_endpoint_table *shown;
    struct map services;
    struct list gone, over; /* endpoint.link */
    struct list idle;       /* http_conn.idle_link of all idle connections; the coldest in front */
    uint32_t idle_n;
    uint32_t seed;
    uint64_t random;
    bool is_closing;
};

/* ---- pool.c ---- */

void pool_init(struct upstream_endpoint *e);
/* e is about to be freed; it has no connection. */
void pool_fini(struct upstream_endpoint *e);
/* A stream on a kept-alive connection, or a new one. Errors: as upstream_open(). */
enum err pool_open(struct upstream_endpoint *e, const struct upstream_ask *ask,
                   struct upstream_pick *ret);
void pool_close_idle(struct upstream_endpoint *e);
/* Busy ones too. */
void pool_close_all(struct upstream_endpoint *e);

/* ---- balance.c ---- */

/* Fills service.ready from its endpoints, for the given policy. Endpoints that were ready keep
 * their turns while the policy stays. */
void balance_start(struct service *service, enum policy policy);
/* e gets ready, behind those that are. There is room: e is one of the service's endpoints. */
void balance_join(struct service *service, struct upstream_endpoint *e);
void balance_leave(struct service *service, struct upstream_endpoint *e);
/* e->stream_n has changed. */
void balance_load_changed(struct upstream_endpoint *e);
/* ready_n > 0. avoid may be NULL or nobody's. */
struct upstream_endpoint *balance_pick(struct service *service,
                                       const struct upstream_endpoint *avoid, usec_t now);
/* A response head, or the end of patience, took this long. */
void balance_measure(struct upstream_endpoint *e, usec_t sample, bool is_answer, usec_t now);

/* ---- health.c ---- */

/* A try succeeded or failed. */
void health_succeeded(struct upstream_endpoint *e, bool is_probe, usec_t now);
void health_failed(struct upstream_endpoint *e, bool is_probe, usec_t now);
/* A probe ended without telling anything. */
void health_probe_void(struct upstream_endpoint *e, usec_t now);
/* An ejected endpoint whose time is over, for one request; NULL: none. */
struct upstream_endpoint *health_probe(struct service *service, usec_t now);
/* e leaves the service: it is draining, and no longer counted as ejected. */
void health_leave(struct upstream_endpoint *e);
/* After a change of the endpoints, before balance_start(): nobody beyond the share stays ejected.
 */
void health_fit(struct service *service);

/* ---- service.c ---- */

/* Made at the first request for it. Errors: E_NOTFOUND, E_NOMEM. */
enum err service_get(struct upstream_set *s, struct str key, uint64_t hash, struct service **ret);
void service_free(struct service *service);
/* Frees the endpoints in s->over. */
void service_sweep(struct upstream_set *s);
/* e has lost a connection: when it has left and that was the last one, it is over. */
void endpoint_end_if_over(struct upstream_endpoint *e);
