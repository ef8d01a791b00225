/* Queries of the debug views: percent-decoding and -encoding (RFC 3986 section 2.1). */
#include "admin/params.h"

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static enum err decode(struct arena *a, struct str s, struct str *ret)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    if (out == NULL) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%') {
            out[n++] = s.p[i];
            continue;
        }
        int high = s.n - i > 2 ? hex_value(s.p[i + 1]) : -1;
        int low = high >= 0 ? hex_value(s.p[i + 2]) : -1;
        if (low < 0) {
            return E_PROTO;
        }
        out[n++] = (char)(high << 4 | low);
        i += 2;
    }
    *ret = str_make(out, n);
    return E_OK;
}

bool params_next(struct str *query, struct arena *a, struct str *ret_name, struct str *ret_value,
                 enum err *ret_error)
{
    struct str pair, name, value;
    *ret_error = E_OK;
    do {
        if (query->n == 0) {
            return false;
        }
        (void)str_cut(*query, '&', &pair, query); /* the last one has no '&' behind it */
    } while (pair.n == 0);
    (void)str_cut(pair, '=', &name, &value); /* "a" is "a=" */
    enum err e = decode(a, name, ret_name);
    if (e == E_OK) {
        e = decode(a, value, ret_value);
    }
    *ret_error = e;
    return e == E_OK;
}

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void params_add(struct buf *out, bool is_first, const char *name, struct str value)
{
    buf_addf(out, "%c%s=", is_first ? '?' : '&', name);
    for (size_t i = 0; i < value.n; i++) {
        if (is_unreserved(value.p[i])) {
            buf_add_char(out, value.p[i]);
        } else {
            buf_addf(out, "%%%02X", (unsigned)(unsigned char)value.p[i]);
        }
    }
}
