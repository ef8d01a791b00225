/* The endpoints of a Service port: over all its slices, whatever their order.
 * Ready ones; when there is none, those that still serve while they terminate (as kube-proxy does,
 * and as ingress-nginx does not). A slice's port is found by the name of the Service's port; the
 * number is what the slice says.
 *
 * Hints say for which zones or nodes an endpoint is meant. They are used only when every ready
 * endpoint has some and ours is among them: those of nodes first, then those of zones. The
 * Service's trafficDistribution needs no look: it is what makes the control plane write hints, and
 * it takes them away where they would overload an endpoint.
 * Source: discovery.k8s.io/v1 EndpointSlice; the rules of kube-proxy. */
#include "compile/compile_priv.h"

#include "base/mem.h"
#include "base/vec.h"

#include <stdlib.h>
#include <string.h>

static const struct finding no_endpoints = {
    DIAG_WARNING, DIAG_NoEndpoints,
    "a request needs an endpoint that is ready; until there is one it is answered with 503",
    "see whether the Service's pods run, are ready and have its labels and port"};

enum reach { REACH_ALL, REACH_ZONE, REACH_NODE }; /* whose endpoints are taken */

/* What the hints of the ready endpoints say. */
struct survey {
    size_t ready_n;
    size_t zone_n, node_n; /* with a hint of that kind */
    bool is_our_zone_in, is_our_node_in;
};

struct pick {
    const struct compile *c;
    const struct service *service;
    const struct service_port *port;
    struct service_work *work; /* to be filled; NULL: only questions are asked */
    struct str zone, node;     /* ours; empty: unknown */
    struct survey survey;
    enum reach reach;
    size_t slice_n, match_n; /* slices, and those of them with the port */
    enum err err;
};

/* ---- lists ---- */

enum err endpoint_list_add(struct endpoint_list *l, const struct ip *ip, uint16_t port)
{
    TRY(VEC_ROOM(l->items, l->n, l->cap, UINT32_MAX));
    struct snap_endpoint *e = &l->items[l->n++];
    *e = (struct snap_endpoint){.family = ip->family, .port = port, .weight = 1};
    mem_copy(e->address, ip->bytes, sizeof(e->address));
    return E_OK;
}

static int endpoint_cmp(const void *a, const void *b)
{
    const struct snap_endpoint *x = a, *y = b;
    int order = x->family - y->family;
    if (order == 0) {
        order = memcmp(x->address, y->address, sizeof(x->address));
    }
    return order != 0 ? order : x->port - y->port;
}

void endpoint_list_sort(struct endpoint_list *l)
{
    size_t kept = 0;
    if (l->n > 1) {
        qsort(l->items, l->n, sizeof(*l->items), endpoint_cmp);
    }
    for (size_t i = 0; i < l->n; i++) {
        if (kept == 0 || endpoint_cmp(&l->items[kept - 1], &l->items[i]) != 0) {
            l->items[kept++] = l->items[i];
        }
    }
    l->n = kept;
}

/* ---- slices ---- */

/* 0: the slice does not have the port. */
static uint16_t slice_port(const struct pick *p, const struct endpoint_slice *slice)
{
    if (slice->port_n == 0 && p->service->port_n == 0) { /* a headless Service without ports */
        return p->port->port;
    }
    for (uint32_t i = 0; i < slice->port_n; i++) {
        const struct endpoint_port *port = &slice->ports[i];
        bool is_tcp = port->protocol.n == 0 || str_eq(port->protocol, STR("TCP"));
        if (!is_tcp || !str_eq(port->name, p->port->name)) {
            continue;
        }
        if (port->port != 0) {
            return port->port;
        }
        /* No number in the slice means every port. */
        return p->port->target.number != 0 ? p->port->target.number : p->port->port;
    }
    return 0;
}

static bool is_usable(const struct endpoint *e)
{
    return e->address_n > 0 && !ip_is_unusable(&e->addresses[0]); /* the decoder has told */
}

static bool is_ready(const struct pick *p, const struct endpoint *e)
{
    return e->is_ready || p->service->publishes_not_ready;
}

/* ---- hints ---- */

static bool hints_have(const struct endpoint_hint *hints, uint32_t n, struct str name)
{
    for (uint32_t i = 0; i < n && name.n > 0; i++) {
        if (str_eq(hints[i].name, name)) {
            return true;
        }
    }
    return false;
}

