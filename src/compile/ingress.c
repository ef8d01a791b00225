/* One Ingress: whether it is ours, and if so which hosts it adds to and which Services it uses. */
#include "compile/compile_priv.h"

#include "base/mem.h"
#include "wire/uri.h"

static const struct finding invalid_host = {
    DIAG_ERROR, DIAG_InvalidHost,
    "a host is a DNS name, or one with a star as its first label; the rule is left out",
    "write a name like example.com or *.example.com"};
static const struct finding invalid_tls_host = {
    DIAG_ERROR, DIAG_InvalidHost,
    "a host is a DNS name, or one with a star as its first label; it gets no certificate",
    "write a name like example.com or *.example.com"};
static const struct finding resource_backend = {
    DIAG_ERROR, DIAG_ResourceBackend,
    "resource backends are not supported; requests to it are answered with 503", "name a Service"};
static const struct finding unusable_backend = {
    DIAG_ERROR, DIAG_InvalidValue,
    "a backend needs the name of a Service and one of port.number and port.name; requests to it "
    "are answered with 503",
    "write service.name and service.port.number"};

/* ---- links and uses ---- */

bool host_is_usable(struct str host)
{
    char lower[SNAP_HOST_BYTES_MAX];
    if (host.n == 0) {
        return true;
    }
    if (host.n > sizeof(lower)) {
        return false;
    }
    for (size_t i = 0; i < host.n; i++) {
        lower[i] = ascii_lower(host.p[i]);
    }
    struct str name = str_make(lower, host.n);
    return dns_subdomain_is_valid(str_has_prefix(name, STR("*.")) ? str_from(name, 2) : name);
}

static enum err link_add(struct compile *c, struct ingress_node *n, struct str host, uint32_t rule)
{
    buf_reset(&c->key);
    for (size_t i = 0; i < host.n; i++) {
        buf_add_char(&c->key, ascii_lower(host.p[i]));
    }
    struct host_node *node = c->key.bad ? NULL : host_make(c, buf_str(&c->key));
    if (node == NULL) {
        return E_NOMEM;
    }
    struct link *link = &n->links[n->link_n++];
    *link = (struct link){.ingress = n, .host = node, .rule = rule};
    list_append(&node->links, &link->in_host);
    node_mark(&c->dirty_hosts, &node->node);
    passthrough_touch(c, node->node.key.part[0]);
    return E_OK;
}

static enum err links_make(struct compile *c, struct ingress_node *n)
{
    const struct ingress *in = n->object;
    n->links = mem_calloc((size_t)in->rule_n + 1, sizeof(*n->links));
    if (n->links == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < in->rule_n; i++) {
        if (host_is_usable(in->rules[i].host)) {
            TRY(link_add(c, n, in->rules[i].host, i));
        }
    }
    if (in->default_backend.type == BACKEND_NONE) {
        return E_OK;
    }
    return link_add(c, n, STR_EMPTY, SNAP_DEFAULT_RULE);
}

static enum err use_add(struct compile *c, struct ingress_node *n, struct place place,
                        const struct key *key)
{
    struct port_node *port = port_make(c, key);
    if (port == NULL) {
        return E_NOMEM;
    }
    if (port->stamp == c->stamp) { /* this Ingress uses it already */
        return E_OK;
    }
    port->stamp = c->stamp;
    struct use *use = &n->uses[n->use_n++];
    *use = (struct use){.ingress = n, .port = port, .place = place};
    list_append(&port->uses, &use->in_port);
    node_mark(&c->dirty_ports, &port->node);
    return E_OK;
}

/* Of the Service port that the backend at place names, in each way in which it is spoken to. */
static enum err uses_add(struct compile *c, struct ingress_node *n, struct place place,
                         const struct variants *variants)
{
    const struct ingress_backend *backend = place_backend(n->object, place);
    char digits[U16_DIGITS];
    if (!backend_is_service(backend)) {
        return E_OK;
    }
    struct key key = {
        {n->node.key.part[0], backend->service, backend_port(backend, digits), variants->plain}
    };
    TRY(use_add(c, n, place, &key));
    key.part[3] = variants->secure;
    return variants->secure.n > 0 ? use_add(c, n, place, &key) : E_OK;
}

/* Of the Service ports that get the TLS of its hosts as it is. */
static enum err passed_uses_add(struct compile *c, struct ingress_node *n)
{
    char digits[U16_DIGITS];
    struct place place;
    struct key key;
    for (uint32_t i = 0; i < n->object->rule_n; i++) {
        if (passthrough_key(c, n->object, i, digits, &place, &key)) {
            TRY(use_add(c, n, place, &key));
        }
    }
    return E_OK;
}

static enum err uses_make(struct compile *c, struct ingress_node *n)
{
    size_t places = 1;
    buf_init(&n->variant_text, SNAPSHOT_SHARD_BYTES_MAX);
    if (!variants_get(n->object, &n->variant_text, &n->variants)) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < n->object->rule_n; i++) {
        places += n->object->rules[i].path_n;
    }
    places *= n->variants.secure.n > 0 ? 2 : 1;
    n->uses = mem_calloc(places + n->object->rule_n, sizeof(*n->uses));
    if (n->uses == NULL) {
        return E_NOMEM;
    }
    c->stamp++;
    struct place place = place_first();
    do {
        TRY(uses_add(c, n, place, &n->variants));
    } while (place_next(n->object, &place));
    return passed_uses_add(c, n);
}

