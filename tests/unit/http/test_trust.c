/* Whose word is believed: prefixes of both families, their edges, none at all. */
#include "http/trust.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

struct shard { /* as in a snapshot: the array behind its root */
    struct snap_global global;
    struct snap_prefix prefixes[4];
};

static struct shard shard_of(const char *const *prefixes, uint32_t n)
{
    struct shard s = {
        .global.trusted = {offsetof(struct shard, prefixes), n}
    };
    for (uint32_t i = 0; i < n; i++) {
        struct ip_prefix p;
        assert_int_equal(ip_prefix_parse(str_from_cstr(prefixes[i]), &p), E_OK);
        s.prefixes[i].family = p.ip.family;
        s.prefixes[i].bits = p.bits;
        mem_copy(s.prefixes[i].address, p.ip.bytes, sizeof(p.ip.bytes));
    }
    return s;
}

static bool trusts(const struct shard *s, const char *text)
{
    struct ip ip;
    assert_int_equal(ip_parse(str_from_cstr(text), &ip), E_OK);
    return http_trusts(&s->global, &ip);
}

static void prefixes(void **state)
{
    static const char *const list[] = {"192.0.2.0/25", "2001:db8::/32", "127.0.0.1/32",
                                       "10.0.0.0/8"};
    (void)state;
    const struct shard s = shard_of(list, 4);
    assert_true(trusts(&s, "192.0.2.0") && trusts(&s, "192.0.2.127"));
    assert_false(trusts(&s, "192.0.2.128") || trusts(&s, "192.0.1.255"));
    assert_true(trusts(&s, "2001:db8::1") && trusts(&s, "2001:db8:ffff::"));
    assert_false(trusts(&s, "2001:db9::") || trusts(&s, "::"));
    assert_true(trusts(&s, "127.0.0.1") && trusts(&s, "10.255.255.255"));
    assert_false(trusts(&s, "127.0.0.2"));
}

static void everybody_and_nobody(void **state)
{
    static const char *const list[] = {"0.0.0.0/0", "::/0"};
    (void)state;
    const struct shard none = shard_of(list, 0), v4 = shard_of(list, 1), all = shard_of(list, 2);
    assert_false(trusts(&none, "127.0.0.1") || trusts(&none, "::1"));
    assert_true(trusts(&v4, "203.0.113.9") && !trusts(&v4, "2001:db8::1"));
    assert_true(trusts(&all, "203.0.113.9") && trusts(&all, "2001:db8::1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes),
        cmocka_unit_test(everybody_and_nobody),
    };
    return cmocka_run_group_tests_name("http/trust", tests, NULL, NULL);
}
