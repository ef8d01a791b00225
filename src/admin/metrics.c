/* /metrics from the stats area, the controller's own figures and /proc.
 * Counters of the workers are summed: the number of series does not grow with the machine. What
 * only makes sense for each process has the label process. HELP and TYPE come once per metric. */
#include "admin/metrics.h"

#include <stddef.h>
#include <string.h>

#include "admin/metrics_priv.h"
#include "admin/metrics_series.h"

enum { LABEL_BYTES = 64 };

void metrics_head(struct buf *out, const char *metric, const char *type, const char *help)
{
    buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", metric, help, metric, type);
}

void metrics_seconds(struct buf *out, usec_t value)
{
    char text[32];
    usec_t fraction = value % USEC_PER_SEC;
    struct wr w = wr_make(text, sizeof(text));
    wr_u64(&w, value / USEC_PER_SEC);
    wr_char(&w, '.');
    for (usec_t unit = USEC_PER_SEC / 10; unit > 0; unit /= 10) {
        wr_char(&w, (char)('0' + fraction / unit % 10));
    }
    buf_add(out, text, wr_n(&w));
}

static void emit_seconds(struct buf *out, const char *metric, const char *labels, usec_t value)
{
    buf_addf(out, "%s%s%s%s ", metric, labels[0] != 0 ? "{" : "", labels,
             labels[0] != 0 ? "}" : "");
    metrics_seconds(out, value);
    buf_add_char(out, '\n');
}

void metrics_sample(struct buf *out, const char *metric, const char *labels, uint64_t value)
{
    buf_addf(out, "%s%s%s%s %llu\n", metric, labels[0] != 0 ? "{" : "", labels,
             labels[0] != 0 ? "}" : "", (unsigned long long)value);
}

void metrics_label_escape(struct buf *out, struct str value)
{
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c == '\n') {
            buf_add_str(out, STR("\\n"));
            continue;
        }
        if (c == '\\' || c == '"') {
            buf_add_char(out, '\\');
        }
        buf_add_char(out, c);
    }
}

static void emit_one(struct buf *out, const char *metric, const char *type, const char *help,
                     uint64_t value)
{
    metrics_head(out, metric, type, help);
    metrics_sample(out, metric, "", value);
}

/* ---- the workers' counters ---- */

static uint64_t counter_value(const struct stats_page *page, const struct stats_counter *c)
{
    const void *at = (const char *)page + c->offset;
    return stats_get(at);
}

uint64_t metrics_sum(const struct stats_area *stats, size_t offset)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < stats->worker_n; i++) {
        const void *at = (const char *)&stats->workers[i] + offset;
        sum += stats_get(at);
    }
    return sum;
}

usec_t metrics_worker_lag(const struct stats_area *stats, uint32_t index)
{
    usec_t published = stats_get(&stats->generation_published_us), now = clock_wall();
    bool is_there = stats_get(&stats->workers[index].generation) == stats_get(&stats->generation);
    return is_there || now < published ? 0 : now - published;
}

/* A sum of generations or times says nothing: these are shown for each worker. */
static bool is_per_worker(const struct stats_counter *c)
{
    return c->offset == offsetof(struct stats_page, generation) ||
           c->offset == offsetof(struct stats_page, generation_applied_us);
}

static void worker_label(char labels[LABEL_BYTES], uint32_t index)
{
    struct wr w = wr_make(labels, LABEL_BYTES - 1);
    wr_str(&w, STR("worker=\""));
    wr_u64(&w, index);
    wr_char(&w, '"');
    labels[wr_n(&w)] = 0;
}

static void emit_per_worker(struct buf *out, const struct stats_area *stats,
                            const struct stats_counter *c)
{
    char labels[LABEL_BYTES];
    for (uint32_t i = 0; i < stats->worker_n; i++) {
        worker_label(labels, i);
        uint64_t value = counter_value(&stats->workers[i], c);
        if (c->offset == offsetof(struct stats_page, generation_applied_us)) {
            emit_seconds(out, c->metric, labels, value);
        } else {
            metrics_sample(out, c->metric, labels, value);
        }
    }
}

static void emit_counters(struct buf *out, const struct stats_area *stats)
{
    const char *last = "";
    for (uint32_t i = 0; i < stats_counter_n; i++) {
        const struct stats_counter *c = &stats_counters[i];
        if (strcmp(last, c->metric) != 0) {
            metrics_head(out, c->metric, c->is_gauge ? "gauge" : "counter", c->help);
            last = c->metric;
        }
        if (is_per_worker(c)) {
            emit_per_worker(out, stats, c);
        } else {
            metrics_sample(out, c->metric, c->labels, metrics_sum(stats, c->offset));
        }
    }
}

