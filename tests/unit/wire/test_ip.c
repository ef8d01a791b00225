/* IP addresses: text both ways, classes, prefixes; the C library as a second opinion. */
#include "wire/ip.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* clang-format off */
static const struct {
    struct str text, canonical; /* empty: refused */
} addresses[] = {
    {STR_INIT("0.0.0.0"), STR_INIT("0.0.0.0")},
    {STR_INIT("255.255.255.255"), STR_INIT("255.255.255.255")},
    {STR_INIT("::"), STR_INIT("::")},
    {STR_INIT("::1"), STR_INIT("::1")},
    {STR_INIT("1::"), STR_INIT("1::")},
    {STR_INIT("2001:DB8:0:0:1:0:0:1"), STR_INIT("2001:db8::1:0:0:1")},
    {STR_INIT("2001:0db8::0001"), STR_INIT("2001:db8::1")},
    {STR_INIT("2001:db8:0:1:1:1:1:1"), STR_INIT("2001:db8:0:1:1:1:1:1")},
    {STR_INIT("2001:db8::1:1:1:1:1"), STR_INIT("2001:db8:0:1:1:1:1:1")},
    {STR_INIT("2001:0:0:1:0:0:0:1"), STR_INIT("2001:0:0:1::1")},
    {STR_INIT("1:0:0:2:0:0:3:4"), STR_INIT("1::2:0:0:3:4")},
    {STR_INIT("0:0:1:2:3:4:0:0"), STR_INIT("::1:2:3:4:0:0")},
    {STR_INIT("1:2:3:4:5:6:7::"), STR_INIT("1:2:3:4:5:6:7:0")},
    {STR_INIT("::2:3:4:5:6:7:8"), STR_INIT("0:2:3:4:5:6:7:8")},
    {STR_INIT("::ffff:192.0.2.1"), STR_INIT("::ffff:192.0.2.1")},
    {STR_INIT("::ffff:c000:201"), STR_INIT("::ffff:192.0.2.1")},
    {STR_INIT("64:ff9b::192.0.2.1"), STR_INIT("64:ff9b::c000:201")},
    {STR_INIT("1:2:3:4:5:6:1.2.3.4"), STR_INIT("1:2:3:4:5:6:102:304")},
    {STR_INIT("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"),
     STR_INIT("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")},
    {STR_INIT(""), STR_INIT("")},
    {STR_INIT("1.2.3"), STR_INIT("")},
    {STR_INIT("1.2.3.4.5"), STR_INIT("")},
    {STR_INIT("1.2.3.256"), STR_INIT("")},
    {STR_INIT("1.2.3.04"), STR_INIT("")},
    {STR_INIT("01.2.3.4"), STR_INIT("")},
    {STR_INIT("1.2.3."), STR_INIT("")},
    {STR_INIT(".1.2.3"), STR_INIT("")},
    {STR_INIT("1.2.3.4 "), STR_INIT("")},
    {STR_INIT(" 1.2.3.4"), STR_INIT("")},
    {STR_INIT("1.2.3.0x4"), STR_INIT("")},
    {STR_INIT("1.2.3.4\0"), STR_INIT("")},
    {STR_INIT(":"), STR_INIT("")},
    {STR_INIT(":::"), STR_INIT("")},
    {STR_INIT("1:2:3:4:5:6:7"), STR_INIT("")},
    {STR_INIT("1:2:3:4:5:6:7:8:9"), STR_INIT("")},
    {STR_INIT("1:2:3:4::5:6:7:8"), STR_INIT("")},
    {STR_INIT("::1:2:3:4:5:6:7:8"), STR_INIT("")},
    {STR_INIT("1::2::3"), STR_INIT("")},
    {STR_INIT("1:::2"), STR_INIT("")},
    {STR_INIT(":1::"), STR_INIT("")},
    {STR_INIT("1::2:"), STR_INIT("")},
    {STR_INIT("12345::"), STR_INIT("")},
    {STR_INIT("g::"), STR_INIT("")},
    {STR_INIT("::1%eth0"), STR_INIT("")},
    {STR_INIT("[::1]"), STR_INIT("")},
    {STR_INIT("1.2.3.4::"), STR_INIT("")},
    {STR_INIT("::1.2.3.4:5"), STR_INIT("")},
    {STR_INIT("1:2:3:4:5:6:7:1.2.3.4"), STR_INIT("")},
    {STR_INIT("::1.2.3"), STR_INIT("")},
};
/* clang-format on */

