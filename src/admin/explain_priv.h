/* admin/explain_priv.h: the parts that an explanation is made of. Private to admin/. */
#pragma once

#include "admin/explain.h"

/* Asks the winner's filters, by the code that workers run, and notes the answer of the one that
 * gives one. Errors: E_NOMEM. */
enum err explain_filters(struct explanation *e);
/* NULL: there is no configuration. */
const struct snap_global *explain_global(const struct snapshot *s);
/* Whether the request gets as far as the routes; false: e->reason says why not. Errors: E_NOMEM. */
enum err explain_tls(struct explanation *e, bool *ret_is_admitted);
/* Hosts that insist on a certificate are not served without TLS; a redirect to it comes before. */
void explain_tls_plain(struct explanation *e);
