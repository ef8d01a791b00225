/* Matching: the rules of the specification one by one, then thousands of generated configurations
 * and requests against the naive matcher of tests/lib/route_naive.h. Prints what a match costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../../lib/route_naive.h"
#include "../../lib/snapshot_make.h"
#include "base/mem.h"

static struct make_set set;

struct config {
    struct buf bytes;
    struct snapshot s;
};

static void config_open(struct config *c, const struct make_host *hosts, size_t n)
{
    struct snapshot_fault fault = {0};
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(make_host(make_next(&set), "ingress", &hosts[i]), E_OK);
    }
    buf_init(&c->bytes, 512 << 20);
    assert_int_equal(make_segment(&set, &c->bytes, 0, 1), E_OK);
    make_clear(&set);
    struct snapshot_segment *s = make_open(c->bytes.p, c->bytes.n, &fault);
    if (s == NULL) {
        fail_msg("%s", fault.what);
    }
    snapshot_init(&c->s);
    assert_int_equal(snapshot_apply(&c->s, s, NULL, NULL), E_OK);
    snapshot_segment_unref(s);
}

static void config_fini(struct config *c)
{
    snapshot_fini(&c->s);
    buf_fini(&c->bytes);
}

struct field_pair {
    const char *name, *value;
};

static bool find_field(const void *arg, struct str name, struct str *ret_value)
{
    const struct field_pair *f = arg;
    if (f->name == NULL || !str_eq(str_from_cstr(f->name), name)) {
        return false;
    }
    *ret_value = str_from_cstr(f->value);
    return true;
}

static struct route_query query_of(const char *host, const char *path)
{
    static const struct field_pair none = {NULL, NULL};
    return (struct route_query){.table = STR("ingress"),
                                .host = str_from_cstr(host),
                                .path = str_from_cstr(path),
                                .method = STR("GET"),
                                .query = STR(""),
                                .field = find_field,
                                .field_arg = &none};
}

/* 0 = none; a default route has ids from 1000. */
static uint32_t id_of(const struct config *c, const struct route_query *q)
{
    struct route_match m;
    route_match(&c->s, q, &m);
    if (m.route == NULL) {
        assert_false(m.is_default);
        return 0;
    }
    assert_non_null(m.segment);
    assert_int_equal(m.is_default, m.route->rule >= 1000);
    return m.route->rule;
}

static uint32_t ask(const struct config *c, const char *host, const char *path)
{
    struct route_query q = query_of(host, path);
    return id_of(c, &q);
}

/* ---- paths ---- */

static void test_paths(void **state)
{
    (void)state;
    static const struct make_rule rules[] = {
        {"/foo",      false, 1,  0, {{0}}},
        {"/foo",      true,  2,  0, {{0}}},
        {"/foo/",     true,  3,  0, {{0}}},
        {"/bar/",     false, 4,  0, {{0}}},
        {"/aaa/bbb",  false, 5,  0, {{0}}},
        {"/aaa",      false, 6,  0, {{0}}},
        {"/aaa/bbb.", false, 7,  0, {{0}}},
        {"/only",     true,  8,  0, {{0}}},
        {"/a/b/c/d",  false, 9,  0, {{0}}},
        {"/a//b",     false, 10, 0, {{0}}},
    };
    static const struct {
        const char *path;
        uint32_t want;
    } cases[] = {
        {"/foo",        2 },
        {"/foo/",       3 },
        {"/foo/x",      1 },
        {"/foo//",      1 },
        {"/foobar",     0 },
        {"/fo",         0 },
        {"/",           0 },
        {"/bar",        4 },
        {"/bar/",       4 },
        {"/bar/x/y",    4 },
        {"/barx",       0 },
        {"/aaa/bbb",    5 },
        {"/aaa/bbb/",   5 },
        {"/aaa/bbb/c",  5 },
        {"/aaa/bb",     6 },
        {"/aaa/bbbb",   6 },
        {"/aaa/bbb.",   7 },
        {"/aaa/bbb.x",  6 },
        {"/aaa/bbb./x", 7 },
        {"/aaa",        6 },
        {"/aaa/",       6 },
        {"/aaaa",       0 },
        {"/only",       8 },
        {"/only/",      0 },
        {"/only/x",     0 },
        {"/a",          0 },
        {"/a/b/c",      0 },
        {"/a/b/c/d",    9 },
        {"/a/b/c/d/e",  9 },
        {"/a/b/c/de",   0 },
        {"/a//b",       10},
        {"/a//b/c",     10},
        {"/a/b",        0 },
        {"/FOO",        0 },
        {"/foo/../bar", 1 },
        {"/zzz",        0 },
        {"/!",          0 },
        {"*",           0 },
        {"",            0 },
    };
    const struct make_host host = {"h.example.com", rules, 10, 0, false};
    struct config c;
    config_open(&c, &host, 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint32_t got = ask(&c, "h.example.com", cases[i].path);
        if (got != cases[i].want) {
            fail_msg("%s: %u instead of %u", cases[i].path, got, cases[i].want);
        }
    }
    config_fini(&c);
}

