/* Looks for the addresses, one step after the other; what is found is settled at the end, whole. */
#include "status/address.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/vec.h"
#include "log/log.h"
#include "model/decode.h"
#include "status/text.h"

enum {
    NODE_NAME_BYTES_MAX = 253,
    NODE_ADDRESSES_MAX = 4, /* of one kind: two families, and room */
    TEXTS_BYTES_MAX = 256 * 1024,
    PATH_BYTES_MAX = 1024,
    STATUS_NOT_FOUND = 404
};

struct node {
    char name_text[NODE_NAME_BYTES_MAX];
    uint8_t name_n;
    uint8_t address_n;
    struct ip addresses[NODE_ADDRESSES_MAX];
    bool is_wanted; /* by the look under way */
    bool is_known;
    usec_t asked_at;
};

/* Addresses with their texts. */
struct found {
    struct arena texts;
    struct published_address items[STATUS_ADDRESSES_MAX];
    uint32_t n;
    uint64_t dropped;
    bool has_failed; /* no memory */
};

struct address {
    struct address_options options;
    struct peers peers;
    struct inquiry ask; /* the Service, or one node after the other */
    struct buf path;
    struct timer refresh;
    struct node *nodes; /* sorted by name between looks */
    size_t node_n, node_cap;
    size_t node_at; /* the one asked for */
    struct found *present, *next;
    bool is_on, is_known, has_complained;
    usec_t pause; /* after the next failure; 0: the shortest */
    usec_t rest;  /* before the last look; 0: there was none */
    struct address_counters counters;
};

static void on_refresh(struct timer *t);

/* ---- what was found ---- */

static void found_reset(struct found *f)
{
    arena_fini(&f->texts);
    arena_init(&f->texts, TEXTS_BYTES_MAX);
    f->n = 0;
    f->dropped = 0;
    f->has_failed = false;
}

static void found_add(struct found *f, struct str ip, struct str hostname)
{
    struct published_address item;
    if (ip.n == 0 && hostname.n == 0) {
        return;
    }
    if (f->n == STATUS_ADDRESSES_MAX) {
        f->dropped++;
        return;
    }
    if (!arena_str(&f->texts, ip, &item.ip) || !arena_str(&f->texts, hostname, &item.hostname)) {
        f->has_failed = true;
        return;
    }
    f->items[f->n++] = item;
}

static void found_add_text(struct found *f, struct str text)
{
    struct ip ip;
    bool is_ip = ip_parse(text, &ip) == E_OK;
    found_add(f, is_ip ? text : STR_EMPTY, is_ip ? STR_EMPTY : text);
}

static int item_cmp(const void *a, const void *b)
{
    const struct published_address *x = a, *y = b;
    int order = str_cmp(x->ip, y->ip);
    return order != 0 ? order : str_cmp(x->hostname, y->hostname);
}

static void found_sort(struct found *f)
{
    uint32_t n = 0;
    qsort(f->items, f->n, sizeof(f->items[0]), item_cmp);
    for (uint32_t i = 0; i < f->n; i++) {
        if (n == 0 || item_cmp(&f->items[n - 1], &f->items[i]) != 0) {
            f->items[n++] = f->items[i];
        }
    }
    f->n = n;
}

static bool is_equal(const struct found *a, const struct found *b)
{
    bool is_same = a->n == b->n;
    for (uint32_t i = 0; is_same && i < a->n; i++) {
        is_same = item_cmp(&a->items[i], &b->items[i]) == 0;
    }
    return is_same;
}

/* ---- the end of a look ---- */

static void fail(struct address *a, const char *what, const struct kube_result *result)
{
    a->counters.failures++;
    a->pause = a->pause == 0 ? STATUS_RETRY_MIN : a->pause * 2;
    a->pause = a->pause > STATUS_RETRY_MAX ? STATUS_RETRY_MAX : a->pause;
    usec_t wait = text_jitter(a->pause);
    wait = result->retry_after > wait ? result->retry_after : wait;
    loop_arm(a->options.loop, &a->refresh, wait, on_refresh);
    if (!a->has_complained) {
        a->has_complained = true;
        log_line(LOG_WARN,
                 "the addresses for the status of Ingresses are not known: %s; trying again "
                 "status=%u error=\"%s\" message=\"%.*s\"",
                 what, result->status, err_text(result->error), STR_ARG(result->message));
    }
}

