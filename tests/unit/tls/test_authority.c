/* Bundles of authorities and revocation lists as people put them into Secrets. */
#include "tls/authority.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../lib/pki.h"
#include "base/mem.h"
#include "tls/library.h"

struct world {
    struct pki root, other;
    struct str root_der, other_der;
    struct buf root_pem, other_pem, key_pem, list_pem, text;
    X509_CRL *list;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct buf *bufs[] = {&w->root_pem, &w->other_pem, &w->key_pem, &w->list_pem, &w->text};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
        buf_init(bufs[i], 4 << 20);
    }
    w->root = pki_make(&(struct pki_options){.name = "root", .is_authority = true}, NULL);
    w->other = pki_make(&(struct pki_options){.name = "other", .is_authority = true}, NULL);
    w->root_der = pki_der(&w->root);
    w->other_der = pki_der(&w->other);
    w->list = pki_revoke(&w->root, &w->other, -PKI_HOUR, PKI_HOUR);
    pki_pem(&w->root, &w->root_pem);
    pki_pem(&w->other, &w->other_pem);
    pki_pem_key(&w->root, &w->key_pem);
    pki_pem_revocations(w->list, &w->list_pem);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    struct buf *bufs[] = {&w->root_pem, &w->other_pem, &w->key_pem, &w->list_pem, &w->text};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
        buf_fini(bufs[i]);
    }
    pki_der_free(&w->root_der);
    pki_der_free(&w->other_der);
    pki_free(&w->root);
    pki_free(&w->other);
    X509_CRL_free(w->list);
    free(w);
    return 0;
}

struct seen {
    uint32_t n;
    struct str want[2];
    enum err answer; /* of the second call */
};

static enum err see(void *arg, struct str der)
{
    struct seen *s = arg;
    assert_true(s->n >= 2 || s->want[s->n].n == 0 || str_eq(der, s->want[s->n]));
    s->n++;
    return s->n == 2 ? s->answer : E_OK;
}

/* Letters of what stands in a text: R(oot), O(ther), K(ey), L(ist), c(omment), n(onsense),
 * x: cut off. */
static void text_make(struct world *w, const char *letters)
{
    buf_reset(&w->text);
    for (const char *p = letters; *p != '\0'; p++) {
        switch (*p) {
        case 'R':
            buf_add_str(&w->text, buf_str(&w->root_pem));
            break;
        case 'O':
            buf_add_str(&w->text, buf_str(&w->other_pem));
            break;
        case 'K':
            buf_add_str(&w->text, buf_str(&w->key_pem));
            break;
        case 'L':
            buf_add_str(&w->text, buf_str(&w->list_pem));
            break;
        case 'c':
            buf_add_str(&w->text, STR("# subject: CN = somebody\n\n"));
            break;
        case 'n':
            buf_add_str(&w->text, STR("-----BEGIN CERTIFICATE-----\nAAAA\n"
                                      "-----END CERTIFICATE-----\n"
                                      "-----BEGIN X509 CRL-----\nAAAA\n"
                                      "-----END X509 CRL-----\n"));
            break;
        case 'x':
            w->text.n -= 30;
            break;
        default:
            fail();
        }
    }
}

static void bundles(void **state)
{
    static const struct {
        const char *letters;
        uint32_t n; /* certificates */
        enum tls_fault fault;
    } cases[] = {
        {"R",     1, TLS_FAULT_NONE         },
        {"RO",    2, TLS_FAULT_NONE         },
        {"cRccO", 2, TLS_FAULT_NONE         },
        {"KRO",   2, TLS_FAULT_NONE         }, /* other blocks are not ours */
        {"RLO",   2, TLS_FAULT_NONE         },
        {"",      0, TLS_FAULT_NO_AUTHORITY },
        {"c",     0, TLS_FAULT_NO_AUTHORITY },
        {"K",     0, TLS_FAULT_NO_AUTHORITY },
        {"L",     0, TLS_FAULT_NO_AUTHORITY },
        {"n",     0, TLS_FAULT_BAD_AUTHORITY},
        {"Rn",    1, TLS_FAULT_BAD_AUTHORITY},
        {"RnO",   1, TLS_FAULT_BAD_AUTHORITY},
        {"Rx",    0, TLS_FAULT_BAD_AUTHORITY},
        {"ROx",   1, TLS_FAULT_BAD_AUTHORITY},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct seen seen = {
            .want = {w->root_der, w->other_der}
        };
        enum tls_fault fault = TLS_FAULT_NONE;
        text_make(w, cases[i].letters);
        enum err e = tls_authority_each(buf_str(&w->text), see, &seen, &fault);
        if (e != (cases[i].fault == TLS_FAULT_NONE ? E_OK : E_PROTO) || fault != cases[i].fault ||
            seen.n != cases[i].n) {
            fail_msg("%s: error %d, fault %d, %u", cases[i].letters, e, fault, seen.n);
        }
        assert_int_equal(ERR_peek_error(), 0);
    }
}

