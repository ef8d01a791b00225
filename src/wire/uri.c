/* Request targets, paths and host names. */
#include "wire/uri.h"

#include "base/limits.h"
#include "base/mem.h"
#include "wire/ip.h"

enum { HOST_BYTES_MAX = 253, LABEL_BYTES_MAX = 63 };

/* ---- targets ---- */

static bool is_target_text(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned place = (uint8_t)s.p[i] - 0x21U; /* in VCHAR, RFC 5234 appendix B.1 */
        if (place > 0x7e - 0x21 || s.p[i] == '#') {
            return false;
        }
    }
    return true;
}

/* The length of "http://" or "https://" at the start, any case; 0 when there is none. RFC 9112
 * section 3.2.2. */
static size_t scheme_n(struct str target)
{
    static const struct str schemes[] = {STR_INIT("http://"), STR_INIT("https://")};
    if (str_has_prefix(target, STR("/"))) { /* nearly always */
        return 0;
    }
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (str_eq_nocase(str_first(target, schemes[i].n), schemes[i])) {
            return schemes[i].n;
        }
    }
    return 0;
}

static void path_split(struct str s, struct str *ret_path, struct str *ret_query)
{
    struct str path;
    (void)str_cut(s, '?', &path, ret_query);  /* no '?': the query is empty */
    *ret_path = path.n > 0 ? path : STR("/"); /* RFC 9110 section 4.2.3 */
}

enum err uri_split(struct str target, struct str *ret_authority, struct str *ret_path,
                   struct str *ret_query)
{
    if (!is_target_text(target)) {
        return E_PROTO;
    }
    size_t skip = scheme_n(target);
    if (skip == 0) {
        if (!str_eq(target, STR("*")) && !str_has_prefix(target, STR("/"))) {
            return E_PROTO;
        }
        *ret_authority = str_first(target, 0);
        path_split(target, ret_path, ret_query);
        return E_OK;
    }
    struct str rest = str_from(target, skip);
    size_t at = 0;
    while (at < rest.n && rest.p[at] != '/' && rest.p[at] != '?') {
        at++;
    }
    if (!host_is_valid(str_first(rest, at))) { /* RFC 9110 sections 4.2.1 and 4.2.4: not empty, no
                                                  userinfo */
        return E_PROTO;
    }
    *ret_authority = str_first(rest, at);
    path_split(str_from(rest, at), ret_path, ret_query);
    return E_OK;
}