static void settle(struct address *a)
{
    if (a->next->has_failed) {
        fail(a, "out of memory", &(struct kube_result){.error = E_NOMEM});
        return;
    }
    found_sort(a->next);
    a->counters.dropped = a->next->dropped;
    a->has_complained = false;
    a->pause = 0;
    bool is_same = a->is_known && is_equal(a->present, a->next);
    /* Where something has just changed, Pods that are not ready yet may follow. */
    a->rest = a->rest == 0 || !is_same ? STATUS_REFRESH_MIN : 2 * a->rest;
    a->rest = a->rest > STATUS_REFRESH ? STATUS_REFRESH : a->rest;
    loop_arm(a->options.loop, &a->refresh, text_jitter(a->rest), on_refresh);
    if (is_same) {
        return;
    }
    struct found *before = a->present;
    a->present = a->next;
    a->next = before;
    a->is_known = true;
    a->options.on_change(a->options.arg);
}

static void begin(struct address *a)
{
    a->counters.looks++;
    found_reset(a->next);
}

/* ---- as given ---- */

static void look_at_given(struct address *a)
{
    struct str rest = a->options.publish_status_address, item;
    bool has_more = true;
    while (has_more) {
        has_more = str_cut(rest, ',', &item, &rest);
        found_add_text(a->next, str_trim(item));
    }
    settle(a);
}

/* ---- of a Service ---- */

static void add_balancers(struct found *f, const struct service *s)
{
    for (uint32_t i = 0; i < s->balancer_n; i++) {
        found_add(f, s->balancers[i].ip, s->balancers[i].hostname);
    }
}

/* A load balancer that is still being made has no address; the cluster's own would be of no use
 * outside. */
static void add_service(struct found *f, const struct service *s)
{
    if (s->type == SERVICE_EXTERNAL_NAME) {
        found_add(f, STR_EMPTY, s->external_name);
        return;
    }
    if (s->type == SERVICE_LOAD_BALANCER) {
        add_balancers(f, s);
    }
    for (uint32_t i = 0; i < s->external_ip_n; i++) {
        found_add(f, s->external_ips[i], STR_EMPTY);
    }
    bool has_cluster_ip = s->cluster_ip.n > 0 && !str_eq(s->cluster_ip, STR("None"));
    if (f->n == 0 && s->type != SERVICE_LOAD_BALANCER && has_cluster_ip) {
        found_add(f, s->cluster_ip, STR_EMPTY);
    }
}

static void on_diag(void *arg, const struct diag *d)
{
    (void)arg;
    (void)d; /* the source tells of bad objects */
}

static void on_service(struct inquiry *ask, const struct kube_result *result,
                       const struct tree_node *root)
{
    struct address *a = container_of(ask, struct address, ask);
    const struct decode_source source = {.on_diag = on_diag};
    struct object *o = NULL;
    if (root == NULL) {
        fail(a, "the Service of --publish-service cannot be read", result);
        return;
    }
    enum err e = decode_object(decode_kind_find(STR("v1"), STR("Service")), root, &source, &o);
    if (o == NULL) {
        fail(a, "the Service of --publish-service makes no sense",
             &(struct kube_result){.error = e == E_OK ? E_PROTO : e});
        return;
    }
    add_service(a->next, (const struct service *)(const void *)o);
    object_free(o);
    settle(a);
}

static void inquiry_for(struct address *a, const char *what, inquiry_fn *on_answer)
{
    const struct kube_request request = {.method = KUBE_GET, .path = buf_str(&a->path)};
    enum err e = a->path.bad ? E_NOMEM : inquiry_start(&a->ask, &request, on_answer);
    if (e != E_OK) {
        fail(a, what, &(struct kube_result){.error = e});
    }
}

static void look_at_service(struct address *a)
{
    const struct address_options *o = &a->options;
    const struct object *service =
        store_get(o->store, OBJECT_SERVICE, o->publish_service_namespace, o->publish_service);
    if (service != NULL) {
        add_service(a->next, (const struct service *)(const void *)service);
        settle(a);
        return;
    }
    buf_reset(&a->path);
    buf_add_str(&a->path, STR("/api/v1/namespaces/"));
    text_add_escaped(&a->path, o->publish_service_namespace);
    buf_add_str(&a->path, STR("/services/"));
    text_add_escaped(&a->path, o->publish_service);
    inquiry_for(a, "the Service of --publish-service cannot be asked for", on_service);
}

