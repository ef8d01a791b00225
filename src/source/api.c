/* The rows of what is followed, and what follows from them as a whole: is everything there, is the
 * server in contact, which namespaces are selected, which zone we are in. */
#include "source/api_priv.h"

#include "base/limits.h"
#include "base/mem.h"
#include "log/log.h"

/* In the order in which they are begun. */
static const struct resource resources[API_RESOURCES_N] = {
    [API_NAMESPACES] = {"namespaces",                      "/api/v1",                         STR_INIT("v1"),             STR_INIT("Namespace"),
                        OBJECT_NAMESPACE,                                                                                                                                                  .is_cluster_scoped = true, .is_needed = true},
    [API_INGRESS_CLASSES] = {"ingressclasses",                "/apis/networking.k8s.io/v1",
                        STR_INIT("networking.k8s.io/v1"),                                                            STR_INIT("IngressClass"),
                        OBJECT_INGRESS_CLASS,                                                                                                                                  .is_cluster_scoped = true, .is_needed = true},
    [API_INGRESSES] = {"ingresses",              "/apis/networking.k8s.io/v1",                      STR_INIT("networking.k8s.io/v1"),
                        STR_INIT("Ingress"),                                                                                                          OBJECT_INGRESS,.is_needed = true},
    [API_SERVICES] = {"services", "/api/v1",                                                  STR_INIT("v1"),                                                              STR_INIT("Service"),               OBJECT_SERVICE,
                        .is_needed = true},
    [API_ENDPOINT_SLICES] = {"endpointslices",                        "/apis/discovery.k8s.io/v1",
                        STR_INIT("discovery.k8s.io/v1"),STR_INIT("EndpointSlice"),
                        OBJECT_ENDPOINT_SLICE,                                                                                                                                                 .is_needed = true},
    [API_CONFIG_MAPS] = {"configmaps",                  "/api/v1", STR_INIT("v1"),                                                                  STR_INIT("ConfigMap"),
                        OBJECT_CONFIG_MAP                                                                                                                                            },
    [API_SECRETS] = {"secrets",                                 "/api/v1",                                                       STR_INIT("v1"),                                                       STR_INIT("Secret"),                                                                                                                    OBJECT_SECRET               },
};

struct str api_path(const struct resource *resource, struct str namespace_name, struct str name,
                    char ret[API_PATH_MAX])
{
    struct wr w = wr_make(ret, API_PATH_MAX);
    wr_str(&w, str_from_cstr(resource->group));
    if (namespace_name.n > 0) {
        wr_str(&w, STR("/namespaces/"));
        wr_str(&w, namespace_name);
    }
    wr_char(&w, '/');
    wr_str(&w, str_from_cstr(resource->plural));
    if (name.n > 0) {
        wr_char(&w, '/');
        wr_str(&w, name);
    }
    must(!w.bad); /* names have 253 bytes at most */
    return str_make(ret, wr_n(&w));
}

/* ---- is everything there ---- */

static bool feed_is_settled(const struct feed *f)
{
    return f->row == NULL || f->is_synced || f->is_forgone;
}

bool api_is_synced(const struct api *a)
{
    for (size_t i = 0; i < API_SECRETS; i++) {
        const struct row *row = &a->rows[i];
        bool is_awaited = row->resource->is_needed && (row->feed_n > 0 || i != API_NAMESPACES);
        if (is_awaited && (row->feed_n == 0 || !feed_is_settled(&a->feeds[i]))) {
            return false;
        }
    }
    return true;
}

bool api_are_classes_hidden(const struct api *a)
{
    return a->feeds[API_INGRESS_CLASSES].is_forgone;
}

static void on_batch(struct deferred *d)
{
    struct api *a = container_of(d, struct api, batch);
    if (a->options.on_batch != NULL && api_is_synced(a)) {
        a->options.on_batch(a->options.arg);
    }
}

void api_changed(struct api *a)
{
    loop_defer(a->loop, &a->batch, on_batch);
}

