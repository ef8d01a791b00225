/* Who decides whether a host's TLS is passed through, as Ingresses come and go: what is compiled
 * anew, and what becomes of it when memory runs out. What it makes of objects at rest is tested in
 * test_golden.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "../../lib/compiled.h"
#include "../../lib/manifest_objects.h"
#include "base/mem.h"
#include "compile/compile_priv.h"

#define CLASS                                                                                      \
    "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: lintel}\n"             \
    "spec: {controller: lintel.dev/ingress-controller}\n---\n"
#define SERVICE                                                                                    \
    "apiVersion: v1\nkind: Service\nmetadata: {name: app}\nspec: {ports: [{port: 443}]}\n---\n"
#define SLICE                                                                                      \
    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"                                       \
    "metadata: {name: app-1, labels: {kubernetes.io/service-name: app}}\naddressType: IPv4\n"      \
    "ports: [{port: 8443}]\nendpoints: [{addresses: [10.0.0.1]}]\n---\n"
#define PASS   "nginx.ingress.kubernetes.io/ssl-passthrough: 'true'"
#define HEADER "lintel.dev/passthrough-proxy-protocol: v2"
#define INGRESS(name, year, annotations)                                                           \
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: " name                    \
    "\n  creationTimestamp: " year "-01-01T00:00:00Z\n  annotations: {" annotations                \
    "}\nspec:\n  ingressClassName: lintel\n  rules:\n  - host: a.test\n    http:\n      paths:\n"  \
    "      - {path: /" name ", pathType: Prefix, backend: {service: {name: app, port: {number: "   \
    "443}}}}\n      - {path: /, pathType: Prefix, backend: {service: {name: app, port: {number: "  \
    "443}}}}\n---\n"
#define WORLD CLASS SERVICE SLICE

static const struct compile_options options = {
    .controller = STR_INIT("lintel.dev/ingress-controller"),
    .ingress_class = STR_INIT("lintel"),
    .has_passthrough = true,
};

struct bench {
    struct store *store;
    struct compile *compile;
    struct compiled state;
};

static void bench_init(struct bench *b)
{
    *b = (struct bench){0};
    assert_int_equal(store_new(&b->store), E_OK);
    assert_int_equal(compile_new(b->store, &options, &b->compile), E_OK);
}

static void bench_fini(struct bench *b)
{
    compile_free(b->compile);
    store_free(b->store);
    compiled_fini(&b->state);
}

static void put(struct bench *b, const char *yaml)
{
    assert_true(objects_put(b->store, "test.yaml", str_from_cstr(yaml)));
}

static void del(struct bench *b, const char *name)
{
    assert_true(store_del(b->store, OBJECT_INGRESS, STR("default"), str_from_cstr(name)));
}

/* Runs; how many shards came. */
static size_t run(struct bench *b)
{
    size_t before = b->state.emitted_n;
    assert_int_equal(compile_run(b->compile, compiled_take, &b->state), E_OK);
    assert_int_equal(b->state.wrong_n, 0);
    return b->state.emitted_n - before;
}

static void search_conflict(void *arg, const struct diag *d)
{
    struct str *who = arg;
    if (d->reason == DIAG_AnnotationConflict) {
        *who = d->name;
    }
}

/* The host's TLS goes to target ("" = nowhere), and loser is told that it has no say. */
static void expect(struct bench *b, const char *target, const char *loser)
{
    struct str who = STR_EMPTY;
    struct buf text;
    char line[64];
    buf_init(&text, 1 << 20);
    compiled_text(&b->state, b->compile, &text);
    buf_add_char(&text, '\0');
    assert_false(text.bad);
    (void)snprintf(line, sizeof(line), "    passthrough %s\n", target);
    const char *found = strstr(text.p, "    passthrough ");
    if (target[0] == '\0' ? found != NULL : found == NULL || strstr(text.p, line) == NULL) {
        fail_msg("not to \"%s\":\n%s", target, text.p);
    }
    compile_each_diag(b->compile, search_conflict, &who);
    assert_true(str_eq(who, str_from_cstr(loser)));
    buf_fini(&text);
}

