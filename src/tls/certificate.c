/* Reading PEM, checking that chain and key belong together, and which names they are for. */
#include "tls/certificate.h"

#include <string.h>

#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/mem.h"
#include "tls/tls_priv.h"
#include "wire/ip.h"
#include "wire/uri.h"

enum {
    CHAIN_MAX = 10,
    CHAIN_BYTES_MAX = 256 << 10,
    KEY_BYTES_MAX = 64 << 10,
    NAMES_BYTES_MAX = CHAIN_BYTES_MAX,
    RSA_BITS_MIN = 2048,
    EC_BITS_MIN = 224,
    SIGNATURE_BITS_MIN = 112, /* of security: SHA-224 */
};

static const struct tls_fault_text texts[TLS_FAULTS_N] = {
#define FAULT(name, what, why, mend) [TLS_FAULT_##name] = {what, why, mend},
#include "tls/faults.def"
#undef FAULT
};

const struct tls_fault_text *tls_fault_text(enum tls_fault fault)
{
    must(fault > TLS_FAULT_NONE && fault < TLS_FAULTS_N);
    return &texts[fault];
}

static enum err fail(enum tls_fault *ret_fault, enum tls_fault fault)
{
    enum err e = tls_errors_take(E_PROTO);
    if (e == E_PROTO) {
        *ret_fault = fault;
    }
    return e;
}

/* ---- PEM ---- */

/* True at the end of the text rather than at something broken. */
static bool is_end_of_pem(void)
{
    return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
}

/* The next certificate of bio; NULL at the end and on failure. */
static X509 *next_certificate(BIO *bio)
{
    return PEM_read_bio_X509(bio, NULL, tls_no_passphrase, NULL);
}

static enum err chain_read(BIO *bio, struct tls_certificate *c, enum tls_fault *ret_fault)
{
    X509 *next;
    c->leaf = next_certificate(bio);
    if (c->leaf == NULL) {
        return fail(ret_fault,
                    is_end_of_pem() ? TLS_FAULT_NO_CERTIFICATE : TLS_FAULT_BAD_CERTIFICATE);
    }
    while ((next = next_certificate(bio)) != NULL) {
        if (sk_X509_num(c->chain) + 1 >= CHAIN_MAX) {
            X509_free(next);
            return fail(ret_fault, TLS_FAULT_LONG_CHAIN);
        }
        if (sk_X509_push(c->chain, next) == 0) {
            X509_free(next);
            return tls_errors_take(E_NOMEM);
        }
    }
    if (!is_end_of_pem()) {
        return fail(ret_fault, TLS_FAULT_BAD_CERTIFICATE);
    }
    return tls_errors_take(E_OK);
}

static enum err chain_parse(struct str pem, struct tls_certificate *c, enum tls_fault *ret_fault)
{
    if (pem.n > CHAIN_BYTES_MAX) {
        return fail(ret_fault, TLS_FAULT_LARGE);
    }
    c->chain = sk_X509_new_null();
    BIO *bio = c->chain == NULL ? NULL : BIO_new_mem_buf(pem.p, (int)pem.n);
    if (bio == NULL) {
        return tls_errors_take(E_NOMEM);
    }
    enum err e = chain_read(bio, c, ret_fault);
    (void)BIO_free(bio);
    return e;
}

/* What else is in the text, a certificate perhaps, the decoder cannot tell from a broken key. */
static bool has_key(struct str pem)
{
    static const char word[] = "PRIVATE KEY-----";
    return memmem(pem.p, pem.n, word, sizeof(word) - 1) != NULL;
}

/* A key of the certificate's kind, as nearly all are: NULL when it is none. OpenSSL otherwise makes
 * ready for each format of each kind, which takes several times as long. */
