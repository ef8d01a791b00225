/* The series of requests as text. One family after the other over the sorted set, a group of equal
 * labels at a time: the sum of what the workers have. A histogram's count is the sum of its
 * buckets, read at the same time, so that they agree while workers go on counting. */
#include "admin/metrics_series.h"

#include <stddef.h>
#include <string.h>

#include "admin/metrics_priv.h"
#include "base/mem.h"

enum { LABELS_ROOM = METRICS_LABELS_BYTES, NGINX_FIRST = 5, BUCKETS_MAX = STATS_DURATIONS_N + 1 };

/* As long as stats_duration_bounds and series_size_bounds. */
static const char *const duration_texts[STATS_DURATIONS_N] = {
    "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025",
    "0.05",   "0.1",     "0.25",   "0.5",   "1",      "2.5",   "5",    "10"};
static const char *const size_texts[SERIES_SIZES_N] = {"256",      "1024",    "4096",    "16384",
                                                       "65536",    "262144",  "1048576", "4194304",
                                                       "16777216", "67108864"};

enum kind { KIND_REQUESTS, KIND_REASONS, KIND_DURATION, KIND_SIZE, KIND_BYTES };

struct family {
    const char *name, *help;
    enum kind kind;
    size_t offset; /* of the histogram in struct series_figures */
};

#define NGINX(name) "nginx_ingress_controller_" name
#define AT(field)   offsetof(struct series_figures, field)

static const struct family families[] = {
    {NGINX("requests"),                  "Requests that were answered or cut off, by route, method and status.",
     KIND_REQUESTS,                                                                                                             AT(duration)     },
    {NGINX("request_duration_seconds"),
     "From the first byte of a request to the last of its response.",                                            KIND_DURATION, AT(duration)     },
    {NGINX("connect_duration_seconds"),  "Connecting to the endpoint; 0 on a kept-alive connection.",
     KIND_DURATION,                                                                                                             AT(connect)      },
    {NGINX("header_duration_seconds"),   "From the choice of an endpoint to its response head.",
     KIND_DURATION,                                                                                                             AT(header)       },
    {NGINX("response_duration_seconds"),
     "From the choice of an endpoint to the end of its response.",                                               KIND_DURATION, AT(response)     },
    {NGINX("request_size"),              "Bytes of requests, head and body.",                                    KIND_SIZE,     AT(request_size) },
    {NGINX("response_size"),             "Bytes of response bodies.",                                            KIND_SIZE,     AT(response_size)},
    {NGINX("bytes_sent"),                "As response_size, for old dashboards; without buckets.",               KIND_BYTES,
     AT(response_size)                                                                                                                           },
    {"lintel_route_answers_total",
     "Responses that Lintel made itself and requests that it cut off, by route and reason.",                     KIND_REASONS,  AT(duration)     },
};
enum { FAMILIES_N = sizeof(families) / sizeof(families[0]) };

static const char *type_of(enum kind kind)
{
    return kind == KIND_REQUESTS || kind == KIND_REASONS ? "counter" : "histogram";
}

/* ---- sums ---- */

struct sums {
    uint64_t sum, counts[BUCKETS_MAX];
};

static void sums_add(struct sums *to, const struct sums *from)
{
    to->sum += from->sum;
    for (size_t i = 0; i < BUCKETS_MAX; i++) {
        to->counts[i] += from->counts[i];
    }
}

static uint64_t sums_count(const struct sums *s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < BUCKETS_MAX; i++) {
        n += s->counts[i];
    }
    return n;
}

static bool has_sizes(enum kind kind)
{
    return kind == KIND_SIZE || kind == KIND_BYTES;
}

/* Both histograms are a sum and buckets behind it. */
static struct sums sums_read(const struct series_figures *f, size_t offset, bool is_size)
{
    const stats_value *at = (const void *)((const char *)f + offset);
    size_t n = is_size ? SERIES_SIZES_N + 1 : STATS_DURATIONS_N + 1;
    struct sums s = {.sum = stats_get(&at[0])};
    for (size_t i = 0; i < n; i++) {
        s.counts[i] = stats_get(&at[1 + i]);
    }
    return s;
}

/* ---- labels ---- */

static void wr_label(struct wr *w, const char *name, struct str value)
{
    wr_str(w, str_from_cstr(name));
    wr_str(w, STR("=\""));
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c == '\n') {
            wr_str(w, STR("\\n"));
            continue;
        }
        if (c == '\\' || c == '"') {
            wr_char(w, '\\');
        }
        wr_char(w, c);
    }
    wr_str(w, STR("\","));
}

void metrics_constant_labels(struct wr *w, const struct metrics_identity *identity)
{
    wr_label(w, "controller_class", identity->class_name);
    wr_label(w, "controller_namespace", identity->namespace_name);
    wr_label(w, "controller_pod", identity->pod);
}

static void wr_route(struct wr *w, const struct series_texts *x)
{
    wr_label(w, "namespace", x->namespace_name);
    wr_label(w, "ingress", x->ingress);
    wr_label(w, "service", x->service);
    if (x->host.n > 0) {
        wr_label(w, "host", x->host);
    }
    wr_label(w, "path", x->path);
}

