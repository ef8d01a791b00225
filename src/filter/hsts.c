/* Filter hsts: tells clients that have come by https to do so from now on. Compile half, which has
 * the value ready: compile/filter_hsts.c; for users: docs/filters/hsts.md. */
#include "filter/filter.h"

filter_response_fn filter_hsts_response;

void filter_hsts_response(const struct snap_shard *shard, const void *config,
                          const struct filter_request *r, struct filter_response *response)
{
    const struct snap_filter_hsts *f = config;
    if (str_eq(r->scheme, STR("https"))) { /* RFC 6797 section 7.2: not over plain HTTP */
        filter_field_set(response, STR("strict-transport-security"), snap_str_get(shard, f->value));
    }
}
