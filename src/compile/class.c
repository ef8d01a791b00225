/* Which Ingress is ours. Source: networking.k8s.io/v1 IngressSpec.ingressClassName, and the
 * deprecated annotation, which is honoured when the field is not set. A directory has no admission
 * plugin that writes the default class into an Ingress, so the default is looked up here. */
#include "compile/compile_priv.h"

enum answer { ANSWER_NONE, ANSWER_OURS, ANSWER_OTHER, ANSWER_UNKNOWN, ANSWER_HIDDEN };

static const struct finding unknown_class = {DIAG_WARNING, DIAG_ClassConflict,
                                             "an Ingress of an unknown class is served by nobody",
                                             "add the IngressClass or name one that exists"};
static const struct finding disputed_class = {
    DIAG_WARNING, DIAG_ClassConflict,
    "spec.ingressClassName and the deprecated annotation kubernetes.io/ingress.class disagree; the "
    "field counts",
    "remove the annotation"};

static bool class_is_ours(const struct compile_options *options, const struct ingress_class *class)
{
    return str_eq(class->controller, options->controller) ||
           (options->is_class_by_name && str_eq(class->object.name, options->ingress_class));
}

static bool class_is_default(const struct ingress_class *class)
{
    struct str value;
    return string_map_get(&class->object.annotations,
                          STR("ingressclass.kubernetes.io/is-default-class"), &value) &&
           str_eq(value, STR("true"));
}

static void default_newest(void *arg, const struct object *o)
{
    const struct ingress_class **newest = arg;
    const struct ingress_class *class = (const struct ingress_class *)(const void *)o;
    if (!class_is_default(class)) {
        return;
    }
    /* As the DefaultIngressClass admission plugin does: the newest, then the first by name. */
    if (*newest == NULL || o->created_s > (*newest)->object.created_s ||
        (o->created_s == (*newest)->object.created_s &&
         str_cmp(o->name, (*newest)->object.name) < 0)) {
        *newest = class;
    }
}

bool class_default_refresh(struct compile *c)
{
    const struct ingress_class *newest = NULL;
    bool was_ours = c->is_default_class_ours;
    store_each(c->store, OBJECT_INGRESS_CLASS, default_newest, &newest);
    c->has_default_class = newest != NULL;
    c->is_default_class_ours = newest != NULL && class_is_ours(c->options, newest);
    return was_ours != c->is_default_class_ours;
}

bool class_is_nginx(const struct compile *c)
{
    return str_eq(c->options->controller, STR("k8s.io/ingress-nginx"));
}

struct str class_annotation(const struct ingress *ingress)
{
    struct str value;
    return string_map_get(&ingress->object.annotations, STR("kubernetes.io/ingress.class"), &value)
               ? value
               : STR_EMPTY;
}

static enum answer ask_field(const struct compile *c, const struct ingress *ingress)
{
    if (!ingress->has_class_name) {
        return ANSWER_NONE;
    }
    bool is_by_name = c->options->is_class_by_name || c->are_classes_hidden;
    if (is_by_name && str_eq(ingress->class_name, c->options->ingress_class)) {
        return ANSWER_OURS;
    }
    if (c->are_classes_hidden) {
        return ANSWER_HIDDEN;
    }
    const struct object *o =
        store_get(c->store, OBJECT_INGRESS_CLASS, STR_EMPTY, ingress->class_name);
    if (o == NULL) {
        return ANSWER_UNKNOWN;
    }
    return class_is_ours(c->options, (const struct ingress_class *)(const void *)o) ? ANSWER_OURS
                                                                                    : ANSWER_OTHER;
}

static enum answer ask_annotation(const struct compile *c, const struct ingress *ingress)
{
    struct str value = class_annotation(ingress);
    if (value.n == 0) {
        return ANSWER_NONE;
    }
    return str_eq(value, c->options->ingress_class) ? ANSWER_OURS : ANSWER_OTHER;
}

static struct class_verdict judge_classless(const struct compile *c)
{
    if (c->options->is_classless_watched) {
        return (struct class_verdict){.is_ours = true,
                                      .why = "it has no class, and such Ingresses are watched"};
    }
    if (c->is_default_class_ours) {
        return (struct class_verdict){.is_ours = true,
                                      .why = "it has no class, and the default class is ours"};
    }
    return (struct class_verdict){.why = c->has_default_class
                                             ? "it has no class, and the default class is another's"
                                             : "it has no class, and there is no default class"};
}

struct class_verdict class_judge(const struct compile *c, const struct ingress *ingress)
{
    static const char *const field_why[] = {
        [ANSWER_OURS] = "its ingressClassName is ours",
        [ANSWER_OTHER] = "its ingressClassName is another controller's",
        [ANSWER_UNKNOWN] = "its ingressClassName names no IngressClass",
        [ANSWER_HIDDEN] = "its ingressClassName is not --ingress-class, and Lintel may not read "
                          "IngressClasses",
    };
    enum answer field = ask_field(c, ingress);
    enum answer annotation = ask_annotation(c, ingress);
    if (field != ANSWER_NONE) {
        bool is_ours = field == ANSWER_OURS;
        return (struct class_verdict){
            .is_ours = is_ours,
            .is_unknown = field == ANSWER_UNKNOWN,
            .is_disputed = annotation != ANSWER_NONE && is_ours != (annotation == ANSWER_OURS),
            .why = field_why[field],
        };
    }
    if (annotation == ANSWER_NONE) {
        return judge_classless(c);
    }
    return annotation == ANSWER_OURS
               ? (struct class_verdict){.is_ours = true, .why = "its class annotation is ours"}
               : (struct class_verdict){.why = "its class annotation is another's"};
}

bool compile_is_ours(const struct compile *c, const struct ingress *ingress, const char **ret_why)
{
    struct class_verdict verdict = class_judge(c, ingress);
    *ret_why = verdict.why;
    return verdict.is_ours;
}

void class_check(struct compile *c, struct diag_batch *batch, const struct ingress *ingress,
                 const struct class_verdict *verdict)
{
    const struct object *o = &ingress->object;
    buf_reset(&c->field);
    buf_add_str(&c->field, STR("spec.ingressClassName"));
    if (verdict->is_unknown) {
        buf_addf(what_begin(c), "there is no IngressClass \"%.*s\"",
                 STR_ARG(shown(ingress->class_name)));
        finding_add(c, batch, o, o->line, &unknown_class);
    }
    if (verdict->is_disputed) {
        buf_addf(what_begin(c), "is \"%.*s\", the annotation says \"%.*s\"",
                 STR_ARG(shown(ingress->class_name)), STR_ARG(shown(class_annotation(ingress))));
        finding_add(c, batch, o, o->line, &disputed_class);
    }
}
