/* The two forms of lintel top. A line is put together in a scratch buffer and cut at the width;
 * colours come around whole lines only, so that no cut meets an escape sequence. */
#include "cli/top_view.h"

#include <stdio.h>

#include "document/json_write.h"

enum {
    LINE_BYTES_MAX = 1024,
    ROUTE_LINE_FIXED = 62,
    ENDPOINT_LINE_FIXED = 69,
    PROCESS_ROWS_MAX = 8,
    NAME_MIN = 20,
    SERVICE_MIN = 12
};

struct page {
    struct buf *out;
    size_t columns, rows, row; /* rows 0: any number */
    bool has_color;
};

/* ---- numbers ---- */

/* As "0.4", "17.5" or "1234". */
static void add_rate(struct buf *b, uint64_t n, usec_t interval, const char *format_width)
{
    uint64_t tenths = (uint64_t)((double)n * 10 * USEC_PER_SEC / (double)interval + 0.5);
    char text[32];
    if (tenths < 1000) {
        (void)snprintf(text, sizeof(text), "%llu.%llu", (unsigned long long)(tenths / 10),
                       (unsigned long long)(tenths % 10)); /* fits */
    } else {
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)(tenths / 10)); /* fits */
    }
    size_t width = str_from_cstr(format_width).n, n_text = str_from_cstr(text).n;
    for (; n_text < width; n_text++) {
        buf_add_char(b, ' ');
    }
    buf_add_str(b, str_from_cstr(text));
}

static void add_duration(struct buf *b, usec_t us)
{
    if (us == 0) {
        buf_add_str(b, STR("      -"));
    } else if (us < 1000) {
        buf_addf(b, "%4lluus ", (unsigned long long)us);
    } else if (us < USEC_PER_SEC) {
        buf_addf(b, "%3llu.%llums", (unsigned long long)(us / 1000),
                 (unsigned long long)(us % 1000 / 100));
    } else {
        buf_addf(b, "%3llu.%llus ", (unsigned long long)(us / USEC_PER_SEC),
                 (unsigned long long)(us % USEC_PER_SEC / 100000));
    }
}

static void add_bytes(struct buf *b, uint64_t n)
{
    static const char units[] = "BKMGTPE";
    size_t unit = 0;
    uint64_t tenths = 0;
    while (n >= 1024) {
        tenths = n % 1024 * 10 / 1024;
        n /= 1024;
        unit++;
    }
    if (unit > 0 && n < 100) {
        buf_addf(b, "%llu.%llu%c", (unsigned long long)n, (unsigned long long)tenths, units[unit]);
    } else {
        buf_addf(b, "%llu%c", (unsigned long long)n, units[unit]);
    }
}

static uint64_t per_second(uint64_t n, usec_t interval)
{
    return (uint64_t)((double)n * USEC_PER_SEC / (double)interval + 0.5);
}

/* Printable, exactly width characters: cut with a '~', or filled up. */
static void add_cell(struct buf *b, struct str s, size_t width)
{
    for (size_t i = 0; i < width; i++) {
        char c = i < s.n ? s.p[i] : ' ';
        bool is_cut = i + 1 == width && s.n > width;
        buf_add_char(b, is_cut ? '~' : c >= 0x20 && c < 0x7f ? c : '?');
    }
}

/* ---- lines ---- */

static void put_line(struct page *p, struct buf *line, const char *color)
{
    if (p->rows == 0 || p->row < p->rows) {
        bool has_color = p->has_color && color[0] != 0;
        struct str text = str_first(buf_str(line), p->columns);
        while (text.n > 0 && text.p[text.n - 1] == ' ') {
            text.n--;
        }
        buf_add_str(p->out, str_from_cstr(has_color ? color : ""));
        buf_add_str(p->out, text);
        buf_add_str(p->out, has_color ? STR("\033[0m") : STR_EMPTY);
        buf_add_char(p->out, '\n');
        p->row++;
    }
    p->out->bad = p->out->bad || line->bad;
    buf_reset(line);
}

#define BOLD    "\033[1m"
#define REVERSE "\033[7m"
#define RED     "\033[31m"

static size_t workers_running(const struct top_sample *s, size_t *ret_all)
{
    size_t n = 0;
    *ret_all = 0;
    for (size_t i = 0; i < s->process_n; i++) {
        bool is_worker = str_has_prefix(s->processes[i].name, STR("worker"));
        *ret_all += is_worker;
        n += is_worker && s->processes[i].is_running;
    }
    return n;
}

