/* kube/status.h: metav1.Status, how the Kubernetes API says what went wrong: as the body of an
 * answer, and as the object of an ERROR event. Source: apimachinery meta/v1 types.go, Status. */
#pragma once

#include "base/clock.h"
#include "document/tree.h"

struct kube_status {
    uint32_t code;              /* 0: none */
    struct str reason, message; /* borrowed from the tree; may be empty */
    usec_t retry_after;         /* 0: none */
};

/* False when root is no Status; *ret is untouched then. The causes "ResourceVersionTooLarge"
 * and "NamespaceTerminating" go before the reason, which says no more than "Timeout" or "Forbidden"
 * then. */
bool kube_status_read(const struct tree_node *root, struct kube_status *ret);
