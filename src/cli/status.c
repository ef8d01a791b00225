/* lintel status: one page on what is served: of the objects of manifests or a cluster, of a running
 * Lintel, or of both. */
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/grid.h"
#include "cli/out.h"
#include "cli/status_facts.h"

#include "admin/handler.h"
#include "document/json_write.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { DIAGS_SHOWN = 5, LACKING_SHOWN = 5, LINE_BYTES_MAX = 64 << 10 };

struct status {
    const struct cli_args *args;
    const struct offline *o;          /* NULL: no objects were asked for */
    const struct status_facts *facts; /* of o */
    const struct top_sample *running; /* NULL: no server was asked */
    bool is_ready;                    /* it; and why not */
    struct str why_not;
    struct buf *out;
    bool has_color;
};

/* ---- text ---- */

static void label(const struct status *s, const char *name)
{
    enum { WIDTH = 13 };
    struct str text = str_from_cstr(name);
    grid_paint(s->out, GRID_HEAD, s->has_color, text);
    for (size_t i = text.n; i < WIDTH; i++) {
        buf_add_char(s->out, ' ');
    }
}

static void line(const struct status *s, const char *name, enum grid_color color,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));

static void line(const struct status *s, const char *name, enum grid_color color,
                 const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t kept = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    label(s, name);
    grid_paint(s->out, color, s->has_color, str_make(text, kept));
    buf_add_char(s->out, '\n');
}

static bool is_publishing(const struct status *s)
{
    return s->o->client != NULL || s->facts->addresses.n > 0;
}

static void text_published(const struct status *s)
{
    const struct status_facts *f = s->facts;
    size_t shown = 0;
    if (!is_publishing(s) || f->ours_n == 0) {
        return; /* manifests have no status */
    }
    struct str addresses = f->addresses.n > 0 ? buf_str(&f->addresses) : STR("no address");
    line(s, "published", f->lacking_n > 0 ? GRID_WARNING : GRID_PLAIN, "%zu of %zu at %.*s",
         f->ours_n - f->lacking_n, f->ours_n, STR_ARG(addresses));
    for (size_t i = 0; i < f->ours_n && shown < LACKING_SHOWN; i++) {
        const struct object *o = &f->ingresses[i]->object;
        if (f->ingresses[i]->published_n == 0) {
            line(s, "", GRID_WARNING, "%.*s/%.*s has none", STR_ARG(o->namespace_name),
                 STR_ARG(o->name));
            shown++;
        }
    }
    if (f->lacking_n > shown) {
        line(s, "", GRID_WARNING, "and %zu more", f->lacking_n - shown);
    }
}

static void line_unread(const struct status *s, const char *name, const struct status_read *r)
{
    if (r->error == E_NOTFOUND) {
        line(s, name, GRID_WARNING, "there is none in namespace %.*s (--namespace)",
             STR_ARG(cli_text(s->args, CLI_OPT_namespace)));
    } else if (r->status != 0) {
        line(s, name, GRID_PLAIN, "cannot be read (%u)", r->status);
    } else {
        line(s, name, GRID_PLAIN, "cannot be read: %s", err_text(r->error));
    }
}

static void text_cluster(const struct status *s)
{
    const struct status_facts *f = s->facts;
    if (s->o->client == NULL) {
        return;
    }
    if (f->lease.error != E_OK) {
        line_unread(s, "leader", &f->lease);
    } else if (f->leader.n == 0) {
        line(s, "leader", GRID_WARNING, "nobody");
    } else {
        line(s, "leader", GRID_PLAIN, "%.*s", STR_ARG(buf_str(&f->leader)));
    }
    if (f->pods.error != E_OK) {
        line_unread(s, "pods", &f->pods);
        return;
    }
    line(s, "pods", f->pod_ready_n < f->pod_n ? GRID_WARNING : GRID_PLAIN, "%zu of %zu ready",
         f->pod_ready_n, f->pod_n);
}

static void text_diags(const struct status *s)
{
    const struct status_facts *f = s->facts;
    size_t shown = 0;
    enum grid_color color = f->errors > 0 ? GRID_BAD : f->warnings > 0 ? GRID_WARNING : GRID_GOOD;
    line(s, "diagnostics", color, "%zu error%s, %zu warning%s", f->errors,
         f->errors == 1 ? "" : "s", f->warnings, f->warnings == 1 ? "" : "s");
    for (int severity = DIAG_ERROR; severity >= DIAG_WARNING; severity--) {
        for (size_t i = 0; i < diag_list_n(f->diags) && shown < DIAGS_SHOWN; i++) {
            const struct diag *d = diag_list_get(f->diags, i);
            if ((int)d->severity == severity) {
                struct buf text;
                buf_init(&text, LINE_BYTES_MAX);
                diag_emit_text(&text, d);
                buf_add_str(s->out, STR("  "));
                grid_paint(s->out, severity == DIAG_ERROR ? GRID_BAD : GRID_WARNING, s->has_color,
                           buf_str(&text));
                buf_add_char(s->out, '\n');
                buf_fini(&text);
                shown++;
            }
        }
    }
    if (shown < f->errors + f->warnings) {
        buf_addf(s->out, "  and %zu more: lintel check\n", f->errors + f->warnings - shown);
    }
}

