/* The interpreter of the field tables: one function per field type, from node to struct member. */
#include "model/decode_priv.h"

#include "base/mem.h"
#include "wire/base64.h"
#include "wire/date.h"

#include <stdlib.h>
#include <string.h>

static const struct complaint duplicate_key = {DIAG_WARNING, DIAG_DuplicateKey, "stands twice",
                                               "the last one is used", "remove one of them"};
static const struct complaint missing = {DIAG_ERROR, DIAG_MissingField, NULL,
                                         "the API requires this field", NULL};
static const struct complaint no_string = {DIAG_ERROR, DIAG_WrongType, NULL,
                                           "the API wants a string here", NULL};
static const struct complaint no_string_scalar = {
    DIAG_ERROR, DIAG_WrongType, NULL, "the API wants a string here", "put the value in quotes"};
static const struct complaint no_bool = {DIAG_ERROR, DIAG_WrongType, NULL,
                                         "the API wants true or false here", NULL};
static const struct complaint no_port_number = {
    DIAG_ERROR, DIAG_WrongType, NULL, "the API wants a number here",
    "write the number without quotes, or the name in the field for names"};
static const struct complaint no_mapping = {DIAG_ERROR, DIAG_WrongType, NULL,
                                            "the API wants a mapping here", NULL};
static const struct complaint no_list = {DIAG_ERROR, DIAG_WrongType, NULL,
                                         "the API wants a list here", "begin each item with '- '"};
static const struct complaint has_nul = {DIAG_ERROR, DIAG_InvalidValue, NULL,
                                         "a string cannot hold a NUL character", "remove it"};
static const struct complaint bad_port = {DIAG_ERROR, DIAG_InvalidValue, NULL,
                                          "a port is a number from 1 to 65535", NULL};
static const struct complaint bad_port_or_name = {DIAG_ERROR, DIAG_WrongType, NULL,
                                                  "a target port is a number or a name", NULL};
static const struct complaint quoted_port = {
    DIAG_ERROR, DIAG_InvalidValue, NULL,
    "a port name has 1 to 15 lower case letters, digits and '-', with at least one letter",
    "write a port number without quotes"};
static const struct complaint bad_time = {DIAG_ERROR, DIAG_InvalidValue, NULL,
                                          "a time reads like 2026-01-02T03:04:05Z", NULL};
static const struct complaint bad_base64 = {DIAG_ERROR, DIAG_InvalidValue, NULL,
                                            "values in data are base64",
                                            "encode it, or move plain text to stringData"};
static const struct complaint bad_address = {DIAG_ERROR, DIAG_InvalidEndpoint, NULL,
                                             "an endpoint address is an IP address", NULL};
static const struct complaint bad_family = {
    DIAG_ERROR, DIAG_InvalidEndpoint, NULL,
    "all addresses of an EndpointSlice are of its addressType",
    "put IPv4 and IPv6 addresses into slices of their own"};
static const struct complaint unusable_address = {
    DIAG_ERROR, DIAG_InvalidEndpoint, NULL,
    "unspecified, link-local and multicast addresses cannot be endpoints", NULL};

static void *member(void *base, uint16_t offset)
{
    return (char *)base + offset;
}

struct place decode_child(const struct place *at, struct str name)
{
    return (struct place){
        .up = at, .type = PLACE_FIELD, .name = name, .node = tree_get(at->node, name)};
}

struct place decode_index(const struct place *list, uint32_t i)
{
    return (struct place){
        .up = list, .type = PLACE_INDEX, .index = i, .node = tree_item(list->node, i)};
}

static struct place place_of_key(const struct place *map, const struct tree_node *key,
                                 const struct tree_node *value)
{
    return (struct place){.up = map, .type = PLACE_KEY, .name = tree_text(key), .node = value};
}

/* Why the arena gave nothing. */
static enum err no_room(const struct decoder *d, size_t size)
{
    return size > d->arena->max - d->arena->used ? E_LIMIT : E_NOMEM;
}

enum err decode_calloc(struct decoder *d, size_t n, size_t size, void **ret)
{
    void *p = arena_calloc(d->arena, n, size);
    if (p == NULL) {
        return no_room(d, n * size);
    }
    *ret = p;
    return E_OK;
}

