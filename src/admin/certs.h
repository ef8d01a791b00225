/* admin/certs.h: the certificates of hosts, whose they are, until when, and what is wrong with
 * them, as JSON: of every host that an Ingress of ours names a Secret for, the default one, and the
 * authorities of client certificates. lintel certs and /debug/certs are both this file. Private
 * keys are read to see that they belong to their certificate; nothing of them is shown. Not here:
 * reading manifests, the table (cli/certs.c). */
#pragma once

#include "admin/explain.h"

struct certs_world {
    struct explain_world world;                        /* with a store */
    struct str default_namespace, default_certificate; /* --default-ssl-certificate; empty: none */
    int64_t now_s;                                     /* seconds since 1970 */
    /* What kept a Secret from being read, a static text; NULL: nothing did. Or NULL. */
    const char *(*trouble)(const void *arg, struct str namespace_name, struct str name);
    const void *trouble_arg;
};

/* Adds an array of objects: role is "host", "default" or "clientAuthority". The schema only grows.
 * Cost: each Secret in use is parsed. Errors: E_NOMEM. */
enum err certs_emit(struct buf *out, const struct certs_world *world);
