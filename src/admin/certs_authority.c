/* Rows of what is not shown to clients by their host: authorities that clients' certificates come
 * from, and what endpoints are shown and verified by. */
#include "admin/certs_priv.h"

#include "tls/authority.h"

#define AUTH_SECRET  STR("nginx.ingress.kubernetes.io/auth-tls-secret")
#define PROXY_SECRET STR("nginx.ingress.kubernetes.io/proxy-ssl-secret")

/* ---- bundles ---- */

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

/* Takes ca.crt of its Secret. */
static void authority_look(struct certs *c, struct row *r)
{
    enum tls_fault fault = TLS_FAULT_NONE;
    struct bundle b = {c, r};
    const struct secret *s = row_secret(c, r);
    if (s == NULL) {
        return;
    }
    enum err e = tls_authority_each(secret_item(s, STR("ca.crt")), bundle_take, &b, &fault);
    if (e == E_OK) {
        e = tls_revocation_each(secret_item(s, STR("ca.crl")), revocation_ignore, NULL, &fault);
    }
    certs_err(c, e);
    row_fault(r, fault);
    if (r->certificate != NULL) {
        row_fault(r, tls_certificate_judge(r->certificate, c->w->now_s));
    }
    r->is_served = certs_shard(c, SNAP_AUTHORITY, r->namespace_name, r->secret) != NULL;
    if (r->is_served && fault != TLS_FAULT_NONE) {
        r->note = "those that were there before stay in service";
    }
}

/* ---- of clients ---- */

static struct str annotation(const struct ingress *in, struct str name)
{
    struct str value;
    return string_map_get(&in->object.annotations, name, &value) ? str_trim(value) : STR_EMPTY;
}

void certs_show_authority(struct certs *c, const struct ingress *in)
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
        row_problem(&r, "is no Secret of the Ingress' namespace", "write NAMESPACE/NAME");
    } else {
        authority_look(c, &r);
    }
    row_show(c, &r);
}

/* ---- shown to endpoints, and expected of them ---- */

static struct row upstream_row(const char *role, const struct ingress *in,
                               const struct certs_upstream *up)
{
    return (struct row){.role = role,
                        .ingress = in,
                        .host = STR_EMPTY,
                        .namespace_name = in->object.namespace_name,
                        .secret = up->name};
}

static void upstream_finish(struct certs *c, struct row *r, const struct certs_upstream *up)
{
    if (!up->is_tls) {
        r->is_served = false;
        r->note = "not used: the backends of the Ingress are spoken to without TLS";
    }
    row_show(c, r);
}

static void show_upstream_certificate(struct certs *c, const struct ingress *in,
                                      const struct certs_upstream *up)
{
    struct row r = upstream_row("upstreamCertificate", in, up);
    row_look(c, &r);
    r.is_served = certs_shard(c, SNAP_CERTIFICATE, r.namespace_name, r.secret) != NULL;
    if (r.is_served && r.certificate == NULL) {
        r.note = "the one that was there before stays in service";
        row_take_served(c, &r, r.namespace_name, r.secret);
    }
    upstream_finish(c, &r, up);
}

static void show_upstream_authority(struct certs *c, const struct ingress *in,
                                    const struct certs_upstream *up)
{
    struct row r = upstream_row("upstreamAuthority", in, up);
    authority_look(c, &r);
    if (!up->is_verified) {
        r.is_served = false;
        r.note = "not used: proxy-ssl-verify is not on";
    }
    upstream_finish(c, &r, up);
}

/* Without the Secret there is one row that says so, of the role that counts for more. */
static void show_upstream_parts(struct certs *c, const struct ingress *in,
                                const struct certs_upstream *up)
{
    struct row probe = upstream_row("", in, up);
    const struct secret *s = row_secret(c, &probe);
    bool has_certificate =
        s != NULL && (secret_item(s, STR("tls.crt")).n > 0 || secret_item(s, STR("tls.key")).n > 0);
    bool has_authority = s != NULL && secret_item(s, STR("ca.crt")).n > 0;
    if (has_certificate || (s == NULL && !up->is_verified)) {
        show_upstream_certificate(c, in, up);
    }
    if (has_authority || up->is_verified) {
        show_upstream_authority(c, in, up);
    }
}

void certs_show_upstream(struct certs *c, const struct ingress *in)
{
    const struct certs_world *w = c->w;
    struct certs_upstream up;
    if (w->upstream == NULL || !w->upstream(w->world.is_ours_arg, in, &up)) {
        return;
    }
    if (up.name.n > 0) {
        show_upstream_parts(c, in, &up);
        return;
    }
    up.name = annotation(in, PROXY_SECRET);
    struct row r = upstream_row("upstreamCertificate", in, &up);
    row_problem(&r, "is no Secret of the Ingress' namespace", "write NAMESPACE/NAME");
    upstream_finish(c, &r, &up);
}
