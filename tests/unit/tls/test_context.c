/* The rules of a server's handshakes: what an operator may say of them, and which clients are
 * served by them then. */
#include "tls/context.h"

#include "site_world.h"

/* Of host "", by these rules; NULL words: ours. */
struct rules {
    const char *ciphers, *groups;
    unsigned min_version, max_version, alpn;
};

static enum err context_try(struct site_world *w, const struct rules *r, enum tls_fault *ret_fault)
{
    const struct tls_context_options o = {.sites = &w->sites,
                                          .ciphers = make_text(r->ciphers),
                                          .groups = make_text(r->groups),
                                          .min_version = r->min_version,
                                          .max_version = r->max_version,
                                          .alpn = r->alpn};
    tls_context_free(w->context);
    w->context = w->server.context = NULL;
    enum err e = tls_context_new(&o, ret_fault, &w->context);
    w->server.context = w->context;
    return e;
}

static void context_set(struct site_world *w, const struct rules *r)
{
    enum tls_fault fault;
    assert_int_equal(context_try(w, r, &fault), E_OK);
}

/* A client of its own for each question. */
static void client_new(struct site_world *w)
{
    SSL_CTX_free(w->client_context);
    w->client_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(w->client_context, 0); /* it would speak anything */
}

/* True: the handshake is completed. */
static bool is_served(struct site_world *w)
{
    struct site_end e;
    site_connect(w, &e, "a.test");
    bool is_done = site_shake(&e) == 0;
    if (is_done) {
        site_exchange(&e);
    }
    site_close(&e);
    return is_done;
}

/* ---- rules ---- */

static void versions(void **state)
{
    static const struct {
        struct rules rules;
        bool takes_12, takes_13;
    } cases[] = {
        {{0},                                    true,  true },
        {{.min_version = 12},                    true,  true },
        {{.min_version = 13},                    false, true },
        {{.max_version = 12},                    true,  false},
        {{.max_version = 13},                    true,  true },
        {{.min_version = 12, .max_version = 12}, true,  false},
        {{.min_version = 13, .max_version = 13}, false, true },
    };
    struct site_world *w = *state;
    site_usual(w);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        context_set(w, &cases[i].rules);
        for (int version = TLS1_VERSION; version <= TLS1_3_VERSION; version++) {
            bool is_taken = version == TLS1_2_VERSION   ? cases[i].takes_12
                            : version == TLS1_3_VERSION ? cases[i].takes_13
                                                        : false;
            client_new(w);
            site_version(w, version);
            assert_int_equal(is_served(w), is_taken);
        }
    }
}

/* Forward secrecy and authenticated encryption, or what the operator says instead. */
static void ciphers(void **state)
{
    static const struct {
        const char *ours, *theirs;
        bool is_taken;
    } cases[] = {
        {NULL,                            "ECDHE-ECDSA-AES128-GCM-SHA256", true },
        {NULL,                            "ECDHE-ECDSA-CHACHA20-POLY1305", true },
        {NULL,                            "ECDHE-ECDSA-AES128-SHA256",     false}, /* CBC */
        {NULL,                            "ECDHE-ECDSA-AES128-SHA",        false},
        {NULL,                            "ECDHE-ECDSA-NULL-SHA",          false},
        {NULL,                            "AECDH-AES256-SHA",              false}, /* of nobody */
        {"ECDHE-ECDSA-AES128-SHA256",     "ECDHE-ECDSA-AES128-SHA256",     true },
        {"ECDHE-ECDSA-AES128-SHA256",     "ECDHE-ECDSA-AES128-GCM-SHA256", false},
        {"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256", false},
    };
    struct site_world *w = *state;
    site_usual(w);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        context_set(w, &(struct rules){.ciphers = cases[i].ours});
        client_new(w);
        site_version(w, TLS1_2_VERSION);
        assert_int_equal(SSL_CTX_set_cipher_list(w->client_context, cases[i].theirs), 1);
        if (is_served(w) != cases[i].is_taken) {
            fail_msg("%s, %s", cases[i].ours, cases[i].theirs);
        }
    }
}

static void groups(void **state)
{
    static const struct {
        const char *ours, *theirs;
        bool is_taken;
    } cases[] = {
        {NULL,          "X25519",       true },
        {NULL,          "P-256",        true },
        {NULL,          "P-384",        true },
        {NULL,          "P-521",        false},
        {"P-521",       "P-521",        true },
        {"P-521",       "X25519",       false},
        {"P-256:P-521", "P-521:X25519", true },
    };
    struct site_world *w = *state;
    site_usual(w);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        context_set(w, &(struct rules){.groups = cases[i].ours});
        client_new(w);
        assert_int_equal(SSL_CTX_set1_groups_list(w->client_context, cases[i].theirs), 1);
        if (is_served(w) != cases[i].is_taken) {
            fail_msg("%s, %s", cases[i].ours, cases[i].theirs);
        }
    }
}