static EVP_PKEY *key_read_expected(BIO *bio, const X509 *leaf, bool *was_asked)
{
    EVP_PKEY *key = NULL, *known = X509_get0_pubkey(leaf);
    OSSL_DECODER_CTX *decoder =
        known == NULL
            ? NULL
            : OSSL_DECODER_CTX_new_for_pkey(&key, "PEM", NULL, EVP_PKEY_get0_type_name(known),
                                            EVP_PKEY_KEYPAIR, NULL, NULL);
    if (decoder == NULL ||
        OSSL_DECODER_CTX_set_pem_password_cb(decoder, tls_no_passphrase, was_asked) != 1 ||
        OSSL_DECODER_from_bio(decoder, bio) != 1) {
        (void)tls_errors_take(E_OK); /* the second look says what is wrong */
        (void)BIO_reset(bio);        /* of memory: it cannot fail */
    }
    OSSL_DECODER_CTX_free(decoder);
    return key;
}

static EVP_PKEY *key_read(BIO *bio, const X509 *leaf, bool *was_asked)
{
    EVP_PKEY *key = key_read_expected(bio, leaf, was_asked);
    return key != NULL ? key : PEM_read_bio_PrivateKey(bio, NULL, tls_no_passphrase, was_asked);
}

static enum err key_parse(struct str pem, struct tls_certificate *c, enum tls_fault *ret_fault)
{
    bool was_asked = false;
    if (pem.n > KEY_BYTES_MAX) {
        return fail(ret_fault, TLS_FAULT_LARGE);
    }
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    if (bio == NULL) {
        return tls_errors_take(E_NOMEM);
    }
    c->key = key_read(bio, c->leaf, &was_asked);
    (void)BIO_free(bio);
    if (c->key == NULL) {
        return fail(ret_fault, was_asked      ? TLS_FAULT_ENCRYPTED_KEY
                               : has_key(pem) ? TLS_FAULT_BAD_KEY
                                              : TLS_FAULT_NO_KEY);
    }
    return tls_errors_take(E_OK);
}

/* ---- checks ---- */

static bool is_key_strong(const EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
    case EVP_PKEY_RSA_PSS:
        return EVP_PKEY_get_bits(key) >= RSA_BITS_MIN;
    case EVP_PKEY_EC:
        return EVP_PKEY_get_bits(key) >= EC_BITS_MIN;
    case EVP_PKEY_ED25519:
    case EVP_PKEY_ED448:
        return true;
    default:
        return false;
    }
}

static bool is_signature_strong(X509 *x)
{
    int bits;
    return X509_get_signature_info(x, NULL, NULL, &bits, NULL) == 1 && bits >= SIGNATURE_BITS_MIN;
}

/* Of the leaf alone: what stands behind it is for the client to judge. */
static enum err parts_check(struct tls_certificate *c, enum tls_fault *ret_fault)
{
    if (X509_check_private_key(c->leaf, c->key) != 1) {
        return fail(ret_fault, TLS_FAULT_MISMATCH);
    }
    if (!is_key_strong(c->key) || !is_signature_strong(c->leaf)) {
        return fail(ret_fault, TLS_FAULT_WEAK);
    }
    return tls_errors_take(E_OK);
}

bool tls_time_read(const ASN1_TIME *t, int64_t *ret)
{
    enum { DAY = 24 * 3600 };
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days, seconds;
    bool is_good = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, t) == 1;
    ASN1_TIME_free(epoch);
    if (is_good) {
        *ret = (int64_t)days * DAY + seconds;
    }
    return is_good;
}

static enum err times_read(struct tls_certificate *c, enum tls_fault *ret_fault)
{
    bool is_good = tls_time_read(X509_get0_notBefore(c->leaf), &c->not_before) &&
                   tls_time_read(X509_get0_notAfter(c->leaf), &c->not_after);
    return is_good ? E_OK : fail(ret_fault, TLS_FAULT_BAD_CERTIFICATE);
}

/* ---- names ---- */

/* Names with bytes that no name has (a NUL, most of all) are none. */
static void name_add(struct buf *names, const unsigned char *p, int n)
{
    size_t before = names->n;
    for (int i = 0; i < n; i++) {
        if (p[i] <= ' ' || p[i] > '~') {
            names->n = before;
            return;
        }
        buf_add_char(names, ascii_lower((char)p[i]));
    }
    buf_add_char(names, '\0');
}

