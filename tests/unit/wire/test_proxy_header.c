/* The PROXY protocol: what is a header and what is not, in both versions; whole, byte by byte, and
 * with anything behind it; limits at n and n + 1; what we write is what we read. */
#include "wire/proxy_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4        "\xc0\x00\x02\x01\xc0\x00\x02\x02\xd4\x31\x01\xbb"
#define V6        "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
#define WORD(n)   n n n n n n n n
#define UNIX      WORD("123456789012345678901234567")

/* clang-format off */
/* want: "source source-port destination destination-port", "local", or NULL for an error. */
static const struct {
    struct str bytes;
    const char *want;
    enum err e;
    bool is_tls;
} cases[] = {
    /* version 1 */
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 54321 443\r\n"), "192.0.2.1 54321 192.0.2.2 443", E_OK, false},
    {STR_INIT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255 65535 255.255.255.255 65535", E_OK, false},
    {STR_INIT("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), "0.0.0.0 0 0.0.0.0 0", E_OK, false},
    {STR_INIT("PROXY TCP6 2001:db8::1 2001:0DB8:0:0:0:0:0:2 1 2\r\n"), "2001:db8::1 1 2001:db8::2 2", E_OK, false},
    {STR_INIT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535", E_OK, false},
    {STR_INIT("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), "::ffff:192.0.2.1 1 ::1 2", E_OK, false},
    {STR_INIT("PROXY UNKNOWN\r\n"), "local", E_OK, false},
    {STR_INIT("PROXY UNKNOWN ffff:f...f:ffff anything \0 65535\r\n"), "local", E_OK, false},
    {STR_INIT("PROXY UNKNOWNS\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 1  2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY \r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY\tTCP4 192.0.2.1 192.0.2.2 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 99999999999999999999\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP6 2001:db8::1 192.0.2.2 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r "), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1\n192.0.2.2 1 2\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 2"), NULL, E_AGAIN, false},
    {STR_INIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r"), NULL, E_AGAIN, false},
    {STR_INIT("P"), NULL, E_AGAIN, false},
    {STR_INIT(""), NULL, E_AGAIN, false},
    /* something else */
    {STR_INIT("GET / HTTP/1.1\r\n"), NULL, E_PROTO, false},
    {STR_INIT("POST / HTTP/1.1\r\n"), NULL, E_PROTO, false},
    {STR_INIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), NULL, E_PROTO, false},
    {STR_INIT("\x16\x03\x01\x02\0"), NULL, E_PROTO, false},
    {STR_INIT("\0"), NULL, E_PROTO, false},
    {STR_INIT(" "), NULL, E_PROTO, false},
    /* version 2 */
    {STR_INIT(SIGNATURE "\x21\x11\0\x0c" V4), "192.0.2.1 54321 192.0.2.2 443", E_OK, false},
    {STR_INIT(SIGNATURE "\x21\x21\0\x24" V6 V6 "\0\1\0\2"), "2001:db8::1 1 2001:db8::1 2", E_OK, false},
    {STR_INIT(SIGNATURE "\x20\0\0\0"), "local", E_OK, false},
    {STR_INIT(SIGNATURE "\x20\x11\0\x0c" V4), "local", E_OK, false},
    {STR_INIT(SIGNATURE "\x20\xff\0\3" "xyz"), "local", E_OK, false}, /* all of it is discarded */
    {STR_INIT(SIGNATURE "\x21\0\0\0"), "local", E_OK, false},
    {STR_INIT(SIGNATURE "\x21\x12\0\x0c" V4), "local", E_OK, false},
    {STR_INIT(SIGNATURE "\x21\x22\0\x24" V6 V6 "\0\1\0\2"), "local", E_OK, false},
    {STR_INIT(SIGNATURE "\x21\x31\0\xd8" UNIX), "local", E_OK, false},
    {STR_INIT(SIGNATURE "\x21\x32\0\xd8" UNIX), "local", E_OK, false},
    {STR_INIT(SIGNATURE "\x21\x31\0\xd7" UNIX), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x21\x11\0\x0b" V4), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x21\x11\0\0" V4), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x21\x21\0\x23" V6 V6 "\0\1\0\2"), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x21\x10\0\x0c" V4), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x21\x13\0\x0c" V4), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x21\x41\0\x0c" V4), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x22\x11\0\x0c" V4), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x11\x11\0\x0c" V4), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x31\x11\0\x0c" V4), NULL, E_PROTO, false},
    {STR_INIT("\r\n\r\n\0\r\nQUIt\n" "\x21\x11\0\x0c" V4), NULL, E_PROTO, false},
    {STR_INIT("\r\n\r\nGET"), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x21\x11\0"), NULL, E_AGAIN, false},
    {STR_INIT(SIGNATURE "\x21\x11\0\x0c" "\xc0\0\2\1\xc0\0\2\2\xd4\x31\x01"), NULL, E_AGAIN, false},
    /* what a sender adds */
    {STR_INIT(SIGNATURE "\x21\x11\0\x1c" V4 "\x02\0\5a.com\xee\0\0\x04\0\2\0\0"), "192.0.2.1 54321 192.0.2.2 443", E_OK, false},
    {STR_INIT(SIGNATURE "\x21\x11\0\x13" V4 "\x03\0\4\x01\xff\xa0\x64"), "192.0.2.1 54321 192.0.2.2 443", E_OK, false},
    {STR_INIT(SIGNATURE "\x21\x11\0\x13" V4 "\x03\0\4\x01\xff\xa0\x65"), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x21\x11\0\x12" V4 "\x03\0\3\x01\xff\xa0"), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x21\x11\0\x14" V4 "\x20\0\5\1\0\0\0\0"), "192.0.2.1 54321 192.0.2.2 443", E_OK, true},
    {STR_INIT(SIGNATURE "\x21\x11\0\x14" V4 "\x20\0\5\6\0\0\0\0"), "192.0.2.1 54321 192.0.2.2 443", E_OK, false},
    {STR_INIT(SIGNATURE "\x21\x11\0\x0f" V4 "\x20\0\0"), "192.0.2.1 54321 192.0.2.2 443", E_OK, false},
    {STR_INIT(SIGNATURE "\x21\x11\0\x0f" V4 "\x20\0\1"), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x21\x11\0\x0e" V4 "\x20\0"), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x21\x11\0\x0d" V4 "\x20"), NULL, E_PROTO, false},
    {STR_INIT(SIGNATURE "\x21\0\0\x08\x20\0\5\1\0\0\0\0"), "local", E_OK, true},
};
/* clang-format on */

static void check_addresses(const struct proxy_header *h, const char *want)
{
    char text[256];
    struct wr w = wr_make(text, sizeof(text) - 1);
    if (h->is_local) {
        wr_str(&w, STR("local"));
    } else {
        ip_emit(&w, &h->source);
        wr_char(&w, ' ');
        wr_u64(&w, h->source_port);
        wr_char(&w, ' ');
        ip_emit(&w, &h->destination);
        wr_char(&w, ' ');
        wr_u64(&w, h->destination_port);
    }
    text[wr_n(&w)] = '\0';
    assert_string_equal(text, want);
}

static void whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct proxy_header h = {.version = 99};
        size_t n = 0;
        enum err e = proxy_header_parse(cases[i].bytes, &h, &n);
        if (e != cases[i].e) {
            fail_msg("case %zu: %s", i, err_text(e));
        }
        if (e == E_OK) {
            check_addresses(&h, cases[i].want);
            assert_int_equal(n, cases[i].bytes.n);
            assert_int_equal(h.is_tls, cases[i].is_tls);
            assert_int_equal(h.version, cases[i].bytes.p[0] == 'P' ? 1 : 2);
        } else {
            assert_int_equal(h.version, 99);
            assert_true(e != E_AGAIN || n > cases[i].bytes.n);
        }
    }
}

/* Every prefix wants more until the outcome is there, and the outcome stays what it is whatever
 * follows. What is asked for is never more than is needed. */
static void byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char bytes[2048] = {0};
        struct proxy_header h;
        size_t n, asked = 0;
        memcpy(bytes, cases[i].bytes.p, cases[i].bytes.n);
        enum err e = E_AGAIN;
        for (size_t at = 0; at <= cases[i].bytes.n && e == E_AGAIN; at++) {
            e = proxy_header_parse(str_make(bytes, at), &h, &n);
            assert_true(e != E_AGAIN || n > at);
            asked = e == E_AGAIN ? n : asked;
        }
        assert_int_equal(e, cases[i].e);
        if (e == E_OK) {
            assert_true(asked <= cases[i].bytes.n);
            for (int fill = 0; fill < 256; fill += 15) {
                memset(bytes + cases[i].bytes.n, fill, 100);
                assert_int_equal(
                    proxy_header_parse(str_make(bytes, cases[i].bytes.n + 100), &h, &n), E_OK);
                assert_int_equal(n, cases[i].bytes.n);
                check_addresses(&h, cases[i].want);
            }
        }
    }
}

