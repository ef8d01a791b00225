/* wire/uri.h: request targets and host names: pure functions over bytes. */
#pragma once

#include "base/err.h"
#include "base/str.h"

/* Splits an origin-form or absolute-form target (RFC 9112 section 3.2). authority is empty for
 * origin form; path is never empty for a target that is accepted ("/" is used for
 * http://host, a literal then); query is without '?'. '*' gives path "*". Errors: E_PROTO (another
 * form, control or non-ASCII bytes, '#', an authority that host_parse() refuses). */
enum err uri_split(struct str target, struct str *ret_authority, struct str *ret_path,
                   struct str *ret_query);

/* The path that routes are matched against: percent-encoded bytes are decoded (except %2F, %5C, %25
 * and %00-%1F, %7F, which stay as they are, hex digits in upper case), runs of '/' become one, then
 * "." and ".." elements are resolved without leaving "/". Normalizing the result again changes
 * nothing, and a '%' in it always begins an escape. Writes at most path.n bytes to out, which
 * has that much room; when nothing changes *ret is path itself and out is not touched. Errors:
 * E_PROTO (does not begin with '/', a '%' without two hex digits). Source: RFC 3986 section 6.2.2,
 * and what ingress-nginx users rely on. */
enum err uri_normalize(struct str path, char *out, struct str *ret);

/* "/a, /b/c": paths that normalizing does not change, at most PLAIN_PATH_BYTES_MAX bytes each;
 * empty: none. paths has room for max and may be written to whatever comes; they point into text.
 * Errors: E_PROTO, E_LIMIT. */
enum err uri_paths_parse(struct str text, struct str *paths, uint32_t max, uint32_t *ret_n);

/* host[:port], host an IPv4 address, an IPv6 address in brackets or a name (letters, digits, '-',
 * '_', '.'). No label is empty, a name has at most 253 bytes. Writes the host in lower case without
 * brackets, port or trailing dot to out (room: authority.n). *ret_port is 0 when there is none;
 * "host:" has none, "host:0" is refused. Errors: E_PROTO. */
enum err host_parse(struct str authority, char *out, struct str *ret_host, uint16_t *ret_port);
/* True when host_parse() takes it. */
bool host_is_valid(struct str authority);

/* True when host is name, or name is "*.rest" and host is rest with one label before it: RFC 6125
 * section 6.4.3. Case does not count; a host that begins with a star is covered by the same name
 * only. */
bool host_is_covered(struct str host, struct str name);

/* A DNS-1123 subdomain, lower case: what Kubernetes takes for hosts and object names. */
bool dns_subdomain_is_valid(struct str s);
/* A DNS-1123 label. */
bool dns_label_is_valid(struct str s);
