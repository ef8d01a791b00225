/* Rows of hosts: each that an entry of spec.tls lists, those of rules that get a certificate
 * without being listed, and all the others, which get the default one. */
#include "admin/certs_priv.h"

#define TABLE STR("ingress")

/* ---- what is served ---- */

static const struct snap_tls_host *host_find(const struct certs *c, struct str host)
{
    return (const struct snap_tls_host *)(const void *)certs_shard(c, SNAP_TLS_HOST, TABLE, host);
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

/* ---- of an entry ---- */

/* What an authority says of one that clients see. */
static void staple_look(const struct certs *c, struct row *r)
{
    const struct certs_world *w = c->w;
    r->has_staple = w->staple != NULL && r->is_served &&
                    w->staple(w->staple_arg, r->namespace_name, r->secret, &r->staple);
    if (r->has_staple && r->staple.is_revoked) {
        row_problem(r, "is revoked, says its authority", "replace it");
    }
}

static void row_fill(struct certs *c, struct row *r)
{
    row_look(c, r);
    if (r->certificate != NULL && r->host.n > 0 &&
        !tls_certificate_covers(r->certificate, r->host)) {
        row_problem(r, "does not cover the host", "have one made that names this host");
    }
    r->is_served = host_has(host_find(c, r->host), r->namespace_name, r->secret);
    if (r->is_served && r->certificate == NULL) {
        r->note = "the one that was there before stays in service";
        row_take_served(c, r, r->namespace_name, r->secret);
    } else if (!r->is_served && r->problem == NULL && r->host.n > 0) {
        r->note = "not served: the host has another certificate, of an older Ingress or entry";
    }
    staple_look(c, r);
}

void certs_show_host(struct certs *c, const struct ingress *in, struct str secret, struct str host)
{
    struct row r = {.role = "host",
                    .ingress = in,
                    .host = host,
                    .namespace_name = in->object.namespace_name,
                    .secret = secret};
    row_fill(c, &r);
    row_show(c, &r);
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

static bool names_secret(const struct ingress *in, struct str name)
{
    for (uint32_t i = 0; i < in->tls_n; i++) {
        if (str_eq(in->tls[i].secret, name)) {
            return true;
        }
    }
    return false;
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

void certs_show_rule(struct certs *c, const struct ingress *in, uint32_t rule)
{
    struct str space, name, host = in->rules[rule].host;
    if (host.n == 0 || in->tls_n == 0 || is_listed(in, host) || !is_first_rule(in, rule)) {
        return;
    }
    const struct snap_tls_host *h = host_find(c, host);
    const struct snap_named *list = h == NULL ? NULL : snap_array_get(h, h->certificates);
    for (uint32_t i = 0; h != NULL && i < h->certificates.n; i++) {
        if (str_cut(snap_str_get(h, list[i].key), '/', &space, &name) &&
            str_eq(space, in->object.namespace_name) && names_secret(in, name)) {
            certs_show_host(c, in, name, host);
        }
    }
}

/* ---- the default ---- */

void certs_show_default(struct certs *c)
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
        row_take_served(c, &r, STR("-"), STR("default"));
        row_show(c, &r);
    }
}
