/* tls/authority.h: those whose signatures are believed, and what they have revoked, from PEM.
 * Source: RFC 5280, RFC 7468. Context: any; never blocks. */
#pragma once

#include "tls/certificate.h"

/* Calls fn with each certificate of pem in DER; at least one, AUTHORITIES_MAX at most. On E_PROTO
 * *ret_fault says what is wrong. Errors: E_PROTO, E_NOMEM, those of fn. */
enum err tls_authority_each(struct str pem, tls_der_fn *fn, void *arg, enum tls_fault *ret_fault);
/* The same with each revocation list (CRL) of pem, of which there may be none. */
enum err tls_revocation_each(struct str pem, tls_der_fn *fn, void *arg, enum tls_fault *ret_fault);

enum { TLS_AUTHORITIES_MAX = 1000, TLS_AUTHORITY_BYTES_MAX = 1 << 20 };
