/* The health port put together. */
#include "admin/listener.h"

#include "base/limits.h"

enum err admin_listener_open(struct admin_listener *l, struct loop *loop, int fd,
                             const struct admin_views *views)
{
    *l = (struct admin_listener){.budget = {.max = ADMIN_MEMORY_MAX}};
    TRY(http1_context_init(&l->context, loop, &snap_settings_default, &l->budget));
    admin_handler_init(&l->handler, views);
    http1_server_init(&l->server, &l->context, &l->handler.http, &l->stats);
    enum err e = http1_listener_open(&l->listener, loop, fd, &l->server, STR("health"),
                                     ADMIN_CONNECTIONS_MAX);
    if (e != E_OK) {
        http1_context_fini(&l->context);
    }
    return e;
}

void admin_listener_close(struct admin_listener *l)
{
    http1_listener_close(&l->listener);
    http1_server_fini(&l->server);
    http1_context_fini(&l->context);
}
