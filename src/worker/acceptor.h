/* worker/acceptor.h: client connections from an inherited listening socket, which all workers
 * share. Private to worker/. */
#pragma once

#include "http1/server.h"
#include "os/heritage.h"
#include "worker/prelude.h"

/* Client connections that the worker holds. */
typedef size_t acceptor_conn_n_fn(const void *arg);

struct acceptor {
    struct watch watch;
    struct timer pause; /* out of descriptors: accept again when it fires */
    struct loop *loop;
    struct http1_server *server;
    acceptor_conn_n_fn *conn_n;
    const void *arg;
    struct prelude *prelude; /* leads connections to server */
    const struct heritage_listener *listener;
    bool is_open, is_paused;
};

/* Borrows everything. Nothing is accepted before acceptor_start(). */
void acceptor_init(struct acceptor *a, struct loop *loop, struct http1_server *server,
                   acceptor_conn_n_fn *conn_n, const void *arg, struct prelude *prelude,
                   const struct heritage_listener *listener);
enum err acceptor_start(struct acceptor *a); /* E_SYS */
/* Takes what waits in the queue, then closes the listening socket. */
void acceptor_stop(struct acceptor *a);
