/* The endpoints of /debug/top. What the workers see of one endpoint becomes one row: figures add
 * up, and the worst state counts, because each worker ejects for itself. */
#include "admin/top_endpoints.h"

#include <stdlib.h>

#include "base/mem.h"
#include "stats/endpoints.h"

struct row {
    size_t ref; /* whose labels name it */
    uint64_t outcomes[STATS_ENDPOINT_OUTCOMES_N];
    uint64_t in_flight, connections, idle, latency_sum;
    uint64_t ewma_sum, ewma_n; /* over the workers that have one */
    usec_t failed_at, until;
    uint64_t failed_how;
    uint32_t worker_n, left_out_n; /* that know it; for whom it is ejected or probing */
    enum stats_endpoint_state state;
};

static const char *const state_names[STATS_ENDPOINT_STATES_N] = {
    [STATS_ENDPOINT_OK] = "ok",
    [STATS_ENDPOINT_DRAINING] = "draining",
    [STATS_ENDPOINT_PROBING] = "probing",
    [STATS_ENDPOINT_EJECTED] = "ejected",
};

static const char *const outcome_names[STATS_ENDPOINT_OUTCOMES_N] = {
    [STATS_ENDPOINT_ANSWERED] = "answered",   [STATS_ENDPOINT_CONNECT_FAILED] = "connect",
    [STATS_ENDPOINT_RESET] = "reset",         [STATS_ENDPOINT_TIMEOUT] = "timeout",
    [STATS_ENDPOINT_ABANDONED] = "abandoned",
};

static void row_add_state(struct row *row, const struct stats_endpoint *e)
{
    uint64_t number = stats_get(&e->state);
    enum stats_endpoint_state state =
        number < STATS_ENDPOINT_STATES_N ? (enum stats_endpoint_state)number : STATS_ENDPOINT_OK;
    usec_t until = state == STATS_ENDPOINT_EJECTED ? stats_get(&e->until) : 0;
    usec_t failed_at = stats_get(&e->failed_at);
    uint64_t ewma = stats_get(&e->ewma);
    row->state = state > row->state ? state : row->state;
    row->left_out_n += state == STATS_ENDPOINT_EJECTED || state == STATS_ENDPOINT_PROBING;
    row->until = until > row->until ? until : row->until;
    if (failed_at > row->failed_at) {
        row->failed_at = failed_at;
        row->failed_how = stats_get(&e->failed_how);
    }
    row->ewma_sum += ewma;
    row->ewma_n += ewma > 0;
}

static void row_add(struct row *row, const struct stats_endpoint *e, bool is_one)
{
    for (size_t i = 0; i < STATS_ENDPOINT_OUTCOMES_N; i++) {
        row->outcomes[i] += stats_get(&e->outcomes[i]);
    }
    row->in_flight += stats_get(&e->in_flight);
    row->connections += stats_get(&e->connections);
    row->idle += stats_get(&e->idle);
    row->latency_sum += stats_get(&e->latency_sum);
    row->worker_n++;
    if (is_one) {
        row_add_state(row, e);
    }
}

static size_t group_end(const struct stats_endpoint_set *set, size_t first)
{
    size_t i = first;
    while (i < set->n && set->refs[i].hash == set->refs[first].hash) {
        i++;
    }
    return i;
}

/* False when nothing of the group is left, or when it has drained. */
static bool row_fill(struct row *row, const struct stats_area *stats,
                     const struct stats_endpoint_set *set, size_t first, size_t end)
{
    *row = (struct row){0};
    for (size_t i = first; i < end; i++) {
        const struct stats_endpoint *e = stats_endpoint_get(stats, &set->refs[i]);
        struct stats_endpoint_labels l;
        struct row sum = *row;
        row_add(&sum, e, set->refs[i].slot > 0); /* several in "_other": no state */
        if (stats_endpoint_labels_read(e, &set->refs[i], &l)) {
            sum.ref = i;
            *row = sum;
        }
    }
    return row->worker_n > 0 && (row->state != STATS_ENDPOINT_DRAINING || row->connections > 0);
}