/* ---- paths ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that "%XX" at index at stands for, -1 when it is not that. */
static int escape_value(struct str path, size_t at)
{
    if (path.n - at < 3) {
        return -1;
    }
    int high = hex_value(path.p[at + 1]);
    int low = hex_value(path.p[at + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Escapes that stay: separators, what no field or log should hold, and '%' itself, since decoding
 * it would make "%252F" and "%2F" the same (RFC 3986 section 2.4: decode once). */
static bool is_kept_escape(int value)
{
    return value < 0x20 || value == 0x7f || value == '/' || value == '\\' || value == '%';
}

static char upper_hex(int digit)
{
    return "0123456789ABCDEF"[digit & 15];
}

/* True when the element that starts at index at is empty (not the last), "." or "..". */
static bool is_special_element(struct str path, size_t at)
{
    size_t n = 0;
    while (n < 3 && at + n < path.n && path.p[at + n] != '/') {
        if (path.p[at + n] != '.') {
            return false;
        }
        n++;
    }
    return n < 3 && (n > 0 || at < path.n);
}

/* Index of the first byte that normalizing changes, path.n when there is none. */
static enum err first_change(struct str path, size_t *ret_at)
{
    size_t at = 0;
    while (at < path.n) {
        if (path.p[at] == '/' && is_special_element(path, at + 1)) {
            break;
        }
        if (path.p[at] == '%') {
            int value = escape_value(path, at);
            if (value < 0) {
                return E_PROTO;
            }
            if (!is_kept_escape(value) || path.p[at + 1] != upper_hex(value >> 4) ||
                path.p[at + 2] != upper_hex(value)) {
                break;
            }
            at += 2;
        }
        at++;
    }
    *ret_at = at;
    return E_OK;
}

/* Drops the element out[..n) ends with when it is "." or "..", the latter with the one before. RFC
 * 3986 section 5.2.4. Gives the new n; out[0] stays '/'. */
static size_t element_end(const char *out, size_t n)
{
    size_t start = n;
    while (out[start - 1] != '/') {
        start--;
    }
    struct str element = {out + start, n - start};
    if (str_eq(element, STR("."))) {
        return start;
    }
    if (!str_eq(element, STR(".."))) {
        return n;
    }
    if (start > 1) {
        start--;
        while (out[start - 1] != '/') {
            start--;
        }
    }
    return start;
}

/* Writes the byte behind an escape, or the escape. Gives the new n. */
static size_t escape_put(int value, char *out, size_t n)
{
    if (!is_kept_escape(value)) {
        out[n] = (char)value;
        return n + 1;
    }
    out[n] = '%';
    out[n + 1] = upper_hex(value >> 4);
    out[n + 2] = upper_hex(value);
    return n + 3;
}

/* Writes path to out, whose first at bytes are the same. */
static enum err normalize_from(struct str path, size_t at, char *out, size_t *ret_n)
{
    size_t n = at;
    while (at < path.n) {
        if (path.p[at] == '%') {
            int value = escape_value(path, at);
            if (value < 0) {
                return E_PROTO;
            }
            n = escape_put(value, out, n);
            at += 3;
        } else if (path.p[at] != '/') {
            out[n++] = path.p[at++];
        } else {
            n = n > 0 ? element_end(out, n) : 0;
            if (n == 0 || out[n - 1] != '/') {
                out[n++] = '/';
            }
            at++;
        }
    }
    *ret_n = element_end(out, n);
    return E_OK;
}

enum err uri_normalize(struct str path, char *out, struct str *ret)
{
    size_t at, n;
    if (!str_has_prefix(path, STR("/"))) {
        return E_PROTO;
    }
    TRY(first_change(path, &at));
    if (at == path.n) {
        *ret = path;
        return E_OK;
    }
    mem_copy(out, path.p, at);
    TRY(normalize_from(path, at, out, &n));
    *ret = (struct str){out, n};
    return E_OK;
}

enum err uri_paths_parse(struct str text, struct str *paths, uint32_t max, uint32_t *ret_n)
{
    char room[PLAIN_PATH_BYTES_MAX];
    struct str item, normal;
    uint32_t n = 0;
    while (text.n > 0) {
        (void)str_cut(text, ',', &item, &text); /* the last one has no comma behind it */
        item = str_trim(item);
        if (n == max || item.n > sizeof(room)) {
            return E_LIMIT;
        }
        TRY(uri_normalize(item, room, &normal));
        if (!str_eq(item, normal)) {
            return E_PROTO;
        }
        paths[n++] = item;
    }
    *ret_n = n;
    return E_OK;
}

/* ---- host names ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

enum { NOT_IN_NAME = 0, IN_LABEL, DOT };

static const uint8_t name_bytes[256] = {
    ['0' ... '9'] = IN_LABEL, ['A' ... 'Z'] = IN_LABEL, ['a' ... 'z'] = IN_LABEL,
    ['-'] = IN_LABEL,         ['_'] = IN_LABEL,         ['.'] = DOT,
};

/* Labels without empty ones, a dot at the end is allowed. */
static bool name_is_valid(struct str name)
{
    unsigned before = DOT; /* the class of the byte before */
    for (size_t i = 0; i < name.n; i++) {
        unsigned class = name_bytes[(uint8_t)name.p[i]];
        if (class == NOT_IN_NAME || (class == DOT && before == DOT)) {
            return false;
        }
        before = class;
    }
    return name.n > 0 && name.n <= HOST_BYTES_MAX + (size_t)(name.p[name.n - 1] == '.');
}

/* "" or ":" or ":port"; RFC 3986 section 3.2.3: digits, maybe none. Port 0 cannot be meant. */
static bool port_parse(struct str s, uint16_t *ret_port)
{
    uint64_t port = 0;
    if (s.n > 1 && (!str_to_u64(str_from(s, 1), UINT16_MAX, &port) || port == 0)) {
        return false;
    }
    *ret_port = (uint16_t)port;
    return s.n == 0 || s.p[0] == ':';
}

/* The host without brackets and trailing dot. */
static bool authority_split(struct str authority, struct str *ret_host, uint16_t *ret_port)
{
    struct str host, rest;
    struct ip ip;
    if (str_has_prefix(authority, STR("["))) {
        if (!str_cut(str_from(authority, 1), ']', &host, &rest) || ip_parse(host, &ip) != E_OK ||
            ip.family != 6) {
            return false;
        }
    } else {
        size_t at = str_find(authority, ':');
        host = str_first(authority, at);
        rest = str_from(authority, at);
        if (!name_is_valid(host)) {
            return false;
        }
        host.n -= host.p[host.n - 1] == '.';
    }
    *ret_host = host;
    return port_parse(rest, ret_port);
}

bool host_is_valid(struct str authority)
{
    struct str host;
    uint16_t port;
    return authority_split(authority, &host, &port);
}

enum err host_parse(struct str authority, char *out, struct str *ret_host, uint16_t *ret_port)
{
    struct str host;
    uint16_t port;
    if (!authority_split(authority, &host, &port)) {
        return E_PROTO;
    }
    for (size_t i = 0; i < host.n; i++) {
        out[i] = ascii_lower(host.p[i]);
    }
    *ret_host = (struct str){out, host.n};
    *ret_port = port;
    return E_OK;
}

/* Lower-case letters and digits, '-' inside. */
static bool is_label(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool is_inside = i > 0 && i + 1 < s.n;
        if (!is_digit(s.p[i]) && !(s.p[i] >= 'a' && s.p[i] <= 'z') &&
            !(s.p[i] == '-' && is_inside)) {
            return false;
        }
    }
    return s.n > 0;
}

bool dns_label_is_valid(struct str s)
{
    return s.n <= LABEL_BYTES_MAX && is_label(s);
}

bool host_is_covered(struct str host, struct str name)
{
    if (str_eq_nocase(name, host)) {
        return host.n > 0;
    }
    size_t dot = str_find(host, '.');
    return str_has_prefix(name, STR("*.")) && dot > 0 && host.p[0] != '*' &&
           str_eq_nocase(str_from(name, 1), str_from(host, dot));
}

bool dns_subdomain_is_valid(struct str s)
{
    struct str label;
    if (s.n > HOST_BYTES_MAX) {
        return false;
    }
    for (bool has_more = true; has_more;) {
        has_more = str_cut(s, '.', &label, &s);
        if (!is_label(label)) {
            return false;
        }
    }
    return true;
}
