/* A certificate as the bytes that it is passed on as. */
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "tls/tls_priv.h"

enum tls_key_kind tls_certificate_key_kind(const struct tls_certificate *c)
{
    switch (EVP_PKEY_get_base_id(c->key)) {
    case EVP_PKEY_EC:
        return TLS_KEY_EC;
    case EVP_PKEY_ED25519:
        return TLS_KEY_ED25519;
    case EVP_PKEY_ED448:
        return TLS_KEY_ED448;
    default: /* RSA and RSA-PSS: others are refused when it is parsed */
        return TLS_KEY_RSA;
    }
}

enum err tls_certificate_key_name(const struct tls_certificate *c, char ret[TLS_KEY_NAME_BYTES])
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    unsigned char *der = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(c->leaf), &der);
    if (n <= 0) {
        return tls_errors_take(E_NOMEM);
    }
    (void)SHA256(der, (size_t)n, hash);
    OPENSSL_free(der);
    for (size_t i = 0; i < sizeof(hash); i++) {
        ret[2 * i] = "0123456789abcdef"[hash[i] >> 4];
        ret[2 * i + 1] = "0123456789abcdef"[hash[i] & 15];
    }
    return E_OK;
}

enum err tls_certificate_emit_key(const struct tls_certificate *c, struct buf *out)
{
    unsigned char *der = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(c->key);
    int n = info == NULL ? -1 : i2d_PKCS8_PRIV_KEY_INFO(info, &der);
    PKCS8_PRIV_KEY_INFO_free(info); /* overwrites it */
    if (n <= 0) {
        return tls_errors_take(E_NOMEM);
    }
    if (buf_reserve(out, (size_t)n)) {
        buf_add(out, der, (size_t)n);
    }
    OPENSSL_clear_free(der, (size_t)n);
    return out->bad ? E_NOMEM : E_OK;
}

static enum err emit_der(X509 *x, tls_der_fn *fn, void *arg)
{
    unsigned char *der = NULL;
    int n = i2d_X509(x, &der);
    if (n <= 0) {
        return tls_errors_take(E_NOMEM);
    }
    enum err e = fn(arg, str_make((const char *)der, (size_t)n));
    OPENSSL_free(der);
    return e;
}

enum err tls_certificate_each_der(const struct tls_certificate *c, tls_der_fn *fn, void *arg)
{
    TRY(emit_der(c->leaf, fn, arg));
    for (int i = 0; i < sk_X509_num(c->chain); i++) {
        TRY(emit_der(sk_X509_value(c->chain, i), fn, arg));
    }
    return E_OK;
}
