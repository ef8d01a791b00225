/* Growing and fixed byte builders with a sticky error. */
#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { BUF_FIRST = 256, U64_DIGITS = 20 };

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_fini(struct buf *b)
{
    mem_free(b->p);
    buf_init(b, b->max);
}

void buf_wipe(struct buf *b)
{
    if (b->p != NULL) {
        explicit_bzero(b->p, b->cap);
    }
    buf_fini(b);
}

void buf_reset(struct buf *b)
{
    b->n = 0;
    b->bad = false;
}

bool buf_reserve(struct buf *b, size_t extra)
{
    if (b->bad || extra > b->max - b->n) {
        b->bad = true;
        return false;
    }
    if (extra <= b->cap - b->n) {
        return true;
    }
    size_t cap = b->cap == 0 ? BUF_FIRST : b->cap;
    while (cap - b->n < extra) {
        cap = cap > b->max / 2 ? b->max : cap * 2;
    }
    /* One byte more, for the NUL that vsnprintf() writes. */
    char *p = cap < PTRDIFF_MAX ? mem_resize(b->p, cap + 1, 1) : NULL;
    if (p == NULL) {
        b->bad = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n > 0 && buf_reserve(b, n)) {
        memcpy(b->p + b->n, p, n);
        b->n += n;
    }
}

void buf_add_str(struct buf *b, struct str s)
{
    buf_add(b, s.p, s.n);
}

void buf_add_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

static struct str u64_text(uint64_t value, char digits[U64_DIGITS])
{
    char *p = digits + U64_DIGITS;
    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return (struct str){p, (size_t)(digits + U64_DIGITS - p)};
}

void buf_add_u64(struct buf *b, uint64_t value)
{
    char digits[U64_DIGITS];
    buf_add_str(b, u64_text(value, digits));
}

void buf_addf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || !buf_reserve(b, (size_t)n)) {
        b->bad = true;
        return;
    }
    if (n == 0) {
        return; /* there may be no memory yet */
    }
    va_start(args, format);
    (void)vsnprintf(b->p + b->n, (size_t)n + 1, format, args);
    va_end(args);
    b->n += (size_t)n;
}

size_t buf_add_zero(struct buf *b, size_t n)
{
    size_t at = b->n;
    if (n > 0 && buf_reserve(b, n)) {
        memset(b->p + b->n, 0, n);
        b->n += n;
    }
    return at;
}

void buf_align(struct buf *b, size_t align)
{
    (void)buf_add_zero(b, (align - (b->n & (align - 1))) & (align - 1));
}

struct str buf_str(const struct buf *b)
{
    return b->n == 0 ? STR_EMPTY : (struct str){b->p, b->n};
}

void buf_drop(struct buf *b, size_t n)
{
    must(n <= b->n);
    if (n > 0) {
        memmove(b->p, b->p + n, b->n - n);
        b->n -= n;
    }
}

void wr_u64(struct wr *w, uint64_t value)
{
    char digits[U64_DIGITS];
    wr_str(w, u64_text(value, digits));
}

void wr_hex(struct wr *w, uint64_t value)
{
    char digits[16];
    char *p = digits + sizeof(digits);
    do {
        *--p = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value > 0);
    wr_bytes(w, p, (size_t)(digits + sizeof(digits) - p));
}
