/* Reviews as texts: what is judged, what is allowed without a look, what is refused and how it is
 * told. The judge is the test's own. */
#include "admission/review.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "document/json.h"

#define SPEC(class)                                                                                \
    "{\"ingressClassName\":\"" class "\",\"rules\":[{\"host\":\"a.test\",\"http\":{\"paths\":[{"   \
                                     "\"path\":\"/\",\"pathType\":"                                \
                                     "\"Prefix\",\"backend\":{\"service\":{\"name\":\"web\","      \
                                     "\"port\":{\"number\":80}}}}]}}]}"
#define OBJECT(meta, spec)                                                                         \
    "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"Ingress\",\"metadata\":{\"name\":\"x\","  \
    "\"namespace\":\"default\"" meta "},\"spec\":" spec "}"
#define REVIEW(operation, kind, more, object)                                                      \
    "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{\"uid\":"   \
    "\"u-1\",\"kind\":{\"group\":\"networking.k8s.io\",\"version\":\"v1\",\"kind\":\"" kind        \
    "\"},\"operation\":\"" operation "\"" more ",\"object\":" object "}}"
#define OURS REVIEW("CREATE", "Ingress", "", OBJECT("", SPEC("lintel")))

struct world {
    size_t asked_n, judged_n;
    int error_n, warning_n; /* that the judge tells */
    struct str what;
    enum err err;
    struct buf out;
};

static bool is_ours(const void *arg, const struct ingress *in)
{
    union {
        const void *from;
        struct world *to;
    } w = {arg};
    struct str annotation;
    w.to->asked_n++;
    if (string_map_get(&in->object.annotations, STR("kubernetes.io/ingress.class"), &annotation)) {
        return str_eq(annotation, STR("lintel"));
    }
    return in->has_class_name && str_eq(in->class_name, STR("lintel"));
}

static enum err judge(const void *arg, const struct ingress *in, diag_fn *fn, void *fn_arg)
{
    union {
        const void *from;
        struct world *to;
    } w = {arg};
    assert_true(str_eq(in->object.name, STR("x")));
    w.to->judged_n++;
    for (int i = 0; i < w.to->error_n + w.to->warning_n; i++) {
        char field[32];
        (void)snprintf(field, sizeof(field), "spec.rules[%d]", i);
        fn(fn_arg, &(struct diag){.severity = i < w.to->error_n ? DIAG_ERROR : DIAG_WARNING,
                                  .reason = DIAG_PathConflict,
                                  .file = STR_EMPTY,
                                  .kind = STR("Ingress"),
                                  .namespace_name = STR("default"),
                                  .name = STR("x"),
                                  .field = str_from_cstr(field),
                                  .what = w.to->what,
                                  .why = STR("why"),
                                  .mend = STR("mend")});
    }
    return w.to->err;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    buf_init(&w->out, 1 << 20);
    w->what = STR("is wrong");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    buf_fini(&w->out);
    free(w);
    return 0;
}

static enum err answer(struct world *w, struct str body, enum review_verdict *ret)
{
    const struct admission_judge j = {w, is_ours, judge};
    const char *why = NULL;
    buf_reset(&w->out);
    enum err e = review_answer(&j, body, &w->out, ret, &why);
    assert_int_equal(e == E_PROTO, why != NULL);
    buf_add_char(&w->out, '\0');
    w->out.n--;
    return e;
}

static void check(struct world *w, const char *body, enum review_verdict expected, size_t judged_n)
{
    enum review_verdict verdict;
    w->judged_n = 0;
    assert_int_equal(answer(w, str_from_cstr(body), &verdict), E_OK);
    assert_int_equal(verdict, expected);
    assert_int_equal(w->judged_n, judged_n);
    assert_non_null(strstr(w->out.p, "\"uid\":\"u-1\""));
    assert_non_null(
        strstr(w->out.p, expected == REVIEW_REFUSED ? "\"allowed\":false" : "\"allowed\":true"));
}

