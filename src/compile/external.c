/* ExternalName Services: the endpoints are what the name resolves to, which the controller finds
 * out and puts into the store as a resolution; here it is only looked up, and remembered that this
 * port depends on it. Such a Service lets whoever writes it choose the address that is connected
 * to, so loopback and link-local ones are refused. */
#include "compile/compile_priv.h"

#include "wire/uri.h"

static const struct finding switched_off = {
    DIAG_ERROR, DIAG_ExternalNameRefused,
    "ExternalName Services are switched off; requests to it are answered with 503",
    "use a Service with endpoints, or run without --disable-svc-external-name"};
static const struct finding refused = {
    DIAG_ERROR, DIAG_ExternalNameRefused,
    "loopback, link-local and multicast addresses are refused, since they lead into Lintel's own "
    "pod or network; requests to it are answered with 503",
    "name a host that others may reach"};
static const struct finding unresolved = {
    DIAG_WARNING, DIAG_ExternalNameUnresolved,
    "until the name resolves to an address, requests to it are answered with 503",
    "check the name and the DNS servers of this host"};
static const struct finding invalid_name = {
    DIAG_ERROR, DIAG_ExternalNameUnresolved,
    "an external name is a DNS name; requests to it are answered with 503",
    "write a name like api.example.com"};

static enum err give_up(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                        enum snap_service_status status, const struct finding *f,
                        const struct service *service)
{
    buf_addf(what_begin(c), "Service %.*s/%.*s has the external name \"%.*s\"",
             STR_ARG(port->node.key.part[0]), STR_ARG(port->node.key.part[1]),
             STR_ARG(shown(service->external_name)));
    c->service.status = status;
    c->service.endpoints.n = 0;
    service_tell(c, batch, port, "name", f);
    return E_OK;
}

/* 0: a name that the Service does not list. */
static uint16_t external_port(const struct service *service, struct str text)
{
    uint64_t number;
    const struct service_port *port = service_find_port(service, text);
    if (port != NULL) {
        return port->target.number != 0 ? port->target.number : port->port;
    }
    return str_to_u64(text, UINT16_MAX, &number) ? (uint16_t)number : 0;
}

/* Lower case without the dot at the end, in c->key. */
static struct str name_normalize(struct compile *c, struct str name)
{
    buf_reset(&c->key);
    if (str_has_suffix(name, STR("."))) {
        name.n--;
    }
    for (size_t i = 0; i < name.n; i++) {
        buf_add_char(&c->key, ascii_lower(name.p[i]));
    }
    return buf_str(&c->key);
}

static bool is_refused(const struct ip *ip)
{
    return ip_is_loopback(ip) || ip_is_unusable(ip);
}

static enum err resolved_gather(struct compile *c, struct diag_batch *batch,
                                const struct port_node *port, const struct service *service,
                                const struct resolution *r, uint16_t number)
{
    if (r == NULL || (r->address_n == 0 && !r->is_refused)) {
        return give_up(c, batch, port, SNAP_SERVICE_UNRESOLVED, &unresolved, service);
    }
    for (uint32_t i = 0; i < r->address_n; i++) {
        if (!is_refused(&r->addresses[i])) {
            TRY(endpoint_list_add(&c->service.endpoints, &r->addresses[i], number));
        }
    }
    if (c->service.endpoints.n == 0) {
        return give_up(c, batch, port, SNAP_SERVICE_REFUSED, &refused, service);
    }
    endpoint_list_sort(&c->service.endpoints);
    return E_OK;
}

static enum err address_gather(struct compile *c, struct diag_batch *batch, struct port_node *port,
                               const struct service *service, const struct ip *ip, uint16_t number)
{
    TRY(port_depend(c, port, STR_EMPTY));
    if (is_refused(ip)) {
        return give_up(c, batch, port, SNAP_SERVICE_REFUSED, &refused, service);
    }
    return endpoint_list_add(&c->service.endpoints, ip, number);
}

static enum err name_gather(struct compile *c, struct diag_batch *batch, struct port_node *port,
                            const struct service *service, uint16_t number)
{
    struct ip ip;
    struct str name = name_normalize(c, service->external_name);
    TRY(c->key.bad ? E_NOMEM : E_OK);
    if (ip_parse(name, &ip) == E_OK) {
        return address_gather(c, batch, port, service, &ip, number);
    }
    if (!dns_subdomain_is_valid(name)) {
        TRY(port_depend(c, port, STR_EMPTY));
        return give_up(c, batch, port, SNAP_SERVICE_UNRESOLVED, &invalid_name, service);
    }
    TRY(port_depend(c, port, name));
    const struct object *o = store_get(c->store, OBJECT_RESOLUTION, STR_EMPTY, name);
    return resolved_gather(c, batch, port, service, (const struct resolution *)(const void *)o,
                           number);
}

enum err external_gather(struct compile *c, struct diag_batch *batch, struct port_node *port,
                         const struct service *service)
{
    if (c->options->is_external_name_disabled) {
        TRY(port_depend(c, port, STR_EMPTY));
        return give_up(c, batch, port, SNAP_SERVICE_REFUSED, &switched_off, service);
    }
    uint16_t number = external_port(service, port->node.key.part[2]);
    speech_gather(c, batch, port, service_find_port(service, port->node.key.part[2]));
    if (number == 0) {
        TRY(port_depend(c, port, STR_EMPTY));
        service_tell_no_port(c, batch, port);
        return E_OK;
    }
    return name_gather(c, batch, port, service, number);
}
