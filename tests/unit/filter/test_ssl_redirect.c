/* Filter ssl_redirect: whom it sends where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "filter/filter.h"

#include <stdlib.h>
#include <string.h>

#include "../../lib/snapshot_make.h"

filter_request_fn filter_ssl_redirect_request;

static const struct snap_filter_ssl_redirect plain = {308, SNAP_SSL_BY_TLS, 0, 0, 0};
static const struct snap_filter_ssl_redirect nginx = {308, SNAP_SSL_BY_TLS, 1, 0, 1};

static char scratch[FILTER_SCRATCH_BYTES];

static enum filter_verdict ask(const struct snap_filter_ssl_redirect *f, const char *scheme,
                               const char *host, const char *target, struct filter_answer *answer)
{
    struct http_request request = {
        .method = STR("GET"), .authority = str_from_cstr(host), .target = str_from_cstr(target)};
    struct filter_request r = {.request = &request,
                               .scheme = str_from_cstr(scheme),
                               .host = str_from_cstr(host),
                               .https_port = 8443,
                               .scratch = scratch};
    return filter_ssl_redirect_request(NULL, f, &r, answer);
}

static void expect(const struct snap_filter_ssl_redirect *f, const char *host, const char *target,
                   const char *location)
{
    struct filter_answer answer;
    assert_int_equal(ask(f, "http", host, target, &answer), FILTER_ANSWER);
    assert_int_equal(answer.reason, REASON_redirect);
    assert_int_equal(answer.status, f->status);
    if (!str_eq(answer.location, str_from_cstr(location))) {
        fail_msg("%s%s: %.*s, not %s", host, target, STR_ARG(answer.location), location);
    }
}

static void the_target_is_kept_as_it_came(void **state)
{
    (void)state;
    expect(&plain, "a.test", "/", "https://a.test/");
    expect(&plain, "a.test", "/x/", "https://a.test/x/");
    expect(&plain, "A.test", "/%7e/../x?y=/&z", "https://A.test/%7e/../x?y=/&z");
    expect(&plain, "a.test", "//b.test/", "https://a.test//b.test/");
    expect(&plain, "a.test", "/?", "https://a.test/?");
    expect(&plain, "a.test", "*", "https://a.test"); /* OPTIONS * */
}

static void the_port_of_plain_http_is_dropped(void **state)
{
    (void)state;
    expect(&plain, "a.test:80", "/", "https://a.test/");
    expect(&plain, "a.test:", "/", "https://a.test/");
    expect(&plain, "a.test.:8080", "/", "https://a.test./");
    expect(&plain, "192.0.2.1:80", "/", "https://192.0.2.1/");
    expect(&plain, "[2001:db8::1]", "/", "https://[2001:db8::1]/");
    expect(&plain, "[2001:db8::1]:80", "/x", "https://[2001:db8::1]/x");
}

static void our_https_port_is_told_when_wanted(void **state)
{
    struct snap_filter_ssl_redirect f = plain;
    struct http_request request = {.authority = STR("a.test"), .target = STR("/x")};
    struct filter_request r = {
        .request = &request, .scheme = STR("http"), .host = STR("a.test"), .scratch = scratch};
    struct filter_answer answer;
    (void)state;
    f.tells_port = 1;
    expect(&f, "a.test:80", "/x", "https://a.test:8443/x");
    expect(&f, "[::1]:80", "/x", "https://[::1]:8443/x");
    /* Without such a listener there is nothing to tell. */
    assert_int_equal(filter_ssl_redirect_request(NULL, &f, &r, &answer), FILTER_ANSWER);
    assert_true(str_eq(answer.location, STR("https://a.test/x")));
}

static void nginx_drops_a_slash_at_the_end(void **state)
{
    (void)state;
    expect(&nginx, "a.test", "/", "https://a.test");
    expect(&nginx, "a.test", "/x/", "https://a.test/x");
    expect(&nginx, "a.test", "/x//", "https://a.test/x/");
    expect(&nginx, "a.test", "/x?y=/z/", "https://a.test/x?y=/z");
    expect(&nginx, "a.test", "/x/?y", "https://a.test/x/?y");
    expect(&nginx, "a.test", "/x", "https://a.test/x");
}

static void the_status_is_the_configured_one(void **state)
{
    struct snap_filter_ssl_redirect f = plain;
    (void)state;
    f.status = 302;
    expect(&f, "a.test", "/", "https://a.test/");
}

static void https_passes(void **state)
{
    struct filter_answer answer = {.status = 7};
    (void)state;
    assert_int_equal(ask(&plain, "https", "a.test", "/", &answer), FILTER_PASS);
    assert_int_equal(ask(&nginx, "https", "", "/", &answer), FILTER_PASS);
    assert_int_equal(answer.status, 7);
}

/* Nothing that is not meant for it goes over the plain connection. */
static void without_a_host_it_is_refused(void **state)
{
    struct filter_answer answer = {.status = 7};
    (void)state;
    assert_int_equal(ask(&plain, "http", "", "/", &answer), FILTER_ANSWER);
    assert_int_equal(answer.reason, REASON_bad_request);
    assert_int_equal(answer.status, 0);
    assert_int_equal(answer.location.n, 0);
}

