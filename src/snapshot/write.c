/* Making shards and segments.
 * While a shard is being built, struct building lies over its key_hash, which is written at the
 * end: the caller needs nothing but the buffer. */
#include "snapshot/write.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

enum { SHARE_WINDOW = 1024 }; /* how far back snap_add_str() looks for the same text */

struct building {
    uint32_t strings_from; /* from here on there are only strings */
    bool is_over;          /* bad because a limit was reached */
};

_Static_assert(sizeof(struct building) <= sizeof(uint64_t), "it fits over key_hash");

static struct snap_shard *shard_of(struct buf *b)
{
    return snap_at(b, 0, struct snap_shard);
}

static struct building *building_of(struct buf *b)
{
    return snap_at(b, offsetof(struct snap_shard, key_hash), struct building);
}

/* Room for extra bytes and the padding behind them. */
static bool has_room(struct buf *b, size_t extra)
{
    size_t max = b->max < SNAPSHOT_SHARD_BYTES_MAX ? b->max : SNAPSHOT_SHARD_BYTES_MAX;
    if (b->bad) {
        return false;
    }
    if (b->n > max || max - b->n < SNAP_ALIGN || extra > max - b->n - SNAP_ALIGN) {
        b->bad = true;
        if (b->n >= sizeof(struct snap_shard)) {
            building_of(b)->is_over = true;
        }
        return false;
    }
    return buf_reserve(b, extra + SNAP_ALIGN);
}

static struct snap_str append_str(struct buf *b, struct str s)
{
    struct snap_str at = {(uint32_t)b->n, (uint32_t)s.n};
    buf_add_str(b, s);
    buf_add_char(b, '\0');
    return at;
}

void snap_shard_begin(struct buf *b, enum snap_kind kind, size_t root_bytes, struct str key)
{
    must(b->n == 0 && root_bytes >= sizeof(struct snap_shard));
    if (!has_room(b, root_bytes)) {
        return;
    }
    (void)buf_add_zero(b, root_bytes); /* at 0 */
    shard_of(b)->kind = (uint16_t)kind;
    building_of(b)->strings_from = (uint32_t)root_bytes;
    struct snap_str at = snap_add_str(b, key);
    shard_of(b)->key = at;
}

void snap_shard_deleted(struct buf *b, enum snap_kind kind, struct str key)
{
    snap_shard_begin(b, kind, sizeof(struct snap_shard), key);
    if (!b->bad) {
        shard_of(b)->is_deleted = 1;
    }
}

/* The same text with its NUL among the last strings; false when it is not there. */
static bool find_shared(struct buf *b, struct str s, struct snap_str *ret)
{
    size_t from = building_of(b)->strings_from;
    if (b->n - from > SHARE_WINDOW) {
        from = b->n - SHARE_WINDOW;
    }
    for (const char *p = b->p + from, *end = b->p + b->n; (size_t)(end - p) > s.n; p++) {
        p = s.n == 0 ? memchr(p, '\0', (size_t)(end - p))
                     : memmem(p, (size_t)(end - p) - 1, s.p, s.n);
        if (p == NULL) {
            return false;
        }
        if (p[s.n] == '\0') {
            *ret = (struct snap_str){(uint32_t)(p - b->p), (uint32_t)s.n};
            return true;
        }
    }
    return false;
}

struct snap_str snap_add_str(struct buf *b, struct str s)
{
    struct snap_str shared = {0};
    if (b->bad) {
        return shared;
    }
    if (s.n < SHARE_WINDOW && find_shared(b, s, &shared)) {
        return shared;
    }
    if (s.n >= SNAPSHOT_SHARD_BYTES_MAX || !has_room(b, s.n + 1)) {
        return (struct snap_str){0};
    }
    return append_str(b, s);
}

