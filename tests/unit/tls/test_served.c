/* Certificates and authorities as they are kept decoded: when they are made, anew or not at all,
 * which one makes room, and that connections keep what was dropped. */
#include "tls/served_priv.h"

#include "site_world.h"

#define KEY_OF(name) STR("shop/" name), hash_str(STR("shop/" name))

static const struct served_certificate *get(struct site_world *w, const char *key)
{
    struct str s = str_from_cstr(key);
    return served_certificate_get(w->served, s, hash_str(s));
}

static bool has(struct site_world *w, const char *key)
{
    return get(w, key) != NULL;
}

static struct tls_served_figures figures(const struct site_world *w)
{
    return tls_served_figures(w->served);
}

static void check_figures(const struct site_world *w, uint64_t loaded, uint64_t failed,
                          uint64_t dropped, size_t n)
{
    struct tls_served_figures f = figures(w);
    assert_int_equal(f.loaded, loaded);
    assert_int_equal(f.failed, failed);
    assert_int_equal(f.dropped, dropped);
    assert_int_equal(f.n, n);
    assert_int_equal(ERR_peek_error(), 0); /* nobody else's failure is explained by ours */
}

/* ---- certificates ---- */

static void made_at_first_use(void **state)
{
    struct site_world *w = *state;
    site_add_certificate(w, "leaf", &w->leaf, &w->root, 1);
    site_add_key(w, &w->leaf, 1);
    site_apply(w);
    check_figures(w, 0, 0, 0, 0);
    const struct served_certificate *c = get(w, "shop/leaf");
    assert_non_null(c);
    assert_int_equal(X509_cmp(c->leaf, w->leaf.x), 0);
    assert_int_equal(sk_X509_num(c->chain), 1);
    assert_int_equal(X509_cmp(sk_X509_value(c->chain, 0), w->root.x), 0);
    assert_int_equal(EVP_PKEY_eq(c->key, w->leaf.key), 1);
    assert_true(str_eq(c->name, STR("shop/leaf")));
    assert_ptr_equal(get(w, "shop/leaf"), c);
    check_figures(w, 1, 0, 0, 1);
}

/* Not remembered: it may be on its way. */
static void the_key_may_come_later(void **state)
{
    struct site_world *w = *state;
    site_add_certificate(w, "leaf", &w->leaf, NULL, 1);
    site_add_key(w, &w->leaf, 2); /* somebody else's */
    site_apply(w);
    assert_null(get(w, "shop/leaf"));
    assert_null(get(w, "shop/leaf"));
    check_figures(w, 0, 2, 0, 0);
    site_add_key(w, &w->leaf, 1);
    site_apply(w);
    assert_non_null(get(w, "shop/leaf"));
    check_figures(w, 1, 2, 0, 1);
}

static void what_cannot_be_served(void **state)
{
    struct site_world *w = *state;
    struct str der = pki_der(&w->leaf), ders[] = {der, STR("no certificate")};
    struct str cut = str_first(der, der.n - 1);
    char more[2048];
    mem_copy(more, der.p, der.n);
    more[der.n] = '\0';
    struct str long_one = str_make(more, der.n + 1);
    const struct make_secret bad[] = {
        {.name = "none",  .texts = &ders[1],  .text_n = 1},
        {.name = "cut",   .texts = &cut,      .text_n = 1},
        {.name = "long",  .texts = &long_one, .text_n = 1},
        {.name = "chain", .texts = ders,      .text_n = 2},
    };
    enum { BAD_N = sizeof(bad) / sizeof(bad[0]) };
    for (size_t i = 0; i < BAD_N; i++) {
        struct make_secret s = bad[i];
        s.key_name = site_key_name(1);
        s.key_kind = SNAP_KEY_EC;
        assert_int_equal(make_certificate(make_next(w->routes.set), &s), E_OK);
    }
    site_add_certificate(w, "mismatch", &w->leaf, NULL, 2);
    site_add_certificate(w, "nonsense", &w->leaf, NULL, 3);
    site_add_key(w, &w->leaf, 1);
    site_add_key(w, &w->root, 2);
    assert_int_equal(make_key(make_next(w->secrets.set), site_key_name(3), STR("\x30\x03\x02\x01")),
                     E_OK);
    site_apply(w);
    for (size_t i = 0; i < BAD_N; i++) {
        char key[64];
        (void)snprintf(key, sizeof(key), "shop/%s", bad[i].name);
        assert_null(get(w, key));
    }
    assert_null(get(w, "shop/mismatch"));
    assert_null(get(w, "shop/nonsense"));
    assert_null(get(w, "shop/nobody"));
    check_figures(w, 0, BAD_N + 3, 0, 0);
    pki_der_free(&der);
}

/* ---- changes ---- */

