/* What a compiler has emitted so far, as whoever listens to it would hold it; and that as bytes and
 * as text. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "compile/compile.h"
#include "snapshot/filters.h"
#include "wire/ip.h"

struct compiled {
    struct map shards; /* of struct snap_shard, each with malloc() */
    size_t emitted_n;
    size_t wrong_n;      /* emitted without a difference, or deleted without being there */
    size_t fail_at;      /* the emission that fails; 0 = none */
    uint64_t services_n; /* emitted shards of kind SNAP_SERVICE */
};

static inline uint64_t compiled_hash(const struct snap_shard *shard)
{
    return shard->key_hash + shard->kind;
}

static inline bool compiled_eq(const void *value, const void *key)
{
    const struct snap_shard *a = value, *b = key;
    return a->kind == b->kind && str_eq(snap_str_get(a, a->key), snap_str_get(b, b->key));
}

static inline void compiled_fini(struct compiled *s)
{
    map_each(slot, &s->shards)
    {
        free(slot->value);
    }
    map_fini(&s->shards);
}

/* A compile_shard_fn. */
static inline enum err compiled_take(void *arg, const struct snap_shard *shard)
{
    struct compiled *s = arg;
    struct snap_shard *old = map_get(&s->shards, compiled_hash(shard), compiled_eq, shard);
    if (s->fail_at != 0 && --s->fail_at == 0) {
        return E_SYS;
    }
    if (old != NULL && !shard->is_deleted && old->bytes == shard->bytes &&
        memcmp(old, shard, shard->bytes) == 0) {
        s->wrong_n++;
    }
    if (old == NULL && shard->is_deleted) {
        s->wrong_n++;
        return E_OK;
    }
    TRY(map_reserve(&s->shards, 1));
    if (old != NULL) {
        (void)map_del(&s->shards, compiled_hash(shard), old);
        free(old);
    }
    s->emitted_n++;
    s->services_n += shard->kind == SNAP_SERVICE;
    if (!shard->is_deleted) {
        void *copy = malloc(shard->bytes);
        memcpy(copy, shard, shard->bytes);
        (void)map_add(&s->shards, compiled_hash(shard), copy);
    }
    return E_OK;
}

/* The whole state as a segment; false when it does not pass verification. */
static inline bool compiled_bytes(const struct compiled *s, struct buf *out)
{
    const struct snap_shard **shards = malloc((s->shards.n + 1) * sizeof(*shards));
    struct snapshot_segment *segment;
    struct snapshot_fault fault;
    size_t n = 0;
    map_each(slot, &s->shards)
    {
        shards[n++] = slot->value;
    }
    enum err e = snapshot_segment_write(out, shards, n, 0, 1);
    free(shards);
    if (e != E_OK || snapshot_segment_borrow(out->p, out->n, &segment, &fault) != E_OK) {
        return false;
    }
    do {
        e = snapshot_segment_verify(segment, 1 << 20, &fault);
    } while (e == E_AGAIN);
    snapshot_segment_unref(segment);
    return e == E_OK;
}

/* ---- as text ---- */

static inline void text_str(struct buf *b, const void *shard, struct snap_str s)
{
    buf_add_str(b, snap_str_get(shard, s));
}

