/* Making a certificate authority and what it signs. */
#include "tls/certificate.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/mem.h"
#include "tls/tls_priv.h"
#include "wire/ip.h"

enum { SERIAL_BITS = 127, ALTERNATIVES_BYTES_MAX = 8 << 10 };

/* ---- one certificate ---- */

struct plan {
    const struct tls_make *make;
    X509 *issuer; /* NULL: signs itself, as authority */
    EVP_PKEY *issuer_key, *key;
};

static bool serial_set(X509 *x)
{
    BIGNUM *n = BN_new();
    bool is_good = n != NULL && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                   BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;
    BN_free(n);
    return is_good;
}

static bool name_add(X509_NAME *name, const char *field, const char *text)
{
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const unsigned char *)text, -1,
                                      -1, 0) == 1;
}

/* The authority's name must differ from the one it signs for: equal ones mean self-signed. */
static bool subject_set(X509 *x, const struct plan *p)
{
    X509_NAME *name = X509_get_subject_name(x);
    if (!name_add(name, "CN", p->make->common_name)) {
        return false;
    }
    if (p->issuer != NULL) {
        return X509_set_issuer_name(x, X509_get_subject_name(p->issuer)) == 1;
    }
    return name_add(name, "OU", "certificate authority") && X509_set_issuer_name(x, name) == 1;
}

static bool extension_add(X509 *x, const struct plan *p, int kind, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, p->issuer != NULL ? p->issuer : x, x, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    bool is_good = extension != NULL && X509_add_ext(x, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return is_good;
}

/* "DNS:a.b,IP:10.0.0.1": the names were checked, so that none of them has a comma in it. */
static bool alternatives_add(X509 *x, const struct plan *p)
{
    struct buf text;
    struct ip ip;
    buf_init(&text, ALTERNATIVES_BYTES_MAX);
    for (uint32_t i = 0; i < p->make->name_n; i++) {
        struct str name = p->make->names[i];
        buf_addf(&text, "%s%s:%.*s", i > 0 ? "," : "", ip_parse(name, &ip) == E_OK ? "IP" : "DNS",
                 STR_ARG(name));
    }
    buf_add_char(&text, '\0');
    bool is_good = !text.bad && extension_add(x, p, NID_subject_alt_name, text.p);
    buf_fini(&text);
    return is_good;
}

static bool extensions_add(X509 *x, const struct plan *p)
{
    bool is_authority = p->issuer == NULL;
    return extension_add(x, p, NID_basic_constraints,
                         is_authority ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE") &&
           extension_add(x, p, NID_key_usage,
                         is_authority ? "critical,keyCertSign,cRLSign"
                                      : "critical,digitalSignature") &&
           extension_add(x, p, NID_subject_key_identifier, "hash") &&
           extension_add(x, p, NID_authority_key_identifier, "keyid:always") &&
           (is_authority ||
            (extension_add(x, p, NID_ext_key_usage, "serverAuth") && alternatives_add(x, p)));
}

static bool certificate_fill(X509 *x, const struct plan *p)
{
    enum { VERSION_3 = 2 };
    return X509_set_version(x, VERSION_3) == 1 && serial_set(x) && subject_set(x, p) &&
           ASN1_TIME_set(X509_getm_notBefore(x), (time_t)p->make->not_before) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(x), (time_t)p->make->not_after) != NULL &&
           X509_set_pubkey(x, p->key) == 1 && extensions_add(x, p) &&
           X509_sign(x, p->issuer_key, EVP_sha256()) > 0;
}

static X509 *certificate_new(const struct plan *p)
{
    X509 *x = X509_new();
    if (x != NULL && !certificate_fill(x, p)) {
        X509_free(x);
        return NULL;
    }
    return x;
}

/* ---- PEM ---- */

static enum err certificate_emit(X509 *x, struct buf *out)
{
    char *text;
    BIO *bio = BIO_new(BIO_s_mem());
    enum err e = bio == NULL || PEM_write_bio_X509(bio, x) != 1 ? tls_errors_take(E_NOMEM) : E_OK;
    if (e == E_OK) {
        long n = BIO_get_mem_data(bio, &text);
        buf_add(out, text, (size_t)n);
        e = out->bad ? E_NOMEM : E_OK;
    }
    (void)BIO_free(bio);
    return e;
}

/* Room for it is made first, so that no copy stays where the buffer was before. */
static enum err key_emit(EVP_PKEY *key, struct buf *out)
{
    char *text;
    BIO *bio = BIO_new(BIO_s_secmem()); /* wiped when it is freed */
    bool is_good =
        bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;
    enum err e = is_good ? E_OK : tls_errors_take(E_NOMEM);
    if (e == E_OK) {
        long n = BIO_get_mem_data(bio, &text);
        e = buf_reserve(out, (size_t)n) ? E_OK : E_NOMEM;
        buf_add(out, text, (size_t)n);
    }
    (void)BIO_free(bio);
    return e;
}

/* ---- both ---- */

static bool is_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = ascii_lower(name.p[i]);
        bool is_good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                       c == '*' || c == ':';
        if (!is_good) {
            return false;
        }
    }
    return name.n > 0;
}

static bool are_names(const struct tls_make *m)
{
    for (uint32_t i = 0; i < m->name_n; i++) {
        if (!is_name(m->names[i])) {
            return false;
        }
    }
    return m->name_n > 0;
}

static enum err make(const struct tls_make *m, EVP_PKEY *authority_key, EVP_PKEY *key,
                     struct buf *ret_ca, struct buf *ret_chain, struct buf *ret_key)
{
    struct plan plan = {.make = m, .issuer_key = authority_key, .key = authority_key};
    X509 *authority = certificate_new(&plan);
    plan.issuer = authority;
    plan.key = key;
    X509 *server = authority == NULL ? NULL : certificate_new(&plan);
    enum err e = server == NULL ? tls_errors_take(E_NOMEM) : certificate_emit(authority, ret_ca);
    if (e == E_OK) {
        e = certificate_emit(server, ret_chain);
    }
    if (e == E_OK) {
        e = key_emit(key, ret_key);
    }
    X509_free(authority);
    X509_free(server);
    return e;
}

enum err tls_certificate_make(const struct tls_make *m, struct buf *ret_ca, struct buf *ret_chain,
                              struct buf *ret_key)
{
    if (!are_names(m)) {
        return E_PROTO;
    }
    ERR_clear_error(); /* somebody else's */
    EVP_PKEY *authority_key = EVP_EC_gen("P-256");
    EVP_PKEY *key = EVP_EC_gen("P-256");
    enum err e = authority_key == NULL || key == NULL
                     ? tls_errors_take(E_NOMEM)
                     : make(m, authority_key, key, ret_ca, ret_chain, ret_key);
    EVP_PKEY_free(authority_key); /* overwrites it */
    EVP_PKEY_free(key);
    return e;
}
