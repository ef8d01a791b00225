/* status/peers.h: the pods that are replicas of Lintel like ours: those with the labels of our own
 * pod, without the labels that tell one rollout, one replica or one zone from another. Found anew
 * with each look, by one GET and one list in pages. */
#pragma once

#include "status/inquiry.h"

struct peers {
    struct inquiry ask;
    struct str namespace_name, pod; /* ours; borrowed */
    struct buf path, selector;
    /* A pod, borrowed. */
    void (*on_pod)(void *arg, const struct tree_node *pod);
    /* The end. result->error is E_OK and its status one of success when all were told. */
    void (*on_done)(void *arg, const struct kube_result *result);
    void *arg;
};

/* Borrows all. Without a pod there is nobody to look for: peers_look() is not to be called. */
void peers_init(struct peers *p, struct kube_client *client, struct str namespace_name,
                struct str pod);
void peers_fini(struct peers *p); /* safe on zeroed memory */
/* Begins (anew). Errors: those of kube_call_start(), E_NOMEM. */
enum err peers_look(struct peers *p, void (*on_pod)(void *arg, const struct tree_node *pod),
                    void (*on_done)(void *arg, const struct kube_result *result), void *arg);

/* Running, ready, and not being deleted: requests reach it. */
bool peers_is_serving(const struct tree_node *pod);
/* Serving, or on its way to that. */
bool peers_is_coming(const struct tree_node *pod);
