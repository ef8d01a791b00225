/* The compiler over time: what a change costs and emits, what is told once, and what happens when
 * memory or the receiver fails. What it makes of objects is tested in test_golden.c. */
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
#include "base/limits.h"
#include "compile/compile_priv.h"

#define CLASS                                                                                      \
    "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: lintel}\n"             \
    "spec: {controller: lintel.dev/ingress-controller}\n---\n"
#define INGRESS_WITH(name, more, spec)                                                             \
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: " name more                 \
    "}\nspec:\n  ingressClassName: lintel\n" spec "---\n"
#define INGRESS(name, spec) INGRESS_WITH(name, "", spec)
#define RULES               "  rules:\n"
#define RULE(host, path, service)                                                                  \
    "  - host: " host "\n    http:\n      paths:\n      - {path: " path                            \
    ", pathType: Prefix, backend: {service: {name: " service ", port: {number: 80}}}}\n"
#define TLS(secret) "  tls:\n  - {secretName: " secret "}\n"
#define SERVICE(name)                                                                              \
    "apiVersion: v1\nkind: Service\nmetadata: {name: " name "}\nspec: {ports: [{port: "            \
    "80}]}\n---\n"
#define EXTERNAL(name, host)                                                                       \
    "apiVersion: v1\nkind: Service\nmetadata: {name: " name                                        \
    "}\nspec: {type: ExternalName, externalName: " host "}\n---\n"
#define SLICE(name, service, address)                                                              \
    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: " name                 \
    ", labels: {kubernetes.io/service-name: " service                                              \
    "}}\naddressType: IPv4\nports: [{port: 8080}]\nendpoints:\n- {addresses: [" address            \
    "]}\n---\n"

static const struct compile_options plain_options = {
    .controller = STR_INIT("lintel.dev/ingress-controller"),
    .ingress_class = STR_INIT("lintel"),
    .default_namespace = STR_INIT(""),
    .default_service = STR_INIT(""),
};

struct bench {
    struct store *store;
    struct compile *compile;
    struct compiled state;
    size_t told_n; /* diagnostics through compile_on_diag */
};

static bool nobody_knows(const void *arg, struct str namespace_name, struct str name)
{
    (void)arg, (void)namespace_name, (void)name;
    return true;
}

static void bench_init(struct bench *b, const struct compile_options *options)
{
    *b = (struct bench){0};
    assert_int_equal(store_new(&b->store), E_OK);
    assert_int_equal(compile_new(b->store, options, &b->compile), E_OK);
    compile_on_pending(b->compile, nobody_knows, NULL); /* Secrets have tests of their own */
}

static void bench_fini(struct bench *b)
{
    compile_free(b->compile);
    store_free(b->store);
    compiled_fini(&b->state);
}

static void put_from(struct bench *b, const char *file, const char *yaml)
{
    assert_true(objects_put(b->store, file, str_from_cstr(yaml)));
}

static void put(struct bench *b, const char *yaml)
{
    put_from(b, "test.yaml", yaml);
}

static void del(struct bench *b, enum object_kind kind, const char *name)
{
    struct str space = kind == OBJECT_INGRESS_CLASS ? STR_EMPTY : STR("default");
    assert_true(store_del(b->store, kind, space, str_from_cstr(name)));
}

/* Runs; how many shards came. */
static size_t run(struct bench *b)
{
    size_t before = b->state.emitted_n;
    assert_int_equal(compile_run(b->compile, compiled_take, &b->state), E_OK);
    assert_false(compile_is_dirty(b->compile));
    assert_int_equal(b->state.wrong_n, 0);
    return b->state.emitted_n - before;
}

static void count(void *arg, const struct diag *d)
{
    (void)d;
    ++*(size_t *)arg;
}

static size_t diag_n(const struct bench *b)
{
    size_t n = 0;
    compile_each_diag(b->compile, count, &n);
    return n;
}

struct search {
    enum diag_reason reason;
    size_t n;
};

static void search_one(void *arg, const struct diag *d)
{
    struct search *s = arg;
    s->n += d->reason == s->reason;
}

static size_t reason_n(const struct bench *b, enum diag_reason reason)
{
    struct search s = {.reason = reason};
    compile_each_diag(b->compile, search_one, &s);
    return s.n;
}

static bool has_shard(const struct bench *b, enum snap_kind kind, const char *key)
{
    map_each(slot, &b->state.shards)
    {
        const struct snap_shard *shard = slot->value;
        if (shard->kind == kind && str_eq(snap_str_get(shard, shard->key), str_from_cstr(key))) {
            return true;
        }
    }
    return false;
}

#define TOWN                                                                                       \
    CLASS INGRESS("one", RULES RULE("a.test", "/", "a") RULE("b.test", "/", "b") TLS("a-cert"))    \
        INGRESS("two", RULES RULE("b.test", "/two", "a")) SERVICE("a") SERVICE("b")                \
            SLICE("a-1", "a", "10.0.0.1") SLICE("b-1", "b", "10.0.0.2")

