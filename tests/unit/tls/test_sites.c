/* How handshakes are answered by the name that is asked for: which host's certificates, of which
 * kind, and when there is no answer. What clients show is in test_visitor.c. */
#include "tls/sites.h"

#include "site_world.h"

/* The alert of a handshake for name (NULL: none), or 0. shown: room for the common name. */
static int ask(struct site_world *w, const char *name, char shown[64])
{
    struct site_end e;
    site_connect(w, &e, name);
    int r = site_shake(&e);
    (void)snprintf(shown, 64, "%s", r == 0 ? site_shown(&e) : "");
    if (r == 0) {
        site_exchange(&e);
    }
    site_close(&e);
    return r;
}

static void check_shown(struct site_world *w, const char *name, const char *want)
{
    char shown[64];
    int r = ask(w, name, shown);
    if (r != 0 || strcmp(shown, want) != 0) {
        fail_msg("%s: %d, %s instead of %s", name == NULL ? "(none)" : name, r, shown, want);
    }
}

static void check_refused(struct site_world *w, const char *name, int alert)
{
    char shown[64];
    int r = ask(w, name, shown);
    if (r != SITE_ALERT(alert)) {
        fail_msg("%s: %d", name == NULL ? "(none)" : name, r);
    }
}

static void add_one(struct site_world *w, const char *name, const char *key, unsigned key_n)
{
    struct pki p = pki_make(&(struct pki_options){.name = name, .key = key}, NULL);
    site_add_certificate(w, name, &p, NULL, key_n);
    site_add_key(w, &p, key_n);
    pki_free(&p);
}

static void add_names(struct site_world *w)
{
    static const struct make_site sites[] = {
        {.pattern = "a.test",               .certificates = {"shop/a"}   },
        {.pattern = "b.test",               .certificates = {"shop/b"}   },
        {.pattern = "*.star.test",          .certificates = {"shop/star"}},
        {.pattern = "none.test"           },
        {.pattern = "gone.test",    .certificates = {"shop/gone"}                             },
        {.pattern = "", .certificates = {"shop/default"}},
    };
    add_one(w, "a", NULL, 1);
    add_one(w, "b", NULL, 2);
    add_one(w, "star", NULL, 3);
    add_one(w, "default", NULL, 4);
    for (size_t i = 0; i < sizeof(sites) / sizeof(sites[0]); i++) {
        site_add_host(w, &sites[i]);
    }
    site_apply(w);
}

/* ---- names ---- */

static void the_name_decides(void **state)
{
    static const struct {
        const char *name, *shown;
    } cases[] = {
        {"a.test",        "a"      },
        {"A.TeSt",        "a"      },
        {"a.test.",       "a"      },
        {"b.test",        "b"      },
        {"x.star.test",   "star"   },
        {"x_y.star.test", "star"   },
        {"star.test",     "default"},
        {"x.y.star.test", "default"},
        {"c.test",        "default"},
        {"none.test",     "default"}, /* has no certificate of its own */
        {"gone.test",     "default"}, /* has lost it */
        {"10.0.0.1",      "default"},
        {NULL,            "default"},
    };
    struct site_world *w = *state;
    add_names(w);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        site_version(w, version);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            check_shown(w, cases[i].name, cases[i].shown);
        }
    }
    assert_int_equal(stats_get(&w->stats->tls_rejected_names), 0);
    assert_int_equal(stats_get(&w->stats->tls_no_certificate), 0);
}

static void names_that_nobody_can_have(void **state)
{
    static const char *const bad[] = {"a b", "a/b",   "a..b", ".",           "..",
                                      ".a",  "a:443", "a%00", "*.star.test", "\xc3\xa4.test",
                                      "a\n"};
    struct site_world *w = *state;
    add_names(w);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        check_refused(w, bad[i], SSL_AD_DECODE_ERROR);
    }
}

/* 253 bytes, with a dot behind them, and one more. */
static void long_names(void **state)
{
    struct site_world *w = *state;
    char name[SERVER_NAME_BYTES_MAX + 2];
    add_names(w);
    memset(name, 'a', sizeof(name));
    for (size_t i = 60; i < SERVER_NAME_BYTES_MAX; i += 61) {
        name[i] = '.';
    }
    name[SERVER_NAME_BYTES_MAX] = '\0';
    check_shown(w, name, "default");
    name[SERVER_NAME_BYTES_MAX] = '.';
    name[SERVER_NAME_BYTES_MAX + 1] = '\0';
    check_shown(w, name, "default");
    name[SERVER_NAME_BYTES_MAX] = 'a';
    check_refused(w, name, SSL_AD_DECODE_ERROR);
}

/* ---- the extension, byte by byte ---- */

static void grow(char *p, size_t n, size_t bytes) /* the big-endian number of n bytes at p */
{
    size_t value = 0;
    for (size_t i = 0; i < n; i++) {
        value = value << 8 | (unsigned char)p[i];
    }
    value += bytes;
    for (size_t i = n; i > 0; i--, value >>= 8) {
        p[i - 1] = (char)value;
    }
}

