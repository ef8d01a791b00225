/* What TLS has to do with a request: the certificates that its handshake shows and why, what its
 * client is asked for, and whether it is on the right connection. Asked of the functions that
 * workers ask. A client is taken to have the certificate that it is asked for: what is not served
 * to anybody is told. */
#include "admin/explain_priv.h"

#include "base/buf.h"
#include "base/mem.h"
#include "route/query.h"
#include "route/tls_host.h"
#include "wire/ip.h"

#define TABLE   STR("ingress") /* where workers look names of handshakes up */
#define OWN_KEY STR("-/default")

const char *explain_client_verify_name(const struct snap_tls_host *h)
{
    switch ((enum snap_client_verify)h->verify) {
    case SNAP_VERIFY_OFF:
        return "off";
    case SNAP_VERIFY_REQUIRED:
        return "on";
    case SNAP_VERIFY_OPTIONAL:
        return "optional";
    case SNAP_VERIFY_OPTIONAL_NO_CA:
        return "optional_no_ca";
    }
    return "unknown";
}

const char *explain_key_kind_name(const struct snap_certificate *c)
{
    switch ((enum snap_key_kind)c->key_kind) {
    case SNAP_KEY_RSA:
        return "RSA";
    case SNAP_KEY_EC:
        return "ECDSA";
    case SNAP_KEY_ED25519:
        return "Ed25519";
    case SNAP_KEY_ED448:
        return "Ed448";
    }
    return "unknown";
}

/* ---- the name ---- */

/* Clients send no address: RFC 6066 section 3. */
static enum err server_name_find(struct explanation *e)
{
    struct str host = e->request->server_name;
    struct route_query q = {.host = e->query.host};
    struct ip ip;
    if (host.n > 0) {
        char *scratch = arena_alloc(&e->arena, host.n + 1);
        if (scratch == NULL) {
            return E_NOMEM;
        }
        if (route_query_prepare(TABLE, STR("GET"), host, STR("/"), scratch, host.n + 1, &q) !=
            E_OK) {
            q.host = STR_EMPTY; /* nor can anybody ask for it */
        }
    }
    bool is_address = ip_parse(q.host, &ip) == E_OK || str_has_prefix(q.host, STR("["));
    e->tls.server_name = is_address ? STR_EMPTY : q.host;
    return E_OK;
}

/* ---- certificates ---- */

struct search {
    const struct explanation *e;
    struct explain_certificate *c;
    struct str namespace_name, name;
};

static bool is_before(const struct object *a, const struct object *b)
{
    int order = str_cmp(a->namespace_name, b->namespace_name);
    return order != 0 ? order < 0 : str_cmp(a->name, b->name) < 0;
}

static bool has_host(const struct ingress *in, const struct ingress_tls *t, struct str pattern)
{
    bool is_found = false;
    for (uint32_t i = 0; i < t->host_n; i++) {
        is_found = is_found || str_eq_nocase(t->hosts[i], pattern);
    }
    for (uint32_t i = 0; i < in->rule_n; i++) {
        is_found = is_found || str_eq_nocase(in->rules[i].host, pattern);
    }
    return is_found || (pattern.n == 0 && in->default_backend.type != BACKEND_NONE);
}

/* Of several, the first by name: the store's order is by chance. */
static void search_ingress(void *arg, const struct object *o)
{
    struct search *s = arg;
    const struct explain_world *w = s->e->world;
    const struct ingress *in = (const struct ingress *)(const void *)o;
    const char *why;
    if (!str_eq(o->namespace_name, s->namespace_name) || !w->is_ours(w->is_ours_arg, in, &why) ||
        (s->c->ingress != NULL && !is_before(o, &s->c->ingress->object))) {
        return;
    }
    for (uint32_t i = 0; i < in->tls_n; i++) {
        if (str_eq(in->tls[i].secret, s->name) && has_host(in, &in->tls[i], s->e->tls.pattern)) {
            s->c->ingress = in;
        }
    }
}

