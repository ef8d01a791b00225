/* admin/top_endpoints.h: the part of top.h that is about endpoints. */
#pragma once

#include "base/err.h"
#include "document/json_write.h"
#include "stats/stats.h"

/* "endpoints" and "endpoints_left_out", inside an object. Errors: E_NOMEM. */
enum err top_emit_endpoints(struct json *j, const struct stats_area *stats);
