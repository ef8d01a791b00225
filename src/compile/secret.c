/* One Secret in use: the certificate and the authorities in it, as shards. Private keys become
 * shards of the secret stream, one for each key, whatever number of certificates it has.
 *
 * What replaces a good certificate and is broken, or has ended, does not take its place while that
 * is still valid: a typing mistake shall not take a host down. So what is emitted here depends not
 * on the store alone, but also on what was there before. Source: core/v1 Secret, kubernetes.io/tls.
 */
#include "compile/compile_priv.h"

#include "base/mem.h"
#include "base/vec.h"
#include "tls/authority.h"
#include "wire/date.h"
#include "wire/uri.h"

#include <string.h>

enum { SOON_S = 10 * 24 * 3600, DATE_BYTES = 32, DERS_MAX = 2 * TLS_AUTHORITIES_MAX };

#define OWN_NAMESPACE "-" /* no namespace is called so */
#define OWN_NAME      "default"

/* ---- who is told ---- */

static const char unserved[] = "hosts that it is named for get the default certificate";
static const char kept[] = "the certificate that was there before stays in service";
static const char authorities_kept[] = "the authorities that were there before stay in service";
static const char denied[] = "without it every request to the hosts is answered with 403";

static const struct finding certificate_missing = {DIAG_ERROR, DIAG_SecretNotFound, unserved,
                                                   "create the Secret or correct the name"};
static const struct finding authority_missing = {DIAG_ERROR, DIAG_SecretNotFound, denied,
                                                 "create the Secret or correct the name"};

static void use_field(struct compile *c, const struct secret_use *use)
{
    buf_reset(&c->field);
    if (use->ingress == NULL) {
        buf_addf(&c->field, "--%s", use->annotation);
    } else if (use->entry == SECRET_BY_ANNOTATION) {
        annotation_field(c, use->annotation);
    } else {
        buf_addf(&c->field, "spec.tls[%u].secretName", use->entry);
    }
}

void secret_tell_users(struct compile *c, struct diag_batch *batch,
                       const struct secret_node *secret, enum secret_role role,
                       const struct finding *f)
{
    const struct object option = {.kind = OBJECT_SECRET,
                                  .namespace_name = secret->node.key.part[0],
                                  .name = secret->node.key.part[1],
                                  .file = STR_EMPTY};
    for (const struct list *it = secret->uses.next; it != &secret->uses; it = it->next) {
        const struct secret_use *use =
            (const void *)((const char *)it - offsetof(struct secret_use, in_secret));
        if (use->role == role) {
            const struct object *o = use->ingress == NULL ? &option : &use->ingress->object->object;
            use_field(c, use);
            finding_add(c, batch, o, o->line, f);
        }
    }
}

bool secret_tell_missing(struct compile *c, struct diag_batch *batch,
                         const struct secret_node *secret, enum secret_role role,
                         const struct finding *f)
{
    if (secret_is_pending(c, secret)) {
        return false;
    }
    buf_addf(what_begin(c), "there is no Secret %.*s/%.*s", STR_ARG(secret->node.key.part[0]),
             STR_ARG(secret->node.key.part[1]));
    secret_tell_users(c, batch, secret, role, f);
    return true;
}

/* The Secret itself, and everybody who uses it in that role. upstream: what follows for those who
 * use it for their endpoints; NULL: they are told otherwise. */
static void tell_fault(struct compile *c, struct diag_batch *batch,
                       const struct secret_node *secret, const struct object *object,
                       enum secret_role role, enum tls_fault fault, const char *consequence,
                       const char *upstream)
{
    const struct tls_fault_text *text = tls_fault_text(fault);
    bool is_time = fault == TLS_FAULT_EXPIRED || fault == TLS_FAULT_NOT_YET_VALID;
    enum diag_reason reason = is_time ? DIAG_CertificateExpired : DIAG_InvalidCertificate;
    const struct finding own = {DIAG_ERROR, reason, text->why, text->mend};
    const struct finding users = {DIAG_ERROR, reason, consequence, text->mend};
    buf_reset(&c->field);
    buf_addf(&c->field, "data[%s]", role == SECRET_CERTIFICATE ? "tls.crt" : "ca.crt");
    buf_addf(what_begin(c), "%s", text->what);
    finding_add(c, batch, object, object->line, &own);
    buf_addf(what_begin(c), "names Secret %.*s, which %s", STR_ARG(object->name), text->what);
    secret_tell_users(c, batch, secret, role, &users);
    if (upstream != NULL) {
        const struct finding endpoints = {DIAG_ERROR, reason, upstream, text->mend};
        secret_tell_users(c, batch, secret, SECRET_UPSTREAM, &endpoints);
    }
}

