/* The global shard: what every inherited socket serves. Both listeners use the one table that
 * Ingresses make; Gateways will bring tables of their own. */
#include "base/mem.h"
#include "compile/compile_priv.h"

static const struct str listeners[] = {STR_INIT("http"), STR_INIT("https")};

enum { LISTENERS_N = sizeof(listeners) / sizeof(listeners[0]) };

static void listener_write(struct buf *b, struct snap_array at, uint32_t i)
{
    struct snap_listener listener = {snap_add_str(b, listeners[i]),
                                     snap_add_str(b, STR("ingress"))};
    snap_at(b, at.offset, struct snap_listener)[i] = listener;
}

static void trusted_write(struct buf *b, const struct config *config)
{
    struct snap_array at = snap_add_array(b, config->trusted_n, sizeof(struct snap_prefix));
    for (uint32_t i = 0; i < config->trusted_n && !b->bad; i++) {
        const struct ip_prefix *from = &config->trusted[i];
        struct snap_prefix *to = snap_at(b, at.offset, struct snap_prefix) + i;
        to->family = from->ip.family;
        to->bits = from->bits;
        mem_copy(to->address, from->ip.bytes, sizeof(to->address));
    }
    if (!b->bad) {
        snap_at(b, 0, struct snap_global)->trusted = at;
    }
}

static void tls_write(struct buf *b, const struct config *o)
{
    struct snap_str ciphers = snap_add_str(b, o->ssl_ciphers);
    struct snap_str groups = snap_add_str(b, o->ssl_groups);
    if (b->bad) {
        return;
    }
    struct snap_global *root = snap_at(b, 0, struct snap_global);
    root->ssl_ciphers = ciphers;
    root->ssl_groups = groups;
    root->ssl_min_version = o->ssl_min_version;
    root->ssl_max_version = o->ssl_max_version;
}

static void plain_paths_write(struct buf *b, const struct https_policy *policy)
{
    struct snap_array at = snap_add_array(b, policy->plain_path_n, sizeof(struct snap_str));
    for (uint32_t i = 0; i < policy->plain_path_n; i++) {
        struct snap_str path = snap_add_str(b, policy->plain_paths[i]);
        if (!b->bad) {
            snap_at(b, at.offset, struct snap_str)[i] = path;
        }
    }
    if (!b->bad) {
        snap_at(b, 0, struct snap_global)->plain_paths = at;
    }
}

enum err global_compile(struct compile *c)
{
    struct buf *b = &c->shard;
    if (!c->is_global_dirty) {
        return E_OK;
    }
    buf_reset(b);
    snap_shard_begin(b, SNAP_GLOBAL, sizeof(struct snap_global), STR_EMPTY);
    struct snap_array at = snap_add_array(b, LISTENERS_N, sizeof(struct snap_listener));
    for (uint32_t i = 0; i < LISTENERS_N && !b->bad; i++) {
        snap_at(b, 0, struct snap_global)->listeners = at;
        listener_write(b, at, i);
    }
    trusted_write(b, &c->config);
    tls_write(b, &c->config);
    plain_paths_write(b, https_policy(c));
    if (!b->bad) {
        snap_at(b, 0, struct snap_global)->settings = c->config.settings;
    }
    TRY(snap_shard_end(b));
    TRY(product_emit(c, &c->global));
    c->is_global_dirty = false;
    return E_OK;
}
