/* What the filters of a route do to a request: asked of the filters themselves. What they may look
 * at besides is put together as a worker does it; only the port of the listener "https" is not
 * known here: it is taken for 443. */
#include "admin/explain_priv.h"
#include "base/hash.h"
#include "filter/filter.h"
#include "wire/uri.h"

enum { HTTPS_PORT = 443 };

const char *explain_effect_name(enum explain_effect effect)
{
    switch (effect) {
    case EXPLAIN_PASSES:
        return "passes";
    case EXPLAIN_ANSWERS:
        return "answers";
    case EXPLAIN_CHANGES:
        return "changes";
    case EXPLAIN_NOT_REACHED:
        return "notReached";
    }
    return "unknown";
}

const char *explain_ssl_cause(const struct snap_filter_ssl_redirect *f)
{
    switch ((enum snap_ssl_cause)f->cause) {
    case SNAP_SSL_BY_TLS:
        return "the host has TLS, and --ssl-redirect is on";
    case SNAP_SSL_BY_TLS_ANNOTATION:
        return "the host has TLS, and the annotation ssl-redirect is true";
    case SNAP_SSL_BY_FORCE:
        return "--force-ssl-redirect is on";
    case SNAP_SSL_BY_FORCE_ANNOTATION:
        return "the annotation force-ssl-redirect is true";
    }
    return "unknown";
}

const struct snap_global *explain_global(const struct snapshot *s)
{
    const struct snapshot_entry *entry =
        snapshot_find(s, SNAP_GLOBAL, STR_EMPTY, hash_str(STR_EMPTY));
    return entry == NULL ? NULL : (const struct snap_global *)(const void *)entry->shard;
}

/* An absolute target is brought into origin form, as servers do before a filter sees it: RFC 9112
 * section 3.2.2. */
static struct http_request request_of(const struct explain_request *r)
{
    struct http_request request = {.method = r->method,
                                   .authority = r->authority,
                                   .target = r->target,
                                   .fields = r->fields,
                                   .field_n = (uint32_t)r->field_n};
    struct str authority, path, query;
    if (uri_split(r->target, &authority, &path, &query) == E_OK && authority.n > 0) {
        bool is_inside = path.p >= r->target.p && path.p < r->target.p + r->target.n;
        request.authority = authority;
        request.target = is_inside ? str_from(r->target, (size_t)(path.p - r->target.p)) : path;
    }
    return request;
}

static void take_answer(struct explanation *e, const struct filter_answer *answer)
{
    e->reason = answer->reason;
    e->status = answer->status != 0 ? answer->status : reason_status(answer->reason);
    e->location = answer->location;
}

static void ask_request(struct explanation *e, const struct filter_request *r)
{
    bool is_answered = false;
    for (size_t i = 0; i < e->filter_n; i++) {
        struct explain_filter *f = &e->filters[i];
        struct filter_answer answer;
        if (!filter_has_request(f->filter->kind)) {
            continue;
        }
        if (is_answered) {
            f->effect = EXPLAIN_NOT_REACHED;
        } else if (filter_run_one(e->match.host, f->filter, r, &answer) == FILTER_ANSWER) {
            f->effect = EXPLAIN_ANSWERS;
            is_answered = true;
            take_answer(e, &answer);
        }
    }
}

/* Of a response without any field, which shows what is added. */
static void ask_response(struct explanation *e, const struct filter_request *r)
{
    struct field fields[FILTER_FIELDS_MAX];
    for (size_t i = 0; i < e->filter_n; i++) {
        struct explain_filter *f = &e->filters[i];
        struct filter_response response = {fields, 0, FILTER_FIELDS_MAX};
        if (filter_has_response(f->filter->kind)) {
            filter_change_one(e->match.host, f->filter, r, &response);
        }
        if (response.field_n > 0) {
            f->effect = EXPLAIN_CHANGES;
        }
    }
}

enum err explain_filters(struct explanation *e)
{
    const struct snap_host *host = e->match.host;
    const struct snap_filter *chain = snap_array_get(host, host->filters);
    struct snap_range range = e->match.route->filters;
    struct http_request request = request_of(e->request);
    struct filter_request r = {.request = &request,
                               .global = explain_global(e->world->snapshot),
                               .scheme = e->scheme,
                               .host = request.authority,
                               .https_port = HTTPS_PORT,
                               .scratch = arena_alloc(&e->arena, FILTER_SCRATCH_BYTES)};
    e->filters = arena_calloc(&e->arena, range.n, sizeof(*e->filters));
    if (r.scratch == NULL || e->filters == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < range.n; i++) {
        const struct snap_filter *f = &chain[range.first + i];
        e->filters[e->filter_n++] =
            (struct explain_filter){.filter = f, .config = (const char *)host + f->offset};
    }
    ask_request(e, &r);
    ask_response(e, &r);
    return E_OK;
}
