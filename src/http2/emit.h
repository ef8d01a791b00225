/* http2/emit.h: a header section that goes out, as nghttp2 takes it. The memory that names and
 * values lie in must last until it was submitted. Private to http2/. */
#pragma once

#include "base/limits.h"
#include "http/message.h"

#include <nghttp2/nghttp2.h>

enum { HTTP2_EMIT_OWN_MAX = 8, HTTP2_EMIT_MAX = 2 * HEAD_FIELDS_MAX + HTTP2_EMIT_OWN_MAX };

struct http2_emit {
    nghttp2_nv nv[HTTP2_EMIT_MAX];
    size_t n;
    char digits[20]; /* of the content-length */
    bool has_length;
};

static inline void http2_emit_begin(struct http2_emit *e)
{
    e->n = 0;
    e->has_length = false;
}

void http2_emit_add(struct http2_emit *e, struct str name, struct str value);
/* A field of a message: not content-length, nor one that is of an HTTP/1 connection (RFC 9113
 * section 8.2.2). */
void http2_emit_field(struct http2_emit *e, const struct field *f);
/* The content-length, once: f, or NULL where the message came without such a field. */
void http2_emit_length(struct http2_emit *e, const struct field *f, uint64_t body_n);