static struct str labels_make(const struct metrics_scrape *s, const struct series_labels *l,
                              char *room)
{
    struct wr w = wr_make(room, LABELS_ROOM);
    struct series_texts x = series_texts(l);
    wr_str(&w, s->constant);
    wr_route(&w, &x);
    wr_label(&w, "method", str_from_cstr(series_method_name(series_method_of(l))));
    wr_str(&w, STR("status=\""));
    if (l->status == 0) {
        wr_str(&w, STR("_other"));
    } else {
        wr_u64(&w, l->status);
    }
    wr_char(&w, '"');
    must(!w.bad); /* twice the texts, and the constant part, fit */
    return str_make(room, wr_n(&w));
}
_Static_assert(LABELS_ROOM > METRICS_LABELS_BYTES / 4 + 2 * SERIES_TEXT_BYTES + 256, "labels fit");

/* ---- lines ---- */

struct line {
    struct buf *out;
    struct str name, labels; /* labels without a comma at the end; may be empty */
};

/* name_suffix{labels,more} up to the value. */
static void line_begin(const struct line *l, struct str suffix, struct str more_name,
                       struct str more)
{
    buf_add_str(l->out, l->name);
    buf_add_str(l->out, suffix);
    if (l->labels.n > 0 || more.n > 0) {
        buf_add_char(l->out, '{');
        buf_add_str(l->out, l->labels);
        if (more.n > 0) {
            buf_add_str(l->out, l->labels.n > 0 ? STR(",") : STR_EMPTY);
            buf_add_str(l->out, more_name);
            buf_add_str(l->out, STR("=\""));
            buf_add_str(l->out, more);
            buf_add_char(l->out, '"');
        }
        buf_add_char(l->out, '}');
    }
    buf_add_char(l->out, ' ');
}

static void line_count(const struct line *l, struct str suffix, struct str le, uint64_t value)
{
    line_begin(l, suffix, STR("le"), le);
    buf_add_u64(l->out, value);
    buf_add_char(l->out, '\n');
}

static void line_sum(const struct line *l, const struct sums *s, bool is_size)
{
    line_begin(l, STR("_sum"), STR_EMPTY, STR_EMPTY);
    if (is_size) {
        buf_add_u64(l->out, s->sum);
    } else {
        metrics_seconds(l->out, s->sum);
    }
    buf_add_char(l->out, '\n');
}

/* Buckets are cumulative; those before first go into the next one. */
static void histogram(const struct line *l, const struct sums *s, const char *const *texts,
                      size_t first, size_t n, bool is_size)
{
    uint64_t below = 0;
    for (size_t i = 0; i < n; i++) {
        below += s->counts[i];
        if (i >= first) {
            line_count(l, STR("_bucket"), str_from_cstr(texts[i]), below);
        }
    }
    uint64_t all = sums_count(s);
    line_count(l, STR("_bucket"), STR("+Inf"), all);
    line_sum(l, s, is_size);
    line_count(l, STR("_count"), STR_EMPTY, all);
}

/* ---- one family of one group ---- */

/* What the lives in the group that still go on add up to; false when there is none. */
static bool group_read(const struct metrics_scrape *s, const struct family *f, size_t end,
                       struct series_labels *labels, struct sums *sums, uint64_t *by_reason)
{
    bool is_any = false;
    for (size_t i = s->at; i < end; i++) {
        const struct series_ref *r = &s->set.refs[i];
        const struct series *at = series_get(s->stats, r);
        struct series_labels l;
        struct sums one = sums_read(&at->figures, f->offset, has_sizes(f->kind));
        if (!series_labels_read(at, r, &l)) {
            continue;
        }
        if (!is_any) {
            *labels = l;
            is_any = true;
        }
        sums_add(sums, &one);
        by_reason[l.reason < REASONS_N ? l.reason : REASON_none] += sums_count(&one);
    }
    return is_any;
}

static void emit_reasons(const struct line *l, const uint64_t *by_reason)
{
    for (unsigned r = REASON_none + 1; r < REASONS_N; r++) {
        if (by_reason[r] > 0) {
            line_begin(l, STR_EMPTY, STR("reason"), str_from_cstr(reason_name((enum reason)r)));
            buf_add_u64(l->out, by_reason[r]);
            buf_add_char(l->out, '\n');
        }
    }
}

static void group_emit(const struct metrics_scrape *s, struct buf *out, size_t end)
{
    const struct family *f = &families[s->family];
    struct series_labels labels;
    struct sums sums = {0};
    uint64_t by_reason[REASONS_N] = {0};
    char room[LABELS_ROOM];
    if (!group_read(s, f, end, &labels, &sums, by_reason)) {
        return;
    }
    struct line l = {out, str_from_cstr(f->name), labels_make(s, &labels, room)};
    switch (f->kind) {
    case KIND_REQUESTS:
        line_count(&l, STR_EMPTY, STR_EMPTY, sums_count(&sums));
        return;
    case KIND_REASONS:
        emit_reasons(&l, by_reason);
        return;
    case KIND_DURATION:
        histogram(&l, &sums, duration_texts, NGINX_FIRST, STATS_DURATIONS_N, false);
        return;
    case KIND_SIZE:
        histogram(&l, &sums, size_texts, 0, SERIES_SIZES_N, true);
        return;
    case KIND_BYTES:
        histogram(&l, &sums, NULL, 0, 0, true);
        return;
    }
}

