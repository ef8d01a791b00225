/* The Secrets of TLS to endpoints over time: which shards a change of one reaches, what stays in
 * service when it turns bad, and that nothing of it ever means less verification. */
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
#include "base/mem.h"
#include "compile/compile_priv.h"

#define PREFIX "nginx.ingress.kubernetes.io/"
#define TOWN                                                                                       \
    "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: lintel}\n"             \
    "spec: {controller: lintel.dev/ingress-controller}\n---\n"                                     \
    "apiVersion: v1\nkind: Service\nmetadata: {name: app}\nspec: {ports: [{port: 443}]}\n---\n"
#define INGRESS(name, more) INGRESS_BY("HTTPS", name, more)
#define INGRESS_BY(protocol, name, more)                                                           \
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: " name                    \
    "\n  annotations: {" PREFIX "backend-protocol: " protocol more                                 \
    "}\nspec:\n  ingressClassName: lintel\n  rules:\n  - host: " name ".test\n    http:\n"         \
    "      paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: "     \
    "443}}}}]\n---\n"
#define NAMES(secret) ", " PREFIX "proxy-ssl-secret: default/" secret
#define VERIFIES      ", " PREFIX "proxy-ssl-verify: \"on\", " PREFIX "proxy-ssl-name: a.test"

#define PLAIN    "default/app/443/https"
#define CLIENT   PLAIN ",secret=s"
#define VERIFIED PLAIN ",secret=s,verify=1,name=a.test"

#define INGRESSES                                                                                  \
    INGRESS("plain", "") INGRESS("client", NAMES("s")) INGRESS("verified", NAMES("s") VERIFIES)

static const struct compile_options options = {
    .controller = STR_INIT("lintel.dev/ingress-controller"),
    .ingress_class = STR_INIT("lintel"),
    .default_namespace = STR_INIT(""),
    .default_service = STR_INIT(""),
};

struct bench {
    struct store *store;
    struct compile *compile;
    struct compiled state;
    struct pki root, other, ours;
    bool is_pending;
};

static bool is_pending(const void *arg, struct str namespace_name, struct str name)
{
    (void)namespace_name, (void)name;
    return ((const struct bench *)arg)->is_pending;
}

static void put(struct bench *b, const char *yaml)
{
    assert_true(objects_put(b->store, "test.yaml", str_from_cstr(yaml)));
}

static void compile_start(struct bench *b)
{
    assert_int_equal(store_new(&b->store), E_OK);
    assert_int_equal(compile_new(b->store, &options, &b->compile), E_OK);
    compile_on_pending(b->compile, is_pending, b);
}

static void compile_end(struct bench *b)
{
    compile_free(b->compile);
    store_free(b->store);
    compiled_fini(&b->state);
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    b->root = pki_make(&(struct pki_options){.name = "root", .is_authority = true}, NULL);
    b->other = pki_make(&(struct pki_options){.name = "other", .is_authority = true}, NULL);
    b->ours = pki_make(&(struct pki_options){.name = "ours", .uses = "clientAuth"}, &b->root);
    compile_start(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    compile_end(b);
    pki_free(&b->root);
    pki_free(&b->other);
    pki_free(&b->ours);
    free(b);
    return 0;
}

/* An item with a PEM block, which is bad when it has no end. */
static void item_add(struct buf *yaml, const char *key, const char *what, struct str der)
{
    char *text = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio(bio, what, "", (const unsigned char *)der.p, (long)der.n) > 0);
    long n = BIO_get_mem_data(bio, &text);
    struct str rest = str_make(text, (size_t)n), line;
    buf_addf(yaml, "  %s: |\n", key);
    while (rest.n > 0) {
        (void)str_cut(rest, '\n', &line, &rest);
        buf_addf(yaml, "    %.*s\n", STR_ARG(line));
    }
    BIO_free(bio);
}

/* What is NULL is not there. */
static void secret_put(struct bench *b, const struct pki *authority, const struct pki *certificate,
                       const char *more)
{
    struct buf yaml;
    buf_init(&yaml, 1 << 20);
    buf_addf(&yaml,
             "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: default}\n"
             "stringData:\n  more: none\n%s",
             more);
    if (authority != NULL) {
        struct str der = pki_der(authority);
        item_add(&yaml, "ca.crt", "CERTIFICATE", der);
        pki_der_free(&der);
    }
    if (certificate != NULL) {
        struct str der = pki_der(certificate), key = pki_der_key(certificate);
        item_add(&yaml, "tls.crt", "CERTIFICATE", der);
        item_add(&yaml, "tls.key", "PRIVATE KEY", key);
        pki_der_free(&der);
        pki_der_free(&key);
    }
    buf_add_char(&yaml, '\0');
    put(b, yaml.p);
    buf_fini(&yaml);
}

