/* worker/prelude.h: what stands before TLS and HTTP on a client connection: a PROXY header, and the
 * choice between TLS that ends here and TLS that is passed through, by the name in the ClientHello.
 * Both are looked at while they still lie in the socket; the header is taken from there to the
 * byte, of the ClientHello nothing is, so that whoever comes next finds what follows as if nothing
 * had been before. A connection that needs nothing of this goes on at once, without a system call
 * or memory. Private to worker/. */
#pragma once

#include "http1/server.h"
#include "snapshot/snapshot.h"
#include "tcp/server.h"

struct prelude {
    struct loop *loop;
    const struct snapshot *snapshot;
    const struct snap_settings *settings; /* as of now */
    struct stats_page *stats;
    struct tcp_server *tunnels; /* NULL: nothing is passed through */
    struct list conns;          /* that wait for more bytes */
    size_t conn_n;
};

/* Borrows everything for its life. */
void prelude_init(struct prelude *p, struct loop *loop, const struct snapshot *snapshot,
                  const struct snap_settings *settings, struct stats_page *stats,
                  struct tcp_server *tunnels);
/* Leads the accepted, non-blocking socket fd, which it takes (also on failure), to server; or, when
 * that speaks TLS and the client asks for a host that is passed through, to the tunnels. peer is
 * copied; the header's addresses take the place of its own. Errors: E_NOMEM, E_SYS, those of the
 * server. A connection that is refused for what it says is not one: it has counters of its own. */
enum err prelude_accept(struct prelude *p, struct http1_server *server, int fd,
                        const struct http_peer *peer);
/* Closes those that have not sent anything; the others may go on to their server. */
void prelude_drain(struct prelude *p);
/* Closes all. */
void prelude_fini(struct prelude *p);
