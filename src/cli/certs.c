/* lintel certs: the certificates in use: whose they are, until when, and what is wrong with them.
 * What is to be told comes as JSON (admin/certs.h), from a running Lintel or out of objects that
 * are read here; the table is drawn from it. Secrets of a cluster are fetched by name, those in use
 * and no others. */
#include "admin/certs.h"

#include "cli/ask.h"
#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/grid.h"
#include "cli/out.h"

#include "base/mem.h"
#include "base/vec.h"
#include "document/json.h"
#include "wire/date.h"

#include <stdlib.h>
#include <unistd.h>

enum { DAY_S = 24 * 3600, SOON_DAYS = 14, DATE_BYTES = 40, DATE_N = 10, NAMES_BYTES_MAX = 1 << 16 };

/* ---- the table ---- */

struct table {
    const struct cli_args *args;
    int64_t now_s;
    struct grid hosts, others;
    bool has_ocsp, has_color;
    size_t host_n, soon_n, all_n; /* all_n: with a certificate */
    size_t bad_n, ending_n;
};

static struct str text_of(const struct tree_node *row, const char *name)
{
    return tree_get_string(row, str_from_cstr(name));
}

/* False: the row has no certificate. */
static bool end_of(const struct tree_node *row, int64_t *ret)
{
    const struct tree_node *node = tree_get(row, STR("notAfter"));
    return node != NULL && tree_to_int(node, ret);
}

static int64_t days_left(const struct table *t, int64_t end)
{
    int64_t left = end - t->now_s;
    return left / DAY_S - (left < 0 && left % DAY_S != 0);
}

static bool is_ending(const struct table *t, int64_t end)
{
    return cli_is_given(t->args, CLI_OPT_expiring_within) &&
           end - t->now_s <= (int64_t)(cli_number(t->args, CLI_OPT_expiring_within) / USEC_PER_SEC);
}

static void count(struct table *t, const struct tree_node *row)
{
    int64_t end;
    bool is_bad = text_of(row, "problem").n > 0;
    bool is_own = text_of(row, "secret").n == 0;
    t->bad_n += is_bad;
    t->host_n += str_eq(text_of(row, "role"), STR("host"));
    if (!end_of(row, &end) || is_own) {
        return; /* one of Lintel's own making is renewed by starting it */
    }
    t->all_n++;
    t->soon_n += !is_bad && days_left(t, end) < SOON_DAYS;
    t->ending_n += is_ending(t, end);
}

static void add_end(struct table *t, struct grid *g, const struct tree_node *row)
{
    char date[DATE_BYTES];
    struct wr w = wr_make(date, sizeof(date));
    int64_t end;
    if (!end_of(row, &end)) {
        grid_add(g, GRID_PLAIN, STR_EMPTY);
        grid_add(g, GRID_PLAIN, STR_EMPTY);
        return;
    }
    int64_t days = days_left(t, end);
    date_emit_rfc3339(&w, end);
    grid_add(g, GRID_PLAIN, str_first(str_make(date, wr_n(&w)), DATE_N));
    grid_addf(g,
              days < 0                                ? GRID_BAD
              : days < SOON_DAYS || is_ending(t, end) ? GRID_WARNING
                                                      : GRID_GOOD,
              "%lld", (long long)days);
}

static void add_verdict(struct grid *g, const struct tree_node *row)
{
    struct str problem = text_of(row, "problem"), mend = text_of(row, "mend");
    struct str note = text_of(row, "note");
    bool is_bad = problem.n > 0;
    struct str first = is_bad ? problem : STR("ok"), second = is_bad ? mend : note;
    struct str third = is_bad ? note : STR_EMPTY;
    grid_addf(g,
              is_bad       ? GRID_BAD
              : note.n > 0 ? GRID_WARNING
                           : GRID_GOOD,
              "%.*s%s%.*s%s%.*s", STR_ARG(first), second.n > 0 ? "; " : "", STR_ARG(second),
              third.n > 0 ? "; " : "", STR_ARG(third));
}

