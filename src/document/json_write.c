/* Writing JSON (RFC 8259). */
#include "document/json_write.h"

enum { INDENT = 2 };

struct json json_make(struct buf *out, bool is_pretty)
{
    return (struct json){.out = out, .is_pretty = is_pretty, .is_first = true};
}

static void emit_line_start(struct json *j)
{
    if (j->is_pretty) {
        buf_add_char(j->out, '\n');
        for (unsigned i = 0; i < j->depth * INDENT; i++) {
            buf_add_char(j->out, ' ');
        }
    }
}

/* Before each value and each name. */
static void emit_glue(struct json *j)
{
    if (j->has_name) {
        j->has_name = false;
        return;
    }
    if (!j->is_first) {
        buf_add_char(j->out, ',');
    }
    if (j->depth > 0) {
        emit_line_start(j);
    }
    j->is_first = false;
}

static void open_with(struct json *j, char bracket)
{
    emit_glue(j);
    buf_add_char(j->out, bracket);
    j->depth++;
    j->is_first = true;
}

static void close_with(struct json *j, char bracket)
{
    bool is_empty = j->is_first;
    j->depth--;
    if (!is_empty) {
        emit_line_start(j);
    }
    buf_add_char(j->out, bracket);
    j->is_first = false;
}

void json_object(struct json *j)
{
    open_with(j, '{');
}

void json_array(struct json *j)
{
    open_with(j, '[');
}

void json_end_object(struct json *j)
{
    close_with(j, '}');
}

void json_end_array(struct json *j)
{
    close_with(j, ']');
}

static void emit_ascii(struct buf *out, char c)
{
    if (c == '"' || c == '\\') {
        buf_add_char(out, '\\');
        buf_add_char(out, c);
    } else if (c == '\n') {
        buf_add_str(out, STR("\\n"));
    } else if ((unsigned char)c < 0x20 || c == 0x7f) {
        buf_addf(out, "\\u%04x", (unsigned)(unsigned char)c);
    } else {
        buf_add_char(out, c);
    }
}

static void emit_string(struct buf *out, struct str s)
{
    buf_add_char(out, '"');
    while (s.n > 0) {
        size_t n = str_utf8_n(s);
        if (n == 0) {
            buf_add_str(out, STR("\\ufffd"));
            n = 1;
        } else if (n == 1) {
            emit_ascii(out, s.p[0]);
        } else {
            buf_add(out, s.p, n);
        }
        s = str_from(s, n);
    }
    buf_add_char(out, '"');
}

void json_name(struct json *j, const char *name)
{
    emit_glue(j);
    emit_string(j->out, str_from_cstr(name));
    buf_add_char(j->out, ':');
    if (j->is_pretty) {
        buf_add_char(j->out, ' ');
    }
    j->has_name = true;
}

void json_str(struct json *j, struct str s)
{
    emit_glue(j);
    emit_string(j->out, s);
}

void json_cstr(struct json *j, const char *s)
{
    if (s == NULL) {
        json_null(j);
    } else {
        json_str(j, str_from_cstr(s));
    }
}

void json_u64(struct json *j, uint64_t n)
{
    emit_glue(j);
    buf_add_u64(j->out, n);
}

void json_bool(struct json *j, bool b)
{
    emit_glue(j);
    buf_add_str(j->out, b ? STR("true") : STR("false"));
}

void json_null(struct json *j)
{
    emit_glue(j);
    buf_add_str(j->out, STR("null"));
}

void json_name_str(struct json *j, const char *name, struct str s)
{
    json_name(j, name);
    json_str(j, s);
}

void json_name_cstr(struct json *j, const char *name, const char *s)
{
    json_name(j, name);
    json_cstr(j, s);
}

void json_name_u64(struct json *j, const char *name, uint64_t n)
{
    json_name(j, name);
    json_u64(j, n);
}

void json_name_bool(struct json *j, const char *name, bool b)
{
    json_name(j, name);
    json_bool(j, b);
}

void json_finish(struct json *j)
{
    buf_add_char(j->out, '\n');
}
