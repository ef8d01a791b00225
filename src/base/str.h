/* base/str.h: a borrowed run of bytes, pointer and length, passed by value.
 * Not NUL-terminated; a NUL is added only at system borders (str_to_cstr). Never owns memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    const char *p;
    size_t n;
};

/* A literal or a char array as a str, without its NUL. */
#define STR(lit) ((struct str){(lit), sizeof(lit) - 1})
#define STR_INIT(lit)                                                                              \
    {                                                                                              \
        (lit), sizeof(lit) - 1                                                                     \
    }
#define STR_EMPTY ((struct str){"", 0})

/* For printf-like calls: printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) (int)(s).n, (s).p

struct str str_from_cstr(const char *s); /* s may be NULL: gives the empty str */
struct str str_make(const char *p, size_t n);
bool str_eq(struct str a, struct str b);
/* ASCII only, as host names and field names want it. */
bool str_eq_nocase(struct str a, struct str b);
/* Bytewise order, shorter first on a common prefix: <0, 0, >0. */
int str_cmp(struct str a, struct str b);
bool str_has_prefix(struct str s, struct str prefix);
bool str_has_suffix(struct str s, struct str suffix);
/* Index of the first c, or s.n when there is none. */
size_t str_find(struct str s, char c);
/* The part from index at (clamped) to the end. */
struct str str_from(struct str s, size_t at);
/* The first n bytes (clamped). */
struct str str_first(struct str s, size_t n);
/* Without leading and trailing blanks (space and tab). */
struct str str_trim(struct str s);
/* Cuts s at the first sep: *head gets what is before it, *rest what is after; false (and *head = s,
 * *rest = empty) when sep is not there. */
bool str_cut(struct str s, char sep, struct str *head, struct str *rest);
/* Decimal digits only, no sign, no blanks, up to max. False on anything else or on overflow. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *ret);
/* Copies s and a NUL into buf of size cap; false when it does not fit or s holds a NUL. */
bool str_to_cstr(struct str s, char *buf, size_t cap);

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Length of the UTF-8 sequence at the start of s, which is not empty; 0 when there is none.
 * Source: RFC 3629 section 4. */
size_t str_utf8_n(struct str s);
