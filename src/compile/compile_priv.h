/* compile/compile_priv.h: the records that tie objects to shards, and the parts that use them.
 *
 *   Ingress --link--> host (SNAP_HOST)       a rule, or the default backend, adds to this host
 *           --use---> port (SNAP_SERVICE)    a backend names this Service and port
 *           --------> class                  whose coming and going decides whether it is ours
 *           --use---> secret (SNAP_CERTIFICATE, SNAP_AUTHORITY)   of spec.tls and annotations
 *           --link--> tls (SNAP_TLS_HOST)    a name that handshakes ask for
 *   port -----------> service                one Service, all its ports in use
 *        -----------> name                   what an ExternalName must be resolved as
 *   secret -----------> key (SNAP_KEY)         several certificates may have one private key
 *
 * A change of the store only marks records dirty (index.c), without scanning; compile_run() works
 * the dirty ones off: Ingresses first, since these create links and uses, then Secrets, since
 * others ask what is in them, then hosts, names of handshakes and ports.
 * Invariants: a dirty Ingress has been worked off before any host is compiled, so a link's rule is
 * always one of the present object; a record exists as long as something refers to it or its shard
 * has been emitted. */
#pragma once

#include "base/hash.h"
#include "base/list.h"
#include "compile/compile.h"
#include "snapshot/filters.h"
#include "tls/certificate.h"

/* ---- diagnostics (diags.c) ---- */

struct diag_book { /* all that are present */
    struct list all;
    bool is_sorted;
    diag_fn *on_diag;
    void *arg;
};

struct diag_batch { /* those of one record, being collected */
    struct list nodes;
    enum err err; /* sticky E_NOMEM */
};

/* What is always the same about a kind of finding. */
struct finding {
    enum diag_severity severity;
    enum diag_reason reason;
    const char *why, *mend;
};

/* Those that one Ingress gets because of another. */
enum conflict {
#define CONFLICT(name, severity, reason, why, mend) CONFLICT_##name,
#include "compile/conflicts.def"
#undef CONFLICT
    CONFLICTS_N
};
extern const struct finding conflict_findings[CONFLICTS_N];

void diag_batch_init(struct diag_batch *batch);
/* Copies *d except kind, why and mend, which are static texts. */
void diag_batch_add(struct diag_batch *batch, const struct diag *d);
/* Calls fn for each, in the order of a book. */
void diag_batch_tell(struct diag_batch *batch, diag_fn *fn, void *arg);
/* The same for those that owner does not have. */
void diag_batch_tell_added(struct diag_batch *batch, const struct list *owner, diag_fn *fn,
                           void *arg);
void diag_batch_drop(struct diag_batch *batch);
/* Makes the batch what owner has; tells of those that owner did not have before. Cannot fail. */
void diag_batch_commit(struct diag_batch *batch, struct diag_book *book, struct list *owner);
void diag_book_init(struct diag_book *book);
void diag_book_sort(struct diag_book *book);
void diag_book_each(const struct diag_book *book, diag_fn *fn, void *arg);
/* Drops what owner has. */
void diag_owner_clear(struct list *owner);

/* ---- records (index.c) ---- */

enum { KEY_PARTS = 4 };

struct key {
    struct str part[KEY_PARTS];
};

struct product { /* what has been emitted for a key */
    uint64_t hash;
    size_t bytes; /* 0: nothing, or a deletion */
};

struct node { /* head of every record */
    struct key key;
    uint64_t hash;
    struct list dirty; /* in one of struct compile's queues */
    struct list diags;
    struct product product;
};

struct place {     /* of a backend in an Ingress */
    uint32_t rule; /* SNAP_DEFAULT_RULE: spec.defaultBackend */
    uint32_t path; /* SNAP_DEFAULT_RULE: a rule without http, which takes spec.defaultBackend */
};

/* The variants of the Service ports that an Ingress names: for clients that speak TLS another one,
 * unless secure is empty. See speech.c. */
struct variants {
    struct str plain, secure;
};