static void emit_reasons(struct buf *out, const struct stats_area *stats)
{
    const char *metric = "lintel_answers_total";
    metrics_head(out, metric, "counter",
                 "Responses that Lintel made itself and requests that it cut off, by reason.");
    for (uint32_t r = REASON_none + 1; r < REASONS_N; r++) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < stats->worker_n; i++) {
            sum += stats_get(&stats->workers[i].reasons[r]);
        }
        buf_addf(out, "%s{reason=\"%s\"} %llu\n", metric, reason_name((enum reason)r),
                 (unsigned long long)sum);
    }
}

/* ---- processes ---- */

static void process_fill(struct metrics_process *p, const char *name, int index, uint64_t pid,
                         uint64_t restarts)
{
    struct wr w = wr_make(p->name, sizeof(p->name) - 1);
    wr_str(&w, str_from_cstr(name));
    if (index >= 0) {
        wr_char(&w, '-');
        wr_u64(&w, (uint64_t)index);
    }
    p->name[wr_n(&w)] = 0;
    p->pid = pid;
    p->restarts = restarts;
    p->is_seen = pid > 0 && proc_usage_read((pid_t)pid, &p->usage) == E_OK;
}

size_t metrics_processes(const struct stats_area *stats, struct metrics_process *list)
{
    size_t n = 0;
    process_fill(&list[n++], "supervisor", -1, stats_get(&stats->supervisor_pid), 0);
    process_fill(&list[n++], "controller", -1, stats_get(&stats->controller_pid),
                 stats_get(&stats->controller_restarts));
    for (uint32_t i = 0; i < stats->worker_n && i < WORKERS_MAX; i++) {
        const struct stats_page *page = &stats->workers[i];
        list[n].is_worker = true;
        process_fill(&list[n++], "worker", (int)i, stats_get(&page->pid),
                     stats_get(&page->restarts));
    }
    return n;
}

static void emit_processes(struct buf *out, const struct stats_area *stats)
{
    struct metrics_process list[METRICS_PROCESSES_MAX] = {0};
    size_t n = metrics_processes(stats, list);

    metrics_head(out, "lintel_process_up", "gauge", "1 while the process runs.");
    for (size_t i = 0; i < n; i++) {
        buf_addf(out, "lintel_process_up{process=\"%s\"} %d\n", list[i].name, list[i].is_seen);
    }
    metrics_head(out, "lintel_process_restarts_total", "counter",
                 "How often it was started again.");
    for (size_t i = 0; i < n; i++) {
        buf_addf(out, "lintel_process_restarts_total{process=\"%s\"} %llu\n", list[i].name,
                 (unsigned long long)list[i].restarts);
    }
    metrics_head(out, "lintel_process_resident_memory_bytes", "gauge",
                 "Resident memory, shared pages included.");
    for (size_t i = 0; i < n; i++) {
        if (list[i].is_seen) {
            buf_addf(out, "lintel_process_resident_memory_bytes{process=\"%s\"} %llu\n",
                     list[i].name, (unsigned long long)list[i].usage.resident_bytes);
        }
    }
    metrics_head(out, "lintel_process_shared_memory_bytes", "gauge",
                 "The part of the resident memory that is files and shared memory.");
    for (size_t i = 0; i < n; i++) {
        if (list[i].is_seen) {
            buf_addf(out, "lintel_process_shared_memory_bytes{process=\"%s\"} %llu\n", list[i].name,
                     (unsigned long long)list[i].usage.shared_bytes);
        }
    }
    metrics_head(out, "lintel_process_cpu_seconds_total", "counter",
                 "User and system CPU time of the present process.");
    for (size_t i = 0; i < n; i++) {
        if (list[i].is_seen) {
            char labels[LABEL_BYTES];
            struct wr w = wr_make(labels, sizeof(labels) - 1);
            wr_str(&w, STR("process=\""));
            wr_str(&w, str_from_cstr(list[i].name));
            wr_char(&w, '"');
            labels[wr_n(&w)] = 0;
            emit_seconds(out, "lintel_process_cpu_seconds_total", labels, list[i].usage.cpu);
        }
    }
}

/* ---- configuration ---- */

