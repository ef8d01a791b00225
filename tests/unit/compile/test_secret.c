/* Secrets in use over time: what takes the place of a good certificate and what does not, what time
 * does to them, and that a private key is there exactly as long as a certificate has it. What a
 * Secret is for stands in tests/golden/tls-*. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/compiled.h"
#include "../../lib/manifest_objects.h"
#include "../../lib/pki.h"
#include "base/limits.h"
#include "compile/compile_priv.h"
#include "tls/authority.h"
#include "tls/certificate.h"

#define INGRESS                                                                                    \
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\n"                                            \
    "metadata: {name: web, namespace: default, annotations: {x: z%s}}\n"                           \
    "spec:\n  ingressClassName: lintel\n  tls: [{hosts: [a.test], secretName: s}]\n"               \
    "  rules: [{host: a.test}]\n"

enum { DAY_S = 24 * 3600, LARGE_BYTES = 300 << 10 };

struct bench {
    struct store *store;
    struct compile_options options;
    struct compile *compile;
    struct compiled state;
    int64_t now_s;
    struct pki root, good, other; /* of root: both for a.test, with keys of their own */
    struct buf good_pem, good_key, other_pem, other_key, root_pem, text;
};

static struct buf *const *texts(struct bench *b, size_t *ret_n)
{
    static struct buf *all[6];
    all[0] = &b->good_pem;
    all[1] = &b->good_key;
    all[2] = &b->other_pem;
    all[3] = &b->other_key;
    all[4] = &b->root_pem;
    all[5] = &b->text;
    *ret_n = sizeof(all) / sizeof(all[0]);
    return all;
}

static struct pki site_make(const struct bench *b, long begins_s, long ends_s)
{
    return pki_make(
        &(struct pki_options){
            .name = "site", .alternatives = "DNS:a.test", .begins_s = begins_s, .ends_s = ends_s},
        &b->root);
}

