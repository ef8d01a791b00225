/* Certificates: what is refused and why, which names are covered, making a pair, bundles. */
#include "tls/certificate.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tls/context.h"
#include "tls/library.h"

enum { NOW = 1800000000, DAY = 24 * 3600 };

struct pair { /* as tls_certificate_make() gives it */
    struct buf ca, chain, key;
};

static void pair_init(struct pair *p)
{
    buf_init(&p->ca, 1 << 20);
    buf_init(&p->chain, 1 << 20);
    buf_init(&p->key, 1 << 20);
}

static void pair_fini(struct pair *p)
{
    buf_fini(&p->ca);
    buf_fini(&p->chain);
    buf_wipe(&p->key);
}

static enum err pair_make(struct pair *p, const struct str *names, uint32_t n)
{
    struct tls_make make = {.common_name = "test",
                            .names = names,
                            .name_n = n,
                            .not_before = NOW,
                            .not_after = NOW + 90 * DAY};
    pair_init(p);
    return tls_certificate_make(&make, &p->ca, &p->chain, &p->key);
}

static struct pair pair_of(const char *name)
{
    struct pair p;
    struct str names[] = {str_from_cstr(name)};
    assert_int_equal(pair_make(&p, names, 1), E_OK);
    return p;
}

static enum tls_fault fault_of(struct str chain, struct str key)
{
    enum tls_fault fault = TLS_FAULT_NONE;
    struct tls_certificate *c = NULL;
    enum err e = tls_certificate_parse(chain, key, &fault, &c);
    assert_int_equal(e == E_OK, fault == TLS_FAULT_NONE);
    assert_int_equal(e == E_OK, c != NULL);
    tls_certificate_free(c);
    return fault;
}

static void a_pair_that_was_made(void **state)
{
    (void)state;
    static const struct str names[] = {STR_INIT("a.example.svc"), STR_INIT("*.b.example"),
                                       STR_INIT("10.0.0.1"), STR_INIT("2001:db8::1")};
    struct pair p;
    enum tls_fault fault;
    struct tls_certificate *c;
    assert_int_equal(pair_make(&p, names, 4), E_OK);
    assert_int_equal(tls_certificate_parse(buf_str(&p.chain), buf_str(&p.key), &fault, &c), E_OK);
    assert_int_equal(tls_certificate_not_before(c), NOW);
    assert_int_equal(tls_certificate_not_after(c), NOW + 90 * DAY);
    for (size_t i = 0; i < 4; i++) {
        assert_true(tls_certificate_covers(c, names[i]));
    }
    assert_int_equal(tls_certificate_judge(c, NOW - 1), TLS_FAULT_NOT_YET_VALID);
    assert_int_equal(tls_certificate_judge(c, NOW), TLS_FAULT_NONE);
    assert_int_equal(tls_certificate_judge(c, NOW + 90 * DAY), TLS_FAULT_NONE);
    assert_int_equal(tls_certificate_judge(c, NOW + 90 * DAY + 1), TLS_FAULT_EXPIRED);
    tls_certificate_free(c);
    pair_fini(&p);
}

/* The chain that was made verifies against its authority, for its names and as a server. */
static void the_authority_vouches(void **state)
{
    (void)state;
    struct pair p = pair_of("a.example");
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    BIO *ca_bio = BIO_new_mem_buf(p.ca.p, (int)p.ca.n);
    BIO *leaf_bio = BIO_new_mem_buf(p.chain.p, (int)p.chain.n);
    X509 *ca = PEM_read_bio_X509(ca_bio, NULL, NULL, NULL);
    X509 *leaf = PEM_read_bio_X509(leaf_bio, NULL, NULL, NULL);
    assert_int_equal(X509_STORE_add_cert(store, ca), 1);
    assert_int_equal(X509_STORE_CTX_init(check, store, leaf, NULL), 1);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(check);
    X509_VERIFY_PARAM_set_time(param, NOW + DAY);
    assert_int_equal(X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER), 1);
    assert_int_equal(X509_VERIFY_PARAM_set1_host(param, "a.example", 0), 1);
    assert_int_equal(X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT), 1);
    assert_int_equal(X509_verify_cert(check), 1);
    X509_STORE_CTX_free(check);
    X509_STORE_free(store);
    X509_free(ca);
    X509_free(leaf);
    (void)BIO_free(ca_bio);
    (void)BIO_free(leaf_bio);
    pair_fini(&p);
}

