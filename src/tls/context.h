/* tls/context.h: how a server speaks TLS: the rules of the handshake, and one certificate or those
 * of many sites. Made once, used by any number of connections; those that use it keep it alive, so
 * that it can be replaced at any time. TLS 1.2 and 1.3, ciphers with forward secrecy and
 * authenticated encryption only, no renegotiation, no compression, no early data.
 * Source: RFC 8446, RFC 9325. */
#pragma once

#include "tls/certificate.h"

struct tls_context;

enum tls_alpn { /* RFC 7301, in the order in which we prefer them; bits */
                TLS_ALPN_HTTP2 = 1,
                TLS_ALPN_HTTP1 = 2,
};

struct tls_sites;

struct tls_context_options {
    const struct tls_certificate *certificate; /* need not live on; NULL: sites have them */
    const struct tls_sites *sites;             /* lives on; NULL: the certificate is all there is */
    struct str ciphers;                        /* of TLS 1.2, as OpenSSL writes them; empty: ours */
    struct str groups; /* key exchange, "X25519:P-256"; empty: ours, post-quantum if there is one */
    unsigned min_version, max_version; /* 12, 13; 0: 12 and 13 */
    unsigned alpn;    /* what we speak; a client that offers other protocols only is refused, one
                         that offers none goes without; 0: no ALPN */
    bool has_tickets; /* session resumption, with keys of this context alone */
};

/* On E_PROTO *ret_fault is set: the library takes the certificate for too weak; TLS_FAULT_NONE: it
 * knows none of the ciphers or groups. Errors: E_PROTO, E_NOMEM. */
enum err tls_context_new(const struct tls_context_options *o, enum tls_fault *ret_fault,
                         struct tls_context **ret);
void tls_context_free(struct tls_context *c); /* c may be NULL */
/* The library knows some of each; empty: ours. True too when memory was short. Context: allocates
 * and frees a context. */
bool tls_words_are_known(struct str cipher_list, struct str group_list);