void api_tell(struct api *a, const struct diag *d)
{
    if (a->options.on_diag != NULL) {
        a->options.on_diag(a->options.arg, d);
    }
}

/* ---- namespaces ---- */

struct store *api_store_for(const struct api *a, const struct resource *resource,
                            struct str namespace_name)
{
    bool is_free = resource->is_cluster_scoped || !resource->is_needed;
    if (a->shelf == NULL || is_free ||
        store_get(a->store, OBJECT_NAMESPACE, STR_EMPTY, namespace_name) != NULL) {
        return a->store;
    }
    return a->shelf;
}

void api_namespace_changed(struct api *a, struct str name, bool is_selected)
{
    struct store *from = is_selected ? a->shelf : a->store;
    struct store *to = is_selected ? a->store : a->shelf;
    for (size_t i = API_INGRESSES; i <= API_ENDPOINT_SLICES && a->shelf != NULL; i++) {
        feed_move(&a->feeds[i], name, from, to);
    }
}

/* ---- health ---- */

static bool is_sick(const struct row *row)
{
    return row->resource->is_needed && row->sick_n > 0;
}

const char *api_trouble(const struct api *a)
{
    for (size_t i = 0; i < API_RESOURCES_N; i++) {
        if (is_sick(&a->rows[i])) {
            return a->rows[i].why;
        }
    }
    return NULL;
}

static void on_away(struct timer *t)
{
    struct api *a = container_of(t, struct api, away);
    const char *why = api_trouble(a);
    if (why == NULL) {
        return;
    }
    a->is_away_told = true;
    log_line(LOG_WARN,
             "the API server has not been in contact for %llu minutes; the last good configuration "
             "goes on being served why=\"%s\"",
             (unsigned long long)(API_AWAY_TOLD / (60 * USEC_PER_SEC)), why);
}

static void away_check(struct api *a)
{
    if (api_trouble(a) == NULL) {
        loop_disarm(a->loop, &a->away);
        if (a->is_away_told) {
            log_line(LOG_INFO, "the API server is back in contact");
        }
        a->is_away_told = false;
    } else if (!a->is_away_told && !list_is_linked(&a->away.link)) {
        loop_arm(a->loop, &a->away, API_AWAY_TOLD, on_away);
    }
}

static void row_sicken(struct row *row, struct str why)
{
    struct wr w = wr_make(row->why, API_WHY_MAX);
    wr_str(&w, str_first(why, API_WHY_MAX));
    row->why[wr_n(&w)] = 0;
    if (row->sick_n++ == 0) {
        row->lost_at = loop_now(row->api->loop);
        log_line(LOG_WARN, "the API server does not give what is needed; trying again why=\"%s\"",
                 row->why);
    }
}

static void row_recover(struct row *row)
{
    if (--row->sick_n == 0) {
        row->why[0] = 0;
        log_line(LOG_INFO, "the API server gives it again resource=%s", row->resource->plural);
    }
}

/* A Role cannot allow them. Once they were there, their loss is a trouble like any other. */
static bool is_forgivable(const struct feed *f)
{
    const struct api *a = f->row->api;
    return f == &a->feeds[API_INGRESS_CLASSES] && a->options.namespace_name.n > 0 &&
           !f->is_synced && kube_reflector_status(f->reflector) == 403;
}

static void feed_forgo(struct api *a, struct feed *f, struct str why)
{
    if (!f->is_forgone) {
        log_line(LOG_INFO,
                 "IngressClasses may not be read; an ingressClassName is ours when it is the "
                 "name that --ingress-class says why=\"%.*s\"",
                 STR_ARG(why));
    }
    f->is_forgone = true;
    api_changed(a);
}

/* Only then is it known that nothing more will be known. While the server is away, or cannot read
 * its own Secrets, they are neither missing nor there. */
static bool is_refused(const struct feed *f)
{
    uint32_t status = kube_reflector_status(f->reflector);
    return status == 401 || status == 403;
}