struct ingress_node { /* key: namespace, name */
    struct node node;
    const struct ingress *object; /* NULL: deleted; then only its records are left to be undone */
    struct list in_class;         /* in class_node.ingresses or compile.classless */
    struct class_node *class;
    struct link *links;
    struct use *uses;
    struct secret_use *secrets;
    struct tls_link *names;
    uint32_t link_n, use_n, secret_n, name_n;
    struct variants variants; /* of the Service ports in uses */
    struct buf variant_text;
};

enum secret_role {
    SECRET_CERTIFICATE,
    SECRET_AUTHORITY,
    SECRET_TICKETS,
    SECRET_UPSTREAM, /* either, both or none of the first two: what endpoints are spoken to with */
    SECRET_ROLES_N
};

enum {
    CERTIFICATE_NAMES, /* a NUL behind each */
    CERTIFICATE_SERIAL,
    CERTIFICATE_ISSUER_FIRST, /* of its issuer: organization, common name, serial number */
    CERTIFICATE_TEXTS_N = CERTIFICATE_ISSUER_FIRST + 3
};

/* What is in service of a Secret as a certificate. */
struct certificate {
    char key_name[TLS_KEY_NAME_BYTES];
    enum tls_key_kind kind;
    int64_t not_before, not_after;
    struct str texts[CERTIFICATE_TEXTS_N]; /* in this block */
    char text[];
};

struct secret_node { /* key: namespace, name; its product is the certificate */
    struct node node;
    struct list uses; /* secret_use.in_secret */
    uint32_t role_n[SECRET_ROLES_N];
    struct certificate *certificate; /* NULL: none that can be used */
    struct key_node *key;            /* of that certificate */
    struct product authority;        /* bytes > 0: there is one that can be used */
    struct product tickets;          /* the same */
    bool is_time_told;               /* a finding says that it ends, has ended, or is too early */
    bool is_over;                    /* the one in service had ended when it was looked at last */
};

struct key_node { /* key: the name of a private key */
    struct node node;
    uint32_t use_n;
};

/* Where an Ingress, or an option, names a Secret. */
struct secret_use {
    struct list in_secret;
    const struct ingress_node *ingress; /* NULL: an option */
    struct secret_node *secret;
    enum secret_role role;
    uint32_t entry;         /* spec.tls[entry]; SECRET_BY_ANNOTATION */
    const char *annotation; /* its name */
};
enum { SECRET_BY_ANNOTATION = UINT32_MAX };

struct tls_node { /* key: pattern; "": names that nobody else has */
    struct node node;
    struct list links; /* tls_link.in_tls */
    /* Whose certificates it was compiled with last; none once an Ingress that may have brought one
     * is detached, so that each is in use. */
    const struct secret_node *chosen[SNAP_TLS_CERTIFICATES_MAX];
    uint32_t chosen_n;
};

/* An Ingress says something about handshakes for a name. */
struct tls_link {
    struct list in_tls;
    const struct ingress_node *ingress;
    struct tls_node *tls;
    uint32_t entry, host; /* spec.tls[entry].hosts[host]; TLS_OF_RULE: the name is a rule's host,
                             and any certificate of the Ingress that is for it will do */
};
enum { TLS_OF_RULE = UINT32_MAX };

struct class_node { /* key: name */
    struct node node;
    struct list ingresses; /* ingress_node.in_class */
};

struct host_node { /* key: pattern */
    struct node node;
    struct list links; /* link.in_host */
    bool covers_tls;   /* a wildcard with TLS, which the hosts below it share: https.c */
};

struct service_node { /* key: namespace, name */
    struct node node;
    struct list ports; /* port_node.in_service */
};

struct port_node { /* key: namespace, service, port as written ("" = the Service's first port), and
                      the variant: how Ingresses say that it is spoken to; see speech.c */
    struct node node;
    struct list uses; /* use.in_port */
    struct list in_service, in_name;
    struct service_node *service;
    struct name_node *name; /* NULL: does not depend on a resolution */
    uint64_t stamp;         /* of the attachment that used it last */
};

