/* Reviews of any bytes: an answer is JSON of one line that holds the uid, the same each time, and
 * whatever is refused has a reason. The judge refuses what has an even number of rules. */
#include "admission/review.h"
#include "document/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool is_ours(const void *arg, const struct ingress *in)
{
    (void)arg;
    return !str_eq(in->class_name, STR("other"));
}

static enum err judge(const void *arg, const struct ingress *in, diag_fn *fn, void *fn_arg)
{
    struct diag d = {.severity = in->rule_n % 2 == 0 ? DIAG_ERROR : DIAG_WARNING,
                     .reason = DIAG_InvalidHost,
                     .field = in->rule_n > 0 ? in->rules[0].host : STR_EMPTY,
                     .what = in->object.name,
                     .why = in->object.namespace_name,
                     .mend = STR("mend")};
    (void)arg;
    fn(fn_arg, &d);
    return E_OK;
}

struct seen {
    bool is_allowed, has_message;
    size_t n;
};

static enum err on_document(void *arg, const struct tree_node *root)
{
    struct seen *seen = arg;
    const struct tree_node *response = tree_get(root, STR("response"));
    const struct tree_node *allowed = tree_get(response, STR("allowed"));
    must(allowed != NULL && allowed->kind == TREE_BOOL);
    must(tree_get_string(response, STR("uid")).n > 0);
    seen->n++;
    seen->is_allowed = allowed->is_true;
    seen->has_message = tree_get_string(tree_get(response, STR("status")), STR("message")).n > 0;
    return E_OK;
}

static void on_diag(void *arg, const struct diag *d)
{
    (void)arg;
    (void)d;
    must(false); /* what we write is JSON */
}

static void check_answer(struct str text, enum review_verdict verdict)
{
    struct seen seen = {0};
    struct tree_sink sink = {&seen, on_document, on_diag};
    must(json_parse(text, &sink) == E_OK);
    must(seen.n == 1 && seen.is_allowed == (verdict != REVIEW_REFUSED));
    must(seen.is_allowed || seen.has_message);
    must(str_find(text, '\n') + 1 == text.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct admission_judge judges = {NULL, is_ours, judge};
    struct str body = {(const char *)data, n};
    enum review_verdict verdicts[2] = {REVIEW_VERDICTS_N, REVIEW_VERDICTS_N};
    enum err errs[2];
    struct buf out[2];
    for (int i = 0; i < 2; i++) {
        const char *why = NULL;
        buf_init(&out[i], 1 << 20);
        errs[i] = review_answer(&judges, body, &out[i], &verdicts[i], &why);
        must(errs[i] == E_OK || errs[i] == E_PROTO || errs[i] == E_LIMIT);
        must((errs[i] == E_PROTO) == (why != NULL));
    }
    must(errs[0] == errs[1] && verdicts[0] == verdicts[1]);
    if (errs[0] == E_OK) {
        must(str_eq(buf_str(&out[0]), buf_str(&out[1])));
        check_answer(buf_str(&out[0]), verdicts[0]);
    }
    buf_fini(&out[0]);
    buf_fini(&out[1]);
    return 0;
}