void api_feed_health(struct api *a, struct feed *f, bool is_ok, struct str why)
{
    if (!is_ok && is_forgivable(f)) {
        feed_forgo(a, f, why);
        is_ok = true;
    }
    if (!is_ok && f->row == &a->rows[API_SECRETS] && is_refused(f)) {
        api_secret_answered(f);
    }
    if (!is_ok && !f->is_sick) {
        row_sicken(f->row, why);
    } else if (is_ok && f->is_sick) {
        row_recover(f->row);
    }
    f->is_sick = !is_ok;
    away_check(a);
}

/* ---- our node ---- */

static void node_read(struct api *a);

static void on_node_again(struct timer *t)
{
    struct node_reading *n = container_of(t, struct node_reading, again);
    node_read(container_of(n, struct api, node));
}

static void on_node_diag(void *arg, const struct diag *d)
{
    api_tell(arg, d);
}

static void on_node(struct fetch *fetch, const struct tree_node *object)
{
    struct node_reading *n = container_of(fetch, struct node_reading, fetch);
    struct api *a = container_of(n, struct api, node);
    const struct decode_source source = {.file = STR_EMPTY, .on_diag = on_node_diag, .arg = a};
    struct object *o = NULL;
    enum err e = decode_object(decode_kind_find(STR("v1"), STR("Node")), object, &source, &o);
    if (e == E_OK && o != NULL) {
        e = store_put(a->store, o);
    }
    if (e != E_OK) {
        loop_arm(a->loop, &n->again, API_NODE_AGAIN, on_node_again);
    }
    api_changed(a);
}

static void on_node_done(struct fetch *fetch, enum fetch_result result, struct str why)
{
    struct node_reading *n = container_of(fetch, struct node_reading, fetch);
    struct api *a = container_of(n, struct api, node);
    switch (result) {
    case FETCH_FOUND:
        return;
    case FETCH_FAILED:
        loop_arm(a->loop, &n->again, API_NODE_AGAIN, on_node_again);
        return;
    case FETCH_MISSING:
    case FETCH_REFUSED:
        log_line(a->options.namespace_name.n > 0 ? LOG_INFO : LOG_WARN, /* a Role cannot allow it */
                 "our Node cannot be read, so its zone is unknown; hints of EndpointSlices for "
                 "zones are not used node=%.*s why=\"%.*s\"",
                 STR_ARG(a->options.node_name), STR_ARG(why));
        return;
    }
}

static void node_read(struct api *a)
{
    static const struct resource nodes = {.plural = "nodes", .group = "/api/v1"};
    char path[API_PATH_MAX];
    struct str at = api_path(&nodes, STR_EMPTY, a->options.node_name, path);
    if (fetch_start(&a->node.fetch, a->options.client, at) != E_OK) {
        loop_arm(a->loop, &a->node.again, API_NODE_AGAIN, on_node_again);
    }
}

/* ---- life ---- */

static void begin(struct api *a, enum api_resource resource)
{
    const struct api_options *o = &a->options;
    bool is_cluster_scoped = resources[resource].is_cluster_scoped;
    feed_init(&a->feeds[resource], &a->rows[resource],
              is_cluster_scoped ? STR_EMPTY : o->namespace_name, STR_EMPTY);
    feed_open(&a->feeds[resource]);
}

static void begin_routes(struct api *a)
{
    for (size_t i = API_INGRESS_CLASSES; i <= API_ENDPOINT_SLICES; i++) {
        begin(a, (enum api_resource)i);
    }
}

void api_feed_synced(struct api *a, struct feed *f)
{
    bool is_first = !f->is_synced;
    f->is_synced = true;
    if (f->row == &a->rows[API_SECRETS]) {
        api_secret_answered(f);
    }
    f->is_forgone = false;
    /* Once it is known which namespaces count, so that few objects go to the wrong place. */
    if (is_first && f == &a->feeds[API_NAMESPACES]) {
        begin_routes(a);
    }
}

