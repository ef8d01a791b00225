/* Secrets of TLS as operators see them: which certificates are in service for which hosts, and what
 * is said of an Ingress that is to be admitted. Certificates are made as we make our own. */
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
#include "base/mem.h"
#include "compile/compile_priv.h"

enum { NOW = 1800000000, DAY = 24 * 3600 };

#define AUTH "nginx.ingress.kubernetes.io/auth-tls-secret"

static const struct compile_options options = {
    .controller = STR_INIT("lintel.dev/ingress-controller"),
    .ingress_class = STR_INIT("lintel"),
    .default_namespace = STR_INIT(""),
    .default_service = STR_INIT(""),
    .default_certificate_namespace = STR_INIT("default"),
    .default_certificate = STR_INIT("fallback"),
};

struct bench {
    struct store *store;
    struct compile *compile;
    struct compiled state;
    struct buf text, yaml;
    struct buf authority, chain, key; /* of the certificate that was made last */
};

/* ---- objects ---- */

static void put(struct bench *b)
{
    assert_true(objects_put(b->store, "test.yaml", buf_str(&b->yaml)));
    buf_reset(&b->yaml);
}

static void run(struct bench *b)
{
    assert_int_equal(compile_run(b->compile, compiled_take, &b->state), E_OK);
}

static void make(struct bench *b, const char *host, int days)
{
    struct str names[] = {str_from_cstr(host)};
    const struct tls_make m = {.common_name = "test",
                               .names = names,
                               .name_n = 1,
                               .not_before = NOW - DAY,
                               .not_after = NOW + (int64_t)days * DAY};
    buf_reset(&b->authority);
    buf_reset(&b->chain);
    buf_reset(&b->key);
    assert_int_equal(tls_certificate_make(&m, &b->authority, &b->chain, &b->key), E_OK);
}

static void add_item(struct bench *b, const char *key, struct str text)
{
    struct str line;
    buf_addf(&b->yaml, "  %s: |\n", key);
    while (text.n > 0) {
        (void)str_cut(text, '\n', &line, &text); /* the last line has an end, too */
        buf_addf(&b->yaml, "    %.*s\n", STR_ARG(line));
    }
}

static void put_secret(struct bench *b, const char *name, struct str chain, struct str key)
{
    buf_addf(
        &b->yaml,
        "apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: default}\nstringData:\n",
        name);
    add_item(b, "tls.crt", chain);
    add_item(b, "tls.key", key);
    add_item(b, "ca.crt", buf_str(&b->authority));
    put(b);
}

static void put_pair(struct bench *b, const char *name, const char *host, int days)
{
    make(b, host, days);
    put_secret(b, name, buf_str(&b->chain), buf_str(&b->key));
}

/* secrets: of the entries of spec.tls, each for the host; apart by blanks. */
static void add_ingress(struct bench *b, const char *name, const char *host, const char *secrets,
                        const char *annotations)
{
    struct str one, rest = str_from_cstr(secrets);
    buf_addf(
        &b->yaml,
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: %s, namespace: "
        "default, annotations: {%s}}\nspec:\n  ingressClassName: lintel\n  rules:\n  - host: "
        "\"%s\"\n    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, "
        "port: {number: 80}}}}]}\n  tls:\n",
        name, annotations, host);
    while (rest.n > 0) {
        (void)str_cut(rest, ' ', &one, &rest); /* the last one has none behind it */
        buf_addf(&b->yaml, "  - {hosts: [\"%s\"], secretName: %.*s}\n", host, STR_ARG(one));
    }
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct buf *bufs[] = {&b->text, &b->yaml, &b->authority, &b->chain, &b->key};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
        buf_init(bufs[i], 1 << 20);
    }
    assert_int_equal(store_new(&b->store), E_OK);
    assert_int_equal(compile_new(b->store, &options, &b->compile), E_OK);
    compile_set_time(b->compile, NOW);
    buf_addf(&b->yaml,
             "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: "
             "lintel}\nspec: {controller: lintel.dev/ingress-controller}\n---\napiVersion: "
             "v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n");
    put(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    struct buf *bufs[] = {&b->text, &b->yaml, &b->authority, &b->chain, &b->key};
    compile_free(b->compile);
    store_free(b->store);
    compiled_fini(&b->state);
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
        buf_fini(bufs[i]);
    }
    free(b);
    return 0;
}

/* ---- certificates in service ---- */

struct seen {
    char lines[8][128];
    size_t n;
};

