/* admin/metrics: the Prometheus text format, checked strictly, and the numbers in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admin/metrics_series.h"
#include "admin/top.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FAMILIES_MAX = 200, TEXT_BYTES = 8 << 20 };

/* ---- a strict reader ---- */

struct reader {
    struct str families[FAMILIES_MAX]; /* in order; each may come once */
    size_t family_n;
    size_t sample_n;
    bool has_help, has_type, is_histogram; /* of the present family */
};

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
        if (!is_letter && (i == 0 || c < '0' || c > '9')) {
            return false;
        }
    }
    return s.n > 0;
}

static void begin_family(struct reader *r, struct str name)
{
    assert_true(is_name(name));
    for (size_t i = 0; i < r->family_n; i++) {
        assert_false(str_eq(r->families[i], name)); /* stands together, has one HELP */
    }
    assert_true(r->family_n < FAMILIES_MAX);
    r->families[r->family_n++] = name;
    r->has_help = true;
    r->has_type = false;
}

static void read_type(struct reader *r, struct str rest)
{
    struct str name, type;
    assert_true(str_cut(rest, ' ', &name, &type));
    assert_true(r->has_help && !r->has_type);
    assert_true(str_eq(name, r->families[r->family_n - 1]));
    assert_true(str_eq(type, STR("counter")) || str_eq(type, STR("gauge")) ||
                str_eq(type, STR("histogram")));
    if (!str_has_prefix(name, STR("nginx_"))) { /* those names are not ours */
        assert_int_equal(str_eq(type, STR("counter")), str_has_suffix(name, STR("_total")));
    }
    r->is_histogram = str_eq(type, STR("histogram"));
    r->has_type = true;
}

/* a="b",c="d" */
static void read_labels(struct str s)
{
    while (s.n > 0) {
        struct str name, rest;
        assert_true(str_cut(s, '=', &name, &rest));
        assert_true(is_name(name) && rest.n > 1 && rest.p[0] == '"');
        size_t i = 1;
        while (i < rest.n && rest.p[i] != '"') {
            i += rest.p[i] == '\\' ? 2 : 1;
        }
        assert_true(i < rest.n);
        s = str_from(rest, i + 1);
        assert_true(s.n == 0 || (s.p[0] == ',' && s.n > 1));
        s = str_from(s, 1);
    }
}

static bool is_number(struct str s)
{
    struct str whole, fraction;
    uint64_t n;
    (void)str_cut(s, '.', &whole, &fraction);
    return str_to_u64(whole, UINT64_MAX, &n) &&
           (fraction.n == 0 || str_to_u64(fraction, UINT64_MAX, &n));
}

static bool is_of_family(const struct reader *r, struct str name)
{
    static const struct str suffixes[] = {STR_INIT("_bucket"), STR_INIT("_sum"),
                                          STR_INIT("_count")};
    struct str family = r->families[r->family_n - 1];
    if (!r->is_histogram) {
        return str_eq(name, family);
    }
    for (size_t i = 0; i < 3; i++) {
        if (str_has_prefix(name, family) && str_eq(str_from(name, family.n), suffixes[i])) {
            return true;
        }
    }
    return false;
}

static void read_sample(struct reader *r, struct str line)
{
    size_t end = line.n;
    while (end > 0 && line.p[end - 1] != ' ') {
        end--;
    }
    assert_true(end > 0 && is_number(str_from(line, end)));
    struct str series = str_first(line, end - 1);
    size_t brace = str_find(series, '{');
    assert_true(r->has_type && is_of_family(r, str_first(series, brace)));
    if (brace < series.n) {
        assert_true(series.p[series.n - 1] == '}' && series.n - brace > 2);
        read_labels(str_make(series.p + brace + 1, series.n - brace - 2));
    }
    r->sample_n++;
}

