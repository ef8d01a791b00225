/* Certificates, revocation lists and keys from DER: all of the bytes, and nothing behind them. */
#include "tls/tls_priv.h"

#include <limits.h>

#include <openssl/decoder.h>
#include <openssl/x509.h>

static const unsigned char *der_begin(struct str der)
{
    return (const unsigned char *)der.p;
}

static long der_n(struct str der)
{
    return der.n > LONG_MAX ? 0 : (long)der.n;
}

static bool is_whole(struct str der, const unsigned char *end)
{
    return end == der_begin(der) + der.n;
}

X509 *tls_der_certificate(struct str der)
{
    const unsigned char *p = der_begin(der);
    X509 *x = d2i_X509(NULL, &p, der_n(der));
    if (!is_whole(der, p)) {
        X509_free(x);
        return NULL;
    }
    return x;
}

X509_CRL *tls_der_revocations(struct str der)
{
    const unsigned char *p = der_begin(der);
    X509_CRL *list = d2i_X509_CRL(NULL, &p, der_n(der));
    if (!is_whole(der, p)) {
        X509_CRL_free(list);
        return NULL;
    }
    return list;
}

/* With the decoders of that kind alone: EVP_PKCS82PKEY() takes several times as long. */
static EVP_PKEY *key_decode(struct str der, const ASN1_OBJECT *kind)
{
    EVP_PKEY *key = NULL;
    const unsigned char *p = der_begin(der);
    size_t n = der.n;
    OSSL_DECODER_CTX *decoder = OSSL_DECODER_CTX_new_for_pkey(
        &key, "DER", "PrivateKeyInfo", OBJ_nid2sn(OBJ_obj2nid(kind)), EVP_PKEY_KEYPAIR, NULL, NULL);
    if (decoder != NULL) {
        (void)OSSL_DECODER_from_data(decoder, &p, &n); /* key says it */
    }
    OSSL_DECODER_CTX_free(decoder);
    return key;
}

EVP_PKEY *tls_der_key(struct str der)
{
    const unsigned char *p = der_begin(der);
    const ASN1_OBJECT *kind;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, der_n(der));
    bool is_one =
        info != NULL && is_whole(der, p) && PKCS8_pkey_get0(&kind, NULL, NULL, NULL, info) == 1;
    EVP_PKEY *key = is_one ? key_decode(der, kind) : NULL;
    PKCS8_PRIV_KEY_INFO_free(info); /* overwrites it */
    return key;
}
