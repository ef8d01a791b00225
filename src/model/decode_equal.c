/* Comparing decoded structs by the tables that filled them. */
#include "model/decode_priv.h"

static const void *member(const void *base, uint16_t offset)
{
    return (const char *)base + offset;
}

static uint32_t count_of(const struct field *f, const void *base)
{
    return *(const uint32_t *)member(base, f->n_offset);
}

static bool pairs_are_equal(const struct string_map *a, const struct string_map *b)
{
    bool is_equal = a->n == b->n;
    for (uint32_t i = 0; is_equal && i < a->n; i++) {
        is_equal = str_eq(a->items[i].key, b->items[i].key) &&
                   str_eq(a->items[i].value, b->items[i].value);
    }
    return is_equal;
}

static bool strings_are_equal(const struct str *a, const struct str *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!str_eq(a[i], b[i])) {
            return false;
        }
    }
    return true;
}

static bool data_is_equal(const struct data_item *a, const struct data_item *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!str_eq(a[i].key, b[i].key) || !str_eq(a[i].value, b[i].value)) {
            return false;
        }
    }
    return true;
}

static bool addresses_are_equal(const struct ip *a, const struct ip *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (ip_cmp(&a[i], &b[i]) != 0) {
            return false;
        }
    }
    return true;
}

static bool items_are_equal(const struct schema *schema, const void *a, const void *b, uint32_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!schema_is_equal(schema, (const char *)a + i * schema->size,
                             (const char *)b + i * schema->size)) {
            return false;
        }
    }
    return true;
}

static bool list_is_equal(const struct field *f, const void *a, const void *b)
{
    uint32_t n = count_of(f, a);
    if (n != count_of(f, b)) {
        return false;
    }
    /* Every kind of list is a pointer at offset. */
    const void *x = *(const void *const *)member(a, f->offset);
    const void *y = *(const void *const *)member(b, f->offset);
    switch (f->type) {
    case FIELD_LIST:
        return items_are_equal(f->sub, x, y, n);
    case FIELD_STRINGS:
        return strings_are_equal(x, y, n);
    case FIELD_DATA:
    case FIELD_TEXT_DATA:
        return data_is_equal(x, y, n);
    case FIELD_ADDRESSES:
    case FIELD_FIRST_ADDRESS:
        return addresses_are_equal(x, y, n);
    case FIELD_STRING:
    case FIELD_BOOL:
    case FIELD_PORT:
    case FIELD_ENUM:
    case FIELD_STRUCT:
    case FIELD_STRING_MAP:
    case FIELD_PORT_OR_NAME:
    case FIELD_TIMESTAMP:
        break;
    }
    return false;
}

static bool port_refs_are_equal(const struct service_port_ref *a, const struct service_port_ref *b)
{
    return a->number == b->number && str_eq(a->name, b->name);
}

static bool field_is_equal(const struct field *f, const void *a, const void *b)
{
    const void *x = member(a, f->offset), *y = member(b, f->offset);
    switch (f->type) {
    case FIELD_STRING:
        return str_eq(*(const struct str *)x, *(const struct str *)y);
    case FIELD_BOOL:
        return *(const bool *)x == *(const bool *)y;
    case FIELD_PORT:
        return *(const uint16_t *)x == *(const uint16_t *)y;
    case FIELD_ENUM:
        return *(const int *)x == *(const int *)y;
    case FIELD_STRUCT:
        return schema_is_equal(f->sub, x, y);
    case FIELD_STRING_MAP:
        return pairs_are_equal(x, y);
    case FIELD_PORT_OR_NAME:
        return port_refs_are_equal(x, y);
    case FIELD_TIMESTAMP:
        return *(const int64_t *)x == *(const int64_t *)y;
    case FIELD_LIST:
    case FIELD_STRINGS:
    case FIELD_DATA:
    case FIELD_TEXT_DATA:
    case FIELD_ADDRESSES:
    case FIELD_FIRST_ADDRESS:
        return list_is_equal(f, a, b);
    }
    return false;
}

bool schema_is_equal(const struct schema *schema, const void *a, const void *b)
{
    for (uint16_t i = 0; i < schema->field_n; i++) {
        const struct field *f = &schema->fields[i];
        if (!field_is_equal(f, a, b)) {
            return false;
        }
        if (f->has_offset != 0 &&
            *(const bool *)member(a, f->has_offset) != *(const bool *)member(b, f->has_offset)) {
            return false;
        }
    }
    return true;
}