static void test_root(void **state)
{
    (void)state;
    static const struct make_rule rules[] = {
        {"/", false, 1, 0, {{0}}},
        {"/", true,  2, 0, {{0}}}
    };
    const struct make_host host = {"h", rules, 2, 0, false};
    struct config c;
    config_open(&c, &host, 1);
    assert_int_equal(ask(&c, "h", "/"), 2);
    assert_int_equal(ask(&c, "h", "/x"), 1);
    assert_int_equal(ask(&c, "h", "//"), 1);
    config_fini(&c);
}

/* ---- hosts ---- */

static void test_hosts(void **state)
{
    (void)state;
    static const struct make_rule rules[] = {
        {"/", false, 1, 0, {{0}}},
        {"/", false, 2, 0, {{0}}},
        {"/", false, 3, 0, {{0}}},
        {"/", false, 4, 0, {{0}}},
        {"/", false, 5, 0, {{0}}},
    };
    const struct make_host hosts[] = {
        {"foo.example.com", rules,     1, 0, false},
        {"*.example.com",   rules + 1, 1, 0, false},
        {"**.example.com",  rules + 2, 1, 0, false},
        {"**.com",          rules + 3, 1, 0, false},
        {"",                rules + 4, 1, 0, false},
    };
    static const struct {
        const char *host;
        uint32_t want;
    } cases[] = {
        {"foo.example.com",   1},
        {"bar.example.com",   2},
        {"a.bar.example.com", 3},
        {"a.foo.example.com", 3},
        {"example.com",       4},
        {"x.y.com",           4},
        {"com",               5},
        {"",                  5},
        {"example.org",       5},
        {"xexample.com",      4},
        {".example.com",      5},
        {"*.example.com",     2},
        {"**.example.com",    2},
        {"foo.example.comx",  5},
        {"a..example.com",    5},
    };
    struct config c;
    config_open(&c, hosts, 5);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint32_t got = ask(&c, cases[i].host, "/");
        if (got != cases[i].want) {
            fail_msg("%s: %u instead of %u", cases[i].host, got, cases[i].want);
        }
    }
    config_fini(&c);
}

/* A client may name a host "*.example.com"; that is no door to the shard of that key. */
static void test_stars_from_a_client(void **state)
{
    (void)state;
    static const struct make_rule rules[] = {
        {"/", false, 1, 0, {{0}}}
    };
    const struct make_host hosts[] = {
        {"*.a.b", rules, 1, 0, true},
        {"x",     rules, 1, 0, true}
    };
    struct config c;
    config_open(&c, hosts, 2);
    assert_int_equal(ask(&c, "**.a.b", "/"), 1); /* a label like any other */
    assert_int_equal(ask(&c, "y.*.a.b", "/"), 0);
    config_fini(&c);
}

