/* From a service's shard to a client of TLS with a dialer on top.
 *
 *   take ──> taken, by one or more shards ──give──> given ──sweep──> freed
 *              └───────────<── take ────────────────────┘
 *
 * What was given back stays until its last connection is gone, and may be taken again until then.
 */
#include "worker/upstream_tls.h"

#include "base/limits.h"
#include "base/mem.h"
#include "log/log.h"
#include "tls/context.h"

/* What makes two dialers the same; behind it the texts, whose lengths these are. */
struct facts {
    uint64_t stamp;
    uint32_t service_n, name_n, ciphers_n, authority_n, certificate_n;
    uint8_t protocol, is_verified, depth, sends_name, min_version, max_version;
    uint8_t zero[6];
};

typedef enum err dial_fn(struct http_dialer *d, const struct ip *ip, uint16_t port,
                         const struct http_conn_events *events, void *owner,
                         struct http_conn **ret);

struct tls_dialer {
    union {
        struct http_dialer base; /* the first part of the others */
        struct http1_dialer http1;
        struct http2_dialer http2;
    } as;          /* facts.protocol says which */
    dial_fn *dial; /* that one's own */
    struct upstream_tls *owner;
    struct tls_client *client; /* NULL: not made yet */
    struct list link;          /* in owner.given, while take_n is 0 */
    uint32_t take_n;
    uint64_t hash;
    usec_t told_at;    /* the last line of the log */
    uint32_t untold_n; /* failures since */
    struct facts facts;
    struct str identity; /* facts and texts, as they were gathered */
    struct str service, name, ciphers, authority, certificate; /* in it */
    char bytes[];
};

static struct tls_dialer *dialer_of(struct http_dialer *base)
{
    return container_of(base, struct tls_dialer, as.base);
}

/* ---- what people are told ---- */

/* At most one line in a while for each service: each request may fail. */
static bool may_tell(struct tls_dialer *d)
{
    usec_t now = clock_monotonic();
    if (d->told_at != 0 && now - d->told_at < UPSTREAM_TLS_TOLD) {
        d->untold_n++;
        return false;
    }
    d->told_at = now;
    return true;
}

static void on_failure(struct tls_client *c, const struct tls_failure *f)
{
    struct tls_dialer *d = c->owner;
    char text[IP_TEXT_MAX];
    struct wr w = wr_make(text, sizeof(text));
    if (!may_tell(d)) {
        return;
    }
    ip_emit(&w, &f->ip);
    log_line(LOG_WARN, "no TLS with an endpoint: %s endpoint=%.*s port=%u service=%.*s untold=%u",
             f->text, (int)wr_n(&w), text, f->port, STR_ARG(d->service), d->untold_n);
    d->untold_n = 0;
}

static enum err lacking(struct tls_dialer *d, const char *why)
{
    if (may_tell(d)) {
        log_line(LOG_WARN, "no TLS to a service: %s service=%.*s untold=%u", why,
                 STR_ARG(d->service), d->untold_n);
        d->untold_n = 0;
    }
    return E_PROTO;
}

/* ---- the client ---- */

static const void *shard_find(const struct snapshot *s, enum snap_kind kind, struct str key)
{
    const struct snapshot_entry *entry = snapshot_find(s, kind, key, hash_str(key));
    return entry == NULL ? NULL : entry->shard;
}

/* The texts of an array of struct snap_str, to be freed. NULL: none, or out of memory. */
static struct str *texts_get(const void *shard, struct snap_array array)
{
    const struct snap_str *items = snap_array_get(shard, array);
    struct str *texts = array.n == 0 ? NULL : mem_calloc(array.n, sizeof(*texts));
    for (uint32_t i = 0; texts != NULL && i < array.n; i++) {
        texts[i] = snap_str_get(shard, items[i]);
    }
    return texts;
}

struct found {
    const struct snap_authority *authority;
    const struct snap_certificate *certificate;
    const struct snap_key *key;
    struct str *authorities, *revocations, *chain;
};

static enum err shards_find(struct tls_dialer *d, struct found *f)
{
    const struct upstream_tls *u = d->owner;
    f->authority = shard_find(u->routes, SNAP_AUTHORITY, d->authority);
    f->certificate = shard_find(u->routes, SNAP_CERTIFICATE, d->certificate);
    if (d->facts.is_verified && d->authority.n == 0) { /* a worker reads no files */
        return lacking(d, "the authorities of the system are not known here");
    }
    if (d->facts.is_verified && f->authority == NULL) {
        return lacking(d, "the authorities are not there");
    }
    if (d->certificate.n == 0) {
        return E_OK;
    }
    if (f->certificate == NULL) {
        return lacking(d, "the client certificate is not there");
    }
    f->key =
        shard_find(u->secrets, SNAP_KEY, snap_str_get(f->certificate, f->certificate->key_name));
    return f->key == NULL ? lacking(d, "the client certificate's key is not there") : E_OK;
}

