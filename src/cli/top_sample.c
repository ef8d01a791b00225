/* Reading /debug/top, and differences of two readings. */
#include "cli/top_sample.h"

#include <stdlib.h>

#include "document/json.h"

static const char *const scalar_names[TOP_SCALARS_N] = {
#define X(name) #name,
    TOP_SCALARS(X)
#undef X
};

const char *const top_endpoint_names[TOP_ENDPOINT_NUMBERS_N] = {
#define X(name) #name,
    TOP_ENDPOINT_COUNTERS(X) TOP_ENDPOINT_GAUGES(X)
#undef X
};

/* ---- reading ---- */

static uint64_t number_of(const struct tree_node *node)
{
    uint64_t n = 0;
    bool is_number = node != NULL && node->kind == TREE_NUMBER;
    return is_number && str_to_u64(tree_text(node), UINT64_MAX, &n) ? n : 0;
}

static uint64_t get_number(const struct tree_node *node, const char *name)
{
    return number_of(tree_get(node, str_from_cstr(name)));
}

static bool get_bool(const struct tree_node *node, const char *name)
{
    const struct tree_node *value = tree_get(node, str_from_cstr(name));
    return value != NULL && value->kind == TREE_BOOL && value->is_true;
}

static enum err get_text(struct top_sample *s, const struct tree_node *node, const char *name,
                         struct str *ret)
{
    struct str text = tree_get_string(node, str_from_cstr(name));
    return arena_str(&s->arena, text, ret) ? E_OK : E_NOMEM;
}

/* The items of an array; 0 when there is none. */
static size_t get_items(const struct tree_node *node, const char *name,
                        const struct tree_node **ret)
{
    *ret = tree_get(node, str_from_cstr(name));
    return *ret != NULL && (*ret)->kind == TREE_SEQUENCE ? (*ret)->n : 0;
}

static size_t get_numbers(const struct tree_node *node, const char *name, uint64_t *to, size_t max)
{
    const struct tree_node *list;
    size_t n = get_items(node, name, &list);
    n = n < max ? n : max;
    for (size_t i = 0; i < n; i++) {
        to[i] = number_of(tree_item(list, (uint32_t)i));
    }
    return n;
}

static void get_histogram(const struct tree_node *node, const char *name, struct top_histogram *to)
{
    to->n = get_numbers(node, name, to->counts, TOP_BUCKETS_MAX);
}

static enum err read_route(struct top_sample *s, const struct tree_node *node, struct top_route *to)
{
    TRY(get_text(s, node, "namespace", &to->namespace_name));
    TRY(get_text(s, node, "ingress", &to->ingress));
    TRY(get_text(s, node, "service", &to->service));
    TRY(get_text(s, node, "host", &to->host));
    TRY(get_text(s, node, "path", &to->path));
    (void)get_numbers(node, "responses", to->classes, TOP_CLASSES_N);
    to->sent_bytes = get_number(node, "sent_bytes");
    get_histogram(node, "duration", &to->duration);
    return E_OK;
}

static enum err read_routes(struct top_sample *s, const struct tree_node *root)
{
    const struct tree_node *list;
    size_t n = get_items(root, "routes", &list);
    s->routes = arena_calloc(&s->arena, n, sizeof(*s->routes));
    if (s->routes == NULL) {
        return E_NOMEM;
    }
    for (; s->route_n < n; s->route_n++) {
        TRY(read_route(s, tree_item(list, (uint32_t)s->route_n), &s->routes[s->route_n]));
    }
    return E_OK;
}

static enum err read_endpoint(struct top_sample *s, const struct tree_node *node,
                              struct top_endpoint *to)
{
    TRY(get_text(s, node, "address", &to->address));
    TRY(get_text(s, node, "service", &to->service));
    TRY(get_text(s, node, "state", &to->state));
    TRY(get_text(s, node, "last_failure", &to->last_failure));
    for (size_t i = 0; i < TOP_ENDPOINT_NUMBERS_N; i++) {
        to->numbers[i] = get_number(node, top_endpoint_names[i]);
    }
    return E_OK;
}

