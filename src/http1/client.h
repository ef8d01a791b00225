/* http1/client.h: the upstream side of HTTP/1: connections that send requests, as struct http_conn
 * for a pool to keep. */
#pragma once

#include "http/stream.h"
#include "http1/channel.h"
#include "stats/stats.h"

struct http1_dialer {
    struct http_dialer dialer; /* what the pool calls */
    struct http1_context *context;
    struct stats_page *stats;        /* never NULL */
    struct transport_opener *opener; /* NULL, as it is made: plain TCP */
};

void http1_dialer_init(struct http1_dialer *d, struct http1_context *context,
                       struct stats_page *stats);
