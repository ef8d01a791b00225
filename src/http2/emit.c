/* Fields to name-value pairs. nghttp2 copies them, in lower case. */
#include "http2/emit.h"

#include "base/buf.h"

void http2_emit_add(struct http2_emit *e, struct str name, struct str value)
{
    must(e->n < HTTP2_EMIT_MAX); /* a message has at most 2 * HEAD_FIELDS_MAX fields */
    e->nv[e->n++] = (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p,
                                 name.n, value.n, NGHTTP2_NV_FLAG_NONE};
}

void http2_emit_field(struct http2_emit *e, const struct field *f)
{
    /* What a proxy asks for ends at the proxy, but does not belong to a connection. */
    if (f->id != FIELD_content_length &&
        (f->id == FIELD_proxy_authenticate || !http_field_is_hop_by_hop(f->id))) {
        http2_emit_add(e, f->name, f->value);
    }
}

void http2_emit_length(struct http2_emit *e, const struct field *f, uint64_t body_n)
{
    if (e->has_length) {
        return;
    }
    e->has_length = true;
    if (f != NULL) {
        http2_emit_add(e, f->name, f->value);
        return;
    }
    struct wr w = wr_make(e->digits, sizeof(e->digits));
    wr_u64(&w, body_n);
    http2_emit_add(e, STR("content-length"), str_make(e->digits, wr_n(&w)));
}
