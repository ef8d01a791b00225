/* Rows in a fixed order: Ingresses by namespace and name, their entries of spec.tls, then the hosts
 * of rules that get a certificate without being listed, then authorities; the default one comes
 * last. What is served says the snapshot; what is wrong with what is not, the Secret itself. */
#include "admin/certs.h"

#include <stdlib.h>

#include "base/mem.h"
#include "document/json_write.h"
#include "tls/authority.h"

#define TABLE       "ingress"
#define AUTH_SECRET STR("nginx.ingress.kubernetes.io/auth-tls-secret")
#define OWN_KEY     STR("-/default")

enum { DAY_S = 24 * 3600, TEXT_BYTES_MAX = 1 << 20, KEY_BYTES_MAX = 1024 };

struct certs {
    const struct certs_world *w;
    struct json *json;
    enum err err; /* sticky */
};

struct row {
    const char *role;
    const struct ingress *ingress; /* NULL: an option names it, or nobody */
    struct str host, namespace_name, secret;
    struct tls_certificate *certificate; /* NULL: none that can be used */
    uint32_t certificate_n;              /* of a bundle */
    const char *problem, *mend;          /* NULL: all is well */
    const char *note;                    /* NULL: nothing to be said */
    bool is_served;
};

/* ---- what is wrong ---- */

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

static void err_set(struct certs *c, enum err e)
{
    c->err = c->err == E_OK && e != E_PROTO ? e : c->err;
}

/* NULL: it is not there, and the row says so. */
static const struct secret *secret_find(const struct certs *c, struct row *r)
{
    const struct certs_world *w = c->w;
    const struct object *o = store_get(w->world.store, OBJECT_SECRET, r->namespace_name, r->secret);
    const char *trouble =
        w->trouble == NULL ? NULL : w->trouble(w->trouble_arg, r->namespace_name, r->secret);
    if (trouble != NULL) {
        problem_set(r, trouble, "ask for the right to get this Secret");
    } else if (o == NULL) {
        problem_set(r, "there is no such Secret", "create it or correct the name");
    }
    return trouble != NULL ? NULL : (const struct secret *)(const void *)o;
}

static struct str item(const struct secret *s, struct str key)
{
    struct str value = STR_EMPTY;
    (void)secret_get(s, key, &value); /* stays empty */
    return value;
}

/* ---- what is served ---- */

static const struct snapshot_entry *shard_find(const struct certs *c, enum snap_kind kind,
                                               struct str first, struct str second)
{
    char text[KEY_BYTES_MAX];
    struct wr w = wr_make(text, sizeof(text));
    wr_str(&w, first);
    wr_char(&w, '/');
    for (size_t i = 0; i < second.n; i++) {
        wr_char(&w, ascii_lower(second.p[i]));
    }
    struct str key = str_make(text, wr_n(&w));
    return w.bad ? NULL : snapshot_find(c->w->world.snapshot, kind, key, hash_str(key));
}

static const struct snap_tls_host *host_find(const struct certs *c, struct str host)
{
    const struct snapshot_entry *e = shard_find(c, SNAP_TLS_HOST, STR(TABLE), host);
    return e == NULL ? NULL : (const struct snap_tls_host *)(const void *)e->shard;
}

static bool host_has(const struct snap_tls_host *h, struct str namespace_name, struct str secret)
{
    struct str space, name;
    const struct snap_named *list = h == NULL ? NULL : snap_array_get(h, h->certificates);
    for (uint32_t i = 0; h != NULL && i < h->certificates.n; i++) {
        if (str_cut(snap_str_get(h, list[i].key), '/', &space, &name) &&
            str_eq(space, namespace_name) && str_eq(name, secret)) {
            return true;
        }
    }
    return false;
}