static void head_lines(struct page *p, struct buf *line, const struct top_view *v)
{
    const struct top_sample *s = v->sample;
    size_t all, running = workers_running(s, &all);
    usec_t behind = s->scalars[TOP_behind_us];
    buf_addf(line, "lintel %.*s  %.*s  workers %zu/%zu  generation %llu  change ",
             STR_ARG(s->version), STR_ARG(v->server), running, all,
             (unsigned long long)s->scalars[TOP_generation]);
    add_duration(line, s->scalars[TOP_lag_last_us]);
    buf_add_str(line, behind > USEC_PER_SEC ? STR("  WORKERS ARE BEHIND") : STR_EMPTY);
    buf_add_str(line, s->is_draining ? STR("  DRAINING") : STR_EMPTY);
    put_line(p, line, BOLD);

    buf_add_str(line, STR("requests/s "));
    add_rate(line, s->scalars[TOP_requests], v->interval, "");
    buf_add_str(line, STR("  p50 "));
    add_duration(line, top_percentile(&s->duration, &s->bounds, 50));
    buf_add_str(line, STR("  p99 "));
    add_duration(line, top_percentile(&s->duration, &s->bounds, 99));
    for (size_t i = 1; i < TOP_CLASSES_N; i++) {
        buf_addf(line, "  %zuxx ", i);
        add_rate(line, s->classes[i], v->interval, "");
    }
    put_line(p, line, "");

    buf_addf(line, "in flight %llu  clients %llu active %llu idle  endpoints %llu busy %llu idle",
             (unsigned long long)s->scalars[TOP_in_flight],
             (unsigned long long)s->scalars[TOP_connections_active],
             (unsigned long long)s->scalars[TOP_connections_idle],
             (unsigned long long)s->scalars[TOP_upstream_busy],
             (unsigned long long)s->scalars[TOP_upstream_idle]);
    if (s->scalars[TOP_upstream_ejected] > 0) {
        buf_addf(line, "  %llu EJECTED", (unsigned long long)s->scalars[TOP_upstream_ejected]);
    }
    buf_add_str(line, STR("  retries/s "));
    add_rate(line, s->scalars[TOP_retries], v->interval, "");
    buf_add_str(line, STR("  in "));
    add_bytes(line, per_second(s->scalars[TOP_bytes_in], v->interval));
    buf_add_str(line, STR("/s out "));
    add_bytes(line, per_second(s->scalars[TOP_bytes_out], v->interval));
    buf_add_str(line, STR("/s"));
    put_line(p, line, "");
}

static void process_lines(struct page *p, struct buf *line, const struct top_view *v)
{
    const struct top_sample *s = v->sample;
    put_line(p, line, "");
    buf_add_str(line, STR("PROCESS         CPU %   MEMORY  RESTARTS      PID"));
    put_line(p, line, REVERSE);
    for (size_t i = 0; i < s->process_n && i < PROCESS_ROWS_MAX; i++) {
        const struct top_process *one = &s->processes[i];
        struct buf memory;
        buf_init(&memory, 32);
        add_bytes(&memory, one->resident_bytes);
        add_cell(line, one->name, 12);
        add_rate(line, one->cpu_us * 100 / USEC_PER_SEC, v->interval, "         ");
        buf_addf(line, "%9.*s%10llu%9llu", STR_ARG(buf_str(&memory)),
                 (unsigned long long)one->restarts, (unsigned long long)one->pid);
        buf_fini(&memory);
        put_line(p, line, one->is_running ? "" : RED);
    }
}

static bool has_reason(const struct top_view *v)
{
    for (size_t i = 0; i < v->sample->reason_n; i++) {
        if (v->reason_totals[i] > 0) {
            return true;
        }
    }
    return false;
}

static void reason_lines(struct page *p, struct buf *line, const struct top_view *v)
{
    const struct top_sample *s = v->sample;
    if (!has_reason(v)) {
        return;
    }
    put_line(p, line, "");
    buf_add_str(line, STR("REASON                       PER S   SINCE START"));
    put_line(p, line, REVERSE);
    for (size_t i = 0; i < s->reason_n; i++) {
        if (v->reason_totals[i] > 0) {
            add_cell(line, s->reasons[i].name, 24);
            add_rate(line, s->reasons[i].count, v->interval, "          ");
            buf_addf(line, "%14llu", (unsigned long long)v->reason_totals[i]);
            put_line(p, line, "");
        }
    }
}