static enum err copy_text(struct decoder *d, struct str text, struct str *ret)
{
    if (text.n == 0) {
        *ret = STR_EMPTY;
        return E_OK;
    }
    return arena_str(d->arena, text, ret) ? E_OK : no_room(d, text.n + 1);
}

static bool is_kind(struct decoder *d, const struct place *at, enum tree_kind kind,
                    const struct complaint *otherwise)
{
    if (at->node->kind != kind) {
        decode_complain(d, at, otherwise);
        return false;
    }
    return true;
}

static bool is_string(struct decoder *d, const struct place *at)
{
    return is_kind(d, at, TREE_STRING,
                   at->node->kind < TREE_STRING ? &no_string_scalar : &no_string);
}

/* A string without NUL that keeps the rule. */
static bool is_text(struct decoder *d, const struct place *at, const struct text_rule *rule)
{
    if (!is_string(d, at)) {
        return false;
    }
    struct str text = tree_text(at->node);
    if (str_find(text, '\0') < text.n) {
        decode_complain(d, at, &has_nul);
        return false;
    }
    if (rule != NULL && !rule->is_valid(text)) {
        decode_complain(d, at,
                        &(struct complaint){DIAG_ERROR, rule->reason, NULL, rule->why, rule->mend});
        return false;
    }
    return true;
}

static enum err field_string(struct decoder *d, const struct field *f, const struct place *at,
                             struct str *ret)
{
    return is_text(d, at, f->rule) ? copy_text(d, tree_text(at->node), ret) : E_OK;
}

static enum err field_bool(struct decoder *d, const struct place *at, bool *ret)
{
    if (is_kind(d, at, TREE_BOOL, &no_bool)) {
        *ret = at->node->is_true;
    }
    return E_OK;
}

static void port_number(struct decoder *d, const struct place *at, uint16_t *ret)
{
    int64_t value;
    if (!tree_to_int(at->node, &value) || value < 1 || value > UINT16_MAX) {
        decode_complain(d, at, &bad_port);
        return;
    }
    *ret = (uint16_t)value;
}

static enum err field_port(struct decoder *d, const struct place *at, uint16_t *ret)
{
    if (is_kind(d, at, TREE_NUMBER, &no_port_number)) {
        port_number(d, at, ret);
    }
    return E_OK;
}

static enum err field_port_or_name(struct decoder *d, const struct place *at,
                                   struct service_port_ref *ret)
{
    if (at->node->kind == TREE_NUMBER) {
        port_number(d, at, &ret->number);
        return E_OK;
    }
    if (!is_kind(d, at, TREE_STRING, &bad_port_or_name)) {
        return E_OK;
    }
    if (!rule_port_name.is_valid(tree_text(at->node))) {
        decode_complain(d, at, &quoted_port);
        return E_OK;
    }
    return copy_text(d, tree_text(at->node), &ret->name);
}

static enum err field_enum(struct decoder *d, const struct field *f, const struct place *at,
                           int *ret)
{
    if (!is_string(d, at)) {
        return E_OK;
    }
    for (const struct enum_name *e = f->names; e->name.n > 0; e++) {
        if (str_eq(e->name, tree_text(at->node))) {
            *ret = e->value;
            return E_OK;
        }
    }
    decode_complain(d, at,
                    &(struct complaint){DIAG_ERROR, DIAG_InvalidValue, NULL, f->names_text, NULL});
    return E_OK;
}

static enum err field_timestamp(struct decoder *d, const struct place *at, int64_t *ret)
{
    if (is_string(d, at) && date_parse_rfc3339(tree_text(at->node), ret) != E_OK) {
        decode_complain(d, at, &bad_time);
    }
    return E_OK;
}

void schema_blank(const struct schema *schema, void *base)
{
    for (uint16_t i = 0; i < schema->field_n; i++) {
        const struct field *f = &schema->fields[i];
        if (f->type == FIELD_STRUCT) {
            schema_blank(f->sub, member(base, f->offset));
        } else if (f->type == FIELD_STRING) {
            *(struct str *)member(base, f->offset) = STR_EMPTY;
        } else if (f->type == FIELD_PORT_OR_NAME) {
            ((struct service_port_ref *)member(base, f->offset))->name = STR_EMPTY;
        }
    }
}

