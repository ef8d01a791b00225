/* From changed shards to a segment on its way. One commit: pending shards -> without those that the
 * state has already -> merged with the newest segments -> bytes -> sealed memory file -> mapped and
 * verified -> applied to the state -> sent. Until "applied" a failure changes nothing.
 * At most one generation waits for the socket; further commits are refused meanwhile, so that what
 * is added goes on gathering in pending instead of in a queue. */
#include "publish/publish.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/vec.h"
#include "os/heritage.h"
#include "os/memfd.h"
#include "snapshot/write.h"

struct live {
    struct snapshot_segment *segment; /* a reference */
    void *secret;                     /* where it can be overwritten; NULL: no secret */
};

struct worn { /* a secret segment that was replaced */
    struct list link;
    void *secret;
    size_t n;
    usec_t at;
};

struct publish {
    struct publish_options options;
    struct snapshot state;
    struct map pending; /* of struct snap_shard, owned copies, by (kind, key) */
    struct live *live;  /* the log */
    size_t live_n, live_cap;
    struct list worn; /* the oldest in front */
    uint64_t live_bytes;
    struct control_message unsent; /* while unsent_fd >= 0 */
    int unsent_fd;
};

enum err publish_new(const struct publish_options *o, struct publish **ret)
{
    struct publish *p = mem_calloc(1, sizeof(*p));
    if (p == NULL) {
        return E_NOMEM;
    }
    p->options = *o;
    p->unsent_fd = -1;
    snapshot_init(&p->state);
    map_init(&p->pending);
    list_init(&p->worn);
    *ret = p;
    return E_OK;
}

static void shard_free(const struct publish *p, struct snap_shard *shard)
{
    if (p->options.is_secret) {
        explicit_bzero(shard, shard->bytes);
    }
    mem_free(shard);
}

static void pending_clear(struct publish *p)
{
    map_each(slot, &p->pending)
    {
        shard_free(p, slot->value);
    }
    map_fini(&p->pending);
    map_init(&p->pending);
}

static void unsent_drop(struct publish *p)
{
    if (p->unsent_fd >= 0) {
        (void)close(p->unsent_fd); /* sent or given up; the maps stay */
        p->unsent_fd = -1;
    }
}

/* ---- secrets that have had their day ---- */

static void worn_free(struct worn *w)
{
    list_del(&w->link);
    mem_free(w);
}

/* Without memory to remember it, it goes the way of all memory: the kernel clears it before anybody
 * else gets it. */
static void worn_add(struct publish *p, void *secret, size_t n)
{
    struct worn *w = secret == NULL ? NULL : mem_alloc(sizeof(*w));
    if (w == NULL) {
        memfd_unmap_secret(secret, n);
        return;
    }
    *w = (struct worn){.secret = secret, .n = n, .at = clock_monotonic()};
    list_init(&w->link);
    list_append(&p->worn, &w->link);
}

void publish_wipe(struct publish *p, usec_t now)
{
    list_each(it, &p->worn)
    {
        struct worn *w = container_of(it, struct worn, link);
        if (now - w->at < SECRET_KEPT) {
            return;
        }
        memfd_wipe_secret(w->secret, w->n);
        worn_free(w);
    }
}

/* ---- the end ---- */

static size_t segment_n(const struct snapshot_segment *segment)
{
    return snapshot_segment_header(segment)->bytes;
}

/* What is live stays as it is: workers go on without us. */
static void secrets_unmap(struct publish *p)
{
    for (size_t i = 0; i < p->live_n; i++) {
        memfd_unmap_secret(p->live[i].secret, segment_n(p->live[i].segment));
    }
    list_each(it, &p->worn)
    {
        struct worn *w = container_of(it, struct worn, link);
        memfd_unmap_secret(w->secret, w->n);
        worn_free(w);
    }
}

void publish_free(struct publish *p)
{
    if (p == NULL) {
        return;
    }
    pending_clear(p);
    unsent_drop(p);
    secrets_unmap(p);
    for (size_t i = 0; i < p->live_n; i++) {
        snapshot_segment_unref(p->live[i].segment);
    }
    mem_free(p->live);
    snapshot_fini(&p->state);
    mem_free(p);
}

const struct snapshot *publish_state(const struct publish *p)
{
    return &p->state;
}

