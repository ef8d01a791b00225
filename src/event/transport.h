/* event/transport.h: a byte stream over a watched socket. Plain TCP here; TLS is another set of ops
 * with the same contract, so the protocols above never know. */
#pragma once

#include "event/loop.h"

#include <sys/uio.h>

struct transport;

struct transport_ops {
    /* At least one byte into p. *ret_n < room says: drained, wait for the next event.
     * Errors: E_AGAIN, E_CLOSED (end of stream), E_SYS (reset and the like). */
    enum err (*receive)(struct transport *t, void *p, size_t room, size_t *ret_n);
    /* Sends what fits now. E_OK with *ret_n = everything, or E_AGAIN with *ret_n = what went (the
     * rest after EPOLLOUT). Errors: E_CLOSED, E_SYS. */
    enum err (*send)(struct transport *t, struct iovec *parts, int part_n, size_t *ret_n);
    /* Bytes that the peer has acknowledged since the connection began, one more for the handshake
     * when we connected: it only grows; 0 where that cannot be known. A system call. */
    uint64_t (*taken)(struct transport *t);
    /* No more bytes from us; reading goes on. */
    void (*finish)(struct transport *t);
    /* Unwatches and closes. has_reset: the peer shall see a reset, not a clean end. */
    void (*close)(struct transport *t, bool has_reset);
};

struct transport {
    struct watch watch; /* first: the owner's watch_fn gets at the transport through it */
    struct loop *loop;
    uint64_t sent_n; /* bytes given to the kernel since the connection began */
    const struct transport_ops *ops;
};

/* Takes fd (closed on failure too): watches it edge-triggered. Errors: E_SYS. */
enum err transport_plain_open(struct transport *t, struct loop *loop, int fd, watch_fn *on_event);
