/* tcp/context.h: what all tunnels of one loop share. */
#pragma once

#include "event/loop.h"
#include "http/budget.h"
#include "snapshot/settings.h"
#include "stats/stats.h"

struct tcp_context {
    struct loop *loop;
    const struct snap_settings *settings; /* as of now: they change with the configuration */
    struct http_budget *budget;
    struct stats_page *stats;
    char *receive; /* RECEIVE_BYTES: where every recv() goes */
};

/* Borrows everything for the context's life. Errors: E_NOMEM. */
enum err tcp_context_init(struct tcp_context *x, struct loop *loop,
                          const struct snap_settings *settings, struct http_budget *budget,
                          struct stats_page *stats);
void tcp_context_fini(struct tcp_context *x);
