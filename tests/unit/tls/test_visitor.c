/* Clients that are asked for a certificate: what is told of the one they show, whatever it is, and
 * that a session stands only for what would be believed today. */
#include "site_world.h"
#include "tls/sites_priv.h"

enum { DEPTH = 1, NAME_ROOM = 256, ENTRIES = 2000 };

struct shown { /* copied, so that it outlives the connection */
    bool is_asked, has_certificate, is_verified, is_unsigned_only;
    char verdict[128], subject[NAME_ROOM], issuer[NAME_ROOM];
    size_t certificate_n;
};

static void guard(struct site_world *w, const char *pattern, const char *authority, uint8_t depth)
{
    site_add_host(w, &(struct make_site){.pattern = pattern,
                                         .certificates = {"shop/leaf"},
                                         .verify = SNAP_VERIFY_OPTIONAL,
                                         .authority = authority,
                                         .depth = depth,
                                         .policy = hash_str(str_from_cstr(authority)) ^ depth});
}

/* Host a.test believes root and wants to see at most DEPTH between. */
static void guarded(struct site_world *w)
{
    site_usual(w);
    site_add_authority(w, "ca", &w->root, NULL);
    guard(w, "a.test", "shop/ca", DEPTH);
    site_apply(w);
}

/* Shows nothing with NULL. */
static void client_has(struct site_world *w, const struct pki *p, const struct pki *intermediate)
{
    int version_min = (int)SSL_CTX_get_min_proto_version(w->client_context);
    int version_max = (int)SSL_CTX_get_max_proto_version(w->client_context);
    SSL_CTX_free(w->client_context);
    w->client_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(w->client_context, 0);
    (void)SSL_CTX_set_min_proto_version(w->client_context, version_min);
    (void)SSL_CTX_set_max_proto_version(w->client_context, version_max);
    if (p != NULL) {
        assert_int_equal(SSL_CTX_use_certificate(w->client_context, p->x), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(w->client_context, p->key), 1);
    }
    if (intermediate != NULL) {
        assert_int_equal(SSL_CTX_add1_chain_cert(w->client_context, intermediate->x), 1);
    }
}

static void copy(char *to, size_t room, struct str from)
{
    assert_true(str_to_cstr(from, to, room));
}

static struct shown visit(struct site_world *w, const char *name)
{
    struct site_end e;
    struct shown s = {0};
    site_connect(w, &e, name);
    assert_int_equal(site_shake(&e), 0);
    const struct transport_client *c = e.transport.tls->client;
    if (c != NULL) {
        s = (struct shown){true, c->has_certificate, c->is_verified, c->is_unsigned_only, "", "",
                           "",   c->certificate.n};
        copy(s.verdict, sizeof(s.verdict), c->verdict);
        copy(s.subject, sizeof(s.subject), c->subject);
        copy(s.issuer, sizeof(s.issuer), c->issuer);
    }
    site_exchange(&e); /* it may go on, whatever is wrong: requests are answered by it */
    site_close(&e);
    return s;
}

static void check_verdict(struct site_world *w, const char *verdict, bool is_unsigned_only)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        site_version(w, version);
        struct shown s = visit(w, "a.test");
        bool is_good = strcmp(verdict, "SUCCESS") == 0, is_none = strcmp(verdict, "NONE") == 0;
        assert_true(s.is_asked);
        assert_string_equal(s.verdict, verdict);
        assert_int_equal(s.is_verified, is_good);
        assert_int_equal(s.has_certificate, !is_none);
        assert_int_equal(s.is_unsigned_only, is_unsigned_only);
        assert_int_equal(s.subject[0] == '\0', is_none);
        assert_int_equal(s.issuer[0] == '\0', is_none);
        assert_int_equal(s.certificate_n, 0);
    }
}

/* Which of several reasons is told is up to OpenSSL. */
static void check_refused(struct site_world *w)
{
    struct shown s = visit(w, "a.test");
    assert_true(s.has_certificate && !s.is_verified);
    assert_memory_equal(s.verdict, "FAILED:", 7);
}

/* ---- verdicts ---- */