static void test_host_length(void **state)
{
    (void)state;
    char longest[253 + 2] = "";
    static const struct make_rule rules[] = {
        {"/", false, 1, 0, {{0}}},
        {"/", false, 2, 0, {{0}}}
    };
    for (size_t i = 0; i < 253; i++) {
        longest[i] = i % 2 == 0 ? 'a' : '.'; /* 127 labels */
    }
    const struct make_host hosts[] = {
        {longest, rules,     1, 0, false},
        {"",      rules + 1, 1, 0, false},
        {"**.z",  rules,     1, 0, false}
    };
    struct config c;
    config_open(&c, hosts, 3);
    assert_int_equal(ask(&c, longest, "/"), 1);
    longest[0] = 'b';
    assert_int_equal(ask(&c, longest, "/"), 2);
    longest[0] = 'a';
    longest[253] = 'a'; /* one more than a name can have */
    assert_int_equal(ask(&c, longest, "/"), 2);
    config_fini(&c);
}

static void test_tables(void **state)
{
    (void)state;
    char table[16 * SNAP_TABLE_BYTES_MAX];
    static const struct make_rule rules[] = {
        {"/", false, 1, 0, {{0}}}
    };
    const struct make_host hosts[] = {
        {"a.b", rules, 1, 0, true},
        {"",    rules, 1, 0, true}
    };
    struct config c;
    config_open(&c, hosts, 2);
    struct route_query q = query_of("a.b", "/");
    assert_int_equal(id_of(&c, &q), 1);
    q.table = STR("other");
    assert_int_equal(id_of(&c, &q), 0);
    memset(table, 't', sizeof(table));
    for (size_t n = SNAP_TABLE_BYTES_MAX; n <= sizeof(table); n += 1 + n / 3) {
        q.table = str_make(table, n);
        assert_int_equal(id_of(&c, &q), 0);
    }
    q.table = STR("");
    assert_int_equal(id_of(&c, &q), 0);
    config_fini(&c);
}

/* ---- falling through, and default routes ---- */

static void test_defaults(void **state)
{
    (void)state;
    static const struct make_rule rules[] = {
        {"/x", false, 1, 0, {{0}}},
        {"/y", false, 2, 0, {{0}}},
        {"/z", false, 3, 0, {{0}}}
    };
    struct make_host hosts[] = {
        {"a.b.c", rules,     1, 0,    false},
        {"*.b.c", rules + 1, 1, 1001, false},
        {"",      rules + 2, 1, 1002, false}
    };
    struct config c;
    config_open(&c, hosts, 3);
    assert_int_equal(ask(&c, "a.b.c", "/x"), 1);
    assert_int_equal(ask(&c, "a.b.c", "/y"), 2);
    assert_int_equal(ask(&c, "a.b.c", "/z"), 3);
    assert_int_equal(ask(&c, "a.b.c", "/"), 1001);
    assert_int_equal(ask(&c, "d", "/"), 1002);
    config_fini(&c);
    hosts[0].is_final = true; /* the search ends with it */
    config_open(&c, hosts, 3);
    assert_int_equal(ask(&c, "a.b.c", "/y"), 0);
    assert_int_equal(ask(&c, "z.b.c", "/z"), 3);
    config_fini(&c);
    hosts[0].default_id = 1003; /* after its own default */
    config_open(&c, hosts, 3);
    assert_int_equal(ask(&c, "a.b.c", "/y"), 1003);
    config_fini(&c);
    hosts[0].default_id = 0;
    hosts[0].is_final = false;
    hosts[1].is_final = true;
    config_open(&c, hosts, 3);
    assert_int_equal(ask(&c, "a.b.c", "/z"), 1001);
    assert_int_equal(ask(&c, "z", "/z"), 3);
    config_fini(&c);
}

