/* The whole decision for one request, as data.
 *
 *   request -> query (route/query) -> match and trace (route/match) -> candidates, winner
 *           -> filters and backends of the winner -> endpoints, with what the store knows of them
 *           or, without a winner, the nearest misses
 *           or, where TLS is passed through, that backend alone
 *
 * Whatever is listed has a maximum; of more candidates than that the nearest ones are kept. */
#include "admin/explain_priv.h"

#include "base/mem.h"
#include "base/nearest.h"
#include "route/query.h"
#include "route/tls_host.h"

#include <stdlib.h>

enum {
    OWNER_FIELD_BYTES = 64,
    IDLE_ENDPOINTS_MAX = 64, /* listed of those that may not be picked */
    PATH_MISSES_MAX = 3,
};

const char *explain_verdict_name(enum route_verdict v)
{
    switch (v) {
    case ROUTE_WON:
        return "won";
    case ROUTE_LESS_SPECIFIC:
        return "less_specific";
    case ROUTE_PATH_DIFFERS:
        return "path_differs";
    case ROUTE_CONDITION_FAILS:
        return "condition_fails";
    }
    return "unknown";
}

const char *explain_host_kind_name(const struct snap_host *h)
{
    switch ((enum snap_host_kind)h->kind) {
    case SNAP_HOST_EXACT:
        return "exact";
    case SNAP_HOST_LABEL:
        return "wildcard";
    case SNAP_HOST_SUFFIX:
        return "suffix";
    case SNAP_HOST_ANY:
        return "any";
    }
    return "unknown";
}

const char *explain_service_state(const struct explanation *e, const struct explain_backend *b)
{
    if (b->service == NULL) {
        return "not in the snapshot";
    }
    switch ((enum snap_service_status)b->service->status) {
    case SNAP_SERVICE_OK:
        return "ok";
    case SNAP_SERVICE_MISSING:
        return "no such Service";
    case SNAP_SERVICE_NO_PORT:
        return "the Service has no such port";
    case SNAP_SERVICE_REFUSED:
        return "ExternalName is switched off or leads to a refused address";
    case SNAP_SERVICE_UNRESOLVED:
        return e->world->is_offline ? "its ExternalName is not looked up here; ask a running Lintel"
                                    : "the ExternalName does not resolve";
    case SNAP_SERVICE_UNSUPPORTED:
        return "its endpoints are to be spoken to in a way that is not supported";
    }
    return "unknown";
}

/* ---- where a rule is written ---- */

/* The line in the file; 0 when the Ingress has no such rule any more. */
static uint32_t rule_line(const struct ingress *i, uint32_t rule, uint32_t path)
{
    if (rule == SNAP_DEFAULT_RULE) {
        return i->default_backend.line;
    }
    if (rule >= i->rule_n) {
        return 0;
    }
    return path < i->rules[rule].path_n ? i->rules[rule].paths[path].line : i->rules[rule].line;
}

static bool owner_field(struct arena *a, uint32_t rule, uint32_t path, struct str *ret)
{
    char text[OWNER_FIELD_BYTES];
    struct wr w = wr_make(text, sizeof(text));
    if (rule == SNAP_DEFAULT_RULE) {
        *ret = STR("spec.defaultBackend");
        return true;
    }
    wr_str(&w, STR("spec.rules["));
    wr_u64(&w, rule);
    wr_str(&w, STR("].http.paths["));
    wr_u64(&w, path);
    wr_char(&w, ']');
    return arena_str(a, str_make(text, wr_n(&w)), ret);
}

static bool owner_fill(struct explanation *e, const struct snap_host *host,
                       const struct snap_route *route, struct explain_owner *o)
{
    o->namespace_name = snap_str_get(host, route->owner_namespace);
    o->name = snap_str_get(host, route->owner_name);
    if (o->name.n == 0) {
        o->field = STR("--default-backend-service");
        return true;
    }
    if (e->world->store != NULL) {
        const struct object *object =
            store_get(e->world->store, OBJECT_INGRESS, o->namespace_name, o->name);
        if (object != NULL) {
            o->file = object->file;
            o->line = rule_line((const struct ingress *)(const void *)object, route->rule,
                                route->path_index);
        }
    }
    return owner_field(&e->arena, route->rule, route->path_index, &o->field);
}