static void a_good_one(void **state)
{
    struct site_world *w = *state;
    struct pki p = pki_make(&(struct pki_options){.name = "alice", .uses = "clientAuth"}, &w->root);
    guarded(w);
    client_has(w, &p, NULL);
    check_verdict(w, "SUCCESS", false);
    struct shown s = visit(w, "a.test");
    assert_string_equal(s.subject, "CN=alice");
    assert_string_equal(s.issuer, "CN=root");
    assert_false(visit(w, "elsewhere.test").is_asked);
    client_has(w, NULL, NULL);
    check_verdict(w, "NONE", false);
    pki_free(&p);
}

static void bad_ones(void **state)
{
    static const struct {
        const char *name, *uses;
        int begins_h, ends_h;
        bool is_self_signed, is_unsigned_only;
        const char *verdict;
    } cases[] = {
        {"old",    NULL,         -2, -1, false, false, "FAILED:certificate has expired"       },
        {"new",    NULL,         1,  2,  false, false, "FAILED:certificate is not yet valid"  },
        {"server", "serverAuth", -1, 1,  false, false, "FAILED:unsuitable certificate purpose"},
        {"self",   NULL,         -1, 1,  true,  true,  "FAILED:self-signed certificate"       },
        {"both",   NULL,         -2, -1, true,  false, "FAILED:certificate has expired"       },
    };
    struct site_world *w = *state;
    guarded(w);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct pki_options o = {.name = cases[i].name,
                                      .uses = cases[i].uses,
                                      .begins_s = cases[i].begins_h * (long)PKI_HOUR,
                                      .ends_s = cases[i].ends_h * (long)PKI_HOUR};
        struct pki p = pki_make(&o, cases[i].is_self_signed ? NULL : &w->root);
        client_has(w, &p, NULL);
        check_verdict(w, cases[i].verdict, cases[i].is_unsigned_only);
        pki_free(&p);
    }
}

/* Signed by whom nobody knows: that alone is passed by optional_no_ca. */
static void of_others(void **state)
{
    struct site_world *w = *state;
    struct pki other = pki_make(&(struct pki_options){.name = "other", .is_authority = true}, NULL);
    struct pki forged = pki_make(&(struct pki_options){.name = "root", .is_authority = true}, NULL);
    struct pki a = pki_make(&(struct pki_options){.name = "a"}, &other);
    struct pki b =
        pki_make(&(struct pki_options){.name = "b"}, &forged); /* the name, not the key */
    guarded(w);
    client_has(w, &a, NULL);
    check_verdict(w, "FAILED:unable to verify the first certificate", true);
    client_has(w, &a, &other);
    check_verdict(w, "FAILED:self-signed certificate in certificate chain", true);
    client_has(w, &b, NULL);
    check_refused(w);
    pki_free(&a);
    pki_free(&b);
    pki_free(&other);
    pki_free(&forged);
}

static void depth(void **state)
{
    struct site_world *w = *state;
    const struct pki_options upper_options = {.name = "upper", .is_authority = true};
    const struct pki_options lower_options = {.name = "lower", .is_authority = true};
    struct pki upper = pki_make(&upper_options, &w->root);
    struct pki lower = pki_make(&lower_options, &upper);
    struct pki near = pki_make(&(struct pki_options){.name = "near"}, &upper);
    struct pki far = pki_make(&(struct pki_options){.name = "far"}, &lower);
    guarded(w);
    client_has(w, &near, &upper);
    check_verdict(w, "SUCCESS", false);
    client_has(w, &far, &lower);
    assert_int_equal(SSL_CTX_add1_chain_cert(w->client_context, upper.x), 1);
    check_refused(w);
    guard(w, "a.test", "shop/ca", DEPTH + 1);
    site_apply(w);
    check_verdict(w, "SUCCESS", false);
    guard(w, "a.test", "shop/ca", 0); /* signed by an authority itself */
    site_apply(w);
    client_has(w, &near, &upper);
    check_refused(w);
    pki_free(&near);
    pki_free(&far);
    pki_free(&lower);
    pki_free(&upper);
}