/* ---- conditions ---- */

static void test_conditions(void **state)
{
    (void)state;
    static const struct make_rule rules[] = {
        {"/p", false, 1, 1, {{SNAP_IF_METHOD, "", "POST"}}                               },
        {"/p", false, 2, 2, {{SNAP_IF_HEADER, "x-v", "2"}, {SNAP_IF_QUERY, "a b", "c&d"}}},
        {"/p", false, 3, 1, {{SNAP_IF_QUERY, "e", ""}}                                   },
        {"/p", true,  4, 1, {{SNAP_IF_METHOD, "", "PUT"}}                                },
        {"/",  false, 5, 0, {{0}}                                                        },
    };
    static const struct {
        const char *method, *query;
        struct field_pair field;
        uint32_t want;
    } cases[] = {
        {"GET",  "",                 {NULL, NULL}, 5},
        {"POST", "",                 {NULL, NULL}, 1},
        {"post", "",                 {NULL, NULL}, 5},
        {"PUT",  "",                 {NULL, NULL}, 4}, /* the exact route goes first */
        {"GET",  "a+b=c%26d",        {"x-v", "2"}, 2},
        {"GET",  "a%20b=%63%26d",    {"x-v", "2"}, 2},
        {"GET",  "x&a%20b=c%26d&y",  {"x-v", "2"}, 2},
        {"GET",  "a+b=c%26d",        {"x-v", "3"}, 5},
        {"GET",  "a+b=c%26d",        {"x-w", "2"}, 5},
        {"GET",  "a+b=c&d",          {"x-v", "2"}, 5},
        {"GET",  "a+b=no&a+b=c%26d", {"x-v", "2"}, 5}, /* the first counts */
        {"GET",  "a+b=c%26",         {"x-v", "2"}, 5},
        {"GET",  "a+b=c%26dd",       {"x-v", "2"}, 5},
        {"GET",  "e",                {NULL, NULL}, 3},
        {"GET",  "e=",               {NULL, NULL}, 3},
        {"GET",  "%65=",             {NULL, NULL}, 3},
        {"GET",  "e=1",              {NULL, NULL}, 5},
        {"GET",  "e=%",              {NULL, NULL}, 5},
        {"GET",  "e%3d",             {NULL, NULL}, 5},
        {"GET",  "ee",               {NULL, NULL}, 5},
        {"GET",  "&&e&",             {NULL, NULL}, 3},
    };
    const struct make_host host = {"", rules, 5, 0, false};
    struct config c;
    config_open(&c, &host, 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct route_query q = query_of("h", "/p");
        q.method = str_from_cstr(cases[i].method);
        q.query = str_from_cstr(cases[i].query);
        q.field_arg = &cases[i].field;
        uint32_t got = id_of(&c, &q);
        if (got != cases[i].want) {
            fail_msg("case %zu: %u instead of %u", i, got, cases[i].want);
        }
    }
    config_fini(&c);
}

/* A '%' that begins nothing is a '%'. */
static void test_broken_escapes(void **state)
{
    (void)state;
    static const struct {
        const char *query, *value;
    } cases[] = {
        {"a=%",    "%"  },
        {"a=%2",   "%2" },
        {"a=%zz",  "%zz"},
        {"a=%2g",  "%2g"},
        {"a=%%41", "%A" }
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct make_rule rule = {"/", false, 1, 1, {{SNAP_IF_QUERY, "a", cases[i].value}}};
        const struct make_host host = {"", &rule, 1, 0, false};
        struct config c;
        config_open(&c, &host, 1);
        struct route_query q = query_of("h", "/");
        q.query = str_from_cstr(cases[i].query);
        assert_int_equal(id_of(&c, &q), 1);
        config_fini(&c);
    }
}

/* ---- backends ---- */

