/* Requests and responses, by OpenSSL; responders' URLs, by wire/uri. */
#include "tls/ocsp.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tls/tls_priv.h"
#include "wire/uri.h"

enum { HTTP_PORT = 80 };

struct tls_ocsp {
    X509 *leaf, *issuer;
    OCSP_CERTID *id;
    struct tls_ocsp_responder responder;
    char *text; /* what responder points to */
};

/* ---- the responder ---- */

enum err tls_ocsp_responder_parse(struct str url, char *out, struct tls_ocsp_responder *ret)
{
    static const struct str scheme = STR_INIT("http://"); /* https would need OCSP itself */
    struct tls_ocsp_responder r;
    struct str path, query;
    if (url.n > OCSP_URL_BYTES_MAX || !str_eq_nocase(str_first(url, scheme.n), scheme)) {
        return E_PROTO;
    }
    TRY(uri_split(url, &r.authority, &path, &query));
    TRY(host_parse(r.authority, out, &r.host, &r.port));
    r.port = r.port == 0 ? HTTP_PORT : r.port;
    r.target = str_from(url, scheme.n + r.authority.n);
    if (!str_has_prefix(r.target, STR("/"))) {
        if (query.n > 0) {
            return E_PROTO; /* "http://host?query": nobody's responder */
        }
        r.target = STR("/");
    }
    *ret = r;
    return E_OK;
}

/* The first of the certificate's that can be asked. */
static enum err responder_choose(struct tls_ocsp *o, const STACK_OF(OPENSSL_STRING) * urls)
{
    for (int i = 0; i < sk_OPENSSL_STRING_num(urls); i++) {
        struct str url = str_from_cstr(sk_OPENSSL_STRING_value(urls, i));
        char *text = mem_alloc(2 * url.n + 1); /* the URL, and the host in lower case */
        if (text == NULL) {
            return E_NOMEM;
        }
        mem_copy(text, url.p, url.n);
        if (tls_ocsp_responder_parse(str_make(text, url.n), text + url.n, &o->responder) == E_OK) {
            o->text = text;
            return E_OK;
        }
        mem_free(text);
    }
    return E_REFUSED;
}

/* RFC 5280 section 4.2.2.1. */
static enum err responder_find(struct tls_ocsp *o, const char **ret_why)
{
    STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(o->leaf);
    if (urls == NULL) {
        return tls_errors_take(E_NOTFOUND);
    }
    *ret_why = "it is not reached by a plain http URL";
    enum err e = responder_choose(o, urls);
    X509_email_free(urls);
    return tls_errors_take(e);
}

/* ---- the certificate ---- */

static bool is_issuer(X509 *leaf, X509 *x)
{
    EVP_PKEY *key = X509_get0_pubkey(x);
    return key != NULL && X509_check_issued(x, leaf) == X509_V_OK && X509_verify(leaf, key) == 1;
}

static enum err issuer_find(struct tls_ocsp *o, const struct str *chain, size_t n,
                            const char **ret_why)
{
    for (size_t i = 1; i < n && o->issuer == NULL; i++) {
        X509 *x = tls_der_certificate(chain[i]);
        if (x != NULL && is_issuer(o->leaf, x)) {
            o->issuer = x;
        } else {
            X509_free(x);
        }
    }
    TRY(tls_errors_take(E_OK)); /* else of those that are not */
    if (o->issuer == NULL) {
        *ret_why =
            "it has to be told whose certificate this is, and the issuer's is not in tls.crt";
        return E_REFUSED;
    }
    return E_OK;
}

static enum err fill(struct tls_ocsp *o, const struct str *chain, size_t n, const char **ret_why)
{
    o->leaf = n == 0 ? NULL : tls_der_certificate(chain[0]);
    if (o->leaf == NULL) {
        return tls_errors_take(E_PROTO);
    }
    TRY(responder_find(o, ret_why));
    TRY(issuer_find(o, chain, n, ret_why));
    /* What every responder understands: RFC 5019 section 2.1.1. */
    o->id = OCSP_cert_to_id(EVP_sha1(), o->leaf, o->issuer);
    return o->id == NULL ? tls_errors_take(E_NOMEM) : E_OK;
}

