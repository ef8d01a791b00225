/* tls/certificate.h: a certificate chain with its private key: read from PEM and checked, and made.
 * Whoever shows a fault to people adds where the PEM came from. No text of a key ever appears in a
 * fault; keys are wiped when they are freed.
 * Source: RFC 5280, RFC 6125 section 6.4 (names), RFC 7468 (PEM). Context: any; never blocks. */
#pragma once

#include "base/buf.h"

enum tls_fault {
    TLS_FAULT_NONE,
#define FAULT(name, what, why, mend) TLS_FAULT_##name,
#include "tls/faults.def"
#undef FAULT
    TLS_FAULTS_N
};

struct tls_fault_text {
    const char *what, *why, *mend; /* as in struct diag; what begins with "is" or "has" */
};
/* fault is not TLS_FAULT_NONE. */
const struct tls_fault_text *tls_fault_text(enum tls_fault fault);

struct tls_certificate;

/* chain: the server's certificate first, then those that signed it, without the root; key: not
 * encrypted; both PEM. On E_PROTO *ret_fault says what is wrong with them. That it is expired is no
 * fault here: see tls_certificate_judge(). Errors: E_PROTO, E_NOMEM. */
enum err tls_certificate_parse(struct str chain, struct str key, enum tls_fault *ret_fault,
                               struct tls_certificate **ret);
/* One certificate in DER, without its private key: only to be shown and asked for names and times.
 * Errors: E_PROTO, E_NOMEM. */
enum err tls_certificate_read(struct str der, struct tls_certificate **ret);
void tls_certificate_free(struct tls_certificate *c); /* c may be NULL */

/* Seconds since 1970. */
int64_t tls_certificate_not_before(const struct tls_certificate *c);
int64_t tls_certificate_not_after(const struct tls_certificate *c);
/* TLS_FAULT_NONE, _EXPIRED or _NOT_YET_VALID. */
enum tls_fault tls_certificate_judge(const struct tls_certificate *c, int64_t now_s);

/* The names it is for, DNS names in lower case and addresses: those of subjectAltName, else the
 * common name, as ingress-nginx does it. */
typedef void tls_name_fn(void *arg, struct str name);
void tls_certificate_each_name(const struct tls_certificate *c, tls_name_fn *fn, void *arg);
/* host is a name in any case, an address, or a wildcard as Ingresses have it ("*.example.com"),
 * which only the same wildcard covers. A wildcard of the certificate covers exactly one label. */
bool tls_certificate_covers(const struct tls_certificate *c, struct str host);

/* ---- as bytes, for whoever passes it on ---- */

enum tls_key_kind { TLS_KEY_RSA = 1, TLS_KEY_EC = 2, TLS_KEY_ED25519 = 3, TLS_KEY_ED448 = 4 };
enum { TLS_KEY_NAME_BYTES = 64 };

enum tls_key_kind tls_certificate_key_kind(const struct tls_certificate *c);
/* Writes the SHA-256 of the public key (SubjectPublicKeyInfo) in hex: what a private key is known
 * by. Errors: E_NOMEM. */
enum err tls_certificate_key_name(const struct tls_certificate *c, char ret[TLS_KEY_NAME_BYTES]);
/* Adds the private key: PKCS #8 in DER. Give out to buf_wipe(). Errors: E_NOMEM. */
enum err tls_certificate_emit_key(const struct tls_certificate *c, struct buf *out);
/* Each certificate of the chain in DER, its own first. Errors: E_NOMEM, those of fn. */
typedef enum err tls_der_fn(void *arg, struct str der);
enum err tls_certificate_each_der(const struct tls_certificate *c, tls_der_fn *fn, void *arg);

/* ---- for people ---- */

/* Adds a name as RFC 4514 writes it ("CN=shop.example.com,O=Shop"); what is not printable ASCII is
 * escaped. */
void tls_certificate_emit_subject(const struct tls_certificate *c, struct buf *out);
void tls_certificate_emit_issuer(const struct tls_certificate *c, struct buf *out);
/* Adds the kind of its key: "RSA 2048", "EC prime256v1", "ED25519". */
void tls_certificate_emit_key_type(const struct tls_certificate *c, struct buf *out);

/* Adds the serial number in decimal. */
void tls_certificate_emit_serial(const struct tls_certificate *c, struct buf *out);
/* Adds the first attribute of that kind in the issuer's name, in UTF-8; nothing when it has none.
 */
enum tls_name_part { TLS_NAME_ORGANIZATION, TLS_NAME_COMMON, TLS_NAME_SERIAL };
void tls_certificate_emit_issuer_part(const struct tls_certificate *c, enum tls_name_part part,
                                      struct buf *out);
/* "RSA", "ECDSA", "Ed25519": as Go's crypto/x509 names algorithms. */
const char *tls_key_kind_name(enum tls_key_kind kind);

/* ---- making ---- */

struct tls_make {
    const char *common_name;
    const struct str *names; /* DNS names and addresses; none for a certificate authority */
    uint32_t name_n;
    int64_t not_before, not_after; /* seconds since 1970 */
};

/* A certificate authority and a server certificate that it has signed, both ECDSA P-256. The
 * authority's key is forgotten at once: it signs nothing else, so nobody can steal it. The three
 * texts are PEM; give key to buf_wipe(). Errors: E_NOMEM, E_PROTO (a name that cannot be). */
enum err tls_certificate_make(const struct tls_make *m, struct buf *ret_ca, struct buf *ret_chain,
                              struct buf *ret_key);

/* The certificates of a bundle that have not ended at now_s, each once, after those that out holds
 * already, up to max of them in all. For a bundle of authorities: what is broken is left out.
 * Errors: E_NOMEM. */
enum err tls_bundle_add(struct buf *out, struct str pem, int64_t now_s, uint32_t max);
/* True when every certificate of pem stands in bundle too, and pem has one. */
bool tls_bundle_has(struct str bundle, struct str pem);