/* ---- private keys ---- */

static enum err key_emit(struct compile *c, struct key_node *key,
                         const struct tls_certificate *certificate)
{
    struct buf *b = &c->shard;
    struct buf der;
    buf_init(&der, SNAPSHOT_SHARD_BYTES_MAX);
    enum err e = tls_certificate_emit_key(certificate, &der);
    buf_reset(b);
    snap_shard_begin(b, SNAP_KEY, sizeof(struct snap_key), key->node.key.part[0]);
    struct snap_str text = snap_add_str(b, buf_str(&der));
    buf_wipe(&der);
    if (!b->bad) {
        snap_at(b, 0, struct snap_key)->key = text;
    }
    e = e == E_OK ? snap_shard_end(b) : e;
    e = e == E_OK ? product_emit(c, &key->node.product) : e;
    if (b->p != NULL) { /* else there was no memory for it */
        explicit_bzero(b->p, b->n);
    }
    return e;
}

static enum err key_use(struct compile *c, struct str name,
                        const struct tls_certificate *certificate, struct key_node **ret)
{
    struct key_node *key = node_make(&c->keys, &(struct key){{name}}, sizeof(*key));
    if (key == NULL) {
        return E_NOMEM;
    }
    enum err e = key->node.product.bytes > 0 ? E_OK : key_emit(c, key, certificate);
    if (e != E_OK && key->use_n == 0) {
        node_free(&c->keys, &key->node);
    }
    TRY(e);
    key->use_n++;
    *ret = key;
    return E_OK;
}

/* The last one to release it has it taken away, once all Secrets are looked at. */
static void key_release(struct compile *c, struct key_node *key)
{
    if (key != NULL && --key->use_n == 0) {
        node_mark(&c->dirty_keys, &key->node);
    }
}

static enum err key_drop(struct compile *c, struct key_node *key)
{
    buf_reset(&c->key);
    buf_add_str(&c->key, key->node.key.part[0]);
    TRY(product_delete(c, &key->node.product, SNAP_KEY));
    node_free(&c->keys, &key->node);
    return E_OK;
}

enum err keys_drop(struct compile *c)
{
    list_each(it, &c->dirty_keys)
    {
        struct node *n = container_of(it, struct node, dirty);
        struct key_node *key = container_of(n, struct key_node, node);
        if (key->use_n == 0) {
            TRY(key_drop(c, key));
        } else {
            list_del(&n->dirty); /* somebody has taken it over */
        }
    }
    return E_OK;
}

/* ---- certificates ---- */

static void add_name(void *arg, struct str name)
{
    buf_add_str(arg, name);
    buf_add_char(arg, '\0');
}

/* All texts one after the other; ends: where each of them ends. */
static void certificate_texts(const struct tls_certificate *from, struct buf *out,
                              size_t ends[CERTIFICATE_TEXTS_N])
{
    static const enum tls_name_part parts[] = {TLS_NAME_ORGANIZATION, TLS_NAME_COMMON,
                                               TLS_NAME_SERIAL};
    tls_certificate_each_name(from, add_name, out);
    ends[CERTIFICATE_NAMES] = out->n;
    tls_certificate_emit_serial(from, out);
    ends[CERTIFICATE_SERIAL] = out->n;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        tls_certificate_emit_issuer_part(from, parts[i], out);
        ends[CERTIFICATE_ISSUER_FIRST + i] = out->n;
    }
}

static struct certificate *certificate_of(const struct tls_certificate *from, struct str text,
                                          const size_t ends[CERTIFICATE_TEXTS_N])
{
    struct certificate *certificate = mem_calloc(1, sizeof(*certificate) + text.n);
    if (certificate == NULL) {
        return NULL;
    }
    mem_copy(certificate->text, text.p, text.n);
    for (size_t i = 0, at = 0; i < CERTIFICATE_TEXTS_N; at = ends[i++]) {
        certificate->texts[i] = str_make(certificate->text + at, ends[i] - at);
    }
    certificate->kind = tls_certificate_key_kind(from);
    certificate->not_before = tls_certificate_not_before(from);
    certificate->not_after = tls_certificate_not_after(from);
    return certificate;
}

