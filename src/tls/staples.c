/* A client that wants to know whether the certificate is revoked gets what the controller has found
 * out. Without anything that is valid now, the handshake goes on without: RFC 6066 section 8. */
#include <openssl/err.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tls/served_priv.h"
#include "tls/sites_priv.h"

/* A host may have certificates with keys of several kinds: it is about the one that is sent. */
static struct str staple_of_host(const struct tls_sites *s, const struct snap_tls_host *host,
                                 const X509 *sent, int64_t now_s)
{
    const struct snap_named *list = snap_array_get(host, host->certificates);
    for (uint32_t i = 0; i < host->certificates.n; i++) {
        struct str key = snap_str_get(host, list[i].key);
        const struct served_certificate *c = served_certificate_get(s->served, key, list[i].hash);
        if (c != NULL && c->leaf == sent) {
            return served_staple_get(s->served, key, list[i].hash, now_s);
        }
    }
    return STR_EMPTY;
}

/* As certificates were looked for when the ClientHello came. Has the configuration changed since,
 * then what is sent is found nowhere, and there is no staple. */
static struct str staple_find(const struct tls_sites *s, struct str name, const X509 *sent)
{
    int64_t now_s = (int64_t)(clock_wall() / USEC_PER_SEC);
    const struct snap_tls_host *host = s->find(s->arg, name);
    struct str staple = host == NULL ? STR_EMPTY : staple_of_host(s, host, sent, now_s);
    bool is_any = host != NULL && host->kind == SNAP_HOST_ANY;
    const struct snap_tls_host *any = is_any || staple.n > 0 ? NULL : s->find(s->arg, STR_EMPTY);
    return any == NULL ? staple : staple_of_host(s, any, sent, now_s);
}

static bool attach(SSL *ssl, struct str staple)
{
    unsigned char *copy = staple.n == 0 ? NULL : OPENSSL_malloc(staple.n);
    if (copy == NULL) {
        return false;
    }
    mem_copy(copy, staple.p, staple.n);
    (void)SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)staple.n); /* takes it */
    return true;
}

int staples_on_status(SSL *ssl, void *arg)
{
    const struct tls_sites *s = sites_of(ssl);
    const struct site_conn *c = SSL_get_app_data(ssl);
    const X509 *sent = SSL_get_certificate(ssl); /* OpenSSL has chosen it by now */
    (void)arg;
    if (s->settings->enable_ocsp == 0 || sent == NULL || SSL_session_reused(ssl) == 1) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    bool is_stapled = attach(ssl, staple_find(s, c->info.server_name, sent));
    stats_add(is_stapled ? &s->stats->tls_stapled : &s->stats->tls_not_stapled, 1);
    (void)tls_errors_take(E_OK); /* of certificates that could not be decoded: told elsewhere */
    return is_stapled ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

void staples_drop(SSL *ssl)
{
    const unsigned char *staple;
    if (SSL_get_tlsext_status_ocsp_resp(ssl, &staple) > 0) {
        (void)SSL_set_tlsext_status_ocsp_resp(ssl, NULL, 0); /* frees it */
    }
}