static void test_backends(void **state)
{
    (void)state;
    struct {
        struct snap_host host;
        struct snap_backend backends[5];
    } x = {
        .host.backends = {sizeof(struct snap_host), 5}
    };
    const uint32_t weights[] = {9, 0, 2, 0, 1};
    for (size_t i = 0; i < 5; i++) {
        x.backends[i].weight = weights[i];
    }
    struct snap_route route = {
        .backends = {1, 4},
          .weight_sum = 3
    };
    struct route_match m = {.host = &x.host, .route = &route};
    assert_ptr_equal(route_backend(&m, 0), &x.backends[2]);
    assert_ptr_equal(route_backend(&m, 1), &x.backends[2]);
    assert_ptr_equal(route_backend(&m, 2), &x.backends[4]);
    assert_null(route_backend(&m, 3));
    route.backends = (struct snap_range){1, 1};
    assert_null(route_backend(&m, 0));
    route.backends = (struct snap_range){5, 0};
    assert_null(route_backend(&m, 0));
}

/* ---- explain ---- */

struct trace {
    char text[400];
};

static void trace_add(void *arg, const struct snap_host *host, const struct snap_route *route,
                      enum route_verdict verdict)
{
    struct trace *t = arg;
    size_t n = strlen(t->text);
    assert_non_null(host);
    (void)snprintf(t->text + n, sizeof(t->text) - n, "%u%c ", route->rule, "WLPC"[verdict]);
}

static void test_explain(void **state)
{
    (void)state;
    static const struct make_rule rules[] = {
        {"/",    false, 1, 0, {{0}}                         },
        {"/p",   false, 2, 1, {{SNAP_IF_METHOD, "", "POST"}}},
        {"/p",   true,  3, 0, {{0}}                         },
        {"/p/q", false, 4, 0, {{0}}                         },
    };
    const struct make_host hosts[] = {
        {"a.b", rules, 4, 1001, true },
        {"",    rules, 1, 1002, false}
    };
    static const struct {
        const char *host, *path, *want;
    } cases[] = {
        {"a.b", "/p",    "4P 3W 2C 1L 1001L 1L 1002L "},
        {"a.b", "/p/x",  "4P 3P 2C 1W 1001L 1L 1002L "},
        {"a.b", "/p/q/", "4W 3P 2C 1L 1001L 1L 1002L "},
        {"a.b", "*",     "4P 3P 2P 1P 1001W 1P 1002L "},
        {"x",   "/p",    "1W 1002L "                  },
        {"x",   "*",     "1P 1002W "                  },
    };
    struct config c;
    config_open(&c, hosts, 2);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct trace t = {""};
        struct route_match m, same;
        struct route_query q = query_of(cases[i].host, cases[i].path);
        route_explain(&c.s, &q, &m, trace_add, &t);
        route_match(&c.s, &q, &same);
        assert_ptr_equal(m.route, same.route);
        assert_string_equal(t.text, cases[i].want);
    }
    config_fini(&c);
}

/* ---- against the naive matcher ---- */

enum { WORLDS = 2500, REQUESTS = 100, HOSTS = 8, RULES = 7 };

static uint64_t seed = 12345;

static uint32_t pick(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % n;
}

struct world {
    struct make_host hosts[HOSTS];
    struct make_rule rules[HOSTS * RULES];
    char paths[HOSTS * RULES][32];
    size_t host_n;
};

static const char *const patterns[] = {"",    "a",    "a.b",    "b.b",    "a.a.b", "*.b",  "*.a.b",
                                       "*.a", "**.b", "**.a.b", "**.b.b", "**.a",  "c.a.b"};
static const char *const asked_hosts[] = {"",        "a",   "b",     "a.b",   "b.b",
                                          "a.a.b",   "b.a", "c.b.b", "b.a.b", "a.b.a.b",
                                          "c.b.b.b", "ab",  "a.b.",  ".a.b",  "c.a.b"};