static void lists(void **state)
{
    static const struct {
        const char *letters;
        uint32_t n;
        bool is_good;
    } cases[] = {
        {"",   0, true }, /* there need not be one */
        {"c",  0, true },
        {"R",  0, true },
        {"L",  1, true },
        {"LL", 2, true },
        {"n",  0, false},
        {"Ln", 1, false},
        {"Lx", 0, false},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct seen seen = {0};
        enum tls_fault fault = TLS_FAULT_NONE;
        text_make(w, cases[i].letters);
        enum err e = tls_revocation_each(buf_str(&w->text), see, &seen, &fault);
        if (e != (cases[i].is_good ? E_OK : E_PROTO) || seen.n != cases[i].n) {
            fail_msg("%s: error %d, %u", cases[i].letters, e, seen.n);
        }
        assert_int_equal(fault, cases[i].is_good ? TLS_FAULT_NONE : TLS_FAULT_BAD_REVOCATION);
        assert_int_equal(ERR_peek_error(), 0);
    }
}

/* A text that would ask for a passphrase asks nobody. */
static void encrypted_blocks(void **state)
{
    static const char text[] = "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n"
                               "DEK-Info: AES-128-CBC,00000000000000000000000000000000\n\nAAAA\n"
                               "-----END CERTIFICATE-----\n";
    struct seen seen = {0};
    enum tls_fault fault = TLS_FAULT_NONE;
    (void)state;
    assert_int_equal(tls_authority_each(STR(text), see, &seen, &fault), E_PROTO);
    assert_int_equal(fault, TLS_FAULT_BAD_AUTHORITY);
}

static void limits(void **state)
{
    struct world *w = *state;
    enum tls_fault fault = TLS_FAULT_NONE;
    for (uint32_t n = TLS_AUTHORITIES_MAX; n <= TLS_AUTHORITIES_MAX + 1; n++) {
        struct seen seen = {0};
        buf_reset(&w->text);
        for (uint32_t i = 0; i < n; i++) {
            buf_add_str(&w->text, buf_str(&w->root_pem));
        }
        bool is_good = n == TLS_AUTHORITIES_MAX;
        assert_true(w->text.n < TLS_AUTHORITY_BYTES_MAX);
        assert_int_equal(tls_authority_each(buf_str(&w->text), see, &seen, &fault),
                         is_good ? E_OK : E_PROTO);
        assert_int_equal(fault, is_good ? TLS_FAULT_NONE : TLS_FAULT_LARGE);
        assert_int_equal(seen.n, TLS_AUTHORITIES_MAX);
    }
    for (size_t n = TLS_AUTHORITY_BYTES_MAX; n <= TLS_AUTHORITY_BYTES_MAX + 1; n++) {
        struct seen seen = {0};
        text_make(w, "R");
        size_t at = buf_add_zero(&w->text, n - w->text.n);
        memset(w->text.p + at, '\n', n - at);
        fault = TLS_FAULT_NONE;
        bool is_good = n == TLS_AUTHORITY_BYTES_MAX;
        assert_int_equal(tls_authority_each(buf_str(&w->text), see, &seen, &fault),
                         is_good ? E_OK : E_PROTO);
        assert_int_equal(fault, is_good ? TLS_FAULT_NONE : TLS_FAULT_LARGE);
    }
}

/* Somebody's earlier failure does not explain ours. */
static void stale_errors(void **state)
{
    struct world *w = *state;
    struct seen seen = {0};
    enum tls_fault fault = TLS_FAULT_NONE;
    text_make(w, "n");
    ERR_raise(ERR_LIB_SSL, ERR_R_MALLOC_FAILURE);
    assert_int_equal(tls_authority_each(buf_str(&w->text), see, &seen, &fault), E_PROTO);
    assert_int_equal(fault, TLS_FAULT_BAD_AUTHORITY);
}

static void errors_of_the_caller(void **state)
{
    struct world *w = *state;
    struct seen seen = {.answer = E_LIMIT};
    enum tls_fault fault = TLS_FAULT_NONE;
    text_make(w, "ROR");
    assert_int_equal(tls_authority_each(buf_str(&w->text), see, &seen, &fault), E_LIMIT);
    assert_int_equal(fault, TLS_FAULT_NONE);
    assert_int_equal(seen.n, 2);
}

static void when_memory_is_out(void **state)
{
    enum { NTH_MAX = 5000, CLOSE = 40 };
    struct world *w = *state;
    for (int turn = 0; turn < 2; turn++) {
        enum err e = E_NOMEM;
        size_t nth = 1;
        text_make(w, turn == 0 ? "R" : "L");
        for (; nth < NTH_MAX && e != E_OK; nth += 1 + nth / CLOSE) {
            struct seen seen = {0};
            enum tls_fault fault = TLS_FAULT_NONE;
            mem_fail_from(nth);
            e = turn == 0 ? tls_authority_each(buf_str(&w->text), see, &seen, &fault)
                          : tls_revocation_each(buf_str(&w->text), see, &seen, &fault);
            mem_fail_from(0);
            /* OpenSSL does not always say that it was memory. */
            assert_true(e == E_OK || e == E_NOMEM || e == E_PROTO);
            assert_int_equal(fault != TLS_FAULT_NONE, e == E_PROTO);
            assert_int_equal(ERR_peek_error(), 0);
        }
        assert_int_equal(e, E_OK);
        assert_true(nth > 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(bundles),
        TEST(lists),
        TEST(encrypted_blocks),
        TEST(limits),
        TEST(stale_errors),
        TEST(errors_of_the_caller),
        TEST(when_memory_is_out),
    };
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
