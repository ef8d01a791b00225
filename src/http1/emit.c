/* Head emission. */
#include "http1/emit.h"

#include "http/answer.h"

bool emit_fields(struct wr *w, const struct field *fields, uint32_t n, bool has_length)
{
    bool is_length_written = false;
    struct str run = STR_EMPTY;
    for (uint32_t i = 0; i < n; i++) {
        const struct field *f = &fields[i];
        if (f->id == FIELD_content_length) {
            if (!has_length || is_length_written) {
                continue;
            }
            is_length_written = true;
        }
        if (f->line_n > 0) {
            if (f->name.p != run.p + run.n) {
                wr_str(w, run);
                run = str_make(f->name.p, 0);
            }
            run.n += f->line_n;
            continue;
        }
        wr_str(w, run);
        run = STR_EMPTY;
        wr_str(w, f->name);
        wr_str(w, STR(": "));
        wr_str(w, f->value);
        wr_str(w, STR("\r\n"));
    }
    wr_str(w, run);
    return is_length_written;
}

struct str emit_trailers(struct wr *w, const struct field *fields, uint32_t n)
{
    char *start = w->p;
    (void)emit_fields(w, fields, n, false);
    return w->bad ? STR_EMPTY : str_make(start, (size_t)(w->p - start));
}

void emit_framing(struct wr *w, enum http_body body, uint64_t body_n, bool is_length_written)
{
    switch (body) {
    case HTTP_BODY_NONE:
        return;
    case HTTP_BODY_LENGTH:
        if (!is_length_written) {
            wr_str(w, STR("content-length: "));
            wr_u64(w, body_n);
            wr_str(w, STR("\r\n"));
        }
        return;
    case HTTP_BODY_STREAM:
        wr_str(w, STR("transfer-encoding: chunked\r\n"));
        return;
    }
}

void emit_request_line(struct wr *w, const struct http_request *r)
{
    wr_str(w, r->method);
    wr_char(w, ' ');
    wr_str(w, r->target);
    wr_str(w, STR(" HTTP/1.1\r\n"));
}

void emit_status_line(struct wr *w, uint16_t status)
{
    if (status == 200) { /* most of them */
        wr_str(w, STR("HTTP/1.1 200 OK\r\n"));
        return;
    }
    wr_str(w, STR("HTTP/1.1 "));
    wr_u64(w, status);
    wr_char(w, ' ');
    wr_str(w, http_status_text(status));
    wr_str(w, STR("\r\n"));
}