static void compile_begin(struct bench *b)
{
    assert_int_equal(store_new(&b->store), E_OK);
    assert_int_equal(compile_new(b->store, &b->options, &b->compile), E_OK);
    compile_hide_classes(b->compile, true);
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    size_t n;
    struct buf *const *all = texts(b, &n);
    for (size_t i = 0; i < n; i++) {
        buf_init(all[i], 4 << 20);
    }
    b->options = (struct compile_options){.controller = STR_INIT("lintel.dev/ingress-controller"),
                                          .ingress_class = STR_INIT("lintel")};
    b->now_s = (int64_t)time(NULL);
    b->root = pki_make(&(struct pki_options){.name = "root", .is_authority = true}, NULL);
    b->good = site_make(b, -PKI_HOUR, 30L * DAY_S);
    b->other = site_make(b, -PKI_HOUR, 60L * DAY_S);
    pki_pem(&b->root, &b->root_pem);
    pki_pem(&b->good, &b->good_pem);
    pki_pem_key(&b->good, &b->good_key);
    pki_pem(&b->other, &b->other_pem);
    pki_pem_key(&b->other, &b->other_key);
    compile_begin(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    size_t n;
    struct buf *const *all = texts(b, &n);
    compile_free(b->compile);
    store_free(b->store);
    compiled_fini(&b->state);
    for (size_t i = 0; i < n; i++) {
        buf_fini(all[i]);
    }
    pki_free(&b->root);
    pki_free(&b->good);
    pki_free(&b->other);
    free(b);
    return 0;
}

/* ---- changes ---- */

static void put_text(struct bench *b)
{
    struct objects objects = {0};
    assert_false(b->text.bad);
    assert_true(objects_parse(&objects, "test.yaml", buf_str(&b->text)));
    assert_int_equal(objects.diag_n, 0);
    for (size_t i = 0; i < objects.n; i++) {
        assert_int_equal(store_put(b->store, objects_give(&objects, i)), E_OK);
    }
    objects_fini(&objects);
}

/* annotations: "" or ", key: value". */
static void put_ingress(struct bench *b, const char *annotations)
{
    buf_reset(&b->text);
    buf_addf(&b->text, INGRESS, annotations);
    put_text(b);
}

struct item {
    const char *key;
    struct str value;
};

static void put_secret(struct bench *b, const char *name, const struct item *items, size_t n)
{
    buf_reset(&b->text);
    buf_addf(&b->text,
             "apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: default}\n"
             "stringData:\n  unused: \"\"\n",
             name);
    for (size_t i = 0; i < n; i++) {
        buf_addf(&b->text, "  %s: \"", items[i].key);
        for (size_t k = 0; k < items[i].value.n; k++) {
            char c = items[i].value.p[k];
            if (c == '\n') {
                buf_add_str(&b->text, STR("\\n"));
            } else {
                buf_add_char(&b->text, c);
            }
        }
        buf_add_str(&b->text, STR("\"\n"));
    }
    put_text(b);
}

static void put_pair(struct bench *b, const char *name, struct str chain, struct str key)
{
    const struct item items[] = {
        {"tls.crt", chain},
        {"tls.key", key  }
    };
    put_secret(b, name, items, 2);
}

static void put_good(struct bench *b)
{
    put_pair(b, "s", buf_str(&b->good_pem), buf_str(&b->good_key));
}

static void put_other(struct bench *b)
{
    put_pair(b, "s", buf_str(&b->other_pem), buf_str(&b->other_key));
}

static size_t run(struct bench *b)
{
    size_t before = b->state.emitted_n;
    assert_int_equal(compile_run(b->compile, compiled_take, &b->state), E_OK);
    assert_false(compile_is_dirty(b->compile));
    assert_int_equal(b->state.wrong_n, 0);
    return b->state.emitted_n - before;
}

static size_t at(struct bench *b, int64_t days)
{
    compile_set_time(b->compile, b->now_s + days * DAY_S);
    return run(b);
}

/* ---- looking ---- */

static const struct snap_shard *find(const struct bench *b, enum snap_kind kind, const char *key)
{
    map_each(slot, &b->state.shards)
    {
        const struct snap_shard *s = slot->value;
        if (s->kind == kind &&
            (key == NULL || str_eq(snap_str_get(s, s->key), str_from_cstr(key)))) {
            return s;
        }
    }
    return NULL;
}

static size_t kind_n(const struct bench *b, enum snap_kind kind)
{
    size_t n = 0;
    map_each(slot, &b->state.shards)
    {
        n += ((const struct snap_shard *)slot->value)->kind == kind;
    }
    return n;
}

/* What default/s serves: 'g'ood, 'o'ther, '-' nothing; its key, and the host, have to fit. */
static char in_service(const struct bench *b)
{
    const struct snap_certificate *c = (const void *)find(b, SNAP_CERTIFICATE, "default/s");
    const struct snap_tls_host *h = (const void *)find(b, SNAP_TLS_HOST, "ingress/a.test");
    assert_int_equal(kind_n(b, SNAP_KEY), c != NULL);
    if (c == NULL) {
        assert_true(h == NULL || h->certificates.n == 0);
        return '-';
    }
    char key[TLS_KEY_NAME_BYTES + 1];
    assert_true(str_to_cstr(snap_str_get(c, c->key_name), key, sizeof(key)));
    assert_non_null(find(b, SNAP_KEY, key));
    assert_non_null(h);
    struct str der = snap_str_get(c, ((const struct snap_str *)snap_array_get(c, c->chain))[0]);
    struct str good = pki_der(&b->good), other = pki_der(&b->other);
    char which = str_eq(der, good) ? 'g' : str_eq(der, other) ? 'o' : '?';
    pki_der_free(&good);
    pki_der_free(&other);
    return which;
}

struct told {
    size_t n;
    const char *text;
    enum diag_reason reason;
};

static bool has_text(struct str s, const char *text)
{
    return text == NULL || memmem(s.p, s.n, text, strlen(text)) != NULL;
}

static void tell(void *arg, const struct diag *d)
{
    struct told *t = arg;
    t->n += d->reason == t->reason && (has_text(d->what, t->text) || has_text(d->why, t->text));
}

/* Diagnostics of that reason in which text (or anything) stands. */
static size_t told_n(const struct bench *b, enum diag_reason reason, const char *text)
{
    struct told t = {.text = text, .reason = reason};
    compile_each_diag(b->compile, tell, &t);
    return t.n;
}

static void tell_any(void *arg, const struct diag *d)
{
    (void)d;
    ++*(size_t *)arg;
}

static size_t diag_n(const struct bench *b)
{
    size_t n = 0;
    compile_each_diag(b->compile, tell_any, &n);
    return n;
}

/* ---- certificates ---- */

enum broken {
    CUT,
    NO_CERTIFICATE,
    NO_KEY,
    SWAPPED,
    ENCRYPTED,
    NONSENSE,
    LONG_CHAIN,
    LARGE_CHAIN,
    LARGE_KEY,
    BROKEN_N
};

static const char encrypted[] = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
                                "DEK-Info: AES-128-CBC,00000000000000000000000000000000\n\nAAAA\n"
                                "-----END EC PRIVATE KEY-----\n";

static void put_broken(struct bench *b, enum broken broken)
{
    struct str pem = buf_str(&b->other_pem), key = buf_str(&b->other_key);
    struct buf large;
    buf_init(&large, 4 << 20);
    switch (broken) {
    case CUT:
        pem = str_first(pem, pem.n / 2);
        break;
    case NO_CERTIFICATE:
        pem = STR_EMPTY;
        break;
    case NO_KEY:
        key = STR_EMPTY;
        break;
    case SWAPPED:
        key = buf_str(&b->good_key);
        break;
    case ENCRYPTED:
        key = STR(encrypted);
        break;
    case NONSENSE:
        pem = key = STR("nonsense");
        break;
    case LONG_CHAIN:
        for (int i = 0; i < 11; i++) {
            buf_add_str(&large, pem);
        }
        pem = buf_str(&large);
        break;
    case LARGE_CHAIN:
    case LARGE_KEY:
        buf_add_str(&large, broken == LARGE_KEY ? key : pem);
        for (size_t n = 0; n < LARGE_BYTES; n++) {
            buf_add_char(&large, '\n');
        }
        pem = broken == LARGE_KEY ? pem : buf_str(&large);
        key = broken == LARGE_KEY ? buf_str(&large) : key;
        break;
    case BROKEN_N:
        fail();
    }
    put_pair(b, "s", pem, key);
    buf_fini(&large);
}

static void a_good_one_stays_while_its_successor_is_broken(void **state)
{
    struct bench *b = *state;
    put_ingress(b, "");
    put_good(b);
    assert_true(at(b, 0) > 0);
    assert_int_equal(in_service(b), 'g');
    assert_int_equal(diag_n(b), 0);
    for (enum broken i = CUT; i < BROKEN_N; i++) {
        put_broken(b, i);
        assert_int_equal(run(b), 0); /* the workers notice nothing */
        assert_int_equal(in_service(b), 'g');
        assert_int_equal(told_n(b, DIAG_InvalidCertificate, NULL), 2); /* Secret and Ingress */
        assert_int_equal(told_n(b, DIAG_InvalidCertificate, "stays in service"), 1);
        assert_int_equal(diag_n(b), 2);
    }
    put_other(b);
    assert_true(run(b) > 0);
    assert_int_equal(in_service(b), 'o');
    assert_int_equal(diag_n(b), 0);
}

static void a_broken_one_alone_is_not_served(void **state)
{
    struct bench *b = *state;
    put_ingress(b, "");
    for (enum broken i = CUT; i < BROKEN_N; i++) {
        put_broken(b, i);
        (void)at(b, 0);
        assert_int_equal(in_service(b), '-');
        assert_int_equal(told_n(b, DIAG_InvalidCertificate, "get the default certificate"), 1);
        assert_int_equal(diag_n(b), 2);
    }
    put_good(b);
    (void)run(b);
    assert_int_equal(in_service(b), 'g');
}

/* That is no mistake of typing. */
static void a_deleted_one_goes(void **state)
{
    struct bench *b = *state;
    put_ingress(b, "");
    put_good(b);
    (void)at(b, 0);
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("s")));
    (void)run(b);
    assert_int_equal(in_service(b), '-');
    assert_int_equal(told_n(b, DIAG_SecretNotFound, NULL), 1);
    put_good(b);
    (void)run(b);
    assert_int_equal(in_service(b), 'g');
    assert_true(store_del(b->store, OBJECT_INGRESS, STR("default"), STR("web")));
    (void)run(b);
    assert_int_equal(kind_n(b, SNAP_CERTIFICATE) + kind_n(b, SNAP_KEY) + kind_n(b, SNAP_TLS_HOST),
                     0);
}

