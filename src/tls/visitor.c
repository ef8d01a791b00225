/* What a client has shown of itself, as requests are judged by it and as endpoints are told: with
 * the words of nginx' variables ssl_client_verify, _s_dn, _i_dn and _escaped_cert. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/mem.h"
#include "tls/sites_priv.h"

enum { TEXT_BYTES_MAX = 64 << 10 };

struct visitor {
    struct transport_client client;
    struct buf text; /* all the words */
};

int client_on_verify(int is_good, X509_STORE_CTX *x)
{
    (void)x; /* SSL_get_verify_result() has it */
    if (is_good == 0) {
        ERR_clear_error(); /* else it would be taken for a failure of the handshake */
    }
    return 1;
}

/* Of the kinds that say only that nobody known has signed: nginx passes them with optional_no_ca.
 */
static bool is_unsigned_only(long result)
{
    switch (result) {
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_UNTRUSTED:
        return true;
    default:
        return false;
    }
}

/* A part of text that is complete only when text is: its begin and length, until then. */
struct part {
    size_t at, n;
};

static struct part part_end(const struct buf *text, size_t at)
{
    return (struct part){at, text->n - at};
}

static struct str part_str(const struct buf *text, struct part p)
{
    return str_make(text->p + p.at, p.n);
}

static struct part name_add(struct buf *text, const X509_NAME *name)
{
    size_t at = text->n;
    char *p;
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL || X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) < 0) {
        text->bad = true;
    } else {
        long n = BIO_get_mem_data(bio, &p);
        buf_add(text, p, n > 0 ? (size_t)n : 0);
    }
    (void)BIO_free(bio);
    return part_end(text, at);
}

/* RFC 3986 section 2.3 says what need not be escaped. */
static void escaped_add(struct buf *text, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char lower = ascii_lower((char)c);
        if ((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
            c == '_' || c == '~') {
            buf_add_char(text, (char)c);
        } else {
            buf_addf(text, "%%%02X", c);
        }
    }
}

static struct part certificate_add(struct buf *text, X509 *x)
{
    size_t at = text->n;
    char *p;
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL || PEM_write_bio_X509(bio, x) != 1) {
        text->bad = true;
    } else {
        long n = BIO_get_mem_data(bio, &p);
        escaped_add(text, str_make(p, n > 0 ? (size_t)n : 0));
    }
    (void)BIO_free(bio);
    return part_end(text, at);
}

static void visitor_describe(struct visitor *v, X509 *x, long result, bool passes_certificate)
{
    struct buf *text = &v->text;
    struct part verdict = {0};
    if (result == X509_V_OK) {
        buf_add_str(text, STR("SUCCESS"));
    } else {
        buf_addf(text, "FAILED:%s", X509_verify_cert_error_string(result));
    }
    verdict = part_end(text, 0);
    struct part subject = name_add(text, X509_get_subject_name(x));
    struct part issuer = name_add(text, X509_get_issuer_name(x));
    struct part certificate = {0};
    if (passes_certificate) {
        certificate = certificate_add(text, x);
    }
    if (!text->bad) {
        v->client = (struct transport_client){
            .has_certificate = true,
            .is_verified = result == X509_V_OK,
            .is_unsigned_only = is_unsigned_only(result),
            .verdict = part_str(text, verdict),
            .subject = part_str(text, subject),
            .issuer = part_str(text, issuer),
            .certificate = part_str(text, certificate),
        };
    }
}

struct visitor *visitor_new(X509 *x, long result, bool passes_certificate)
{
    struct visitor *v = mem_calloc(1, sizeof(*v));
    if (v == NULL) {
        return NULL;
    }
    buf_init(&v->text, TEXT_BYTES_MAX);
    v->client = (struct transport_client){.verdict = STR("NONE"),
                                          .subject = STR_EMPTY,
                                          .issuer = STR_EMPTY,
                                          .certificate = STR_EMPTY};
    if (x != NULL) {
        visitor_describe(v, x, result, passes_certificate);
        (void)tls_errors_take(E_OK); /* text says it */
    }
    if (v->text.bad) {
        visitor_free(v);
        return NULL;
    }
    return v;
}

const struct transport_client *visitor_client(const struct visitor *v)
{
    return &v->client;
}

void visitor_free(struct visitor *v)
{
    if (v != NULL) {
        buf_fini(&v->text);
        mem_free(v);
    }
}