/* ---- the scrape ---- */

enum err metrics_scrape_init(struct metrics_scrape *s, const struct stats_area *stats,
                             const struct metrics_identity *identity)
{
    *s = (struct metrics_scrape){.stats = stats};
    struct wr w = wr_make(s->text, sizeof(s->text));
    metrics_constant_labels(&w, identity);
    s->constant = str_make(s->text, w.bad ? 0 : wr_n(&w));
    return series_set_init(&s->set, stats, SERIES_BY_LABELS);
}

void metrics_scrape_fini(struct metrics_scrape *s)
{
    series_set_fini(&s->set);
}

bool metrics_scrape_step(struct metrics_scrape *s, struct buf *out, size_t bytes)
{
    while (s->family < FAMILIES_N && out->n < bytes && !out->bad) {
        const struct family *f = &families[s->family];
        if (!s->is_begun) {
            metrics_head(out, f->name, type_of(f->kind), f->help);
            s->is_begun = true;
        } else if (s->at < s->set.n) {
            size_t end = series_set_group(&s->set, s->at);
            group_emit(s, out, end);
            s->at = end;
        } else {
            s->family++;
            s->at = 0;
            s->is_begun = false;
        }
    }
    return s->family < FAMILIES_N;
}

/* ---- totals ---- */

static const struct {
    const char *name, *help;
    bool is_size;
    size_t offset;
} totals[] = {
    {"lintel_request_duration_seconds",
     "From the first byte of a request to the last of its response, all routes.",      false,
     AT(duration)                                                                                              },
    {"lintel_upstream_connect_duration_seconds",
     "Connecting to endpoints; 0 on a kept-alive connection.",                         false, AT(connect)      },
    {"lintel_upstream_header_duration_seconds",
     "From the choice of an endpoint to its response head.",                           false, AT(header)       },
    {"lintel_upstream_response_duration_seconds",
     "From the choice of an endpoint to the end of its response.",                     false, AT(response)     },
    {"lintel_request_size_bytes",                 "Bytes of requests, head and body.", true,  AT(request_size) },
    {"lintel_response_size_bytes",                "Bytes of response bodies.",         true,  AT(response_size)},
};

static void emit_region(struct buf *out, const struct stats_area *stats, const char *name,
                        const char *type, size_t offset, const char *help)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < stats->worker_n; i++) {
        const void *at = (const char *)series_region(stats, i) + offset;
        sum += stats_get(at);
    }
    metrics_head(out, name, type, help);
    metrics_sample(out, name, "", sum);
}

void metrics_totals_emit(struct buf *out, const struct stats_area *stats)
{
    for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++) {
        struct line l = {out, str_from_cstr(totals[i].name), STR_EMPTY};
        struct sums sums = {0};
        for (uint32_t w = 0; w < stats->worker_n; w++) {
            struct sums one =
                sums_read(&series_region(stats, w)->totals, totals[i].offset, totals[i].is_size);
            sums_add(&sums, &one);
        }
        metrics_head(out, totals[i].name, "histogram", totals[i].help);
        histogram(&l, &sums, totals[i].is_size ? size_texts : duration_texts, 0,
                  totals[i].is_size ? SERIES_SIZES_N : STATS_DURATIONS_N, totals[i].is_size);
    }
    emit_region(out, stats, "lintel_series", "gauge", offsetof(struct series_region, live_n),
                "Series of routes in use, over all workers.");
    emit_region(out, stats, "lintel_series_folded_total", "counter",
                offsetof(struct series_region, folded),
                "Requests counted as _other because a worker's table of series was full.");
}

/* ---- other durations ---- */

static struct sums durations_sum(const struct stats_area *stats, size_t offset)
{
    struct sums sums = {.sum = metrics_sum(stats, offset)};
    for (size_t i = 0; i <= STATS_DURATIONS_N; i++) {
        size_t count = offsetof(struct stats_durations, counts) + i * sizeof(stats_value);
        sums.counts[i] = metrics_sum(stats, offset + count);
    }
    return sums;
}

void metrics_durations_emit(struct buf *out, const struct stats_area *stats)
{
    const char *last = "";
    for (uint32_t i = 0; i < stats_histogram_n; i++) {
        const struct stats_histogram *h = &stats_histograms[i];
        struct line l = {out, str_from_cstr(h->metric), str_from_cstr(h->labels)};
        struct sums sums = durations_sum(stats, h->offset);
        if (strcmp(last, h->metric) != 0) {
            metrics_head(out, h->metric, "histogram", h->help);
            last = h->metric;
        }
        histogram(&l, &sums, duration_texts, 0, STATS_DURATIONS_N, false);
    }
}
