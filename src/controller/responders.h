/* controller/responders.h: questions to the OCSP responders of certificates, one HTTP request each:
 * by libcurl over plain http, with names resolved by source/resolver, driven by the event loop.
 *
 *   asked ──the name's addresses──> sending ──> on_done
 *     └─ it is an address ──────────┘  └─ TIMEOUT_OCSP_ANSWER from the beginning, whatever the
 * state
 *
 * The URL comes from a certificate, which means from whoever may write a Secret. So what can be
 * reached is checked where it counts, when the socket is opened: never loopback, link-local,
 * unspecified and multicast addresses, unless the operator says which addresses are right. No
 * redirect is followed, no proxy is used, nothing but the question is sent, and nothing of what
 * comes but a valid answer is ever shown to anybody.
 * Names are not resolved by libcurl: it would wait for its resolver's thread when it gives up.
 * Context: controller; never blocks. */
#pragma once

#include "event/loop.h"
#include "wire/ip.h"

struct responders;
struct question;

struct responders_options {
    const struct ip_prefix *allowed; /* only these, whatever they are; borrowed */
    uint32_t allowed_n;              /* 0: all but those above */
    const char *servers;             /* of names, as in struct resolver_options */
    usec_t timeout;                  /* 0: TIMEOUT_OCSP_ANSWER */
};

/* Borrows loop for its life. Errors: E_NOMEM, E_REFUSED (libcurl lacks what others need). */
enum err responders_new(struct loop *loop, const struct responders_options *options,
                        struct responders **ret);
/* Ends the questions under way without a callback. Not from inside one. r may be NULL. */
void responders_free(struct responders *r);
size_t responders_n(const struct responders *r); /* questions under way */

struct question_text {
    struct str host; /* lower case: a name, or an address without brackets */
    uint16_t port;
    struct str authority, target; /* for the head of the request */
    struct str body;
    uint32_t turn; /* 0 for the first try, then 1 ...: another address, where there are several */
};

/* E_OK: body is what came with status 200, borrowed for the call. Else detail is for the log alone:
 * E_REFUSED: an address that is not allowed; E_NOTFOUND: the name has none; E_TIMEOUT; E_CLOSED;
 * E_PROTO: another status; E_LIMIT: OCSP_RESPONSE_BYTES_MAX; E_NOMEM. The question is gone when it
 * returns. */
typedef void question_fn(void *arg, enum err e, struct str body, const char *detail);

/* on_done is never called from inside. Copies the texts. Errors: E_NOMEM. */
enum err question_ask(struct responders *r, const struct question_text *text, question_fn *on_done,
                      void *arg, struct question **ret);
/* No callback follows. q may be NULL. */
void question_cancel(struct question *q);