static void see(void *arg, const struct compile_certificate *c)
{
    struct seen *s = arg;
    assert_true(s->n < 8 && c->serial.n > 0 && str_eq(c->issuer_common_name, STR("test")));
    assert_string_equal(c->key_algorithm, "ECDSA");
    (void)snprintf(s->lines[s->n++], sizeof(s->lines[0]), "%.*s %.*s/%.*s %d", STR_ARG(c->host),
                   STR_ARG(c->namespace_name), STR_ARG(c->secret),
                   (int)((c->not_after - NOW) / DAY));
}

static int line_cmp(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* expected: lines with a '|' between them, sorted. */
static void expect(struct bench *b, const char *expected)
{
    struct seen s = {.n = 0};
    compile_each_certificate(b->compile, see, &s);
    qsort(s.lines, s.n, sizeof(s.lines[0]), line_cmp);
    buf_reset(&b->text);
    for (size_t i = 0; i < s.n; i++) {
        buf_addf(&b->text, "%s%s", i > 0 ? "|" : "", s.lines[i]);
    }
    buf_add_char(&b->text, '\0');
    assert_string_equal(b->text.p, expected);
}

static void certificates_follow_secrets(void **state)
{
    struct bench *b = *state;
    expect(b, "");
    add_ingress(b, "shop", "a.test", "cert", "");
    put(b);
    run(b);
    expect(b, "");
    put_pair(b, "cert", "a.test", 30);
    expect(b, ""); /* not before it is compiled */
    run(b);
    expect(b, "a.test default/cert 30");
    put_pair(b, "fallback", "*.test", 60);
    run(b);
    expect(b, " default/fallback 60|a.test default/cert 30");
    put_pair(b, "cert", "a.test", 90);
    run(b);
    expect(b, " default/fallback 60|a.test default/cert 90");
    put_secret(b, "cert", buf_str(&b->chain), STR("nothing\n"));
    run(b);
    expect(b, " default/fallback 60|a.test default/cert 90"); /* stays in service */
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("cert")));
    run(b);
    expect(b, " default/fallback 60");
}

static void certificates_follow_ingresses(void **state)
{
    struct bench *b = *state;
    add_ingress(b, "shop", "a.test", "cert", "");
    put(b);
    put_pair(b, "cert", "a.test", 30);
    run(b);
    expect(b, "a.test default/cert 30");
    add_ingress(b, "shop", "b.test", "cert", ""); /* is not for it */
    put(b);
    expect(b, "a.test default/cert 30"); /* not before it is compiled */
    run(b);
    expect(b, "");
    add_ingress(b, "shop", "a.test", "cert", "");
    put(b);
    run(b);
    assert_true(store_del(b->store, OBJECT_INGRESS, STR("default"), STR("shop")));
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("cert")));
    run(b);
    expect(b, "");
}

/* A run that fails in mid-way leaves nothing that points to what is gone. */
static void certificates_after_a_run_that_failed(void **state)
{
    struct bench *b = *state;
    add_ingress(b, "shop", "a.test", "cert", "");
    put(b);
    put_pair(b, "cert", "a.test", 30);
    run(b);
    assert_true(store_del(b->store, OBJECT_INGRESS, STR("default"), STR("shop")));
    for (size_t n = 1; n < 10; n++) {
        b->state.fail_at = n;
        if (compile_run(b->compile, compiled_take, &b->state) == E_OK) {
            break;
        }
        expect(b, "");
    }
    b->state.fail_at = 0;
    run(b);
    expect(b, "");
}

/* ---- who wants to come ---- */

static void note(void *arg, const struct diag *d)
{
    struct bench *b = arg;
    assert_true(d->why.n > 0 && d->mend.n > 0);
    buf_addf(&b->text, "%s%s %s %.*s: %.*s", b->text.n > 0 ? "|" : "",
             d->severity == DIAG_ERROR ? "error" : "warning", diag_reason_name(d->reason),
             STR_ARG(d->field), STR_ARG(d->what));
}

/* What is said of the Ingress in b->yaml. */
static void judge(struct bench *b, const char *expected)
{
    struct objects objects = {0};
    assert_true(objects_parse(&objects, "test.yaml", buf_str(&b->yaml)));
    struct object *o = objects_give(&objects, 0);
    objects_fini(&objects);
    buf_reset(&b->yaml);
    buf_reset(&b->text);
    assert_int_equal(compile_judge(b->compile, (const struct ingress *)(const void *)o, note, b),
                     E_OK);
    buf_add_char(&b->text, '\0');
    assert_string_equal(b->text.p, expected);
    object_free(o);
}

