/* One hash map per kind, keyed by namespace and name, and an index from a service to its slices.
 *
 *   kinds[k]: hash(namespace, name) -> entry -> object (owned)
 *   services: hash(namespace, service) -> slice_set -> entries of EndpointSlices | of Endpoints
 *
 * An entry outlives the objects it holds one after another, so that replacing an object touches
 * neither map. A slice_set exists exactly while an entry is linked to it.
 * Invariant: whatever fails, each entry is in its map and, when its object names a service, in that
 * service's set. Room is made before anything is moved. */
#include "model/store.h"

#include "base/hash.h"
#include "base/mem.h"

struct slice_set {
    struct str namespace_name, service; /* in text */
    uint64_t hash;
    struct list slices;    /* entries of kind OBJECT_ENDPOINT_SLICE */
    struct list endpoints; /* entries of kind OBJECT_ENDPOINTS: mirrors of the slices */
    char text[];
};

struct entry {
    struct object *object;
    uint64_t hash;
    struct slice_set *set; /* NULL: not a slice, or one without a service */
    struct list in_set;
};

struct store {
    struct map kinds[OBJECT_KINDS_N];
    struct map services;
    struct list listeners;
};

struct key {
    struct str namespace_name, name;
};

/* ---- keys ---- */

static uint64_t key_hash(struct key key)
{
    return hash_str(key.namespace_name) * 0x9e3779b97f4a7c15U + hash_str(key.name);
}

static bool entry_eq(const void *value, const void *key_arg)
{
    const struct entry *e = value;
    const struct key *key = key_arg;
    return str_eq(e->object->name, key->name) &&
           str_eq(e->object->namespace_name, key->namespace_name);
}

static bool slice_set_eq(const void *value, const void *key_arg)
{
    const struct slice_set *set = value;
    const struct key *key = key_arg;
    return str_eq(set->service, key->name) && str_eq(set->namespace_name, key->namespace_name);
}

/* ---- the index of slices ---- */

/* NULL for other kinds. The object is the slice's first member. */
static const struct endpoint_slice *slice_of(const struct object *o)
{
    bool is_slice = o->kind == OBJECT_ENDPOINT_SLICE || o->kind == OBJECT_ENDPOINTS;
    return is_slice ? (const void *)o : NULL;
}

/* The service that o's endpoints belong to; empty for other kinds and slices without one. */
static struct str service_of(const struct object *o)
{
    const struct endpoint_slice *slice = slice_of(o);
    return slice == NULL ? STR_EMPTY : slice->service;
}

static enum err slice_set_new(struct key key, uint64_t hash, struct slice_set **ret)
{
    struct slice_set *set = mem_alloc(sizeof(*set) + key.namespace_name.n + key.name.n);
    if (set == NULL) {
        return E_NOMEM;
    }
    mem_copy(set->text, key.namespace_name.p, key.namespace_name.n);
    mem_copy(set->text + key.namespace_name.n, key.name.p, key.name.n);
    set->namespace_name = str_make(set->text, key.namespace_name.n);
    set->service = str_make(set->text + key.namespace_name.n, key.name.n);
    set->hash = hash;
    list_init(&set->slices);
    list_init(&set->endpoints);
    *ret = set;
    return E_OK;
}

/* The set that o belongs into, made when there is none yet; NULL when it belongs into none. */
static enum err slice_set_for(struct store *s, const struct object *o, struct slice_set **ret)
{
    struct key key = {o->namespace_name, service_of(o)};
    if (key.name.n == 0) {
        *ret = NULL;
        return E_OK;
    }
    uint64_t hash = key_hash(key);
    struct slice_set *set = map_get(&s->services, hash, slice_set_eq, &key);
    if (set == NULL) {
        TRY(map_reserve(&s->services, 1));
        TRY(slice_set_new(key, hash, &set));
        must(map_add(&s->services, hash, set) == E_OK); /* room was made */
    }
    *ret = set;
    return E_OK;
}

static void slice_set_drop_if_empty(struct store *s, struct slice_set *set)
{
    if (set != NULL && list_is_empty(&set->slices) && list_is_empty(&set->endpoints)) {
        must(map_del(&s->services, set->hash, set));
        mem_free(set);
    }
}

/* set may be NULL. */
static void entry_move(struct store *s, struct entry *e, struct slice_set *set)
{
    struct slice_set *left = e->set;
    list_del(&e->in_set);
    e->set = set;
    if (set != NULL) {
        bool is_mirror = e->object->kind == OBJECT_ENDPOINTS;
        list_append(is_mirror ? &set->endpoints : &set->slices, &e->in_set);
    }
    slice_set_drop_if_empty(s, left);
}

/* ---- life ---- */

enum err store_new(struct store **ret)
{
    struct store *s = mem_calloc(1, sizeof(*s));
    if (s == NULL) {
        return E_NOMEM;
    }
    list_init(&s->listeners);
    *ret = s;
    return E_OK;
}