static void endpoint_survey(struct pick *p, const struct endpoint *e)
{
    struct survey *s = &p->survey;
    s->ready_n++;
    s->zone_n += e->zone_hint_n > 0;
    s->node_n += e->node_hint_n > 0;
    s->is_our_zone_in = s->is_our_zone_in || hints_have(e->zone_hints, e->zone_hint_n, p->zone);
    s->is_our_node_in = s->is_our_node_in || hints_have(e->node_hints, e->node_hint_n, p->node);
}

static void slice_survey(void *arg, const struct endpoint_slice *slice)
{
    struct pick *p = arg;
    if (slice_port(p, slice) == 0) {
        return;
    }
    for (uint32_t i = 0; i < slice->endpoint_n; i++) {
        const struct endpoint *e = &slice->endpoints[i];
        if (is_usable(e) && is_ready(p, e)) {
            endpoint_survey(p, e);
        }
    }
}

/* ingress-nginx knows zones only, and looks at them only where the Service asks for it. */
static bool has_nginx_topology(const struct service *service)
{
    static const struct str annotations[] = {
        STR_INIT("service.kubernetes.io/topology-mode"),
        STR_INIT("service.kubernetes.io/topology-aware-hints"),
    };
    struct str value;
    for (size_t i = 0; i < sizeof(annotations) / sizeof(annotations[0]); i++) {
        if (string_map_get(&service->object.annotations, annotations[i], &value)) {
            return str_eq_nocase(value, STR("auto"));
        }
    }
    return false;
}

/* Where we are; false when hints do not count. */
static bool place_find(struct pick *p)
{
    const struct str name = p->c->options->node_name;
    bool is_nginx = class_is_nginx(p->c);
    if (name.n == 0 || (is_nginx && !has_nginx_topology(p->service))) {
        return false;
    }
    const struct object *node = store_get(p->c->store, OBJECT_NODE, STR_EMPTY, name);
    p->node = is_nginx ? STR_EMPTY : name;
    if (node == NULL ||
        !string_map_get(&node->labels, STR("topology.kubernetes.io/zone"), &p->zone)) {
        p->zone = STR_EMPTY;
    }
    return true;
}

static void each_slice(struct pick *p, store_slice_fn *fn)
{
    const struct object *o = &p->service->object;
    store_each_slice(p->c->store, o->namespace_name, o->name, fn, p);
}

static enum reach reach_choose(struct pick *p)
{
    const struct survey *s = &p->survey;
    if (!place_find(p)) {
        return REACH_ALL;
    }
    each_slice(p, slice_survey);
    if (s->is_our_node_in && s->node_n == s->ready_n) {
        return REACH_NODE;
    }
    return s->is_our_zone_in && s->zone_n == s->ready_n ? REACH_ZONE : REACH_ALL;
}

static bool is_in_reach(const struct pick *p, const struct endpoint *e)
{
    switch (p->reach) {
    case REACH_ALL:
        return true;
    case REACH_ZONE:
        return hints_have(e->zone_hints, e->zone_hint_n, p->zone);
    case REACH_NODE:
        return hints_have(e->node_hints, e->node_hint_n, p->node);
    }
    return true;
}

/* ---- the choice ---- */

/* Taken when nothing is ready. */
static bool is_last_resort(const struct pick *p, const struct endpoint *e)
{
    return e->is_serving && e->is_terminating && !class_is_nginx(p->c);
}

static void endpoint_take(struct pick *p, const struct endpoint *e, uint16_t port)
{
    struct service_work *w = p->work;
    if (is_ready(p, e)) {
        if (is_in_reach(p, e)) {
            p->err = endpoint_list_add(&w->endpoints, &e->addresses[0], port);
        }
    } else if (is_last_resort(p, e)) {
        p->err = endpoint_list_add(&w->terminating, &e->addresses[0], port);
    }
}

static void slice_take(void *arg, const struct endpoint_slice *slice)
{
    struct pick *p = arg;
    uint16_t port = slice_port(p, slice);
    p->slice_n++;
    if (port == 0) {
        return;
    }
    p->match_n++;
    for (uint32_t i = 0; i < slice->endpoint_n && p->err == E_OK; i++) {
        if (is_usable(&slice->endpoints[i])) {
            endpoint_take(p, &slice->endpoints[i], port);
        }
    }
}