/* How many shards of services came. */
static uint64_t run(struct bench *b)
{
    uint64_t before = b->state.services_n;
    assert_int_equal(compile_run(b->compile, compiled_take, &b->state), E_OK);
    assert_int_equal(b->state.wrong_n, 0);
    return b->state.services_n - before;
}

static const struct snap_service *service_get(const struct bench *b, const char *key)
{
    map_each(slot, &b->state.shards)
    {
        const struct snap_shard *shard = slot->value;
        if (shard->kind == SNAP_SERVICE &&
            str_eq(snap_str_get(shard, shard->key), str_from_cstr(key))) {
            return slot->value;
        }
    }
    fail_msg("there is no %s", key);
    return NULL;
}

static size_t shard_n(const struct bench *b, enum snap_kind kind)
{
    size_t n = 0;
    map_each(slot, &b->state.shards)
    {
        n += ((const struct snap_shard *)slot->value)->kind == kind;
    }
    return n;
}

struct search {
    struct str kind;
    enum diag_reason reason;
    size_t n;
};

static void search_one(void *arg, const struct diag *d)
{
    struct search *s = arg;
    s->n += d->reason == s->reason && str_eq(d->kind, s->kind);
}

static size_t told_n(const struct bench *b, struct str kind, enum diag_reason reason)
{
    struct search s = {kind, reason, 0};
    compile_each_diag(b->compile, search_one, &s);
    return s.n;
}

/* Both, or one, or none of what it may have; each change reaches those that use it. */
static void a_change_reaches_its_users(void **state)
{
    struct bench *b = *state;
    put(b, TOWN INGRESSES);
    secret_put(b, &b->root, &b->ours, "");
    assert_int_equal(run(b), 3);
    assert_true(shard_n(b, SNAP_CERTIFICATE) == 1 && shard_n(b, SNAP_KEY) == 1 &&
                shard_n(b, SNAP_AUTHORITY) == 1);
    uint64_t client = service_get(b, CLIENT)->stamp, verified = service_get(b, VERIFIED)->stamp;
    assert_true(client != 0 && verified != 0 && client != verified);
    assert_int_equal(service_get(b, PLAIN)->stamp, 0);

    secret_put(b, &b->other, &b->ours, ""); /* other authorities: for those that verify */
    assert_int_equal(run(b), 1);
    assert_int_equal(service_get(b, CLIENT)->stamp, client);
    assert_int_not_equal(service_get(b, VERIFIED)->stamp, verified);

    secret_put(b, &b->other, NULL, ""); /* no certificate any more: for both */
    assert_int_equal(run(b), 2);
    assert_int_equal(service_get(b, CLIENT)->certificate.n, 0);
    assert_true(shard_n(b, SNAP_CERTIFICATE) == 0 && shard_n(b, SNAP_KEY) == 0);

    secret_put(b, &b->other, NULL, "  other: none\n"); /* nothing that counts */
    assert_int_equal(run(b), 0);
    secret_put(b, &b->root, &b->ours, ""); /* as it was */
    assert_int_equal(run(b), 2);
    assert_int_equal(service_get(b, VERIFIED)->stamp, verified);
}

static void assert_broken(const struct bench *b, bool is_client, bool is_verified)
{
    assert_int_equal(service_get(b, CLIENT)->is_broken, is_client);
    assert_int_equal(service_get(b, VERIFIED)->is_broken, is_verified);
    assert_int_equal(service_get(b, VERIFIED)->is_verified, 1);
    assert_int_equal(service_get(b, PLAIN)->is_broken, 0);
}

static void what_is_missing_breaks_its_users_only(void **state)
{
    struct bench *b = *state;
    put(b, TOWN INGRESSES);
    (void)run(b);
    assert_broken(b, true, true);
    assert_int_equal(told_n(b, STR("Ingress"), DIAG_SecretNotFound), 2);
    secret_put(b, NULL, &b->ours, "");
    (void)run(b);
    assert_broken(b, false, true);
    assert_int_equal(told_n(b, STR("Ingress"), DIAG_SecretNotFound), 0);
    assert_int_equal(told_n(b, STR("Ingress"), DIAG_InvalidCertificate), 1);
    secret_put(b, &b->root, NULL, "");
    (void)run(b);
    assert_broken(b, false, false);
    assert_int_equal(told_n(b, STR("Ingress"), DIAG_InvalidCertificate), 0);
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("s")));
    (void)run(b);
    assert_broken(b, true, true);
    assert_int_equal(shard_n(b, SNAP_AUTHORITY), 0);
}

