/* kube/client_priv.h: what the parts of the client share.
 *
 * client.c       lines of calls, the budget, the life of the client
 * client_call.c  one call: its libcurl handle, what comes in, how it ends
 *
 * libcurl may not be entered from its own callbacks, and those call our owners. So starting and
 * cancelling only leave a mark; the work is done at the end of the tick (client.c, pump). */
#pragma once

#include <curl/curl.h>

#include "base/buf.h"
#include "base/list.h"
#include "kube/client.h"
#include "kube/credential.h"
#include "kube/multi.h"

struct kube_client {
    struct loop *loop;
    const struct kube_config *config;
    struct kube_counters counters;
    struct credential ca, certificate, key, token;
    struct str host, connect_to; /* in memory: see client.c; empty unless tls_server_name is set */
    struct arena memory;
    struct str base; /* what goes before a path */
    bool is_tls;

    struct list streams, line; /* wait to be sent: free of charge, and not */
    struct list running;
    struct list ended; /* cancelled, to be freed */
    size_t call_n, running_n;
    struct kube_call *opener; /* runs to open a connection; others wait for what it finds */
    usec_t budget_at;         /* see budget_wait() */
    struct deferred pump;
    struct timer refill;

    struct kube_multi multi; /* not open: to be made again */
    bool is_broken;          /* it can no longer be used */
    bool is_unreachable;     /* the opener found nothing */
    char why[CURL_ERROR_SIZE];
};

struct kube_call {
    struct list link;
    struct kube_client *client;
    struct kube_call_events events;
    void *arg;
    enum kube_method method;
    bool is_stream;
    bool is_cancelled;
    bool has_enough; /* of a body that tells an error */
    enum err cut;    /* why we ended it; E_OK: we did not */
    usec_t timeout, heard_at;
    uint32_t status; /* 0 until the head of the answer is there */
    size_t received;
    struct arena memory;
    struct str url, body;
    const char *content_type;

    /* from its start */
    CURL *easy;
    struct curl_slist *headers; /* wiped: one is the token */
    struct curl_slist *connect_to;
    struct blob *ca, *certificate, *key;
    struct timer timer;
    struct buf error_body;
    char error_text[CURL_ERROR_SIZE];
};

/* client.c */
/* Takes call off the client's lists and frees it. Not while libcurl is running. */
void client_call_free(struct kube_call *call);
/* The opener has an answer, or failed, which why tells. */
void client_opened(struct kube_client *c);
void client_unreachable(struct kube_client *c, struct str why);

/* client_call.c */
/* Makes the handle and gives it to libcurl. Errors: E_NOMEM, E_SYS. */
enum err call_send(struct kube_call *call);
/* Tells the owner and frees the call. Not while libcurl is running. */
void call_finish(struct kube_call *call, CURLcode code);
void call_fail(struct kube_call *call, enum err e, const char *why); /* why: NULL: as e says */
void call_release(struct kube_call *call); /* the handle and all that belongs to it */
