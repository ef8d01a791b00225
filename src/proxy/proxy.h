/* proxy/proxy.h: requests in, routed, sent on, answered: the http_handler of a worker. One exchange
 * is one request with its response; it never names a protocol version.
 * Not here: connections (http1/), endpoints (upstream/), matching (route/). */
#pragma once

#include "event/loop.h"
#include "http/budget.h"
#include "http/stream.h"
#include "log/access.h"
#include "regex/cache.h"
#include "snapshot/snapshot.h"
#include "stats/series.h"
#include "upstream/upstream.h"

struct proxy_block;

struct proxy {
    struct http_handler handler; /* what the protocols call */

    /* borrowed; the caller sets these before proxy_init() */
    struct loop *loop;
    const struct snapshot *snapshot;
    struct upstream_set *upstreams;
    struct stats_page *stats;
    struct series_table *series; /* or NULL: requests are not counted by route */
    struct access_log *log;
    const struct snap_settings *settings; /* as of now */
    struct http_budget *budget;
    uint16_t https_port; /* of the listener "https"; 0: there is none */

    bool is_draining;            /* responses say that the connection ends */
    struct list exchanges;       /* in flight */
    struct regex_cache patterns; /* for names of clients */
    struct proxy_block *blocks;  /* free ones, the warmest first */
    uint32_t block_n;
    struct field *fields; /* where the fields that go out are put together */
    uint64_t random[2];   /* never for secrets */
};

/* Makes a proxy whose borrowed fields are set ready. Errors: E_NOMEM, E_SYS (no randomness). */
enum err proxy_init(struct proxy *p);
/* The streams are gone already: the server was ended before. */
void proxy_fini(struct proxy *p);
