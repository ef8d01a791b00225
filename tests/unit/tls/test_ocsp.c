/* Which responder is asked, what it is asked, and which of its answers count. */
#include "tls/ocsp.h"

#include <openssl/ocsp.h>
#include <string.h>

#include "../../lib/pki.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "tls/library.h"

#define URI "OCSP;URI:http://ocsp.example/a"

struct world {
    struct pki root, middle, leaf, other;
    struct str ders[3]; /* leaf, other, middle */
    struct tls_ocsp *ocsp;
    int64_t now;
};

static struct pki issue(const struct pki *by, const char *access)
{
    return pki_make(&(struct pki_options){.name = "a.example", .access = access}, by);
}

static enum err ask(const struct pki *leaf, const struct pki *next, const char **ret_why,
                    struct tls_ocsp **ret)
{
    struct str chain[] = {pki_der(leaf), pki_der(next)};
    *ret_why = NULL;
    enum err e = tls_ocsp_new(chain, 2, ret_why, ret);
    pki_der_free(&chain[0]);
    pki_der_free(&chain[1]);
    return e;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    const char *why;
    w->now = (int64_t)time(NULL);
    w->root = pki_make(&(struct pki_options){.name = "Root", .is_authority = true}, NULL);
    w->middle = pki_make(&(struct pki_options){.name = "Middle", .is_authority = true}, &w->root);
    w->leaf = issue(&w->middle, URI);
    w->other = issue(&w->middle, URI);
    assert_int_equal(ask(&w->leaf, &w->middle, &why, &w->ocsp), E_OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    tls_ocsp_free(w->ocsp);
    pki_free(&w->root);
    pki_free(&w->middle);
    pki_free(&w->leaf);
    pki_free(&w->other);
    free(w);
    return 0;
}

/* ---- the responder ---- */

static void urls(void **state)
{
    static const struct {
        struct str url;
        enum err e;
        const char *host, *authority, *target;
        uint16_t port;
    } cases[] = {
        {STR_INIT("http://a.example"),              E_OK,    "a.example",   "a.example",        "/",      80  },
        {STR_INIT("HTTP://A.Example./x?y=z"),       E_OK,    "a.example",   "A.Example.",       "/x?y=z", 80  },
        {STR_INIT("http://a.example:8080/"),        E_OK,    "a.example",   "a.example:8080",   "/",      8080},
        {STR_INIT("http://[2001:DB8::1]:81/a%20"),  E_OK,    "2001:db8::1", "[2001:DB8::1]:81", "/a%20",
         81                                                                                                   },
        {STR_INIT("http://10.0.0.1/?"),             E_OK,    "10.0.0.1",    "10.0.0.1",         "/?",     80  },
        {STR_INIT("https://a.example/"),            E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("ftp://a.example/"),              E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("http:/a.example/"),              E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("http://"),                       E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("http:///x"),                     E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("http://u:p@a.example/"),         E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("http://a.example:0/"),           E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("http://a.example:65536/"),       E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("http://a.example?x"),            E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("http://a.example/#x"),           E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("http://a.example/ x"),           E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("http://a.example/\r\nX: y"),     E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("http://a.example\\@b.example/"), E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT("http://a.ex\xc3\xa4mple/"),      E_PROTO, NULL,          NULL,               NULL,     0   },
        {STR_INIT(""),                              E_PROTO, NULL,          NULL,               NULL,     0   },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[64];
        struct tls_ocsp_responder r;
        assert_int_equal(tls_ocsp_responder_parse(cases[i].url, out, &r), cases[i].e);
        if (cases[i].e == E_OK) {
            assert_true(str_eq(r.host, str_from_cstr(cases[i].host)));
            assert_true(str_eq(r.authority, str_from_cstr(cases[i].authority)));
            assert_true(str_eq(r.target, str_from_cstr(cases[i].target)));
            assert_int_equal(r.port, cases[i].port);
        }
    }
}

static void a_long_url(void **state)
{
    static char url[OCSP_URL_BYTES_MAX + 1], out[sizeof(url)];
    struct tls_ocsp_responder r;
    (void)state;
    memset(url, 'a', sizeof(url));
    memcpy(url, "http://a/", 9);
    assert_int_equal(tls_ocsp_responder_parse(str_make(url, sizeof(url) - 1), out, &r), E_OK);
    assert_int_equal(tls_ocsp_responder_parse(str_make(url, sizeof(url)), out, &r), E_PROTO);
}

static void who_is_asked(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *access, *host;
        enum err e;
    } cases[] = {
        {NULL,                                                    NULL,        E_NOTFOUND},
        {"caIssuers;URI:http://ca.example/",                      NULL,        E_NOTFOUND},
        {"OCSP;URI:https://a.example/",                           NULL,        E_REFUSED },
        {"OCSP;URI:ldap://a.example/,OCSP;URI:http://b.example/", "b.example", E_OK      },
        {"OCSP;URI:http://a.example/,OCSP;URI:http://b.example/", "a.example", E_OK      },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pki leaf = issue(&w->middle, cases[i].access);
        struct tls_ocsp *o = NULL;
        const char *why;
        assert_int_equal(ask(&leaf, &w->middle, &why, &o), cases[i].e);
        assert_int_equal(why != NULL && cases[i].e == E_REFUSED, cases[i].e == E_REFUSED);
        if (cases[i].e == E_OK) {
            assert_true(str_eq(tls_ocsp_responder(o)->host, str_from_cstr(cases[i].host)));
        }
        tls_ocsp_free(o);
        pki_free(&leaf);
    }
}

