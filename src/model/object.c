/* What is common to objects of all kinds. */
#include "model/object.h"

#include "model/decode_priv.h"

#include <string.h>

static const struct {
    const char *name;
    bool is_cluster_scoped;
} object_kinds[OBJECT_KINDS_N] = {
    [OBJECT_INGRESS] = {"Ingress",       false},
    [OBJECT_INGRESS_CLASS] = {"IngressClass",  true },
    [OBJECT_SERVICE] = {"Service",       false},
    [OBJECT_ENDPOINT_SLICE] = {"EndpointSlice", false},
    [OBJECT_ENDPOINTS] = {"Endpoints",     false},
    [OBJECT_SECRET] = {"Secret",        false},
    [OBJECT_CONFIG_MAP] = {"ConfigMap",     false},
    [OBJECT_NAMESPACE] = {"Namespace",     true },
    [OBJECT_NODE] = {"Node",          true },
    [OBJECT_RESOLUTION] = {"Resolution",    true },
};

const char *object_kind_name(enum object_kind kind)
{
    return object_kinds[kind].name;
}

bool object_kind_is_cluster_scoped(enum object_kind kind)
{
    return object_kinds[kind].is_cluster_scoped;
}

bool string_map_get(const struct string_map *m, struct str key, struct str *ret)
{
    uint32_t from = 0, to = m->n;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        int order = str_cmp(m->items[middle].key, key);
        if (order == 0) {
            *ret = m->items[middle].value;
            return true;
        }
        if (order < 0) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return false;
}

static void secret_wipe(struct secret *s)
{
    for (uint32_t i = 0; i < s->data_n; i++) {
        if (s->data[i].value.n > 0) {
            union {
                const char *p;
                char *w;
            } bytes = {s->data[i].value.p}; /* our own arena's memory: writable */
            explicit_bzero(bytes.w, s->data[i].value.n);
        }
    }
}

void object_free(struct object *o)
{
    if (o == NULL) {
        return;
    }
    if (o->kind == OBJECT_SECRET) {
        secret_wipe((struct secret *)o);
    }
    struct arena arena = o->arena; /* o lies in it */
    arena_fini(&arena);
}

static bool slices_are_equal(const struct endpoint_slice *a, const struct endpoint_slice *b)
{
    while (a != NULL && b != NULL && schema_is_equal(&schema_slice_content, a, b)) {
        a = a->next;
        b = b->next;
    }
    return a == NULL && b == NULL;
}

static const struct field resolution_fields[] = {
    {.type = FIELD_ADDRESSES,
     .offset = offsetof(struct resolution, addresses),
     .n_offset = offsetof(struct resolution, address_n)},
    {.type = FIELD_BOOL,             .offset = offsetof(struct resolution,                        is_refused)                },
};
static const struct schema schema_resolution = {FIELDS(resolution_fields)};

static bool content_is_equal(const struct object *a, const struct object *b)
{
    switch (a->kind) {
    case OBJECT_INGRESS:
        return schema_is_equal(kind_ingress.root, a, b);
    case OBJECT_INGRESS_CLASS:
        return schema_is_equal(kind_ingress_class.root, a, b);
    case OBJECT_SERVICE:
        return schema_is_equal(kind_service.root, a, b);
    case OBJECT_ENDPOINT_SLICE:
    case OBJECT_ENDPOINTS:
        return slices_are_equal((const struct endpoint_slice *)a, (const struct endpoint_slice *)b);
    case OBJECT_SECRET:
        return schema_is_equal(&schema_secret_content, a, b);
    case OBJECT_CONFIG_MAP:
        return schema_is_equal(kind_config_map.root, a, b);
    case OBJECT_NAMESPACE:
    case OBJECT_NODE:
        return true; /* metadata only */
    case OBJECT_RESOLUTION:
        return schema_is_equal(&schema_resolution, a, b);
    case OBJECT_KINDS_N:
        break;
    }
    return false;
}

bool object_is_equal(const struct object *a, const struct object *b)
{
    return a->kind == b->kind && schema_is_equal(&schema_metadata, a, b) && content_is_equal(a, b);
}

bool secret_get(const struct secret *s, struct str key, struct str *ret)
{
    for (uint32_t i = 0; i < s->data_n; i++) {
        if (str_eq(s->data[i].key, key)) {
            *ret = s->data[i].value;
            return true;
        }
    }
    return false;
}