static enum err field_list(struct decoder *d, const struct field *f, const struct place *at,
                           void *base)
{
    if (!is_kind(d, at, TREE_SEQUENCE, &no_list)) {
        return E_OK;
    }
    const struct schema *sub = f->sub;
    void *items;
    TRY(decode_calloc(d, at->node->n, sub->size, &items));
    for (uint32_t i = 0; i < at->node->n; i++) {
        struct place item = decode_index(at, i);
        void *to = (char *)items + (size_t)i * sub->size;
        schema_blank(sub, to);
        if (sub->initialize != NULL) {
            sub->initialize(to);
        }
        TRY(decode_struct(d, sub, &item, to));
    }
    mem_copy(member(base, f->offset), &items, sizeof(items));
    *(uint32_t *)member(base, f->n_offset) = at->node->n;
    return E_OK;
}

static enum err field_strings(struct decoder *d, const struct field *f, const struct place *at,
                              void *base)
{
    if (!is_kind(d, at, TREE_SEQUENCE, &no_list)) {
        return E_OK;
    }
    void *memory;
    TRY(decode_calloc(d, at->node->n, sizeof(struct str), &memory));
    struct str *items = memory;
    for (uint32_t i = 0; i < at->node->n; i++) {
        struct place item = decode_index(at, i);
        TRY(field_string(d, f, &item, &items[i]));
    }
    *(struct str **)member(base, f->offset) = items;
    *(uint32_t *)member(base, f->n_offset) = at->node->n;
    return E_OK;
}

static bool address_is_right(struct decoder *d, const struct place *at, struct ip *ret)
{
    if (!is_string(d, at)) {
        return false;
    }
    const struct complaint *wrong = NULL;
    struct ip ip;
    if (ip_parse(tree_text(at->node), &ip) != E_OK) {
        wrong = &bad_address;
    } else if (d->address_type != ADDRESS_ANY && ip.family != (int)d->address_type) {
        wrong = &bad_family;
    } else if (ip_is_unusable(&ip)) {
        wrong = &unusable_address;
    }
    if (wrong != NULL) {
        decode_complain(d, at, wrong);
        return false;
    }
    *ret = ip;
    return true;
}

static enum err field_addresses(struct decoder *d, const struct field *f, const struct place *at,
                                void *base)
{
    if (!is_kind(d, at, TREE_SEQUENCE, &no_list) || d->address_type == ADDRESS_NAME) {
        return E_OK;
    }
    void *memory;
    TRY(decode_calloc(d, at->node->n, sizeof(struct ip), &memory));
    struct ip *items = memory;
    for (uint32_t i = 0; i < at->node->n; i++) {
        struct place item = decode_index(at, i);
        (void)address_is_right(d, &item, &items[i]); /* complains and counts by itself */
    }
    *(struct ip **)member(base, f->offset) = items;
    *(uint32_t *)member(base, f->n_offset) = at->node->n;
    return E_OK;
}

static enum err field_first_address(struct decoder *d, const struct field *f,
                                    const struct place *at, void *base)
{
    struct ip ip;
    void *memory;
    if (!address_is_right(d, at, &ip)) {
        return E_OK;
    }
    TRY(decode_calloc(d, 1, sizeof(ip), &memory));
    mem_copy(memory, &ip, sizeof(ip));
    *(struct ip **)member(base, f->offset) = memory;
    *(uint32_t *)member(base, f->n_offset) = 1;
    return E_OK;
}

/* Maps: the pairs of a mapping node by key, the last of equal keys only. */

struct pair {
    struct str key;
    uint32_t i;
};

enum { PAIRS_ON_STACK = 32 };

static int pair_cmp(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int order = str_cmp(x->key, y->key);
    return order != 0 ? order : (x->i > y->i) - (x->i < y->i);
}

/* Nulls are left out: the API server drops them as well. Returns how many are left. */
static uint32_t pairs_sort(struct decoder *d, const struct place *at, struct pair *pairs)
{
    uint32_t n = 0, unique = 0;
    for (uint32_t i = 0; i < at->node->n; i++) {
        if (tree_value(at->node, i)->kind != TREE_NULL) {
            pairs[n++] = (struct pair){tree_text(tree_key(at->node, i)), i};
        }
    }
    qsort(pairs, n, sizeof(*pairs), pair_cmp);
    for (uint32_t i = 0; i < n; i++) {
        if (unique > 0 && str_eq(pairs[unique - 1].key, pairs[i].key)) {
            struct place again =
                place_of_key(at, tree_key(at->node, pairs[i].i), tree_key(at->node, pairs[i].i));
            decode_complain(d, &again, &duplicate_key);
            unique--;
        }
        pairs[unique++] = pairs[i];
    }
    return unique;
}

