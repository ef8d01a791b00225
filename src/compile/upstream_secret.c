/* The Secret that an Ingress names for TLS to its endpoints: its certificate and its authorities
 * are compiled as others are (secret.c), here is what follows for the ports of that Ingress. It
 * need not have either; what it has and cannot be used is never passed over. See upstream_tls.c. */
#include "compile/compile_priv.h"

static bool has_item(const struct secret *object, struct str key)
{
    struct str value = STR_EMPTY;
    return secret_get(object, key, &value) && value.n > 0;
}

bool upstream_secret_has_certificate(const struct secret *object)
{
    return object == NULL || has_item(object, STR("tls.crt")) || has_item(object, STR("tls.key"));
}

bool upstream_secret_has_authority(const struct secret *object)
{
    return object == NULL || has_item(object, STR("ca.crt"));
}

static const struct secret *object_get(const struct compile *c, const struct secret_node *secret)
{
    const struct key *name = &secret->node.key;
    return (const struct secret *)(const void *)store_get(c->store, OBJECT_SECRET, name->part[0],
                                                          name->part[1]);
}

/* What is not known yet counts as it was. */
static struct upstream_tls_secret state_of(const struct compile *c,
                                           const struct secret_node *secret)
{
    const struct secret *object = object_get(c, secret);
    struct upstream_tls_secret state = {.has_authority = secret->authority.bytes > 0,
                                        .has_certificate = secret->certificate != NULL};
    state.is_there = object != NULL || state.has_authority || state.has_certificate;
    state.is_certificate_broken =
        object != NULL && upstream_secret_has_certificate(object) && !state.has_certificate;
    return state;
}

void upstream_secret_tell_lacks(struct compile *c, struct diag_batch *batch,
                                const struct secret_node *secret)
{
    struct upstream_tls_secret state = state_of(c, secret);
    for (const struct list *it = secret->uses.next; it != &secret->uses; it = it->next) {
        const struct secret_use *use =
            (const void *)((const char *)it - offsetof(struct secret_use, in_secret));
        struct upstream_tls t;
        if (use->role != SECRET_UPSTREAM) {
            continue;
        }
        upstream_tls_get(use->ingress->object, &t);
        enum upstream_tls_lack lack = upstream_tls_lacks(&t, &state);
        bool is_told = lack != UPSTREAM_TLS_NOTHING &&
                       (lack != UPSTREAM_TLS_SECRET || !secret_is_pending(c, secret));
        if (is_told) {
            upstream_tls_tell_lack(c, batch, use->ingress->object, &t, lack);
        }
    }
}

static const struct secret_node *secret_of(const struct ingress_node *n)
{
    for (uint32_t i = 0; i < n->secret_n; i++) {
        if (n->secrets[i].role == SECRET_UPSTREAM) {
            return n->secrets[i].secret;
        }
    }
    return NULL;
}

/* Changes when what is used of the Secret does; 0: nothing. */
static uint64_t stamp_of(const struct upstream_tls *t, const struct secret_node *secret)
{
    bool has_authority = t->is_verified && secret->authority.bytes > 0;
    uint64_t hashes[] = {has_authority ? secret->authority.hash : 0,
                         secret->certificate == NULL ? 0 : secret->node.product.hash};
    return hashes[0] == 0 && hashes[1] == 0 ? 0 : hash_bytes(hashes, sizeof(hashes));
}

void upstream_secret_gather(struct compile *c, const struct port_node *port)
{
    struct service_work *w = &c->service;
    const struct use *use =
        (const void *)((const char *)port->uses.next - offsetof(struct use, in_port));
    w->tls =
        (struct upstream_tls){.namespace_name = STR_EMPTY, .name = STR_EMPTY, .ciphers = STR_EMPTY};
    w->tls_secret = (struct upstream_tls_secret){0};
    w->tls_stamp = 0;
    if (use->ingress == NULL) { /* of an option, which says nothing about TLS */
        return;
    }
    upstream_tls_get(use->ingress->object, &w->tls);
    const struct secret_node *secret = secret_of(use->ingress);
    if (secret != NULL) {
        w->tls_secret = state_of(c, secret);
        w->tls_stamp = stamp_of(&w->tls, secret);
    }
}

void upstream_secret_mark(struct compile *c, const struct ingress_node *n)
{
    for (uint32_t i = 0; i < n->use_n; i++) {
        node_mark(&c->dirty_ports, &n->uses[i].port->node);
    }
}

bool compile_get_upstream_secret(const struct compile *c, const struct ingress *ingress,
                                 struct compile_upstream_secret *ret)
{
    struct upstream_tls t;
    if (annotation_get(ingress, UPSTREAM_TLS_SECRET_ANNOTATION).n == 0) {
        return false;
    }
    upstream_tls_get(ingress, &t);
    *ret = (struct compile_upstream_secret){.namespace_name = t.namespace_name,
                                            .name = t.name,
                                            .is_verified = t.is_verified,
                                            .is_tls = speech_may_be_tls(c, ingress)};
    return true;
}
