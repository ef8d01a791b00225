/* Certificates and revocation lists for tests of TLS, made by OpenSSL itself rather than by what is
 * tested: authorities, what they sign, and how it can be bad. ECDSA P-256 unless it is asked for
 * otherwise, so that it takes no time. */
#pragma once

#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"

enum { PKI_HOUR = 3600 };

struct pki {
    X509 *x;
    EVP_PKEY *key;
};

struct pki_options {
    const char *name;         /* common name, in UTF-8 */
    const char *alternatives; /* as in openssl.cnf: "DNS:a.example,IP:127.0.0.1"; NULL: none */
    const char *uses;         /* extended key usage: "serverAuth"; NULL: none */
    const char *access;       /* "OCSP;URI:http://responder.example/"; NULL: none */
    bool is_authority;
    long begins_s, ends_s; /* from now; both 0: from an hour ago to an hour from now */
    const char *key;       /* "RSA", "ED25519"; NULL: P-256 */
    int name_n;            /* bytes of name; 0: up to the NUL */
};

static inline void pki_extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

static inline EVP_PKEY *pki_key(const char *kind)
{
    enum { RSA_BITS = 2048 };
    if (kind == NULL) {
        return EVP_EC_gen("P-256");
    }
    return strcmp(kind, "RSA") == 0 ? EVP_RSA_gen(RSA_BITS) : EVP_PKEY_Q_keygen(NULL, NULL, kind);
}

static inline const EVP_MD *pki_digest(const EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();
}

/* issuer NULL: signed by itself. */
static inline struct pki pki_make(const struct pki_options *o, const struct pki *issuer)
{
    static long serial;
    struct pki made = {X509_new(), pki_key(o->key)};
    const struct pki *by = issuer == NULL ? &made : issuer;
    bool has_dates = o->begins_s != 0 || o->ends_s != 0;
    assert_true(made.x != NULL && made.key != NULL);
    assert_int_equal(X509_set_version(made.x, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(made.x), ++serial), 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(made.x), has_dates ? o->begins_s : -PKI_HOUR);
    (void)X509_gmtime_adj(X509_getm_notAfter(made.x), has_dates ? o->ends_s : PKI_HOUR);
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(made.x), "CN", MBSTRING_UTF8,
                                                (const unsigned char *)o->name,
                                                o->name_n == 0 ? -1 : o->name_n, -1, 0),
                     1);
    assert_int_equal(X509_set_issuer_name(made.x, X509_get_subject_name(by->x)), 1);
    assert_int_equal(X509_set_pubkey(made.x, made.key), 1);
    pki_extend(made.x, by->x, NID_basic_constraints,
               o->is_authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    pki_extend(made.x, by->x, NID_subject_key_identifier, "hash");
    if (o->alternatives != NULL) {
        pki_extend(made.x, by->x, NID_subject_alt_name, o->alternatives);
    }
    if (o->uses != NULL) {
        pki_extend(made.x, by->x, NID_ext_key_usage, o->uses);
    }
    if (o->access != NULL) {
        pki_extend(made.x, by->x, NID_info_access, o->access);
    }
    assert_true(X509_sign(made.x, by->key, pki_digest(by->key)) > 0);
    return made;
}

static inline void pki_free(struct pki *p)
{
    X509_free(p->x);
    EVP_PKEY_free(p->key);
    *p = (struct pki){0};
}

