/* From JSON to a verdict and back. */
#include "admission/review.h"

#include "admission/message.h"
#include "base/limits.h"
#include "document/json.h"
#include "document/json_write.h"
#include "model/decode.h"

enum { UID_BYTES_MAX = 256, MESSAGE_BYTES_MAX = 1 << 20, REFUSED_CODE = 400 };

#define REVIEW_VERSION "admission.k8s.io/v1"

struct review {
    const struct admission_judge *judge;
    struct buf *out;
    struct message message;
    enum review_verdict verdict;
    const char *why; /* it is none */
    bool is_answered;
};

/* ---- what is asked ---- */

static bool is_kind(const struct tree_node *kind)
{
    return str_eq(tree_get_string(kind, STR("group")), STR("networking.k8s.io")) &&
           str_eq(tree_get_string(kind, STR("version")), STR("v1")) &&
           str_eq(tree_get_string(kind, STR("kind")), STR("Ingress"));
}

static bool is_write(struct str operation)
{
    return str_eq(operation, STR("CREATE")) || str_eq(operation, STR("UPDATE"));
}

/* The object to be judged; NULL: there is nothing to judge. */
static const struct tree_node *object_of(const struct tree_node *request)
{
    const struct tree_node *object = tree_get(request, STR("object"));
    bool is_wanted = is_kind(tree_get(request, STR("kind"))) &&
                     is_write(tree_get_string(request, STR("operation"))) &&
                     tree_get_string(request, STR("subResource")).n == 0;
    bool is_going = tree_get(tree_get(object, STR("metadata")), STR("deletionTimestamp")) != NULL;
    return is_wanted && !is_going ? object : NULL;
}

/* Before it is decoded: what others' controllers understand may not be right for us. */
static bool is_ours(const struct review *r, const struct tree_node *object)
{
    struct str class_key = STR("kubernetes.io/ingress.class");
    const struct tree_node *metadata = tree_get(object, STR("metadata"));
    const struct tree_node *annotations = tree_get(metadata, STR("annotations"));
    const struct tree_node *class_name =
        tree_get(tree_get(object, STR("spec")), STR("ingressClassName"));
    struct string_pair pair = {class_key, tree_get_string(annotations, class_key)};
    struct ingress in = {
        .object = {.kind = OBJECT_INGRESS,
                   .namespace_name = tree_get_string(metadata, STR("namespace")),
                   .name = tree_get_string(metadata, STR("name")),
                   .annotations = {&pair, tree_get(annotations, class_key) != NULL}},
        .has_class_name = class_name != NULL,
        .class_name = tree_get_string(tree_get(object, STR("spec")), STR("ingressClassName")),
    };
    return r->judge->is_ours(r->judge->arg, &in);
}

static enum err object_judge(struct review *r, const struct tree_node *object)
{
    const struct decode_kind *kind = decode_kind_find(STR("networking.k8s.io/v1"), STR("Ingress"));
    const struct decode_source source = {STR_EMPTY, message_add, &r->message};
    struct object *o;
    must(kind != NULL);
    TRY(decode_object(kind, object, &source, &o));
    if (o == NULL) {
        return E_OK; /* it was told why */
    }
    enum err e = r->judge->judge(r->judge->arg, (const struct ingress *)(const void *)o,
                                 message_add, &r->message);
    object_free(o);
    return e;
}

/* ---- the answer ---- */

static enum err refusal_emit(struct review *r, struct json *j)
{
    struct buf text;
    buf_init(&text, MESSAGE_BYTES_MAX);
    message_emit(&r->message, &text);
    json_name(j, "status");
    json_object(j);
    json_name_cstr(j, "status", "Failure");
    json_name_str(j, "message", buf_str(&text));
    json_name_cstr(j, "reason", "BadRequest");
    json_name_u64(j, "code", REFUSED_CODE);
    json_end_object(j);
    enum err e = text.bad && text.n < MESSAGE_BYTES_MAX / 2 ? E_NOMEM : E_OK;
    buf_fini(&text);
    return e;
}

