/* http2/server.h: the client side of HTTP/2: connections that receive requests and hand them to a
 * struct http_handler as streams. RFC 9113; RFC 8441 (WebSocket); RFC 9218 (priorities). */
#pragma once

#include "event/transport.h"
#include "http/stream.h"
#include "http2/context.h"
#include "stats/stats.h"

struct nghttp2_session_callbacks;

struct http2_server {
    struct http2_context *context;
    struct http_handler *handler;
    struct stats_page *stats; /* never NULL */
    struct nghttp2_session_callbacks *calls;
    bool is_draining;
    struct list conns;
    size_t conn_n;
};

/* Borrows everything for the server's life. Errors: E_NOMEM. */
enum err http2_server_init(struct http2_server *s, struct http2_context *context,
                           struct http_handler *handler, struct stats_page *stats);
/* Serves an open transport that somebody else began with and moves over (transport_move()), closed
 * on failure too. first: what has been received from it. peer is copied. Errors: E_NOMEM, E_SYS. */
enum err http2_server_take(struct http2_server *s, struct transport *t,
                           const struct http_peer *peer, struct str first);
/* Tells every client to go elsewhere; what they have asked for is still answered. */
void http2_server_drain(struct http2_server *s);
/* Cuts every connection; their streams get on_closed. */
void http2_server_fini(struct http2_server *s);
