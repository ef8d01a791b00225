/* cli/status_facts.h: what `lintel status` tells of objects, counted. */
#pragma once

#include "cli/offline.h"

struct status_read { /* something of the cluster that the user may not be allowed to read */
    enum err error;
    uint32_t status;
};

struct status_facts {
    size_t ours_n, others_n; /* Ingresses */
    size_t host_n, route_n;
    size_t service_n, service_bad_n;  /* Service ports; those without an endpoint in use */
    size_t used_n, unused_n;          /* endpoints */
    struct buf classes, addresses;    /* "a, b" */
    const struct ingress **ingresses; /* ours, sorted */
    size_t lacking_n;                 /* of them: without an address */
    struct diag_list *diags;
    size_t errors, warnings;
    /* of a cluster */
    struct status_read lease, pods;
    struct buf leader; /* empty: nobody */
    size_t pod_n, pod_ready_n;
};

/* Release with status_facts_fini() in any case. Errors: E_NOMEM. */
enum err status_facts_fill(struct status_facts *f, const struct offline *o);
/* Asks the cluster for Lintel's own Lease and pods; what may not be read is noted. */
void status_facts_ask(struct status_facts *f, const struct offline *o, struct str namespace_name,
                      struct str lease);
void status_facts_fini(struct status_facts *f);