static bool is_pending(const void *arg, struct str namespace_name, struct str name)
{
    (void)namespace_name, (void)name;
    return *(const bool *)arg;
}

/* Nobody knows yet whether it is there: neither missed nor dropped. */
static void a_pending_one_is_waited_for(void **state)
{
    struct bench *b = *state;
    bool is_waiting = true;
    compile_on_pending(b->compile, is_pending, &is_waiting);
    put_ingress(b, "");
    (void)at(b, 0);
    assert_int_equal(diag_n(b), 0);
    is_waiting = false;
    compile_secret_missing(b->compile, STR("default"), STR("s"));
    (void)run(b);
    assert_int_equal(told_n(b, DIAG_SecretNotFound, NULL), 1);
    put_good(b);
    (void)run(b);
    assert_int_equal(in_service(b), 'g');
    is_waiting = true;
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("s")));
    (void)run(b);
    assert_int_equal(in_service(b), 'g'); /* the watch is being begun anew */
}

/* ---- time ---- */

static void time_passes(void **state)
{
    static const struct {
        int day;
        const char *text; /* told; NULL: nothing */
        size_t n;
    } days[] = {
        {0,  NULL,          0},
        {19, NULL,          0},
        {21, "ends on",     1}, /* ten days before */
        {29, "ends on",     1},
        {31, "has expired", 2},
        {40, "has expired", 2},
        {5,  NULL,          0}, /* the clock was wrong */
    };
    struct bench *b = *state;
    put_ingress(b, "");
    put_good(b);
    (void)at(b, 0);
    for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
        assert_int_equal(at(b, days[i].day), 0);
        assert_int_equal(diag_n(b), days[i].n);
        assert_int_equal(told_n(b, DIAG_CertificateExpired, days[i].text), days[i].n);
        assert_int_equal(in_service(b), 'g'); /* an old one says more than a foreign one */
    }
}

