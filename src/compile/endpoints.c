/* The endpoints of a Service port: over all its slices, whatever their order.
 * Ready ones; when there is none, those that still serve while they terminate (as kube-proxy does).
 * A slice's port is found by the name of the Service's port; the number is what the slice says.
 * Source: discovery.k8s.io/v1 EndpointSlice. */
#include "compile/compile_priv.h"

#include "base/mem.h"
#include "base/vec.h"

#include <stdlib.h>
#include <string.h>

static const struct finding no_endpoints = {
    DIAG_WARNING, DIAG_NoEndpoints,
    "a request needs an endpoint that is ready; until there is one it is answered with 503",
    "see whether the Service's pods run, are ready and have its labels and port"};

struct pick {
    struct compile *c;
    const struct service *service;
    const struct service_port *port;
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

static void endpoint_take(struct pick *p, const struct endpoint *e, uint16_t port)
{
    struct service_work *w = &p->c->service;
    if (e->address_n == 0 || ip_is_unusable(&e->addresses[0])) { /* the decoder has told */
        return;
    }
    if (e->is_ready || p->service->publishes_not_ready) {
        p->err = endpoint_list_add(&w->endpoints, &e->addresses[0], port);
    } else if (e->is_serving && e->is_terminating) {
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
        endpoint_take(p, &slice->endpoints[i], port);
    }
}

/* Without numbers: while pods come and go they would make a new diagnostic of each change. */
static void tell_empty(const struct pick *p, struct diag_batch *batch, const struct port_node *port)
{
    struct buf *what = what_begin(p->c);
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
    service_tell(p->c, batch, port, "name", &no_endpoints);
}

enum err endpoints_gather(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                          const struct service *service, const struct service_port *service_port)
{
    struct service_work *w = &c->service;
    struct pick p = {.c = c, .service = service, .port = service_port};
    store_each_slice(c->store, port->node.key.part[0], port->node.key.part[1], slice_take, &p);
    TRY(p.err);
    if (w->endpoints.n == 0) {
        struct endpoint_list ready = w->endpoints;
        w->endpoints = w->terminating;
        w->terminating = ready;
    }
    endpoint_list_sort(&w->endpoints);
    if (w->endpoints.n == 0) {
        tell_empty(&p, batch, port);
    }
    return E_OK;
}
