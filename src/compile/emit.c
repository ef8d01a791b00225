/* Handing shards out: only those whose bytes differ from what was handed out last. */
#include "compile/compile_priv.h"

static enum err hand_out(struct compile *c)
{
    return c->emit(c->emit_arg, snap_at(&c->shard, 0, struct snap_shard));
}

enum err product_emit(struct compile *c, struct product *product)
{
    struct product now = {hash_bytes(c->shard.p, c->shard.n), c->shard.n};
    if (now.hash == product->hash && now.bytes == product->bytes) {
        return E_OK;
    }
    TRY(hand_out(c));
    *product = now;
    return E_OK;
}

enum err product_delete(struct compile *c, struct product *product, enum snap_kind kind)
{
    if (product->bytes == 0) {
        return E_OK;
    }
    TRY(c->key.bad ? E_NOMEM : E_OK);
    buf_reset(&c->shard);
    snap_shard_deleted(&c->shard, kind, buf_str(&c->key));
    TRY(snap_shard_end(&c->shard));
    TRY(hand_out(c));
    *product = (struct product){0};
    return E_OK;
}