/* The certificate in service, whatever the Secret has become. */
static void served_read(struct certs *c, struct row *r, struct str namespace_name, struct str name)
{
    const struct snapshot_entry *e = shard_find(c, SNAP_CERTIFICATE, namespace_name, name);
    if (e == NULL || r->certificate != NULL) {
        return;
    }
    const struct snap_certificate *s = (const struct snap_certificate *)(const void *)e->shard;
    const struct snap_str *chain = snap_array_get(s, s->chain);
    err_set(c, tls_certificate_read(snap_str_get(s, chain[0]), &r->certificate));
}

/* ---- rows ---- */

static void certificate_look(struct certs *c, struct row *r)
{
    enum tls_fault fault = TLS_FAULT_NONE;
    if (r->secret.n == 0) {
        problem_set(r, "names no Secret", "write spec.tls[].secretName");
        return;
    }
    const struct secret *s = secret_find(c, r);
    if (s == NULL) {
        return;
    }
    enum err e = tls_certificate_parse(item(s, STR("tls.crt")), item(s, STR("tls.key")), &fault,
                                       &r->certificate);
    if (e != E_OK) {
        fault_set(r, fault);
        problem_set(r, err_text(e), NULL);
        err_set(c, e);
        return;
    }
    fault_set(r, tls_certificate_judge(r->certificate, c->w->now_s));
}

static bool does_cover(const struct tls_certificate *certificate, struct str host)
{
    char lower[SNAP_HOST_BYTES_MAX];
    struct wr w = wr_make(lower, sizeof(lower));
    for (size_t i = 0; i < host.n; i++) {
        wr_char(&w, ascii_lower(host.p[i]));
    }
    return !w.bad && tls_certificate_covers(certificate, str_make(lower, host.n));
}

static void row_fill(struct certs *c, struct row *r)
{
    certificate_look(c, r);
    if (r->certificate != NULL && r->host.n > 0 && !does_cover(r->certificate, r->host)) {
        problem_set(r, "does not cover the host", "have one made that names this host");
    }
    r->is_served = host_has(host_find(c, r->host), r->namespace_name, r->secret);
    if (r->is_served && r->certificate == NULL) {
        r->note = "the one that was there before stays in service";
        served_read(c, r, r->namespace_name, r->secret);
    } else if (!r->is_served && r->problem == NULL && r->host.n > 0) {
        r->note = "not served: the host has another certificate, of an older Ingress or entry";
    }
}

/* ---- showing ---- */

static void add_name(void *arg, struct str name)
{
    json_str(arg, name);
}

static void show_certificate(struct json *j, const struct row *r, int64_t now_s)
{
    static const struct {
        const char *name;
        void (*emit)(const struct tls_certificate *c, struct buf *out);
    } parts[] = {
        {"subject",      tls_certificate_emit_subject },
        {"issuer",       tls_certificate_emit_issuer  },
        {"keyType",      tls_certificate_emit_key_type},
        {"serialNumber", tls_certificate_emit_serial  },
    };
    struct buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        buf_reset(&text);
        parts[i].emit(r->certificate, &text);
        json_name_str(j, parts[i].name, buf_str(&text));
    }
    buf_fini(&text);
    json_name(j, "names");
    json_array(j);
    tls_certificate_each_name(r->certificate, add_name, j);
    json_end_array(j);
    int64_t end = tls_certificate_not_after(r->certificate);
    json_name_u64(j, "notAfter", end > 0 ? (uint64_t)end : 0);
    json_name_u64(j, "daysLeft", end > now_s ? (uint64_t)((end - now_s) / DAY_S) : 0);
}

/* And frees what is in it. */
static void row_show(struct certs *c, struct row *r)
{
    struct json *j = c->json;
    json_object(j);
    json_name_cstr(j, "role", r->role);
    json_name_str(j, "host", r->host);
    json_name_str(j, "namespace", r->namespace_name);
    json_name_str(j, "ingress", r->ingress == NULL ? STR_EMPTY : r->ingress->object.name);
    json_name_str(j, "secret", r->secret);
    if (r->certificate != NULL) {
        show_certificate(j, r, c->w->now_s);
    }
    if (r->certificate_n > 0) {
        json_name_u64(j, "certificates", r->certificate_n);
    }
    json_name_bool(j, "isServed", r->is_served);
    json_name_cstr(j, "problem", r->problem);
    json_name_cstr(j, "mend", r->problem != NULL ? r->mend : NULL);
    json_name_cstr(j, "note", r->note);
    json_end_object(j);
    tls_certificate_free(r->certificate);
    r->certificate = NULL;
}