/* ---- what a change emits ---- */

static void nothing_happens_without_a_change(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    assert_true(compile_is_dirty(b.compile));
    assert_int_equal(run(&b), 1); /* the global shard */
    assert_int_equal(run(&b), 0);
    put(&b, TOWN);
    assert_true(compile_is_dirty(b.compile));
    assert_int_equal(run(&b), 4);
    put(&b, TOWN);
    assert_false(compile_is_dirty(b.compile));
    assert_int_equal(run(&b), 0);
    bench_fini(&b);
}

static void what_the_store_holds_already_counts(void **state)
{
    struct bench b = {0};
    (void)state;
    assert_int_equal(store_new(&b.store), E_OK);
    put(&b, TOWN);
    assert_int_equal(compile_new(b.store, &plain_options, &b.compile), E_OK);
    assert_int_equal(run(&b), 5);
    bench_fini(&b);
}

static void a_slice_changes_its_service_only(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, TOWN);
    (void)run(&b);
    put(&b, SLICE("a-1", "a", "10.0.0.9"));
    b.state.services_n = 0;
    assert_int_equal(run(&b), 1);
    assert_int_equal(b.state.services_n, 1);
    put(&b, SLICE("c-1", "unused", "10.0.0.9"));
    assert_false(compile_is_dirty(b.compile));
    put(&b, SLICE("c-1", "a", "10.0.0.9")); /* the same endpoint twice: the same bytes */
    assert_int_equal(run(&b), 0);
    put(&b, SLICE("a-1", "b", "10.0.0.3")); /* from one Service to the other */
    assert_int_equal(run(&b), 1);
    bench_fini(&b);
}

static void an_ingress_changes_its_hosts_only(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, TOWN);
    (void)run(&b);
    put(&b, INGRESS("two", RULES RULE("b.test", "/three", "a")));
    assert_int_equal(run(&b), 1);
    put(&b, INGRESS("two", RULES RULE("c.test", "/three", "a")));
    assert_int_equal(run(&b), 2);
    assert_true(has_shard(&b, SNAP_HOST, "ingress/c.test"));
    del(&b, OBJECT_INGRESS, "two");
    assert_int_equal(run(&b), 1);
    assert_false(has_shard(&b, SNAP_HOST, "ingress/c.test"));
    assert_true(has_shard(&b, SNAP_SERVICE, "default/a/80"));
    del(&b, OBJECT_INGRESS, "one");
    assert_int_equal(run(&b), 4); /* two hosts and two services go */
    assert_int_equal(b.state.shards.n, 1);
    bench_fini(&b);
}

#define PUBLISHED(address) "status: {loadBalancer: {ingress: [{ip: " address "}]}}\n---\n"
#define SPEC(host)                                                                                 \
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: told}\nspec:\n"             \
    "  ingressClassName: lintel\n" RULES                                                           \
    RULE(host, "/", "missing")

/* Each address that we write into a status comes back. */
static void a_published_status_changes_nothing(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, TOWN);
    put_from(&b, "", SPEC("old.test"));
    (void)run(&b);
    compile_on_diag(b.compile, count, &b.told_n);
    put_from(&b, "", SPEC("old.test") PUBLISHED("192.0.2.1"));
    assert_false(compile_is_dirty(b.compile));
    put_from(&b, "", SPEC("old.test") PUBLISHED("192.0.2.2"));
    assert_false(compile_is_dirty(b.compile));
    put(&b, INGRESS("late", RULES RULE("old.test", "/late", "a"))); /* looks at the object anew */
    assert_int_equal(run(&b), 1);
    assert_int_equal(b.told_n, 0);
    put(&b, SERVICE("missing"));
    assert_int_equal(run(&b), 1);
    put_from(&b, "", SPEC("new.test") PUBLISHED("192.0.2.3")); /* with it the spec */
    assert_int_equal(run(&b), 2);
    put_from(&b, "", SPEC("new.test"));
    assert_false(compile_is_dirty(b.compile));
    bench_fini(&b);
}

/* One that is dirty already stays so; in a file, lines may have moved as well. */
static void a_published_status_hides_no_change(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, TOWN);
    (void)run(&b);
    put_from(&b, "", SPEC("old.test"));
    put_from(&b, "", SPEC("old.test") PUBLISHED("192.0.2.1"));
    assert_int_equal(run(&b), 2);
    put_from(&b, "", SPEC("new.test"));
    put_from(&b, "", SPEC("new.test") PUBLISHED("192.0.2.1"));
    assert_int_equal(run(&b), 2);
    put(&b, SPEC("new.test") PUBLISHED("192.0.2.2"));
    assert_true(compile_is_dirty(b.compile));
    bench_fini(&b);
}