/* While the one before is valid, one that is not does not take its place; then it does. */
static void expired_ones_wait(void **state)
{
    struct bench *b = *state;
    struct buf pem, key;
    buf_init(&pem, 1 << 16);
    buf_init(&key, 1 << 16);
    struct pki old = site_make(b, -2L * DAY_S, -DAY_S), early = site_make(b, DAY_S, 90L * DAY_S);
    const struct pki *both[] = {&old, &early};
    put_ingress(b, "");
    for (int i = 0; i < 2; i++) {
        buf_reset(&pem);
        buf_reset(&key);
        pki_pem(both[i], &pem);
        pki_pem_key(both[i], &key);
        put_good(b);
        (void)at(b, 0);
        put_pair(b, "s", buf_str(&pem), buf_str(&key));
        assert_int_equal(at(b, 0), 0);
        assert_int_equal(in_service(b), 'g');
        assert_int_equal(told_n(b, DIAG_CertificateExpired, "stays in service"), 1);
        assert_true(at(b, i == 0 ? 31 : 2) > 0); /* the good one has ended; the other has begun */
        assert_int_equal(in_service(b), '?');
        assert_int_equal(diag_n(b) > 0, i == 0);
    }
    pki_free(&old);
    pki_free(&early);
    buf_fini(&pem);
    buf_fini(&key);
}

static void an_expired_one_alone_is_served(void **state)
{
    struct bench *b = *state;
    put_ingress(b, "");
    put_good(b);
    (void)at(b, 45);
    assert_int_equal(in_service(b), 'g');
    assert_int_equal(told_n(b, DIAG_CertificateExpired, "clients refuse it"), 1);
    put_broken(b, SWAPPED);
    (void)run(b);
    assert_int_equal(in_service(b), '-'); /* nothing is lost with it */
    put_other(b);
    (void)run(b);
    assert_int_equal(in_service(b), 'o');
    assert_int_equal(diag_n(b), 0);
}

/* ---- keys ---- */

static void put_users(struct bench *b)
{
    buf_reset(&b->text);
    buf_addf(&b->text,
             "apiVersion: networking.k8s.io/v1\nkind: Ingress\n"
             "metadata: {name: two, namespace: default}\n"
             "spec:\n  ingressClassName: lintel\n  tls: [{secretName: s}, {secretName: t}]\n"
             "  rules: [{host: a.test}]\n");
    put_text(b);
}

