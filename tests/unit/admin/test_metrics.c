/* admin/metrics: the Prometheus text format, checked strictly, and the numbers in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admin/metrics.h"
#include "stats/stats.h"

#include <string.h>
#include <unistd.h>

enum { FAMILIES_MAX = 200, TEXT_BYTES = 1 << 20 };

/* ---- a strict reader ---- */

struct reader {
    struct str families[FAMILIES_MAX]; /* in order; each may come once */
    size_t family_n;
    size_t sample_n;
    bool has_help, has_type; /* of the present family */
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
    assert_true(str_eq(type, STR("counter")) || str_eq(type, STR("gauge")));
    assert_int_equal(str_eq(type, STR("counter")), str_has_suffix(name, STR("_total")));
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

static void read_sample(struct reader *r, struct str line)
{
    size_t end = line.n;
    while (end > 0 && line.p[end - 1] != ' ') {
        end--;
    }
    assert_true(end > 0 && is_number(str_from(line, end)));
    struct str series = str_first(line, end - 1);
    size_t brace = str_find(series, '{');
    assert_true(r->has_type && str_eq(str_first(series, brace), r->families[r->family_n - 1]));
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
        cmocka_unit_test(what_belongs_to_one_worker_is_not_summed),
        cmocka_unit_test(processes),
        cmocka_unit_test(configuration),
        cmocka_unit_test(labels_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
