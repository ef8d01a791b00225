/* Request targets, path normalization, host names. */
#include "wire/uri.h"

#include "base/buf.h"
#include "base/limits.h"

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
    struct str target, authority, path, query;
    enum err e;
} targets[] = {
    {STR_INIT("/"), STR_INIT(""), STR_INIT("/"), STR_INIT(""), E_OK},
    {STR_INIT("/a/b?c=d?e"), STR_INIT(""), STR_INIT("/a/b"), STR_INIT("c=d?e"), E_OK},
    {STR_INIT("/?"), STR_INIT(""), STR_INIT("/"), STR_INIT(""), E_OK},
    {STR_INIT("//a/b"), STR_INIT(""), STR_INIT("//a/b"), STR_INIT(""), E_OK},
    {STR_INIT("/http://a/"), STR_INIT(""), STR_INIT("/http://a/"), STR_INIT(""), E_OK},
    {STR_INIT("*"), STR_INIT(""), STR_INIT("*"), STR_INIT(""), E_OK},
    {STR_INIT("http://a"), STR_INIT("a"), STR_INIT("/"), STR_INIT(""), E_OK},
    {STR_INIT("HTTPS://a:1/b?c"), STR_INIT("a:1"), STR_INIT("/b"), STR_INIT("c"), E_OK},
    {STR_INIT("http://a?b/c"), STR_INIT("a"), STR_INIT("/"), STR_INIT("b/c"), E_OK},
    {STR_INIT("http://[::1]:80/"), STR_INIT("[::1]:80"), STR_INIT("/"), STR_INIT(""), E_OK},
    {STR_INIT(""), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("a"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("?a"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("*a"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("a:80"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("http:/a"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("http://"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("http:///a"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("http://u@a/"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("http://a:b/"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("ws://a/"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("/a b"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("/a#b"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("/a\0"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("/a\x7f"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
    {STR_INIT("/a\x80"), STR_INIT(""), STR_INIT(""), STR_INIT(""), E_PROTO},
};
/* clang-format on */

static void split(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        struct str authority = STR(""), path = STR(""), query = STR("");
        enum err e = uri_split(targets[i].target, &authority, &path, &query);
        if (e != targets[i].e || !str_eq(authority, targets[i].authority) ||
            !str_eq(path, targets[i].path) || !str_eq(query, targets[i].query)) {
            fail_msg("%.*s: %s: [%.*s] [%.*s] [%.*s]", STR_ARG(targets[i].target), err_text(e),
                     STR_ARG(authority), STR_ARG(path), STR_ARG(query));
        }
    }
}

/* clang-format off */
static const struct {
    struct str path, normal;
} paths[] = {
    {STR_INIT("/"), STR_INIT("/")},
    {STR_INIT("/a/b/"), STR_INIT("/a/b/")},
    {STR_INIT("//"), STR_INIT("/")},
    {STR_INIT("///a////b//"), STR_INIT("/a/b/")},
    {STR_INIT("/."), STR_INIT("/")},
    {STR_INIT("/.."), STR_INIT("/")},
    {STR_INIT("/./"), STR_INIT("/")},
    {STR_INIT("/../"), STR_INIT("/")},
    {STR_INIT("/a/."), STR_INIT("/a/")},
    {STR_INIT("/a/.."), STR_INIT("/")},
    {STR_INIT("/a/b/.."), STR_INIT("/a/")},
    {STR_INIT("/a/b/../c"), STR_INIT("/a/c")},
    {STR_INIT("/a/./b"), STR_INIT("/a/b")},
    {STR_INIT("/../../a"), STR_INIT("/a")},
    {STR_INIT("/a/../../../b"), STR_INIT("/b")},
    {STR_INIT("/a//../b"), STR_INIT("/b")},
    {STR_INIT("/a/..//b"), STR_INIT("/b")},
    {STR_INIT("/..."), STR_INIT("/...")},
    {STR_INIT("/.a/..b/c./d../"), STR_INIT("/.a/..b/c./d../")},
    {STR_INIT("/a/.../b"), STR_INIT("/a/.../b")},
    {STR_INIT("/%61%7A%7e"), STR_INIT("/az~")},
    {STR_INIT("/%2e%2E/a/%2e/b/.%2e/c"), STR_INIT("/a/c")},
    {STR_INIT("/a%2fb%2Fc"), STR_INIT("/a%2Fb%2Fc")},
    {STR_INIT("/a%5cb%5C"), STR_INIT("/a%5Cb%5C")},
    {STR_INIT("/%00%1f%20%7f%0a"), STR_INIT("/%00%1F %7F%0A")},
    {STR_INIT("/%252F%25"), STR_INIT("/%252F%25")},
    {STR_INIT("/%3f%23%3b"), STR_INIT("/?#;")},
    {STR_INIT("/%C3%a4\xc3\xa4"), STR_INIT("/\xc3\xa4\xc3\xa4")},
    {STR_INIT("/a/..%2f"), STR_INIT("/a/..%2F")},
    {STR_INIT("/a/%2e%2e%2f../b"), STR_INIT("/a/..%2F../b")},
    {STR_INIT("/a\\..\\b"), STR_INIT("/a\\..\\b")},
    {STR_INIT("/A/%41"), STR_INIT("/A/A")},
};
/* clang-format on */

static void normalize(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        char *out = malloc(paths[i].path.n); /* of its own size: a sanitizer sees one byte more */
        struct str normal = STR("");
        assert_non_null(out);
        enum err e = uri_normalize(paths[i].path, out, &normal);
        if (e != E_OK || !str_eq(normal, paths[i].normal)) {
            fail_msg("%.*s: %s: %.*s", STR_ARG(paths[i].path), err_text(e), STR_ARG(normal));
        }
        bool is_same = str_eq(paths[i].path, paths[i].normal);
        assert_ptr_equal(normal.p, is_same ? paths[i].path.p : out);
        struct str again;
        char room[64];
        assert_int_equal(uri_normalize(normal, room, &again), E_OK);
        assert_ptr_equal(again.p, normal.p);
        free(out);
    }
}

static void normalize_refuses(void **state)
{
    (void)state;
    static const struct str bad[] = {
        STR_INIT(""),     STR_INIT("a"),     STR_INIT("*"),      STR_INIT("%2F"),
        STR_INIT("/%"),   STR_INIT("/%4"),   STR_INIT("/%4g"),   STR_INIT("/%g4"),
        STR_INIT("/%%4"), STR_INIT("/%41%"), STR_INIT("//a/%x"), STR_INIT("/%-1"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char out[16];
        struct str normal = STR("untouched");
        assert_int_equal(uri_normalize(bad[i], out, &normal), E_PROTO);
        assert_true(str_eq(normal, STR("untouched")));
    }
}

/* All paths over a small alphabet against the rules said in the plainest way: split, drop, join. */
static size_t naive_normalize(struct str path, char *out)
{
    struct str elements[16], element;
    size_t n = 0, at = 0;
    bool has_end = true; /* the result ends in '/' */
    path = str_from(path, 1);
    for (bool has_more = true; has_more;) {
        has_more = str_cut(path, '/', &element, &path);
        bool is_dot = str_eq(element, STR(".")), is_up = str_eq(element, STR(".."));
        if (is_up && n > 0) {
            n--;
        } else if (element.n > 0 && !is_dot && !is_up) {
            elements[n++] = element;
        }
        has_end = element.n == 0 || is_dot || is_up;
    }
    for (size_t i = 0; i < n; i++) {
        out[at++] = '/';
        memcpy(out + at, elements[i].p, elements[i].n);
        at += elements[i].n;
    }
    if (has_end || n == 0) {
        out[at++] = '/';
    }
    return at;
}

static void normalize_agrees_with_the_naive_way(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 3U * 3 * 3 * 3 * 3 * 3 * 3 * 3 * 3; code++) {
        char path[10] = "/", out[10], want[16];
        unsigned left = code;
        for (size_t i = 1; i < sizeof(path); i++, left /= 3) {
            path[i] = "/.a"[left % 3];
        }
        struct str normal;
        assert_int_equal(uri_normalize((struct str){path, sizeof(path)}, out, &normal), E_OK);
        size_t want_n = naive_normalize((struct str){path, sizeof(path)}, want);
        if (!str_eq(normal, (struct str){want, want_n})) {
            fail_msg("%.*s: %.*s, not %.*s", (int)sizeof(path), path, STR_ARG(normal), (int)want_n,
                     want);
        }
    }
}

/* clang-format off */
static const struct {
    struct str authority, host;
    uint16_t port;
    enum err e;
} hosts[] = {
    {STR_INIT("a"), STR_INIT("a"), 0, E_OK},
    {STR_INIT("Shop.EXAMPLE.com."), STR_INIT("shop.example.com"), 0, E_OK},
    {STR_INIT("a_b-c.1:8080"), STR_INIT("a_b-c.1"), 8080, E_OK},
    {STR_INIT("a.:1"), STR_INIT("a"), 1, E_OK},
    {STR_INIT("a:"), STR_INIT("a"), 0, E_OK},
    {STR_INIT("a:00080"), STR_INIT("a"), 80, E_OK},
    {STR_INIT("a:65535"), STR_INIT("a"), 65535, E_OK},
    {STR_INIT("192.0.2.1:80"), STR_INIT("192.0.2.1"), 80, E_OK},
    {STR_INIT("[2001:DB8::1]"), STR_INIT("2001:db8::1"), 0, E_OK},
    {STR_INIT("[::ffff:1.2.3.4]:80"), STR_INIT("::ffff:1.2.3.4"), 80, E_OK},
    {STR_INIT(""), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("."), STR_INIT(""), 0, E_PROTO},
    {STR_INIT(".a"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("a..b"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("a.."), STR_INIT(""), 0, E_PROTO},
    {STR_INIT(":80"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("a:0"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("a:65536"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("a:+1"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("a:1:2"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("a:1 "), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("a b"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("a/b"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("u@a"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("a%41"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("*.a"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("\xc3\xa4"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("a\0b"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("::1"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("[::1"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("[::1]a"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("[::1]]"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("[]"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("[1.2.3.4]"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("[fe80::1%25eth0]"), STR_INIT(""), 0, E_PROTO},
    {STR_INIT("[v1.a]"), STR_INIT(""), 0, E_PROTO},
};
/* clang-format on */

static void host(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        char out[32];
        struct str name = STR("");
        uint16_t port = 0;
        enum err e = host_parse(hosts[i].authority, out, &name, &port);
        if (e != hosts[i].e || !str_eq(name, hosts[i].host) || port != hosts[i].port ||
            host_is_valid(hosts[i].authority) != (e == E_OK)) {
            fail_msg("%.*s: %s: [%.*s] %u", STR_ARG(hosts[i].authority), err_text(e), STR_ARG(name),
                     port);
        }
    }
}

static void length_limits(void **state)
{
    (void)state;
    char name[256];
    memset(name, 'a', sizeof(name));
    assert_true(host_is_valid((struct str){name, 253}));
    assert_false(host_is_valid((struct str){name, 254}));
    assert_true(dns_label_is_valid((struct str){name, 63}));
    assert_false(dns_label_is_valid((struct str){name, 64}));
    assert_true(dns_subdomain_is_valid((struct str){name, 253}));
    assert_false(dns_subdomain_is_valid((struct str){name, 254}));
    name[253] = '.';
    assert_true(host_is_valid((struct str){name, 254})); /* the trailing dot does not count */
    name[254] = '.';
    assert_false(host_is_valid((struct str){name, 255}));
}

static void dns_names(void **state)
{
    (void)state;
    static const struct str labels[] = {STR_INIT("a"), STR_INIT("0"), STR_INIT("a-b--c9")};
    static const struct str not_labels[] = {
        STR_INIT(""),    STR_INIT("-a"), STR_INIT("a-"),       STR_INIT("A"), STR_INIT("a_b"),
        STR_INIT("a b"), STR_INIT("*"),  STR_INIT("\xc3\xa4"), STR_INIT("-"),
    };
    for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
        assert_true(dns_label_is_valid(labels[i]));
        assert_true(dns_subdomain_is_valid(labels[i]));
    }
    for (size_t i = 0; i < sizeof(not_labels) / sizeof(not_labels[0]); i++) {
        assert_false(dns_label_is_valid(not_labels[i]));
        assert_false(dns_subdomain_is_valid(not_labels[i]));
    }
    assert_false(dns_label_is_valid(STR("a.b")));
    assert_true(dns_subdomain_is_valid(STR("a.b-c.0")));
    assert_false(dns_subdomain_is_valid(STR("a.")));
    assert_false(dns_subdomain_is_valid(STR(".a")));
    assert_false(dns_subdomain_is_valid(STR("a..b")));
    assert_false(dns_subdomain_is_valid(STR("a.-b")));
}

/* "/x,/x,..." with n paths of the given length. */
static enum err paths_parse(size_t n, size_t length, uint32_t *ret_n)
{
    static char text[(PLAIN_PATHS_MAX + 1) * (PLAIN_PATH_BYTES_MAX + 2)];
    struct str list[PLAIN_PATHS_MAX];
    struct wr w = wr_make(text, sizeof(text));
    for (size_t i = 0; i < n; i++) {
        wr_str(&w, i > 0 ? STR(",/") : STR("/"));
        for (size_t j = 1; j < length; j++) {
            wr_char(&w, 'x');
        }
    }
    assert_false(w.bad);
    return uri_paths_parse(str_make(text, wr_n(&w)), list, PLAIN_PATHS_MAX, ret_n);
}

static void paths_have_their_limits(void **state)
{
    uint32_t n = 0;
    (void)state;
    assert_int_equal(paths_parse(PLAIN_PATHS_MAX, PLAIN_PATH_BYTES_MAX, &n), E_OK);
    assert_int_equal(n, PLAIN_PATHS_MAX);
    assert_int_equal(paths_parse(PLAIN_PATHS_MAX + 1, 2, &n), E_LIMIT);
    assert_int_equal(paths_parse(1, PLAIN_PATH_BYTES_MAX + 1, &n), E_LIMIT);
    assert_int_equal(n, PLAIN_PATHS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split),
        cmocka_unit_test(normalize),
        cmocka_unit_test(normalize_refuses),
        cmocka_unit_test(normalize_agrees_with_the_naive_way),
        cmocka_unit_test(host),
        cmocka_unit_test(length_limits),
        cmocka_unit_test(dns_names),
        cmocka_unit_test(paths_have_their_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
