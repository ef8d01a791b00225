/* Secrets in a store and what is compiled of them: certificates that are good, broken in every way
 * or of another time, and questions about what is in service then. */
#pragma once

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

static inline struct buf *const *texts(struct bench *b, size_t *ret_n)
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

static inline struct pki site_make(const struct bench *b, long begins_s, long ends_s)
{
    return pki_make(
        &(struct pki_options){
            .name = "site", .alternatives = "DNS:a.test", .begins_s = begins_s, .ends_s = ends_s},
        &b->root);
}

static inline void compile_begin(struct bench *b)
{
    assert_int_equal(store_new(&b->store), E_OK);
    assert_int_equal(compile_new(b->store, &b->options, &b->compile), E_OK);
    compile_hide_classes(b->compile, true);
}

static inline int setup(void **state)
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

static inline int teardown(void **state)
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

static inline void put_text(struct bench *b)
{
    assert_false(b->text.bad);
    assert_true(objects_put(b->store, "test.yaml", buf_str(&b->text)));
}

/* annotations: "" or ", key: value". */
static inline void put_ingress(struct bench *b, const char *annotations)
{
    buf_reset(&b->text);
    buf_addf(&b->text, INGRESS, annotations);
    put_text(b);
}

struct item {
    const char *key;
    struct str value;
};

static inline void put_secret(struct bench *b, const char *name, const struct item *items, size_t n)
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

static inline void put_pair(struct bench *b, const char *name, struct str chain, struct str key)
{
    const struct item items[] = {
        {"tls.crt", chain},
        {"tls.key", key  }
    };
    put_secret(b, name, items, 2);
}

static inline void put_good(struct bench *b)
{
    put_pair(b, "s", buf_str(&b->good_pem), buf_str(&b->good_key));
}

static inline void put_other(struct bench *b)
{
    put_pair(b, "s", buf_str(&b->other_pem), buf_str(&b->other_key));
}

static inline size_t run(struct bench *b)
{
    size_t before = b->state.emitted_n;
    assert_int_equal(compile_run(b->compile, compiled_take, &b->state), E_OK);
    assert_false(compile_is_dirty(b->compile));
    assert_int_equal(b->state.wrong_n, 0);
    return b->state.emitted_n - before;
}

static inline size_t at(struct bench *b, int64_t days)
{
    compile_set_time(b->compile, b->now_s + days * DAY_S);
    return run(b);
}

/* ---- looking ---- */

static inline const struct snap_shard *find(const struct bench *b, enum snap_kind kind,
                                            const char *key)
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

static inline size_t kind_n(const struct bench *b, enum snap_kind kind)
{
    size_t n = 0;
    map_each(slot, &b->state.shards)
    {
        n += ((const struct snap_shard *)slot->value)->kind == kind;
    }
    return n;
}

/* What default/s serves: 'g'ood, 'o'ther, '-' nothing; its key, and the host, have to fit. */
static inline char in_service(const struct bench *b)
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

static inline bool has_text(struct str s, const char *text)
{
    return text == NULL || memmem(s.p, s.n, text, strlen(text)) != NULL;
}

static inline void tell(void *arg, const struct diag *d)
{
    struct told *t = arg;
    t->n += d->reason == t->reason && (has_text(d->what, t->text) || has_text(d->why, t->text));
}

/* Diagnostics of that reason in which text (or anything) stands. */
static inline size_t told_n(const struct bench *b, enum diag_reason reason, const char *text)
{
    struct told t = {.text = text, .reason = reason};
    compile_each_diag(b->compile, tell, &t);
    return t.n;
}

static inline void tell_any(void *arg, const struct diag *d)
{
    (void)d;
    ++*(size_t *)arg;
}

static inline size_t diag_n(const struct bench *b)
{
    size_t n = 0;
    compile_each_diag(b->compile, tell_any, &n);
    return n;
}

/* ---- broken ones ---- */

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

static const char secret_encrypted[] =
    "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
    "DEK-Info: AES-128-CBC,00000000000000000000000000000000\n\nAAAA\n"
    "-----END EC PRIVATE KEY-----\n";

static inline void put_broken(struct bench *b, enum broken broken)
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
        key = STR(secret_encrypted);
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

/* ---- authorities ---- */

#define AUTH(secret) ", nginx.ingress.kubernetes.io/auth-tls-secret: " secret

static inline void put_authority(struct bench *b, struct str pem, struct str list)
{
    const struct item items[] = {
        {"ca.crt", pem },
        {"ca.crl", list}
    };
    put_secret(b, "ca", items, list.n > 0 ? 2 : 1);
}

/* What a.test is guarded by: 'd'enied, the number of certificates, or '-'. */
static inline char guard(const struct bench *b)
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
