/* A table of what was decoded, in order of use. An entry says which shard it is of; whatever
 * changes that shard drops the entry. A private key that is missing is not remembered: it may be on
 * its way. */
#include "tls/served.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include "base/list.h"
#include "base/mem.h"
#include "tls/served_priv.h"

struct entry {
    struct list in_use; /* the one used last in front */
    enum snap_kind kind;
    uint64_t hash;
    struct str key; /* behind the struct */
    union {
        struct served_certificate certificate;
        struct served_authority authority;
    } u;
};

struct tls_served {
    const struct snapshot *routes, *secrets;
    struct map entries;
    struct list in_use;
    size_t max;
    struct tls_served_figures figures;
};

/* ---- decoding ---- */

/* False: one of them cannot be decoded. */
static bool chain_load(const struct snap_certificate *from, struct served_certificate *to)
{
    const struct snap_str *ders = snap_array_get(from, from->chain);
    to->leaf = tls_der_certificate(snap_str_get(from, ders[0])); /* there is at least one */
    to->chain = sk_X509_new_null();
    bool is_good = to->leaf != NULL && to->chain != NULL;
    for (uint32_t i = 1; is_good && i < from->chain.n; i++) {
        X509 *x = tls_der_certificate(snap_str_get(from, ders[i]));
        is_good = x != NULL && sk_X509_push(to->chain, x) > 0;
        if (!is_good) {
            X509_free(x);
        }
    }
    return is_good;
}

static EVP_PKEY *key_load(const struct tls_served *s, const struct snap_certificate *from)
{
    struct str name = snap_str_get(from, from->key_name);
    const struct snapshot_entry *e = snapshot_find(s->secrets, SNAP_KEY, name, from->key_hash);
    if (e == NULL) {
        return NULL;
    }
    return tls_der_key(
        snap_str_get(e->shard, ((const struct snap_key *)(const void *)e->shard)->key));
}

static bool certificate_load(const struct tls_served *s, const struct snap_shard *shard,
                             struct served_certificate *to)
{
    const struct snap_certificate *from = (const struct snap_certificate *)(const void *)shard;
    if (!chain_load(from, to)) {
        return false;
    }
    to->key = key_load(s, from);
    return to->key != NULL && X509_check_private_key(to->leaf, to->key) == 1;
}

static bool store_add(struct served_authority *to, struct str der)
{
    X509 *x = tls_der_certificate(der);
    bool is_good = x != NULL && X509_STORE_add_cert(to->store, x) == 1;
    X509_NAME *name = is_good ? X509_NAME_dup(X509_get_subject_name(x)) : NULL;
    is_good = name != NULL && sk_X509_NAME_push(to->names, name) > 0;
    if (!is_good) {
        X509_NAME_free(name);
    }
    X509_free(x);
    return is_good;
}

static bool revocation_add(struct served_authority *to, struct str der)
{
    X509_CRL *crl = tls_der_revocations(der);
    bool is_good = crl != NULL && X509_STORE_add_crl(to->store, crl) == 1;
    X509_CRL_free(crl);
    return is_good;
}