static void read_all(struct reader *r, struct str text)
{
    struct str line;
    *r = (struct reader){0};
    while (text.n > 0) {
        assert_true(str_cut(text, '\n', &line, &text)); /* every line has an end */
        if (str_has_prefix(line, STR("# HELP "))) {
            struct str name, help;
            assert_true(str_cut(str_from(line, 7), ' ', &name, &help) && help.n > 0);
            begin_family(r, name);
        } else if (str_has_prefix(line, STR("# TYPE "))) {
            read_type(r, str_from(line, 7));
        } else {
            read_sample(r, line);
        }
    }
}

/* ---- tests ---- */

struct world {
    struct stats_area *stats;
    struct metrics_input in;
    struct buf out;
};

static void make_world(struct world *w, uint32_t workers)
{
    int fd;
    *w = (struct world){0};
    assert_int_equal(stats_create(workers, &w->stats, &fd), E_OK);
    close(fd);
    w->in.stats = w->stats;
    buf_init(&w->out, TEXT_BYTES);
}

static void emit(struct world *w)
{
    buf_reset(&w->out);
    metrics_emit(&w->out, &w->in);
    assert_false(w->out.bad);
}

static bool has_line(struct world *w, const char *line)
{
    struct str text = buf_str(&w->out), one;
    while (str_cut(text, '\n', &one, &text)) {
        if (str_eq(one, str_from_cstr(line))) {
            return true;
        }
    }
    return false;
}

static void free_world(struct world *w)
{
    buf_fini(&w->out);
    stats_close(w->stats);
}

static void well_formed(void **state)
{
    struct world w;
    struct reader r;
    (void)state;
    make_world(&w, 3);
    stats_set(&w.stats->controller_pid, (uint64_t)getpid());
    emit(&w);
    read_all(&r, buf_str(&w.out));
    assert_true(r.sample_n > stats_counter_n);
    free_world(&w);
}

static void no_workers_at_all(void **state)
{
    struct world w;
    struct reader r;
    (void)state;
    make_world(&w, 0);
    emit(&w);
    read_all(&r, buf_str(&w.out));
    free_world(&w);
}

static void workers_are_summed(void **state)
{
    struct world w;
    (void)state;
    make_world(&w, 2);
    stats_add(&w.stats->workers[0].requests, 3);
    stats_add(&w.stats->workers[1].requests, 4);
    stats_add(&w.stats->workers[2].requests, 50); /* not one of the two */
    stats_add(&w.stats->workers[1].responses_4xx, 5);
    stats_add(&w.stats->workers[0].reasons[REASON_no_route], 2);
    stats_add(&w.stats->workers[1].reasons[REASON_no_route], 1);
    emit(&w);
    assert_true(has_line(&w, "lintel_requests_total 7"));
    assert_true(has_line(&w, "lintel_responses_total{class=\"4xx\"} 5"));
    assert_true(has_line(&w, "lintel_answers_total{reason=\"no_route\"} 3"));
    free_world(&w);
}

static void durations_of_handshakes(void **state)
{
    struct world w;
    (void)state;
    make_world(&w, 2);
    stats_durations_add(&w.stats->workers[0].tls_shaken_full, 2000);
    stats_durations_add(&w.stats->workers[1].tls_shaken_full, 2500);
    stats_durations_add(&w.stats->workers[1].tls_shaken_full, 11 * USEC_PER_SEC);
    stats_durations_add(&w.stats->workers[2].tls_shaken_full, 1); /* not one of the two */
    stats_durations_add(&w.stats->workers[0].tls_shaken_resumed, 100);
    emit(&w);
#define LINE(rest) has_line(&w, "lintel_tls_handshake_duration_seconds" rest)
    assert_true(LINE("_bucket{result=\"full\",le=\"0.001\"} 0"));
    assert_true(LINE("_bucket{result=\"full\",le=\"0.0025\"} 2"));
    assert_true(LINE("_bucket{result=\"full\",le=\"10\"} 2"));
    assert_true(LINE("_bucket{result=\"full\",le=\"+Inf\"} 3"));
    assert_true(LINE("_sum{result=\"full\"} 11.004500"));
    assert_true(LINE("_count{result=\"full\"} 3"));
    assert_true(LINE("_bucket{result=\"resumed\",le=\"0.0001\"} 1"));
    assert_true(LINE("_count{result=\"resumed\"} 1"));
#undef LINE
    assert_true(
        has_line(&w, "lintel_upstream_handshake_duration_seconds_count{result=\"full\"} 0"));
    free_world(&w);
}

