/* /debug/top. The series of one route, of all methods, statuses and workers, become one row. */
#include "admin/top.h"

#include <stddef.h>
#include <stdlib.h>

#include "admin/metrics_priv.h"
#include "admin/top_endpoints.h"
#include "base/mem.h"
#include "document/json_write.h"
#include "stats/series.h"

enum { CLASSES_N = 6, BUCKETS_N = STATS_DURATIONS_N + 1 };

struct row {
    size_t ref; /* whose labels name the route */
    usec_t used;
    uint64_t classes[CLASSES_N]; /* [status / 100] */
    uint64_t sent;
    uint64_t buckets[BUCKETS_N];
};

/* ---- routes ---- */

static void row_add(struct row *row, const struct series *s, const struct series_labels *l)
{
    uint64_t n = 0;
    usec_t used = stats_get(&s->used);
    row->used = used > row->used ? used : row->used;
    for (size_t i = 0; i < BUCKETS_N; i++) {
        uint64_t count = stats_get(&s->figures.duration.counts[i]);
        row->buckets[i] += count;
        n += count;
    }
    row->sent += stats_get(&s->figures.response_size.sum);
    row->classes[l->status < 600 ? l->status / 100 : 0] += n;
}

/* False when nothing of the group is left. */
static bool row_fill(struct row *row, const struct stats_area *stats, const struct series_set *set,
                     size_t first, size_t end)
{
    bool is_any = false;
    *row = (struct row){0};
    for (size_t i = first; i < end; i++) {
        const struct series *s = series_get(stats, &set->refs[i]);
        struct series_labels l;
        if (series_labels_read(s, &set->refs[i], &l)) {
            row->ref = is_any ? row->ref : i;
            row_add(row, s, &l);
            is_any = true;
        }
    }
    return is_any;
}

/* Those used last come first. */
static int row_compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return (x->used < y->used) - (x->used > y->used);
}

static void emit_numbers(struct json *j, const char *name, const uint64_t *numbers, size_t n)
{
    json_name(j, name);
    json_array(j);
    for (size_t i = 0; i < n; i++) {
        json_u64(j, numbers[i]);
    }
    json_end_array(j);
}

static void emit_row(struct json *j, const struct stats_area *stats, const struct series_set *set,
                     const struct row *row)
{
    struct series_labels l;
    const struct series_ref *r = &set->refs[row->ref];
    if (!series_labels_read(series_get(stats, r), r, &l)) {
        return;
    }
    struct series_texts x = series_texts(&l);
    json_object(j);
    json_name_str(j, "namespace", x.namespace_name);
    json_name_str(j, "ingress", x.ingress);
    json_name_str(j, "service", x.service);
    json_name_str(j, "host", x.host);
    json_name_str(j, "path", x.path);
    emit_numbers(j, "responses", row->classes, CLASSES_N);
    json_name_u64(j, "sent_bytes", row->sent);
    emit_numbers(j, "duration", row->buckets, BUCKETS_N);
    json_end_object(j);
}

static void emit_rows(struct json *j, const struct stats_area *stats, const struct series_set *set,
                      struct row *rows)
{
    size_t n = 0;
    for (size_t i = 0, end; i < set->n; i = end) {
        end = series_set_group(set, i);
        n += row_fill(&rows[n], stats, set, i, end);
    }
    qsort(rows, n, sizeof(*rows), row_compare);
    json_name(j, "routes");
    json_array(j);
    for (size_t i = 0; i < n && i < TOP_ROUTES_MAX; i++) {
        emit_row(j, stats, set, &rows[i]);
    }
    json_end_array(j);
    json_name_u64(j, "routes_left_out", n > TOP_ROUTES_MAX ? n - TOP_ROUTES_MAX : 0);
}

static enum err emit_routes(struct json *j, const struct stats_area *stats)
{
    struct series_set set;
    TRY(series_set_init(&set, stats, SERIES_BY_ROUTE));
    struct row *rows = mem_calloc(set.n + 1, sizeof(*rows));
    if (rows != NULL) {
        emit_rows(j, stats, &set, rows);
    }
    enum err e = rows != NULL ? E_OK : E_NOMEM;
    mem_free(rows);
    series_set_fini(&set);
    return e;
}

/* ---- the rest ---- */

static void emit_configuration(struct json *j, const struct metrics_input *in)
{
    usec_t behind = 0;
    for (uint32_t i = 0; i < in->stats->worker_n; i++) {
        usec_t lag = metrics_worker_lag(in->stats, i);
        behind = lag > behind ? lag : behind;
    }
    json_name_u64(j, "generation", stats_get(&in->stats->generation));
    json_name_u64(j, "behind_us", behind);
    json_name_u64(j, "lag_last_us", in->lag_last);
    json_name_u64(j, "lag_most_us", in->lag_most);
    json_name_bool(j, "is_draining", stats_get(&in->stats->is_draining) != 0);
}

