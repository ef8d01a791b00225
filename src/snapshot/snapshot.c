/* The state: what all applied segments say together.
 * snapshot_apply() first makes a plan, with everything in it that could fail, then commits it, then
 * tells. What the plan replaces lives until everybody has been told. */
#include "snapshot/snapshot.h"

#include "base/mem.h"

struct name {
    enum snap_kind kind;
    struct str key;
};

/* What a shard of the segment does to the state: nothing (both NULL), add (entry is new), delete
 * (entry is in the state, the shard is_deleted), replace (entry is in the state). */
struct change {
    struct snapshot_entry *entry;
    struct snapshot_segment *old; /* the entry's reference before; NULL when added */
    bool is_silent;               /* the bytes are the same */
};

struct plan {
    struct snapshot_segment *segment;
    uint32_t n;
    struct change *changes; /* one for each shard of the segment */
    size_t add_n;
    struct snapshot_entry *dropped; /* a whole state: the entries that are not in it */
};

void snapshot_init(struct snapshot *s)
{
    *s = (struct snapshot){0};
    map_init(&s->shards);
}

static void entry_free(struct snapshot_entry *e)
{
    snapshot_segment_unref(e->segment);
    mem_free(e);
}

void snapshot_fini(struct snapshot *s)
{
    map_each(slot, &s->shards)
    {
        entry_free(slot->value);
    }
    map_fini(&s->shards);
    snapshot_init(s);
}

static bool entry_is(const void *value, const void *key)
{
    const struct snapshot_entry *e = value;
    const struct name *name = key;
    return e->shard->kind == name->kind && str_eq(snap_str_get(e->shard, e->shard->key), name->key);
}

static struct snapshot_entry *entry_find(const struct snapshot *s, struct name name, uint64_t hash)
{
    return map_get(&s->shards, hash, entry_is, &name);
}

const struct snapshot_entry *snapshot_find(const struct snapshot *s, enum snap_kind kind,
                                           struct str key, uint64_t hash)
{
    return entry_find(s, (struct name){kind, key}, hash);
}

static struct name name_of(const struct snap_shard *shard)
{
    return (struct name){(enum snap_kind)shard->kind, snap_str_get(shard, shard->key)};
}

static struct str bytes_of(const struct snap_shard *shard)
{
    return str_make((const char *)shard, shard->bytes);
}

/* ---- the plan ---- */

static enum err change_plan(const struct snapshot *s, struct plan *p,
                            const struct snap_shard *shard, struct change *ret)
{
    struct snapshot_entry *e = entry_find(s, name_of(shard), shard->key_hash);
    if (e != NULL) {
        *ret = (struct change){e, e->segment, str_eq(bytes_of(e->shard), bytes_of(shard))};
        return E_OK;
    }
    if (shard->is_deleted) {
        return E_OK;
    }
    e = mem_alloc(sizeof(*e));
    if (e == NULL) {
        return E_NOMEM;
    }
    *e = (struct snapshot_entry){.shard = shard};
    *ret = (struct change){.entry = e};
    p->add_n++;
    return E_OK;
}

static enum err plan_make(struct snapshot *s, struct plan *p)
{
    if (p->n == 0) {
        return E_OK;
    }
    p->changes = mem_calloc(p->n, sizeof(*p->changes));
    if (p->changes == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < p->n; i++) {
        TRY(change_plan(s, p, snapshot_segment_shard(p->segment, i), &p->changes[i]));
    }
    return map_reserve(&s->shards, p->add_n);
}

static void plan_undo(struct plan *p)
{
    for (uint32_t i = 0; p->changes != NULL && i < p->n; i++) {
        if (p->changes[i].old == NULL) {
            mem_free(p->changes[i].entry);
        }
    }
    mem_free(p->changes);
}

/* ---- the commit ---- */