struct name_node { /* key: DNS name */
    struct node node;
    struct list ports; /* port_node.in_name */
};

struct link {
    struct list in_host;
    const struct ingress_node *ingress;
    struct host_node *host;
    uint32_t rule; /* SNAP_DEFAULT_RULE: the default backend, for the host "" */
    bool has_tls;  /* spec.tls of the Ingress counts for the host */
};

struct use {
    struct list in_port;
    const struct ingress_node *ingress; /* NULL: --default-backend-service */
    struct port_node *port;
    struct place place; /* the first one in this Ingress */
};

/* ---- working space, kept from run to run ---- */

struct candidate { /* a route in the making */
    struct str path, written;
    const struct ingress_backend *backend;
    struct place place;
    uint32_t order; /* index in host_work.links */
    bool is_exact;
    struct snap_range filters;
};

struct host_work {
    const struct link **links; /* of the host being compiled, in order of precedence */
    struct candidate *candidates;
    struct snap_filter *filters;
    size_t link_n, link_cap, candidate_n, candidate_cap, filter_n, filter_cap;
    size_t node_n;
    const struct link *fallback; /* whose default backend the host has, or NULL */
    bool has_tls;
    struct arena paths; /* normalised paths that differ from what was written */
};

struct endpoint_list {
    struct snap_endpoint *items;
    size_t n, cap;
};

struct speech { /* how endpoints are spoken to */
    enum snap_protocol protocol;
    bool is_tls;
    bool is_unsupported;
    uint8_t proxy_protocol; /* version of the header that comes first; 0: none */
};

struct upstream_tls {                /* what an Ingress says about TLS to its endpoints */
    struct str namespace_name, name; /* of the Secret with ca.crt, tls.crt and tls.key; empty: none,
                                        then nothing else is said */
    struct str ciphers;              /* empty: the usual ones */
    char server_name[TLS_NAME_BYTES_MAX]; /* as the certificate has it; n = 0: any */
    uint8_t server_name_n;
    bool is_verified, sends_name;
    bool is_broken;                          /* no connection is opened */
    uint8_t depth, min_version, max_version; /* as in struct snap_service */
};

/* What others know of the Secret that it names. */
struct upstream_tls_secret {
    bool is_there;
    bool has_authority;         /* a SNAP_AUTHORITY, out of ca.crt */
    bool has_certificate;       /* a SNAP_CERTIFICATE, out of tls.crt and tls.key */
    bool is_certificate_broken; /* one of these is there, but cannot be used */
};

struct service_work {
    enum snap_service_status status;
    struct speech speech;
    struct upstream_tls tls; /* counts when speech.is_tls */
    struct upstream_tls_secret tls_secret;
    uint64_t tls_stamp; /* of what the Secret has */
    enum snap_balance balance;
    struct endpoint_list endpoints;
    struct endpoint_list terminating; /* taken when nothing is ready */
};

struct tls_work {
    const struct tls_link **links; /* of the name being compiled, in order of precedence */
    size_t link_n, link_cap;
};

struct config { /* what counts of options and ConfigMap: config.c */
    struct snap_settings settings;
    struct https_policy https;
    struct ip_prefix trusted[TRUSTED_PREFIXES_MAX];
    uint32_t trusted_n;
    struct str ssl_ciphers, ssl_groups;
    uint8_t ssl_min_version, ssl_max_version;
};

struct compile {
    struct store *store;
    const struct compile_options *options;
    struct map ingresses, classes, hosts, services, ports, names, secrets, keys, tls;
    struct list dirty_ingresses, dirty_hosts, dirty_ports, dirty_secrets, dirty_keys, dirty_tls;
    struct list classless; /* ingress_node.in_class of those that say nothing about their class */
    bool has_default_class, is_default_class_ours;
    bool are_classes_hidden;
    bool has_missed;                       /* the store may hold Ingresses without a record */
    struct host_node *any_host;            /* key "" */
    struct tls_node *any_tls;              /* key "" */
    struct secret_use default_certificate; /* of options.default_certificate */
    struct secret_use ticket_keys;         /* of options.ticket_secret */
    struct product own_certificate;        /* options.own_chain */
    int64_t now_s;                         /* seconds since 1970; 0: nobody knows */
    struct store_listener listener;
    struct use default_use; /* of options.default_service */
    struct product global;
    struct config config; /* as of the last run */
    struct list config_diags;
    bool is_config_dirty, is_global_dirty;
    uint64_t stamp, secret_version;
    struct diag_book *book;
    struct buf shard, key, field, what;
    struct host_work host;
    struct service_work service;
    struct tls_work tls_work;
    compile_pending_fn *is_pending; /* or NULL */
    const void *pending_arg;
    compile_shard_fn *emit; /* of the run that is on */
    void *emit_arg;
};