enum err tls_ocsp_new(const struct str *chain, size_t n, const char **ret_why,
                      struct tls_ocsp **ret)
{
    struct tls_ocsp *o = mem_calloc(1, sizeof(*o));
    if (o == NULL) {
        return E_NOMEM;
    }
    ERR_clear_error(); /* somebody else's */
    enum err e = fill(o, chain, n, ret_why);
    if (e != E_OK) {
        tls_ocsp_free(o);
        return e;
    }
    *ret = o;
    return E_OK;
}

void tls_ocsp_free(struct tls_ocsp *o)
{
    if (o != NULL) {
        X509_free(o->leaf);
        X509_free(o->issuer);
        OCSP_CERTID_free(o->id);
        mem_free(o->text);
        mem_free(o);
    }
}

const struct tls_ocsp_responder *tls_ocsp_responder(const struct tls_ocsp *o)
{
    return &o->responder;
}

/* ---- the question ---- */

static bool id_add(OCSP_REQUEST *request, const OCSP_CERTID *id)
{
    OCSP_CERTID *copy = OCSP_CERTID_dup(id);
    if (copy == NULL || OCSP_request_add0_id(request, copy) == NULL) {
        OCSP_CERTID_free(copy);
        return false;
    }
    return true;
}

/* Without a nonce: answers are made beforehand, for everybody (RFC 5019 section 2.1.1), and how old
 * one may be is what it says itself. */
enum err tls_ocsp_emit_request(const struct tls_ocsp *o, struct buf *out)
{
    unsigned char *der = NULL;
    ERR_clear_error(); /* somebody else's */
    OCSP_REQUEST *request = OCSP_REQUEST_new();
    int n = request != NULL && id_add(request, o->id) ? i2d_OCSP_REQUEST(request, &der) : -1;
    OCSP_REQUEST_free(request);
    if (n <= 0) {
        return tls_errors_take(E_NOMEM);
    }
    buf_add(out, der, (size_t)n);
    OPENSSL_free(der);
    return out->bad ? E_NOMEM : E_OK;
}

/* ---- the answer ---- */

static enum err refuse(const char *why, const char **ret_why)
{
    *ret_why = why;
    return tls_errors_take(E_PROTO);
}

/* RFC 6960 section 4.2.1. NULL: it is successful. */
static const char *status_text(int status)
{
    switch (status) {
    case OCSP_RESPONSE_STATUS_SUCCESSFUL:
        return NULL;
    case OCSP_RESPONSE_STATUS_MALFORMEDREQUEST:
        return "the responder does not understand the question (malformedRequest)";
    case OCSP_RESPONSE_STATUS_INTERNALERROR:
        return "the responder has trouble of its own (internalError)";
    case OCSP_RESPONSE_STATUS_TRYLATER:
        return "the responder cannot tell now (tryLater)";
    case OCSP_RESPONSE_STATUS_SIGREQUIRED:
        return "the responder answers signed questions only (sigRequired)";
    case OCSP_RESPONSE_STATUS_UNAUTHORIZED:
        return "the responder does not answer for this certificate (unauthorized)";
    default:
        return "it is an error that nobody knows";
    }
}

static OCSP_RESPONSE *response_decode(struct str response)
{
    const unsigned char *begin = (const unsigned char *)response.p, *p = begin;
    OCSP_RESPONSE *r =
        response.n > OCSP_RESPONSE_BYTES_MAX ? NULL : d2i_OCSP_RESPONSE(NULL, &p, (long)response.n);
    if (r != NULL && p != begin + response.n) {
        OCSP_RESPONSE_free(r);
        return NULL;
    }
    return r;
}

/* OpenSSL decodes what is no DER, and checks the signature of what it would have written instead.
 * Clients do not all do so, and then somebody on the way could spoil what we staple. */
static bool is_der(OCSP_BASICRESP *basic, struct str response)
{
    unsigned char *der = NULL;
    OCSP_RESPONSE *again = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    int n = again == NULL ? -1 : i2d_OCSP_RESPONSE(again, &der);
    bool is_same = n > 0 && str_eq(str_make((const char *)der, (size_t)n), response);
    OCSP_RESPONSE_free(again);
    OPENSSL_free(der);
    return is_same;
}

