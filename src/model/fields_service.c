/* Field table of Service and its checks. Source: core/v1 and its validation in the API server.
 * A Service may be named by any DNS label: newer API servers allow a digit in front. */
#include "model/decode_priv.h"

#include "wire/ip.h"
#include "wire/uri.h"

enum { SERVICE_PORTS_MAX = 1000 };

static bool cluster_ip_is_valid(struct str text)
{
    struct ip ip;
    return text.n == 0 || str_eq(text, STR("None")) || ip_parse(text, &ip) == E_OK;
}

/* One dot at the end is allowed, as in a zone file. */
static bool external_name_is_valid(struct str text)
{
    if (str_has_suffix(text, STR("."))) {
        text = str_first(text, text.n - 1);
    }
    return text.n == 0 || dns_subdomain_is_valid(text);
}

static bool label_or_empty_is_valid(struct str text)
{
    return text.n == 0 || dns_label_is_valid(text);
}

static const struct text_rule rule_cluster_ip = {cluster_ip_is_valid, DIAG_InvalidValue,
                                                 "a clusterIP is an IP address or None", NULL};
static const struct text_rule rule_external_name = {
    external_name_is_valid, DIAG_InvalidValue,
    "an externalName is a lower case DNS name, without scheme, port or path", NULL};
static const struct text_rule rule_service_port_name = {
    label_or_empty_is_valid, DIAG_InvalidValue,
    "the name of a Service's port has 1 to 63 lower case letters, digits and '-'", NULL};

static const struct complaint no_ports = {DIAG_ERROR, DIAG_MissingField, NULL,
                                          "a Service with a cluster address has at least one port",
                                          "add the port, or clusterIP: None"};
static const struct complaint many_ports = {DIAG_ERROR, DIAG_LimitReached,
                                            "has more than 1000 items",
                                            "a Service has at most 1000 ports here", NULL};
static const struct complaint no_port_name = {DIAG_ERROR, DIAG_MissingField, NULL,
                                              "with several ports each one has a name", NULL};
static const struct complaint same_port_name = {DIAG_ERROR, DIAG_InvalidValue, NULL,
                                                "another port has this name", "rename one of them"};
static const struct complaint same_port = {DIAG_ERROR, DIAG_InvalidValue, NULL,
                                           "another port has this number and protocol",
                                           "remove one of them"};
static const struct complaint no_external_name = {DIAG_ERROR, DIAG_MissingField, NULL,
                                                  "an ExternalName Service names a host",
                                                  "write externalName: with a DNS name"};

static void check_port_twins(struct decoder *d, const struct place *at, const struct service *s,
                             uint32_t i)
{
    const struct service_port *port = &s->ports[i];
    bool has_name_twin = false, has_twin = false;
    for (uint32_t j = 0; j < i; j++) {
        const struct service_port *before = &s->ports[j];
        has_name_twin = has_name_twin || (port->name.n > 0 && str_eq(before->name, port->name));
        has_twin = has_twin || (before->port != 0 && before->port == port->port &&
                                str_eq(before->protocol, port->protocol));
    }
    struct place name = decode_child(at, STR("name")), number = decode_child(at, STR("port"));
    if (has_name_twin) {
        decode_complain(d, &name, &same_port_name);
    }
    if (has_twin) {
        decode_complain(d, &number, &same_port);
    }
    if (s->port_n > 1 && name.node == NULL) {
        decode_complain(d, &name, &no_port_name);
    }
}

static enum err check_spec(struct decoder *d, const struct place *at, void *base)
{
    const struct service *s = base;
    struct place ports = decode_child(at, STR("ports"));
    struct place external_name = decode_child(at, STR("externalName"));
    bool is_headless = str_eq(s->cluster_ip, STR("None"));
    if (s->type == SERVICE_EXTERNAL_NAME) {
        if (s->external_name.n == 0) {
            decode_complain(d, &external_name, &no_external_name);
        }
    } else if (s->port_n == 0 && !is_headless) {
        decode_complain(d, &ports, &no_ports);
    }
    if (s->port_n > SERVICE_PORTS_MAX) {
        decode_complain(d, &ports, &many_ports);
        return E_OK;
    }
    for (uint32_t i = 0; i < s->port_n; i++) {
        struct place port = decode_index(&ports, i);
        check_port_twins(d, &port, s, i);
    }
    return E_OK;
}

