/* One port of one Service in use: from the Service, its slices or its external name to the shard
 * with its endpoints. This is what a rollout changes, so it costs nothing but the Service's own
 * slices. Source: Kubernetes API v1 Service, networking.k8s.io/v1 ServiceBackendPort. */
#include "compile/compile_priv.h"

#include "base/mem.h"

static const struct finding no_service = {
    DIAG_ERROR, DIAG_ServiceNotFound,
    "a backend's Service has to exist in the namespace of the Ingress; requests to it are answered "
    "with 503",
    "create the Service or correct the name"};
static const struct finding no_port = {
    DIAG_ERROR, DIAG_PortNotFound,
    "a backend names one of the Service's TCP ports; requests to it are answered with 503",
    "write the number or name of one of the Service's ports"};
static const struct finding too_many = {
    DIAG_ERROR, DIAG_LimitReached,
    "the endpoints of one Service port take at most 64 MiB; none of them is used",
    "spread them over several Services"};

/* ---- who is told ---- */

static void tell_options(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                         const struct finding *f)
{
    struct object o = {
        .kind = OBJECT_SERVICE,
        .namespace_name = port->node.key.part[0],
        .name = port->node.key.part[1],
        .file = STR_EMPTY,
    };
    buf_reset(&c->field);
    buf_add_str(&c->field, STR("--default-backend-service"));
    finding_add(c, batch, &o, 0, f);
}

void service_tell(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                  const char *more, const struct finding *f)
{
    for (const struct list *it = port->uses.next; it != &port->uses; it = it->next) {
        const struct use *use = (const void *)((const char *)it - offsetof(struct use, in_port));
        if (use->ingress == NULL) {
            tell_options(c, batch, port, f);
            continue;
        }
        const struct ingress *in = use->ingress->object;
        bool is_default = use->place.rule == SNAP_DEFAULT_RULE;
        place_field(c, use->place, is_default ? "" : ".backend");
        buf_addf(&c->field, ".service.%s", more);
        finding_add(c, batch, &in->object, place_line(in, use->place), f);
    }
}

/* ---- ports ---- */

static bool is_tcp(struct str protocol)
{
    return protocol.n == 0 || str_eq(protocol, STR("TCP"));
}

static bool is_port(const struct service_port *p, struct str text)
{
    uint64_t number;
    if (!is_tcp(p->protocol)) {
        return false;
    }
    if (text.n == 0) { /* any: the first one counts */
        return true;
    }
    return str_to_u64(text, UINT16_MAX, &number) ? p->port == number : str_eq(p->name, text);
}

const struct service_port *service_find_port(const struct service *service, struct str port)
{
    for (uint32_t i = 0; i < service->port_n; i++) {
        if (is_port(&service->ports[i], port)) {
            return &service->ports[i];
        }
    }
    return NULL;
}

/* A headless Service may list no ports at all; then a number stands for itself. */
static bool portless_find(const struct service *service, struct str port, struct service_port *ret)
{
    uint64_t number;
    if (service->port_n > 0 || !str_eq(service->cluster_ip, STR("None")) ||
        !str_to_u64(port, UINT16_MAX, &number) || number == 0) {
        return false;
    }
    *ret = (struct service_port){.port = (uint16_t)number};
    return true;
}

const struct service_port *service_find_any_port(const struct service *service, struct str port,
                                                 struct service_port *portless)
{
    const struct service_port *found = service_find_port(service, port);
    return found == NULL && portless_find(service, port, portless) ? portless : found;
}

/* ---- gathering ---- */

void service_tell_no_port(struct compile *c, struct diag_batch *batch, const struct port_node *port)
{
    const struct key *key = &port->node.key;
    struct buf *what = what_begin(c);
    buf_addf(what, "Service %.*s/%.*s has no TCP port", STR_ARG(key->part[0]),
             STR_ARG(key->part[1]));
    if (key->part[2].n > 0) {
        buf_addf(what, " \"%.*s\"", STR_ARG(key->part[2]));
    }
    c->service.status = SNAP_SERVICE_NO_PORT;
    service_tell(c, batch, port, "port", &no_port);
}

static enum err missing_gather(struct compile *c, struct diag_batch *batch, struct port_node *port)
{
    const struct key *key = &port->node.key;
    c->service.status = SNAP_SERVICE_MISSING;
    buf_addf(what_begin(c), "there is no Service %.*s/%.*s", STR_ARG(key->part[0]),
             STR_ARG(key->part[1]));
    service_tell(c, batch, port, "name", &no_service);
    return port_depend(c, port, STR_EMPTY);
}

