/* Borrowed byte runs: comparing, cutting, reading numbers. */
#include "base/str.h"

#include <string.h>

struct str str_from_cstr(const char *s)
{
    return s == NULL ? STR_EMPTY : (struct str){s, strlen(s)};
}

struct str str_make(const char *p, size_t n)
{
    return (struct str){p, n};
}

bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Eight bytes at once: they may differ in the case bit of letters only. */
static bool word_eq_nocase(const char *p, const char *q)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t a, b;
    memcpy(&a, p, sizeof(a));
    memcpy(&b, q, sizeof(b));
    uint64_t low = (a | 0x20 * ones) & 0x7f * ones; /* no byte carries into the next one below */
    uint64_t is_letter = (low + (0x80 - 'a') * ones) & ~(low + (0x7f - 'z') * ones) & ~a;
    uint64_t case_bits = (is_letter & 0x80 * ones) >> 2;
    return ((a ^ b) & ~case_bits) == 0;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.n != b.n) {
        return false;
    }
    size_t i = 0;
    for (; a.n - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        if (!word_eq_nocase(a.p + i, b.p + i)) {
            return false;
        }
    }
    for (; i < a.n; i++) {
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i])) {
            return false;
        }
    }
    return true;
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n == 0 ? 0 : memcmp(a.p, b.p, n);
    if (order != 0) {
        return order;
    }
    return a.n < b.n ? -1 : a.n > b.n;
}

bool str_has_prefix(struct str s, struct str prefix)
{
    return s.n >= prefix.n && str_eq(str_first(s, prefix.n), prefix);
}

bool str_has_suffix(struct str s, struct str suffix)
{
    return s.n >= suffix.n && str_eq(str_from(s, s.n - suffix.n), suffix);
}

size_t str_find(struct str s, char c)
{
    const char *at = s.n == 0 ? NULL : memchr(s.p, c, s.n);
    return at == NULL ? s.n : (size_t)(at - s.p);
}

struct str str_from(struct str s, size_t at)
{
    if (s.n == 0) {
        return s; /* p may be NULL */
    }
    if (at > s.n) {
        at = s.n;
    }
    return (struct str){s.p + at, s.n - at};
}

struct str str_first(struct str s, size_t n)
{
    return (struct str){s.p, n < s.n ? n : s.n};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1])) {
        s.n--;
    }
    return s;
}

bool str_cut(struct str s, char sep, struct str *head, struct str *rest)
{
    size_t at = str_find(s, sep);
    *head = str_first(s, at);
    *rest = str_from(s, at + 1);
    return at < s.n;
}

bool str_to_u64(struct str s, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;
    if (s.n == 0) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        if (__builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.p[i] - '0'), &value) || value > max) {
            return false;
        }
    }
    *ret = value;
    return true;
}

bool str_to_cstr(struct str s, char *buf, size_t cap)
{
    if (s.n >= cap || str_find(s, '\0') != s.n) {
        return false;
    }
    if (s.n > 0) {
        memcpy(buf, s.p, s.n);
    }
    buf[s.n] = '\0';
    return true;
}

size_t str_utf8_n(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] > 0xf4 || length > s.n) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool is_overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool is_outside = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);
    return is_overlong || is_outside ? 0 : length;
}
