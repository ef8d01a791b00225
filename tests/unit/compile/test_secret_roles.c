/* What Secrets are for beside a certificate: authorities, keys of tickets, the certificate of names
 * that nobody has one for; and which of several Secrets a host is served with. */
#include "secret_world.h"

/* ---- authorities ---- */

static void authorities_are_kept_too(void **state)
{
    struct bench *b = *state;
    struct buf two, list;
    X509_CRL *crl = pki_revoke(&b->root, NULL, -PKI_HOUR, PKI_HOUR);
    buf_init(&two, 1 << 20);
    buf_init(&list, 1 << 20);
    pki_pem_revocations(crl, &list);
    buf_add_str(&two, buf_str(&b->root_pem));
    buf_add_str(&two, buf_str(&b->other_pem));
    put_ingress(b, AUTH("default/ca"));
    (void)at(b, 0);
    assert_int_equal(guard(b), 'd'); /* not there: nobody gets in */
    assert_int_equal(told_n(b, DIAG_SecretNotFound, "403"), 1);
    const struct str bad[] = {STR_EMPTY, STR("nonsense"), str_first(buf_str(&two), two.n - 40)};
    for (size_t i = 0; i < 3; i++) {
        put_authority(b, bad[i], STR_EMPTY);
        (void)run(b);
        assert_int_equal(guard(b), 'd');
        assert_int_equal(told_n(b, DIAG_InvalidCertificate, "403"), 1);
    }
    put_authority(b, buf_str(&b->root_pem), STR_EMPTY);
    (void)run(b);
    assert_int_equal(guard(b), '1');
    for (size_t i = 0; i < 3; i++) {
        put_authority(b, bad[i], STR_EMPTY);
        assert_int_equal(run(b), 0);
        assert_int_equal(guard(b), '1');
        assert_int_equal(told_n(b, DIAG_InvalidCertificate, "stay in service"), 1);
    }
    put_authority(b, buf_str(&b->root_pem),
                  STR("-----BEGIN X509 CRL-----\nAA\n"
                      "-----END X509 CRL-----\n"));
    assert_int_equal(run(b), 0); /* without its list it would let in whom that names */
    put_authority(b, buf_str(&two), buf_str(&list));
    assert_true(run(b) > 0);
    assert_int_equal(guard(b), '3');
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("ca")));
    (void)run(b);
    assert_int_equal(guard(b), 'd');
    put_ingress(b, "");
    (void)run(b);
    assert_int_equal(guard(b), '-');
    X509_CRL_free(crl);
    buf_fini(&two);
    buf_fini(&list);
}

/* One Secret may be both. */
static void two_roles(void **state)
{
    struct bench *b = *state;
    const struct item items[] = {
        {"tls.crt", buf_str(&b->good_pem)},
        {"tls.key", buf_str(&b->good_key)},
        {"ca.crt",  buf_str(&b->root_pem)},
    };
    put_ingress(b, AUTH("default/s"));
    put_secret(b, "s", items, 3);
    (void)at(b, 0);
    assert_int_equal(in_service(b), 'g');
    assert_non_null(find(b, SNAP_AUTHORITY, "default/s"));
    put_secret(b, "s", items + 2, 1); /* its certificate is gone, and stays */
    (void)run(b);
    assert_int_equal(in_service(b), 'g');
    assert_int_equal(told_n(b, DIAG_InvalidCertificate, "stays in service"), 1);
    put_ingress(b, "");
    (void)run(b);
    assert_null(find(b, SNAP_AUTHORITY, "default/s"));
}

/* ---- tickets ---- */

static uint32_t ticket_keys(const struct bench *b, char first)
{
    const struct snap_tickets *t = (const void *)find(b, SNAP_TICKETS, "");
    if (t == NULL) {
        return 0;
    }
    const struct snap_ticket_key *keys = snap_array_get(t, t->keys);
    assert_int_equal(keys[0].name[0], first);
    return t->keys.n;
}

static void put_tickets(struct bench *b, char c, size_t n)
{
    static char bytes[1024];
    memset(bytes, c, sizeof(bytes));
    const struct item item = {"ticket.key", str_make(bytes, n)};
    put_secret(b, "tickets", &item, 1);
}

static void keys_of_tickets(void **state)
{
    static const size_t bad[] = {0, 1, 48, 79, 81, 721, 720};
    struct bench *b = *state;
    compile_free(b->compile);
    store_free(b->store);
    b->options.ticket_secret_namespace = STR("default");
    b->options.ticket_secret = STR("tickets");
    compile_begin(b);
    (void)at(b, 0);
    assert_int_equal(ticket_keys(b, 0), 0);
    assert_int_equal(told_n(b, DIAG_SecretNotFound, "random keys"), 1);
    put_tickets(b, 'a', 80);
    assert_int_equal(run(b), 1);
    assert_int_equal(ticket_keys(b, 'a'), 1);
    assert_int_equal(diag_n(b), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put_tickets(b, 'b', bad[i]);
        assert_int_equal(run(b), 0);
        assert_int_equal(ticket_keys(b, 'a'), 1);
        assert_int_equal(told_n(b, DIAG_InvalidSetting, "stay in use"), 2);
    }
    put_tickets(b, 'c', 640);
    assert_int_equal(run(b), 1);
    assert_int_equal(ticket_keys(b, 'c'), 8);
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("tickets")));
    assert_int_equal(run(b), 1);
    assert_int_equal(ticket_keys(b, 0), 0);
}

