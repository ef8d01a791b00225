/* One shard of foreign bytes against schema.h.
 * What a struct's fields may hold is a table (struct layout); what ties fields and items together
 * is the layout's check. The root's own fields come first, so that every array lies inside the
 * shard before its items are read, and arrays come before those that point into them.
 *
 * Cost: each byte of an array is read once. Where text is compared or hashed, and one text may be
 * named many times, the work is counted and bounded by a multiple of the shard's size. */
#include "snapshot/verify.h"

#include "base/hash.h"
#include "snapshot/filters.h"
#include "snapshot/path.h"

/* Bytes of text looked at for each byte of the shard. Honest shards need about 2. */
enum { WORK_PER_BYTE = 64 };

/* Arrays that ranges point into. */
enum range_array { IN_ROUTES, IN_CONDITIONS, IN_FILTERS, IN_BACKENDS, RANGE_ARRAYS_N };

struct check {
    const char *shard;
    uint32_t bytes;
    uint64_t work;                    /* bytes of text looked at */
    uint64_t range_n[RANGE_ARRAYS_N]; /* sum of the ranges into each array */
    const char *what;                 /* the first fault */
};

enum field_type {
    FIELD_STR,    /* struct snap_str */
    FIELD_ZERO,   /* arg bytes */
    FIELD_ENUM8,  /* 1..arg */
    FIELD_UPTO8,  /* 0..arg */
    FIELD_ENUM32, /* 1..arg */
    FIELD_BOOL8,
    FIELD_RANGE, /* arg: enum range_array */
    FIELD_ARRAY  /* of items */
};

struct layout;

struct field {
    enum field_type type;
    size_t offset;
    uint32_t arg;
    const struct layout *items;
};

/* at: the struct; i: its index in an array that starts at items. */
typedef bool check_fn(struct check *c, const void *items, uint32_t i);

struct layout {
    size_t bytes;
    const struct field *fields;
    size_t field_n;
    check_fn *check; /* NULL = nothing more to check */
};

#define FIELDS(table) (table), sizeof(table) / sizeof(*(table))
#define STR_AT(type, name)                                                                         \
    {                                                                                              \
        FIELD_STR, offsetof(type, name), 0, NULL                                                   \
    }
#define ZERO_AT(type, name)                                                                        \
    {                                                                                              \
        FIELD_ZERO, offsetof(type, name), sizeof(((type *)0)->name), NULL                          \
    }
#define RANGE_AT(type, name)                                                                       \
    {                                                                                              \
        FIELD_RANGE, offsetof(type, name), 0, NULL                                                 \
    }

static const size_t range_arrays[] = {
    [IN_ROUTES] = offsetof(struct snap_host, routes),
    [IN_CONDITIONS] = offsetof(struct snap_host, conditions),
    [IN_FILTERS] = offsetof(struct snap_host, filters),
    [IN_BACKENDS] = offsetof(struct snap_host, backends),
};

/* ---- the pieces ---- */

static bool fail(struct check *c, const char *what)
{
    c->what = what;
    return false;
}

static const void *at(const struct check *c, size_t offset)
{
    return c->shard + offset;
}

static struct str text(const struct check *c, struct snap_str s)
{
    return snap_str_get(c->shard, s);
}

static bool charge(struct check *c, size_t bytes)
{
    c->work += bytes;
    return c->work <= (uint64_t)c->bytes * WORK_PER_BYTE || fail(c, "too much work to check");
}

static bool check_str(struct check *c, const struct snap_str *s)
{
    if ((uint64_t)s->offset + s->n >= c->bytes) {
        return fail(c, "text outside the shard");
    }
    return c->shard[s->offset + s->n] == '\0' || fail(c, "text without NUL");
}

static bool check_region(struct check *c, uint32_t offset, uint64_t bytes)
{
    if (offset % SNAP_ALIGN != 0) {
        return fail(c, "not aligned");
    }
    return offset + bytes <= c->bytes || fail(c, "array outside the shard");
}

static bool check_zero(struct check *c, const uint8_t *p, size_t n)
{
    uint8_t bits = 0;
    for (size_t i = 0; i < n; i++) {
        bits |= p[i];
    }
    return bits == 0 || fail(c, "reserved bytes are not zero");
}

