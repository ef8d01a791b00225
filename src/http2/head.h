/* http2/head.h: a header section as nghttp2 decodes it, field by field, put together so that all of
 * it lies in one run of bytes: fields as HTTP/1 lines, which an HTTP/1 upstream gets by one copy.
 * Cookie crumbs become one field (RFC 9113 section 8.2.3). Private to http2/. */
#pragma once

#include "base/buf.h"
#include "base/limits.h"
#include "base/reason.h"
#include "http/message.h"

enum { HTTP2_HEAD_ROOM = HEAD_BYTES_MAX + HEAD_BYTES_MAX + 256 }; /* lines, then the cookie */

struct http2_head {
    struct str method, scheme, authority, path, protocol;
    uint16_t status;
    bool has_authority, has_priority;
    enum reason fault; /* why it is refused; REASON_none: it is not */
    uint32_t field_n, crumb_n;
    size_t n, cookie_n; /* bytes used */
    size_t decoded_n;   /* of names and values, also those beyond the limits */
    size_t bytes_max;
    uint32_t field_max;
    struct field fields[HEAD_FIELDS_MAX + 3]; /* cookie, and what either side adds */
    char cookie[HEAD_BYTES_MAX];
    char bytes[HTTP2_HEAD_ROOM];
};

/* Makes h empty. bytes_max <= HEAD_BYTES_MAX, field_max <= HEAD_FIELDS_MAX. */
void http2_head_begin(struct http2_head *h, size_t bytes_max, uint32_t field_max);
/* One field, checked by nghttp2. Errors: E_LIMIT (HTTP2_DECODED_BYTES_MAX: give the peer up). What
 * is merely too much for a request is noted in fault. */
enum err http2_head_add(struct http2_head *h, struct str name, struct str value);
/* After the last one: joins the crumbs. */
void http2_head_end(struct http2_head *h);
/* One field of our own behind them; value is copied. */
void http2_head_add_own(struct http2_head *h, enum field_name id, struct str name,
                        struct str value);

/* Between two receives a section may be incomplete: keep moves it to the peer's own memory, restore
 * brings it back to the same place, so that what points into it stays right. Errors: E_NOMEM. */
enum err http2_head_keep(const struct http2_head *h, struct buf *to);
void http2_head_restore(struct http2_head *h, struct buf *from);
