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
    order = order != 0 ? order : str_cmp(text_of(x, x->port), text_of(y, y->port));
    return order != 0 ? order : str_cmp(text_of(x, x->variant), text_of(y, y->variant));
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
    case SNAP_SERVICE_UNSUPPORTED:
        return "its endpoints are to be spoken to in a way that is not supported";
    }
    return NULL;
}

/* ---- rules ---- */

enum { PORT_DIGITS = 5 };

/* As a backend writes it. */
static struct str port_text(const struct ingress_backend *backend, char digits[PORT_DIGITS])
{
    if (backend->port.number == 0) {
        return backend->port.name;
    }
    struct wr w = wr_make(digits, PORT_DIGITS);
    wr_u64(&w, backend->port.number);
    return str_make(digits, wr_n(&w));
}

static int rule_cmp(const struct served_rule *r, struct str namespace_name, struct str service,
                    struct str port)
{
    char digits[PORT_DIGITS];
    int order = str_cmp(r->ingress->object.namespace_name, namespace_name);
    order = order != 0 ? order : str_cmp(r->backend->service, service);
    return order != 0 ? order : str_cmp(port_text(r->backend, digits), port);
}

static int rule_order(const void *a, const void *b)
{
    char digits[PORT_DIGITS];
    const struct served_rule *x = a, *y = b;
    int order = rule_cmp(x, y->ingress->object.namespace_name, y->backend->service,
                         port_text(y->backend, digits));
    return order != 0 ? order : (x->order > y->order) - (x->order < y->order);
}

static void rule_add(struct served_rule *rules, size_t *n, struct served_rule r)
{
    if (r.backend->type == BACKEND_SERVICE) {
        r.order = *n;
        rules[(*n)++] = r;
    }
}

static void rules_add(struct served_rule *rules, size_t *n, const struct ingress *ingress)
{
    struct served_rule r = {.ingress = ingress};
    for (uint32_t i = 0; i < ingress->rule_n; i++) {
        r.host = ingress->rules[i].host;
        for (uint32_t k = 0; k < ingress->rules[i].path_n; k++) {
            r.path = ingress->rules[i].paths[k].path;
            r.backend = &ingress->rules[i].paths[k].backend;
            rule_add(rules, n, r);
        }
    }
    rule_add(rules, n,
             (struct served_rule){.ingress = ingress,
                                  .host = STR_EMPTY,
                                  .path = STR_EMPTY,
                                  .backend = &ingress->default_backend,
                                  .is_default = true});
}

enum err served_rules(const struct ingress *const *ingresses, size_t ingress_n,
                      struct served_rule **ret, size_t *ret_n)
{
    size_t room = ingress_n, n = 0; /* a default backend each */
    for (size_t i = 0; i < ingress_n; i++) {
        for (uint32_t k = 0; k < ingresses[i]->rule_n; k++) {
            room += ingresses[i]->rules[k].path_n;
        }
    }
    struct served_rule *rules = mem_calloc(room + 1, sizeof(*rules));
    if (rules == NULL) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < ingress_n; i++) {
        rules_add(rules, &n, ingresses[i]);
    }
    qsort(rules, n, sizeof(*rules), rule_order);
    *ret = rules;
    *ret_n = n;
    return E_OK;
}

const struct served_rule *served_rules_of(const struct served_rule *rules, size_t n,
                                          const struct snap_service *service, size_t *ret_n)
{
    struct str space = text_of(service, service->namespace_name);
    struct str name = text_of(service, service->name), port = text_of(service, service->port);
    size_t from = 0, to = n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (rule_cmp(&rules[middle], space, name, port) < 0) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    for (*ret_n = 0;
         from + *ret_n < n && rule_cmp(&rules[from + *ret_n], space, name, port) == 0;) {
        ++*ret_n;
    }
    return rules + from;
}
