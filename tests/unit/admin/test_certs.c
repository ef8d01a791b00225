/* admin/certs: manifests in, rows out; and every allocation failing once. The whole of it, over
 * running processes, is in tests/system/test_certs.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admin/certs.h"
#include "base/mem.h"
#include "compile/compile.h"
#include "publish/publish.h"
#include "source/manifest.h"
#include "stats/stats.h"
#include "tls/certificate.h"
#include "tls/library.h"

#include <string.h>
#include <unistd.h>

enum { NOW = 1800000000, DAY = 24 * 3600 };

static const char ingresses[] =
    "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: lintel}\n"
    "spec: {controller: lintel.dev/ingress-controller}\n---\n"
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: shop\n  annotations:\n"
    "    nginx.ingress.kubernetes.io/auth-tls-secret: default/cert\n"
    "spec:\n  ingressClassName: lintel\n"
    "  tls: [{hosts: [a.test], secretName: cert}, {hosts: [b.test], secretName: gone}, "
    "{secretName: "
    "cert}]\n"
    "  defaultBackend: {service: {name: web, port: {number: 80}}}\n  rules: [{host: a.test}, "
    "{host: c.test}]\n---\n"
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: theirs}\n"
    "spec:\n  ingressClassName: other\n  defaultBackend: {service: {name: web, port: {number: "
    "80}}}\n  tls: [{hosts: [d.test], secretName: cert}]\n---\n";

static const struct compile_options options = {
    .controller = STR_INIT("lintel.dev/ingress-controller"), .ingress_class = STR_INIT("lintel")};

struct scene {
    struct store *store;
    struct compile *compile;
    struct stats_area *stats;
    struct publish *publish;
    struct certs_world world;
    struct buf out, yaml, authority, chain, key;
};

static bool is_ours(const void *arg, const struct ingress *ingress, const char **ret_why)
{
    return compile_is_ours(arg, ingress, ret_why);
}

static void put(void *arg, struct object *o)
{
    struct scene *s = arg;
    assert_int_equal(store_put(s->store, o), E_OK);
}

static void refuse(void *arg, const struct diag *d)
{
    (void)arg;
    fail_msg("%.*s %.*s", STR_ARG(d->what), STR_ARG(d->why));
}

/* Private keys go another way. */
static enum err take(void *publish, const struct snap_shard *shard)
{
    return shard->kind >= SNAP_SECRET_FIRST ? E_OK : publish_add(publish, shard);
}

static void add_item(struct scene *s, const char *key, struct str text)
{
    struct str line;
    buf_addf(&s->yaml, "  %s: |\n", key);
    while (text.n > 0) {
        (void)str_cut(text, '\n', &line, &text); /* the last line has an end, too */
        buf_addf(&s->yaml, "    %.*s\n", STR_ARG(line));
    }
}

static void add_secret(struct scene *s)
{
    static const struct str names[] = {STR_INIT("a.test"), STR_INIT("c.test")};
    const struct tls_make m = {.common_name = "test",
                               .names = names,
                               .name_n = 2,
                               .not_before = NOW - DAY,
                               .not_after = NOW + 30 * DAY};
    assert_int_equal(tls_certificate_make(&m, &s->authority, &s->chain, &s->key), E_OK);
    buf_addf(&s->yaml, "%sapiVersion: v1\nkind: Secret\nmetadata: {name: cert}\nstringData:\n",
             ingresses);
    add_item(s, "tls.crt", buf_str(&s->chain));
    add_item(s, "tls.key", buf_str(&s->key));
    add_item(s, "ca.crt", buf_str(&s->authority));
}