typedef enum err map_item_fn(struct decoder *d, const struct field *f, const struct place *at,
                             struct str key, void *ret_item);

static bool key_is_right(struct decoder *d, const struct field *f, const struct place *at,
                         const struct tree_node *key)
{
    struct place place = place_of_key(at, key, key);
    bool hides_values = d->hides_values;
    d->hides_values = false; /* keys are no secret */
    bool is_right = is_text(d, &place, f->map_key);
    d->hides_values = hides_values;
    return is_right;
}

static enum err map_items(struct decoder *d, const struct field *f, const struct place *at,
                          map_item_fn *fn, size_t item_size, const struct pair *pairs, uint32_t n,
                          void *items)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct tree_node *key = tree_key(at->node, pairs[i].i);
        struct place place = place_of_key(at, key, tree_value(at->node, pairs[i].i));
        struct str copy;
        if (!key_is_right(d, f, at, key)) {
            continue;
        }
        TRY(copy_text(d, tree_text(key), &copy));
        TRY(fn(d, f, &place, copy, (char *)items + i * item_size));
    }
    return E_OK;
}

static enum err field_map(struct decoder *d, const struct field *f, const struct place *at,
                          map_item_fn *fn, size_t item_size, void **ret_items, uint32_t *ret_n)
{
    if (!is_kind(d, at, TREE_MAPPING, &no_mapping)) {
        return E_OK;
    }
    struct pair few[PAIRS_ON_STACK], *pairs = few;
    if (at->node->n > PAIRS_ON_STACK) {
        pairs = mem_calloc(at->node->n, sizeof(*pairs));
        if (pairs == NULL) {
            return E_NOMEM;
        }
    }
    uint32_t n = pairs_sort(d, at, pairs);
    void *items = NULL;
    enum err e = decode_calloc(d, n, item_size, &items);
    if (e == E_OK) {
        e = map_items(d, f, at, fn, item_size, pairs, n, items);
    }
    if (pairs != few) {
        mem_free(pairs);
    }
    if (e == E_OK) {
        *ret_items = items;
        *ret_n = n;
    }
    return e;
}

static enum err map_string(struct decoder *d, const struct field *f, const struct place *at,
                           struct str key, void *ret_item)
{
    (void)f;
    struct string_pair *item = ret_item;
    item->key = key;
    return is_text(d, at, NULL) ? copy_text(d, tree_text(at->node), &item->value) : E_OK;
}

static enum err field_string_map(struct decoder *d, const struct field *f, const struct place *at,
                                 struct string_map *ret)
{
    void *items = ret->items;
    TRY(field_map(d, f, at, map_string, sizeof(struct string_pair), &items, &ret->n));
    ret->items = items;
    return E_OK;
}

static enum err map_base64(struct decoder *d, const struct place *at, struct data_item *item)
{
    struct str text = tree_text(at->node);
    size_t n;
    void *value;
    TRY(decode_calloc(d, 1, base64_room(text.n) + 1, &value));
    if (base64_decode(text, value, &n) != E_OK) {
        explicit_bzero(value, base64_room(text.n));
        decode_complain(d, at, &bad_base64);
        return E_OK;
    }
    item->value = (struct str){value, n};
    ((char *)value)[n] = '\0';
    return E_OK;
}

static enum err map_data(struct decoder *d, const struct field *f, const struct place *at,
                         struct str key, void *ret_item)
{
    struct data_item *item = ret_item;
    *item = (struct data_item){key, STR_EMPTY};
    if (!is_string(d, at)) {
        return E_OK;
    }
    return f->type == FIELD_DATA ? map_base64(d, at, item)
                                 : copy_text(d, tree_text(at->node), &item->value);
}

static enum err field_data(struct decoder *d, const struct field *f, const struct place *at,
                           void *base)
{
    void *items = NULL;
    uint32_t n = 0;
    TRY(field_map(d, f, at, map_data, sizeof(struct data_item), &items, &n));
    *(struct data_item **)member(base, f->offset) = items;
    *(uint32_t *)member(base, f->n_offset) = n;
    return E_OK;
}