/* A few elements of a small alphabet, so that things meet. '.' and '-' sort around '/'. */
static void random_path(char *p, bool is_request)
{
    static const char *const elements[] = {"a", "b", "aa", "a-", "a.", "", "a0"};
    size_t n = 0;
    for (uint32_t i = pick(4); i > 0; i--) {
        n += (size_t)snprintf(p + n, 32 - n, "/%s", elements[pick(is_request ? 7 : 6)]);
    }
    if (n == 0 || pick(5) == 0) {
        (void)snprintf(p + n, 32 - n, "/");
    }
}

static void random_conditions(struct make_rule *r)
{
    static const struct make_condition choices[] = {
        {SNAP_IF_METHOD, "",  "GET"},
        {SNAP_IF_METHOD, "",  "PUT"},
        {SNAP_IF_HEADER, "x", "1"  },
        {SNAP_IF_HEADER, "y", "1"  },
        {SNAP_IF_QUERY,  "q", "1"  },
        {SNAP_IF_QUERY,  "q", ""   }
    };
    r->condition_n = pick(3) == 0 ? pick(3) : 0;
    for (uint32_t i = 0; i < r->condition_n; i++) {
        r->conditions[i] = choices[pick(6)];
    }
}

static void random_world(struct world *w)
{
    bool is_used[sizeof(patterns) / sizeof(*patterns)] = {false};
    uint32_t id = 1, rule = 0;
    w->host_n = 0;
    for (uint32_t i = pick(20) == 0 ? 0 : HOSTS; i > 0; i--) {
        uint32_t p = pick(sizeof(patterns) / sizeof(*patterns));
        if (is_used[p]) {
            continue;
        }
        is_used[p] = true;
        struct make_host *h = &w->hosts[w->host_n++];
        *h = (struct make_host){patterns[p], &w->rules[rule], pick(RULES + 1), 0, pick(4) == 0};
        h->default_id = pick(3) == 0 ? 1000 + id++ : 0;
        for (uint32_t j = 0; j < h->rule_n; j++, rule++) {
            random_path(w->paths[rule], false);
            w->rules[rule] = (struct make_rule){w->paths[rule], pick(2) == 0, id++, 0, {{0}}};
            random_conditions(&w->rules[rule]);
        }
    }
}

struct counts {
    size_t asked, none, defaults;
};

static void compare(const struct world *w, const struct config *c, struct counts *counts)
{
    static const struct field_pair fields[] = {
        {NULL, NULL},
        {"x",  "1" },
        {"y",  "1" },
        {"x",  "2" }
    };
    static const char *const queries[] = {"", "q=1", "q", "q=2&q=1"};
    char path[32];
    random_path(path, true);
    if (pick(2) == 0 && w->host_n > 0) { /* near what there is */
        const struct make_host *h = &w->hosts[pick((uint32_t)w->host_n)];
        if (h->rule_n > 0) {
            (void)snprintf(path, sizeof(path), "%.28s%s", h->rules[pick(h->rule_n)].path,
                           pick(3) == 0 ? "/a" : "");
        }
    }
    struct route_query q =
        query_of(asked_hosts[pick(sizeof(asked_hosts) / sizeof(*asked_hosts))], path);
    q.method = pick(2) == 0 ? STR("GET") : STR("PUT");
    q.query = str_from_cstr(queries[pick(4)]);
    q.field_arg = &fields[pick(4)];
    bool is_default = false;
    uint32_t want = naive_match(w->hosts, w->host_n, &q, &is_default);
    uint32_t got = id_of(c, &q);
    if (got != want) {
        fail_msg("host '%.*s' path '%s': %u instead of %u", STR_ARG(q.host), path, got, want);
    }
    struct trace t = {""};
    struct route_match m;
    if (counts->asked % 16 == 0) {
        route_explain(&c->s, &q, &m, trace_add, &t);
        assert_int_equal(m.route == NULL ? 0 : m.route->rule, want);
        assert_true((strchr(t.text, 'W') != NULL) == (want != 0) || strlen(t.text) > 380);
    }
    counts->asked++;
    counts->none += want == 0;
    counts->defaults += is_default;
}

