/* Field tables of EndpointSlice and of the legacy Endpoints, whose subsets become a chain of
 * slices. Unlike the API server this accepts loopback addresses, so that a laptop is enough to run
 * Lintel. Source: discovery.k8s.io/v1, core/v1 Endpoints and their validation in the API server. */
#include "model/decode_priv.h"

#include "base/mem.h"
#include "wire/uri.h"

enum { SLICE_ENDPOINTS_MAX = 1000, SLICE_PORTS_MAX = 1000, ENDPOINT_ADDRESSES_MAX = 100 };

static bool label_or_empty_is_valid(struct str text)
{
    return text.n == 0 || dns_label_is_valid(text);
}

static const struct text_rule rule_port_name_here = {
    label_or_empty_is_valid, DIAG_InvalidValue,
    "the name of a port has 1 to 63 lower case letters, digits and '-'", NULL};

static const struct complaint no_addresses = {DIAG_ERROR, DIAG_MissingField, "is empty",
                                              "an endpoint has at least one address", NULL};
static const struct complaint many_addresses = {DIAG_ERROR, DIAG_InvalidValue,
                                                "has more than 100 items",
                                                "an endpoint has at most 100 addresses", NULL};
static const struct complaint many_endpoints = {
    DIAG_ERROR, DIAG_LimitReached, "has more than 1000 items",
    "an EndpointSlice has at most 1000 endpoints", "spread them over several slices"};
static const struct complaint many_ports = {DIAG_ERROR, DIAG_LimitReached,
                                            "has more than 1000 items",
                                            "there are at most 1000 ports here", NULL};
static const struct complaint same_port_name = {DIAG_ERROR, DIAG_InvalidValue, NULL,
                                                "another port has this name", "rename one of them"};
static const struct complaint names_not_used = {
    DIAG_WARNING, DIAG_InvalidEndpoint, NULL,
    "slices of names are deprecated; their endpoints are not used",
    "use an ExternalName Service, or addressType IPv4 or IPv6"};
static const struct complaint empty_subset = {DIAG_ERROR, DIAG_MissingField, "has no address",
                                              "a subset has addresses or notReadyAddresses", NULL};

static void initialize_port(void *item)
{
    ((struct endpoint_port *)item)->protocol = STR("TCP");
}

static const struct field slice_port_fields[] = {
    {.name = STR_INIT("name"),
     .type = FIELD_STRING,
     .offset = offsetof(struct endpoint_port,                               name),
     .rule = &rule_port_name_here},
    {.name = STR_INIT("port"),                        .type = FIELD_PORT,     .offset = offsetof(struct endpoint_port, port)},
    {.name = STR_INIT("protocol"),
     .type = FIELD_STRING,
     .offset = offsetof(struct endpoint_port,                                                  protocol),
     .rule = &rule_protocol},
    {.name = STR_INIT("appProtocol"),
     .type = FIELD_STRING,
     .offset = offsetof(struct endpoint_port,              app_protocol)                                                                                              },
};
static const struct schema schema_slice_port = {
    FIELDS(slice_port_fields), .size = sizeof(struct endpoint_port), .initialize = initialize_port};

static void check_ports(struct decoder *d, const struct place *at,
                        const struct endpoint_port *ports, uint32_t n)
{
    struct place list = decode_child(at, STR("ports"));
    if (n > SLICE_PORTS_MAX) {
        decode_complain(d, &list, &many_ports);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (str_eq(ports[i].name, ports[j].name)) {
                struct place port = decode_index(&list, i), name = decode_child(&port, STR("name"));
                decode_complain(d, &name, &same_port_name);
                break;
            }
        }
    }
}

static const struct field condition_fields[] = {
    {.name = STR_INIT("ready"),       .type = FIELD_BOOL, .offset = offsetof(struct endpoint, is_ready)      },
    {.name = STR_INIT("serving"),
     .type = FIELD_BOOL,
     .offset = offsetof(struct endpoint,                                                      is_serving)    },
    {.name = STR_INIT("terminating"),
     .type = FIELD_BOOL,
     .offset = offsetof(struct endpoint,                                                      is_terminating)},
};
/* A serving that is not given is what ready is. */
static enum err check_conditions(struct decoder *d, const struct place *at, void *base)
{
    (void)d;
    struct endpoint *endpoint = base;
    if (tree_get(at->node, STR("serving")) == NULL) {
        endpoint->is_serving = endpoint->is_ready;
    }
    return E_OK;
}
static const struct schema schema_conditions = {FIELDS(condition_fields),
                                                .check = check_conditions};

