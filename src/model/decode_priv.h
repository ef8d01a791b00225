/* model/decode_priv.h: the field tables that describe kinds, and what their checks may call.
 * A schema describes how one JSON object fills one C struct. A FIELD_STRUCT with offset 0 fills the
 * struct around it: that is how spec.rules[].http.paths lands in struct ingress_rule. Fields whose
 * name is empty are not read; object_is_equal() compares them like the others.
 * Fields are read in the order of the table, whatever their order in the document. */
#pragma once

#include "model/decode.h"

#include <stddef.h>

enum field_type {
    FIELD_STRING,        /* struct str */
    FIELD_BOOL,          /* bool */
    FIELD_PORT,          /* uint16_t, 1 to 65535 */
    FIELD_ENUM,          /* int-sized enum, by names */
    FIELD_STRUCT,        /* a struct, by sub */
    FIELD_LIST,          /* pointer to structs, by sub; uint32_t count at n_offset */
    FIELD_STRINGS,       /* struct str *; count */
    FIELD_STRING_MAP,    /* struct string_map */
    FIELD_PORT_OR_NAME,  /* struct service_port_ref */
    FIELD_TIMESTAMP,     /* int64_t, seconds since 1970 */
    FIELD_DATA,          /* struct data_item *, sorted by key; count; values are base64 */
    FIELD_TEXT_DATA,     /* same, values are plain text */
    FIELD_ADDRESSES,     /* struct ip *; count */
    FIELD_FIRST_ADDRESS, /* struct ip *; count 1: a single address as a list */
};

/* What a string must look like. */
struct text_rule {
    bool (*is_valid)(struct str text);
    enum diag_reason reason;
    const char *why, *mend; /* mend may be NULL */
};

struct enum_name {
    struct str name;
    int value;
};

struct field {
    struct str name;
    enum field_type type;
    bool is_required;
    uint16_t offset;
    uint16_t n_offset;
    uint16_t has_offset;             /* of a bool that tells that the field is there; 0 = none */
    const struct schema *sub;        /* FIELD_STRUCT, FIELD_LIST */
    const struct enum_name *names;   /* FIELD_ENUM; ends with an empty name */
    const char *names_text;          /* "TCP, UDP or SCTP" */
    const struct text_rule *rule;    /* FIELD_STRING, each of FIELD_STRINGS; NULL = anything */
    const struct text_rule *map_key; /* FIELD_STRING_MAP, FIELD_DATA, FIELD_TEXT_DATA */
};

struct decoder;
struct place;

/* Looks at the whole struct once its own fields are right. */
typedef enum err schema_check_fn(struct decoder *d, const struct place *at, void *base);

struct schema {
    const struct field *fields;
    uint16_t field_n;
    uint16_t size;                  /* of an item; FIELD_LIST only */
    uint16_t line_offset;           /* of a uint32_t; 0 = none */
    void (*initialize)(void *item); /* the API's defaults; NULL = all empty */
    schema_check_fn *check;
};

enum { SCHEMA_FIELDS_MAX = 32 };

#define FIELDS(table) .fields = (table), .field_n = sizeof(table) / sizeof((table)[0])

/* Where we are in the document; the chain of these is the field path. */
struct place {
    const struct place *up; /* NULL at the root */
    enum { PLACE_FIELD, PLACE_INDEX, PLACE_KEY } type;
    struct str name;              /* field or key */
    uint32_t index;               /* PLACE_INDEX */
    const struct tree_node *node; /* NULL: the field is not there */
};

struct decode_kind {
    struct str api_version, kind;
    enum object_kind object_kind;
    uint16_t size; /* of the struct that root fills; begins with struct object */
    const struct schema *root;
    const struct text_rule *name_rule;
    bool hides_values; /* in diagnostics */
    /* Before the fields are read; NULL = nothing to do. */
    void (*begin)(struct decoder *d, const struct tree_node *root);
};

enum address_type { ADDRESS_ANY, ADDRESS_IPV4 = 4, ADDRESS_IPV6 = 6, ADDRESS_NAME };

struct decoder {
    struct arena *arena;
    const struct decode_source *source;
    const struct decode_kind *kind;
    struct str namespace_name, name; /* as the document says, for diagnostics */
    struct object *object;
    uint32_t problem_n, error_n;
    bool hides_values;
    enum address_type address_type; /* of an EndpointSlice */
};

/* One thing that may be wrong. */
struct complaint {
    enum diag_severity severity;
    enum diag_reason reason;
    const char *what; /* NULL: tells the value there, "is 70000" */
    const char *why;
    const char *mend; /* may be NULL */
};

void decode_complain(struct decoder *d, const struct place *at, const struct complaint *c);
/* The place of a field of the mapping at `at`, there or not. */
struct place decode_child(const struct place *at, struct str name);
struct place decode_index(const struct place *list, uint32_t i);
/* Cleared memory in the object's arena. Errors: E_LIMIT (MANIFEST_OBJECT_BYTES_MAX), E_NOMEM. */
enum err decode_calloc(struct decoder *d, size_t n, size_t size, void **ret);
/* Fills base from the mapping at `at`. Problems are told and counted in d. Errors: as above. */
enum err decode_struct(struct decoder *d, const struct schema *schema, const struct place *at,
                       void *base);

/* Makes the strings of a cleared struct empty ones. */
void schema_blank(const struct schema *schema, void *base);
/* Same values in all fields, lines aside. */
bool schema_is_equal(const struct schema *schema, const void *a, const void *b);

extern const struct schema schema_metadata, schema_published;
extern const struct text_rule rule_subdomain, rule_label, rule_port_name, rule_data_key,
    rule_protocol;
extern const struct decode_kind kind_ingress, kind_ingress_class, kind_service, kind_endpoint_slice,
    kind_endpoints, kind_secret, kind_config_map, kind_namespace, kind_node;
/* For comparison: what the finished structs hold, where that is not what is read. */
extern const struct schema schema_slice_content, schema_secret_content;

/* Looks at the metadata that every kind begins with. */
enum err metadata_check(struct decoder *d, const struct place *at, void *base);

/* The field that every kind begins with. */
#define METADATA_FIELD                                                                             \
    {                                                                                              \
        .name = STR_INIT("metadata"), .type = FIELD_STRUCT, .is_required = true,                   \
        .sub = &schema_metadata                                                                    \
    }
