/* TLS in front of the two servers. */
#include "worker/https.h"

#include "log/log.h"
#include "route/tls_host.h"
#include "tls/sessions.h"

/* Names of handshakes are looked up where requests of Ingresses are. */
#define TABLE STR("ingress")

static const struct snap_tls_host *on_find(void *arg, struct str name)
{
    const struct https *h = arg;
    struct snapshot_segment *segment; /* stays for as long as the handshake is looked at */
    return route_tls_host(h->routes, TABLE, name, &segment);
}

/* ---- HTTP/2 ---- */

static bool on_is_chosen(const struct transport *t)
{
    return tls_transport_alpn(t) == TLS_ALPN_HTTP2;
}

static void on_take(struct http1_heir *heir, struct transport *t, const struct http_peer *peer,
                    struct str first)
{
    const struct https *h = container_of(heir, struct https, heir);
    (void)http2_server_take(h->server2, t, peer, first); /* closed when out of memory: counted */
}

/* ---- configuration ---- */

static const struct snap_global *global_of(const struct https *h)
{
    const struct snapshot_entry *e =
        snapshot_find(h->routes, SNAP_GLOBAL, STR_EMPTY, hash_str(STR_EMPTY));
    return e == NULL ? NULL : (const struct snap_global *)(const void *)e->shard;
}

/* Connections that stand keep the rules that they began with. */
static void context_renew(struct https *h)
{
    const struct snap_global *global = global_of(h);
    enum tls_fault fault;
    struct tls_context *context;
    if (global == NULL) {
        return;
    }
    const struct tls_context_options o = {
        .sites = &h->sites,
        .alpn = TLS_ALPN_HTTP1 | (h->sites.settings->use_http2 != 0 ? TLS_ALPN_HTTP2 : 0U),
        .ciphers = snap_str_get(global, global->ssl_ciphers),
        .groups = snap_str_get(global, global->ssl_groups),
        .min_version = global->ssl_min_version,
        .max_version = global->ssl_max_version,
    };
    enum err e = tls_context_new(&o, &fault, &context);
    if (e != E_OK) {
        log_line(LOG_ERROR,
                 "the rules of TLS cannot be used; those before stay in use error=\"%s\"",
                 e == E_PROTO ? "the library knows none of the ciphers or groups" : err_text(e));
        return;
    }
    tls_context_free(h->context);
    h->context = h->tls.context = context;
}

void https_changed(struct https *h, enum snap_kind kind, struct str key)
{
    if (kind == SNAP_CERTIFICATE || kind == SNAP_AUTHORITY) {
        tls_served_forget(h->served, kind, key);
    } else if (kind == SNAP_GLOBAL) {
        context_renew(h);
    }
}

void https_settle(struct https *h)
{
    struct tls_served_figures f = tls_served_figures(h->served);
    stats_set(&h->stats->tls_certificates, f.n);
    stats_set(&h->stats->limit_tls_certificates, f.dropped);
}

/* ---- life ---- */

static enum err sessions_open(struct https *h, const struct heritage *heritage)
{
    if (heritage->sessions_fd < 0) {
        return E_OK;
    }
    enum err e =
        tls_sessions_open(heritage->sessions_fd, heritage->index, heritage->worker_n, &h->sessions);
    return e == E_LIMIT ? E_OK : e; /* too small for anything: none are kept */
}

enum err https_init(struct https *h, const struct https_parts *parts)
{
    *h = (struct https){.routes = parts->routes, .stats = parts->stats, .server2 = parts->server2};
    http1_server_init(&h->server, parts->http1, parts->handler, parts->stats);
    TRY(tls_served_new(parts->routes, parts->secrets, TLS_SERVED_MAX, &h->served));
    TRY(sessions_open(h, parts->heritage));
    h->sites = (struct tls_sites){.find = on_find,
                                  .arg = h,
                                  .served = h->served,
                                  .secrets = parts->secrets,
                                  .sessions = h->sessions,
                                  .settings = parts->settings,
                                  .stats = parts->stats};
    tls_server_init(&h->tls, parts->shared);
    h->tls.stats = parts->stats;
    h->heir = (struct http1_heir){.is_chosen = on_is_chosen, .take = on_take};
    h->server.opener = &h->tls.opener;
    h->server.heir = &h->heir;
    return E_OK;
}

void https_fini(struct https *h)
{
    tls_server_fini(&h->tls);
    tls_context_free(h->context);
    tls_served_free(h->served);
    tls_sessions_close(h->sessions);
    *h = (struct https){0};
}
