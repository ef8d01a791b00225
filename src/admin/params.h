/* admin/params.h: the query of a debug view: "a=1&b=%2F". */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

/* Takes the next parameter from *query, decoded into a; '+' stays '+'. False at the end.
 * Errors by *ret_error: E_PROTO (a '%' without two hex digits), E_NOMEM, else E_OK. */
bool params_next(struct str *query, struct arena *a, struct str *ret_name, struct str *ret_value,
                 enum err *ret_error);
/* Adds "&name=value" ("?name=value" when is_first), encoded. */
void params_add(struct buf *out, bool is_first, const char *name, struct str value);