enum { HEAD = 5 + 4, SESSION_ID = HEAD + 2 + 32 };

/* A ClientHello as OpenSSL says it without a name, with this extension added. */
static size_t hello_make(struct site_world *w, struct str extension, char out[2048])
{
    SSL *ssl = SSL_new(w->client_context);
    BIO *bio = BIO_new(BIO_s_mem());
    char *p;
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), bio);
    SSL_set_connect_state(ssl);
    assert_int_equal(SSL_do_handshake(ssl), -1);
    size_t n = (size_t)BIO_get_mem_data(bio, &p), more = extension.n + 4;
    assert_true(n + more <= 2048);
    mem_copy(out, p, n);
    SSL_free(ssl);
    ERR_clear_error();
    size_t at = SESSION_ID + 1 + (unsigned char)out[SESSION_ID];
    at += 2 + ((size_t)(unsigned char)out[at] << 8) + (unsigned char)out[at + 1]; /* ciphers */
    at += 1 + (unsigned char)out[at]; /* compression: here is the length of extensions */
    grow(out + at, 2, more);
    grow(out + 3, 2, more);
    grow(out + 6, 3, more);
    const char head[] = {0, 0, (char)(extension.n >> 8), (char)extension.n};
    mem_copy(out + n, head, sizeof(head));
    mem_copy(out + n + sizeof(head), extension.p, extension.n);
    return n + more;
}

/* 0: the server goes on; else its alert. */
static int say(struct site_world *w, const char *hello, size_t n)
{
    struct site_end e;
    unsigned char got[7] = {0};
    assert_int_equal(site_open(w, &e), E_OK);
    assert_int_equal(write(e.fd, hello, n), n);
    site_step(w);
    assert_true(read(e.fd, got, sizeof(got)) == sizeof(got));
    site_close(&e);
    assert_true(got[0] == SSL3_RT_HANDSHAKE || got[0] == SSL3_RT_ALERT);
    return got[0] == SSL3_RT_ALERT ? got[6] : 0;
}

static void malformed_extensions(void **state)
{
    static const struct {
        struct str bytes; /* list, type, name */
        bool is_good;
    } cases[] = {
        {STR_INIT("\0\x09\0\0\x06"
                  "a.test"),
         true                               },
        {STR_INIT("\0\x0a\0\0\x06"
                  "a.test"),
         false                              },
        {STR_INIT("\0\x08\0\0\x06"
                  "a.test"),
         false                              },
        {STR_INIT("\0\x09\0\0\x05"
                  "a.test"),
         false                              },
        {STR_INIT("\0\x09\0\0\x07"
                  "a.test"),
         false                              },
        {STR_INIT("\0\x09\1\0\x06"
                  "a.test"),
         false                              }, /* of another type */
        {STR_INIT("\0\x12\0\0\x06"
                  "a.test"
                  "\0\0\x06"
                  "b.test"),
         false                              }, /* two names */
        {STR_INIT("\0\x09\0\0\x06"
                  "a.te\0t"),
         false                              },
        {STR_INIT("\0\x03\0\0\0"),     false},
        {STR_INIT("\0\0"),             false},
        {STR_INIT("\0"),               false},
        {STR_INIT(""),                 false},
    };
    struct site_world *w = *state;
    char hello[2048];
    add_names(w);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n = hello_make(w, cases[i].bytes, hello);
        int want = cases[i].is_good ? 0 : SSL_AD_DECODE_ERROR;
        if (say(w, hello, n) != want) {
            fail_msg("case %zu", i);
        }
    }
}

/* The form that SSL 2.0 had, which OpenSSL would take for TLS 1.2: RFC 8446 appendix D.5. */
static void a_hello_of_old(void **state)
{
    static const char hello[] =
        "\x80\x2e\1\3\3\0\x15\0\0\0\x10"
        "\0\0\xff\0\xc0\x2b\0\xc0\x2c\0\xc0\x23\0\xc0\x24\0\xc0\x09\0\xc0\x0a"
        "0123456789abcdef";
    struct site_world *w = *state;
    add_names(w);
    assert_int_equal(say(w, hello, sizeof(hello) - 1), SSL_AD_PROTOCOL_VERSION);
}

/* ---- kinds of keys ---- */

static void check_kind(struct site_world *w, const char *algorithms, const char *want)
{
    assert_int_equal(SSL_CTX_set1_sigalgs_list(w->client_context, algorithms), 1);
    check_shown(w, "two.test", want);
}