static enum err read_endpoints(struct top_sample *s, const struct tree_node *root)
{
    const struct tree_node *list;
    size_t n = get_items(root, "endpoints", &list);
    s->endpoints = arena_calloc(&s->arena, n, sizeof(*s->endpoints));
    if (s->endpoints == NULL) {
        return E_NOMEM;
    }
    for (; s->endpoint_n < n; s->endpoint_n++) {
        TRY(read_endpoint(s, tree_item(list, (uint32_t)s->endpoint_n),
                          &s->endpoints[s->endpoint_n]));
    }
    return E_OK;
}

static enum err read_reasons(struct top_sample *s, const struct tree_node *root)
{
    const struct tree_node *list;
    size_t n = get_items(root, "reasons", &list);
    s->reasons = arena_calloc(&s->arena, n, sizeof(*s->reasons));
    if (s->reasons == NULL) {
        return E_NOMEM;
    }
    for (; s->reason_n < n; s->reason_n++) {
        const struct tree_node *node = tree_item(list, (uint32_t)s->reason_n);
        TRY(get_text(s, node, "name", &s->reasons[s->reason_n].name));
        s->reasons[s->reason_n].count = get_number(node, "count");
    }
    return E_OK;
}

static enum err read_processes(struct top_sample *s, const struct tree_node *root)
{
    const struct tree_node *list;
    size_t n = get_items(root, "processes", &list);
    s->processes = arena_calloc(&s->arena, n, sizeof(*s->processes));
    if (s->processes == NULL) {
        return E_NOMEM;
    }
    for (; s->process_n < n; s->process_n++) {
        const struct tree_node *node = tree_item(list, (uint32_t)s->process_n);
        struct top_process *to = &s->processes[s->process_n];
        TRY(get_text(s, node, "name", &to->name));
        to->is_running = get_bool(node, "is_running");
        to->pid = get_number(node, "pid");
        to->cpu_us = get_number(node, "cpu_us");
        to->resident_bytes = get_number(node, "resident_bytes");
        to->restarts = get_number(node, "restarts");
    }
    return E_OK;
}

static enum err read_resources(struct top_sample *s, const struct tree_node *root)
{
    const struct tree_node *list;
    size_t n = get_items(root, "resources", &list);
    s->resources = arena_calloc(&s->arena, n, sizeof(*s->resources));
    if (s->resources == NULL) {
        return E_NOMEM;
    }
    for (; s->resource_n < n; s->resource_n++) {
        const struct tree_node *node = tree_item(list, (uint32_t)s->resource_n);
        struct top_resource *to = &s->resources[s->resource_n];
        TRY(get_text(s, node, "name", &to->name));
        to->is_healthy = get_bool(node, "is_healthy");
        to->objects = get_number(node, "objects");
        to->silence = get_number(node, "silence_us");
    }
    return E_OK;
}

static enum err on_document(void *arg, const struct tree_node *root)
{
    struct top_sample *s = arg;
    TRY(get_text(s, root, "version", &s->version));
    s->is_draining = get_bool(root, "is_draining");
    for (size_t i = 0; i < TOP_SCALARS_N; i++) {
        s->scalars[i] = get_number(root, scalar_names[i]);
    }
    (void)get_numbers(root, "responses", s->classes, TOP_CLASSES_N);
    get_histogram(root, "duration", &s->duration);
    get_histogram(root, "bounds_us", &s->bounds);
    TRY(read_routes(s, root));
    TRY(read_endpoints(s, root));
    TRY(read_reasons(s, root));
    TRY(read_resources(s, root));
    return read_processes(s, root);
}

static void on_diag(void *arg, const struct diag *d)
{
    (void)d; /* whoever asked says that it is no such answer */
    ((struct top_sample *)arg)->scalars[TOP_time_us] = 0;
}

