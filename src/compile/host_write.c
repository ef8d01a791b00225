/* The bytes of one host's shard. Everything is laid out first (arrays, zeroed), then filled in, so
 * that the number of each thing is known before anything points to it. */
#include "compile/compile_priv.h"

#include "base/mem.h"
#include "snapshot/path.h"

struct layout { /* offsets in the shard, and how much of the arrays is filled */
    struct snap_array paths, routes, filters, backends;
    uint32_t path_n, route_n, backend_n;
};

/* What a route is made of. */
struct route_parts {
    struct str owner_namespace, owner_name, written;
    struct place place;
    struct str backend_service; /* empty: none */
    struct str backend_port;
    struct variants variants;
    const char *log_name; /* NULL: from the backend */
    struct snap_range filters;
};

static bool has_options_default(const struct compile *c, const struct host_node *host)
{
    return c->host.fallback == NULL && host == c->any_host && c->default_use.port != NULL;
}

static bool has_default_route(const struct compile *c, const struct host_node *host)
{
    return c->host.fallback != NULL || has_options_default(c, host);
}

static enum snap_host_kind host_kind(struct str pattern)
{
    if (pattern.n == 0) {
        return SNAP_HOST_ANY;
    }
    return str_has_prefix(pattern, STR("*.")) ? SNAP_HOST_LABEL : SNAP_HOST_EXACT;
}

/* ---- filters ---- */

static enum err route_filters(struct compile *c, const struct ingress *in, struct snap_range *ret)
{
    size_t first = c->host.filter_n;
    TRY(filters_write(c, in));
    *ret = (struct snap_range){(uint32_t)first, (uint32_t)(c->host.filter_n - first)};
    return E_OK;
}

/* Each route has its own, also when several are of one Ingress: items of ranges are not shared. */
static enum err all_filters(struct compile *c, struct snap_range *ret_default)
{
    struct host_work *w = &c->host;
    w->filter_n = 0;
    for (size_t i = 0; i < w->candidate_n; i++) {
        struct candidate *candidate = &w->candidates[i];
        TRY(route_filters(c, w->links[candidate->order]->ingress->object, &candidate->filters));
    }
    if (w->fallback != NULL) {
        TRY(route_filters(c, w->fallback->ingress->object, ret_default));
    }
    return E_OK;
}

/* ---- routes ---- */

static void service_write_key(struct compile *c, const struct key *key, struct snap_str *ret,
                              uint64_t *ret_hash)
{
    service_key(c, key);
    *ret = snap_add_str(&c->shard, buf_str(&c->key));
    *ret_hash = hash_str(buf_str(&c->key));
    c->shard.bad |= c->key.bad;
}

static void backend_write(struct compile *c, struct layout *l, const struct route_parts *parts)
{
    struct buf *b = &c->shard;
    struct key key = {
        {parts->owner_namespace, parts->backend_service, parts->backend_port,
         parts->variants.plain}
    };
    struct snap_backend to = {.weight = 1};
    service_write_key(c, &key, &to.service, &to.service_hash);
    to.secure = to.service;
    to.secure_hash = to.service_hash;
    if (parts->variants.secure.n > 0) {
        key.part[3] = parts->variants.secure;
        service_write_key(c, &key, &to.secure, &to.secure_hash);
    }
    buf_reset(&c->key);
    if (parts->log_name != NULL) {
        buf_addf(&c->key, "%s", parts->log_name);
    } else {
        buf_addf(&c->key, "%.*s-%.*s-%.*s", STR_ARG(key.part[0]), STR_ARG(key.part[1]),
                 STR_ARG(key.part[2]));
    }
    to.log_name = snap_add_str(b, buf_str(&c->key));
    b->bad |= c->key.bad;
    snap_at(b, l->backends.offset, struct snap_backend)[l->backend_n++] = to;
}

static void route_write(struct compile *c, struct layout *l, const struct route_parts *parts,
                        struct str owner_namespace)
{
    struct buf *b = &c->shard;
    bool is_default = parts->place.path == SNAP_DEFAULT_RULE;
    struct snap_route route = {
        .owner_namespace = snap_add_str(b, owner_namespace),
        .owner_name = snap_add_str(b, parts->owner_name),
        .path = snap_add_str(b, parts->written),
        .rule = is_default ? SNAP_DEFAULT_RULE : parts->place.rule,
        .path_index = parts->place.path,
        .filters = parts->filters,
        .backends = {l->backend_n, 0},
    };
    if (parts->backend_service.n > 0) {
        backend_write(c, l, parts);
        route.backends.n = 1;
        route.weight_sum = 1;
    }
    snap_at(b, l->routes.offset, struct snap_route)[l->route_n++] = route;
}

static void ingress_route_write(struct compile *c, struct layout *l,
                                const struct ingress_node *owner,
                                const struct ingress_backend *backend, struct route_parts parts)
{
    char digits[U16_DIGITS];
    parts.owner_namespace = owner->node.key.part[0];
    parts.owner_name = owner->node.key.part[1];
    if (backend_is_service(backend)) {
        parts.backend_service = backend->service;
        parts.backend_port = backend_port(backend, digits);
        parts.variants = owner->variants;
    }
    route_write(c, l, &parts, parts.owner_namespace);
}

static void candidate_write(struct compile *c, struct layout *l, const struct candidate *candidate)
{
    ingress_route_write(c, l, c->host.links[candidate->order]->ingress, candidate->backend,
                        (struct route_parts){.written = candidate->written,
                                             .place = candidate->place,
                                             .filters = candidate->filters});
}

