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
/* ":80", "10.0.0.1:80" or "[::1]:80", to listen on: *ret_host is empty or an address in text that
 * fits CLI_BIND_HOST_BYTES, NUL included. Errors: E_PROTO. */
enum { CLI_BIND_HOST_BYTES = IP_TEXT_MAX + 1 };
enum err cli_bind_parse(struct str text, char ret_host[CLI_BIND_HOST_BYTES], uint16_t *ret_port);
/* "10.0.0.1:80", "[::1]:80" or "localhost:80". ret_host has no brackets. Errors: E_PROTO. */
enum err cli_host_port_parse(struct str text, struct str *ret_host, uint16_t *ret_port);