/* One more or one less (by = 1 or -1) live shard. */
static void count_host(struct snapshot *s, const struct snap_shard *shard, int by)
{
    if (shard->kind == SNAP_HOST) {
        s->host_n[((const struct snap_host *)shard)->kind] += (uint32_t)by;
    } else if (shard->kind == SNAP_TLS_HOST) {
        const struct snap_tls_host *h = (const struct snap_tls_host *)shard;
        s->passthrough_n += h->passthrough.key.n > 0 ? (uint32_t)by : 0;
        s->policy_n += h->policy != 0 ? (uint32_t)by : 0;
    }
}

/* Out of the map; the entry and its reference stay for the plan. */
static void entry_take(struct snapshot *s, struct snapshot_entry *e)
{
    must(map_del(&s->shards, e->shard->key_hash, e));
    count_host(s, e->shard, -1);
}

static void change_commit(struct snapshot *s, struct snapshot_segment *segment,
                          const struct snap_shard *shard, const struct change *c)
{
    if (c->entry == NULL) {
        return;
    }
    if (shard->is_deleted) {
        entry_take(s, c->entry);
        return;
    }
    if (c->old == NULL) {
        must(map_add(&s->shards, shard->key_hash, c->entry) == E_OK); /* plan_make() made room */
    } else {
        count_host(s, c->entry->shard, -1);
    }
    c->entry->shard = shard;
    c->entry->segment = snapshot_segment_ref(segment);
    count_host(s, shard, 1);
}

/* A whole state: after its shards are in, what is of another segment is gone. */
static void drop_others(struct snapshot *s, struct plan *p)
{
    map_each(slot, &s->shards)
    {
        struct snapshot_entry *e = slot->value;
        if (e->segment != p->segment) {
            e->next = p->dropped;
            p->dropped = e;
        }
    }
    for (struct snapshot_entry *e = p->dropped; e != NULL; e = e->next) {
        entry_take(s, e);
    }
}

static void plan_commit(struct snapshot *s, struct plan *p)
{
    const struct snap_header *h = snapshot_segment_header(p->segment);
    for (uint32_t i = 0; i < p->n; i++) {
        change_commit(s, p->segment, snapshot_segment_shard(p->segment, i), &p->changes[i]);
    }
    if (h->base_generation == 0) {
        drop_others(s, p);
    }
    s->generation = h->generation;
}

/* ---- telling, and the end of what was replaced ---- */

static void plan_tell(const struct plan *p, snapshot_change_fn *on_change, void *arg)
{
    for (uint32_t i = 0; i < p->n; i++) {
        const struct snap_shard *shard = snapshot_segment_shard(p->segment, i);
        const struct change *c = &p->changes[i];
        if (c->entry != NULL && !c->is_silent) {
            struct name name = name_of(shard);
            on_change(arg, name.kind, name.key, shard->is_deleted ? NULL : c->entry);
        }
    }
    for (const struct snapshot_entry *e = p->dropped; e != NULL; e = e->next) {
        struct name name = name_of(e->shard);
        on_change(arg, name.kind, name.key, NULL);
    }
}

static void plan_finish(struct plan *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        struct change *c = &p->changes[i];
        if (c->entry != NULL && snapshot_segment_shard(p->segment, i)->is_deleted) {
            entry_free(c->entry);
        } else {
            snapshot_segment_unref(c->old);
        }
    }
    for (struct snapshot_entry *e = p->dropped, *next; e != NULL; e = next) {
        next = e->next;
        entry_free(e);
    }
    mem_free(p->changes);
}

enum err snapshot_apply(struct snapshot *s, struct snapshot_segment *segment,
                        snapshot_change_fn *on_change, void *arg)
{
    const struct snap_header *h = snapshot_segment_header(segment);
    struct plan p = {.segment = segment, .n = h->shard_n};
    if (s->generation < h->base_generation || s->generation >= h->generation) {
        return E_REFUSED;
    }
    enum err e = plan_make(s, &p);
    if (e != E_OK) {
        plan_undo(&p);
        return e;
    }
    plan_commit(s, &p);
    if (on_change != NULL) {
        plan_tell(&p, on_change, arg);
    }
    plan_finish(&p);
    return E_OK;
}