static const struct field target_fields[] = {
    {.name = STR_INIT("kind"),
     .type = FIELD_STRING,
     .offset = offsetof(struct endpoint, target_kind)},
    {.name = STR_INIT("name"),
     .type = FIELD_STRING,
     .offset = offsetof(struct endpoint, target_name)},
};
static const struct schema schema_target = {FIELDS(target_fields)};

static const struct field hint_fields[] = {
    {.name = STR_INIT("name"),
     .type = FIELD_STRING,
     .is_required = true,
     .offset = offsetof(struct endpoint_hint, name)},
};
static const struct schema schema_hint = {FIELDS(hint_fields),
                                          .size = sizeof(struct endpoint_hint)};
static const struct field hints_fields[] = {
    {.name = STR_INIT("forZones"),
     .type = FIELD_LIST,
     .offset = offsetof(struct endpoint, zone_hints),
     .n_offset = offsetof(struct endpoint, zone_hint_n),
     .sub = &schema_hint},
    {.name = STR_INIT("forNodes"),
     .type = FIELD_LIST,
     .offset = offsetof(struct endpoint, node_hints),
     .n_offset = offsetof(struct endpoint, node_hint_n),
     .sub = &schema_hint},
};
static const struct schema schema_hints = {FIELDS(hints_fields)};

static void initialize_endpoint(void *item)
{
    struct endpoint *endpoint = item;
    endpoint->is_ready = endpoint->is_serving = true;
}

static enum err check_endpoint(struct decoder *d, const struct place *at, void *base)
{
    (void)base; /* an FQDN slice keeps no addresses: the document is counted */
    struct place addresses = decode_child(at, STR("addresses"));
    if (addresses.node->n == 0) {
        decode_complain(d, &addresses, &no_addresses);
    } else if (addresses.node->n > ENDPOINT_ADDRESSES_MAX) {
        decode_complain(d, &addresses, &many_addresses);
    }
    return E_OK;
}

static const struct field endpoint_fields[] = {
    {.name = STR_INIT("addresses"),
     .type = FIELD_ADDRESSES,
     .is_required = true,
     .offset = offsetof(struct endpoint, addresses),
     .n_offset = offsetof(struct endpoint, address_n)},
    {.name = STR_INIT("conditions"),                    .type = FIELD_STRUCT,                                    .sub = &schema_conditions                                                                                     },
    {.name = STR_INIT("targetRef"), .type = FIELD_STRUCT, .sub = &schema_target},
    {.name = STR_INIT("nodeName"),  .type = FIELD_STRING,                     .offset = offsetof(struct endpoint,                                                            node)},
    {.name = STR_INIT("zone"),   .type = FIELD_STRING,                     .offset = offsetof(struct endpoint,                           zone)},
    {.name = STR_INIT("hints"),                              .type = FIELD_STRUCT,                                              .sub = &schema_hints                                                                                   },
};
static const struct schema schema_endpoint = {
    FIELDS(endpoint_fields), .size = sizeof(struct endpoint), .initialize = initialize_endpoint,
    .check = check_endpoint};

static const struct enum_name address_types[] = {
    {STR_INIT("IPv4"), ADDRESS_IPV4},
    {STR_INIT("IPv6"), ADDRESS_IPV6},
    {STR_INIT("FQDN"), ADDRESS_NAME},
    {STR_INIT(""),     0           }
};

struct slice_reading {
    struct endpoint_slice slice;
    int address_type;
};

/* The addresses are read against the type, wherever it stands in the document. */
static void begin_slice(struct decoder *d, const struct tree_node *root)
{
    struct str type = tree_get_string(root, STR("addressType"));
    for (const struct enum_name *t = address_types; t->name.n > 0; t++) {
        if (str_eq(t->name, type)) {
            d->address_type = (enum address_type)t->value;
        }
    }
}

