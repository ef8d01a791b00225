/* What an Ingress has to do with TLS: the Secrets that it uses, and the names of handshakes that it
 * says something about. Source: networking.k8s.io/v1 IngressTLS. */
#include "compile/compile_priv.h"

#include "base/mem.h"
#include "wire/uri.h"

enum { ANNOTATIONS_MAX = 2 }; /* that name a Secret */

/* ---- Secrets ---- */

static enum err use_add(struct compile *c, struct ingress_node *n, struct str namespace_name,
                        struct str name, struct secret_use how)
{
    struct secret_use *use = &n->secrets[n->secret_n];
    *use = how;
    use->ingress = n;
    TRY(secret_use(c, namespace_name, name, use));
    n->secret_n++;
    return E_OK;
}

/* What the API would not take as a name cannot be there. */
static enum err secrets_make(struct compile *c, struct ingress_node *n)
{
    const struct ingress *in = n->object;
    struct client_auth auth;
    struct upstream_tls tls;
    n->secrets = mem_calloc((size_t)in->tls_n + ANNOTATIONS_MAX, sizeof(*n->secrets));
    if (n->secrets == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < in->tls_n; i++) {
        if (dns_subdomain_is_valid(in->tls[i].secret)) {
            TRY(use_add(c, n, in->object.namespace_name, in->tls[i].secret,
                        (struct secret_use){.role = SECRET_CERTIFICATE, .entry = i}));
        }
    }
    if (client_auth_get(in, &auth) && auth.name.n > 0) {
        TRY(use_add(c, n, auth.namespace_name, auth.name,
                    (struct secret_use){.role = SECRET_AUTHORITY,
                                        .entry = SECRET_BY_ANNOTATION,
                                        .annotation = CLIENT_AUTH_SECRET}));
    }
    upstream_tls_get(in, &tls);
    if (!tls.is_broken && tls.name.n > 0 && speech_may_be_tls(c, in)) {
        TRY(use_add(c, n, tls.namespace_name, tls.name,
                    (struct secret_use){.role = SECRET_UPSTREAM,
                                        .entry = SECRET_BY_ANNOTATION,
                                        .annotation = UPSTREAM_TLS_SECRET_ANNOTATION}));
    }
    return E_OK;
}

/* ---- names ---- */

struct tls_node *tls_make(struct compile *c, struct str pattern)
{
    struct tls_node *tls = node_make(&c->tls, &(struct key){{pattern}}, sizeof(*tls));
    if (tls != NULL && tls->links.next == NULL) {
        list_init(&tls->links);
    }
    return tls;
}

static enum err name_add(struct compile *c, struct ingress_node *n, struct str host, uint32_t entry,
                         uint32_t index)
{
    buf_reset(&c->key);
    for (size_t i = 0; i < host.n; i++) {
        buf_add_char(&c->key, ascii_lower(host.p[i]));
    }
    struct tls_node *tls = c->key.bad ? NULL : tls_make(c, buf_str(&c->key));
    if (tls == NULL) {
        return E_NOMEM;
    }
    struct tls_link *link = &n->names[n->name_n++];
    *link = (struct tls_link){.ingress = n, .tls = tls, .entry = entry, .host = index};
    list_append(&tls->links, &link->in_tls);
    node_mark(&c->dirty_tls, &tls->node);
    return E_OK;
}

static enum err names_of_entries(struct compile *c, struct ingress_node *n)
{
    const struct ingress *in = n->object;
    for (uint32_t i = 0; i < in->tls_n; i++) {
        for (uint32_t k = 0; k < in->tls[i].host_n; k++) {
            struct str host = in->tls[i].hosts[k];
            if (host.n > 0 && host_is_usable(host)) {
                TRY(name_add(c, n, host, i, k));
            }
        }
    }
    return E_OK;
}

static enum err names_of_rules(struct compile *c, struct ingress_node *n)
{
    const struct ingress *in = n->object;
    for (uint32_t i = 0; i < in->rule_n; i++) {
        if (host_is_usable(in->rules[i].host)) {
            TRY(name_add(c, n, in->rules[i].host, TLS_OF_RULE, i));
        }
    }
    if (in->default_backend.type == BACKEND_NONE) {
        return E_OK;
    }
    return name_add(c, n, STR_EMPTY, TLS_OF_RULE, in->rule_n); /* it serves every host */
}

bool ingress_has_names(const struct compile *c, const struct ingress *in)
{
    struct client_auth auth;
    return in->tls_n > 0 || client_auth_get(in, &auth) || passthrough_is_on(c, in);
}

size_t ingress_names_max(const struct ingress *in)
{
    size_t most = (size_t)in->rule_n + 1;
    for (uint32_t i = 0; i < in->tls_n; i++) {
        most += in->tls[i].host_n;
    }
    return most;
}

static enum err names_make(struct compile *c, struct ingress_node *n)
{
    const struct ingress *in = n->object;
    if (!ingress_has_names(c, in)) {
        return E_OK;
    }
    n->names = mem_calloc(ingress_names_max(in), sizeof(*n->names));
    if (n->names == NULL) {
        return E_NOMEM;
    }
    TRY(names_of_entries(c, n));
    return names_of_rules(c, n);
}

/* ---- both ---- */

enum err ingress_tls_attach(struct compile *c, struct ingress_node *n)
{
    TRY(secrets_make(c, n));
    return names_make(c, n);
}

void ingress_tls_detach(struct compile *c, struct ingress_node *n)
{
    for (uint32_t i = 0; i < n->secret_n; i++) {
        secret_release(c, &n->secrets[i]);
    }
    for (uint32_t i = 0; i < n->name_n; i++) {
        list_del(&n->names[i].in_tls);
        n->names[i].tls->chosen_n = 0;
        node_mark(&c->dirty_tls, &n->names[i].tls->node);
    }
    mem_free(n->secrets);
    mem_free(n->names);
    n->secrets = NULL;
    n->names = NULL;
    n->secret_n = n->name_n = 0;
}
