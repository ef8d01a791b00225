/* tls/sites.h: how a server answers handshakes by the name that is asked for: with which
 * certificates, and whether the client has to show one. One for each worker.
 * Source: RFC 6066 section 3 (server name), RFC 8446. */
#pragma once

#include "event/transport.h"
#include "snapshot/settings.h"
#include "stats/stats.h"
#include "tls/served.h"

struct tls_sessions;

struct tls_sites {
    /* Whose handshake it is: a host, as route_tls_host() finds it, or NULL. name: lower case, empty
     * when the client said none. */
    const struct snap_tls_host *(*find)(void *arg, struct str name);
    void *arg;
    struct tls_served *served;
    const struct snapshot *secrets;       /* where the keys of tickets are */
    struct tls_sessions *sessions;        /* NULL: none are kept */
    const struct snap_settings *settings; /* as of now */
    struct stats_page *stats;
};
