/* The tables of filters and the loops over a route's chain. */
#include "filter/filter.h"

#define IN_REQUEST_REQUEST(...) __VA_ARGS__
#define IN_REQUEST_RESPONSE(...)
#define IN_REQUEST_BOTH(...) __VA_ARGS__
#define IN_RESPONSE_REQUEST(...)
#define IN_RESPONSE_RESPONSE(...) __VA_ARGS__
#define IN_RESPONSE_BOTH(...)     __VA_ARGS__

#define FILTER(name, number, halves)                                                               \
    IN_REQUEST_##halves(filter_request_fn filter_##name##_request;)                                \
        IN_RESPONSE_##halves(filter_response_fn filter_##name##_response;)
#include "snapshot/filters.def"
#undef FILTER

static filter_request_fn *const requests[SNAP_FILTER_NUMBERS] = {
#define FILTER(name, number, halves) IN_REQUEST_##halves([number] = filter_##name##_request, )
#include "snapshot/filters.def"
#undef FILTER
};

static filter_response_fn *const responses[SNAP_FILTER_NUMBERS] = {
#define FILTER(name, number, halves) IN_RESPONSE_##halves([number] = filter_##name##_response, )
#include "snapshot/filters.def"
#undef FILTER
};

bool filter_has_request(uint32_t number)
{
    return requests[number] != NULL;
}

bool filter_has_response(uint32_t number)
{
    return responses[number] != NULL;
}

/* ---- fields ---- */

void filter_field_remove(struct filter_response *response, struct str name)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < response->field_n; i++) {
        if (!str_eq_nocase(response->fields[i].name, name)) {
            response->fields[kept++] = response->fields[i];
        }
    }
    response->field_n = kept;
}

void filter_field_set(struct filter_response *response, struct str name, struct str value)
{
    filter_field_remove(response, name);
    must(response->field_n < response->field_max);
    response->fields[response->field_n++] =
        (struct field){.name = name, .value = value, .id = field_name_id(name)};
}

/* ---- chains ---- */

static const void *config_of(const struct snap_host *host, const struct snap_filter *filter)
{
    return (const char *)host + filter->offset;
}

enum filter_verdict filter_run_one(const struct snap_host *host, const struct snap_filter *filter,
                                   const struct filter_request *r, struct filter_answer *ret)
{
    return requests[filter->kind](&host->shard, config_of(host, filter), r, ret);
}

void filter_change_one(const struct snap_host *host, const struct snap_filter *filter,
                       const struct filter_request *r, struct filter_response *response)
{
    responses[filter->kind](&host->shard, config_of(host, filter), r, response);
}

enum filter_verdict filter_run(const struct snap_host *host, const struct snap_route *route,
                               const struct filter_request *r, struct filter_answer *ret)
{
    const struct snap_filter *chain = snap_array_get(host, host->filters);
    for (uint32_t i = 0; i < route->filters.n; i++) {
        const struct snap_filter *f = &chain[route->filters.first + i];
        if (filter_has_request(f->kind) && filter_run_one(host, f, r, ret) == FILTER_ANSWER) {
            return FILTER_ANSWER;
        }
    }
    return FILTER_PASS;
}

void filter_change(const struct snap_host *host, const struct snap_route *route,
                   const struct filter_request *r, struct filter_response *response)
{
    const struct snap_filter *chain = snap_array_get(host, host->filters);
    for (uint32_t i = 0; i < route->filters.n; i++) {
        const struct snap_filter *f = &chain[route->filters.first + i];
        if (filter_has_response(f->kind)) {
            filter_change_one(host, f, r, response);
        }
    }
}