static void a_class_changes_its_ingresses(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, TOWN);
    (void)run(&b);
    del(&b, OBJECT_INGRESS_CLASS, "lintel");
    assert_int_equal(run(&b), 4);
    assert_int_equal(b.state.shards.n, 1);
    assert_int_equal(reason_n(&b, DIAG_ClassConflict), 2);
    put(&b, CLASS);
    assert_int_equal(run(&b), 4);
    assert_int_equal(diag_n(&b), 0);
    bench_fini(&b);
}

static void a_name_changes_what_depends_on_it(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, CLASS INGRESS("one", RULES RULE("a.test", "/", "out")) EXTERNAL("out", "a.example.com")
                EXTERNAL("unused", "b.example.com"));
    (void)run(&b);
    assert_int_equal(reason_n(&b, DIAG_ExternalNameUnresolved), 1);
    assert_int_equal(store_put(b.store, objects_resolution(STR("a.example.com"), STR("192.0.2.1"))),
                     E_OK);
    assert_int_equal(run(&b), 1);
    assert_int_equal(diag_n(&b), 0);
    assert_int_equal(store_put(b.store, objects_resolution(STR("b.example.com"), STR("192.0.2.1"))),
                     E_OK);
    assert_false(compile_is_dirty(b.compile));
    assert_true(store_del(b.store, OBJECT_RESOLUTION, STR_EMPTY, STR("a.example.com")));
    assert_int_equal(run(&b), 1);
    put(&b, EXTERNAL("out", "b.example.com"));
    assert_int_equal(run(&b), 1);
    assert_int_equal(diag_n(&b), 0);
    put(&b, SERVICE("out"));
    assert_int_equal(run(&b), 1);
    assert_int_equal(store_put(b.store, objects_resolution(STR("b.example.com"), STR("192.0.2.2"))),
                     E_OK);
    assert_false(compile_is_dirty(b.compile)); /* no longer depends on it */
    bench_fini(&b);
}

struct names {
    char text[256];
};

static void name_take(void *arg, struct str name)
{
    struct names *n = arg;
    strncat(n->text, name.p, name.n);
    strncat(n->text, " ", 2);
}

static void only_names_in_use_are_asked_for(void **state)
{
    struct bench b;
    struct names names = {""};
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, CLASS INGRESS("one", RULES RULE("a.test", "/", "out") RULE("b.test", "/", "again"))
                EXTERNAL("out", "a.example.com.") EXTERNAL("again", "a.example.com")
                    EXTERNAL("unused", "b.example.com"));
    (void)run(&b);
    compile_each_external_name(b.compile, name_take, &names);
    assert_string_equal(names.text, "a.example.com ");
    del(&b, OBJECT_INGRESS, "one");
    (void)run(&b);
    names.text[0] = '\0';
    compile_each_external_name(b.compile, name_take, &names);
    assert_string_equal(names.text, "");
    bench_fini(&b);
}

static void secret_take(void *arg, struct str namespace_name, struct str name)
{
    struct names *n = arg;
    assert_true(str_eq(namespace_name, STR("default")));
    name_take(n, name);
}

static bool wants(const struct bench *b, const char *secrets)
{
    struct names names = {""};
    compile_each_secret(b->compile, secret_take, &names);
    return strcmp(names.text, secrets) == 0;
}

static void only_secrets_of_accepted_ingresses_are_asked_for(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, INGRESS("one", RULES RULE("a.test", "/", "a") TLS("x")));
    (void)run(&b);
    assert_true(wants(&b, "")); /* not ours yet */
    uint64_t version = compile_secret_version(b.compile);
    put(&b, CLASS);
    (void)run(&b);
    assert_true(wants(&b, "x "));
    assert_int_not_equal(compile_secret_version(b.compile), version);
    version = compile_secret_version(b.compile);
    put(&b, INGRESS("two", RULES RULE("b.test", "/", "a") TLS("x") "  - {secretName: x}\n"));
    put(&b,
        INGRESS("odd", RULES RULE("c.test", "/", "a") TLS("../../x") "  - {hosts: [c.test]}\n"));
    put(&b, SERVICE("a") SLICE("a-1", "a", "10.0.0.1"));
    (void)run(&b);
    assert_true(wants(&b, "x "));
    assert_int_equal(compile_secret_version(b.compile), version);
    del(&b, OBJECT_INGRESS, "one");
    (void)run(&b);
    assert_true(wants(&b, "x "));
    put(&b, INGRESS("two", RULES RULE("b.test", "/", "a") TLS("z")));
    (void)run(&b);
    assert_true(wants(&b, "z "));
    del(&b, OBJECT_INGRESS_CLASS, "lintel");
    (void)run(&b);
    assert_true(wants(&b, ""));
    bench_fini(&b);
}

