/* Diagnostics of the decoder: the field path, the value there in a printable form, the sink. */
#include "model/decode_priv.h"

enum { PATH_TEXT_MAX = 512, WHAT_TEXT_MAX = 256, VALUE_SHOWN_MAX = 64 };

static void path_emit(struct wr *w, const struct place *at)
{
    if (at->up == NULL) {
        return;
    }
    path_emit(w, at->up);
    switch (at->type) {
    case PLACE_FIELD:
        if (w->p > w->start) {
            wr_char(w, '.');
        }
        wr_str(w, at->name);
        return;
    case PLACE_INDEX:
        wr_char(w, '[');
        wr_u64(w, at->index);
        wr_char(w, ']');
        return;
    case PLACE_KEY:
        wr_char(w, '[');
        wr_str(w, at->name);
        wr_char(w, ']');
        return;
    }
}

static const char *kind_text(const struct tree_node *node)
{
    switch ((enum tree_kind)node->kind) {
    case TREE_NULL:
        return "is null";
    case TREE_BOOL:
        return "is a boolean";
    case TREE_NUMBER:
        return "is a number";
    case TREE_STRING:
        return "is a string";
    case TREE_SEQUENCE:
        return "is a list";
    case TREE_MAPPING:
        return "is a mapping";
    }
    return "is unknown";
}

/* At most VALUE_SHOWN_MAX bytes, not cutting a character in two. */
static struct str shown_part(struct str text)
{
    struct str shown = str_first(text, VALUE_SHOWN_MAX);
    while (shown.n < text.n && shown.n > 0 && (text.p[shown.n] & 0xc0) == 0x80) {
        shown.n--;
    }
    return shown;
}

static void value_emit(struct wr *w, const struct tree_node *node)
{
    bool is_string = node->kind == TREE_STRING;
    struct str shown = shown_part(tree_text(node));
    wr_str(w, STR("is "));
    if (is_string) {
        wr_char(w, '"');
    }
    wr_str(w, shown);
    wr_str(w, shown.n < node->n ? STR("...") : STR_EMPTY);
    if (is_string) {
        wr_char(w, '"');
    }
}

static struct str what_text(const struct decoder *d, const struct place *at, char *text)
{
    struct wr w = wr_make(text, WHAT_TEXT_MAX);
    const struct tree_node *node = at->node;
    if (node == NULL) {
        wr_str(&w, STR("is missing"));
    } else if (d->hides_values || node->kind == TREE_NULL || node->kind >= TREE_SEQUENCE) {
        wr_str(&w, str_from_cstr(kind_text(node)));
    } else {
        value_emit(&w, node);
    }
    return (struct str){text, wr_n(&w)};
}

/* A field that is not there is told at the line of what it should be in. */
static uint32_t line_of(const struct place *at)
{
    while (at->node == NULL && at->up != NULL) {
        at = at->up;
    }
    return at->node != NULL ? at->node->line : 0;
}

static void tell(const struct decoder *d, const struct diag *part)
{
    struct diag diag = *part;
    diag.file = d->source->file;
    diag.kind = d->kind->kind;
    diag.namespace_name = d->namespace_name;
    diag.name = d->name;
    d->source->on_diag(d->source->arg, &diag);
}

/* Once, at the first problem too many. */
static void tell_limit(const struct decoder *d, const struct place *at)
{
    if (d->problem_n == DIAGNOSTICS_PER_OBJECT_MAX + 1) {
        tell(d, &(struct diag){
                    .severity = DIAG_WARNING,
                    .reason = DIAG_LimitReached,
                    .line = line_of(at),
                    .what = STR("has more problems"),
                    .why = STR("the first 64 of an object are told"),
                    .mend = STR("mend those and check again"),
                });
    }
}

void decode_complain(struct decoder *d, const struct place *at, const struct complaint *c)
{
    char path[PATH_TEXT_MAX], what[WHAT_TEXT_MAX];
    d->problem_n++;
    d->error_n += c->severity == DIAG_ERROR;
    if (d->problem_n > DIAGNOSTICS_PER_OBJECT_MAX) {
        tell_limit(d, at);
        return;
    }
    struct wr w = wr_make(path, sizeof(path));
    path_emit(&w, at);
    tell(d, &(struct diag){
                .severity = c->severity,
                .reason = c->reason,
                .line = line_of(at),
                .field = {path, wr_n(&w)},
                .what = c->what != NULL ? str_from_cstr(c->what) : what_text(d, at, what),
                .why = str_from_cstr(c->why),
                .mend = str_from_cstr(c->mend),
    });
}