static void text(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        struct ip ip, again;
        char room[IP_TEXT_MAX];
        struct wr w = wr_make(room, sizeof(room));
        enum err e = ip_parse(addresses[i].text, &ip);
        if (e == E_OK) {
            ip_emit(&w, &ip);
        }
        if (w.bad || !str_eq((struct str){room, wr_n(&w)}, addresses[i].canonical)) {
            fail_msg("%.*s: %s: %.*s", STR_ARG(addresses[i].text), err_text(e), (int)wr_n(&w),
                     room);
        }
        if (e == E_OK) {
            assert_int_equal(ip_parse((struct str){room, wr_n(&w)}, &again), E_OK);
            assert_memory_equal(&again, &ip, sizeof(ip));
        }
    }
}

static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Texts from the alphabet of addresses: the C library and we take the same ones, as the same. */
static void agrees_with_the_c_library(void **state)
{
    (void)state;
    uint64_t seed = 0x1234567890abcdefU;
    size_t good_n = 0;
    for (int round = 0; round < 200000; round++) {
        char room[24];
        size_t n = 1 + random_next(&seed) % (sizeof(room) - 2);
        for (size_t i = 0; i < n; i++) {
            room[i] = ":::.012fF"[random_next(&seed) % 9];
        }
        room[n] = '\0';
        struct ip ip = {0};
        uint8_t theirs[16] = {0};
        int family = strchr(room, ':') != NULL ? AF_INET6 : AF_INET;
        bool is_theirs = inet_pton(family, room, theirs) == 1;
        bool is_ours = ip_parse((struct str){room, n}, &ip) == E_OK;
        if (is_ours != is_theirs || memcmp(ip.bytes, theirs, is_ours ? sizeof(theirs) : 0) != 0) {
            fail_msg("%s", room);
        }
        good_n += is_ours;
    }
    assert_true(good_n > 100);
}

static struct ip ip_of(const char *s)
{
    struct ip ip;
    assert_int_equal(ip_parse(str_from_cstr(s), &ip), E_OK);
    return ip;
}

static void random_addresses_survive_the_text(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int round = 0; round < 20000; round++) {
        struct ip ip = {.family = round % 4 == 0 ? 4 : 6}, again;
        for (int i = 0; i < (ip.family == 4 ? 4 : 16); i++) { /* many zeros: gaps */
            ip.bytes[i] = random_next(&seed) % 3 != 0 ? 0 : (uint8_t)random_next(&seed);
        }
        char room[IP_TEXT_MAX], theirs[IP_TEXT_MAX + 1];
        struct wr w = wr_make(room, sizeof(room));
        ip_emit(&w, &ip);
        assert_false(w.bad);
        assert_int_equal(ip_parse((struct str){room, wr_n(&w)}, &again), E_OK);
        assert_memory_equal(&again, &ip, sizeof(ip));
        assert_non_null(
            inet_ntop(ip.family == 4 ? AF_INET : AF_INET6, ip.bytes, theirs, sizeof(theirs)));
        if (strchr(theirs, '.') == NULL || ip.family == 4) { /* it has more mixed forms than we */
            assert_true(str_eq(str_from_cstr(theirs), (struct str){room, wr_n(&w)}));
        }
    }
}

static const struct {
    const char *text;
    bool is_loopback, is_unusable;
} classes[] = {
    {"127.0.0.1",              true,  false},
    {"127.255.255.255",        true,  false},
    {"126.255.255.255",        false, false},
    {"128.0.0.0",              false, false},
    {"::1",                    true,  false},
    {"::2",                    false, false},
    {"::ffff:127.0.0.1",       true,  false},
    {"0.0.0.0",                false, true },
    {"0.0.0.1",                false, false},
    {"::",                     false, true },
    {"::ffff:0.0.0.0",         false, true },
    {"169.253.255.255",        false, false},
    {"169.254.0.0",            false, true },
    {"169.254.169.254",        false, true },
    {"169.255.0.0",            false, false},
    {"::ffff:169.254.169.254", false, true },
    {"223.255.255.255",        false, false},
    {"224.0.0.0",              false, true },
    {"239.255.255.255",        false, true },
    {"240.0.0.0",              false, false},
    {"fe7f:ffff::1",           false, false},
    {"fe80::1",                false, true },
    {"febf:ffff::1",           false, true },
    {"fec0::1",                false, false},
    {"ff02::1",                false, true },
    {"10.0.0.1",               false, false},
    {"2001:db8::1",            false, false},
};

static void address_classes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        struct ip ip = ip_of(classes[i].text);
        if (ip_is_loopback(&ip) != classes[i].is_loopback ||
            ip_is_unusable(&ip) != classes[i].is_unusable) {
            fail_msg("%s", classes[i].text);
        }
    }
}

static void unmapped(void **state)
{
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"::ffff:192.0.2.1", "192.0.2.1"       },
        {"192.0.2.1",        "192.0.2.1"       },
        {"::192.0.2.1",      "::192.0.2.1"     },
        {"::fffe:192.0.2.1", "::fffe:192.0.2.1"},
        {"2001:db8::1",      "2001:db8::1"     },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ip from = ip_of(cases[i].from), to = ip_of(cases[i].to), got = ip_unmapped(&from);
        assert_memory_equal(&got, &to, sizeof(to));
    }
}

