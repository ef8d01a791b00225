/* Base64 decoding, RFC 4648 section 4, by a table of digit values. */
#include "wire/base64.h"

enum { NOT_A_DIGIT = 0 };

/* Value + 1 of each digit, so that what is not named is not a digit. */
static const uint8_t digits[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

struct quantum {
    uint32_t bits;
    unsigned digit_n, pad_n; /* of the present four characters */
    bool has_ended;          /* padding was seen: nothing may follow */
};

/* RFC 4648 section 3.3: other characters are refused. */
static bool quantum_add(struct quantum *q, char c)
{
    if (q->has_ended) {
        return false;
    }
    if (c == '=') { /* at most two, behind at least two digits */
        q->pad_n++;
        q->bits <<= 6;
        return q->digit_n >= 2;
    }
    unsigned digit = digits[(uint8_t)c];
    if (digit == NOT_A_DIGIT || q->pad_n > 0) {
        return false;
    }
    q->bits = q->bits << 6 | (digit - 1);
    q->digit_n++;
    return true;
}

/* Writes the bytes of four characters. RFC 4648 section 3.5: unused bits must be zero. */
static bool quantum_flush(struct quantum *q, char *out, size_t *n)
{
    for (unsigned i = 0; i < 3; i++) {
        unsigned byte = q->bits >> (16 - 8 * i) & 0xff;
        if (i < 3 - q->pad_n) {
            out[(*n)++] = (char)byte;
        } else if (byte != 0) {
            return false;
        }
    }
    *q = (struct quantum){.has_ended = q->pad_n > 0};
    return true;
}

enum err base64_decode(struct str text, char *out, size_t *ret_n)
{
    struct quantum q = {0};
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\r' || text.p[i] == '\n') {
            continue;
        }
        if (!quantum_add(&q, text.p[i])) {
            return E_PROTO;
        }
        if (q.digit_n + q.pad_n == 4 && !quantum_flush(&q, out, &n)) {
            return E_PROTO;
        }
    }
    if (q.digit_n + q.pad_n > 0) { /* RFC 4648 section 3.2: padding is required */
        return E_PROTO;
    }
    *ret_n = n;
    return E_OK;
}

void base64_emit(struct buf *out, struct str bytes)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t at = 0; at < bytes.n; at += 3) {
        struct str group = str_first(str_from(bytes, at), 3);
        uint32_t bits = 0;
        for (size_t i = 0; i < 3; i++) {
            bits = bits << 8 | (i < group.n ? (unsigned char)group.p[i] : 0U);
        }
        for (size_t i = 0; i < 4; i++) {
            buf_add_char(out, i <= group.n ? alphabet[bits >> (18 - 6 * i) & 63U] : '=');
        }
    }
}
