/* controller/pipeline.h: source -> store -> compile -> publish, driven by the loop. The source is a
 * directory of manifests or a Kubernetes API server. What the names of ExternalName Services
 * resolve to comes into the store beside it.
 *
 *   on_batch ──first in a while──> run at the end of this tick
 *       └───────soon after a run──> run PIPELINE_PAUSE after it: a burst costs one generation
 *   run: compile what is dirty, commit, send
 *       └──no memory, no room, ...──> again after PIPELINE_RETRY; what was added stays
 *
 * Bad input never stops it: what is wrong with objects is a diagnostic, what is wrong with the
 * source itself is retried while the last good state is served. Of an API server nothing is
 * compiled before everything was listed once, and nothing published before the Secrets in use were
 * answered for, or PIPELINE_SECRETS later: until then the saved snapshot serves. */
#pragma once

#include "compile/compile.h"
#include "controller/diagnostics.h"
#include "controller/keyring.h"
#include "controller/ocsp.h"
#include "controller/saved.h"
#include "event/loop.h"
#include "publish/publish.h"
#include "source/api.h"
#include "source/directory.h"
#include "source/resolver.h"

#define PIPELINE_PAUSE (5 * USEC_PER_MS) /* least time between two runs */
#define PIPELINE_RETRY (1 * USEC_PER_SEC)
#define PIPELINE_SWEEP (1 * USEC_PER_SEC) /* after the last run: log what has been mended */
/* At the start of a cluster's Lintel, until the Secrets are there: without them hosts would be
 * served with the wrong certificate for a moment. */
#define PIPELINE_SECRETS (5 * USEC_PER_SEC)
#define PIPELINE_CLOCK   (600 * USEC_PER_SEC) /* certificates end while nothing changes */

struct pipeline_options {
    const char *manifests;          /* directory; NULL: a Kubernetes API server */
    const char *kubeconfig;         /* NULL: we run in a pod */
    const char *context;            /* of kubeconfig; NULL: its current-context */
    struct api_options api;         /* but for client and callbacks */
    const char *snapshot_file;      /* NULL = none */
    struct compile_options compile; /* but for own_chain and own_key */
    struct ocsp_options ocsp;
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
    struct keyring keyring;
    struct ocsp *ocsp;
    struct compile_options compile_options;
    struct buf own_chain, own_key; /* of the certificate for names that nobody has one for */
    struct directory *directory;   /* NULL: not this source, or it could not be opened yet */
    struct kube_config *config;    /* NULL: not this source, or it could not be read yet */
    struct kube_client *client;
    struct api *api;
    struct resolver *resolver; /* NULL: could not be started; names do not resolve */
    struct diagnostics diagnostics;
    struct deferred work;
    struct timer pause, open_retry, sweep, clock;
    struct saved saved;
    bool is_held;            /* for the Secrets, at the start */
    bool is_pending;         /* something may have changed since the last run */
    bool has_whole;          /* a first whole commit was made from objects */
    bool has_complained;     /* about the present trouble; once */
    usec_t opened_at;        /* the source */
    usec_t compiled_at;      /* the first time, from the whole of its objects; 0: not yet */
    uint64_t secret_version; /* of the set of Secrets that the source knows of */
    usec_t pending_since, ran_at;
    usec_t lag_last, lag_most, run_cpu;
    uint64_t runs;
};

/* Borrows all. The snapshot file, if any, is committed at once. Errors: E_NOMEM, E_SYS, E_CLOSED.
 */
enum err pipeline_init(struct pipeline *p, struct loop *loop,
                       const struct pipeline_options *options, pipeline_fn *on_commit, void *arg);
/* Opens the source; on failure it goes on trying. Context: blocks while a directory is loaded. */
void pipeline_start(struct pipeline *p);
/* The control socket has room again. */
void pipeline_flush(struct pipeline *p);
/* Something waits for that. */
bool pipeline_is_waiting(const struct pipeline *p);
/* p may be partly made. Writes the snapshot file if that is due. */
void pipeline_fini(struct pipeline *p);
/* Everything that is wrong now, of files and objects. A diagnostics_each_fn. */
enum err pipeline_each_diag(void *pipeline, diag_fn *fn, void *fn_arg);
