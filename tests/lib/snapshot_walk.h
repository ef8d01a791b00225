/* Reads everything that a verified shard refers to, the way its readers do: without any check.
 * Under a sanitizer this shows what verification let through. Written out by hand, so that it does
 * not share the verifier's tables. */
#pragma once

#include "snapshot/filters.h"
#include "snapshot/snapshot.h"
#include "snapshot/verify.h"

static inline uint64_t walk_str(const void *shard, struct snap_str s)
{
    struct str text = snap_str_get(shard, s);
    uint64_t sum = (unsigned char)text.p[text.n]; /* the NUL */
    for (size_t i = 0; i < text.n; i++) {
        sum = sum * 31 + (unsigned char)text.p[i];
    }
    return sum;
}

static inline uint64_t walk_global(const struct snap_global *g)
{
    const struct snap_listener *l = snap_array_get(g, g->listeners);
    uint64_t sum = walk_str(g, g->ssl_ciphers) + walk_str(g, g->ssl_groups);
    const struct snap_str *plain = snap_array_get(g, g->plain_paths);
    for (uint32_t i = 0; i < g->plain_paths.n; i++) {
        sum += walk_str(g, plain[i]);
    }
    for (uint32_t i = 0; i < g->listeners.n; i++) {
        sum += walk_str(g, l[i].name) + walk_str(g, l[i].table);
    }
    return sum;
}

static inline uint64_t walk_filter(const struct snap_host *h, const struct snap_filter *f)
{
    const void *at = (const char *)h + f->offset;
    const struct snap_filter_ssl_redirect *ssl_redirect = at;
    const struct snap_filter_redirect *redirect = at;
    switch ((enum snap_filter_kind)f->kind) {
    case SNAP_FILTER_ssl_redirect:
        return ssl_redirect->status + ssl_redirect->cause + ssl_redirect->is_by_prefix;
    case SNAP_FILTER_redirect:
        return redirect->status + walk_str(h, redirect->location);
    case SNAP_FILTER_hsts:
        return walk_str(h, ((const struct snap_filter_hsts *)at)->value);
    }
    return 0;
}

static inline uint64_t walk_route(const struct snap_host *h, const struct snap_route *r)
{
    const struct snap_condition *c = snap_array_get(h, h->conditions);
    const struct snap_filter *f = snap_array_get(h, h->filters);
    const struct snap_backend *b = snap_array_get(h, h->backends);
    uint64_t sum = walk_str(h, r->owner_namespace) + walk_str(h, r->owner_name) +
                   walk_str(h, r->path) + r->rule + r->path_index;
    for (uint32_t i = 0; i < r->conditions.n; i++) {
        const struct snap_condition *x = &c[r->conditions.first + i];
        sum += x->kind + walk_str(h, x->name) + walk_str(h, x->value);
    }
    for (uint32_t i = 0; i < r->filters.n; i++) {
        sum += walk_filter(h, &f[r->filters.first + i]);
    }
    for (uint32_t i = 0; i < r->backends.n; i++) {
        const struct snap_backend *x = &b[r->backends.first + i];
        sum += walk_str(h, x->service) + x->weight + walk_str(h, x->log_name);
    }
    return sum;
}

static inline uint64_t walk_range(const struct snap_host *h, struct snap_range range)
{
    const struct snap_route *r = snap_array_get(h, h->routes);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < range.n; i++) {
        sum += walk_route(h, &r[range.first + i]);
    }
    return sum;
}

static inline uint64_t walk_host(const struct snap_host *h)
{
    const struct snap_path *p = snap_array_get(h, h->paths);
    uint64_t sum = walk_str(h, h->table) + walk_str(h, h->host);
    for (uint32_t i = 0; i < h->paths.n; i++) {
        sum += walk_str(h, p[i].path) + walk_range(h, p[i].exact) + walk_range(h, p[i].prefix);
        for (uint32_t j = p[i].parent; j != 0; j = p[j - 1].parent) {
            sum++;
        }
    }
    sum += walk_range(h, (struct snap_range){0, h->routes.n});
    if (h->default_route != 0) {
        sum += walk_range(h, (struct snap_range){h->default_route - 1, 1});
    }
    return sum;
}