static void names_that_cannot_be(void **state)
{
    (void)state;
    static const struct str bad[] = {STR_INIT(""), STR_INIT("a,DNS:b"), STR_INIT("a b"),
                                     STR_INIT("a\n")};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct pair p;
        assert_int_equal(pair_make(&p, &bad[i], 1), E_PROTO);
        pair_fini(&p);
    }
    struct pair none;
    assert_int_equal(pair_make(&none, NULL, 0), E_PROTO);
    pair_fini(&none);
}

static void names_that_are_covered(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct str host;
        bool is_covered;
    } cases[] = {
        {"a.example",     STR_INIT("a.example"),     true },
        {"A.Example",     STR_INIT("a.example"),     true },
        {"a.example",     STR_INIT("A.eXample"),     true },
        {"*.a.example",   STR_INIT("X.A.example"),   true },
        {"a.example",     STR_INIT("b.example"),     false},
        {"a.example",     STR_INIT("x.a.example"),   false},
        {"a.example",     STR_INIT(""),              false},
        {"*.a.example",   STR_INIT("x.a.example"),   true },
        {"*.a.example",   STR_INIT("a.example"),     false},
        {"*.a.example",   STR_INIT(".a.example"),    false},
        {"*.a.example",   STR_INIT("x.y.a.example"), false},
        {"*.a.example",   STR_INIT("*.a.example"),   true },
        {"x.a.example",   STR_INIT("*.a.example"),   false},
        {"*.x.a.example", STR_INIT("*.a.example"),   false},
        {"10.0.0.1",      STR_INIT("10.0.0.1"),      true },
        {"10.0.0.1",      STR_INIT("10.0.0.2"),      false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pair p = pair_of(cases[i].name);
        struct tls_certificate *c;
        enum tls_fault fault;
        assert_int_equal(tls_certificate_parse(buf_str(&p.chain), buf_str(&p.key), &fault, &c),
                         E_OK);
        assert_int_equal(tls_certificate_covers(c, cases[i].host), cases[i].is_covered);
        tls_certificate_free(c);
        pair_fini(&p);
    }
}

/* A key in one PEM form or another; password NULL: not encrypted. */
static struct str key_pem(EVP_PKEY *key, char *room, size_t cap, const char *password)
{
    char *text;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key,
                                                   password != NULL ? EVP_aes_128_cbc() : NULL,
                                                   password, password != NULL ? 8 : 0, NULL, NULL),
                     1);
    size_t n = (size_t)BIO_get_mem_data(bio, &text);
    assert_true(n < cap);
    memcpy(room, text, n);
    (void)BIO_free(bio);
    return str_make(room, n);
}

/* A self-signed certificate with just a common name. */
static struct str plain_pem(EVP_PKEY *key, const EVP_MD *md, const unsigned char *name, int name_n,
                            char *room, size_t cap)
{
    char *text;
    X509 *x = X509_new();
    BIO *bio = BIO_new(BIO_s_mem());
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), DAY);
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, name,
                                                name_n, -1, 0),
                     1);
    assert_int_equal(X509_set_issuer_name(x, X509_get_subject_name(x)), 1);
    assert_int_equal(X509_set_pubkey(x, key), 1);
    assert_true(X509_sign(x, key, md) > 0);
    assert_int_equal(PEM_write_bio_X509(bio, x), 1);
    size_t n = (size_t)BIO_get_mem_data(bio, &text);
    assert_true(n < cap);
    memcpy(room, text, n);
    (void)BIO_free(bio);
    X509_free(x);
    return str_make(room, n);
}