static void what_belongs_to_one_worker_is_not_summed(void **state)
{
    struct world w;
    (void)state;
    make_world(&w, 2);
    stats_set(&w.stats->workers[0].generation, 8);
    stats_set(&w.stats->workers[1].generation, 9);
    stats_set(&w.stats->workers[1].generation_applied_us, 1500000);
    stats_set(&w.stats->generation, 9);
    emit(&w);
    assert_true(has_line(&w, "lintel_worker_generation{worker=\"0\"} 8"));
    assert_true(has_line(&w, "lintel_worker_generation{worker=\"1\"} 9"));
    assert_true(has_line(&w, "lintel_worker_generation_applied_seconds{worker=\"1\"} 1.500000"));
    assert_true(has_line(&w, "lintel_generation 9"));
    free_world(&w);
}

static void processes(void **state)
{
    struct world w;
    (void)state;
    make_world(&w, 1);
    stats_set(&w.stats->controller_pid, (uint64_t)getpid());
    stats_set(&w.stats->controller_restarts, 2);
    stats_set(&w.stats->workers[0].restarts, 4);
    emit(&w);
    assert_true(has_line(&w, "lintel_process_up{process=\"controller\"} 1"));
    assert_true(has_line(&w, "lintel_process_up{process=\"worker-0\"} 0"));
    assert_true(has_line(&w, "lintel_process_restarts_total{process=\"controller\"} 2"));
    assert_true(has_line(&w, "lintel_process_restarts_total{process=\"worker-0\"} 4"));
    buf_add_char(&w.out, 0);
    assert_non_null(
        strstr(w.out.p, "lintel_process_resident_memory_bytes{process=\"controller\"} "));
    assert_null(strstr(w.out.p, "lintel_process_resident_memory_bytes{process=\"worker-0\"}"));
    free_world(&w);
}

static void configuration(void **state)
{
    struct world w;
    (void)state;
    make_world(&w, 1);
    w.in.objects[OBJECT_INGRESS] = 12;
    w.in.diagnostics[DIAG_InvalidHost][DIAG_ERROR - DIAG_WARNING] = 3;
    w.in.diagnostics[DIAG_NoEndpoints][0] = 1;
    w.in.lag_last = 2500;
    w.in.batches = 5;
    emit(&w);
    assert_true(has_line(&w, "lintel_objects{kind=\"Ingress\"} 12"));
    assert_true(has_line(&w, "lintel_diagnostics{reason=\"InvalidHost\",severity=\"error\"} 3"));
    assert_true(has_line(&w, "lintel_diagnostics{reason=\"NoEndpoints\",severity=\"warning\"} 1"));
    assert_true(has_line(&w, "lintel_configuration_lag_seconds{value=\"last\"} 0.002500"));
    assert_true(has_line(&w, "lintel_compile_runs_total 5"));
    free_world(&w);
}

static void as_nginx_names_them(void **state)
{
    struct world w;
    (void)state;
    make_world(&w, 2);
    w.in.identity =
        (struct metrics_identity){STR("k8s.io/ingress-nginx"), STR("infra"), STR("p-1")};
    stats_set(&w.stats->workers[0].conns_active, 3);
    stats_set(&w.stats->workers[1].conns_idle, 5);
    stats_set(&w.stats->workers[0].requests_in_flight, 2);
    emit(&w);
    const char *constant = "controller_class=\"k8s.io/ingress-nginx\",controller_namespace="
                           "\"infra\",controller_pod=\"p-1\"";
    static const struct {
        const char *state, *value;
    } states[] = {
        {"active",  "8"},
        {"reading", "1"},
        {"writing", "2"},
        {"waiting", "5"},
    };
    for (size_t i = 0; i < 4; i++) {
        char line[400];
        (void)snprintf(line, sizeof(line),
                       "nginx_ingress_controller_nginx_process_connections{state=\"%s\",%s} %s",
                       states[i].state, constant, states[i].value);
        assert_true(has_line(&w, line));
    }
    free_world(&w);
}

