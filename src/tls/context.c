/* SSL_CTX, set up once. */
#include "tls/tls_priv.h"

#include <openssl/err.h>

#include "base/mem.h"
#include "tls/sessions_priv.h"
#include "tls/sites_priv.h"

/* TLS 1.2; those of 1.3 are all good and stay the library's. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"

enum { WORDS_BYTES_MAX = 4096 };

static const char *const groups[] = {
    /* the first that the library knows all of */
    "X25519MLKEM768:X25519:P-256:P-384",
    "X25519:P-256:P-384",
};

/* ---- ALPN ---- */

const struct tls_protocol tls_protocols[TLS_PROTOCOLS_N] = {
    {TLS_ALPN_HTTP2, STR_INIT("\x02h2")      },
    {TLS_ALPN_HTTP1, STR_INIT("\x08http/1.1")},
};

/* What clients of HTTP/1.0 say; we offer it to nobody. */
#define HTTP10 STR("\x08http/1.0")

static bool list_has(struct str list, struct str name)
{
    while (list.n > 0) {
        struct str item = str_first(list, 1 + (size_t)(unsigned char)list.p[0]);
        if (str_eq(item, name)) {
            return true;
        }
        list = str_from(list, item.n);
    }
    return false;
}

static struct str choose(uintptr_t alpn, struct str offered)
{
    for (size_t i = 0; i < TLS_PROTOCOLS_N; i++) {
        if ((alpn & tls_protocols[i].bit) != 0 && list_has(offered, tls_protocols[i].name)) {
            return tls_protocols[i].name;
        }
    }
    return (alpn & TLS_ALPN_HTTP1) != 0 && list_has(offered, HTTP10) ? HTTP10 : STR_EMPTY;
}

/* RFC 7301 section 3.2: who speaks something else is refused, so that what is meant for another
 * protocol's server is never taken for HTTP, nor our answers for that server's. */
static int on_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_n,
                   const unsigned char *list, unsigned list_n, void *arg)
{
    struct str chosen = choose((uintptr_t)arg, str_make((const char *)list, list_n));
    (void)ssl;
    if (chosen.n == 0) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *ret = (const unsigned char *)chosen.p + 1;
    *ret_n = (unsigned char)(chosen.n - 1);
    return SSL_TLSEXT_ERR_OK;
}

/* ---- the context ---- */

static enum err groups_set(SSL_CTX *ssl)
{
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (SSL_CTX_set1_groups_list(ssl, groups[i]) == 1) {
            return E_OK;
        }
        TRY(tls_errors_take(E_OK));
    }
    return E_NOMEM; /* the last list is known to every OpenSSL 3 */
}

/* Words of an operator; the library knows none of them: E_PROTO. */
static enum err words_set(SSL_CTX *ssl, struct str words,
                          int (*set)(SSL_CTX *ssl, const char *words))
{
    char text[WORDS_BYTES_MAX];
    if (!str_to_cstr(words, text, sizeof(text))) {
        return E_PROTO;
    }
    return set(ssl, text) == 1 ? E_OK : tls_errors_take(E_PROTO);
}

static int groups_list_set(SSL_CTX *ssl, const char *words)
{
    return (int)SSL_CTX_set1_groups_list(ssl, words); /* a macro that wants a variable */
}

static enum err versions_set(SSL_CTX *ssl, const struct tls_context_options *o)
{
    int low = o->min_version == 13 ? TLS1_3_VERSION : TLS1_2_VERSION;
    int high = o->max_version == 12 ? TLS1_2_VERSION : 0; /* 0: the newest */
    return SSL_CTX_set_min_proto_version(ssl, low) == 1 &&
                   SSL_CTX_set_max_proto_version(ssl, high) == 1
               ? E_OK
               : tls_errors_take(E_NOMEM);
}

/* Of many sites: who keeps sessions, and the rest when the name is known. */
static enum err sites_set(SSL_CTX *ssl, const struct tls_sites *sites)
{
    union { /* OpenSSL passes it on */
        const struct tls_sites *in;
        void *out;
    } arg = {sites};
    if (SSL_CTX_set_app_data(ssl, arg.out) != 1) {
        return tls_errors_take(E_NOMEM);
    }
    SSL_CTX_set_client_hello_cb(ssl, sites_on_hello, arg.out);
    (void)SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, tickets_on_key);
    (void)SSL_CTX_set_tlsext_status_cb(ssl, staples_on_status);
    (void)SSL_CTX_set_timeout(ssl, (long)(sites->settings->ssl_session_timeout / USEC_PER_SEC));
    (void)SSL_CTX_set_num_tickets(ssl, 1); /* a client that opens several connections has several */
    if (sites->sessions != NULL) {
        sessions_attach(ssl);
    }
    return E_OK;
}

static enum err rules_set(SSL_CTX *ssl, const struct tls_context_options *o)
{
    TRY(versions_set(ssl, o));
    TRY(words_set(ssl, o->ciphers.n > 0 ? o->ciphers : STR(CIPHERS), SSL_CTX_set_cipher_list));
    (void)SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                       SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    /* An idle connection holds no buffer; what a retried send brings may lie elsewhere. */
    (void)SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    if (o->sites != NULL) {
        TRY(sites_set(ssl, o->sites));
    } else if (!o->has_tickets) {
        (void)SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
        (void)SSL_CTX_set_num_tickets(ssl, 0); /* 0 is allowed: it cannot fail */
    }
    if (o->alpn != 0) {
        SSL_CTX_set_alpn_select_cb(ssl, on_alpn, (void *)(uintptr_t)o->alpn);
    }
    return o->groups.n > 0 ? words_set(ssl, o->groups, groups_list_set) : groups_set(ssl);
}

static enum err certificate_set(SSL_CTX *ssl, const struct tls_certificate *c,
                                enum tls_fault *ret_fault)
{
    if (SSL_CTX_use_cert_and_key(ssl, c->leaf, c->key, c->chain, 1) == 1) {
        return E_OK;
    }
    enum err e = tls_errors_take(E_PROTO);
    if (e == E_PROTO) {
        *ret_fault = TLS_FAULT_WEAK; /* the rest was checked when it was parsed */
    }
    return e;
}

enum err tls_context_new(const struct tls_context_options *o, enum tls_fault *ret_fault,
                         struct tls_context **ret)
{
    struct tls_context *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        return E_NOMEM;
    }
    c->ssl = SSL_CTX_new(TLS_server_method());
    enum err e = c->ssl == NULL ? tls_errors_take(E_NOMEM) : rules_set(c->ssl, o);
    if (e == E_PROTO) {
        *ret_fault = TLS_FAULT_NONE;
    }
    if (e == E_OK && o->certificate != NULL) {
        e = certificate_set(c->ssl, o->certificate, ret_fault);
    }
    if (e != E_OK) {
        tls_context_free(c);
        return e;
    }
    *ret = c;
    return E_OK;
}

void tls_context_free(struct tls_context *c)
{
    if (c != NULL) {
        SSL_CTX_free(c->ssl);
        mem_free(c);
    }
}

bool tls_words_are_known(struct str cipher_list, struct str group_list)
{
    const struct tls_context_options o = {.ciphers = cipher_list, .groups = group_list};
    struct tls_context *context = NULL;
    enum tls_fault fault;
    enum err e = tls_context_new(&o, &fault, &context);
    tls_context_free(context);
    return e != E_PROTO;
}
