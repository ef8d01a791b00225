/* Whether a request may be served on its connection, and whom endpoints are told of: a table of
 * what hosts want, what a handshake was for and what its client has shown. */
#include "proxy/secure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../lib/snapshot_state.h"
#include "../../lib/snapshot_tls.h"
#include "event/transport.h"

#define KEY_NAME "0000000000000000000000000000000000000000000000000000000000000000"

enum { PATTERNS_MAX = 4, GUARDED = 7, OTHER_POLICY = 8 };

struct world {
    struct make_state routes;
    struct regex_cache patterns;
};

static void add_certificate(struct world *w, const char *name, const char *a, const char *b)
{
    const struct str der = STR("not looked at"), names[] = {str_from_cstr(a), str_from_cstr(b)};
    const struct make_secret s = {.name = name,
                                  .texts = &der,
                                  .text_n = 1,
                                  .more = names,
                                  .more_n = 2,
                                  .key_name = KEY_NAME,
                                  .key_kind = SNAP_KEY_EC};
    assert_int_equal(make_certificate(make_next(w->routes.set), &s), E_OK);
}

/* Hosts that say nothing of clients are plain.test and both.test, which share a certificate, and
 * all.test, which gets that of names nobody has one for. */
static const struct make_site open_sites[] = {
    {.pattern = "",                  .certificates = {"shop/default"}           },
    {.pattern = "plain.test",        .certificates = {"shop/other", "shop/both"}},
    {.pattern = "both.test",         .certificates = {"shop/both"}              },
    {.pattern = "all.test"         },
    {.pattern = "gone.test", .certificates = {"shop/gone"}                                           },
    {.pattern = "*.wild.test", .certificates = {"shop/wild"}},
};
static const struct make_site guarded_sites[] = {
    {.pattern = "must.test",
     .certificates = {"shop/guarded"},
     .verify = SNAP_VERIFY_REQUIRED,
     .authority = "shop/ca",
     .policy = GUARDED},
    {.pattern = "page.test",
     .certificates = {"shop/guarded"},
     .verify = SNAP_VERIFY_REQUIRED,
     .authority = "shop/ca",
     .error_page = "https://help.test/",
     .policy = GUARDED},
    {.pattern = "may.test",
     .certificates = {"shop/guarded"},
     .verify = SNAP_VERIFY_OPTIONAL,
     .authority = "shop/ca",
     .policy = OTHER_POLICY},
    {.pattern = "any-ca.test",
     .verify = SNAP_VERIFY_OPTIONAL_NO_CA,
     .authority = "shop/ca",
     .policy = OTHER_POLICY},
    {.pattern = "named.test",
     .verify = SNAP_VERIFY_OPTIONAL,
     .authority = "shop/ca",
     .name_pattern = "CN=alice$",
     .policy = OTHER_POLICY},
    {.pattern = "unusable.test",
     .verify = SNAP_VERIFY_OPTIONAL,
     .authority = "shop/ca",
     .name_pattern = "CN=(",
     .policy = OTHER_POLICY},
    {.pattern = "denied.test",              .is_denied = true,   .policy = GUARDED                    },
};

static void add_sites(struct world *w, const struct make_site *sites, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(make_site(make_next(w->routes.set), &sites[i]), E_OK);
    }
    make_state_apply(&w->routes, NULL, NULL);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    make_state_init(&w->routes);
    regex_cache_init(&w->patterns, PATTERNS_MAX);
    add_certificate(w, "default", "default.test", "of-default.test");
    add_certificate(w, "other", "elsewhere.test", "else.test");
    add_certificate(w, "both", "plain.test", "both.test");
    add_certificate(w, "wild", "*.wild.test", "wild.test");
    add_certificate(w, "guarded", "must.test", "page.test");
    add_sites(w, open_sites, sizeof(open_sites) / sizeof(open_sites[0]));
    *state = w;
    return 0;
}

static int setup_guarded(void **state)
{
    (void)setup(state);
    struct world *w = *state;
    add_sites(w, guarded_sites, sizeof(guarded_sites) / sizeof(guarded_sites[0]));
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    regex_cache_fini(&w->patterns);
    make_state_fini(&w->routes);
    free(w);
    return 0;
}