static void what_is_refused(void **state)
{
    (void)state;
    char key_room[8192], encrypted_room[8192], weak_room[8192], chain_room[8192],
        long_room[1 << 15];
    struct pair p = pair_of("a.example"), other = pair_of("a.example");
    struct str chain = buf_str(&p.chain), key = buf_str(&p.key);
    EVP_PKEY *weak = EVP_RSA_gen(1024), *strong = EVP_RSA_gen(2048);
    struct str weak_key = key_pem(weak, weak_room, sizeof(weak_room), NULL);
    struct str strong_key = key_pem(strong, key_room, sizeof(key_room), NULL);
    const unsigned char *name = (const unsigned char *)"a.example";
    assert_int_equal(fault_of(chain, key), TLS_FAULT_NONE);
    assert_int_equal(fault_of(STR(""), key), TLS_FAULT_NO_CERTIFICATE);
    assert_int_equal(fault_of(STR("nothing here\n"), key), TLS_FAULT_NO_CERTIFICATE);
    assert_int_equal(fault_of(key, key), TLS_FAULT_NO_CERTIFICATE);
    assert_int_equal(fault_of(str_first(chain, chain.n / 2), key), TLS_FAULT_BAD_CERTIFICATE);
    assert_int_equal(
        fault_of(STR("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key),
        TLS_FAULT_BAD_CERTIFICATE);
    assert_int_equal(fault_of(chain, STR("")), TLS_FAULT_NO_KEY);
    assert_int_equal(fault_of(chain, chain), TLS_FAULT_NO_KEY);
    assert_int_equal(fault_of(chain, str_first(key, key.n / 2)), TLS_FAULT_BAD_KEY);
    assert_int_equal(fault_of(chain, buf_str(&other.key)), TLS_FAULT_MISMATCH);
    assert_int_equal(fault_of(chain, strong_key), TLS_FAULT_MISMATCH);
    assert_int_equal(
        fault_of(chain, key_pem(strong, encrypted_room, sizeof(encrypted_room), "password")),
        TLS_FAULT_ENCRYPTED_KEY);
    assert_int_equal(
        fault_of(plain_pem(weak, EVP_sha256(), name, 9, chain_room, sizeof(chain_room)), weak_key),
        TLS_FAULT_WEAK);
    assert_int_equal(
        fault_of(plain_pem(strong, EVP_sha1(), name, 9, chain_room, sizeof(chain_room)),
                 strong_key),
        TLS_FAULT_WEAK);
    assert_int_equal(
        fault_of(plain_pem(strong, EVP_sha256(), name, 9, chain_room, sizeof(chain_room)),
                 strong_key),
        TLS_FAULT_NONE);
    size_t n = 0;
    for (int i = 0; i < 11; i++) {
        assert_int_equal(fault_of(str_make(long_room, n), key),
                         i == 0 ? TLS_FAULT_NO_CERTIFICATE : TLS_FAULT_NONE);
        memcpy(long_room + n, chain.p, chain.n);
        n += chain.n;
    }
    assert_int_equal(fault_of(str_make(long_room, n), key), TLS_FAULT_LONG_CHAIN);
    char *large = calloc(1, 300 << 10);
    assert_int_equal(fault_of(str_make(large, (256 << 10) + 1), key), TLS_FAULT_LARGE);
    assert_int_equal(fault_of(chain, str_make(large, (64 << 10) + 1)), TLS_FAULT_LARGE);
    free(large);
    EVP_PKEY_free(weak);
    EVP_PKEY_free(strong);
    pair_fini(&p);
    pair_fini(&other);
}

static void a_common_name_counts_alone(void **state)
{
    (void)state;
    char key_room[8192], chain_room[8192];
    EVP_PKEY *key = EVP_RSA_gen(2048);
    static const struct {
        const char *name;
        int n;
        bool is_covered;
    } cases[] = {
        {"Web.Example",     11, true },
        {"web.example\0.x", 14, false}, /* a name with a NUL in it is none */
    };
    for (size_t i = 0; i < 2; i++) {
        struct tls_certificate *c;
        enum tls_fault fault;
        struct str pem = plain_pem(key, EVP_sha256(), (const unsigned char *)cases[i].name,
                                   cases[i].n, chain_room, sizeof(chain_room));
        assert_int_equal(
            tls_certificate_parse(pem, key_pem(key, key_room, sizeof(key_room), NULL), &fault, &c),
            E_OK);
        assert_int_equal(tls_certificate_covers(c, STR("web.example")), cases[i].is_covered);
        tls_certificate_free(c);
    }
    EVP_PKEY_free(key);
}

struct kept { /* what tls_certificate_each_der() gave first */
    char der[1 << 14];
    size_t n;
};

static enum err keep_first(void *arg, struct str der)
{
    struct kept *k = arg;
    if (k->n == 0) {
        mem_copy(k->der, der.p, der.n);
        k->n = der.n;
    }
    return E_OK;
}

static struct kept kept_of(const struct pair *p)
{
    struct kept k = {.n = 0};
    struct tls_certificate *c;
    enum tls_fault fault;
    assert_int_equal(tls_certificate_parse(buf_str(&p->chain), buf_str(&p->key), &fault, &c), E_OK);
    assert_int_equal(tls_certificate_each_der(c, keep_first, &k), E_OK);
    tls_certificate_free(c);
    return k;
}

/* A certificate alone says all that it did with its key. */
static void one_that_is_only_read(void **state)
{
    (void)state;
    struct pair p = pair_of("a.example");
    struct kept k = kept_of(&p);
    struct tls_certificate *c;
    struct buf text;
    buf_init(&text, 1000);
    assert_int_equal(tls_certificate_read(str_make(k.der, k.n), &c), E_OK);
    assert_int_equal(tls_certificate_not_after(c), NOW + 90 * DAY);
    assert_true(tls_certificate_covers(c, STR("a.example")));
    assert_int_equal(tls_certificate_key_kind(c), TLS_KEY_EC);
    tls_certificate_emit_key_type(c, &text);
    assert_true(str_eq(buf_str(&text), STR("EC prime256v1")));
    buf_fini(&text);
    tls_certificate_free(c);
    for (size_t n = 0; n < k.n; n++) {
        assert_int_equal(tls_certificate_read(str_make(k.der, n), &c), E_PROTO);
    }
    pair_fini(&p);
}

static void expect_part(const struct tls_certificate *c, enum tls_name_part part, const char *want)
{
    struct buf text;
    buf_init(&text, 1000);
    tls_certificate_emit_issuer_part(c, part, &text);
    assert_true(!text.bad && str_eq(buf_str(&text), str_from_cstr(want)));
    buf_fini(&text);
}

/* Signed by one that says what it is; the number needs more than 64 bits. */
static void what_metrics_tell(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *value;
    } parts[] = {
        {"O",            "Sh\xc3\xb6p \"Ltd\""},
        {"CN",           "Root"               },
        {"serialNumber", "abc-1"              },
    };
    struct pair p = pair_of("a.example");
    struct kept k = kept_of(&p);
    const unsigned char *der = (const unsigned char *)k.der;
    X509 *x = d2i_X509(NULL, &der, (long)k.n);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_NAME *issuer = X509_NAME_new();
    BIGNUM *number = NULL;
    struct buf text;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(X509_NAME_add_entry_by_txt(issuer, parts[i].kind, MBSTRING_UTF8,
                                                    (const unsigned char *)parts[i].value, -1, -1,
                                                    0),
                         1);
    }
    assert_int_equal(X509_set_issuer_name(x, issuer), 1);
    assert_true(BN_dec2bn(&number, "340282366920938463463374607431768211456") > 0);
    assert_non_null(BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)));
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    unsigned char *made = NULL;
    int n = i2d_X509(x, &made);
    struct tls_certificate *c;
    assert_int_equal(tls_certificate_read(str_make((const char *)made, (size_t)n), &c), E_OK);
    expect_part(c, TLS_NAME_ORGANIZATION, parts[0].value);
    expect_part(c, TLS_NAME_COMMON, parts[1].value);
    expect_part(c, TLS_NAME_SERIAL, parts[2].value);
    buf_init(&text, 1000);
    tls_certificate_emit_serial(c, &text);
    assert_true(str_eq(buf_str(&text), STR("340282366920938463463374607431768211456")));
    buf_fini(&text);
    tls_certificate_free(c);
    OPENSSL_free(made);
    BN_free(number);
    X509_NAME_free(issuer);
    EVP_PKEY_free(key);
    X509_free(x);
    assert_int_equal(tls_certificate_read(str_make(k.der, k.n), &c), E_OK);
    expect_part(c, TLS_NAME_ORGANIZATION, "");
    expect_part(c, TLS_NAME_SERIAL, "");
    tls_certificate_free(c);
    pair_fini(&p);
}

