/* admin/handler.h: the health port: /healthz, /readyz, /metrics and, for the loopback only,
 * /debug/explain, /debug/dump, /debug/certs, /debug/diagnostics and /debug/top. A struct
 * http_handler: the HTTP itself is http1/. Read-only: GET and HEAD. Not here: accepting connections
 * (listener.h), what the views show (explain.h, metrics.h). */
#pragma once

#include "admin/certs.h"
#include "admin/metrics_series.h"
#include "event/loop.h"
#include "http/stream.h"

enum { ADMIN_BODY_BYTES_MAX = 64 << 20 }; /* a view that is longer is refused with 500 */

/* What the controller shows. All functions get arg. */
struct admin_views {
    void *arg;
    const struct stats_area *stats;
    struct loop *loop; /* long answers are made a piece in each tick */
    /* Fills everything but stats, which is set. */
    void (*metrics)(void *arg, struct metrics_input *in);
    /* Adds metrics of others, called with further_arg; or NULL. */
    void (*further_metrics)(void *further_arg, struct buf *out);
    void *further_arg;
    /* What explain may look at; valid during the request. */
    struct explain_world (*world)(void *arg);
    /* Adds the snapshot as text or JSON. */
    void (*dump)(void *arg, bool is_json, struct buf *out);
    /* What the page of certificates may look at, as it is now. */
    struct certs_world (*certs)(void *arg);
    /* Calls fn for each present diagnostic. Errors: E_NOMEM. */
    enum err (*each_diag)(void *arg, diag_fn *fn, void *fn_arg);
};

struct admin_handler {
    struct http_handler http; /* first */
    const struct admin_views *views;
    uint32_t scrape_n;  /* answers that hold a scrape */
    struct list making; /* answers whose page is being made; one has its turn in each tick */
    struct deferred turn;
};

/* Borrows views. */
void admin_handler_init(struct admin_handler *h, const struct admin_views *views);

struct admin_response {
    uint16_t status;
    const char *type;    /* of the body */
    const char *outcome; /* x-lintel-outcome of /debug/explain: "served", "refused"; or NULL */
    struct buf body;
    struct metrics_scrape *scrape; /* what comes behind body; NULL: nothing */
    struct certs_page *page;       /* makes body, before anything is sent; NULL: body is made */
};

/* Forgets scrape and page, if there is one. */
void admin_response_drop_rest(struct admin_response *r);
/* Instead of what it has: 500, for want of memory. */
void admin_response_fail(struct admin_response *r);

/* What the handler answers to one request; the pure half of it. peer NULL counts as a stranger.
 * The caller inits response->body and frees it, scrape and page. */
void admin_respond(const struct admin_views *views, const struct http_request *r,
                   struct admin_response *response);

/* One diagnostic as an element of a JSON array; a diag_fn, json is the struct json. */
void admin_diag_json(void *json, const struct diag *d);

/* All workers have a generation and nobody drains. Adds why not to out. */
bool admin_is_ready(const struct stats_area *stats, struct buf *out);