static void certificates_share_a_key(void **state)
{
    struct bench *b = *state;
    put_users(b);
    put_good(b);
    put_pair(b, "t", buf_str(&b->good_pem), buf_str(&b->good_key));
    (void)at(b, 0);
    assert_int_equal(kind_n(b, SNAP_CERTIFICATE), 2);
    assert_int_equal(kind_n(b, SNAP_KEY), 1);
    put_other(b); /* in s */
    (void)run(b);
    assert_int_equal(kind_n(b, SNAP_KEY), 2);
    put_pair(b, "t", buf_str(&b->other_pem), buf_str(&b->other_key));
    (void)run(b);
    assert_int_equal(kind_n(b, SNAP_KEY), 1);
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("s")));
    (void)run(b);
    assert_int_equal(kind_n(b, SNAP_KEY), 1);
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("t")));
    (void)run(b);
    assert_int_equal(kind_n(b, SNAP_KEY), 0);
}

/* Renewed with the same key: it does not travel again. */
static void a_renewal_may_keep_its_key(void **state)
{
    struct bench *b = *state;
    put_ingress(b, "");
    put_good(b);
    (void)at(b, 0);
    struct buf pem;
    buf_init(&pem, 1 << 16);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(b->good.x), 4711), 1);
    assert_true(X509_sign(b->good.x, b->root.key, EVP_sha256()) > 0);
    pki_pem(&b->good, &pem);
    put_pair(b, "s", buf_str(&pem), buf_str(&b->good_key));
    assert_int_equal(run(b), 1);
    assert_int_equal(in_service(b), 'g');
    buf_fini(&pem);
}

struct order {
    struct bench *b;
    bool has_key, is_wrong;
};

/* A worker has to have the key first: nothing but the key of what is to come precedes it. */
static enum err take_in_order(void *arg, const struct snap_shard *shard)
{
    struct order *o = arg;
    o->has_key = o->has_key || (shard->kind == SNAP_KEY && !shard->is_deleted);
    o->is_wrong = o->is_wrong || (shard->kind == SNAP_CERTIFICATE && !o->has_key) ||
                  (shard->kind == SNAP_KEY && shard->is_deleted && o->has_key &&
                   find(o->b, SNAP_CERTIFICATE, "default/s") == NULL);
    return compiled_take(&o->b->state, shard);
}

static void a_key_comes_before_its_certificate(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 2; i++) {
        struct order o = {b, false, false};
        if (i == 0) {
            put_ingress(b, "");
            put_good(b);
        } else {
            put_other(b);
        }
        compile_set_time(b->compile, b->now_s);
        assert_int_equal(compile_run(b->compile, take_in_order, &o), E_OK);
        assert_true(o.has_key && !o.is_wrong);
    }
    assert_int_equal(in_service(b), 'o');
}

/* ---- authorities ---- */

#define AUTH(secret) ", nginx.ingress.kubernetes.io/auth-tls-secret: " secret

static void put_authority(struct bench *b, struct str pem, struct str list)
{
    const struct item items[] = {
        {"ca.crt", pem },
        {"ca.crl", list}
    };
    put_secret(b, "ca", items, list.n > 0 ? 2 : 1);
}

/* What a.test is guarded by: 'd'enied, the number of certificates, or '-'. */
static char guard(const struct bench *b)
{
    const struct snap_tls_host *h = (const void *)find(b, SNAP_TLS_HOST, "ingress/a.test");
    const struct snap_authority *a = (const void *)find(b, SNAP_AUTHORITY, "default/ca");
    if (h == NULL || h->policy == 0) {
        return '-';
    }
    assert_int_equal(h->is_denied, a == NULL);
    assert_int_equal(h->verify, a == NULL ? SNAP_VERIFY_OFF : SNAP_VERIFY_REQUIRED);
    assert_true(
        str_eq(snap_str_get(h, h->authority.key), a == NULL ? STR_EMPTY : STR("default/ca")));
    return a == NULL ? 'd' : (char)('0' + a->certificates.n + a->revocations.n);
}

