/* What the health port answers: paths to views. Pure: a request in, a status and a body out. */
#include "admin/handler.h"

#include "admin/params.h"
#include "admin/top.h"
#include "base/mem.h"
#include "document/json_write.h"
#include "wire/uri.h"

enum { PARAMS_BYTES_MAX = 256 * 1024, EXPLAIN_FIELDS_MAX = 64 };

#define TYPE_TEXT    "text/plain; charset=utf-8"
#define TYPE_JSON    "application/json"
#define TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"

struct call {
    const struct admin_views *views;
    struct str query;
    struct admin_response *response;
};

static void answer_error(struct admin_response *r, uint16_t status, const char *error,
                         const char *message)
{
    struct json j = json_make(&r->body, false);
    r->status = status;
    r->type = TYPE_JSON;
    json_object(&j);
    json_name_cstr(&j, "error", error);
    json_name_cstr(&j, "message", message);
    json_end_object(&j);
    json_finish(&j);
}

static void answer_text(struct admin_response *r, uint16_t status)
{
    r->status = status;
    r->type = TYPE_TEXT;
}

/* ---- health ---- */

bool admin_is_ready(const struct stats_area *stats, struct buf *out)
{
    bool is_ready = true;
    uint32_t running = 0;
    if (stats_get(&stats->is_draining) != 0) {
        buf_add_str(out, STR("draining: SIGTERM has come\n"));
        is_ready = false;
    }
    for (uint32_t i = 0; i < stats->worker_n; i++) {
        running += stats_get(&stats->workers[i].pid) != 0;
        if (stats_get(&stats->workers[i].generation) == 0) {
            buf_addf(out, "worker %u has no configuration yet\n", i);
            is_ready = false;
        }
    }
    /* One worker that is being restarted does not take the others out of service. */
    if (running == 0) {
        buf_add_str(out, STR("no worker is running\n"));
        is_ready = false;
    }
    return is_ready;
}

static void view_healthz(const struct call *c)
{
    buf_add_str(&c->response->body, STR("ok\n")); /* the loop is alive, or nobody would answer */
    answer_text(c->response, 200);
}

static void view_readyz(const struct call *c)
{
    bool is_ready = admin_is_ready(c->views->stats, &c->response->body);
    if (is_ready) {
        buf_add_str(&c->response->body, STR("ok\n"));
    }
    answer_text(c->response, is_ready ? 200 : 503);
}

static struct metrics_input metrics_of(const struct call *c)
{
    struct metrics_input in = {
        .stats = c->views->stats, .each_diag = c->views->each_diag, .each_diag_arg = c->views->arg};
    c->views->metrics(c->views->arg, &in);
    return in;
}

void admin_response_drop_rest(struct admin_response *r)
{
    if (r->scrape != NULL) {
        metrics_scrape_fini(r->scrape);
        mem_free(r->scrape);
        r->scrape = NULL;
    }
    certs_page_free(r->page);
    r->page = NULL;
}

static void view_metrics(const struct call *c)
{
    struct admin_response *r = c->response;
    struct metrics_input in = metrics_of(c);
    r->scrape = mem_calloc(1, sizeof(*r->scrape));
    if (r->scrape == NULL ||
        metrics_scrape_init(r->scrape, c->views->stats, &in.identity) != E_OK) {
        admin_response_drop_rest(r);
        answer_error(r, 500, "internal", "out of memory");
        return;
    }
    metrics_emit(&r->body, &in);
    if (c->views->further_metrics != NULL) {
        c->views->further_metrics(c->views->further_arg, &r->body);
    }
    r->status = 200;
    r->type = TYPE_METRICS;
}

/* ---- debug views ---- */

struct debug_params {
    struct arena arena;
    bool is_text, has_color; /* these views are for programs, unless they ask otherwise */
    struct str url;
    struct explain_request explain;
    struct field fields[EXPLAIN_FIELDS_MAX];
};

