/* lintel backends: the Service ports that Ingresses use: their endpoints, which of them get
 * requests and why the others do not, and the rules that lead there. With --server also what the
 * workers of a running Lintel think of each endpoint. */
#include "cli/commands.h"
#include "cli/grid.h"
#include "cli/out.h"
#include "cli/served.h"

#include "base/mem.h"
#include "document/json_write.h"
#include "stats/endpoints.h"

#include <unistd.h>

enum { ADDRESS_BYTES = IP_TEXT_MAX + sizeof("[]:65535") };

struct backends {
    const struct offline *o;
    struct served_rule *rules;
    const struct snap_service **services;
    size_t rule_n, service_n;
    struct str wanted_host, wanted_namespace, wanted_service; /* empty: all */
    const struct top_sample *live;                            /* NULL: nobody was asked */
    size_t shown_n, bad_n; /* Service ports; those without an endpoint in use */
};

struct port { /* one Service port on its way to the page */
    const struct backends *b;
    struct str namespace_name, service, number;
    const struct snap_service *snap;
    const struct served_rule *rules;
    size_t rule_n, used_n, all_n;
    struct grid *grid; /* one of these three, or none, to count */
    struct json *json;
    struct buf *out;
    bool has_color;
};

/* ---- which ones ---- */

static bool is_host_for(struct str pattern, struct str host)
{
    size_t dot = str_find(host, '.');
    return str_eq_nocase(pattern, host) ||
           (str_has_prefix(pattern, STR("*.")) &&
            str_eq_nocase(str_from(pattern, 1), str_from(host, dot)));
}

/* Of the rules that lead to the Service port, those that speak to it in the port's way. */
static bool is_rule_of(const struct port *p, const struct served_rule *r)
{
    return compile_has_variant(r->ingress, snap_str_get(p->snap, p->snap->variant));
}

static bool is_wanted(const struct port *p)
{
    const struct backends *b = p->b;
    if (b->wanted_service.n > 0) {
        return str_eq(p->namespace_name, b->wanted_namespace) &&
               str_eq(p->service, b->wanted_service);
    }
    for (size_t i = 0; i < p->rule_n && b->wanted_host.n > 0; i++) {
        if (is_rule_of(p, &p->rules[i]) && is_host_for(p->rules[i].host, b->wanted_host)) {
            return true;
        }
    }
    return b->wanted_host.n == 0;
}

/* ---- endpoints ---- */

static struct str address_text(const struct endpoint *e, uint16_t port, char text[ADDRESS_BYTES])
{
    struct wr w = wr_make(text, ADDRESS_BYTES);
    if (e->address_n == 0) {
        return STR_EMPTY;
    }
    bool is_v6 = e->addresses[0].family == 6 && port != 0;
    wr_str(&w, is_v6 ? STR("[") : STR_EMPTY);
    ip_emit(&w, &e->addresses[0]);
    wr_str(&w, is_v6 ? STR("]") : STR_EMPTY);
    if (port != 0) {
        wr_char(&w, ':');
        wr_u64(&w, port);
    }
    return str_make(text, wr_n(&w));
}

static const char *state_text(const struct endpoint *e)
{
    if (e->is_terminating) {
        return e->is_serving ? "serving, terminating" : "terminating";
    }
    return e->is_ready ? "ready" : "not ready";
}

/* NULL: the workers do not know it (yet). */
static const struct top_endpoint *live_find(const struct port *p, struct str address)
{
    const struct top_sample *live = p->b->live;
    struct str key = snap_str_get(p->snap, p->snap->shard.key);
    for (size_t i = 0; live != NULL && i < live->endpoint_n; i++) {
        struct str service = live->endpoints[i].service;
        bool is_cut = service.n == STATS_ENDPOINT_SERVICE_BYTES;
        bool is_service = is_cut ? str_has_prefix(key, service) : str_eq(key, service);
        if (is_service && str_eq(live->endpoints[i].address, address)) {
            return &live->endpoints[i];
        }
    }
    return NULL;
}

static void count_endpoint(void *arg, const struct endpoint *e, uint16_t port, const char *why_not)
{
    struct port *p = arg;
    (void)e;
    (void)port;
    p->all_n++;
    p->used_n += why_not == NULL;
}

static void grid_live(struct grid *g, const struct top_endpoint *live)
{
    if (live == NULL) {
        grid_add(g, GRID_PLAIN, STR("idle"));
        return;
    }
    bool is_ok = str_eq(live->state, STR("ok"));
    grid_addf(g, is_ok ? GRID_PLAIN : GRID_BAD, "%.*s, %llu of %llu failed", STR_ARG(live->state),
              (unsigned long long)top_endpoint_failures(live),
              (unsigned long long)top_endpoint_requests(live));
}