enum err top_sample_parse(struct str json, struct top_sample *ret)
{
    struct top_sample s = {0};
    const struct tree_sink sink = {.arg = &s, .on_document = on_document, .on_diag = on_diag};
    arena_init(&s.arena, TOP_BYTES_MAX);
    enum err e = json_parse(json, &sink);
    if (e == E_OK && (s.scalars[TOP_time_us] == 0 || s.bounds.n == 0)) {
        e = E_PROTO;
    }
    if (e != E_OK) {
        arena_fini(&s.arena);
        return e;
    }
    *ret = s;
    return E_OK;
}

void top_sample_fini(struct top_sample *s)
{
    arena_fini(&s->arena);
    *s = (struct top_sample){0};
}

/* ---- differences ---- */

static uint64_t since(uint64_t now, uint64_t before)
{
    return now >= before ? now - before : now;
}

static void numbers_since(uint64_t *now, const uint64_t *before, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        now[i] = since(now[i], before[i]);
    }
}

static void histogram_since(struct top_histogram *now, const struct top_histogram *before)
{
    numbers_since(now->counts, before->counts, now->n);
}

uint64_t top_histogram_n(const struct top_histogram *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i < h->n; i++) {
        n += h->counts[i];
    }
    return n;
}

static bool is_same_route(const struct top_route *a, const struct top_route *b)
{
    return str_eq(a->path, b->path) && str_eq(a->ingress, b->ingress) && str_eq(a->host, b->host) &&
           str_eq(a->namespace_name, b->namespace_name) && str_eq(a->service, b->service);
}

static void route_since(struct top_route *now, const struct top_sample *before)
{
    for (size_t i = 0; i < before->route_n; i++) {
        const struct top_route *old = &before->routes[i];
        if (is_same_route(now, old)) {
            numbers_since(now->classes, old->classes, TOP_CLASSES_N);
            now->sent_bytes = since(now->sent_bytes, old->sent_bytes);
            histogram_since(&now->duration, &old->duration);
            return;
        }
    }
}

static bool has_fallen(const struct top_endpoint *now, const struct top_endpoint *before)
{
    for (size_t i = 0; i < TOP_ENDPOINT_COUNTERS_N; i++) {
        if (now->numbers[i] < before->numbers[i]) {
            return true;
        }
    }
    return false;
}

static const struct top_endpoint *endpoint_find(const struct top_sample *s,
                                                const struct top_endpoint *like)
{
    for (size_t i = 0; i < s->endpoint_n; i++) {
        const struct top_endpoint *e = &s->endpoints[i];
        if (str_eq(e->address, like->address) && str_eq(e->service, like->service)) {
            return e;
        }
    }
    return NULL;
}

/* One that was not there before is new, unless it may have been among those left out. */
static void endpoint_since(struct top_endpoint *now, const struct top_sample *before)
{
    const struct top_endpoint *old = endpoint_find(before, now);
    bool is_new = old == NULL && before->scalars[TOP_endpoints_left_out] == 0;
    bool is_unknown = !is_new && (old == NULL || has_fallen(now, old));
    for (size_t i = 0; i < TOP_ENDPOINT_COUNTERS_N; i++) {
        uint64_t from = is_unknown ? now->numbers[i] : is_new ? 0 : old->numbers[i];
        now->numbers[i] -= from;
    }
}

uint64_t top_endpoint_failures(const struct top_endpoint *e)
{
    return e->numbers[TOP_ENDPOINT_connect] + e->numbers[TOP_ENDPOINT_reset] +
           e->numbers[TOP_ENDPOINT_timeout];
}

uint64_t top_endpoint_requests(const struct top_endpoint *e)
{
    return e->numbers[TOP_ENDPOINT_answered] + e->numbers[TOP_ENDPOINT_abandoned] +
           top_endpoint_failures(e);
}