static void longest_v1(void **state)
{
    char line[PROXY_V1_BYTES_MAX + 3] = "PROXY UNKNOWN ";
    struct proxy_header h;
    size_t n = 0;
    (void)state;
    memset(line + 14, 'x', sizeof(line) - 14);
    memcpy(line + PROXY_V1_BYTES_MAX - 2, "\r\n", 2);
    assert_int_equal(proxy_header_parse(str_make(line, sizeof(line)), &h, &n), E_OK);
    assert_int_equal(n, PROXY_V1_BYTES_MAX);
    assert_int_equal(proxy_header_parse(str_make(line, PROXY_V1_BYTES_MAX - 1), &h, &n), E_AGAIN);
    assert_int_equal(n, PROXY_V1_BYTES_MAX);
    memcpy(line + PROXY_V1_BYTES_MAX - 2, "x\r\n", 3);
    for (size_t i = PROXY_V1_BYTES_MAX; i <= sizeof(line); i++) {
        assert_int_equal(proxy_header_parse(str_make(line, i), &h, &n), E_LIMIT);
    }
    assert_int_equal(proxy_header_parse(str_make(line, PROXY_V1_BYTES_MAX - 1), &h, &n), E_AGAIN);
}

static void longest_v2(void **state)
{
    static char bytes[PROXY_V2_BYTES_MAX + 1];
    struct proxy_header h;
    size_t n = 0;
    (void)state;
    const struct str start = STR(SIGNATURE "\x21\x11\0\0" V4 "\x04");
    const size_t counted = PROXY_V2_BYTES_MAX - 16, value = counted - 12 - 3;
    memcpy(bytes, start.p, start.n);
    bytes[14] = (char)(counted >> 8), bytes[15] = (char)counted;
    bytes[29] = (char)(value >> 8), bytes[30] = (char)value;
    assert_int_equal(proxy_header_parse(str_make(bytes, 16), &h, &n), E_AGAIN);
    assert_int_equal(n, PROXY_V2_BYTES_MAX);
    assert_int_equal(proxy_header_parse(str_make(bytes, sizeof(bytes)), &h, &n), E_OK);
    assert_int_equal(n, PROXY_V2_BYTES_MAX);
    bytes[14] = (char)((counted + 1) >> 8), bytes[15] = (char)(counted + 1);
    assert_int_equal(proxy_header_parse(str_make(bytes, 16), &h, &n), E_LIMIT);
    bytes[14] = bytes[15] = (char)0xff;
    assert_int_equal(proxy_header_parse(str_make(bytes, sizeof(bytes)), &h, &n), E_LIMIT);
}

