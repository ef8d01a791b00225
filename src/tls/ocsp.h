/* tls/ocsp.h: has the authority revoked a certificate? The question to its responder, and what
 * counts as an answer. Whoever carries the one there and the other back is elsewhere.
 *
 * A chain comes from a tenant's Secret and an answer over plain http, so both are hostile: an
 * answer counts when the issuer of the certificate has signed it, or whom it has delegated that to,
 * and it is about this certificate and this time. Source: RFC 6960, RFC 5019 (its profile for many
 * clients: names by SHA-1, no nonce). Context: controller; never blocks. */
#pragma once

#include "base/buf.h"

struct tls_ocsp; /* one certificate and its issuer */

/* chain: DER, the certificate first. Errors: E_NOTFOUND (it names no responder), E_REFUSED (it
 * names one that cannot be asked: *ret_why is a static text, which begins with "it"), E_PROTO,
 * E_NOMEM. */
enum err tls_ocsp_new(const struct str *chain, size_t n, const char **ret_why,
                      struct tls_ocsp **ret);
void tls_ocsp_free(struct tls_ocsp *o); /* o may be NULL */

/* ---- the question ---- */

struct tls_ocsp_responder {
    struct str host;      /* lower case, without brackets and port */
    uint16_t port;        /* 80 where none was said */
    struct str authority; /* as it was written, for the field Host */
    struct str target;    /* path and query */
};

/* Points into o. */
const struct tls_ocsp_responder *tls_ocsp_responder(const struct tls_ocsp *o);
/* Adds an OCSPRequest in DER. Errors: E_NOMEM. */
enum err tls_ocsp_emit_request(const struct tls_ocsp *o, struct buf *out);

/* Of an URL. out has room for url.n bytes; *ret points into both. Errors: E_PROTO (not http, user
 * information, a host or bytes that cannot be, OCSP_URL_BYTES_MAX). */
enum err tls_ocsp_responder_parse(struct str url, char *out, struct tls_ocsp_responder *ret);

/* ---- the answer ---- */

struct tls_staple {
    int64_t from, until; /* seconds since 1970 */
    bool is_revoked;     /* else it is good */
};

/* response: an OCSPResponse in DER. On E_PROTO *ret_why is a static text, which begins with "it" or
 * with "the responder". Errors: E_PROTO, E_NOMEM. */
enum err tls_ocsp_verify(const struct tls_ocsp *o, struct str response, int64_t now_s,
                         struct tls_staple *ret, const char **ret_why);
