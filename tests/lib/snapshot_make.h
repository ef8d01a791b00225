/* Shards from short descriptions, for tests and fuzz targets. A route is known by its number, which
 * is stored in snap_route.rule. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "snapshot/filters.h"
#include "snapshot/path.h"
#include "snapshot/write.h"

struct make_condition {
    enum snap_condition_kind kind;
    const char *name, *value;
};

struct make_rule {
    const char *path; /* as an Ingress says it */
    bool is_exact;
    uint32_t id;
    uint32_t condition_n;
    struct make_condition conditions[2];
};

struct make_host {
    const char *pattern;
    const struct make_rule *rules;
    uint32_t rule_n;
    uint32_t default_id; /* 0 = no default route */
    bool is_final;       /* does not fall through */
};

static inline struct str make_rule_path(const struct make_rule *r)
{
    struct str path = str_from_cstr(r->path);
    while (!r->is_exact && path.n > 0 && path.p[path.n - 1] == '/') {
        path.n--;
    }
    return path;
}

static inline int make_path_sort(const void *a, const void *b)
{
    return snap_path_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* The distinct paths, sorted. */
static inline uint32_t make_paths(const struct make_host *m, struct str *paths)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->rule_n; i++) {
        paths[i] = make_rule_path(&m->rules[i]);
    }
    if (m->rule_n > 0) {
        qsort(paths, m->rule_n, sizeof(*paths), make_path_sort);
    }
    for (uint32_t i = 0; i < m->rule_n; i++) {
        if (n == 0 || !str_eq(paths[n - 1], paths[i])) {
            paths[n++] = paths[i];
        }
    }
    return n;
}

/* By the definition, not by a clever way. */
static inline uint32_t make_parent(const struct str *paths, uint32_t i)
{
    uint32_t best = 0;
    for (uint32_t j = 0; j < i; j++) {
        bool is_above = str_has_prefix(paths[i], paths[j]) && paths[j].n < paths[i].n &&
                        paths[i].p[paths[j].n] == '/';
        if (is_above && (best == 0 || paths[j].n > paths[best - 1].n)) {
            best = j + 1;
        }
    }
    return best;
}

struct make_at {
    struct buf *b;
    uint32_t routes, conditions, backends;    /* offsets of the arrays */
    uint32_t route_n, condition_n, backend_n; /* used */
};

static inline void make_route(struct make_at *a, uint32_t id, const char *path,
                              const struct make_condition *conditions, uint32_t n)
{
    struct buf *b = a->b;
    struct snap_route r = {
        .rule = id,
        .owner_namespace = snap_add_str(b, STR("shop")),
        .owner_name = snap_add_str(b, STR("ing")),
        .path = snap_add_str(b, str_from_cstr(path)),
        .conditions = {a->condition_n, n},
        .backends = {a->backend_n,   1},
        .weight_sum = 3
    };
    struct snap_backend backend = {.service = snap_add_str(b, STR("shop/web/80")),
                                   .service_hash = hash_str(STR("shop/web/80")),
                                   .weight = 3,
                                   .log_name = snap_add_str(b, STR("shop-web-80"))};
    backend.secure = backend.service;
    backend.secure_hash = backend.service_hash;
    for (uint32_t i = 0; i < n; i++) {
        struct snap_condition c = {.kind = conditions[i].kind,
                                   .name = snap_add_str(b, str_from_cstr(conditions[i].name)),
                                   .value = snap_add_str(b, str_from_cstr(conditions[i].value))};
        if (!b->bad) {
            snap_at(b, a->conditions, struct snap_condition)[a->condition_n + i] = c;
        }
    }
    if (!b->bad) {
        snap_at(b, a->routes, struct snap_route)[a->route_n] = r;
        snap_at(b, a->backends, struct snap_backend)[a->backend_n] = backend;
    }
    a->route_n++;
    a->backend_n++;
    a->condition_n += n;
}

static inline struct snap_range make_rules(struct make_at *a, const struct make_host *m,
                                           struct str path, bool is_exact)
{
    struct snap_range range = {a->route_n, 0};
    for (uint32_t i = 0; i < m->rule_n; i++) {
        const struct make_rule *r = &m->rules[i];
        if (r->is_exact == is_exact && str_eq(make_rule_path(r), path)) {
            make_route(a, r->id, r->path, r->conditions, r->condition_n);
            range.n++;
        }
    }
    return range;
}

static inline uint8_t make_host_kind(struct str p)
{
    return p.n == 0                        ? SNAP_HOST_ANY
           : str_has_prefix(p, STR("**.")) ? SNAP_HOST_SUFFIX
           : str_has_prefix(p, STR("*."))  ? SNAP_HOST_LABEL
                                           : SNAP_HOST_EXACT;
}

enum { MAKE_FILTERS = 3 };

