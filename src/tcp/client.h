/* tcp/client.h: the endpoint's end of a tunnel: connections that carry one stream of bytes as they
 * are, as struct http_conn for a pool that never gets to keep one. */
#pragma once

#include "http/stream.h"
#include "tcp/context.h"

struct tcp_dialer {
    struct http_dialer dialer; /* what the pool calls */
    struct tcp_context *context;
    uint8_t proxy_protocol; /* version of the PROXY header that connections begin with; 0: none */
};

/* Borrows context for the dialer's life. */
void tcp_dialer_init(struct tcp_dialer *d, struct tcp_context *context, uint8_t proxy_protocol);