static void classes_may_be_hidden_and_come_back(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, INGRESS("one", RULES RULE("a.test", "/", "a")) SERVICE("a"));
    (void)run(&b);
    assert_false(has_shard(&b, SNAP_HOST, "ingress/a.test"));
    compile_hide_classes(b.compile, true);
    (void)run(&b);
    assert_true(has_shard(&b, SNAP_HOST, "ingress/a.test"));
    assert_int_equal(reason_n(&b, DIAG_ClassConflict), 0);
    compile_hide_classes(b.compile, true);
    assert_false(compile_is_dirty(b.compile));
    compile_hide_classes(b.compile, false);
    (void)run(&b);
    assert_false(has_shard(&b, SNAP_HOST, "ingress/a.test"));
    assert_int_equal(reason_n(&b, DIAG_ClassConflict), 1);
    bench_fini(&b);
}

static void the_zone_of_our_node_changes_services(void **state)
{
    struct compile_options options = plain_options;
    struct bench b;
    (void)state;
    options.node_name = STR("here");
    bench_init(&b, &options);
    put(&b, TOWN);
    put(&b, "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a-1, labels: "
            "{kubernetes.io/service-name: a}}\naddressType: IPv4\nports: [{port: 80}]\nendpoints:\n"
            "- {addresses: [10.0.0.1], hints: {forZones: [{name: z1}]}}\n"
            "- {addresses: [10.0.0.2], hints: {forZones: [{name: z2}]}}\n");
    (void)run(&b);
    put(&b, "apiVersion: v1\nkind: Node\nmetadata: {name: other, labels: "
            "{topology.kubernetes.io/zone: z1}}\n");
    assert_false(compile_is_dirty(b.compile));
    put(&b, "apiVersion: v1\nkind: Node\nmetadata: {name: here, labels: "
            "{topology.kubernetes.io/zone: z1}}\n");
    assert_int_equal(run(&b), 1); /* the other Service has no hints */
    bench_fini(&b);
}

/* ---- diagnostics ---- */

static void a_diagnostic_is_told_once(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    compile_on_diag(b.compile, count, &b.told_n);
    put(&b, CLASS INGRESS("one", RULES RULE("a.test", "/", "a")));
    (void)run(&b);
    assert_int_equal(b.told_n, 1); /* there is no Service */
    put(&b, SERVICE("a"));
    (void)run(&b);
    assert_int_equal(b.told_n, 2); /* no endpoints instead */
    put(&b, INGRESS("two", RULES RULE("a.test", "/two", "a")));
    (void)run(&b);
    assert_int_equal(b.told_n, 3); /* the new Ingress has none either */
    assert_int_equal(diag_n(&b), 2);
    put(&b, SLICE("a-1", "a", "10.0.0.1"));
    (void)run(&b);
    assert_int_equal(b.told_n, 3);
    assert_int_equal(diag_n(&b), 0);
    del(&b, OBJECT_ENDPOINT_SLICE, "a-1");
    (void)run(&b);
    assert_int_equal(b.told_n, 5); /* it happened anew */
    compile_on_diag(b.compile, NULL, NULL);
    del(&b, OBJECT_SERVICE, "a");
    (void)run(&b);
    assert_int_equal(b.told_n, 5);
    bench_fini(&b);
}

struct order {
    char last[256];
    size_t n;
};

/* All are in one file and on one line, so the name decides. */
static void order_check(void *arg, const struct diag *d)
{
    struct order *o = arg;
    assert_true(str_cmp(str_from_cstr(o->last), d->name) < 0);
    assert_true(str_to_cstr(d->name, o->last, sizeof(o->last)));
    o->n++;
}

static void many_diagnostics_are_sorted(void **state)
{
    enum { N = 300 };
    struct order order = {.last = ""};
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, CLASS);
    for (unsigned i = 0; i < N; i++) {
        char yaml[512];
        snprintf(yaml, sizeof(yaml), INGRESS("i%03u", RULES RULE("a%u.test", "/", "missing")),
                 i * 7 % N, i);
        put(&b, yaml);
    }
    (void)run(&b);
    compile_each_diag(b.compile, order_check, &order);
    assert_int_equal(order.n, N);
    bench_fini(&b);
}

static void a_class_says_why(void **state)
{
    struct bench b;
    const char *why = NULL;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, TOWN);
    const struct object *o = store_get(b.store, OBJECT_INGRESS, STR("default"), STR("one"));
    const struct ingress *in = (const struct ingress *)(const void *)o;
    assert_true(compile_is_ours(b.compile, in, &why));
    assert_string_equal(why, "its ingressClassName is ours");
    del(&b, OBJECT_INGRESS_CLASS, "lintel");
    assert_false(compile_is_ours(b.compile, in, &why));
    assert_string_equal(why, "its ingressClassName names no IngressClass");
    bench_fini(&b);
}

/* ---- limits ---- */

static void redirect_put(struct bench *b, size_t url_bytes)
{
    static const char head[] = "https://a.test/";
    char url[REDIRECT_BYTES_MAX + 2], yaml[REDIRECT_BYTES_MAX + 512];
    memset(url, 'x', url_bytes);
    url[url_bytes] = '\0';
    mem_copy(url, head, sizeof(head) - 1);
    snprintf(yaml, sizeof(yaml),
             INGRESS_WITH("one",
                          ", annotations: {nginx.ingress.kubernetes.io/permanent-redirect: "
                          "\"%s\"}",
                          RULES RULE("a.test", "/", "a")),
             url);
    put(b, yaml);
}