struct snap_array snap_add_array(struct buf *b, uint32_t n, size_t item_bytes)
{
    uint64_t bytes = (uint64_t)n * item_bytes;
    must(item_bytes > 0 && item_bytes <= UINT32_MAX);
    if (!has_room(b, bytes + SNAP_ALIGN)) {
        return (struct snap_array){0};
    }
    buf_align(b, SNAP_ALIGN);
    struct snap_array at = {(uint32_t)b->n, n};
    (void)buf_add_zero(b, bytes); /* at at.offset */
    building_of(b)->strings_from = (uint32_t)b->n;
    return at;
}

enum err snap_shard_end(struct buf *b)
{
    if (b->n < sizeof(struct snap_shard)) { /* did not even begin */
        return b->max < SNAPSHOT_SHARD_BYTES_MAX ? E_LIMIT : E_NOMEM;
    }
    if (b->bad) {
        return building_of(b)->is_over ? E_LIMIT : E_NOMEM;
    }
    buf_align(b, SNAP_ALIGN); /* has_room() left room for it */
    struct snap_shard *shard = shard_of(b);
    shard->bytes = (uint32_t)b->n;
    shard->key_hash = hash_str(snap_str_get(shard, shard->key));
    return E_OK;
}

/* ---- one segment ---- */

int snap_shard_cmp(const struct snap_shard *a, const struct snap_shard *b)
{
    if (a->kind != b->kind) {
        return a->kind < b->kind ? -1 : 1;
    }
    return str_cmp(snap_str_get(a, a->key), snap_str_get(b, b->key));
}

static int shard_sort_cmp(const void *a, const void *b)
{
    return snap_shard_cmp(*(const struct snap_shard *const *)a,
                          *(const struct snap_shard *const *)b);
}

/* The sorted shards may be in one segment; *ret_bytes is its size. */
static enum err segment_check(const struct snap_shard *const *shards, size_t n, bool is_whole,
                              uint64_t *ret_bytes)
{
    uint64_t bytes = sizeof(struct snap_header);
    for (size_t i = 0; i < n; i++) {
        bytes += sizeof(struct snap_ref) + shards[i]->bytes;
        if (bytes > SNAPSHOT_SEGMENT_BYTES_MAX) {
            return E_LIMIT;
        }
        if (is_whole && shards[i]->is_deleted) {
            return E_PROTO;
        }
        if (i > 0 && snap_shard_cmp(shards[i - 1], shards[i]) == 0) {
            return E_PROTO;
        }
    }
    *ret_bytes = bytes;
    return E_OK;
}

/* The header without its checksum, and the table. */
static void add_head(struct buf *out, const struct snap_shard *const *shards, size_t n,
                     struct snap_header *h)
{
    mem_copy(h->magic, SNAP_MAGIC, sizeof(h->magic));
    h->version = SNAP_VERSION;
    h->shard_n = (uint32_t)n;
    buf_add(out, h, sizeof(*h));
    uint64_t offset = sizeof(*h) + n * sizeof(struct snap_ref);
    for (size_t i = 0; i < n; offset += shards[i]->bytes, i++) {
        struct snap_ref ref = {shards[i]->key_hash, (uint32_t)offset, shards[i]->bytes};
        buf_add(out, &ref, sizeof(ref));
    }
}

enum err snapshot_segment_write(struct buf *out, const struct snap_shard **shards, size_t n,
                                uint64_t base_generation, uint64_t generation)
{
    uint64_t bytes = 0;
    must(generation > base_generation);
    if (n > 0) {
        qsort(shards, n, sizeof(*shards), shard_sort_cmp);
    }
    TRY(segment_check(shards, n, base_generation == 0, &bytes));
    buf_reset(out);
    if (bytes > out->max) {
        return E_LIMIT;
    }
    if (!buf_reserve(out, bytes)) {
        return E_NOMEM;
    }
    add_head(out, shards, n,
             &(struct snap_header){
                 .bytes = bytes, .generation = generation, .base_generation = base_generation});
    for (size_t i = 0; i < n; i++) {
        buf_add(out, shards[i], shards[i]->bytes);
    }
    must(!out->bad && out->n == bytes);
    snap_at(out, 0, struct snap_header)->checksum = snapshot_checksum(out->p, out->n);
    return E_OK;
}
