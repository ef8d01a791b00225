/* controller/ocsp.h: OCSP stapling (--enable-ocsp): asks the responders of the certificates in
 * service whether these are revoked, and publishes the answers for the workers to send with
 * handshakes. Source: RFC 6960, RFC 6066 section 8.
 *
 *   seen ──> waiting ──its turn──> asked ──a valid answer──> stapled ──half of its time is over──┐
 *              ^  ^                  │ none                                                      │
 *              │  └─OCSP_RETRY, once─┤                                                           │
 *              │     later OCSP_AGAIN┘                                                           │
 *              └─────────────────────────────────────────────────────────────────────────────────┘
 *
 * Nothing waits for this: a certificate is served without a response until there is one, and again
 * when the last one has ended. What is published was verified and goes with exactly that
 * certificate: a change of the certificate takes the response away in the same generation. A
 * failure changes nothing but a diagnostic. Responses of a saved snapshot are good enough, if they
 * pass the same checks.
 * At most OCSP_QUESTIONS_MAX questions are under way, OCSP_QUESTIONS_PER_NAMESPACE of them for the
 * certificates of one namespace; the others wait in line. */
#pragma once

#include "admin/certs.h"
#include "base/limits.h"
#include "document/diag.h"
#include "event/loop.h"
#include "model/store.h"
#include "publish/publish.h"
#include "wire/ip.h"

struct ocsp;

struct ocsp_options {
    /* --ocsp-responder-cidr; none: all but loopback, link-local, unspecified and multicast */
    struct ip_prefix responders[TRUSTED_PREFIXES_MAX];
    uint32_t responder_n;
};

struct ocsp_parts { /* all borrowed for its life */
    struct loop *loop;
    const struct store *store; /* says where the Secrets stand */
    struct publish *publish;   /* gets the responses */
    const struct ocsp_options *options;
    void (*on_due)(void *arg); /* something is to be committed */
    diag_fn *on_diag;          /* each that comes up */
    void *arg;
};

/* Errors: E_NOMEM. */
enum err ocsp_new(const struct ocsp_parts *parts, struct ocsp **ret);
void ocsp_free(struct ocsp *o); /* o may be NULL */

/* A compile_shard_fn: every shard of requests that will be published next, before it is. Errors:
 * E_NOMEM (see it again). */
enum err ocsp_see(void *ocsp, const struct snap_shard *shard);
/* Before what was seen is committed: heeds that it was switched on or off. Errors: E_NOMEM (call it
 * again). */
enum err ocsp_settle(struct ocsp *o);

/* What is wrong now, of Secrets. o may be NULL. */
void ocsp_each_diag(struct ocsp *o, diag_fn *fn, void *arg);
/* What is known of the response for a Secret's certificate. False: nobody asks about that one. */
bool ocsp_get(const struct ocsp *o, struct str namespace_name, struct str name,
              struct certs_staple *ret);
/* Adds metrics in the Prometheus text format. */
void ocsp_emit_metrics(const struct ocsp *o, struct buf *out);