static void a_redirect_is_as_long_as_the_limit_allows(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, TOWN);
    redirect_put(&b, REDIRECT_BYTES_MAX);
    (void)run(&b);
    assert_int_equal(reason_n(&b, DIAG_InvalidAnnotation), 0);
    redirect_put(&b, REDIRECT_BYTES_MAX + 1);
    (void)run(&b);
    assert_int_equal(reason_n(&b, DIAG_InvalidAnnotation), 1);
    bench_fini(&b);
}

/* An Ingress with n paths that share the memory of one long text. */
static struct object *huge_ingress(uint32_t n, size_t path_bytes)
{
    struct arena arena;
    arena_init(&arena, SIZE_MAX / 2);
    struct ingress *in = arena_calloc(&arena, 1, sizeof(*in));
    char *text = arena_alloc(&arena, path_bytes);
    in->rules = arena_calloc(&arena, 1, sizeof(*in->rules));
    in->rules[0].paths = arena_calloc(&arena, n, sizeof(*in->rules[0].paths));
    in->rules[0].path_n = n;
    in->rules[0].host = STR("huge.test");
    in->rule_n = 1;
    memset(text, 'x', path_bytes);
    text[0] = '/';
    for (uint32_t i = 0; i < n; i++) {
        in->rules[0].paths[i] = (struct ingress_path){
            .path = str_make(text, path_bytes - i),
            .type = PATH_EXACT,
            .backend = {.type = BACKEND_SERVICE, .service = STR("a"), .port.number = 80},
        };
    }
    in->has_class_name = true;
    in->class_name = STR("lintel");
    in->object.kind = OBJECT_INGRESS;
    in->object.namespace_name = STR("default");
    in->object.name = STR("huge");
    in->object.uid = in->object.file = STR_EMPTY;
    in->object.arena = arena;
    return &in->object;
}

static void a_host_that_is_too_large_harms_nobody_else(void **state)
{
    enum { PATH_BYTES = 4 << 20 };
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, TOWN);
    (void)run(&b);
    assert_int_equal(store_put(b.store, huge_ingress(7, PATH_BYTES)),
                     E_OK); /* each twice: 56 MiB */
    assert_int_equal(run(&b), 1);
    assert_true(has_shard(&b, SNAP_HOST, "ingress/huge.test"));
    assert_int_equal(store_put(b.store, huge_ingress(8, PATH_BYTES)), E_OK); /* 64 MiB and some */
    put(&b, INGRESS("two", RULES RULE("b.test", "/later", "a")));
    assert_int_equal(run(&b), 2);
    assert_false(has_shard(&b, SNAP_HOST, "ingress/huge.test"));
    assert_int_equal(reason_n(&b, DIAG_LimitReached), 1);
    del(&b, OBJECT_INGRESS, "huge");
    assert_int_equal(run(&b), 0);
    assert_int_equal(diag_n(&b), 0);
    bench_fini(&b);
}

#define CONFIG(name, data)                                                                         \
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " name "}\ndata: {" data "}\n---\n"

static const struct compile_options config_options = {
    .controller = STR_INIT("lintel.dev/ingress-controller"),
    .ingress_class = STR_INIT("lintel"),
    .config_namespace = STR_INIT("default"),
    .config_map = STR_INIT("settings"),
};

static uint64_t keep_alive_of(const struct bench *b)
{
    map_each(slot, &b->state.shards)
    {
        const struct snap_shard *shard = slot->value;
        if (shard->kind == SNAP_GLOBAL) {
            const void *global = shard;
            return ((const struct snap_global *)global)->settings.keep_alive / USEC_PER_SEC;
        }
    }
    return 0;
}

/* Only what depends on the change is made anew. */
static void a_config_map_comes_and_goes(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &config_options);
    put(&b, TOWN);
    put(&b, INGRESS("plain", RULES RULE("plain.test", "/", "a")));
    put(&b, INGRESS("safe", "  tls: [{}]\n" RULES RULE("safe.test", "/", "a")));
    (void)run(&b);
    assert_int_equal(keep_alive_of(&b), 75);
    put(&b, CONFIG("settings", "keep-alive: \"30\""));
    assert_int_equal(run(&b), 1);
    assert_int_equal(keep_alive_of(&b), 30);
    put(&b, CONFIG("other", "keep-alive: \"40\""));
    assert_int_equal(run(&b), 0);
    put(&b, CONFIG("settings", "keep-alive: \"30\", hsts-max-age: \"1\""));
    assert_int_equal(run(&b), 3); /* the hosts with TLS, and nothing else */
    put(&b, CONFIG("settings", "keep-alive: \"30\", hsts-max-age: \"1\", "
                               "no-tls-redirect-locations: /a"));
    assert_int_equal(run(&b), 1);
    put(&b, CONFIG("settings", "keep-alive: never"));
    assert_int_equal(run(&b), 4);
    assert_int_equal(keep_alive_of(&b), 75);
    assert_int_equal(reason_n(&b, DIAG_InvalidSetting), 1);
    del(&b, OBJECT_CONFIG_MAP, "settings");
    assert_int_equal(run(&b), 0);
    assert_int_equal(diag_n(&b), 0);
    bench_fini(&b);
}

