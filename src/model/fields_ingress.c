/* Field tables of Ingress and IngressClass, and their checks.
 * Source: networking.k8s.io/v1 and its validation in the API server. */
#include "model/decode_priv.h"

#include "wire/ip.h"
#include "wire/uri.h"

enum { CONTROLLER_TEXT_MAX = 250 };

static bool ingress_host_is_valid(struct str host)
{
    struct ip ip;
    if (str_has_prefix(host, STR("*."))) {
        return dns_subdomain_is_valid(str_from(host, 2));
    }
    return dns_subdomain_is_valid(host) && ip_parse(host, &ip) != E_OK;
}

/* An empty host is no host. */
static bool rule_host_is_valid(struct str host)
{
    return host.n == 0 || ingress_host_is_valid(host);
}

static bool text_is_given(struct str text)
{
    return text.n > 0;
}

static bool controller_is_valid(struct str text)
{
    struct str domain, path;
    return text.n <= CONTROLLER_TEXT_MAX && str_cut(text, '/', &domain, &path) &&
           dns_subdomain_is_valid(domain) && path.n > 0;
}

static const struct text_rule rule_host = {
    rule_host_is_valid, DIAG_InvalidHost,
    "a host is a lower case DNS name without port, or a wildcard like *.example.com; an IP address "
    "is none",
    "write the name alone, or leave host out to match every host"};
static const struct text_rule rule_tls_host = {
    ingress_host_is_valid, DIAG_InvalidHost,
    "a host is a lower case DNS name without port, or a wildcard like *.example.com", NULL};
static const struct text_rule rule_given = {text_is_given, DIAG_MissingField,
                                            "the API requires a value here", NULL};
static const struct text_rule rule_controller = {
    controller_is_valid, DIAG_InvalidValue,
    "a controller is a domain and a path, like lintel.dev/ingress-controller", NULL};

static const struct complaint no_backend = {DIAG_ERROR, DIAG_MissingField, "names no backend",
                                            "a backend has a service or a resource",
                                            "write service: with a name and a port"};
static const struct complaint two_backends = {DIAG_ERROR, DIAG_InvalidValue,
                                              "has both service and resource",
                                              "a backend has one of the two", "remove one"};
static const struct complaint no_port = {DIAG_ERROR, DIAG_MissingField, NULL,
                                         "a backend names its Service's port",
                                         "write port: with a number or a name"};
static const struct complaint two_ports = {DIAG_ERROR, DIAG_InvalidValue,
                                           "has both name and number",
                                           "a backend's port has one of the two", "remove one"};

static enum err check_service(struct decoder *d, const struct place *at, void *base)
{
    (void)base;
    struct place port = decode_child(at, STR("port"));
    bool has_name = tree_get_string(port.node, STR("name")).n > 0;
    bool has_number = tree_get(port.node, STR("number")) != NULL;
    if (has_name && has_number) {
        decode_complain(d, &port, &two_ports);
    } else if (!has_name && !has_number) {
        struct place absent = port;
        absent.node = NULL;
        decode_complain(d, &absent, &no_port);
    }
    return E_OK;
}

static enum err check_backend(struct decoder *d, const struct place *at, void *base)
{
    struct ingress_backend *backend = base;
    bool has_service = tree_get(at->node, STR("service")) != NULL;
    bool has_resource = tree_get(at->node, STR("resource")) != NULL;
    if (has_service && has_resource) {
        decode_complain(d, at, &two_backends);
    } else if (!has_service && !has_resource) {
        decode_complain(d, at, &no_backend);
    }
    backend->type = has_service ? BACKEND_SERVICE : BACKEND_RESOURCE;
    return E_OK;
}

static bool port_name_or_empty_is_valid(struct str name)
{
    return name.n == 0 || rule_port_name.is_valid(name);
}

static const struct text_rule rule_backend_port_name = {
    port_name_or_empty_is_valid, DIAG_InvalidValue,
    "a port name has 1 to 15 lower case letters, digits and '-', with at least one letter",
    "write a port number in number:"};

static const struct field port_fields[] = {
    {.name = STR_INIT("name"),
     .type = FIELD_STRING,
     .offset = offsetof(struct ingress_backend, port.name),
     .rule = &rule_backend_port_name},
    {.name = STR_INIT("number"),
     .type = FIELD_PORT,
     .offset = offsetof(struct ingress_backend,                        port.number)            },
};
static const struct schema schema_port = {FIELDS(port_fields)};

static const struct field service_fields[] = {
    {.name = STR_INIT("name"),
     .type = FIELD_STRING,
     .is_required = true,
     .offset = offsetof(struct ingress_backend, service),
     .rule = &rule_label},
    {.name = STR_INIT("port"),                .type = FIELD_STRUCT,  .sub = &schema_port},
};
static const struct schema schema_backend_service = {FIELDS(service_fields),
                                                     .check = check_service};