static enum err service_gather(struct compile *c, struct diag_batch *batch, struct port_node *port)
{
    const struct key *key = &port->node.key;
    const struct service *service = (const struct service *)(const void *)store_get(
        c->store, OBJECT_SERVICE, key->part[0], key->part[1]);
    struct service_port portless;
    c->service.endpoints.n = c->service.terminating.n = 0;
    c->service.status = SNAP_SERVICE_OK;
    c->service.balance = balance_gather(c, batch, port);
    c->service.speech = speech_of_variant(key->part[3]);
    upstream_secret_gather(c, port);
    if (service == NULL) {
        return missing_gather(c, batch, port);
    }
    if (c->service.speech.is_unsupported) { /* the Ingress is told */
        c->service.status = SNAP_SERVICE_UNSUPPORTED;
        return port_depend(c, port, STR_EMPTY);
    }
    if (service->type == SERVICE_EXTERNAL_NAME) {
        return external_gather(c, batch, port, service);
    }
    TRY(port_depend(c, port, STR_EMPTY));
    const struct service_port *service_port =
        service_find_any_port(service, key->part[2], &portless);
    if (service_port == NULL) {
        service_tell_no_port(c, batch, port);
        return E_OK;
    }
    speech_gather(c, batch, port, service_port);
    return endpoints_gather(c, batch, port, service, service_port);
}

/* ---- the shard ---- */

void service_key(struct compile *c, const struct key *key)
{
    buf_reset(&c->key);
    buf_addf(&c->key, "%.*s/%.*s/%.*s", STR_ARG(key->part[0]), STR_ARG(key->part[1]),
             STR_ARG(key->part[2]));
    if (key->part[3].n > 0) {
        buf_addf(&c->key, "/%.*s", STR_ARG(key->part[3]));
    }
}

/* Without TLS, texts that say nothing. */
static void tls_add(struct compile *c, struct upstream_tls_texts *ret)
{
    const struct service_work *w = &c->service;
    if (w->speech.is_tls) {
        upstream_tls_add(&c->shard, &w->tls, &w->tls_secret, ret);
        return;
    }
    ret->server_name = ret->ciphers = ret->authority = ret->certificate =
        snap_add_str(&c->shard, STR_EMPTY);
}

static void tls_fill(const struct compile *c, struct snap_service *root,
                     const struct upstream_tls_texts *texts)
{
    static const struct upstream_tls none;
    const struct service_work *w = &c->service;
    const struct upstream_tls *tls = w->speech.is_tls ? &w->tls : &none;
    upstream_tls_fill(root, tls, upstream_tls_lacks(tls, &w->tls_secret), texts,
                      w->speech.is_tls ? w->tls_stamp : 0);
    root->is_tls = w->speech.is_tls;
}

static enum err service_write(struct compile *c, const struct port_node *port)
{
    const struct service_work *w = &c->service;
    const struct key *key = &port->node.key;
    struct buf *b = &c->shard;
    service_key(c, key);
    TRY(c->key.bad ? E_NOMEM : E_OK);
    buf_reset(b);
    snap_shard_begin(b, SNAP_SERVICE, sizeof(struct snap_service), buf_str(&c->key));
    struct snap_str namespace_name = snap_add_str(b, key->part[0]);
    struct snap_str name = snap_add_str(b, key->part[1]);
    struct snap_str port_text = snap_add_str(b, key->part[2]);
    struct snap_str variant = snap_add_str(b, key->part[3]);
    struct upstream_tls_texts texts;
    tls_add(c, &texts);
    struct snap_array endpoints =
        snap_add_array(b, (uint32_t)w->endpoints.n, sizeof(struct snap_endpoint));
    if (!b->bad) {
        struct snap_service *root = snap_at(b, 0, struct snap_service);
        root->namespace_name = namespace_name;
        root->name = name;
        root->port = port_text;
        root->variant = variant;
        root->status = (uint8_t)w->status;
        root->protocol = (uint8_t)w->speech.protocol;
        root->proxy_protocol = w->speech.proxy_protocol;
        tls_fill(c, root, &texts);
        root->balance = (uint8_t)w->balance;
        root->endpoints = endpoints;
        mem_copy(snap_at(b, endpoints.offset, char), w->endpoints.items,
                 w->endpoints.n * sizeof(*w->endpoints.items));
    }
    return snap_shard_end(b);
}

static enum err service_output(struct compile *c, struct port_node *port, struct diag_batch *batch)
{
    enum err e = service_write(c, port);
    if (e == E_LIMIT) {
        buf_addf(what_begin(c), "has %zu endpoints", c->service.endpoints.n);
        service_tell(c, batch, port, "name", &too_many);
        c->service.endpoints.n = 0;
        e = service_write(c, port);
    }
    TRY(e);
    TRY(batch->err);
    return product_emit(c, &port->node.product);
}

static enum err service_drop(struct compile *c, struct port_node *port)
{
    service_key(c, &port->node.key);
    TRY(c->key.bad ? E_NOMEM : E_OK);
    TRY(product_delete(c, &port->node.product, SNAP_SERVICE));
    port_free(c, port);
    return E_OK;
}

enum err service_compile(struct compile *c, struct port_node *port)
{
    struct diag_batch batch;
    if (list_is_empty(&port->uses)) {
        return service_drop(c, port);
    }
    diag_batch_init(&batch);
    enum err e = service_gather(c, &batch, port);
    if (e == E_OK) {
        e = service_output(c, port, &batch);
    }
    if (e != E_OK) {
        diag_batch_drop(&batch);
        return e;
    }
    diag_batch_commit(&batch, c->book, &port->node.diags);
    list_del(&port->node.dirty);
    return E_OK;
}