static void address_add(struct buf *names, const ASN1_OCTET_STRING *address)
{
    char text[IP_TEXT_MAX];
    struct ip ip = {.family = address->length == 4 ? 4 : 6};
    if (address->length != 4 && address->length != (int)sizeof(ip.bytes)) {
        return;
    }
    mem_copy(ip.bytes, address->data, (size_t)address->length);
    struct wr w = wr_make(text, sizeof(text));
    ip_emit(&w, &ip);
    name_add(names, (const unsigned char *)text, (int)wr_n(&w));
}

static void alternatives_add(struct buf *names, const GENERAL_NAMES *alternatives)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(alternatives, i);
        if (name->type == GEN_DNS) {
            name_add(names, name->d.dNSName->data, name->d.dNSName->length);
        } else if (name->type == GEN_IPADD) {
            address_add(names, name->d.iPAddress);
        }
    }
}

static void common_name_add(struct buf *names, const X509_NAME *subject)
{
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at >= 0) {
        const ASN1_STRING *text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
        name_add(names, ASN1_STRING_get0_data(text), ASN1_STRING_length(text));
    }
}

static enum err names_read(struct tls_certificate *c)
{
    GENERAL_NAMES *alternatives = X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
    if (alternatives != NULL) {
        alternatives_add(&c->names, alternatives);
        GENERAL_NAMES_free(alternatives);
    } else {
        common_name_add(&c->names, X509_get_subject_name(c->leaf));
    }
    TRY(tls_errors_take(E_OK)); /* E_NOMEM, or a broken extension, which counts as none */
    return c->names.bad ? E_NOMEM : E_OK;
}

void tls_certificate_each_name(const struct tls_certificate *c, tls_name_fn *fn, void *arg)
{
    struct str name, rest = buf_str(&c->names);
    while (rest.n > 0) {
        (void)str_cut(rest, '\0', &name, &rest); /* there is one behind each */
        fn(arg, name);
    }
}

struct search {
    struct str host;
    bool is_found;
};

static void search_name(void *arg, struct str name)
{
    struct search *s = arg;
    s->is_found = s->is_found || host_is_covered(s->host, name);
}

bool tls_certificate_covers(const struct tls_certificate *c, struct str host)
{
    struct search s = {.host = host};
    if (host.n > 0) {
        tls_certificate_each_name(c, search_name, &s);
    }
    return s.is_found;
}

/* ---- the whole ---- */

static enum err parse(struct tls_certificate *c, struct str chain, struct str key,
                      enum tls_fault *ret_fault)
{
    TRY(chain_parse(chain, c, ret_fault));
    TRY(key_parse(key, c, ret_fault));
    TRY(parts_check(c, ret_fault));
    TRY(times_read(c, ret_fault));
    return names_read(c);
}

enum err tls_certificate_parse(struct str chain, struct str key, enum tls_fault *ret_fault,
                               struct tls_certificate **ret)
{
    struct tls_certificate *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        return E_NOMEM;
    }
    buf_init(&c->names, NAMES_BYTES_MAX);
    ERR_clear_error(); /* somebody else's */
    enum err e = parse(c, chain, key, ret_fault);
    if (e != E_OK) {
        tls_certificate_free(c);
        return e;
    }
    *ret = c;
    return E_OK;
}

/* As parse(), of what can only be shown: its key is the public one. */
static enum err read_shown(struct str der, struct tls_certificate *c)
{
    enum tls_fault ignored;
    c->leaf = tls_der_certificate(der);
    c->key = c->leaf == NULL ? NULL : X509_get_pubkey(c->leaf);
    if (c->key == NULL) {
        return tls_errors_take(E_PROTO);
    }
    TRY(times_read(c, &ignored));
    return names_read(c);
}

enum err tls_certificate_read(struct str der, struct tls_certificate **ret)
{
    struct tls_certificate *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        return E_NOMEM;
    }
    buf_init(&c->names, NAMES_BYTES_MAX);
    ERR_clear_error(); /* somebody else's */
    enum err e = read_shown(der, c);
    if (e != E_OK) {
        tls_certificate_free(c);
        return e;
    }
    *ret = c;
    return E_OK;
}

