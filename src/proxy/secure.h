/* proxy/secure.h: what TLS has to do with whether a request is served: is it on the right
 * connection, and has its client shown what the host wants to see? Private to proxy/. Source: RFC
 * 9110 section 15.5.20 (421); ingress-nginx' auth-tls annotations. */
#pragma once

#include "base/reason.h"
#include "http/message.h"
#include "regex/cache.h"
#include "snapshot/snapshot.h"

struct transport_client;

struct secure_request {
    const struct snapshot *snapshot;
    struct str table, host; /* host: lower case, without port */
    const struct http_peer *peer;
};

struct secure_verdict {
    enum reason reason;  /* REASON_none: it may be served */
    bool may_be_sent_on; /* a filter's redirect comes before that reason: it leads to TLS */
    uint16_t status;     /* 0: the reason's */
    struct str location;
    const struct transport_client *client; /* whom endpoints are told of; NULL: nobody, and what the
                                              request itself says of certificates passes */
};

/* Costs a comparison of two names when no host asks for certificates of clients. patterns: for
 * names of clients. */
void secure_judge(const struct secure_request *r, struct regex_cache *patterns,
                  struct secure_verdict *ret);