void publish_figures(const struct publish *p, size_t *ret_segments, uint64_t *ret_bytes)
{
    *ret_segments = p->live_n;
    *ret_bytes = p->live_bytes;
}

/* ---- pending shards ---- */

static struct str shard_key(const struct snap_shard *shard)
{
    return snap_str_get(shard, shard->key);
}

static bool shard_is(const void *value, const void *key)
{
    const struct snap_shard *a = value, *b = key;
    return a->kind == b->kind && str_eq(shard_key(a), shard_key(b));
}

/* The one of the same kind and key; NULL when there is none. */
static void *shard_find(const struct map *shards, const struct snap_shard *like)
{
    return map_get(shards, like->key_hash, shard_is, like);
}

enum err publish_add(void *publish, const struct snap_shard *shard)
{
    struct publish *p = publish;
    TRY(map_reserve(&p->pending, 1));
    struct snap_shard *copy = mem_alloc(shard->bytes);
    if (copy == NULL) {
        return E_NOMEM;
    }
    mem_copy(copy, shard, shard->bytes);
    struct snap_shard *old = shard_find(&p->pending, copy);
    if (old == NULL) {
        return map_add(&p->pending, copy->key_hash, copy);
    }
    map_replace(&p->pending, copy->key_hash, old, copy);
    shard_free(p, old);
    return E_OK;
}

static void pending_del(struct publish *p, struct snap_shard *shard)
{
    (void)map_del(&p->pending, shard->key_hash, shard); /* it is there */
    shard_free(p, shard);
}

static enum err tombstone_add(struct publish *p, const struct snap_shard *gone)
{
    struct buf b;
    buf_init(&b, SNAPSHOT_SHARD_BYTES_MAX);
    snap_shard_deleted(&b, (enum snap_kind)gone->kind, shard_key(gone));
    enum err e = snap_shard_end(&b);
    if (e == E_OK) {
        e = publish_add(p, snap_at(&b, 0, const struct snap_shard));
    }
    buf_fini(&b);
    return e;
}

/* What is added is all there is. Again after a failure: finds its own tombstones pending. */
static enum err others_delete(struct publish *p)
{
    map_each(slot, &p->state.shards)
    {
        const struct snapshot_entry *entry = slot->value;
        if (shard_find(&p->pending, entry->shard) == NULL) {
            TRY(tombstone_add(p, entry->shard));
        }
    }
    return E_OK;
}

static bool shard_is_known(const struct publish *p, const struct snap_shard *shard)
{
    const struct snapshot_entry *entry =
        snapshot_find(&p->state, (enum snap_kind)shard->kind, shard_key(shard), shard->key_hash);
    if (entry == NULL || shard->is_deleted != 0) {
        return entry == NULL && shard->is_deleted != 0;
    }
    return entry->shard->bytes == shard->bytes && memcmp(entry->shard, shard, shard->bytes) == 0;
}

/* ---- one segment from pending and the newest of the log ---- */

struct merge {
    const struct snap_shard **shards; /* borrowed from pending and from live segments */
    size_t n, cap;
    struct map by_key; /* the same ones */
    size_t keep_n;     /* segments of the log that stay before this one */
    uint64_t bytes;    /* of the segment that would come of it, at most */
};

static void merge_fini(struct merge *m)
{
    mem_free(m->shards);
    map_fini(&m->by_key);
}

static enum err merge_add(struct merge *m, const struct snap_shard *shard)
{
    union {
        const struct snap_shard *in;
        void *out;
    } value = {shard}; /* the table holds what it never writes to */
    TRY(VEC_ROOM(m->shards, m->n, m->cap, SIZE_MAX / sizeof(*m->shards)));
    TRY(map_add(&m->by_key, shard->key_hash, value.out));
    m->shards[m->n++] = shard;
    return E_OK;
}

static enum err merge_pending(struct merge *m, const struct publish *p)
{
    m->bytes = sizeof(struct snap_header);
    map_each(slot, &p->pending)
    {
        const struct snap_shard *shard = slot->value;
        if (!shard_is_known(p, shard)) {
            TRY(merge_add(m, shard));
            m->bytes += sizeof(struct snap_ref) + shard->bytes;
        }
    }
    return E_OK;
}