static inline void text_global(struct buf *b, const struct snap_global *g)
{
    const struct snap_listener *l = snap_array_get(g, g->listeners);
    buf_addf(b, "global\n");
    for (uint32_t i = 0; i < g->listeners.n; i++) {
        buf_addf(b, "  listener ");
        text_str(b, g, l[i].name);
        buf_addf(b, " -> ");
        text_str(b, g, l[i].table);
        buf_addf(b, "\n");
    }
#define SETTING(id, name, type, argument, text, value, low, high, help)                            \
    if (g->settings.id != snap_settings_default.id) {                                              \
        buf_addf(b, "  " name " %llu\n", (unsigned long long)g->settings.id);                      \
    }
#include "snapshot/settings.def"
#undef SETTING
    if (g->ssl_ciphers.n > 0 || g->ssl_groups.n > 0 || g->ssl_min_version != 12 ||
        g->ssl_max_version != 13) {
        buf_addf(b, "  tls 1.%u to 1.%u, ciphers \"", g->ssl_min_version % 10,
                 g->ssl_max_version % 10);
        text_str(b, g, g->ssl_ciphers);
        buf_addf(b, "\", groups \"");
        text_str(b, g, g->ssl_groups);
        buf_addf(b, "\"\n");
    }
    const struct snap_prefix *trusted = snap_array_get(g, g->trusted);
    for (uint32_t i = 0; i < g->trusted.n; i++) {
        buf_addf(b, "  trusted %u.%u.../%u\n", trusted[i].address[0], trusted[i].address[1],
                 trusted[i].bits);
    }
    const struct snap_str *plain = snap_array_get(g, g->plain_paths);
    bool is_default = g->plain_paths.n == 1 &&
                      str_eq(snap_str_get(g, plain[0]), https_policy_default.plain_paths[0]);
    if (g->plain_paths.n == 0) {
        buf_addf(b, "  plain nothing\n");
    }
    for (uint32_t i = 0; i < g->plain_paths.n && !is_default; i++) {
        buf_addf(b, "  plain ");
        text_str(b, g, plain[i]);
        buf_addf(b, "\n");
    }
}

static inline void text_ssl_redirect(struct buf *b, const struct snap_filter_ssl_redirect *f)
{
    static const char *const causes[] = {"?", "tls", "tls, annotation", "force",
                                         "force, annotation"};
    buf_addf(b, ", https %u (%s%s%s%s)", f->status, causes[f->cause],
             f->drops_slash ? ", drops slash" : "", f->tells_port ? ", tells port" : "",
             f->is_by_prefix ? ", by prefix" : "");
}

static inline void text_redirect(struct buf *b, const struct snap_host *h,
                                 const struct snap_filter_redirect *f)
{
    buf_addf(b, ", redirect %u to ", f->status);
    text_str(b, h, f->location);
}

static inline void text_filter(struct buf *b, const struct snap_host *h,
                               const struct snap_filter *f)
{
    const void *config = (const char *)h + f->offset;
    switch ((enum snap_filter_kind)f->kind) {
    case SNAP_FILTER_ssl_redirect:
        text_ssl_redirect(b, config);
        break;
    case SNAP_FILTER_redirect:
        text_redirect(b, h, config);
        break;
    case SNAP_FILTER_hsts:
        buf_addf(b, ", hsts ");
        text_str(b, h, ((const struct snap_filter_hsts *)config)->value);
        break;
    }
}

static inline void text_filters(struct buf *b, const struct snap_host *h,
                                const struct snap_route *r)
{
    const struct snap_filter *f = snap_array_get(h, h->filters);
    for (uint32_t i = r->filters.first; i < r->filters.first + r->filters.n; i++) {
        text_filter(b, h, &f[i]);
    }
}

static inline void text_route(struct buf *b, const struct snap_host *h, const struct snap_route *r)
{
    const struct snap_backend *backends = snap_array_get(h, h->backends);
    text_str(b, h, r->owner_namespace);
    buf_addf(b, "/");
    text_str(b, h, r->owner_name);
    if (r->rule == SNAP_DEFAULT_RULE) {
        buf_addf(b, " default");
    } else {
        buf_addf(b, " rules[%u].paths[%u] \"", r->rule, r->path_index);
        text_str(b, h, r->path);
        buf_addf(b, "\"");
    }
    buf_addf(b, r->backends.n == 0 ? " -> nothing" : " -> ");
    for (uint32_t i = r->backends.first; i < r->backends.first + r->backends.n; i++) {
        text_str(b, h, backends[i].service);
        if (backends[i].secure_hash != backends[i].service_hash) {
            buf_addf(b, " or ");
            text_str(b, h, backends[i].secure);
        }
        buf_addf(b, " (");
        text_str(b, h, backends[i].log_name);
        buf_addf(b, ")");
    }
    text_filters(b, h, r);
    buf_addf(b, "\n");
}