static enum err found_open(struct found *f)
{
    if (f->authority != NULL) {
        f->authorities = texts_get(f->authority, f->authority->certificates);
        f->revocations = texts_get(f->authority, f->authority->revocations);
        if ((f->authorities == NULL && f->authority->certificates.n > 0) ||
            (f->revocations == NULL && f->authority->revocations.n > 0)) {
            return E_NOMEM;
        }
    }
    if (f->certificate != NULL) {
        f->chain = texts_get(f->certificate, f->certificate->chain); /* at least one */
        return f->chain == NULL ? E_NOMEM : E_OK;
    }
    return E_OK;
}

static void found_close(struct found *f)
{
    mem_free(f->authorities);
    mem_free(f->revocations);
    mem_free(f->chain);
}

static enum err client_new(struct tls_dialer *d, const struct found *f)
{
    const struct facts *facts = &d->facts;
    struct tls_client_options o = {
        .authorities = f->authorities,
        .authority_n = f->authorities == NULL ? 0 : f->authority->certificates.n,
        .revocations = f->revocations,
        .revocation_n = f->revocations == NULL ? 0 : f->authority->revocations.n,
        .is_verified = facts->is_verified,
        .depth = facts->depth,
        .sends_name = facts->sends_name,
        .name = d->name,
        .chain = f->chain,
        .chain_n = f->chain == NULL ? 0 : f->certificate->chain.n,
        .key = f->key == NULL ? STR_EMPTY : snap_str_get(f->key, f->key->key),
        .min_version = facts->min_version,
        .max_version = facts->max_version,
        .ciphers = d->ciphers,
        .alpn = facts->protocol == SNAP_HTTP2 ? TLS_ALPN_HTTP2 : 0,
    };
    const char *why;
    enum err e = tls_client_new(d->owner->shared, d->owner->stats, &o, &why, &d->client);
    if (e != E_OK) {
        return e == E_PROTO ? lacking(d, why) : e;
    }
    d->client->on_failure = on_failure;
    d->client->owner = d;
    *(facts->protocol == SNAP_HTTP2 ? &d->as.http2.opener : &d->as.http1.opener) =
        &d->client->opener;
    return E_OK;
}

static enum err client_make(struct tls_dialer *d)
{
    struct found f = {0};
    TRY(shards_find(d, &f));
    enum err e = found_open(&f);
    if (e == E_OK) {
        e = client_new(d, &f);
    }
    found_close(&f);
    if (e == E_NOMEM) {
        stats_add(&d->owner->stats->limit_memory, 1);
    }
    return e;
}

/* ---- the dialers ---- */

static enum err tls_dial(struct http_dialer *base, const struct ip *ip, uint16_t port,
                         const struct http_conn_events *events, void *owner, struct http_conn **ret)
{
    struct tls_dialer *d = dialer_of(base);
    if (d->client == NULL) {
        TRY(client_make(d));
    }
    return d->dial(base, ip, port, events, owner, ret);
}

static enum err unable_dial(struct http_dialer *base, const struct ip *ip, uint16_t port,
                            const struct http_conn_events *events, void *owner,
                            struct http_conn **ret)
{
    (void)base;
    (void)ip;
    (void)port;
    (void)events;
    (void)owner;
    (void)ret;
    return E_PROTO;
}

static enum err refusing_dial(struct http_dialer *base, const struct ip *ip, uint16_t port,
                              const struct http_conn_events *events, void *owner,
                              struct http_conn **ret)
{
    (void)unable_dial(base, ip, port, events, owner, ret); /* just as little */
    return E_REFUSED;
}

/* Into u->facts. */
static void facts_gather(struct upstream_tls *u, const struct snap_service *s)
{
    struct str texts[] = {snap_str_get(s, s->shard.key), snap_str_get(s, s->tls_name),
                          snap_str_get(s, s->ciphers), snap_str_get(s, s->authority),
                          snap_str_get(s, s->certificate)};
    struct facts facts = {
        .stamp = s->stamp,
        .service_n = (uint32_t)texts[0].n,
        .name_n = (uint32_t)texts[1].n,
        .ciphers_n = (uint32_t)texts[2].n,
        .authority_n = (uint32_t)texts[3].n,
        .certificate_n = (uint32_t)texts[4].n,
        .protocol = s->protocol,
        .is_verified = s->is_verified,
        .depth = s->depth,
        .sends_name = s->sends_name,
        .min_version = s->min_version,
        .max_version = s->max_version,
    };
    buf_reset(&u->facts);
    buf_add(&u->facts, &facts, sizeof(facts));
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        buf_add_str(&u->facts, texts[i]);
    }
}

static bool has_identity(const void *value, const void *identity)
{
    return str_eq(((const struct tls_dialer *)value)->identity, *(const struct str *)identity);
}

/* The next n bytes of the text. */
static struct str text_take(struct str *rest, uint32_t n)
{
    struct str text = str_first(*rest, n);
    *rest = str_from(*rest, n);
    return text;
}