static void grid_endpoint(void *arg, const struct endpoint *e, uint16_t port, const char *why_not)
{
    const struct port *p = arg;
    char text[ADDRESS_BYTES];
    struct str address = address_text(e, port, text);
    grid_add(p->grid, GRID_PLAIN, address);
    grid_add(p->grid, e->is_ready && !e->is_terminating ? GRID_PLAIN : GRID_WARNING,
             str_from_cstr(state_text(e)));
    grid_add(p->grid, GRID_PLAIN, e->zone);
    grid_add(p->grid, GRID_PLAIN, e->node);
    grid_add(p->grid, GRID_PLAIN, e->target_name);
    if (p->b->live != NULL) {
        grid_live(p->grid, live_find(p, address));
    }
    grid_addf(p->grid, why_not == NULL ? GRID_GOOD : GRID_WARNING, "%s%s",
              why_not == NULL ? "yes" : "no: ", why_not == NULL ? "" : why_not);
}

static void json_endpoint(void *arg, const struct endpoint *e, uint16_t port, const char *why_not)
{
    const struct port *p = arg;
    char text[ADDRESS_BYTES];
    struct str address = address_text(e, port, text);
    struct json *j = p->json;
    json_object(j);
    json_name_str(j, "address", address);
    json_name_bool(j, "ready", e->is_ready);
    json_name_bool(j, "serving", e->is_serving);
    json_name_bool(j, "terminating", e->is_terminating);
    json_name_str(j, "zone", e->zone);
    json_name_str(j, "node", e->node);
    json_name_str(j, "pod", e->target_name);
    json_name_bool(j, "used", why_not == NULL);
    json_name_cstr(j, "whyNot", why_not);
    const struct top_endpoint *live = live_find(p, address);
    if (live != NULL) {
        json_name(j, "live");
        json_object(j);
        json_name_str(j, "state", live->state);
        json_name_u64(j, "requests", top_endpoint_requests(live));
        json_name_u64(j, "failures", top_endpoint_failures(live));
        json_end_object(j);
    }
    json_end_object(j);
}

/* An ExternalName has its addresses in the snapshot alone, and those only where somebody looks
 * names up; then they are all there is to say. */
static void each_endpoint(struct port *p, compile_endpoint_fn *fn)
{
    compile_each_endpoint(p->b->o->compile, p->namespace_name, p->service, p->number, fn, p);
}

/* ---- rules ---- */

static void text_rule(struct grid *g, const struct served_rule *r)
{
    const struct object *o = &r->ingress->object;
    grid_addf(g, GRID_PLAIN, "%.*s/%.*s", STR_ARG(o->namespace_name), STR_ARG(o->name));
    grid_addf(g, GRID_PLAIN, "%.*s%.*s%s", STR_ARG(r->host.n > 0 ? r->host : STR("*")),
              STR_ARG(r->path), r->is_default ? " (default backend)" : "");
}

static void json_rule(struct json *j, const struct served_rule *r)
{
    json_object(j);
    json_name_str(j, "namespace", r->ingress->object.namespace_name);
    json_name_str(j, "ingress", r->ingress->object.name);
    json_name_str(j, "host", r->host);
    json_name_str(j, "path", r->path);
    json_name_bool(j, "default", r->is_default);
    json_end_object(j);
}

/* ---- a Service port ---- */

static void text_endpoints(struct port *p)
{
    static const char *const heads[] = {"ENDPOINT", "STATE", "ZONE", "NODE", "POD", "USED"};
    static const char *const live_heads[] = {"ENDPOINT", "STATE", "ZONE", "NODE",
                                             "POD",      "LIVE",  "USED"};
    bool is_live = p->b->live != NULL;
    struct grid g;
    grid_init(&g, is_live ? live_heads : heads, is_live ? 7 : 6);
    p->grid = &g;
    each_endpoint(p, grid_endpoint);
    grid_emit(p->out, &g, 2, p->has_color);
    grid_fini(&g);
}

static void text_rules(struct port *p)
{
    static const char *const heads[] = {"INGRESS", "RULE"};
    struct grid g;
    grid_init(&g, heads, 2);
    for (size_t i = 0; i < p->rule_n; i++) {
        if (is_rule_of(p, &p->rules[i])) {
            text_rule(&g, &p->rules[i]);
        }
    }
    grid_emit(p->out, &g, 2, p->has_color);
    grid_fini(&g);
}

static void text_port(struct port *p)
{
    const char *why = served_status_text(p->snap->status);
    struct buf line;
    buf_init(&line, CLI_OUT_BYTES_MAX);
    buf_addf(&line, "%.*s/%.*s:%.*s  ", STR_ARG(p->namespace_name), STR_ARG(p->service),
             STR_ARG(p->number));
    if (why != NULL) {
        buf_add_str(&line, str_from_cstr(why));
    } else if (p->all_n == 0) {
        buf_addf(&line, "no endpoint");
    } else {
        buf_addf(&line, "%zu of %zu endpoint%s used", p->used_n, p->all_n,
                 p->all_n == 1 ? "" : "s");
    }
    if (why == NULL) {
        buf_addf(&line, "  %s", snap_service_speech(p->snap));
    }
    if (why == NULL && p->snap->is_tls != 0) {
        buf_addf(&line, ", ");
        snap_service_emit_tls(p->snap, &line);
    }
    bool is_bad = p->snap->endpoints.n == 0 || p->snap->is_broken != 0;
    buf_add_str(p->out, p->b->shown_n > 0 ? STR("\n") : STR_EMPTY);
    grid_paint(p->out, is_bad ? GRID_BAD : GRID_HEAD, p->has_color, buf_str(&line));
    buf_add_char(p->out, '\n');
    buf_fini(&line);
    text_endpoints(p);
    text_rules(p);
}