/* ---- of nodes ---- */

static struct node *node_find(struct address *a, struct str name)
{
    for (size_t i = 0; i < a->node_n; i++) {
        if (str_eq(str_make(a->nodes[i].name_text, a->nodes[i].name_n), name)) {
            return &a->nodes[i];
        }
    }
    return NULL;
}

static void node_want(struct address *a, struct str name)
{
    struct node *node = node_find(a, name);
    if (node != NULL) {
        node->is_wanted = true;
        return;
    }
    enum err e = VEC_ROOM(a->nodes, a->node_n, a->node_cap, STATUS_NODES_MAX);
    if (e == E_NOMEM) {
        a->next->has_failed = true;
    }
    if (e != E_OK || name.n > NODE_NAME_BYTES_MAX) {
        a->next->dropped++;
        return;
    }
    node = &a->nodes[a->node_n++];
    *node = (struct node){.name_n = (uint8_t)name.n, .is_wanted = true};
    mem_copy(node->name_text, name.p, name.n);
}

static void on_pod(void *arg, const struct tree_node *pod)
{
    struct address *a = arg;
    struct str node = tree_get_string(tree_get(pod, STR("spec")), STR("nodeName"));
    if (node.n > 0 && peers_is_serving(pod)) {
        node_want(a, node);
    }
}

static int node_cmp(const void *a, const void *b)
{
    const struct node *x = a, *y = b;
    return str_cmp(str_make(x->name_text, x->name_n), str_make(y->name_text, y->name_n));
}

static void nodes_drop_unwanted(struct address *a)
{
    size_t n = 0;
    for (size_t i = 0; i < a->node_n; i++) {
        if (a->nodes[i].is_wanted) {
            a->nodes[n++] = a->nodes[i];
        }
    }
    a->node_n = n;
    if (n > 0) {
        qsort(a->nodes, n, sizeof(a->nodes[0]), node_cmp);
    }
}

static void node_take(struct node *node, const struct tree_node *list, struct str type)
{
    node->address_n = 0;
    for (uint32_t i = 0; list != NULL && list->kind == TREE_SEQUENCE && i < list->n; i++) {
        const struct tree_node *item = tree_item(list, i);
        struct ip ip;
        if (str_eq(tree_get_string(item, STR("type")), type) &&
            node->address_n < NODE_ADDRESSES_MAX &&
            ip_parse(tree_get_string(item, STR("address")), &ip) == E_OK) {
            node->addresses[node->address_n++] = ip;
        }
    }
}

static void settle_nodes(struct address *a)
{
    for (size_t i = 0; i < a->node_n; i++) {
        for (uint8_t k = 0; k < a->nodes[i].address_n; k++) {
            char text[IP_TEXT_MAX];
            struct wr w = wr_make(text, sizeof(text));
            ip_emit(&w, &a->nodes[i].addresses[k]);
            found_add(a->next, str_make(text, wr_n(&w)), STR_EMPTY);
        }
    }
    settle(a);
}

static void next_node(struct address *a);

static void on_node(struct inquiry *ask, const struct kube_result *result,
                    const struct tree_node *root)
{
    struct address *a = container_of(ask, struct address, ask);
    struct node *node = &a->nodes[a->node_at];
    if (root != NULL) {
        const struct tree_node *list = tree_get(tree_get(root, STR("status")), STR("addresses"));
        node->address_n = 0;
        if (!a->options.reports_internal_ip) {
            node_take(node, list, STR("ExternalIP"));
        }
        if (node->address_n == 0) {
            node_take(node, list, STR("InternalIP"));
        }
    } else if (result->status == STATUS_NOT_FOUND) {
        node->address_n = 0;
    } else if (!node->is_known) {
        fail(a, "a node cannot be read", result);
        return;
    }
    node->is_known = true;
    node->asked_at = loop_now(a->options.loop);
    a->node_at++;
    next_node(a);
}