static void add_route_name(struct buf *line, const struct top_route *r, size_t width)
{
    struct buf name;
    buf_init(&name, LINE_BYTES_MAX);
    buf_addf(&name, "%.*s%.*s", STR_ARG(r->host), STR_ARG(r->path));
    add_cell(line, buf_str(&name), width / 2);
    buf_reset(&name);
    buf_add_char(line, ' ');
    if (r->ingress.n > 0) {
        buf_addf(&name, "%.*s/%.*s %.*s", STR_ARG(r->namespace_name), STR_ARG(r->ingress),
                 STR_ARG(r->service));
    } else {
        buf_add_str(&name, STR("(no route)"));
    }
    add_cell(line, buf_str(&name), width - width / 2 - 1);
    buf_fini(&name);
}

/* Endpoints get up to half of what is left of the window. */
static size_t route_rows(const struct page *p, const struct top_sample *s)
{
    size_t left = p->rows > p->row ? p->rows - p->row : 0;
    size_t wanted = s->endpoint_n > 0 ? s->endpoint_n + 2 : 0;
    size_t kept = wanted < left / 2 ? wanted : left / 2;
    return p->rows == 0 ? s->route_n : left - kept;
}

static void route_lines(struct page *p, struct buf *line, const struct top_view *v)
{
    const struct top_sample *s = v->sample;
    size_t room =
        p->columns > ROUTE_LINE_FIXED + NAME_MIN ? p->columns - ROUTE_LINE_FIXED : NAME_MIN;
    put_line(p, line, "");
    add_cell(line, STR("HOST AND PATH"), room / 2);
    buf_add_char(line, ' ');
    add_cell(line, STR("INGRESS AND SERVICE"), room - room / 2 - 1);
    buf_add_str(line, STR("   REQ/S     P50     P99     2XX     3XX     4XX     5XX"));
    put_line(p, line, REVERSE);
    for (size_t i = 0, n = route_rows(p, s); i < s->route_n && i < n; i++) {
        const struct top_route *r = &s->routes[i];
        add_route_name(line, r, room);
        add_rate(line, top_histogram_n(&r->duration), v->interval, "        ");
        buf_add_char(line, ' ');
        add_duration(line, top_percentile(&r->duration, &s->bounds, 50));
        buf_add_char(line, ' ');
        add_duration(line, top_percentile(&r->duration, &s->bounds, 99));
        for (size_t c = 2; c < TOP_CLASSES_N; c++) {
            add_rate(line, r->classes[c], v->interval, "        ");
        }
        put_line(p, line, r->classes[5] > 0 ? RED : "");
    }
}

/* As "ok", or "ejected 1/2 12s reset": by one of the two workers that know it, for 12 s from now,
 * because of what happened last. */
static void add_state(struct buf *b, const struct top_endpoint *e)
{
    uint64_t all = e->numbers[TOP_ENDPOINT_workers], n = e->numbers[TOP_ENDPOINT_workers_ejecting];
    usec_t time = e->numbers[TOP_ENDPOINT_ejected_for_us];
    buf_add_str(b, e->state);
    if (n > 0 && n < all) {
        buf_addf(b, " %llu/%llu", (unsigned long long)n, (unsigned long long)all);
    }
    if (time > 0) {
        buf_addf(b, " %llus", (unsigned long long)((time + USEC_PER_SEC - 1) / USEC_PER_SEC));
    }
    if (n > 0) {
        buf_addf(b, " %.*s", STR_ARG(e->last_failure));
    }
}

static struct str endpoint_name(const struct top_endpoint *e)
{
    return e->address.n > 0 ? e->address : STR("(others)");
}

struct widths {
    size_t name, service, state;
};

/* Addresses and states as wide as they are, services in what is left. */
static struct widths endpoint_widths(const struct page *p, const struct top_sample *s)
{
    struct widths w = {sizeof("ENDPOINT") - 1, SERVICE_MIN, sizeof("STATE") - 1};
    struct buf state;
    buf_init(&state, LINE_BYTES_MAX);
    for (size_t i = 0; i < s->endpoint_n; i++) {
        size_t n = endpoint_name(&s->endpoints[i]).n;
        w.name = n > w.name ? n : w.name;
        buf_reset(&state);
        add_state(&state, &s->endpoints[i]);
        w.state = state.n > w.state ? state.n : w.state;
    }
    buf_fini(&state);
    size_t taken = ENDPOINT_LINE_FIXED + w.name + w.state;
    w.service = p->columns > taken + w.service ? p->columns - taken : w.service;
    return w;
}