static enum err check_slice(struct decoder *d, const struct place *at, void *base)
{
    struct endpoint_slice *slice = base;
    struct place type = decode_child(at, STR("addressType"));
    struct place endpoints = decode_child(at, STR("endpoints"));
    check_ports(d, at, slice->ports, slice->port_n);
    if (slice->endpoint_n > SLICE_ENDPOINTS_MAX) {
        decode_complain(d, &endpoints, &many_endpoints);
    }
    if (d->address_type == ADDRESS_NAME) {
        decode_complain(d, &type, &names_not_used);
        slice->endpoint_n = 0;
    }
    if (!string_map_get(&slice->object.labels, STR("kubernetes.io/service-name"),
                        &slice->service)) {
        slice->service = STR_EMPTY;
    }
    return E_OK;
}

static const struct field slice_fields[] = {
    METADATA_FIELD,
    {.name = STR_INIT("addressType"),
      .type = FIELD_ENUM,
      .is_required = true,
      .offset = offsetof(struct slice_reading,              address_type),
      .names = address_types,
      .names_text = "an addressType is IPv4, IPv6 or FQDN"},
    {.name = STR_INIT("endpoints"),
      .type = FIELD_LIST,
      .offset = offsetof(struct endpoint_slice, endpoints),
      .n_offset = offsetof(struct endpoint_slice,                          endpoint_n),
      .sub = &schema_endpoint                             },
    {.name = STR_INIT("ports"),
      .type = FIELD_LIST,
      .offset = offsetof(struct endpoint_slice, ports),
      .n_offset = offsetof(struct endpoint_slice,                          port_n),
      .sub = &schema_slice_port                           },
};
static const struct schema schema_endpoint_slice = {FIELDS(slice_fields), .check = check_slice};

const struct decode_kind kind_endpoint_slice = {
    .api_version = STR_INIT("discovery.k8s.io/v1"),
    .kind = STR_INIT("EndpointSlice"),
    .object_kind = OBJECT_ENDPOINT_SLICE,
    .size = sizeof(struct slice_reading),
    .root = &schema_endpoint_slice,
    .name_rule = &rule_subdomain,
    .begin = begin_slice,
};

static const struct field slice_content_fields[] = {
    {.name = STR_INIT("service"),
     .type = FIELD_STRING,
     .offset = offsetof(struct endpoint_slice,                service)},
    { .name = STR_INIT("endpoints"),
     .type = FIELD_LIST,
     .offset = offsetof(struct endpoint_slice, endpoints),
     .n_offset = offsetof(struct endpoint_slice, endpoint_n),
     .sub = &schema_endpoint},
    {                                           .name = STR_INIT("ports"),
     .type = FIELD_LIST,
     .offset = offsetof(struct endpoint_slice,     ports),
     .n_offset = offsetof(struct endpoint_slice, port_n),
     .sub = &schema_slice_port},
};
const struct schema schema_slice_content = {FIELDS(slice_content_fields)};

/* Endpoints. */

struct subset {
    struct endpoint *ready, *not_ready;
    uint32_t ready_n, not_ready_n;
    struct endpoint_port *ports;
    uint32_t port_n;
};

struct endpoints_reading {
    struct endpoint_slice slice;
    struct subset *subsets;
    uint32_t subset_n;
};

static const struct field address_fields[] = {
    {.name = STR_INIT("ip"),
     .type = FIELD_FIRST_ADDRESS,
     .is_required = true,
     .offset = offsetof(struct endpoint,                                               addresses),
     .n_offset = offsetof(struct endpoint, address_n)},
    {.name = STR_INIT("targetRef"), .type = FIELD_STRUCT, .sub = &schema_target   },
    {.name = STR_INIT("nodeName"),               .type = FIELD_STRING,                         .offset = offsetof(struct endpoint,node)},
};
static void initialize_address(void *item)
{
    ((struct endpoint *)item)->zone = STR_EMPTY;
}
static const struct schema schema_address = {
    FIELDS(address_fields), .size = sizeof(struct endpoint), .initialize = initialize_address};

