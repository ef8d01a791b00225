/* snapshot/snapshot.h: from an untrusted descriptor to the state that requests are routed by; the
 * only door for configuration. A segment is mapped, verified step by step, then applied whole or
 * not at all. Not here: writing segments (write.h), meaning (schema.h), matching (route/). */
#pragma once

#include "base/err.h"
#include "base/hash.h"
#include "snapshot/schema.h"

/* One mapped piece. Counted: the state holds one reference for each live shard in it, a request
 * holds one while it uses a route of it. */
struct snapshot_segment;

/* Why a segment was refused, for one log line. */
struct snapshot_fault {
    const char *what; /* static text */
    uint32_t shard;   /* index in the table, or UINT32_MAX when it concerns the whole */
};

/* Where a segment comes from. */
enum snapshot_origin {
    SNAPSHOT_FILE,   /* whoever may write it may still harm the reader */
    SNAPSHOT_SEALED, /* a memfd that can no longer be written or resized */
    SNAPSHOT_SECRET /* the same, but for its maker, who overwrites it when it has had its day. It is
                       kept out of core dumps and, as far as RLIMIT_MEMLOCK allows, off the swap */
};

/* Maps fd and checks the header. Borrows fd. Errors: E_PROTO, E_LIMIT (> max_bytes), E_REFUSED (not
 * sealed), E_NOMEM, E_SYS. Context: any; O(1). */
enum err snapshot_segment_map(int fd, size_t max_bytes, enum snapshot_origin origin,
                              struct snapshot_segment **ret, struct snapshot_fault *fault);
/* Of SNAPSHOT_SECRET: false when it may be swapped out. */
bool snapshot_segment_is_locked(const struct snapshot_segment *s);
/* The same over bytes that stay valid and unchanged; for files read whole, tests and fuzzing.
 * p is aligned to SNAP_ALIGN. */
enum err snapshot_segment_borrow(const void *p, size_t n, struct snapshot_segment **ret,
                                 struct snapshot_fault *fault);
/* Checks about budget_bytes more. E_OK: all of it is verified; E_AGAIN: call again; E_PROTO: never
 * use it, fault says why. */
enum err snapshot_segment_verify(struct snapshot_segment *s, size_t budget_bytes,
                                 struct snapshot_fault *fault);
struct snapshot_segment *snapshot_segment_ref(struct snapshot_segment *s);
void snapshot_segment_unref(struct snapshot_segment *s); /* s may be NULL */
const struct snap_header *snapshot_segment_header(const struct snapshot_segment *s);
/* Shard i of a mapped segment, 0 <= i < header.shard_n; only after verification. */
const struct snap_shard *snapshot_segment_shard(const struct snapshot_segment *s, uint32_t i);

/* What struct snap_header.checksum holds for a segment of n >= sizeof(struct snap_header) bytes. */
uint64_t snapshot_checksum(const void *segment, size_t n);

/* The state: every live shard by (kind, key). */
struct snapshot {
    struct map shards;                  /* of struct snapshot_entry */
    uint64_t generation;                /* 0 = nothing applied yet */
    uint32_t host_n[SNAP_HOST_ANY + 1]; /* live hosts of each enum snap_host_kind */
    uint32_t passthrough_n;             /* live TLS hosts whose bytes go on as they are */
    uint32_t policy_n;                  /* live TLS hosts that ask clients for certificates */
};

/* Stays where it is while its key lives; shard and segment change with every apply that holds the
 * key, even if the bytes are the same. */
struct snapshot_entry {
    const struct snap_shard *shard;
    struct snapshot_segment *segment;
    struct snapshot_entry *next; /* for snapshot_apply() */
};

/* Called for each shard that the segment adds, changes or deletes, after the whole state has
 * changed; entry is NULL for a deletion. Not called when the new bytes are the old ones. key stays
 * valid during the call only; so do, until the last call of this apply, the replaced shards. */
typedef void snapshot_change_fn(void *arg, enum snap_kind kind, struct str key,
                                const struct snapshot_entry *entry);

void snapshot_init(struct snapshot *s);
void snapshot_fini(struct snapshot *s);
/* Applies a verified segment. Takes nothing: keeps its own references. Errors, with the state as it
 * was: E_REFUSED (s->generation is not in [base_generation, generation)), E_NOMEM. */
enum err snapshot_apply(struct snapshot *s, struct snapshot_segment *segment,
                        snapshot_change_fn *on_change, void *arg);
/* NULL when there is none. hash = hash_str(key). */
const struct snapshot_entry *snapshot_find(const struct snapshot *s, enum snap_kind kind,
                                           struct str key, uint64_t hash);