static void add_endpoint(struct buf *line, const struct top_endpoint *e, const struct widths *w,
                         usec_t interval)
{
    static const char width[] = "        ";
    struct buf state;
    buf_init(&state, LINE_BYTES_MAX);
    add_state(&state, e);
    add_cell(line, endpoint_name(e), w->name);
    buf_add_char(line, ' ');
    add_cell(line, e->service, w->service);
    buf_add_char(line, ' ');
    add_cell(line, buf_str(&state), w->state);
    buf_fini(&state);
    add_rate(line, top_endpoint_requests(e), interval, width);
    buf_addf(line, "%7llu", (unsigned long long)e->numbers[TOP_ENDPOINT_in_flight]);
    add_rate(line, e->numbers[TOP_ENDPOINT_connect], interval, width);
    add_rate(line, e->numbers[TOP_ENDPOINT_reset], interval, width);
    add_rate(line, e->numbers[TOP_ENDPOINT_timeout], interval, width);
    buf_add_char(line, ' ');
    add_duration(line, top_endpoint_latency(e));
    buf_add_char(line, ' ');
    add_duration(line, e->numbers[TOP_ENDPOINT_ewma_us]);
    buf_addf(line, "%6llu%6llu", (unsigned long long)e->numbers[TOP_ENDPOINT_connections_busy],
             (unsigned long long)e->numbers[TOP_ENDPOINT_connections_idle]);
}

static void endpoint_lines(struct page *p, struct buf *line, const struct top_view *v)
{
    const struct top_sample *s = v->sample;
    struct widths w = endpoint_widths(p, s);
    if (s->endpoint_n == 0) {
        return;
    }
    put_line(p, line, "");
    add_cell(line, STR("ENDPOINT"), w.name);
    buf_add_char(line, ' ');
    add_cell(line, STR("SERVICE"), w.service);
    buf_add_char(line, ' ');
    add_cell(line, STR("STATE"), w.state);
    buf_add_str(line, STR("   REQ/S FLIGHT CONNECT   RESET TIMEOUT    MEAN    EWMA  BUSY  IDLE"));
    put_line(p, line, REVERSE);
    for (size_t i = 0; i < s->endpoint_n && (p->rows == 0 || p->row < p->rows); i++) {
        const struct top_endpoint *e = &s->endpoints[i];
        add_endpoint(line, e, &w, v->interval);
        put_line(p, line, e->numbers[TOP_ENDPOINT_workers_ejecting] > 0 ? RED : "");
    }
}

void top_view_text(struct buf *out, const struct top_view *v, size_t columns, size_t rows,
                   bool has_color)
{
    struct page p = {.out = out, .columns = columns, .rows = rows, .has_color = has_color};
    struct buf line;
    buf_init(&line, (size_t)4 * LINE_BYTES_MAX);
    head_lines(&p, &line, v);
    process_lines(&p, &line, v);
    reason_lines(&p, &line, v);
    route_lines(&p, &line, v);
    endpoint_lines(&p, &line, v);
    buf_fini(&line);
}

/* ---- JSON ---- */

static void json_classes(struct json *j, const uint64_t *classes)
{
    static const char *const names[TOP_CLASSES_N] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    json_name(j, "responses");
    json_object(j);
    for (size_t i = 0; i < TOP_CLASSES_N; i++) {
        json_name_u64(j, names[i], classes[i]);
    }
    json_end_object(j);
}

static void json_times(struct json *j, const struct top_histogram *h,
                       const struct top_histogram *bounds)
{
    json_name_u64(j, "p50_us", top_percentile(h, bounds, 50));
    json_name_u64(j, "p99_us", top_percentile(h, bounds, 99));
}