static void revocation(void **state)
{
    struct site_world *w = *state;
    struct pki good = pki_make(&(struct pki_options){.name = "good"}, &w->root);
    struct pki bad = pki_make(&(struct pki_options){.name = "bad"}, &w->root);
    X509_CRL *lists[] = {pki_revoke(&w->root, &bad, -PKI_HOUR, PKI_HOUR),
                         pki_revoke(&w->root, &bad, -2 * PKI_HOUR, -PKI_HOUR)};
    static const char *const verdicts[][2] = {
        {"SUCCESS",                "FAILED:certificate revoked"},
        {"FAILED:CRL has expired", "FAILED:CRL has expired"    }, /* the first thing that is wrong */
    };
    guarded(w);
    for (size_t i = 0; i < 2; i++) {
        site_add_authority(w, "ca", &w->root, lists[i]);
        site_apply(w);
        client_has(w, &good, NULL);
        check_verdict(w, verdicts[i][0], false);
        client_has(w, &bad, NULL);
        struct shown s = visit(w, "a.test");
        assert_true(s.has_certificate && !s.is_verified && !s.is_unsigned_only);
        assert_true(i == 1 || strcmp(s.verdict, verdicts[i][1]) == 0);
        X509_CRL_free(lists[i]);
    }
    pki_free(&good);
    pki_free(&bad);
}

/* Without its authority nobody can be told from anybody else. */
static void no_authority(void **state)
{
    struct site_world *w = *state;
    struct site_end e;
    site_usual(w);
    guard(w, "a.test", "shop/nobody", DEPTH);
    site_apply(w);
    site_connect(w, &e, "a.test");
    assert_int_equal(site_shake(&e), SITE_ALERT(SSL_AD_ACCESS_DENIED));
    site_close(&e);
    site_connect(w, &e, "b.test");
    assert_int_equal(site_shake(&e), 0);
    site_close(&e);
}

/* The client learns whose certificates will do. */
static void the_client_may_choose(void **state)
{
    struct site_world *w = *state;
    struct site_end e;
    guarded(w);
    site_connect(w, &e, "a.test");
    assert_int_equal(site_shake(&e), 0);
    const STACK_OF(X509_NAME) *names = SSL_get0_peer_CA_list(e.client);
    assert_int_equal(sk_X509_NAME_num(names), 1);
    assert_int_equal(X509_NAME_cmp(sk_X509_NAME_value(names, 0), X509_get_subject_name(w->root.x)),
                     0);
    site_close(&e);
}

/* ---- names and text ---- */

/* What stands in header fields: RFC 4514, and nothing that could end a field or begin another. */
static void names_are_escaped(void **state)
{
    static const struct {
        const char *name;
        int n;
        const char *subject;
    } cases[] = {
        {"alice",             0, "CN=alice"                          },
        {"a,b+c\"d\\e<f>g;h", 0, "CN=a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h"},
        {" a ",               0, "CN=\\ a\\ "                        },
        {"#a",                0, "CN=\\#a"                           },
        {"a\r\nX-Admin: yes", 0, "CN=a\\0D\\0AX-Admin: yes"          },
        {"a\0b",              3, "CN=a\\00b"                         },
        {"\x7f\t\x1b[0m",     0, "CN=\\7F\\09\\1B[0m"                },
        {"J\xc3\xbcrgen",     0, "CN=J\\C3\\BCrgen"                  },
        {"\xf0\x9f\x94\x91",  0, "CN=\\F0\\9F\\94\\91"               },
        {"a/CN=admin",        0, "CN=a/CN=admin"                     },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pki p =
            pki_make(&(struct pki_options){.name = cases[i].name, .name_n = cases[i].n}, NULL);
        struct visitor *v = visitor_new(p.x, X509_V_OK, false);
        assert_non_null(v);
        struct str got = visitor_client(v)->subject;
        if (!str_eq(got, str_from_cstr(cases[i].subject))) {
            fail_msg("%s instead of %s", got.p, cases[i].subject);
        }
        assert_true(str_eq(visitor_client(v)->issuer, got));
        visitor_free(v);
        pki_free(&p);
    }
}

