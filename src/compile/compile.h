/* compile/compile.h: objects to shards. Incremental: told of each change of the store, it remembers
 * which shards that may touch and compiles just those. Each shard is a pure function of the store
 * and the options, so that the result never depends on the order in which things came.
 * Context: controller and the offline commands. */
#pragma once

#include "document/diag.h"
#include "model/store.h"
#include "snapshot/write.h"

enum hsts_subdomains { HSTS_SUBDOMAINS_BY_CLASS, HSTS_SUBDOMAINS_OFF, HSTS_SUBDOMAINS_ON };

/* How plain requests get to https, and what https responses say about it. The names are those of
 * ingress-nginx' ConfigMap. See docs/filters/ssl_redirect.md, hsts.md. */
struct https_policy {
    bool is_redirecting;                     /* --ssl-redirect: on hosts with TLS */
    bool is_forcing;                         /* --force-ssl-redirect: on every host */
    bool keeps_slash;                        /* --preserve-trailing-slash */
    bool tells_port;                         /* --use-port-in-redirects */
    uint16_t redirect_status;                /* --http-redirect-code */
    struct str plain_paths[PLAIN_PATHS_MAX]; /* --no-tls-redirect-locations; normalised */
    uint32_t plain_path_n;
    bool has_hsts;                        /* --hsts */
    bool has_hsts_preload;                /* --hsts-preload */
    enum hsts_subdomains hsts_subdomains; /* --hsts-include-subdomains */
    uint64_t hsts_max_age_s;              /* --hsts-max-age */
};
extern const struct https_policy https_policy_default;

/* True when the option of that name stands on the command line. */
typedef bool compile_given_fn(const void *arg, struct str name);

struct compile_options {
    struct str controller; /* spec.controller of the classes that are ours;
                              "lintel.dev/ingress-controller" unless --controller-class */
    struct str
        ingress_class; /* --ingress-class: value of the legacy annotation that is ours; "lintel" */
    bool is_class_by_name;          /* --ingress-class-by-name */
    bool is_classless_watched;      /* --watch-ingress-without-class */
    bool is_external_name_disabled; /* --disable-svc-external-name */
    bool has_passthrough;           /* --enable-ssl-passthrough */
    bool has_settings;              /* else the defaults */
    struct snap_settings settings;
    struct str ssl_ciphers, ssl_groups;       /* --ssl-ciphers, --ssl-ecdh-curve; empty: ours */
    uint8_t ssl_min_version, ssl_max_version; /* 12, 13; 0: 12 and 13 */
    bool has_https;                           /* else the defaults */
    struct https_policy https;
    struct ip_prefix trusted[TRUSTED_PREFIXES_MAX]; /* --proxy-real-ip-cidr */
    uint32_t trusted_n;
    struct str config_namespace, config_map; /* --configmap; empty = none: what it says counts
                                                before settings, https and trusted above ... */
    compile_given_fn *is_given;              /* ... unless that option was given; NULL: none was */
    const void *given_arg;
    struct str default_namespace, default_service; /* --default-backend-service; empty = none; its
                                                      first port is used */
    struct str default_certificate_namespace,
        default_certificate; /* --default-ssl-certificate; empty = none */
    struct str ticket_secret_namespace,
        ticket_secret;             /* --ssl-session-ticket-secret; empty = none */
    struct str own_chain, own_key; /* PEM, made by us: for names that nobody has a certificate for;
                                      empty = none */
    struct str node_name; /* where we run: its Node in the store tells our zone; empty = unknown,
                             and hints of EndpointSlices are not used */
};

struct compile;

/* Borrows store and options for its life; listens to the store from now on and takes in what is
 * already there. */
enum err compile_new(struct store *store, const struct compile_options *options,
                     struct compile **ret);
void compile_free(struct compile *c); /* c may be NULL */

/* A finished shard (snap_shard.is_deleted included) whose bytes differ from what was emitted last
 * for its key. Valid during the call. */
typedef enum err compile_shard_fn(void *arg, const struct snap_shard *shard);

/* Compiles what is dirty and emits it. E_OK with no call: nothing changed. On an error from emit or
 * E_NOMEM, whatever was not emitted stays dirty for the next call. */
enum err compile_run(struct compile *c, compile_shard_fn *emit, void *arg);
/* True when compile_run() has something to do. */
bool compile_is_dirty(const struct compile *c);

