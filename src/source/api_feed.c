/* One list-and-watch: what its reflector tells becomes objects in the store.
 * Each object that the server has is a record, whether it could be decoded or not; a complete list
 * sweeps the records that it did not touch. So the store holds nothing that no record stands for,
 * and a record is made before its object is put there. */
#include "source/api_priv.h"

#include "base/limits.h"
#include "base/mem.h"

/* ---- records ---- */

struct record_key {
    struct str namespace_name, name;
};

static uint64_t key_hash(const struct record_key *key)
{
    return hash_str(key->namespace_name) * 0x9e3779b97f4a7c15U + hash_str(key->name);
}

static bool record_is(const void *value, const void *key_arg)
{
    const struct record *r = value;
    const struct record_key *key = key_arg;
    return str_eq(r->name, key->name) && str_eq(r->namespace_name, key->namespace_name);
}

static struct record *record_find(const struct feed *f, const struct record_key *key)
{
    return map_get(&f->records, key_hash(key), record_is, key);
}

/* NULL: out of memory. */
static struct record *record_make(struct feed *f, const struct record_key *key)
{
    struct record *r = record_find(f, key);
    if (r != NULL || map_reserve(&f->records, 1) != E_OK) {
        return r;
    }
    r = mem_calloc(1, sizeof(*r) + key->namespace_name.n + key->name.n);
    if (r == NULL) {
        return NULL;
    }
    mem_copy(r->text, key->namespace_name.p, key->namespace_name.n);
    mem_copy(r->text + key->namespace_name.n, key->name.p, key->name.n);
    r->namespace_name = str_make(r->text, key->namespace_name.n);
    r->name = str_make(r->text + key->namespace_name.n, key->name.n);
    r->hash = key_hash(key);
    list_append(&f->all, &r->in_all);
    must(map_add(&f->records, r->hash, r) == E_OK); /* room was made */
    return r;
}

static void record_forgive(struct record *r)
{
    diag_list_free(r->diags);
    r->diags = NULL;
    list_del(&r->in_troubled);
}

static void record_free(struct feed *f, struct record *r)
{
    record_forgive(r);
    list_del(&r->in_all);
    must(map_del(&f->records, r->hash, r));
    mem_free(r);
}

/* ---- the store ---- */

static struct store *store_for(const struct feed *f, struct str namespace_name)
{
    return api_store_for(f->row->api, f->row->resource, namespace_name);
}

static void on_again(struct timer *t);

/* Something that was told could not be kept: only a new list brings it back. */
static void feed_lost(struct feed *f)
{
    f->is_incomplete = true;
    if (f->is_open && !list_is_linked(&f->again.link)) {
        loop_arm(f->row->api->loop, &f->again, API_AGAIN, on_again);
    }
}

static void object_drop(struct feed *f, const struct record *r)
{
    enum object_kind kind = f->row->resource->object_kind;
    bool was_there = store_del(store_for(f, r->namespace_name), kind, r->namespace_name, r->name);
    if (was_there && kind == OBJECT_NAMESPACE) {
        api_namespace_changed(f->row->api, r->name, false);
    }
}

static void record_drop(struct feed *f, struct record *r)
{
    object_drop(f, r);
    record_free(f, r);
    api_changed(f->row->api);
}

/* Not the object that is in the store under this name, but another one. */
static bool is_other(const struct feed *f, const struct record *r, struct str uid)
{
    const struct object *o = store_get(store_for(f, r->namespace_name),
                                       f->row->resource->object_kind, r->namespace_name, r->name);
    return o != NULL && uid.n > 0 && o->uid.n > 0 && !str_eq(o->uid, uid);
}

static void object_put(struct feed *f, const struct record *r, struct object *o)
{
    struct store *store = store_for(f, r->namespace_name);
    bool is_new = store_get(store, o->kind, r->namespace_name, r->name) == NULL;
    bool is_namespace = o->kind == OBJECT_NAMESPACE;
    if (store_put(store, o) != E_OK) {
        feed_lost(f);
    } else if (is_new && is_namespace) {
        api_namespace_changed(f->row->api, r->name, true);
    }
}

/* ---- decoding ---- */

struct decoding {
    struct feed *f;
    struct record *r;
};

static void on_diag(void *arg, const struct diag *d)
{
    struct decoding *decoding = arg;
    struct record *r = decoding->r;
    if (r->diags == NULL && diag_list_new(DIAGNOSTICS_PER_OBJECT_MAX, &r->diags) != E_OK) {
        r->diags = NULL; /* told all the same, just not listed later */
    }
    if (r->diags != NULL) {
        diag_list_add(r->diags, d);
        if (!list_is_linked(&r->in_troubled)) {
            list_append(&decoding->f->troubled, &r->in_troubled);
        }
    }
    api_tell(decoding->f->row->api, d);
}

static void record_decode(struct feed *f, struct record *r, const struct tree_node *tree,
                          struct str uid)
{
    struct object *o = NULL;
    struct decoding decoding = {f, r};
    const struct decode_source source = {.file = STR_EMPTY, .on_diag = on_diag, .arg = &decoding};
    record_forgive(r);
    if (decode_object(f->row->kind, tree, &source, &o) != E_OK) {
        feed_lost(f);
    } else if (o != NULL) {
        object_put(f, r, o);
    } else if (is_other(f, r, uid)) { /* else the last good version stays */
        object_drop(f, r);
    }
}

