/* admin/certs.h: the certificates in use, whose they are, until when, and what is wrong with them,
 * as JSON: of every host that an Ingress of ours names a Secret for, the default one, the
 * authorities of client certificates, and what an Ingress has for TLS to its endpoints. lintel
 * certs and /debug/certs are both this file. Private keys are read to see that they belong to their
 * certificate; nothing of them is shown. Not here: reading manifests, the table (cli/certs.c).
 *
 * Ten thousand certificates take seconds to read, so the page is made in turns of CERTS_TURN. It
 * shows each Ingress as it is when its turn comes; one that is new since the beginning is left
 * out. */
#pragma once

#include "admin/explain.h"
#include "base/clock.h"

struct certs_staple {    /* what is known of the OCSP response of a certificate */
    bool has_responder;  /* or that is not known yet */
    bool is_revoked;     /* says the response; else it is good */
    int64_t from, until; /* of the response, seconds since 1970; until 0: there is none */
    const char *trouble; /* why there is no newer one, a static text; or NULL */
};

struct certs_upstream {              /* what an Ingress has for TLS to its endpoints */
    struct str namespace_name, name; /* of the Secret; name is empty: what is written cannot be */
    bool is_verified;                /* endpoints are, by ca.crt */
    bool is_tls;                     /* they are spoken to so, at least maybe */
};

struct certs_world {
    struct explain_world world;                        /* with a store */
    struct str default_namespace, default_certificate; /* --default-ssl-certificate; empty: none */
    int64_t now_s;                                     /* seconds since 1970 */
    /* What kept a Secret from being read, a static text; NULL: nothing did. Or NULL. */
    const char *(*trouble)(const void *arg, struct str namespace_name, struct str name);
    const void *trouble_arg;
    /* False: nobody asks about that one. Or NULL. */
    bool (*staple)(const void *arg, struct str namespace_name, struct str name,
                   struct certs_staple *ret);
    const void *staple_arg;
    /* False: it names no Secret. Gets world.is_ours_arg. Or NULL. */
    bool (*upstream)(const void *is_ours_arg, const struct ingress *in, struct certs_upstream *ret);
};

/* Adds an array of objects: role is "host", "default", "clientAuthority", "upstreamCertificate" or
 * "upstreamAuthority". The schema only grows. Cost: each Secret in use is parsed. Errors: E_NOMEM.
 */
enum err certs_emit(struct buf *out, const struct certs_world *world);

/* ---- in turns ---- */

struct certs_page;

/* O(Ingresses); reads no certificate yet. Errors: E_NOMEM. */
enum err certs_page_new(const struct certs_world *world, struct certs_page **ret);
void certs_page_free(struct certs_page *p); /* p may be NULL */
/* Adds what comes next, at least one row or what is left out, until a time of turn is over. world:
 * as it is now. *ret_more false: that was all. Errors: E_NOMEM, also when out is full. */
enum err certs_page_step(struct certs_page *p, const struct certs_world *world, usec_t turn,
                         struct buf *out, bool *ret_more);
