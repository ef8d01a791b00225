/* What an Ingress that is not there yet is told because of others: for each kind of conflict that
 * the compiler knows, the same as it is told once it is there. And when one is refused because it
 * would overrule others. */
#include "judge_bench.h"

#define NGINX "nginx.ingress.kubernetes.io/"
#define CLASS                                                                                      \
    "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: lintel}\n"             \
    "spec: {controller: lintel.dev/ingress-controller}\n---\n"                                     \
    "apiVersion: v1\nkind: Service\nmetadata: {name: app}\nspec: {ports: [{port: 80}]}\n---\n"     \
    "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n---\n"
#define INGRESS(name, year, annotations, spec)                                                     \
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: " name                      \
    ", creationTimestamp: \"" year "-01-01T00:00:00Z\", annotations: {" annotations                \
    "}}\nspec:\n  ingressClassName: lintel\n" spec "---\n"
#define RULE(host, path)                                                                           \
    "  - host: " host "\n    http: {paths: [{path: " path                                          \
    ", pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}\n"
#define RULES(rules)           "  rules:\n" rules
#define DEFAULT(service)       "  defaultBackend: {service: {name: " service ", port: {number: 80}}}\n"
#define OLD(annotations, spec) INGRESS("old", "2020", annotations, spec)
#define NEW(annotations, spec) INGRESS("new", "2024", annotations, spec)

#define PASS       NGINX "ssl-passthrough: 'true'"
#define AUTH(name) NGINX "auth-tls-secret: default/" name
#define BALANCE    NGINX "load-balance: ewma"

static const struct compile_options options = {
    .controller = STR_INIT("lintel.dev/ingress-controller"),
    .ingress_class = STR_INIT("lintel"),
    .has_passthrough = true,
};

static int setup(void **state)
{
    *state = bench_new(&options, CLASS);
    return 0;
}

/* ---- every kind of conflict ---- */

static struct {
    const struct finding *finding; /* by its why */
    const char *of;                /* of this Ingress */
} looked_for;

static void note_same(void *arg, const struct diag *d)
{
    struct bench *b = arg;
    if (str_eq(d->name, str_from_cstr(looked_for.of)) &&
        str_eq(d->why, str_from_cstr(looked_for.finding->why))) {
        buf_addf(&b->text, "%s %s %.*s %.*s\n", d->severity == DIAG_ERROR ? "error" : "warning",
                 diag_reason_name(d->reason), STR_ARG(d->field), STR_ARG(d->what));
    }
}

/* clang-format spreads this table over the page. */
/* clang-format off */
static const struct {
    const char *old, *new;
    bool is_refused; /* in words of its own */
} cases[CONFLICTS_N] = {
    [CONFLICT_path] = {
        OLD("", RULES(RULE("a.test", "/"))), NEW("", RULES(RULE("a.test", "/"))), true},
    [CONFLICT_default_backend] = {OLD("", DEFAULT("app")), NEW("", DEFAULT("web")), false},
    [CONFLICT_client_auth] = {
        OLD(AUTH("one"), RULES(RULE("a.test", "/"))),
        NEW(AUTH("two"), RULES(RULE("a.test", "/b"))), false},
    [CONFLICT_balance] = {
        OLD("", RULES(RULE("a.test", "/"))), NEW(BALANCE, RULES(RULE("b.test", "/"))), false},
    [CONFLICT_passthrough] = {
        OLD("", RULES(RULE("a.test", "/b"))), NEW(PASS, RULES(RULE("a.test", "/"))), false},
    [CONFLICT_idle_secret] = {
        OLD(PASS, RULES(RULE("a.test", "/"))),
        NEW("", "  tls: [{hosts: [a.test], secretName: s}]\n" RULES(RULE("b.test", "/"))), false},
};
/* clang-format on */

static void present_check(struct bench *b, const char *yaml, const char *expected)
{
    put(b, yaml);
    run(b);
    buf_reset(&b->text);
    compile_each_diag(b->compile, note_same, b);
    buf_add_char(&b->text, '\0');
    assert_string_equal(b->text.p, expected);
}

/* Paths are judged more strictly than they are compiled, and in other words. */
static void note_refusal(void *arg, const struct diag *d)
{
    struct bench *b = arg;
    assert_int_equal(d->severity, DIAG_ERROR);
    buf_add_str(&b->text, str_from_cstr(diag_reason_name(d->reason)));
}