/* In ingress-nginx' class a wildcard shares its TLS with the hosts below, and only these. */
static void a_wildcard_takes_the_hosts_below_along(void **state)
{
    static const struct compile_options options = {
        .controller = STR_INIT("k8s.io/ingress-nginx"),
        .ingress_class = STR_INIT("nginx"),
    };
    struct bench b;
    (void)state;
    bench_init(&b, &options);
    put(&b, "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: lintel}\n"
            "spec: {controller: k8s.io/ingress-nginx}\n---\n" SERVICE("a"));
    put(&b, INGRESS("hosts", RULES RULE("a.w.test", "/", "a") RULE("b.w.test", "/", "a")
                                 RULE("a.b.w.test", "/", "a") RULE("w.test", "/", "a")));
    (void)run(&b);
    put(&b, INGRESS("wild", RULES RULE("'*.w.test'", "/", "a")));
    assert_int_equal(run(&b), 1);
    put(&b, INGRESS("wild", "  tls: [{}]\n" RULES RULE("'*.w.test'", "/", "a")));
    assert_int_equal(run(&b), 3);
    put(&b, INGRESS("wild", "  tls: [{}]\n" RULES RULE("'*.w.test'", "/x", "a")));
    assert_int_equal(run(&b), 1); /* the others know already */
    put(&b, INGRESS("late", RULES RULE("c.w.test", "/", "a")));
    assert_int_equal(run(&b), 1);
    del(&b, OBJECT_INGRESS, "wild");
    assert_int_equal(run(&b), 4);
    bench_fini(&b);
}

/* ---- failures ---- */

#define MIXED                                                                                      \
    TOWN INGRESS("clash", RULES RULE("a.test", "/%78", "a") RULE("a.test", "/x", "missing"))       \
        INGRESS_WITH("moved",                                                                      \
                     ", annotations: {nginx.ingress.kubernetes.io/temporal-redirect: "             \
                     "\"https://new.test/\", nginx.ingress.kubernetes.io/temporal-redirect-code: " \
                     "x}",                                                                         \
                     "  defaultBackend: {service: {name: b, port: {number: 81}}}\n" RULES RULE(    \
                         "moved.test", "/", "out")) EXTERNAL("out", "a.example.com")               \
            INGRESS("safe", "  tls:\n  - {hosts: [safe.test, '*.low.test']}\n" RULES RULE(         \
                                "safe.test", "/", "a") RULE("a.low.test", "/", "a"))

#define MIXED_LATER                                                                                \
    INGRESS("one", RULES RULE("c.test", "/", "a") RULE("a.test", "/x", "b"))                       \
    INGRESS("new", RULES RULE("new.test", "/", "a"))                                               \
    INGRESS("safe", "  tls:\n  - {}\n" RULES RULE("safe.test", "/", "a"))                          \
    SLICE("b-1", "b", "10.0.0.3")                                                                  \
    SERVICE("out") SERVICE("missing") EXTERNAL("a", "other.example.com")

static void text_of(const struct bench *b, struct buf *bytes, struct buf *text)
{
    buf_init(bytes, 1 << 24);
    buf_init(text, 1 << 24);
    assert_true(compiled_bytes(&b->state, bytes));
    compiled_text(&b->state, b->compile, text);
}

static void result_check(const struct bench *b, const struct buf *bytes, const struct buf *text)
{
    struct buf now_bytes, now_text;
    text_of(b, &now_bytes, &now_text);
    if (!str_eq(buf_str(&now_text), buf_str(text))) {
        fail_msg("wanted:\n%.*s\ngot:\n%.*s", STR_ARG(buf_str(text)), STR_ARG(buf_str(&now_text)));
    }
    assert_true(str_eq(buf_str(&now_bytes), buf_str(bytes)));
    buf_fini(&now_bytes);
    buf_fini(&now_text);
}

static void result_wanted(struct buf *bytes, struct buf *text, bool is_later)
{
    struct bench b;
    bench_init(&b, &plain_options);
    put(&b, MIXED);
    if (is_later) {
        put(&b, MIXED_LATER);
        del(&b, OBJECT_INGRESS, "two");
    }
    (void)run(&b);
    text_of(&b, bytes, text);
    bench_fini(&b);
}