static int by_most(uint64_t a, uint64_t b)
{
    return (a < b) - (a > b);
}

static int row_compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int order = by_most(x->left_out_n, y->left_out_n);
    order = order != 0 ? order : by_most(x->failed_at, y->failed_at);
    order = order != 0 ? order : by_most(x->outcomes[0], y->outcomes[0]); /* answered */
    return order != 0 ? order : by_most(y->ref, x->ref);
}

static void emit_address(struct json *j, const struct stats_endpoint_labels *l)
{
    char text[IP_TEXT_MAX + sizeof("[]:65535")];
    struct wr w = wr_make(text, sizeof(text));
    if (l->ip.family == 6) {
        wr_char(&w, '[');
    }
    if (l->ip.family == 4 || l->ip.family == 6) { /* "_other" has none */
        ip_emit(&w, &l->ip);
        wr_str(&w, l->ip.family == 6 ? STR("]:") : STR(":"));
        wr_u64(&w, l->port);
    }
    json_name_str(j, "address", str_make(text, wr_n(&w)));
}

static void emit_row(struct json *j, const struct stats_area *stats,
                     const struct stats_endpoint_set *set, const struct row *row, usec_t now)
{
    struct stats_endpoint_labels l;
    const struct stats_endpoint_ref *r = &set->refs[row->ref];
    if (!stats_endpoint_labels_read(stats_endpoint_get(stats, r), r, &l)) {
        return;
    }
    uint64_t busy = row->connections > row->idle ? row->connections - row->idle : 0;
    json_object(j);
    emit_address(j, &l);
    json_name_str(j, "service",
                  str_first(str_make(l.service, STATS_ENDPOINT_SERVICE_BYTES), l.service_n));
    json_name_cstr(j, "state", state_names[row->state]);
    json_name_u64(j, "ejected_for_us", row->until > now ? row->until - now : 0);
    json_name_u64(j, "workers", row->worker_n);
    json_name_u64(j, "workers_ejecting", row->left_out_n);
    json_name_cstr(j, "last_failure",
                   row->failed_at > 0 && row->failed_how < STATS_ENDPOINT_OUTCOMES_N
                       ? outcome_names[row->failed_how]
                       : "");
    for (size_t i = 0; i < STATS_ENDPOINT_OUTCOMES_N; i++) {
        json_name_u64(j, outcome_names[i], row->outcomes[i]);
    }
    json_name_u64(j, "latency_sum_us", row->latency_sum);
    json_name_u64(j, "ewma_us", row->ewma_n > 0 ? row->ewma_sum / row->ewma_n : 0);
    json_name_u64(j, "in_flight", row->in_flight);
    json_name_u64(j, "connections_busy", busy);
    json_name_u64(j, "connections_idle", row->idle);
    json_end_object(j);
}

static void emit_rows(struct json *j, const struct stats_area *stats,
                      const struct stats_endpoint_set *set, struct row *rows)
{
    size_t n = 0;
    usec_t now = clock_monotonic();
    for (size_t i = 0, end; i < set->n; i = end) {
        end = group_end(set, i);
        n += row_fill(&rows[n], stats, set, i, end);
    }
    qsort(rows, n, sizeof(*rows), row_compare);
    json_name(j, "endpoints");
    json_array(j);
    for (size_t i = 0; i < n && i < TOP_ENDPOINTS_MAX; i++) {
        emit_row(j, stats, set, &rows[i], now);
    }
    json_end_array(j);
    json_name_u64(j, "endpoints_left_out", n > TOP_ENDPOINTS_MAX ? n - TOP_ENDPOINTS_MAX : 0);
}

enum err top_emit_endpoints(struct json *j, const struct stats_area *stats)
{
    struct stats_endpoint_set set;
    TRY(stats_endpoint_set_init(&set, stats));
    struct row *rows = mem_calloc(set.n + 1, sizeof(*rows));
    if (rows != NULL) {
        emit_rows(j, stats, &set, rows);
    }
    enum err e = rows != NULL ? E_OK : E_NOMEM;
    mem_free(rows);
    stats_endpoint_set_fini(&set);
    return e;
}
