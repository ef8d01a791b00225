/* Version 1 is a line of text, version 2 is binary and begins with bytes that no other protocol
 * begins with. What is wrong is told as soon as it can be known: more bytes never mend it. */
#include "wire/proxy_header.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/rd.h"

enum { V1 = 1, V2 = 2 };

/* ---- version 1 ---- */

static const struct str v1_start = STR_INIT("PROXY ");

enum { V1_SHORTEST = 15 }; /* "PROXY UNKNOWN" CRLF */

/* Section 2.1: decimal, without zeros in front. */
static bool v1_port(struct str s, uint16_t *ret)
{
    uint64_t value;
    if ((s.n > 1 && s.p[0] == '0') || !str_to_u64(s, UINT16_MAX, &value)) {
        return false;
    }
    *ret = (uint16_t)value;
    return true;
}

/* "source destination port port", one blank between them. */
static enum err v1_addresses(struct str s, uint8_t family, struct proxy_header *h)
{
    struct str source, destination, source_port, destination_port;
    bool is_whole = str_cut(s, ' ', &source, &s) && str_cut(s, ' ', &destination, &s) &&
                    str_cut(s, ' ', &source_port, &destination_port);
    if (!is_whole || !v1_port(source_port, &h->source_port) ||
        !v1_port(destination_port, &h->destination_port)) {
        return E_PROTO;
    }
    TRY(ip_parse(source, &h->source));
    TRY(ip_parse(destination, &h->destination));
    return h->source.family == family && h->destination.family == family ? E_OK : E_PROTO;
}

/* The line without its CRLF. */
static enum err v1_line(struct str line, struct proxy_header *ret)
{
    struct proxy_header h = {.version = V1};
    struct str protocol, rest;
    (void)str_cut(str_from(line, v1_start.n), ' ', &protocol, &rest); /* UNKNOWN may stand alone */
    if (str_eq(protocol, STR("UNKNOWN"))) { /* whatever follows is to be ignored */
        h.is_local = true;
    } else if (str_eq(protocol, STR("TCP4"))) {
        TRY(v1_addresses(rest, 4, &h));
    } else if (str_eq(protocol, STR("TCP6"))) {
        TRY(v1_addresses(rest, 6, &h));
    } else {
        return E_PROTO;
    }
    *ret = h;
    return E_OK;
}

static enum err v1_parse(struct str bytes, struct proxy_header *ret, size_t *ret_n)
{
    struct str head = str_first(bytes, PROXY_V1_BYTES_MAX);
    size_t cr = str_find(head, '\r');
    size_t lf = str_find(head, '\n');
    if (lf < head.n && lf != cr + 1) {
        return E_PROTO;
    }
    if (lf < head.n) {
        TRY(v1_line(str_first(head, cr), ret));
        *ret_n = lf + 1;
        return E_OK;
    }
    if (cr + 1 < head.n) { /* something else than LF behind it */
        return E_PROTO;
    }
    if (head.n == PROXY_V1_BYTES_MAX) {
        return E_LIMIT;
    }
    *ret_n = head.n < V1_SHORTEST ? V1_SHORTEST : head.n + 1;
    return E_AGAIN;
}

/* ---- version 2 ---- */

static const struct str v2_start = STR_INIT("\r\n\r\n\0\r\nQUIT\n");

enum {
    V2_FIXED = 16, /* signature, version and command, family, length */
    V2_LOCAL = 0x20,
    V2_PROXY = 0x21,
    V2_UNSPEC = 0x00,
    V2_TCP4 = 0x11,
    V2_UDP4 = 0x12,
    V2_TCP6 = 0x21,
    V2_UDP6 = 0x22,
    V2_UNIX_STREAM = 0x31,
    V2_UNIX_DATAGRAM = 0x32,
    TYPE_CRC32C = 0x03,
    TYPE_SSL = 0x20,
    SSL_CLIENT_USES_TLS = 0x01,
    CRC_BYTES = 4
};