/* What a proxy says is checked before it goes into a field. */
static void a_forwarded_host_must_be_one(void **state)
{
    static const struct {
        const char *said, *location;
    } cases[] = {
        {"shop.test",          "https://shop.test/"    },
        {"shop.test:80",       "https://shop.test/"    },
        {"a.test@b.test",      "https://own.test/"     },
        {"b.test/x",           "https://own.test/"     },
        {"b test",             "https://own.test/"     },
        {"b.test\r\nx: y",     "https://own.test/"     },
        {"\xc3\xa4.test",      "https://own.test/"     },
        {"[::1",               "https://own.test/"     },
        {"[2001:db8::1]:8080", "https://[2001:db8::1]/"},
        {"",                   "https://own.test/"     },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_request request = {.authority = STR("own.test:80"), .target = STR("/")};
        struct filter_request r = {.request = &request,
                                   .scheme = STR("http"),
                                   .host = str_from_cstr(cases[i].said),
                                   .scratch = scratch};
        struct filter_answer answer;
        assert_int_equal(filter_ssl_redirect_request(NULL, &plain, &r, &answer), FILTER_ANSWER);
        assert_true(str_eq(answer.location, str_from_cstr(cases[i].location)));
    }
}

/* A target and a host of one head always fit; whoever asks for more gets an answer, too. */
static void a_location_has_its_limit(void **state)
{
    enum { AROUND = sizeof("https://a.test") - 1 };
    struct filter_answer answer;
    char *target = malloc(FILTER_SCRATCH_BYTES + 1);
    (void)state;
    memset(target, '/', FILTER_SCRATCH_BYTES);
    target[FILTER_SCRATCH_BYTES - AROUND] = '\0';
    assert_int_equal(ask(&plain, "http", "a.test", target, &answer), FILTER_ANSWER);
    assert_int_equal(answer.location.n, FILTER_SCRATCH_BYTES);
    target[FILTER_SCRATCH_BYTES - AROUND] = '/';
    target[FILTER_SCRATCH_BYTES - AROUND + 1] = '\0';
    assert_int_equal(ask(&plain, "http", "a.test", target, &answer), FILTER_ANSWER);
    assert_int_equal(answer.reason, REASON_target_too_long);
    free(target);
}

static bool stays(const struct snap_filter_ssl_redirect *f, const char *plain_path,
                  const char *target)
{
    struct buf b;
    struct http_request request = {.authority = STR("a.test"), .target = str_from_cstr(target)};
    struct filter_answer answer;
    buf_init(&b, 1 << 16);
    snap_shard_begin(&b, SNAP_GLOBAL, sizeof(struct snap_global), STR_EMPTY);
    struct snap_array at = snap_add_array(&b, 2, sizeof(struct snap_str));
    struct snap_str first = snap_add_str(&b, STR("/never"));
    struct snap_str second = snap_add_str(&b, str_from_cstr(plain_path));
    assert_false(b.bad);
    snap_at(&b, at.offset, struct snap_str)[0] = first;
    snap_at(&b, at.offset, struct snap_str)[1] = second;
    snap_at(&b, 0, struct snap_global)->plain_paths = at;
    struct filter_request r = {.request = &request,
                               .global = snap_at(&b, 0, struct snap_global),
                               .scheme = STR("http"),
                               .host = request.authority,
                               .scratch = scratch};
    bool is_passed = filter_ssl_redirect_request(NULL, f, &r, &answer) == FILTER_PASS;
    buf_fini(&b);
    return is_passed;
}

static void plain_paths_are_left_alone(void **state)
{
    static const char acme[] = "/.well-known/acme-challenge";
    static const struct {
        const char *path, *target;
        bool stays, stays_by_prefix;
    } cases[] = {
        {acme,  "/.well-known/acme-challenge/token",           true,  true },
        {acme,  "/.well-known/acme-challenge",                 true,  true },
        {acme,  "/.well-known/acme-challenge?x",               true,  true },
        {acme,  "/.well-known//acme%2Dchallenge/token",        true,  true },
        {acme,  "/x/../.well-known/acme-challenge/token",      true,  true },
        {acme,  "/.well-known/acme-challenges",                false, true },
        {acme,  "/.well-known/acme-challenge/../security.txt", false, false},
        {acme,  "/.well-known/acme-challenge/%2e%2e/x",        false, false},
        {acme,  "/.well-known/acme-challeng",                  false, false},
        {acme,  "/.Well-Known/acme-challenge/token",           false, false},
        {acme,  "/?/.well-known/acme-challenge/token",         false, false},
        {acme,  "/x/.well-known/acme-challenge/token",         false, false},
        {"/a/", "/a/b",                                        true,  true },
        {"/a/", "/a",                                          false, false},
        {"/",   "/anything",                                   true,  true },
        {"/",   "*",                                           false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (stays(&plain, cases[i].path, cases[i].target) != cases[i].stays ||
            stays(&nginx, cases[i].path, cases[i].target) != cases[i].stays_by_prefix) {
            fail_msg("%s below %s", cases[i].target, cases[i].path);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_target_is_kept_as_it_came),
        cmocka_unit_test(the_port_of_plain_http_is_dropped),
        cmocka_unit_test(our_https_port_is_told_when_wanted),
        cmocka_unit_test(nginx_drops_a_slash_at_the_end),
        cmocka_unit_test(the_status_is_the_configured_one),
        cmocka_unit_test(https_passes),
        cmocka_unit_test(without_a_host_it_is_refused),
        cmocka_unit_test(a_forwarded_host_must_be_one),
        cmocka_unit_test(a_location_has_its_limit),
        cmocka_unit_test(plain_paths_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
