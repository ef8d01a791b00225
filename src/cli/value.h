/* cli/value.h: the types of option values: what is right, and how to say what is wrong. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "cli/table.h"
#include "wire/ip.h"

/* Checks text for option o and gives its number (see struct cli_value; 0 for plain texts).
 * On E_PROTO the reason and the way to mend it are added to error: "a port is a number from ...".
 */
enum err cli_value_parse(const struct cli_option *o, struct str text, uint64_t *ret_number,
                         struct buf *error);
/* "250ms", "10s", "1m30s", "2h" or a bare number of seconds. Errors: E_PROTO, also on overflow. */
enum err cli_duration_parse(struct str text, usec_t *ret);
/* "10.0.0.0/8,2001:db8::/32"; prefixes has room for TRUSTED_PREFIXES_MAX. Errors: E_PROTO, E_LIMIT.
 */
enum err cli_prefixes_parse(struct str text, struct ip_prefix *prefixes, uint32_t *ret_n);
/* "/a,/b/c", each normalised as by uri_normalize(); paths has room for PLAIN_PATHS_MAX. Errors:
 * E_PROTO, E_LIMIT. */
enum err cli_paths_parse(struct str text, struct str *paths, uint32_t *ret_n);
/* ":80", "10.0.0.1:80" or "[::1]:80", to listen on: *ret_host is empty or an address in text that
 * fits CLI_BIND_HOST_BYTES, NUL included. Errors: E_PROTO. */
enum { CLI_BIND_HOST_BYTES = IP_TEXT_MAX + 1 };
enum err cli_bind_parse(struct str text, char ret_host[CLI_BIND_HOST_BYTES], uint16_t *ret_port);
/* "10.0.0.1:80", "[::1]:80" or "localhost:80". ret_host has no brackets. Errors: E_PROTO. */
enum err cli_host_port_parse(struct str text, struct str *ret_host, uint16_t *ret_port);