static const struct field resource_fields[] = {
    {.name = STR_INIT("kind"),
     .type = FIELD_STRING,
     .is_required = true,
     .offset = offsetof(struct ingress_backend, resource_kind),
     .rule = &rule_given},
    {.name = STR_INIT("name"),
     .type = FIELD_STRING,
     .is_required = true,
     .offset = offsetof(struct ingress_backend, resource_name),
     .rule = &rule_given},
};
static const struct schema schema_resource = {FIELDS(resource_fields)};

static const struct field backend_fields[] = {
    {.name = STR_INIT("service"),  .type = FIELD_STRUCT,                      .sub = &schema_backend_service},
    {.name = STR_INIT("resource"), .type = FIELD_STRUCT,                      .sub = &schema_resource       },
    {.type = FIELD_ENUM,           .offset = offsetof(struct ingress_backend, type)                         },
};
static const struct schema schema_backend = {FIELDS(backend_fields),
                                             .line_offset = offsetof(struct ingress_backend, line),
                                             .check = check_backend};

static const struct complaint relative_path = {DIAG_ERROR, DIAG_InvalidPath, NULL,
                                               "a path begins with '/'", NULL};
static const struct complaint no_path = {DIAG_ERROR, DIAG_InvalidPath, NULL,
                                         "an Exact or Prefix path begins with '/'",
                                         "write path: / to match all paths"};
static const struct complaint odd_path = {
    DIAG_ERROR, DIAG_InvalidPath, NULL,
    "an Exact or Prefix path has no \"//\", \"/./\", \"/../\", \"%2f\" or \"%5c\" in it and no "
    "\"/.\" or \"/..\" at its end",
    "write the path that clients mean, without these"};

static bool has_part(struct str text, struct str part)
{
    for (size_t i = 0; i + part.n <= text.n; i++) {
        if (str_eq_nocase(str_first(str_from(text, i), part.n), part)) {
            return true;
        }
    }
    return false;
}

static bool path_is_odd(struct str path)
{
    static const struct str parts[] = {STR_INIT("//"), STR_INIT("/./"), STR_INIT("/../"),
                                       STR_INIT("%2f"), STR_INIT("%5c")};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (has_part(path, parts[i])) {
            return true;
        }
    }
    return str_has_suffix(path, STR("/.")) || str_has_suffix(path, STR("/.."));
}

static enum err check_path(struct decoder *d, const struct place *at, void *base)
{
    const struct ingress_path *path = base;
    struct place place = decode_child(at, STR("path"));
    bool is_literal = path->type != PATH_IMPLEMENTATION_SPECIFIC;
    if (path->path.n == 0 && is_literal) {
        decode_complain(d, &place, &no_path);
    } else if (path->path.n > 0 && path->path.p[0] != '/') {
        decode_complain(d, &place, &relative_path);
    } else if (is_literal && path_is_odd(path->path)) {
        decode_complain(d, &place, &odd_path);
    }
    return E_OK;
}

static const struct enum_name path_types[] = {
    {STR_INIT("Exact"),                  PATH_EXACT                  },
    {STR_INIT("Prefix"),                 PATH_PREFIX                 },
    {STR_INIT("ImplementationSpecific"), PATH_IMPLEMENTATION_SPECIFIC},
    {STR_INIT(""),                       0                           }
};

static const struct field path_fields[] = {
    {.name = STR_INIT("path"), .type = FIELD_STRING, .offset = offsetof(struct ingress_path, path)},
    { .name = STR_INIT("pathType"),
     .type = FIELD_ENUM,
     .is_required = true,
     .offset = offsetof(struct ingress_path,                                                                           type),
     .names = path_types,
     .names_text = "a pathType is Exact, Prefix or ImplementationSpecific"},
    {                           .name = STR_INIT("backend"),
     .type = FIELD_STRUCT,
     .is_required = true,
     .offset = offsetof(struct ingress_path,                                              backend),
     .sub = &schema_backend},
};
static const struct schema schema_path = {FIELDS(path_fields), .size = sizeof(struct ingress_path),
                                          .line_offset = offsetof(struct ingress_path, line),
                                          .check = check_path};

static enum err check_http(struct decoder *d, const struct place *at, void *base)
{
    const struct ingress_rule *rule = base;
    if (rule->path_n == 0) {
        struct place paths = decode_child(at, STR("paths"));
        decode_complain(d, &paths,
                        &(struct complaint){DIAG_ERROR, DIAG_MissingField, "is empty",
                                            "a rule with http has at least one path", NULL});
    }
    return E_OK;
}

static const struct field http_fields[] = {
    {.name = STR_INIT("paths"),
     .type = FIELD_LIST,
     .is_required = true,
     .offset = offsetof(struct ingress_rule, paths),
     .n_offset = offsetof(struct ingress_rule, path_n),
     .sub = &schema_path},
};
static const struct schema schema_http = {FIELDS(http_fields), .check = check_http};

