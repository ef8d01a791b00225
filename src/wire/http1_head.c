/* HTTP/1 heads as bytes: finding the end of one, the byte classes, the texts of the faults. */
#include "wire/http1.h"

#include "wire/http1_priv.h"

enum { T = H1_TOKEN | H1_TARGET, V = H1_TARGET };

const uint8_t h1_classes[256] = {
    ['!'] = T,         ['"'] = V, ['$'] = T,        ['%'] = T,         ['&'] = T,
    ['\''] = T,        ['('] = V, [')'] = V,        ['*'] = T,         ['+'] = T,
    [','] = V,         ['-'] = T, ['.'] = T,        ['/'] = V,         ['0' ... '9'] = T,
    [':'] = V,         [';'] = V, ['<'] = V,        ['='] = V,         ['>'] = V,
    ['?'] = V,         ['@'] = V, ['#'] = H1_TOKEN, ['A' ... 'Z'] = T, ['['] = V,
    ['\\'] = V,        [']'] = V, ['^'] = T,        ['_'] = T,         ['`'] = T,
    ['a' ... 'z'] = T, ['{'] = V, ['|'] = T,        ['}'] = V,         ['~'] = T,
};

static const char *const fault_texts[H1_FAULTS_N] = {
    [H1_FAULT_NONE] = "none",
    [H1_FAULT_METHOD] = "method is not a token",
    [H1_FAULT_LINE] = "malformed request line",
    [H1_FAULT_TARGET_LONG] = "request target is too long",
    [H1_FAULT_TARGET] = "invalid request target",
    [H1_FAULT_VERSION] = "not HTTP/1.0 or HTTP/1.1",
    [H1_FAULT_STATUS] = "invalid status line",
    [H1_FAULT_LINE_END] = "bare CR, bare LF or NUL",
    [H1_FAULT_FIELD_NAME] = "invalid field name",
    [H1_FAULT_FIELD_VALUE] = "control byte in a field value",
    [H1_FAULT_FOLDED] = "obsolete line folding",
    [H1_FAULT_HOST] = "Host is missing, repeated or invalid",
    [H1_FAULT_LENGTH] = "invalid or repeated Content-Length",
    [H1_FAULT_TE_AND_LENGTH] = "both Transfer-Encoding and Content-Length",
    [H1_FAULT_TE] = "unsupported Transfer-Encoding",
    [H1_FAULT_TOO_MANY_FIELDS] = "too many fields",
    [H1_FAULT_CHUNK] = "malformed chunk",
    [H1_FAULT_TRAILER] = "malformed or too large trailer section",
};

const char *h1_fault_text(enum h1_fault fault)
{
    return fault_texts[fault];
}

enum h1_fault h1_fault_at(const char *at, enum h1_fault other)
{
    /* RFC 9112 section 2.2: a bare CR is invalid or becomes a blank: we refuse, and a bare LF too
     */
    if (*at == '\n' || *at == '\0' || (*at == '\r' && at[1] != '\n')) {
        return H1_FAULT_LINE_END;
    }
    return other;
}

bool h1_version_parse(const char *p, uint8_t *ret_minor)
{
    /* RFC 9112 section 2.3: case-sensitive, one digit on each side of the dot */
    if (!str_eq((struct str){p, 7}, STR("HTTP/1.")) || (p[7] != '0' && p[7] != '1')) {
        return false;
    }
    *ret_minor = (uint8_t)(p[7] - '0');
    return true;
}

/* Where the first line starts: RFC 9112 section 2.2: a server ignores at least one empty line
 * before the request line; we ignore exactly one. E_AGAIN: not known yet. */
static enum err first_line(const char *p, size_t n, size_t *ret_at)
{
    size_t at = n >= 2 && p[0] == '\r' && p[1] == '\n' ? 2 : 0;
    if (n == at || (n == 1 && p[0] == '\r')) {
        return E_AGAIN;
    }
    *ret_at = at;
    return h1_is(p[at], H1_TOKEN) ? E_OK : E_PROTO;
}

enum err h1_head_scan(struct h1_scan *s, const char *p, size_t n, size_t *ret_head_n)
{
    if (s->at <= 2) {
        size_t start = 0;
        TRY(first_line(p, n, &start));
        s->at = start > s->at ? start : s->at;
    }
    for (const char *at = p + s->at, *end = p + n;; at++) {
        at = h1_text_end(at, end);
        if (at == end || (*at == '\r' && at + 1 == end)) { /* a CR is looked at with what follows */
            s->at = (size_t)(at - p);
            return E_AGAIN;
        }
        if (h1_fault_at(at, H1_FAULT_NONE) != H1_FAULT_NONE) {
            return E_PROTO;
        }
        if (*at != '\r') { /* another control byte: parsing says where it stands */
            continue;
        }
        at++;
        s->line_n++;
        if (at[-2] == '\n') { /* a first line is not empty: at[-2] exists */
            *ret_head_n = (size_t)(at + 1 - p);
            return E_OK;
        }
    }
}