/* Asks for the first node from node_at on whose addresses are not known, or were long ago. */
static void next_node(struct address *a)
{
    for (; a->node_at < a->node_n; a->node_at++) {
        const struct node *node = &a->nodes[a->node_at];
        usec_t age = loop_now(a->options.loop) - node->asked_at;
        if (!node->is_known || age >= STATUS_NODE_REFRESH) {
            buf_reset(&a->path);
            buf_add_str(&a->path, STR("/api/v1/nodes/"));
            text_add_escaped(&a->path, str_make(node->name_text, node->name_n));
            inquiry_for(a, "a node cannot be asked for", on_node);
            return;
        }
    }
    settle_nodes(a);
}

static void on_pods(void *arg, const struct kube_result *result)
{
    struct address *a = arg;
    if (!kube_result_is_ok(result)) {
        fail(a, "our pods cannot be read", result);
        return;
    }
    nodes_drop_unwanted(a);
    a->node_at = 0;
    next_node(a);
}

static void look_at_pods(struct address *a)
{
    for (size_t i = 0; i < a->node_n; i++) {
        a->nodes[i].is_wanted = false;
    }
    enum err e = peers_look(&a->peers, on_pod, on_pods, a);
    if (e != E_OK) {
        fail(a, "our pods cannot be asked for", &(struct kube_result){.error = e});
    }
}

/* ---- a look ---- */

static void look(struct address *a)
{
    begin(a);
    if (a->options.publish_status_address.n > 0) {
        look_at_given(a);
    } else if (a->options.publish_service.n > 0) {
        look_at_service(a);
    } else if (a->options.pod.n > 0 && a->options.pod_namespace.n > 0) {
        look_at_pods(a);
    } else if (!a->has_complained) {
        a->has_complained = true;
        log_line(LOG_WARN, "the status of Ingresses is not written: give --publish-service or "
                           "--publish-status-address, or set POD_NAME and POD_NAMESPACE");
    }
}

static void on_refresh(struct timer *t)
{
    look(container_of(t, struct address, refresh));
}

static void stop(struct address *a)
{
    loop_disarm(a->options.loop, &a->refresh);
    inquiry_cancel(&a->ask);
    inquiry_cancel(&a->peers.ask);
}

void address_switch(struct address *a, bool is_on)
{
    stop(a);
    a->is_on = is_on;
    a->rest = 0;
    if (is_on) {
        loop_arm(a->options.loop, &a->refresh, 0, on_refresh);
    }
}

void address_on_service(struct address *a, const struct service *service)
{
    const struct address_options *o = &a->options;
    bool is_ours = service != NULL && o->publish_status_address.n == 0 &&
                   str_eq(service->object.name, o->publish_service) &&
                   str_eq(service->object.namespace_name, o->publish_service_namespace);
    if (a->is_on && is_ours) {
        stop(a);
        begin(a);
        add_service(a->next, service);
        settle(a);
    }
}

struct address_list address_get(const struct address *a)
{
    return (struct address_list){a->present->items, a->present->n, a->is_known};
}

const struct address_counters *address_counters(const struct address *a)
{
    return &a->counters;
}

/* ---- life ---- */

enum err address_open(const struct address_options *options, struct address **ret)
{
    struct address *a = mem_calloc(1, sizeof(*a));
    if (a == NULL) {
        return E_NOMEM;
    }
    a->options = *options;
    peers_init(&a->peers, options->client, options->pod_namespace, options->pod);
    inquiry_init(&a->ask, options->client);
    buf_init(&a->path, PATH_BYTES_MAX);
    a->present = mem_calloc(1, sizeof(*a->present));
    a->next = mem_calloc(1, sizeof(*a->next));
    if (a->present == NULL || a->next == NULL) {
        address_close(a);
        return E_NOMEM;
    }
    *ret = a;
    return E_OK;
}

static void found_free(struct found *f)
{
    if (f != NULL) {
        arena_fini(&f->texts);
        mem_free(f);
    }
}

void address_close(struct address *a)
{
    if (a == NULL) {
        return;
    }
    loop_disarm(a->options.loop, &a->refresh);
    peers_fini(&a->peers);
    inquiry_fini(&a->ask);
    buf_fini(&a->path);
    mem_free(a->nodes);
    found_free(a->present);
    found_free(a->next);
    mem_free(a);
}