static const struct field rule_fields[] = {
    {.name = STR_INIT("host"),
     .type = FIELD_STRING,
     .offset = offsetof(struct ingress_rule,        host),
     .rule = &rule_host},
    {.name = STR_INIT("http"),       .type = FIELD_STRUCT, .sub = &schema_http},
};
static const struct schema schema_rule = {FIELDS(rule_fields), .size = sizeof(struct ingress_rule),
                                          .line_offset = offsetof(struct ingress_rule, line)};

static const struct field tls_fields[] = {
    {.name = STR_INIT("hosts"),
     .type = FIELD_STRINGS,
     .offset = offsetof(struct ingress_tls, hosts),
     .n_offset = offsetof(struct ingress_tls, host_n),
     .rule = &rule_tls_host},
    {.name = STR_INIT("secretName"),
     .type = FIELD_STRING,
     .offset = offsetof(struct ingress_tls,              secret)},
};
static const struct schema schema_tls = {FIELDS(tls_fields), .size = sizeof(struct ingress_tls)};

static enum err check_spec(struct decoder *d, const struct place *at, void *base)
{
    const struct ingress *ingress = base;
    if (ingress->rule_n == 0 && tree_get(at->node, STR("defaultBackend")) == NULL) {
        decode_complain(d, at,
                        &(struct complaint){DIAG_ERROR, DIAG_MissingField, "routes nothing",
                                            "an Ingress has rules or a defaultBackend",
                                            "write at least one of the two"});
    }
    return E_OK;
}

static const struct field spec_fields[] = {
    {.name = STR_INIT("ingressClassName"),
     .type = FIELD_STRING,
     .offset = offsetof(struct ingress,   class_name),
     .has_offset = offsetof(struct ingress, has_class_name),
     .rule = &rule_subdomain                                          },
    {.name = STR_INIT("defaultBackend"),
     .type = FIELD_STRUCT,
     .offset = offsetof(struct ingress,   default_backend),
     .sub = &schema_backend               },
    {.name = STR_INIT("rules"),
     .type = FIELD_LIST,
     .offset = offsetof(struct ingress, rules),
     .n_offset = offsetof(struct ingress,                   rule_n),
     .sub = &schema_rule},
    {.name = STR_INIT("tls"),
     .type = FIELD_LIST,
     .offset = offsetof(struct ingress, tls),
     .n_offset = offsetof(struct ingress,                    tls_n),
     .sub = &schema_tls                    },
};
static const struct schema schema_spec = {FIELDS(spec_fields), .check = check_spec};

static const struct field balancer_fields[] = {
    {.name = STR_INIT("ingress"),
     .type = FIELD_LIST,
     .offset = offsetof(struct ingress, published),
     .n_offset = offsetof(struct ingress, published_n),
     .sub = &schema_published},
};
static const struct schema schema_balancer = {FIELDS(balancer_fields)};

static const struct field status_fields[] = {
    {.name = STR_INIT("loadBalancer"), .type = FIELD_STRUCT, .sub = &schema_balancer},
};
static const struct schema schema_status = {FIELDS(status_fields)};

static const struct field ingress_fields[] = {
    METADATA_FIELD,
    {.name = STR_INIT("spec"), .type = FIELD_STRUCT, .is_required = true,       .sub = &schema_spec},
    {.name = STR_INIT("status"),                        .type = FIELD_STRUCT,                   .sub = &schema_status},
};
static const struct schema schema_ingress = {FIELDS(ingress_fields)};

const struct decode_kind kind_ingress = {
    .api_version = STR_INIT("networking.k8s.io/v1"),
    .kind = STR_INIT("Ingress"),
    .object_kind = OBJECT_INGRESS,
    .size = sizeof(struct ingress),
    .root = &schema_ingress,
    .name_rule = &rule_subdomain,
};

static const struct field class_spec_fields[] = {
    {.name = STR_INIT("controller"),
     .type = FIELD_STRING,
     .is_required = true,
     .offset = offsetof(struct ingress_class, controller),
     .rule = &rule_controller},
};
static const struct schema schema_class_spec = {FIELDS(class_spec_fields)};

static const struct field class_fields[] = {
    METADATA_FIELD,
    {.name = STR_INIT("spec"),
      .type = FIELD_STRUCT,
      .is_required = true,
      .sub = &schema_class_spec},
};
static const struct schema schema_ingress_class = {FIELDS(class_fields)};

const struct decode_kind kind_ingress_class = {
    .api_version = STR_INIT("networking.k8s.io/v1"),
    .kind = STR_INIT("IngressClass"),
    .object_kind = OBJECT_INGRESS_CLASS,
    .size = sizeof(struct ingress_class),
    .root = &schema_ingress_class,
    .name_rule = &rule_subdomain,
};