static void authorities_are_kept_too(void **state)
{
    struct bench *b = *state;
    struct buf two, list;
    X509_CRL *crl = pki_revoke(&b->root, NULL, -PKI_HOUR, PKI_HOUR);
    buf_init(&two, 1 << 20);
    buf_init(&list, 1 << 20);
    pki_pem_revocations(crl, &list);
    buf_add_str(&two, buf_str(&b->root_pem));
    buf_add_str(&two, buf_str(&b->other_pem));
    put_ingress(b, AUTH("default/ca"));
    (void)at(b, 0);
    assert_int_equal(guard(b), 'd'); /* not there: nobody gets in */
    assert_int_equal(told_n(b, DIAG_SecretNotFound, "403"), 1);
    const struct str bad[] = {STR_EMPTY, STR("nonsense"), str_first(buf_str(&two), two.n - 40)};
    for (size_t i = 0; i < 3; i++) {
        put_authority(b, bad[i], STR_EMPTY);
        (void)run(b);
        assert_int_equal(guard(b), 'd');
        assert_int_equal(told_n(b, DIAG_InvalidCertificate, "403"), 1);
    }
    put_authority(b, buf_str(&b->root_pem), STR_EMPTY);
    (void)run(b);
    assert_int_equal(guard(b), '1');
    for (size_t i = 0; i < 3; i++) {
        put_authority(b, bad[i], STR_EMPTY);
        assert_int_equal(run(b), 0);
        assert_int_equal(guard(b), '1');
        assert_int_equal(told_n(b, DIAG_InvalidCertificate, "stay in service"), 1);
    }
    put_authority(b, buf_str(&b->root_pem),
                  STR("-----BEGIN X509 CRL-----\nAA\n"
                      "-----END X509 CRL-----\n"));
    assert_int_equal(run(b), 0); /* without its list it would let in whom that names */
    put_authority(b, buf_str(&two), buf_str(&list));
    assert_true(run(b) > 0);
    assert_int_equal(guard(b), '3');
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("ca")));
    (void)run(b);
    assert_int_equal(guard(b), 'd');
    put_ingress(b, "");
    (void)run(b);
    assert_int_equal(guard(b), '-');
    X509_CRL_free(crl);
    buf_fini(&two);
    buf_fini(&list);
}

/* One Secret may be both. */
static void two_roles(void **state)
{
    struct bench *b = *state;
    const struct item items[] = {
        {"tls.crt", buf_str(&b->good_pem)},
        {"tls.key", buf_str(&b->good_key)},
        {"ca.crt",  buf_str(&b->root_pem)},
    };
    put_ingress(b, AUTH("default/s"));
    put_secret(b, "s", items, 3);
    (void)at(b, 0);
    assert_int_equal(in_service(b), 'g');
    assert_non_null(find(b, SNAP_AUTHORITY, "default/s"));
    put_secret(b, "s", items + 2, 1); /* its certificate is gone, and stays */
    (void)run(b);
    assert_int_equal(in_service(b), 'g');
    assert_int_equal(told_n(b, DIAG_InvalidCertificate, "stays in service"), 1);
    put_ingress(b, "");
    (void)run(b);
    assert_null(find(b, SNAP_AUTHORITY, "default/s"));
}

/* ---- tickets ---- */

static uint32_t ticket_keys(const struct bench *b, char first)
{
    const struct snap_tickets *t = (const void *)find(b, SNAP_TICKETS, "");
    if (t == NULL) {
        return 0;
    }
    const struct snap_ticket_key *keys = snap_array_get(t, t->keys);
    assert_int_equal(keys[0].name[0], first);
    return t->keys.n;
}

static void put_tickets(struct bench *b, char c, size_t n)
{
    static char bytes[1024];
    memset(bytes, c, sizeof(bytes));
    const struct item item = {"ticket.key", str_make(bytes, n)};
    put_secret(b, "tickets", &item, 1);
}

static void keys_of_tickets(void **state)
{
    static const size_t bad[] = {0, 1, 48, 79, 81, 721, 720};
    struct bench *b = *state;
    compile_free(b->compile);
    store_free(b->store);
    b->options.ticket_secret_namespace = STR("default");
    b->options.ticket_secret = STR("tickets");
    compile_begin(b);
    (void)at(b, 0);
    assert_int_equal(ticket_keys(b, 0), 0);
    assert_int_equal(told_n(b, DIAG_SecretNotFound, "random keys"), 1);
    put_tickets(b, 'a', 80);
    assert_int_equal(run(b), 1);
    assert_int_equal(ticket_keys(b, 'a'), 1);
    assert_int_equal(diag_n(b), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put_tickets(b, 'b', bad[i]);
        assert_int_equal(run(b), 0);
        assert_int_equal(ticket_keys(b, 'a'), 1);
        assert_int_equal(told_n(b, DIAG_InvalidSetting, "stay in use"), 2);
    }
    put_tickets(b, 'c', 640);
    assert_int_equal(run(b), 1);
    assert_int_equal(ticket_keys(b, 'c'), 8);
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("tickets")));
    assert_int_equal(run(b), 1);
    assert_int_equal(ticket_keys(b, 0), 0);
}

