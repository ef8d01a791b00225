/* admin/explain_priv.h: the parts that an explanation is made of. Private to admin/. */
#pragma once

#include "admin/explain.h"

/* Asks the winner's filters, by the code that workers run, and notes the answer of the one that
 * gives one. Errors: E_NOMEM. */
enum err explain_filters(struct explanation *e);
/* NULL: there is no configuration. */
const struct snap_global *explain_global(const struct snapshot *s);