static void default_write(struct compile *c, struct layout *l, const struct host_node *host,
                          struct snap_range filters)
{
    struct route_parts parts = {
        .written = STR_EMPTY,
        .place = {SNAP_DEFAULT_RULE, SNAP_DEFAULT_RULE},
        .filters = filters,
    };
    if (c->host.fallback != NULL) {
        const struct ingress_node *owner = c->host.fallback->ingress;
        ingress_route_write(c, l, owner, &owner->object->default_backend, parts);
    } else if (has_options_default(c, host)) {
        const struct key *key = &c->default_use.port->node.key;
        parts.owner_namespace = key->part[0];
        parts.owner_name = STR_EMPTY;
        parts.backend_service = key->part[1];
        parts.backend_port = key->part[2];
        parts.variants = (struct variants){STR_EMPTY, STR_EMPTY};
        parts.log_name = "upstream-default-backend"; /* as ingress-nginx logs it */
        route_write(c, l, &parts, STR_EMPTY);
    } else {
        return;
    }
    snap_at(&c->shard, 0, struct snap_host)->default_route = l->route_n;
}

/* ---- paths ---- */

static struct str node_path(const struct compile *c, const struct layout *l, uint32_t i)
{
    const struct snap_path *nodes = snap_at(&c->shard, l->paths.offset, struct snap_path);
    return snap_str_get(c->shard.p, nodes[i].path);
}

/* The node before is the parent or below it: the order keeps everything below a path together. */
static uint32_t parent_find(const struct compile *c, const struct layout *l, struct str path)
{
    uint32_t parent = l->path_n;
    while (parent > 0) {
        struct str above = node_path(c, l, parent - 1);
        if (snap_path_is_above(above, path, snap_path_common(above, path, 0))) {
            break;
        }
        parent = snap_at(&c->shard, l->paths.offset, struct snap_path)[parent - 1].parent;
    }
    return parent;
}

static void node_write(struct compile *c, struct layout *l, struct str path)
{
    struct snap_path node = {
        .path = snap_add_str(&c->shard, path),
        .parent = parent_find(c, l, path),
        .exact = {l->route_n, 0},
        .prefix = {l->route_n, 0},
    };
    snap_at(&c->shard, l->paths.offset, struct snap_path)[l->path_n++] = node;
}

static void paths_write(struct compile *c, struct layout *l)
{
    const struct host_work *w = &c->host;
    for (size_t i = 0; i < w->candidate_n; i++) {
        const struct candidate *candidate = &w->candidates[i];
        if (i == 0 || !str_eq(candidate[-1].path, candidate->path)) {
            node_write(c, l, candidate->path);
        }
        struct snap_path *node =
            snap_at(&c->shard, l->paths.offset, struct snap_path) + l->path_n - 1;
        struct snap_range *range = candidate->is_exact ? &node->exact : &node->prefix;
        *range = (struct snap_range){l->route_n, 1};
        candidate_write(c, l, candidate);
        if (c->shard.bad) { /* what was added last is not there */
            return;
        }
    }
}

/* ---- the whole ---- */

static uint32_t backend_count(const struct compile *c, const struct host_node *host)
{
    const struct host_work *w = &c->host;
    uint32_t n = has_options_default(c, host);
    for (size_t i = 0; i < w->candidate_n; i++) {
        n += backend_is_service(w->candidates[i].backend);
    }
    if (w->fallback != NULL) {
        n += backend_is_service(&w->fallback->ingress->object->default_backend);
    }
    return n;
}

static void layout_make(struct compile *c, const struct host_node *host, struct layout *l)
{
    struct buf *b = &c->shard;
    const struct host_work *w = &c->host;
    uint32_t routes = (uint32_t)w->candidate_n + has_default_route(c, host);
    l->paths = snap_add_array(b, (uint32_t)w->node_n, sizeof(struct snap_path));
    l->routes = snap_add_array(b, routes, sizeof(struct snap_route));
    l->filters = snap_add_array(b, (uint32_t)w->filter_n, sizeof(struct snap_filter));
    l->backends = snap_add_array(b, backend_count(c, host), sizeof(struct snap_backend));
}

static void root_write(struct compile *c, const struct host_node *host, const struct layout *l)
{
    struct buf *b = &c->shard;
    struct str pattern = host->node.key.part[0];
    struct snap_str table = snap_add_str(b, STR("ingress"));
    struct snap_str name = snap_add_str(b, pattern);
    struct snap_host *root = snap_at(b, 0, struct snap_host);
    root->table = table;
    root->host = name;
    root->kind = (uint8_t)host_kind(pattern);
    root->order = SNAP_ORDER_STRICT;
    root->falls_through = 1; /* a rule without host is for the traffic of every host */
    root->paths = l->paths;
    root->routes = l->routes;
    root->filters = l->filters;
    root->backends = l->backends;
    mem_copy(snap_at(b, l->filters.offset, char), c->host.filters,
             c->host.filter_n * sizeof(*c->host.filters));
}

enum err host_write(struct compile *c, const struct host_node *host)
{
    struct buf *b = &c->shard;
    struct layout l = {0};
    struct snap_range default_filters = {0};
    buf_reset(&c->key);
    buf_addf(&c->key, "ingress/%.*s", STR_ARG(host->node.key.part[0]));
    TRY(c->key.bad ? E_NOMEM : E_OK);
    buf_reset(b);
    snap_shard_begin(b, SNAP_HOST, sizeof(struct snap_host), buf_str(&c->key));
    TRY(all_filters(c, &default_filters));
    layout_make(c, host, &l);
    if (!b->bad) {
        root_write(c, host, &l);
        paths_write(c, &l);
    }
    if (!b->bad) {
        default_write(c, &l, host, default_filters);
    }
    return snap_shard_end(b);
}