/* False when it has no name to be known by. */
static bool key_of(const struct feed *f, const struct tree_node *object, struct record_key *ret)
{
    const struct tree_node *metadata = tree_get(object, STR("metadata"));
    bool is_cluster_scoped = f->row->resource->is_cluster_scoped;
    ret->namespace_name =
        is_cluster_scoped ? STR_EMPTY : tree_get_string(metadata, STR("namespace"));
    ret->name = tree_get_string(metadata, STR("name"));
    return ret->name.n > 0 && (is_cluster_scoped || ret->namespace_name.n > 0);
}

static struct str uid_of(const struct tree_node *object)
{
    return tree_get_string(tree_get(object, STR("metadata")), STR("uid"));
}

/* ---- what is told ---- */

void feed_begin(struct feed *f)
{
    f->list++;
    f->is_incomplete = false;
}

void feed_take(struct feed *f, const struct tree_node *object)
{
    struct record_key key;
    if (!key_of(f, object, &key)) {
        return;
    }
    struct record *r = record_make(f, &key);
    if (r == NULL) {
        feed_lost(f);
        return;
    }
    r->list = f->list;
    record_decode(f, r, object, uid_of(object));
    api_changed(f->row->api);
}

void feed_end(struct feed *f)
{
    list_each(it, &f->all)
    {
        struct record *r = container_of(it, struct record, in_all);
        if (r->list != f->list) {
            record_drop(f, r);
        }
    }
    if (!f->is_incomplete) {
        api_feed_synced(f->row->api, f);
    }
    api_changed(f->row->api);
}

static void on_list(void *arg)
{
    feed_begin(arg);
}

static void on_object(void *arg, const struct tree_node *object)
{
    feed_take(arg, object);
}

static void on_listed(void *arg)
{
    feed_end(arg);
}

static void on_gone(void *arg, const struct tree_node *object)
{
    struct feed *f = arg;
    struct record_key key;
    struct record *r = key_of(f, object, &key) ? record_find(f, &key) : NULL;
    if (r != NULL && !is_other(f, r, uid_of(object))) {
        record_drop(f, r);
    }
}

static void on_batch(void *arg)
{
    struct feed *f = arg;
    api_changed(f->row->api);
}

static void on_health(void *arg, bool is_ok, struct str why)
{
    struct feed *f = arg;
    api_feed_health(f->row->api, f, is_ok, why);
}

static const struct kube_reflector_events reflector_events = {
    .on_list = on_list,
    .on_object = on_object,
    .on_listed = on_listed,
    .on_gone = on_gone,
    .on_batch = on_batch,
    .on_health = on_health,
};

/* ---- life ---- */

void feed_init(struct feed *f, struct row *row, struct str namespace_name, struct str name)
{
    *f = (struct feed){.row = row, .namespace_name = namespace_name, .name = name};
    list_init(&f->all);
    list_init(&f->troubled);
    list_append(&row->feeds, &f->in_row);
    row->feed_n++;
}

static void reflector_open(struct feed *f)
{
    struct api *a = f->row->api;
    char path[API_PATH_MAX];
    bool is_namespaces = f->row->resource->object_kind == OBJECT_NAMESPACE;
    const struct kube_reflector_options o = {
        .client = a->options.client,
        .path = api_path(f->row->resource, f->namespace_name, STR_EMPTY, path),
        .label_selector = is_namespaces ? a->options.namespace_selector : STR_EMPTY,
        .field_selector = STR_EMPTY,
        .name = f->name,
        .events = &reflector_events,
        .arg = f,
    };
    if (kube_reflector_open(&o, &f->reflector) != E_OK) {
        f->reflector = NULL;
        feed_lost(f);
    }
}

static void counters_add(struct kube_reflector_counters *sum,
                         const struct kube_reflector_counters *c)
{
    sum->lists += c->lists;
    sum->watches += c->watches;
    sum->events += c->events;
    sum->relists_expired += c->relists_expired;
    sum->relists_back += c->relists_back;
    sum->failures += c->failures;
}

static void reflector_close(struct feed *f)
{
    if (f->reflector == NULL) {
        return;
    }
    counters_add(&f->row->closed, kube_reflector_counters(f->reflector));
    kube_reflector_close(f->reflector);
    f->reflector = NULL;
    api_feed_health(f->row->api, f, true,
                    STR_EMPTY); /* of this one nothing bad is known any more */
}

static void on_again(struct timer *t)
{
    struct feed *f = container_of(t, struct feed, again);
    reflector_close(f);
    reflector_open(f);
}

void feed_open(struct feed *f)
{
    f->is_open = true;
    reflector_open(f);
}

void feed_fini(struct feed *f, bool are_dropped)
{
    if (f->row == NULL) { /* never begun */
        return;
    }
    reflector_close(f);
    loop_disarm(f->row->api->loop, &f->again);
    list_each(it, &f->all)
    {
        struct record *r = container_of(it, struct record, in_all);
        if (are_dropped) {
            record_drop(f, r);
        } else {
            record_free(f, r);
        }
    }
    map_fini(&f->records);
    list_del(&f->in_row);
    f->row->feed_n--;
    f->row = NULL;
}

void feed_counters(const struct feed *f, struct kube_reflector_counters *sum)
{
    if (f->reflector != NULL) {
        counters_add(sum, kube_reflector_counters(f->reflector));
    }
}

void feed_move(struct feed *f, struct str namespace_name, struct store *from, struct store *to)
{
    if (f->row == NULL) {
        return;
    }
    list_each(it, &f->all)
    {
        const struct record *r = container_of(it, struct record, in_all);
        if (!str_eq(r->namespace_name, namespace_name)) {
            continue;
        }
        struct object *o =
            store_take(from, f->row->resource->object_kind, r->namespace_name, r->name);
        if (o != NULL && store_put(to, o) != E_OK) {
            feed_lost(f);
        }
    }
}