static inline void text_routes(struct buf *b, const struct snap_host *h, const char *type,
                               struct snap_range range)
{
    const struct snap_route *routes = snap_array_get(h, h->routes);
    for (uint32_t i = range.first; i < range.first + range.n; i++) {
        buf_addf(b, "    %s ", type);
        text_route(b, h, &routes[i]);
    }
}

static inline void text_host(struct buf *b, const struct snap_host *h)
{
    static const char *const kinds[] = {"?", "exact", "label", "suffix", "any"};
    const struct snap_path *paths = snap_array_get(h, h->paths);
    const struct snap_route *routes = snap_array_get(h, h->routes);
    buf_addf(b, "host ");
    text_str(b, h, h->shard.key);
    buf_addf(b, " (%s%s)\n", kinds[h->kind], h->falls_through ? ", falls through" : "");
    for (uint32_t i = 0; i < h->paths.n; i++) {
        buf_addf(b, "  \"");
        text_str(b, h, paths[i].path);
        buf_addf(b, "\"");
        if (paths[i].parent > 0) {
            buf_addf(b, " below \"");
            text_str(b, h, paths[paths[i].parent - 1].path);
            buf_addf(b, "\"");
        }
        buf_addf(b, "\n");
        text_routes(b, h, "Exact", paths[i].exact);
        text_routes(b, h, "Prefix", paths[i].prefix);
    }
    if (h->default_route > 0) {
        buf_addf(b, "  default ");
        text_route(b, h, &routes[h->default_route - 1]);
    }
}

static inline void text_named(struct buf *b, const char *name, const void *shard,
                              struct snap_str value)
{
    if (value.n > 0) {
        buf_addf(b, " %s ", name);
        text_str(b, shard, value);
    }
}

/* But for the stamp, which is a hash: 0 where nothing of a Secret is used. */
static inline void text_service_tls(struct buf *b, const struct snap_service *s)
{
    buf_addf(b, " (tls%s%s", s->is_broken ? " broken" : "", s->is_verified ? " verified" : "");
    if (s->is_verified) {
        buf_addf(b, " to depth %u", s->depth);
    }
    text_named(b, s->sends_name ? "sends" : "expects", s, s->tls_name);
    text_named(b, "authority", s, s->authority);
    text_named(b, "certificate", s, s->certificate);
    text_named(b, "ciphers", s, s->ciphers);
    buf_addf(b, "%s%s%s)", s->min_version == 13 ? " 1.3" : "", s->max_version == 12 ? " 1.2" : "",
             s->stamp != 0 ? " stamped" : "");
}

static inline void text_service(struct buf *b, const struct snap_service *s)
{
    static const char *const statuses[] = {"?",       "ok",         "missing",    "no port",
                                           "refused", "unresolved", "unsupported"};
    const struct snap_endpoint *e = snap_array_get(s, s->endpoints);
    buf_addf(b, "service ");
    text_str(b, s, s->shard.key);
    buf_addf(b, ": %s", statuses[s->status]);
    if (s->protocol != SNAP_HTTP1 || s->is_tls) {
        buf_addf(b, ", %s", snap_service_speech(s));
    }
    if (s->proxy_protocol != 0) {
        buf_addf(b, ", proxy v%u", s->proxy_protocol);
    }
    if (s->balance != SNAP_BALANCE_ROUND_ROBIN) {
        buf_addf(b, ", %s", s->balance == SNAP_BALANCE_LATENCY ? "ewma" : "least_conn");
    }
    if (s->is_tls && str_find(snap_str_get(s, s->variant), ',') < s->variant.n) {
        text_service_tls(b, s);
    }
    for (uint32_t i = 0; i < s->endpoints.n; i++) {
        char text[IP_TEXT_MAX];
        struct wr w = wr_make(text, sizeof(text));
        struct ip ip = {.family = e[i].family};
        memcpy(ip.bytes, e[i].address, sizeof(ip.bytes));
        ip_emit(&w, &ip);
        buf_addf(b, e[i].family == 6 ? " [%.*s]:%u" : " %.*s:%u", (int)wr_n(&w), text, e[i].port);
    }
    buf_addf(b, "\n");
}