#define NAME "spec.tls[0].secretName: "

static void candidates_and_their_secrets(void **state)
{
    struct bench *b = *state;
    run(b);
    add_ingress(b, "new", "a.test", "cert", "");
    judge(b, "warning SecretNotFound " NAME "there is no Secret default/cert");
    put_pair(b, "cert", "a.test", 30);
    add_ingress(b, "new", "a.test", "cert", "");
    judge(b, "");
    add_ingress(b, "new", "b.test", "cert", "");
    judge(b, "warning CertificateMismatch spec.tls[0].hosts[0]: is \"b.test\", but the certificate "
             "in Secret cert is not for it");
    put_secret(b, "cert", buf_str(&b->chain), STR("nothing\n"));
    add_ingress(b, "new", "a.test", "cert", "");
    judge(b, "warning InvalidCertificate " NAME "names Secret cert, which has no private key");
    make(b, "a.test", 30);
    struct str chain = buf_str(&b->chain);
    put_secret(b, "cert", STR("nothing\n"), buf_str(&b->key));
    add_ingress(b, "new", "a.test", "cert", "");
    judge(b, "warning InvalidCertificate " NAME "names Secret cert, which has no certificate");
    put_secret(b, "cert", str_first(chain, chain.n / 3), buf_str(&b->key));
    add_ingress(b, "new", "a.test", "cert", "");
    judge(b, "warning InvalidCertificate " NAME
             "names Secret cert, which has a certificate that cannot be read");
    put_pair(b, "cert", "a.test", 0);
    compile_set_time(b->compile, NOW + DAY);
    add_ingress(b, "new", "a.test", "cert", "");
    judge(b, "warning CertificateExpired " NAME "names Secret cert, which has expired");
}

static void candidates_and_authorities(void **state)
{
    struct bench *b = *state;
    run(b);
    put_pair(b, "cert", "a.test", 30);
    add_ingress(b, "new", "a.test", "cert", AUTH ": default/ca");
    judge(b,
          "warning SecretNotFound metadata.annotations[" AUTH "]: there is no Secret default/ca");
    put_pair(b, "ca", "a.test", 30);
    add_ingress(b, "new", "a.test", "cert", AUTH ": default/ca");
    judge(b, "");
    buf_reset(&b->authority);
    buf_addf(&b->authority, "nothing\n");
    put_secret(b, "ca", buf_str(&b->chain), buf_str(&b->key));
    add_ingress(b, "new", "a.test", "cert", AUTH ": default/ca");
    judge(b, "warning InvalidCertificate metadata.annotations[" AUTH
             "]: names Secret ca, which has no certificate of an authority");
}

static bool is_unknown(const void *arg, struct str namespace_name, struct str name)
{
    (void)arg, (void)namespace_name;
    return str_eq(name, STR("unknown"));
}

/* Of a cluster, what nobody has asked for is not known to be missing. */
static void candidates_with_what_is_not_known(void **state)
{
    struct bench *b = *state;
    compile_on_pending(b->compile, is_unknown, NULL);
    run(b);
    add_ingress(b, "new", "a.test", "unknown", AUTH ": default/unknown");
    judge(b, "");
    add_ingress(b, "new", "a.test", "gone", "");
    judge(b, "warning SecretNotFound " NAME "there is no Secret default/gone");
}

static void judging_without_memory(void **state)
{
    enum { NTH_MAX = 5000 };
    struct bench *b = *state;
    struct objects objects = {0};
    size_t nth = 0;
    enum err e;
    put_pair(b, "cert", "b.test", 30);
    run(b);
    add_ingress(b, "new", "a.test", "cert", AUTH ": default/cert");
    assert_true(objects_parse(&objects, "test.yaml", buf_str(&b->yaml)));
    do {
        buf_reset(&b->text);
        mem_fail_from(++nth);
        e = compile_judge(b->compile, (const struct ingress *)(const void *)objects.items[0], note,
                          b);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
    } while (e != E_OK && nth < NTH_MAX);
    assert_int_equal(e, E_OK);
    objects_fini(&objects);
    buf_reset(&b->yaml);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(certificates_follow_secrets),
        TEST(certificates_follow_ingresses),
        TEST(certificates_after_a_run_that_failed),
        TEST(candidates_and_their_secrets),
        TEST(candidates_and_authorities),
        TEST(candidates_with_what_is_not_known),
        TEST(judging_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