static enum err decode_field(struct decoder *d, const struct field *f, const struct place *at,
                             void *base)
{
    void *to = member(base, f->offset);
    switch (f->type) {
    case FIELD_STRING:
        return field_string(d, f, at, to);
    case FIELD_BOOL:
        return field_bool(d, at, to);
    case FIELD_PORT:
        return field_port(d, at, to);
    case FIELD_ENUM:
        return field_enum(d, f, at, to);
    case FIELD_STRUCT:
        return decode_struct(d, f->sub, at, to);
    case FIELD_LIST:
        return field_list(d, f, at, base);
    case FIELD_STRINGS:
        return field_strings(d, f, at, base);
    case FIELD_STRING_MAP:
        return field_string_map(d, f, at, to);
    case FIELD_PORT_OR_NAME:
        return field_port_or_name(d, at, to);
    case FIELD_TIMESTAMP:
        return field_timestamp(d, at, to);
    case FIELD_DATA:
    case FIELD_TEXT_DATA:
        return field_data(d, f, at, base);
    case FIELD_ADDRESSES:
        return field_addresses(d, f, at, base);
    case FIELD_FIRST_ADDRESS:
        return field_first_address(d, f, at, base);
    }
    return E_OK;
}

static uint16_t field_index(const struct schema *schema, struct str name)
{
    uint16_t i = 0;
    while (i < schema->field_n && !str_eq(schema->fields[i].name, name)) {
        i++;
    }
    return i;
}

/* found[i] is the value of field i, NULL when it is not there or null. */
static void fields_find(struct decoder *d, const struct schema *schema, const struct place *at,
                        const struct tree_node **found)
{
    uint32_t seen = 0;
    for (uint32_t i = 0; i < at->node->n; i++) {
        const struct tree_node *key = tree_key(at->node, i), *value = tree_value(at->node, i);
        uint16_t f = key->n > 0 ? field_index(schema, tree_text(key)) : schema->field_n;
        if (f == schema->field_n) {
            continue;
        }
        if ((seen & (uint32_t)1 << f) != 0) {
            struct place again = {at, PLACE_FIELD, schema->fields[f].name, 0, key};
            decode_complain(d, &again, &duplicate_key);
        }
        seen |= (uint32_t)1 << f;
        found[f] = value->kind == TREE_NULL ? NULL : value;
    }
}

/* False when the field itself is wrong; what lies deeper in structs and lists does not count. */
static enum err field_take(struct decoder *d, const struct field *f, const struct place *at,
                           void *base, bool *ret_is_right)
{
    uint32_t errors = d->error_n;
    TRY(decode_field(d, f, at, base));
    if (f->type == FIELD_STRUCT) {
        *ret_is_right = at->node->kind == TREE_MAPPING;
    } else if (f->type == FIELD_LIST) {
        *ret_is_right = at->node->kind == TREE_SEQUENCE;
    } else {
        *ret_is_right = d->error_n == errors;
    }
    if (f->has_offset != 0) {
        *(bool *)member(base, f->has_offset) = true;
    }
    return E_OK;
}

enum err decode_struct(struct decoder *d, const struct schema *schema, const struct place *at,
                       void *base)
{
    must(schema->field_n <= SCHEMA_FIELDS_MAX);
    const struct tree_node *found[SCHEMA_FIELDS_MAX] = {0};
    bool all_right = true;
    if (!is_kind(d, at, TREE_MAPPING, &no_mapping)) {
        return E_OK;
    }
    fields_find(d, schema, at, found);
    for (uint16_t i = 0; i < schema->field_n; i++) {
        const struct field *f = &schema->fields[i];
        struct place place = {at, PLACE_FIELD, f->name, 0, found[i]};
        bool is_right = true;
        if (found[i] != NULL) {
            TRY(field_take(d, f, &place, base, &is_right));
        } else if (f->is_required) {
            decode_complain(d, &place, &missing);
            is_right = false;
        }
        all_right = all_right && is_right;
    }
    if (schema->line_offset != 0) {
        *(uint32_t *)member(base, schema->line_offset) = at->node->line;
    }
    return schema->check != NULL && all_right ? schema->check(d, at, base) : E_OK;
}
