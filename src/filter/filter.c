/* The table of filters and the loop over a route's chain. */
#include "filter/filter.h"

#define FILTER(name, number, halves) filter_request_fn filter_##name##_request;
#include "snapshot/filters.def"
#undef FILTER

static filter_request_fn *const requests[] = {
#define FILTER(name, number, halves) [number] = filter_##name##_request,
#include "snapshot/filters.def"
#undef FILTER
};

enum filter_verdict filter_run_one(const struct snap_host *host, const struct snap_filter *filter,
                                   const struct filter_request *r, struct filter_answer *ret)
{
    const void *config = (const char *)host + filter->offset;
    return requests[filter->kind](&host->shard, config, r, ret);
}

enum filter_verdict filter_run(const struct snap_host *host, const struct snap_route *route,
                               const struct filter_request *r, struct filter_answer *ret)
{
    const struct snap_filter *chain = snap_array_get(host, host->filters);
    for (uint32_t i = 0; i < route->filters.n; i++) {
        if (filter_run_one(host, &chain[route->filters.first + i], r, ret) == FILTER_ANSWER) {
            return FILTER_ANSWER;
        }
    }
    return FILTER_PASS;
}