static struct certificate *certificate_new(const struct tls_certificate *from)
{
    size_t ends[CERTIFICATE_TEXTS_N];
    struct buf text;
    buf_init(&text, SNAPSHOT_SHARD_BYTES_MAX);
    certificate_texts(from, &text, ends);
    struct certificate *certificate = text.bad ? NULL : certificate_of(from, buf_str(&text), ends);
    buf_fini(&text);
    return certificate;
}

bool certificate_covers(const struct certificate *certificate, struct str host)
{
    struct str name, rest = certificate->texts[CERTIFICATE_NAMES];
    while (rest.n > 0) {
        (void)str_cut(rest, '\0', &name, &rest); /* there is one behind each */
        if (host_is_covered(host, name)) {
            return true;
        }
    }
    return false;
}

struct strs { /* texts of a shard that is being written, for an array */
    struct buf *shard;
    struct snap_str *items;
    size_t n, cap;
};

static enum err strs_add(void *arg, struct str s)
{
    struct strs *list = arg;
    TRY(VEC_ROOM(list->items, list->n, list->cap, UINT32_MAX));
    list->items[list->n++] = snap_add_str(list->shard, s);
    return E_OK;
}

/* The array of what was added; the list is empty then. */
static struct snap_array strs_end(struct strs *list)
{
    struct buf *b = list->shard;
    struct snap_array at = snap_add_array(b, (uint32_t)list->n, sizeof(struct snap_str));
    if (!b->bad && list->n > 0) {
        mem_copy(snap_at(b, at.offset, char), list->items, list->n * sizeof(*list->items));
    }
    mem_free(list->items);
    *list = (struct strs){.shard = b};
    return at;
}

static enum err certificate_write_lists(struct buf *b, const struct certificate *certificate,
                                        const struct tls_certificate *from)
{
    struct strs list = {.shard = b};
    struct str name, rest = certificate->texts[CERTIFICATE_NAMES];
    enum err e = tls_certificate_each_der(from, strs_add, &list);
    struct snap_array chain = strs_end(&list);
    while (e == E_OK && rest.n > 0) {
        (void)str_cut(rest, '\0', &name, &rest); /* there is one behind each */
        e = strs_add(&list, name);
    }
    struct snap_array names = strs_end(&list);
    if (!b->bad) {
        snap_at(b, 0, struct snap_certificate)->chain = chain;
        snap_at(b, 0, struct snap_certificate)->names = names;
    }
    return e;
}

static enum err certificate_write(struct compile *c, struct str namespace_name, struct str name,
                                  const struct certificate *certificate,
                                  const struct tls_certificate *from)
{
    struct buf *b = &c->shard;
    buf_reset(&c->key);
    buf_addf(&c->key, "%.*s/%.*s", STR_ARG(namespace_name), STR_ARG(name));
    TRY(c->key.bad ? E_NOMEM : E_OK);
    buf_reset(b);
    snap_shard_begin(b, SNAP_CERTIFICATE, sizeof(struct snap_certificate), buf_str(&c->key));
    struct str key_name = str_make(certificate->key_name, sizeof(certificate->key_name));
    struct snap_str texts[] = {snap_add_str(b, namespace_name), snap_add_str(b, name),
                               snap_add_str(b, key_name)};
    if (!b->bad) {
        struct snap_certificate *root = snap_at(b, 0, struct snap_certificate);
        root->namespace_name = texts[0];
        root->name = texts[1];
        root->key_name = texts[2];
        root->key_hash = hash_str(key_name);
        root->not_before = certificate->not_before;
        root->not_after = certificate->not_after;
        root->key_kind = (uint8_t)certificate->kind;
    }
    TRY(certificate_write_lists(b, certificate, from));
    return snap_shard_end(b);
}

