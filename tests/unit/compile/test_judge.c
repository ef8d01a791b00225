/* What the compiler says of an Ingress that is not there yet: a table of candidates against one
 * store, and that asking changes nothing. */
#include "judge_bench.h"

#define NGINX "nginx.ingress.kubernetes.io/"
#define INGRESS(name, created, annotations, class, spec)                                           \
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: " name                      \
    ", creationTimestamp: \"" created "\", annotations: {" annotations "}}\nspec:\n"               \
    "  ingressClassName: " class "\n" spec "---\n"
#define RULE(host, path, type)                                                                     \
    "  - host: " host "\n    http:\n      paths:\n      - {path: \"" path "\", pathType: " type    \
    ", backend: {service: {name: web, port: {number: 80}}}}\n"
#define CANDIDATE(annotations, spec)                                                               \
    INGRESS("candidate", "2026-03-01T00:00:00Z", annotations, "lintel", "  rules:\n" spec)
#define WITH_TLS(annotations, tls, spec)                                                           \
    INGRESS("candidate", "2026-03-01T00:00:00Z", annotations, "lintel",                            \
            "  tls: [" tls "]\n  rules:\n" spec)
#define BACKEND(service, port)                                                                     \
    "  - host: free.test\n    http:\n      paths:\n      - {path: /, pathType: Prefix, backend: "  \
    "{service: {name: " service ", port: " port "}}}\n"

static const char world[] =
    "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: lintel}\n"
    "spec: {controller: lintel.dev/ingress-controller}\n---\n"
    "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: other}\n"
    "spec: {controller: example.com/other}\n---\n"
    "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80, name: "
    "http}]}\n---\n"
    "apiVersion: v1\nkind: Service\nmetadata: {name: dns}\nspec: {ports: [{port: 53, protocol: "
    "UDP}]}\n---\n"
    "apiVersion: v1\nkind: Service\nmetadata: {name: headless}\nspec: {clusterIP: "
    "None}\n---\n" INGRESS("old", "2026-01-01T00:00:00Z", "", "lintel",
                           "  rules:\n" RULE("a.test", "/shop", "Prefix")
                               RULE("a.test", "/exact", "Exact"))
        INGRESS("canary", "2026-01-02T00:00:00Z", NGINX "canary: \"true\"", "lintel",
                "  rules:\n" RULE("c.test", "/", "Prefix"))
            INGRESS("stranger", "2026-01-01T00:00:00Z", "", "other",
                    "  rules:\n" RULE("s.test", "/", "Prefix"))
                INGRESS("young", "2026-06-01T00:00:00Z", "", "lintel",
                        "  rules:\n" RULE("y.test", "/", "Prefix"))
                    INGRESS("default", "2026-01-01T00:00:00Z", "", "lintel",
                            "  defaultBackend: {service: {name: web, port: {number: 80}}}\n")
                        INGRESS("candidate-to-be", "2026-01-01T00:00:00Z", "", "lintel",
                                "  rules:\n" RULE("p.test", "/", "Prefix"));

static const struct compile_options options = {
    .controller = STR_INIT("lintel.dev/ingress-controller"),
    .ingress_class = STR_INIT("lintel"),
    .default_namespace = STR_INIT(""),
    .default_service = STR_INIT(""),
};

static int setup(void **state)
{
    *state = bench_new(&options, world);
    return 0;
}

/* "error PathConflict spec.rules[0].http.paths[0].path\n" */
static void note(void *arg, const struct diag *d)
{
    struct bench *b = arg;
    assert_true(d->why.n > 0 && d->mend.n > 0 && d->what.n > 0);
    buf_addf(&b->text, "%s %s %.*s\n", d->severity == DIAG_ERROR ? "error" : "warning",
             diag_reason_name(d->reason), STR_ARG(d->field));
}

static void check(struct bench *b, const char *yaml, const char *expected)
{
    judge(b, yaml, note);
    assert_string_equal(b->text.p, expected);
}

#define AT   "spec.rules[0].http.paths[0].path\n"
#define BACK "spec.rules[0].http.paths[0].backend.service."