static const struct field subset_port_fields[] = {
    {.name = STR_INIT("name"),
     .type = FIELD_STRING,
     .offset = offsetof(struct endpoint_port, name),
     .rule = &rule_port_name_here},
    {.name = STR_INIT("port"),
     .type = FIELD_PORT,
     .is_required = true,
     .offset = offsetof(struct endpoint_port,                                      port)},
    {.name = STR_INIT("protocol"),
     .type = FIELD_STRING,
     .offset = offsetof(struct endpoint_port,   protocol),
     .rule = &rule_protocol},
    {.name = STR_INIT("appProtocol"),
     .type = FIELD_STRING,
     .offset = offsetof(struct endpoint_port,                app_protocol)},
};
static const struct schema schema_subset_port = {FIELDS(subset_port_fields),
                                                 .size = sizeof(struct endpoint_port),
                                                 .initialize = initialize_port};

static enum err check_subset(struct decoder *d, const struct place *at, void *base)
{
    const struct subset *subset = base;
    if (subset->ready_n == 0 && subset->not_ready_n == 0) {
        decode_complain(d, at, &empty_subset);
    }
    check_ports(d, at, subset->ports, subset->port_n);
    return E_OK;
}

static const struct field subset_fields[] = {
    {.name = STR_INIT("addresses"),
     .type = FIELD_LIST,
     .offset = offsetof(struct subset, ready),
     .n_offset = offsetof(struct subset, ready_n),
     .sub = &schema_address    },
    {.name = STR_INIT("notReadyAddresses"),
     .type = FIELD_LIST,
     .offset = offsetof(struct subset, not_ready),
     .n_offset = offsetof(struct subset, not_ready_n),
     .sub = &schema_address    },
    {.name = STR_INIT("ports"),
     .type = FIELD_LIST,
     .offset = offsetof(struct subset, ports),
     .n_offset = offsetof(struct subset, port_n),
     .sub = &schema_subset_port},
};
static const struct schema schema_subset = {FIELDS(subset_fields), .size = sizeof(struct subset),
                                            .check = check_subset};

static enum err slice_fill(struct decoder *d, struct endpoint_slice *slice, const struct subset *s)
{
    void *memory;
    uint32_t n = s->ready_n + s->not_ready_n;
    TRY(decode_calloc(d, n, sizeof(struct endpoint), &memory));
    struct endpoint *endpoints = memory;
    mem_copy(endpoints, s->ready, s->ready_n * sizeof(*endpoints));
    mem_copy(endpoints + s->ready_n, s->not_ready, s->not_ready_n * sizeof(*endpoints));
    for (uint32_t i = 0; i < n; i++) {
        endpoints[i].is_ready = endpoints[i].is_serving = i < s->ready_n;
    }
    slice->endpoints = endpoints;
    slice->endpoint_n = n;
    slice->ports = s->ports;
    slice->port_n = s->port_n;
    return E_OK;
}

static enum err check_endpoints(struct decoder *d, const struct place *at, void *base)
{
    (void)at;
    struct endpoints_reading *reading = base;
    struct endpoint_slice *slice = &reading->slice;
    slice->service = slice->object.name;
    for (uint32_t i = 0; i < reading->subset_n; i++) {
        if (i > 0) {
            void *next;
            TRY(decode_calloc(d, 1, sizeof(*slice), &next));
            slice->next = next;
            slice = next;
            slice->object = reading->slice.object;
            slice->object.arena = (struct arena){0}; /* the first one owns it */
            slice->service = slice->object.name;
        }
        TRY(slice_fill(d, slice, &reading->subsets[i]));
    }
    return E_OK;
}

static const struct field endpoints_fields[] = {
    METADATA_FIELD,
    {.name = STR_INIT("subsets"),
      .type = FIELD_LIST,
      .offset = offsetof(struct endpoints_reading, subsets),
      .n_offset = offsetof(struct endpoints_reading, subset_n),
      .sub = &schema_subset},
};
static const struct schema schema_endpoints = {FIELDS(endpoints_fields), .check = check_endpoints};

const struct decode_kind kind_endpoints = {
    .api_version = STR_INIT("v1"),
    .kind = STR_INIT("Endpoints"),
    .object_kind = OBJECT_ENDPOINTS,
    .size = sizeof(struct endpoints_reading),
    .root = &schema_endpoints,
    .name_rule = &rule_subdomain,
};
