/* tls/sites_priv.h: the server's side of connections whose handshakes are answered by name. Private
 * to tls/.
 *
 *   sites.c    a ClientHello has come: which certificates, who has to show one
 *   staples.c  the client wants to know whether the certificate is revoked
 *   visitor.c  what the client has shown
 *   server.c   the connection */
#pragma once

#include "tls/sites.h"
#include "tls/tls_priv.h"

struct tls_server;

struct site_conn {
    struct tls_conn conn; /* first: SSL_get_app_data() */
    struct tls_server *server;
    struct list waiting; /* for its turn */
    struct transport_tls info;
    char *name;              /* info.server_name; NULL: none */
    struct visitor *visitor; /* NULL: nothing was asked for */
    bool is_shaking, is_its_turn;
    bool is_counted; /* in stats->tls_conns */
    bool asks_client;
    bool passes_certificate; /* the visitor's, in PEM */
};

/* ---- sites.c ---- */

/* An SSL_client_hello_cb_fn; arg: struct tls_sites. */
int sites_on_hello(SSL *ssl, int *ret_alert, void *arg);

/* Of the context that ssl was made of. */
static inline const struct tls_sites *sites_of(SSL *ssl)
{
    return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

/* ---- staples.c ---- */

/* For SSL_CTX_set_tlsext_status_cb(). */
int staples_on_status(SSL *ssl, void *arg);
/* The response is not needed any more: OpenSSL would keep it for the connection's life. */
void staples_drop(SSL *ssl);

/* ---- tickets.c ---- */

/* They are switched on, and there are keys. */
bool tickets_are_wanted(const struct tls_sites *s);
/* For SSL_CTX_set_tlsext_ticket_key_evp_cb(). */
int tickets_on_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                   EVP_MAC_CTX *mac, int is_encrypting);

/* ---- server.c ---- */

/* Notes what was asked for. False: out of memory. */
bool site_conn_name(struct site_conn *c, struct str name, const struct snap_tls_host *host);

/* ---- visitor.c: what a client has shown ---- */

/* An SSL_verify_cb: the handshake goes on, whatever is wrong; requests are answered by it. */
int client_on_verify(int is_good, X509_STORE_CTX *x);
/* x: what was shown, or NULL; result: of its verification, X509_V_*. NULL: out of memory. */
struct visitor *visitor_new(X509 *x, long result, bool passes_certificate);
const struct transport_client *visitor_client(const struct visitor *v);
void visitor_free(struct visitor *v); /* v may be NULL */