/* One more byte of a CRC-32C (Castagnoli; RFC 3720 appendix B.4). */
static uint32_t crc_step(uint32_t crc, uint8_t byte)
{
    crc ^= byte;
    for (int i = 0; i < 8; i++) {
        crc = crc >> 1 ^ (0x82f63b78U & (0U - (crc & 1)));
    }
    return crc;
}

/* Section 2.2.4: over the whole header, the value itself being zero. */
static bool crc_is_right(struct str header, const uint8_t *value)
{
    const uint8_t *p = (const uint8_t *)header.p;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < header.n; i++) {
        bool is_value = p + i >= value && p + i < value + CRC_BYTES;
        crc = crc_step(crc, is_value ? 0 : p[i]);
    }
    uint32_t want = (uint32_t)value[0] << 24 | (uint32_t)value[1] << 16 | (uint32_t)value[2] << 8 |
                    (uint32_t)value[3];
    return (crc ^ UINT32_MAX) == want;
}

/* One type, length and value. A second checksum is refused: each is work for the whole header. */
static enum err v2_extra(struct rd *r, struct proxy_header *h, const uint8_t **crc)
{
    uint8_t type = rd_u8(r);
    uint16_t n = rd_be16(r);
    const uint8_t *value = rd_take(r, n);
    if (value == NULL) {
        return E_PROTO;
    }
    if (type == TYPE_CRC32C) {
        if (n != CRC_BYTES || *crc != NULL) {
            return E_PROTO;
        }
        *crc = value;
    } else if (type == TYPE_SSL && n > 0) {
        h->is_tls = (value[0] & SSL_CLIENT_USES_TLS) != 0;
    }
    return E_OK;
}

static enum err v2_extras(struct str header, struct rd *r, struct proxy_header *h)
{
    const uint8_t *crc = NULL;
    while (!r->bad && rd_left(r) > 0) {
        TRY(v2_extra(r, h, &crc));
    }
    return r->bad || (crc != NULL && !crc_is_right(header, crc)) ? E_PROTO : E_OK;
}

static void v2_ip(struct rd *r, uint8_t family, struct ip *ret)
{
    size_t n = family == 4 ? 4 : 16;
    const uint8_t *p = rd_take(r, n);
    *ret = (struct ip){.family = family};
    if (p != NULL) {
        mem_copy(ret->bytes, p, n);
    }
}

static void v2_tcp(struct rd *r, uint8_t family, struct proxy_header *h)
{
    v2_ip(r, family, &h->source);
    v2_ip(r, family, &h->destination);
    h->source_port = rd_be16(r);
    h->destination_port = rd_be16(r);
}

/* Of clients that do not come over TCP, only the form is looked at. */
static enum err v2_addresses(struct rd *r, uint8_t family, struct proxy_header *h)
{
    static const struct {
        uint8_t family;
        uint8_t bytes;
    } others[] = {
        {V2_UNSPEC,        0  },
        {V2_UDP4,          12 },
        {V2_UDP6,          36 },
        {V2_UNIX_STREAM,   216},
        {V2_UNIX_DATAGRAM, 216},
    };
    if (family == V2_TCP4 || family == V2_TCP6) {
        v2_tcp(r, family == V2_TCP4 ? 4 : 6, h);
        return E_OK;
    }
    h->is_local = true;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (others[i].family == family) {
            (void)rd_take(r, others[i].bytes); /* too few: r remembers */
            return E_OK;
        }
    }
    return E_PROTO;
}

/* Everything is there. */
static enum err v2_whole(struct str header, struct proxy_header *ret)
{
    struct proxy_header h = {.version = V2};
    struct rd r = rd_make(header.p, header.n);
    (void)rd_take(&r, v2_start.n);
    bool is_proxy = rd_u8(&r) == V2_PROXY;
    uint8_t family = rd_u8(&r);
    (void)rd_be16(&r); /* the caller went by it */
    if (!is_proxy) {   /* LOCAL: section 2.2: the rest is discarded, whatever it says */
        h.is_local = true;
        *ret = h;
        return E_OK;
    }
    TRY(v2_addresses(&r, family, &h));
    TRY(v2_extras(header, &r, &h));
    *ret = h;
    return E_OK;
}

