/* From PEM to what is served. */
#include "admission/certificates.h"

#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "kube/credential.h"
#include "log/log.h"
#include "tls/server.h"

static int64_t now_s(void)
{
    return (int64_t)(clock_wall() / USEC_PER_SEC);
}

/* Makes it what is served. */
static enum err certificate_use(struct certificates *c, const struct tls_certificate *certificate,
                                enum tls_fault *ret_fault)
{
    const struct tls_context_options o = {.certificate = certificate, .alpn = TLS_ALPN_HTTP1};
    struct tls_context *context;
    TRY(tls_context_new(&o, ret_fault, &context));
    tls_context_free(c->server->context);
    c->server->context = context;
    c->not_after = tls_certificate_not_after(certificate);
    c->changes++;
    return E_OK;
}

static enum err pair_use(struct certificates *c, struct str chain, struct str key,
                         enum tls_fault *ret_fault)
{
    struct tls_certificate *certificate;
    TRY(tls_certificate_parse(chain, key, ret_fault, &certificate));
    *ret_fault = tls_certificate_judge(certificate, now_s());
    enum err e =
        *ret_fault == TLS_FAULT_NONE ? certificate_use(c, certificate, ret_fault) : E_PROTO;
    tls_certificate_free(certificate);
    return e;
}

/* ---- files ---- */

/* Once, until they are good again. */
static void complain(struct certificates *c, enum err e, enum tls_fault fault, int error)
{
    const struct certificates_options *o = c->options;
    if (c->has_complained) {
        return;
    }
    c->has_complained = true;
    if (e == E_PROTO) {
        const struct tls_fault_text *t = tls_fault_text(fault);
        log_line(LOG_ERROR, "webhook: the certificate %s: %s; %s certificate=%s key=%s", t->what,
                 t->why, t->mend, o->certificate_file, o->key_file);
    } else {
        log_line(LOG_ERROR, "webhook: the certificate cannot be read: %s certificate=%s key=%s",
                 e == E_SYS ? strerror(error) : err_text(e), o->certificate_file, o->key_file);
    }
}

static enum err files_use(struct certificates *c, const struct blob *chain, const struct blob *key)
{
    enum tls_fault fault = TLS_FAULT_NONE;
    struct str chain_text = str_make(chain->bytes, chain->n);
    struct str key_text = str_make(key->bytes, key->n);
    uint64_t chain_hash = hash_str(chain_text), key_hash = hash_str(key_text);
    if (chain_hash == c->chain_hash && key_hash == c->key_hash) {
        return E_OK;
    }
    enum err e = pair_use(c, chain_text, key_text, &fault);
    if (e != E_OK) {
        complain(c, e, fault, errno);
        return E_REFUSED;
    }
    c->has_complained = false;
    c->chain_hash = chain_hash;
    c->key_hash = key_hash;
    log_line(LOG_INFO, "webhook: serving the certificate of the files certificate=%s",
             c->options->certificate_file);
    return E_OK;
}

static enum err files_read(struct certificates *c)
{
    struct blob *chain = NULL, *key = NULL;
    enum err e = blob_read(c->options->certificate_file, &chain);
    if (e == E_OK) {
        e = blob_read(c->options->key_file, &key);
    }
    if (e == E_OK) {
        e = files_use(c, chain, key);
    } else {
        complain(c, e, TLS_FAULT_NONE, errno);
        e = E_REFUSED;
    }
    blob_unref(chain);
    blob_unref(key);
    return e;
}

static void on_look(struct timer *t)
{
    struct certificates *c = container_of(t, struct certificates, look);
    (void)files_read(c); /* it said why; the last good one stays */
    loop_arm(c->loop, t, ADMISSION_FILES_PERIOD, on_look);
}

/* ---- shared ---- */

static void on_certificate(void *arg, struct str chain, struct str key)
{
    struct certificates *c = arg;
    enum tls_fault fault = TLS_FAULT_NONE;
    if (pair_use(c, chain, key, &fault) == E_OK) {
        log_line(LOG_INFO, "webhook: serving the certificate of Secret %.*s/%.*s",
                 STR_ARG(c->options->shared.secret_namespace), STR_ARG(c->options->shared.secret));
    } else {
        log_line(LOG_ERROR, "webhook: the shared certificate cannot be used: %s",
                 fault == TLS_FAULT_NONE ? err_text(E_NOMEM) : tls_fault_text(fault)->what);
    }
}

enum err certificates_open(struct certificates *c, struct loop *loop,
                           const struct certificates_options *options, struct tls_server *server)
{
    *c = (struct certificates){.loop = loop, .options = options, .server = server};
    if (options->certificate_file != NULL) {
        TRY(files_read(c));
        loop_arm(loop, &c->look, ADMISSION_FILES_PERIOD, on_look);
        return E_OK;
    }
    struct shared_options shared = options->shared;
    shared.on_certificate = on_certificate;
    shared.arg = c;
    return shared_open(loop, &shared, &c->shared);
}

void certificates_close(struct certificates *c)
{
    if (c->loop == NULL) {
        return;
    }
    loop_disarm(c->loop, &c->look);
    shared_close(c->shared);
    tls_context_free(c->server->context);
    c->server->context = NULL;
    *c = (struct certificates){.loop = NULL};
}