static void algorithms_have_gos_names(void **state)
{
    (void)state;
    assert_string_equal(tls_key_kind_name(TLS_KEY_RSA), "RSA");
    assert_string_equal(tls_key_kind_name(TLS_KEY_EC), "ECDSA");
    assert_string_equal(tls_key_kind_name(TLS_KEY_ED25519), "Ed25519");
}

static void reading_without_memory(void **state)
{
    (void)state;
    enum { NTH_MAX = 20000 };
    struct pair p = pair_of("a.example");
    struct kept k = kept_of(&p);
    struct tls_certificate *c = NULL;
    size_t nth = 0;
    enum err e;
    do {
        mem_fail_from(++nth);
        e = tls_certificate_read(str_make(k.der, k.n), &c);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
    } while (e != E_OK && nth < NTH_MAX);
    assert_int_equal(e, E_OK);
    tls_certificate_free(c);
    pair_fini(&p);
}

static void bundles(void **state)
{
    (void)state;
    struct pair a = pair_of("a.example"), b = pair_of("a.example"), d = pair_of("a.example");
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(tls_bundle_add(&out, buf_str(&a.ca), NOW, 2), E_OK);
    assert_true(tls_bundle_has(buf_str(&out), buf_str(&a.ca)));
    assert_false(tls_bundle_has(buf_str(&out), buf_str(&b.ca)));
    size_t one = out.n;
    assert_int_equal(tls_bundle_add(&out, buf_str(&a.ca), NOW, 2), E_OK);
    assert_int_equal(out.n, one); /* each once */
    assert_int_equal(tls_bundle_add(&out, STR("garbage"), NOW, 2), E_OK);
    assert_int_equal(tls_bundle_add(&out, buf_str(&b.ca), NOW + 91 * DAY, 2), E_OK);
    assert_int_equal(out.n, one); /* it has ended by then */
    assert_int_equal(tls_bundle_add(&out, buf_str(&b.ca), NOW, 2), E_OK);
    assert_true(tls_bundle_has(buf_str(&out), buf_str(&b.ca)));
    size_t two = out.n;
    assert_int_equal(tls_bundle_add(&out, buf_str(&d.ca), NOW, 2), E_OK);
    assert_int_equal(out.n, two); /* no more than two */
    assert_false(tls_bundle_has(buf_str(&out), STR_EMPTY));
    assert_false(tls_bundle_has(STR_EMPTY, buf_str(&a.ca)));
    buf_fini(&out);
    pair_fini(&a);
    pair_fini(&b);
    pair_fini(&d);
}