static enum err merge_segment(struct merge *m, const struct snapshot_segment *segment)
{
    const struct snap_header *header = snapshot_segment_header(segment);
    for (uint32_t i = 0; i < header->shard_n; i++) {
        const struct snap_shard *shard = snapshot_segment_shard(segment, i);
        if (shard_find(&m->by_key, shard) == NULL) {
            TRY(merge_add(m, shard));
        }
    }
    m->bytes += header->bytes;
    return E_OK;
}

static void merge_drop_tombstones(struct merge *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (m->shards[i]->is_deleted == 0) {
            m->shards[n++] = m->shards[i];
        }
    }
    m->n = n;
}

static enum err merge_fill(struct merge *m, const struct publish *p)
{
    TRY(merge_pending(m, p));
    m->keep_n = p->live_n;
    if (m->n == 0 && p->live_n > 0) {
        return E_OK; /* nothing changed */
    }
    while (m->keep_n > 0) {
        const struct snapshot_segment *newest = p->live[m->keep_n - 1].segment;
        if (segment_n(newest) >= 2 * m->bytes) {
            return E_OK;
        }
        TRY(merge_segment(m, newest));
        m->keep_n--;
    }
    merge_drop_tombstones(m);
    return E_OK;
}

/* ---- from bytes to a mapped, verified segment ---- */

struct draft {
    int fd;
    void *secret; /* where it can be overwritten */
    size_t secret_n;
    struct snapshot_segment *segment;
    struct snapshot_fault fault;
};

static void draft_fini(struct draft *d)
{
    if (d->fd >= 0) {
        (void)close(d->fd); /* an error is on its way already */
    }
    if (d->secret != NULL) {
        memfd_wipe_secret(d->secret, d->secret_n);
    }
    snapshot_segment_unref(d->segment);
    *d = (struct draft){.fd = -1};
}

static enum err draft_check(struct draft *d, enum snapshot_origin origin)
{
    TRY(snapshot_segment_map(d->fd, SNAPSHOT_SEGMENT_BYTES_MAX, origin, &d->segment, &d->fault));
    enum err e;
    do {
        e = snapshot_segment_verify(d->segment, SNAPSHOT_SEGMENT_BYTES_MAX, &d->fault);
    } while (e == E_AGAIN);
    return e;
}

static enum err draft_make_secret(struct draft *d, const struct buf *bytes)
{
    d->secret_n = bytes->n;
    TRY(memfd_make_secret("lintel-secrets", bytes->p, bytes->n, &d->fd, &d->secret));
    return draft_check(d, SNAPSHOT_SECRET);
}

static enum err draft_make(struct draft *d, const struct buf *bytes)
{
    TRY(memfd_make("lintel-segment", &d->fd));
    TRY(memfd_write(d->fd, bytes->p, bytes->n));
    TRY(memfd_seal(d->fd));
    return draft_check(d, SNAPSHOT_SEALED);
}

static uint64_t base_generation(const struct publish *p, const struct merge *m)
{
    return m->keep_n == 0 ? 0 : snapshot_segment_header(p->live[m->keep_n - 1].segment)->generation;
}

static stats_value *generation_value(const struct publish *p)
{
    struct stats_area *stats = p->options.stats;
    return p->options.is_secret ? &stats->secret_generation : &stats->generation;
}

static uint64_t next_generation(const struct publish *p)
{
    uint64_t published = stats_get(generation_value(p));
    return (published > p->state.generation ? published : p->state.generation) + 1;
}

static enum err draft_from_merge(struct draft *d, const struct publish *p, struct merge *m)
{
    struct buf bytes;
    buf_init(&bytes, SNAPSHOT_SEGMENT_BYTES_MAX);
    if (p->options.is_secret) { /* in one go: a buffer that grows leaves its bytes behind */
        (void)buf_reserve(&bytes, m->bytes + sizeof(struct snap_header));
    }
    enum err e =
        snapshot_segment_write(&bytes, m->shards, m->n, base_generation(p, m), next_generation(p));
    if (e == E_OK) {
        e = p->options.is_secret ? draft_make_secret(d, &bytes) : draft_make(d, &bytes);
    }
    if (p->options.is_secret) {
        buf_wipe(&bytes);
    } else {
        buf_fini(&bytes);
    }
    return e;
}

/* ---- sending ---- */

bool publish_is_waiting(const struct publish *p)
{
    return p->unsent_fd >= 0;
}

enum err publish_flush(struct publish *p)
{
    if (p->unsent_fd < 0) {
        return E_OK;
    }
    if (p->options.control_fd >= 0) {
        TRY(control_send(p->options.control_fd, &p->unsent, p->unsent_fd));
    }
    unsent_drop(p);
    return E_OK;
}

