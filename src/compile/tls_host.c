/* How handshakes for one name are answered: its certificates and what clients have to show.
 *
 * Certificates of a name, as ingress-nginx chooses them: the oldest Ingress that has a good one
 * decides; there, the Secret of the entry of spec.tls that lists the name, else any Secret of the
 * Ingress whose certificate is for it. A certificate that is not for the name is not served. Beyond
 * that, several entries may list one name, with keys of different kinds (RSA and ECDSA).
 * The name "" stands for all names that nobody has a certificate for, and for clients that say
 * none:
 * --default-ssl-certificate, else that of an Ingress without hosts, else one of our own making.
 *
 * A name whose TLS is passed through (passthrough.c) has no certificates; what clients have to show
 * still counts for plain HTTP, where nobody can show anything. */
#include "compile/compile_priv.h"

#include "base/mem.h"
#include "base/vec.h"

#include <stdlib.h>

#define OWN_KEY "-/default"

static const struct finding not_for_host = {
    DIAG_ERROR, DIAG_CertificateMismatch,
    "a certificate is served for its own names only; clients of the host get the default "
    "certificate",
    "have one made that names this host, or name the right Secret"};

struct choice { /* of certificates */
    const struct secret_node *secrets[SNAP_TLS_CERTIFICATES_MAX];
    uint32_t n;
    bool has_own; /* none but the one of our own making */
};

/* ---- the Ingresses that say something ---- */

static int link_cmp(const void *a, const void *b)
{
    const struct tls_link *x = *(const struct tls_link *const *)a;
    const struct tls_link *y = *(const struct tls_link *const *)b;
    int order = ingress_cmp(x->ingress, y->ingress);
    if (order == 0) {
        order = x->entry < y->entry ? -1 : x->entry > y->entry;
    }
    return order != 0 ? order : x->host < y->host ? -1 : x->host > y->host;
}

enum err tls_work_add(struct tls_work *w, const struct tls_link *link)
{
    TRY(VEC_ROOM(w->links, w->link_n, w->link_cap, SIZE_MAX));
    w->links[w->link_n++] = link;
    return E_OK;
}

void tls_work_sort(struct tls_work *w)
{
    if (w->link_n > 1) {
        qsort(w->links, w->link_n, sizeof(*w->links), link_cmp);
    }
}

static enum err links_order(struct tls_work *w, const struct tls_node *tls)
{
    w->link_n = 0;
    for (const struct list *it = tls->links.next; it != &tls->links; it = it->next) {
        TRY(tls_work_add(w, (const void *)((const char *)it - offsetof(struct tls_link, in_tls))));
    }
    tls_work_sort(w);
    return E_OK;
}

/* ---- certificates ---- */

static void choice_add(struct choice *choice, const struct secret_node *secret)
{
    bool is_new = choice->n < SNAP_TLS_CERTIFICATES_MAX;
    for (uint32_t i = 0; i < choice->n; i++) {
        is_new = is_new && choice->secrets[i]->certificate->kind != secret->certificate->kind;
    }
    if (is_new) {
        choice->secrets[choice->n++] = secret;
    }
}

static void tell_mismatch(struct compile *c, struct diag_batch *batch, const struct tls_link *link,
                          const struct secret_use *use)
{
    const struct ingress *in = link->ingress->object;
    buf_reset(&c->field);
    buf_addf(&c->field, "spec.tls[%u].hosts[%u]", link->entry, link->host);
    buf_addf(what_begin(c), "is \"%.*s\", but the certificate in Secret %.*s is not for it",
             STR_ARG(shown(in->tls[link->entry].hosts[link->host])),
             STR_ARG(use->secret->node.key.part[1]));
    finding_add(c, batch, &in->object, in->object.line, &not_for_host);
}