/* tls NULL: a plain request. */
static struct secure_verdict judge(struct world *w, const struct transport_tls *tls,
                                   const char *host)
{
    const struct http_peer peer = {.is_tls = tls != NULL, .tls = tls};
    const struct secure_request r = {&w->routes.s, STR("ingress"), str_from_cstr(host), &peer};
    struct secure_verdict v;
    secure_judge(&r, &w->patterns, &v);
    return v;
}

/* ---- the right connection ---- */

struct connection_case {
    const char *name, *host; /* of the handshake, of the request */
    bool is_right;
};

static void check_connections(struct world *w, const struct connection_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct transport_tls tls = {.server_name = str_from_cstr(cases[i].name)};
        struct secure_verdict v = judge(w, &tls, cases[i].host);
        enum reason want = cases[i].is_right ? REASON_none : REASON_misdirected;
        if (v.reason != want || v.client != NULL || v.may_be_sent_on || v.status != 0) {
            fail_msg("%s on a connection for \"%s\": %d", cases[i].host, cases[i].name, v.reason);
        }
    }
}

static const struct connection_case connections[] = {
    {"plain.test",   "plain.test",     true }, /* as nearly always */
    {"",             "plain.test",     true }, /* no name was said: HTTP decides alone */
    {"plain.test",   "both.test",      true }, /* the second one of its certificates is for it */
    {"both.test",    "plain.test",     true },
    {"plain.test",   "all.test",       false},
    {"plain.test",   "no-host.test",   false},
    {"both.test",    "elsewhere.test", false},
    {"a.wild.test",  "b.wild.test",    true },
    {"a.wild.test",  "wild.test",      true },
    {"a.wild.test",  "a.b.wild.test",  false},
    {"a.wild.test",  "*.wild.test",    true }, /* no host, and nobody's name: 404 will follow */
    {"all.test",     "default.test",   true }, /* it was shown the default one */
    {"no-host.test", "default.test",   true },
    {"all.test",     "plain.test",     false},
    {"gone.test",    "plain.test",     false}, /* its certificate is not there any more */
};

static void connections_where_nobody_is_guarded(void **state)
{
    check_connections(*state, connections, sizeof(connections) / sizeof(connections[0]));
}

static void connections_where_some_are(void **state)
{
    static const struct connection_case more[] = {
        {"plain.test", "must.test", false}, /* nobody was asked for a certificate */
        {"",           "must.test", false},
        {"must.test",  "must.test", false}, /* nor here: it was not guarded then */
    };
    check_connections(*state, connections, sizeof(connections) / sizeof(connections[0]));
    check_connections(*state, more, sizeof(more) / sizeof(more[0]));
}

static void connections_of_the_other_kind(void **state)
{
    struct world *w = *state;
    const struct transport_client alice = {
        .has_certificate = true, .is_verified = true, .subject = STR("CN=alice")};
    struct transport_tls tls = {
        .server_name = STR("must.test"), .policy = GUARDED, .client = &alice};
    assert_int_equal(judge(w, &tls, "must.test").reason, REASON_none);
    assert_int_equal(judge(w, &tls, "page.test").reason, REASON_none); /* same question, covered */
    assert_int_equal(judge(w, &tls, "may.test").reason, REASON_misdirected);
    assert_int_equal(judge(w, &tls, "plain.test").reason, REASON_misdirected);
    assert_int_equal(judge(w, &tls, "no-host.test").reason, REASON_misdirected);
    tls.server_name = STR("plain.test");
    assert_int_equal(judge(w, &tls, "must.test").reason, REASON_misdirected); /* not covered */
    tls.server_name = STR_EMPTY;
    assert_int_equal(judge(w, &tls, "must.test").reason, REASON_none);
    assert_int_equal(judge(w, &tls, "plain.test").reason, REASON_misdirected);
}

/* Without a host for names that nobody has, and without certificates. */
static void connections_without_any_certificate(void **state)
{
    struct world *w = *state;
    const struct transport_tls tls = {.server_name = STR("no-host.test")};
    make_state_delete(&w->routes, SNAP_TLS_HOST, "ingress/");
    make_state_apply(&w->routes, NULL, NULL);
    assert_int_equal(judge(w, &tls, "plain.test").reason, REASON_misdirected);
    assert_int_equal(judge(w, &tls, "no-host.test").reason, REASON_none);
}

/* ---- what the client has shown ---- */

enum shown { NOTHING, GOOD, BAD, FOREIGN, BOB, NOT_ASKED, SHOWN_N };