/* ---- for names that nobody has one for ---- */

static bool default_is(const struct bench *b, const char *key)
{
    const struct snap_tls_host *h = (const void *)find(b, SNAP_TLS_HOST, "ingress/");
    if (key == NULL || h == NULL) {
        return key == NULL && h == NULL;
    }
    const struct snap_named *named = snap_array_get(h, h->certificates);
    return h->certificates.n == 1 && str_eq(snap_str_get(h, named[0].key), str_from_cstr(key));
}

static void the_default_one(void **state)
{
    struct bench *b = *state;
    compile_free(b->compile);
    store_free(b->store);
    b->options.default_certificate_namespace = STR("default");
    b->options.default_certificate = STR("s");
    b->options.own_chain = buf_str(&b->other_pem);
    b->options.own_key = buf_str(&b->other_key);
    compile_begin(b);
    (void)at(b, 0);
    assert_true(default_is(b, "-/default")); /* of our own making */
    assert_int_equal(told_n(b, DIAG_SecretNotFound, NULL), 1);
    put_broken(b, SWAPPED);
    (void)run(b);
    assert_true(default_is(b, "-/default"));
    put_good(b);
    (void)run(b);
    assert_true(default_is(b, "default/s"));
    assert_int_equal(diag_n(b), 0);
    put_broken(b, CUT);
    assert_int_equal(run(b), 0);
    assert_true(default_is(b, "default/s"));
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("s")));
    (void)run(b);
    assert_true(default_is(b, "-/default"));
}

/* An Ingress without hosts stands for them all. */
static void one_of_an_ingress(void **state)
{
    struct bench *b = *state;
    compile_free(b->compile);
    store_free(b->store);
    b->options.own_chain = buf_str(&b->other_pem);
    b->options.own_key = buf_str(&b->other_key);
    compile_begin(b);
    buf_reset(&b->text);
    buf_addf(&b->text, "apiVersion: networking.k8s.io/v1\nkind: Ingress\n"
                       "metadata: {name: web, namespace: default}\n"
                       "spec:\n  ingressClassName: lintel\n  tls: [{secretName: s}]\n"
                       "  defaultBackend: {service: {name: web, port: {number: 80}}}\n");
    put_text(b);
    (void)at(b, 0);
    assert_true(default_is(b, "-/default"));
    put_good(b);
    (void)run(b);
    assert_true(default_is(b, "default/s"));
}

static void none_at_all(void **state)
{
    struct bench *b = *state;
    put_good(b); /* in nobody's use */
    (void)at(b, 0);
    assert_true(default_is(b, NULL));
    assert_int_equal(kind_n(b, SNAP_CERTIFICATE) + kind_n(b, SNAP_KEY), 0);
}

/* ---- whose certificate ---- */

/* An Ingress of that age in days and entries of spec.tls. */
static void put_old(struct bench *b, const char *name, int day, const char *tls)
{
    buf_reset(&b->text);
    buf_addf(&b->text,
             "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: %s, namespace: "
             "default, creationTimestamp: \"2026-01-%02dT00:00:00Z\"}\n"
             "spec:\n  ingressClassName: lintel\n  tls: [%s]\n  rules: [{host: a.test}]\n",
             name, day, tls);
    put_text(b);
}

/* The Secrets of a.test, in order: "s t". */
static const char *served_by(const struct bench *b)
{
    static char text[64];
    const struct snap_tls_host *h = (const void *)find(b, SNAP_TLS_HOST, "ingress/a.test");
    struct wr w = wr_make(text, sizeof(text) - 1);
    for (uint32_t i = 0; h != NULL && i < h->certificates.n; i++) {
        const struct snap_named *named = snap_array_get(h, h->certificates);
        struct str key = snap_str_get(h, named[i].key);
        wr_str(&w, i > 0 ? STR(" ") : STR_EMPTY);
        wr_str(&w, str_from(key, sizeof("default/") - 1));
    }
    text[wr_n(&w)] = '\0';
    return text;
}

static void put_as(struct bench *b, const char *name, const struct pki *p)
{
    struct buf pem, key;
    buf_init(&pem, 1 << 16);
    buf_init(&key, 1 << 16);
    pki_pem(p, &pem);
    pki_pem_key(p, &key);
    put_pair(b, name, buf_str(&pem), buf_str(&key));
    buf_fini(&pem);
    buf_fini(&key);
}