/* ---- index.c ---- */

void *node_find(const struct map *m, const struct key *key);
/* The record of key, made (size bytes, cleared but for its head) when there is none; NULL: E_NOMEM.
 */
void *node_make(struct map *m, const struct key *key, size_t size);
/* Unlinks and frees; the record's own lists are empty or undone. */
void node_free(struct map *m, struct node *n);
static inline void node_mark(struct list *queue, struct node *n)
{
    if (!list_is_linked(&n->dirty)) {
        list_append(queue, &n->dirty);
    }
}
struct host_node *host_make(struct compile *c, struct str pattern);
struct port_node *port_make(struct compile *c, const struct key *key);
/* Makes name what port depends on; empty: nothing. Errors: E_NOMEM. */
enum err port_depend(struct compile *c, struct port_node *port, struct str name);
/* Frees the port's record and what only it refers to. */
void port_free(struct compile *c, struct port_node *port);
/* A store_change_fn over struct compile. */
void index_change(void *arg, const struct object *old_object, const struct object *new_object);
/* Marks every Ingress that names a class. */
void index_classes_changed(struct compile *c);
/* Makes records for Ingresses of the store that have none. Errors: E_NOMEM. */
enum err index_catch_up(struct compile *c);

/* ---- class.c ---- */

struct class_verdict {
    bool is_ours;
    bool is_unknown;  /* ingressClassName names no IngressClass */
    bool is_disputed; /* ingressClassName and the annotation disagree */
    const char *why;
};

struct class_verdict class_judge(const struct compile *c, const struct ingress *ingress);
/* Looks for the default class anew; true when that changed. O(classes). */
bool class_default_refresh(struct compile *c);
/* Our IngressClasses are those of ingress-nginx, whose semantics come with them. */
bool class_is_nginx(const struct compile *c);
/* The value of the legacy annotation; empty when there is none. */
struct str class_annotation(const struct ingress *ingress);
void class_check(struct compile *c, struct diag_batch *batch, const struct ingress *ingress,
                 const struct class_verdict *verdict);

/* ---- ingress.c ---- */

enum err ingress_update(struct compile *c, struct ingress_node *n);
/* What is wrong with it by itself. */
void ingress_check(struct compile *c, struct diag_batch *batch, const struct ingress *in);
bool host_is_usable(struct str host);
/* Undoes links and uses, and marks what these led to. */
void ingress_detach(struct compile *c, struct ingress_node *n);

/* ---- place.c ---- */

const struct ingress_backend *place_backend(const struct ingress *ingress, struct place place);
uint32_t place_line(const struct ingress *ingress, struct place place);
/* Sets c->field: "spec.rules[0].http.paths[1]" and what is behind it. */
void place_field(struct compile *c, struct place place, const char *more);
/* The next place in reading order that can have a backend; false at the end. Begin with
 * place_first. */
bool place_next(const struct ingress *ingress, struct place *place);
struct place place_first(void);
/* True when it names a Service and a port in a way that a key can be made of. */
bool backend_is_service(const struct ingress_backend *backend);
/* The port as it was written; digits has room for U16_DIGITS. */
enum { U16_DIGITS = 5 };
struct str backend_port(const struct ingress_backend *backend, char digits[U16_DIGITS]);
/* The first bytes of a text from a manifest: enough to find it by, whatever its length. */
struct str shown(struct str text);
/* c->what emptied, to be filled. */
struct buf *what_begin(struct compile *c);
/* Adds a diagnostic with c->field and c->what. */
void finding_add(struct compile *c, struct diag_batch *batch, const struct object *o, uint32_t line,
                 const struct finding *f);