/* Once before it is there, and once when it is. */
static void conflict_check(struct bench *b, size_t i)
{
    looked_for.finding = &conflict_findings[i];
    looked_for.of = "new";
    assert_non_null(cases[i].old); /* a kind without a case: have the webhook tell it too */
    put(b, cases[i].old);
    run(b);
    if (cases[i].is_refused) {
        judge(b, cases[i].new, note_refusal);
        assert_string_equal(b->text.p, diag_reason_name(looked_for.finding->reason));
        return;
    }
    judge(b, cases[i].new, note_same);
    char *judged = strdup(b->text.p);
    assert_true(judged[0] != '\0');
    present_check(b, cases[i].new, judged);
    free(judged);
}

static void every_conflict(void **state)
{
    (void)state;
    for (size_t i = 0; i < CONFLICTS_N; i++) {
        void *b;
        setup(&b);
        conflict_check(b, i);
        teardown(&b);
    }
}

/* Who adds a reason adds a conflict, and so a case. ClassConflict is about an IngressClass. */
static void every_reason(void **state)
{
    (void)state;
    static const char *const names[] = {
#define REASON(name, text) #name,
#include "document/diag_reasons.def"
#undef REASON
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        bool is_known = !str_has_suffix(str_from_cstr(names[i]), STR("Conflict")) ||
                        strcmp(names[i], "ClassConflict") == 0;
        for (size_t k = 0; k < CONFLICTS_N; k++) {
            is_known =
                is_known || strcmp(diag_reason_name(conflict_findings[k].reason), names[i]) == 0;
        }
        assert_true(is_known);
    }
}

/* ---- who is overruled ---- */

static void note(void *arg, const struct diag *d)
{
    struct bench *b = arg;
    if (d->reason == DIAG_AnnotationConflict) {
        buf_addf(&b->text, "%s: %.*s\n", d->severity == DIAG_ERROR ? "error" : "warning",
                 STR_ARG(d->what));
    }
}

static void check(struct bench *b, const char *yaml, const char *expected)
{
    judge(b, yaml, note);
    assert_string_equal(b->text.p, expected);
}

#define AGAINST "decides for host \"a.test\" against Ingress default/new\n"

static void the_oldest_changes_its_mind(void **state)
{
    struct bench *b = *state;
    put(b, OLD("", RULES(RULE("b.test", "/"))));
    put(b, NEW("", "  tls: [{hosts: [a.test]}]\n" RULES(RULE("a.test", "/b"))));
    run(b);
    /* it comes to the host, or has come, and takes the TLS */
    check(b, OLD(PASS, RULES(RULE("a.test", "/"))), "error: " AGAINST);
    check(b, OLD("", RULES(RULE("a.test", "/"))), "");
    check(b, OLD(PASS, RULES(RULE("b.test", "/"))), "");
    /* it does so already */
    put(b, OLD(PASS, RULES(RULE("a.test", "/"))));
    run(b);
    check(b, OLD(PASS ", x: z", RULES(RULE("a.test", "/"))), "warning: " AGAINST);
    check(b, OLD("", RULES(RULE("a.test", "/"))), "");
    /* the other one may say what it likes */
    check(b, NEW("", "  tls: [{hosts: [a.test]}]\n" RULES(RULE("a.test", "/b"))),
          "warning: Ingress default/old has host \"a.test\" passed through to a backend of its "
          "own\n");
    check(b, NEW("", RULES(RULE("a.test", "/b"))), "");
    /* both agree, and the oldest leaves */
    put(b, NEW(PASS, RULES(RULE("a.test", "/"))));
    run(b);
    check(b, NEW(PASS ", x: z", RULES(RULE("a.test", "/"))), "");
    check(b, OLD("", RULES(RULE("a.test", "/"))), "error: " AGAINST);
}