static enum err response_open(struct str response, const char **ret_why, OCSP_BASICRESP **ret)
{
    OCSP_RESPONSE *r = response_decode(response);
    if (r == NULL) {
        return refuse("it is no OCSP response", ret_why);
    }
    const char *status = status_text(OCSP_response_status(r));
    OCSP_BASICRESP *basic = status == NULL ? OCSP_response_get1_basic(r) : NULL;
    OCSP_RESPONSE_free(r);
    if (basic == NULL) {
        return refuse(status != NULL ? status : "it is an OCSP response of an unknown kind",
                      ret_why);
    }
    if (!is_der(basic, response)) {
        OCSP_BASICRESP_free(basic);
        return refuse("it is not written as DER demands", ret_why);
    }
    *ret = basic;
    return E_OK;
}

/* The issuer vouches, and nobody else; that it is no root does not matter. */
static X509_STORE *anchor_make(X509 *issuer, int64_t now_s)
{
    X509_STORE *store = X509_STORE_new();
    if (store == NULL || X509_STORE_add_cert(store, issuer) != 1 ||
        X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) != 1) {
        X509_STORE_free(store);
        return NULL;
    }
    X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), (time_t)now_s);
    return store;
}

/* By the issuer itself, or by a certificate that it gave id-kp-OCSPSigning: RFC 6960 section
 * 4.2.2.2. */
static enum err signature_check(const struct tls_ocsp *o, OCSP_BASICRESP *basic, int64_t now_s,
                                const char **ret_why)
{
    X509_STORE *store = anchor_make(o->issuer, now_s);
    STACK_OF(X509) *issuers = sk_X509_new_null();
    enum err e = E_OK;
    if (store == NULL || issuers == NULL || sk_X509_push(issuers, o->issuer) <= 0) {
        e = tls_errors_take(E_NOMEM);
    } else if (OCSP_basic_verify(basic, issuers, store, OCSP_NOEXPLICIT) != 1) {
        e = refuse("it is not signed by whom the issuer lets sign", ret_why);
    }
    sk_X509_free(issuers);
    X509_STORE_free(store);
    return e;
}

/* Where it does not say until when, newer information is there at any time (RFC 6960 section
 * 4.2.2.1): good for a short while, then. */
static bool times_read(const ASN1_GENERALIZEDTIME *from, const ASN1_GENERALIZEDTIME *until,
                       struct tls_staple *ret)
{
    if (from == NULL || !tls_time_read(from, &ret->from)) {
        return false;
    }
    ret->until = ret->from + OCSP_UNTOLD_S;
    return until == NULL || tls_time_read(until, &ret->until);
}

static enum err times_check(const struct tls_staple *s, int64_t now_s, const char **ret_why)
{
    if (s->from > now_s + OCSP_SKEW_S) {
        return refuse("it is not valid yet", ret_why);
    }
    if (s->until <= now_s || s->until <= s->from) {
        return refuse("it is not valid any more", ret_why);
    }
    return E_OK;
}

static enum err content_check(const struct tls_ocsp *o, OCSP_BASICRESP *basic, int64_t now_s,
                              struct tls_staple *ret, const char **ret_why)
{
    ASN1_GENERALIZEDTIME *from = NULL, *until = NULL;
    struct tls_staple s;
    int status;
    if (OCSP_resp_find_status(basic, o->id, &status, NULL, NULL, &from, &until) != 1) {
        return refuse("it is about another certificate", ret_why);
    }
    if (status != V_OCSP_CERTSTATUS_GOOD && status != V_OCSP_CERTSTATUS_REVOKED) {
        return refuse("the responder does not know the certificate", ret_why);
    }
    if (!times_read(from, until, &s)) {
        return refuse("it has a time that is none", ret_why);
    }
    TRY(times_check(&s, now_s, ret_why));
    s.is_revoked = status == V_OCSP_CERTSTATUS_REVOKED;
    *ret = s;
    return tls_errors_take(E_OK);
}

enum err tls_ocsp_verify(const struct tls_ocsp *o, struct str response, int64_t now_s,
                         struct tls_staple *ret, const char **ret_why)
{
    OCSP_BASICRESP *basic = NULL;
    ERR_clear_error(); /* somebody else's */
    TRY(response_open(response, ret_why, &basic));
    enum err e = signature_check(o, basic, now_s, ret_why);
    e = e == E_OK ? content_check(o, basic, now_s, ret, ret_why) : e;
    OCSP_BASICRESP_free(basic);
    return e;
}