static void host_show(struct certs *c, const struct ingress *in, struct str secret, struct str host)
{
    struct row r = {.role = "host",
                    .ingress = in,
                    .host = host,
                    .namespace_name = in->object.namespace_name,
                    .secret = secret};
    row_fill(c, &r);
    row_show(c, &r);
}

static void entries_show(struct certs *c, const struct ingress *in)
{
    for (uint32_t i = 0; i < in->tls_n; i++) {
        const struct ingress_tls *t = &in->tls[i];
        for (uint32_t k = 0; k < t->host_n; k++) {
            host_show(c, in, t->secret, t->hosts[k]);
        }
        if (t->host_n == 0) {
            host_show(c, in, t->secret, STR_EMPTY);
        }
    }
}

/* ---- hosts of rules ---- */

static bool is_listed(const struct ingress *in, struct str host)
{
    for (uint32_t i = 0; i < in->tls_n; i++) {
        for (uint32_t k = 0; k < in->tls[i].host_n; k++) {
            if (str_eq_nocase(in->tls[i].hosts[k], host)) {
                return true;
            }
        }
    }
    return false;
}

static bool is_first_entry(const struct ingress *in, uint32_t entry)
{
    for (uint32_t i = 0; i < entry; i++) {
        if (str_eq(in->tls[i].secret, in->tls[entry].secret)) {
            return false;
        }
    }
    return true;
}

static bool is_first_rule(const struct ingress *in, uint32_t rule)
{
    for (uint32_t i = 0; i < rule; i++) {
        if (str_eq_nocase(in->rules[i].host, in->rules[rule].host)) {
            return false;
        }
    }
    return true;
}

static void rules_show(struct certs *c, const struct ingress *in)
{
    for (uint32_t i = 0; i < in->rule_n && in->tls_n > 0; i++) {
        struct str host = in->rules[i].host;
        if (host.n == 0 || is_listed(in, host) || !is_first_rule(in, i)) {
            continue;
        }
        const struct snap_tls_host *h = host_find(c, host);
        for (uint32_t k = 0; k < in->tls_n; k++) {
            if (is_first_entry(in, k) &&
                host_has(h, in->object.namespace_name, in->tls[k].secret)) {
                host_show(c, in, in->tls[k].secret, host);
            }
        }
    }
}

/* ---- authorities ---- */

struct bundle {
    struct certs *c;
    struct row *row;
};

/* Of a bundle, the one is shown that ends next; those that have ended already do no harm. */
static enum err bundle_take(void *arg, struct str der)
{
    const struct bundle *b = arg;
    struct tls_certificate *next, *shown = b->row->certificate;
    TRY(tls_certificate_read(der, &next));
    b->row->certificate_n++;
    int64_t now = b->c->w->now_s, end = tls_certificate_not_after(next);
    int64_t shown_end = shown == NULL ? 0 : tls_certificate_not_after(shown);
    bool is_better =
        shown == NULL || (shown_end < now ? end > shown_end : end >= now && end < shown_end);
    tls_certificate_free(is_better ? shown : next);
    b->row->certificate = is_better ? next : shown;
    return E_OK;
}

static enum err revocation_ignore(void *arg, struct str der)
{
    (void)arg, (void)der; /* that it can be read is enough */
    return E_OK;
}