/* A list of what issuer has revoked: one, or none when it is NULL. */
static inline X509_CRL *pki_revoke(const struct pki *issuer, const struct pki *revoked,
                                   long begins_s, long ends_s)
{
    X509_CRL *list = X509_CRL_new();
    ASN1_TIME *at = X509_gmtime_adj(NULL, begins_s), *next = X509_gmtime_adj(NULL, ends_s);
    assert_non_null(list);
    assert_int_equal(X509_CRL_set_version(list, 1), 1);
    assert_int_equal(X509_CRL_set_issuer_name(list, X509_get_subject_name(issuer->x)), 1);
    assert_int_equal(X509_CRL_set1_lastUpdate(list, at), 1);
    assert_int_equal(X509_CRL_set1_nextUpdate(list, next), 1);
    if (revoked != NULL) {
        X509_REVOKED *r = X509_REVOKED_new();
        assert_int_equal(X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(revoked->x)), 1);
        assert_int_equal(X509_REVOKED_set_revocationDate(r, at), 1);
        assert_int_equal(X509_CRL_add0_revoked(list, r), 1);
    }
    assert_true(X509_CRL_sign(list, issuer->key, pki_digest(issuer->key)) > 0);
    ASN1_TIME_free(at);
    ASN1_TIME_free(next);
    return list;
}

struct pki_response {
    int status;               /* V_OCSP_CERTSTATUS_GOOD ... */
    int64_t from_s, until_s;  /* since 1970; until_s 0: it does not say */
    const struct pki *signer; /* NULL: the issuer */
    bool shows_signer;        /* its certificate is sent along */
};

/* What issuer's responder says of x. DER, to be freed by OPENSSL_free(). */
static inline struct str pki_respond(const struct pki_response *o, X509 *x,
                                     const struct pki *issuer)
{
    const struct pki *signer = o->signer == NULL ? issuer : o->signer;
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), x, issuer->x);
    ASN1_TIME *from = ASN1_GENERALIZEDTIME_set(NULL, (time_t)o->from_s), *until = NULL;
    unsigned char *der = NULL;
    if (o->until_s != 0) {
        until = ASN1_GENERALIZEDTIME_set(NULL, (time_t)o->until_s);
    }
    bool is_revoked = o->status == V_OCSP_CERTSTATUS_REVOKED;
    assert_non_null(
        OCSP_basic_add1_status(basic, id, o->status, 0, is_revoked ? from : NULL, from, until));
    assert_int_equal(OCSP_basic_sign(basic, signer->x, signer->key, EVP_sha256(), NULL,
                                     o->shows_signer ? 0 : OCSP_NOCERTS),
                     1);
    OCSP_RESPONSE *response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    int n = i2d_OCSP_RESPONSE(response, &der);
    assert_true(n > 0);
    OCSP_RESPONSE_free(response);
    OCSP_BASICRESP_free(basic);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    return str_make((const char *)der, (size_t)n);
}

/* DER, to be freed by OPENSSL_free(). */
static inline struct str pki_der(const struct pki *p)
{
    unsigned char *der = NULL;
    int n = i2d_X509(p->x, &der);
    assert_true(n > 0);
    return str_make((const char *)der, (size_t)n);
}

static inline struct str pki_der_key(const struct pki *p)
{
    unsigned char *der = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(p->key);
    int n = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
    assert_true(n > 0);
    PKCS8_PRIV_KEY_INFO_free(info);
    return str_make((const char *)der, (size_t)n);
}

static inline struct str pki_der_revocations(X509_CRL *list)
{
    unsigned char *der = NULL;
    int n = i2d_X509_CRL(list, &der);
    assert_true(n > 0);
    return str_make((const char *)der, (size_t)n);
}

static inline void pki_der_free(struct str *der)
{
    if (der->n > 0) { /* else it is STR_EMPTY */
        OPENSSL_free((void *)(uintptr_t)der->p);
    }
    *der = STR_EMPTY;
}

/* ---- PEM, added to out ---- */

static inline void pki_add_bio(struct buf *out, BIO *bio)
{
    char *text;
    long n = BIO_get_mem_data(bio, &text);
    buf_add(out, text, (size_t)n);
    (void)BIO_free(bio);
    assert_false(out->bad);
}

static inline void pki_pem(const struct pki *p, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, p->x), 1);
    pki_add_bio(out, bio);
}

static inline void pki_pem_key(const struct pki *p, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, p->key, NULL, NULL, 0, NULL, NULL), 1);
    pki_add_bio(out, bio);
}

static inline void pki_pem_revocations(X509_CRL *list, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509_CRL(bio, list), 1);
    pki_add_bio(out, bio);
}
