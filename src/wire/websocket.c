/* A SHA-1 (RFC 3174) in base64. It proves to the client that the handshake was understood, and
 * keeps nothing secret. */
#include "wire/websocket.h"

#include "base/mem.h"

enum { BLOCK = 64, WORDS = 5, ROUNDS = 80, LENGTH_AT = BLOCK - 8 };

struct sha1 {
    uint32_t h[WORDS];
    uint8_t block[BLOCK];
    size_t n; /* in block */
    uint64_t total;
};

static uint32_t rotated(uint32_t x, unsigned by)
{
    return x << by | x >> (32 - by);
}

static uint32_t word_of(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* RFC 3174 section 5. */
static uint32_t mixed(unsigned t, uint32_t b, uint32_t c, uint32_t d)
{
    if (t < 20) {
        return ((b & c) | (~b & d)) + 0x5a827999U;
    }
    if (t < 40) {
        return (b ^ c ^ d) + 0x6ed9eba1U;
    }
    return t < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdcU : (b ^ c ^ d) + 0xca62c1d6U;
}

static void block_process(struct sha1 *s)
{
    uint32_t w[ROUNDS];
    uint32_t a = s->h[0], b = s->h[1], c = s->h[2], d = s->h[3], e = s->h[4];
    for (unsigned t = 0; t < ROUNDS; t++) {
        w[t] = t < 16 ? word_of(s->block + (size_t)4 * t)
                      : rotated(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    }
    for (unsigned t = 0; t < ROUNDS; t++) {
        uint32_t next = rotated(a, 5) + mixed(t, b, c, d) + e + w[t];
        e = d;
        d = c;
        c = rotated(b, 30);
        b = a;
        a = next;
    }
    s->h[0] += a;
    s->h[1] += b;
    s->h[2] += c;
    s->h[3] += d;
    s->h[4] += e;
    s->n = 0;
}

static void byte_add(struct sha1 *s, uint8_t byte)
{
    s->block[s->n++] = byte;
    if (s->n == BLOCK) {
        block_process(s);
    }
}

static void str_add(struct sha1 *s, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        byte_add(s, (uint8_t)text.p[i]);
    }
    s->total += text.n;
}

static void finish(struct sha1 *s, uint8_t digest[4 * WORDS])
{
    byte_add(s, 0x80);
    while (s->n != LENGTH_AT) {
        byte_add(s, 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        byte_add(s, (uint8_t)(s->total * 8 >> (56 - 8 * i)));
    }
    for (size_t i = 0; i < (size_t)4 * WORDS; i++) {
        digest[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
    }
}

/* 20 bytes are six groups of three and one of two. */
static void base64(const uint8_t *digest, char *ret)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < WEBSOCKET_ACCEPT_BYTES; i++) {
        size_t at = i / 4 * 3;
        uint32_t group = (uint32_t)digest[at] << 16 | (uint32_t)digest[at + 1] << 8;
        group |= at + 2 < (size_t)4 * WORDS ? digest[at + 2] : 0U;
        ret[i] = digits[group >> (18 - 6 * (i % 4)) & 63];
    }
    ret[WEBSOCKET_ACCEPT_BYTES - 1] = '=';
}

void websocket_accept(struct str key, char ret[WEBSOCKET_ACCEPT_BYTES])
{
    struct sha1 s = {
        .h = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}
    };
    uint8_t digest[4 * WORDS];
    str_add(&s, key);
    str_add(&s, STR("258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    finish(&s, digest);
    base64(digest, ret);
}
