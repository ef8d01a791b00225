/* admin/listener.h: the health port: its HTTP/1 server on a listening socket, for up to
 * ADMIN_CONNECTIONS_MAX connections. */
#pragma once

#include "admin/handler.h"
#include "http1/listener.h"

struct admin_listener {
    struct http1_listener listener;
    struct http1_context context;
    struct http_budget budget;
    struct http1_server server;
    struct admin_handler handler;
    struct stats_page stats; /* our own connections, apart from those of clients; nobody reads it */
};

/* Serves views on the listening, non-blocking socket fd, which it borrows. l stays where it is
 * until admin_listener_close(). Errors: E_NOMEM, E_SYS. */
enum err admin_listener_open(struct admin_listener *l, struct loop *loop, int fd,
                             const struct admin_views *views);
/* Accepts no more; cuts what is open. */
void admin_listener_close(struct admin_listener *l);