/* ---- host.c: one host; host_paths.c: its paths; host_write.c: its bytes ---- */

enum err host_compile(struct compile *c, struct host_node *host);
/* Fills c->host with the ordered links, the surviving candidates in table order, and the default.
 * Errors: E_NOMEM. */
enum err host_gather(struct compile *c, const struct host_node *host, struct diag_batch *batch);
/* Writes c->host as a shard into c->shard. Errors: E_NOMEM, E_LIMIT. */
enum err host_write(struct compile *c, const struct host_node *host);
/* Sets c->key to a service's. */
void service_key(struct compile *c, const struct key *key);

/* As requests are matched: normalised; a prefix without the slashes at its end. Errors: E_NOMEM,
 * E_PROTO. */
enum err path_normalize(struct arena *arena, const struct ingress_path *path, struct str *ret);
extern const struct finding path_is_invalid;
/* The default backends of both are the same. */
bool default_is_same(const struct ingress *a, const struct ingress *b);

/* Precedence: the older one, then by namespace, then by name. */
int ingress_cmp(const struct ingress_node *a, const struct ingress_node *b);
/* Of the same name. */
bool ingress_is_same(const struct ingress_node *a, const struct ingress_node *b);

/* ---- secret.c ---- */

/* One more use of a Secret: fills the rest of *use, which stays where it is until it is released.
 * Errors: E_NOMEM. */
enum err secret_use(struct compile *c, struct str namespace_name, struct str name,
                    struct secret_use *use);
void secret_release(struct compile *c, struct secret_use *use);
enum err secret_compile(struct compile *c, struct secret_node *secret);
/* Those that nobody uses any more; after all Secrets. Errors: E_NOMEM, those of emit. */
enum err keys_drop(struct compile *c);
/* The certificate that was made for want of another. Errors: E_NOMEM. */
enum err own_certificate_compile(struct compile *c);
/* True when host (lower case) is one of its names. */
bool certificate_covers(const struct certificate *certificate, struct str host);
/* Time has brought it to its end, or to its begin. */
bool secret_is_time_due(const struct compile *c, const struct secret_node *secret);
/* The source has not answered yet, or there may be one still to come. */
bool secret_is_pending(const struct compile *c, const struct secret_node *secret);
/* Everybody who uses it in that role gets what stands in c->what. */
void secret_tell_users(struct compile *c, struct diag_batch *batch,
                       const struct secret_node *secret, enum secret_role role,
                       const struct finding *f);
/* The Secret is not there; false: nobody knows yet, and nobody is told. */
bool secret_tell_missing(struct compile *c, struct diag_batch *batch,
                         const struct secret_node *secret, enum secret_role role,
                         const struct finding *f);

/* ---- tickets.c ---- */

/* What of it are keys of tickets; object: NULL: it is not there. Errors: E_NOMEM, those of emit. */
enum err tickets_compile(struct compile *c, struct diag_batch *batch, struct secret_node *secret,
                         const struct secret *object);

/* ---- tls_host.c, tls_links.c ---- */

struct client_auth;

enum err tls_host_compile(struct compile *c, struct tls_node *tls);
/* Which Secrets an Ingress uses, and about which names it says something. Errors: E_NOMEM. */
enum err ingress_tls_attach(struct compile *c, struct ingress_node *n);
void ingress_tls_detach(struct compile *c, struct ingress_node *n);
struct tls_node *tls_make(struct compile *c, struct str pattern);
/* It says something about the names of its rules and of spec.tls; about how many at most. */
bool ingress_has_names(const struct compile *c, const struct ingress *in);
size_t ingress_names_max(const struct ingress *in);
/* Puts links of one name together. Errors: E_NOMEM. */
enum err tls_work_add(struct tls_work *w, const struct tls_link *link);
void tls_work_sort(struct tls_work *w);
/* Which Ingress decides what clients have to show for the name whose links are in c->tls_work;
 * tells those that are overruled. NULL: no Ingress says anything. */
