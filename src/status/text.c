/* Times, escapes and random numbers. */
#include "status/text.h"

#include <sys/random.h>

#include "wire/date.h"

enum { TIME_BYTES = 20, MICRO_DIGITS = 6, RANDOM_DIGITS_MAX = 16 };

void text_add_micro_time(struct buf *out, usec_t wall)
{
    char text[TIME_BYTES];
    struct wr w = wr_make(text, sizeof(text));
    date_emit_rfc3339(&w, (int64_t)(wall / USEC_PER_SEC));
    must(!w.bad && wr_n(&w) == TIME_BYTES); /* the wall clock is within four-digit years */
    buf_add(out, text, TIME_BYTES - 1);     /* without its Z */
    buf_addf(out, ".%0*uZ", MICRO_DIGITS, (unsigned)(wall % USEC_PER_SEC));
}

static bool is_unreserved(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

void text_add_escaped(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (is_unreserved(s.p[i])) {
            buf_add_char(out, s.p[i]);
        } else {
            buf_addf(out, "%%%02X", (unsigned char)s.p[i]);
        }
    }
}

/* Without a source of chance, which Linux always has once it is up, the clock will do. */
static uint64_t random_number(void)
{
    uint64_t n = 0;
    if (getrandom(&n, sizeof(n), GRND_NONBLOCK) != (ssize_t)sizeof(n)) {
        n = clock_monotonic() * 0x9e3779b97f4a7c15U;
    }
    return n;
}

usec_t text_jitter(usec_t around)
{
    usec_t spread = around / 5;
    return around - spread / 2 + random_number() % (spread + 1);
}

void text_add_random(struct buf *out, size_t n)
{
    must(n <= RANDOM_DIGITS_MAX);
    uint64_t number = random_number();
    for (size_t i = 0; i < n; i++, number >>= 4) {
        buf_add_char(out, "0123456789abcdef"[number & 15]);
    }
}
