/* The records and how a change of the store finds them: a fixed number of table look-ups, never a
 * scan. The only thing that may run out of memory while the store tells of a change is the record
 * of a new Ingress; then has_missed makes the next run look through the store. */
#include "compile/compile_priv.h"

#include "base/mem.h"

static uint64_t key_hash(const struct key *key)
{
    uint64_t parts[KEY_PARTS];
    for (size_t i = 0; i < KEY_PARTS; i++) {
        parts[i] = hash_str(key->part[i]);
    }
    return hash_bytes(parts, sizeof(parts));
}

static bool key_is(const void *value, const void *key)
{
    const struct node *n = value;
    const struct key *k = key;
    for (size_t i = 0; i < KEY_PARTS; i++) {
        if (!str_eq(n->key.part[i], k->part[i])) {
            return false;
        }
    }
    return true;
}

void *node_find(const struct map *m, const struct key *key)
{
    return map_get(m, key_hash(key), key_is, key);
}

static struct node *node_new(const struct key *key, size_t size)
{
    size_t text = 0;
    for (size_t i = 0; i < KEY_PARTS; i++) {
        text += key->part[i].n;
    }
    struct node *n = mem_calloc(1, size + text);
    if (n == NULL) {
        return NULL;
    }
    char *at = (char *)n + size;
    for (size_t i = 0; i < KEY_PARTS; i++) {
        mem_copy(at, key->part[i].p, key->part[i].n);
        n->key.part[i] = str_make(at, key->part[i].n);
        at += key->part[i].n;
    }
    n->hash = key_hash(key);
    list_init(&n->dirty);
    list_init(&n->diags);
    return n;
}

void *node_make(struct map *m, const struct key *key, size_t size)
{
    struct node *n = node_find(m, key);
    if (n != NULL) {
        return n;
    }
    n = node_new(key, size);
    if (n != NULL && map_add(m, n->hash, n) != E_OK) {
        mem_free(n);
        return NULL;
    }
    return n;
}

void node_free(struct map *m, struct node *n)
{
    list_del(&n->dirty);
    diag_owner_clear(&n->diags);
    (void)map_del(m, n->hash, n); /* it is there */
    mem_free(n);
}

static void list_start(struct list *l)
{
    if (l->next == NULL) { /* a record that was just made */
        list_init(l);
    }
}

struct host_node *host_make(struct compile *c, struct str pattern)
{
    struct host_node *host = node_make(&c->hosts, &(struct key){{pattern}}, sizeof(*host));
    if (host != NULL) {
        list_start(&host->links);
    }
    return host;
}

static struct service_node *service_make(struct compile *c, const struct key *port)
{
    struct key key = {
        {port->part[0], port->part[1]}
    };
    struct service_node *service = node_make(&c->services, &key, sizeof(*service));
    if (service != NULL) {
        list_start(&service->ports);
    }
    return service;
}

static void service_release(struct compile *c, struct service_node *service)
{
    if (list_is_empty(&service->ports)) {
        node_free(&c->services, &service->node);
    }
}

struct port_node *port_make(struct compile *c, const struct key *key)
{
    struct service_node *service = service_make(c, key);
    if (service == NULL) {
        return NULL;
    }
    struct port_node *port = node_make(&c->ports, key, sizeof(*port));
    if (port == NULL) {
        service_release(c, service);
        return NULL;
    }
    if (port->service == NULL) {
        list_init(&port->uses);
        port->service = service;
        list_append(&service->ports, &port->in_service);
    }
    return port;
}

static void port_forget_name(struct compile *c, struct port_node *port)
{
    struct name_node *name = port->name;
    if (name == NULL) {
        return;
    }
    list_del(&port->in_name);
    port->name = NULL;
    if (list_is_empty(&name->ports)) {
        node_free(&c->names, &name->node);
    }
}

enum err port_depend(struct compile *c, struct port_node *port, struct str text)
{
    if (port->name != NULL && str_eq(port->name->node.key.part[0], text)) {
        return E_OK;
    }
    port_forget_name(c, port);
    if (text.n == 0) {
        return E_OK;
    }
    struct name_node *name = node_make(&c->names, &(struct key){{text}}, sizeof(*name));
    if (name == NULL) {
        return E_NOMEM;
    }
    list_start(&name->ports);
    list_append(&name->ports, &port->in_name);
    port->name = name;
    return E_OK;
}

void port_free(struct compile *c, struct port_node *port)
{
    port_forget_name(c, port);
    list_del(&port->in_service);
    service_release(c, port->service);
    node_free(&c->ports, &port->node);
}

/* Nothing but the status that somebody has published differs. Each address that we write ourselves
 * comes back like this. What came from a file may have moved in it, too, which diagnostics tell. */
static bool is_status_only(const struct object *old_object, const struct object *new_object)
{
    if (old_object == NULL || new_object == NULL || new_object->file.n > 0) {
        return false;
    }
    const struct ingress *new_ingress = (const struct ingress *)(const void *)new_object;
    struct ingress old_ingress = *(const struct ingress *)(const void *)old_object;
    old_ingress.published = new_ingress->published;
    old_ingress.published_n = new_ingress->published_n;
    return object_is_equal(&old_ingress.object, new_object);
}

