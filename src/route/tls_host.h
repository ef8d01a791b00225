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