/* All present diagnostics, in a deterministic order. Kept from run to run: only those of recompiled
 * shards are made anew. */
void compile_each_diag(const struct compile *c, diag_fn *fn, void *arg);
/* Called once for each diagnostic that a run added (for the log). NULL turns it off. */
void compile_on_diag(struct compile *c, diag_fn *fn, void *arg);

/* True when this Ingress is ours by its class; *ret_why is a short static text either way. */
bool compile_is_ours(const struct compile *c, const struct ingress *ingress, const char **ret_why);

/* The names that ExternalName Services in use need resolved; called with each one (lower case). */
typedef void compile_name_fn(void *arg, struct str name);
void compile_each_external_name(const struct compile *c, compile_name_fn *fn, void *arg);

/* The Secrets that accepted Ingresses and options refer to, each once. */
typedef void compile_secret_fn(void *arg, struct str namespace_name, struct str name);
void compile_each_secret(const struct compile *c, compile_secret_fn *fn, void *arg);
/* Another number whenever that set may have changed. */
uint64_t compile_secret_version(const struct compile *c);

/* True while the source has not answered yet whether there is such a Secret: then it is neither
 * missing nor there. NULL: it always has. Takes effect with the next run. */
typedef bool compile_pending_fn(const void *arg, struct str namespace_name, struct str name);
void compile_on_pending(struct compile *c, compile_pending_fn *fn, const void *arg);
/* It has now, and there is none. */
void compile_secret_missing(struct compile *c, struct str namespace_name, struct str name);
/* The time that certificates are judged by, in seconds since 1970; those whose judgement may have
 * changed are looked at by the next run. O(Secrets in use). */
void compile_set_time(struct compile *c, int64_t now_s);

/* Each certificate in service, for metrics, once for each host that it is served for. Not the one
 * of our own making. */
struct compile_certificate {
    struct str namespace_name, secret;
    struct str host; /* lower case; empty: names that nobody has a certificate for */
    int64_t not_after;
    struct str serial;                                                 /* decimal */
    struct str issuer_organization, issuer_common_name, issuer_serial; /* may be empty */
    const char *key_algorithm;                                         /* as tls_key_kind_name() */
};
typedef void compile_certificate_fn(void *arg, const struct compile_certificate *c);
void compile_each_certificate(const struct compile *c, compile_certificate_fn *fn, void *arg);

/* Each endpoint of a Service port (as a backend names it; empty: its first), whether requests go
 * there or not: port is 0 when its slice does not have the port, why_not is NULL when it is used,
 * else a short static text. None for an ExternalName. */
typedef void compile_endpoint_fn(void *arg, const struct endpoint *e, uint16_t port,
                                 const char *why_not);
void compile_each_endpoint(const struct compile *c, struct str namespace_name, struct str service,
                           struct str port, compile_endpoint_fn *fn, void *arg);

/* True when the Ingress speaks to the endpoints of the Service ports it names in this way
 * (snap_service.variant), or in this way too. */
bool compile_has_variant(const struct ingress *ingress, struct str variant);

/* What an Ingress of ours has for TLS to its endpoints. False: it names no Secret for that. */
struct compile_upstream_secret {
    struct str namespace_name, name; /* name is empty: what is written cannot be */
    bool is_verified;                /* endpoints are, by its ca.crt */
    bool is_tls; /* they are spoken to so, at least where the Service's port says it */
};
bool compile_get_upstream_secret(const struct compile *c, const struct ingress *ingress,
                                 struct compile_upstream_secret *ret);

/* IngressClasses may not be read, so that none is in the store: an ingressClassName is ours when it
 * is --ingress-class. Takes effect with the next run. */
void compile_hide_classes(struct compile *c, bool are_hidden);

/* What would be wrong with candidate if it were in the store in place of the object of its name:
 * what the compiler would say of it, and host and path that another Ingress of ours has already;
 * what may still come (Services) is a warning. Says nothing of one that is not ours. Changes
 * neither the compiler nor the store; O(candidate, and the Ingresses on its hosts). A change of the
 * store that no run has seen yet may be missed. Errors: E_NOMEM. */
enum err compile_judge(const struct compile *c, const struct ingress *candidate, diag_fn *fn,
                       void *arg);