static inline int text_order(const void *a, const void *b)
{
    const struct snap_shard *x = *(const struct snap_shard *const *)a;
    const struct snap_shard *y = *(const struct snap_shard *const *)b;
    return x->kind != y->kind ? x->kind - y->kind
                              : str_cmp(snap_str_get(x, x->key), snap_str_get(y, y->key));
}

static inline void text_tls_host(struct buf *b, const struct snap_tls_host *h)
{
    static const char *const verify[] = {"off", "required", "optional", "optional_no_ca"};
    const struct snap_named *c = snap_array_get(h, h->certificates);
    buf_addf(b, "tls \"%.*s\"\n", STR_ARG(snap_str_get(h, h->host)));
    for (uint32_t i = 0; i < h->certificates.n; i++) {
        buf_addf(b, "    certificate %.*s\n", STR_ARG(snap_str_get(h, c[i].key)));
    }
    if (h->policy != 0) {
        buf_addf(
            b, "    clients %s depth %u%s%s authority \"%.*s\" name \"%.*s\" error \"%.*s\"\n",
            verify[h->verify], h->depth, h->is_denied ? " denied" : "",
            h->passes_certificate ? " passed on" : "", STR_ARG(snap_str_get(h, h->authority.key)),
            STR_ARG(snap_str_get(h, h->name_pattern)), STR_ARG(snap_str_get(h, h->error_page)));
    }
    if (h->passthrough.key.n > 0) {
        buf_addf(b, "    passthrough %.*s\n", STR_ARG(snap_str_get(h, h->passthrough.key)));
    }
}

static inline void text_certificate(struct buf *b, const struct snap_certificate *c)
{
    const struct snap_str *names = snap_array_get(c, c->names);
    buf_addf(b, "certificate %.*s/%.*s kind %u chain %u\n",
             STR_ARG(snap_str_get(c, c->namespace_name)), STR_ARG(snap_str_get(c, c->name)),
             c->key_kind, c->chain.n);
    for (uint32_t i = 0; i < c->names.n; i++) {
        buf_addf(b, "    %.*s\n", STR_ARG(snap_str_get(c, names[i])));
    }
}

static inline void text_authority(struct buf *b, const struct snap_authority *a)
{
    buf_addf(b, "authority %.*s/%.*s certificates %u revocations %u\n",
             STR_ARG(snap_str_get(a, a->namespace_name)), STR_ARG(snap_str_get(a, a->name)),
             a->certificates.n, a->revocations.n);
}

static inline void text_diag(void *arg, const struct diag *d)
{
    diag_emit_text(arg, d);
    buf_add_char(arg, '\n');
}

/* Everything that the compiler says, shards and diagnostics. */
static inline void compiled_text(const struct compiled *s, const struct compile *c, struct buf *b)
{
    const struct snap_shard **shards = malloc((s->shards.n + 1) * sizeof(*shards));
    size_t n = 0;
    map_each(slot, &s->shards)
    {
        shards[n++] = slot->value;
    }
    if (n > 0) {
        qsort(shards, n, sizeof(*shards), text_order);
    }
    for (size_t i = 0; i < n; i++) {
        switch ((enum snap_kind)shards[i]->kind) {
        case SNAP_GLOBAL:
            text_global(b, (const void *)shards[i]);
            break;
        case SNAP_HOST:
            text_host(b, (const void *)shards[i]);
            break;
        case SNAP_SERVICE:
            text_service(b, (const void *)shards[i]);
            break;
        case SNAP_TLS_HOST:
            text_tls_host(b, (const void *)shards[i]);
            break;
        case SNAP_CERTIFICATE:
            text_certificate(b, (const void *)shards[i]);
            break;
        case SNAP_AUTHORITY:
            text_authority(b, (const void *)shards[i]);
            break;
        case SNAP_STAPLE:
        case SNAP_KEY:
        case SNAP_TICKETS: /* never the same twice */
            break;
        }
    }
    free(shards);
    compile_each_diag(c, text_diag, b);
}
