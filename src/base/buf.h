/* base/buf.h: building bytes. struct buf grows on the heap up to a maximum given at init; struct wr
 * writes into memory somebody else owns. Both remember the first failure (bad) and ignore what
 * comes after it, so the caller checks once, at the end. */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct buf {
    char *p;
    size_t n, cap, max;
    bool bad; /* over max or out of memory; n bytes before that are intact */
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
/* The same, and overwrites it: for secrets. A buffer that grew may have left some behind; reserve
 * before. */
void buf_wipe(struct buf *b);
/* Forgets the content and bad, keeps the memory. */
void buf_reset(struct buf *b);
/* Makes room for extra more bytes. */
bool buf_reserve(struct buf *b, size_t extra);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_add_str(struct buf *b, struct str s);
void buf_add_char(struct buf *b, char c);
void buf_add_u64(struct buf *b, uint64_t value);
void buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* n zero bytes; returns where they start in b->p (an offset, since p may move). */
size_t buf_add_zero(struct buf *b, size_t n);
/* Zero bytes up to the next multiple of align (a power of two). */
void buf_align(struct buf *b, size_t align);
struct str buf_str(const struct buf *b);
/* Removes the first n bytes. n <= b->n. */
void buf_drop(struct buf *b, size_t n);

struct wr {
    char *start, *p, *end;
    bool bad; /* did not fit */
};

static inline struct wr wr_make(void *p, size_t cap)
{
    return (struct wr){(char *)p, (char *)p, (char *)p + cap, false};
}

/* Inline: putting a head together is a hundred calls of these, a tenth of a request's instructions.
 */
static inline void wr_bytes(struct wr *w, const void *p, size_t n)
{
    if (w->bad || n > (size_t)(w->end - w->p)) {
        w->bad = true;
        return;
    }
    if (n > 0) {
        __builtin_memcpy(w->p, p, n);
        w->p += n;
    }
}

static inline void wr_str(struct wr *w, struct str s)
{
    wr_bytes(w, s.p, s.n);
}

static inline void wr_char(struct wr *w, char c)
{
    wr_bytes(w, &c, 1);
}

void wr_u64(struct wr *w, uint64_t value);
void wr_hex(struct wr *w, uint64_t value);
static inline size_t wr_n(const struct wr *w)
{
    return (size_t)(w->p - w->start);
}
