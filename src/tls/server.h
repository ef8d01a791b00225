/* tls/server.h: the server's side of TLS as a transport.
 *
 * A handshake costs a signature, some thousand times what a request costs. So that whoever opens
 * many connections does not hold up those that stand, only TLS_HANDSHAKES_PER_TICK of them go on in
 * one tick of the loop, the others wait for their turn in the order in which they came; and no more
 * than TLS_HANDSHAKES_MAX are under way at a time. */
#pragma once

#include "tls/sites.h"
#include "tls/transport.h"

struct tls_server {
    struct transport_opener opener; /* first: give it to http1_server.opener and the like */
    struct tls_context *context;    /* borrowed; may change; NULL: connections are refused */
    struct tls_shared *shared;      /* borrowed */
    struct stats_page *stats;       /* or NULL */
    struct loop *loop;
    struct list waiting; /* for their turn */
    struct deferred work;
    usec_t tick;
    uint32_t turns;          /* taken in that tick */
    uint32_t shaking_n;      /* handshakes under way */
    uint64_t opened, shaken; /* connections, and those whose handshake was completed */
};

/* open() of the opener: E_NOTFOUND (there is no context), E_LIMIT (TLS_HANDSHAKES_MAX), E_NOMEM,
 * E_SYS. Borrows shared for its life, which is that of all connections of the loop. */
void tls_server_init(struct tls_server *s, struct tls_shared *shared);
/* After the last connection. */
void tls_server_fini(struct tls_server *s);
