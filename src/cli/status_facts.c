/* Counting what is served, and the two questions to the cluster. */
#include "cli/status_facts.h"

#include "cli/cluster.h"
#include "cli/served.h"

#include "base/mem.h"

enum { TEXT_BYTES_MAX = 64 << 10, PATH_BYTES = 1024 };

/* ---- counting ---- */

/* "a, b", each once. */
static void list_add(struct buf *list, struct str text)
{
    struct str item, rest = buf_str(list);
    while (rest.n > 0) {
        (void)str_cut(rest, ',', &item, &rest); /* the last one has no comma behind it */
        if (str_eq(str_trim(item), text)) {
            return;
        }
    }
    buf_add_str(list, list->n > 0 ? STR(", ") : STR_EMPTY);
    buf_add_str(list, text);
}

static void count_hosts(struct status_facts *f, const struct snapshot *s)
{
    map_each(slot, &s->shards)
    {
        const struct snapshot_entry *entry = slot->value;
        if (entry->shard->kind == SNAP_HOST) {
            const struct snap_host *host = (const struct snap_host *)(const void *)entry->shard;
            f->host_n += host->routes.n > 0;
            f->route_n += host->routes.n;
        }
    }
}

static void count_endpoint(void *arg, const struct endpoint *e, uint16_t port, const char *why_not)
{
    struct status_facts *f = arg;
    (void)e;
    (void)port;
    f->used_n += why_not == NULL;
    f->unused_n += why_not != NULL;
}

static enum err count_services(struct status_facts *f, const struct offline *o)
{
    const struct snap_service **services;
    TRY(served_services(o, &services, &f->service_n));
    for (size_t i = 0; i < f->service_n; i++) {
        const struct snap_service *s = services[i];
        f->service_bad_n += s->endpoints.n == 0;
        compile_each_endpoint(o->compile, snap_str_get(&s->shard, s->namespace_name),
                              snap_str_get(&s->shard, s->name), snap_str_get(&s->shard, s->port),
                              count_endpoint, f);
    }
    mem_free(services);
    return E_OK;
}

static void note_ingress(struct status_facts *f, const struct ingress *ingress)
{
    f->lacking_n += ingress->published_n == 0;
    for (uint32_t i = 0; i < ingress->published_n; i++) {
        const struct published_address *p = &ingress->published[i];
        list_add(&f->addresses, p->ip.n > 0 ? p->ip : p->hostname);
    }
}

struct class_search {
    struct status_facts *facts;
    const struct compile_options *options;
};

static void note_class(void *arg, const struct object *o)
{
    const struct class_search *s = arg;
    const struct ingress_class *class = (const struct ingress_class *)(const void *)o;
    if (str_eq(class->controller, s->options->controller) ||
        (s->options->is_class_by_name && str_eq(o->name, s->options->ingress_class))) {
        list_add(&s->facts->classes, o->name);
    }
}

static void count_diags(struct status_facts *f)
{
    for (size_t i = 0; i < diag_list_n(f->diags); i++) {
        bool is_error = diag_list_get(f->diags, i)->severity == DIAG_ERROR;
        f->errors += is_error;
        f->warnings += !is_error;
    }
}

enum err status_facts_fill(struct status_facts *f, const struct offline *o)
{
    struct class_search classes = {f, &o->options};
    size_t names;
    *f = (struct status_facts){0};
    buf_init(&f->classes, TEXT_BYTES_MAX);
    buf_init(&f->addresses, TEXT_BYTES_MAX);
    buf_init(&f->leader, TEXT_BYTES_MAX);
    TRY(served_ingresses(o, &f->ingresses, &f->ours_n));
    f->others_n = store_n(o->store, OBJECT_INGRESS) - f->ours_n;
    for (size_t i = 0; i < f->ours_n; i++) {
        note_ingress(f, f->ingresses[i]);
    }
    store_each(o->store, OBJECT_INGRESS_CLASS, note_class, &classes);
    count_hosts(f, offline_snapshot(o));
    TRY(count_services(f, o));
    TRY(offline_diagnostics(o, &f->diags, &names));
    count_diags(f);
    return E_OK;
}

void status_facts_fini(struct status_facts *f)
{
    mem_free(f->ingresses);
    diag_list_free(f->diags);
    buf_fini(&f->classes);
    buf_fini(&f->addresses);
    buf_fini(&f->leader);
    *f = (struct status_facts){0};
}

/* ---- the cluster ---- */

static enum err take_lease(void *arg, const struct kube_entry *entry)
{
    struct status_facts *f = arg;
    const struct tree_node *spec = tree_get(entry->object, STR("spec"));
    if (entry->object != NULL) {
        buf_add_str(&f->leader, tree_get_string(spec, STR("holderIdentity")));
    }
    return E_OK;
}

static bool is_ready(const struct tree_node *pod)
{
    const struct tree_node *conditions = tree_get(tree_get(pod, STR("status")), STR("conditions"));
    for (uint32_t i = 0;
         conditions != NULL && conditions->kind == TREE_SEQUENCE && i < conditions->n; i++) {
        const struct tree_node *c = tree_item(conditions, i);
        if (str_eq(tree_get_string(c, STR("type")), STR("Ready"))) {
            return str_eq(tree_get_string(c, STR("status")), STR("True"));
        }
    }
    return false;
}

static enum err take_pod(void *arg, const struct kube_entry *entry)
{
    struct status_facts *f = arg;
    if (entry->kind == KUBE_ENTRY_OBJECT && entry->object != NULL) {
        f->pod_n++;
        f->pod_ready_n += is_ready(entry->object);
    }
    return E_OK;
}

static struct status_read ask(struct status_facts *f, const struct offline *o, enum kube_body body,
                              kube_entry_fn *fn, struct wr *path)
{
    if (path->bad) {
        return (struct status_read){.error = E_LIMIT};
    }
    struct cluster_answer a = cluster_get(o, body, str_make(path->start, wr_n(path)), fn, f);
    return (struct status_read){a.error, a.status};
}

void status_facts_ask(struct status_facts *f, const struct offline *o, struct str namespace_name,
                      struct str lease)
{
    char text[PATH_BYTES];
    struct wr path = wr_make(text, sizeof(text));
    wr_str(&path, STR("/apis/coordination.k8s.io/v1/namespaces/"));
    wr_str(&path, namespace_name);
    wr_str(&path, STR("/leases/"));
    wr_str(&path, lease);
    f->lease = ask(f, o, KUBE_BODY_OBJECT, take_lease, &path);
    path = wr_make(text, sizeof(text));
    wr_str(&path, STR("/api/v1/namespaces/"));
    wr_str(&path, namespace_name);
    wr_str(&path, STR("/pods?labelSelector=app.kubernetes.io%2Fname%3Dlintel&limit=500"));
    f->pods = ask(f, o, KUBE_BODY_LIST, take_pod, &path);
}