/* ---- candidates ---- */

static bool range_has(struct snap_range r, uint32_t index)
{
    return index >= r.first && index - r.first < r.n;
}

static const char *route_path_type(const struct snap_host *host, const struct snap_route *route)
{
    const struct snap_path *paths = snap_array_get(host, host->paths);
    const struct snap_route *routes = snap_array_get(host, host->routes);
    uint32_t index = (uint32_t)(route - routes);
    for (uint32_t i = 0; i < host->paths.n; i++) {
        if (range_has(paths[i].exact, index)) {
            return "Exact";
        }
        if (range_has(paths[i].prefix, index)) {
            return "Prefix";
        }
    }
    return "default";
}

static size_t common_prefix(struct str a, struct str b)
{
    size_t n = 0;
    while (n < a.n && n < b.n && a.p[n] == b.p[n]) {
        n++;
    }
    return n;
}

static unsigned verdict_rank(enum route_verdict v)
{
    switch (v) {
    case ROUTE_WON:
        return 0;
    case ROUTE_CONDITION_FAILS:
        return 1;
    case ROUTE_LESS_SPECIFIC:
        return 2;
    case ROUTE_PATH_DIFFERS:
        return 3;
    }
    return 4;
}

/* Lower is nearer to winning. */
static uint64_t candidate_rank(const struct explanation *e, const struct explain_candidate *c)
{
    struct str path = snap_str_get(c->host, c->route->path);
    size_t common = common_prefix(path, e->query.path);
    return ((uint64_t)verdict_rank(c->verdict) << 32) + (UINT32_MAX - common);
}

/* The place for a new candidate: a free one, that of a worse one, or NULL. */
static struct explain_candidate *candidate_place(struct explanation *e,
                                                 const struct explain_candidate *c)
{
    if (e->candidate_n < EXPLAIN_CANDIDATES_MAX) {
        return &e->candidates[e->candidate_n++];
    }
    struct explain_candidate *worst = &e->candidates[0];
    for (size_t i = 1; i < e->candidate_n; i++) {
        if (candidate_rank(e, &e->candidates[i]) > candidate_rank(e, worst)) {
            worst = &e->candidates[i];
        }
    }
    e->candidate_dropped++;
    return candidate_rank(e, c) < candidate_rank(e, worst) ? worst : NULL;
}

static void on_candidate(void *arg, const struct snap_host *host, const struct snap_route *route,
                         enum route_verdict verdict)
{
    struct explanation *e = arg;
    struct explain_candidate c = {.host = host, .route = route, .verdict = verdict};
    struct explain_candidate *place = candidate_place(e, &c);
    if (place != NULL) {
        *place = c;
    }
}

struct sort_key {
    uint64_t rank;
    size_t index; /* of arrival: the most specific host comes first */
};

static int sort_key_cmp(const void *a, const void *b)
{
    const struct sort_key *x = a, *y = b;
    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

static enum err sort_candidates(struct explanation *e)
{
    size_t n = e->candidate_n;
    struct sort_key *keys = arena_calloc(&e->arena, n, sizeof(*keys));
    struct explain_candidate *sorted = arena_calloc(&e->arena, n, sizeof(*sorted));
    if (keys == NULL || sorted == NULL) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        keys[i] = (struct sort_key){candidate_rank(e, &e->candidates[i]), i};
    }
    qsort(keys, n, sizeof(*keys), sort_key_cmp);
    for (size_t i = 0; i < n; i++) {
        sorted[i] = e->candidates[keys[i].index];
    }
    e->candidates = sorted;
    return E_OK;
}

static enum err finish_candidates(struct explanation *e)
{
    TRY(sort_candidates(e));
    for (size_t i = 0; i < e->candidate_n; i++) {
        struct explain_candidate *c = &e->candidates[i];
        c->path_type = route_path_type(c->host, c->route);
        if (!owner_fill(e, c->host, c->route, &c->owner)) {
            return E_NOMEM;
        }
        if (c->host == e->match.host && c->route == e->match.route) {
            c->verdict = ROUTE_WON;
            e->winner = c;
        }
    }
    must((e->winner == NULL) == (e->match.route == NULL)); /* route_explain() traces the winner */
    return E_OK;
}

