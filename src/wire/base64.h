/* wire/base64.h: RFC 4648 section 4, as Secret.data carries it. */
#pragma once

#include "base/buf.h"

/* Most bytes that n characters can give. */
static inline size_t base64_room(size_t n)
{
    return n / 4 * 3 + 3;
}
/* Line breaks are skipped; padding is required; unused bits must be zero. out has
 * base64_room(text.n) bytes. Errors: E_PROTO. */
enum err base64_decode(struct str text, char *out, size_t *ret_n);
/* Adds the text of bytes, padded, in one line. */
void base64_emit(struct buf *out, struct str bytes);