static void log_replace(struct publish *p, size_t keep_n, const struct draft *d)
{
    while (p->live_n > keep_n) {
        const struct live *old = &p->live[--p->live_n];
        p->live_bytes -= segment_n(old->segment);
        worn_add(p, old->secret, segment_n(old->segment));
        snapshot_segment_unref(old->segment);
    }
    p->live[p->live_n++] = (struct live){d->segment, d->secret};
    p->live_bytes += segment_n(d->segment);
}

/* Takes the draft's segment and descriptor. The generation is announced before it is sent: should
 * we be killed in between, the next controller starts behind it and never uses a number twice. */
static void generation_begin(struct publish *p, const struct merge *m, struct draft *d)
{
    const struct snap_header *header = snapshot_segment_header(d->segment);
    log_replace(p, m->keep_n, d);
    stats_set(generation_value(p), header->generation);
    if (!p->options.is_secret) {
        stats_set(&p->options.stats->generation_published_us, clock_wall());
    }
    p->unsent =
        (struct control_message){.type = p->options.is_secret ? CONTROL_SECRET : CONTROL_SEGMENT,
                                 .keep_n = (uint32_t)m->keep_n,
                                 .generation = header->generation,
                                 .base_generation = header->base_generation};
    p->unsent_fd = d->fd;
    *d = (struct draft){.fd = -1};
}

static void on_change(void *arg, enum snap_kind kind, struct str key,
                      const struct snapshot_entry *entry)
{
    (void)arg, (void)kind, (void)key, (void)entry; /* nobody here caches anything */
}

/* Leaves out the pending shard that verification stopped at. E_AGAIN: try without it; E_PROTO: the
 * fault is not that of one pending shard. */
static enum err faulty_drop(struct publish *p, const struct merge *m, const struct draft *d)
{
    if (d->fault.shard >= m->n) {
        return E_PROTO;
    }
    struct snap_shard *shard = shard_find(&p->pending, m->shards[d->fault.shard]);
    if (shard == NULL || shard != m->shards[d->fault.shard]) {
        return E_PROTO;
    }
    if (p->options.on_refused != NULL) {
        p->options.on_refused(p->options.arg, (enum snap_kind)shard->kind, shard_key(shard),
                              d->fault.what);
    }
    pending_del(p, shard);
    return E_AGAIN;
}

static enum err commit_merged(struct publish *p, struct merge *m, struct draft *d)
{
    enum err e = draft_from_merge(d, p, m);
    if (e == E_PROTO) {
        return faulty_drop(p, m, d);
    }
    if (e != E_OK) {
        return e;
    }
    TRY(VEC_ROOM(p->live, p->live_n, p->live_cap, SEGMENTS_LIVE_MAX));
    TRY(snapshot_apply(&p->state, d->segment, on_change, NULL));
    generation_begin(p, m, d);
    return E_OK;
}

/* E_AGAIN: a faulty shard was left out, call again. */
static enum err commit_once(struct publish *p, bool *ret_is_new)
{
    struct merge m = {0};
    struct draft d = {.fd = -1, .fault.shard = UINT32_MAX};
    map_init(&m.by_key);
    enum err e = merge_fill(&m, p);
    bool is_new = e == E_OK && (m.n > 0 || m.keep_n < p->live_n || p->live_n == 0);
    if (is_new) {
        e = commit_merged(p, &m, &d);
    }
    if (e == E_OK) {
        *ret_is_new = is_new;
    }
    draft_fini(&d);
    merge_fini(&m);
    return e;
}

enum err publish_commit(struct publish *p, bool is_whole, bool *ret_is_new)
{
    bool is_new = false;
    TRY(publish_flush(p));
    if (is_whole) {
        TRY(others_delete(p));
    } else if (p->pending.n == 0) {
        *ret_is_new = false;
        return E_OK;
    }
    enum err e;
    do {
        e = commit_once(p, &is_new);
    } while (e == E_AGAIN); /* each turn has one pending shard less */
    if (e != E_OK) {
        return e;
    }
    pending_clear(p);
    *ret_is_new = is_new;
    e = publish_flush(p);
    return e == E_AGAIN ? E_OK : e; /* waits; publish_is_waiting() says so */
}