static const struct transport_client shown_clients[SHOWN_N] = {
    [NOTHING] = {.verdict = STR_INIT("NONE")            },
    [GOOD] = { .has_certificate = true,                                    .is_verified = true, .subject = STR_INIT("O=Shop,CN=alice")},
    [BAD] = { .has_certificate = true,                                    .subject = STR_INIT("CN=alice")},
    [FOREIGN] = {                 .has_certificate = true,
                 .is_unsigned_only = true,
                 .subject = STR_INIT("CN=alice")},
    [BOB] = {                 .has_certificate = true, .is_verified = true, .subject = STR_INIT("CN=bob")},
};

static void what_clients_have_shown(void **state)
{
    static const char none[] = "none", missing[] = "no_client_certificate",
                      bad[] = "bad_client_certificate", denied[] = "denied";
    static const struct {
        const char *host;
        uint64_t policy;
        const char *want[SHOWN_N]; /* reasons, in the order of enum shown */
    } cases[] = {
        {"must.test",     GUARDED,      {missing, none, bad, bad, none, missing}        },
        {"page.test",     GUARDED,      {missing, none, bad, bad, none, missing}        },
        {"may.test",      OTHER_POLICY, {none, none, bad, bad, none, none}              },
        {"any-ca.test",   OTHER_POLICY, {none, none, bad, none, none, none}             },
        {"named.test",    OTHER_POLICY, {missing, none, bad, bad, denied, missing}      },
        {"unusable.test", OTHER_POLICY, {missing, denied, bad, bad, denied, missing}    },
        {"denied.test",   GUARDED,      {denied, denied, denied, denied, denied, denied}},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int shown = 0; shown < SHOWN_N; shown++) {
            const struct transport_client *c = shown == NOT_ASKED ? NULL : &shown_clients[shown];
            const struct transport_tls tls = {.server_name = str_from_cstr(cases[i].host),
                                              .policy = cases[i].policy,
                                              .client = c};
            struct secure_verdict v = judge(w, &tls, cases[i].host);
            if (strcmp(reason_name(v.reason), cases[i].want[shown]) != 0) {
                fail_msg("%s, %d: %s", cases[i].host, shown, reason_name(v.reason));
            }
            bool is_sent = v.reason != REASON_none && v.reason != REASON_denied &&
                           strcmp(cases[i].host, "page.test") == 0;
            assert_int_equal(v.status, is_sent ? 302 : 0);
            assert_true(str_eq(v.location, is_sent ? STR("https://help.test/") : STR_EMPTY));
            assert_false(v.may_be_sent_on);
            if (v.reason == REASON_none) { /* what a request claims of itself never passes */
                assert_non_null(v.client);
                assert_true(c == NULL ? !v.client->has_certificate &&
                                            str_eq(v.client->verdict, STR("NONE"))
                                      : v.client == c);
            }
        }
    }
}

/* ---- without TLS ---- */

static void plain_requests(void **state)
{
    static const struct {
        const char *host;
        bool is_guarded, is_served;
    } cases[] = {
        {"plain.test",  false, true },
        {"nobody.test", false, true },
        {"must.test",   true,  false},
        {"page.test",   true,  false},
        {"may.test",    true,  true },
        {"any-ca.test", true,  true },
        {"named.test",  true,  false},
        {"denied.test", true,  false},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct secure_verdict v = judge(w, NULL, cases[i].host);
        assert_int_equal(v.reason, cases[i].is_served ? REASON_none : REASON_denied);
        assert_int_equal(v.may_be_sent_on, !cases[i].is_served);
        assert_int_equal(v.client != NULL, cases[i].is_guarded);
        if (v.client != NULL) {
            assert_false(v.client->has_certificate);
            assert_true(str_eq(v.client->verdict, STR("NONE")));
        }
    }
}

static void plain_requests_where_nobody_is_guarded(void **state)
{
    struct secure_verdict v = judge(*state, NULL, "plain.test");
    assert_int_equal(v.reason, REASON_none);
    assert_null(v.client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name)   cmocka_unit_test_setup_teardown(name, setup, teardown)
#define LOCKED(name) cmocka_unit_test_setup_teardown(name, setup_guarded, teardown)
        TEST(connections_where_nobody_is_guarded),
        LOCKED(connections_where_some_are),
        LOCKED(connections_of_the_other_kind),
        TEST(connections_without_any_certificate),
        LOCKED(what_clients_have_shown),
        LOCKED(plain_requests),
        TEST(plain_requests_where_nobody_is_guarded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
