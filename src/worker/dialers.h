/* worker/dialers.h: who opens the connections of a service's endpoints: one dialer for each way of
 * speaking to them, shared by all services that are spoken to so; over TLS one for each service.
 * Private to worker/. */
#pragma once

#include "http1/client.h"
#include "http2/client.h"
#include "tcp/client.h"
#include "upstream/upstream.h"
#include "worker/upstream_tls.h"

enum { PROXY_PROTOCOLS_N = 3 }; /* no header, version 1, version 2 */

struct dialers {
    struct upstream_dialers upstream; /* what the set calls */
    struct http1_dialer http1;
    struct http2_dialer http2;
    struct tcp_dialer tcp[PROXY_PROTOCOLS_N];
    struct upstream_tls tls;
    struct http_dialer refusing; /* for what this worker does not speak */
};

/* What they are made of; all borrowed for their life. */
struct dialers_parts {
    struct http1_context *http1;
    struct http2_context *http2;
    struct tcp_context *tcp;
    struct tls_shared *tls;
    const struct snapshot *routes, *secrets;
    struct stats_page *stats;
};

/* Errors: E_NOMEM. */
enum err dialers_init(struct dialers *d, const struct dialers_parts *parts);
/* When all were given back and the last connection is gone. */
void dialers_fini(struct dialers *d);
