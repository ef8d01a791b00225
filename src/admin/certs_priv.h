/* admin/certs_priv.h: what the files behind certs.h share.
 *
 * certs.c            the page: what comes after what, in turns
 * certs_host.c       rows of hosts and of the default certificate
 * certs_authority.c  rows of authorities, and of what is shown to endpoints
 * certs_row.c        one row: what is wrong with it, what is served, its JSON */
#pragma once

#include "admin/certs.h"
#include "document/json_write.h"
#include "tls/certificate.h"

struct certs { /* one turn */
    const struct certs_world *w;
    struct json *json;
    enum err err; /* sticky */
};

struct row {
    const char *role;
    const struct ingress *ingress; /* NULL: an option names it, or nobody */
    struct str host, namespace_name, secret;
    struct tls_certificate *certificate; /* NULL: none that can be used */
    uint32_t certificate_n;              /* of a bundle */
    const char *problem, *mend;          /* NULL: all is well */
    const char *note;                    /* NULL: nothing to be said */
    struct certs_staple staple;
    bool is_served, has_staple;
};

/* ---- certs_row.c ---- */

void certs_err(struct certs *c, enum err e); /* E_PROTO is none: the row tells it */
void row_problem(struct row *r, const char *what, const char *mend); /* the first one counts */
void row_fault(struct row *r, enum tls_fault fault);
/* NULL: it is not there, and the row says so. */
const struct secret *row_secret(const struct certs *c, struct row *r);
struct str secret_item(const struct secret *s, struct str key); /* empty: it has none */
/* Takes tls.crt and tls.key of its Secret. */
void row_look(struct certs *c, struct row *r);
/* The certificate in service, whatever the Secret has become, where the row has none. */
void row_take_served(struct certs *c, struct row *r, struct str namespace_name, struct str name);
/* "<first>/<second>", the second in lower case; NULL: there is no such shard. */
const struct snap_shard *certs_shard(const struct certs *c, enum snap_kind kind, struct str first,
                                     struct str second);
/* And frees what is in it. */
void row_show(struct certs *c, struct row *r);

/* ---- certs_host.c ---- */

void certs_show_host(struct certs *c, const struct ingress *in, struct str secret, struct str host);
/* Of a rule whose host no entry lists, but that gets certificates of the Ingress; else nothing. */
void certs_show_rule(struct certs *c, const struct ingress *in, uint32_t rule);
void certs_show_default(struct certs *c);

/* ---- certs_authority.c ---- */

void certs_show_authority(struct certs *c, const struct ingress *in);
void certs_show_upstream(struct certs *c, const struct ingress *in);
