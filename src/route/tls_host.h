/* route/tls_host.h: which host answers a TLS handshake: whose certificates, or who gets the bytes
 * as they are. The choice of certificates and passthrough ask by this one function, so that they
 * cannot disagree. Not here: the ClientHello (wire/client_hello.h), requests (match.h). */
#pragma once

#include "snapshot/snapshot.h"

/* The host for a server name: the one of that name, else the one with a star for its first label,
 * else the one named "" (also for no name at all); NULL: there is none. name: lower case, without
 * trailing dot, may be empty. *ret: the segment that holds it, borrowed: ref it to keep the host.
 * Cost: at most three lookups, whatever is configured. Never allocates.
 * Source: Ingress v1 (networking.k8s.io): a star stands for exactly one label. */
const struct snap_tls_host *route_tls_host(const struct snapshot *s, struct str table,
                                           struct str name, struct snapshot_segment **ret);

/* A request for host on a connection whose client asked for server_name in its handshake. */
struct route_arrival {
    const struct snapshot *snapshot;
    struct str table, host; /* lower case, without port */
    struct str server_name; /* empty: none was asked for */
    uint64_t policy;        /* about certificates of clients, as it was at the handshake */
};

/* What is said about clients of r->host; NULL: nothing. */
const struct snap_tls_host *route_wanted(const struct route_arrival *r);
/* True when the client was right to send the request there, wanted being route_wanted(); else it is
 * answered with 421. Source: RFC 9110 section 15.5.20, RFC 9113 section 9.1.1. */
bool route_is_right_arrival(const struct route_arrival *r, const struct snap_tls_host *wanted);
