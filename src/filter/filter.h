/* filter/filter.h: the worker halves of filters: what a route does to a request before it is sent
 * on. A filter is one line in snapshot/filters.def; its function is filter_<name>_run. */
#pragma once

#include "base/reason.h"
#include "http/message.h"
#include "snapshot/filters.h"

enum filter_verdict {
    FILTER_PASS,   /* go on with the next filter */
    FILTER_ANSWER, /* answer with status, reason and location below */
};

struct filter_request {
    const struct http_request *request;
};

struct filter_answer {
    uint16_t status;
    enum reason reason;
    struct str location; /* may be empty; valid as long as the route's shard */
};

typedef enum filter_verdict filter_fn(const struct snap_shard *shard, const void *config,
                                      const struct filter_request *r, struct filter_answer *ret);

/* Runs a route's filters in order until one answers. */
enum filter_verdict filter_run(const struct snap_host *host, const struct snap_route *route,
                               const struct filter_request *r, struct filter_answer *ret);
