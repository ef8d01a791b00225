/* What routes are made of: the global shard, hosts with their paths, routes and filters, Services
 * with their endpoints. */
#include "base/hash.h"
#include "snapshot/verify_priv.h"

/* ---- filters ---- */

static bool check_redirect(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_filter_redirect *f = (const struct snap_filter_redirect *)items + i;
    struct str location = verify_text(c, f->location);
    if (f->status < 300 || f->status > 308) {
        return verify_fail(c, "not a redirect status");
    }
    if (location.n == 0) {
        return verify_fail(c, "redirect to nowhere");
    }
    if (!verify_charge(c, location.n)) {
        return false;
    }
    for (size_t j = 0; j < location.n; j++) {
        if (location.p[j] <= ' ' || location.p[j] > '~') {
            return verify_fail(c, "location is not printable ASCII");
        }
    }
    return true;
}

static const struct verify_field redirect_fields[] = {
    ZERO_AT(struct snap_filter_redirect, zero),
    STR_AT(struct snap_filter_redirect, location),
};

static const struct verify_layout layout_redirect = {sizeof(struct snap_filter_redirect),
                                                     FIELDS(redirect_fields), check_redirect};

static bool check_ssl_redirect(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_filter_ssl_redirect *f = (const struct snap_filter_ssl_redirect *)items + i;
    bool is_good = f->status == 301 || f->status == 302 || f->status == 307 || f->status == 308;
    return is_good || verify_fail(c, "not a redirect status");
}

static const struct verify_field ssl_redirect_fields[] = {
    {FIELD_ENUM8, offsetof(struct snap_filter_ssl_redirect, cause),        SNAP_SSL_BY_FORCE_ANNOTATION,
     NULL                                                                                                    },
    {FIELD_BOOL8, offsetof(struct snap_filter_ssl_redirect, drops_slash),  0,                            NULL},
    {FIELD_BOOL8, offsetof(struct snap_filter_ssl_redirect, tells_port),   0,                            NULL},
    {FIELD_BOOL8, offsetof(struct snap_filter_ssl_redirect, is_by_prefix), 0,                            NULL},
};

static const struct verify_layout layout_ssl_redirect = {
    sizeof(struct snap_filter_ssl_redirect), FIELDS(ssl_redirect_fields), check_ssl_redirect};

static bool check_hsts(struct verify *c, const void *items, uint32_t i)
{
    struct str value = verify_text(c, ((const struct snap_filter_hsts *)items)[i].value);
    if (!verify_charge(c, value.n)) {
        return false;
    }
    for (size_t j = 0; j < value.n; j++) {
        if (value.p[j] < ' ' || value.p[j] > '~') {
            return verify_fail(c, "value of a field is not printable ASCII");
        }
    }
    return value.n > 0 || verify_fail(c, "field without a value");
}

static const struct verify_field hsts_fields[] = {
    STR_AT(struct snap_filter_hsts, value),
};

static const struct verify_layout layout_hsts = {sizeof(struct snap_filter_hsts),
                                                 FIELDS(hsts_fields), check_hsts};

static const struct verify_layout *const filter_layouts[SNAP_FILTER_NUMBERS] = {
#define FILTER(name, number, halves) [SNAP_FILTER_##name] = &layout_##name,
#include "snapshot/filters.def"
#undef FILTER
};

static bool check_filter(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_filter *f = (const struct snap_filter *)items + i;
    const struct verify_layout *l = f->kind < SNAP_FILTER_NUMBERS ? filter_layouts[f->kind] : NULL;
    if (l == NULL) {
        return verify_fail(c, "unknown filter");
    }
    return verify_region(c, f->offset, l->bytes) && verify_charge(c, l->bytes) &&
           verify_root(c, verify_at(c, f->offset), l);
}

static const struct verify_layout layout_filter = {sizeof(struct snap_filter), NULL, 0,
                                                   check_filter};

/* ---- global ---- */