static void the_receiver_may_fail_at_any_shard(void **state)
{
    struct buf bytes, text;
    (void)state;
    result_wanted(&bytes, &text, false);
    for (size_t n = 1;; n++) {
        struct bench b;
        bench_init(&b, &plain_options);
        put(&b, MIXED);
        b.state.fail_at = n;
        enum err e = compile_run(b.compile, compiled_take, &b.state);
        b.state.fail_at = 0;
        assert_true(e == E_OK || (e == E_SYS && compile_is_dirty(b.compile)));
        (void)run(&b);
        result_check(&b, &bytes, &text);
        bench_fini(&b);
        if (e == E_OK) {
            assert_true(n > 5);
            break;
        }
    }
    buf_fini(&bytes);
    buf_fini(&text);
}

/* Puts what can be put while allocations fail from the nth on, and runs. */
static enum err fail_through(struct bench *b, const char *yaml, const char *gone, size_t nth)
{
    struct objects objects = {0};
    assert_true(objects_parse(&objects, "test.yaml", str_from_cstr(yaml)));
    mem_fail_from(nth);
    enum err e = E_OK;
    for (size_t i = 0; i < objects.n; i++) {
        enum err put_err = store_put(b->store, objects_give(&objects, i));
        e = put_err != E_OK ? put_err : e;
    }
    if (gone != NULL) {
        del(b, OBJECT_INGRESS, gone);
    }
    enum err run_err = compile_run(b->compile, compiled_take, &b->state);
    mem_fail_from(0);
    objects_fini(&objects);
    assert_true(run_err == E_OK || compile_is_dirty(b->compile));
    return run_err != E_OK ? run_err : e;
}

/* Each time the whole is as if nothing had happened. */
static void memory_may_run_out_while_a_config_map_is_read(void **state)
{
    static const char map[] = CONFIG("settings", "keep-alive: \"30\", hsts: \"false\", bad: \"1\", "
                                                 "no-tls-redirect-locations: \"/a,/b\"");
    enum err e = E_NOMEM;
    size_t n = 1;
    (void)state;
    for (; e != E_OK; n++) {
        struct bench b;
        bench_init(&b, &config_options);
        put(&b, TOWN);
        (void)run(&b);
        e = fail_through(&b, map, NULL, n);
        assert_true(e == E_OK || e == E_NOMEM);
        put(&b, map);
        (void)run(&b);
        assert_int_equal(keep_alive_of(&b), 30);
        assert_int_equal(reason_n(&b, DIAG_UnknownSetting), 1);
        bench_fini(&b);
    }
    assert_true(n > 2);
}

static void memory_may_run_out_while_it_loads(void **state)
{
    struct buf bytes, text;
    enum err e = E_NOMEM;
    (void)state;
    result_wanted(&bytes, &text, false);
    for (size_t n = 1; e != E_OK; n++) {
        struct bench b;
        bench_init(&b, &plain_options);
        e = fail_through(&b, MIXED, NULL, n);
        assert_true(e == E_OK || e == E_NOMEM);
        put(&b, MIXED);
        (void)run(&b);
        result_check(&b, &bytes, &text);
        bench_fini(&b);
    }
    buf_fini(&bytes);
    buf_fini(&text);
}

static void memory_may_run_out_in_a_change(void **state)
{
    struct buf bytes, text;
    enum err e = E_NOMEM;
    (void)state;
    result_wanted(&bytes, &text, true);
    for (size_t n = 1; e != E_OK; n++) {
        struct bench b;
        bench_init(&b, &plain_options);
        put(&b, MIXED);
        (void)run(&b);
        e = fail_through(&b, MIXED_LATER, "two", n);
        put(&b, MIXED_LATER);
        (void)run(&b);
        result_check(&b, &bytes, &text);
        bench_fini(&b);
    }
    buf_fini(&bytes);
    buf_fini(&text);
}

static void memory_may_run_out_in_the_constructor(void **state)
{
    struct store *store;
    struct compile *c = NULL;
    size_t n = 1;
    (void)state;
    assert_int_equal(store_new(&store), E_OK);
    for (;; n++) {
        mem_fail_from(n);
        enum err e = compile_new(store, &plain_options, &c);
        mem_fail_from(0);
        if (e == E_OK) {
            break;
        }
        assert_int_equal(e, E_NOMEM);
        assert_null(c);
    }
    assert_true(n > 1);
    compile_free(c);
    compile_free(NULL);
    store_free(store);
}

/* Records would pile up unseen, so this looks inside. */
static void nothing_is_left_of_what_went(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, MIXED);
    (void)run(&b);
    assert_true(b.compile->hosts.n > 1);
    del(&b, OBJECT_INGRESS, "one");
    del(&b, OBJECT_INGRESS, "two");
    del(&b, OBJECT_INGRESS, "clash");
    del(&b, OBJECT_INGRESS, "moved");
    del(&b, OBJECT_INGRESS, "safe");
    (void)run(&b);
    assert_int_equal(b.compile->ingresses.n, 0);
    assert_int_equal(b.compile->classes.n, 0);
    assert_int_equal(b.compile->hosts.n, 1); /* "" stays */
    assert_int_equal(b.compile->services.n, 0);
    assert_int_equal(b.compile->ports.n, 0);
    assert_int_equal(b.compile->names.n, 0);
    assert_int_equal(diag_n(&b), 0);
    bench_fini(&b);
}

