/* worker/dialers.h: who opens the connections of a service's endpoints: one dialer for each way of
 * speaking to them, shared by all services that are spoken to so. Private to worker/. */
#pragma once

#include "http1/client.h"
#include "upstream/upstream.h"

struct dialers {
    struct upstream_dialers upstream; /* what the set calls */
    struct http1_dialer http1;
    struct http_dialer refusing; /* for what this worker does not speak */
};

/* Borrows everything for its life. */
void dialers_init(struct dialers *d, struct http1_context *http1, struct stats_page *stats);