/* Whichever the client can verify; ECDSA, which costs less, where it can verify both. */
static void two_kinds_of_keys(void **state)
{
    struct site_world *w = *state;
    add_one(w, "rsa", "RSA", 1);
    add_one(w, "ec", NULL, 2);
    site_add_host(w, &(struct make_site){
                         .pattern = "two.test", .certificates = {"shop/ec", "shop/rsa"}
    });
    site_apply(w);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        site_version(w, version);
        check_kind(w, "ecdsa_secp256r1_sha256", "ec");
        check_kind(w, "rsa_pss_rsae_sha256:rsa_pkcs1_sha256", "rsa");
        check_kind(w, "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256:rsa_pkcs1_sha256", "ec");
    }
    /* One of them is enough, whichever it is. */
    make_state_delete(&w->routes, SNAP_CERTIFICATE, "shop/ec");
    site_apply(w);
    check_kind(w, "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256", "rsa");
}

/* The next host must not show what the last one had. */
static void no_kind_in_common(void **state)
{
    struct site_world *w = *state;
    add_one(w, "rsa", "RSA", 1);
    add_one(w, "ec", NULL, 2);
    site_add_host(w, &(struct make_site){.pattern = "two.test", .certificates = {"shop/rsa"}});
    site_add_host(w, &(struct make_site){.pattern = "", .certificates = {"shop/ec"}});
    site_apply(w);
    assert_int_equal(SSL_CTX_set1_sigalgs_list(w->client_context, "ecdsa_secp256r1_sha256"), 1);
    check_shown(w, "other.test", "ec");
    check_refused(w, "two.test", SSL_AD_HANDSHAKE_FAILURE);
    check_shown(w, "other.test", "ec");
}

/* A key exchange that takes a second ClientHello: RFC 8446 section 4.1.4. */
static void a_second_hello(void **state)
{
    struct site_world *w = *state;
    struct site_end e;
    add_names(w);
    assert_int_equal(SSL_CTX_set1_groups_list(w->client_context, "P-521:P-384"), 1);
    site_version(w, TLS1_3_VERSION);
    site_connect(w, &e, "b.test");
    assert_int_equal(site_shake(&e), 0);
    assert_string_equal(site_shown(&e), "b");
    assert_true(str_eq(e.transport.tls->server_name, STR("b.test")));
    site_close(&e);
}

/* ---- no answer ---- */

static void nothing_to_show(void **state)
{
    struct site_world *w = *state;
    check_refused(w, "a.test", SSL_AD_UNRECOGNIZED_NAME); /* nothing is configured at all */
    site_add_host(w, &(struct make_site){.pattern = "a.test"});
    site_apply(w);
    check_refused(w, "a.test", SSL_AD_UNRECOGNIZED_NAME);
    check_refused(w, NULL, SSL_AD_UNRECOGNIZED_NAME);
    site_add_host(w, &(struct make_site){.pattern = "", .certificates = {"shop/gone"}});
    site_apply(w);
    check_refused(w, "a.test", SSL_AD_UNRECOGNIZED_NAME);
    assert_int_equal(stats_get(&w->stats->tls_no_certificate), 4);
    assert_int_equal(stats_get(&w->stats->tls_failed), 4);
    add_names(w);
    check_shown(w, "a.test", "a");
}

/* --ssl-reject-handshake: names that are nobody's get no certificate. */
static void strangers_may_be_refused(void **state)
{
    struct site_world *w = *state;
    add_names(w);
    w->settings.ssl_reject_handshake = 1;
    check_shown(w, "a.test", "a");
    check_shown(w, "none.test", "default"); /* somebody's, who has none */
    check_refused(w, "c.test", SSL_AD_UNRECOGNIZED_NAME);
    check_refused(w, NULL, SSL_AD_UNRECOGNIZED_NAME);
    assert_int_equal(stats_get(&w->stats->tls_rejected_names), 2);
    assert_int_equal(stats_get(&w->stats->tls_no_certificate), 0);
    w->settings.ssl_reject_handshake = 0;
    check_shown(w, "c.test", "default");
}

/* Names come and go with the snapshot, without a new context. */
static void changes_apply_at_once(void **state)
{
    struct site_world *w = *state;
    add_names(w);
    check_shown(w, "c.test", "default");
    site_add_host(w, &(struct make_site){.pattern = "c.test", .certificates = {"shop/b"}});
    site_apply(w);
    check_shown(w, "c.test", "b");
    make_state_delete(&w->routes, SNAP_TLS_HOST, "ingress/c.test");
    site_apply(w);
    check_shown(w, "c.test", "default");
    add_one(w, "a", "RSA", 9); /* renewed, with a key of another kind */
    site_apply(w);
    assert_int_equal(SSL_CTX_set1_sigalgs_list(w->client_context, "rsa_pss_rsae_sha256"), 1);
    check_shown(w, "a.test", "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
        TEST(the_name_decides),
        TEST(names_that_nobody_can_have),
        TEST(long_names),
        TEST(malformed_extensions),
        TEST(a_hello_of_old),
        TEST(two_kinds_of_keys),
        TEST(no_kind_in_common),
        TEST(a_second_hello),
        TEST(nothing_to_show),
        TEST(strangers_may_be_refused),
        TEST(changes_apply_at_once),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* for the client */
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