/* batch may be NULL: nothing is told. */
static void choice_add_link(struct compile *c, struct choice *choice, struct diag_batch *batch,
                            const struct tls_link *link)
{
    struct str pattern = link->tls->node.key.part[0];
    for (uint32_t i = 0; i < link->ingress->secret_n; i++) {
        const struct secret_use *use = &link->ingress->secrets[i];
        bool is_meant = link->entry == TLS_OF_RULE ? use->entry != SECRET_BY_ANNOTATION
                                                   : use->entry == link->entry;
        if (!is_meant || use->secret->certificate == NULL) {
            continue;
        }
        if (pattern.n == 0 || certificate_covers(use->secret->certificate, pattern)) {
            choice_add(choice, use->secret);
        } else if (link->entry != TLS_OF_RULE && batch != NULL) {
            tell_mismatch(c, batch, link, use);
        }
    }
}

/* Of the oldest Ingress that has any; the others are still looked at for what is wrong with them.
 */
static void choose_of_ingresses(struct compile *c, struct choice *choice, struct diag_batch *batch)
{
    const struct tls_work *w = &c->tls_work;
    const struct ingress_node *owner = NULL;
    for (size_t i = 0; i < w->link_n; i++) {
        const struct tls_link *link = w->links[i];
        struct choice ignored = {0};
        bool is_owners = choice->n == 0 || owner == link->ingress;
        choice_add_link(c, is_owners ? choice : &ignored, batch, link);
        owner = choice->n > 0 && owner == NULL ? link->ingress : owner;
    }
}

static void choose(struct compile *c, const struct tls_node *tls, struct choice *choice,
                   struct diag_batch *batch)
{
    bool is_any = tls == c->any_tls;
    const struct secret_node *option = c->default_certificate.secret;
    *choice = (struct choice){0};
    if (is_any && option != NULL && option->certificate != NULL) {
        choice_add(choice, option);
        return;
    }
    choose_of_ingresses(c, choice, batch);
    choice->has_own = is_any && choice->n == 0 && c->own_certificate.bytes > 0;
}

/* ---- what clients have to show ---- */

static bool auth_is_same(const struct client_auth *a, const struct client_auth *b)
{
    return a->verify == b->verify && a->depth == b->depth && a->is_denied == b->is_denied &&
           a->passes_certificate == b->passes_certificate && str_eq(a->name, b->name) &&
           str_eq(a->namespace_name, b->namespace_name) &&
           str_eq(a->name_pattern, b->name_pattern) && str_eq(a->error_page, b->error_page);
}

static void tell_auth_conflict(struct compile *c, struct diag_batch *batch,
                               const struct tls_link *link, const struct ingress *first)
{
    const struct ingress *in = link->ingress->object;
    annotation_field(c, CLIENT_AUTH_SECRET);
    buf_addf(what_begin(c), "says something else for host \"%.*s\" than Ingress %.*s/%.*s",
             STR_ARG(link->tls->node.key.part[0]), STR_ARG(first->object.namespace_name),
             STR_ARG(first->object.name));
    finding_add(c, batch, &in->object, in->object.line, &conflict_findings[CONFLICT_client_auth]);
}

const struct ingress *client_auth_find(struct compile *c, struct diag_batch *batch,
                                       struct client_auth *ret)
{
    const struct tls_work *w = &c->tls_work;
    const struct ingress *first = NULL;
    for (size_t i = 0; i < w->link_n; i++) {
        struct client_auth auth;
        if (w->links[i]->entry != TLS_OF_RULE ||
            !client_auth_get(w->links[i]->ingress->object, &auth)) {
            continue;
        }
        if (first == NULL) {
            first = w->links[i]->ingress->object;
            *ret = auth;
        } else if (!auth_is_same(ret, &auth)) {
            tell_auth_conflict(c, batch, w->links[i], first);
        }
    }
    return first;
}

static const struct secret_node *auth_secret(const struct compile *c, const struct client_auth *a)
{
    return a->name.n == 0 ? NULL
                          : node_find(&c->secrets, &(struct key){
                                                       {a->namespace_name, a->name}
    });
}

/* The Secret has to be there, and good; while nobody knows, nobody gets in either. */
static void auth_complete(const struct compile *c, struct client_auth *a)
{
    const struct secret_node *secret = auth_secret(c, a);
    if (a->verify != SNAP_VERIFY_OFF && (secret == NULL || secret->authority.bytes == 0)) {
        a->is_denied = true;
    }
}

