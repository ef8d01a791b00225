/* status/ask.h: one call to the API at a time whose answer is read as a tree. */
#pragma once

#include "document/tree.h"
#include "kube/client.h"

struct ask;
/* root: the answer, borrowed for the call; NULL when result->error is not E_OK or the status is
 * none of success. An answer that cannot be read is an error of the result, too: E_PROTO, E_LIMIT,
 * E_NOMEM. The callback may ask anew, and may end the ask. */
typedef void ask_fn(struct ask *a, const struct kube_result *result, const struct tree_node *root);

struct ask { /* embedded in its owner */
    struct kube_client *client;
    struct kube_call *call; /* NULL: nothing is under way */
    struct buf body;
    ask_fn *on_answer;
};

/* Borrows client. */
void ask_init(struct ask *a, struct kube_client *client);
/* No callback follows. Safe on zeroed memory. */
void ask_fini(struct ask *a);
bool ask_is_under_way(const struct ask *a);
/* Ends the one that is under way, without a callback. request is as for kube_call_start(); without
 * a timeout it gets TIMEOUT_STATUS_CALL. Errors: those of kube_call_start(). */
enum err ask_start(struct ask *a, const struct kube_request *request, ask_fn *on_answer);
void ask_cancel(struct ask *a);