static enum err warnings_emit(struct review *r, struct json *j)
{
    size_t n = message_warning_n(&r->message);
    struct buf text;
    if (n == 0) {
        return E_OK;
    }
    buf_init(&text, ADMISSION_WARNING_BYTES_MAX);
    json_name(j, "warnings");
    json_array(j);
    for (size_t i = 0; i < n && !text.bad; i++) {
        buf_reset(&text);
        message_emit_warning(&r->message, i, &text);
        json_str(j, buf_str(&text));
    }
    json_end_array(j);
    enum err e = text.bad ? E_NOMEM : E_OK;
    buf_fini(&text);
    return e;
}

static enum err answer_emit(struct review *r, struct str uid)
{
    struct json j = json_make(r->out, false);
    json_object(&j);
    json_name_cstr(&j, "apiVersion", REVIEW_VERSION);
    json_name_cstr(&j, "kind", "AdmissionReview");
    json_name(&j, "response");
    json_object(&j);
    json_name_str(&j, "uid", uid);
    json_name_bool(&j, "allowed", r->verdict != REVIEW_REFUSED);
    if (r->verdict == REVIEW_REFUSED) {
        TRY(refusal_emit(r, &j));
    }
    TRY(warnings_emit(r, &j));
    json_end_object(&j);
    json_end_object(&j);
    json_finish(&j);
    return r->out->bad ? E_NOMEM : E_OK;
}

/* ---- the whole ---- */

static enum err refuse(struct review *r, const char *why)
{
    r->why = why;
    return E_PROTO;
}

static enum err on_document(void *arg, const struct tree_node *root)
{
    struct review *r = arg;
    const struct tree_node *request = tree_get(root, STR("request"));
    struct str uid = tree_get_string(request, STR("uid"));
    if (r->is_answered || !str_eq(tree_get_string(root, STR("kind")), STR("AdmissionReview"))) {
        return refuse(r, "this is not one AdmissionReview");
    }
    if (!str_eq(tree_get_string(root, STR("apiVersion")), STR(REVIEW_VERSION))) {
        return refuse(r, "reviews are understood in version " REVIEW_VERSION " only");
    }
    if (uid.n == 0 || uid.n > UID_BYTES_MAX) {
        return refuse(r, "the request has no uid");
    }
    r->is_answered = true;
    r->verdict = REVIEW_IGNORED;
    const struct tree_node *object = object_of(request);
    if (object != NULL && is_ours(r, object)) {
        TRY(object_judge(r, object));
        r->verdict = message_error_n(&r->message) > 0 ? REVIEW_REFUSED : REVIEW_ALLOWED;
    }
    return answer_emit(r, uid);
}

static void on_diag(void *arg, const struct diag *d)
{
    struct review *r = arg;
    (void)d;
    r->why = "this is not JSON, or it nests too deeply";
}

/* Values cost memory beyond their text: counted before any of them is made. */
static bool has_too_many_values(struct str text)
{
    size_t n = 0;
    bool is_in_string = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '"') {
            is_in_string = !is_in_string;
        } else if (c == '\\') {
            i++; /* what is escaped is neither */
        } else if (!is_in_string && (c == ',' || c == ':' || c == '[' || c == '{')) {
            n++;
        }
    }
    return n > ADMISSION_VALUES_MAX;
}

enum err review_answer(const struct admission_judge *judge, struct str body, struct buf *out,
                       enum review_verdict *ret_verdict, const char **ret_why)
{
    struct review r = {.judge = judge, .out = out};
    struct tree_sink sink = {&r, on_document, on_diag};
    if (has_too_many_values(body)) {
        return E_LIMIT;
    }
    TRY(message_init(&r.message));
    enum err e = json_parse(body, &sink);
    message_fini(&r.message);
    if (e == E_OK && r.is_answered && r.why == NULL) {
        *ret_verdict = r.verdict;
        return E_OK;
    }
    if (e == E_OK || e == E_PROTO) {
        *ret_why = r.why != NULL ? r.why : "this is not one AdmissionReview";
        return E_PROTO;
    }
    return e;
}