/* An older Ingress counts though it says nothing of TLS, and as long as it is there. */
static void the_oldest_decides_as_they_come_and_go(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b);
    put(&b, WORLD INGRESS("young", "2022", PASS));
    (void)run(&b);
    expect(&b, "default/app/443/tcp", "");
    put(&b, INGRESS("old", "2021", ""));
    assert_true(run(&b) > 0);
    expect(&b, "", "young");
    put(&b, INGRESS("oldest", "2020", PASS ", " HEADER));
    (void)run(&b);
    expect(&b, "default/app/443/tcp,proxy2", "young");
    del(&b, "oldest");
    (void)run(&b);
    expect(&b, "", "young");
    del(&b, "old");
    (void)run(&b);
    expect(&b, "default/app/443/tcp", "");
    put(&b, INGRESS("young", "2022", PASS ", " HEADER)); /* the same one says something else */
    (void)run(&b);
    expect(&b, "default/app/443/tcp,proxy2", "");
    put(&b, INGRESS("young", "2022", ""));
    (void)run(&b);
    expect(&b, "", "");
    bench_fini(&b);
}

/* A younger one that has nothing to say changes the routes, and nothing of TLS. */
static void a_change_costs_what_it_touches(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b);
    put(&b, WORLD INGRESS("old", "2020", PASS));
    (void)run(&b);
    put(&b, INGRESS("young", "2022", ""));
    assert_int_equal(run(&b), 1); /* the host */
    expect(&b, "default/app/443/tcp", "");
    put(&b, INGRESS("young", "2022", ""));
    assert_int_equal(run(&b), 0);
    del(&b, "old");
    del(&b, "young");
    assert_int_equal(run(&b), 4); /* the host, its TLS, a port in two variants */
    assert_int_equal(b.state.shards.n, 1);
    assert_int_equal(b.compile->tls.n, 1); /* the one for names that nobody has */
    bench_fini(&b);
}

static void which_ports_an_ingress_speaks_to(void **state)
{
    static const struct {
        const char *annotations, *yes, *no;
    } cases[] = {
        {PASS,                                                        "tcp",        "tcp,proxy2"},
        {PASS ", " HEADER,                                            "tcp,proxy2", "tcp"       },
        {HEADER,                                                      "",           "tcp,proxy2"},
        {PASS ", nginx.ingress.kubernetes.io/backend-protocol: GRPC", "grpc",       "https"     },
        {"nginx.ingress.kubernetes.io/ssl-passthrough: 'false'",      "",           "tcp"       },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct objects objects = {0};
        char yaml[2048];
        (void)snprintf(yaml, sizeof(yaml),
                       "apiVersion: networking.k8s.io/v1\nkind: Ingress\n"
                       "metadata: {name: x, annotations: {%s}}\n"
                       "spec: {defaultBackend: {service: {name: app, port: {number: 1}}}}\n",
                       cases[i].annotations);
        assert_true(objects_parse(&objects, "test.yaml", str_from_cstr(yaml)) && objects.n == 1);
        const struct ingress *in = (const struct ingress *)(const void *)objects.items[0];
        assert_true(compile_has_variant(in, str_from_cstr(cases[i].yes)));
        assert_false(compile_has_variant(in, str_from_cstr(cases[i].no)));
        objects_fini(&objects);
    }
}

/* Each time the next run makes up for it. */
static void memory_may_run_out(void **state)
{
    enum err e = E_NOMEM;
    size_t n = 1;
    (void)state;
    for (; e != E_OK; n++) {
        struct bench b;
        bench_init(&b);
        put(&b, WORLD INGRESS("young", "2022", PASS) INGRESS("old", "2021", ""));
        (void)run(&b);
        expect(&b, "", "young");
        del(&b, "old");
        put(&b, INGRESS("other", "2023", PASS ", " HEADER));
        mem_fail_from(n);
        e = compile_run(b.compile, compiled_take, &b.state);
        mem_fail_from(0);
        assert_true(e == E_OK || (e == E_NOMEM && compile_is_dirty(b.compile)));
        (void)run(&b);
        expect(&b, "default/app/443/tcp", "other");
        bench_fini(&b);
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_decides_as_they_come_and_go),
        cmocka_unit_test(a_change_costs_what_it_touches),
        cmocka_unit_test(which_ports_an_ingress_speaks_to),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests_name("compile/passthrough", tests, NULL, NULL);
}