const struct ingress *client_auth_find(struct compile *c, struct diag_batch *batch,
                                       struct client_auth *ret);

/* ---- passthrough.c ---- */

/* The Ingress wants the TLS of its hosts passed through, and may. */
bool passthrough_is_on(const struct compile *c, const struct ingress *in);
/* The same, whether or not it may: its hosts' TLS goes to Service ports of this variant. */
bool passthrough_has_variant(const struct ingress *in, struct str variant);
/* False: no variant of these. */
bool passthrough_speech(struct str variant, struct speech *ret);
/* The Service port that gets the TLS of a rule's host, by what the Ingress says. *ret borrows from
 * the Ingress and from digits. False: none. */
bool passthrough_key(const struct compile *c, const struct ingress *in, uint32_t rule,
                     char digits[U16_DIGITS], struct place *ret_place, struct key *ret);
/* The same for a name, by what all Ingresses say, whose links are in c->tls_work; tells those that
 * are overruled. */
bool passthrough_find(struct compile *c, struct diag_batch *batch, const struct tls_node *tls,
                      char digits[U16_DIGITS], struct key *ret);
/* The same, where the oldest Ingress that has a rule for the host is known already. */
bool passthrough_decide(struct compile *c, struct diag_batch *batch,
                        const struct ingress_node *oldest, char digits[U16_DIGITS],
                        struct key *ret);
/* TLS of the host (lower case) may be passed through at all. */
bool passthrough_is_for(const struct compile *c, struct str host);
/* An Ingress has come to the host (lower case) or left it. */
void passthrough_touch(struct compile *c, struct str host);
/* Says what is wrong with the annotations. */
void passthrough_check(struct compile *c, struct diag_batch *batch, const struct ingress *in);

/* ---- client_auth.c ---- */

struct client_auth {                 /* what an Ingress says about the certificates of clients */
    struct str namespace_name, name; /* of the Secret with the authorities */
    enum snap_client_verify verify;
    uint8_t depth;
    bool is_denied; /* nobody gets in */
    bool passes_certificate;
    struct str name_pattern, error_page;
};

#define CLIENT_AUTH_SECRET "nginx.ingress.kubernetes.io/auth-tls-secret"
/* False: nothing is asked for. */
bool client_auth_get(const struct ingress *in, struct client_auth *ret);
/* Says what is wrong with the annotations. */
void client_auth_check(struct compile *c, struct diag_batch *batch, const struct ingress *in);

/* ---- service.c, endpoints.c, external.c, balance.c, speech.c ---- */

enum err service_compile(struct compile *c, struct port_node *port);
/* Tells every Ingress that uses port of c->what; more is what stands behind the place. */
void service_tell(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                  const char *more, const struct finding *f);
/* The same, and sets the status, for a port that the Service does not have. */
void service_tell_no_port(struct compile *c, struct diag_batch *batch,
                          const struct port_node *port);
/* Fills c->service.endpoints from the slices. Errors: E_NOMEM, E_LIMIT. */
enum err endpoints_gather(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                          const struct service *service, const struct service_port *service_port);
enum err endpoint_list_add(struct endpoint_list *l, const struct ip *ip, uint16_t port);
void endpoint_list_sort(struct endpoint_list *l); /* and drops duplicates */
/* Fills c->service from the Service's external name. */
enum err external_gather(struct compile *c, struct diag_batch *batch, struct port_node *port,
                         const struct service *service);
/* Says what is wrong with the annotation. */
void balance_check(struct compile *c, struct diag_batch *batch, const struct ingress *ingress);
/* What the first Ingress that uses port says; tells those that say something else. */
enum snap_balance balance_gather(struct compile *c, struct diag_batch *batch,
                                 const struct port_node *port);
