/* ingress-nginx's metrics that are not about routes, with its constant labels, so that its
 * dashboards and alerts go on working. "Reload" means here that a generation was applied.
 * Source: ingress-nginx, docs/user-guide/monitoring.md and its two Grafana dashboards. */
#include <stddef.h>

#include "admin/metrics_priv.h"
#include "base/hash.h"

enum { CONSTANT_BYTES = 1024 };

#define APPLY_PATIENCE (5 * USEC_PER_SEC) /* a worker that is behind for longer has failed */
#define NGINX(name)    "nginx_ingress_controller_" name

struct emitter {
    struct buf *out;
    struct str constant; /* with a comma behind */
};

static void begin(const struct emitter *e, const char *metric, struct str more)
{
    buf_addf(e->out, "%s{%.*s%.*s} ", metric, STR_ARG(more),
             STR_ARG(str_first(e->constant, e->constant.n - 1)));
}

static void value(const struct emitter *e, const char *metric, struct str more, uint64_t n)
{
    begin(e, metric, more);
    buf_add_u64(e->out, n);
    buf_add_char(e->out, '\n');
}

static void seconds(const struct emitter *e, const char *metric, usec_t us)
{
    begin(e, metric, STR_EMPTY);
    metrics_seconds(e->out, us);
    buf_add_char(e->out, '\n');
}

static void single(const struct emitter *e, const char *metric, const char *type, const char *help,
                   uint64_t n)
{
    metrics_head(e->out, metric, type, help);
    value(e, metric, STR_EMPTY, n);
}

/* ---- the process ---- */

static void emit_connections(const struct emitter *e, const struct stats_area *stats)
{
    const char *now = NGINX("nginx_process_connections");
    const char *total = NGINX("nginx_process_connections_total");
    uint64_t idle = METRICS_SUM(stats, conns_idle), active = METRICS_SUM(stats, conns_active);
    uint64_t in_flight = METRICS_SUM(stats, requests_in_flight);
    uint64_t writing = in_flight < active ? in_flight : active;
    metrics_head(e->out, now, "gauge", "Client connections at this moment.");
    value(e, now, STR("state=\"active\","), active + idle); /* nginx counts waiting ones, too */
    value(e, now, STR("state=\"reading\","), active - writing);
    value(e, now, STR("state=\"writing\","), writing);
    value(e, now, STR("state=\"waiting\","), idle);
    metrics_head(e->out, total, "counter", "Client connections that came.");
    value(e, total, STR("state=\"accepted\","),
          METRICS_SUM(stats, accepted) + METRICS_SUM(stats, accept_failed));
    value(e, total, STR("state=\"handled\","), METRICS_SUM(stats, accepted));
}

static void emit_usage(const struct emitter *e, const struct stats_area *stats)
{
    struct metrics_process list[METRICS_PROCESSES_MAX] = {0};
    size_t n = metrics_processes(stats, list), workers = 0;
    uint64_t resident = 0, cpu = 0;
    for (size_t i = 0; i < n; i++) {
        bool counts = list[i].is_worker && list[i].is_seen;
        workers += counts;
        resident += counts ? list[i].usage.resident_bytes : 0;
        cpu += counts ? list[i].usage.cpu : 0;
    }
    single(e, NGINX("nginx_process_num_procs"), "gauge", "Running workers.", workers);
    single(e, NGINX("nginx_process_resident_memory_bytes"), "gauge",
           "Resident memory of the workers.", resident);
    metrics_head(e->out, NGINX("nginx_process_cpu_seconds_total"), "counter",
                 "CPU time of the running workers.");
    seconds(e, NGINX("nginx_process_cpu_seconds_total"), cpu);
    single(e, NGINX("nginx_process_requests_total"), "counter", "Requests of clients.",
           METRICS_SUM(stats, requests));
    single(e, NGINX("nginx_process_read_bytes_total"), "counter", "Bytes from clients.",
           METRICS_SUM(stats, bytes_in));
    single(e, NGINX("nginx_process_write_bytes_total"), "counter", "Bytes to clients.",
           METRICS_SUM(stats, bytes_out));
}

/* ---- configuration ---- */