void ingress_detach(struct compile *c, struct ingress_node *n)
{
    for (uint32_t i = 0; i < n->link_n; i++) {
        list_del(&n->links[i].in_host);
        node_mark(&c->dirty_hosts, &n->links[i].host->node);
        passthrough_touch(c, n->links[i].host->node.key.part[0]);
    }
    for (uint32_t i = 0; i < n->use_n; i++) {
        list_del(&n->uses[i].in_port);
        node_mark(&c->dirty_ports, &n->uses[i].port->node);
    }
    ingress_tls_detach(c, n);
    mem_free(n->links);
    mem_free(n->uses);
    n->links = NULL;
    n->uses = NULL;
    n->link_n = n->use_n = 0;
    buf_fini(&n->variant_text);
    n->variants = (struct variants){STR_EMPTY, STR_EMPTY};
}

/* ---- class ---- */

static void class_leave(struct compile *c, struct ingress_node *n)
{
    struct class_node *class = n->class;
    list_del(&n->in_class);
    n->class = NULL;
    if (class != NULL && list_is_empty(&class->ingresses)) {
        node_free(&c->classes, &class->node);
    }
}

/* So that a change of what decides its class finds it. */
static enum err class_join(struct compile *c, struct ingress_node *n)
{
    class_leave(c, n);
    if (!n->object->has_class_name) {
        list_append(&c->classless, &n->in_class);
        return E_OK;
    }
    struct key key = {{n->object->class_name}};
    struct class_node *class = node_make(&c->classes, &key, sizeof(*class));
    if (class == NULL) {
        return E_NOMEM;
    }
    if (class->ingresses.next == NULL) {
        list_init(&class->ingresses);
    }
    list_append(&class->ingresses, &n->in_class);
    n->class = class;
    return E_OK;
}

/* ---- the whole ---- */

static void hosts_check(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    for (uint32_t i = 0; i < in->rule_n; i++) {
        struct place place = {i, SNAP_DEFAULT_RULE};
        if (!host_is_usable(in->rules[i].host)) {
            place_field(c, place, ".host");
            buf_addf(what_begin(c), "is \"%.*s\"", STR_ARG(shown(in->rules[i].host)));
            finding_add(c, batch, &in->object, place_line(in, place), &invalid_host);
        }
    }
}

static void tls_hosts_check(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    for (uint32_t i = 0; i < in->tls_n; i++) {
        for (uint32_t k = 0; k < in->tls[i].host_n; k++) {
            if (!host_is_usable(in->tls[i].hosts[k])) {
                buf_reset(&c->field);
                buf_addf(&c->field, "spec.tls[%u].hosts[%u]", i, k);
                buf_addf(what_begin(c), "is \"%.*s\"", STR_ARG(shown(in->tls[i].hosts[k])));
                finding_add(c, batch, &in->object, in->object.line, &invalid_tls_host);
            }
        }
    }
}

static void backend_check(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                          struct place place)
{
    const struct ingress_backend *b = place_backend(in, place);
    if (backend_is_service(b) || (b->type == BACKEND_NONE && place.rule == SNAP_DEFAULT_RULE)) {
        return;
    }
    bool is_default = place.rule == SNAP_DEFAULT_RULE;
    if (b->type == BACKEND_RESOURCE) {
        place_field(c, place, is_default ? ".resource" : ".backend.resource");
        buf_addf(what_begin(c), "names %.*s \"%.*s\"", STR_ARG(shown(b->resource_kind)),
                 STR_ARG(shown(b->resource_name)));
        finding_add(c, batch, &in->object, place_line(in, place), &resource_backend);
        return;
    }
    place_field(c, place, is_default ? "" : ".backend");
    buf_add_str(what_begin(c), STR("cannot be used"));
    finding_add(c, batch, &in->object, place_line(in, place), &unusable_backend);
}

void ingress_check(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    struct place place = place_first();
    hosts_check(c, batch, in);
    tls_hosts_check(c, batch, in);
    do {
        backend_check(c, batch, in, place);
    } while (place_next(in, &place));
    filters_check(c, batch, in);
    balance_check(c, batch, in);
    client_auth_check(c, batch, in);
    passthrough_check(c, batch, in);
    speech_check(c, batch, in);
    upstream_tls_check(c, batch, in, speech_may_be_tls(c, in));
}

static enum err ingress_attach(struct compile *c, struct ingress_node *n, struct diag_batch *batch)
{
    TRY(class_join(c, n));
    struct class_verdict verdict = class_judge(c, n->object);
    class_check(c, batch, n->object, &verdict);
    if (verdict.is_ours) {
        TRY(links_make(c, n));
        TRY(https_links(c, n));
        TRY(uses_make(c, n));
        TRY(ingress_tls_attach(c, n));
        ingress_check(c, batch, n->object);
    }
    return batch->err;
}

enum err ingress_update(struct compile *c, struct ingress_node *n)
{
    struct diag_batch batch;
    ingress_detach(c, n);
    if (n->object == NULL) {
        class_leave(c, n);
        node_free(&c->ingresses, &n->node);
        return E_OK;
    }
    diag_batch_init(&batch);
    enum err e = ingress_attach(c, n, &batch);
    if (e != E_OK) {
        diag_batch_drop(&batch);
        return e; /* stays dirty; what was attached is undone by the next try */
    }
    diag_batch_commit(&batch, c->book, &n->node.diags);
    list_del(&n->node.dirty);
    return E_OK;
}