static enum err two_orphans(void *arg, diag_fn *fn, void *fn_arg)
{
    struct diag d = {.reason = DIAG_NoEndpoints,
                     .kind = STR("Ingress"),
                     .namespace_name = STR("ns"),
                     .name = STR("in")};
    (void)arg;
    fn(fn_arg, &d);
    fn(fn_arg, &d); /* another path of the same Ingress */
    d.reason = DIAG_ServiceNotFound;
    fn(fn_arg, &d);
    d.reason = DIAG_InvalidHost;
    fn(fn_arg, &d);
    return E_OK;
}

static enum err many_orphans(void *arg, diag_fn *fn, void *fn_arg)
{
    char name[24];
    for (size_t i = 0; i < *(size_t *)arg; i++) {
        (void)snprintf(name, sizeof(name), "in-%zu", i);
        const struct diag d = {
            .reason = DIAG_NoEndpoints, .kind = STR("Ingress"), .name = str_from_cstr(name)};
        fn(fn_arg, &d);
    }
    return E_OK;
}

static size_t count_lines(struct world *w, const char *prefix)
{
    struct str text = buf_str(&w->out), one;
    size_t n = 0;
    while (str_cut(text, '\n', &one, &text)) {
        n += str_has_prefix(one, str_from_cstr(prefix));
    }
    return n;
}

static void orphans(void **state)
{
    struct world w;
    struct reader r;
    (void)state;
    make_world(&w, 1);
    w.in.each_diag = two_orphans;
    emit(&w);
    read_all(&r, buf_str(&w.out));
    assert_int_equal(
        count_lines(
            &w,
            "nginx_ingress_controller_orphan_ingress{namespace=\"ns\",ingress=\"in\",type=\"no-"),
        2);
    for (size_t n = METRICS_ORPHANS_MAX; n <= METRICS_ORPHANS_MAX + 1; n++) {
        w.in.each_diag = many_orphans;
        w.in.each_diag_arg = &n;
        emit(&w);
        assert_int_equal(count_lines(&w, "nginx_ingress_controller_orphan_ingress{"),
                         METRICS_ORPHANS_MAX);
    }
    free_world(&w);
}

/* ---- certificates ---- */

static void one_certificate(void *arg, metrics_certificate_fn *fn, void *fn_arg)
{
    fn(fn_arg, arg);
}

static void when_a_certificate_ends(void **state)
{
    struct world w;
    struct reader r;
    struct metrics_certificate c = {.namespace_name = STR("ns"),
                                    .secret = STR("cert"),
                                    .host = STR_EMPTY,
                                    .serial = STR("17"),
                                    .issuer_organization = STR("\"Shop\"\n"),
                                    .issuer_common_name = STR("Root"),
                                    .issuer_serial = STR("abc"),
                                    .key_algorithm = "ECDSA",
                                    .not_after = 1800000000};
    (void)state;
    make_world(&w, 1);
    w.in.identity.class_name = STR("class");
    w.in.each_certificate = one_certificate;
    w.in.each_certificate_arg = &c;
    emit(&w);
    read_all(&r, buf_str(&w.out));
#define OF_CERTIFICATE                                                                             \
    "{namespace=\"ns\",class=\"class\",host=\"_\",secret_name=\"cert\",identifier=\"abc-17\","
    assert_int_equal(count_lines(&w,
                                 "nginx_ingress_controller_ssl_expire_time_seconds" OF_CERTIFICATE
                                 "controller_"),
                     1);
    assert_int_equal(
        count_lines(&w, "nginx_ingress_controller_ssl_certificate_info" OF_CERTIFICATE
                        "issuer_organization=\"\\\"Shop\\\"\\n\",issuer_common_name=\"Root\","
                        "serial_number=\"17\",public_key_algorithm=\"ECDSA\",controller_"),
        1);
    assert_true(has_line(&w, "lintel_certificates 1"));
    free_world(&w);
}

