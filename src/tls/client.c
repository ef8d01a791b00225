/* What is an SSL_CTX's for good is set up once, when the client is made: trust, name, our own
 * certificate. A connection adds the server name, the session that it tries to resume, and notes.
 */
#include "tls/client.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

#include "base/mem.h"
#include "tls/tls_priv.h"

struct client_conn {
    struct tls_conn conn; /* first */
    struct tls_client *client;
    struct tls_peer peer;
    usec_t offered_at; /* of the session offered: the full handshake that it goes back to */
};

static struct client_conn *client_conn_of(struct tls_conn *c)
{
    return container_of(c, struct client_conn, conn);
}

/* ---- one connection ---- */

static struct tls_peer peer_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t n = sizeof(address);
    struct tls_peer peer = {0};
    (void)getpeername(fd, (struct sockaddr *)&address, &n); /* no address: as nobody's */
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&address;
        peer.ip.family = 4;
        peer.port = ntohs(in->sin_port);
        mem_copy(peer.ip.bytes, &in->sin_addr, sizeof(in->sin_addr));
    } else if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&address;
        peer.ip.family = 6;
        peer.port = ntohs(in6->sin6_port);
        mem_copy(peer.ip.bytes, &in6->sin6_addr, sizeof(in6->sin6_addr));
    }
    return peer;
}

static enum err client_begin(struct tls_conn *c)
{
    struct client_conn *k = client_conn_of(c);
    struct tls_client *client = k->client;
    k->peer = peer_of(c->transport->watch.fd);
    if (client->is_name_sent && SSL_set_tlsext_host_name(c->ssl, client->name) != 1) {
        return E_NOMEM;
    }
    SSL_SESSION *session = client_sessions_take(client, &k->peer, c->begun_at, &k->offered_at);
    if (session != NULL) {
        (void)SSL_set_session(c->ssl, session); /* else a full handshake */
        SSL_SESSION_free(session);
    }
    return E_OK;
}

/* RFC 7301 section 3.1: the server chooses among what was offered. OpenSSL does not look. */
static bool is_protocol_offered(const struct tls_conn *c, unsigned offered)
{
    const unsigned char *name;
    unsigned n;
    SSL_get0_alpn_selected(c->ssl, &name, &n);
    return n == 0 || (tls_transport_alpn(c->transport) & offered) != 0;
}

static enum err client_shaken(struct tls_conn *c)
{
    struct client_conn *k = client_conn_of(c);
    struct stats_page *stats = k->client->stats;
    if (!is_protocol_offered(c, k->client->alpn)) {
        c->is_shaken = false; /* as it shall be told */
        ERR_raise(ERR_LIB_SSL, SSL_R_BAD_EXTENSION);
        return E_PROTO;
    }
    bool is_resumed = SSL_session_reused(c->ssl) == 1;
    stats_add(is_resumed ? &stats->upstream_handshakes_resumed : &stats->upstream_handshakes, 1);
    stats_durations_add(is_resumed ? &stats->upstream_shaken_resumed : &stats->upstream_shaken_full,
                        tls_conn_shakes_for(c));
    return E_OK;
}

/* Sessions that this server may have choked on are not tried again. */
static void client_broken(struct tls_conn *c)
{
    struct client_conn *k = client_conn_of(c);
    struct tls_client *client = k->client;
    if (c->news_n > TLS_NEWS_MAX) {
        stats_add(&client->stats->limit_upstream_tls_messages, 1);
    }
    if (c->trouble.reason == REASON_none) {
        return;
    }
    struct tls_failure failure = {k->peer.ip, k->peer.port, c->trouble.reason, c->trouble.text};
    stats_add(&client->stats->upstream_handshake_failures, 1);
    client_sessions_forget(client, &k->peer);
    if (client->on_failure != NULL) {
        client->on_failure(client, &failure);
    }
}

static void client_closing(struct tls_conn *c)
{
    client_conn_of(c)->client->conn_n--;
}

static const struct tls_side client_side = {
    .speaks_first = true,
    .begin = client_begin,
    .shaken = client_shaken,
    .broken = client_broken,
    .closing = client_closing,
};

/* TLS 1.3 gives them at any time behind the handshake. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct client_conn *k = client_conn_of(SSL_get_app_data(ssl));
    bool is_resumed = SSL_session_reused(ssl) == 1;
    if (SSL_SESSION_is_resumable(session) == 1) {
        client_sessions_add(k->client, &k->peer, session,
                            is_resumed ? k->offered_at : k->conn.begun_at);
    }
    return 0; /* no reference is kept */
}

static enum err client_open(struct transport_opener *o, struct transport *t, struct loop *loop,
                            int fd, watch_fn *on_event)
{
    struct tls_client *client = container_of(o, struct tls_client, opener);
    struct client_conn *k = mem_calloc(1, sizeof(*k));
    if (k == NULL) {
        (void)close(fd); /* ours by contract */
        return E_NOMEM;
    }
    k->conn.shared = client->shared;
    k->conn.side = &client_side;
    k->client = client;
    client->conn_n++;
    return tls_conn_open(&k->conn, client->context, t, loop, fd, on_event);
}

/* ---- life ---- */

enum err tls_client_new(struct tls_shared *shared, struct stats_page *stats,
                        const struct tls_client_options *o, const char **ret_why,
                        struct tls_client **ret)
{
    struct tls_client *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        return E_NOMEM;
    }
    c->opener.open = client_open;
    c->shared = shared;
    c->stats = stats;
    c->alpn = o->alpn;
    list_init(&c->sessions);
    ERR_clear_error(); /* somebody else's */
    enum err e = tls_client_context_make(c, o, ret_why);
    if (e != E_OK) {
        tls_client_free(c);
        return e;
    }
    SSL_CTX_sess_set_new_cb(c->context, on_session);
    *ret = c;
    return E_OK;
}

void tls_client_free(struct tls_client *c)
{
    if (c == NULL) {
        return;
    }
    must(c->conn_n == 0);
    client_sessions_fini(c);
    SSL_CTX_free(c->context);
    mem_free(c);
}