/* Another one of the same name did not sign it. */
static void the_issuer_is_found(void **state)
{
    struct world *w = *state;
    struct pki twin =
        pki_make(&(struct pki_options){.name = "Middle", .is_authority = true}, &w->root);
    struct tls_ocsp *o = NULL;
    const char *why;
    assert_int_equal(ask(&w->leaf, &twin, &why, &o), E_REFUSED);
    assert_int_equal(ask(&w->leaf, &w->root, &why, &o), E_REFUSED);
    struct str chain[] = {pki_der(&w->leaf), pki_der(&twin), pki_der(&w->middle)};
    assert_int_equal(tls_ocsp_new(chain, 1, &why, &o), E_REFUSED);
    assert_int_equal(tls_ocsp_new(chain, 0, &why, &o), E_PROTO);
    assert_int_equal(tls_ocsp_new(chain, 3, &why, &o), E_OK);
    tls_ocsp_free(o);
    for (size_t i = 0; i < 3; i++) {
        pki_der_free(&chain[i]);
    }
    pki_free(&twin);
}

/* ---- the question ---- */

static void the_question(void **state)
{
    struct world *w = *state;
    struct buf b;
    buf_init(&b, 4096);
    assert_int_equal(tls_ocsp_emit_request(w->ocsp, &b), E_OK);
    const unsigned char *p = (const unsigned char *)b.p;
    OCSP_REQUEST *request = d2i_OCSP_REQUEST(NULL, &p, (long)b.n);
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), w->leaf.x, w->middle.x);
    assert_non_null(request);
    assert_int_equal(OCSP_request_onereq_count(request), 1);
    assert_int_equal(OCSP_REQUEST_get_ext_count(request), 0); /* no nonce */
    assert_int_equal(OCSP_id_cmp(OCSP_onereq_get0_id(OCSP_request_onereq_get0(request, 0)), id), 0);
    OCSP_CERTID_free(id);
    OCSP_REQUEST_free(request);
    buf_fini(&b);
    buf_init(&b, 20);
    assert_int_equal(tls_ocsp_emit_request(w->ocsp, &b), E_NOMEM);
    buf_fini(&b);
}

/* ---- the answer ---- */

static struct pki_response good(const struct world *w)
{
    return (struct pki_response){
        .status = V_OCSP_CERTSTATUS_GOOD, .from_s = w->now - 60, .until_s = w->now + 60};
}

static enum err judge(const struct world *w, const struct pki_response *r, struct tls_staple *ret)
{
    const char *why = NULL;
    struct str response = pki_respond(r, w->leaf.x, &w->middle);
    enum err e = tls_ocsp_verify(w->ocsp, response, w->now, ret, &why);
    assert_int_equal(e == E_PROTO, why != NULL);
    pki_der_free(&response);
    return e;
}

static void what_counts(void **state)
{
    struct world *w = *state;
    struct tls_staple s = {0};
    struct pki_response r = good(w);
    assert_int_equal(judge(w, &r, &s), E_OK);
    assert_true(s.from == w->now - 60 && s.until == w->now + 60 && !s.is_revoked);
    r.status = V_OCSP_CERTSTATUS_REVOKED;
    assert_int_equal(judge(w, &r, &s), E_OK);
    assert_true(s.is_revoked);
    r.status = V_OCSP_CERTSTATUS_UNKNOWN;
    assert_int_equal(judge(w, &r, &s), E_PROTO);
}

