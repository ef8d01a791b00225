/* A short queue. */
#include "controller/tickets.h"

#include <string.h>

enum err tickets_renew(struct tickets *t, usec_t now, bool *ret_is_new)
{
    struct snap_ticket_key key;
    *ret_is_new = false;
    if (t->n > 0 && now - t->made_at < TICKETS_ROTATED) {
        return E_OK;
    }
    TRY(ticket_key_make(&key));
    for (uint32_t i = TICKETS_KEPT - 1; i > 0; i--) {
        t->keys[i] = t->keys[i - 1];
    }
    t->keys[0] = key;
    t->n = t->n < TICKETS_KEPT ? t->n + 1 : TICKETS_KEPT;
    t->made_at = now;
    explicit_bzero(&key, sizeof(key));
    *ret_is_new = true;
    return E_OK;
}
