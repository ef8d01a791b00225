/* status/ingress_status.h: status.loadBalancer.ingress of the Ingresses that are ours says the
 * addresses they are reached at, and that of others does not say ours.
 *
 * Written by server-side apply as the field manager "lintel", with the uid of the object that is
 * meant: whoever else wrote the field before loses it, but to take it away later touches nothing
 * that another manager has written since. An Ingress that says the right thing already is not
 * written. Ingresses are looked at when they change, when the addresses do, and every
 * STATUS_REFRESH. Source: networking.k8s.io/v1; Server-Side Apply. */
#pragma once

#include "status/address.h"
#include "status/line.h"

struct ingress_status_options {
    struct loop *loop;
    struct kube_client *client;
    const struct store *store;
    bool (*is_ours)(void *arg, const struct ingress *ingress);
    /* Writing it is forbidden; told once until it works again. */
    void (*on_forbidden)(void *arg, const struct ingress *ingress);
    void *arg;
};

struct ingress_status;

/* Borrows all. Off at first. Errors: E_NOMEM. */
enum err ingress_status_open(const struct ingress_status_options *options,
                             struct ingress_status **ret);
void ingress_status_close(struct ingress_status *s); /* s may be NULL */

/* On: looks at every Ingress, and goes on. Off: what is in line is forgotten. */
void ingress_status_switch(struct ingress_status *s, bool is_on);
/* What to publish from now on; borrowed until the next call. Unknown: nothing is written. */
void ingress_status_publish(struct ingress_status *s, struct address_list addresses);
/* From the store's listener. */
void ingress_status_on_change(struct ingress_status *s, const struct ingress *old_ingress,
                              const struct ingress *new_ingress);
/* What else decides whose an Ingress is has changed: looks at all of them, soon. */
void ingress_status_on_class_change(struct ingress_status *s);
/* From now on our addresses are to be in no Ingress; on_cleared when they are in none any more, in
 * a later tick. */
void ingress_status_clear(struct ingress_status *s, void (*on_cleared)(void *arg), void *arg);

struct ingress_status_counters {
    uint64_t written, cleared, refused, given_up;
};
const struct ingress_status_counters *ingress_status_counters(const struct ingress_status *s);
uint64_t ingress_status_retries(const struct ingress_status *s);
size_t ingress_status_waiting(const struct ingress_status *s);