static bool is_applied(const struct stats_area *stats)
{
    uint64_t newest = stats_get(&stats->generation);
    usec_t published = stats_get(&stats->generation_published_us);
    bool is_fresh = clock_wall() - published < APPLY_PATIENCE;
    for (uint32_t i = 0; i < stats->worker_n; i++) {
        const struct stats_page *page = &stats->workers[i];
        if (stats_get(&page->pid) != 0 && stats_get(&page->generation) != newest && !is_fresh) {
            return false;
        }
    }
    return newest > 0;
}

static usec_t applied_at(const struct stats_area *stats)
{
    usec_t last = 0;
    for (uint32_t i = 0; i < stats->worker_n; i++) {
        usec_t at = stats_get(&stats->workers[i].generation_applied_us);
        last = at > last ? at : last;
    }
    return last;
}

static void emit_reloads(const struct emitter *e, const struct stats_area *stats)
{
    const char *timestamp = NGINX("config_last_reload_successful_timestamp_seconds");
    single(e, NGINX("config_hash"), "gauge", "Number of the configuration generation.",
           stats_get(&stats->generation));
    single(e, NGINX("config_last_reload_successful"), "gauge",
           "1 while every worker routes by the newest generation.", is_applied(stats));
    metrics_head(e->out, timestamp, "gauge", "When a worker last applied a generation.");
    seconds(e, timestamp, applied_at(stats));
    single(e, NGINX("success"), "counter", "Configuration generations published.",
           stats_get(&stats->generation));
    single(e, NGINX("errors"), "counter", "Snapshot segments that workers refused.",
           METRICS_SUM(stats, segments_refused));
}

/* ---- orphans ---- */

struct orphans {
    const struct emitter *e;
    size_t n;
    uint64_t seen[METRICS_ORPHANS_MAX]; /* an Ingress with two lost Services is one */
};

static bool is_new(struct orphans *o, uint64_t hash)
{
    for (size_t i = 0; i < o->n; i++) {
        if (o->seen[i] == hash) {
            return false;
        }
    }
    if (o->n == METRICS_ORPHANS_MAX) {
        return false;
    }
    o->seen[o->n++] = hash;
    return true;
}

static void on_diag(void *arg, const struct diag *d)
{
    struct orphans *o = arg;
    bool has_service = d->reason == DIAG_NoEndpoints;
    if (!has_service && d->reason != DIAG_ServiceNotFound) {
        return;
    }
    uint64_t hash = hash_str(d->namespace_name) * 31 + hash_str(d->name) * 2 + has_service;
    if (!str_eq(d->kind, STR("Ingress")) || !is_new(o, hash)) {
        return;
    }
    struct buf *out = o->e->out;
    buf_add_str(out, STR(NGINX("orphan_ingress{namespace=\"")));
    metrics_label_escape(out, d->namespace_name);
    buf_add_str(out, STR("\",ingress=\""));
    metrics_label_escape(out, d->name);
    buf_addf(out, "\",type=\"%s\",%.*s} 1\n", has_service ? "no-endpoint" : "no-service",
             STR_ARG(str_first(o->e->constant, o->e->constant.n - 1)));
}

static void emit_orphans(const struct emitter *e, const struct metrics_input *in)
{
    struct orphans o = {.e = e};
    metrics_head(e->out, NGINX("orphan_ingress"), "gauge",
                 "1 for each Ingress that names a Service that does not exist, or that has no "
                 "endpoint.");
    if (in->each_diag != NULL) {
        (void)in->each_diag(in->each_diag_arg, on_diag, &o); /* out of memory: fewer lines */
    }
}

void metrics_nginx_emit(struct buf *out, const struct metrics_input *in)
{
    char room[CONSTANT_BYTES];
    struct wr w = wr_make(room, sizeof(room));
    metrics_constant_labels(&w, &in->identity);
    const struct emitter e = {out, w.bad ? STR(",") : str_make(room, wr_n(&w))};
    metrics_head(out, NGINX("build_info"), "gauge", "1, with the version as a label.");
    value(&e, NGINX("build_info"),
          STR("release=\"" LINTEL_VERSION "\",build=\"\",repository=\"lintel\","), 1);
    emit_connections(&e, in->stats);
    emit_usage(&e, in->stats);
    emit_reloads(&e, in->stats);
    emit_orphans(&e, in);
}