static bool check_range(struct check *c, const struct snap_range *r, uint32_t which)
{
    const struct snap_array *a = at(c, range_arrays[which]);
    if (r->first > a->n || r->n > a->n - r->first) {
        return fail(c, "range outside its array");
    }
    c->range_n[which] += r->n;
    return c->range_n[which] <= a->n || fail(c, "ranges share items");
}

static bool check_field(struct check *c, const char *p, const struct field *f)
{
    const void *v = p + f->offset;
    switch (f->type) {
    case FIELD_STR:
        return check_str(c, v);
    case FIELD_ZERO:
        return check_zero(c, v, f->arg);
    case FIELD_ENUM8:
        return (*(const uint8_t *)v >= 1 && *(const uint8_t *)v <= f->arg) ||
               fail(c, "unknown number");
    case FIELD_UPTO8:
        return *(const uint8_t *)v <= f->arg || fail(c, "unknown number");
    case FIELD_ENUM32:
        return (*(const uint32_t *)v >= 1 && *(const uint32_t *)v <= f->arg) ||
               fail(c, "unknown number");
    case FIELD_BOOL8:
        return *(const uint8_t *)v <= 1 || fail(c, "neither 0 nor 1");
    case FIELD_RANGE:
        return check_range(c, v, f->arg);
    case FIELD_ARRAY: {
        const struct snap_array *a = v;
        return check_region(c, a->offset, (uint64_t)a->n * f->items->bytes);
    }
    }
    return fail(c, "unknown field type");
}

static bool check_fields(struct check *c, const void *p, const struct layout *l)
{
    for (size_t i = 0; i < l->field_n; i++) {
        if (!check_field(c, p, &l->fields[i])) {
            return false;
        }
    }
    return true;
}

static bool check_items(struct check *c, const struct snap_array *a, const struct layout *l)
{
    const char *items = at(c, a->offset);
    for (uint32_t i = 0; i < a->n; i++) {
        if (!check_fields(c, items + i * l->bytes, l) ||
            (l->check != NULL && !l->check(c, items, i))) {
            return false;
        }
    }
    return true;
}

/* A struct and everything in its arrays. */
static bool check_root(struct check *c, const void *root, const struct layout *l)
{
    if (!check_fields(c, root, l) || (l->check != NULL && !l->check(c, root, 0))) {
        return false;
    }
    for (size_t i = 0; i < l->field_n; i++) {
        const struct field *f = &l->fields[i];
        if (f->type == FIELD_ARRAY &&
            !check_items(c, (const void *)((const char *)root + f->offset), f->items)) {
            return false;
        }
    }
    return true;
}

/* True when whole is the parts with '/' between them. */
static bool is_joined(struct str whole, const struct str *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool is_last = i + 1 == n;
        if (!str_has_prefix(whole, parts[i])) {
            return false;
        }
        whole = str_from(whole, parts[i].n);
        if (is_last ? whole.n != 0 : whole.n == 0 || whole.p[0] != '/') {
            return false;
        }
        whole = str_from(whole, is_last ? 0 : 1);
    }
    return true;
}

/* ---- filters ---- */

static bool check_redirect(struct check *c, const void *items, uint32_t i)
{
    const struct snap_filter_redirect *f = (const struct snap_filter_redirect *)items + i;
    struct str location = text(c, f->location);
    if (f->status < 300 || f->status > 308) {
        return fail(c, "not a redirect status");
    }
    if (location.n == 0) {
        return fail(c, "redirect to nowhere");
    }
    if (!charge(c, location.n)) {
        return false;
    }
    for (size_t j = 0; j < location.n; j++) {
        if (location.p[j] <= ' ' || location.p[j] > '~') {
            return fail(c, "location is not printable ASCII");
        }
    }
    return true;
}

static const struct field redirect_fields[] = {
    ZERO_AT(struct snap_filter_redirect, zero),
    STR_AT(struct snap_filter_redirect, location),
};

static const struct layout layout_redirect = {sizeof(struct snap_filter_redirect),
                                              FIELDS(redirect_fields), check_redirect};

static const struct layout *const filter_layouts[] = {
#define FILTER(name, number) [SNAP_FILTER_##name] = &layout_##name,
#include "snapshot/filters.def"
#undef FILTER
};

