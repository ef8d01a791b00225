/* The table of filters and the loop over a route's chain. */
#include "filter/filter.h"

#define FILTER(name, number) filter_fn filter_##name##_run;
#include "snapshot/filters.def"
#undef FILTER

static filter_fn *const filters[] = {
#define FILTER(name, number) [number] = filter_##name##_run,
#include "snapshot/filters.def"
#undef FILTER
};

enum filter_verdict filter_run(const struct snap_host *host, const struct snap_route *route,
                               const struct filter_request *r, struct filter_answer *ret)
{
    const struct snap_filter *chain = snap_array_get(host, host->filters);
    for (uint32_t i = 0; i < route->filters.n; i++) {
        const struct snap_filter *f = &chain[route->filters.first + i];
        const void *config = (const char *)host + f->offset;
        if (filters[f->kind](&host->shard, config, r, ret) == FILTER_ANSWER) {
            return FILTER_ANSWER;
        }
    }
    return FILTER_PASS;
}