static void add_owner(struct grid *g, const struct tree_node *row)
{
    struct str space = text_of(row, "namespace"), name = text_of(row, "ingress");
    if (name.n == 0) {
        grid_add(g, GRID_PLAIN, STR_EMPTY);
    } else {
        grid_addf(g, GRID_PLAIN, "%.*s/%.*s", STR_ARG(space), STR_ARG(name));
    }
}

static void add_names(struct grid *g, const struct tree_node *row)
{
    const struct tree_node *names = tree_get(row, STR("names"));
    struct buf text;
    buf_init(&text, NAMES_BYTES_MAX);
    for (uint32_t i = 0; names != NULL && names->kind == TREE_SEQUENCE && i < names->n; i++) {
        buf_add_str(&text, i > 0 ? STR(",") : STR_EMPTY);
        buf_add_str(&text, tree_text(tree_item(names, i)));
    }
    grid_add(g, GRID_PLAIN, text.bad ? STR("(many)") : buf_str(&text));
    buf_fini(&text);
}

static void add_staple(struct grid *g, const struct tree_node *row)
{
    char date[DATE_BYTES];
    struct wr w = wr_make(date, sizeof(date));
    const struct tree_node *ocsp = tree_get(row, STR("ocsp")), *end;
    struct str status = ocsp == NULL ? STR_EMPTY : text_of(ocsp, "status");
    int64_t until;
    if (status.n == 0 || str_eq(status, STR("noResponder"))) {
        grid_add(g, GRID_PLAIN, STR_EMPTY);
        return;
    }
    enum grid_color color = str_eq(status, STR("good"))      ? GRID_GOOD
                            : str_eq(status, STR("revoked")) ? GRID_BAD
                                                             : GRID_WARNING;
    end = tree_get(ocsp, STR("nextUpdate"));
    if (end == NULL || !tree_to_int(end, &until)) {
        struct str why = text_of(ocsp, "problem");
        grid_addf(g, color, "%.*s%s%.*s", STR_ARG(status), why.n > 0 ? ": " : "", STR_ARG(why));
        return;
    }
    date_emit_rfc3339(&w, until);
    grid_addf(g, color, "%.*s until %.*s", STR_ARG(status), DATE_N, date);
}

static void add_host_row(struct table *t, const struct tree_node *row)
{
    struct grid *g = &t->hosts;
    struct str host = text_of(row, "host");
    bool is_default = str_eq(text_of(row, "role"), STR("default"));
    grid_add(g, GRID_PLAIN, host.n > 0 ? host : is_default ? STR("(default)") : STR("*"));
    add_owner(g, row);
    grid_add(g, GRID_PLAIN, text_of(row, "secret"));
    add_names(g, row);
    grid_add(g, GRID_PLAIN, text_of(row, "subject"));
    grid_add(g, GRID_PLAIN, text_of(row, "issuer"));
    grid_add(g, GRID_PLAIN, text_of(row, "keyType"));
    add_end(t, g, row);
    if (t->has_ocsp) {
        add_staple(g, row);
    }
    add_verdict(g, row);
}

/* What is not of one host: in words, NULL for what is. */
static const char *use_of(const struct tree_node *row)
{
    struct str role = text_of(row, "role");
    return str_eq(role, STR("clientAuthority"))       ? "client authorities"
           : str_eq(role, STR("upstreamCertificate")) ? "shown to endpoints"
           : str_eq(role, STR("upstreamAuthority"))   ? "authorities of endpoints"
                                                      : NULL;
}

static void add_other_row(struct table *t, const struct tree_node *row)
{
    const struct tree_node *n = tree_get(row, STR("certificates"));
    struct grid *g = &t->others;
    add_owner(g, row);
    grid_add(g, GRID_PLAIN, str_from_cstr(use_of(row)));
    grid_add(g, GRID_PLAIN, text_of(row, "secret"));
    grid_add(g, GRID_PLAIN, n == NULL ? STR_EMPTY : tree_text(n));
    grid_add(g, GRID_PLAIN, text_of(row, "subject"));
    add_end(t, g, row);
    add_verdict(g, row);
}

static bool has_staples(const struct tree_node *root)
{
    for (uint32_t i = 0; i < root->n; i++) {
        if (tree_get(tree_item(root, i), STR("ocsp")) != NULL) {
            return true;
        }
    }
    return false;
}

