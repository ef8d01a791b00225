/* tcp/server.h: connections of clients that are passed through: each is one stream from the start,
 * and what it wants is known before its first byte is read. */
#pragma once

#include "http/stream.h"
#include "tcp/context.h"

struct tcp_server {
    struct tcp_context *context;
    struct http_handler *handler;
    struct list conns;
    size_t conn_n;
};

/* Borrows everything for the server's life. */
void tcp_server_init(struct tcp_server *s, struct tcp_context *context,
                     struct http_handler *handler);
/* Passes the accepted, non-blocking socket fd, which it takes (also on failure), on to a service.
 * name: the server that the client asks for, may be empty; peer, name and where are copied, but
 * where->segment must live until the handler has been asked, which happens at once. peer->listener
 * stays valid for the server's life. Errors: E_NOMEM, E_SYS. */
enum err tcp_server_accept(struct tcp_server *s, int fd, const struct http_peer *peer,
                           struct str name, const struct http_tunnel *where);
/* Cuts every connection; their streams get on_closed. */
void tcp_server_fini(struct tcp_server *s);
