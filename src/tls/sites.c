/* What happens when a ClientHello has come: everything that depends on the name is set on the one
 * connection, before OpenSSL looks for a session or a certificate. */
#include "tls/sites.h"

#include <openssl/err.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/rd.h"
#include "tls/served_priv.h"
#include "tls/sites_priv.h"
#include "wire/client_hello.h"

enum { NAME_TYPE_HOST = 0 };

/* ---- the name ---- */

/* The extension as it lies there: one list of one name. False: it is malformed. */
static bool name_read(const unsigned char *p, size_t n, struct str *ret)
{
    struct rd r = rd_make(p, n);
    uint16_t list_n = rd_be16(&r);
    uint8_t type = rd_u8(&r);
    uint16_t name_n = rd_be16(&r);
    const uint8_t *name = rd_take(&r, name_n);
    if (r.bad || list_n != n - 2 || type != NAME_TYPE_HOST || rd_left(&r) != 0) {
        return false;
    }
    *ret = str_make((const char *)name, name_n);
    return true;
}

/* The same form as passthrough looks names up in. False: no name that could be anybody's. */
static bool hello_name(SSL *ssl, char to[SERVER_NAME_BYTES_MAX], struct str *ret)
{
    const unsigned char *p;
    size_t n;
    struct str raw;
    *ret = STR_EMPTY;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) != 1) {
        return true;
    }
    if (!name_read(p, n, &raw) || !server_name_normalize(raw, to, &n)) {
        return false;
    }
    *ret = str_make(to, n);
    return true;
}

/* ---- certificates ---- */

static uint32_t certificates_set(const struct tls_sites *s, SSL *ssl,
                                 const struct snap_tls_host *host)
{
    const struct snap_named *list = snap_array_get(host, host->certificates);
    uint32_t set_n = 0;
    for (uint32_t i = 0; i < host->certificates.n; i++) {
        const struct served_certificate *c =
            served_certificate_get(s->served, snap_str_get(host, list[i].key), list[i].hash);
        if (c != NULL && SSL_use_cert_and_key(ssl, c->leaf, c->key, c->chain, 1) == 1) {
            set_n++;
        }
    }
    return set_n;
}

/* What has just been loaded. */
static void tell_figures(const struct tls_sites *s)
{
    struct tls_served_figures f = tls_served_figures(s->served);
    stats_set(&s->stats->tls_certificates, f.n);
    stats_set(&s->stats->limit_tls_certificates, f.dropped);
}

/* Those of the host, else those of names that nobody has one for. */
static bool has_certificate(const struct tls_sites *s, SSL *ssl, const struct snap_tls_host *host)
{
    if (host != NULL && certificates_set(s, ssl, host) > 0) {
        return true;
    }
    bool is_any = host != NULL && host->kind == SNAP_HOST_ANY;
    const struct snap_tls_host *any = is_any ? NULL : s->find(s->arg, STR_EMPTY);
    return any != NULL && certificates_set(s, ssl, any) > 0;
}

/* ---- clients ---- */

/* A session must not open the door of another policy, nor be resumed under another name (RFC 6066
 * section 3), nor stand for a certificate that today's authorities do not vouch for any more: stamp
 * is of their content. The same in each worker and replica. */
static void session_bind(SSL *ssl, struct str name, uint64_t policy, uint64_t stamp)
{
    const uint64_t parts[] = {hash_str(name), policy, stamp};
    unsigned char context[sizeof(parts) + 1] = {'L'};
    mem_copy(context + 1, parts, sizeof(parts));
    (void)SSL_set_session_id_context(ssl, context, sizeof(context)); /* short enough */
}

static bool client_set(const struct tls_sites *s, SSL *ssl, struct str name,
                       const struct snap_tls_host *host)
{
    if (host == NULL || host->verify == SNAP_VERIFY_OFF) {
        session_bind(ssl, name, host == NULL ? 0 : host->policy, 0);
        return true;
    }
    const struct served_authority *a = served_authority_get(
        s->served, snap_str_get(host, host->authority.key), host->authority.hash);
    STACK_OF(X509_NAME) *names = a == NULL ? NULL : SSL_dup_CA_list(a->names);
    if (names == NULL || SSL_set1_verify_cert_store(ssl, a->store) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return false; /* nobody could be told from anybody else */
    }
    session_bind(ssl, name, host->policy, a->stamp);
    SSL_set_client_CA_list(ssl, names); /* takes them */
    SSL_set_verify(ssl, SSL_VERIFY_PEER, client_on_verify);
    SSL_set_verify_depth(ssl, host->depth);
    return true;
}

/* ---- the whole ---- */

static int refuse(int alert, int *ret_alert)
{
    (void)tls_errors_take(E_OK); /* the alert says it */
    *ret_alert = alert;
    return SSL_CLIENT_HELLO_ERROR;
}

int sites_on_hello(SSL *ssl, int *ret_alert, void *arg)
{
    const struct tls_sites *s = arg;
    struct site_conn *c = SSL_get_app_data(ssl);
    char text[SERVER_NAME_BYTES_MAX];
    struct str name;
    if (SSL_client_hello_isv2(ssl) == 1) { /* RFC 8446 appendix D.5; passthrough knows none */
        return refuse(SSL_AD_PROTOCOL_VERSION, ret_alert);
    }
    if (!hello_name(ssl, text, &name)) {
        return refuse(SSL_AD_DECODE_ERROR, ret_alert);
    }
    const struct snap_tls_host *host = s->find(s->arg, name);
    bool is_known = host != NULL && host->kind != SNAP_HOST_ANY;
    if (!is_known && s->settings->ssl_reject_handshake != 0) {
        stats_add(&s->stats->tls_rejected_names, 1);
        return refuse(SSL_AD_UNRECOGNIZED_NAME, ret_alert);
    }
    /* Its name was not seen in time, or is passed through since a moment ago. The certificate that
     * we would show is not the host's. */
    if (host != NULL && host->passthrough.key.n > 0) {
        return refuse(SSL_AD_UNRECOGNIZED_NAME, ret_alert);
    }
    if (!tickets_are_wanted(s)) {
        (void)SSL_set_options(ssl, SSL_OP_NO_TICKET); /* then the session is kept here */
    }
    if (!site_conn_name(c, name, host)) {
        return refuse(SSL_AD_INTERNAL_ERROR, ret_alert);
    }
    if (!client_set(s, ssl, name, host)) {
        return refuse(SSL_AD_ACCESS_DENIED, ret_alert);
    }
    bool is_served = has_certificate(s, ssl, host);
    tell_figures(s);
    if (!is_served) {
        stats_add(&s->stats->tls_no_certificate, 1);
        return refuse(SSL_AD_UNRECOGNIZED_NAME, ret_alert);
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}