static int make_scene(void **state)
{
    static struct scene s; /* NOLINT: the fixture of this file */
    struct buf *bufs[] = {&s.out, &s.yaml, &s.authority, &s.chain, &s.key};
    bool is_new;
    int fd;
    s = (struct scene){0};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
        buf_init(bufs[i], 1 << 20);
    }
    assert_int_equal(store_new(&s.store), E_OK);
    assert_int_equal(compile_new(s.store, &options, &s.compile), E_OK);
    compile_set_time(s.compile, NOW);
    assert_int_equal(stats_create(0, &s.stats, &fd), E_OK);
    close(fd);
    struct publish_options p = {.control_fd = -1, .stats = s.stats};
    assert_int_equal(publish_new(&p, &s.publish), E_OK);
    add_secret(&s);
    assert_int_equal(manifest_parse(STR("m.yaml"), buf_str(&s.yaml), put, refuse, &s), E_OK);
    assert_int_equal(compile_run(s.compile, take, s.publish), E_OK);
    assert_int_equal(publish_commit(s.publish, true, &is_new), E_OK);
    s.world = (struct certs_world){
        .world = {.snapshot = publish_state(s.publish),
                  .store = s.store,
                  .is_ours = is_ours,
                  .is_ours_arg = s.compile},
        .now_s = NOW
    };
    *state = &s;
    return 0;
}

static int free_scene(void **state)
{
    struct scene *s = *state;
    struct buf *bufs[] = {&s->out, &s->yaml, &s->authority, &s->chain, &s->key};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
        buf_fini(bufs[i]);
    }
    publish_free(s->publish);
    compile_free(s->compile);
    store_free(s->store);
    stats_close(s->stats);
    return 0;
}

/* ---- rows ---- */

/* The rows between '{' and '}', each as it stands in the text. */
static void expect_row(struct str *rest, const char *const *words)
{
    struct str row;
    assert_true(str_cut(*rest, '}', &row, rest));
    for (size_t i = 0; words[i] != NULL; i++) {
        if (memmem(row.p, row.n, words[i], strlen(words[i])) == NULL) {
            fail_msg("%s is not in %.*s", words[i], STR_ARG(row));
        }
    }
}

#define ROW(...) expect_row(&rest, (const char *const[]){__VA_ARGS__, NULL})

static void rows_of_all_kinds(void **state)
{
    struct scene *s = *state;
    assert_int_equal(certs_emit(&s->out, &s->world), E_OK);
    struct str rest = buf_str(&s->out);
    assert_null(memmem(rest.p, rest.n, "PRIVATE", 7));
    ROW("\"role\": \"host\"", "\"host\": \"a.test\"", "\"ingress\": \"shop\"", "\"daysLeft\": 30",
        "\"keyType\": \"EC prime256v1\"", "\"isServed\": true", "\"problem\": null");
    ROW("\"host\": \"b.test\"", "\"isServed\": false", "\"there is no such Secret\"",
        "\"mend\": \"");
    ROW("\"host\": \"\"", "\"secret\": \"cert\"", "\"problem\": null", "\"isServed\": true");
    ROW("\"host\": \"c.test\"", "\"secret\": \"cert\"", "\"isServed\": true");
    ROW("\"role\": \"clientAuthority\"", "\"certificates\": 1", "\"isServed\": true",
        "\"problem\": null");
    assert_null(memchr(rest.p, '{', rest.n)); /* the default is that of the entry without hosts */
}

/* ---- in turns ---- */

/* One step each; *ret_steps: how many. */
static void page_make(struct scene *s, struct certs_page *p, size_t *ret_steps)
{
    bool is_more = true;
    for (*ret_steps = 0; is_more; ++*ret_steps) {
        assert_true(*ret_steps < 1000);
        assert_int_equal(certs_page_step(p, &s->world, 0, &s->out, &is_more), E_OK);
    }
}