static void made_anew_after_a_change(void **state)
{
    struct site_world *w = *state;
    site_usual(w);
    assert_int_equal(X509_cmp(get(w, "shop/leaf")->leaf, w->leaf.x), 0);
    site_add_certificate(w, "leaf", &w->root, NULL, 2);
    site_add_key(w, &w->root, 2);
    site_apply(w);
    check_figures(w, 1, 0, 0, 0);
    assert_int_equal(X509_cmp(get(w, "shop/leaf")->leaf, w->root.x), 0);
    make_state_delete(&w->routes, SNAP_CERTIFICATE, "shop/leaf");
    site_apply(w);
    assert_null(get(w, "shop/leaf"));
}

/* Each by its kind and key. */
static void others_are_not_forgotten(void **state)
{
    struct site_world *w = *state;
    site_add_authority(w, "leaf", &w->root, NULL);
    site_usual(w);
    assert_non_null(get(w, "shop/leaf"));
    assert_non_null(served_authority_get(w->served, KEY_OF("leaf")));
    check_figures(w, 2, 0, 0, 2);
    tls_served_forget(w->served, SNAP_HOST, STR("shop/leaf"));
    tls_served_forget(w->served, SNAP_CERTIFICATE, STR("shop/leave"));
    check_figures(w, 2, 0, 0, 2);
    tls_served_forget(w->served, SNAP_AUTHORITY, STR("shop/leaf"));
    check_figures(w, 2, 0, 0, 1);
    assert_non_null(get(w, "shop/leaf"));
    check_figures(w, 2, 0, 0, 1);
}

/* ---- room ---- */

static void name_of(char to[16], unsigned i)
{
    (void)snprintf(to, 16, "shop/c%u", i);
}

static void add_many(struct site_world *w, unsigned n)
{
    char name[16];
    for (unsigned i = 0; i < n; i++) {
        name_of(name, i);
        site_add_certificate(w, name + 5, &w->leaf, NULL, 1);
    }
    site_add_key(w, &w->leaf, 1);
    site_apply(w);
}

static void the_one_used_longest_ago_makes_room(void **state)
{
    struct site_world *w = *state;
    char name[16];
    add_many(w, SITE_SERVED_MAX + 1);
    for (unsigned i = 0; i < SITE_SERVED_MAX; i++) {
        name_of(name, i);
        assert_true(has(w, name));
    }
    check_figures(w, SITE_SERVED_MAX, 0, 0, SITE_SERVED_MAX);
    assert_true(has(w, "shop/c0")); /* 1 is the oldest now */
    name_of(name, SITE_SERVED_MAX);
    assert_true(has(w, name));
    check_figures(w, SITE_SERVED_MAX + 1, 0, 1, SITE_SERVED_MAX);
    assert_true(has(w, "shop/c0"));
    check_figures(w, SITE_SERVED_MAX + 1, 0, 1, SITE_SERVED_MAX); /* it was still there */
    assert_true(has(w, "shop/c1"));
    check_figures(w, SITE_SERVED_MAX + 2, 0, 2, SITE_SERVED_MAX);
}

/* What cannot be served must not push out what can: a client may ask for it as often as it
 * likes. */
static void failures_take_no_room(void **state)
{
    struct site_world *w = *state;
    char name[16];
    add_many(w, SITE_SERVED_MAX);
    site_add_certificate(w, "broken", &w->leaf, NULL, 2);
    site_apply(w);
    for (unsigned i = 0; i < SITE_SERVED_MAX; i++) {
        name_of(name, i);
        assert_true(has(w, name));
    }
    for (unsigned i = 0; i < 3 * SITE_SERVED_MAX; i++) {
        assert_false(has(w, "shop/broken"));
        assert_false(has(w, "shop/nobody"));
    }
    check_figures(w, SITE_SERVED_MAX, 6UL * SITE_SERVED_MAX, 0, SITE_SERVED_MAX);
}

/* A handshake that has begun with it goes on. */
static void connections_keep_what_was_dropped(void **state)
{
    struct site_world *w = *state;
    struct site_end e;
    site_usual(w);
    site_connect(w, &e, "a.test");
    assert_int_equal(SSL_do_handshake(e.client), -1);
    site_step(w);
    tls_served_forget(w->served, SNAP_CERTIFICATE, STR("shop/leaf"));
    make_state_delete(&w->routes, SNAP_CERTIFICATE, "shop/leaf");
    make_state_delete(&w->secrets, SNAP_KEY, site_key_name(1));
    site_apply(w);
    assert_int_equal(site_shake(&e), 0);
    site_exchange(&e);
    assert_string_equal(site_shown(&e), "leaf");
    site_close(&e);
    site_connect(w, &e, "a.test");
    assert_int_equal(site_shake(&e), SITE_ALERT(SSL_AD_UNRECOGNIZED_NAME));
    site_close(&e);
}

