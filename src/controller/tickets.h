/* controller/tickets.h: keys for the sessions that clients keep, where no Secret brings them:
 * random ones, known to the workers of this Lintel only. A new one comes every TICKETS_ROTATED;
 * those before it open tickets until none of theirs is valid any more. */
#pragma once

#include "base/clock.h"
#include "tls/ticket_keys.h"

#define TICKETS_ROTATED (12 * 3600 * USEC_PER_SEC)
/* The present one, and those whose tickets may be up to a day old (--ssl-session-timeout). */
enum { TICKETS_KEPT = 4 };

struct tickets {
    struct snap_ticket_key keys[TICKETS_KEPT]; /* the newest in front */
    uint32_t n;
    usec_t made_at; /* the newest */
};

/* Makes another key when it is time; *ret_is_new then. Errors: E_SYS. */
enum err tickets_renew(struct tickets *t, usec_t now, bool *ret_is_new);