bool verify_table(struct verify *c, struct str table)
{
    if (table.n == 0 || table.n > SNAP_TABLE_BYTES_MAX) {
        return verify_fail(c, "name of the table is too short or too long");
    }
    return str_find(table, '/') == table.n || verify_fail(c, "name of the table holds a '/'");
}

static bool check_listener(struct verify *c, const void *items, uint32_t i)
{
    return verify_table(c, verify_text(c, ((const struct snap_listener *)items)[i].table));
}

static const struct verify_field listener_fields[] = {
    STR_AT(struct snap_listener, name),
    STR_AT(struct snap_listener, table),
};

static const struct verify_layout layout_listener = {sizeof(struct snap_listener),
                                                     FIELDS(listener_fields), check_listener};

static bool check_global(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_global *g = (const struct snap_global *)items + i;
    bool is_version = g->ssl_min_version >= 12 && g->ssl_max_version <= 13 &&
                      g->ssl_min_version <= g->ssl_max_version;
    if (!is_version) {
        return verify_fail(c, "no such version of TLS");
    }
    if (snap_settings_check(&g->settings) != NULL) {
        return verify_fail(c, "a setting is out of its range");
    }
    return g->shard.key.n == 0 || verify_fail(c, "the global shard has a key");
}

static bool check_prefix(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_prefix *p = (const struct snap_prefix *)items + i;
    unsigned most = p->family == 4 ? 32 : 128;
    if ((p->family != 4 && p->family != 6) || p->bits > most) {
        return verify_fail(c, "not an address prefix");
    }
    for (unsigned bit = p->bits; bit < 128; bit++) {
        if ((p->address[bit / 8] >> (7 - bit % 8) & 1) != 0) {
            return verify_fail(c, "an address prefix has host bits");
        }
    }
    return true;
}

static const struct verify_field prefix_fields[] = {
    ZERO_AT(struct snap_prefix, zero),
};

static const struct verify_layout layout_prefix = {sizeof(struct snap_prefix),
                                                   FIELDS(prefix_fields), check_prefix};

static bool check_plain_path(struct verify *c, const void *items, uint32_t i)
{
    struct str path = verify_text(c, ((const struct snap_str *)items)[i]);
    return (path.n > 0 && path.p[0] == '/') || verify_fail(c, "path does not begin with '/'");
}

static const struct verify_field plain_path_fields[] = {
    {FIELD_STR, 0, 0, NULL}
};

static const struct verify_layout layout_plain_path = {sizeof(struct snap_str),
                                                       FIELDS(plain_path_fields), check_plain_path};

static const struct verify_field global_fields[] = {
    STR_AT(struct snap_global, ssl_ciphers),
    STR_AT(struct snap_global, ssl_groups),
    ZERO_AT(struct snap_global, zero),
    {FIELD_ARRAY, offsetof(struct snap_global, listeners),   0, &layout_listener  },
    {FIELD_ARRAY, offsetof(struct snap_global, trusted),     0, &layout_prefix    },
    {FIELD_ARRAY, offsetof(struct snap_global, plain_paths), 0, &layout_plain_path},
};

const struct verify_layout verify_layout_global = {sizeof(struct snap_global),
                                                   FIELDS(global_fields), check_global};

/* ---- host ---- */

static bool check_condition(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_condition *cond = (const struct snap_condition *)items + i;
    return (cond->kind == SNAP_IF_METHOD) == (cond->name.n == 0) ||
           verify_fail(c, "condition with a name it must not have, or without one");
}

static const struct verify_field condition_fields[] = {
    {FIELD_ENUM32, offsetof(struct snap_condition, kind), SNAP_IF_QUERY, NULL},
    ZERO_AT(struct snap_condition, zero),
    STR_AT(struct snap_condition, name),
    STR_AT(struct snap_condition, value),
};

static const struct verify_layout layout_condition = {sizeof(struct snap_condition),
                                                      FIELDS(condition_fields), check_condition};