static void candidates(void **state)
{
    struct bench *b = *state;
    /* clang-format 14 ends with a signal on this table. */
    /* clang-format off */
    static const struct {
        const char *yaml, *expected;
    } cases[] = {
        {CANDIDATE("", RULE("free.test", "/", "Prefix")), ""},
        /* conflicts: the same host, path as it is compared, and type */
        {CANDIDATE("", RULE("a.test", "/shop", "Prefix")), "error PathConflict " AT},
        {CANDIDATE("", RULE("a.test", "/shop/", "Prefix")), "error PathConflict " AT},
        {CANDIDATE("", RULE("a.test", "/sh%6fp", "ImplementationSpecific")),
         "error PathConflict " AT},
        {CANDIDATE("", RULE("a.test", "/shop", "Exact")), ""},
        {CANDIDATE("", RULE("a.test", "/exact", "Exact")), "error PathConflict " AT},
        {CANDIDATE("", RULE("a.test", "/exact", "Prefix")), ""},
        {CANDIDATE("", RULE("a.test", "/shop/cart", "Prefix")), ""},
        {CANDIDATE("", RULE("b.test", "/shop", "Prefix")), ""},
        {CANDIDATE("", RULE("s.test", "/", "Prefix")), ""}, /* another controller's */
        /* whoever wants to come is refused, older or not */
        {CANDIDATE("", RULE("y.test", "/", "Prefix")), "error PathConflict " AT},
        /* twice in itself */
        {CANDIDATE("", RULE("free.test", "/", "Prefix") RULE("free.test", "/", "Prefix")),
         "error PathConflict spec.rules[1].http.paths[0].path\n"},
        /* exactly one canary */
        {CANDIDATE(NGINX "canary: \"true\"", RULE("a.test", "/shop", "Prefix")), ""},
        {CANDIDATE(NGINX "canary: \"false\"", RULE("a.test", "/shop", "Prefix")),
         "error PathConflict " AT},
        {CANDIDATE(NGINX "canary: \"true\"", RULE("c.test", "/", "Prefix")),
         "error PathConflict " AT},
        {CANDIDATE("", RULE("c.test", "/", "Prefix")), ""},
        /* the compiler's own */
        {CANDIDATE("", RULE("free.test", "/%zz", "ImplementationSpecific")),
         "error InvalidPath " AT},
        {CANDIDATE(NGINX "permanent-redirect: nowhere", RULE("free.test", "/", "Prefix")),
         "error InvalidAnnotation metadata.annotations[" NGINX "permanent-redirect]\n"},
        {CANDIDATE(NGINX "load-balance: sideways", RULE("free.test", "/", "Prefix")),
         "warning InvalidAnnotation metadata.annotations[" NGINX "load-balance]\n"},
        {CANDIDATE("", "  - host: free.test\n    http:\n      paths:\n      - {path: /, pathType: "
                       "Prefix, backend: {resource: {kind: Bucket, name: x}}}\n"),
         "error ResourceBackend spec.rules[0].http.paths[0].backend.resource\n"},
        /* what may still come */
        {CANDIDATE("", BACKEND("missing", "{number: 80}")), "warning ServiceNotFound " BACK "name\n"},
        {CANDIDATE("", BACKEND("missing", "{number: 80}") BACKEND("missing", "{number: 81}")),
         "warning ServiceNotFound " BACK "name\n"
         "error PathConflict spec.rules[1].http.paths[0].path\n"},
        {CANDIDATE("", BACKEND("web", "{number: 81}")), "warning PortNotFound " BACK "port\n"},
        {CANDIDATE("", BACKEND("web", "{name: https}")), "warning PortNotFound " BACK "port\n"},
        {CANDIDATE("", BACKEND("web", "{name: http}")), ""},
        {CANDIDATE("", BACKEND("dns", "{number: 53}")), "warning PortNotFound " BACK "port\n"},
        {CANDIDATE("", BACKEND("headless", "{number: 53}")), ""},
        /* ingress-nginx' ways */
        {CANDIDATE(NGINX "use-regex: \"true\"", RULE("free.test", "/", "Prefix")),
         "warning DiffersFromNginx metadata.annotations[" NGINX "use-regex]\n"},
        {CANDIDATE(NGINX "use-regex: \"false\"", RULE("free.test", "/", "Prefix")), ""},
        {CANDIDATE(NGINX "rewrite-target: /", RULE("free.test", "/", "Prefix")),
         "warning DiffersFromNginx metadata.annotations[" NGINX "rewrite-target]\n"},
        {CANDIDATE(NGINX "server-snippet: x", RULE("free.test", "/", "Prefix")),
         "warning DiffersFromNginx metadata.annotations[" NGINX "server-snippet]\n"},
        {CANDIDATE("", RULE("free.test", "/a(b|c)", "Prefix")), "warning DiffersFromNginx " AT},
        {CANDIDATE("", RULE("free.test", "/a(b|c)", "ImplementationSpecific")), ""},
        {CANDIDATE("", RULE("free.test", "/a/", "Prefix")), ""},
        {CANDIDATE(NGINX "x: z", RULE("free.test", "/a/", "Prefix")),
         "warning DiffersFromNginx " AT},
        {CANDIDATE(NGINX "x: z", RULE("free.test", "/", "Prefix")), ""},
        {WITH_TLS(NGINX "x: z", "{hosts: [free.test]}", RULE("free.test", "/", "Prefix")
                  RULE("other.test", "/", "Prefix") RULE("more.test", "/", "Prefix")),
         "warning DiffersFromNginx spec.rules[1].host\n"},
        {WITH_TLS("", "{hosts: [free.test]}", RULE("other.test", "/", "Prefix")), ""},
        {WITH_TLS(NGINX "x: z", "{hosts: ['*.test']}", RULE("free.test", "/", "Prefix")), ""},
        {WITH_TLS(NGINX "x: z", "{secretName: a}", RULE("free.test", "/", "Prefix")),
         "warning SecretNotFound spec.tls[0].secretName\n"},
        {WITH_TLS(NGINX "x: z", "{hosts: [a.test]}", "  - http: {paths: [{path: /free, pathType: "
                  "Prefix, backend: {service: {name: web, port: {number: 80}}}}]}\n"),
         "warning DiffersFromNginx spec.rules[0].host\n"},
        {CANDIDATE(NGINX "force-ssl-redirect: \"yes\"", RULE("free.test", "/", "Prefix")),
         "error InvalidAnnotation metadata.annotations[" NGINX "force-ssl-redirect]\n"},
        /* default backends */
        {INGRESS("candidate", "2026-03-01T00:00:00Z", "", "lintel",
                 "  defaultBackend: {service: {name: headless, port: {number: 80}}}\n"),
         "warning DefaultBackendConflict spec.defaultBackend\n"},
        {INGRESS("candidate", "2026-03-01T00:00:00Z", "", "lintel",
                 "  defaultBackend: {service: {name: web, port: {number: 80}}}\n"),
         ""},
        /* not ours: nothing is said, whatever is wrong */
        {INGRESS("candidate", "2026-03-01T00:00:00Z", "", "other",
                 "  rules:\n" RULE("a.test", "/shop", "Prefix")),
         ""},
        {INGRESS("candidate", "2026-03-01T00:00:00Z", "", "unknown",
                 "  rules:\n" RULE("a.test", "/shop", "Prefix")),
         ""},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check(b, cases[i].yaml, cases[i].expected);
    }
}