static inline uint64_t walk_service(const struct snap_service *s)
{
    const struct snap_endpoint *e = snap_array_get(s, s->endpoints);
    uint64_t sum = walk_str(s, s->namespace_name) + walk_str(s, s->name) + walk_str(s, s->port) +
                   walk_str(s, s->variant) + walk_str(s, s->tls_name) + walk_str(s, s->ciphers) +
                   walk_str(s, s->authority) + walk_str(s, s->certificate);
    for (uint32_t i = 0; i < s->endpoints.n; i++) {
        sum += e[i].port + e[i].weight + e[i].address[15];
    }
    return sum;
}

static inline uint64_t walk_strs(const void *shard, struct snap_array a)
{
    const struct snap_str *items = snap_array_get(shard, a);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < a.n; i++) {
        sum = sum * 31 + walk_str(shard, items[i]);
    }
    return sum;
}

static inline uint64_t walk_tls_host(const struct snap_tls_host *h)
{
    const struct snap_named *c = snap_array_get(h, h->certificates);
    uint64_t sum = walk_str(h, h->table) + walk_str(h, h->host) + walk_str(h, h->authority.key) +
                   walk_str(h, h->name_pattern) + walk_str(h, h->error_page) +
                   walk_str(h, h->passthrough.key);
    for (uint32_t i = 0; i < h->certificates.n; i++) {
        sum += walk_str(h, c[i].key) + c[i].hash;
    }
    return sum;
}

static inline uint64_t walk_certificate(const struct snap_certificate *c)
{
    return walk_str(c, c->namespace_name) + walk_str(c, c->name) + walk_str(c, c->key_name) +
           walk_strs(c, c->chain) + walk_strs(c, c->names);
}

static inline uint64_t walk_authority(const struct snap_authority *a)
{
    return walk_str(a, a->namespace_name) + walk_str(a, a->name) + walk_strs(a, a->certificates) +
           walk_strs(a, a->revocations);
}

static inline uint64_t walk_tickets(const struct snap_tickets *t)
{
    const struct snap_ticket_key *keys = snap_array_get(t, t->keys);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->keys.n; i++) {
        sum += keys[i].name[0] + keys[i].mac[31];
    }
    return sum;
}

static inline uint64_t walk_shard(const struct snap_shard *shard)
{
    uint64_t sum = walk_str(shard, shard->key);
    if (shard->is_deleted) {
        return sum;
    }
    switch ((enum snap_kind)shard->kind) {
    case SNAP_GLOBAL:
        return sum + walk_global((const struct snap_global *)shard);
    case SNAP_HOST:
        return sum + walk_host((const struct snap_host *)shard);
    case SNAP_SERVICE:
        return sum + walk_service((const struct snap_service *)shard);
    case SNAP_TLS_HOST:
        return sum + walk_tls_host((const struct snap_tls_host *)shard);
    case SNAP_CERTIFICATE:
        return sum + walk_certificate((const struct snap_certificate *)shard);
    case SNAP_AUTHORITY:
        return sum + walk_authority((const struct snap_authority *)shard);
    case SNAP_STAPLE:
        return sum + walk_str(shard, ((const struct snap_staple *)shard)->response);
    case SNAP_KEY:
        return sum + walk_str(shard, ((const struct snap_key *)shard)->key);
    case SNAP_TICKETS:
        return sum + walk_tickets((const struct snap_tickets *)shard);
    }
    return sum;
}

static inline uint64_t walk_segment(const struct snapshot_segment *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < snapshot_segment_header(s)->shard_n; i++) {
        sum += walk_shard(snapshot_segment_shard(s, i));
    }
    return sum;
}

static inline uint64_t walk_state(const struct snapshot *s)
{
    uint64_t sum = 0;
    map_each(slot, &s->shards)
    {
        sum += walk_shard(((const struct snapshot_entry *)slot->value)->shard);
    }
    return sum;
}

/* Verifies a copy of a shard in a block of just its size; what passes is read, too. */
static inline const char *verify_copy(const struct buf *b)
{
    struct buf copy;
    buf_init(&copy, b->n);
    buf_add_str(&copy, buf_str(b));
    struct snap_shard *shard = snap_at(&copy, 0, struct snap_shard);
    const char *what = snap_shard_verify(shard, (uint32_t)copy.n);
    if (what == NULL) {
        (void)walk_shard(shard);
    }
    buf_fini(&copy);
    return what;
}