static void begin_hosts(struct table *t, const struct tree_node *root)
{
    static const char *const plain[] = {"HOST",   "INGRESS", "SECRET", "NAMES", "SUBJECT",
                                        "ISSUER", "KEY",     "ENDS",   "DAYS",  "VERDICT"};
    static const char *const with_ocsp[] = {"HOST",    "INGRESS", "SECRET", "NAMES",
                                            "SUBJECT", "ISSUER",  "KEY",    "ENDS",
                                            "DAYS",    "OCSP",    "VERDICT"};
    t->has_ocsp = has_staples(root);
    grid_init(&t->hosts, t->has_ocsp ? with_ocsp : plain,
              t->has_ocsp ? sizeof(with_ocsp) / sizeof(with_ocsp[0])
                          : sizeof(plain) / sizeof(plain[0]));
}

/* A tree_sink's on_document. */
static enum err on_rows(void *arg, const struct tree_node *root)
{
    struct table *t = arg;
    if (root->kind != TREE_SEQUENCE) {
        return E_PROTO;
    }
    begin_hosts(t, root);
    for (uint32_t i = 0; i < root->n; i++) {
        const struct tree_node *row = tree_item(root, i);
        count(t, row);
        if (use_of(row) != NULL) {
            add_other_row(t, row);
        } else {
            add_host_row(t, row);
        }
    }
    return E_OK;
}

static void ignore_diag(void *arg, const struct diag *d)
{
    (void)arg, (void)d; /* then there are no rows */
}

static void emit_text(const struct table *t, struct buf *out)
{
    grid_emit(out, &t->hosts, 0, t->has_color);
    if (t->host_n == 0) {
        buf_add_str(out, STR("no Ingress of ours has spec.tls\n"));
    }
    if (t->others.n > t->others.column_n) {
        buf_add_char(out, '\n');
        grid_emit(out, &t->others, 0, t->has_color);
    }
    if (t->soon_n > 0) {
        buf_addf(out, "%zu of %zu end within %d days\n", t->soon_n, t->all_n, SOON_DAYS);
    }
}

/* json: what certs_emit() makes. */
static int show(const struct cli_args *a, struct str json)
{
    static const char *const heads[] = {"INGRESS", "USE",  "SECRET", "N",
                                        "SUBJECT", "ENDS", "DAYS",   "VERDICT"};
    struct table t = {.args = a,
                      .now_s = (int64_t)(clock_wall() / USEC_PER_SEC),
                      .has_color = out_has_color(STDOUT_FILENO)};
    const struct tree_sink sink = {.arg = &t, .on_document = on_rows, .on_diag = ignore_diag};
    struct buf out;
    grid_init(&t.others, heads, sizeof(heads) / sizeof(heads[0]));
    buf_init(&out, CLI_OUT_BYTES_MAX);
    enum err e = json_parse(json, &sink);
    if (cli_number(a, CLI_OPT_output) == 1) {
        buf_add_str(&out, json);
    } else {
        emit_text(&t, &out);
    }
    out.bad = out.bad || e != E_OK;
    int status = out_result(&out);
    buf_fini(&out);
    grid_fini(&t.hosts);
    grid_fini(&t.others);
    return t.bad_n > 0 || t.ending_n > 0 ? EXIT_BAD : status;
}

/* ---- Secrets of a cluster ---- */

struct wanted {
    struct str namespace_name, name; /* the compiler's */
    const char *trouble;             /* NULL: it is here, or surely is not */
};

struct wanted_list {
    struct wanted *items;
    size_t n, cap;
    enum err err;
};

static void want(void *arg, struct str namespace_name, struct str name)
{
    struct wanted_list *l = arg;
    enum err e = VEC_ROOM(l->items, l->n, l->cap, SIZE_MAX);
    l->err = l->err == E_OK ? e : l->err;
    if (e == E_OK) {
        l->items[l->n++] = (struct wanted){namespace_name, name, NULL};
    }
}

static int wanted_cmp(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    int order = str_cmp(x->namespace_name, y->namespace_name);
    return order != 0 ? order : str_cmp(x->name, y->name);
}

