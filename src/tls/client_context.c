/* The SSL_CTX of a client: versions and ciphers, whom to trust and by which name, our own
 * certificate. Made once, so that a handshake has none of it to do. */
#include "tls/client.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls/tls_priv.h"
#include "wire/uri.h"

static enum err refuse(enum err e, const char *why, const char **ret_why)
{
    e = tls_errors_take(e);
    if (e == E_PROTO) {
        *ret_why = why;
    }
    return e;
}

static int version_of(uint8_t version)
{
    return version == 12 ? TLS1_2_VERSION : version == 13 ? TLS1_3_VERSION : 0;
}

static bool ciphers_set(SSL_CTX *ssl, struct str ciphers)
{
    char text[TLS_CIPHERS_BYTES_MAX + 1];
    return ciphers.n == 0 ||
           (str_to_cstr(ciphers, text, sizeof(text)) && SSL_CTX_set_cipher_list(ssl, text) == 1);
}

/* Ciphers and groups are the library's choice, which takes what old servers have and nothing that
 * is broken: a proxy does not get to choose what stands behind it. */
static enum err rules_set(SSL_CTX *ssl, const struct tls_client_options *o, const char **ret_why)
{
    int min = version_of(o->min_version), max = version_of(o->max_version);
    (void)SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    (void)SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    if ((max != 0 && max < min) ||
        SSL_CTX_set_min_proto_version(ssl, min == 0 ? TLS1_2_VERSION : min) != 1 ||
        SSL_CTX_set_max_proto_version(ssl, max) != 1) {
        return refuse(E_PROTO, "no version of TLS is left", ret_why);
    }
    return ciphers_set(ssl, o->ciphers) ? E_OK
                                        : refuse(E_PROTO, "no cipher that is known", ret_why);
}

static enum err alpn_set(SSL_CTX *ssl, unsigned alpn)
{
    char list[64]; /* room for all */
    struct wr w = wr_make(list, sizeof(list));
    for (size_t i = 0; i < TLS_PROTOCOLS_N; i++) {
        wr_str(&w, (alpn & tls_protocols[i].bit) != 0 ? tls_protocols[i].name : STR_EMPTY);
    }
    must(!w.bad);
    int failed =
        alpn == 0 ? 0
                  : SSL_CTX_set_alpn_protos(ssl, (const unsigned char *)list, (unsigned)wr_n(&w));
    return failed == 0 ? E_OK : tls_errors_take(E_NOMEM);
}

/* ---- trust ---- */

static enum err authorities_add(X509_STORE *store, const struct tls_client_options *o,
                                const char **ret_why)
{
    for (uint32_t i = 0; i < o->authority_n; i++) {
        X509 *x = tls_der_certificate(o->authorities[i]);
        /* Looked at for the first time when memory is out, it would never be believed again. */
        bool is_good =
            x != NULL && X509_check_purpose(x, -1, 0) != -1 && X509_STORE_add_cert(store, x) == 1;
        X509_free(x);
        if (!is_good) {
            return refuse(E_PROTO, "an authority cannot be read", ret_why);
        }
    }
    return E_OK;
}

static enum err revocations_add(X509_STORE *store, const struct tls_client_options *o,
                                const char **ret_why)
{
    for (uint32_t i = 0; i < o->revocation_n; i++) {
        X509_CRL *list = tls_der_revocations(o->revocations[i]);
        bool is_good = list != NULL && X509_STORE_add_crl(store, list) == 1;
        X509_CRL_free(list);
        if (!is_good) {
            return refuse(E_PROTO, "a revocation list cannot be read", ret_why);
        }
    }
    return E_OK;
}

/* Into c->name when it is a DNS name. */
static enum err name_parse(struct tls_client *c, struct str name, struct str *ret_host,
                           struct ip *ret_ip)
{
    uint16_t port;
    *ret_ip = (struct ip){0};
    if (ip_parse(name, ret_ip) == E_OK) {
        return E_OK;
    }
    if (name.n > TLS_NAME_BYTES_MAX) {
        return E_PROTO;
    }
    TRY(host_parse(name, c->name, ret_host, &port));
    bool is_address = ip_parse(*ret_host, ret_ip) == E_OK; /* it had brackets */
    c->name[is_address ? 0 : ret_host->n] = '\0';
    return E_OK;
}