#define OLD(spec) INGRESS("old", "2026-01-01T00:00:00Z", "", "lintel", "  rules:\n" spec)

/* The present object of the same name is not in its own way. */
static void an_update(void **state)
{
    struct bench *b = *state;
    check(b, OLD(RULE("a.test", "/shop", "Prefix") RULE("a.test", "/more", "Prefix")), "");
    check(b, OLD(RULE("a.test", "/shop", "Prefix") RULE("y.test", "/", "Prefix")),
          "error PathConflict spec.rules[1].http.paths[0].path\n");
    /* A conflict that is there already is a warning: else nobody could change the rest. */
    put(b, INGRESS("late", "2026-02-01T00:00:00Z", "", "lintel",
                   "  rules:\n" RULE("a.test", "/shop", "Prefix")));
    run(b);
    check(b, OLD(RULE("a.test", "/shop", "Prefix")), "warning PathConflict " AT);
}

/* Between a change of the store and the run that takes it in, links may be older than objects. */
static void a_store_that_has_moved_on(void **state)
{
    struct bench *b = *state;
    put(b, OLD(RULE("b.test", "/", "Prefix"))); /* one rule less, and another host */
    check(b, CANDIDATE("", RULE("a.test", "/shop", "Prefix") RULE("a.test", "/exact", "Exact")),
          "");
    assert_true(store_del(b->store, OBJECT_INGRESS, STR("default"), STR("young")));
    check(b, CANDIDATE("", RULE("y.test", "/", "Prefix")), "");
    run(b);
    check(b, CANDIDATE("", RULE("b.test", "/", "Prefix")), "error PathConflict " AT);
}

static void nothing_changes(void **state)
{
    struct bench *b = *state;
    size_t emitted = b->state.emitted_n;
    check(b, CANDIDATE(NGINX "use-regex: \"true\"", RULE("a.test", "/shop", "Prefix")),
          "warning DiffersFromNginx metadata.annotations[" NGINX "use-regex]\n"
          "error PathConflict " AT);
    assert_false(compile_is_dirty(b->compile));
    run(b);
    assert_int_equal(b->state.emitted_n, emitted);
    buf_reset(&b->text);
    compile_each_diag(b->compile, note, b);
    buf_add_char(&b->text, '\0');
    assert_null(strstr(b->text.p, "PathConflict"));
}

static void when_memory_is_out(void **state)
{
    struct bench *b = *state;
    const char *yaml = CANDIDATE(NGINX "x: z", RULE("a.test", "/shop", "Prefix")
                                                   RULE("free.test", "/a/", "Prefix"));
    assert_true(judge_without_memory(b, yaml, note) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(candidates),      TEST(an_update),          TEST(a_store_that_has_moved_on),
        TEST(nothing_changes), TEST(when_memory_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