static const char *trouble_of(const void *arg, struct str namespace_name, struct str name)
{
    const struct wanted_list *l = arg;
    const struct wanted key = {namespace_name, name, NULL};
    const struct wanted *w =
        l->n == 0 ? NULL : bsearch(&key, l->items, l->n, sizeof(*l->items), wanted_cmp);
    return w == NULL ? NULL : w->trouble;
}

static void fetch(const struct offline *o, struct wanted *w)
{
    struct cluster_answer answer = cluster_get_secret(o, w->namespace_name, w->name);
    if (answer.error != E_OK && answer.error != E_NOTFOUND) {
        w->trouble = answer.status == 403 ? "must not be read (403)" : "cannot be read";
    }
    compile_secret_missing(o->compile, w->namespace_name, w->name); /* or it is here: look anew */
}

static enum err fetch_all(struct offline *o, struct wanted_list *l)
{
    if (o->client == NULL) {
        return E_OK; /* manifests have them */
    }
    compile_each_secret(o->compile, want, l);
    TRY(l->err);
    if (l->n > 1) {
        qsort(l->items, l->n, sizeof(*l->items), wanted_cmp);
    }
    for (size_t i = 0; i < l->n; i++) {
        fetch(o, &l->items[i]);
    }
    return offline_refresh(o);
}

/* ---- the command ---- */

static bool is_ours(const void *arg, const struct ingress *ingress, const char **ret_why)
{
    return compile_is_ours(arg, ingress, ret_why);
}

static bool upstream_of(const void *compile, const struct ingress *in, struct certs_upstream *ret)
{
    struct compile_upstream_secret s;
    if (!compile_get_upstream_secret(compile, in, &s)) {
        return false;
    }
    *ret = (struct certs_upstream){s.namespace_name, s.name, s.is_verified, s.is_tls};
    return true;
}

static enum err gather(struct offline *o, struct buf *out)
{
    struct wanted_list l = {0};
    enum err e = fetch_all(o, &l);
    struct certs_world world = {
        .world = {.snapshot = offline_snapshot(o),
                  .store = o->store,
                  .is_ours = is_ours,
                  .is_ours_arg = o->compile,
                  .is_offline = true},
        .default_namespace = o->options.default_certificate_namespace,
        .default_certificate = o->options.default_certificate,
        .now_s = (int64_t)(clock_wall() / USEC_PER_SEC),
        .trouble = trouble_of,
        .trouble_arg = &l,
        .upstream = upstream_of,
    };
    e = e == E_OK ? certs_emit(out, &world) : e;
    mem_free(l.items);
    return e;
}

static int certs_here(const struct cli_args *a)
{
    struct offline o = {0};
    struct buf json;
    struct compile_options options = command_compile_options(a);
    const char *path = cli_text(a, CLI_OPT_manifests).p;
    struct offline_source source = command_offline_source(a, &path, 1);
    int status = EXIT_BAD;
    buf_init(&json, CLI_OUT_BYTES_MAX);
    if (offline_open(&o, &source, &options) == E_OK) {
        enum err e = gather(&o, &json);
        json.bad = json.bad || e != E_OK;
        status = json.bad ? out_result(&json) : show(a, buf_str(&json));
    }
    offline_close(&o);
    buf_fini(&json);
    return status;
}

static int certs_there(const struct cli_args *a)
{
    struct ask_answer answer;
    int status = EXIT_BAD;
    if (ask_view(&answer, cli_text(a, CLI_OPT_server), STR("/debug/certs")) == E_OK) {
        status = show(a, answer.body);
    }
    ask_fini(&answer);
    return status;
}

int command_certs(const struct cli_args *a)
{
    bool is_here = cli_is_given(a, CLI_OPT_manifests) || cli_is_given(a, CLI_OPT_kubeconfig);
    if (!command_source_is_right(a)) {
        return EXIT_USAGE;
    }
    if (is_here == cli_is_given(a, CLI_OPT_server)) {
        out_complain(
            "certs needs one of --manifests DIR, --kubeconfig FILE and --server ADDR: what "
            "shall it look at?");
        return EXIT_USAGE;
    }
    return is_here ? certs_here(a) : certs_there(a);
}
