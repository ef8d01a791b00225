/* tls/served.h: certificates and authorities as a worker serves them: decoded from the snapshots
 * when a handshake first needs them, so that ten thousand of them cost only what is in use. At most
 * TLS_SERVED_MAX are kept, the ones used last; those in use by connections live on when they are
 * dropped. One for each worker. */
#pragma once

#include "base/err.h"
#include "snapshot/snapshot.h"

struct tls_served;

struct tls_served_figures {
    uint64_t loaded, failed, dropped; /* ever; dropped: for want of room */
    size_t n;                         /* now */
};

/* Borrows both for its life. Errors: E_NOMEM. */
enum err tls_served_new(const struct snapshot *routes, const struct snapshot *secrets, size_t max,
                        struct tls_served **ret);
void tls_served_free(struct tls_served *s); /* s may be NULL */
/* A shard of that kind has changed or gone: what was made of it is made anew at the next use. For
 * the change function of snapshot_apply(); other kinds do not matter. */
void tls_served_forget(struct tls_served *s, enum snap_kind kind, struct str key);
struct tls_served_figures tls_served_figures(const struct tls_served *s);