/* The annotation is there, and good. */
bool balance_is_said(const struct ingress *ingress);
/* What candidate, which is tied to nothing, would be told as one more user of port. */
void balance_judge(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                   const struct ingress_node *candidate);
/* Borrows from text where they are no constants; false: out of memory. */
bool variants_get(const struct ingress *ingress, struct buf *text, struct variants *ret);
/* Endpoints of the Ingress are spoken to over TLS, or may be: appProtocol decides. */
bool speech_may_be_tls(const struct compile *c, const struct ingress *ingress);
/* Says what is wrong with the annotation. */
void speech_check(struct compile *c, struct diag_batch *batch, const struct ingress *ingress);
struct speech speech_of_variant(struct str variant);
/* What the port's appProtocol says, where no Ingress says anything; service_port may be NULL. */
void speech_gather(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                   const struct service_port *service_port);
/* NULL when the Service has no such TCP port. */
const struct service_port *service_find_port(const struct service *service, struct str port);
/* The same; a headless Service without ports has any, which fills *portless. */
const struct service_port *service_find_any_port(const struct service *service, struct str port,
                                                 struct service_port *portless);

/* ---- upstream_tls.c ---- */

enum upstream_tls_lack {
    UPSTREAM_TLS_NOTHING,
    UPSTREAM_TLS_SECRET,
    UPSTREAM_TLS_AUTHORITY,  /* what it is to be verified by */
    UPSTREAM_TLS_CERTIFICATE /* of our own */
};

#define UPSTREAM_TLS_SECRET_ANNOTATION "nginx.ingress.kubernetes.io/proxy-ssl-secret"

struct upstream_tls_texts { /* in a shard */
    struct snap_str server_name, ciphers, authority, certificate;
};

struct tls_protocols { /* has_old: those before, which Lintel does not speak */
    bool has_12, has_13, has_old;
};

/* nginx' words with blanks between them, "TLSv1.2 TLSv1.3". False: one is unknown, or none of them
 * is of these two. */
bool tls_protocols_parse(struct str text, struct tls_protocols *ret);
/* Ciphers of TLS 1.2 that the library knows some of, without words that lower its standards. */
bool tls_ciphers_are_usable(struct str text);
/* Always something: without annotations, TLS that verifies nothing. Borrows from in. */
void upstream_tls_get(const struct ingress *in, struct upstream_tls *ret);
/* Says what is wrong with the annotations. speaks_tls: what backend-protocol says. */
void upstream_tls_check(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                        bool speaks_tls);
/* What TLS needs and the Secret does not have: then no connection is opened. */
enum upstream_tls_lack upstream_tls_lacks(const struct upstream_tls *t,
                                          const struct upstream_tls_secret *s);
/* lack is not UPSTREAM_TLS_NOTHING. */
void upstream_tls_tell_lack(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                            const struct upstream_tls *t, enum upstream_tls_lack lack);
/* Adds what belongs into snap_service.variant, word in front: the same text for the same thing
 * only, without '/'. */
void upstream_tls_emit_variant(const struct upstream_tls *t, struct str word, struct buf *out);
/* A SNAP_SERVICE in two steps: the texts are added while its arrays are, the rest is filled in when
 * shard->bad is known to be false. stamp: another one when the content of the Secret changes. */
void upstream_tls_add(struct buf *shard, const struct upstream_tls *t,
                      const struct upstream_tls_secret *s, struct upstream_tls_texts *ret);
void upstream_tls_fill(struct snap_service *root, const struct upstream_tls *t,
                       enum upstream_tls_lack lack, const struct upstream_tls_texts *texts,
                       uint64_t stamp);

/* ---- upstream_secret.c ---- */

/* Whether the Secret is to be read as one of ours, and as authorities; object may be NULL. */
bool upstream_secret_has_certificate(const struct secret *object);
bool upstream_secret_has_authority(const struct secret *object);
/* Tells the Ingresses for whose endpoints it lacks something. */
void upstream_secret_tell_lacks(struct compile *c, struct diag_batch *batch,
                                const struct secret_node *secret);
/* Fills c->service.tls and what is known of its Secret: what the Ingresses that use port say, which
 * is the same for all of them. */