usec_t top_endpoint_latency(const struct top_endpoint *e)
{
    uint64_t n = e->numbers[TOP_ENDPOINT_answered];
    return n > 0 ? e->numbers[TOP_ENDPOINT_latency_sum_us] / n : 0;
}

static void process_since(struct top_process *now, const struct top_sample *before)
{
    for (size_t i = 0; i < before->process_n; i++) {
        const struct top_process *old = &before->processes[i];
        if (str_eq(now->name, old->name) && now->pid == old->pid) {
            now->cpu_us = since(now->cpu_us, old->cpu_us);
            return;
        }
    }
}

/* Larger numbers first. */
static int by_most(uint64_t a, uint64_t b)
{
    return (a < b) - (a > b);
}

static int endpoint_compare(const void *a, const void *b)
{
    const struct top_endpoint *x = a, *y = b;
    int order = by_most(x->numbers[TOP_ENDPOINT_workers_ejecting] > 0,
                        y->numbers[TOP_ENDPOINT_workers_ejecting] > 0);
    order = order != 0 ? order : by_most(top_endpoint_failures(x), top_endpoint_failures(y));
    order = order != 0 ? order : by_most(top_endpoint_requests(x), top_endpoint_requests(y));
    order = order != 0 ? order : str_cmp(x->service, y->service);
    return order != 0 ? order : str_cmp(x->address, y->address);
}

static int route_compare(const void *a, const void *b)
{
    const struct top_route *x = a, *y = b;
    uint64_t n = top_histogram_n(&x->duration), m = top_histogram_n(&y->duration);
    if (n != m) {
        return n > m ? -1 : 1;
    }
    int order = str_cmp(x->namespace_name, y->namespace_name);
    order = order != 0 ? order : str_cmp(x->ingress, y->ingress);
    order = order != 0 ? order : str_cmp(x->host, y->host);
    return order != 0 ? order : str_cmp(x->path, y->path);
}

usec_t top_sample_since(struct top_sample *now, const struct top_sample *before,
                        uint64_t *reason_totals)
{
    static const enum top_scalar counters[] = {TOP_requests, TOP_bytes_in, TOP_bytes_out,
                                               TOP_retries};
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        enum top_scalar c = counters[i];
        now->scalars[c] = since(now->scalars[c], before->scalars[c]);
    }
    numbers_since(now->classes, before->classes, TOP_CLASSES_N);
    histogram_since(&now->duration, &before->duration);
    for (size_t i = 0; i < now->route_n; i++) {
        route_since(&now->routes[i], before);
    }
    for (size_t i = 0; i < now->reason_n; i++) {
        reason_totals[i] = now->reasons[i].count;
        now->reasons[i].count =
            since(now->reasons[i].count, i < before->reason_n ? before->reasons[i].count : 0);
    }
    for (size_t i = 0; i < now->process_n; i++) {
        process_since(&now->processes[i], before);
    }
    for (size_t i = 0; i < now->endpoint_n; i++) {
        endpoint_since(&now->endpoints[i], before);
    }
    qsort(now->routes, now->route_n, sizeof(*now->routes), route_compare);
    qsort(now->endpoints, now->endpoint_n, sizeof(*now->endpoints), endpoint_compare);
    return since(now->scalars[TOP_time_us], before->scalars[TOP_time_us]);
}

usec_t top_percentile(const struct top_histogram *h, const struct top_histogram *bounds,
                      unsigned percent)
{
    uint64_t n = top_histogram_n(h), below = 0;
    uint64_t rank = (n * percent + 99) / 100; /* of the request that is looked for, from 1 */
    for (size_t i = 0; n > 0 && i < h->n && i < bounds->n; i++) {
        uint64_t low = i == 0 ? 0 : bounds->counts[i - 1];
        if (below + h->counts[i] >= rank && h->counts[i] > 0) {
            return low + (bounds->counts[i] - low) * (rank - below) / h->counts[i];
        }
        below += h->counts[i];
    }
    return n > 0 && bounds->n > 0 ? bounds->counts[bounds->n - 1] : 0;
}
