/* Stands in for the system under a rig: a clock that only the test moves, endpoints without TCP
 * (connect() gives one end of a socket pair), and a system call that fails when the test says so.
 * Linking rig_net.c is enough: its clock_*(), connect(), recv(), send(), sendmsg(), socket() and
 * epoll_ctl() replace those of base/ and of the C library. */
#pragma once

#include "rig.h"

#include "base/clock.h"

#include <stddef.h>

enum net_fault {
    NET_AGAIN,       /* would block, although it would not; the event follows */
    NET_PARTIAL,     /* receives or sends one byte only */
    NET_RESET,       /* ECONNRESET on recv() and send() */
    NET_END,         /* recv(): the peer has ended; send(): EPIPE */
    NET_DESCRIPTORS, /* socket(): EMFILE; connect(): no local port */
    NET_FAULTS_N
};

/* From now on connect() to the endpoints of r gives socket pairs with buffers of buffer_bytes (0 =
 * the usual size). Resets the clock and the faults. */
void net_start(const struct rig *r, int buffer_bytes);
/* Drops what nobody accepted. */
void net_stop(void);
/* The next connection that came to endpoint i, or -1. */
int net_accept(int i);
/* Endpoint i refuses from now on, or accepts again. */
void net_refuse(int i, bool is_refusing);
void net_advance(usec_t by);
/* The nth call from now (1 = the next) that the fault can befall fails; 0 turns it off. */
void net_fail_at(enum net_fault kind, size_t nth);
/* Whether it has. */
bool net_has_failed(void);
