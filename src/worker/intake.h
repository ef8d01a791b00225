/* worker/intake.h: segments from the control socket into the snapshots of their streams, verified
 * in pieces between requests, each applied whole or not at all, in the order in which they come. A
 * refused segment leaves the worker on the generation it has. Private to worker/. */
#pragma once

#include "event/loop.h"
#include "os/heritage.h"
#include "snapshot/snapshot.h"
#include "stats/stats.h"

struct intake_events {
    /* A generation of what requests are served by was applied. */
    void (*on_applied)(void *arg);
    /* The supervisor says: go; or it is gone itself (is_orphaned). */
    void (*on_drain)(void *arg, bool is_orphaned);
    /* The access log goes to fd from now on; takes it. */
    void (*on_log_reopen)(void *arg, int fd);
};

struct intake {
    struct loop *loop;
    struct watch watch;
    struct deferred work;
    int control_fd;
    bool is_readable;
    bool is_resyncing;     /* asked for everything again, nothing applied since */
    bool is_unlocked_told; /* that secrets may be swapped out */
    struct snapshot *snapshots[CONTROL_STREAMS_N];
    struct snapshot_segment *segment; /* being verified, or NULL */
    enum control_stream stream;       /* of segment */
    snapshot_change_fn *on_change;
    const struct intake_events *events;
    void *arg;
    struct stats_page *stats;
};

/* Borrows everything for the intake's life; snapshots: by stream; arg goes to on_change and the
 * events. Errors: E_SYS. */
enum err intake_open(struct intake *i, struct loop *loop, int control_fd,
                     struct snapshot *const snapshots[CONTROL_STREAMS_N], struct stats_page *stats,
                     snapshot_change_fn *on_change, const struct intake_events *events, void *arg);
void intake_close(struct intake *i);