static void the_most_significant_comes_last(void **state)
{
    struct pki p = pki_make(&(struct pki_options){.name = "alice"}, NULL);
    X509_NAME *name = X509_get_subject_name(p.x);
    (void)state;
    assert_int_equal(
        X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const void *)"Shop", -1, 0, 0), 1);
    assert_int_equal(
        X509_NAME_add_entry_by_txt(name, "OU", MBSTRING_ASC, (const void *)"x", -1, -1, -1), 1);
    struct visitor *v = visitor_new(p.x, X509_V_OK, false);
    assert_true(str_eq(visitor_client(v)->subject, STR("OU=x+CN=alice,O=Shop")) ||
                str_eq(visitor_client(v)->subject, STR("CN=alice+OU=x,O=Shop")));
    visitor_free(v);
    pki_free(&p);
}

/* PEM, of which nothing but letters, digits and -._~ stands for itself. */
static void the_certificate_is_passed(void **state)
{
    struct site_world *w = *state;
    struct buf want;
    buf_init(&want, 1 << 16);
    pki_pem(&w->leaf, &want);
    struct visitor *v = visitor_new(w->leaf.x, X509_V_ERR_CERT_HAS_EXPIRED, true);
    const struct transport_client *c = visitor_client(v);
    assert_true(str_eq(c->verdict, STR("FAILED:certificate has expired")));
    size_t at = 0;
    for (size_t i = 0; i < c->certificate.n; i++, at++) {
        char byte = c->certificate.p[i];
        if (byte == '%') {
            unsigned value;
            assert_int_equal(sscanf(c->certificate.p + i + 1, "%2X", &value), 1);
            assert_null(strchr("-._~", (int)value));
            byte = (char)value;
            i += 2;
        } else {
            assert_non_null(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                   "0123456789-._~",
                                   byte));
        }
        assert_true(at < want.n && want.p[at] == byte);
    }
    assert_int_equal(at, want.n);
    visitor_free(v);
    buf_fini(&want);
}

static void the_host_says_whether_it_is_passed(void **state)
{
    struct site_world *w = *state;
    guarded(w);
    client_has(w, &w->leaf, NULL);
    assert_int_equal(visit(w, "a.test").certificate_n, 0);
    site_add_host(w, &(struct make_site){.pattern = "a.test",
                                         .certificates = {"shop/leaf"},
                                         .verify = SNAP_VERIFY_REQUIRED,
                                         .passes_certificate = true,
                                         .authority = "shop/ca",
                                         .policy = 1});
    site_apply(w);
    assert_true(visit(w, "a.test").certificate_n > 500);
}

/* More text than a visitor may have: no connection rather than half of the truth. */
static void endless_names(void **state)
{
    struct pki p = pki_make(&(struct pki_options){.name = "a"}, NULL);
    X509_NAME *name = X509_get_subject_name(p.x);
    (void)state;
    for (int i = 0; i < ENTRIES; i++) {
        assert_int_equal(
            X509_NAME_add_entry_by_txt(name, "OU", MBSTRING_ASC,
                                       (const void *)"a name that takes some room, again and again",
                                       -1, -1, 0),
            1);
    }
    assert_null(visitor_new(p.x, X509_V_OK, false));
    assert_int_equal(ERR_peek_error(), 0);
    pki_free(&p);
}

static void when_memory_is_out(void **state)
{
    enum { NTH_MAX = 1000 };
    struct site_world *w = *state;
    struct visitor *v = NULL;
    size_t nth = 1;
    for (; nth < NTH_MAX && v == NULL; nth++) {
        mem_fail_from(nth);
        v = visitor_new(w->leaf.x, X509_V_OK, true);
        mem_fail_from(0);
        assert_int_equal(ERR_peek_error(), 0);
    }
    assert_non_null(v);
    assert_true(nth > 5);
    assert_true(str_eq(visitor_client(v)->subject, STR("CN=leaf")));
    visitor_free(v);
    visitor_free(NULL);
}

/* ---- sessions ---- */

static SSL_SESSION *session_of(struct site_world *w, const char *name)
{
    SSL_SESSION *session;
    assert_false(site_resume(w, name, NULL, &session));
    return session;
}

