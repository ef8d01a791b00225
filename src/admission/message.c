/* Diagnostics as a refusal and as warnings. */
#include "admission/message.h"

#include "base/limits.h"

enum { LINE_BYTES_MAX = 16 * 1024 };

enum err message_init(struct message *m)
{
    *m = (struct message){NULL};
    enum err e = diag_list_new(ADMISSION_ERRORS_MAX, &m->errors);
    if (e == E_OK) {
        e = diag_list_new(ADMISSION_WARNINGS_MAX, &m->warnings);
    }
    if (e != E_OK) {
        message_fini(m);
    }
    return e;
}

void message_fini(struct message *m)
{
    diag_list_free(m->errors);
    diag_list_free(m->warnings);
    *m = (struct message){NULL};
}

void message_add(void *message, const struct diag *d)
{
    struct message *m = message;
    diag_list_add(d->severity == DIAG_ERROR ? m->errors : m->warnings, d);
}

size_t message_error_n(const struct message *m)
{
    return diag_list_n(m->errors) + diag_list_dropped(m->errors);
}

/* "spec.rules[0].host: is ...: why; mend (Reason)": the object is known to whoever reads it. */
static void line_emit(struct buf *out, const struct diag *d)
{
    struct buf line;
    struct str severity, rest;
    struct diag part = *d;
    part.file = part.kind = part.namespace_name = part.name = STR_EMPTY;
    part.line = 0;
    buf_init(&line, LINE_BYTES_MAX);
    diag_emit_text(&line, &part);
    (void)str_cut(buf_str(&line), ' ', &severity, &rest); /* "error: " */
    buf_add_str(out, rest);
    out->bad = out->bad || (line.bad && line.n < LINE_BYTES_MAX / 2);
    buf_fini(&line);
}

void message_emit(const struct message *m, struct buf *out)
{
    size_t n = diag_list_n(m->errors), dropped = diag_list_dropped(m->errors);
    if (n + dropped > 1) {
        buf_addf(out, "%zu errors:", n + dropped);
    }
    for (size_t i = 0; i < n; i++) {
        buf_add_str(out, n + dropped > 1 ? STR("\n- ") : STR_EMPTY);
        line_emit(out, diag_list_get(m->errors, i));
    }
    if (dropped > 0) {
        buf_addf(out, "\n- and %zu more", dropped);
    }
}

size_t message_warning_n(const struct message *m)
{
    return diag_list_n(m->warnings) + (diag_list_dropped(m->warnings) > 0 ? 1 : 0);
}

/* The first most bytes, less what would cut a character in two. */
static struct str whole_characters(struct str text, size_t most)
{
    struct str cut = str_first(text, most);
    while (cut.n > 0 && cut.n < text.n && (text.p[cut.n] & 0xc0) == 0x80) {
        cut.n--;
    }
    return cut;
}

void message_emit_warning(const struct message *m, size_t i, struct buf *out)
{
    struct buf line;
    struct str dots = STR("...");
    if (i >= diag_list_n(m->warnings)) {
        buf_addf(out, "%zu more warnings: lintel check shows all", diag_list_dropped(m->warnings));
        return;
    }
    buf_init(&line, 2 * LINE_BYTES_MAX);
    line_emit(&line, diag_list_get(m->warnings, i));
    struct str text = buf_str(&line);
    if (text.n > ADMISSION_WARNING_BYTES_MAX) {
        buf_add_str(out, whole_characters(text, ADMISSION_WARNING_BYTES_MAX - dots.n));
        buf_add_str(out, dots);
    } else {
        buf_add_str(out, text);
    }
    out->bad = out->bad || line.bad;
    buf_fini(&line);
}