static void certificate_fill(struct explanation *e, const struct snap_tls_host *shown,
                             const struct snap_named *which)
{
    struct explain_certificate *c = &e->tls.certificates[e->tls.certificate_n++];
    struct str key = snap_str_get(shown, which->key);
    const struct snapshot_entry *entry =
        snapshot_find(e->world->snapshot, SNAP_CERTIFICATE, key, which->hash);
    *c = (struct explain_certificate){.secret = str_eq(key, OWN_KEY) ? STR_EMPTY : key};
    c->certificate =
        entry == NULL ? NULL : (const struct snap_certificate *)(const void *)entry->shard;
    struct search s = {.e = e, .c = c};
    (void)str_cut(c->secret, '/', &s.namespace_name, &s.name); /* or both are empty */
    if (c->secret.n > 0 && e->world->store != NULL && e->world->is_ours != NULL) {
        store_each(e->world->store, OBJECT_INGRESS, search_ingress, &s);
    }
}

static void certificates_find(struct explanation *e, const struct snap_tls_host *host)
{
    struct snapshot_segment *segment;
    const struct snap_tls_host *shown = host;
    if (shown == NULL || shown->certificates.n == 0) {
        shown = route_tls_host(e->world->snapshot, TABLE, STR_EMPTY, &segment);
    }
    e->tls.is_default = shown == NULL || shown->kind == SNAP_HOST_ANY;
    if (shown == NULL) {
        return; /* one is made when Lintel starts */
    }
    const struct snap_named *list = snap_array_get(shown, shown->certificates);
    e->tls.pattern = snap_str_get(shown, shown->host);
    for (uint32_t i = 0; i < shown->certificates.n; i++) {
        certificate_fill(e, shown, &list[i]);
    }
}

/* ---- the whole ---- */

static bool refuse(struct explanation *e, enum reason reason)
{
    e->reason = reason;
    e->status = reason_status(reason);
    return false;
}

/* Without Secrets, every host that asks for certificates looks as if it lacked what it needs. */
static bool is_denied(const struct explanation *e)
{
    return e->tls.wanted != NULL && e->tls.wanted->is_denied && !e->world->has_no_secrets;
}

static bool admit(struct explanation *e)
{
    struct snapshot_segment *segment;
    const struct snap_global *global = explain_global(e->world->snapshot);
    const struct snap_tls_host *host =
        route_tls_host(e->world->snapshot, TABLE, e->tls.server_name, &segment);
    const struct route_arrival arrival = {.snapshot = e->world->snapshot,
                                          .table = TABLE,
                                          .host = e->query.host,
                                          .server_name = e->world->has_no_secrets
                                                             ? e->query.host /* who knows? */
                                                             : e->tls.server_name,
                                          .policy = host == NULL ? 0 : host->policy};
    bool is_known = host != NULL && host->kind != SNAP_HOST_ANY;
    if (!e->world->has_no_secrets) {
        certificates_find(e, host);
    }
    e->tls.has_http2 = global != NULL && global->settings.use_http2 != 0;
    e->tls.is_refused = !is_known && global != NULL && global->settings.ssl_reject_handshake != 0 &&
                        !e->world->has_no_secrets;
    e->tls.is_misdirected = !e->tls.is_refused && !route_is_right_arrival(&arrival, e->tls.wanted);
    if (e->tls.is_refused || e->tls.is_misdirected) {
        return refuse(e, REASON_misdirected);
    }
    return is_denied(e) ? refuse(e, REASON_denied) : true;
}

enum err explain_tls(struct explanation *e, bool *ret_is_admitted)
{
    const struct route_arrival arrival = {
        .snapshot = e->world->snapshot, .table = TABLE, .host = e->query.host};
    const struct snap_tls_host *wanted = route_wanted(&arrival);
    e->tls.wanted = wanted == NULL || wanted->policy == 0 ? NULL : wanted;
    e->tls.is_used = str_eq(e->listener, STR("https"));
    *ret_is_admitted = true;
    if (!e->tls.is_used) {
        return E_OK;
    }
    TRY(server_name_find(e));
    *ret_is_admitted = admit(e);
    return E_OK;
}

void explain_tls_plain(struct explanation *e)
{
    const struct snap_tls_host *h = e->tls.wanted;
    bool is_answered = e->reason != REASON_none && e->reason != REASON_no_endpoints;
    if (e->tls.is_used || h == NULL || is_answered) {
        return;
    }
    if (is_denied(e) || h->verify == SNAP_VERIFY_REQUIRED || h->name_pattern.n > 0) {
        (void)refuse(e, REASON_denied);
    }
}