/* Emits the key, then the certificate; *ret_key counts one more use. */
static enum err certificate_emit(struct compile *c, struct str namespace_name, struct str name,
                                 struct certificate *certificate,
                                 const struct tls_certificate *from, struct product *product,
                                 struct key_node **ret_key)
{
    struct key_node *key;
    TRY(tls_certificate_key_name(from, certificate->key_name));
    TRY(key_use(c, str_make(certificate->key_name, sizeof(certificate->key_name)), from, &key));
    enum err e = certificate_write(c, namespace_name, name, certificate, from);
    e = e == E_OK ? product_emit(c, product) : e;
    if (e != E_OK) {
        key_release(c, key);
        return e;
    }
    *ret_key = key;
    return E_OK;
}

static enum err certificate_take(struct compile *c, struct secret_node *secret,
                                 const struct tls_certificate *from)
{
    const struct key *name = &secret->node.key;
    struct key_node *key = NULL;
    struct certificate *certificate = certificate_new(from);
    enum err e = certificate == NULL
                     ? E_NOMEM
                     : certificate_emit(c, name->part[0], name->part[1], certificate, from,
                                        &secret->node.product, &key);
    if (e != E_OK) {
        mem_free(certificate);
        return e;
    }
    key_release(c, secret->key);
    mem_free(secret->certificate);
    secret->certificate = certificate;
    secret->key = key;
    return E_OK;
}

static enum err certificate_drop(struct compile *c, struct secret_node *secret)
{
    const struct key *name = &secret->node.key;
    buf_reset(&c->key);
    buf_addf(&c->key, "%.*s/%.*s", STR_ARG(name->part[0]), STR_ARG(name->part[1]));
    TRY(product_delete(c, &secret->node.product, SNAP_CERTIFICATE));
    key_release(c, secret->key);
    mem_free(secret->certificate);
    secret->certificate = NULL;
    secret->key = NULL;
    return E_OK;
}

/* What is in service may go on, whatever was put in its place. */
static bool is_in_service(const struct compile *c, const struct secret_node *secret)
{
    const struct certificate *now = secret->certificate;
    return now != NULL && (c->now_s == 0 || now->not_after > c->now_s);
}

static enum err certificate_fault(struct compile *c, struct diag_batch *batch,
                                  struct secret_node *secret, const struct object *object,
                                  enum tls_fault fault)
{
    bool is_kept = is_in_service(c, secret);
    tell_fault(c, batch, secret, object, SECRET_CERTIFICATE, fault, is_kept ? kept : unserved,
               is_kept ? kept : NULL);
    return is_kept ? E_OK : certificate_drop(c, secret);
}

static void tell_soon(struct compile *c, struct diag_batch *batch, const struct secret_node *secret,
                      const struct object *object)
{
    const struct finding soon = {DIAG_WARNING, DIAG_CertificateExpired,
                                 "clients refuse a certificate after its end", "renew it"};
    char date[DATE_BYTES];
    struct wr w = wr_make(date, sizeof(date));
    date_emit_http(&w, secret->certificate->not_after);
    buf_reset(&c->field);
    buf_addf(&c->field, "data[tls.crt]");
    buf_addf(what_begin(c), "ends on %.*s", (int)wr_n(&w), date);
    finding_add(c, batch, object, object->line, &soon);
}

/* Takes one that can be used, with a word about its time. */
static enum err certificate_judge(struct compile *c, struct diag_batch *batch,
                                  struct secret_node *secret, const struct object *object,
                                  const struct tls_certificate *from)
{
    enum tls_fault fault = c->now_s == 0 ? TLS_FAULT_NONE : tls_certificate_judge(from, c->now_s);
    if (fault == TLS_FAULT_NONE) {
        TRY(certificate_take(c, secret, from));
        secret->is_time_told = c->now_s > secret->certificate->not_after - SOON_S && c->now_s > 0;
        if (secret->is_time_told) {
            tell_soon(c, batch, secret, object);
        }
        return E_OK;
    }
    secret->is_time_told = true;
    if (is_in_service(c, secret)) {
        return certificate_fault(c, batch, secret, object, fault);
    }
    /* An old one says more about what is wrong than a foreign one. */
    tell_fault(c, batch, secret, object, SECRET_CERTIFICATE, fault, "clients refuse it",
               "endpoints that ask for it refuse it");
    return certificate_take(c, secret, from);
}

static struct str item_get(const struct secret *object, struct str key)
{
    struct str value = STR_EMPTY;
    (void)secret_get(object, key, &value); /* stays empty */
    return value;
}

