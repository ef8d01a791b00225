/* route/query.h: from what a request says to what routes are matched against. The workers and
 * explain prepare a query by this one function, so that they cannot disagree.
 * Not here: matching (match.h), the codecs themselves (wire/uri.h). */
#pragma once

#include "base/err.h"
#include "route/match.h"

/* Fills *ret from a request: host in lower case without port, normalised path, raw query; no field
 * lookup (the caller sets ret->field). An empty authority gives an empty host. The authority of an
 * absolute-form target replaces the given one (RFC 9112 section 3.2.2). Target "*" gives path "*".
 * Borrows table, method, target and scratch for the life of *ret; scratch must have room for
 * authority.n + target.n bytes.
 * Errors: E_PROTO (no valid authority or target: bad_request), E_LIMIT (scratch is too small). */
enum err route_query_prepare(struct str table, struct str method, struct str authority,
                             struct str target, char *scratch, size_t room,
                             struct route_query *ret);

/* The route table of what comes on the listener of that name, as SNAP_GLOBAL says; empty when it
 * says nothing. */
struct str route_table(const struct snapshot *s, struct str listener);
