/* event/transport.h: a byte stream over a watched socket. Plain TCP here; TLS is another set of ops
 * with the same contract, so the protocols above never know. */
#pragma once

#include "base/reason.h"
#include "base/str.h"
#include "event/loop.h"

#include <sys/uio.h>

/* What a client showed of itself in a TLS handshake that asked for a certificate. */
struct transport_client {
    bool has_certificate, is_verified;
    bool is_unsigned_only;      /* not verified, but for want of a known authority alone */
    struct str verdict;         /* "SUCCESS", "FAILED:<why>", "NONE" */
    struct str subject, issuer; /* RFC 4514 */
    struct str certificate;     /* PEM, percent-encoded; empty unless that was wanted */
};

/* What a TLS handshake agreed on, as our side of it knows; lives as long as its transport. */
struct transport_tls {
    struct str server_name; /* lower case; empty: none was asked for */
    struct str version, cipher;
    uint64_t policy; /* about certificates of clients: 0 = nothing was asked for */
    bool is_resumed;
    const struct transport_client *client; /* NULL: no certificate was asked for */
};

struct transport;

struct transport_ops {
    /* At least one byte into p. *ret_n < room says: drained, wait for the next event.
     * Errors: E_AGAIN, E_CLOSED (end of stream), E_SYS (reset and the like; TLS: also an end
     * without close_notify), E_PROTO (TLS: the peer broke it), E_NOMEM (TLS). */
    enum err (*receive)(struct transport *t, void *p, size_t room, size_t *ret_n);
    /* Sends what fits now. E_OK with *ret_n = everything, or E_AGAIN with *ret_n = what went (the
     * rest after EPOLLOUT: the same bytes, more may follow them). Errors: E_CLOSED, E_SYS, E_PROTO,
     * E_NOMEM. */
    enum err (*send)(struct transport *t, struct iovec *parts, int part_n, size_t *ret_n);
    /* Bytes that the peer has acknowledged since the connection began, one more for the handshake
     * when we connected: it only grows; 0 where that cannot be known. A system call. */
    uint64_t (*taken)(struct transport *t);
    /* After a failure: REASON_none, or that the handshake failed and what was wrong with it, in
     * words (a static text); then the peer has processed nothing of what was sent, even when it
     * told so behind the handshake. NULL: there is none that could fail. REASON_plain_http: the
     * client has sent a request without TLS; from then on bytes go both ways as they are, beginning
     * somewhere in that request. */
    enum reason (*why)(const struct transport *t, const char **ret_text);
    /* No more bytes from us; reading goes on. */
    void (*finish)(struct transport *t);
    /* t has just been moved: events of its socket go to the result, which passes them on to
     * on_event. NULL where that is on_event itself. */
    watch_fn *(*adopt)(struct transport *t, watch_fn *on_event);
    /* Unwatches and closes. has_reset: the peer shall see a reset, not a clean end. */
    void (*close)(struct transport *t, bool has_reset);
};

struct transport {
    struct watch watch; /* first: the owner's watch_fn gets at the transport through it */
    struct loop *loop;
    uint64_t sent_n; /* bytes given to the kernel since the connection began */
    const struct transport_ops *ops;
    void *own;                       /* what the ops keep; NULL for plain TCP */
    const struct transport_tls *tls; /* NULL: not TLS, not yet, or not told */
    /* false: shaking hands. That happens inside receive(), whichever side speaks first: a client
     * gets EPOLLIN with the first EPOLLOUT of its socket, once that is connected, so that its owner
     * calls receive(), which sends the first flight. The owner looks at this after each receive():
     * the one that completes the handshake may give E_AGAIN or bytes. Its timeout ends the wait. */
    bool is_open;
    bool is_at_end; /* receive() has met the peer's end rather than a reset: the socket's, in good
                       order as TCP sees it, or close_notify of TLS */
};

/* After a failure: why the handshake failed, if that is what it was, even when the peer told so
 * only behind it; else REASON_none. */
static inline enum reason transport_handshake_fault(const struct transport *t)
{
    const char *text;
    return t->ops->why == NULL ? REASON_none : t->ops->why(t, &text);
}

extern const struct transport_ops transport_plain_ops;

/* Takes fd (closed on failure too): watches it edge-triggered. Errors: E_SYS. */
enum err transport_plain_open(struct transport *t, struct loop *loop, int fd, watch_fn *on_event);

/* Makes to what from was, for another owner; from is empty then. Whatever the socket has is told
 * again by an event. Closed on failure. Not while a send or receive of it is on. Errors: E_SYS. */
enum err transport_move(struct transport *from, struct transport *to, watch_fn *on_event);

/* Opens transports of one kind: what a server is told to use. */
struct transport_opener {
    /* As transport_plain_open(). */
    enum err (*open)(struct transport_opener *o, struct transport *t, struct loop *loop, int fd,
                     watch_fn *on_event);
};
