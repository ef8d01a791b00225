/* Bundles of authorities and revocation lists in PEM, and both in DER, as it comes out of
 * snapshots: what was taken from one is taken by the other. */
#include "tls/authority.h"

#include <openssl/err.h>

#include "tls/tls_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
    uint32_t n;
    bool is_list;
};

static enum err see(void *arg, struct str der)
{
    struct seen *s = arg;
    X509 *x = s->is_list ? NULL : tls_der_certificate(der);
    X509_CRL *list = s->is_list ? tls_der_revocations(der) : NULL;
    must(x != NULL || list != NULL);
    X509_free(x);
    X509_CRL_free(list);
    s->n++;
    return E_OK;
}

/* The same bytes as if they were DER. */
static void decode(struct str bytes)
{
    X509_free(tls_der_certificate(bytes));
    X509_CRL_free(tls_der_revocations(bytes));
    EVP_PKEY_free(tls_der_key(bytes));
    ERR_clear_error();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    for (int is_list = 0; is_list < 2; is_list++) {
        struct seen seen = {0, is_list != 0};
        enum tls_fault fault = TLS_FAULT_NONE;
        enum err e = is_list ? tls_revocation_each(text, see, &seen, &fault)
                             : tls_authority_each(text, see, &seen, &fault);
        must(e == E_OK || e == E_PROTO);
        must((e == E_PROTO) == (fault != TLS_FAULT_NONE));
        must(e != E_OK || is_list || seen.n > 0);
        must(seen.n <= TLS_AUTHORITIES_MAX && ERR_peek_error() == 0);
    }
    decode(text);
    return 0;
}
