/* Walks over the store and the snapshot, sorted. */
#include "cli/served.h"

#include <stdlib.h>

#include "base/mem.h"

/* ---- Ingresses ---- */

struct ingress_list {
    const struct offline *o;
    const struct ingress **items;
    size_t n;
};

static void add_ingress(void *arg, const struct object *o)
{
    struct ingress_list *l = arg;
    const struct ingress *ingress = (const struct ingress *)(const void *)o;
    const char *why;
    if (compile_is_ours(l->o->compile, ingress, &why)) {
        l->items[l->n++] = ingress;
    }
}

static int ingress_order(const void *a, const void *b)
{
    const struct object *x = &(*(const struct ingress *const *)a)->object;
    const struct object *y = &(*(const struct ingress *const *)b)->object;
    int order = str_cmp(x->namespace_name, y->namespace_name);
    return order != 0 ? order : str_cmp(x->name, y->name);
}

enum err served_ingresses(const struct offline *o, const struct ingress ***ret, size_t *ret_n)
{
    struct ingress_list l = {.o = o};
    l.items = mem_calloc(store_n(o->store, OBJECT_INGRESS) + 1, sizeof(struct ingress *));
    if (l.items == NULL) {
        return E_NOMEM;
    }
    store_each(o->store, OBJECT_INGRESS, add_ingress, &l);
    qsort(l.items, l.n, sizeof(struct ingress *), ingress_order);
    *ret = l.items;
    *ret_n = l.n;
    return E_OK;
}

/* ---- Services ---- */

static struct str text_of(const struct snap_service *s, struct snap_str text)
{
    return snap_str_get(&s->shard, text);
}

static int service_order(const void *a, const void *b)
{
    const struct snap_service *x = *(const struct snap_service *const *)a;
    const struct snap_service *y = *(const struct snap_service *const *)b;
    int order = str_cmp(text_of(x, x->namespace_name), text_of(y, y->namespace_name));
    order = order != 0 ? order : str_cmp(text_of(x, x->name), text_of(y, y->name));
    return order != 0 ? order : str_cmp(text_of(x, x->port), text_of(y, y->port));
}

enum err served_services(const struct offline *o, const struct snap_service ***ret, size_t *ret_n)
{
    const struct snapshot *snapshot = offline_snapshot(o);
    size_t n = 0;
    const struct snap_service **items =
        mem_calloc(snapshot->shards.n + 1, sizeof(struct snap_service *));
    if (items == NULL) {
        return E_NOMEM;
    }
    map_each(slot, &snapshot->shards)
    {
        const struct snapshot_entry *entry = slot->value;
        if (entry->shard->kind == SNAP_SERVICE) {
            items[n++] = (const struct snap_service *)(const void *)entry->shard;
        }
    }
    qsort(items, n, sizeof(struct snap_service *), service_order);
    *ret = items;
    *ret_n = n;
    return E_OK;
}

const char *served_status_text(uint8_t status)
{
    switch ((enum snap_service_status)status) {
    case SNAP_SERVICE_OK:
        return NULL;
    case SNAP_SERVICE_MISSING:
        return "there is no such Service";
    case SNAP_SERVICE_NO_PORT:
        return "the Service has no such TCP port";
    case SNAP_SERVICE_REFUSED:
        return "its external name is refused";
    case SNAP_SERVICE_UNRESOLVED:
        return "its external name has not been looked up";
    }
    return NULL;
}

/* ---- rules ---- */

void served_each_rule(const struct ingress *ingress, served_rule_fn *fn, void *arg)
{
    struct served_rule r = {.ingress = ingress, .host = STR_EMPTY, .path = STR_EMPTY};
    for (uint32_t i = 0; i < ingress->rule_n; i++) {
        const struct ingress_rule *rule = &ingress->rules[i];
        r.host = rule->host;
        for (uint32_t k = 0; k < rule->path_n; k++) {
            r.path = rule->paths[k].path;
            r.backend = &rule->paths[k].backend;
            fn(arg, &r);
        }
    }
    if (ingress->default_backend.type != BACKEND_NONE) {
        r = (struct served_rule){ingress, STR_EMPTY, STR_EMPTY, &ingress->default_backend, true};
        fn(arg, &r);
    }
}

struct str served_port(const struct ingress_backend *backend, char digits[5])
{
    if (backend->port.name.n > 0) {
        return backend->port.name;
    }
    struct wr w = wr_make(digits, 5);
    wr_u64(&w, backend->port.number);
    return str_make(digits, wr_n(&w));
}
