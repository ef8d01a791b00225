/* wire/http1_priv.h: what the HTTP/1 files share: byte classes, and what the fields of a head say
 * together about its framing. */
#pragma once

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "wire/http1.h"

enum h1_class {
    H1_TOKEN = 1,  /* tchar, RFC 9110 section 5.6.2 */
    H1_TARGET = 2, /* VCHAR without '#': a target has no fragment, RFC 9112 section 3.2 */
};

extern const uint8_t h1_classes[256];

static inline bool h1_is(char c, enum h1_class class)
{
    return (h1_classes[(uint8_t)c] & class) != 0;
}

static inline bool h1_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static inline bool h1_is_text(char c)
{
    return (uint8_t)c >= 0x20 ? c != 0x7f : c == '\t';
}

/* The first byte of p..end that may not stand in a field value: a control byte other than tab. end
 * when there is none. Inline: called for every line of every head. */
static inline const char *h1_text_end(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i last_ctl = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t');
    const __m128i del = _mm_set1_epi8(0x7f);
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, last_ctl), v);
        __m128i bad =
            _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(v, tab), low), _mm_cmpeq_epi8(v, del));
        unsigned mask = (unsigned)_mm_movemask_epi8(bad);
        if (mask != 0) {
            return p + __builtin_ctz(mask);
        }
        p += 16;
    }
#endif
    while (p < end && h1_is_text(*p)) {
        p++;
    }
    return p;
}

/* What is wrong at *at: a broken line end, or other when it is something else. *at is not the last
 * byte of the head. */
enum h1_fault h1_fault_at(const char *at, enum h1_fault other);

/* True when p..p+n ends as a head does: then a walk over tokens or text needs no bound, since it
 * stops at the last CR at the latest. */
static inline bool h1_has_end(const char *p, size_t n)
{
    return n >= 4 && p[n - 4] == '\r' && p[n - 3] == '\n' && p[n - 2] == '\r' && p[n - 1] == '\n';
}

/* "HTTP/1.0" or "HTTP/1.1" at p, which has eight bytes. */
bool h1_version_parse(const char *p, uint8_t *ret_minor);

struct h1_facts {
    struct str host;
    uint64_t length;
    uint32_t field_n, host_n;
    bool has_length, has_chunked, has_upgrade, has_continue, has_other_expectation;
    bool says_close, says_keep_alive, says_upgrade; /* options of Connection */
};

/* Parses the field lines p..end, the blank line included; h1_has_end() holds for the head. */
enum h1_fault h1_fields_parse(const char *p, const char *end, struct field *fields,
                              uint32_t field_max, struct h1_facts *facts);

/* The framing rules that need the version. */
enum h1_fault h1_facts_check(const struct h1_facts *facts, uint8_t minor);

/* Whether the connection outlives the message. */
bool h1_facts_keep_alive(const struct h1_facts *facts, uint8_t minor);
