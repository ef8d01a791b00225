/* controller/pipeline.h: directory -> store -> compile -> publish, driven by the loop. What the
 * names of ExternalName Services resolve to comes into the store beside the directory.
 *
 *   on_batch ──first in a while──> run at the end of this tick
 *       └───────soon after a run──> run PIPELINE_PAUSE after it: a burst costs one generation
 *   run: compile what is dirty, commit, send
 *       └──no memory, no room, ...──> again after PIPELINE_RETRY; what was added stays
 *
 * Bad input never stops it: what is wrong with objects is a diagnostic, what is wrong with the
 * directory itself is retried while the last good state is served. */
#pragma once

#include "compile/compile.h"
#include "controller/diagnostics.h"
#include "event/loop.h"
#include "publish/publish.h"
#include "source/directory.h"
#include "source/resolver.h"

#define PIPELINE_PAUSE      (5 * USEC_PER_MS) /* least time between two runs */
#define PIPELINE_RETRY      (1 * USEC_PER_SEC)
#define PIPELINE_SWEEP      (1 * USEC_PER_SEC) /* after the last run: log what has been mended */
#define PIPELINE_SAVE_DELAY (1 * USEC_PER_SEC) /* after a commit: write the snapshot file */

struct pipeline_options {
    const char *manifests;     /* directory */
    const char *snapshot_file; /* NULL = none */
    struct compile_options compile;
    int control_fd;
    struct stats_area *stats;
};

/* A generation was committed, or the supervisor is gone (E_CLOSED). */
typedef void pipeline_fn(void *arg, enum err e);

struct pipeline {
    struct loop *loop;
    const struct pipeline_options *options;
    pipeline_fn *on_commit;
    void *arg;
    struct store *store;
    struct compile *compile;
    struct publish *publish;
    struct directory *directory; /* NULL until it could be opened */
    struct resolver *resolver;   /* NULL: could not be started; names do not resolve */
    struct diagnostics diagnostics;
    struct deferred work;
    struct timer pause, open_retry, sweep, save;
    bool is_pending;      /* something may have changed since the last run */
    bool has_whole;       /* a first whole commit was made from objects */
    bool has_complained;  /* about the present trouble; once */
    bool has_save_failed; /* same for the snapshot file */
    usec_t pending_since, ran_at;
    usec_t lag_last, lag_most, run_cpu;
    uint64_t runs;
};

/* Borrows all. The snapshot file, if any, is committed at once. Errors: E_NOMEM, E_SYS, E_CLOSED.
 */
enum err pipeline_init(struct pipeline *p, struct loop *loop,
                       const struct pipeline_options *options, pipeline_fn *on_commit, void *arg);
/* Opens the directory and runs for the first time; on failure it goes on trying. Context: blocks
 * while the directory is loaded. */
void pipeline_start(struct pipeline *p);
/* The control socket has room again. */
void pipeline_flush(struct pipeline *p);
/* p may be partly made. Writes the snapshot file if that is due. */
void pipeline_fini(struct pipeline *p);
/* Everything that is wrong now, of files and objects. A diagnostics_each_fn. */
enum err pipeline_each_diag(void *pipeline, diag_fn *fn, void *fn_arg);
