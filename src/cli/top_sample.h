/* cli/top_sample.h: one answer of /debug/top (admin/top.h), and what happened between two. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"

enum { TOP_CLASSES_N = 6, TOP_BUCKETS_MAX = 32, TOP_BYTES_MAX = 64 << 20 };

/* The formatter would move one line of this list at each run. */
/* clang-format off */
#define TOP_SCALARS(X) \
    X(time_us) X(generation) X(behind_us) X(lag_last_us) X(lag_most_us) X(requests) X(in_flight) \
    X(bytes_in) X(bytes_out) X(retries) X(connections_active) X(connections_idle) \
    X(upstream_busy) X(upstream_idle) X(upstream_ejected) X(routes_left_out) X(endpoints_left_out) \
    X(errors) X(warnings) X(saved_age_us)
/* Counted, then those of the moment. */
#define TOP_ENDPOINT_COUNTERS(X) \
    X(answered) X(connect) X(reset) X(timeout) X(abandoned) X(latency_sum_us)
#define TOP_ENDPOINT_GAUGES(X) \
    X(ejected_for_us) X(workers) X(workers_ejecting) X(ewma_us) X(in_flight) X(connections_busy) \
    X(connections_idle)
/* clang-format on */

enum top_scalar {
#define X(name) TOP_##name,
    TOP_SCALARS(X)
#undef X
        TOP_SCALARS_N
};

enum top_endpoint_number {
#define X(name) TOP_ENDPOINT_##name,
    TOP_ENDPOINT_COUNTERS(X) TOP_ENDPOINT_GAUGES(X)
#undef X
        TOP_ENDPOINT_NUMBERS_N,
    TOP_ENDPOINT_COUNTERS_N = TOP_ENDPOINT_latency_sum_us + 1
};
extern const char *const top_endpoint_names[TOP_ENDPOINT_NUMBERS_N];

struct top_histogram { /* bucket i holds what is <= bounds[i], the last one the rest */
    uint64_t counts[TOP_BUCKETS_MAX];
    size_t n;
};

struct top_route {
    struct str namespace_name, ingress, service, host, path;
    uint64_t classes[TOP_CLASSES_N];
    uint64_t sent_bytes;
    struct top_histogram duration;
};

struct top_endpoint {
    struct str address; /* empty: those that a worker has no room to show one by one */
    struct str service, state, last_failure;
    uint64_t numbers[TOP_ENDPOINT_NUMBERS_N];
};

struct top_reason {
    struct str name;
    uint64_t count;
};

struct top_process {
    struct str name;
    bool is_running;
    uint64_t pid, cpu_us, resident_bytes, restarts;
};

struct top_resource { /* of the API server that Lintel follows */
    struct str name;
    bool is_healthy;
    uint64_t objects;
    usec_t silence;
};

/* Everything points into the arena. As read: counted since the start of Lintel. */
struct top_sample {
    struct arena arena;
    struct str version;
    bool is_draining;
    uint64_t scalars[TOP_SCALARS_N];
    uint64_t classes[TOP_CLASSES_N];
    struct top_histogram duration, bounds;
    struct top_route *routes;
    struct top_endpoint *endpoints;
    struct top_reason *reasons;
    struct top_process *processes;
    struct top_resource *resources;
    size_t route_n, endpoint_n, reason_n, process_n, resource_n;
};

/* Zeroed memory is an empty sample. Errors: E_PROTO (not such an answer), E_NOMEM. */
enum err top_sample_parse(struct str json, struct top_sample *ret);
void top_sample_fini(struct top_sample *s);

/* Turns what is counted in now into what came since before; what is true at a moment stays, and so
 * do the counts since the start in reason_totals, which has room for now->reason_n. A counter that
 * fell began anew; of an endpoint, which several workers count, that leaves unknown what came.
 * Routes with the most requests come first; of the endpoints those that are ejected, then those
 * with the most failures, then requests. Gives the time between the two. */
usec_t top_sample_since(struct top_sample *now, const struct top_sample *before,
                        uint64_t *reason_totals);

/* Tries of requests; those of them that failed. */
uint64_t top_endpoint_requests(const struct top_endpoint *e);
uint64_t top_endpoint_failures(const struct top_endpoint *e);
/* The mean time until a response head; 0: there was none. */
usec_t top_endpoint_latency(const struct top_endpoint *e);

uint64_t top_histogram_n(const struct top_histogram *h);
/* The duration that percent of the requests did not exceed, in a line between the bounds of its
 * bucket; the last bound when it was longer; 0 when there was no request. */
usec_t top_percentile(const struct top_histogram *h, const struct top_histogram *bounds,
                      unsigned percent);
