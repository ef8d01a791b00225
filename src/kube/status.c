/* Reading a metav1.Status. */
#include "kube/status.h"

static bool get_int(const struct tree_node *mapping, struct str key, int64_t max, int64_t *ret)
{
    const struct tree_node *value = tree_get(mapping, key);
    int64_t n;
    if (value == NULL || !tree_to_int(value, &n) || n < 0 || n > max) {
        return false;
    }
    *ret = n;
    return true;
}

static bool has_cause(const struct tree_node *details, struct str reason)
{
    const struct tree_node *causes = tree_get(details, STR("causes"));
    if (causes == NULL || causes->kind != TREE_SEQUENCE) {
        return false;
    }
    for (uint32_t i = 0; i < causes->n; i++) {
        if (str_eq(tree_get_string(tree_item(causes, i), STR("reason")), reason)) {
            return true;
        }
    }
    return false;
}

/* The reason, or a cause that tells more. */
static struct str reason_of(const struct tree_node *root)
{
    static const struct str telling[] = {STR_INIT("ResourceVersionTooLarge"),
                                         STR_INIT("NamespaceTerminating")};
    const struct tree_node *details = tree_get(root, STR("details"));
    for (size_t i = 0; i < sizeof(telling) / sizeof(telling[0]); i++) {
        if (has_cause(details, telling[i])) {
            return telling[i];
        }
    }
    return tree_get_string(root, STR("reason"));
}

bool kube_status_read(const struct tree_node *root, struct kube_status *ret)
{
    if (!str_eq(tree_get_string(root, STR("kind")), STR("Status"))) {
        return false;
    }
    const struct tree_node *details = tree_get(root, STR("details"));
    int64_t code = 0, seconds = 0;
    (void)get_int(root, STR("code"), 999, &code);
    (void)get_int(details, STR("retryAfterSeconds"), INT32_MAX, &seconds);
    *ret = (struct kube_status){
        .code = (uint32_t)code,
        .reason = reason_of(root),
        .message = tree_get_string(root, STR("message")),
        .retry_after = (usec_t)seconds * USEC_PER_SEC,
    };
    return true;
}
