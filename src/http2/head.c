/* Fields into lines. */
#include "http2/head.h"

#include "base/mem.h"

static struct str head_put(struct http2_head *h, struct str s)
{
    char *at = h->bytes + h->n;
    mem_copy(at, s.p, s.n);
    h->n += s.n;
    return str_make(at, s.n);
}

/* There is room. */
static void head_line(struct http2_head *h, enum field_name id, struct str name, struct str value)
{
    struct field *f = &h->fields[h->field_n++];
    size_t before = h->n;
    f->id = id;
    f->name = head_put(h, name);
    (void)head_put(h, STR(": "));
    f->value = head_put(h, value);
    (void)head_put(h, STR("\r\n"));
    f->line_n = (uint32_t)(h->n - before);
}

void http2_head_begin(struct http2_head *h, size_t bytes_max, uint32_t field_max)
{
    h->method = h->scheme = h->authority = h->path = h->protocol = STR_EMPTY;
    h->status = 0;
    h->has_authority = h->has_priority = false;
    h->fault = REASON_none;
    h->field_n = h->crumb_n = 0;
    h->n = h->cookie_n = h->decoded_n = 0;
    h->bytes_max = bytes_max;
    h->field_max = field_max;
}

static void head_pseudo(struct http2_head *h, struct str name, struct str value)
{
    uint64_t status;
    if (str_eq(name, STR(":method"))) {
        h->method = head_put(h, value);
    } else if (str_eq(name, STR(":path"))) {
        h->path = head_put(h, value);
    } else if (str_eq(name, STR(":authority"))) {
        h->authority = head_put(h, value);
        h->has_authority = true;
    } else if (str_eq(name, STR(":scheme"))) {
        h->scheme = head_put(h, value);
    } else if (str_eq(name, STR(":protocol"))) {
        h->protocol = head_put(h, value);
    } else if (str_eq(name, STR(":status")) && str_to_u64(value, 999, &status)) {
        h->status = (uint16_t)status;
    }
}

static void head_crumb(struct http2_head *h, struct str value)
{
    if (h->crumb_n++ > 0) {
        mem_copy(h->cookie + h->cookie_n, "; ", 2);
        h->cookie_n += 2;
    }
    mem_copy(h->cookie + h->cookie_n, value.p, value.n);
    h->cookie_n += value.n;
}

enum err http2_head_add(struct http2_head *h, struct str name, struct str value)
{
    bool is_crumb = str_eq(name, STR("cookie"));
    h->decoded_n += name.n + value.n + 4; /* ": " and the line's end */
    if (h->decoded_n > HTTP2_DECODED_BYTES_MAX) {
        return E_LIMIT;
    }
    if (h->fault != REASON_none) {
        return E_OK;
    }
    if (str_eq(name, STR(":path")) && value.n > TARGET_BYTES_MAX) {
        h->fault = REASON_target_too_long;
    } else if (h->decoded_n > h->bytes_max ||
               (is_crumb ? h->crumb_n == HTTP2_COOKIE_CRUMBS_MAX
                         : name.p[0] != ':' && h->field_n == h->field_max)) {
        h->fault = REASON_head_too_large;
    } else if (is_crumb) {
        head_crumb(h, value);
    } else if (name.p[0] == ':') {
        head_pseudo(h, name, value);
    } else {
        h->has_priority = h->has_priority || str_eq(name, STR("priority"));
        head_line(h, field_name_id(name), name, value);
    }
    return E_OK;
}

void http2_head_end(struct http2_head *h)
{
    if (h->crumb_n > 0) {
        head_line(h, FIELD_OTHER, STR("cookie"), str_make(h->cookie, h->cookie_n));
    }
}

void http2_head_add_own(struct http2_head *h, enum field_name id, struct str name, struct str value)
{
    must(h->field_n < sizeof(h->fields) / sizeof(h->fields[0]) &&
         name.n + value.n + 4 <= sizeof(h->bytes) - h->n);
    head_line(h, id, name, value);
}

enum err http2_head_keep(const struct http2_head *h, struct buf *to)
{
    buf_reset(to);
    buf_add(to, h, offsetof(struct http2_head, fields));
    buf_add(to, h->fields, h->field_n * sizeof(h->fields[0]));
    buf_add(to, h->cookie, h->cookie_n);
    buf_add(to, h->bytes, h->n);
    return to->bad ? E_NOMEM : E_OK;
}

static void take(struct buf *from, void *to, size_t n)
{
    mem_copy(to, from->p, n);
    buf_drop(from, n);
}

void http2_head_restore(struct http2_head *h, struct buf *from)
{
    take(from, h, offsetof(struct http2_head, fields));
    take(from, h->fields, h->field_n * sizeof(h->fields[0]));
    take(from, h->cookie, h->cookie_n);
    take(from, h->bytes, h->n);
    buf_fini(from);
}
