/* tls/served_priv.h: what handshakes get from served.c. Private to tls/. */
#pragma once

#include "tls/served.h"
#include "tls/tls_priv.h"

struct served_certificate {
    X509 *leaf;
    STACK_OF(X509) * chain; /* without the leaf */
    EVP_PKEY *key;
    struct str name; /* key of its shard */
};

struct served_authority {
    X509_STORE *store;
    STACK_OF(X509_NAME) * names; /* for the client to choose by */
    uint64_t stamp;              /* of the content */
};

/* NULL: there is none, its key is missing, or it cannot be decoded. Valid until the next call of
 * either or tls_served_forget(). hash: of key. */
const struct served_certificate *served_certificate_get(struct tls_served *s, struct str key,
                                                        uint64_t hash);
const struct served_authority *served_authority_get(struct tls_served *s, struct str key,
                                                    uint64_t hash);
/* What its authority's responder says of the certificate of that key; empty: nothing that is valid
 * now. Points into the snapshot: for the handshake's present step. */
struct str served_staple_get(const struct tls_served *s, struct str key, uint64_t hash,
                             int64_t now_s);
