/* worker/https.h: the listener of a worker on which clients speak TLS: certificates by name,
 * sessions, and behind the handshake HTTP/1 here or HTTP/2 in the server that both listeners share.
 * Private to worker/. */
#pragma once

#include "http1/server.h"
#include "http2/server.h"
#include "os/heritage.h"
#include "tls/server.h"

struct https {
    const struct snapshot *routes;
    struct stats_page *stats;
    struct tls_served *served;
    struct tls_sessions *sessions; /* NULL: none are kept */
    struct tls_sites sites;
    struct tls_context *context; /* by the present configuration; NULL: there is none yet */
    struct tls_server tls;
    struct http1_server server;
    struct http1_heir heir; /* hands connections over to server2 */
    struct http2_server *server2;
};

/* What it is made of; all borrowed for its life. */
struct https_parts {
    const struct heritage *heritage;
    const struct snapshot *routes, *secrets;
    const struct snap_settings *settings; /* as of now */
    struct stats_page *stats;
    struct tls_shared *shared;
    struct http1_context *http1;
    struct http_handler *handler;
    struct http2_server *server2;
};

/* Errors: E_NOMEM, E_SYS. */
enum err https_init(struct https *h, const struct https_parts *parts);
void https_fini(struct https *h); /* after server was ended; h may be zeroed */
/* A shard has changed; for the change function of snapshot_apply(). */
void https_changed(struct https *h, enum snap_kind kind, struct str key);
/* A change is whole: figures are told. */
void https_settle(struct https *h);
