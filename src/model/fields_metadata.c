/* Field table of metadata, the rules that several kinds share, and Namespace and Node, which are
 * nothing else. */
#include "model/decode_priv.h"

#include "wire/uri.h"

enum { PORT_NAME_MAX = 15, DATA_KEY_MAX = 253 };

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* RFC 6335 section 5.1, lower case. */
static bool port_name_is_valid(struct str s)
{
    bool has_letter = false;
    char before = '-';
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!is_lower_or_digit(c) && (c != '-' || before == '-')) {
            return false;
        }
        has_letter = has_letter || (c >= 'a' && c <= 'z');
        before = c;
    }
    return has_letter && before != '-' && s.n <= PORT_NAME_MAX;
}

static bool data_key_is_valid(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = ascii_lower(s.p[i]);
        if (!is_lower_or_digit(c) && c != '-' && c != '_' && c != '.') {
            return false;
        }
    }
    return s.n > 0 && s.n <= DATA_KEY_MAX && !str_eq(s, STR(".")) && !str_has_prefix(s, STR(".."));
}

static bool protocol_is_valid(struct str s)
{
    return str_eq(s, STR("TCP")) || str_eq(s, STR("UDP")) || str_eq(s, STR("SCTP"));
}

const struct text_rule rule_protocol = {protocol_is_valid, DIAG_InvalidValue,
                                        "a protocol is TCP, UDP or SCTP", NULL};
const struct text_rule rule_subdomain = {dns_subdomain_is_valid, DIAG_InvalidValue,
                                         "a name has lower case letters, digits, '-' and '.', and "
                                         "begins and ends with a letter or digit",
                                         NULL};
const struct text_rule rule_label = {
    dns_label_is_valid, DIAG_InvalidValue,
    "a name here has 1 to 63 lower case letters, digits and '-', and begins and ends with a letter "
    "or digit",
    NULL};
const struct text_rule rule_port_name = {
    port_name_is_valid, DIAG_InvalidValue,
    "a port name has 1 to 15 lower case letters, digits and '-', with at least one letter", NULL};
const struct text_rule rule_data_key = {data_key_is_valid, DIAG_InvalidValue,
                                        "a key has letters, digits, '-', '_' and '.', 253 at most",
                                        NULL};

static const struct field metadata_fields[] = {
    {.name = STR_INIT("name"),      .type = FIELD_STRING, .offset = offsetof(struct object, name)                                           },
    {.name = STR_INIT("namespace"),
     .type = FIELD_STRING,
     .offset = offsetof(struct object,                                                      namespace_name),
     .rule = &rule_label},
    {.name = STR_INIT("uid"),                             .type = FIELD_STRING,                           .offset = offsetof(struct object,           uid)},
    {.name = STR_INIT("creationTimestamp"),
     .type = FIELD_TIMESTAMP,
     .offset = offsetof(struct object,                                                               created_s)                                                                                                       },
    {.name = STR_INIT("labels"),
     .type = FIELD_STRING_MAP,
     .offset = offsetof(struct object,                                                              labels)                                                                                                       },
    {.name = STR_INIT("annotations"),
     .type = FIELD_STRING_MAP,
     .offset = offsetof(struct object,                                                              annotations)                                                                                                       },
};

static void check_name(struct decoder *d, const struct place *at, const struct object *o)
{
    const struct text_rule *rule = d->kind->name_rule;
    struct place name = decode_child(at, STR("name"));
    if (name.node == NULL && tree_get(at->node, STR("generateName")) != NULL) {
        decode_complain(d, &name,
                        &(struct complaint){DIAG_ERROR, DIAG_MissingField, NULL,
                                            "generateName needs an API server", "give it a name"});
    } else if (name.node == NULL) {
        decode_complain(d, &name,
                        &(struct complaint){DIAG_ERROR, DIAG_MissingField, NULL,
                                            "the API requires this field", NULL});
    } else if (!rule->is_valid(o->name)) {
        decode_complain(d, &name,
                        &(struct complaint){DIAG_ERROR, rule->reason, NULL, rule->why, rule->mend});
    }
}

enum err metadata_check(struct decoder *d, const struct place *at, void *base)
{
    struct object *o = base;
    check_name(d, at, o);
    if (!object_kind_is_cluster_scoped(o->kind)) {
        o->namespace_name = o->namespace_name.n > 0 ? o->namespace_name : STR("default");
    } else if (o->namespace_name.n > 0) {
        struct place namespace_place = decode_child(at, STR("namespace"));
        decode_complain(d, &namespace_place,
                        &(struct complaint){DIAG_WARNING, DIAG_InvalidValue, NULL,
                                            "objects of this kind are in no namespace; ignored",
                                            "remove it"});
        o->namespace_name = STR_EMPTY;
    }
    return E_OK;
}

const struct schema schema_metadata = {FIELDS(metadata_fields), .check = metadata_check};

/* In the status of Ingresses and of Services. What the API server has written there is not checked
 * again: a status that makes no sense must not take the object down. */
static const struct field published_fields[] = {
    {.name = STR_INIT("ip"),
     .type = FIELD_STRING,
     .offset = offsetof(struct published_address, ip)      },
    {.name = STR_INIT("hostname"),
     .type = FIELD_STRING,
     .offset = offsetof(struct published_address, hostname)},
};
const struct schema schema_published = {FIELDS(published_fields),
                                        .size = sizeof(struct published_address)};

static const struct field plain_fields[] = {METADATA_FIELD};
static const struct schema schema_plain = {FIELDS(plain_fields)};

const struct decode_kind kind_namespace = {
    .api_version = STR_INIT("v1"),
    .kind = STR_INIT("Namespace"),
    .object_kind = OBJECT_NAMESPACE,
    .size = sizeof(struct namespace_object),
    .root = &schema_plain,
    .name_rule = &rule_label,
};

const struct decode_kind kind_node = {
    .api_version = STR_INIT("v1"),
    .kind = STR_INIT("Node"),
    .object_kind = OBJECT_NODE,
    .size = sizeof(struct node_object),
    .root = &schema_plain,
    .name_rule = &rule_subdomain,
};