/* ---- authorities ---- */

static void authorities(void **state)
{
    struct site_world *w = *state;
    X509_CRL *list = pki_revoke(&w->root, &w->leaf, -PKI_HOUR, PKI_HOUR);
    site_add_authority(w, "plain", &w->root, NULL);
    site_add_authority(w, "strict", &w->root, list);
    site_apply(w);
    const struct served_authority *plain = served_authority_get(w->served, KEY_OF("plain"));
    assert_non_null(plain);
    assert_int_equal(sk_X509_NAME_num(plain->names), 1);
    assert_int_equal(
        X509_NAME_cmp(sk_X509_NAME_value(plain->names, 0), X509_get_subject_name(w->root.x)), 0);
    unsigned long flags = X509_VERIFY_PARAM_get_flags(X509_STORE_get0_param(plain->store));
    assert_int_equal(flags & X509_V_FLAG_CRL_CHECK, 0);
    uint64_t stamp = plain->stamp;
    const struct served_authority *strict = served_authority_get(w->served, KEY_OF("strict"));
    assert_non_null(strict);
    flags = X509_VERIFY_PARAM_get_flags(X509_STORE_get0_param(strict->store));
    assert_int_equal(flags & (X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL),
                     X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    assert_int_not_equal(strict->stamp, stamp);
    X509_CRL_free(list);
}

/* Half of an authority would let in whom nobody checks for revocation. */
static void broken_authorities_are_none(void **state)
{
    struct site_world *w = *state;
    struct str der = pki_der(&w->root), bad = STR("nothing"), texts[] = {der, bad};
    const struct {
        const char *name;
        const struct str *texts;
        uint32_t text_n, list_n;
        const struct str *lists;
    } cases[] = {
        {"bad",     &bad,  1, 0, NULL},
        {"half",    texts, 2, 0, NULL},
        {"list",    &der,  1, 1, &bad},
        {"swapped", &der,  1, 1, &der},
    };
    enum { CASES_N = sizeof(cases) / sizeof(cases[0]) };
    for (size_t i = 0; i < CASES_N; i++) {
        const struct make_secret s = {.name = cases[i].name,
                                      .texts = cases[i].texts,
                                      .text_n = cases[i].text_n,
                                      .more = cases[i].lists,
                                      .more_n = cases[i].list_n};
        assert_int_equal(make_authority(make_next(w->routes.set), &s), E_OK);
    }
    site_apply(w);
    assert_null(served_authority_get(w->served, KEY_OF("bad")));
    assert_null(served_authority_get(w->served, KEY_OF("half")));
    assert_null(served_authority_get(w->served, KEY_OF("list")));
    assert_null(served_authority_get(w->served, KEY_OF("swapped")));
    assert_null(served_authority_get(w->served, KEY_OF("nobody")));
    check_figures(w, 0, CASES_N + 1, 0, 0);
    pki_der_free(&der);
}

/* ---- memory ---- */

static const void *get_one(struct site_world *w, bool is_authority)
{
    return is_authority ? (const void *)served_authority_get(w->served, KEY_OF("ca"))
                        : (const void *)get(w, "shop/leaf");
}

static void when_memory_is_out(void **state)
{
    enum { NTH_MAX = 10 * 1000, CLOSE = 40 };
    struct site_world *w = *state;
    X509_CRL *list = pki_revoke(&w->root, NULL, -PKI_HOUR, PKI_HOUR);
    site_add_authority(w, "ca", &w->root, list);
    site_usual(w);
    for (int is_authority = 0; is_authority < 2; is_authority++) {
        size_t nth = 1;
        const void *got = NULL;
        for (; nth < NTH_MAX && got == NULL; nth += 1 + nth / CLOSE) {
            mem_fail_from(nth);
            got = get_one(w, is_authority != 0);
            mem_fail_from(0);
            assert_int_equal(figures(w).n, (size_t)is_authority + (got != NULL));
            assert_int_equal(ERR_peek_error(), 0);
        }
        assert_non_null(got);
        assert_true(nth > 3);
    }
    struct tls_served *s = NULL;
    mem_fail_from(1);
    assert_int_equal(tls_served_new(&w->routes.s, &w->secrets.s, 1, &s), E_NOMEM);
    mem_fail_from(0);
    assert_null(s);
    tls_served_free(NULL);
    X509_CRL_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
        TEST(made_at_first_use),
        TEST(the_key_may_come_later),
        TEST(what_cannot_be_served),
        TEST(made_anew_after_a_change),
        TEST(others_are_not_forgotten),
        TEST(the_one_used_longest_ago_makes_room),
        TEST(failures_take_no_room),
        TEST(connections_keep_what_was_dropped),
        TEST(authorities),
        TEST(broken_authorities_are_none),
        TEST(when_memory_is_out),
    };
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
