/* A worker's life: born with a heritage, sandboxed, it waits for its first generation, then
 * accepts; told to drain, it goes on accepting for the grace time, finishes what is in flight and
 * exits 0. When the supervisor is gone, it drains by itself. */
#include "worker/worker.h"

#include "base/mem.h"
#include "http2/server.h"
#include "log/access.h"
#include "log/log.h"
#include "os/heritage.h"
#include "os/sandbox.h"
#include "proxy/proxy.h"
#include "tls/library.h"
#include "worker/acceptor.h"
#include "worker/dialers.h"
#include "worker/https.h"
#include "worker/intake.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_FLUSH_DELAY (100 * USEC_PER_MS)

struct worker {
    struct heritage heritage;
    struct stats_area *area;
    struct stats_page *stats;
    struct loop *loop;
    struct snapshot snapshot; /* what requests are served by */
    struct snapshot secrets;
    struct intake intake;
    struct snap_settings settings; /* of the present generation */
    struct http_budget budget;
    struct http1_context http1;
    struct http1_server server;
    struct http2_context http2;
    struct http2_server server2;
    struct http1_heir heir; /* server hands connections over to server2 */
    struct tls_shared tls_shared;
    struct https https;
    struct tcp_context tcp;
    struct tcp_server tunnels;
    struct prelude prelude; /* leads them to server, https.server or tunnels */
    struct dialers dialers;
    struct upstream_set *upstreams;
    struct series_table *series;
    struct stats_endpoint_table *endpoints;
    struct proxy proxy;
    struct access_log log;
    struct timer log_timer;
    struct timer drain_timer;
    enum { SERVING, GRACE, DRAINING } phase;
    uint32_t acceptor_n;
    bool is_accepting;
    struct acceptor acceptors[LISTENERS_MAX];
};

/* ---- access log ---- */

static void log_flush(struct worker *w)
{
    access_log_flush(&w->log);
    stats_set(&w->stats->log_lines, w->log.line_n);
    stats_set(&w->stats->log_lines_dropped, w->log.dropped_n);
}

static void on_log_timer(struct timer *t)
{
    struct worker *w = container_of(t, struct worker, log_timer);
    log_flush(w);
    if (w->log.n > 0) {
        loop_arm(w->loop, t, LOG_FLUSH_DELAY, on_log_timer);
    }
}

/* An acceptor_conn_n_fn. */
static size_t conn_n(const void *arg)
{
    const struct worker *w = arg;
    return w->server.conn_n + w->https.server.conn_n + w->server2.conn_n + w->tunnels.conn_n +
           w->prelude.conn_n;
}

/* ---- draining ---- */

static void on_drain_timer(struct timer *t)
{
    struct worker *w = container_of(t, struct worker, drain_timer);
    if (w->phase == DRAINING) {
        log_line(LOG_WARN, "drain timeout: cutting connections=%zu", conn_n(w));
        loop_stop(w->loop);
        return;
    }
    w->phase = DRAINING;
    for (uint32_t i = 0; i < w->acceptor_n; i++) {
        acceptor_stop(&w->acceptors[i]);
    }
    w->proxy.is_draining = true;
    prelude_drain(&w->prelude);
    http1_server_drain(&w->server);
    http1_server_drain(&w->https.server);
    http2_server_drain(&w->server2);
    loop_arm(w->loop, t, w->heritage.drain_us, on_drain_timer);
}

static void on_drain(void *arg, bool is_orphaned)
{
    struct worker *w = arg;
    if (w->phase != SERVING) {
        return;
    }
    log_line(LOG_INFO, is_orphaned ? "supervisor is gone: draining" : "draining");
    w->phase = GRACE;
    loop_arm(w->loop, &w->drain_timer, is_orphaned ? 0 : w->heritage.shutdown_grace_us,
             on_drain_timer);
}

/* ---- configuration ---- */

static void settings_take(struct worker *w, const struct snap_settings *s)
{
    w->settings = *s;
    w->budget.max = s->worker_memory;
}

static void on_change(void *arg, enum snap_kind kind, struct str key,
                      const struct snapshot_entry *entry)
{
    struct worker *w = arg;
    if (kind == SNAP_SERVICE) {
        const void *shard = entry == NULL ? NULL : entry->shard;
        upstream_set_update(w->upstreams, key, shard);
    } else if (kind == SNAP_GLOBAL && entry != NULL) {
        const void *shard = entry->shard;
        settings_take(w, &((const struct snap_global *)shard)->settings);
    }
    https_changed(&w->https, kind, key);
}