static enum err v2_parse(struct str bytes, struct proxy_header *ret, size_t *ret_n)
{
    if (bytes.n > v2_start.n) {
        uint8_t command = (uint8_t)bytes.p[v2_start.n];
        if (command != V2_LOCAL && command != V2_PROXY) { /* section 2.2: drop the connection */
            return E_PROTO;
        }
    }
    if (bytes.n < V2_FIXED) {
        *ret_n = V2_FIXED;
        return E_AGAIN;
    }
    size_t n = V2_FIXED + (((size_t)(uint8_t)bytes.p[14] << 8) | (uint8_t)bytes.p[15]);
    if (n > PROXY_V2_BYTES_MAX) {
        return E_LIMIT;
    }
    if (bytes.n >= n) {
        TRY(v2_whole(str_first(bytes, n), ret));
    }
    *ret_n = n;
    return bytes.n >= n ? E_OK : E_AGAIN;
}

/* ---- either ---- */

static bool begins(struct str bytes, struct str start)
{
    size_t n = bytes.n < start.n ? bytes.n : start.n;
    return str_eq(str_first(bytes, n), str_first(start, n));
}

enum err proxy_header_parse(struct str bytes, struct proxy_header *ret, size_t *ret_n)
{
    if (bytes.n == 0) {
        *ret_n = V1_SHORTEST;
        return E_AGAIN;
    }
    if (begins(bytes, v2_start)) {
        return v2_parse(bytes, ret, ret_n);
    }
    return begins(bytes, v1_start) ? v1_parse(bytes, ret, ret_n) : E_PROTO;
}

/* ---- writing ---- */

static struct ip as_v6(const struct ip *ip)
{
    struct ip v6 = *ip;
    if (ip->family == 4) { /* RFC 4291 section 2.5.5.2 */
        v6 = (struct ip){
            .family = 6, .bytes = {[10] = 0xff, [11] = 0xff}
        };
        mem_copy(v6.bytes + 12, ip->bytes, 4);
    }
    return v6;
}

static void v1_emit(struct wr *w, const struct proxy_header *h)
{
    wr_str(w, v1_start);
    if (h->is_local) {
        wr_str(w, STR("UNKNOWN\r\n"));
        return;
    }
    wr_str(w, h->source.family == 4 ? STR("TCP4 ") : STR("TCP6 "));
    ip_emit(w, &h->source);
    wr_char(w, ' ');
    ip_emit(w, &h->destination);
    wr_char(w, ' ');
    wr_u64(w, h->source_port);
    wr_char(w, ' ');
    wr_u64(w, h->destination_port);
    wr_str(w, STR("\r\n"));
}

static void wr_be16(struct wr *w, uint16_t value)
{
    wr_char(w, (char)(value >> 8));
    wr_char(w, (char)value);
}

static void v2_emit(struct wr *w, const struct proxy_header *h)
{
    bool is_v4 = h->source.family == 4;
    size_t ip_n = is_v4 ? 4 : 16;
    wr_str(w, v2_start);
    wr_char(w, (char)(h->is_local ? V2_LOCAL : V2_PROXY));
    if (h->is_local) {
        wr_char(w, (char)V2_UNSPEC);
        wr_be16(w, 0);
        return;
    }
    wr_char(w, (char)(is_v4 ? V2_TCP4 : V2_TCP6));
    wr_be16(w, (uint16_t)(2 * ip_n + 4));
    wr_bytes(w, h->source.bytes, ip_n);
    wr_bytes(w, h->destination.bytes, ip_n);
    wr_be16(w, h->source_port);
    wr_be16(w, h->destination_port);
}

void proxy_header_emit(struct wr *w, const struct proxy_header *h)
{
    struct proxy_header out = *h;
    if (!h->is_local && h->source.family != h->destination.family) {
        out.source = as_v6(&h->source);
        out.destination = as_v6(&h->destination);
    }
    if (h->version == V1) {
        v1_emit(w, &out);
    } else {
        v2_emit(w, &out);
    }
}
