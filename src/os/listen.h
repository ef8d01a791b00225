/* os/listen.h: listening TCP sockets. */
#pragma once

#include "base/err.h"

#include <stdint.h>

struct listen_options {
    const char *address; /* IPv4 or IPv6 in text; NULL or "" = every address of both families */
    uint16_t port;       /* 0 = any free one */
    uint32_t backlog;    /* 0 = LISTEN_BACKLOG; the kernel cuts it at net.core.somaxconn */
    bool is_v6_only;     /* an IPv6 address does not take IPv4 connections too */
};

/* A listening socket: non-blocking, close-on-exec, SO_REUSEADDR, TCP_NODELAY (accepted sockets
 * inherit it, which saves a call for each). Without an address: one dual-stack socket, or IPv4
 * where the kernel has no IPv6. *ret_port is the port as bound.
 * Errors: E_PROTO (not an address), E_SYS (EADDRINUSE, EACCES, EADDRNOTAVAIL ...). */
enum err listen_open(const struct listen_options *o, int *ret_fd, uint16_t *ret_port);