static void on_applied(void *arg)
{
    struct worker *w = arg;
    struct control_message ready = {.type = CONTROL_READY};
    https_settle(&w->https);
    if (w->is_accepting || w->phase == DRAINING) {
        return;
    }
    w->is_accepting = true;
    for (uint32_t i = 0; i < w->acceptor_n; i++) {
        if (acceptor_start(&w->acceptors[i]) != E_OK) {
            log_line(LOG_ERROR, "cannot watch listener %s", w->heritage.listeners[i].name);
        }
    }
    (void)control_send(w->heritage.control_fd, &ready, -1); /* the supervisor may be gone */
}

static void on_log_reopen(void *arg, int fd)
{
    struct worker *w = arg;
    access_log_move(&w->log, fd);
    if (w->heritage.log_fd >= 0) {
        (void)close(w->heritage.log_fd); /* written through already, or never will be */
    }
    w->heritage.log_fd = fd;
}

static const struct intake_events intake_events = {on_applied, on_drain, on_log_reopen};

static void on_tick(void *arg)
{
    struct worker *w = arg;
    if (w->phase == DRAINING && conn_n(w) == 0) {
        loop_stop(w->loop);
    }
    if (access_log_is_full(&w->log)) {
        log_flush(w);
    } else if (w->log.n > 0 && !list_is_linked(&w->log_timer.link)) {
        loop_arm(w->loop, &w->log_timer, LOG_FLUSH_DELAY, on_log_timer);
    }
}

/* ---- birth and death ---- */

static void on_missing_protection(void *arg, const char *what, int error)
{
    (void)arg;
    log_line(LOG_WARN, "this kernel does not offer a protection: %s errno=%d; going on without",
             what, error);
}

/* The terminal's Ctrl-C reaches the whole process group, but only the supervisor decides. */
static void ignore_signals(void)
{
    static const int ignored[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
        (void)signal(ignored[i], SIG_IGN);
    }
}

static void on_http2(struct http1_heir *h, struct transport *t, const struct http_peer *peer,
                     struct str first)
{
    struct worker *w = container_of(h, struct worker, heir);
    (void)http2_server_take(&w->server2, t, peer, first); /* closed when out of memory: counted */
}

static enum err https_open(struct worker *w)
{
    const struct https_parts parts = {
        .heritage = &w->heritage,
        .routes = &w->snapshot,
        .secrets = &w->secrets,
        .settings = &w->settings,
        .stats = w->stats,
        .shared = &w->tls_shared,
        .http1 = &w->http1,
        .handler = &w->proxy.handler,
        .server2 = &w->server2,
    };
    return https_init(&w->https, &parts);
}

/* 0: there is no such listener. */
static uint16_t port_of(const struct heritage *h, struct str listener)
{
    for (uint32_t i = 0; i < h->listener_n; i++) {
        if (str_eq(str_from_cstr(h->listeners[i].name), listener)) {
            return h->listeners[i].port;
        }
    }
    return 0;
}

static enum err dialers_open(struct worker *w)
{
    const struct dialers_parts parts = {
        .http1 = &w->http1,
        .http2 = &w->http2,
        .tcp = &w->tcp,
        .tls = &w->tls_shared,
        .routes = &w->snapshot,
        .secrets = &w->secrets,
        .stats = w->stats,
    };
    return dialers_init(&w->dialers, &parts);
}

