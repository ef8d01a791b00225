/* kube/reflector.h: the objects of one resource, followed: listed in pages, then watched from the
 * list's resourceVersion on, and again, for as long as it is open. It keeps no objects: it tells
 * its owner what there is and what has changed, and what to believe after a gap.
 *
 *   listing ──pages──> watching ──its time is over──> watching (from the last version)
 *     ^  │ failed        │    ^
 *     │  │               │cut │ the server's version is not behind ours
 *     │  v               v    │
 *     │  waiting <────> checking
 *     └─────┘ 410 Gone, ERROR event, version went back, away for too long
 *
 * Waiting is a back-off with jitter; Retry-After is heeded.
 * A list that breaks off begins anew, and nothing is forgotten until one is complete. A cut event
 * is dropped whole and asked for again. Events are told in order; a repeated one is told again:
 * owners compare. */
#pragma once

#include "document/tree.h"
#include "kube/client.h"

struct kube_reflector;

struct kube_reflector_events {
    /* A list begins: from now until on_listed, on_object tells everything there is. */
    void (*on_list)(void *arg);
    /* object is there, in this state; borrowed. kind and apiVersion may be missing in it, as items
     * of lists do not have them. Errors are the owner's to keep; the reflector goes on. */
    void (*on_object)(void *arg, const struct tree_node *object);
    /* The list was complete: what was not told since on_list is not there. */
    void (*on_listed)(void *arg);
    /* object, in its last state, was deleted. With a name also between on_list and on_listed. */
    void (*on_gone)(void *arg, const struct tree_node *object);
    /* What has come in this tick has been told; the time to compile. */
    void (*on_batch)(void *arg);
    /* Called when it stops working (is_ok false; why is for people) and when it works again. */
    void (*on_health)(void *arg, bool is_ok, struct str why);
};

struct kube_reflector_options {
    struct kube_client *client; /* borrowed */
    struct str path;            /* "/api/v1/services", "/apis/.../namespaces/x/ingresses" */
    struct str label_selector, field_selector; /* not escaped; empty = none */
    struct str name; /* one object by name, so that the verb list is not needed: watched with a
                        field selector from now on, and fetched with GET once the watch stands,
                        which tells that it is not there; empty = all of path */
    uint32_t page_n; /* objects in a page; 0: KUBE_PAGE_N */
    usec_t silence;  /* of a watch that ends it; 0: TIMEOUT_KUBE_SILENCE */
    const struct kube_reflector_events *events; /* borrowed */
    void *arg;
};

/* Begins at once. Copies the texts. Errors: E_NOMEM. */
enum err kube_reflector_open(const struct kube_reflector_options *options,
                             struct kube_reflector **ret);
/* No callback follows. r may be NULL. Also from inside a callback. */
void kube_reflector_close(struct kube_reflector *r);

bool kube_reflector_is_synced(const struct kube_reflector *r);  /* a list was complete, once */
bool kube_reflector_is_healthy(const struct kube_reflector *r); /* listing or watching works now */
/* Status of the answer that the last failure came with, 403 if we may not list this; 0: it came
 * with none, or there was no failure since it worked. */
uint32_t kube_reflector_status(const struct kube_reflector *r);

struct kube_reflector_counters {
    uint64_t lists, watches, checks, events, relists_expired, relists_back, oversized, failures;
};
const struct kube_reflector_counters *kube_reflector_counters(const struct kube_reflector *r);
