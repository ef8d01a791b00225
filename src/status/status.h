/* status/status.h: what a replica writes back to the cluster, put together: who leads (leader.h),
 * the status of Ingresses (address.h, ingress_status.h), Events (events.h). Only the leader writes,
 * so that n replicas do not say everything n times, and only once it has seen all objects: an
 * Ingress whose class is not known yet must not look as if it were somebody else's. */
#pragma once

#include "document/diag.h"
#include "event/loop.h"
#include "kube/client.h"
#include "model/store.h"

struct status;

struct status_options {            /* texts are borrowed for the life of struct status */
    struct str pod_namespace, pod; /* POD_NAMESPACE, POD_NAME; empty: not known */
    struct str controller;         /* --controller-class: who reports Events */
    struct str publish_status_address;
    struct str publish_service_namespace, publish_service;
    bool updates_status;                        /* --update-status */
    bool clears_on_shutdown;                    /* --update-status-on-shutdown */
    bool reports_internal_ip;                   /* --report-node-internal-ip-address */
    bool has_sync_events;                       /* unless --disable-sync-events */
    bool has_election;                          /* unless --disable-leader-election */
    struct str election_namespace, election_id; /* of the Lease */
    usec_t election_ttl;                        /* LEADER_DURATION_MIN of leader.h at least */
};

struct status_callbacks {
    bool (*is_ours)(void *arg, const struct ingress *ingress);
    /* Calls fn for everything that is wrong now. Errors: E_NOMEM. */
    enum err (*each_diag)(void *arg, diag_fn *fn, void *fn_arg);
    void *arg;
};

/* Borrows loop, client, store, options and callbacks for its life, and listens to the store: after
 * whoever is_ours asks. Does nothing before status_on_synced() but to take part in the election.
 * Errors: E_NOMEM, E_REFUSED (election_id or election_namespace are no names of objects). */
enum err status_open(struct loop *loop, struct kube_client *client, struct store *store,
                     const struct status_options *options, const struct status_callbacks *callbacks,
                     struct status **ret);
/* The store holds all there is, for the first time. */
void status_on_synced(struct status *s);
/* A diag_fn: status is the struct. Becomes an Event when we lead. */
void status_on_diag(void *status, const struct diag *d);

/* Before the end: takes our addresses out of the Ingresses when that is wanted and no other replica
 * is there or coming, gives the lease back, then calls on_closed, in a later tick and within
 * TIMEOUT_STATUS_CLOSE. */
void status_close(struct status *s, void (*on_closed)(void *arg), void *arg);
/* At any time, but in none of its callbacks. No callback follows. s may be NULL. */
void status_free(struct status *s);

bool status_is_leading(const struct status *s);

struct status_metric {
    const char *name, *labels, *help; /* labels: "a=\"b\"" or empty; valid during the call */
    bool is_gauge;
    uint64_t value;
};
/* All of counters.def, and leader_election_status under ingress-nginx's name; those of one name
 * come one after the other. */
typedef void status_metric_fn(void *arg, const struct status_metric *m);
void status_each_metric(const struct status *s, status_metric_fn *fn, void *arg);