static bool check_filter(struct check *c, const void *items, uint32_t i)
{
    const struct snap_filter *f = (const struct snap_filter *)items + i;
    const struct layout *l =
        f->kind < sizeof(filter_layouts) / sizeof(*filter_layouts) ? filter_layouts[f->kind] : NULL;
    if (l == NULL) {
        return fail(c, "unknown filter");
    }
    return check_region(c, f->offset, l->bytes) && charge(c, l->bytes) &&
           check_root(c, at(c, f->offset), l);
}

static const struct layout layout_filter = {sizeof(struct snap_filter), NULL, 0, check_filter};

/* ---- global ---- */

static bool check_table(struct check *c, struct str table)
{
    if (table.n == 0 || table.n > SNAP_TABLE_BYTES_MAX) {
        return fail(c, "name of the table is too short or too long");
    }
    return str_find(table, '/') == table.n || fail(c, "name of the table holds a '/'");
}

static bool check_listener(struct check *c, const void *items, uint32_t i)
{
    return check_table(c, text(c, ((const struct snap_listener *)items)[i].table));
}

static const struct field listener_fields[] = {
    STR_AT(struct snap_listener, name),
    STR_AT(struct snap_listener, table),
};

static const struct layout layout_listener = {sizeof(struct snap_listener), FIELDS(listener_fields),
                                              check_listener};

static bool check_global(struct check *c, const void *items, uint32_t i)
{
    const struct snap_global *g = (const struct snap_global *)items + i;
    if (snap_settings_check(&g->settings) != NULL) {
        return fail(c, "a setting is out of its range");
    }
    return g->shard.key.n == 0 || fail(c, "the global shard has a key");
}

static bool check_prefix(struct check *c, const void *items, uint32_t i)
{
    const struct snap_prefix *p = (const struct snap_prefix *)items + i;
    unsigned most = p->family == 4 ? 32 : 128;
    if ((p->family != 4 && p->family != 6) || p->bits > most) {
        return fail(c, "not an address prefix");
    }
    for (unsigned bit = p->bits; bit < 128; bit++) {
        if ((p->address[bit / 8] >> (7 - bit % 8) & 1) != 0) {
            return fail(c, "an address prefix has host bits");
        }
    }
    return true;
}

static const struct field prefix_fields[] = {
    ZERO_AT(struct snap_prefix, zero),
};

static const struct layout layout_prefix = {sizeof(struct snap_prefix), FIELDS(prefix_fields),
                                            check_prefix};

static const struct field global_fields[] = {
    {FIELD_ARRAY, offsetof(struct snap_global, listeners), 0, &layout_listener},
    {FIELD_ARRAY, offsetof(struct snap_global, trusted),   0, &layout_prefix  },
};

static const struct layout layout_global = {sizeof(struct snap_global), FIELDS(global_fields),
                                            check_global};

/* ---- host ---- */

static bool check_condition(struct check *c, const void *items, uint32_t i)
{
    const struct snap_condition *cond = (const struct snap_condition *)items + i;
    return (cond->kind == SNAP_IF_METHOD) == (cond->name.n == 0) ||
           fail(c, "condition with a name it must not have, or without one");
}

static const struct field condition_fields[] = {
    {FIELD_ENUM32, offsetof(struct snap_condition, kind), SNAP_IF_QUERY, NULL},
    ZERO_AT(struct snap_condition, zero),
    STR_AT(struct snap_condition, name),
    STR_AT(struct snap_condition, value),
};

static const struct layout layout_condition = {sizeof(struct snap_condition),
                                               FIELDS(condition_fields), check_condition};

static bool check_backend(struct check *c, const void *items, uint32_t i)
{
    const struct snap_backend *b = (const struct snap_backend *)items + i;
    struct str service = text(c, b->service);
    return charge(c, service.n) &&
           (b->service_hash == hash_str(service) || fail(c, "wrong hash of a service"));
}

static const struct field backend_fields[] = {
    STR_AT(struct snap_backend, service),
    ZERO_AT(struct snap_backend, zero),
    STR_AT(struct snap_backend, log_name),
};

static const struct layout layout_backend = {sizeof(struct snap_backend), FIELDS(backend_fields),
                                             check_backend};

