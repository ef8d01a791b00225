/* admin/top.h: the figures behind `lintel top`, as JSON: everything is counted since the start, the
 * asker takes differences. Of the routes, those used last come, at most TOP_ROUTES_MAX; of the
 * endpoints those that are ejected, then those that failed last, then those with the most requests,
 * at most TOP_ENDPOINTS_MAX. */
#pragma once

#include "admin/metrics.h"

/* Errors: E_NOMEM. Context: as metrics_emit(). */
enum err top_emit(struct buf *out, const struct metrics_input *in);
