/* http1/listener.h: a listening socket for a server of few connections, as the controller has them:
 * accepts up to a maximum and hands them to the server. Workers have an acceptor of their own. */
#pragma once

#include "http1/server.h"

struct http1_listener {
    struct watch watch; /* of the listening socket */
    struct loop *loop;
    struct http1_server *server;
    struct str name; /* of the listener, in struct http_peer */
    int fd;
    size_t conn_max;
    struct timer retry; /* out of descriptors: look again a little later */
    uint64_t refused;   /* connections over the maximum, or that could not be opened */
};

/* Borrows all; fd is listening and non-blocking; l stays where it is until http1_listener_close().
 * Errors: E_SYS. */
enum err http1_listener_open(struct http1_listener *l, struct loop *loop, int fd,
                             struct http1_server *server, struct str name, size_t conn_max);
/* Accepts no more. l may be zeroed memory. */
void http1_listener_close(struct http1_listener *l);
