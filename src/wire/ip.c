/* IP addresses and prefixes: text of RFC 4291 section 2.2 and RFC 5952, comparing, classes. */
#include "wire/ip.h"

#include <string.h>

#include "base/mem.h"

enum { IPV4_BYTES = 4, IPV6_BYTES = 16, GROUPS = 8, NO_GAP = -1 };

/* Decimal without leading zeros. */
static bool number_parse(struct str s, uint64_t max, uint64_t *ret)
{
    return (s.n < 2 || s.p[0] != '0') && str_to_u64(s, max, ret);
}

static bool ipv4_parse(struct str text, uint8_t bytes[IPV4_BYTES])
{
    for (int i = 0; i < IPV4_BYTES; i++) {
        struct str part;
        uint64_t value;
        bool has_more = str_cut(text, '.', &part, &text);
        if (has_more != (i < IPV4_BYTES - 1) || !number_parse(part, UINT8_MAX, &value)) {
            return false;
        }
        bytes[i] = (uint8_t)value;
    }
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One to four hex digits. */
static bool group_parse(struct str part, uint8_t bytes[2])
{
    unsigned value = 0;
    if (part.n == 0 || part.n > 4) {
        return false;
    }
    for (size_t i = 0; i < part.n; i++) {
        int digit = hex_value(part.p[i]);
        if (digit < 0) {
            return false;
        }
        value = value << 4 | (unsigned)digit;
    }
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
    return true;
}

/* Groups separated by ':', an IPv4 address may be the last two; at most room bytes. False when
 * malformed; an empty text has none. */
static bool groups_parse(struct str text, size_t room, uint8_t *bytes, size_t *ret_n)
{
    size_t n = 0;
    for (bool has_more = text.n > 0; has_more;) {
        struct str part;
        has_more = str_cut(text, ':', &part, &text);
        if (!has_more && str_find(part, '.') < part.n) {
            if (room - n < IPV4_BYTES || !ipv4_parse(part, bytes + n)) {
                return false;
            }
            n += IPV4_BYTES;
        } else {
            if (room - n < 2 || !group_parse(part, bytes + n)) {
                return false;
            }
            n += 2;
        }
    }
    *ret_n = n;
    return true;
}

static size_t gap_find(struct str text)
{
    for (size_t i = 0; i + 1 < text.n; i++) {
        if (text.p[i] == ':' && text.p[i + 1] == ':') {
            return i;
        }
    }
    return text.n;
}

static bool ipv6_parse(struct str text, uint8_t bytes[IPV6_BYTES])
{
    uint8_t tail[IPV6_BYTES];
    size_t head_n, tail_n;
    size_t gap = gap_find(text);
    struct str head = str_first(text, gap);
    if (gap == text.n) {
        return groups_parse(head, IPV6_BYTES, bytes, &head_n) && head_n == IPV6_BYTES;
    }
    /* RFC 4291 section 2.2: "::" stands for one group or more, once; an IPv4 part is last */
    if (str_find(head, '.') < head.n || !groups_parse(head, IPV6_BYTES - 2, bytes, &head_n) ||
        !groups_parse(str_from(text, gap + 2), IPV6_BYTES - 2 - head_n, tail, &tail_n)) {
        return false;
    }
    memset(bytes + head_n, 0, IPV6_BYTES - head_n);
    mem_copy(bytes + IPV6_BYTES - tail_n, tail, tail_n);
    return true;
}

enum err ip_parse(struct str text, struct ip *ret)
{
    struct ip ip = {0};
    bool is_v6 = str_find(text, ':') < text.n;
    ip.family = is_v6 ? 6 : 4;
    if (!(is_v6 ? ipv6_parse(text, ip.bytes) : ipv4_parse(text, ip.bytes))) {
        return E_PROTO;
    }
    *ret = ip;
    return E_OK;
}

static void ipv4_emit(struct wr *w, const uint8_t *bytes)
{
    for (int i = 0; i < IPV4_BYTES; i++) {
        if (i > 0) {
            wr_char(w, '.');
        }
        wr_u64(w, bytes[i]);
    }
}

static unsigned group_of(const struct ip *ip, int i)
{
    return (unsigned)ip->bytes[2 * i] << 8 | ip->bytes[2 * i + 1];
}

/* RFC 5952 section 4.2: the longest run of two or more zero groups, the first of equals. */
static int gap_choose(const struct ip *ip, int group_n, int *ret_n)
{
    int best = NO_GAP, best_n = 1;
    for (int i = 0; i < group_n; i++) {
        int n = 0;
        while (i + n < group_n && group_of(ip, i + n) == 0) {
            n++;
        }
        if (n > best_n) {
            best = i;
            best_n = n;
        }
        i += n;
    }
    *ret_n = best_n;
    return best;
}

static bool is_mapped(const struct ip *ip)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return ip->family == 6 && memcmp(ip->bytes, mapped, sizeof(mapped)) == 0;
}

