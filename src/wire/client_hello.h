/* wire/client_hello.h: the server name in a TLS ClientHello, for whoever has to know it before TLS
 * begins. Nothing else of the handshake is looked at: whether it is a good one is for whoever
 * answers it. With Encrypted ClientHello this is the outer one, whose name is the public one.
 * Source: RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3. */
#pragma once

#include "base/err.h"
#include "base/limits.h"
#include "base/str.h"

struct client_hello {
    size_t name_n;                    /* 0: it names no server, or what no host can be called */
    char name[SERVER_NAME_BYTES_MAX]; /* lower case, without trailing dot */
};

/* Reads the records at the beginning of bytes, up to the end of the one in which a ClientHello
 * ends. It may be spread over any number of them. scratch: room for CLIENT_HELLO_BYTES_MAX bytes,
 * used when there is more than one. Errors: E_AGAIN (*ret_n bytes at least are needed; more than
 * are there), E_PROTO (no ClientHello of TLS, or a broken one), E_LIMIT (does not end within
 * CLIENT_HELLO_BYTES_MAX bytes). */
enum err client_hello_parse(struct str bytes, char *scratch, struct client_hello *ret,
                            size_t *ret_n);

/* A server name as it came to the form in which hosts are looked up: lower case, without trailing
 * dot. False: no host can be called that. out: room for SERVER_NAME_BYTES_MAX bytes. */
bool server_name_normalize(struct str raw, char *out, size_t *ret_n);