/* A typing mistake takes nothing down, and both sides are told. */
static void what_was_good_stays_in_service(void **state)
{
    struct bench *b = *state;
    put(b, TOWN INGRESSES);
    secret_put(b, &b->root, &b->ours, "");
    (void)run(b);
    secret_put(b, NULL, NULL, "  ca.crt: XXX\n  tls.crt: XXX\n  tls.key: XXX\n");
    assert_int_equal(run(b), 0);
    assert_broken(b, false, false);
    assert_int_equal(told_n(b, STR("Secret"), DIAG_InvalidCertificate), 2);
    assert_int_equal(told_n(b, STR("Ingress"), DIAG_InvalidCertificate), 4);
}

static void what_was_never_good_breaks(void **state)
{
    struct bench *b = *state;
    put(b, TOWN INGRESSES);
    secret_put(b, &b->root, NULL, "  tls.crt: XXX\n");
    (void)run(b);
    assert_broken(b, true, true);
    assert_int_equal(told_n(b, STR("Secret"), DIAG_InvalidCertificate), 1);
    assert_int_equal(told_n(b, STR("Ingress"), DIAG_InvalidCertificate), 2);
}

/* What nobody knows yet is nobody's mistake, and nothing is taken away for it. */
static void what_is_not_known_yet(void **state)
{
    struct bench *b = *state;
    b->is_pending = true;
    put(b, TOWN INGRESSES);
    (void)run(b);
    assert_broken(b, true, true);
    assert_int_equal(told_n(b, STR("Ingress"), DIAG_SecretNotFound), 0);
    secret_put(b, &b->root, &b->ours, "");
    (void)run(b);
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("s")));
    assert_int_equal(run(b), 0);
    assert_broken(b, false, false);
}

/* One Secret for clients' certificates, ours and endpoints' authorities. */
static void a_secret_in_several_roles(void **state)
{
    struct bench *b = *state;
    put(b, TOWN INGRESS("verified", NAMES("s") VERIFIES ", " PREFIX "auth-tls-secret: default/s"));
    secret_put(b, &b->root, NULL, "");
    (void)run(b);
    assert_int_equal(shard_n(b, SNAP_AUTHORITY), 1);
    put(b, INGRESS("verified", ", " PREFIX "auth-tls-secret: default/s"));
    (void)run(b);
    assert_int_equal(shard_n(b, SNAP_AUTHORITY), 1);
    put(b, INGRESS("verified", ""));
    (void)run(b);
    assert_int_equal(shard_n(b, SNAP_AUTHORITY), 0);
}

/* Whoever does not speak TLS reads no Secret. */
static void no_tls_no_secret(void **state)
{
    struct bench *b = *state;
    put(b, TOWN INGRESS_BY("HTTP", "verified", NAMES("s") VERIFIES));
    secret_put(b, &b->root, &b->ours, "");
    (void)run(b);
    assert_int_equal(shard_n(b, SNAP_AUTHORITY) + shard_n(b, SNAP_CERTIFICATE), 0);
    assert_int_equal(service_get(b, "default/app/443/http")->is_tls, 0);
}

/* The n-th allocation of a run fails; the next run makes it good. */
static void memory_may_run_out(void **state)
{
    struct bench *b = *state;
    enum err e = E_NOMEM;
    for (size_t n = 1; e != E_OK; n++) {
        compile_end(b);
        b->state = (struct compiled){0};
        compile_start(b);
        put(b, TOWN INGRESSES);
        secret_put(b, &b->root, &b->ours, "");
        mem_fail_from(n);
        e = compile_run(b->compile, compiled_take, &b->state);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
        (void)run(b);
        assert_broken(b, false, false);
        assert_true(service_get(b, VERIFIED)->stamp != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_change_reaches_its_users),
        TEST(what_is_missing_breaks_its_users_only),
        TEST(what_was_good_stays_in_service),
        TEST(what_was_never_good_breaks),
        TEST(what_is_not_known_yet),
        TEST(a_secret_in_several_roles),
        TEST(no_tls_no_secret),
        TEST(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
