/* Sessions of a client, as bytes: an SSL_SESSION with the server's certificate in it takes ten
 * times as much. Found by going through all of them, which is nothing beside a handshake. */
#include "tls/client.h"

#include <string.h>

#include <openssl/err.h>

#include "base/mem.h"
#include "tls/tls_priv.h"

struct session {
    struct list link;
    struct ip ip;
    uint16_t port;
    bool is_single;     /* a ticket of TLS 1.3 */
    usec_t verified_at; /* the full handshake that it goes back to */
    size_t n;
    unsigned char bytes[]; /* DER; secret */
};

static struct session *session_at(struct list *link)
{
    return container_of(link, struct session, link);
}

static bool is_for(const struct session *s, const struct tls_peer *peer)
{
    return s->port == peer->port && ip_cmp(&s->ip, &peer->ip) == 0;
}

static void session_drop(struct tls_client *c, struct session *s)
{
    list_del(&s->link);
    c->session_n--;
    explicit_bzero(s->bytes, s->n);
    mem_free(s);
}

/* All but the newest keep of them. */
static void peer_trim(struct tls_client *c, const struct tls_peer *peer, uint32_t keep)
{
    list_each(it, &c->sessions)
    {
        struct session *s = session_at(it);
        if (!is_for(s, peer)) {
            continue;
        }
        if (keep > 0) {
            keep--;
        } else {
            session_drop(c, s);
        }
    }
}

static void note_limit(struct tls_client *c)
{
    stats_add(&c->stats->limit_upstream_sessions, 1);
}

static struct session *session_new(struct tls_client *c, SSL_SESSION *ssl)
{
    int n = i2d_SSL_SESSION(ssl, NULL);
    if (n <= 0 || n > TLS_CLIENT_SESSION_BYTES_MAX) {
        note_limit(c);
        return NULL;
    }
    struct session *s = mem_alloc(sizeof(*s) + (size_t)n);
    if (s == NULL) {
        return NULL;
    }
    unsigned char *p = s->bytes;
    *s = (struct session){.n = (size_t)i2d_SSL_SESSION(ssl, &p)};
    s->is_single = SSL_SESSION_get_protocol_version(ssl) == TLS1_3_VERSION;
    return s;
}

void client_sessions_add(struct tls_client *c, const struct tls_peer *peer, SSL_SESSION *ssl,
                         usec_t verified_at)
{
    struct session *s = session_new(c, ssl);
    if (s == NULL) { /* too large or out of memory: the next handshake is a full one */
        (void)tls_errors_take(E_OK);
        return;
    }
    s->ip = peer->ip;
    s->port = peer->port;
    s->verified_at = verified_at;
    list_push(&c->sessions, &s->link);
    c->session_n++;
    peer_trim(c, peer, s->is_single ? TLS_SESSIONS_PER_PEER_MAX : 1);
    if (c->session_n > TLS_SESSIONS_MAX) {
        note_limit(c);
        session_drop(c, session_at(c->sessions.prev));
    }
}

static SSL_SESSION *session_open(struct tls_client *c, struct session *s)
{
    const unsigned char *p = s->bytes;
    SSL_SESSION *ssl = d2i_SSL_SESSION(NULL, &p, (long)s->n);
    (void)tls_errors_take(E_OK);       /* none: out of memory */
    if (s->is_single || ssl == NULL) { /* RFC 8446 appendix C.4 */
        session_drop(c, s);
    }
    return ssl;
}

SSL_SESSION *client_sessions_take(struct tls_client *c, const struct tls_peer *peer, usec_t now,
                                  usec_t *ret_verified_at)
{
    list_each(it, &c->sessions)
    {
        struct session *s = session_at(it);
        if (now - s->verified_at >= TLS_SESSION_AGE_MAX) {
            session_drop(c, s);
        } else if (is_for(s, peer)) {
            *ret_verified_at = s->verified_at;
            return session_open(c, s);
        }
    }
    return NULL;
}

void client_sessions_forget(struct tls_client *c, const struct tls_peer *peer)
{
    peer_trim(c, peer, 0);
}

void client_sessions_fini(struct tls_client *c)
{
    list_each(it, &c->sessions)
    {
        session_drop(c, session_at(it));
    }
}