/* ---- why an endpoint is used, or not ---- */

#define MIXED_SLICE(first_ready)                                                                   \
    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a-1, labels: "         \
    "{kubernetes.io/service-name: a}}\naddressType: IPv4\nports: [{port: 8080}]\nendpoints:\n"     \
    "- {addresses: [10.0.0.1], conditions: {ready: " first_ready "}}\n"                            \
    "- {addresses: [10.0.0.2], conditions: {ready: false, serving: true, terminating: true}}\n"    \
    "- {addresses: [10.0.0.3], conditions: {ready: false, serving: false, terminating: true}}\n"   \
    "---\n"
#define OTHER_PORT_SLICE                                                                           \
    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a-2, labels: "         \
    "{kubernetes.io/service-name: a}}\naddressType: IPv4\nports: [{name: other, port: 9}]\n"       \
    "endpoints:\n- {addresses: [10.0.0.4]}\n---\n"

static void tell_why(void *arg, const struct endpoint *e, uint16_t port, const char *why_not)
{
    struct buf *b = arg;
    buf_addf(b, "%u:%u %s;", e->addresses[0].bytes[3], port, why_not == NULL ? "used" : why_not);
}

static void assert_whys(const struct bench *b, const char *service, const char *wanted)
{
    struct buf text;
    buf_init(&text, 1 << 16);
    compile_each_endpoint(b->compile, STR("default"), str_from_cstr(service), STR("80"), tell_why,
                          &text);
    buf_add_char(&text, 0);
    assert_string_equal(text.p, wanted);
    buf_fini(&text);
}

static void each_endpoint_says_why(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, TOWN MIXED_SLICE("true"));
    (void)run(&b);
    assert_whys(&b, "a",
                "1:8080 used;2:8080 terminating, and others are ready;3:8080 terminating;");
    put(&b, MIXED_SLICE("false"));
    assert_whys(&b, "a", "1:8080 not ready;2:8080 used;3:8080 terminating;");
    put(&b, OTHER_PORT_SLICE);
    del(&b, OBJECT_ENDPOINT_SLICE, "a-1");
    assert_whys(&b, "a", "4:0 its EndpointSlice lacks the port;");
    put(&b, EXTERNAL("far", "far.test"));
    assert_whys(&b, "far", "");
    assert_whys(&b, "missing", "");
    bench_fini(&b);
}

/* A rollout is many changes of slices: once warm, none of them allocates. */
static void a_slice_change_allocates_nothing(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b, &plain_options);
    put(&b, TOWN);
    (void)run(&b);
    put(&b, SLICE("a-1", "a", "10.0.0.7"));
    (void)run(&b);
    put(&b, SLICE("a-1", "a", "10.0.0.8"));
    size_t before = mem_calls();
    assert_int_equal(compile_run(b.compile, compiled_take, &b.state), E_OK);
    assert_int_equal(mem_calls() - before, 0);
    bench_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_happens_without_a_change),
        cmocka_unit_test(what_the_store_holds_already_counts),
        cmocka_unit_test(a_slice_changes_its_service_only),
        cmocka_unit_test(an_ingress_changes_its_hosts_only),
        cmocka_unit_test(a_published_status_changes_nothing),
        cmocka_unit_test(a_published_status_hides_no_change),
        cmocka_unit_test(a_class_changes_its_ingresses),
        cmocka_unit_test(a_name_changes_what_depends_on_it),
        cmocka_unit_test(only_names_in_use_are_asked_for),
        cmocka_unit_test(only_secrets_of_accepted_ingresses_are_asked_for),
        cmocka_unit_test(classes_may_be_hidden_and_come_back),
        cmocka_unit_test(the_zone_of_our_node_changes_services),
        cmocka_unit_test(a_diagnostic_is_told_once),
        cmocka_unit_test(many_diagnostics_are_sorted),
        cmocka_unit_test(a_class_says_why),
        cmocka_unit_test(a_redirect_is_as_long_as_the_limit_allows),
        cmocka_unit_test(a_host_that_is_too_large_harms_nobody_else),
        cmocka_unit_test(a_config_map_comes_and_goes),
        cmocka_unit_test(memory_may_run_out_while_a_config_map_is_read),
        cmocka_unit_test(a_wildcard_takes_the_hosts_below_along),
        cmocka_unit_test(the_receiver_may_fail_at_any_shard),
        cmocka_unit_test(memory_may_run_out_while_it_loads),
        cmocka_unit_test(memory_may_run_out_in_a_change),
        cmocka_unit_test(memory_may_run_out_in_the_constructor),
        cmocka_unit_test(nothing_is_left_of_what_went),
        cmocka_unit_test(each_endpoint_says_why),
        cmocka_unit_test(a_slice_change_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