/* So that a session is kept with its certificate. */
static void guarded_with_tickets(struct site_world *w)
{
    static const uint8_t keys[] = {1};
    w->settings.ssl_session_tickets = 1;
    assert_int_equal(make_tickets(make_next(w->secrets.set), keys, 1), E_OK);
    guarded(w);
}

/* A session tells what its full handshake has found, and only where the same was asked. */
static void sessions_stand_for_the_same(void **state)
{
    struct site_world *w = *state;
    struct pki p = pki_make(&(struct pki_options){.name = "alice"}, &w->root);
    guarded_with_tickets(w);
    guard(w, "same.test", "shop/ca", DEPTH);
    guard(w, "other.test", "shop/ca", DEPTH + 1);
    site_apply(w);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        site_version(w, version);
        client_has(w, &p, NULL);
        SSL_SESSION *session = session_of(w, "a.test"), *open = session_of(w, "b.test");
        client_has(w, NULL, NULL);
        assert_true(site_resume(w, "a.test", session, NULL));
        assert_false(site_resume(w, "same.test", session, NULL)); /* RFC 6066 section 3 */
        assert_false(site_resume(w, "other.test", session, NULL));
        assert_false(site_resume(w, "b.test", session, NULL)); /* where nobody is asked */
        assert_true(site_resume(w, "b.test", open, NULL));
        assert_false(site_resume(w, "a.test", open, NULL));
        SSL_SESSION_free(session);
        SSL_SESSION_free(open);
    }
    pki_free(&p);
}

static void a_resumed_session_tells_the_same(void **state)
{
    struct site_world *w = *state;
    struct pki p =
        pki_make(&(struct pki_options){.name = "alice", .begins_s = -7200, .ends_s = -1}, &w->root);
    struct site_end e;
    guarded_with_tickets(w);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        site_version(w, version);
        client_has(w, &p, NULL);
        SSL_SESSION *session = session_of(w, "a.test");
        client_has(w, NULL, NULL);
        site_connect(w, &e, "a.test");
        assert_int_equal(SSL_set_session(e.client, session), 1);
        assert_int_equal(site_shake(&e), 0);
        assert_true(e.transport.tls->is_resumed);
        const struct transport_client *c = e.transport.tls->client;
        assert_true(c->has_certificate && !c->is_verified && !c->is_unsigned_only);
        assert_true(str_eq(c->subject, STR("CN=alice")));
        assert_true(str_eq(c->verdict, STR("FAILED:certificate has expired")));
        site_close(&e);
        SSL_SESSION_free(session);
    }
    pki_free(&p);
}

/* Who was revoked since does not come back by a session, nor whoever a former authority has
 * signed. */
static void sessions_end_with_their_authority(void **state)
{
    struct site_world *w = *state;
    struct pki p = pki_make(&(struct pki_options){.name = "alice"}, &w->root);
    X509_CRL *list = pki_revoke(&w->root, &p, -PKI_HOUR, PKI_HOUR);
    guarded_with_tickets(w);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        site_version(w, version);
        site_add_authority(w, "ca", &w->root, NULL);
        site_apply(w);
        client_has(w, &p, NULL);
        SSL_SESSION *session = session_of(w, "a.test");
        assert_true(site_resume(w, "a.test", session, NULL));
        site_add_authority(w, "ca", &w->root, list);
        site_apply(w);
        assert_false(site_resume(w, "a.test", session, NULL));
        assert_string_equal(visit(w, "a.test").verdict, "FAILED:certificate revoked");
        SSL_SESSION_free(session);
    }
    X509_CRL_free(list);
    pki_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
        TEST(a_good_one),
        TEST(bad_ones),
        TEST(of_others),
        TEST(depth),
        TEST(revocation),
        TEST(no_authority),
        TEST(the_client_may_choose),
        TEST(names_are_escaped),
        TEST(the_most_significant_comes_last),
        TEST(the_certificate_is_passed),
        TEST(the_host_says_whether_it_is_passed),
        TEST(endless_names),
        TEST(when_memory_is_out),
        TEST(sessions_stand_for_the_same),
        TEST(a_resumed_session_tells_the_same),
        TEST(sessions_end_with_their_authority),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* for the client */
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