static bool authority_load(const struct snap_shard *shard, struct served_authority *to)
{
    const struct snap_authority *from = (const struct snap_authority *)(const void *)shard;
    const struct snap_str *certificates = snap_array_get(from, from->certificates);
    const struct snap_str *revocations = snap_array_get(from, from->revocations);
    to->stamp = hash_bytes(shard, shard->bytes);
    to->store = X509_STORE_new();
    to->names = sk_X509_NAME_new_null();
    bool is_good = to->store != NULL && to->names != NULL;
    for (uint32_t i = 0; is_good && i < from->certificates.n; i++) {
        is_good = store_add(to, snap_str_get(from, certificates[i]));
    }
    for (uint32_t i = 0; is_good && i < from->revocations.n; i++) {
        is_good = revocation_add(to, snap_str_get(from, revocations[i]));
    }
    if (is_good && from->revocations.n > 0) {
        is_good =
            X509_STORE_set_flags(to->store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1;
    }
    return is_good;
}

/* ---- entries ---- */

static void content_free(struct entry *e)
{
    if (e->kind == SNAP_CERTIFICATE) {
        X509_free(e->u.certificate.leaf);
        sk_X509_pop_free(e->u.certificate.chain, X509_free);
        EVP_PKEY_free(e->u.certificate.key); /* the last reference overwrites it */
    } else {
        X509_STORE_free(e->u.authority.store);
        sk_X509_NAME_pop_free(e->u.authority.names, X509_NAME_free);
    }
}

static void entry_free(struct tls_served *s, struct entry *e)
{
    must(map_del(&s->entries, e->hash, e));
    list_del(&e->in_use);
    content_free(e);
    mem_free(e);
    s->figures.n--;
}

struct name {
    enum snap_kind kind;
    struct str key;
};

static bool entry_is(const void *value, const void *key)
{
    const struct entry *e = value;
    const struct name *name = key;
    return e->kind == name->kind && str_eq(e->key, name->key);
}

static struct entry *entry_find(struct tls_served *s, struct name name, uint64_t hash)
{
    struct entry *e = map_get(&s->entries, hash, entry_is, &name);
    if (e != NULL) {
        list_del(&e->in_use);
        list_push(&s->in_use, &e->in_use);
    }
    return e;
}

static struct entry *entry_new(struct name name, uint64_t hash)
{
    struct entry *e = mem_calloc(1, sizeof(*e) + name.key.n + 1);
    if (e == NULL) {
        return NULL;
    }
    char *text = (char *)(e + 1);
    mem_copy(text, name.key.p, name.key.n);
    e->kind = name.kind;
    e->hash = hash;
    e->key = str_make(text, name.key.n);
    return e;
}

/* Room for one more. */
static void entries_shrink(struct tls_served *s)
{
    if (s->figures.n >= s->max) {
        s->figures.dropped++;
        entry_free(s, container_of(s->in_use.prev, struct entry, in_use));
    }
}

static bool entry_load(struct tls_served *s, struct entry *e)
{
    const struct snapshot_entry *from = snapshot_find(s->routes, e->kind, e->key, e->hash);
    if (from == NULL) {
        return false;
    }
    return e->kind == SNAP_CERTIFICATE ? certificate_load(s, from->shard, &e->u.certificate)
                                       : authority_load(from->shard, &e->u.authority);
}

static struct entry *entry_get(struct tls_served *s, struct name name, uint64_t hash)
{
    struct entry *e = entry_find(s, name, hash);
    if (e != NULL) {
        return e;
    }
    e = entry_new(name, hash);
    if (e == NULL) {
        return NULL;
    }
    bool is_good = entry_load(s, e);
    if (is_good) { /* what cannot be served takes nobody's place */
        entries_shrink(s);
    }
    if (!is_good || map_add(&s->entries, hash, e) != E_OK) {
        (void)tls_errors_take(E_OK); /* there is none: the caller says what that means */
        s->figures.failed++;
        content_free(e);
        mem_free(e);
        return NULL;
    }
    list_push(&s->in_use, &e->in_use);
    s->figures.n++;
    s->figures.loaded++;
    return e;
}

const struct served_certificate *served_certificate_get(struct tls_served *s, struct str key,
                                                        uint64_t hash)
{
    struct entry *e = entry_get(s, (struct name){SNAP_CERTIFICATE, key}, hash);
    if (e == NULL) {
        return NULL;
    }
    e->u.certificate.name = e->key;
    return &e->u.certificate;
}

const struct served_authority *served_authority_get(struct tls_served *s, struct str key,
                                                    uint64_t hash)
{
    struct entry *e = entry_get(s, (struct name){SNAP_AUTHORITY, key}, hash);
    return e == NULL ? NULL : &e->u.authority;
}

struct str served_staple_get(const struct tls_served *s, struct str key, uint64_t hash,
                             int64_t now_s)
{
    const struct snapshot_entry *e = snapshot_find(s->routes, SNAP_STAPLE, key, hash);
    if (e == NULL) {
        return STR_EMPTY;
    }
    const struct snap_staple *staple = (const struct snap_staple *)(const void *)e->shard;
    return staple->until > now_s ? snap_str_get(staple, staple->response) : STR_EMPTY;
}

/* ---- the whole ---- */

void tls_served_forget(struct tls_served *s, enum snap_kind kind, struct str key)
{
    uint64_t hash = hash_str(key);
    struct name name = {kind, key};
    struct entry *e = map_get(&s->entries, hash, entry_is, &name);
    if (e != NULL) {
        entry_free(s, e);
    }
}

struct tls_served_figures tls_served_figures(const struct tls_served *s)
{
    return s->figures;
}

enum err tls_served_new(const struct snapshot *routes, const struct snapshot *secrets, size_t max,
                        struct tls_served **ret)
{
    struct tls_served *s = mem_calloc(1, sizeof(*s));
    if (s == NULL) {
        return E_NOMEM;
    }
    s->routes = routes;
    s->secrets = secrets;
    s->max = max;
    map_init(&s->entries);
    list_init(&s->in_use);
    *ret = s;
    return E_OK;
}

void tls_served_free(struct tls_served *s)
{
    if (s == NULL) {
        return;
    }
    while (!list_is_empty(&s->in_use)) {
        entry_free(s, container_of(s->in_use.next, struct entry, in_use));
    }
    map_fini(&s->entries);
    mem_free(s);
}