static bool check_backend(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_backend *b = (const struct snap_backend *)items + i;
    struct str service = verify_text(c, b->service), secure = verify_text(c, b->secure);
    return verify_charge(c, service.n + secure.n) &&
           ((b->service_hash == hash_str(service) && b->secure_hash == hash_str(secure)) ||
            verify_fail(c, "wrong hash of a service"));
}

static const struct verify_field backend_fields[] = {
    STR_AT(struct snap_backend, service),
    ZERO_AT(struct snap_backend, zero),
    STR_AT(struct snap_backend, log_name),
    STR_AT(struct snap_backend, secure),
};

static const struct verify_layout layout_backend = {sizeof(struct snap_backend),
                                                    FIELDS(backend_fields), check_backend};

/* Each at most once and in order: so what all of them may add to a response has a bound. */
static bool check_chain(struct verify *c, const struct snap_host *h, struct snap_range range)
{
    const struct snap_filter *filters = verify_at(c, h->filters.offset);
    for (uint32_t i = range.first + 1; i < range.first + range.n; i++) {
        if (filters[i - 1].kind >= filters[i].kind) {
            return verify_fail(c, "filters out of order");
        }
    }
    return true;
}

static bool check_route(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_host *h = verify_at(c, 0);
    const struct snap_route *r = (const struct snap_route *)items + i;
    const struct snap_backend *backends = verify_at(c, h->backends.offset);
    uint64_t sum = 0;
    for (uint32_t j = 0; j < r->backends.n; j++) {
        sum += backends[r->backends.first + j].weight;
    }
    return check_chain(c, h, r->filters) &&
           (sum == r->weight_sum || verify_fail(c, "weights do not add up"));
}

static const struct verify_field route_fields[] = {
    STR_AT(struct snap_route, owner_namespace),
    STR_AT(struct snap_route, owner_name),
    STR_AT(struct snap_route, path),
    {FIELD_RANGE, offsetof(struct snap_route, conditions), IN_CONDITIONS, NULL},
    {FIELD_RANGE, offsetof(struct snap_route, filters),    IN_FILTERS,    NULL},
    {FIELD_RANGE, offsetof(struct snap_route, backends),   IN_BACKENDS,   NULL},
    ZERO_AT(struct snap_route, zero),
};

static const struct verify_layout layout_route = {sizeof(struct snap_route), FIELDS(route_fields),
                                                  check_route};

static bool check_path_text(struct verify *c, const struct snap_path *node, struct str path)
{
    if (path.n == 0 ? node->exact.n > 0 : path.p[0] != '/') {
        return verify_fail(c, "path does not begin with '/'");
    }
    if (path.n > 0 && path.p[path.n - 1] == '/' && node->prefix.n > 0) {
        return verify_fail(c, "prefix with a trailing '/'");
    }
    return true;
}

/* The node before is verified. What is above this node is that node or above it: the order keeps
 * everything below a path together. Walking up costs O(1) on average: each step is one that no
 * later node takes again. */
static bool check_path(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_path *nodes = items;
    struct str path = verify_text(c, nodes[i].path);
    uint32_t parent = i;
    if (!check_path_text(c, &nodes[i], path)) {
        return false;
    }
    if (i > 0) {
        struct str before = verify_text(c, nodes[i - 1].path);
        size_t common = snap_path_common(before, path, 0);
        if (!verify_charge(c, common)) {
            return false;
        }
        if (snap_path_rank(before, common) >= snap_path_rank(path, common)) {
            return verify_fail(c, "paths are not sorted");
        }
        while (parent > 0 &&
               !snap_path_is_above(verify_text(c, nodes[parent - 1].path), path, common)) {
            parent = nodes[parent - 1].parent;
        }
    }
    return nodes[i].parent == parent || verify_fail(c, "wrong parent of a path");
}

static const struct verify_field path_fields[] = {
    STR_AT(struct snap_path, path),
    ZERO_AT(struct snap_path, zero),
    {FIELD_RANGE, offsetof(struct snap_path, exact),  IN_ROUTES, NULL},
    {FIELD_RANGE, offsetof(struct snap_path, prefix), IN_ROUTES, NULL},
};

