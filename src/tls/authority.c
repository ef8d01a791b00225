/* Bundles of PEM, block by block. */
#include "tls/authority.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "tls/tls_priv.h"

static enum err fail(enum tls_fault *ret_fault, enum tls_fault fault)
{
    enum err e = tls_errors_take(E_PROTO);
    if (e == E_PROTO) {
        *ret_fault = fault;
    }
    return e;
}

/* The next block in DER, to be freed by OPENSSL_free(); <= 0: the end, or a broken one. */
typedef int next_fn(BIO *bio, unsigned char **ret);

static int next_certificate(BIO *bio, unsigned char **ret)
{
    X509 *x = PEM_read_bio_X509(bio, NULL, tls_no_passphrase, NULL);
    int n = x == NULL ? -1 : i2d_X509(x, ret);
    X509_free(x);
    return n;
}

static int next_revocation(BIO *bio, unsigned char **ret)
{
    X509_CRL *x = PEM_read_bio_X509_CRL(bio, NULL, tls_no_passphrase, NULL);
    int n = x == NULL ? -1 : i2d_X509_CRL(x, ret);
    X509_CRL_free(x);
    return n;
}

struct bundle {
    next_fn *next;
    enum tls_fault bad;
    uint32_t n;
};

static enum err bundle_read(struct bundle *b, BIO *bio, tls_der_fn *fn, void *arg,
                            enum tls_fault *ret_fault)
{
    for (;; b->n++) {
        unsigned char *der = NULL;
        int n = b->next(bio, &der);
        if (n <= 0) {
            bool is_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
            return is_end ? tls_errors_take(E_OK) : fail(ret_fault, b->bad);
        }
        enum err e = b->n < TLS_AUTHORITIES_MAX ? fn(arg, str_make((const char *)der, (size_t)n))
                                                : fail(ret_fault, TLS_FAULT_LARGE);
        OPENSSL_free(der);
        TRY(e);
    }
}

static enum err bundle_each(struct bundle *b, struct str pem, tls_der_fn *fn, void *arg,
                            enum tls_fault *ret_fault)
{
    ERR_clear_error(); /* somebody else's */
    if (pem.n > TLS_AUTHORITY_BYTES_MAX) {
        return fail(ret_fault, TLS_FAULT_LARGE);
    }
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    if (bio == NULL) {
        return tls_errors_take(E_NOMEM);
    }
    enum err e = bundle_read(b, bio, fn, arg, ret_fault);
    (void)BIO_free(bio);
    return e;
}

enum err tls_authority_each(struct str pem, tls_der_fn *fn, void *arg, enum tls_fault *ret_fault)
{
    struct bundle b = {next_certificate, TLS_FAULT_BAD_AUTHORITY, 0};
    TRY(bundle_each(&b, pem, fn, arg, ret_fault));
    return b.n > 0 ? E_OK : fail(ret_fault, TLS_FAULT_NO_AUTHORITY);
}

enum err tls_revocation_each(struct str pem, tls_der_fn *fn, void *arg, enum tls_fault *ret_fault)
{
    struct bundle b = {next_revocation, TLS_FAULT_BAD_REVOCATION, 0};
    return bundle_each(&b, pem, fn, arg, ret_fault);
}
