/* PEM as it stands in Secrets: a chain, then behind a NUL its key; without a NUL one text is both.
 * Whatever is taken tells consistent things of itself, and can be written and read again. */
#include "tls/certificate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { NOW_S = 1800000000, BUNDLE_MAX = 4 };

static void check_name(void *arg, struct str name)
{
    const struct tls_certificate *c = arg;
    must(name.n > 0);
    for (size_t i = 0; i < name.n; i++) {
        must(name.p[i] > ' ' && name.p[i] < 0x7f && !(name.p[i] >= 'A' && name.p[i] <= 'Z'));
    }
    must(tls_certificate_covers(c, name));
}

static enum err count(void *arg, struct str der)
{
    must(der.n > 0);
    ++*(size_t *)arg;
    return E_OK;
}

static void check_text(void (*emit)(const struct tls_certificate *c, struct buf *out),
                       const struct tls_certificate *c)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    emit(c, &out);
    for (size_t i = 0; i < out.n; i++) {
        must(out.p[i] >= ' ' && out.p[i] < 0x7f);
    }
    buf_fini(&out);
}

static void check(const struct tls_certificate *c)
{
    char name[TLS_KEY_NAME_BYTES];
    struct buf der;
    size_t n = 0;
    enum tls_fault fault = tls_certificate_judge(c, NOW_S);
    must(fault == TLS_FAULT_NONE || fault == TLS_FAULT_EXPIRED || fault == TLS_FAULT_NOT_YET_VALID);
    tls_certificate_each_name(c, check_name, (void *)(uintptr_t)c);
    must(tls_certificate_key_name(c, name) == E_OK);
    for (size_t i = 0; i < sizeof(name); i++) {
        must((name[i] >= '0' && name[i] <= '9') || (name[i] >= 'a' && name[i] <= 'f'));
    }
    must(tls_certificate_each_der(c, count, &n) == E_OK && n >= 1);
    buf_init(&der, 1 << 20);
    must(tls_certificate_emit_key(c, &der) == E_OK && der.n > 0);
    buf_wipe(&der);
    must(tls_certificate_key_kind(c) >= TLS_KEY_RSA &&
         tls_certificate_key_kind(c) <= TLS_KEY_ED448);
    check_text(tls_certificate_emit_subject, c);
    check_text(tls_certificate_emit_issuer, c);
    check_text(tls_certificate_emit_key_type, c);
}

/* Adding twice adds nothing. */
static void check_bundle(struct str pem)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    must(tls_bundle_add(&out, pem, NOW_S, BUNDLE_MAX) == E_OK);
    size_t n = out.n;
    must(tls_bundle_add(&out, pem, NOW_S, BUNDLE_MAX) == E_OK);
    must(out.n == n && (n == 0 || tls_bundle_has(buf_str(&out), buf_str(&out))));
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n}, chain = text, key = text;
    enum tls_fault fault = TLS_FAULT_NONE;
    struct tls_certificate *c = NULL;
    (void)str_cut(text, '\0', &chain, &key);
    key = key.n == 0 ? chain : key;
    enum err e = tls_certificate_parse(chain, key, &fault, &c);
    must(e == E_OK || e == E_PROTO);
    must((e == E_PROTO) == (fault > TLS_FAULT_NONE && fault < TLS_FAULTS_N));
    if (e == E_OK) {
        check(c);
        tls_certificate_free(c);
    }
    check_bundle(chain);
    return 0;
}
