/* http2/client.h: the upstream side of HTTP/2: connections that send many requests at a time, as
 * struct http_conn for a pool to keep. RFC 9113, by prior knowledge; over TLS whoever opens the
 * transport sees to ALPN. WebSocket by RFC 8441 where the endpoint offers it. */
#pragma once

#include "event/transport.h"
#include "http/stream.h"
#include "http2/context.h"
#include "stats/stats.h"

struct nghttp2_session_callbacks;

struct http2_dialer {
    struct http_dialer dialer; /* what the pool calls */
    struct http2_context *context;
    struct stats_page *stats;        /* never NULL */
    struct transport_opener *opener; /* NULL: plain TCP */
    struct nghttp2_session_callbacks *calls;
};

/* Borrows everything for the dialer's life. Errors: E_NOMEM. */
enum err http2_dialer_init(struct http2_dialer *d, struct http2_context *context,
                           struct stats_page *stats, struct transport_opener *opener);
/* After the last connection: dialer.conn_n is 0. */
void http2_dialer_fini(struct http2_dialer *d);