static void text_objects(const struct status *s)
{
    const struct status_facts *f = s->facts;
    struct str classes = f->classes.n > 0 ? buf_str(&f->classes) : STR("no IngressClass");
    line(s, "class", f->classes.n > 0 ? GRID_PLAIN : GRID_WARNING, "%.*s (%.*s)", STR_ARG(classes),
         STR_ARG(s->o->options.controller));
    line(s, "ingresses", GRID_PLAIN, "%zu ours, %zu not ours", f->ours_n, f->others_n);
    line(s, "hosts", GRID_PLAIN, "%zu with %zu route%s", f->host_n, f->route_n,
         f->route_n == 1 ? "" : "s");
    line(s, "services", f->service_bad_n > 0 ? GRID_WARNING : GRID_PLAIN,
         "%zu port%s in use, %zu without an endpoint", f->service_n, f->service_n == 1 ? "" : "s",
         f->service_bad_n);
    line(s, "endpoints", GRID_PLAIN, "%zu used, %zu not used", f->used_n, f->unused_n);
    text_published(s);
    text_cluster(s);
    text_diags(s);
}

static size_t workers(const struct top_sample *t, size_t *ret_running)
{
    size_t n = 0;
    *ret_running = 0;
    for (size_t i = 0; i < t->process_n; i++) {
        bool is_worker = str_has_prefix(t->processes[i].name, STR("worker"));
        n += is_worker;
        *ret_running += is_worker && t->processes[i].is_running;
    }
    return n;
}

static void text_api(const struct status *s)
{
    const struct top_sample *t = s->running;
    for (size_t i = 0; i < t->resource_n; i++) {
        const struct top_resource *r = &t->resources[i];
        if (!r->is_healthy) {
            line(s, "api", GRID_BAD, "%.*s not heard of for %llu s", STR_ARG(r->name),
                 (unsigned long long)(r->silence / USEC_PER_SEC));
        }
    }
}

static void text_running(const struct status *s)
{
    const struct top_sample *t = s->running;
    size_t running, all = workers(t, &running);
    usec_t age = t->scalars[TOP_saved_age_us];
    buf_add_str(s->out, s->o != NULL ? STR("\n") : STR_EMPTY);
    line(s, "lintel", s->is_ready ? GRID_GOOD : GRID_BAD, "%.*s at %.*s: %s%.*s",
         STR_ARG(t->version), STR_ARG(cli_text(s->args, CLI_OPT_server)),
         s->is_ready ? "ready" : "not ready: ", STR_ARG(s->why_not));
    line(s, "generation", GRID_PLAIN, "%llu", (unsigned long long)t->scalars[TOP_generation]);
    line(s, "workers", running < all ? GRID_BAD : GRID_PLAIN, "%zu of %zu run", running, all);
    if (age > 0) {
        line(s, "snapshot", GRID_WARNING, "a saved one is served, %llu s old",
             (unsigned long long)(age / USEC_PER_SEC));
    }
    text_api(s);
    line(s, "diagnostics", t->scalars[TOP_errors] > 0 ? GRID_BAD : GRID_PLAIN,
         "%llu errors, %llu warnings", (unsigned long long)t->scalars[TOP_errors],
         (unsigned long long)t->scalars[TOP_warnings]);
}

/* ---- JSON ---- */

static void json_lacking(struct json *j, const struct status_facts *f)
{
    json_name(j, "withoutAddress");
    json_array(j);
    for (size_t i = 0; i < f->ours_n; i++) {
        const struct object *o = &f->ingresses[i]->object;
        if (f->ingresses[i]->published_n == 0) {
            json_object(j);
            json_name_str(j, "namespace", o->namespace_name);
            json_name_str(j, "name", o->name);
            json_end_object(j);
        }
    }
    json_end_array(j);
}

static void json_cluster(struct json *j, const struct status_facts *f)
{
    if (f->lease.error == E_OK) {
        json_name_str(j, "leader", buf_str(&f->leader));
    }
    if (f->pods.error == E_OK) {
        json_name_u64(j, "pods", f->pod_n);
        json_name_u64(j, "podsReady", f->pod_ready_n);
    }
}

static void json_objects(struct json *j, const struct status *s)
{
    const struct status_facts *f = s->facts;
    json_name(j, "objects");
    json_object(j);
    json_name_str(j, "classes", buf_str(&f->classes));
    json_name_u64(j, "ingresses", f->ours_n);
    json_name_u64(j, "ingressesNotOurs", f->others_n);
    json_name_u64(j, "hosts", f->host_n);
    json_name_u64(j, "routes", f->route_n);
    json_name_u64(j, "servicePorts", f->service_n);
    json_name_u64(j, "servicePortsWithoutEndpoint", f->service_bad_n);
    json_name_u64(j, "endpointsUsed", f->used_n);
    json_name_u64(j, "endpointsNotUsed", f->unused_n);
    json_name_str(j, "addresses", buf_str(&f->addresses));
    json_lacking(j, f);
    if (s->o->client != NULL) {
        json_cluster(j, f);
    }
    json_name_u64(j, "errors", f->errors);
    json_name_u64(j, "warnings", f->warnings);
    json_name(j, "diagnostics");
    json_array(j);
    for (size_t i = 0; i < diag_list_n(f->diags); i++) {
        admin_diag_json(j, diag_list_get(f->diags, i));
    }
    json_end_array(j);
    json_end_object(j);
}