struct many {
    size_t n, first_end; /* ends of the certificates: first_end, first_end - 1, ... */
};

static void many_certificates(void *arg, metrics_certificate_fn *fn, void *fn_arg)
{
    const struct many *m = arg;
    for (size_t i = 0; i < m->n; i++) {
        const struct metrics_certificate c = {.namespace_name = STR("ns"),
                                              .secret = STR("cert"),
                                              .host = STR("h"),
                                              .serial = STR("1"),
                                              .key_algorithm = "RSA",
                                              .not_after = (int64_t)(m->first_end - i)};
        fn(fn_arg, &c);
    }
}

/* Those that end first are kept, in whatever order they come. */
static void too_many_certificates(void **state)
{
    static const size_t ns[] = {METRICS_CERTIFICATES_MAX, METRICS_CERTIFICATES_MAX + 1,
                                3 * METRICS_CERTIFICATES_MAX + 7};
    struct world w;
    (void)state;
    make_world(&w, 1);
    w.in.each_certificate = many_certificates;
    for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++) {
        struct many m = {ns[i], 1000000};
        char line[100];
        w.in.each_certificate_arg = &m;
        emit(&w);
        assert_int_equal(count_lines(&w, "nginx_ingress_controller_ssl_expire_time_seconds{"),
                         METRICS_CERTIFICATES_MAX);
        (void)snprintf(line, sizeof(line), "lintel_certificates %zu", ns[i]);
        assert_true(has_line(&w, line));
        (void)snprintf(line, sizeof(line), "lintel_certificates_omitted %zu",
                       ns[i] - METRICS_CERTIFICATES_MAX);
        assert_true(has_line(&w, line));
        (void)snprintf(line, sizeof(line), "} %zu\n", m.first_end - (ns[i] - 1));
        assert_non_null(memmem(w.out.p, w.out.n, line, strlen(line)));
        (void)snprintf(line, sizeof(line), "} %zu\n",
                       m.first_end - (ns[i] - METRICS_CERTIFICATES_MAX) + 1);
        assert_null(memmem(w.out.p, w.out.n, line, strlen(line)));
    }
    free_world(&w);
}

static void how_far_a_worker_is_behind(void **state)
{
    struct world w;
    (void)state;
    make_world(&w, 2);
    stats_set(&w.stats->generation, 9);
    stats_set(&w.stats->generation_published_us, clock_wall() - 3600 * USEC_PER_SEC);
    stats_set(&w.stats->workers[0].generation, 9);
    stats_set(&w.stats->workers[1].generation, 8);
    stats_set(&w.stats->workers[1].pid, 1);
    emit(&w);
    assert_true(has_line(&w, "lintel_worker_configuration_lag_seconds{worker=\"0\"} 0.000000"));
    assert_int_equal(count_lines(&w, "lintel_worker_configuration_lag_seconds{worker=\"1\"} 3600."),
                     1);
    assert_int_equal(count_lines(&w, "nginx_ingress_controller_config_last_reload_successful{"), 1);
    buf_add_char(&w.out, 0);
    assert_non_null(strstr(w.out.p, "config_last_reload_successful{controller_class=\"\","
                                    "controller_namespace=\"\",controller_pod=\"\"} 0\n"));
    free_world(&w);
}

/* ---- series ---- */

static const struct series_sample sample = {.now = 1000,
                                            .duration = 7000,
                                            .connect = 300,
                                            .header = 5000,
                                            .response = 6000,
                                            .request_bytes = 100,
                                            .response_bytes = 5000};