static bool check_route(struct check *c, const void *items, uint32_t i)
{
    const struct snap_host *h = at(c, 0);
    const struct snap_route *r = (const struct snap_route *)items + i;
    const struct snap_backend *backends = at(c, h->backends.offset);
    uint64_t sum = 0;
    for (uint32_t j = 0; j < r->backends.n; j++) {
        sum += backends[r->backends.first + j].weight;
    }
    return sum == r->weight_sum || fail(c, "weights do not add up");
}

static const struct field route_fields[] = {
    STR_AT(struct snap_route, owner_namespace),
    STR_AT(struct snap_route, owner_name),
    STR_AT(struct snap_route, path),
    {FIELD_RANGE, offsetof(struct snap_route, conditions), IN_CONDITIONS, NULL},
    {FIELD_RANGE, offsetof(struct snap_route, filters),    IN_FILTERS,    NULL},
    {FIELD_RANGE, offsetof(struct snap_route, backends),   IN_BACKENDS,   NULL},
    ZERO_AT(struct snap_route, zero),
};

static const struct layout layout_route = {sizeof(struct snap_route), FIELDS(route_fields),
                                           check_route};

static bool check_path_text(struct check *c, const struct snap_path *node, struct str path)
{
    if (path.n == 0 ? node->exact.n > 0 : path.p[0] != '/') {
        return fail(c, "path does not begin with '/'");
    }
    if (path.n > 0 && path.p[path.n - 1] == '/' && node->prefix.n > 0) {
        return fail(c, "prefix with a trailing '/'");
    }
    return true;
}

/* The node before is verified. What is above this node is that node or above it: the order keeps
 * everything below a path together. Walking up costs O(1) on average: each step is one that no
 * later node takes again. */
static bool check_path(struct check *c, const void *items, uint32_t i)
{
    const struct snap_path *nodes = items;
    struct str path = text(c, nodes[i].path);
    uint32_t parent = i;
    if (!check_path_text(c, &nodes[i], path)) {
        return false;
    }
    if (i > 0) {
        struct str before = text(c, nodes[i - 1].path);
        size_t common = snap_path_common(before, path, 0);
        if (!charge(c, common)) {
            return false;
        }
        if (snap_path_rank(before, common) >= snap_path_rank(path, common)) {
            return fail(c, "paths are not sorted");
        }
        while (parent > 0 && !snap_path_is_above(text(c, nodes[parent - 1].path), path, common)) {
            parent = nodes[parent - 1].parent;
        }
    }
    return nodes[i].parent == parent || fail(c, "wrong parent of a path");
}

static const struct field path_fields[] = {
    STR_AT(struct snap_path, path),
    ZERO_AT(struct snap_path, zero),
    {FIELD_RANGE, offsetof(struct snap_path, exact),  IN_ROUTES, NULL},
    {FIELD_RANGE, offsetof(struct snap_path, prefix), IN_ROUTES, NULL},
};

static const struct layout layout_path = {sizeof(struct snap_path), FIELDS(path_fields),
                                          check_path};

/* What stands before the name in a pattern of each kind. */
static const struct str host_stars[] = {
    [SNAP_HOST_EXACT] = STR_INIT(""),
    [SNAP_HOST_LABEL] = STR_INIT("*."),
    [SNAP_HOST_SUFFIX] = STR_INIT("**."),
};

static bool check_pattern(struct check *c, uint8_t kind, struct str pattern)
{
    if (pattern.n > SNAP_HOST_BYTES_MAX) {
        return fail(c, "host is too long");
    }
    if (kind == SNAP_HOST_ANY) {
        return pattern.n == 0 || fail(c, "host differs from its kind");
    }
    struct str name = str_from(pattern, host_stars[kind].n);
    if (!str_has_prefix(pattern, host_stars[kind]) || name.n == 0) {
        return fail(c, "host differs from its kind");
    }
    for (size_t i = 0; i < name.n; i++) {
        char b = name.p[i];
        if (b <= ' ' || b > '~' || b == '*' || b == '/' || (b >= 'A' && b <= 'Z')) {
            return fail(c, "host is not a lower-case name");
        }
    }
    return true;
}

static bool check_host(struct check *c, const void *items, uint32_t i)
{
    const struct snap_host *h = (const struct snap_host *)items + i;
    struct str parts[] = {text(c, h->table), text(c, h->host)};
    if (!check_table(c, parts[0]) || !check_pattern(c, h->kind, parts[1])) {
        return false;
    }
    if (!is_joined(text(c, h->shard.key), parts, 2)) {
        return fail(c, "key differs from table and host");
    }
    if (h->default_route > h->routes.n) {
        return fail(c, "no such default route");
    }
    const struct snap_route *routes = at(c, h->routes.offset);
    return h->default_route == 0 || routes[h->default_route - 1].conditions.n == 0 ||
           fail(c, "default route with conditions");
}

