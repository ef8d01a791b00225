/* snapshot/write.h: making shards and segments. The controller's half of snapshot/; a worker links
 * it but never calls it. */
#pragma once

#include "base/buf.h"
#include "snapshot/snapshot.h"

/* ---- one shard ---- */

/* Starts a shard in an empty buffer: root_bytes zero bytes (sizeof(struct snap_host) ...) and the
 * filled-in struct snap_shard with its key. Everything is appended behind; pointers into b->p move,
 * so fill structs through snap_at(), and look at b->bad before: a failed add gives offset 0, n 0.
 * The root is at offset 0. */
void snap_shard_begin(struct buf *b, enum snap_kind kind, size_t root_bytes, struct str key);
/* A shard that says: this key is gone. */
void snap_shard_deleted(struct buf *b, enum snap_kind kind, struct str key);
/* Appends a string and its NUL; equal strings are stored once when they are added closely after
 * each other without an array between them. s must not point into b. */
struct snap_str snap_add_str(struct buf *b, struct str s);
/* n zeroed items of the given size, aligned to SNAP_ALIGN. */
struct snap_array snap_add_array(struct buf *b, uint32_t n, size_t item_bytes);
/* Pads and writes the final size. Errors: E_NOMEM, E_LIMIT (SNAPSHOT_SHARD_BYTES_MAX). */
enum err snap_shard_end(struct buf *b);

#define snap_at(b, offset, type) ((type *)(void *)((b)->p + (offset)))

/* ---- one segment ---- */

/* The order of a segment's table, by (kind, key): <0, 0, >0. Of finished or verified shards. */
int snap_shard_cmp(const struct snap_shard *a, const struct snap_shard *b);

/* Lays shards (each a finished shard, any order, no two with one (kind, key)) out as a segment in
 * out. Sorts the array in place. generation > base_generation. Errors: E_NOMEM, E_LIMIT,
 * E_PROTO (a duplicate key, a deleted shard although base_generation is 0). */
enum err snapshot_segment_write(struct buf *out, const struct snap_shard **shards, size_t n,
                                uint64_t base_generation, uint64_t generation);