/* OpenSSL takes its memory from us (main()): each allocation of each step fails once. */
static void when_memory_is_out(void **state)
{
    (void)state;
    enum { NTH_MAX = 20000 };
    struct pair p = pair_of("a.example");
    size_t nth = 0;
    enum err e;
    do {
        struct tls_certificate *c = NULL;
        enum tls_fault fault;
        mem_fail_from(++nth);
        e = tls_certificate_parse(buf_str(&p.chain), buf_str(&p.key), &fault, &c);
        mem_fail_from(0);
        /* A library that is out of memory in a decoder may say that the text is bad. */
        assert_true(e == E_OK || e == E_NOMEM || e == E_PROTO);
        assert_true((e == E_OK) == (c != NULL));
        tls_certificate_free(c);
    } while (e != E_OK && nth < NTH_MAX);
    assert_int_equal(e, E_OK);
    pair_fini(&p);
}

static void faults_have_texts(void **state)
{
    (void)state;
    for (int i = TLS_FAULT_NONE + 1; i < TLS_FAULTS_N; i++) {
        const struct tls_fault_text *t = tls_fault_text((enum tls_fault)i);
        assert_true(strlen(t->what) > 0 && strlen(t->why) > 0 && strlen(t->mend) > 0);
    }
}

static void it_tells_whose_it_is(void **state)
{
    (void)state;
    struct buf text;
    enum tls_fault fault;
    struct tls_certificate *c;
    struct pair p = pair_of("web.example");
    buf_init(&text, 1 << 16);
    assert_int_equal(tls_certificate_parse(buf_str(&p.chain), buf_str(&p.key), &fault, &c), E_OK);
    tls_certificate_emit_subject(c, &text);
    buf_add_char(&text, '|');
    tls_certificate_emit_issuer(c, &text);
    buf_add_char(&text, '|');
    tls_certificate_emit_key_type(c, &text);
    buf_add_char(&text, 0);
    assert_false(text.bad);
    assert_string_equal(text.p, "CN=test|OU=certificate authority,CN=test|EC prime256v1");
    tls_certificate_free(c);
    buf_fini(&text);
    pair_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_that_was_made),   cmocka_unit_test(the_authority_vouches),
        cmocka_unit_test(names_that_cannot_be),   cmocka_unit_test(names_that_are_covered),
        cmocka_unit_test(what_is_refused),        cmocka_unit_test(a_common_name_counts_alone),
        cmocka_unit_test(it_tells_whose_it_is),   cmocka_unit_test(one_that_is_only_read),
        cmocka_unit_test(what_metrics_tell),      cmocka_unit_test(algorithms_have_gos_names),
        cmocka_unit_test(reading_without_memory), cmocka_unit_test(bundles),
        cmocka_unit_test(when_memory_is_out),     cmocka_unit_test(faults_have_texts),
    };
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