static void emit_objects(struct buf *out, const struct metrics_input *in)
{
    metrics_head(out, "lintel_objects", "gauge", "Objects in the store, by kind.");
    for (int kind = 0; kind < OBJECT_KINDS_N; kind++) {
        buf_addf(out, "lintel_objects{kind=\"%s\"} %llu\n",
                 object_kind_name((enum object_kind)kind), (unsigned long long)in->objects[kind]);
    }
}

static void emit_diagnostics(struct buf *out, const struct metrics_input *in)
{
    static const char *const severities[] = {"warning", "error"};
    metrics_head(out, "lintel_diagnostics", "gauge",
                 "What is wrong with objects and files at this moment, by reason and severity.");
    for (int r = 0; r < DIAG_REASONS_N; r++) {
        for (int s = 0; s < 2; s++) {
            buf_addf(out, "lintel_diagnostics{reason=\"%s\",severity=\"%s\"} %llu\n",
                     diag_reason_name((enum diag_reason)r), severities[s],
                     (unsigned long long)in->diagnostics[r][s]);
        }
    }
    emit_one(out, "lintel_diagnostics_total", "counter", "Diagnostics that have come up.",
             in->diagnostics_total);
}

static void emit_worker_lag(struct buf *out, const struct stats_area *stats)
{
    const char *metric = "lintel_worker_configuration_lag_seconds";
    metrics_head(
        out, metric, "gauge",
        "For how long the worker has not routed by the newest generation; 0 when it does.");
    for (uint32_t i = 0; i < stats->worker_n; i++) {
        char labels[LABEL_BYTES];
        worker_label(labels, i);
        emit_seconds(out, metric, labels, metrics_worker_lag(stats, i));
    }
}

static void emit_configuration(struct buf *out, const struct metrics_input *in)
{
    const struct stats_area *stats = in->stats;
    emit_one(out, "lintel_generation", "gauge", "Newest configuration generation published.",
             stats_get(&stats->generation));
    metrics_head(out, "lintel_generation_published_seconds", "gauge",
                 "Wall-clock time at which it was published.");
    emit_seconds(out, "lintel_generation_published_seconds", "",
                 stats_get(&stats->generation_published_us));
    metrics_head(out, "lintel_configuration_lag_seconds", "gauge",
                 "From the notice of a change to its publication.");
    emit_seconds(out, "lintel_configuration_lag_seconds", "value=\"last\"", in->lag_last);
    emit_seconds(out, "lintel_configuration_lag_seconds", "value=\"most\"", in->lag_most);
    emit_worker_lag(out, stats);
    emit_one(out, "lintel_compile_runs_total", "counter", "Compiler runs.", in->batches);
    metrics_head(out, "lintel_compile_cpu_seconds_total", "counter",
                 "CPU time of compiling and publishing.");
    emit_seconds(out, "lintel_compile_cpu_seconds_total", "", in->batch_cpu);
    emit_one(out, "lintel_snapshot_bytes", "gauge", "Bytes of the live segments.",
             in->snapshot_bytes);
    emit_one(out, "lintel_snapshot_segments", "gauge", "Live segments.", in->snapshot_segments);
    emit_one(out, "lintel_manifest_files", "gauge", "Manifest files that are followed.", in->files);
    emit_one(out, "lintel_manifest_reads_total", "counter", "Manifest files read.", in->file_reads);
    emit_one(out, "lintel_external_names", "gauge", "Names of ExternalName Services in use.",
             in->names);
    emit_one(out, "lintel_external_names_unresolved", "gauge", "Those without a usable address.",
             in->names_unresolved);
}

void metrics_emit(struct buf *out, const struct metrics_input *in)
{
    metrics_head(out, "lintel_build_info", "gauge", "1, with the version as a label.");
    buf_add_str(out, STR("lintel_build_info{version=\""));
    metrics_label_escape(out, STR(LINTEL_VERSION));
    buf_add_str(out, STR("\"} 1\n"));
    emit_one(out, "lintel_draining", "gauge", "1 once SIGTERM has come.",
             stats_get(&in->stats->is_draining));
    emit_counters(out, in->stats);
    emit_reasons(out, in->stats);
    emit_processes(out, in->stats);
    emit_configuration(out, in);
    metrics_api_emit(out, in);
    emit_objects(out, in);
    emit_diagnostics(out, in);
    metrics_totals_emit(out, in->stats);
    metrics_durations_emit(out, in->stats);
    metrics_nginx_emit(out, in);
    metrics_certificates_emit(out, in);
}