static void turns_make_the_same_page(void **state)
{
    struct scene *s = *state;
    struct certs_page *p;
    struct buf whole;
    size_t steps, rows = 0;
    buf_init(&whole, 1 << 20);
    assert_int_equal(certs_emit(&whole, &s->world), E_OK);
    assert_int_equal(certs_page_new(&s->world, &p), E_OK);
    page_make(s, p, &steps);
    certs_page_free(p);
    assert_true(str_eq(buf_str(&whole), buf_str(&s->out)));
    for (size_t i = 0; i < whole.n; i++) {
        rows += whole.p[i] == '{';
    }
    assert_true(rows == 5 && steps > rows); /* one at most in each */
    buf_fini(&whole);
}

/* Whatever goes away between two turns is left out from there on. */
static void an_ingress_goes_away_in_between(void **state)
{
    struct scene *s = *state;
    struct certs_page *p;
    size_t steps;
    bool is_more;
    assert_int_equal(certs_page_new(&s->world, &p), E_OK);
    assert_int_equal(certs_page_step(p, &s->world, 0, &s->out, &is_more), E_OK);
    assert_true(is_more);
    assert_true(store_del(s->store, OBJECT_INGRESS, STR("default"), STR("shop")));
    page_make(s, p, &steps);
    certs_page_free(p);
    struct str rest = buf_str(&s->out);
    ROW("\"host\": \"a.test\"");
    assert_null(memchr(rest.p, '{', rest.n));
    assert_true(str_has_suffix(rest, STR("\n]\n")));
}

/* ---- what others know ---- */

static bool revoked(const void *arg, struct str namespace_name, struct str name,
                    struct certs_staple *ret)
{
    (void)arg;
    *ret = (struct certs_staple){.has_responder = true,
                                 .is_revoked = true,
                                 .from = NOW - DAY,
                                 .until = NOW + DAY,
                                 .trouble = "it gives no response"};
    return str_eq(namespace_name, STR("default")) && str_eq(name, STR("cert"));
}

static void what_the_authority_says(void **state)
{
    struct scene *s = *state;
    s->world.staple = revoked;
    assert_int_equal(certs_emit(&s->out, &s->world), E_OK);
    struct str rest = buf_str(&s->out);
    ROW("a.test", "\"status\": \"revoked\"", "\"thisUpdate\": 1799913600",
        "\"nextUpdate\": 1800086400", "\"problem\": \"it gives no response\"");
    ROW("\"problem\": \"is revoked, says its authority\"");
    ROW("b.test", "there is no such Secret"); /* and nothing of OCSP */
}

static struct certs_upstream upstream; /* NOLINT: what the next one says */

static bool upstream_of(const void *compile, const struct ingress *in, struct certs_upstream *ret)
{
    (void)compile, (void)in;
    *ret = upstream;
    return true;
}

/* The rows of the roles for endpoints, behind those of hosts and authorities of clients. */
static struct str upstream_rows(struct scene *s)
{
    struct str rest, ignored;
    s->world.upstream = upstream_of;
    buf_reset(&s->out);
    assert_int_equal(certs_emit(&s->out, &s->world), E_OK);
    rest = buf_str(&s->out);
    for (int i = 0; i < 5; i++) {
        assert_true(str_cut(rest, '}', &ignored, &rest));
    }
    return rest;
}

static void what_is_for_endpoints(void **state)
{
    upstream = (struct certs_upstream){
        .namespace_name = STR("default"), .name = STR("cert"), .is_verified = true, .is_tls = true};
    struct str rest = upstream_rows(*state);
    ROW("\"role\": \"upstreamCertificate\"", "\"ingress\": \"shop\"", "\"isServed\": true",
        "\"problem\": null", "\"note\": null");
    ROW("\"role\": \"upstreamAuthority\"", "\"certificates\": 1", "\"isServed\": true",
        "\"problem\": null", "\"note\": null");
    assert_null(memchr(rest.p, '{', rest.n));
}

