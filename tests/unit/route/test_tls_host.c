/* Which host answers a handshake: the order of specificity, names that clients make up, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../lib/snapshot_make.h"
#include "route/query.h"
#include "route/tls_host.h"

static struct make_set set;

struct config {
    struct buf bytes;
    struct snapshot s;
    struct snapshot_segment *segment;
};

static void config_open(struct config *c, const char *const *patterns)
{
    struct snapshot_fault fault = {0};
    for (; *patterns != NULL; patterns++) {
        assert_int_equal(make_tls_host(make_next(&set), "ingress", *patterns, ""), E_OK);
    }
    assert_int_equal(make_global(make_next(&set), "ingress"), E_OK);
    buf_init(&c->bytes, 1 << 20);
    assert_int_equal(make_segment(&set, &c->bytes, 0, 1), E_OK);
    make_clear(&set);
    c->segment = make_open(c->bytes.p, c->bytes.n, &fault);
    if (c->segment == NULL) {
        fail_msg("%s", fault.what);
    }
    snapshot_init(&c->s);
    assert_int_equal(snapshot_apply(&c->s, c->segment, NULL, NULL), E_OK);
}

static void config_fini(struct config *c)
{
    snapshot_fini(&c->s);
    snapshot_segment_unref(c->segment);
    buf_fini(&c->bytes);
}

/* The pattern of the host that answers; "-": none does. */
static void expect(const struct config *c, const char *table, const char *name, const char *want)
{
    struct snapshot_segment *segment = NULL;
    const struct snap_tls_host *h =
        route_tls_host(&c->s, str_from_cstr(table), str_from_cstr(name), &segment);
    struct str got = h == NULL ? STR("-") : snap_str_get(h, h->host);
    if (!str_eq(got, str_from_cstr(want))) {
        fail_msg("%s: \"%.*s\" instead of \"%s\"", name, STR_ARG(got), want);
    }
    assert_ptr_equal(segment, h == NULL ? NULL : c->segment);
}

static void specificity(void **state)
{
    static const char *const patterns[] = {"foo.example.com", "*.example.com", "", NULL};
    static const struct {
        const char *name, *want;
    } cases[] = {
        {"foo.example.com",   "foo.example.com"},
        {"bar.example.com",   "*.example.com"  },
        {"a.foo.example.com", ""               },
        {"example.com",       ""               },
        {".example.com",      ""               },
        {"*.example.com",     "*.example.com"  }, /* a label like any other */
        {"foo.example.com.",  ""               },
        {"FOO.example.com",   "*.example.com"  }, /* lower case is the caller's */
        {"com",               ""               },
        {"com.",              ""               },
        {".",                 ""               },
        {"",                  ""               },
    };
    struct config c;
    (void)state;
    config_open(&c, patterns);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        expect(&c, "ingress", cases[i].name, cases[i].want);
    }
    expect(&c, "other", "foo.example.com", "-");
    expect(&c, "", "foo.example.com", "-");
    config_fini(&c);
}

/* Without a host "", what nobody has is nobody's; a name is no door to the shard of a pattern. */
static void nobody(void **state)
{
    static const char *const patterns[] = {"*.a.b", "x", NULL};
    struct config c;
    (void)state;
    config_open(&c, patterns);
    expect(&c, "ingress", "x", "x");
    expect(&c, "ingress", "y.x", "-");
    expect(&c, "ingress", "*.a.b", "*.a.b");
    expect(&c, "ingress", "y.*.a.b", "-");
    expect(&c, "ingress", "", "-");
    config_fini(&c);
}

static void lengths(void **state)
{
    enum { NAME_MAX_BYTES = 253 };
    char longest[16 * SNAP_HOST_BYTES_MAX] = "";
    char table[16 * SNAP_TABLE_BYTES_MAX] = "";
    const char *patterns[] = {longest, "", NULL};
    struct config c;
    (void)state;
    memset(longest, 'a', NAME_MAX_BYTES);
    config_open(&c, patterns);
    expect(&c, "ingress", longest, longest);
    for (size_t n = NAME_MAX_BYTES + 1; n < sizeof(longest); n += 1 + n / 3) {
        memset(longest, 'a', n);
        expect(&c, "ingress", longest, "");
        longest[1] = '.';
        expect(&c, "ingress", longest, "");
    }
    for (size_t n = SNAP_TABLE_BYTES_MAX; n < sizeof(table); n += 1 + n / 3) {
        memset(table, 't', n);
        expect(&c, table, "x", "-");
    }
    config_fini(&c);
}

static void tables(void **state)
{
    static const char *const patterns[] = {"x", NULL};
    struct snapshot empty;
    struct config c;
    (void)state;
    config_open(&c, patterns);
    assert_true(str_eq(route_table(&c.s, STR("http")), STR("ingress")));
    assert_true(str_eq(route_table(&c.s, STR("other")), STR_EMPTY));
    snapshot_init(&empty);
    assert_true(str_eq(route_table(&empty, STR("http")), STR_EMPTY));
    config_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(specificity),
        cmocka_unit_test(nobody),
        cmocka_unit_test(lengths),
        cmocka_unit_test(tables),
    };
    return cmocka_run_group_tests_name("route/tls_host", tests, NULL, NULL);
}