/* paths last: their ranges are of routes, and those of routes are of the others. */
static const struct field host_fields[] = {
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

static const struct layout layout_host = {sizeof(struct snap_host), FIELDS(host_fields),
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

static bool check_endpoint(struct check *c, const void *items, uint32_t i)
{
    const struct snap_endpoint *e = (const struct snap_endpoint *)items + i;
    if (e->family != 4 && e->family != 6) {
        return fail(c, "unknown address family");
    }
    if (e->port == 0 || e->weight == 0) {
        return fail(c, "endpoint without port or weight");
    }
    if (e->family == 4 && !check_zero(c, e->address + 4, sizeof(e->address) - 4)) {
        return false;
    }
    return i == 0 || is_endpoint_before(e - 1, e) || fail(c, "endpoints are not sorted");
}

static const struct field endpoint_fields[] = {
    ZERO_AT(struct snap_endpoint, zero),
};

static const struct layout layout_endpoint = {sizeof(struct snap_endpoint), FIELDS(endpoint_fields),
                                              check_endpoint};

static bool check_service(struct check *c, const void *items, uint32_t i)
{
    const struct snap_service *s = (const struct snap_service *)items + i;
    struct str parts[] = {text(c, s->namespace_name), text(c, s->name), text(c, s->port)};
    const struct snap_endpoint *endpoints = at(c, s->endpoints.offset);
    uint64_t sum = 0;
    if (!is_joined(text(c, s->shard.key), parts, 3)) {
        return fail(c, "key differs from namespace, name and port");
    }
    if (s->status != SNAP_SERVICE_OK && s->endpoints.n > 0) {
        return fail(c, "endpoints of a service that is not there");
    }
    for (uint32_t j = 0; j < s->endpoints.n; j++) {
        sum += endpoints[j].weight;
    }
    return sum <= UINT32_MAX || fail(c, "endpoint weights are too large");
}

static const struct field service_fields[] = {
    STR_AT(struct snap_service, namespace_name),
    STR_AT(struct snap_service, name),
    STR_AT(struct snap_service, port),
    {FIELD_ENUM8, offsetof(struct snap_service, status),    SNAP_SERVICE_UNRESOLVED, NULL            },
    {FIELD_ENUM8, offsetof(struct snap_service, protocol),  SNAP_HTTP1,              NULL            },
    {FIELD_UPTO8, offsetof(struct snap_service, balance),   SNAP_BALANCE_LATENCY,    NULL            },
    ZERO_AT(struct snap_service, zero),
    {FIELD_ARRAY, offsetof(struct snap_service, endpoints), 0,                       &layout_endpoint},
};

static const struct layout layout_service = {sizeof(struct snap_service), FIELDS(service_fields),
                                             check_service};

/* ---- any shard ---- */

static const struct layout *const kind_layouts[] = {
    [SNAP_GLOBAL] = &layout_global,
    [SNAP_HOST] = &layout_host,
    [SNAP_SERVICE] = &layout_service,
};

static bool check_shard(struct check *c, const struct snap_shard *shard)
{
    if (shard->kind == 0 || shard->kind >= sizeof(kind_layouts) / sizeof(*kind_layouts)) {
        return fail(c, "unknown kind");
    }
    if (shard->is_deleted > 1) {
        return fail(c, "neither deleted nor not");
    }
    if (!check_str(c, &shard->key)) {
        return false;
    }
    if (shard->key_hash != hash_str(text(c, shard->key))) {
        return fail(c, "wrong hash of the key");
    }
    if (shard->is_deleted) {
        return true;
    }
    const struct layout *l = kind_layouts[shard->kind];
    return c->bytes < l->bytes ? fail(c, "too short for its kind") : check_root(c, shard, l);
}

const char *snap_shard_verify(const struct snap_shard *shard, uint32_t bytes)
{
    struct check c = {.shard = (const char *)shard, .bytes = bytes};
    return check_shard(&c, shard) ? NULL : c.what;
}
