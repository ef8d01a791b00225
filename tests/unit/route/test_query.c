/* route/query: what a request says, as routes are matched against it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "route/query.h"

#include <string.h>

enum { ROOM = 256 };

static enum err prepare(const char *authority, const char *target, char *scratch,
                        struct route_query *ret)
{
    struct str a = str_from_cstr(authority), t = str_from_cstr(target);
    return route_query_prepare(STR("ingress"), STR("GET"), a, t, scratch, a.n + t.n, ret);
}

static void requests(void **state)
{
    static const struct {
        const char *authority, *target, *host, *path, *query;
    } cases[] = {
        {"a.test",      "/",                   "a.test", "/",        ""     },
        {"A.Test:8080", "/b?c=d?e",            "a.test", "/b",       "c=d?e"},
        {"a.test.",     "/",                   "a.test", "/",        ""     },
        {"",            "/x",                  "",       "/x",       ""     },
        {"[::1]:80",    "/",                   "::1",    "/",        ""     },
        {"a",           "/a/./b/../c//d",      "a",      "/a/c/d",   ""     },
        {"a",           "/%61%2f%2F",          "a",      "/a%2F%2F", ""     },
        {"a",           "/?%zz",               "a",      "/",        "%zz"  },
        {"a",           "*",                   "a",      "*",        ""     },
 /* RFC 9112 section 3.2.2: the authority of an absolute form counts */
        {"ignored:1",   "http://B.test:9/x?y", "b.test", "/x",       "y"    },
        {"ignored",     "http://b.test",       "b.test", "/",        ""     },
        {"",            "http://b.test/../x",  "b.test", "/x",       ""     },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char scratch[ROOM];
        struct route_query q;
        assert_int_equal(prepare(cases[i].authority, cases[i].target, scratch, &q), E_OK);
        assert_true(str_eq(q.host, str_from_cstr(cases[i].host)));
        assert_true(str_eq(q.path, str_from_cstr(cases[i].path)));
        assert_true(str_eq(q.query, str_from_cstr(cases[i].query)));
        assert_true(str_eq(q.table, STR("ingress")) && str_eq(q.method, STR("GET")));
        assert_null(q.field);
    }
}

static void what_is_refused(void **state)
{
    static const struct {
        const char *authority, *target;
    } cases[] = {
        {"a b", "/"  },
        {"a:x", "/"  },
        {":80", "/"  },
        {"a",   ""   },
        {"a",   "b"  },
        {"a",   "/%" },
        {"a",   "/%2"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char scratch[ROOM];
        struct route_query q = {.host = STR("as it was")};
        assert_int_equal(prepare(cases[i].authority, cases[i].target, scratch, &q), E_PROTO);
        assert_true(str_eq(q.host, STR("as it was")));
    }
}

/* authority.n + target.n bytes are enough and not exceeded; one less is refused. */
static void room(void **state)
{
    const struct str authority = STR("HOST.test"), target = STR("/%41//%42");
    char scratch[ROOM];
    struct route_query q;
    size_t n = authority.n + target.n;
    (void)state;
    memset(scratch, '#', sizeof(scratch));
    assert_int_equal(
        route_query_prepare(STR("t"), STR("GET"), authority, target, scratch, n - 1, &q), E_LIMIT);
    assert_int_equal(route_query_prepare(STR("t"), STR("GET"), authority, target, scratch, n, &q),
                     E_OK);
    assert_true(str_eq(q.path, STR("/A/B")));
    for (size_t i = n; i < sizeof(scratch); i++) {
        assert_int_equal(scratch[i], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
