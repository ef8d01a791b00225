/* filter/filter.h: the worker halves of filters: what a route does to a request before it is sent
 * on, and to every response on its way to the client, those that Lintel makes itself included. A
 * filter is one line in snapshot/filters.def, which says which of the two functions it has,
 * filter_<name>_request and filter_<name>_response. */
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
    char *scratch;       /* FILTER_SCRATCH_BYTES of room, for a Location; NULL with a response */
};

struct filter_answer {
    uint16_t status; /* 0: the reason's own */
    enum reason reason;
    struct str location; /* may be empty; valid as long as the route's shard and the scratch */
};

typedef enum filter_verdict filter_request_fn(const struct snap_shard *shard, const void *config,
                                              const struct filter_request *r,
                                              struct filter_answer *ret);

/* The fields of a response's head. Names and values that are put into it stay valid until the head
 * is sent. */
struct filter_response {
    struct field *fields;
    uint32_t field_n, field_max; /* what came and FILTER_FIELDS_MAX more: a route has each filter
                                    once, and all of them together add no more */
};

typedef void filter_response_fn(const struct snap_shard *shard, const void *config,
                                const struct filter_request *r, struct filter_response *response);

/* Takes out every field of that name. */
void filter_field_remove(struct filter_response *response, struct str name);
/* Puts one field in place of all of that name. name in lower case. */
void filter_field_set(struct filter_response *response, struct str name, struct str value);

/* Whether filters of that number have the half. */
bool filter_has_request(uint32_t number);
bool filter_has_response(uint32_t number);
/* One half of one filter of a route, which has it; explain asks them one by one. */
enum filter_verdict filter_run_one(const struct snap_host *host, const struct snap_filter *filter,
                                   const struct filter_request *r, struct filter_answer *ret);
void filter_change_one(const struct snap_host *host, const struct snap_filter *filter,
                       const struct filter_request *r, struct filter_response *response);
/* Runs a route's filters in order until one answers. */
enum filter_verdict filter_run(const struct snap_host *host, const struct snap_route *route,
                               const struct filter_request *r, struct filter_answer *ret);
/* Runs a route's filters in order over a response. */
void filter_change(const struct snap_host *host, const struct snap_route *route,
                   const struct filter_request *r, struct filter_response *response);
