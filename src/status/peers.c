/* Our own pod, then the pods with its labels. Source: core/v1 Pod. */
#include "status/peers.h"

#include "base/limits.h"
#include "status/text.h"

enum { PATH_BYTES_MAX = 16 * 1024, SELECTOR_BYTES_MAX = 8 * 1024 };

/* ---- what a pod is ---- */

static struct str phase_of(const struct tree_node *pod)
{
    return tree_get_string(tree_get(pod, STR("status")), STR("phase"));
}

static bool is_being_deleted(const struct tree_node *pod)
{
    return tree_get(tree_get(pod, STR("metadata")), STR("deletionTimestamp")) != NULL;
}

static bool is_ready(const struct tree_node *pod)
{
    const struct tree_node *list = tree_get(tree_get(pod, STR("status")), STR("conditions"));
    for (uint32_t i = 0; list != NULL && list->kind == TREE_SEQUENCE && i < list->n; i++) {
        const struct tree_node *condition = tree_item(list, i);
        if (str_eq(tree_get_string(condition, STR("type")), STR("Ready"))) {
            return str_eq(tree_get_string(condition, STR("status")), STR("True"));
        }
    }
    return false;
}

bool peers_is_serving(const struct tree_node *pod)
{
    return str_eq(phase_of(pod), STR("Running")) && is_ready(pod) && !is_being_deleted(pod);
}

bool peers_is_coming(const struct tree_node *pod)
{
    struct str phase = phase_of(pod);
    bool is_there = str_eq(phase, STR("Running")) || str_eq(phase, STR("Pending"));
    return is_there && !is_being_deleted(pod);
}

/* ---- the selector ---- */

/* Set by the controllers of Deployments, DaemonSets and StatefulSets for each rollout or pod, and
 * by the API server when a pod is bound to its node. */
static bool is_passing(struct str label)
{
    static const struct str passing[] = {
        STR_INIT("pod-template-hash"),       STR_INIT("controller-revision-hash"),
        STR_INIT("pod-template-generation"), STR_INIT("statefulset.kubernetes.io/"),
        STR_INIT("apps.kubernetes.io/"),     STR_INIT("topology.kubernetes.io/")};
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        bool is_domain = str_has_suffix(passing[i], STR("/"));
        if (is_domain ? str_has_prefix(label, passing[i]) : str_eq(label, passing[i])) {
            return true;
        }
    }
    return false;
}

static void add_requirement(struct buf *out, struct str label, struct str value)
{
    text_add_escaped(out, out->n == 0 ? STR_EMPTY : STR(","));
    text_add_escaped(out, label);
    text_add_escaped(out, STR("="));
    text_add_escaped(out, value);
}

/* The query parameter that selects our peers: by name, and just us, when our pod has no labels. */
static void write_selector(struct peers *p, const struct tree_node *pod)
{
    const struct tree_node *labels = tree_get(tree_get(pod, STR("metadata")), STR("labels"));
    struct buf list;
    buf_init(&list, SELECTOR_BYTES_MAX);
    for (uint32_t i = 0; labels != NULL && labels->kind == TREE_MAPPING && i < labels->n; i++) {
        struct str label = tree_text(tree_key(labels, i));
        if (!is_passing(label)) {
            add_requirement(&list, label, tree_get_string(labels, label));
        }
    }
    buf_reset(&p->selector);
    if (list.n > 0) {
        buf_add_str(&p->selector, STR("labelSelector="));
        buf_add_str(&p->selector, buf_str(&list));
    } else {
        buf_add_str(&p->selector, STR("fieldSelector=metadata.name%3D"));
        text_add_escaped(&p->selector, p->pod);
    }
    p->selector.bad = p->selector.bad || list.bad;
    buf_fini(&list);
}

/* ---- calls ---- */

static enum err get(struct peers *p, inquiry_fn *on_answer)
{
    const struct kube_request request = {.method = KUBE_GET, .path = buf_str(&p->path)};
    return p->path.bad || p->selector.bad ? E_NOMEM : inquiry_start(&p->ask, &request, on_answer);
}

static void write_path(struct peers *p)
{
    buf_reset(&p->path);
    buf_addf(&p->path, "/api/v1/namespaces/%.*s/pods", STR_ARG(p->namespace_name));
}

static void finish_with(struct peers *p, enum err e)
{
    p->on_done(p->arg, &(struct kube_result){.error = e});
}

static void on_page(struct inquiry *a, const struct kube_result *result,
                    const struct tree_node *root);

/* continue_token: empty for the first page. */
static enum err get_page(struct peers *p, struct str continue_token)
{
    write_path(p);
    buf_addf(&p->path, "?limit=%d&", STATUS_PODS_PER_PAGE);
    buf_add_str(&p->path, buf_str(&p->selector));
    if (continue_token.n > 0) {
        buf_add_str(&p->path, STR("&continue="));
        text_add_escaped(&p->path, continue_token);
    }
    return get(p, on_page);
}

static void on_page(struct inquiry *a, const struct kube_result *result,
                    const struct tree_node *root)
{
    struct peers *p = container_of(a, struct peers, ask);
    const struct tree_node *items = tree_get(root, STR("items"));
    for (uint32_t i = 0; items != NULL && items->kind == TREE_SEQUENCE && i < items->n; i++) {
        p->on_pod(p->arg, tree_item(items, i));
    }
    struct str next = tree_get_string(tree_get(root, STR("metadata")), STR("continue"));
    enum err e = next.n == 0 ? E_OK : get_page(p, next);
    if (e != E_OK) {
        finish_with(p, e);
    } else if (next.n == 0) {
        p->on_done(p->arg, result);
    }
}

static void on_own_pod(struct inquiry *a, const struct kube_result *result,
                       const struct tree_node *root)
{
    struct peers *p = container_of(a, struct peers, ask);
    if (root == NULL) {
        p->on_done(p->arg, result);
        return;
    }
    write_selector(p, root);
    enum err e = get_page(p, STR_EMPTY);
    if (e != E_OK) {
        finish_with(p, e);
    }
}

enum err peers_look(struct peers *p, void (*on_pod)(void *arg, const struct tree_node *pod),
                    void (*on_done)(void *arg, const struct kube_result *result), void *arg)
{
    must(p->pod.n > 0);
    p->on_pod = on_pod;
    p->on_done = on_done;
    p->arg = arg;
    buf_reset(&p->selector);
    write_path(p);
    buf_add_char(&p->path, '/');
    text_add_escaped(&p->path, p->pod);
    return get(p, on_own_pod);
}

void peers_init(struct peers *p, struct kube_client *client, struct str namespace_name,
                struct str pod)
{
    *p = (struct peers){.namespace_name = namespace_name, .pod = pod};
    inquiry_init(&p->ask, client);
    buf_init(&p->path, PATH_BYTES_MAX);
    buf_init(&p->selector, SELECTOR_BYTES_MAX);
}

void peers_fini(struct peers *p)
{
    inquiry_fini(&p->ask);
    buf_fini(&p->path);
    buf_fini(&p->selector);
}
