/* admission/shared.h: a certificate of Lintel's own in a Secret, and its authority in the
 * ValidatingWebhookConfiguration. All replicas do this at the same time, without a leader:
 *
 *   Secret is not there ──> make, POST (conflict: somebody else's is there: take that)
 *   it is broken, for other names, or 2/3 of its life are over ──> make, PATCH with its
 *        resourceVersion (conflict: look again); the authorities before stay in ca.crt until they
 * end an entry of the configuration lacks an authority of ca.crt ──> PATCH its caBundle ──> serve;
 * where something else was served, only ADMISSION_SWITCH after the configuration had it, so that
 * every API server has heard of it
 *
 * The authority signs one certificate and its key is forgotten, so the Secret holds none.
 * Needs: secrets create, and get, watch, patch on this one; validatingwebhookconfigurations get,
 * watch, patch on this one. */
#pragma once

#include "base/buf.h"
#include "event/loop.h"
#include "kube/client.h"

struct shared;

struct shared_options {
    struct kube_client *kube;
    struct str configuration; /* name of the ValidatingWebhookConfiguration */
    struct str secret_namespace, secret;
    /* A good pair to serve from now on; borrowed PEM. */
    void (*on_certificate)(void *arg, struct str chain, struct str key);
    void *arg;
};

/* Copies the texts. Errors: E_NOMEM. */
enum err shared_open(struct loop *loop, const struct shared_options *o, struct shared **ret);
void shared_close(struct shared *s); /* s may be NULL */
