/* A certificate in words: for people, and for the labels of metrics. */
#include <openssl/bn.h>
#include <openssl/x509.h>

#include "tls/tls_priv.h"

static void name_emit(const X509_NAME *name, struct buf *out)
{
    char *text;
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL || X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) < 0) {
        out->bad = true;
    } else {
        long n = BIO_get_mem_data(bio, &text);
        buf_add(out, text, n > 0 ? (size_t)n : 0);
    }
    (void)BIO_free(bio);
    (void)tls_errors_take(E_OK); /* out says it */
}

void tls_certificate_emit_subject(const struct tls_certificate *c, struct buf *out)
{
    name_emit(X509_get_subject_name(c->leaf), out);
}

void tls_certificate_emit_issuer(const struct tls_certificate *c, struct buf *out)
{
    name_emit(X509_get_issuer_name(c->leaf), out);
}

void tls_certificate_emit_key_type(const struct tls_certificate *c, struct buf *out)
{
    char group[64];
    const char *name = EVP_PKEY_get0_type_name(c->key);
    buf_add_str(out, str_from_cstr(name));
    if (EVP_PKEY_get_group_name(c->key, group, sizeof(group), NULL) == 1) {
        buf_addf(out, " %s", group);
    } else if (EVP_PKEY_is_a(c->key, "RSA")) {
        buf_addf(out, " %d", EVP_PKEY_get_bits(c->key));
    }
    (void)tls_errors_take(E_OK); /* a key without a group is none */
}

/* ---- one by one, for metrics ---- */

const char *tls_key_kind_name(enum tls_key_kind kind)
{
    switch (kind) {
    case TLS_KEY_RSA:
        return "RSA";
    case TLS_KEY_EC:
        return "ECDSA";
    case TLS_KEY_ED25519:
        return "Ed25519";
    case TLS_KEY_ED448:
        return "Ed448";
    }
    return "";
}

void tls_certificate_emit_serial(const struct tls_certificate *c, struct buf *out)
{
    BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(c->leaf), NULL);
    char *text = n == NULL ? NULL : BN_bn2dec(n);
    if (text == NULL) {
        out->bad = true;
    } else {
        buf_add_str(out, str_from_cstr(text));
    }
    OPENSSL_free(text);
    BN_free(n);
    (void)tls_errors_take(E_OK); /* out says it */
}

void tls_certificate_emit_issuer_part(const struct tls_certificate *c, enum tls_name_part part,
                                      struct buf *out)
{
    static const int nids[] = {[TLS_NAME_ORGANIZATION] = NID_organizationName,
                               [TLS_NAME_COMMON] = NID_commonName,
                               [TLS_NAME_SERIAL] = NID_serialNumber};
    const X509_NAME *issuer = X509_get_issuer_name(c->leaf);
    int at = X509_NAME_get_index_by_NID(issuer, nids[part], -1);
    if (at < 0) {
        return;
    }
    unsigned char *text = NULL;
    int n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(issuer, at)));
    if (n >= 0) { /* else it is not what it says it is */
        buf_add(out, text, (size_t)n);
        OPENSSL_free(text);
    }
    (void)tls_errors_take(E_OK); /* the same */
}