/* What the protocol has of it. Its opener comes with the first connection. */
static enum err dialer_init(struct tls_dialer *d)
{
    struct upstream_tls *u = d->owner;
    if (d->facts.protocol == SNAP_HTTP2) {
        TRY(http2_dialer_init(&d->as.http2, u->http2, u->stats, NULL));
    } else {
        http1_dialer_init(&d->as.http1, u->http1, u->stats);
    }
    d->dial = d->as.base.dial;
    d->as.base.dial = tls_dial;
    return E_OK;
}

static struct tls_dialer *dialer_new(struct upstream_tls *u, struct str identity)
{
    struct tls_dialer *d = mem_calloc(1, sizeof(*d) + identity.n);
    if (d == NULL) {
        return NULL;
    }
    d->owner = u;
    d->hash = hash_str(identity);
    mem_copy(&d->facts, identity.p, sizeof(d->facts));
    if (dialer_init(d) != E_OK) {
        mem_free(d);
        return NULL;
    }
    mem_copy(d->bytes, identity.p, identity.n);
    d->identity = str_make(d->bytes, identity.n);
    struct str rest = str_from(d->identity, sizeof(d->facts));
    d->service = text_take(&rest, d->facts.service_n);
    d->name = text_take(&rest, d->facts.name_n);
    d->ciphers = text_take(&rest, d->facts.ciphers_n);
    d->authority = text_take(&rest, d->facts.authority_n);
    d->certificate = text_take(&rest, d->facts.certificate_n);
    return d;
}

static void dialer_free(struct tls_dialer *d)
{
    must(d->as.base.conn_n == 0);
    if (d->facts.protocol == SNAP_HTTP2) {
        http2_dialer_fini(&d->as.http2);
    }
    tls_client_free(d->client);
    mem_free(d);
}

static void dialer_forget(struct tls_dialer *d)
{
    list_del(&d->link);
    (void)map_del(&d->owner->dialers, d->hash, d); /* it is there */
    dialer_free(d);
}

static struct tls_dialer *dialer_get(struct upstream_tls *u, struct str identity)
{
    struct tls_dialer *d = map_get(&u->dialers, hash_str(identity), has_identity, &identity);
    if (d != NULL) {
        return d;
    }
    d = dialer_new(u, identity);
    if (d != NULL && map_add(&u->dialers, d->hash, d) != E_OK) {
        dialer_free(d);
        return NULL;
    }
    return d;
}

struct http_dialer *upstream_tls_take(struct upstream_tls *u, const struct snap_service *s)
{
    if (s->is_broken) {
        return &u->unable;
    }
    if (s->protocol != SNAP_HTTP1 && s->protocol != SNAP_HTTP2) {
        return &u->refusing;
    }
    facts_gather(u, s);
    struct tls_dialer *d = u->facts.bad ? NULL : dialer_get(u, buf_str(&u->facts));
    if (d == NULL) {
        stats_add(&u->stats->limit_memory, 1);
        return NULL;
    }
    d->take_n++;
    list_del(&d->link);
    return &d->as.base;
}

static void on_sweep(struct timer *t)
{
    struct upstream_tls *u = container_of(t, struct upstream_tls, sweep);
    list_each(it, &u->given)
    {
        struct tls_dialer *d = container_of(it, struct tls_dialer, link);
        if (d->as.base.conn_n == 0) {
            dialer_forget(d);
        }
    }
    if (!list_is_empty(&u->given)) {
        loop_arm(u->http1->loop, &u->sweep, UPSTREAM_TLS_SWEEP, on_sweep);
    }
}

void upstream_tls_give(struct upstream_tls *u, struct http_dialer *dialer)
{
    if (dialer == &u->unable || dialer == &u->refusing) {
        return;
    }
    struct tls_dialer *d = dialer_of(dialer);
    d->take_n--;
    if (d->take_n == 0) {
        list_append(&u->given, &d->link);
        loop_arm(u->http1->loop, &u->sweep, UPSTREAM_TLS_SWEEP, on_sweep);
    }
}

/* ---- the whole ---- */

void upstream_tls_init(struct upstream_tls *u, struct http1_context *http1,
                       struct http2_context *http2, struct tls_shared *shared,
                       const struct snapshot *routes, const struct snapshot *secrets,
                       struct stats_page *stats)
{
    *u = (struct upstream_tls){
        .http1 = http1,
        .http2 = http2,
        .shared = shared,
        .routes = routes,
        .secrets = secrets,
        .stats = stats,
        .unable = {unable_dial},
        .refusing = {refusing_dial},
    };
    map_init(&u->dialers);
    list_init(&u->given);
    buf_init(&u->facts, SNAPSHOT_SHARD_BYTES_MAX); /* they come from one shard */
}

void upstream_tls_fini(struct upstream_tls *u)
{
    loop_disarm(u->http1->loop, &u->sweep);
    list_each(it, &u->given)
    {
        dialer_forget(container_of(it, struct tls_dialer, link));
    }
    must(u->dialers.n == 0); /* all were given back */
    map_fini(&u->dialers);
    buf_fini(&u->facts);
}