static void emit_requests(struct json *j, const struct stats_area *s)
{
    const uint64_t classes[CLASSES_N] = {
        0,
        METRICS_SUM(s, responses_1xx),
        METRICS_SUM(s, responses_2xx),
        METRICS_SUM(s, responses_3xx),
        METRICS_SUM(s, responses_4xx),
        METRICS_SUM(s, responses_5xx),
    };
    uint64_t buckets[BUCKETS_N] = {0};
    for (uint32_t w = 0; w < s->worker_n; w++) {
        const struct stats_durations *d = &series_region(s, w)->totals.duration;
        for (size_t i = 0; i < BUCKETS_N; i++) {
            buckets[i] += stats_get(&d->counts[i]);
        }
    }
    json_name_u64(j, "requests", METRICS_SUM(s, requests));
    emit_numbers(j, "responses", classes, CLASSES_N);
    emit_numbers(j, "duration", buckets, BUCKETS_N);
    emit_numbers(j, "bounds_us", stats_duration_bounds, STATS_DURATIONS_N);
    json_name_u64(j, "in_flight", METRICS_SUM(s, requests_in_flight));
    json_name_u64(j, "bytes_in", METRICS_SUM(s, bytes_in));
    json_name_u64(j, "bytes_out", METRICS_SUM(s, bytes_out));
    json_name_u64(j, "retries", METRICS_SUM(s, upstream_retries));
    json_name_u64(j, "connections_active", METRICS_SUM(s, conns_active));
    json_name_u64(j, "connections_idle", METRICS_SUM(s, conns_idle));
    json_name_u64(j, "upstream_busy", METRICS_SUM(s, upstream_busy));
    json_name_u64(j, "upstream_idle", METRICS_SUM(s, upstream_idle));
    json_name_u64(j, "upstream_ejected", METRICS_SUM(s, upstream_ejected));
}

static void emit_reasons(struct json *j, const struct stats_area *s)
{
    json_name(j, "reasons");
    json_array(j);
    for (unsigned r = REASON_none + 1; r < REASONS_N; r++) {
        json_object(j);
        json_name_cstr(j, "name", reason_name((enum reason)r));
        json_name_u64(
            j, "count",
            metrics_sum(s, offsetof(struct stats_page, reasons[0]) + r * sizeof(stats_value)));
        json_end_object(j);
    }
    json_end_array(j);
}

static void emit_processes(struct json *j, const struct stats_area *s)
{
    struct metrics_process list[METRICS_PROCESSES_MAX] = {0};
    size_t n = metrics_processes(s, list);
    json_name(j, "processes");
    json_array(j);
    for (size_t i = 0; i < n; i++) {
        json_object(j);
        json_name_cstr(j, "name", list[i].name);
        json_name_bool(j, "is_running", list[i].is_seen);
        json_name_u64(j, "pid", list[i].pid);
        json_name_u64(j, "cpu_us", list[i].usage.cpu);
        json_name_u64(j, "resident_bytes", list[i].usage.resident_bytes);
        json_name_u64(j, "restarts", list[i].restarts);
        json_end_object(j);
    }
    json_end_array(j);
}

static void emit_source(struct json *j, const struct metrics_input *in)
{
    uint64_t warnings = 0, errors = 0;
    for (size_t i = 0; i < DIAG_REASONS_N; i++) {
        warnings += in->diagnostics[i][DIAG_WARNING - 1];
        errors += in->diagnostics[i][DIAG_ERROR - 1];
    }
    json_name_u64(j, "errors", errors);
    json_name_u64(j, "warnings", warnings);
    json_name_u64(j, "saved_age_us", in->saved_age);
    json_name(j, "resources");
    json_array(j);
    for (size_t i = 0; i < in->api.resource_n; i++) {
        const struct metrics_resource *r = &in->api.resources[i];
        json_object(j);
        json_name_cstr(j, "name", r->name);
        json_name_bool(j, "is_healthy", r->is_healthy);
        json_name_u64(j, "objects", r->objects);
        json_name_u64(j, "silence_us", r->silence);
        json_end_object(j);
    }
    json_end_array(j);
}

enum err top_emit(struct buf *out, const struct metrics_input *in)
{
    struct json j = json_make(out, false);
    json_object(&j);
    json_name_cstr(&j, "version", LINTEL_VERSION);
    json_name_u64(&j, "time_us", clock_monotonic());
    emit_configuration(&j, in);
    emit_requests(&j, in->stats);
    emit_reasons(&j, in->stats);
    emit_processes(&j, in->stats);
    emit_source(&j, in);
    TRY(emit_routes(&j, in->stats));
    TRY(top_emit_endpoints(&j, in->stats));
    json_end_object(&j);
    json_finish(&j);
    return E_OK;
}