/* The first route has one, of three or more the last has two. */
static inline void make_filters(struct make_at *a, struct snap_array filters)
{
    struct buf *b = a->b;
    struct snap_array redirect = snap_add_array(b, 1, sizeof(struct snap_filter_redirect));
    struct snap_array ssl = snap_add_array(b, 1, sizeof(struct snap_filter_ssl_redirect));
    struct snap_array hsts = snap_add_array(b, 1, sizeof(struct snap_filter_hsts));
    struct snap_filter_redirect f = {.status = 301, .location = snap_add_str(b, STR("/new"))};
    struct snap_filter_hsts g = {snap_add_str(b, STR("max-age=1"))};
    if (b->bad) {
        return;
    }
    *snap_at(b, redirect.offset, struct snap_filter_redirect) = f;
    *snap_at(b, ssl.offset, struct snap_filter_ssl_redirect) =
        (struct snap_filter_ssl_redirect){.status = 308, .cause = SNAP_SSL_BY_TLS};
    *snap_at(b, hsts.offset, struct snap_filter_hsts) = g;
    struct snap_filter *to = snap_at(b, filters.offset, struct snap_filter);
    to[0] = (struct snap_filter){SNAP_FILTER_redirect, redirect.offset};
    to[1] = (struct snap_filter){SNAP_FILTER_ssl_redirect, ssl.offset};
    to[2] = (struct snap_filter){SNAP_FILTER_hsts, hsts.offset};
    struct snap_route *routes = snap_at(b, a->routes, struct snap_route);
    if (a->route_n > 0) {
        routes[0].filters = (struct snap_range){0, 1};
    }
    if (a->route_n > 2) {
        routes[a->route_n - 1].filters = (struct snap_range){1, 2};
    }
}

/* A finished host shard in b (empty before). */
static inline enum err make_host(struct buf *b, const char *table, const struct make_host *m)
{
    char key[600];
    (void)snprintf(key, sizeof(key), "%s/%s", table, m->pattern);
    struct str *paths = calloc(m->rule_n + 1, sizeof(*paths));
    uint32_t path_n = make_paths(m, paths);
    struct snap_host h = {.kind = make_host_kind(str_from_cstr(m->pattern)),
                          .order = SNAP_ORDER_STRICT,
                          .falls_through = !m->is_final};
    uint32_t condition_n = 0, route_n = m->rule_n + (m->default_id != 0);
    for (uint32_t i = 0; i < m->rule_n; i++) {
        condition_n += m->rules[i].condition_n;
    }
    snap_shard_begin(b, SNAP_HOST, sizeof(h), str_from_cstr(key));
    h.table = snap_add_str(b, str_from_cstr(table));
    h.host = snap_add_str(b, str_from_cstr(m->pattern));
    h.paths = snap_add_array(b, path_n, sizeof(struct snap_path));
    h.routes = snap_add_array(b, route_n, sizeof(struct snap_route));
    h.conditions = snap_add_array(b, condition_n, sizeof(struct snap_condition));
    h.backends = snap_add_array(b, route_n, sizeof(struct snap_backend));
    h.filters = snap_add_array(b, MAKE_FILTERS, sizeof(struct snap_filter));
    struct make_at a = {b, h.routes.offset, h.conditions.offset, h.backends.offset, 0, 0, 0};
    for (uint32_t i = 0; i < path_n; i++) {
        struct snap_path node = {.path = snap_add_str(b, paths[i]),
                                 .parent = make_parent(paths, i),
                                 .exact = make_rules(&a, m, paths[i], true),
                                 .prefix = make_rules(&a, m, paths[i], false)};
        if (!b->bad) {
            snap_at(b, h.paths.offset, struct snap_path)[i] = node;
        }
    }
    if (m->default_id != 0) {
        make_route(&a, m->default_id, "", NULL, 0);
        h.default_route = a.route_n;
    }
    make_filters(&a, h.filters);
    if (!b->bad) {
        h.shard = *snap_at(b, 0, struct snap_shard);
        *snap_at(b, 0, struct snap_host) = h;
    }
    free(paths);
    return snap_shard_end(b);
}

/* A finished service shard with n endpoints 10.<first>.0.1, 10.<first>.0.2 ... */
static inline enum err make_service(struct buf *b, const char *namespace_name, const char *name,
                                    const char *port, uint32_t n, uint8_t first)
{
    char key[1200];
    (void)snprintf(key, sizeof(key), "%s/%s/%s", namespace_name, name, port);
    struct snap_service s = {.status = SNAP_SERVICE_OK, .protocol = SNAP_HTTP1};
    snap_shard_begin(b, SNAP_SERVICE, sizeof(s), str_from_cstr(key));
    s.namespace_name = snap_add_str(b, str_from_cstr(namespace_name));
    s.name = snap_add_str(b, str_from_cstr(name));
    s.port = snap_add_str(b, str_from_cstr(port));
    s.variant = s.tls_name = s.ciphers = s.authority = s.certificate = snap_add_str(b, STR_EMPTY);
    s.endpoints = snap_add_array(b, n, sizeof(struct snap_endpoint));
    for (uint32_t i = 0; i < n && !b->bad; i++) {
        snap_at(b, s.endpoints.offset, struct snap_endpoint)[i] = (struct snap_endpoint){
            .family = 4,
            .port = 8080,
            .weight = 1,
            .address = {10, first, (uint8_t)((i + 1) >> 8), (uint8_t)(i + 1)}
        };
    }
    if (!b->bad) {
        s.shard = *snap_at(b, 0, struct snap_shard);
        *snap_at(b, 0, struct snap_service) = s;
    }
    return snap_shard_end(b);
}