/* RFC 9525 section 6. */
static bool name_expect(X509_VERIFY_PARAM *param, struct str host, const struct ip *ip)
{
    if (ip->family != 0) {
        return X509_VERIFY_PARAM_set1_ip(param, ip->bytes, ip->family == 4 ? 4 : 16) == 1;
    }
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, host.p, host.n) == 1;
}

static enum err name_set(struct tls_client *c, const struct tls_client_options *o,
                         const char **ret_why)
{
    struct str host;
    struct ip ip;
    if (o->name.n == 0) {
        return E_OK;
    }
    if (name_parse(c, o->name, &host, &ip) != E_OK) {
        return refuse(E_PROTO, "the server name is none", ret_why);
    }
    c->is_name_sent = o->sends_name && ip.family == 0; /* RFC 6066 section 3 */
    bool is_set = !o->is_verified || name_expect(SSL_CTX_get0_param(c->context), host, &ip);
    return is_set ? E_OK : tls_errors_take(E_NOMEM);
}

static enum err trust_set(struct tls_client *c, const struct tls_client_options *o,
                          const char **ret_why)
{
    X509_STORE *store = SSL_CTX_get_cert_store(c->context);
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(c->context);
    unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;
    TRY(name_set(c, o, ret_why));
    if (!o->is_verified) {
        SSL_CTX_set_verify(c->context, SSL_VERIFY_NONE, NULL);
        return E_OK;
    }
    SSL_CTX_set_verify(c->context, SSL_VERIFY_PEER, NULL);
    if (o->depth > 0) {
        X509_VERIFY_PARAM_set_depth(param, o->depth);
    }
    if (o->revocation_n > 0) {
        flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
    }
    (void)X509_VERIFY_PARAM_set_flags(param, flags); /* only stores */
    TRY(authorities_add(store, o, ret_why));
    return revocations_add(store, o, ret_why);
}

/* ---- our own certificate ---- */

static enum err chain_read(const struct tls_client_options *o, STACK_OF(X509) * chain)
{
    for (uint32_t i = 0; i < o->chain_n; i++) {
        X509 *x = tls_der_certificate(o->chain[i]);
        if (x == NULL || sk_X509_push(chain, x) == 0) {
            X509_free(x);
            return E_PROTO;
        }
    }
    return E_OK;
}

static enum err identity_set(SSL_CTX *ssl, const struct tls_client_options *o, const char **ret_why)
{
    if (o->chain_n == 0) {
        return E_OK;
    }
    STACK_OF(X509) *chain = sk_X509_new_null();
    EVP_PKEY *key = tls_der_key(o->key);
    enum err e = chain == NULL ? E_NOMEM : chain_read(o, chain);
    if (e == E_OK && key != NULL) {
        X509 *leaf = sk_X509_shift(chain);
        e = SSL_CTX_use_cert_and_key(ssl, leaf, key, chain, 1) == 1 ? E_OK : E_PROTO;
        X509_free(leaf);
    }
    e = key == NULL && e == E_OK ? E_PROTO : e;
    EVP_PKEY_free(key); /* overwrites it */
    sk_X509_pop_free(chain, X509_free);
    return e == E_OK
               ? E_OK
               : refuse(e, "our certificate cannot be read, is too weak, or its key is of another",
                        ret_why);
}

/* ---- the whole ---- */

enum err tls_client_context_make(struct tls_client *c, const struct tls_client_options *o,
                                 const char **ret_why)
{
    c->context = SSL_CTX_new(TLS_client_method());
    if (c->context == NULL) {
        return tls_errors_take(E_NOMEM);
    }
    TRY(rules_set(c->context, o, ret_why));
    TRY(alpn_set(c->context, o->alpn));
    TRY(trust_set(c, o, ret_why));
    TRY(identity_set(c->context, o, ret_why));
    return tls_errors_take(E_OK);
}

bool tls_ciphers_are_known(struct str ciphers)
{
    ERR_clear_error(); /* somebody else's */
    SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());
    bool are_known = ssl != NULL && ciphers.n > 0 && ciphers_set(ssl, ciphers);
    SSL_CTX_free(ssl);
    (void)tls_errors_take(E_OK); /* the answer says it */
    return are_known;
}
