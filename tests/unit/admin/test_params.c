/* admin/params: queries decoded and encoded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admin/params.h"

enum { ARENA_BYTES = 64 * 1024 };

static void pairs(void **state)
{
    struct arena a;
    struct str query = STR("&a=1&&b=%2F%66x&c&=d&e=x=y"), name, value;
    static const char *const expected[][2] = {
        {"a", "1"  },
        {"b", "/fx"},
        {"c", ""   },
        {"",  "d"  },
        {"e", "x=y"}
    };
    enum err e;
    size_t n = 0;
    (void)state;
    arena_init(&a, ARENA_BYTES);
    while (params_next(&query, &a, &name, &value, &e)) {
        assert_true(str_eq(name, str_from_cstr(expected[n][0])));
        assert_true(str_eq(value, str_from_cstr(expected[n][1])));
        n++;
    }
    assert_int_equal(e, E_OK);
    assert_int_equal(n, 5);
    arena_fini(&a);
}

static void bad_escapes(void **state)
{
    static const char *const cases[] = {"a=%", "a=%2", "a=%2g", "a=%g2", "%=1", "a=b%"};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena a;
        struct str query = str_from_cstr(cases[i]), name, value;
        enum err e;
        arena_init(&a, ARENA_BYTES);
        assert_false(params_next(&query, &a, &name, &value, &e));
        assert_int_equal(e, E_PROTO);
        arena_fini(&a);
    }
}

static void no_memory(void **state)
{
    struct arena a;
    struct str query = STR("a=b"), name, value;
    enum err e;
    (void)state;
    arena_init(&a, 0);
    assert_false(params_next(&query, &a, &name, &value, &e));
    assert_int_equal(e, E_NOMEM);
    arena_fini(&a);
}

/* Every byte survives there and back. */
static void round_trip(void **state)
{
    char all[256];
    struct buf b;
    struct arena a;
    struct str query, name, value;
    enum err e;
    (void)state;
    for (int i = 0; i < 256; i++) {
        all[i] = (char)i;
    }
    buf_init(&b, 4096);
    arena_init(&a, ARENA_BYTES);
    params_add(&b, true, "x", str_make(all, 256));
    params_add(&b, false, "y", STR("/"));
    query = str_from(buf_str(&b), 1);
    assert_true(params_next(&query, &a, &name, &value, &e));
    assert_true(str_eq(value, str_make(all, 256)));
    assert_true(params_next(&query, &a, &name, &value, &e));
    assert_true(str_eq(name, STR("y")) && str_eq(value, STR("/")));
    assert_int_equal(b.p[0], '?');
    arena_fini(&a);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs),
        cmocka_unit_test(bad_escapes),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
