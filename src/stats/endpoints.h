/* stats/endpoints.h: what each worker sees of each endpoint, in shared memory, for `lintel top`.
 *
 * Each worker writes a region of its own; the controller reads them all and puts together what is
 * the same endpoint of the same service. A region holds STATS_ENDPOINTS_MAX slots and no more: an
 * endpoint takes one at its first request and gives it back when it has left and is done; when all
 * are taken, what comes goes to one named "_other", where figures of several endpoints add up, and
 * is counted. A life of a slot is a version number, as in series.h: labels change only while it
 * says "being written". Figures last as long as the worker's process: a new one begins with none.
 *
 * Not here: what the figures mean for balancing (upstream/), what they look like (admin/top.h). */
#pragma once

#include "base/clock.h"
#include "stats/series.h"
#include "wire/ip.h"

enum { STATS_ENDPOINT_SERVICE_BYTES = 224 }; /* "<namespace>/<service>/<port>"; cut beyond */

struct stats_endpoint_labels {
    struct ip ip;
    uint8_t service_n;
    uint16_t port, zero[2];
    char service[STATS_ENDPOINT_SERVICE_BYTES];
};

/* By rank: workers may see an endpoint in several, then the last of these counts. */
enum stats_endpoint_state {
    STATS_ENDPOINT_OK,
    STATS_ENDPOINT_DRAINING, /* it has left; requests under way are being finished */
    STATS_ENDPOINT_PROBING,  /* ejected, and one request is finding out whether it is back */
    STATS_ENDPOINT_EJECTED,
    STATS_ENDPOINT_STATES_N
};

/* How tries of requests end: enum upstream_outcome says what each means. */
enum stats_endpoint_outcome {
    STATS_ENDPOINT_ANSWERED,
    STATS_ENDPOINT_CONNECT_FAILED,
    STATS_ENDPOINT_RESET,
    STATS_ENDPOINT_TIMEOUT,
    STATS_ENDPOINT_ABANDONED,
    STATS_ENDPOINT_OUTCOMES_N
};

struct stats_endpoint {
    alignas(64) stats_value version; /* life * 4 + 0 free, 1 being written, 2 live */
    /* what requests touch */
    stats_value in_flight; /* streams */
    stats_value connections;
    stats_value idle;        /* of the connections */
    stats_value latency_sum; /* microseconds until the heads of those answered */
    stats_value ewma;        /* microseconds; 0: its service is not balanced by latency */
    stats_value outcomes[STATS_ENDPOINT_OUTCOMES_N];
    /* what failures touch */
    stats_value failed_at;  /* monotonic; 0: never */
    stats_value failed_how; /* the last failure: enum stats_endpoint_outcome */
    stats_value state;
    stats_value until; /* ejected: when it is tried again, monotonic */
    stats_value hash;  /* of the labels */
    stats_value labels[sizeof(struct stats_endpoint_labels) / sizeof(uint64_t)];
};

struct stats_endpoint_region {
    alignas(64) stats_value used_n; /* items that were ever used */
    stats_value folded_n;           /* endpoints that share the first item at this moment */
    struct stats_endpoint items[STATS_ENDPOINTS_MAX]; /* the first is "_other" */
};

/* Where the regions begin in the area: behind those of the series. */
static inline size_t stats_endpoint_offset(uint32_t worker_n)
{
    return STATS_SERIES_OFFSET + worker_n * sizeof(struct series_region);
}

/* The region of a worker, index < worker_n. */
struct stats_endpoint_region *stats_endpoint_region(const struct stats_area *area, uint32_t index);

/* ---- the writer: a worker ---- */

struct stats_endpoint_table;

/* Empties the region, which is borrowed. Errors: E_NOMEM. */
enum err stats_endpoint_table_new(struct stats_endpoint_region *region,
                                  struct stats_endpoint_table **ret);
void stats_endpoint_table_free(struct stats_endpoint_table *t); /* t may be NULL */

/* A slot of its own with figures of zero, or "_other" when there is none. */
struct stats_endpoint *stats_endpoint_take(struct stats_endpoint_table *t, const struct ip *ip,
                                           uint16_t port, struct str service);
/* Gives it back; what it added to in_flight, connections and idle it has taken away again. */
void stats_endpoint_give(struct stats_endpoint_table *t, struct stats_endpoint *e);
/* Does e stand for several endpoints, so that only sums make sense? */
bool stats_endpoint_is_other(const struct stats_endpoint_table *t, const struct stats_endpoint *e);

/* ---- the reader: the controller ---- */

struct stats_endpoint_ref { /* one life of one slot */
    uint64_t hash, version;
    uint16_t worker, slot;
};

struct stats_endpoint_set {
    struct stats_endpoint_ref *refs; /* sorted by hash: what several workers see is together */
    size_t n;
};

/* Everything that is live, of running workers. Release with stats_endpoint_set_fini(). Errors:
 * E_NOMEM. */
enum err stats_endpoint_set_init(struct stats_endpoint_set *s, const struct stats_area *area);
void stats_endpoint_set_fini(struct stats_endpoint_set *s);

/* Its place, which another life may have taken meanwhile. */
const struct stats_endpoint *stats_endpoint_get(const struct stats_area *area,
                                                const struct stats_endpoint_ref *r);
/* False when that life is over, also for figures read before. */
bool stats_endpoint_labels_read(const struct stats_endpoint *e, const struct stats_endpoint_ref *r,
                                struct stats_endpoint_labels *ret);
