/* admission/certificates.h: which certificate the webhook serves.
 *
 *   files    read at the start, read again when they are replaced; a bad one is told and the last
 *            good one goes on being served
 *   shared   made by Lintel, for the names by which the webhook configuration calls it, kept in a
 *            Secret that all replicas share (shared.h)
 *
 * Connections keep the certificate that they began with. */
#pragma once

#include "admission/shared.h"

struct certificates_options {
    const char *certificate_file, *key_file; /* NULL: shared */
    struct shared_options shared;            /* but for on_certificate and arg */
};

struct certificates {
    struct loop *loop;
    const struct certificates_options *options;
    struct tls_server *server;     /* its context is what is served */
    struct shared *shared;         /* NULL: files */
    struct timer look;             /* at the files */
    uint64_t chain_hash, key_hash; /* of what was read last */
    bool has_complained;
    int64_t not_after; /* of what is served, seconds since 1970; 0: nothing is */
    uint64_t changes;
};

/* Borrows all. With files: they must be good now. Errors: E_REFUSED (it was logged why), E_NOMEM,
 * E_SYS. Context: reads two small files, now and when they change. */
enum err certificates_open(struct certificates *c, struct loop *loop,
                           const struct certificates_options *options, struct tls_server *server);
void certificates_close(struct certificates *c);