/* ---- the shard ---- */

/* What a connection was asked for: one for another name with the same answer will do. */
static uint64_t policy_of(const struct client_auth *a)
{
    uint64_t parts[] = {(uint64_t)a->verify << 8 | a->depth, hash_str(a->namespace_name),
                        hash_str(a->name)};
    uint64_t hash = hash_bytes(parts, sizeof(parts));
    return hash == 0 ? 1 : hash;
}

static void auth_write(struct buf *b, const struct client_auth *a)
{
    char key[SNAP_HOST_BYTES_MAX * 2];
    struct wr w = wr_make(key, sizeof(key));
    if (a->name.n > 0) {
        wr_str(&w, a->namespace_name);
        wr_char(&w, '/');
        wr_str(&w, a->name);
    }
    struct str authority = a->is_denied ? STR_EMPTY : str_make(key, wr_n(&w));
    struct snap_str texts[] = {snap_add_str(b, authority), snap_add_str(b, a->name_pattern),
                               snap_add_str(b, a->error_page)};
    if (b->bad) {
        return;
    }
    struct snap_tls_host *root = snap_at(b, 0, struct snap_tls_host);
    root->verify = (uint8_t)(a->is_denied ? SNAP_VERIFY_OFF : a->verify);
    root->depth = a->depth;
    root->is_denied = a->is_denied;
    root->passes_certificate = a->passes_certificate;
    root->authority = (struct snap_named){texts[0], authority.n > 0 ? hash_str(authority) : 0};
    root->name_pattern = texts[1];
    root->error_page = texts[2];
    root->policy = policy_of(a);
}

static void secret_key(struct compile *c, const struct secret_node *secret)
{
    buf_reset(&c->key);
    if (secret == NULL) {
        buf_add_str(&c->key, STR(OWN_KEY));
        return;
    }
    buf_addf(&c->key, "%.*s/%.*s", STR_ARG(secret->node.key.part[0]),
             STR_ARG(secret->node.key.part[1]));
}

static void choice_write(struct compile *c, const struct choice *choice)
{
    struct buf *b = &c->shard;
    uint32_t n = choice->has_own ? 1 : choice->n;
    struct snap_array at = snap_add_array(b, n, sizeof(struct snap_named));
    for (uint32_t i = 0; i < n; i++) {
        secret_key(c, choice->has_own ? NULL : choice->secrets[i]);
        b->bad = b->bad || c->key.bad;
        struct snap_str key = snap_add_str(b, buf_str(&c->key));
        if (!b->bad) {
            snap_at(b, at.offset, struct snap_named)[i] =
                (struct snap_named){key, hash_str(buf_str(&c->key))};
        }
    }
    if (!b->bad) {
        snap_at(b, 0, struct snap_tls_host)->certificates = at;
    }
}

static enum snap_host_kind kind_of(struct str pattern)
{
    if (pattern.n == 0) {
        return SNAP_HOST_ANY;
    }
    return str_has_prefix(pattern, STR("*.")) ? SNAP_HOST_LABEL : SNAP_HOST_EXACT;
}

static void host_key(struct compile *c, struct str pattern)
{
    buf_reset(&c->key);
    buf_addf(&c->key, "ingress/%.*s", STR_ARG(pattern));
}

/* passed: the Service port that gets the bytes. */
static void passthrough_write(struct compile *c, const struct key *passed)
{
    struct buf *b = &c->shard;
    service_key(c, passed);
    b->bad = b->bad || c->key.bad;
    struct snap_str key = snap_add_str(b, buf_str(&c->key));
    if (!b->bad) {
        snap_at(b, 0, struct snap_tls_host)->passthrough =
            (struct snap_named){key, hash_str(buf_str(&c->key))};
    }
}