static void what_is_judged(void **state)
{
    struct world *w = *state;
    w->error_n = 1; /* whatever reaches the judge is refused */
    check(w, OURS, REVIEW_REFUSED, 1);
    check(w, REVIEW("UPDATE", "Ingress", ",\"oldObject\":null", OBJECT("", SPEC("lintel"))),
          REVIEW_REFUSED, 1);
    check(w, REVIEW("UPDATE", "Ingress", ",\"dryRun\":true", OBJECT("", SPEC("lintel"))),
          REVIEW_REFUSED, 1);
    check(w,
          REVIEW("CREATE", "Ingress", "",
                 OBJECT(",\"annotations\":{\"kubernetes.io/ingress.class\":\"lintel\"}",
                        SPEC("whatever"))),
          REVIEW_REFUSED, 1);
    check(w, REVIEW("DELETE", "Ingress", "", "null"), REVIEW_IGNORED, 0);
    check(w, REVIEW("CONNECT", "Ingress", "", OBJECT("", SPEC("lintel"))), REVIEW_IGNORED, 0);
    check(w, REVIEW("CREATE", "Service", "", OBJECT("", SPEC("lintel"))), REVIEW_IGNORED, 0);
    check(w, REVIEW("UPDATE", "Ingress", ",\"subResource\":\"status\"", OBJECT("", SPEC("lintel"))),
          REVIEW_IGNORED, 0);
    check(w,
          REVIEW("UPDATE", "Ingress", "",
                 OBJECT(",\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"", SPEC("lintel"))),
          REVIEW_IGNORED, 0);
    check(w, REVIEW("CREATE", "Ingress", "", OBJECT("", SPEC("other"))), REVIEW_IGNORED, 0);
    check(w, REVIEW("CREATE", "Ingress", "", "null"), REVIEW_IGNORED, 0);
    w->error_n = 0;
    check(w, OURS, REVIEW_ALLOWED, 1);
    assert_null(strstr(w->out.p, "warnings"));
    assert_null(strstr(w->out.p, "status"));
}

/* An object that is not what the API says is refused when it is ours, and nobody's business else.
 */
static void what_cannot_be_decoded(void **state)
{
    struct world *w = *state;
    check(w, REVIEW("CREATE", "Ingress", "", OBJECT("", "{\"ingressClassName\":\"lintel\"}")),
          REVIEW_REFUSED, 0);
    assert_non_null(strstr(w->out.p, "(MissingField)"));
    check(w, REVIEW("CREATE", "Ingress", "", OBJECT("", "{\"ingressClassName\":\"other\"}")),
          REVIEW_IGNORED, 0);
    check(w, REVIEW("CREATE", "Ingress", "", "[]"), REVIEW_IGNORED, 0);
}

static void how_it_is_told(void **state)
{
    struct world *w = *state;
    w->error_n = 1;
    w->warning_n = 1;
    check(w, OURS, REVIEW_REFUSED, 1);
    assert_non_null(strstr(w->out.p, "\"status\":{\"status\":\"Failure\",\"message\":"
                                     "\"spec.rules[0]: is wrong: why; mend (PathConflict)\","
                                     "\"reason\":\"BadRequest\",\"code\":400}"));
    assert_non_null(strstr(w->out.p, "\"warnings\":[\"spec.rules[1]: is wrong: why; mend "
                                     "(PathConflict)\"]"));
    w->error_n = ADMISSION_ERRORS_MAX + 1;
    w->warning_n = 0;
    check(w, OURS, REVIEW_REFUSED, 1);
    assert_non_null(strstr(w->out.p, "65 errors:\\n- spec.rules[0]: "));
    assert_non_null(strstr(w->out.p, "\\n- spec.rules[63]: "));
    assert_null(strstr(w->out.p, "spec.rules[64]: "));
    assert_non_null(strstr(w->out.p, "\\n- and 1 more\""));
    /* However many warnings there are: errors count. */
    w->error_n = 0;
    w->warning_n = ADMISSION_WARNINGS_MAX + 2;
    check(w, OURS, REVIEW_ALLOWED, 1);
    assert_non_null(strstr(w->out.p, "spec.rules[14]: "));
    assert_null(strstr(w->out.p, "spec.rules[15]: "));
    assert_non_null(strstr(w->out.p, "\"2 more warnings: lintel check shows all\"]"));
}

/* Warnings of 256 bytes are whole; longer ones are cut, but not in a character. */
static void long_warnings(void **state)
{
    struct world *w = *state;
    char what[400];
    enum { AROUND = 41 }; /* "spec.rules[0]: : why; mend (PathConflict)" */
    w->warning_n = 1;
    for (size_t n = 200; n < 300; n++) {
        memset(what, 'a', sizeof(what));
        memcpy(what + 236 - 15, "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9",
               16);
        n = n == 222 ? 238 : n; /* whole characters */
        w->what = str_make(what, n);
        check(w, OURS, REVIEW_ALLOWED, 1);
        const char *text = strstr(w->out.p, "\"warnings\":[\"") + 13;
        const char *end = strstr(text, "\"]");
        assert_true(end - text <= ADMISSION_WARNING_BYTES_MAX);
        assert_int_equal(strstr(text, "...\"]") == NULL, n + AROUND <= ADMISSION_WARNING_BYTES_MAX);
        assert_null(strstr(text, "\xef\xbf\xbd")); /* what a cut character becomes */
    }
}

static void what_is_no_review(void **state)
{
    struct world *w = *state;
    static const char *const bodies[] = {
        "",
        "{",
        "[]",
        "null",
        "{}",
        "nonsense",
        "{\"kind\":\"AdmissionReview\"}",
        "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\"}",
        "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\"request\":[]}",
        "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\"request\":{\"uid\":"
        "\"\"}}",
        "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1beta1\",\"request\":{"
        "\"uid\":\"u\"}}",
        OURS OURS,
        OURS "x",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        enum review_verdict verdict;
        assert_int_equal(answer(w, str_from_cstr(bodies[i]), &verdict), E_PROTO);
    }
}

static void too_many_values(void **state)
{
    struct world *w = *state;
    enum review_verdict verdict;
    struct buf body;
    /* {, :, [, all commas but one, then , and : make four more than there are numbers. */
    for (size_t over = 0; over < 2; over++) {
        buf_init(&body, 4 << 20);
        buf_add_str(&body, STR("{\"a\":["));
        for (size_t i = 0; i < ADMISSION_VALUES_MAX - 4 + over; i++) {
            buf_add_str(&body, i == 0 ? STR("0") : STR(",0"));
        }
        buf_add_str(&body, STR("],\"b\":\",,,[[[{{{\\\",,,\"}"));
        assert_int_equal(answer(w, buf_str(&body), &verdict), over == 0 ? E_PROTO : E_LIMIT);
        buf_fini(&body);
    }
}

static void when_memory_is_out(void **state)
{
    struct world *w = *state;
    enum review_verdict verdict;
    enum err e = E_NOMEM;
    size_t nth = 0;
    w->error_n = w->warning_n = 1;
    buf_reserve(&w->out, 8192);
    for (; e != E_OK && nth < 1000; nth++) {
        mem_fail_from(nth + 1);
        e = answer(w, STR(OURS), &verdict);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
    }
    assert_int_equal(e, E_OK);
    assert_int_equal(verdict, REVIEW_REFUSED);
    assert_true(nth > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(what_is_judged),     TEST(what_cannot_be_decoded), TEST(how_it_is_told),
        TEST(long_warnings),      TEST(what_is_no_review),      TEST(too_many_values),
        TEST(when_memory_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