void upstream_secret_gather(struct compile *c, const struct port_node *port);
/* Of an Ingress that names a Secret for its endpoints: all its ports are to be compiled anew. */
void upstream_secret_mark(struct compile *c, const struct ingress_node *n);

/* ---- filters.c, filter_<name>.c ---- */

/* Says what is wrong with the filter's annotations. */
typedef void filter_check_fn(struct compile *c, struct diag_batch *batch,
                             const struct ingress *ingress);
/* Writes the filter's struct into c->shard, for a route of ingress on the host in c->host; its
 * offset, or 0 when the route does not have this filter. */
typedef uint32_t filter_write_fn(struct compile *c, const struct ingress *ingress);
#define FILTER(name, number, halves)                                                               \
    filter_check_fn filter_##name##_check;                                                         \
    filter_write_fn filter_##name##_write;
#include "snapshot/filters.def"
#undef FILTER

void filters_check(struct compile *c, struct diag_batch *batch, const struct ingress *ingress);
/* Writes every filter of ingress to c->shard and appends to c->host.filters. Errors: E_NOMEM. */
enum err filters_write(struct compile *c, const struct ingress *ingress);
/* Sets c->field to an annotation's. */
void annotation_field(struct compile *c, const char *name);
/* Without blanks and line ends around it, which YAML block scalars leave. */
struct str value_trim(struct str value);
/* Its value, trimmed; empty: not there. */
struct str annotation_get(const struct ingress *ingress, const char *name);
/* Its value when that is true or false in one of the ways that ingress-nginx takes. */
bool annotation_flag(const struct ingress *ingress, const char *name, bool *ret);
/* Says so when it is there and neither true nor false. */
void annotation_flag_check(struct compile *c, struct diag_batch *batch,
                           const struct ingress *ingress, const char *name);
/* The Ingress answers with a redirect of its own. */
bool redirect_is_set(const struct ingress *ingress);

/* ---- config.c ---- */

/* Takes note of a change of a ConfigMap. */
void config_changed(struct compile *c, const struct object *o);
/* Reads it when it has changed, and marks what depends on it. Errors: E_NOMEM. */
enum err config_refresh(struct compile *c);

/* ---- https.c ---- */

/* A status that a redirect to https may have. */
bool https_is_redirect(uint64_t status);

const struct https_policy *https_policy(const struct compile *c);
/* Finds out for which links spec.tls of their Ingress counts. Errors: E_NOMEM. */
enum err https_links(const struct compile *c, struct ingress_node *n);
/* The first rule whose host spec.tls does not count for in our own class, though it is there;
 * rule_n: none. Errors: E_NOMEM. */
enum err https_uncovered(const struct ingress *in, uint32_t *ret_rule);
/* The host has TLS. */
bool https_host(const struct compile *c, const struct host_node *host);
/* Marks the hosts below those dirty wildcards that got or lost TLS, where that counts for them. */
void https_spread(struct compile *c);

/* ---- judge.c, judge_shared.c ---- */

/* A link may be older than the object, when no run has come between: then it may lead nowhere. */
bool link_is_sound(const struct link *link);
/* What it and other Ingresses say about one host's TLS, or one Service port. Errors: E_NOMEM. */
enum err judge_shared(struct compile *c, struct diag_batch *batch, const struct ingress *in);

/* ---- judge_tls.c ---- */

/* Warns of Secrets that are not there or of no use. Errors: E_NOMEM. */
enum err judge_tls(struct compile *c, struct diag_batch *batch, const struct ingress *in);

/* ---- judge_nginx.c ---- */

/* Warns of what ingress-nginx would do in another way, or refuse. */
void judge_nginx(struct compile *c, struct diag_batch *batch, const struct ingress *in);

/* ---- emit.c ---- */

/* Emits the finished shard in c->shard if it differs from what key has. */
enum err product_emit(struct compile *c, struct product *product);
/* Emits a deletion if key has anything. c->key holds the key. */
enum err product_delete(struct compile *c, struct product *product, enum snap_kind kind);
enum err global_compile(struct compile *c);
