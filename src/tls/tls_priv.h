/* tls/tls_priv.h: what the files of tls/ share: OpenSSL's types stay behind this header. */
#pragma once

#include "tls/certificate.h"
#include "tls/context.h"

#include <openssl/ssl.h>

struct tls_certificate {
    X509 *leaf;
    STACK_OF(X509) * chain; /* without the leaf; may be empty */
    EVP_PKEY *key;
    int64_t not_before, not_after; /* of the leaf, seconds since 1970 */
    struct buf names;              /* DNS names in lower case and addresses, a NUL behind each */
};

struct tls_context {
    SSL_CTX *ssl;
};

/* Empties OpenSSL's queue of errors, which is one for the process: a stale one would be taken for
 * the cause of the next failure. E_NOMEM when memory was the cause, else e. */
enum err tls_errors_take(enum err e);
/* PEM without asking anybody for a passphrase: a pem_password_cb. */
int tls_no_passphrase(char *p, int room, int is_writing, void *was_asked);
