/* Body framing, in and out. */
#include "http1/body.h"

#include "base/mem.h"

#include <string.h>

void body_in_start(struct body_in *b, enum h1_body kind, uint64_t n)
{
    *b = (struct body_in){.kind = kind, .left = kind == H1_BODY_LENGTH ? n : 0};
    b->is_done = kind == H1_BODY_NONE || (kind == H1_BODY_LENGTH && n == 0);
}

static enum err chunked_take(struct body_in *b, struct str *bytes, struct str *ret_data,
                             enum h1_fault *ret_fault)
{
    union { /* the bytes are ours to write to: they lie in a receive buffer */
        const char *p;
        char *writable;
    } at = {bytes->p};
    const char *start = bytes->p; /* where the trailer section may begin at the earliest */
    size_t n = 0;
    for (;;) {
        struct str run;
        enum err e = h1_chunked_next(&b->chunked, bytes, &run, ret_fault);
        if (e == E_AGAIN) {
            (void)h1_chunked_rewind(&b->chunked, start,
                                    bytes); /* else there is nothing to rewind */
            break;
        }
        TRY(e);
        if (run.n > 0) {
            start = bytes->p;
            memmove(at.writable + n, run.p, run.n);
            n += run.n;
        }
        if (b->chunked.state == H1_CHUNK_DONE) {
            b->is_done = true;
            b->trailers = h1_chunked_trailers(&b->chunked, start, bytes->p);
            break;
        }
    }
    *ret_data = str_make(at.p, n);
    return E_OK;
}

enum err body_in_take(struct body_in *b, struct str *bytes, struct str *ret_data,
                      enum h1_fault *ret_fault)
{
    switch (b->kind) {
    case H1_BODY_NONE:
        break;
    case H1_BODY_LENGTH:
        *ret_data = str_first(*bytes, b->left < bytes->n ? (size_t)b->left : bytes->n);
        *bytes = str_from(*bytes, ret_data->n);
        b->left -= ret_data->n;
        b->is_done = b->left == 0;
        return E_OK;
    case H1_BODY_CHUNKED:
        return chunked_take(b, bytes, ret_data, ret_fault);
    case H1_BODY_UNTIL_CLOSE:
        *ret_data = *bytes;
        *bytes = str_from(*bytes, bytes->n);
        return E_OK;
    }
    *ret_data = STR_EMPTY;
    return E_OK;
}

enum err body_in_end(struct body_in *b)
{
    if (b->is_done || b->kind == H1_BODY_UNTIL_CLOSE) {
        b->is_done = true;
        return E_OK;
    }
    return E_CLOSED;
}

struct http_trailers body_in_trailers(const struct body_in *b, struct http1_context *context)
{
    struct field *room = context->fields + HEAD_FIELDS_MAX; /* the head's own may be in use */
    uint32_t n = b->trailers.n == 0 ? 0 : h1_trailers_parse(b->trailers, room, HEAD_FIELDS_MAX);
    return (struct http_trailers){room, n};
}

static void part_add(struct iovec *parts, int *part_n, struct str s)
{
    union { /* iovec is not const, but sending does not write */
        const char *p;
        void *base;
    } u = {s.p};
    if (s.n > 0) {
        parts[(*part_n)++] = (struct iovec){u.base, s.n};
    }
}

static void chunk_frame(struct str data, bool is_end, struct str trailers, struct body_frame *frame,
                        struct iovec *parts, int *part_n)
{
    if (data.n > 0) {
        struct wr w = wr_make(frame->chunk_head, sizeof(frame->chunk_head));
        wr_hex(&w, data.n);
        wr_str(&w, STR("\r\n"));
        part_add(parts, part_n, str_make(frame->chunk_head, wr_n(&w)));
        part_add(parts, part_n, data);
        part_add(parts, part_n, STR("\r\n"));
    }
    if (is_end) {
        part_add(parts, part_n, STR("0\r\n"));
        part_add(parts, part_n, trailers);
        part_add(parts, part_n, STR("\r\n"));
    }
}

enum err body_out_frame(struct body_out *b, struct str data, bool is_end, struct str trailers,
                        struct body_frame *frame, struct iovec *parts, int *part_n)
{
    if (b->is_done) {
        return data.n == 0 ? E_OK : E_PROTO;
    }
    switch (b->coding) {
    case BODY_OUT_NONE: /* HEAD, 204, 304: whatever the other side sent stays behind */
        break;
    case BODY_OUT_PLAIN:
        if (b->has_length && (data.n > b->left || (is_end && data.n < b->left))) {
            return E_PROTO;
        }
        b->left -= b->has_length ? data.n : 0;
        part_add(parts, part_n, data);
        break;
    case BODY_OUT_CHUNKED:
        chunk_frame(data, is_end, trailers, frame, parts, part_n);
        break;
    }
    b->is_done = is_end;
    return E_OK;
}