/* Requests without a route, which need no snapshot. */
static void record(struct world *w, uint32_t worker, uint16_t status, enum reason reason, size_t n)
{
    struct series_table *table;
    const struct series_key k = {.method = STR("GET"), .status = status, .reason = reason};
    assert_int_equal(series_table_new(w->stats, worker, &table), E_OK);
    for (size_t i = 0; i < n; i++) {
        series_record(table, &k, &sample);
    }
    series_table_free(table);
}

static void scrape(struct world *w, size_t piece)
{
    struct metrics_scrape s;
    bool is_more = true;
    buf_reset(&w->out);
    assert_int_equal(metrics_scrape_init(&s, w->stats, &w->in.identity), E_OK);
    for (size_t bytes = piece; is_more; bytes = w->out.n + piece) {
        is_more = metrics_scrape_step(&s, &w->out, bytes);
    }
    metrics_scrape_fini(&s);
    assert_false(w->out.bad);
}

#define LABELS(status)                                                                             \
    "controller_class=\"c\",controller_namespace=\"\",controller_pod=\"\",namespace=\"\","         \
    "ingress=\"\",service=\"\",host=\"_\",path=\"\",method=\"GET\",status=\"" status "\""

static void series_of_all_workers_are_summed(void **state)
{
    struct world w;
    struct reader r;
    (void)state;
    make_world(&w, 2);
    w.in.identity.class_name = STR("c");
    record(&w, 0, 404, REASON_no_route, 2);
    record(&w, 1, 404, REASON_no_route, 3);
    record(&w, 1, 404, REASON_none, 4); /* a filter's own 404, say */
    record(&w, 1, 200, REASON_none, 1);
    scrape(&w, 1 << 20);
    read_all(&r, buf_str(&w.out));
    assert_true(has_line(&w, "nginx_ingress_controller_requests{" LABELS("404") "} 9"));
    assert_true(has_line(&w, "nginx_ingress_controller_requests{" LABELS("200") "} 1"));
    assert_true(
        has_line(&w, "lintel_route_answers_total{" LABELS("404") ",reason=\"no_route\"} 5"));
    assert_int_equal(count_lines(&w, "lintel_route_answers_total{"), 1);
#define HISTOGRAM "nginx_ingress_controller_request_duration_seconds"
    assert_true(has_line(&w, HISTOGRAM "_bucket{" LABELS("404") ",le=\"0.005\"} 0"));
    assert_true(has_line(&w, HISTOGRAM "_bucket{" LABELS("404") ",le=\"0.01\"} 9"));
    assert_true(has_line(&w, HISTOGRAM "_bucket{" LABELS("404") ",le=\"+Inf\"} 9"));
    assert_true(has_line(&w, HISTOGRAM "_sum{" LABELS("404") "} 0.063000"));
    assert_true(has_line(&w, HISTOGRAM "_count{" LABELS("404") "} 9"));
    assert_int_equal(count_lines(&w, HISTOGRAM "_bucket{"),
                     2 * 12); /* as many as ingress-nginx has */
    assert_true(has_line(&w, "nginx_ingress_controller_connect_duration_seconds_bucket{" LABELS(
                                 "404") ",le=\"0.005\"} 9"));
    assert_true(
        has_line(&w, "nginx_ingress_controller_response_size_sum{" LABELS("404") "} 45000"));
    assert_true(has_line(&w, "nginx_ingress_controller_bytes_sent_sum{" LABELS("404") "} 45000"));
    free_world(&w);
}

static void pieces_of_any_size_give_the_same(void **state)
{
    struct world w;
    struct buf whole;
    (void)state;
    make_world(&w, 2);
    record(&w, 0, 404, REASON_no_route, 2);
    record(&w, 1, 200, REASON_none, 3);
    scrape(&w, 1 << 20);
    buf_init(&whole, TEXT_BYTES);
    buf_add_str(&whole, buf_str(&w.out));
    for (size_t piece = 1; piece < 5000; piece += 611) {
        scrape(&w, piece);
        assert_true(str_eq(buf_str(&whole), buf_str(&w.out)));
    }
    buf_fini(&whole);
    free_world(&w);
}

