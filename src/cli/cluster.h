/* cli/cluster.h: single questions to the cluster whose objects were read: one GET, waited for. What
 * a user may read decides what can be told: whoever asks goes on without an answer. */
#pragma once

#include "cli/offline.h"
#include "kube/reader.h"

struct cluster_answer {
    enum err error;  /* E_OK; E_NOTFOUND (404), E_REFUSED (401, 403), others as in kube_result */
    uint32_t status; /* 0: none came */
};

/* path from the server's root. Calls fn for the object, or for each item of the list, and once more
 * at the end of a list (KUBE_ENTRY_PAGE); only the first page is asked for. Blocks, for at most
 * TIMEOUT_KUBE_CALL. Not for manifests. */
struct cluster_answer cluster_get(const struct offline *o, enum kube_body body, struct str path,
                                  kube_entry_fn *fn, void *arg);
/* The same for one Secret, which goes into the store. */
struct cluster_answer cluster_get_secret(const struct offline *o, struct str namespace_name,
                                         struct str name);
