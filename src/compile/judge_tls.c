/* An Ingress that is to be admitted, and the Secrets that it names: as what may still come, all of
 * it is a warning. Of a cluster only those Secrets are known that somebody uses already: nothing is
 * said of the others. */
#include "compile/compile_priv.h"

#include "tls/authority.h"
#include "wire/uri.h"

static const struct finding no_certificate = {DIAG_WARNING, DIAG_SecretNotFound,
                                              "until the Secret is there, in the namespace of the "
                                              "Ingress, hosts that it is named for get the "
                                              "default certificate",
                                              "create the Secret or correct the name"};
static const struct finding no_authority = {
    DIAG_WARNING, DIAG_SecretNotFound,
    "until the Secret is there, every request to the hosts of this Ingress is answered with 403",
    "create the Secret or correct the name"};
static const struct finding not_for_host = {
    DIAG_WARNING, DIAG_CertificateMismatch,
    "a certificate is served for its own names only; clients of the host get the default "
    "certificate",
    "have one made that names this host, or name the right Secret"};

struct tls_judge {
    struct compile *c;
    struct diag_batch *batch;
    const struct ingress *in;
};

static void tell(const struct tls_judge *j, const struct finding *f)
{
    finding_add(j->c, j->batch, &j->in->object, j->in->object.line, f);
}

/* NULL: not there, or not known. */
static const struct secret *find(const struct tls_judge *j, struct str name, bool *ret_is_missing)
{
    const struct compile *c = j->c;
    struct str space = j->in->object.namespace_name;
    const struct object *o = store_get(c->store, OBJECT_SECRET, space, name);
    bool is_unknown = c->is_pending != NULL && c->is_pending(c->pending_arg, space, name);
    *ret_is_missing = o == NULL && !is_unknown;
    return (const struct secret *)(const void *)o;
}

static void tell_missing(const struct tls_judge *j, struct str name, const struct finding *f)
{
    buf_addf(what_begin(j->c), "there is no Secret %.*s/%.*s",
             STR_ARG(j->in->object.namespace_name), STR_ARG(name));
    tell(j, f);
}

static void tell_fault(const struct tls_judge *j, struct str name, enum tls_fault fault,
                       const char *why)
{
    const struct tls_fault_text *text = tls_fault_text(fault);
    bool is_time = fault == TLS_FAULT_EXPIRED || fault == TLS_FAULT_NOT_YET_VALID;
    const struct finding f = {
        DIAG_WARNING, is_time ? DIAG_CertificateExpired : DIAG_InvalidCertificate, why, text->mend};
    buf_addf(what_begin(j->c), "names Secret %.*s, which %s", STR_ARG(name), text->what);
    tell(j, &f);
}

static struct str item(const struct secret *s, struct str key)
{
    struct str value = STR_EMPTY;
    (void)secret_get(s, key, &value); /* stays empty */
    return value;
}

/* ---- certificates ---- */

static void field_set(const struct tls_judge *j, uint32_t entry, const char *more)
{
    buf_reset(&j->c->field);
    buf_addf(&j->c->field, "spec.tls[%u].%s", entry, more);
}

static void hosts_judge(const struct tls_judge *j, uint32_t entry,
                        const struct tls_certificate *certificate)
{
    const struct ingress_tls *t = &j->in->tls[entry];
    for (uint32_t i = 0; i < t->host_n; i++) {
        if (!host_is_usable(t->hosts[i]) || t->hosts[i].n == 0 ||
            tls_certificate_covers(certificate, t->hosts[i])) {
            continue;
        }
        field_set(j, entry, "hosts");
        buf_addf(&j->c->field, "[%u]", i);
        buf_addf(what_begin(j->c), "is \"%.*s\", but the certificate in Secret %.*s is not for it",
                 STR_ARG(shown(t->hosts[i])), STR_ARG(t->secret));
        tell(j, &not_for_host);
    }
}

static enum err certificate_judge(const struct tls_judge *j, uint32_t entry,
                                  const struct secret *secret)
{
    static const char unserved[] = "hosts that it is named for get the default certificate";
    struct str name = j->in->tls[entry].secret;
    enum tls_fault fault = TLS_FAULT_NONE;
    struct tls_certificate *certificate;
    enum err e = tls_certificate_parse(item(secret, STR("tls.crt")), item(secret, STR("tls.key")),
                                       &fault, &certificate);
    if (e == E_PROTO) {
        tell_fault(j, name, fault, unserved);
        return E_OK;
    }
    TRY(e);
    if (j->c->now_s != 0) {
        fault = tls_certificate_judge(certificate, j->c->now_s);
    }
    if (fault != TLS_FAULT_NONE) {
        tell_fault(j, name, fault, "clients refuse it");
    }
    hosts_judge(j, entry, certificate);
    tls_certificate_free(certificate);
    return E_OK;
}

static enum err entry_judge(const struct tls_judge *j, uint32_t entry)
{
    struct str name = j->in->tls[entry].secret;
    bool is_missing;
    if (!dns_subdomain_is_valid(name)) {
        return E_OK; /* nothing that the API would take */
    }
    const struct secret *secret = find(j, name, &is_missing);
    field_set(j, entry, "secretName");
    if (is_missing) {
        tell_missing(j, name, &no_certificate);
    }
    return secret == NULL ? E_OK : certificate_judge(j, entry, secret);
}

/* ---- authorities ---- */

static enum err ignore(void *arg, struct str der)
{
    (void)arg, (void)der; /* that it can be read is enough */
    return E_OK;
}

static enum err authority_judge(const struct tls_judge *j)
{
    static const char denied[] = "every request to the hosts of this Ingress is answered with 403";
    struct client_auth auth;
    enum tls_fault fault = TLS_FAULT_NONE;
    bool is_missing;
    if (!client_auth_get(j->in, &auth) || auth.name.n == 0) {
        return E_OK;
    }
    const struct secret *secret = find(j, auth.name, &is_missing);
    annotation_field(j->c, CLIENT_AUTH_SECRET);
    if (is_missing) {
        tell_missing(j, auth.name, &no_authority);
    }
    if (secret == NULL) {
        return E_OK;
    }
    enum err e = tls_authority_each(item(secret, STR("ca.crt")), ignore, NULL, &fault);
    if (e == E_OK) {
        e = tls_revocation_each(item(secret, STR("ca.crl")), ignore, NULL, &fault);
    }
    if (e == E_PROTO) {
        tell_fault(j, auth.name, fault, denied);
        return E_OK;
    }
    return e;
}

enum err judge_tls(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    const struct tls_judge j = {c, batch, in};
    for (uint32_t i = 0; i < in->tls_n; i++) {
        TRY(entry_judge(&j, i));
    }
    return authority_judge(&j);
}