static bool find_field(const void *arg, struct str name, struct str *ret_value)
{
    const struct explain_request *r = arg;
    for (size_t i = 0; i < r->field_n; i++) {
        if (str_eq_nocase(r->fields[i].name, name)) {
            *ret_value = r->fields[i].value;
            return true;
        }
    }
    return false;
}

/* ---- the listener's table ---- */

static bool listener_table(const struct snapshot *s, struct str listener, struct str *ret)
{
    const struct snap_global *global = explain_global(s);
    if (global == NULL) {
        return false;
    }
    const struct snap_listener *listeners = snap_array_get(global, global->listeners);
    for (uint32_t i = 0; i < global->listeners.n; i++) {
        if (str_eq(snap_str_get(global, listeners[i].name), listener)) {
            *ret = snap_str_get(global, listeners[i].table);
            return true;
        }
    }
    return false;
}

/* ---- backends ---- */

struct endpoint_scan {
    struct explain_backend *b;
    uint32_t max; /* of b->endpoints */
};

/* First of the usable endpoints, sorted by address, that is not below ip. */
static uint32_t endpoint_lower_bound(const struct explain_backend *b, const struct ip *ip)
{
    uint32_t low = 0, high = b->usable_n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ip_cmp(&b->endpoints[middle].ip, ip) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static const char *why_not(const struct endpoint *p)
{
    if (p->address_n == 0 || ip_is_unusable(&p->addresses[0])) {
        return "its address cannot be used";
    }
    if (p->is_terminating) {
        return p->is_serving ? "terminating, and others are ready" : "terminating";
    }
    if (p->is_ready && p->zone_hint_n + p->node_hint_n > 0) {
        return "meant for other zones or nodes, or its slice does not have the port";
    }
    return p->is_ready ? "its slice does not have the port" : "not ready";
}

static void endpoint_describe(struct explain_endpoint *to, const struct endpoint_slice *slice,
                              const struct endpoint *p)
{
    to->slice = slice->object.name;
    to->pod = str_eq(p->target_kind, STR("Pod")) ? p->target_name : STR_EMPTY;
    to->node = p->node;
    to->zone = p->zone;
}

static void scan_endpoint(struct endpoint_scan *scan, const struct endpoint_slice *slice,
                          const struct endpoint *p)
{
    struct explain_backend *b = scan->b;
    const struct ip none = {0}, *ip = p->address_n > 0 ? &p->addresses[0] : &none;
    uint32_t at = endpoint_lower_bound(b, ip);
    bool is_used = false;
    for (; at < b->usable_n && ip_cmp(&b->endpoints[at].ip, ip) == 0; at++) {
        is_used = true;
        if (b->endpoints[at].slice.n == 0) {
            endpoint_describe(&b->endpoints[at], slice, p);
        }
    }
    if (!is_used && b->endpoint_n < scan->max) {
        struct explain_endpoint *to = &b->endpoints[b->endpoint_n++];
        *to = (struct explain_endpoint){.ip = *ip, .why_not = why_not(p)};
        endpoint_describe(to, slice, p);
    }
}

static void scan_slice(void *arg, const struct endpoint_slice *slice)
{
    for (uint32_t i = 0; i < slice->endpoint_n; i++) {
        scan_endpoint(arg, slice, &slice->endpoints[i]);
    }
}

static enum err backend_endpoints(struct explanation *e, struct explain_backend *b)
{
    uint32_t n = b->service == NULL ? 0 : b->service->endpoints.n;
    struct endpoint_scan scan = {.b = b, .max = n + IDLE_ENDPOINTS_MAX};
    b->endpoints = arena_calloc(&e->arena, scan.max, sizeof(*b->endpoints));
    if (b->endpoints == NULL) {
        return E_LIMIT;
    }
    const struct snap_endpoint *from =
        n == 0 ? NULL : snap_array_get(b->service, b->service->endpoints);
    for (uint32_t i = 0; i < n; i++) {
        struct explain_endpoint *to = &b->endpoints[i];
        to->ip.family = from[i].family;
        mem_copy(to->ip.bytes, from[i].address, sizeof(to->ip.bytes));
        to->port = from[i].port;
        to->weight = from[i].weight;
    }
    b->usable_n = b->endpoint_n = n;
    if (e->world->store != NULL) {
        store_each_slice(e->world->store, b->namespace_name, b->name, scan_slice, &scan);
    }
    return E_OK;
}

/* key: of the Service port behind from. */
static enum err backend_fill(struct explanation *e, const struct snap_backend *from, struct str key,
                             uint64_t hash, struct explain_backend *b)
{
    struct str rest, port;
    const struct snapshot_entry *entry = snapshot_find(e->world->snapshot, SNAP_SERVICE, key, hash);
    b->backend = from;
    b->service = entry == NULL ? NULL : (const struct snap_service *)(const void *)entry->shard;
    /* The key is "<namespace>/<service>/<port>", and perhaps "/<variant>"; none holds a '/'. */
    (void)str_cut(key, '/', &b->namespace_name, &rest);
    (void)str_cut(rest, '/', &b->name, &port);
    b->port = str_first(port, str_find(port, '/'));
    return backend_endpoints(e, b);
}

static enum err route_backend_fill(struct explanation *e, const struct snap_backend *from,
                                   struct explain_backend *b)
{
    bool is_tls = str_eq(e->listener, STR("https"));
    return backend_fill(e, from, snap_str_get(e->match.host, is_tls ? from->secure : from->service),
                        is_tls ? from->secure_hash : from->service_hash, b);
}

/* What a request to it alone would fail by. */
static enum reason backend_fault(const struct explain_backend *b)
{
    if (b->backend->weight == 0 || b->usable_n == 0) {
        return REASON_no_endpoints;
    }
    return b->service->is_broken != 0 ? REASON_upstream_tls_missing : REASON_none;
}

static enum err fill_backends(struct explanation *e)
{
    struct snap_range r = e->match.route->backends;
    const struct snap_backend *from = snap_array_get(e->match.host, e->match.host->backends);
    e->backends = arena_calloc(&e->arena, r.n, sizeof(*e->backends));
    if (e->backends == NULL) {
        return E_NOMEM;
    }
    e->reason = REASON_no_endpoints;
    for (uint32_t i = 0; i < r.n; i++) {
        TRY(route_backend_fill(e, &from[r.first + i], &e->backends[i]));
        e->backend_n++;
        enum reason fault = backend_fault(&e->backends[i]);
        bool is_better = e->reason == REASON_no_endpoints || fault == REASON_none;
        e->reason = is_better ? fault : e->reason;
    }
    e->status = reason_status(e->reason);
    return E_OK;
}

/* ---- passthrough ---- */

/* NULL: TLS ends here, or there is none. */
static const struct snap_tls_host *passed_host(const struct explanation *e)
{
    struct snapshot_segment *segment; /* stays as long as the snapshot does */
    if (!str_eq(e->listener, STR("https"))) {
        return NULL;
    }
    const struct snap_tls_host *host =
        route_tls_host(e->world->snapshot, e->query.table, e->query.host, &segment);
    return host != NULL && host->passthrough.key.n > 0 ? host : NULL;
}

/* Its client asks for the host in the handshake, as clients do. */
static enum err pass_through(struct explanation *e, const struct snap_tls_host *host)
{
    static const struct snap_backend only = {.weight = 1};
    e->is_passed_through = true;
    e->backends = arena_calloc(&e->arena, 1, sizeof(*e->backends));
    if (e->backends == NULL) {
        return E_NOMEM;
    }
    TRY(backend_fill(e, &only, snap_str_get(host, host->passthrough.key), host->passthrough.hash,
                     &e->backends[0]));
    e->backend_n = 1;
    e->reason = backend_fault(&e->backends[0]);
    return E_OK;
}

/* ---- nearest misses ---- */

static bool is_below(struct str path, struct str prefix)
{
    return path.n > prefix.n && str_has_prefix(path, prefix) &&
           (path.p[prefix.n] == '/' || (prefix.n > 0 && prefix.p[prefix.n - 1] == '/'));
}

static const char *why_missed(const struct explanation *e, const struct explain_candidate *c)
{
    struct str path = snap_str_get(c->host, c->route->path), asked = e->query.path;
    if (c->verdict == ROUTE_CONDITION_FAILS) {
        return "the path matches, but a further condition of the route does not hold";
    }
    if (str_eq_nocase(path, asked)) {
        return "upper and lower case count in paths";
    }
    if (is_below(asked, path) || is_below(path, asked)) {
        return "an Exact path must be equal as a whole, a '/' at its end included";
    }
    if (str_has_prefix(asked, path)) {
        return "a Prefix matches whole elements, from '/' to '/'";
    }
    return "the path differs";
}

static void add_miss(struct explanation *e, struct explain_miss m)
{
    if (e->miss_n < EXPLAIN_MISSES_MAX) {
        e->misses[e->miss_n++] = m;
    }
}

static void add_path_misses(struct explanation *e)
{
    for (size_t i = 0; i < e->candidate_n && i < PATH_MISSES_MAX; i++) {
        const struct explain_candidate *c = &e->candidates[i];
        add_miss(e, (struct explain_miss){.host = snap_str_get(c->host, c->host->host),
                                          .path = snap_str_get(c->host, c->route->path),
                                          .owner = c->owner,
                                          .why = why_missed(e, c)});
    }
}

/* True for the host itself and for a wildcard of its last labels. */
static bool host_covers(struct str pattern, struct str host)
{
    if (str_eq_nocase(pattern, host)) {
        return true;
    }
    size_t dot = str_find(host, '.');
    return str_has_prefix(pattern, STR("*.")) && dot < host.n &&
           str_eq_nocase(str_from(pattern, 1), str_from(host, dot));
}

static int miss_cmp(const struct explain_miss *a, const struct explain_miss *b)
{
    int order = str_cmp(a->owner.namespace_name, b->owner.namespace_name);
    return order != 0 ? order : str_cmp(a->owner.name, b->owner.name);
}

/* The misses from index first on stay sorted by name: the store's order is by chance. */
static void add_sorted_miss(struct explanation *e, size_t first, struct explain_miss m)
{
    size_t at = e->miss_n;
    if (at == EXPLAIN_MISSES_MAX) {
        at--;
        if (at < first || miss_cmp(&m, &e->misses[at]) > 0) {
            return;
        }
    } else {
        e->miss_n++;
    }
    for (; at > first && miss_cmp(&m, &e->misses[at - 1]) < 0; at--) {
        e->misses[at] = e->misses[at - 1];
    }
    e->misses[at] = m;
}

struct class_scan {
    struct explanation *e;
    size_t first;
};

static void add_class_miss(void *arg, const struct object *o)
{
    struct class_scan *scan = arg;
    struct explanation *e = scan->e;
    const struct ingress *i = (const struct ingress *)(const void *)o;
    const char *why = NULL;
    for (uint32_t r = 0; r < i->rule_n; r++) {
        if (i->rules[r].host.n > 0 && host_covers(i->rules[r].host, e->query.host) &&
            !e->world->is_ours(e->world->is_ours_arg, i, &why)) {
            struct explain_miss m = {.host = i->rules[r].host, .why = why};
            m.owner.namespace_name = o->namespace_name;
            m.owner.name = o->name;
            m.owner.field = STR("spec.ingressClassName");
            m.owner.file = o->file;
            m.owner.line = o->line;
            add_sorted_miss(e, scan->first, m);
            return;
        }
    }
}

/* The host that looks most like the one that was asked for. */
static void add_host_miss(struct explanation *e)
{
    struct nearest n = nearest_make(e->query.host);
    map_each(slot, &e->world->snapshot->shards)
    {
        const struct snapshot_entry *entry = slot->value;
        if (entry->shard->kind == SNAP_HOST) {
            const struct snap_host *h = (const struct snap_host *)(const void *)entry->shard;
            struct str host = snap_str_get(h, h->host);
            size_t before = n.distance;
            if (str_eq(snap_str_get(h, h->table), e->query.table) &&
                !host_covers(host, e->query.host)) {
                nearest_offer(&n, host);
            }
            /* The map's order is by chance: of equally near ones the first by name. */
            if (n.distance == before && n.best.n > 0 && host.n > 0 &&
                edit_distance(n.word, host) == before && str_cmp(host, n.best) < 0) {
                n.best = host;
            }
        }
    }
    if (n.best.n > 0) {
        add_miss(e, (struct explain_miss){.host = n.best, .why = "a host with a similar name"});
    }
}

static enum err fill_misses(struct explanation *e)
{
    e->misses = arena_calloc(&e->arena, EXPLAIN_MISSES_MAX, sizeof(*e->misses));
    if (e->misses == NULL) {
        return E_NOMEM;
    }
    add_path_misses(e);
    if (e->world->store != NULL && e->world->is_ours != NULL) {
        struct class_scan scan = {e, e->miss_n};
        store_each(e->world->store, OBJECT_INGRESS, add_class_miss, &scan);
    }
    if (e->query.host.n > 0) {
        add_host_miss(e);
    }
    return E_OK;
}

/* ---- together ---- */

/* A client that speaks https most likely comes to that listener, and the other way round. */
static void settle_scheme(struct explanation *e)
{
    const struct explain_request *r = e->request;
    struct str known = r->scheme.n > 0 ? r->scheme : r->listener;
    struct str likely = str_eq(known, STR("https")) ? STR("https") : STR("http");
    e->scheme = r->scheme.n > 0 ? r->scheme : likely;
    e->listener = r->listener.n > 0 ? r->listener : likely;
}

static enum err prepare(struct explanation *e)
{
    const struct explain_request *r = e->request;
    struct str table = STR_EMPTY;
    size_t room = r->authority.n + r->target.n;
    char *scratch = arena_alloc(&e->arena, room);
    e->candidates = arena_calloc(&e->arena, EXPLAIN_CANDIDATES_MAX, sizeof(*e->candidates));
    if (scratch == NULL || e->candidates == NULL) {
        return E_NOMEM;
    }
    settle_scheme(e);
    (void)listener_table(e->world->snapshot, e->listener, &table); /* none: nothing matches */
    e->is_understood = route_query_prepare(table, r->method, r->authority, r->target, scratch, room,
                                           &e->query) == E_OK;
    e->query.field = find_field;
    e->query.field_arg = r;
    return E_OK;
}

static enum err decide(struct explanation *e)
{
    TRY(prepare(e));
    if (!e->is_understood) {
        e->reason = REASON_bad_request;
        e->status = reason_status(e->reason);
        return E_OK;
    }
    const struct snap_tls_host *passed = passed_host(e);
    if (passed != NULL) {
        return pass_through(e, passed);
    }
    bool is_admitted;
    TRY(explain_tls(e, &is_admitted));
    if (!is_admitted) {
        return E_OK;
    }
    route_explain(e->world->snapshot, &e->query, &e->match, on_candidate, e);
    TRY(finish_candidates(e));
    if (e->match.route == NULL) {
        e->reason = REASON_no_route;
        e->status = reason_status(e->reason);
        return fill_misses(e);
    }
    TRY(fill_backends(e));
    TRY(explain_filters(e));
    explain_tls_plain(e);
    return E_OK;
}

enum err explain_request_set_url(struct explain_request *r, struct str url)
{
    struct str host;
    url = str_first(url, str_find(url, '#'));
    if (str_has_prefix(url, STR("http://"))) {
        url = str_from(url, sizeof("http://") - 1);
        r->scheme = STR("http");
    } else if (str_has_prefix(url, STR("https://"))) {
        url = str_from(url, sizeof("https://") - 1);
        r->scheme = STR("https");
    } else if (str_find(str_first(url, str_find(url, '/')), ':') + 1 == str_find(url, '/')) {
        return E_PROTO; /* "ftp://..." */
    }
    if (url.n == 0) {
        return E_PROTO;
    }
    size_t end = str_find(url, '/'), query = str_find(url, '?');
    r->authority = str_first(url, end < query ? end : query);
    r->target = str_from(url, r->authority.n);
    if (r->target.n == 0) {
        r->target = STR("/");
    }
    if (r->target.p[0] != '/') {
        return E_PROTO; /* "http://a?b": what is meant is written with a path */
    }
    if (find_field(r, STR("host"), &host)) {
        r->server_name = r->authority;
        r->authority = host;
    }
    return E_OK;
}

enum err explain_init(struct explanation *ret, const struct explain_world *world,
                      const struct explain_request *request)
{
    *ret = (struct explanation){.world = world, .request = request};
    arena_init(&ret->arena, EXPLAIN_BYTES_MAX);
    enum err e = decide(ret);
    if (e != E_OK) {
        explain_fini(ret);
    }
    return e;
}

void explain_fini(struct explanation *e)
{
    arena_fini(&e->arena);
    *e = (struct explanation){0};
}