static void the_oldest_asks_for_certificates(void **state)
{
    struct bench *b = *state;
    put(b, OLD("", RULES(RULE("a.test", "/"))));
    put(b, NEW(AUTH("one"), RULES(RULE("a.test", "/b"))));
    run(b);
    check(b, OLD(AUTH("one"), RULES(RULE("a.test", "/"))), "");
    check(b, OLD(AUTH("two"), RULES(RULE("a.test", "/"))), "error: " AGAINST);
    check(b, OLD(AUTH("two"), RULES(RULE("a.test", "/") RULE("b.test", "/"))), "error: " AGAINST);
    put(b, OLD(AUTH("two"), RULES(RULE("a.test", "/"))));
    run(b);
    check(b, OLD(AUTH("two") ", x: z", RULES(RULE("a.test", "/"))), "warning: " AGAINST);
    check(b, OLD(AUTH("three"), RULES(RULE("a.test", "/"))), "warning: " AGAINST);
    /* told once, however often the host stands there */
    check(b, NEW(AUTH("one"), RULES(RULE("a.test", "/b") RULE("a.test", "/c"))),
          "warning: says something else for host \"a.test\" than Ingress default/old\n");
}

static void the_oldest_user_of_a_port(void **state)
{
    struct bench *b = *state;
    put(b, OLD("", RULES(RULE("a.test", "/"))));
    put(b, NEW("", RULES(RULE("b.test", "/"))));
    run(b);
    check(b, OLD(BALANCE, RULES(RULE("a.test", "/"))), ""); /* nobody loses anything */
    check(b, NEW(NGINX "load-balance: round_robin", RULES(RULE("b.test", "/"))), "");
    check(b, NEW(BALANCE, RULES(RULE("b.test", "/") RULE("b.test", "/c"))),
          "warning: is \"ewma\", but Ingress default/old uses port 80 of Service app too\n");
    check(b, NEW(BALANCE ", " NGINX "backend-protocol: GRPC", RULES(RULE("b.test", "/"))), "");
    assert_true(store_del(b->store, OBJECT_INGRESS, STR("default"), STR("old")));
    check(b, NEW(BALANCE, RULES(RULE("b.test", "/"))), "");
}

/* Between a change of the store and the run that takes it in. */
static void links_that_lead_nowhere(void **state)
{
    struct bench *b = *state;
    const char *candidate = NEW(PASS ", " AUTH("one"), RULES(RULE("a.test", "/")));
    put(b, OLD(AUTH("two"), "  tls: [{hosts: [b.test, a.test]}]\n" RULES(RULE("b.test", "/")
                                                                             RULE("a.test", "/"))));
    run(b);
    put(b, OLD(AUTH("two"), "  tls: [{hosts: [b.test]}]\n" RULES(RULE("b.test", "/"))));
    check(b, candidate, "");
    put(b, OLD("", DEFAULT("app")));
    check(b, candidate, "");
    assert_true(store_del(b->store, OBJECT_INGRESS, STR("default"), STR("old")));
    check(b, candidate, "");
    run(b);
    check(b, candidate, "");
}

static void nothing_changes(void **state)
{
    struct bench *b = *state;
    put(b, OLD(AUTH("one"), RULES(RULE("a.test", "/"))));
    run(b);
    size_t emitted = b->state.emitted_n;
    judge(b, NEW(AUTH("two") ", " PASS ", " BALANCE, RULES(RULE("a.test", "/b"))), note);
    assert_true(b->text.n > 1);
    assert_false(compile_is_dirty(b->compile));
    put(b, INGRESS("else", "2022", "", RULES(RULE("c.test", "/"))));
    run(b); /* with a working space that nobody has touched */
    assert_int_equal(b->state.wrong_n, 0);
    assert_int_equal(b->state.emitted_n, emitted + 1);
}

static void when_memory_is_out(void **state)
{
    struct bench *b = *state;
    put(b, OLD(AUTH("one") ", " PASS, RULES(RULE("a.test", "/"))));
    run(b);
    const char *yaml =
        NEW(AUTH("two") ", " BALANCE,
            "  tls: [{hosts: [a.test], secretName: s}]\n" RULES(RULE("a.test", "/b")));
    assert_true(judge_without_memory(b, yaml, note) > 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        cmocka_unit_test(every_conflict),
        cmocka_unit_test(every_reason),
        TEST(the_oldest_changes_its_mind),
        TEST(the_oldest_asks_for_certificates),
        TEST(the_oldest_user_of_a_port),
        TEST(links_that_lead_nowhere),
        TEST(nothing_changes),
        TEST(when_memory_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