static void authority_look(struct certs *c, struct row *r)
{
    enum tls_fault fault = TLS_FAULT_NONE;
    struct bundle b = {c, r};
    const struct secret *s = secret_find(c, r);
    if (s == NULL) {
        return;
    }
    enum err e = tls_authority_each(item(s, STR("ca.crt")), bundle_take, &b, &fault);
    if (e == E_OK) {
        e = tls_revocation_each(item(s, STR("ca.crl")), revocation_ignore, NULL, &fault);
    }
    err_set(c, e);
    fault_set(r, fault);
    if (r->certificate != NULL) {
        fault_set(r, tls_certificate_judge(r->certificate, c->w->now_s));
    }
}

static struct str annotation(const struct ingress *in, struct str name)
{
    struct str value;
    return string_map_get(&in->object.annotations, name, &value) ? str_trim(value) : STR_EMPTY;
}

static void authority_show(struct certs *c, const struct ingress *in)
{
    struct str space, value = annotation(in, AUTH_SECRET);
    struct row r = {.role = "clientAuthority",
                    .ingress = in,
                    .host = STR_EMPTY,
                    .namespace_name = in->object.namespace_name,
                    .secret = value};
    if (value.n == 0) {
        return;
    }
    if (!str_cut(value, '/', &space, &r.secret) || !str_eq(space, r.namespace_name)) {
        problem_set(&r, "is no Secret of the Ingress' namespace", "write NAMESPACE/NAME");
    } else {
        authority_look(c, &r);
        r.is_served = shard_find(c, SNAP_AUTHORITY, r.namespace_name, r.secret) != NULL;
    }
    row_show(c, &r);
}

/* ---- the default ---- */

static void default_show(struct certs *c)
{
    struct row r = {.role = "default",
                    .host = STR_EMPTY,
                    .namespace_name = c->w->default_namespace,
                    .secret = c->w->default_certificate};
    const struct snap_tls_host *any = host_find(c, STR_EMPTY);
    if (r.secret.n > 0) {
        row_fill(c, &r);
        row_show(c, &r);
    }
    if (any == NULL || any->certificates.n == 0 || host_has(any, STR("-"), STR("default"))) {
        r = (struct row){.role = "default",
                         .host = STR_EMPTY,
                         .namespace_name = STR_EMPTY,
                         .secret = STR_EMPTY,
                         .note = "one of Lintel's own making, which nobody trusts",
                         .is_served = true};
        served_read(c, &r, STR("-"), STR("default"));
        row_show(c, &r);
    }
}

/* ---- the whole ---- */

struct list_of_ingresses {
    const struct certs_world *w;
    const struct ingress **items;
    size_t n;
};

static void add_ingress(void *arg, const struct object *o)
{
    struct list_of_ingresses *l = arg;
    const struct ingress *in = (const struct ingress *)(const void *)o;
    const char *why;
    if (l->w->world.is_ours(l->w->world.is_ours_arg, in, &why)) {
        l->items[l->n++] = in;
    }
}

static int ingress_order(const void *a, const void *b)
{
    const struct object *x = &(*(const struct ingress *const *)a)->object;
    const struct object *y = &(*(const struct ingress *const *)b)->object;
    int order = str_cmp(x->namespace_name, y->namespace_name);
    return order != 0 ? order : str_cmp(x->name, y->name);
}

enum err certs_emit(struct buf *out, const struct certs_world *world)
{
    struct json j = json_make(out, true);
    struct certs c = {.w = world, .json = &j};
    struct list_of_ingresses l = {.w = world};
    l.items = mem_calloc(store_n(world->world.store, OBJECT_INGRESS) + 1, sizeof(*l.items));
    if (l.items == NULL) {
        return E_NOMEM;
    }
    store_each(world->world.store, OBJECT_INGRESS, add_ingress, &l);
    qsort(l.items, l.n, sizeof(*l.items), ingress_order);
    json_array(&j);
    for (size_t i = 0; i < l.n; i++) {
        entries_show(&c, l.items[i]);
        rules_show(&c, l.items[i]);
        authority_show(&c, l.items[i]);
    }
    default_show(&c);
    json_end_array(&j);
    json_finish(&j);
    mem_free(l.items);
    return c.err;
}
