/* Filter redirect: answers with a fixed status and Location. Compile half:
 * compile/filter_redirect.c; for users: docs/filters/redirect.md. */
#include "filter/filter.h"

filter_request_fn filter_redirect_request;

enum filter_verdict filter_redirect_request(const struct snap_shard *shard, const void *config,
                                            const struct filter_request *r,
                                            struct filter_answer *ret)
{
    const struct snap_filter_redirect *redirect = config;
    (void)r; /* the same for every request */
    *ret = (struct filter_answer){
        .status = (uint16_t)redirect->status,
        .reason = REASON_redirect,
        .location = snap_str_get(shard, redirect->location),
    };
    return FILTER_ANSWER;
}