/* The oldest Ingress that has a good one decides, whenever it gets it. */
static void the_oldest_with_a_good_one_decides(void **state)
{
    struct bench *b = *state;
    put_old(b, "late", 3, "{hosts: [a.test], secretName: t}");
    put_as(b, "t", &b->other);
    (void)at(b, 0);
    assert_string_equal(served_by(b), "t");
    put_old(b, "early", 2, "{hosts: [a.test], secretName: s}");
    (void)run(b);
    assert_string_equal(served_by(b), "t"); /* its Secret is not there */
    put_broken(b, SWAPPED);
    (void)run(b);
    assert_string_equal(served_by(b), "t");
    put_good(b);
    (void)run(b);
    assert_string_equal(served_by(b), "s");
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("s")));
    (void)run(b);
    assert_string_equal(served_by(b), "t");
    put_good(b);
    (void)run(b);
    assert_true(store_del(b->store, OBJECT_INGRESS, STR("default"), STR("early")));
    (void)run(b);
    assert_string_equal(served_by(b), "t");
}

static struct pki rsa_make(const struct bench *b)
{
    return pki_make(
        &(struct pki_options){.name = "rsa", .alternatives = "DNS:a.test", .key = "RSA"}, &b->root);
}

/* It alone does, also where others have kinds of keys that it lacks. */
static void ingresses_do_not_share(void **state)
{
    struct bench *b = *state;
    struct pki rsa = rsa_make(b);
    put_old(b, "early", 2, "{hosts: [a.test], secretName: s}");
    put_old(b, "late", 3, "{hosts: [a.test], secretName: t}");
    put_as(b, "s", &b->good);
    put_as(b, "t", &rsa);
    (void)at(b, 0);
    assert_string_equal(served_by(b), "s");
    pki_free(&rsa);
}

/* One of each kind; of one kind the first. */
static void kinds_of_keys(void **state)
{
    struct bench *b = *state;
    struct pki rsa = rsa_make(b);
    put_old(b, "web", 1,
            "{hosts: [a.test], secretName: s}, {hosts: [a.test], secretName: t}, "
            "{hosts: [a.test], secretName: u}");
    put_as(b, "s", &b->good);
    put_as(b, "t", &b->other);
    put_as(b, "u", &rsa);
    (void)at(b, 0);
    assert_string_equal(served_by(b), "s u");
    put_as(b, "s", &rsa);
    (void)run(b);
    assert_string_equal(served_by(b), "s t");
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("s")));
    (void)run(b);
    assert_string_equal(served_by(b), "t u");
    pki_free(&rsa);
}

/* A certificate of other names is not served, and its owner is told until it has another one. */
static void names_have_to_fit(void **state)
{
    static const struct {
        const char *alternatives;
        bool is_for_it;
    } cases[] = {
        {"DNS:a.test",            true },
        {"DNS:b.test,DNS:A.TEST", true },
        {"DNS:*.test",            true },
        {"DNS:b.test",            false},
        {"DNS:*.a.test",          false},
        {"DNS:test",              false},
        {"DNS:*",                 false},
        {"IP:10.0.0.1",           false},
    };
    struct bench *b = *state;
    put_ingress(b, "");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct pki_options o = {.name = "a.test", .alternatives = cases[i].alternatives};
        struct pki p = pki_make(&o, &b->root);
        put_as(b, "s", &p);
        (void)at(b, 0);
        if (strcmp(served_by(b), cases[i].is_for_it ? "s" : "") != 0) {
            fail_msg("%s", cases[i].alternatives);
        }
        assert_int_equal(told_n(b, DIAG_CertificateMismatch, NULL), !cases[i].is_for_it);
        pki_free(&p);
    }
}

/* What clients have to show is one question for one connection: the same Secret and the same rules
 * are the same policy. */
static void policies(void **state)
{
    struct bench *b = *state;
    uint64_t seen[4];
    static const char *const annotations[] = {
        AUTH("default/ca"),
        AUTH("default/ca") ", nginx.ingress.kubernetes.io/auth-tls-match-cn: CN=x",
        AUTH("default/ca") ", nginx.ingress.kubernetes.io/auth-tls-verify-depth: \"2\"",
        AUTH("default/ca") ", nginx.ingress.kubernetes.io/auth-tls-verify-client: optional",
    };
    put_authority(b, buf_str(&b->root_pem), STR_EMPTY);
    for (size_t i = 0; i < 4; i++) {
        put_ingress(b, annotations[i]);
        (void)at(b, 0);
        const struct snap_tls_host *h = (const void *)find(b, SNAP_TLS_HOST, "ingress/a.test");
        assert_non_null(h);
        assert_int_not_equal(h->policy, 0);
        seen[i] = h->policy;
    }
    assert_true(seen[0] == seen[1]); /* judged request by request, the handshake is the same */
    assert_true(seen[0] != seen[2] && seen[0] != seen[3] && seen[2] != seen[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(authorities_are_kept_too),
        TEST(two_roles),
        TEST(keys_of_tickets),
        TEST(the_default_one),
        TEST(one_of_an_ingress),
        TEST(none_at_all),
        TEST(the_oldest_with_a_good_one_decides),
        TEST(ingresses_do_not_share),
        TEST(kinds_of_keys),
        TEST(names_have_to_fit),
        TEST(policies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
