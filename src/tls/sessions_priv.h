/* tls/sessions_priv.h: sessions as contexts use them. Private to tls/. */
#pragma once

#include "tls/sessions.h"
#include "tls/tls_priv.h"

/* Makes ssl keep its sessions in those of its sites. */
void sessions_attach(SSL_CTX *ssl);

/* ---- the table itself ---- */

enum { SESSION_ID_BYTES = 32 };

/* A new id for a session of ours. False: no randomness. */
bool sessions_id_make(struct tls_sessions *s, uint8_t ret[SESSION_ID_BYTES]);
/* Under an id that sessions_id_make() gave; n <= what fits, else it is not kept. */
void sessions_put(struct tls_sessions *s, const uint8_t id[SESSION_ID_BYTES], const void *p,
                  size_t n);
/* Copies it to p, which has room for TLS_SESSION_BYTES; 0: there is none of that id. */
size_t sessions_get(struct tls_sessions *s, const uint8_t *id, size_t id_n, void *p);