static void begin_all(struct api *a)
{
    const struct api_options *o = &a->options;
    if (o->node_name.n > 0) {
        node_read(a);
    }
    if (o->config_map.n > 0) {
        struct feed *f = &a->feeds[API_CONFIG_MAPS];
        feed_init(f, &a->rows[API_CONFIG_MAPS], o->config_map_namespace, o->config_map);
        feed_open(f);
    }
    if (o->namespace_selector.n > 0) {
        begin(a, API_NAMESPACES);
    } else {
        begin_routes(a);
    }
}

static void init(struct api *a, struct loop *loop, struct store *store,
                 const struct api_options *options)
{
    a->loop = loop;
    a->store = store;
    a->options = *options;
    if (a->options.secret_watches_max == 0) {
        a->options.secret_watches_max = KUBE_SECRET_WATCHES_MAX;
    }
    if (a->options.secret_poll_every == 0) {
        a->options.secret_poll_every = SECRET_POLL_EVERY;
    }
    a->node.fetch.on_object = on_node;
    a->node.fetch.on_done = on_node_done;
    for (size_t i = 0; i < API_RESOURCES_N; i++) {
        struct row *row = &a->rows[i];
        row->api = a;
        row->resource = &resources[i];
        row->kind = decode_kind_find(resources[i].api_version, resources[i].kind);
        must(row->kind != NULL);
        list_init(&row->feeds);
    }
    secrets_init(a);
}

enum err api_open(struct loop *loop, struct store *store, const struct api_options *options,
                  struct api **ret)
{
    struct api *a = mem_calloc(1, sizeof(*a));
    if (a == NULL) {
        return E_NOMEM;
    }
    init(a, loop, store, options);
    if (options->namespace_selector.n > 0 && store_new(&a->shelf) != E_OK) {
        mem_free(a);
        return E_NOMEM;
    }
    begin_all(a);
    *ret = a;
    return E_OK;
}

void api_close(struct api *a)
{
    if (a == NULL) {
        return;
    }
    secrets_fini(a);
    for (size_t i = 0; i < API_SECRETS; i++) {
        feed_fini(&a->feeds[i], false);
    }
    fetch_cancel(&a->node.fetch);
    loop_disarm(a->loop, &a->node.again);
    loop_disarm(a->loop, &a->away);
    loop_undefer(&a->batch);
    store_free(a->shelf);
    mem_free(a);
}

/* ---- questions ---- */

static void feed_each_diag(const struct feed *f, diag_fn *fn, void *arg)
{
    for (const struct list *it = f->troubled.next; it != &f->troubled; it = it->next) {
        const struct record *r =
            (const void *)((const char *)it - offsetof(struct record, in_troubled));
        for (size_t i = 0; i < diag_list_n(r->diags); i++) {
            fn(arg, diag_list_get(r->diags, i));
        }
    }
}

void api_each_diag(const struct api *a, diag_fn *fn, void *arg)
{
    for (size_t i = 0; i < API_RESOURCES_N; i++) {
        const struct list *feeds = &a->rows[i].feeds;
        for (const struct list *it = feeds->next; it != feeds; it = it->next) {
            feed_each_diag((const void *)((const char *)it - offsetof(struct feed, in_row)), fn,
                           arg);
        }
    }
}

void api_figures(const struct api *a, enum api_resource resource, struct api_figures *ret)
{
    const struct row *row = &a->rows[resource];
    struct kube_reflector_counters sum = row->closed;
    *ret = (struct api_figures){.resource = row->resource->plural,
                                .is_followed = row->feed_n > 0,
                                .is_healthy = row->feed_n > 0 && row->sick_n == 0};
    for (const struct list *it = row->feeds.next; it != &row->feeds; it = it->next) {
        const struct feed *f = (const void *)((const char *)it - offsetof(struct feed, in_row));
        ret->objects += f->records.n;
        feed_counters(f, &sum);
    }
    ret->lists = sum.lists;
    ret->watches = sum.watches;
    ret->relists = sum.relists_expired + sum.relists_back;
    ret->failures = sum.failures;
    ret->silence = row->sick_n > 0 ? loop_now(a->loop) - row->lost_at : 0;
}