static void times(void **state)
{
    struct world *w = *state;
    static const struct {
        int64_t from, until; /* from now; until 0: it does not say */
        enum err e;
    } cases[] = {
        {OCSP_SKEW_S,       OCSP_SKEW_S + 9, E_OK   },
        {OCSP_SKEW_S + 1,   OCSP_SKEW_S + 9, E_PROTO},
        {-9,                1,               E_OK   },
        {-9,                -1,              E_PROTO},
        {20,                10,              E_PROTO}, /* it ends before it begins */
        {1 - OCSP_UNTOLD_S, 0,               E_OK   },
        {-OCSP_UNTOLD_S,    0,               E_PROTO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_staple s;
        struct pki_response r = good(w);
        r.from_s = w->now + cases[i].from;
        r.until_s = cases[i].until == 0 ? 0 : w->now + cases[i].until;
        assert_int_equal(judge(w, &r, &s), cases[i].e);
    }
    struct pki_response r = good(w);
    struct tls_staple s;
    r.until_s = w->now;
    assert_int_equal(judge(w, &r, &s), E_PROTO);
}

/* By the issuer, or by whom it lets sign: RFC 6960 section 4.2.2.2. */
static void signers(void **state)
{
    struct world *w = *state;
    const struct pki_options delegated = {.name = "r", .uses = "OCSPSigning"};
    const struct pki_options ended = {
        .name = "r", .uses = "OCSPSigning", .begins_s = -7200, .ends_s = -3600};
    const struct pki_options server = {.name = "r", .uses = "serverAuth"};
    struct pki stranger = pki_make(&(struct pki_options){.name = "X", .is_authority = true}, NULL);
    const struct {
        struct pki signer;
        enum err e;
    } cases[] = {
        {pki_make(&delegated, &w->middle), E_OK   },
        {pki_make(&ended,     &w->middle), E_PROTO},
        {pki_make(&server,    &w->middle), E_PROTO},
        {pki_make(&delegated, &w->root),   E_PROTO}, /* it is Middle's to say who */
        {pki_make(&delegated, &stranger),  E_PROTO},
        {pki_make(&delegated, NULL),       E_PROTO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_staple s;
        struct pki signer = cases[i].signer;
        struct pki_response r = good(w);
        r.signer = &signer;
        r.shows_signer = true;
        assert_int_equal(judge(w, &r, &s), cases[i].e);
        r.shows_signer = false; /* then nobody knows it */
        assert_int_equal(judge(w, &r, &s), E_PROTO);
        pki_free(&signer);
    }
    struct tls_staple s;
    struct pki_response r = good(w);
    r.shows_signer = true;
    assert_int_equal(judge(w, &r, &s), E_OK); /* the issuer's own certificate does no harm */
    r.signer = &w->root;
    assert_int_equal(judge(w, &r, &s), E_PROTO);
    r.signer = &w->leaf;
    assert_int_equal(judge(w, &r, &s), E_PROTO);
    pki_free(&stranger);
}

static void about_somebody_else(void **state)
{
    struct world *w = *state;
    struct pki_response r = good(w);
    struct tls_staple s;
    const char *why;
    struct str response = pki_respond(&r, w->other.x, &w->middle);
    assert_int_equal(tls_ocsp_verify(w->ocsp, response, w->now, &s, &why), E_PROTO);
    assert_string_equal(why, "it is about another certificate");
    pki_der_free(&response);
}

static void errors_of_the_responder(void **state)
{
    struct world *w = *state;
    static const char *const words[] = {
        [1] = "malformedRequest", [2] = "internalError", [3] = "tryLater",
        [4] = "nobody knows",     [5] = "sigRequired",   [6] = "unauthorized"};
    for (int status = 1; status <= 6; status++) {
        const char der[] = {0x30, 3, 10, 1, (char)status}; /* OCSPResponse { responseStatus } */
        struct tls_staple s;
        const char *why;
        assert_int_equal(tls_ocsp_verify(w->ocsp, str_make(der, sizeof(der)), w->now, &s, &why),
                         E_PROTO);
        assert_non_null(strstr(why, words[status]));
    }
    const char empty[] = {0x30, 3, 10, 1, 0}; /* successful, with nothing in it */
    struct tls_staple s;
    const char *why;
    assert_int_equal(tls_ocsp_verify(w->ocsp, str_make(empty, sizeof(empty)), w->now, &s, &why),
                     E_PROTO);
}

/* Cut off anywhere, with something behind, or with any bit another one. */
static void damage(void **state)
{
    struct world *w = *state;
    struct pki_response r = good(w);
    struct str response = pki_respond(&r, w->leaf.x, &w->middle);
    char *copy = calloc(1, response.n + 1);
    struct tls_staple s;
    const char *why;
    assert_int_equal(tls_ocsp_verify(w->ocsp, response, w->now, &s, &why), E_OK);
    memcpy(copy, response.p, response.n);
    for (size_t n = 0; n < response.n; n++) {
        assert_int_equal(tls_ocsp_verify(w->ocsp, str_make(copy, n), w->now, &s, &why), E_PROTO);
    }
    assert_int_equal(tls_ocsp_verify(w->ocsp, str_make(copy, response.n + 1), w->now, &s, &why),
                     E_PROTO);
    for (size_t bit = 0; bit < 8 * response.n; bit++) {
        copy[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_equal(tls_ocsp_verify(w->ocsp, str_make(copy, response.n), w->now, &s, &why),
                         E_PROTO);
        copy[bit / 8] ^= (char)(1 << bit % 8);
    }
    free(copy);
    pki_der_free(&response);
}

/* With a delegated signer whose certificate has a long name. ECDSA signatures differ in length by a
 * few bytes: until both have come up. */
static void the_size_has_a_limit(void **state)
{
    struct world *w = *state;
    static char name[OCSP_RESPONSE_BYTES_MAX] = "DNS:";
    bool is_n_seen = false, is_more_seen = false;
    size_t name_n = OCSP_RESPONSE_BYTES_MAX - 2048;
    for (int i = 0; !is_n_seen || !is_more_seen; i++) {
        const struct pki_options o = {.name = "r", .alternatives = name, .uses = "OCSPSigning"};
        struct tls_staple s;
        const char *why;
        assert_true(i < 1000);
        (void)memset(name + 4, 'x', sizeof(name) - 4);
        name[4 + name_n] = '\0';
        struct pki signer = pki_make(&o, &w->middle);
        struct pki_response r = good(w);
        r.signer = &signer;
        r.shows_signer = true;
        struct str response = pki_respond(&r, w->leaf.x, &w->middle);
        bool fits = response.n <= OCSP_RESPONSE_BYTES_MAX;
        assert_int_equal(tls_ocsp_verify(w->ocsp, response, w->now, &s, &why),
                         fits ? E_OK : E_PROTO);
        is_n_seen = is_n_seen || response.n == OCSP_RESPONSE_BYTES_MAX;
        is_more_seen = is_more_seen || response.n == OCSP_RESPONSE_BYTES_MAX + 1;
        name_n += i == 0 ? OCSP_RESPONSE_BYTES_MAX - response.n : 0;
        pki_der_free(&response);
        pki_free(&signer);
    }
}

static void out_of_memory(void **state)
{
    struct world *w = *state;
    struct str chain[] = {pki_der(&w->leaf), pki_der(&w->middle)};
    struct tls_ocsp *o = NULL;
    const char *why;
    enum err e = E_NOMEM;
    for (size_t n = 1; e != E_OK; n++) {
        assert_true(n < 20000);
        mem_fail_from(n);
        e = tls_ocsp_new(chain, 2, &why, &o);
        mem_fail_from(0);
        /* A library that is out of memory in a decoder may say that the bytes are bad, or that
         * there are none. */
        assert_true(n > 1 || e == E_NOMEM);
    }
    struct pki_response r = good(w);
    struct str response = pki_respond(&r, w->leaf.x, &w->middle);
    struct tls_staple s;
    e = E_NOMEM;
    for (size_t n = 1; e != E_OK; n++) {
        assert_true(n < 20000);
        mem_fail_from(n);
        e = tls_ocsp_verify(o, response, w->now, &s, &why);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM || e == E_PROTO);
    }
    pki_der_free(&response);
    tls_ocsp_free(o);
    pki_der_free(&chain[0]);
    pki_der_free(&chain[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls),
        cmocka_unit_test(a_long_url),
        TEST(who_is_asked),
        TEST(the_issuer_is_found),
        TEST(the_question),
        TEST(what_counts),
        TEST(times),
        TEST(signers),
        TEST(about_somebody_else),
        TEST(errors_of_the_responder),
        TEST(damage),
        TEST(the_size_has_a_limit),
        TEST(out_of_memory),
    };
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