static void initialize_port(void *item)
{
    ((struct service_port *)item)->protocol = STR("TCP");
}

static const struct field port_fields[] = {
    {.name = STR_INIT("name"),
     .type = FIELD_STRING,
     .offset = offsetof(struct service_port,  name),
     .rule = &rule_service_port_name},
    {.name = STR_INIT("port"),
     .type = FIELD_PORT,
     .is_required = true,
     .offset = offsetof(struct service_port,                                      port)},
    {.name = STR_INIT("targetPort"),
     .type = FIELD_PORT_OR_NAME,
     .offset = offsetof(struct service_port, target)                              },
    {.name = STR_INIT("protocol"),
     .type = FIELD_STRING,
     .offset = offsetof(struct service_port, protocol),
     .rule = &rule_protocol},
    {.name = STR_INIT("appProtocol"),
     .type = FIELD_STRING,
     .offset = offsetof(struct service_port,                app_protocol)},
};
static const struct schema schema_port = {FIELDS(port_fields), .size = sizeof(struct service_port),
                                          .initialize = initialize_port};

static const struct enum_name service_types[] = {
    {STR_INIT("ClusterIP"),    SERVICE_CLUSTER_IP   },
    {STR_INIT("NodePort"),     SERVICE_NODE_PORT    },
    {STR_INIT("LoadBalancer"), SERVICE_LOAD_BALANCER},
    {STR_INIT("ExternalName"), SERVICE_EXTERNAL_NAME},
    {STR_INIT(""),             0                    }
};

static const struct field spec_fields[] = {
    {.name = STR_INIT("type"),
     .type = FIELD_ENUM,
     .offset = offsetof(struct service,                                                                           type),
     .names = service_types,
     .names_text = "a type is ClusterIP, NodePort, LoadBalancer or ExternalName"},
    {.name = STR_INIT("clusterIP"),
     .type = FIELD_STRING,
     .offset = offsetof(struct service, cluster_ip),
     .rule = &rule_cluster_ip},
    {.name = STR_INIT("externalIPs"),
     .type = FIELD_STRINGS,
     .offset = offsetof(struct service,                                                                                  external_ips),
     .n_offset = offsetof(struct service, external_ip_n)},
    {.name = STR_INIT("externalName"),
     .type = FIELD_STRING,
     .offset = offsetof(struct service,                                                                         external_name),
     .rule = &rule_external_name},
    {.name = STR_INIT("ports"),
     .type = FIELD_LIST,
     .offset = offsetof(struct service,                                                                           ports),
     .n_offset = offsetof(struct service, port_n),
     .sub = &schema_port},
    {.name = STR_INIT("publishNotReadyAddresses"),
     .type = FIELD_BOOL,
     .offset = offsetof(struct service,                                                                                          publishes_not_ready)                                                                                        },
};
static const struct schema schema_spec = {FIELDS(spec_fields), .check = check_spec};

static const struct field balancer_fields[] = {
    {.name = STR_INIT("ingress"),
     .type = FIELD_LIST,
     .offset = offsetof(struct service, balancers),
     .n_offset = offsetof(struct service, balancer_n),
     .sub = &schema_published},
};
static const struct schema schema_balancer = {FIELDS(balancer_fields)};

static const struct field status_fields[] = {
    {.name = STR_INIT("loadBalancer"), .type = FIELD_STRUCT, .sub = &schema_balancer},
};
static const struct schema schema_status = {FIELDS(status_fields)};

static const struct field service_fields[] = {
    METADATA_FIELD,
    {.name = STR_INIT("spec"), .type = FIELD_STRUCT, .is_required = true,       .sub = &schema_spec},
    {.name = STR_INIT("status"),                        .type = FIELD_STRUCT,                   .sub = &schema_status},
};
static const struct schema schema_service = {FIELDS(service_fields)};

const struct decode_kind kind_service = {
    .api_version = STR_INIT("v1"),
    .kind = STR_INIT("Service"),
    .object_kind = OBJECT_SERVICE,
    .size = sizeof(struct service),
    .root = &schema_service,
    .name_rule = &rule_label,
};
