/* publish/publish.h: the controller's way to the workers. Takes the shards that a compile run
 * changed and sends them as one sealed segment over the control socket.
 *
 * The segments that count form a log: base-0 first, each next one starts at the generation of the
 * one before. A commit merges the newest of them into what it sends while they are less than twice
 * its size, so that a change costs O(its bytes * log) and O(log) segments are alive: a worker that
 * joins late gets few, and what was changed often is sent once. A deleted shard travels as a
 * tombstone until a merge reaches the base, where it is dropped.
 *
 * The state is kept as a struct snapshot over the same memory files: no second copy. Each segment
 * is verified here as a worker would do it, so that no bug of the compiler reaches them.
 * Context: controller; one thread. */
#pragma once

#include "base/clock.h"
#include "snapshot/snapshot.h"
#include "stats/stats.h"

struct publish;

/* A pending shard that failed verification, a bug of whoever made it, was left out; its key goes on
 * with its last good content. what is static text; key stays valid during the call only. */
typedef void publish_refused_fn(void *arg, enum snap_kind kind, struct str key, const char *what);

struct publish_options {
    int control_fd;           /* SOCK_SEQPACKET to the supervisor; -1 = send nothing (tests) */
    bool is_secret;           /* the stream of secrets: all memory that holds some is overwritten */
    struct stats_area *stats; /* generations go on from stats->generation, ->secret_generation */
    publish_refused_fn *on_refused; /* or NULL */
    void *arg;
};

/* Borrows both descriptors of the options for its life. Errors: E_NOMEM. */
enum err publish_new(const struct publish_options *o, struct publish **ret);
void publish_free(struct publish *p); /* p may be NULL */

/* A compile_shard_fn; publish is the struct publish. Copies the shard; a later one of the same key
 * replaces it. Errors: E_NOMEM. */
enum err publish_add(void *publish, const struct snap_shard *shard);

/* Makes everything added since the last commit one new generation and sends it. is_whole: what was
 * added is all there is, every other shard of the state goes (the first full compile after
 * publish_load()). Shards equal to those of the state are not sent; *ret_is_new is false when
 * nothing is left, except that a first whole commit always makes a generation.
 * Errors, with everything added kept for the next call: E_AGAIN (the last generation still waits
 * for the control socket, see publish_flush()), E_NOMEM, E_LIMIT, E_SYS, E_PROTO (our own segment
 * failed verification as a whole). E_CLOSED: the supervisor is gone. */
enum err publish_commit(struct publish *p, bool is_whole, bool *ret_is_new);

/* A secret segment that was replaced is overwritten SECRET_KEPT later: workers that are behind may
 * still read it. Call it now and then; now: monotonic. */
void publish_wipe(struct publish *p, usec_t now);

/* True when a committed generation waits for room in the control socket: call publish_flush() once
 * control_fd is writable. */
bool publish_is_waiting(const struct publish *p);
/* Sends what waits; E_OK when nothing does. Errors: E_AGAIN, E_CLOSED, E_SYS. */
enum err publish_flush(struct publish *p);

/* What the workers have, or will have once nothing waits. Borrowed; valid until publish_free(). */
const struct snapshot *publish_state(const struct publish *p);
/* Number of live segments and their bytes, for metrics. */
void publish_figures(const struct publish *p, size_t *ret_segments, uint64_t *ret_bytes);

/* ---- the snapshot file: one base-0 segment ---- */

/* Reads, verifies and commits it whole. For the start, before anything else is added. Errors:
 * E_NOTFOUND (no such file), E_PROTO (damaged; fault says how), E_LIMIT, E_NOMEM, E_SYS, and those
 * of publish_commit(). Context: may block on the disk. */
enum err publish_load(struct publish *p, const char *path, struct snapshot_fault *fault);
/* Writes the state beside path, then renames it into place: a reader sees the old or the new one,
 * also after a power cut. Errors: E_NOTFOUND (no generation yet), E_NOMEM, E_LIMIT, E_SYS.
 * Context: may block on the disk. */
enum err publish_save(const struct publish *p, const char *path);