/* A finished shard of a TLS host; passthrough: key of the service that gets its bytes, or "". */
static inline enum err make_tls_host(struct buf *b, const char *table, const char *pattern,
                                     const char *passthrough)
{
    char key[600];
    (void)snprintf(key, sizeof(key), "%s/%s", table, pattern);
    struct str service = str_from_cstr(passthrough);
    struct snap_tls_host h = {.kind = make_host_kind(str_from_cstr(pattern))};
    snap_shard_begin(b, SNAP_TLS_HOST, sizeof(h), str_from_cstr(key));
    h.table = snap_add_str(b, str_from_cstr(table));
    h.host = snap_add_str(b, str_from_cstr(pattern));
    h.authority.key = h.name_pattern = h.error_page = snap_add_str(b, STR_EMPTY);
    h.passthrough.key = snap_add_str(b, service);
    h.passthrough.hash = service.n == 0 ? 0 : hash_str(service);
    h.certificates = snap_add_array(b, 0, sizeof(struct snap_named));
    if (!b->bad) {
        h.shard = *snap_at(b, 0, struct snap_shard);
        *snap_at(b, 0, struct snap_tls_host) = h;
    }
    return snap_shard_end(b);
}

static inline enum err make_global(struct buf *b, const char *table)
{
    struct snap_global g = {.settings = snap_settings_default};
    snap_shard_begin(b, SNAP_GLOBAL, sizeof(g), STR(""));
    g.listeners = snap_add_array(b, 1, sizeof(struct snap_listener));
    g.ssl_ciphers = g.ssl_groups = snap_add_str(b, STR_EMPTY);
    g.ssl_min_version = 12;
    g.ssl_max_version = 13;
    struct snap_listener l = {snap_add_str(b, STR("http")), snap_add_str(b, str_from_cstr(table))};
    g.trusted = snap_add_array(b, 1, sizeof(struct snap_prefix));
    g.plain_paths = snap_add_array(b, 1, sizeof(struct snap_str));
    struct snap_str plain = snap_add_str(b, STR("/plain"));
    if (!b->bad) {
        *snap_at(b, g.plain_paths.offset, struct snap_str) = plain;
        *snap_at(b, g.trusted.offset, struct snap_prefix) = (struct snap_prefix){4, 8, {0}, {10}};
        *snap_at(b, g.listeners.offset, struct snap_listener) = l;
        g.shard = *snap_at(b, 0, struct snap_shard);
        *snap_at(b, 0, struct snap_global) = g;
    }
    return snap_shard_end(b);
}

/* Shards being collected for a segment. */
enum { MAKE_SHARDS_MAX = 20000 };

struct make_set {
    size_t n;
    struct buf shards[MAKE_SHARDS_MAX];
};

static inline struct buf *make_next(struct make_set *s)
{
    struct buf *b = &s->shards[s->n++];
    buf_init(b, 64 << 20);
    return b;
}

static inline void make_clear(struct make_set *s)
{
    for (size_t i = 0; i < s->n; i++) {
        buf_fini(&s->shards[i]);
    }
    s->n = 0;
}

static inline enum err make_segment(struct make_set *s, struct buf *out, uint64_t base,
                                    uint64_t generation)
{
    const struct snap_shard **shards = calloc(s->n + 1, sizeof(*shards));
    for (size_t i = 0; i < s->n; i++) {
        shards[i] = snap_at(&s->shards[i], 0, struct snap_shard);
    }
    enum err e = snapshot_segment_write(out, shards, s->n, base, generation);
    free(shards);
    return e;
}

/* Everything at once over bytes that stay: NULL when it was refused. */
static inline struct snapshot_segment *make_open(const void *p, size_t n,
                                                 struct snapshot_fault *fault)
{
    struct snapshot_segment *s = NULL;
    if (snapshot_segment_borrow(p, n, &s, fault) != E_OK) {
        return NULL;
    }
    enum err e;
    do {
        e = snapshot_segment_verify(s, SIZE_MAX, fault);
    } while (e == E_AGAIN);
    if (e != E_OK) {
        snapshot_segment_unref(s);
        return NULL;
    }
    return s;
}
