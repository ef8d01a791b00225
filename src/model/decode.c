/* The kinds that are decoded, and the frame around it: who the object is, its arena, what happens
 * when it does not fit. The work is in decode_field.c and the tables in fields_*.c. */
#include "model/decode_priv.h"

static const struct decode_kind *const kinds[] = {
    &kind_ingress, &kind_ingress_class, &kind_service,   &kind_endpoint_slice, &kind_endpoints,
    &kind_secret,  &kind_config_map,    &kind_namespace, &kind_node,
};

enum {
    KINDS_N = sizeof(kinds) / sizeof(kinds[0]),
    NODE_BYTES_EXPECTED = 8,
    EXPECTED_BYTES_MAX = 64 * 1024,
    FURTHER_BYTES = 128,
};

const struct decode_kind *decode_kind_find(struct str api_version, struct str kind)
{
    for (size_t i = 0; i < KINDS_N; i++) {
        if (str_eq(kinds[i]->kind, kind) && str_eq(kinds[i]->api_version, api_version)) {
            return kinds[i];
        }
    }
    return NULL;
}

/* The part before the '/'; the core group has none. */
static struct str group_of(struct str api_version)
{
    struct str group, version;
    return str_cut(api_version, '/', &group, &version) ? group : STR_EMPTY;
}

struct str decode_kind_mend(struct str api_version, struct str kind)
{
    struct str group = group_of(api_version);
    bool is_known_group = str_eq(group, STR("extensions"));
    const struct decode_kind *found = NULL;
    for (size_t i = 0; i < KINDS_N; i++) {
        is_known_group = is_known_group || str_eq(group_of(kinds[i]->api_version), group);
        found = str_eq(kinds[i]->kind, kind) ? kinds[i] : found;
    }
    return found != NULL && is_known_group ? found->api_version : STR_EMPTY;
}

/* Why E_LIMIT: the arena of the object is full. */
static void complain_size(struct decoder *d, const struct place *at)
{
    static const struct complaint too_large = {DIAG_ERROR, DIAG_LimitReached, "is too large",
                                               "an object takes at most 8 MB of memory",
                                               "split it"};
    d->problem_n = 0; /* this one is told in any case */
    decode_complain(d, at, &too_large);
}

/* Objects are kept by the ten thousand: the first chunk is made to hold nearly all of one, going by
 * the number of nodes it is read from; what does not fit goes to small chunks. */
static size_t bytes_expected(const struct decoder *d, const struct tree_node *root)
{
    size_t bytes = d->kind->size + d->source->file.n + (size_t)root->weight * NODE_BYTES_EXPECTED;
    return bytes < EXPECTED_BYTES_MAX ? bytes : EXPECTED_BYTES_MAX;
}

static enum err object_new(struct decoder *d, const struct tree_node *root, struct object **ret)
{
    struct arena arena;
    arena_init(&arena, MANIFEST_OBJECT_BYTES_MAX);
    arena.next = bytes_expected(d, root);
    struct object *o = arena_calloc(&arena, 1, d->kind->size);
    if (o == NULL) {
        return E_NOMEM;
    }
    arena.next = FURTHER_BYTES;
    o->arena = arena;
    o->kind = d->kind->object_kind;
    o->created_s = INT64_MAX;
    o->line = root->line;
    o->file = STR_EMPTY;
    if (d->source->file.n > 0 && !arena_str(&o->arena, d->source->file, &o->file)) {
        object_free(o);
        return E_NOMEM;
    }
    schema_blank(d->kind->root, o);
    *ret = o;
    return E_OK;
}

enum err decode_object(const struct decode_kind *kind, const struct tree_node *root,
                       const struct decode_source *source, struct object **ret)
{
    const struct tree_node *metadata = tree_get(root, STR("metadata"));
    struct place at = {.node = root};
    struct decoder d = {
        .source = source,
        .kind = kind,
        .namespace_name = tree_get_string(metadata, STR("namespace")),
        .name = tree_get_string(metadata, STR("name")),
        .hides_values = kind->hides_values,
    };
    TRY(object_new(&d, root, &d.object));
    d.arena = &d.object->arena;
    if (kind->begin != NULL) {
        kind->begin(&d, root);
    }
    enum err e = decode_struct(&d, kind->root, &at, d.object);
    if (e == E_LIMIT) {
        complain_size(&d, &at);
        e = E_OK;
    }
    if (e != E_OK || d.error_n > 0) {
        object_free(d.object);
        d.object = NULL;
    }
    if (e == E_OK) {
        *ret = d.object;
    }
    return e;
}