static void test_against_the_naive_matcher(void **state)
{
    (void)state;
    static struct world w;
    struct counts counts = {0};
    for (int i = 0; i < WORLDS; i++) {
        struct config c;
        random_world(&w);
        config_open(&c, w.hosts, w.host_n);
        size_t calls = mem_calls();
        for (int j = 0; j < REQUESTS; j++) {
            compare(&w, &c, &counts);
        }
        assert_int_equal(mem_calls(), calls); /* a match allocates nothing */
        config_fini(&c);
    }
    print_message("%zu requests: %zu without a route, %zu by default\n", counts.asked, counts.none,
                  counts.defaults);
    assert_true(counts.asked >= 200000);
    assert_true(counts.none > counts.asked / 20 && counts.defaults > counts.asked / 20);
    assert_true(counts.none + counts.defaults < counts.asked * 2 / 3);
}

/* ---- what it costs (printed only) ---- */

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* cannot fail for this clock */
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static void bench(const char *name, const struct config *c, const struct route_query *q, size_t n)
{
    enum { ROUNDS = 200000 };
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < 5; round++) {
        uint64_t from = now_ns();
        for (size_t i = 0; i < ROUNDS; i++) {
            struct route_match m;
            route_match(&c->s, &q[i * 7919 % n], &m);
            assert_true(m.route != NULL);
        }
        uint64_t took = now_ns() - from;
        best = took < best ? took : best;
    }
    print_message("%-28s %4u ns\n", name, (unsigned)(best / ROUNDS));
}

static void bench_hosts(const char *name, size_t n, const char *form)
{
    static char names[10000][40];
    static struct make_host hosts[10000];
    static struct route_query q[10000];
    static const struct make_rule rules[] = {
        {"/",    false, 1, 0, {{0}}},
        {"/api", false, 2, 0, {{0}}}
    };
    struct config c;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "%shost-%zu.example.com", form, i);
        hosts[i] = (struct make_host){names[i], rules, 2, 0, false};
        q[i] = query_of(names[i], "/api/v1/items/12345");
    }
    config_open(&c, hosts, n);
    if (form[0] == '*') {
        for (size_t i = 0; i < n; i++) {
            names[i][0] = 'w';
            q[i].host = str_from_cstr(names[i]);
        }
    }
    bench(name, &c, q, n);
    config_fini(&c);
}

static void bench_paths(size_t n)
{
    static char paths[1000][40];
    static struct make_rule rules[1000];
    static struct route_query q[1000];
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(paths[i], sizeof(paths[i]), "/tenants/team-%zu/service", i);
        rules[i] = (struct make_rule){paths[i], false, 1 + (uint32_t)i % 900, 0, {{0}}};
        q[i] = query_of("www.example.com", paths[i]);
    }
    const struct make_host host = {"www.example.com", rules, (uint32_t)n, 0, false};
    struct config c;
    config_open(&c, &host, 1);
    bench("1,000 paths on one host", &c, q, n);
    config_fini(&c);
}

static void test_cost(void **state)
{
    (void)state;
    bench_hosts("1 host", 1, "");
    bench_hosts("10,000 hosts", 10000, "");
    bench_hosts("10,000 one-label wildcards", 10000, "*.");
    bench_paths(1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),          cmocka_unit_test(test_root),
        cmocka_unit_test(test_hosts),          cmocka_unit_test(test_stars_from_a_client),
        cmocka_unit_test(test_host_length),    cmocka_unit_test(test_tables),
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_broken_escapes), cmocka_unit_test(test_backends),
        cmocka_unit_test(test_explain),        cmocka_unit_test(test_against_the_naive_matcher),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