static const struct verify_layout layout_path = {sizeof(struct snap_path), FIELDS(path_fields),
                                                 check_path};

/* What stands before the name in a pattern of each kind. */
static const struct str host_stars[] = {
    [SNAP_HOST_EXACT] = STR_INIT(""),
    [SNAP_HOST_LABEL] = STR_INIT("*."),
    [SNAP_HOST_SUFFIX] = STR_INIT("**."),
};

bool verify_pattern(struct verify *c, uint8_t kind, struct str pattern)
{
    if (pattern.n > SNAP_HOST_BYTES_MAX) {
        return verify_fail(c, "host is too long");
    }
    if (kind == SNAP_HOST_ANY) {
        return pattern.n == 0 || verify_fail(c, "host differs from its kind");
    }
    struct str name = str_from(pattern, host_stars[kind].n);
    if (!str_has_prefix(pattern, host_stars[kind]) || name.n == 0) {
        return verify_fail(c, "host differs from its kind");
    }
    for (size_t i = 0; i < name.n; i++) {
        char b = name.p[i];
        if (b <= ' ' || b > '~' || b == '*' || b == '/' || (b >= 'A' && b <= 'Z')) {
            return verify_fail(c, "host is not a lower-case name");
        }
    }
    return true;
}

static bool check_host(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_host *h = (const struct snap_host *)items + i;
    struct str parts[] = {verify_text(c, h->table), verify_text(c, h->host)};
    if (!verify_table(c, parts[0]) || !verify_pattern(c, h->kind, parts[1])) {
        return false;
    }
    if (!verify_is_joined(verify_text(c, h->shard.key), parts, 2)) {
        return verify_fail(c, "key differs from table and host");
    }
    if (h->default_route > h->routes.n) {
        return verify_fail(c, "no such default route");
    }
    const struct snap_route *routes = verify_at(c, h->routes.offset);
    return h->default_route == 0 || routes[h->default_route - 1].conditions.n == 0 ||
           verify_fail(c, "default route with conditions");
}

/* paths last: their ranges are of routes, and those of routes are of the others. */
static const struct verify_field host_fields[] = {
    STR_AT(struct snap_host, table),
    STR_AT(struct snap_host, host),
    {FIELD_ENUM8, offsetof(struct snap_host, kind),          SNAP_HOST_ANY,     NULL             },
    {FIELD_ENUM8, offsetof(struct snap_host, order),         SNAP_ORDER_STRICT, NULL             },
    {FIELD_BOOL8, offsetof(struct snap_host, falls_through), 0,                 NULL             },
    ZERO_AT(struct snap_host, zero),
    ZERO_AT(struct snap_host, zero2),
    {FIELD_ARRAY, offsetof(struct snap_host, conditions),    0,                 &layout_condition},
    {FIELD_ARRAY, offsetof(struct snap_host, filters),       0,                 &layout_filter   },
    {FIELD_ARRAY, offsetof(struct snap_host, backends),      0,                 &layout_backend  },
    {FIELD_ARRAY, offsetof(struct snap_host, routes),        0,                 &layout_route    },
    {FIELD_ARRAY, offsetof(struct snap_host, paths),         0,                 &layout_path     },
};

const struct verify_layout verify_layout_host = {sizeof(struct snap_host), FIELDS(host_fields),
                                                 check_host};

/* ---- service ---- */

static struct str endpoint_bytes(const struct snap_endpoint *e)
{
    return str_make((const char *)e->address, sizeof(e->address));
}

static bool is_endpoint_before(const struct snap_endpoint *a, const struct snap_endpoint *b)
{
    int order = str_cmp(endpoint_bytes(a), endpoint_bytes(b));
    if (a->family != b->family) {
        return a->family < b->family;
    }
    return order != 0 ? order < 0 : a->port < b->port;
}