static void what_endpoints_are_not_verified_by(void **state)
{
    upstream = (struct certs_upstream){
        .namespace_name = STR("default"), .name = STR("cert"), .is_tls = true};
    struct str rest = upstream_rows(*state);
    ROW("\"role\": \"upstreamCertificate\"", "\"isServed\": true");
    ROW("\"role\": \"upstreamAuthority\"", "\"isServed\": false", "proxy-ssl-verify is not on");
    upstream.is_tls = false;
    rest = upstream_rows(*state);
    ROW("\"role\": \"upstreamCertificate\"", "\"isServed\": false", "without TLS");
}

static void a_secret_for_endpoints_that_is_missing(void **state)
{
    upstream = (struct certs_upstream){
        .namespace_name = STR("default"), .name = STR("nobody"), .is_tls = true};
    struct str rest = upstream_rows(*state);
    ROW("\"role\": \"upstreamCertificate\"", "\"isServed\": false", "there is no such Secret");
    assert_null(memchr(rest.p, '{', rest.n));
    upstream.is_verified = true;
    rest = upstream_rows(*state);
    ROW("\"role\": \"upstreamAuthority\"", "\"isServed\": false", "there is no such Secret");
    assert_null(memchr(rest.p, '{', rest.n));
    upstream.name = STR("");
    rest = upstream_rows(*state);
    ROW("\"role\": \"upstreamCertificate\"", "is no Secret of the Ingress' namespace");
}

static const char *forbidden(const void *arg, struct str namespace_name, struct str name)
{
    (void)arg;
    return str_eq(namespace_name, STR("default")) && str_eq(name, STR("gone")) ? "is forbidden"
                                                                               : NULL;
}

static void what_kept_a_secret_from_being_read(void **state)
{
    struct scene *s = *state;
    s->world.trouble = forbidden;
    assert_int_equal(certs_emit(&s->out, &s->world), E_OK);
    struct str rest = buf_str(&s->out);
    ROW("a.test", "\"problem\": null");
    ROW("b.test", "\"problem\": \"is forbidden\"");
}

static void it_is_judged_by_the_time(void **state)
{
    struct scene *s = *state;
    s->world.now_s = NOW + 31 * DAY;
    assert_int_equal(certs_emit(&s->out, &s->world), E_OK);
    struct str rest = buf_str(&s->out);
    ROW("a.test", "\"problem\": \"has expired\"", "\"daysLeft\": 0", "\"isServed\": true");
}

static void the_default_of_an_option(void **state)
{
    struct scene *s = *state;
    s->world.default_namespace = STR("default");
    s->world.default_certificate = STR("missing");
    assert_int_equal(certs_emit(&s->out, &s->world), E_OK);
    struct str rest = buf_str(&s->out), ignored;
    for (int i = 0; i < 5; i++) {
        assert_true(str_cut(rest, '}', &ignored, &rest));
    }
    ROW("\"role\": \"default\"", "\"secret\": \"missing\"", "\"there is no such Secret\"");
}

/* Whatever allocation fails, nothing is lost, and it is told. */
static void out_of_memory(void **state)
{
    enum { NTH_MAX = 100000 };
    struct scene *s = *state;
    enum err e = E_NOMEM;
    size_t n = 0;
    while (n < NTH_MAX && (e != E_OK || s->out.bad)) {
        buf_reset(&s->out);
        mem_fail_from(++n);
        e = certs_emit(&s->out, &s->world);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
    }
    assert_true(n > 1 && n < NTH_MAX);
    struct str rest = buf_str(&s->out);
    ROW("a.test", "\"problem\": null");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scene, free_scene)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_of_all_kinds),
        TEST(turns_make_the_same_page),
        TEST(an_ingress_goes_away_in_between),
        TEST(what_the_authority_says),
        TEST(what_is_for_endpoints),
        TEST(what_endpoints_are_not_verified_by),
        TEST(a_secret_for_endpoints_that_is_missing),
        TEST(what_kept_a_secret_from_being_read),
        TEST(it_is_judged_by_the_time),
        TEST(the_default_of_an_option),
        TEST(out_of_memory),
    };
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
