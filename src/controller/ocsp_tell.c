/* What is told about certificates whose responses are not there. */
#include "admin/metrics.h"
#include "controller/ocsp_priv.h"

enum { KEY_BYTES_MAX = 1024 };

/* ---- diagnostics ---- */

static struct diag diag_of(const struct watched *w, const struct object *secret)
{
    return (struct diag){
        .kind = STR("Secret"),
        .namespace_name = w->namespace_name,
        .name = w->name,
        .field = STR("data[tls.crt]"),
        .file = secret == NULL ? STR_EMPTY : secret->file,
        .line = secret == NULL ? 0 : secret->line,
    };
}

static void fill_failed(const struct watched *w, struct diag *d)
{
    struct ocsp *o = w->ocsp;
    buf_addf(&o->text, "%s; %s", w->why,
             w->until > 0 ? "clients go on getting the response from before, while that is valid"
                          : "clients get none");
    d->what = STR("has an OCSP responder whose response cannot be had");
    d->mend = STR("see what the responder does, or take a certificate without one");
}

static void fill_unaskable(const struct watched *w, struct diag *d)
{
    buf_addf(&w->ocsp->text, "%s; clients get no response", w->why);
    d->what = STR("has an OCSP responder that cannot be asked");
    d->mend = STR("see docs/ocsp.md for what a certificate needs");
}

static void fill_over(const struct watched *w, struct diag *d)
{
    buf_addf(&w->ocsp->text, "responders are asked about %d certificates at most",
             OCSP_CERTIFICATES_MAX);
    d->reason = DIAG_LimitReached;
    d->what = STR("has an OCSP responder that is not asked");
    d->mend = STR("use fewer certificates that have one");
}

static void trouble_emit(const struct watched *w, const struct object *secret, diag_fn *fn,
                         void *arg)
{
    struct diag d = diag_of(w, secret);
    buf_reset(&w->ocsp->text);
    d.severity = DIAG_WARNING;
    d.reason = DIAG_StapleUnavailable;
    switch (w->trouble) {
    case TROUBLE_NONE:
        return;
    case TROUBLE_FAILED:
        fill_failed(w, &d);
        break;
    case TROUBLE_UNASKABLE:
        fill_unaskable(w, &d);
        break;
    case TROUBLE_OVER:
        fill_over(w, &d);
        break;
    }
    d.why = buf_str(&w->ocsp->text);
    fn(arg, &d);
}

static void revoked_emit(const struct watched *w, const struct object *secret, diag_fn *fn,
                         void *arg)
{
    struct diag d = diag_of(w, secret);
    d.severity = DIAG_ERROR;
    d.reason = DIAG_CertificateRevoked;
    d.what = STR("is revoked, says its authority");
    d.why = STR("clients that look refuse it; what is stapled tells them");
    d.mend = STR("replace it");
    fn(arg, &d);
}

static void watched_emit(const struct watched *w, diag_fn *fn, void *arg)
{
    const struct object *secret =
        store_get(w->ocsp->parts.store, OBJECT_SECRET, w->namespace_name, w->name);
    trouble_emit(w, secret, fn, arg);
    if (w->is_revoked) {
        revoked_emit(w, secret, fn, arg);
    }
}

void watched_tell(const struct watched *w)
{
    watched_emit(w, w->ocsp->parts.on_diag, w->ocsp->parts.arg);
}

void ocsp_each_diag(struct ocsp *o, diag_fn *fn, void *arg)
{
    if (o != NULL) {
        map_each(slot, &o->certificates)
        {
            watched_emit(slot->value, fn, arg);
        }
    }
}

/* ---- certificates ---- */

/* One that waits to be looked at may have a responder. */
static bool may_have_responder(const struct watched *w)
{
    return w->is_followed || w->is_due || list_is_linked(&w->link) || w->trouble != TROUBLE_NONE;
}

bool ocsp_get(const struct ocsp *o, struct str namespace_name, struct str name,
              struct certs_staple *ret)
{
    char text[KEY_BYTES_MAX];
    struct wr key = wr_make(text, sizeof(text));
    wr_str(&key, namespace_name);
    wr_char(&key, '/');
    wr_str(&key, name);
    const struct watched *w =
        key.bad || !o->is_on ? NULL : watched_find(o, str_make(text, wr_n(&key)));
    if (w == NULL) {
        return false;
    }
    *ret = (struct certs_staple){
        .has_responder = may_have_responder(w),
        .is_revoked = w->is_revoked,
        .from = w->from,
        .until = w->until,
        .trouble = w->trouble == TROUBLE_NONE   ? NULL
                   : w->trouble == TROUBLE_OVER ? "too many certificates have a responder"
                                                : w->why,
    };
    return true;
}

/* ---- metrics ---- */

void ocsp_emit_metrics(const struct ocsp *o, struct buf *out)
{
    static const char requests[] = "lintel_ocsp_requests_total";
    static const char certificates[] = "lintel_ocsp_certificates";
    buf_addf(out,
             "# HELP %s Questions to OCSP responders by what came of them.\n# TYPE %s counter\n",
             requests, requests);
    metrics_sample(out, requests, "result=\"ok\"", o->answered);
    metrics_sample(out, requests, "result=\"older\"", o->older);
    metrics_sample(out, requests, "result=\"failed\"", o->failed);
    buf_addf(out,
             "# HELP %s Certificates that have an OCSP responder, whose response is stapled, that "
             "wait to be looked at.\n# TYPE %s gauge\n",
             certificates, certificates);
    metrics_sample(out, certificates, "state=\"followed\"", o->followed_n);
    metrics_sample(out, certificates, "state=\"stapled\"", o->stapled_n);
    metrics_sample(out, certificates, "state=\"waiting\"", o->waiting_n);
}