/* A cipher that costs much is not chosen because the client prefers it. */
static void our_order(void **state)
{
    struct site_world *w = *state;
    struct site_end e;
    site_usual(w);
    context_set(w, &(struct rules){
                       .ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"});
    client_new(w);
    site_version(w, TLS1_2_VERSION);
    assert_int_equal(
        SSL_CTX_set_cipher_list(w->client_context,
                                "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"),
        1);
    site_connect(w, &e, "a.test");
    assert_int_equal(site_shake(&e), 0);
    assert_true(str_eq(e.transport.tls->cipher, STR("ECDHE-ECDSA-AES128-GCM-SHA256")));
    site_close(&e);
}

static void words_that_cannot_be_used(void **state)
{
    static char long_words[8192];
    static const struct rules cases[] = {
        {.ciphers = "nonsense"}, {.groups = "nonsense"}, {.groups = "X25519:nonsense"},
        {.ciphers = long_words}, {.groups = long_words},
    };
    struct site_world *w = *state;
    memset(long_words, ':', sizeof(long_words) - 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum tls_fault fault = TLS_FAULT_WEAK;
        assert_int_equal(context_try(w, &cases[i], &fault), E_PROTO);
        assert_int_equal(fault, TLS_FAULT_NONE);
        assert_int_equal(ERR_peek_error(), 0);
        assert_null(w->context);
    }
}

/* ---- ALPN ---- */

static void protocols(void **state)
{
    enum { BOTH = TLS_ALPN_HTTP1 | TLS_ALPN_HTTP2 };
    static const struct {
        unsigned ours;
        struct str theirs;
        unsigned chosen;
    } cases[] = {
        {BOTH,           STR_INIT("\x02h2\x08http/1.1"),     TLS_ALPN_HTTP2},
        {BOTH,           STR_INIT("\x08http/1.1\x02h2"),     TLS_ALPN_HTTP2}, /* we decide */
        {BOTH,           STR_INIT("\x08http/1.1"),           TLS_ALPN_HTTP1},
        {BOTH,           STR_INIT("\x02h3\x02h2"),           TLS_ALPN_HTTP2},
        {BOTH,           STR_INIT("\x02h3"),                 0             },
        {BOTH,           STR_INIT("\x03h2c\x01h\x06http/1"), 0             },
        {TLS_ALPN_HTTP1, STR_INIT("\x02h2\x08http/1.1"),     TLS_ALPN_HTTP1},
        {TLS_ALPN_HTTP1, STR_INIT("\x02h2"),                 0             },
        {TLS_ALPN_HTTP2, STR_INIT("\x08http/1.1"),           0             },
        {0,              STR_INIT("\x02h2\x08http/1.1"),     0             },
        {BOTH,           STR_INIT(""),                       0             },
    };
    struct site_world *w = *state;
    site_usual(w);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct site_end e;
        context_set(w, &(struct rules){.alpn = cases[i].ours});
        client_new(w);
        assert_int_equal(SSL_CTX_set_alpn_protos(w->client_context,
                                                 (const unsigned char *)cases[i].theirs.p,
                                                 (unsigned)cases[i].theirs.n),
                         0);
        site_connect(w, &e, "a.test");
        /* RFC 7301 section 3.2: who speaks something else is refused */
        bool is_refused = cases[i].ours != 0 && cases[i].theirs.n > 0 && cases[i].chosen == 0;
        assert_int_equal(site_shake(&e) != 0, is_refused);
        if (!is_refused && tls_transport_alpn(&e.transport) != cases[i].chosen) {
            fail_msg("case %zu: %u", i, tls_transport_alpn(&e.transport));
        }
        site_close(&e);
    }
}

/* ---- certificates of its own ---- */

static enum err with_certificate(const char *chain, const char *key, enum tls_fault *ret_fault)
{
    struct tls_certificate *c;
    struct tls_context *context = NULL;
    assert_int_equal(tls_certificate_parse(str_from_cstr(chain), str_from_cstr(key), ret_fault, &c),
                     E_OK);
    const struct tls_context_options o = {.certificate = c};
    enum err e = tls_context_new(&o, ret_fault, &context);
    tls_certificate_free(c);
    tls_context_free(context);
    return e;
}

static void a_certificate_of_its_own(void **state)
{
    struct site_world *w = *state;
    struct buf chain, key;
    enum tls_fault fault = TLS_FAULT_NONE;
    buf_init(&chain, 1 << 16);
    buf_init(&key, 1 << 16);
    pki_pem(&w->leaf, &chain);
    pki_pem_key(&w->leaf, &key);
    buf_add_char(&chain, '\0');
    buf_add_char(&key, '\0');
    assert_int_equal(with_certificate(chain.p, key.p, &fault), E_OK);
    buf_fini(&chain);
    buf_fini(&key);
}

/* ---- memory ---- */

/* One that was made all the same is whole: tickets ask it for its sites. */
static void when_memory_is_out(void **state)
{
    enum { NTH_MAX = 5000 };
    static const uint8_t keys[] = {1};
    struct site_world *w = *state;
    const struct rules rules = {.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256", .groups = "P-256"};
    enum err e = E_NOMEM;
    size_t nth = 1;
    w->settings.ssl_session_tickets = 1;
    assert_int_equal(make_tickets(make_next(w->secrets.set), keys, 1), E_OK);
    site_usual(w);
    for (; nth < NTH_MAX && e != E_OK; nth++) {
        enum tls_fault fault;
        mem_fail_from(nth);
        e = context_try(w, &rules, &fault);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM || e == E_PROTO); /* the last: OpenSSL's guess */
        ERR_clear_error();                                      /* of freeing what was begun */
    }
    assert_int_equal(e, E_OK);
    assert_true(nth > 100);
    SSL_SESSION *session;
    assert_false(site_resume(w, "a.test", NULL, &session));
    assert_true(site_resume(w, "a.test", session, NULL));
    SSL_SESSION_free(session);
    tls_context_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
        TEST(versions),
        TEST(ciphers),
        TEST(groups),
        TEST(our_order),
        TEST(words_that_cannot_be_used),
        TEST(protocols),
        TEST(a_certificate_of_its_own),
        TEST(when_memory_is_out),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* for the client */
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
