/* filter/filter.h: the worker halves of filters: what a route does to a request before it is sent
 * on. A filter is one line in snapshot/filters.def; its function is filter_<name>_request. */
#pragma once

#include "base/limits.h"
#include "base/reason.h"
#include "http/message.h"
#include "snapshot/filters.h"

/* What a Location may need: a target and a host out of one head, and what is around them. */
enum { FILTER_SCRATCH_BYTES = HEAD_BYTES_MAX + 32 };

enum filter_verdict {
    FILTER_PASS,   /* go on with the next filter */
    FILTER_ANSWER, /* answer with status, reason and location below */
};

/* What filters look at. The caller makes it only for routes that have filters. */
struct filter_request {
    const struct http_request *request;
    const struct snap_global *global; /* or NULL: there is no configuration */
    /* As the client has it: what a trusted proxy says of it counts. */
    struct str scheme;   /* "http" or "https" */
    struct str host;     /* host[:port], unchecked when a proxy said it; may be empty */
    uint16_t https_port; /* of our listener "https"; 0: there is none */
    char *scratch;       /* FILTER_SCRATCH_BYTES of room, for a Location */
};

struct filter_answer {
    uint16_t status; /* 0: the reason's own */
    enum reason reason;
    struct str location; /* may be empty; valid as long as the route's shard and the scratch */
};

typedef enum filter_verdict filter_request_fn(const struct snap_shard *shard, const void *config,
                                              const struct filter_request *r,
                                              struct filter_answer *ret);

/* One filter of a route; explain asks them one by one. */
enum filter_verdict filter_run_one(const struct snap_host *host, const struct snap_filter *filter,
                                   const struct filter_request *r, struct filter_answer *ret);
/* Runs a route's filters in order until one answers. */
enum filter_verdict filter_run(const struct snap_host *host, const struct snap_route *route,
                               const struct filter_request *r, struct filter_answer *ret);