static void json_port(struct port *p)
{
    struct json *j = p->json;
    json_object(j);
    json_name_str(j, "namespace", p->namespace_name);
    json_name_str(j, "service", p->service);
    json_name_str(j, "port", p->number);
    json_name_cstr(j, "protocol", snap_service_speech(p->snap));
    json_name_str(j, "variant", snap_str_get(p->snap, p->snap->variant));
    json_name_cstr(j, "problem", served_status_text(p->snap->status));
    json_name_u64(j, "endpointsUsed", p->snap->endpoints.n);
    json_name(j, "endpoints");
    json_array(j);
    each_endpoint(p, json_endpoint);
    json_end_array(j);
    json_name(j, "rules");
    json_array(j);
    for (size_t i = 0; i < p->rule_n; i++) {
        if (is_rule_of(p, &p->rules[i])) {
            json_rule(j, &p->rules[i]);
        }
    }
    json_end_array(j);
    json_end_object(j);
}

static void each_port(struct backends *b, struct port p, void (*show)(struct port *p))
{
    for (size_t i = 0; i < b->service_n; i++) {
        const struct snap_service *s = b->services[i];
        p.b = b;
        p.snap = s;
        p.namespace_name = snap_str_get(&s->shard, s->namespace_name);
        p.service = snap_str_get(&s->shard, s->name);
        p.number = snap_str_get(&s->shard, s->port);
        p.rules = served_rules_of(b->rules, b->rule_n, s, &p.rule_n);
        p.used_n = p.all_n = 0;
        if (is_wanted(&p)) {
            each_endpoint(&p, count_endpoint);
            show(&p);
            b->shown_n++;
            b->bad_n += s->endpoints.n == 0;
        }
    }
}

/* ---- the command ---- */

static int report(const struct cli_args *a, struct backends *b)
{
    struct buf out;
    buf_init(&out, CLI_OUT_BYTES_MAX);
    if (cli_number(a, CLI_OPT_output) == 1) {
        struct json j = json_make(&out, true);
        json_array(&j);
        each_port(b, (struct port){.json = &j}, json_port);
        json_end_array(&j);
        json_finish(&j);
    } else {
        struct port p = {.out = &out, .has_color = out_has_color(STDOUT_FILENO)};
        each_port(b, p, text_port);
    }
    int status = out_result(&out);
    buf_fini(&out);
    if (b->shown_n == 0) {
        out_complain(a->argument_n > 0 ? "no Ingress of ours uses %s"
                                       : "no Ingress of ours uses any Service%s",
                     a->argument_n > 0 ? a->arguments[0] : "");
        return a->argument_n > 0 ? EXIT_BAD : status;
    }
    return b->bad_n > 0 ? EXIT_BAD : status;
}

static enum err gather(struct backends *b)
{
    const struct ingress **ingresses;
    size_t n;
    TRY(served_ingresses(b->o, &ingresses, &n));
    enum err e = served_rules(ingresses, n, &b->rules, &b->rule_n);
    mem_free(ingresses);
    return e != E_OK ? e : served_services(b->o, &b->services, &b->service_n);
}

static int report_with(const struct cli_args *a, const struct offline *o,
                       const struct top_sample *live)
{
    struct backends b = {.o = o, .live = live};
    struct str wanted = str_from_cstr(a->argument_n > 0 ? a->arguments[0] : "");
    b.wanted_host = b.wanted_namespace = b.wanted_service = STR_EMPTY;
    if (!str_cut(wanted, '/', &b.wanted_namespace, &b.wanted_service)) {
        b.wanted_host = wanted;
    }
    int status = EXIT_BAD;
    if (gather(&b) == E_OK) {
        status = report(a, &b);
    } else {
        out_complain("out of memory");
    }
    mem_free(b.rules);
    mem_free(b.services);
    return status;
}

static int report_objects(const struct cli_args *a, const struct offline *o)
{
    struct top_sample live = {0};
    if (!cli_is_given(a, CLI_OPT_server)) {
        return report_with(a, o, NULL);
    }
    int status = command_ask_top(a, &live) == E_OK ? report_with(a, o, &live) : EXIT_BAD;
    top_sample_fini(&live);
    return status;
}

int command_backends(const struct cli_args *a)
{
    return command_with_objects(a, report_objects);
}
