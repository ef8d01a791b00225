/* status/leader.h: one of the replicas leads: it holds a Lease (coordination.k8s.io/v1).
 *
 *   following ──the Lease is not there, free, ours of old, or has not changed for its
 *       ^       duration by OUR clock since we last saw it change──> leading
 *       └──not renewed for two thirds of our duration, or somebody else holds it──┘
 *
 * The times in the Lease are for people: other machines' clocks are not trusted. A leader stops
 * before anybody else can begin: it counts from when it sent its last renewal, the others from when
 * they saw that, and it waits for a third less. Each write names the resourceVersion that it is
 * based on, so of two that want the Lease one is refused. Source: the API's LeaseSpec. */
#pragma once

#include "event/loop.h"
#include "status/inquiry.h"

struct leader_options {
    struct loop *loop;
    struct kube_client *client;
    struct str namespace_name, name; /* of the Lease: DNS names */
    struct str identity;             /* who we are, in it; a process that comes back with the
                                        identity of the holder leads again at once */
    usec_t duration;                 /* whole seconds, LEADER_DURATION_MIN at least */
    void (*on_change)(void *arg, bool is_leading); /* may free nothing */
    void *arg;
};

#define LEADER_DURATION_MIN (3 * USEC_PER_SEC)

struct leader;

/* Begins at once. Copies the texts. Errors: E_NOMEM. */
enum err leader_open(const struct leader_options *options, struct leader **ret);
/* Gives the Lease back when it is ours: on_released, once, in a later tick or not at all when
 * leader_free() comes first; that is the one to wait for no longer than a named time. No on_change
 * follows. */
void leader_release(struct leader *l, void (*on_released)(void *arg), void *arg);
void leader_free(struct leader *l); /* l may be NULL */

bool leader_is_leading(const struct leader *l);

struct leader_counters {
    uint64_t gained, lost, failures;
};
const struct leader_counters *leader_counters(const struct leader *l);
