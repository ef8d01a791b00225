/* admin/explain.h: the whole decision for one request, as data, as text and as JSON. The match is
 * made by route/, which the workers use too; the store adds where things are written and why they
 * are not used. lintel explain and /debug/explain are both this file.
 * Not here: reading manifests or asking a server (cli/), HTTP (handler.h). */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/reason.h"
#include "model/store.h"
#include "route/match.h"
#include "snapshot/filters.h"
#include "wire/field.h"

enum {
    EXPLAIN_BYTES_MAX = 8 << 20, /* arena of one explanation */
    EXPLAIN_CANDIDATES_MAX = 512,
    EXPLAIN_MISSES_MAX = 5,
};

/* True when the Ingress is ours by its class; *ret_why is a static text. As compile_is_ours(). */
typedef bool explain_is_ours_fn(const void *arg, const struct ingress *ingress,
                                const char **ret_why);

/* What is known. All borrowed. */
struct explain_world {
    const struct snapshot *snapshot;
    const struct store *store; /* NULL: files, pods and class decisions are left out */
    explain_is_ours_fn *is_ours;
    const void *is_ours_arg;
    bool is_offline;     /* nobody looks names up: an ExternalName without address says nothing */
    bool has_no_secrets; /* nobody has read any: that one is missing says nothing */
};

struct explain_request {
    struct str server_name; /* a host with or without port: what the handshake asks for; empty: the
                               host of the request */
    struct str scheme, listener; /* as the client has it; where it arrives. Empty: what the other
                                    one makes likely, http without both */
    struct str method, authority, target;
    const struct field *fields;
    size_t field_n;
};

/* Where a rule is written. */
struct explain_owner {
    struct str namespace_name, name; /* of the Ingress; both empty: the command line */
    struct str field;                /* "spec.rules[0].http.paths[1]" */
    struct str file;                 /* empty = unknown */
    uint32_t line;
};

struct explain_candidate {
    const struct snap_host *host;
    const struct snap_route *route;
    enum route_verdict verdict;
    const char *path_type; /* "Exact", "Prefix", "default" */
    struct explain_owner owner;
};

/* What a filter of the winner does to the request. */
enum explain_effect {
    EXPLAIN_PASSES,     /* nothing */
    EXPLAIN_ANSWERS,    /* it is the one that answers */
    EXPLAIN_CHANGES,    /* it changes the fields of the response */
    EXPLAIN_NOT_REACHED /* one before it answers */
};

struct explain_filter {
    const struct snap_filter *filter;
    const void *config; /* struct snap_filter_<name> */
    enum explain_effect effect;
};

struct explain_endpoint {
    struct ip ip;
    uint16_t port;
    uint32_t weight;
    struct str slice, pod, node, zone; /* may be empty */
    const char *why_not;               /* NULL: it may be picked */
};

struct explain_backend {
    const struct snap_backend *backend;
    const struct snap_service *service; /* NULL: not in the snapshot */
    struct str namespace_name, name, port;
    uint32_t usable_n; /* of the endpoints: those stand first */
    struct explain_endpoint *endpoints;
    uint32_t endpoint_n;
};

enum { EXPLAIN_CERTIFICATES_MAX = SNAP_TLS_CERTIFICATES_MAX };

/* One that the handshake may show: which of them depends on the keys that the client can verify. */
struct explain_certificate {
    struct str secret;                          /* "<namespace>/<name>"; empty: of our own making */
    const struct snap_certificate *certificate; /* NULL: not in the snapshot */
    const struct ingress *ingress; /* that names it for the host; NULL: none, or not known */
};

/* The handshake before the request. */
struct explain_tls {
    bool is_used; /* the client speaks TLS with us */
    bool is_refused;
    bool is_misdirected;    /* the request is for another host than the handshake */
    bool is_default;        /* nobody has a certificate for the name */
    bool has_http2;         /* it may be chosen */
    struct str server_name; /* empty: none */
    struct str pattern;     /* whose certificates are shown: "shop.example.com", "*.example.com" */
    struct explain_certificate certificates[EXPLAIN_CERTIFICATES_MAX];
    uint32_t certificate_n;
    const struct snap_tls_host *wanted; /* what is said about clients of the request's host; NULL:
                                           nothing. Also for a client without TLS */
};

/* Something that nearly matched. */
struct explain_miss {
    struct str host, path; /* path may be empty */
    struct explain_owner owner;
    const char *why;
};

struct explanation {
    struct arena arena; /* holds the arrays below; what they point to is the world's */
    const struct explain_world *world;
    const struct explain_request *request;
    struct str scheme, listener; /* neither empty */
    struct route_query query;
    bool is_understood;     /* false: query says nothing, reason is bad_request */
    bool is_passed_through; /* TLS of the host goes on to the one backend as it is: there is no
                               route; with a reason the connection is closed */
    enum reason reason;     /* REASON_none: an endpoint gets the request */
    uint16_t status;        /* 0 when an endpoint answers */
    struct route_match match;
    struct explain_tls tls;
    const struct explain_candidate *winner; /* NULL: no route */
    struct explain_candidate *candidates;   /* sorted: the winner, then the nearest losers */
    size_t candidate_n, candidate_dropped;
    struct explain_filter *filters; /* of the winner, in order of execution */
    size_t filter_n;
    struct str location; /* of the answer; empty: it has none */
    struct explain_backend *backends;
    size_t backend_n;
    struct explain_miss *misses; /* only when no route matches */
    size_t miss_n;
};

/* Borrows world and request for the life of *ret; release with explain_fini().
 * Errors: E_NOMEM, E_LIMIT. */
enum err explain_init(struct explanation *ret, const struct explain_world *world,
                      const struct explain_request *request);
void explain_fini(struct explanation *e);

/* Fills r->scheme, r->authority and r->target from what a user calls a URL: "http://HOST/PATH",
 * "HOST/PATH" or
 * "/PATH"; a fragment is dropped. A field "Host" among r->fields replaces the host; the handshake
 * goes on to ask for that of the URL (r->server_name). Borrows url.
 * Errors: E_PROTO (another scheme than http and https, a query without a path, or nothing at all).
 */
enum err explain_request_set_url(struct explain_request *r, struct str url);

/* For people, with ANSI colours or without. */
void explain_emit_text(struct buf *out, const struct explanation *e, bool has_color);
/* For programs; the schema is part of the manual and only grows. */
void explain_emit_json(struct buf *out, const struct explanation *e);

/* Short names for output. */
const char *explain_effect_name(enum explain_effect effect);
/* What is asked of clients of that host: "nothing", "required". */
const char *explain_client_verify_name(const struct snap_tls_host *h);
const char *explain_key_kind_name(const struct snap_certificate *c);
const char *explain_ssl_cause(const struct snap_filter_ssl_redirect *f);
const char *explain_verdict_name(enum route_verdict v);
const char *explain_host_kind_name(const struct snap_host *h);
/* Of the Service behind b, as a sentence; "ok" when all is well. */
const char *explain_service_state(const struct explanation *e, const struct explain_backend *b);