static bool check_endpoint(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_endpoint *e = (const struct snap_endpoint *)items + i;
    if (e->family != 4 && e->family != 6) {
        return verify_fail(c, "unknown address family");
    }
    if (e->port == 0 || e->weight == 0) {
        return verify_fail(c, "endpoint without port or weight");
    }
    if (e->family == 4 && !verify_zero(c, e->address + 4, sizeof(e->address) - 4)) {
        return false;
    }
    return i == 0 || is_endpoint_before(e - 1, e) || verify_fail(c, "endpoints are not sorted");
}

static const struct verify_field endpoint_fields[] = {
    ZERO_AT(struct snap_endpoint, zero),
};

static const struct verify_layout layout_endpoint = {sizeof(struct snap_endpoint),
                                                     FIELDS(endpoint_fields), check_endpoint};

static bool check_service_tls(struct verify *c, const struct snap_service *s)
{
    bool is_version = (s->min_version == 0 || s->min_version == 13) &&
                      (s->max_version == 0 || s->max_version == 12);
    if (!is_version || (s->min_version != 0 && s->max_version != 0)) {
        return verify_fail(c, "no such version of TLS");
    }
    bool has_tls = s->is_verified || s->sends_name || s->is_broken || s->tls_name.n > 0 ||
                   s->ciphers.n > 0 || s->authority.n > 0 || s->certificate.n > 0;
    return s->is_tls != 0 || !has_tls || verify_fail(c, "TLS settings of a service without TLS");
}

static bool check_service(struct verify *c, const void *items, uint32_t i)
{
    enum { PARTS = 4 };
    const struct snap_service *s = (const struct snap_service *)items + i;
    struct str parts[PARTS] = {verify_text(c, s->namespace_name), verify_text(c, s->name),
                               verify_text(c, s->port), verify_text(c, s->variant)};
    const struct snap_endpoint *endpoints = verify_at(c, s->endpoints.offset);
    uint64_t sum = 0;
    if (!verify_is_joined(verify_text(c, s->shard.key), parts,
                          s->variant.n > 0 ? PARTS : PARTS - 1)) {
        return verify_fail(c, "key differs from namespace, name, port and variant");
    }
    if (s->status != SNAP_SERVICE_OK && s->endpoints.n > 0) {
        return verify_fail(c, "endpoints of a service that is not there");
    }
    for (uint32_t j = 0; j < s->endpoints.n; j++) {
        sum += endpoints[j].weight;
    }
    return check_service_tls(c, s) &&
           (sum <= UINT32_MAX || verify_fail(c, "endpoint weights are too large"));
}

static const struct verify_field service_fields[] = {
    STR_AT(struct snap_service, namespace_name),
    STR_AT(struct snap_service, name),
    STR_AT(struct snap_service, port),
    STR_AT(struct snap_service, variant),
    {FIELD_ENUM8, offsetof(struct snap_service, status),         SNAP_SERVICE_UNSUPPORTED, NULL            },
    {FIELD_ENUM8, offsetof(struct snap_service, protocol),       SNAP_TCP,                 NULL            },
    {FIELD_UPTO8, offsetof(struct snap_service, balance),        SNAP_BALANCE_LATENCY,     NULL            },
    {FIELD_UPTO8, offsetof(struct snap_service, proxy_protocol), 2,                        NULL            },
    {FIELD_BOOL8, offsetof(struct snap_service, is_tls),         0,                        NULL            },
    {FIELD_BOOL8, offsetof(struct snap_service, is_verified),    0,                        NULL            },
    {FIELD_BOOL8, offsetof(struct snap_service, sends_name),     0,                        NULL            },
    {FIELD_BOOL8, offsetof(struct snap_service, is_broken),      0,                        NULL            },
    ZERO_AT(struct snap_service, zero),
    STR_AT(struct snap_service, tls_name),
    STR_AT(struct snap_service, ciphers),
    STR_AT(struct snap_service, authority),
    STR_AT(struct snap_service, certificate),
    {FIELD_ARRAY, offsetof(struct snap_service, endpoints),      0,                        &layout_endpoint},
};

const struct verify_layout verify_layout_service = {sizeof(struct snap_service),
                                                    FIELDS(service_fields), check_service};
