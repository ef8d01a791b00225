/* kube/client.h: calls to the Kubernetes API: one client, one connection where the server speaks
 * HTTP/2, any number of calls on it. By libcurl, driven by the event loop (multi.h).
 *
 * Every call has a deadline or, for streams, a longest silence. The token file is read again when
 * it changes and after a 401. Calls that are no streams spend from a budget (KUBE_CALLS_PER_SECOND,
 * KUBE_CALLS_BURST) and wait in line when it is used up, so that a thousand replicas do not hurt an
 * API server. Nothing here retries: who calls knows what a retry means.
 * Context: controller's loop, `lintel explain`. Callbacks never come from inside kube_call_start().
 */
#pragma once

#include "event/loop.h"
#include "kube/config.h"

struct kube_client;
struct kube_call;

/* Counted from the start; for metrics. */
struct kube_counters {
    uint64_t calls, failed_transport, failed_status, throttled, unauthorized;
    uint64_t received_bytes;
    uint64_t connects; /* connections begun */
};

/* Borrows loop and config for its life. Errors: E_NOMEM, E_REFUSED (libcurl lacks TLS or HTTP/2),
 * E_SYS. */
enum err kube_client_new(struct loop *loop, const struct kube_config *config,
                         struct kube_client **ret);
/* Ends the calls under way without a callback. c may be NULL. Not from inside a callback. */
void kube_client_free(struct kube_client *c);
const struct kube_counters *kube_client_counters(const struct kube_client *c);
struct loop *kube_client_loop(const struct kube_client *c);

enum kube_method { KUBE_GET, KUBE_POST, KUBE_PUT, KUBE_PATCH, KUBE_DELETE };

struct kube_request {
    enum kube_method method;
    struct str path; /* from the server's root, with its query: "/api/v1/services?limit=5" */
    const char *content_type; /* of body; NULL: application/json */
    struct str body;          /* copied */
    bool is_stream;           /* a watch: lasts; no budget, no deadline; silence ends it */
    usec_t timeout; /* from leaving the line to the end, or longest silence of a stream; 0: the
                       default (TIMEOUT_KUBE_CALL, TIMEOUT_KUBE_SILENCE) */
};

struct kube_result {
    enum err error;     /* E_OK: an answer came whole, whatever its status. E_CLOSED: the stream was
                           cut or the connection failed; E_TIMEOUT; E_REFUSED: the server's
                           certificate, or ours, was not accepted; E_LIMIT: the answer was too long */
    uint32_t status;    /* 0: none came */
    usec_t retry_after; /* from Retry-After; 0: none */
    struct str reason; /* of a metav1.Status that came instead: "Conflict", "Expired"; of its causes
                          "ResourceVersionTooLarge" and "NamespaceTerminating" go first; or
                          empty */
    struct str message; /* for people: of that Status, or of the transport */
};

/* True for an answer with a status from 200 to 299. */
bool kube_result_is_ok(const struct kube_result *r);

struct kube_call_events {
    /* An answer from 200 to 299 begins; its body comes next. Of a watch: from now on nothing is
     * missed. May cancel the call. NULL: not wanted. */
    void (*on_open)(void *arg);
    /* A piece of the body of an answer from 200 to 299, borrowed; bodies of others are read by the
     * client itself (reason, message). May cancel the call. */
    void (*on_data)(void *arg, struct str piece);
    /* The end; the call is gone when this returns. */
    void (*on_done)(void *arg, const struct kube_result *result);
};

/* Errors: E_NOMEM, E_LIMIT (KUBE_CALLS_MAX wait or are under way). */
enum err kube_call_start(struct kube_client *c, const struct kube_request *request,
                         const struct kube_call_events *events, void *arg, struct kube_call **ret);
/* No callback follows. call may be NULL. */
void kube_call_cancel(struct kube_call *call);
