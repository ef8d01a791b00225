/* cli/offline.h: objects to a snapshot in this very process, for check, explain and dump: the same
 * code as the controller's. Manifests are read, or a cluster is asked once. */
#pragma once

#include "compile/compile.h"
#include "document/diag.h"
#include "snapshot/snapshot.h"
#include "source/api.h"

struct offline_source {       /* paths, or a kubeconfig */
    const char *const *paths; /* files or directories */
    size_t path_n;
    const char *kubeconfig, *context; /* context NULL: its current-context */
    struct api_options api;           /* without client and callbacks */
};

struct offline {
    struct store *store;
    struct compile *compile;
    struct stats_area *stats;
    struct publish *publish;
    struct directory *directory; /* of manifests, or */
    struct loop *loop;           /* of a cluster */
    struct kube_config *config;
    struct kube_client *client;
    struct api *api;
    struct compile_options options;
    size_t file_n;
};

/* Loads what the source has, compiles and commits. Says what went wrong on standard
 * error; shows progress there when it takes long and that is a terminal. Errors: any. o is
 * zeroed before, and to be released with offline_close() after, whatever comes. */
enum err offline_open(struct offline *o, const struct offline_source *source,
                      const struct compile_options *options);
void offline_close(struct offline *o);
/* Of a cluster, once its Secrets are in the store: compiles and commits what has changed, by what
 * is there now. Errors: any. */
enum err offline_refresh(struct offline *o);
const struct snapshot *offline_snapshot(const struct offline *o);
/* All diagnostics, sorted. *ret_names: backends whose external name would have to be looked up;
 * that is not done here, so it is no diagnostic either. Errors: E_NOMEM. */
enum err offline_diagnostics(const struct offline *o, struct diag_list **ret, size_t *ret_names);