static void json_routes(struct json *j, const struct top_sample *s)
{
    json_name(j, "routes");
    json_array(j);
    for (size_t i = 0; i < s->route_n; i++) {
        const struct top_route *r = &s->routes[i];
        json_object(j);
        json_name_str(j, "namespace", r->namespace_name);
        json_name_str(j, "ingress", r->ingress);
        json_name_str(j, "service", r->service);
        json_name_str(j, "host", r->host);
        json_name_str(j, "path", r->path);
        json_name_u64(j, "requests", top_histogram_n(&r->duration));
        json_times(j, &r->duration, &s->bounds);
        json_classes(j, r->classes);
        json_name_u64(j, "sent_bytes", r->sent_bytes);
        json_end_object(j);
    }
    json_end_array(j);
}

static void json_endpoints(struct json *j, const struct top_sample *s)
{
    json_name(j, "endpoints");
    json_array(j);
    for (size_t i = 0; i < s->endpoint_n; i++) {
        const struct top_endpoint *e = &s->endpoints[i];
        json_object(j);
        json_name_str(j, "address", e->address);
        json_name_str(j, "service", e->service);
        json_name_str(j, "state", e->state);
        json_name_str(j, "last_failure", e->last_failure);
        json_name_u64(j, "requests", top_endpoint_requests(e));
        json_name_u64(j, "failures", top_endpoint_failures(e));
        json_name_u64(j, "latency_us", top_endpoint_latency(e));
        for (size_t n = 0; n < TOP_ENDPOINT_NUMBERS_N; n++) {
            json_name_u64(j, top_endpoint_names[n], e->numbers[n]);
        }
        json_end_object(j);
    }
    json_end_array(j);
}

static void json_reasons(struct json *j, const struct top_view *v)
{
    json_name(j, "reasons");
    json_array(j);
    for (size_t i = 0; i < v->sample->reason_n; i++) {
        if (v->reason_totals[i] > 0) {
            json_object(j);
            json_name_str(j, "name", v->sample->reasons[i].name);
            json_name_u64(j, "count", v->sample->reasons[i].count);
            json_name_u64(j, "since_start", v->reason_totals[i]);
            json_end_object(j);
        }
    }
    json_end_array(j);
}

static void json_processes(struct json *j, const struct top_sample *s)
{
    json_name(j, "processes");
    json_array(j);
    for (size_t i = 0; i < s->process_n; i++) {
        const struct top_process *p = &s->processes[i];
        json_object(j);
        json_name_str(j, "name", p->name);
        json_name_bool(j, "is_running", p->is_running);
        json_name_u64(j, "pid", p->pid);
        json_name_u64(j, "cpu_us", p->cpu_us);
        json_name_u64(j, "resident_bytes", p->resident_bytes);
        json_name_u64(j, "restarts", p->restarts);
        json_end_object(j);
    }
    json_end_array(j);
}

void top_view_json(struct buf *out, const struct top_view *v)
{
    static const struct {
        const char *name;
        enum top_scalar scalar;
    } scalars[] = {
        {"generation",         TOP_generation        },
        {"behind_us",          TOP_behind_us         },
        {"lag_last_us",        TOP_lag_last_us       },
        {"requests",           TOP_requests          },
        {"in_flight",          TOP_in_flight         },
        {"retries",            TOP_retries           },
        {"bytes_in",           TOP_bytes_in          },
        {"bytes_out",          TOP_bytes_out         },
        {"connections_active", TOP_connections_active},
        {"connections_idle",   TOP_connections_idle  },
        {"upstream_busy",      TOP_upstream_busy     },
        {"upstream_idle",      TOP_upstream_idle     },
        {"upstream_ejected",   TOP_upstream_ejected  },
        {"routes_left_out",    TOP_routes_left_out   },
        {"endpoints_left_out", TOP_endpoints_left_out},
    };
    const struct top_sample *s = v->sample;
    struct json j = json_make(out, false);
    json_object(&j);
    json_name_str(&j, "version", s->version);
    json_name_u64(&j, "interval_us", v->interval);
    json_name_bool(&j, "is_draining", s->is_draining);
    json_name_u64(&j, "requests_per_second", per_second(s->scalars[TOP_requests], v->interval));
    for (size_t i = 0; i < sizeof(scalars) / sizeof(scalars[0]); i++) {
        json_name_u64(&j, scalars[i].name, s->scalars[scalars[i].scalar]);
    }
    json_times(&j, &s->duration, &s->bounds);
    json_classes(&j, s->classes);
    json_routes(&j, s);
    json_endpoints(&j, s);
    json_reasons(&j, v);
    json_processes(&j, s);
    json_end_object(&j);
    json_finish(&j);
}
