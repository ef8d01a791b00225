/* tls/tls_priv.h: what the files of tls/ share: OpenSSL's types stay behind this header. */
#pragma once

#include "event/transport.h"
#include "tls/certificate.h"
#include "tls/context.h"
#include "wire/ip.h"

#include <openssl/ssl.h>

struct tls_certificate {
    X509 *leaf;
    STACK_OF(X509) * chain; /* without the leaf; may be empty */
    EVP_PKEY *key;
    int64_t not_before, not_after; /* of the leaf, seconds since 1970 */
    struct buf names;              /* DNS names in lower case and addresses, a NUL behind each */
};

struct tls_context {
    SSL_CTX *ssl;
};

/* ---- one connection: transport.c ---- */

struct tls_conn;

/* What the two sides do differently; all but shaken may be NULL. */
struct tls_side {
    bool speaks_first;                      /* a client */
    bool (*may_shake)(struct tls_conn *c);  /* false: not now; c->on_event tells when. Or NULL */
    enum err (*begin)(struct tls_conn *c);  /* the socket stands, nothing was said yet */
    enum err (*shaken)(struct tls_conn *c); /* the handshake is complete; an error breaks c */
    void (*broken)(struct tls_conn *c);     /* c->fault and c->trouble say how */
    void (*closing)(struct tls_conn *c);    /* c is about to be freed */
};

enum tls_obstacle { /* what stood in the way of a handshake */
                    TLS_OBSTACLE_CLOSED,
                    TLS_OBSTACLE_NOT_TLS,
                    TLS_OBSTACLE_VERSION,
                    TLS_OBSTACLE_CIPHER, /* or a group: none in common */
                    TLS_OBSTACLE_ALPN,
                    TLS_OBSTACLE_REFUSED, /* by us, for the name */
                    TLS_OBSTACLE_ALERT,   /* by the peer */
                    TLS_OBSTACLE_MALFORMED,
                    TLS_OBSTACLE_MEMORY,
                    TLS_OBSTACLE_ABANDONED, /* we did not wait any longer */
                    TLS_OBSTACLES_N
};

/* Why a handshake failed. */
struct tls_trouble {
    enum reason reason; /* REASON_none: it did not */
    enum tls_obstacle obstacle;
    const char *text; /* static */
};

struct tls_conn { /* first in the side's own struct, which is freed with it */
    struct tls_shared *shared;
    const struct tls_side *side;
    struct transport *transport;
    SSL *ssl;
    watch_fn *on_event;    /* the owner's */
    struct deferred again; /* an event that the socket will not bring */
    struct str in;         /* received, not taken by OpenSSL; in the shared buffer or in rest */
    struct buf rest;       /* what was left over; empty most of the time */
    size_t room, got;      /* of the receive() that is on: left, and filled already */
    size_t budget;         /* bytes it may still take from the socket */
    usec_t begun_at;       /* the handshake, once has_begun */
    uint32_t again_events;
    uint32_t news_n;          /* messages of TLS itself since the last byte for the owner */
    bool has_begun;           /* the socket stands; a server: and something has come */
    bool is_shaken;           /* the handshake is complete */
    bool has_received;        /* some byte came for the owner */
    bool is_short;            /* the last recv() gave less than it could: no bytes are left */
    bool has_hangup;          /* epoll has told of the end or an error, once */
    bool receive_wants_write; /* events that must be seen as the other kind */
    bool send_wants_read;
    bool wants_finish; /* close_notify did not fit */
    bool has_more;     /* to be sent right after this record */
    bool has_met;      /* the peer has said something */
    bool is_plain;     /* which was HTTP without TLS */
    enum err fault;    /* that ended it; E_OK: none */
    struct tls_trouble trouble;
};

/* For how long the handshake has been going on, waiting for its turn included. By the clock: a
 * whole one may fit into a single tick of the loop. */
static inline usec_t tls_conn_shakes_for(const struct tls_conn *c)
{
    return clock_monotonic() - c->begun_at;
}

/* Opens t over fd by c, a cleared struct but for shared and side. Takes fd and c (from
 * mem_calloc()), also on failure. Errors: E_NOMEM, E_SYS. */
enum err tls_conn_open(struct tls_conn *c, SSL_CTX *context, struct transport *t, struct loop *loop,
                       int fd, watch_fn *on_event);

/* ---- client_context.c ---- */

struct tls_client;
struct tls_client_options;

/* Sets c->context, name and is_name_sent. Errors: as tls_client_new(). */
enum err tls_client_context_make(struct tls_client *c, const struct tls_client_options *o,
                                 const char **ret_why);

/* ---- client_sessions.c: those that a client may resume ---- */

struct tls_peer {
    struct ip ip; /* family 0: not one of the network */
    uint16_t port;
};

/* Keeps it as bytes; what is too large, or one too many, is dropped and counted. */
void client_sessions_add(struct tls_client *c, const struct tls_peer *peer, SSL_SESSION *ssl,
                         usec_t verified_at);
/* One for peer, to be freed; NULL: none. Those past their age are dropped. */
SSL_SESSION *client_sessions_take(struct tls_client *c, const struct tls_peer *peer, usec_t now,
                                  usec_t *ret_verified_at);
void client_sessions_forget(struct tls_client *c, const struct tls_peer *peer);
void client_sessions_fini(struct tls_client *c);

/* ---- certificate.c ---- */

/* Seconds since 1970. False: it is no time. */
bool tls_time_read(const ASN1_TIME *t, int64_t *ret);

/* ---- der.c: NULL: it is none, or out of memory ---- */

X509 *tls_der_certificate(struct str der);
X509_CRL *tls_der_revocations(struct str der);
/* PKCS #8, not encrypted. */
EVP_PKEY *tls_der_key(struct str der);

/* ---- context.c: ALPN ---- */

enum { TLS_PROTOCOLS_N = 2 };
extern const struct tls_protocol {
    enum tls_alpn bit;
    struct str name; /* its length before it: RFC 7301 section 3.1 */
} tls_protocols[TLS_PROTOCOLS_N];

/* ---- trouble.c ---- */

/* What it means that c broke, code being the first of OpenSSL's errors (0: none). */
struct tls_trouble tls_trouble_find(const struct tls_conn *c, unsigned long code);

/* ---- library.c ---- */

/* Empties OpenSSL's queue of errors, which is one for the process: a stale one would be taken for
 * the cause of the next failure. E_NOMEM when memory was the cause, else e. */
enum err tls_errors_take(enum err e);
/* The same; *ret_code is the first error of its SSL library, 0 when there is none. */
enum err tls_errors_take_as(enum err e, unsigned long *ret_code);
/* PEM without asking anybody for a passphrase: a pem_password_cb. */
int tls_no_passphrase(char *p, int room, int is_writing, void *was_asked);