static void json_running(struct json *j, const struct status *s)
{
    const struct top_sample *t = s->running;
    size_t running, all = workers(t, &running);
    json_name(j, "running");
    json_object(j);
    json_name_str(j, "version", t->version);
    json_name_bool(j, "ready", s->is_ready);
    json_name_str(j, "whyNot", s->why_not);
    json_name_u64(j, "generation", t->scalars[TOP_generation]);
    json_name_u64(j, "workers", all);
    json_name_u64(j, "workersRunning", running);
    json_name_u64(j, "savedSnapshotAgeSeconds", t->scalars[TOP_saved_age_us] / USEC_PER_SEC);
    json_name_u64(j, "errors", t->scalars[TOP_errors]);
    json_name_u64(j, "warnings", t->scalars[TOP_warnings]);
    json_name(j, "api");
    json_array(j);
    for (size_t i = 0; i < t->resource_n; i++) {
        json_object(j);
        json_name_str(j, "resource", t->resources[i].name);
        json_name_bool(j, "healthy", t->resources[i].is_healthy);
        json_name_u64(j, "objects", t->resources[i].objects);
        json_name_u64(j, "silenceSeconds", t->resources[i].silence / USEC_PER_SEC);
        json_end_object(j);
    }
    json_end_array(j);
    json_end_object(j);
}

/* ---- the command ---- */

static void emit_json(const struct status *s)
{
    struct json j = json_make(s->out, true);
    json_object(&j);
    if (s->o != NULL) {
        json_objects(&j, s);
    }
    if (s->running != NULL) {
        json_running(&j, s);
    }
    json_end_object(&j);
    json_finish(&j);
}

static bool is_well(const struct status *s)
{
    bool are_objects_well =
        s->o == NULL || (s->facts->errors == 0 && diag_list_dropped(s->facts->diags) == 0);
    return are_objects_well && (s->running == NULL || s->is_ready);
}

static int show(struct status *s)
{
    struct buf out;
    buf_init(&out, CLI_OUT_BYTES_MAX);
    s->out = &out;
    s->has_color = out_has_color(STDOUT_FILENO);
    if (cli_number(s->args, CLI_OPT_output) == 1) {
        emit_json(s);
    } else {
        if (s->o != NULL) {
            text_objects(s);
        }
        if (s->running != NULL) {
            text_running(s);
        }
    }
    int status = out_result(&out);
    buf_fini(&out);
    return is_well(s) ? status : EXIT_BAD;
}

/* Adds what the server says, if one was named. */
static int ask_and_show(struct status *s)
{
    struct top_sample running = {0};
    struct ask_answer ready = {0};
    struct str server = cli_text(s->args, CLI_OPT_server);
    int status = EXIT_BAD;
    if (server.n == 0) {
        return show(s);
    }
    if (command_ask_top(s->args, &running) == E_OK && ask(&ready, server, STR("/readyz")) == E_OK) {
        struct str rest;
        s->running = &running;
        s->is_ready = ready.status == 200;
        s->why_not = STR_EMPTY;
        if (!s->is_ready) {
            (void)str_cut(ready.body, '\n', &s->why_not, &rest); /* one reason is enough */
        }
        status = show(s);
    }
    ask_fini(&ready);
    top_sample_fini(&running);
    return status;
}

static int report(const struct cli_args *a, const struct offline *o)
{
    struct status_facts facts;
    int status = EXIT_BAD;
    if (status_facts_fill(&facts, o) == E_OK) {
        if (o->client != NULL) {
            status_facts_ask(&facts, o, cli_text(a, CLI_OPT_namespace),
                             cli_text(a, CLI_OPT_election_id));
        }
        status = ask_and_show(&(struct status){.args = a, .o = o, .facts = &facts});
    } else {
        out_complain("out of memory");
    }
    status_facts_fini(&facts);
    return status;
}

int command_status(const struct cli_args *a)
{
    bool has_objects = cli_is_given(a, CLI_OPT_manifests) || cli_is_given(a, CLI_OPT_kubeconfig);
    if (has_objects) {
        return command_with_objects(a, report);
    }
    if (!cli_is_given(a, CLI_OPT_server)) {
        out_complain("status needs at least one of --manifests DIR, --kubeconfig FILE and --server "
                     "ADDR: what shall it look at?");
        return EXIT_USAGE;
    }
    return command_source_is_right(a) ? ask_and_show(&(struct status){.args = a}) : EXIT_USAGE;
}
