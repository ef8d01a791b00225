/* status/inquiry.h: one call to the API at a time whose answer is read as a tree. */
#pragma once

#include "document/tree.h"
#include "kube/client.h"

struct inquiry;
/* root: the answer, borrowed for the call; NULL when result->error is not E_OK or the status is
 * none of success. An answer that cannot be read is an error of the result, too: E_PROTO, E_LIMIT,
 * E_NOMEM. The callback may ask anew, and may end the ask. */
typedef void inquiry_fn(struct inquiry *a, const struct kube_result *result,
                        const struct tree_node *root);

struct inquiry { /* embedded in its owner */
    struct kube_client *client;
    struct kube_call *call; /* NULL: nothing is under way */
    struct buf body;
    inquiry_fn *on_answer;
};

/* Borrows client. */
void inquiry_init(struct inquiry *a, struct kube_client *client);
/* No callback follows. Safe on zeroed memory. */
void inquiry_fini(struct inquiry *a);
bool inquiry_is_under_way(const struct inquiry *a);
/* Ends the one that is under way, without a callback. request is as for kube_call_start(); without
 * a timeout it gets TIMEOUT_STATUS_CALL. Errors: those of kube_call_start(). */
enum err inquiry_start(struct inquiry *a, const struct kube_request *request,
                       inquiry_fn *on_answer);
void inquiry_cancel(struct inquiry *a);
