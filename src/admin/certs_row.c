/* One row: what is wrong with a Secret is read from the Secret, what is served from the snapshot.
 */
#include "admin/certs_priv.h"

enum { DAY_S = 24 * 3600, TEXT_BYTES_MAX = 1 << 20, KEY_BYTES_MAX = 1024 };

/* ---- what is wrong ---- */

void row_problem(struct row *r, const char *what, const char *mend)
{
    if (r->problem == NULL) { /* the first one counts */
        r->problem = what;
        r->mend = mend;
    }
}

void row_fault(struct row *r, enum tls_fault fault)
{
    if (fault != TLS_FAULT_NONE) {
        row_problem(r, tls_fault_text(fault)->what, tls_fault_text(fault)->mend);
    }
}

void certs_err(struct certs *c, enum err e)
{
    c->err = c->err == E_OK && e != E_PROTO ? e : c->err;
}

const struct secret *row_secret(const struct certs *c, struct row *r)
{
    const struct certs_world *w = c->w;
    const struct object *o = store_get(w->world.store, OBJECT_SECRET, r->namespace_name, r->secret);
    const char *trouble =
        w->trouble == NULL ? NULL : w->trouble(w->trouble_arg, r->namespace_name, r->secret);
    if (trouble != NULL) {
        row_problem(r, trouble, "ask for the right to get this Secret");
    } else if (o == NULL) {
        row_problem(r, "there is no such Secret", "create it or correct the name");
    }
    return trouble != NULL ? NULL : (const struct secret *)(const void *)o;
}

struct str secret_item(const struct secret *s, struct str key)
{
    struct str value = STR_EMPTY;
    (void)secret_get(s, key, &value); /* stays empty */
    return value;
}

/* ---- what is served ---- */

const struct snap_shard *certs_shard(const struct certs *c, enum snap_kind kind, struct str first,
                                     struct str second)
{
    char text[KEY_BYTES_MAX];
    struct wr w = wr_make(text, sizeof(text));
    wr_str(&w, first);
    wr_char(&w, '/');
    for (size_t i = 0; i < second.n; i++) {
        wr_char(&w, ascii_lower(second.p[i]));
    }
    struct str key = str_make(text, wr_n(&w));
    const struct snapshot_entry *e =
        w.bad ? NULL : snapshot_find(c->w->world.snapshot, kind, key, hash_str(key));
    return e == NULL ? NULL : e->shard;
}

void row_take_served(struct certs *c, struct row *r, struct str namespace_name, struct str name)
{
    const struct snap_certificate *s = (const struct snap_certificate *)(const void *)certs_shard(
        c, SNAP_CERTIFICATE, namespace_name, name);
    if (s == NULL || r->certificate != NULL) {
        return;
    }
    const struct snap_str *chain = snap_array_get(s, s->chain);
    certs_err(c, tls_certificate_read(snap_str_get(s, chain[0]), &r->certificate));
}

/* ---- its Secret ---- */

void row_look(struct certs *c, struct row *r)
{
    enum tls_fault fault = TLS_FAULT_NONE;
    if (r->secret.n == 0) {
        row_problem(r, "names no Secret", "write spec.tls[].secretName");
        return;
    }
    const struct secret *s = row_secret(c, r);
    if (s == NULL) {
        return;
    }
    enum err e = tls_certificate_parse(secret_item(s, STR("tls.crt")),
                                       secret_item(s, STR("tls.key")), &fault, &r->certificate);
    if (e != E_OK) {
        row_fault(r, fault);
        row_problem(r, err_text(e), NULL);
        certs_err(c, e);
        return;
    }
    row_fault(r, tls_certificate_judge(r->certificate, c->w->now_s));
}

/* ---- showing ---- */

static void add_name(void *arg, struct str name)
{
    json_str(arg, name);
}

static uint64_t seconds(int64_t s)
{
    return s > 0 ? (uint64_t)s : 0;
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
    json_name_u64(j, "notAfter", seconds(end));
    json_name_u64(j, "daysLeft", end > now_s ? (uint64_t)((end - now_s) / DAY_S) : 0);
}

static void show_staple(struct json *j, const struct certs_staple *s)
{
    json_name(j, "ocsp");
    json_object(j);
    json_name_cstr(j, "status",
                   s->until > 0 && s->is_revoked ? "revoked"
                   : s->until > 0                ? "good"
                   : s->has_responder            ? "none"
                                                 : "noResponder");
    if (s->until > 0) {
        json_name_u64(j, "thisUpdate", seconds(s->from));
        json_name_u64(j, "nextUpdate", seconds(s->until));
    }
    json_name_cstr(j, "problem", s->trouble);
    json_end_object(j);
}

void row_show(struct certs *c, struct row *r)
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
    if (r->has_staple) {
        show_staple(j, &r->staple);
    }
    json_name_bool(j, "isServed", r->is_served);
    json_name_cstr(j, "problem", r->problem);
    json_name_cstr(j, "mend", r->problem != NULL ? r->mend : NULL);
    json_name_cstr(j, "note", r->note);
    json_end_object(j);
    tls_certificate_free(r->certificate);
    r->certificate = NULL;
}