static bool take_param(struct debug_params *p, struct str name, struct str value)
{
    struct explain_request *e = &p->explain;
    if (str_eq(name, STR("output"))) {
        p->is_text = str_eq(value, STR("text"));
        return p->is_text || str_eq(value, STR("json"));
    }
    if (str_eq(name, STR("color"))) {
        p->has_color = str_eq(value, STR("1"));
        return true;
    }
    if (str_eq(name, STR("header"))) {
        struct field *f = &p->fields[e->field_n];
        if (e->field_n == EXPLAIN_FIELDS_MAX || !str_cut(value, ':', &f->name, &f->value)) {
            return false;
        }
        f->value = str_trim(f->value);
        e->field_n++;
        return true;
    }
    if (str_eq(name, STR("scheme"))) {
        e->scheme = value;
        return str_eq(value, STR("http")) || str_eq(value, STR("https"));
    }
    struct str *to = str_eq(name, STR("url"))         ? &p->url
                     : str_eq(name, STR("authority")) ? &e->authority
                     : str_eq(name, STR("target"))    ? &e->target
                     : str_eq(name, STR("method"))    ? &e->method
                     : str_eq(name, STR("listener"))  ? &e->listener
                                                      : NULL;
    if (to == NULL) {
        return false;
    }
    *to = value;
    return true;
}

static bool params_parse(struct debug_params *p, struct str query)
{
    struct str name, value;
    enum err e;
    p->explain = (struct explain_request){.method = STR("GET"), .fields = p->fields};
    while (params_next(&query, &p->arena, &name, &value, &e)) {
        if (!take_param(p, name, value)) {
            return false;
        }
    }
    return e == E_OK;
}

static void show_explain(const struct call *c, struct debug_params *p)
{
    struct admin_response *r = c->response;
    struct explain_world world = c->views->world(c->views->arg);
    struct explanation e;
    bool is_in_parts = p->url.n == 0 && p->explain.target.n > 0;
    if (!is_in_parts && explain_request_set_url(&p->explain, p->url) != E_OK) {
        answer_error(r, 400, "bad_request",
                     "there is neither url=http://HOST/PATH nor authority=HOST and target=/PATH");
        return;
    }
    if (explain_init(&e, &world, &p->explain) != E_OK) {
        answer_error(r, 500, "internal", "the explanation does not fit into memory");
        return;
    }
    if (p->is_text) {
        explain_emit_text(&r->body, &e, p->has_color);
    } else {
        explain_emit_json(&r->body, &e);
    }
    r->status = 200;
    r->type = p->is_text ? TYPE_TEXT : TYPE_JSON;
    r->outcome = e.reason == REASON_none || e.reason == REASON_redirect ? "served" : "refused";
    explain_fini(&e);
}

static void show_dump(const struct call *c, struct debug_params *p)
{
    c->views->dump(c->views->arg, !p->is_text, &c->response->body);
    c->response->status = 200;
    c->response->type = p->is_text ? TYPE_TEXT : TYPE_JSON;
}

static void add_diag_line(void *arg, const struct diag *d)
{
    struct buf *out = arg;
    diag_emit_text(out, d);
    buf_add_char(out, '\n');
}

void admin_diag_json(void *json, const struct diag *d)
{
    struct json *j = json;
    json_object(j);
    json_name_cstr(j, "severity", d->severity == DIAG_ERROR ? "error" : "warning");
    json_name_cstr(j, "reason", diag_reason_name(d->reason));
    json_name_str(j, "file", d->file);
    json_name_u64(j, "line", d->line);
    json_name_str(j, "kind", d->kind);
    json_name_str(j, "namespace", d->namespace_name);
    json_name_str(j, "name", d->name);
    json_name_str(j, "field", d->field);
    json_name_str(j, "what", d->what);
    json_name_str(j, "why", d->why);
    json_name_str(j, "mend", d->mend);
    json_end_object(j);
}

static void show_diagnostics(const struct call *c, struct debug_params *p)
{
    struct admin_response *r = c->response;
    struct json j = json_make(&r->body, true);
    enum err e;
    if (!p->is_text) {
        json_array(&j);
        e = c->views->each_diag(c->views->arg, admin_diag_json, &j);
        json_end_array(&j);
        json_finish(&j);
    } else {
        e = c->views->each_diag(c->views->arg, add_diag_line, &r->body);
    }
    r->body.bad = r->body.bad || e != E_OK;
    r->status = 200;
    r->type = p->is_text ? TYPE_TEXT : TYPE_JSON;
}