void store_free(struct store *s)
{
    if (s == NULL) {
        return;
    }
    map_each(slot, &s->services)
    {
        mem_free(slot->value);
    }
    map_fini(&s->services);
    for (size_t kind = 0; kind < OBJECT_KINDS_N; kind++) {
        map_each(slot, &s->kinds[kind])
        {
            struct entry *e = slot->value;
            object_free(e->object);
            mem_free(e);
        }
        map_fini(&s->kinds[kind]);
    }
    mem_free(s);
}

void store_listen(struct store *s, struct store_listener *l, store_change_fn *on_change, void *arg)
{
    l->on_change = on_change;
    l->arg = arg;
    list_append(&s->listeners, &l->link);
}

void store_unlisten(struct store_listener *l)
{
    list_del(&l->link);
}

static void tell(const struct store *s, const struct object *old_object,
                 const struct object *new_object)
{
    list_each(it, &s->listeners)
    {
        const struct store_listener *l = container_of(it, struct store_listener, link);
        l->on_change(l->arg, old_object, new_object);
    }
}

/* ---- changes ---- */

static struct entry *entry_get(const struct store *s, enum object_kind kind, struct key key)
{
    return map_get(&s->kinds[kind], key_hash(key), entry_eq, &key);
}

/* Takes o on success only. */
static enum err entry_add(struct store *s, struct object *o)
{
    struct slice_set *set = NULL;
    TRY(map_reserve(&s->kinds[o->kind], 1));
    struct entry *e = mem_calloc(1, sizeof(*e));
    if (e == NULL) {
        return E_NOMEM;
    }
    enum err error = slice_set_for(s, o, &set);
    if (error != E_OK) {
        mem_free(e);
        return error;
    }
    e->object = o;
    e->hash = key_hash((struct key){o->namespace_name, o->name});
    must(map_add(&s->kinds[o->kind], e->hash, e) == E_OK); /* room was made */
    entry_move(s, e, set);
    tell(s, NULL, o);
    return E_OK;
}

/* Takes o on success only. */
static enum err entry_replace(struct store *s, struct entry *e, struct object *o)
{
    struct object *old = e->object;
    struct slice_set *set = NULL;
    TRY(slice_set_for(s, o, &set));
    e->object = o;
    if (set != e->set) {
        entry_move(s, e, set);
    }
    tell(s, old, o);
    object_free(old);
    return E_OK;
}

enum err store_put(struct store *s, struct object *o)
{
    struct entry *e = entry_get(s, o->kind, (struct key){o->namespace_name, o->name});
    if (e != NULL && object_is_equal(e->object, o)) {
        object_free(o);
        return E_OK;
    }
    enum err error = e == NULL ? entry_add(s, o) : entry_replace(s, e, o);
    if (error != E_OK) {
        object_free(o);
    }
    return error;
}

struct object *store_take(struct store *s, enum object_kind kind, struct str namespace_name,
                          struct str name)
{
    struct entry *e = entry_get(s, kind, (struct key){namespace_name, name});
    if (e == NULL) {
        return NULL;
    }
    must(map_del(&s->kinds[kind], e->hash, e));
    entry_move(s, e, NULL);
    struct object *o = e->object;
    mem_free(e);
    tell(s, o, NULL);
    return o;
}

bool store_del(struct store *s, enum object_kind kind, struct str namespace_name, struct str name)
{
    struct object *o = store_take(s, kind, namespace_name, name);
    object_free(o); /* last: the caller's strings may be its own */
    return o != NULL;
}

/* ---- look-ups ---- */

const struct object *store_get(const struct store *s, enum object_kind kind,
                               struct str namespace_name, struct str name)
{
    const struct entry *e = entry_get(s, kind, (struct key){namespace_name, name});
    return e == NULL ? NULL : e->object;
}

size_t store_n(const struct store *s, enum object_kind kind)
{
    return s->kinds[kind].n;
}

void store_each(const struct store *s, enum object_kind kind, store_each_fn *fn, void *arg)
{
    map_each(slot, &s->kinds[kind])
    {
        fn(arg, ((const struct entry *)slot->value)->object);
    }
}

void store_each_slice(const struct store *s, struct str namespace_name, struct str service,
                      store_slice_fn *fn, void *arg)
{
    struct key key = {namespace_name, service};
    struct slice_set *set = map_get(&s->services, key_hash(key), slice_set_eq, &key);
    if (set == NULL) {
        return;
    }
    /* The control plane mirrors Endpoints into EndpointSlices, and back: never count both. */
    struct list *entries = list_is_empty(&set->slices) ? &set->endpoints : &set->slices;
    list_each(it, entries)
    {
        const struct endpoint_slice *slice =
            slice_of(container_of(it, struct entry, in_set)->object);
        for (; slice != NULL; slice = slice->next) {
            fn(arg, slice);
        }
    }
}