static enum err shard_write(struct compile *c, struct str pattern, const struct choice *choice,
                            const struct client_auth *auth, const struct key *passed)
{
    struct buf *b = &c->shard;
    host_key(c, pattern);
    TRY(c->key.bad ? E_NOMEM : E_OK);
    buf_reset(b);
    snap_shard_begin(b, SNAP_TLS_HOST, sizeof(struct snap_tls_host), buf_str(&c->key));
    struct snap_str table = snap_add_str(b, STR("ingress"));
    struct snap_str host = snap_add_str(b, pattern);
    struct snap_str none = snap_add_str(b, STR_EMPTY);
    if (!b->bad) {
        struct snap_tls_host *root = snap_at(b, 0, struct snap_tls_host);
        root->table = table;
        root->host = host;
        root->kind = (uint8_t)kind_of(pattern);
        root->authority.key = root->passthrough.key = none;
        root->name_pattern = root->error_page = none;
    }
    choice_write(c, choice);
    if (auth != NULL) {
        auth_write(b, auth);
    }
    if (passed != NULL) {
        passthrough_write(c, passed);
    }
    return snap_shard_end(b);
}

static enum err tls_output(struct compile *c, struct tls_node *tls, struct diag_batch *batch)
{
    struct str pattern = tls->node.key.part[0];
    struct choice choice = {0};
    struct client_auth auth;
    struct key passed;
    char digits[U16_DIGITS];
    bool is_passed = passthrough_find(c, batch, tls, digits, &passed);
    if (!is_passed) {
        choose(c, tls, &choice, batch);
    }
    bool has_auth = client_auth_find(c, batch, &auth) != NULL;
    TRY(batch->err);
    mem_copy(tls->chosen, choice.secrets, sizeof(tls->chosen));
    tls->chosen_n = choice.n;
    if (choice.n == 0 && !choice.has_own && !has_auth && !is_passed) {
        host_key(c, pattern);
        return product_delete(c, &tls->node.product, SNAP_TLS_HOST);
    }
    if (has_auth) {
        auth_complete(c, &auth);
    }
    TRY(shard_write(c, pattern, &choice, has_auth ? &auth : NULL, is_passed ? &passed : NULL));
    return product_emit(c, &tls->node.product);
}

enum err tls_host_compile(struct compile *c, struct tls_node *tls)
{
    struct diag_batch batch;
    diag_batch_init(&batch);
    enum err e = links_order(&c->tls_work, tls);
    if (e == E_OK) {
        e = tls_output(c, tls, &batch);
    }
    if (e != E_OK) {
        diag_batch_drop(&batch);
        return e;
    }
    diag_batch_commit(&batch, c->book, &tls->node.diags);
    list_del(&tls->node.dirty);
    if (list_is_empty(&tls->links) && tls != c->any_tls) {
        node_free(&c->tls, &tls->node);
    }
    return E_OK;
}

/* ---- questions ---- */

static void certificate_tell(const struct tls_node *tls, const struct secret_node *secret,
                             compile_certificate_fn *fn, void *arg)
{
    const struct certificate *certificate = secret->certificate;
    if (certificate == NULL) {
        return; /* the next run says what is served then */
    }
    const struct str *issuer = &certificate->texts[CERTIFICATE_ISSUER_FIRST];
    const struct compile_certificate told = {
        .namespace_name = secret->node.key.part[0],
        .secret = secret->node.key.part[1],
        .host = tls->node.key.part[0],
        .not_after = certificate->not_after,
        .serial = certificate->texts[CERTIFICATE_SERIAL],
        .issuer_organization = issuer[0],
        .issuer_common_name = issuer[1],
        .issuer_serial = issuer[2],
        .key_algorithm = tls_key_kind_name(certificate->kind),
    };
    fn(arg, &told);
}

void compile_each_certificate(const struct compile *c, compile_certificate_fn *fn, void *arg)
{
    map_each(slot, &c->tls)
    {
        const struct tls_node *tls = slot->value;
        for (uint32_t i = 0; i < tls->chosen_n; i++) {
            certificate_tell(tls, tls->chosen[i], fn, arg);
        }
    }
}
