/* wire/ip.h: IP addresses and prefixes as bytes. */
#pragma once

#include "base/buf.h"

struct ip {
    uint8_t family;    /* 4 or 6 */
    uint8_t bytes[16]; /* network byte order; IPv4 in the first four, the rest zero */
};

enum { IP_TEXT_MAX = 46 };

/* Strict: no leading zeros in IPv4, no zone, no blanks; ::ffff:a.b.c.d stays IPv6. Errors: E_PROTO.
 */
enum err ip_parse(struct str text, struct ip *ret);
/* The canonical text (RFC 5952), without NUL. */
void ip_emit(struct wr *w, const struct ip *ip);
/* In these two an IPv4-mapped IPv6 address counts as the IPv4 address. */
bool ip_is_loopback(const struct ip *ip);
/* Link-local, unspecified or multicast: never an endpoint. */
bool ip_is_unusable(const struct ip *ip);
int ip_cmp(const struct ip *a, const struct ip *b);
/* The IPv4 address in an IPv4-mapped IPv6 address (::ffff:a.b.c.d), else ip as it is. */
struct ip ip_unmapped(const struct ip *ip);

struct ip_prefix {
    struct ip ip; /* host bits are zero */
    uint8_t bits;
};
/* "a.b.c.d/n", "x::/n" or a bare address (full length); host bits are cleared. Errors: E_PROTO. */
enum err ip_prefix_parse(struct str text, struct ip_prefix *ret);
/* "10.0.0.0/8, 2001:db8::/32"; empty: none. prefixes has room for max, and may be written to
 * whatever comes. Errors: E_PROTO, E_LIMIT. */
enum err ip_prefixes_parse(struct str text, struct ip_prefix *prefixes, uint32_t max,
                           uint32_t *ret_n);
bool ip_prefix_has(const struct ip_prefix *p, const struct ip *ip);
