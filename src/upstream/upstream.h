/* upstream/upstream.h: where requests go: services with their endpoints and kept-alive connections.
 * Keyed by stable identity (the snapshot's service key), so that they live across generations: a
 * new generation changes the endpoints in place; connections of endpoints that stay are kept, those
 * of endpoints that left get no new request, idle ones are closed at once, busy ones when they are
 * done. One set for each worker; nothing is shared. Knows no protocol version: connections come
 * from a struct http_dialer. */
#pragma once

#include "http/stream.h"
#include "snapshot/snapshot.h"
#include "stats/stats.h"

struct upstream_set;
struct upstream_endpoint;

/* Borrows everything for the set's life. seed: where round robin begins, so that workers do not
 * march in step. Errors: E_NOMEM. */
enum err upstream_set_new(const struct snapshot *snapshot, struct http_dialer *dialer,
                          struct stats_page *stats, uint32_t seed, struct upstream_set **ret);
/* Closes every connection. s may be NULL. */
void upstream_set_free(struct upstream_set *s);
/* Tells of a changed or deleted SNAP_SERVICE shard; shard is NULL when it is gone. */
void upstream_set_update(struct upstream_set *s, struct str key, const struct snap_service *shard);

/* One chosen endpoint and a stream to it. */
struct upstream_pick {
    struct http_stream *stream;
    const struct upstream_endpoint *endpoint; /* valid while the stream is held */
    bool is_reused; /* the connection has served before: it may have died unnoticed */
};

/* Picks an endpoint of the service (round robin by weight) and opens a stream to it: on the warmest
 * kept-alive connection, else on a new one. Endpoints that refuse at once are passed over. fresh:
 * no kept-alive connection, for the try after one was found dead. Errors: E_NOTFOUND (no such
 * service, or no endpoint), E_REFUSED (all refused at once), E_LIMIT (descriptors, ports), E_NOMEM,
 * E_SYS. */
enum err upstream_open(struct upstream_set *s, struct str key, uint64_t key_hash, bool fresh,
                       struct upstream_pick *ret);

struct ip upstream_endpoint_ip(const struct upstream_endpoint *e);
uint16_t upstream_endpoint_port(const struct upstream_endpoint *e);
