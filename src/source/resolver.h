/* source/resolver.h: what the names of ExternalName Services resolve to, off the request path.
 * A and AAAA records by DNS alone: no search domains and no hosts file, because an ExternalName is
 * the target of a CNAME record. A name that is an IP address does not resolve (Kubernetes treats it
 * as a name made of digits); localhost and names below it are refused. Loopback, link-local,
 * unspecified and multicast addresses are refused, whatever name they come from.
 *
 * Each wanted name has a struct resolution in the store once the first answer or failure is known.
 *  - An answer is asked for anew when its TTL is over, clamped to ttl_min ... ttl_max.
 *  - A failure (timeout, SERVFAIL, no server) is tried again after retry_min, then twice that, up
 * to retry_max. The last good addresses stay as long as it takes; without any, the name does not
 *    resolve.
 *  - "No such name" and "no such record" are failures the first time and believed the second time
 *    in a row: then the addresses go.
 * Only resolver*.c know c-ares. Context: controller; never blocks. */
#pragma once

#include "event/loop.h"
#include "model/store.h"

#define RESOLVER_TTL_MIN   (5 * USEC_PER_SEC)
#define RESOLVER_TTL_MAX   (300 * USEC_PER_SEC)
#define RESOLVER_RETRY_MIN (1 * USEC_PER_SEC)
#define RESOLVER_RETRY_MAX (30 * USEC_PER_SEC)
#define RESOLVER_TIMEOUT   (2 * USEC_PER_SEC) /* one try with one server */

enum {
    RESOLVER_TRIES = 3,
    RESOLVER_PARALLEL_MAX = 64, /* names asked for at a time */
    RESOLVER_NAMES_MAX = 10000,
};

struct resolver;

/* Resolutions in the store have changed. Called once for the changes of one tick, from the loop. */
typedef void resolver_batch_fn(void *arg);

struct resolver_options { /* zero: as above */
    const char *servers;  /* "127.0.0.1:5353,[::1]:53"; NULL: what /etc/resolv.conf says */
    usec_t ttl_min, ttl_max, retry_min, retry_max, timeout;
    int tries;
    resolver_batch_fn *on_batch; /* or NULL */
    void *arg;
};

/* Borrows loop and store. Errors: E_NOMEM, E_SYS (c-ares cannot start), E_PROTO (servers is not
 * well-formed). */
enum err resolver_new(struct loop *loop, struct store *store,
                      const struct resolver_options *options, struct resolver **ret);
/* The resolutions stay in the store. r may be NULL. Not from inside on_batch. */
void resolver_free(struct resolver *r);

/* The set of names wanted from now on: begin, want() each one, end. Names that were wanted before
 * and are not any more lose their resolution at the end. */
void resolver_begin(struct resolver *r);
/* Any case, a trailing dot is dropped. Wanting it twice is the same as once.
 * Errors: E_PROTO (it cannot be a DNS name), E_LIMIT (RESOLVER_NAMES_MAX), E_NOMEM. */
enum err resolver_want(struct resolver *r, struct str name);
void resolver_end(struct resolver *r);
/* Names that are wanted. */
size_t resolver_n(const struct resolver *r);