void tls_certificate_free(struct tls_certificate *c)
{
    if (c == NULL) {
        return;
    }
    X509_free(c->leaf);
    sk_X509_pop_free(c->chain, X509_free);
    EVP_PKEY_free(c->key); /* overwrites it */
    buf_fini(&c->names);
    mem_free(c);
}

int64_t tls_certificate_not_before(const struct tls_certificate *c)
{
    return c->not_before;
}

int64_t tls_certificate_not_after(const struct tls_certificate *c)
{
    return c->not_after;
}

enum tls_fault tls_certificate_judge(const struct tls_certificate *c, int64_t now_s)
{
    if (now_s > c->not_after) {
        return TLS_FAULT_EXPIRED;
    }
    return now_s < c->not_before ? TLS_FAULT_NOT_YET_VALID : TLS_FAULT_NONE;
}

/* ---- bundles ---- */

static enum err bundle_each(struct str pem, bool (*fn)(void *arg, X509 *x), void *arg)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    bool goes_on = true;
    X509 *x;
    if (bio == NULL) {
        return tls_errors_take(E_NOMEM);
    }
    while (goes_on && (x = next_certificate(bio)) != NULL) {
        goes_on = fn(arg, x);
        X509_free(x);
    }
    (void)BIO_free(bio);
    return tls_errors_take(E_OK);
}

struct member {
    const X509 *wanted;
    uint32_t n;
    bool is_found;
};

static bool member_look(void *arg, X509 *x)
{
    struct member *m = arg;
    m->n++;
    m->is_found = m->is_found || (m->wanted != NULL && X509_cmp(m->wanted, x) == 0);
    return true;
}

static struct member bundle_look(struct str bundle, const X509 *wanted)
{
    struct member m = {.wanted = wanted};
    if (bundle.n <= CHAIN_BYTES_MAX) {
        (void)bundle_each(bundle, member_look, &m); /* out of memory: as if not found */
    }
    return m;
}

struct adding {
    struct buf *out;
    int64_t now_s;
    uint32_t max;
    bool has_failed;
};

static bool add_one(void *arg, X509 *x)
{
    struct adding *a = arg;
    int64_t not_after;
    char *text;
    struct member there = bundle_look(buf_str(a->out), x);
    if (!tls_time_read(X509_get0_notAfter(x), &not_after) || not_after < a->now_s ||
        there.is_found) {
        return true;
    }
    if (there.n >= a->max) {
        return false;
    }
    BIO *bio = BIO_new(BIO_s_mem());
    a->has_failed = bio == NULL || PEM_write_bio_X509(bio, x) != 1;
    if (!a->has_failed) {
        long n = BIO_get_mem_data(bio, &text);
        buf_add(a->out, text, (size_t)n);
    }
    (void)BIO_free(bio);
    return !a->has_failed;
}

enum err tls_bundle_add(struct buf *out, struct str pem, int64_t now_s, uint32_t max)
{
    struct adding a = {.out = out, .now_s = now_s, .max = max};
    if (pem.n > CHAIN_BYTES_MAX) {
        return E_OK; /* nothing of ours */
    }
    ERR_clear_error(); /* somebody else's */
    TRY(bundle_each(pem, add_one, &a));
    return a.has_failed || out->bad ? E_NOMEM : E_OK;
}

struct contained {
    struct str bundle;
    uint32_t n;
    bool are_all;
};

static bool contained_look(void *arg, X509 *x)
{
    struct contained *k = arg;
    k->n++;
    k->are_all = k->are_all && bundle_look(k->bundle, x).is_found;
    return k->are_all;
}

bool tls_bundle_has(struct str bundle, struct str pem)
{
    struct contained k = {.bundle = bundle, .are_all = true};
    ERR_clear_error(); /* somebody else's */
    return pem.n <= CHAIN_BYTES_MAX && bundle_each(pem, contained_look, &k) == E_OK && k.n > 0 &&
           k.are_all;
}