/* The checksum holds for every byte of the header and for none behind it. */
static void checksum(void **state)
{
    struct proxy_header h;
    size_t n = 0;
    (void)state;
    char right[] = SIGNATURE "\x21\x11\0\x13" V4 "\x03\0\4\x01\xff\xa0\x64"
                             "GET";
    enum { HEADER_N = 35 };
    assert_int_equal(proxy_header_parse(str_make(right, sizeof(right)), &h, &n), E_OK);
    assert_int_equal(n, HEADER_N);
    for (size_t i = 16; i < HEADER_N; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bool is_type = i == 28; /* another type of thing is not ours to judge */
            right[i] ^= (char)(1 << bit);
            assert_int_equal(proxy_header_parse(str_make(right, sizeof(right)), &h, &n),
                             is_type ? E_OK : E_PROTO);
            right[i] ^= (char)(1 << bit);
        }
    }
    char two[] = SIGNATURE "\x21\x11\0\x1a" V4 "\x03\0\4\0\0\0\0\x03\0\4\0\0\0\0";
    assert_int_equal(proxy_header_parse(str_make(two, sizeof(two) - 1), &h, &n), E_PROTO);
}

static struct ip ip_of(const char *text)
{
    struct ip ip;
    assert_int_equal(ip_parse(str_from_cstr(text), &ip), E_OK);
    return ip;
}