/* Records keep nothing of the old object but the pointer to it: links and uses are numbers of rules
 * and paths, keys and diagnostics are copies. */
static enum err ingress_changed(struct compile *c, const struct object *old_object,
                                const struct object *new_object)
{
    const struct object *o = new_object != NULL ? new_object : old_object;
    struct key key = {
        {o->namespace_name, o->name}
    };
    struct ingress_node *n = new_object != NULL ? node_make(&c->ingresses, &key, sizeof(*n))
                                                : node_find(&c->ingresses, &key);
    if (n == NULL) {
        return new_object != NULL ? E_NOMEM : E_OK;
    }
    bool is_known = n->object != NULL; /* else the record was just made */
    n->object = (const struct ingress *)(const void *)new_object;
    if (!is_known || !is_status_only(old_object, new_object)) {
        node_mark(&c->dirty_ingresses, &n->node);
    }
    return E_OK;
}

static void mark_class(struct compile *c, struct list *ingresses)
{
    list_each(it, ingresses)
    {
        struct ingress_node *n = container_of(it, struct ingress_node, in_class);
        node_mark(&c->dirty_ingresses, &n->node);
    }
}

static void class_changed(struct compile *c, struct str name)
{
    struct class_node *class = node_find(&c->classes, &(struct key){{name}});
    if (class != NULL) {
        mark_class(c, &class->ingresses);
    }
    if (class_default_refresh(c)) {
        mark_class(c, &c->classless);
    }
}

void index_classes_changed(struct compile *c)
{
    map_each(slot, &c->classes)
    {
        mark_class(c, &((struct class_node *)slot->value)->ingresses);
    }
}

static void service_changed(struct compile *c, struct str namespace_name, struct str name)
{
    struct service_node *service = node_find(&c->services, &(struct key){
                                                               {namespace_name, name}
    });
    if (service == NULL) {
        return;
    }
    list_each(it, &service->ports)
    {
        struct port_node *port = container_of(it, struct port_node, in_service);
        node_mark(&c->dirty_ports, &port->node);
    }
}

static void secret_changed(struct compile *c, struct str namespace_name, struct str name)
{
    struct secret_node *secret = node_find(&c->secrets, &(struct key){
                                                            {namespace_name, name}
    });
    if (secret != NULL) {
        node_mark(&c->dirty_secrets, &secret->node);
    }
}

void compile_secret_missing(struct compile *c, struct str namespace_name, struct str name)
{
    secret_changed(c, namespace_name, name);
}

static void slice_changed(struct compile *c, const struct object *o)
{
    if (o != NULL) { /* a slice may move from one Service to another */
        const struct endpoint_slice *slice = (const struct endpoint_slice *)(const void *)o;
        service_changed(c, o->namespace_name, slice->service);
    }
}

/* Read once at the start, so nearly never: which hints count depends on our zone. */
static void node_changed(struct compile *c, struct str name)
{
    if (!str_eq(name, c->options->node_name)) {
        return;
    }
    map_each(slot, &c->ports)
    {
        node_mark(&c->dirty_ports, slot->value);
    }
}

static void resolution_changed(struct compile *c, struct str text)
{
    struct name_node *name = node_find(&c->names, &(struct key){{text}});
    if (name == NULL) {
        return;
    }
    list_each(it, &name->ports)
    {
        struct port_node *port = container_of(it, struct port_node, in_name);
        node_mark(&c->dirty_ports, &port->node);
    }
}

void index_change(void *arg, const struct object *old_object, const struct object *new_object)
{
    struct compile *c = arg;
    const struct object *o = new_object != NULL ? new_object : old_object;
    switch (o->kind) {
    case OBJECT_INGRESS:
        if (ingress_changed(c, old_object, new_object) != E_OK) {
            c->has_missed = true;
        }
        return;
    case OBJECT_INGRESS_CLASS:
        class_changed(c, o->name);
        return;
    case OBJECT_SERVICE:
        service_changed(c, o->namespace_name, o->name);
        return;
    case OBJECT_ENDPOINT_SLICE:
    case OBJECT_ENDPOINTS:
        slice_changed(c, old_object);
        slice_changed(c, new_object);
        return;
    case OBJECT_RESOLUTION:
        resolution_changed(c, o->name);
        return;
    case OBJECT_NODE:
        node_changed(c, o->name);
        return;
    case OBJECT_SECRET:
        secret_changed(c, o->namespace_name, o->name);
        return;
    case OBJECT_CONFIG_MAP:
        config_changed(c, o);
        return;
    case OBJECT_NAMESPACE:
    case OBJECT_KINDS_N:
        return;
    }
}

struct catch_up {
    struct compile *c;
    enum err err;
};

static void catch_up_one(void *arg, const struct object *o)
{
    struct catch_up *k = arg;
    struct key key = {
        {o->namespace_name, o->name}
    };
    if (k->err == E_OK && node_find(&k->c->ingresses, &key) == NULL) {
        k->err = ingress_changed(k->c, NULL, o);
    }
}

enum err index_catch_up(struct compile *c)
{
    struct catch_up k = {c, E_OK};
    store_each(c->store, OBJECT_INGRESS, catch_up_one, &k);
    return k.err;
}