static enum err certificate_compile(struct compile *c, struct diag_batch *batch,
                                    struct secret_node *secret, const struct secret *object)
{
    enum tls_fault fault = TLS_FAULT_NONE;
    struct tls_certificate *from;
    secret->is_time_told = false;
    if (object == NULL) {
        return secret_tell_missing(c, batch, secret, SECRET_CERTIFICATE, &certificate_missing)
                   ? certificate_drop(c, secret)
                   : E_OK;
    }
    enum err e = tls_certificate_parse(item_get(object, STR("tls.crt")),
                                       item_get(object, STR("tls.key")), &fault, &from);
    if (e == E_PROTO) {
        return certificate_fault(c, batch, secret, &object->object, fault);
    }
    TRY(e);
    e = certificate_judge(c, batch, secret, &object->object, from);
    tls_certificate_free(from);
    return e;
}

enum err own_certificate_compile(struct compile *c)
{
    const struct compile_options *o = c->options;
    enum tls_fault fault;
    struct tls_certificate *from;
    if (o->own_chain.n == 0 || c->own_certificate.bytes > 0) {
        return E_OK;
    }
    enum err e = tls_certificate_parse(o->own_chain, o->own_key, &fault, &from);
    if (e != E_OK) {
        return e == E_PROTO ? E_OK : e; /* not as we make them: then there is none */
    }
    struct key_node *key;
    struct certificate *certificate = certificate_new(from);
    e = certificate == NULL ? E_NOMEM
                            : certificate_emit(c, STR(OWN_NAMESPACE), STR(OWN_NAME), certificate,
                                               from, &c->own_certificate, &key);
    mem_free(certificate);
    tls_certificate_free(from);
    return e;
}

/* ---- authorities ---- */

static enum err authority_write(struct compile *c, const struct secret_node *secret,
                                const struct secret *object, enum tls_fault *ret_fault)
{
    struct buf *b = &c->shard;
    const struct key *name = &secret->node.key;
    struct strs list = {.shard = b};
    buf_reset(&c->key);
    buf_addf(&c->key, "%.*s/%.*s", STR_ARG(name->part[0]), STR_ARG(name->part[1]));
    TRY(c->key.bad ? E_NOMEM : E_OK);
    buf_reset(b);
    snap_shard_begin(b, SNAP_AUTHORITY, sizeof(struct snap_authority), buf_str(&c->key));
    struct snap_str texts[] = {snap_add_str(b, name->part[0]), snap_add_str(b, name->part[1])};
    enum err e = tls_authority_each(item_get(object, STR("ca.crt")), strs_add, &list, ret_fault);
    struct snap_array certificates = strs_end(&list);
    if (e == E_OK) {
        e = tls_revocation_each(item_get(object, STR("ca.crl")), strs_add, &list, ret_fault);
    }
    struct snap_array revocations = strs_end(&list);
    TRY(e);
    if (!b->bad) {
        struct snap_authority *root = snap_at(b, 0, struct snap_authority);
        root->namespace_name = texts[0];
        root->name = texts[1];
        root->certificates = certificates;
        root->revocations = revocations;
    }
    return snap_shard_end(b);
}

static enum err authority_drop(struct compile *c, struct secret_node *secret)
{
    const struct key *name = &secret->node.key;
    buf_reset(&c->key);
    buf_addf(&c->key, "%.*s/%.*s", STR_ARG(name->part[0]), STR_ARG(name->part[1]));
    return product_delete(c, &secret->authority, SNAP_AUTHORITY);
}

static enum err authority_compile(struct compile *c, struct diag_batch *batch,
                                  struct secret_node *secret, const struct secret *object)
{
    enum tls_fault fault = TLS_FAULT_NONE;
    if (object == NULL) {
        return secret_tell_missing(c, batch, secret, SECRET_AUTHORITY, &authority_missing)
                   ? authority_drop(c, secret)
                   : E_OK;
    }
    enum err e = authority_write(c, secret, object, &fault);
    if (e != E_PROTO) {
        return e == E_OK ? product_emit(c, &secret->authority) : e;
    }
    bool is_kept = secret->authority.bytes > 0;
    tell_fault(c, batch, secret, &object->object, SECRET_AUTHORITY, fault,
               is_kept ? authorities_kept : denied, is_kept ? authorities_kept : NULL);
    return E_OK;
}