static void order(void **state)
{
    (void)state;
    static const char *const sorted[] = {"0.0.0.0", "1.0.0.0",        "1.0.0.1", "255.0.0.0",
                                         "::",      "::ffff:1.0.0.0", "1::",     "ff::"};
    enum { N = sizeof(sorted) / sizeof(sorted[0]) };
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < N; k++) {
            struct ip a = ip_of(sorted[i]), b = ip_of(sorted[k]);
            int got = ip_cmp(&a, &b);
            assert_int_equal((got > 0) - (got < 0), (i > k) - (i < k));
        }
    }
}

static const struct {
    const char *prefix, *inside, *outside;
} prefixes[] = {
    {"10.0.0.0/8",      "10.255.255.255",  "11.0.0.0"       },
    {"10.1.2.3/8",      "10.0.0.0",        "9.255.255.255"  },
    {"192.0.2.4",       "192.0.2.4",       "192.0.2.5"      },
    {"192.0.2.4/32",    "192.0.2.4",       "192.0.2.5"      },
    {"192.0.2.4/31",    "192.0.2.5",       "192.0.2.6"      },
    {"192.0.2.0/25",    "192.0.2.127",     "192.0.2.128"    },
    {"0.0.0.0/0",       "255.255.255.255", "::"             },
    {"::/0",            "ffff::",          "0.0.0.0"        },
    {"2001:db8::/32",   "2001:db8:ffff::", "2001:db9::"     },
    {"2001:db8::/33",   "2001:db8:7fff::", "2001:db8:8000::"},
    {"2001:db8::1/128", "2001:db8::1",     "2001:db8::"     },
    {"2001:db8::1/127", "2001:db8::",      "2001:db8::2"    },
    {"2001:db8::1",     "2001:db8::1",     "2001:db8::2"    },
};

static void prefix(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        struct ip_prefix p;
        assert_int_equal(ip_prefix_parse(str_from_cstr(prefixes[i].prefix), &p), E_OK);
        struct ip inside = ip_of(prefixes[i].inside), outside = ip_of(prefixes[i].outside);
        if (!ip_prefix_has(&p, &p.ip) || !ip_prefix_has(&p, &inside) ||
            ip_prefix_has(&p, &outside)) {
            fail_msg("%s", prefixes[i].prefix);
        }
    }
}

static void prefix_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         "/8",          "10.0.0.0/",   "10.0.0.0/33",
                                      "::/129",   "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8/8",
                                      "10.0.0/8", "10.0.0.0/ 8", "a/8",         "10.0.0.0/8 "};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct ip_prefix p;
        assert_int_equal(ip_prefix_parse(str_from_cstr(bad[i]), &p), E_PROTO);
    }
}

static void host_bits_are_cleared(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits <= 128; bits++) {
        char room[64];
        (void)snprintf(room, sizeof(room), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/%u", bits);
        struct ip_prefix p;
        assert_int_equal(ip_prefix_parse(str_from_cstr(room), &p), E_OK);
        for (unsigned i = 0; i < 128; i++) {
            assert_int_equal(p.ip.bytes[i / 8] >> (7 - i % 8) & 1, i < bits);
        }
    }
}

static void lists_of_prefixes(void **state)
{
    struct ip_prefix list[2];
    uint32_t n = 9;
    (void)state;
    assert_int_equal(ip_prefixes_parse(STR(""), list, 2, &n), E_OK);
    assert_int_equal(n, 0);
    assert_int_equal(ip_prefixes_parse(STR("10.0.0.0/8 , ::1"), list, 2, &n), E_OK);
    assert_int_equal(n, 2);
    assert_int_equal(list[0].bits, 8);
    assert_int_equal(list[1].bits, 128);
    n = 9;
    assert_int_equal(ip_prefixes_parse(STR("10.0.0.0/8,::1,::2"), list, 2, &n), E_LIMIT);
    assert_int_equal(ip_prefixes_parse(STR("10.0.0.0/8,,::1"), list, 2, &n), E_PROTO);
    assert_int_equal(ip_prefixes_parse(STR("10.0.0.0/8 ::1"), list, 2, &n), E_PROTO);
    assert_int_equal(n, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text),
        cmocka_unit_test(agrees_with_the_c_library),
        cmocka_unit_test(random_addresses_survive_the_text),
        cmocka_unit_test(address_classes),
        cmocka_unit_test(unmapped),
        cmocka_unit_test(order),
        cmocka_unit_test(prefix),
        cmocka_unit_test(prefix_refuses),
        cmocka_unit_test(host_bits_are_cleared),
        cmocka_unit_test(lists_of_prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
