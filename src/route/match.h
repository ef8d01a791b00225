/* route/match.h: which route serves a request. Used by the workers and, word for word, by explain.
 * Source: Ingress v1 (networking.k8s.io): most specific host, longest path, Exact before Prefix. */
#pragma once

#include "snapshot/snapshot.h"

/* What is asked. host: lower case, without port or trailing dot, may be empty. path: normalised
 * (wire/uri.h), begins with '/'. query: raw, without '?', may be empty. */
struct route_query {
    struct str table;
    struct str host;
    struct str path;
    struct str method;
    struct str query;
    /* Field lookup by lower-case name for header conditions; false when there is none. */
    bool (*field)(const void *arg, struct str name, struct str *ret_value);
    const void *field_arg;
};

struct route_match {
    const struct snap_host *host;     /* the shard that holds the route */
    const struct snap_route *route;   /* NULL: no route */
    struct snapshot_segment *segment; /* borrowed; ref it to keep host and route */
    bool is_default;                  /* by default_route, not by a path */
};

/* Why a candidate lost or won; explain prints it. */
enum route_verdict {
    ROUTE_WON,
    ROUTE_LESS_SPECIFIC, /* would match, but something more specific won */
    ROUTE_PATH_DIFFERS,
    ROUTE_CONDITION_FAILS,
};

typedef void route_trace_fn(void *arg, const struct snap_host *host, const struct snap_route *route,
                            enum route_verdict verdict);

/* Fills *ret; ret->route is NULL when nothing matches. Never allocates.
 * Cost: one table lookup for each candidate host, O(log paths + depth) in each. */
void route_match(const struct snapshot *s, const struct route_query *q, struct route_match *ret);
/* The same decision; also tells trace about every route of every candidate host. */
void route_explain(const struct snapshot *s, const struct route_query *q, struct route_match *ret,
                   route_trace_fn *trace, void *arg);
/* The backend for a ticket in [0, route->weight_sum); NULL when weight_sum is 0. */
const struct snap_backend *route_backend(const struct route_match *m, uint32_t ticket);