/* ---- the whole ---- */

bool secret_is_time_due(const struct compile *c, const struct secret_node *secret)
{
    const struct certificate *now = secret->certificate;
    bool is_good =
        now != NULL && c->now_s >= now->not_before && c->now_s <= now->not_after - SOON_S;
    bool is_over = now != NULL && c->now_s > now->not_after;
    return now != NULL && c->now_s > 0 &&
           (is_good == secret->is_time_told || is_over != secret->is_over);
}

bool secret_is_pending(const struct compile *c, const struct secret_node *secret)
{
    const struct key *name = &secret->node.key;
    return c->is_pending != NULL && c->is_pending(c->pending_arg, name->part[0], name->part[1]);
}

static void users_mark(struct compile *c, const struct secret_node *secret)
{
    for (const struct list *it = secret->uses.next; it != &secret->uses; it = it->next) {
        const struct secret_use *use =
            (const void *)((const char *)it - offsetof(struct secret_use, in_secret));
        if (use->role == SECRET_UPSTREAM) {
            upstream_secret_mark(c, use->ingress);
            continue;
        }
        if (use->ingress == NULL && c->any_tls != NULL) {
            node_mark(&c->dirty_tls, &c->any_tls->node);
        }
        for (uint32_t i = 0; use->ingress != NULL && i < use->ingress->name_n; i++) {
            node_mark(&c->dirty_tls, &use->ingress->names[i].tls->node);
        }
    }
}

static enum err roles_compile(struct compile *c, struct diag_batch *batch,
                              struct secret_node *secret)
{
    const struct key *name = &secret->node.key;
    const struct secret *object = (const struct secret *)(const void *)store_get(
        c->store, OBJECT_SECRET, name->part[0], name->part[1]);
    bool is_upstream = secret->role_n[SECRET_UPSTREAM] > 0;
    bool has_certificate = secret->role_n[SECRET_CERTIFICATE] > 0 ||
                           (is_upstream && upstream_secret_has_certificate(object));
    bool has_authority = secret->role_n[SECRET_AUTHORITY] > 0 ||
                         (is_upstream && upstream_secret_has_authority(object));
    TRY(has_certificate ? certificate_compile(c, batch, secret, object)
                        : certificate_drop(c, secret));
    TRY(has_authority ? authority_compile(c, batch, secret, object) : authority_drop(c, secret));
    TRY(tickets_compile(c, batch, secret, object));
    upstream_secret_tell_lacks(c, batch, secret);
    return batch->err;
}

enum err secret_compile(struct compile *c, struct secret_node *secret)
{
    struct diag_batch batch;
    diag_batch_init(&batch);
    enum err e = roles_compile(c, &batch, secret);
    if (e != E_OK) {
        diag_batch_drop(&batch);
        return e;
    }
    diag_batch_commit(&batch, c->book, &secret->node.diags);
    list_del(&secret->node.dirty);
    secret->is_over = secret->certificate != NULL && c->now_s > secret->certificate->not_after;
    users_mark(c, secret);
    if (list_is_empty(&secret->uses)) {
        node_free(&c->secrets, &secret->node);
    }
    return E_OK;
}

enum err secret_use(struct compile *c, struct str namespace_name, struct str name,
                    struct secret_use *use)
{
    struct key key = {
        {namespace_name, name}
    };
    struct secret_node *secret = node_make(&c->secrets, &key, sizeof(*secret));
    if (secret == NULL) {
        return E_NOMEM;
    }
    if (secret->uses.next == NULL) {
        list_init(&secret->uses);
    }
    c->secret_version += list_is_empty(&secret->uses);
    secret->role_n[use->role]++;
    use->secret = secret;
    list_append(&secret->uses, &use->in_secret);
    node_mark(&c->dirty_secrets, &secret->node);
    return E_OK;
}

void secret_release(struct compile *c, struct secret_use *use)
{
    struct secret_node *secret = use->secret;
    if (secret == NULL) {
        return;
    }
    list_del(&use->in_secret);
    secret->role_n[use->role]--;
    use->secret = NULL;
    c->secret_version += list_is_empty(&secret->uses);
    node_mark(&c->dirty_secrets, &secret->node);
}
