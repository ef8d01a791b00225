/* lintel certs: the certificates that Ingresses name for their hosts: whose they are, until when,
 * and what is wrong with them. Secrets of a cluster are fetched by name, those of Ingresses that
 * are ours and no others. Private keys are read to see that they belong to their certificate;
 * nothing of them is shown. */
#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/grid.h"
#include "cli/out.h"
#include "cli/served.h"

#include "base/mem.h"
#include "document/json_write.h"
#include "tls/certificate.h"

#include <unistd.h>

enum { DAY_S = 24 * 3600, SOON_DAYS = 14, TEXT_BYTES_MAX = 1 << 20 };

struct certs {
    const struct offline *o;
    int64_t now_s;
    struct grid *grid; /* one of the two */
    struct json *json;
    size_t bad_n, soon_n, all_n;
};

struct row { /* one host of one Ingress */
    const struct ingress *ingress;
    struct str host, secret;
    struct tls_certificate *certificate; /* NULL: none that can be used */
    const char *problem, *mend;          /* NULL: all is well */
    int64_t days;                        /* until it ends */
};

/* ---- looking ---- */

static struct str data_get(const struct secret *s, struct str key)
{
    for (uint32_t i = 0; i < s->data_n; i++) {
        if (str_eq(s->data[i].key, key)) {
            return s->data[i].value;
        }
    }
    return STR_EMPTY;
}

static const struct secret *secret_find(const struct certs *c, const struct row *r)
{
    return (const struct secret *)(const void *)store_get(
        c->o->store, OBJECT_SECRET, r->ingress->object.namespace_name, r->secret);
}

static void problem_set(struct row *r, const char *what, const char *mend)
{
    if (r->problem == NULL) { /* the first one counts */
        r->problem = what;
        r->mend = mend;
    }
}

static void fault_set(struct row *r, enum tls_fault fault)
{
    if (fault != TLS_FAULT_NONE) {
        problem_set(r, tls_fault_text(fault)->what, tls_fault_text(fault)->mend);
    }
}

static void secret_fetch(const struct certs *c, struct row *r)
{
    if (c->o->client == NULL || r->secret.n == 0 || secret_find(c, r) != NULL) {
        return;
    }
    struct cluster_answer answer =
        cluster_get_secret(c->o, r->ingress->object.namespace_name, r->secret);
    if (answer.error == E_OK || answer.error == E_NOTFOUND) {
        return;
    }
    problem_set(r, answer.status == 403 ? "must not be read (403)" : "cannot be read",
                answer.status == 403 ? "ask for the right to get this Secret" : NULL);
}

static void certificate_look(const struct certs *c, struct row *r)
{
    enum tls_fault fault = TLS_FAULT_NONE;
    const struct secret *s = secret_find(c, r);
    if (s == NULL) {
        problem_set(r, "there is no such Secret", "create it or correct secretName");
        return;
    }
    enum err e = tls_certificate_parse(data_get(s, STR("tls.crt")), data_get(s, STR("tls.key")),
                                       &fault, &r->certificate);
    if (e != E_OK) {
        fault_set(r, fault);
        problem_set(r, err_text(e), NULL);
        return;
    }
    int64_t left = tls_certificate_not_after(r->certificate) - c->now_s;
    r->days = left / DAY_S - (left < 0);
    fault_set(r, tls_certificate_judge(r->certificate, c->now_s));
}

static bool does_cover(const struct tls_certificate *c, struct str host)
{
    char lower[SNAP_HOST_BYTES_MAX];
    struct wr w = wr_make(lower, sizeof(lower));
    for (size_t i = 0; i < host.n; i++) {
        wr_char(&w, ascii_lower(host.p[i]));
    }
    return !w.bad && tls_certificate_covers(c, str_make(lower, host.n));
}

static void row_fill(const struct certs *c, struct row *r)
{
    if (r->secret.n == 0) {
        problem_set(r, "names no Secret", "write spec.tls[].secretName");
        return;
    }
    secret_fetch(c, r);
    if (r->problem == NULL) {
        certificate_look(c, r);
    }
    if (r->certificate != NULL && r->host.n > 0 && !does_cover(r->certificate, r->host)) {
        problem_set(r, "does not cover the host", "have one made that names this host");
    }
}

/* ---- showing ---- */

static enum grid_color days_color(const struct row *r)
{
    return r->days < 0 ? GRID_BAD : r->days < SOON_DAYS ? GRID_WARNING : GRID_GOOD;
}

struct names {
    struct buf *text; /* one of the two */
    struct json *json;
};

static void add_name(void *arg, struct str name)
{
    struct names *n = arg;
    if (n->json != NULL) {
        json_str(n->json, name);
    } else {
        buf_add_str(n->text, n->text->n > 0 ? STR(",") : STR_EMPTY);
        buf_add_str(n->text, name);
    }
}

static void text_certificate(struct certs *c, const struct row *r)
{
    static void (*const parts[])(const struct tls_certificate *, struct buf *) = {
        tls_certificate_emit_subject, tls_certificate_emit_issuer, tls_certificate_emit_key_type};
    struct buf text;
    struct names names = {.text = &text};
    buf_init(&text, TEXT_BYTES_MAX);
    tls_certificate_each_name(r->certificate, add_name, &names);
    grid_add(c->grid, GRID_PLAIN, buf_str(&text));
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        buf_reset(&text);
        parts[i](r->certificate, &text);
        grid_add(c->grid, GRID_PLAIN, buf_str(&text));
    }
    grid_addf(c->grid, days_color(r), "%lld", (long long)r->days);
    buf_fini(&text);
}

