/* http1/server.h: the client side of HTTP/1: connections that receive requests and hand them to a
 * struct http_handler as streams. Used by the workers and by the controller's health port. */
#pragma once

#include "http/stream.h"
#include "http1/channel.h"
#include "stats/stats.h"

/* Who takes connections over on which a client speaks HTTP/2. */
struct http1_heir {
    /* What the handshake says (ALPN); NULL: the connection preface alone tells (RFC 9113 section
     * 3.3). */
    bool (*is_chosen)(const struct transport *t);
    /* Moves t away (transport_move()), or closes it. first: what has come, borrowed. */
    void (*take)(struct http1_heir *h, struct transport *t, const struct http_peer *peer,
                 struct str first);
};

struct http1_server {
    struct http1_context *context;
    struct http_handler *handler;
    struct stats_page *stats;        /* never NULL */
    struct transport_opener *opener; /* NULL: plain TCP; set after http1_server_init() */
    struct http1_heir *heir;         /* NULL: HTTP/2 is refused; set after http1_server_init() */
    bool is_draining;
    struct list conns;
    size_t conn_n;
};

/* Borrows everything for the server's life. */
void http1_server_init(struct http1_server *s, struct http1_context *context,
                       struct http_handler *handler, struct stats_page *stats);
/* Serves the accepted, non-blocking socket fd, which it takes (also on failure). peer is copied;
 * peer->listener stays valid for the server's life. Errors: E_NOMEM, E_SYS, those of the opener. */
enum err http1_server_accept(struct http1_server *s, int fd, const struct http_peer *peer);
/* Closes idle connections now and the others after the response they are at. */
void http1_server_drain(struct http1_server *s);
/* Cuts every connection; their streams get on_closed. */
void http1_server_fini(struct http1_server *s);
