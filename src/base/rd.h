/* base/rd.h: a reading cursor with a sticky error. After the first read past the end every later
 * one gives zero or NULL, so a parser checks r.bad once, at the end. */
#pragma once

#include "base/str.h"

struct rd {
    const uint8_t *p, *end;
    bool bad;
};

static inline struct rd rd_make(const void *p, size_t n)
{
    return (struct rd){(const uint8_t *)p, (const uint8_t *)p + n, false};
}

static inline size_t rd_left(const struct rd *r)
{
    return (size_t)(r->end - r->p);
}

/* n bytes as they are, or NULL. */
static inline const uint8_t *rd_take(struct rd *r, size_t n)
{
    if (r->bad || n > rd_left(r)) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *at = r->p;
    r->p += n;
    return at;
}

static inline uint8_t rd_u8(struct rd *r)
{
    const uint8_t *at = rd_take(r, 1);
    return at == NULL ? 0 : at[0];
}

static inline uint16_t rd_be16(struct rd *r)
{
    const uint8_t *at = rd_take(r, 2);
    return at == NULL ? (uint16_t)0 : (uint16_t)(at[0] << 8 | at[1]);
}