static void ipv6_emit(struct wr *w, const struct ip *ip)
{
    int gap_n, group_n = is_mapped(ip) ? GROUPS - 2 : GROUPS; /* RFC 5952 section 5 */
    int gap = gap_choose(ip, group_n, &gap_n);
    for (int i = 0; i < group_n;) {
        if (i == gap) {
            wr_str(w, STR("::"));
            i += gap_n;
            continue;
        }
        if (i > 0 && (gap == NO_GAP || i != gap + gap_n)) {
            wr_char(w, ':');
        }
        wr_hex(w, group_of(ip, i));
        i++;
    }
    if (group_n < GROUPS) {
        wr_char(w, ':');
        ipv4_emit(w, ip->bytes + IPV6_BYTES - IPV4_BYTES);
    }
}

void ip_emit(struct wr *w, const struct ip *ip)
{
    if (ip->family == 4) {
        ipv4_emit(w, ip->bytes);
    } else {
        ipv6_emit(w, ip);
    }
}

struct ip ip_unmapped(const struct ip *ip)
{
    struct ip plain = *ip;
    if (is_mapped(ip)) {
        plain = (struct ip){.family = 4};
        mem_copy(plain.bytes, ip->bytes + IPV6_BYTES - IPV4_BYTES, IPV4_BYTES);
    }
    return plain;
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

/* An IPv4 address in IPv6 clothes is judged as what connecting to it would reach, here and below.
 */
bool ip_is_loopback(const struct ip *ip)
{
    struct ip plain = ip_unmapped(ip);
    if (plain.family == 4) {
        return plain.bytes[0] == 127; /* RFC 1122 section 3.2.1.3 */
    }
    return is_zero(plain.bytes, IPV6_BYTES - 1) && plain.bytes[IPV6_BYTES - 1] == 1;
}

bool ip_is_unusable(const struct ip *ip)
{
    struct ip plain = ip_unmapped(ip);
    const uint8_t *b = plain.bytes;
    if (is_zero(b, IPV6_BYTES)) {
        return true;
    }
    if (plain.family == 4) { /* RFC 3927 section 2.1, RFC 5771 section 3 */
        return (b[0] == 169 && b[1] == 254) || (b[0] & 0xf0) == 224;
    }
    return b[0] == 0xff || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80); /* RFC 4291 section 2.4 */
}

int ip_cmp(const struct ip *a, const struct ip *b)
{
    if (a->family != b->family) {
        return a->family < b->family ? -1 : 1;
    }
    return memcmp(a->bytes, b->bytes, IPV6_BYTES);
}

static void host_bits_clear(struct ip_prefix *p)
{
    for (unsigned i = 0; i < IPV6_BYTES; i++) {
        unsigned kept = p->bits > i * 8 ? p->bits - i * 8 : 0;
        if (kept < 8) {
            p->ip.bytes[i] &= (uint8_t)(0xff00U >> kept);
        }
    }
}

enum err ip_prefix_parse(struct str text, struct ip_prefix *ret)
{
    struct str address, length;
    struct ip_prefix p;
    bool has_length = str_cut(text, '/', &address, &length);
    TRY(ip_parse(address, &p.ip));
    uint64_t bits = p.ip.family == 4 ? IPV4_BYTES * 8 : IPV6_BYTES * 8;
    if (has_length && !number_parse(length, bits, &bits)) {
        return E_PROTO;
    }
    p.bits = (uint8_t)bits;
    host_bits_clear(&p);
    *ret = p;
    return E_OK;
}

enum err ip_prefixes_parse(struct str text, struct ip_prefix *prefixes, uint32_t max,
                           uint32_t *ret_n)
{
    struct str item;
    uint32_t n = 0;
    while (text.n > 0) {
        (void)str_cut(text, ',', &item, &text); /* the last one has no comma behind it */
        if (n == max) {
            return E_LIMIT;
        }
        TRY(ip_prefix_parse(str_trim(item), &prefixes[n++]));
    }
    *ret_n = n;
    return E_OK;
}

bool ip_prefix_has(const struct ip_prefix *p, const struct ip *ip)
{
    struct ip_prefix other = {.ip = *ip, .bits = p->bits};
    host_bits_clear(&other);
    return ip_cmp(&p->ip, &other.ip) == 0;
}
