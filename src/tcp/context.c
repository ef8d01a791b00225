/* The receive buffer. */
#include "tcp/context.h"

#include "base/limits.h"
#include "base/mem.h"

enum err tcp_context_init(struct tcp_context *x, struct loop *loop,
                          const struct snap_settings *settings, struct http_budget *budget,
                          struct stats_page *stats)
{
    *x = (struct tcp_context){.loop = loop,
                              .settings = settings,
                              .budget = budget,
                              .stats = stats,
                              .receive = mem_alloc(RECEIVE_BYTES)};
    return x->receive == NULL ? E_NOMEM : E_OK;
}

void tcp_context_fini(struct tcp_context *x)
{
    mem_free(x->receive);
    *x = (struct tcp_context){0};
}