static enum err worker_init(struct worker *w)
{
    const struct heritage *h = &w->heritage;
    TRY(stats_open(h->stats_fd, &w->area));
    w->stats = &w->area->workers[h->index];
    snapshot_init(&w->snapshot);
    snapshot_init(&w->secrets);
    TRY(loop_new(&w->loop));
    TRY(access_log_init(&w->log, h->log_fd, (enum access_log_format)h->log_format));
    settings_take(w, &snap_settings_default);
    TRY(http1_context_init(&w->http1, w->loop, &w->settings, &w->budget));
    TRY(http2_context_init(&w->http2, w->loop, &w->settings, &w->budget, w->stats));
    TRY(tcp_context_init(&w->tcp, w->loop, &w->settings, &w->budget, w->stats));
    TRY(tls_shared_init(&w->tls_shared));
    TRY(dialers_open(w));
    TRY(stats_endpoint_table_new(stats_endpoint_region(w->area, h->index), &w->endpoints));
    TRY(upstream_set_new(&w->snapshot, &w->dialers.upstream, &w->settings, w->stats, w->endpoints,
                         h->index, &w->upstreams));
    TRY(series_table_new(w->area, h->index, &w->series));
    w->proxy = (struct proxy){
        .loop = w->loop,
        .snapshot = &w->snapshot,
        .upstreams = w->upstreams,
        .stats = w->stats,
        .series = w->series,
        .log = &w->log,
        .settings = &w->settings,
        .budget = &w->budget,
        .https_port = port_of(h, STR("https")),
    };
    TRY(proxy_init(&w->proxy));
    http1_server_init(&w->server, &w->http1, &w->proxy.handler, w->stats);
    TRY(http2_server_init(&w->server2, &w->http2, &w->proxy.handler, w->stats));
    w->heir.take = on_http2;
    w->server.heir = &w->heir;
    TRY(https_open(w));
    tcp_server_init(&w->tunnels, &w->tcp, &w->proxy.handler);
    prelude_init(&w->prelude, w->loop, &w->snapshot, &w->settings, w->stats, &w->tunnels);
    for (uint32_t i = 0; i < h->listener_n; i++) {
        bool is_https = str_eq(str_from_cstr(h->listeners[i].name), STR("https"));
        acceptor_init(&w->acceptors[w->acceptor_n++], w->loop,
                      is_https ? &w->https.server : &w->server, conn_n, w, &w->prelude,
                      &h->listeners[i]);
    }
    loop_on_tick(w->loop, on_tick, w);
    struct snapshot *const snapshots[] = {
        [CONTROL_ROUTES] = &w->snapshot, [CONTROL_SECRETS] = &w->secrets};
    return intake_open(&w->intake, w->loop, h->control_fd, snapshots, w->stats, on_change,
                       &intake_events, w);
}

static void worker_fini(struct worker *w)
{
    prelude_fini(&w->prelude);
    http1_server_fini(&w->server);
    http1_server_fini(&w->https.server);
    http2_server_fini(&w->server2);
    tcp_server_fini(&w->tunnels);
    upstream_set_free(w->upstreams);
    (void)loop_step(w->loop, 0); /* frees what waits for the end of a tick */
    proxy_fini(&w->proxy);
    stats_endpoint_table_free(w->endpoints);
    series_table_free(w->series);
    https_fini(&w->https);
    dialers_fini(&w->dialers);
    tls_shared_fini(&w->tls_shared);
    http1_context_fini(&w->http1);
    http2_context_fini(&w->http2);
    tcp_context_fini(&w->tcp);
    intake_close(&w->intake);
    snapshot_fini(&w->snapshot);
    snapshot_fini(&w->secrets);
    log_flush(w);
    access_log_fini(&w->log);
    loop_free(w->loop);
    stats_close(w->area);
}

static enum err worker_run(struct worker *w)
{
    enum err e = worker_init(w);
    if (e == E_OK) {
        struct sandbox_options sandbox = {SANDBOX_NOBODY, SANDBOX_NOBODY};
        e = sandbox_enter(&sandbox, on_missing_protection, NULL);
    }
    if (e != E_OK) {
        log_line(LOG_ERROR, "cannot start: %s", err_text(e));
        return e;
    }
    e = loop_run(w->loop);
    if (e != E_OK) {
        log_line(LOG_ERROR, "event loop failed: %s", err_text(e));
    }
    worker_fini(w);
    return e;
}

int worker_main(int heritage_fd)
{
    (void)tls_library_start(); /* else it has memory of its own */
    struct worker *w = mem_calloc(1, sizeof(*w));
    enum err e = w == NULL ? E_NOMEM : heritage_take(heritage_fd, &w->heritage);
    if (e != E_OK) {
        (void)fprintf(stderr, "lintel-worker: bad heritage: %s\n", err_text(e));
        mem_free(w);
        return EXIT_FAILURE;
    }
    char name[16];
    (void)snprintf(name, sizeof(name), "worker %u", w->heritage.index);
    log_init(name, (enum log_level)w->heritage.log_level);
    ignore_signals();
    e = worker_run(w);
    mem_free(w);
    return e == E_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