/* Between two pieces everything ends: what was begun stays well-formed. */
static void series_that_end_during_a_scrape(void **state)
{
    struct world w;
    struct reader r;
    struct metrics_scrape s;
    (void)state;
    make_world(&w, 1);
    for (uint16_t status = 200; status < 300; status++) {
        record(&w, 0, status, REASON_none, 1);
    }
    assert_int_equal(metrics_scrape_init(&s, w.stats, &w.in.identity), E_OK);
    assert_true(metrics_scrape_step(&s, &w.out, 1000));
    for (size_t i = 1; i <= 100; i++) {
        struct series *at = &series_region(w.stats, 0)->items[i];
        stats_set(&at->version, stats_get(&at->version) + 4);
    }
    while (metrics_scrape_step(&s, &w.out, w.out.n + 1000)) {
    }
    metrics_scrape_fini(&s);
    read_all(&r, buf_str(&w.out));
    assert_int_equal(count_lines(&w, "nginx_ingress_controller_request_size_count{"), 0);
    free_world(&w);
}

static void totals(void **state)
{
    struct world w;
    (void)state;
    make_world(&w, 2);
    record(&w, 0, 404, REASON_no_route, 2);
    record(&w, 1, 200, REASON_none, 3);
    emit(&w);
    assert_true(has_line(&w, "lintel_request_duration_seconds_bucket{le=\"0.005\"} 0"));
    assert_true(has_line(&w, "lintel_request_duration_seconds_bucket{le=\"0.01\"} 5"));
    assert_true(has_line(&w, "lintel_request_duration_seconds_sum 0.035000"));
    assert_true(has_line(&w, "lintel_upstream_connect_duration_seconds_bucket{le=\"0.00025\"} 0"));
    assert_true(has_line(&w, "lintel_upstream_connect_duration_seconds_bucket{le=\"0.0005\"} 5"));
    assert_true(has_line(&w, "lintel_response_size_bytes_bucket{le=\"16384\"} 5"));
    assert_true(has_line(&w, "lintel_series 2"));
    free_world(&w);
}

static void out_of_memory(void **state)
{
    struct world w;
    struct metrics_scrape s;
    (void)state;
    make_world(&w, 1);
    record(&w, 0, 404, REASON_no_route, 2);
    mem_fail_from(1);
    enum err e = metrics_scrape_init(&s, w.stats, &w.in.identity);
    enum err top = top_emit(&w.out, &w.in);
    mem_fail_from(0);
    assert_int_equal(e, E_NOMEM);
    assert_true(top == E_NOMEM || w.out.bad);
    metrics_scrape_fini(&s);
    free_world(&w);
}

static void labels_are_escaped(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 100);
    metrics_label_escape(&b, STR("a\"b\\c\nd"));
    assert_true(str_eq(buf_str(&b), STR("a\\\"b\\\\c\\nd")));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed),
        cmocka_unit_test(no_workers_at_all),
        cmocka_unit_test(workers_are_summed),
        cmocka_unit_test(durations_of_handshakes),
        cmocka_unit_test(what_belongs_to_one_worker_is_not_summed),
        cmocka_unit_test(processes),
        cmocka_unit_test(configuration),
        cmocka_unit_test(as_nginx_names_them),
        cmocka_unit_test(orphans),
        cmocka_unit_test(when_a_certificate_ends),
        cmocka_unit_test(too_many_certificates),
        cmocka_unit_test(how_far_a_worker_is_behind),
        cmocka_unit_test(series_of_all_workers_are_summed),
        cmocka_unit_test(pieces_of_any_size_give_the_same),
        cmocka_unit_test(series_that_end_during_a_scrape),
        cmocka_unit_test(totals),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(labels_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
