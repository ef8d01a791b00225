/* http1/emit.h: writing HTTP/1.1 heads. RFC 9112 sections 3 and 4. Private to http1/. */
#pragma once

#include "base/buf.h"
#include "http/message.h"

/* The field lines. Runs of unchanged HTTP/1 lines that lie side by side go by one copy. Without
 * has_length, Content-Length is left out; with it, the first one stays. Returns whether one was
 * written. */
bool emit_fields(struct wr *w, const struct field *fields, uint32_t n, bool has_length);
/* The lines of trailers, behind what w holds already; empty when they do not fit. */
struct str emit_trailers(struct wr *w, const struct field *fields, uint32_t n);
/* What tells the length of a body: nothing when a Content-Length was written already. */
void emit_framing(struct wr *w, enum http_body body, uint64_t body_n, bool is_length_written);
void emit_request_line(struct wr *w, const struct http_request *r);
void emit_status_line(struct wr *w, uint16_t status);