/* Without numbers: while pods come and go they would make a new diagnostic of each change. */
static void tell_empty(struct compile *c, const struct pick *p, struct diag_batch *batch,
                       const struct port_node *port)
{
    struct buf *what = what_begin(c);
    buf_addf(what, "Service %.*s/%.*s has ", STR_ARG(port->node.key.part[0]),
             STR_ARG(port->node.key.part[1]));
    if (p->slice_n == 0) {
        buf_addf(what, "no EndpointSlice");
    } else if (p->match_n > 0) {
        buf_addf(what, "no endpoint that is ready");
    } else if (p->port->name.n > 0) {
        buf_addf(what, "no EndpointSlice with a TCP port named \"%.*s\"", STR_ARG(p->port->name));
    } else {
        buf_addf(what, "no EndpointSlice with a TCP port without a name");
    }
    service_tell(c, batch, port, "name", &no_endpoints);
}

enum err endpoints_gather(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                          const struct service *service, const struct service_port *service_port)
{
    struct service_work *w = &c->service;
    struct pick p = {.c = c,
                     .work = w,
                     .service = service,
                     .port = service_port,
                     .zone = STR_EMPTY,
                     .node = STR_EMPTY};
    p.reach = reach_choose(&p);
    each_slice(&p, slice_take);
    TRY(p.err);
    if (w->endpoints.n == 0) {
        struct endpoint_list ready = w->endpoints;
        w->endpoints = w->terminating;
        w->terminating = ready;
    }
    endpoint_list_sort(&w->endpoints);
    if (w->endpoints.n == 0) {
        tell_empty(c, &p, batch, port);
    }
    return E_OK;
}

/* ---- for people ---- */

struct inquiry {
    struct pick pick;
    compile_endpoint_fn *fn;
    void *arg;
    bool has_ready; /* one that is taken */
};

static const char *why_not(const struct inquiry *q, const struct endpoint *e, uint16_t port)
{
    const struct pick *p = &q->pick;
    if (port == 0) {
        return "its EndpointSlice lacks the port";
    }
    if (!is_usable(e)) {
        return "its address cannot be used";
    }
    if (is_ready(p, e)) {
        return is_in_reach(p, e)        ? NULL
               : p->reach == REACH_ZONE ? "meant for other zones"
                                        : "meant for other nodes";
    }
    if (is_last_resort(p, e)) {
        return q->has_ready ? "terminating, and others are ready" : NULL;
    }
    return e->is_terminating ? "terminating" : "not ready";
}

static void slice_tell(void *arg, const struct endpoint_slice *slice)
{
    struct inquiry *q = arg;
    uint16_t port = slice_port(&q->pick, slice);
    for (uint32_t i = 0; i < slice->endpoint_n; i++) {
        const struct endpoint *e = &slice->endpoints[i];
        q->fn(q->arg, e, port, why_not(q, e, port));
    }
}

static void slice_has_ready(void *arg, const struct endpoint_slice *slice)
{
    struct inquiry *q = arg;
    uint16_t port = slice_port(&q->pick, slice);
    for (uint32_t i = 0; i < slice->endpoint_n && port != 0; i++) {
        const struct endpoint *e = &slice->endpoints[i];
        q->has_ready =
            q->has_ready || (is_usable(e) && is_ready(&q->pick, e) && is_in_reach(&q->pick, e));
    }
}

void compile_each_endpoint(const struct compile *c, struct str namespace_name, struct str name,
                           struct str port, compile_endpoint_fn *fn, void *arg)
{
    const struct service *service = (const struct service *)(const void *)store_get(
        c->store, OBJECT_SERVICE, namespace_name, name);
    struct service_port portless;
    if (service == NULL || service->type == SERVICE_EXTERNAL_NAME) {
        return;
    }
    struct inquiry q = {.fn = fn, .arg = arg};
    q.pick = (struct pick){.c = c,
                           .service = service,
                           .port = service_find_any_port(service, port, &portless),
                           .zone = STR_EMPTY,
                           .node = STR_EMPTY};
    if (q.pick.port == NULL) {
        return;
    }
    q.pick.reach = reach_choose(&q.pick);
    store_each_slice(c->store, namespace_name, name, slice_has_ready, &q);
    store_each_slice(c->store, namespace_name, name, slice_tell, &q);
}