static void view_certs(const struct call *c)
{
    struct admin_response *r = c->response;
    struct certs_world world = c->views->certs(c->views->arg);
    r->body.bad = r->body.bad || certs_page_new(&world, &r->page) != E_OK;
    r->status = 200;
    r->type = TYPE_JSON;
}

static void view_top(const struct call *c)
{
    struct metrics_input in = metrics_of(c);
    c->response->body.bad = top_emit(&c->response->body, &in) != E_OK || c->response->body.bad;
    c->response->status = 200;
    c->response->type = TYPE_JSON;
}

typedef void show_fn(const struct call *c, struct debug_params *p);

static void view_debug(const struct call *c, show_fn *show)
{
    struct debug_params *p = mem_calloc(1, sizeof(*p));
    if (p == NULL) {
        answer_error(c->response, 500, "internal", "out of memory");
        return;
    }
    arena_init(&p->arena, PARAMS_BYTES_MAX);
    if (params_parse(p, c->query)) {
        show(c, p);
    } else {
        answer_error(c->response, 400, "bad_request",
                     "a parameter is unknown or malformed; there are url, authority, target, "
                     "method, listener, "
                     "header, output=json|text and color=1");
    }
    arena_fini(&p->arena);
    mem_free(p);
}

static void view_explain(const struct call *c)
{
    view_debug(c, show_explain);
}

static void view_dump(const struct call *c)
{
    view_debug(c, show_dump);
}

static void view_diagnostics(const struct call *c)
{
    view_debug(c, show_diagnostics);
}

/* ---- the map ---- */

static const struct {
    struct str path;
    bool is_local; /* for the loopback only */
    void (*view)(const struct call *c);
} paths[] = {
    {STR_INIT("/healthz"),           false, view_healthz    },
    {STR_INIT("/readyz"),            false, view_readyz     },
    {STR_INIT("/metrics"),           false, view_metrics    },
    {STR_INIT("/debug/explain"),     true,  view_explain    },
    {STR_INIT("/debug/dump"),        true,  view_dump       },
    {STR_INIT("/debug/certs"),       true,  view_certs      },
    {STR_INIT("/debug/diagnostics"), true,  view_diagnostics},
    {STR_INIT("/debug/top"),         true,  view_top        },
};
enum { PATHS_N = sizeof(paths) / sizeof(paths[0]) };

static bool is_get(const struct http_request *r)
{
    return str_eq(r->method, STR("GET")) || str_eq(r->method, STR("HEAD"));
}

static void route(const struct admin_views *views, const struct http_request *r,
                  struct admin_response *response)
{
    struct call c = {.views = views, .response = response};
    struct str authority, path;
    size_t i = 0;

    if (uri_split(r->target, &authority, &path, &c.query) != E_OK) {
        answer_error(response, 400, "bad_request", "the request target is malformed");
        return;
    }
    while (i < PATHS_N && !str_eq(paths[i].path, path)) {
        i++;
    }
    if (i == PATHS_N) {
        answer_error(
            response, 404, "not_found",
            "there are /healthz, /readyz, /metrics and, from the loopback, "
            "/debug/explain, /debug/dump, /debug/certs, /debug/diagnostics and /debug/top");
    } else if (!is_get(r)) {
        answer_error(response, 405, "method_not_allowed", "this port is read-only: use GET");
    } else if (paths[i].is_local && (r->peer == NULL || !ip_is_loopback(&r->peer->ip))) {
        answer_error(response, 403, "forbidden", "debug views are for the loopback only");
    } else {
        paths[i].view(&c);
    }
}

void admin_response_fail(struct admin_response *r)
{
    buf_reset(&r->body);
    admin_response_drop_rest(r);
    r->outcome = NULL;
    answer_error(r, 500, "internal", "the view does not fit into memory");
}

void admin_respond(const struct admin_views *views, const struct http_request *r,
                   struct admin_response *response)
{
    route(views, r, response);
    if (response->body.bad) {
        admin_response_fail(response);
    }
}