static void emitting(void **state)
{
    static const struct {
        const char *source, *destination, *want;
        size_t v2_n;
    } ways[] = {
        {"192.0.2.1",   "192.0.2.2", "192.0.2.1 54321 192.0.2.2 443",  28},
        {"2001:db8::1", "::1",       "2001:db8::1 54321 ::1 443",      52},
        {"192.0.2.1",   "::1",       "::ffff:192.0.2.1 54321 ::1 443", 52},
        {"::1",         "192.0.2.1", "::1 54321 ::ffff:192.0.2.1 443", 52},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        for (uint8_t version = 1; version <= 2; version++) {
            char room[PROXY_V1_BYTES_MAX];
            struct wr w = wr_make(room, version == 1 ? PROXY_V1_BYTES_MAX : PROXY_V2_BYTES_EMITTED);
            struct proxy_header h = {.version = version,
                                     .source = ip_of(ways[i].source),
                                     .destination = ip_of(ways[i].destination),
                                     .source_port = 54321,
                                     .destination_port = 443};
            struct proxy_header again;
            size_t n;
            proxy_header_emit(&w, &h);
            assert_false(w.bad);
            assert_int_equal(proxy_header_parse(str_make(room, wr_n(&w)), &again, &n), E_OK);
            assert_int_equal(n, wr_n(&w));
            assert_int_equal(again.version, version);
            assert_true(version == 1 || n == ways[i].v2_n);
            check_addresses(&again, ways[i].want);
        }
    }
}

static void emitting_local(void **state)
{
    (void)state;
    const struct str want[] = {STR("PROXY UNKNOWN\r\n"), STR(SIGNATURE "\x20\0\0\0")};
    for (uint8_t version = 1; version <= 2; version++) {
        char room[PROXY_V2_BYTES_EMITTED];
        struct wr w = wr_make(room, sizeof(room));
        struct proxy_header h = {.version = version, .is_local = true};
        proxy_header_emit(&w, &h);
        assert_true(str_eq(str_make(room, wr_n(&w)), want[version - 1]));
    }
}

static void longest_emitted(void **state)
{
    char room[PROXY_V1_BYTES_MAX];
    struct wr w = wr_make(room, sizeof(room));
    struct ip longest = ip_of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    struct proxy_header h = {1, .source = longest, .destination = longest, .source_port = 65535,
                             .destination_port = 65535};
    (void)state;
    proxy_header_emit(&w, &h);
    assert_false(w.bad);
    assert_int_equal(wr_n(&w), 104);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),          cmocka_unit_test(byte_by_byte),
        cmocka_unit_test(longest_v1),     cmocka_unit_test(longest_v2),
        cmocka_unit_test(checksum),       cmocka_unit_test(emitting),
        cmocka_unit_test(emitting_local), cmocka_unit_test(longest_emitted),
    };
    return cmocka_run_group_tests_name("wire/proxy_header", tests, NULL, NULL);
}