/* ---- for names that nobody has one for ---- */

static bool default_is(const struct bench *b, const char *key)
{
    const struct snap_tls_host *h = (const void *)find(b, SNAP_TLS_HOST, "ingress/");
    if (key == NULL || h == NULL) {
        return key == NULL && h == NULL;
    }
    const struct snap_named *named = snap_array_get(h, h->certificates);
    return h->certificates.n == 1 && str_eq(snap_str_get(h, named[0].key), str_from_cstr(key));
}

static void the_default_one(void **state)
{
    struct bench *b = *state;
    compile_free(b->compile);
    store_free(b->store);
    b->options.default_certificate_namespace = STR("default");
    b->options.default_certificate = STR("s");
    b->options.own_chain = buf_str(&b->other_pem);
    b->options.own_key = buf_str(&b->other_key);
    compile_begin(b);
    (void)at(b, 0);
    assert_true(default_is(b, "-/default")); /* of our own making */
    assert_int_equal(told_n(b, DIAG_SecretNotFound, NULL), 1);
    put_broken(b, SWAPPED);
    (void)run(b);
    assert_true(default_is(b, "-/default"));
    put_good(b);
    (void)run(b);
    assert_true(default_is(b, "default/s"));
    assert_int_equal(diag_n(b), 0);
    put_broken(b, CUT);
    assert_int_equal(run(b), 0);
    assert_true(default_is(b, "default/s"));
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("s")));
    (void)run(b);
    assert_true(default_is(b, "-/default"));
}

static void none_at_all(void **state)
{
    struct bench *b = *state;
    put_good(b); /* in nobody's use */
    (void)at(b, 0);
    assert_true(default_is(b, NULL));
    assert_int_equal(kind_n(b, SNAP_CERTIFICATE) + kind_n(b, SNAP_KEY), 0);
}

/* ---- failures ---- */

/* The state after a failed run and a good one is that of a good one. */
static void the_receiver_may_fail(void **state)
{
    struct bench *b = *state;
    put_ingress(b, "");
    compile_set_time(b->compile, b->now_s);
    for (size_t at_n = 1; at_n < 8; at_n++) {
        if (at_n % 2 == 1) {
            put_good(b);
        } else {
            put_other(b);
        }
        b->state.fail_at = 1 + at_n / 2;
        enum err e = compile_run(b->compile, compiled_take, &b->state);
        assert_true(e == E_SYS || e == E_OK);
        b->state.fail_at = 0;
        (void)run(b);
        assert_int_equal(in_service(b), at_n % 2 == 1 ? 'g' : 'o');
    }
}

static void when_memory_is_out(void **state)
{
    enum { NTH_MAX = 20 * 1000, CLOSE = 25 };
    struct bench *b = *state;
    enum err e = E_NOMEM;
    size_t nth = 1;
    put_ingress(b, AUTH("default/ca"));
    put_authority(b, buf_str(&b->root_pem), STR_EMPTY);
    put_good(b);
    compile_set_time(b->compile, b->now_s);
    for (; nth < NTH_MAX && e != E_OK; nth += 1 + nth / CLOSE) {
        mem_fail_from(nth);
        e = compile_run(b->compile, compiled_take, &b->state);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
    }
    assert_int_equal(e, E_OK);
    assert_true(nth > 10);
    assert_int_equal(in_service(b), 'g');
    assert_int_equal(guard(b), '1');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_good_one_stays_while_its_successor_is_broken),
        TEST(a_broken_one_alone_is_not_served),
        TEST(a_deleted_one_goes),
        TEST(a_pending_one_is_waited_for),
        TEST(time_passes),
        TEST(expired_ones_wait),
        TEST(an_expired_one_alone_is_served),
        TEST(certificates_share_a_key),
        TEST(a_renewal_may_keep_its_key),
        TEST(a_key_comes_before_its_certificate),
        TEST(authorities_are_kept_too),
        TEST(two_roles),
        TEST(keys_of_tickets),
        TEST(the_default_one),
        TEST(none_at_all),
        TEST(the_receiver_may_fail),
        TEST(when_memory_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
