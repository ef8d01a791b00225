/* Certificates of clients, whose names go into header fields and are judged by regular expressions:
 * whatever stands in them, a field cannot end there. First byte: what verification has said; the
 * rest is DER. */
#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include "base/rd.h"
#include "regex/regex.h"
#include "tls/sites_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const long results[] = {X509_V_OK, X509_V_ERR_CERT_HAS_EXPIRED,
                               X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, 9999, -1};

/* RFC 9110 section 5.5: visible characters and spaces, and no more than our own. */
static void check_field(struct str value)
{
    for (size_t i = 0; i < value.n; i++) {
        must(value.p[i] >= ' ' && value.p[i] < 0x7f);
    }
}

static void check(const struct transport_client *c, long result)
{
    must(c->has_certificate && c->is_verified == (result == X509_V_OK));
    must(!c->is_unsigned_only || !c->is_verified);
    must(c->is_verified ? str_eq(c->verdict, STR("SUCCESS"))
                        : str_has_prefix(c->verdict, STR("FAILED:")));
    check_field(c->verdict);
    check_field(c->subject);
    check_field(c->issuer);
    check_field(c->certificate);
    must(str_find(c->certificate, ' ') == c->certificate.n && c->certificate.n > 0);
}

static void look_for_name(struct str subject)
{
    char fault[REGEX_FAULT_BYTES];
    struct regex *r = NULL;
    must(regex_new(STR("CN=([a-z]+,?)*admin$"), fault, &r) == E_OK);
    (void)regex_finds(r, subject);
    regex_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0) {
        return 0;
    }
    long result = results[data[0] % (sizeof(results) / sizeof(results[0]))];
    X509 *x = tls_der_certificate(str_make((const char *)data + 1, n - 1));
    ERR_clear_error();
    if (x == NULL) {
        return 0;
    }
    struct visitor *v = visitor_new(x, result, true);
    must(ERR_peek_error() == 0);
    if (v != NULL) { /* else a name is too long, or says that it is of a kind that it is not */
        check(visitor_client(v), result);
        look_for_name(visitor_client(v)->subject);
        visitor_free(v);
    }
    X509_free(x);
    return 0;
}