static void text_row(struct certs *c, const struct row *r)
{
    enum { CERTIFICATE_CELLS = 5 };
    const struct object *o = &r->ingress->object;
    grid_add(c->grid, GRID_PLAIN, r->host.n > 0 ? r->host : STR("*"));
    grid_addf(c->grid, GRID_PLAIN, "%.*s/%.*s", STR_ARG(o->namespace_name), STR_ARG(o->name));
    grid_add(c->grid, GRID_PLAIN, r->secret);
    if (r->certificate != NULL) {
        text_certificate(c, r);
    }
    for (size_t i = 0; r->certificate == NULL && i < CERTIFICATE_CELLS; i++) {
        grid_add(c->grid, GRID_PLAIN, STR_EMPTY);
    }
    grid_addf(c->grid, r->problem == NULL ? GRID_GOOD : GRID_BAD, "%s%s%s",
              r->problem == NULL ? "ok" : r->problem,
              r->problem != NULL && r->mend != NULL ? "; " : "",
              r->problem != NULL && r->mend != NULL ? r->mend : "");
}

static void json_certificate(struct json *j, const struct row *r)
{
    struct buf text;
    struct names names = {.json = j};
    buf_init(&text, TEXT_BYTES_MAX);
    tls_certificate_emit_subject(r->certificate, &text);
    json_name_str(j, "subject", buf_str(&text));
    buf_reset(&text);
    tls_certificate_emit_issuer(r->certificate, &text);
    json_name_str(j, "issuer", buf_str(&text));
    buf_reset(&text);
    tls_certificate_emit_key_type(r->certificate, &text);
    json_name_str(j, "keyType", buf_str(&text));
    buf_fini(&text);
    json_name(j, "names");
    json_array(j);
    tls_certificate_each_name(r->certificate, add_name, &names);
    json_end_array(j);
    int64_t end = tls_certificate_not_after(r->certificate);
    json_name_u64(j, "notAfter", end > 0 ? (uint64_t)end : 0);
    json_name_u64(j, "daysLeft", r->days > 0 ? (uint64_t)r->days : 0);
}

static void json_row(struct certs *c, const struct row *r)
{
    struct json *j = c->json;
    json_object(j);
    json_name_str(j, "host", r->host);
    json_name_str(j, "namespace", r->ingress->object.namespace_name);
    json_name_str(j, "ingress", r->ingress->object.name);
    json_name_str(j, "secret", r->secret);
    if (r->certificate != NULL) {
        json_certificate(j, r);
    }
    json_name_cstr(j, "problem", r->problem);
    json_name_cstr(j, "mend", r->problem != NULL ? r->mend : NULL);
    json_end_object(j);
}

static void row_show(struct certs *c, const struct ingress *ingress, struct str secret,
                     struct str host)
{
    struct row r = {.ingress = ingress, .host = host, .secret = secret};
    row_fill(c, &r);
    if (c->json != NULL) {
        json_row(c, &r);
    } else {
        text_row(c, &r);
    }
    c->all_n++;
    c->bad_n += r.problem != NULL;
    c->soon_n += r.problem == NULL && r.days < SOON_DAYS;
    tls_certificate_free(r.certificate);
}

/* ---- the command ---- */

static void each_tls(struct certs *c, const struct ingress *ingress)
{
    for (uint32_t i = 0; i < ingress->tls_n; i++) {
        const struct ingress_tls *t = &ingress->tls[i];
        for (uint32_t k = 0; k < t->host_n; k++) {
            row_show(c, ingress, t->secret, t->hosts[k]);
        }
        if (t->host_n == 0) {
            row_show(c, ingress, t->secret, STR_EMPTY);
        }
    }
}

static enum err collect(struct certs *c)
{
    const struct ingress **ingresses;
    size_t n;
    TRY(served_ingresses(c->o, &ingresses, &n));
    for (size_t i = 0; i < n; i++) {
        each_tls(c, ingresses[i]);
    }
    mem_free(ingresses);
    return E_OK;
}

static enum err emit_text(struct certs *c, struct buf *out)
{
    static const char *const heads[] = {"HOST",   "INGRESS", "SECRET", "NAMES",  "SUBJECT",
                                        "ISSUER", "KEY",     "DAYS",   "VERDICT"};
    struct grid g;
    grid_init(&g, heads, sizeof(heads) / sizeof(heads[0]));
    c->grid = &g;
    enum err e = collect(c);
    grid_emit(out, &g, 0, out_has_color(STDOUT_FILENO));
    grid_fini(&g);
    if (c->all_n == 0) {
        buf_add_str(out, STR("no Ingress of ours has spec.tls\n"));
    } else if (c->soon_n > 0) {
        buf_addf(out, "%zu of %zu end within %d days\n", c->soon_n, c->all_n, SOON_DAYS);
    }
    return e;
}

static enum err emit_json(struct certs *c, struct buf *out)
{
    struct json j = json_make(out, true);
    c->json = &j;
    json_array(&j);
    enum err e = collect(c);
    json_end_array(&j);
    json_finish(&j);
    return e;
}

static int report(const struct cli_args *a, const struct offline *o)
{
    struct certs c = {.o = o, .now_s = (int64_t)(clock_wall() / USEC_PER_SEC)};
    struct buf out;
    buf_init(&out, CLI_OUT_BYTES_MAX);
    enum err e = cli_number(a, CLI_OPT_output) == 1 ? emit_json(&c, &out) : emit_text(&c, &out);
    out.bad = out.bad || e != E_OK;
    int status = out_result(&out);
    buf_fini(&out);
    return c.bad_n > 0 ? EXIT_BAD : status;
}

int command_certs(const struct cli_args *a)
{
    return command_with_objects(a, report);
}
