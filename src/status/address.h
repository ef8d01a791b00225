/* status/address.h: the addresses that our Ingresses are reached at, found out in one of three
 * ways, the first that applies:
 *
 *   --publish-status-address   as they are given; no calls
 *   --publish-service          what the Service is reached at: from the store when it is there,
 *                              else fetched
 *   the nodes of our pods      of those that serve: their ExternalIP, else their InternalIP
 *
 * Looked for every STATUS_REFRESH, and soon after a change, while it is switched on, which only the
 * leader does. What was found stays when a look fails. */
#pragma once

#include "model/store.h"
#include "status/peers.h"

struct address_options {
    struct loop *loop;
    struct kube_client *client;
    const struct store *store;
    struct str publish_status_address; /* with commas between; empty: not given */
    struct str publish_service_namespace, publish_service; /* empty: not given */
    struct str pod_namespace, pod;                         /* empty: not known */
    bool reports_internal_ip;                              /* --report-node-internal-ip-address */
    void (*on_change)(void *arg); /* the addresses are others than before, or known now */
    void *arg;
};

struct address;

/* Borrows all, texts too. Errors: E_NOMEM. */
enum err address_open(const struct address_options *options, struct address **ret);
void address_close(struct address *a); /* a may be NULL */
/* Off at first. */
void address_switch(struct address *a, bool is_on);
/* The store has another Service than before; either may be NULL. */
void address_on_service(struct address *a, const struct service *service);

struct address_list {
    const struct published_address *items; /* sorted, unique */
    uint32_t n;                            /* STATUS_ADDRESSES_MAX at most */
    bool is_known;                         /* false: n is 0 and means nothing */
};
/* Borrowed until the next on_change. */
struct address_list address_get(const struct address *a);

struct address_counters {
    uint64_t looks, failures;
    uint64_t dropped; /* addresses and nodes over a maximum, in the last look */
};
const struct address_counters *address_counters(const struct address *a);
