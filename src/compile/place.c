/* Where something stands in an Ingress, as a diagnostic names it. */
#include "compile/compile_priv.h"

#include "wire/quantity.h"

static const struct finding invalid_flag = {
    DIAG_ERROR, DIAG_InvalidAnnotation, "it is neither true nor false; the annotation is ignored",
    "write \"true\" or \"false\", in quotes, or drop the annotation"};

struct place place_first(void)
{
    return (struct place){SNAP_DEFAULT_RULE, SNAP_DEFAULT_RULE};
}

bool place_next(const struct ingress *ingress, struct place *place)
{
    struct place next = *place;
    if (next.rule == SNAP_DEFAULT_RULE) { /* the default backend stands before the rules */
        next = (struct place){0, 0};
    } else {
        next.path++;
    }
    while (next.rule < ingress->rule_n && next.path >= ingress->rules[next.rule].path_n) {
        next = (struct place){next.rule + 1, 0};
    }
    if (next.rule >= ingress->rule_n) {
        return false;
    }
    *place = next;
    return true;
}

const struct ingress_backend *place_backend(const struct ingress *ingress, struct place place)
{
    if (place.rule == SNAP_DEFAULT_RULE || place.path == SNAP_DEFAULT_RULE) {
        return &ingress->default_backend;
    }
    return &ingress->rules[place.rule].paths[place.path].backend;
}

static uint32_t first_line(uint32_t a, uint32_t b, uint32_t c)
{
    return a != 0 ? a : b != 0 ? b : c;
}

uint32_t place_line(const struct ingress *ingress, struct place place)
{
    uint32_t object_line = ingress->object.line;
    if (place.rule == SNAP_DEFAULT_RULE) {
        return first_line(ingress->default_backend.line, object_line, 0);
    }
    const struct ingress_rule *rule = &ingress->rules[place.rule];
    if (place.path == SNAP_DEFAULT_RULE) {
        return first_line(rule->line, object_line, 0);
    }
    return first_line(rule->paths[place.path].line, rule->line, object_line);
}

void place_field(struct compile *c, struct place place, const char *more)
{
    buf_reset(&c->field);
    if (place.rule == SNAP_DEFAULT_RULE) {
        buf_addf(&c->field, "spec.defaultBackend%s", more);
    } else if (place.path == SNAP_DEFAULT_RULE) {
        buf_addf(&c->field, "spec.rules[%u]%s", place.rule, more);
    } else {
        buf_addf(&c->field, "spec.rules[%u].http.paths[%u]%s", place.rule, place.path, more);
    }
}

void annotation_field(struct compile *c, const char *name)
{
    buf_reset(&c->field);
    buf_addf(&c->field, "metadata.annotations[%s]", name);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str value_trim(struct str value)
{
    while (value.n > 0 && is_blank(value.p[0])) {
        value = str_from(value, 1);
    }
    while (value.n > 0 && is_blank(value.p[value.n - 1])) {
        value.n--;
    }
    return value;
}

struct str annotation_get(const struct ingress *ingress, const char *name)
{
    struct str value;
    return string_map_get(&ingress->object.annotations, str_from_cstr(name), &value)
               ? value_trim(value)
               : STR_EMPTY;
}

bool annotation_flag(const struct ingress *ingress, const char *name, bool *ret)
{
    return switch_parse(annotation_get(ingress, name), ret) == E_OK;
}

void annotation_flag_check(struct compile *c, struct diag_batch *batch,
                           const struct ingress *ingress, const char *name)
{
    bool flag;
    struct str value = annotation_get(ingress, name);
    if (value.n == 0 || switch_parse(value, &flag) == E_OK) {
        return;
    }
    annotation_field(c, name);
    buf_addf(what_begin(c), "is \"%.*s\"", STR_ARG(shown(value)));
    finding_add(c, batch, &ingress->object, ingress->object.line, &invalid_flag);
}

struct str backend_port(const struct ingress_backend *backend, char digits[U16_DIGITS])
{
    if (backend->port.number == 0) {
        return backend->port.name;
    }
    struct wr w = wr_make(digits, U16_DIGITS);
    wr_u64(&w, backend->port.number);
    return str_make(digits, wr_n(&w));
}

static bool is_key_part(struct str s)
{
    return s.n > 0 && str_find(s, '/') == s.n;
}

bool backend_is_service(const struct ingress_backend *backend)
{
    return backend->type == BACKEND_SERVICE && is_key_part(backend->service) &&
           (backend->port.number != 0 || is_key_part(backend->port.name));
}

const struct finding conflict_findings[CONFLICTS_N] = {
#define CONFLICT(name, severity, reason, why, mend)                                                \
    [CONFLICT_##name] = {severity, reason, why, mend},
#include "compile/conflicts.def"
#undef CONFLICT
};

struct str shown(struct str text)
{
    enum { SHOWN_BYTES = 256 };
    return str_first(text, SHOWN_BYTES);
}

struct buf *what_begin(struct compile *c)
{
    buf_reset(&c->what);
    return &c->what;
}

void finding_add(struct compile *c, struct diag_batch *batch, const struct object *o, uint32_t line,
                 const struct finding *f)
{
    if (c->field.bad || c->what.bad) {
        batch->err = E_NOMEM;
        return;
    }
    diag_batch_add(batch, &(struct diag){
                              .severity = f->severity,
                              .reason = f->reason,
                              .file = o->file,
                              .line = line,
                              .kind = str_from_cstr(object_kind_name(o->kind)),
                              .namespace_name = o->namespace_name,
                              .name = o->name,
                              .field = buf_str(&c->field),
                              .what = buf_str(&c->what),
                              .why = str_from_cstr(f->why),
                              .mend = str_from_cstr(f->mend),
                          });
}
