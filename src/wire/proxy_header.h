/* wire/proxy_header.h: the PROXY protocol, versions 1 and 2: how a proxy tells, ahead of everything
 * else on a connection, whose connection it is.
 * Source: haproxy, doc/proxy-protocol.txt. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "wire/ip.h"

/* v1: PROXY_V1_BYTES_MAX bytes with the line's end; v2: 16 bytes and what these count, cut at
 * PROXY_V2_BYTES_MAX (base/limits.h). */
struct proxy_header {
    uint8_t version; /* 1 or 2 */
    bool is_local; /* by the sender itself (a health check), or for somebody who has no TCP address:
                      the connection's own addresses count, those below are zero */
    bool is_tls;   /* v2: the client speaks TLS to the sender (PP2_TYPE_SSL) */
    struct ip source, destination; /* of one family; an IPv4 address may be ::ffff:a.b.c.d */
    uint16_t source_port, destination_port;
};

/* Reads the header at the beginning of bytes, which *ret_n gets the length of: what follows it is
 * somebody else's. Errors: E_AGAIN (*ret_n bytes at least are needed; more than are there), E_PROTO
 * (no PROXY header, or a broken one; v2: also a wrong checksum), E_LIMIT (longer than we take). */
enum err proxy_header_parse(struct str bytes, struct proxy_header *ret, size_t *ret_n);
/* Writes h in its version: at most PROXY_V1_BYTES_MAX bytes, or PROXY_V2_BYTES_EMITTED. Addresses
 * of two families go out as IPv6. */
void proxy_header_emit(struct wr *w, const struct proxy_header *h);
