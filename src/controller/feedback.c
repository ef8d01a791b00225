/* Status, Events and reviews, tied to the pipeline. */
#include "controller/feedback.h"

#include <errno.h>
#include <string.h>

#include "admin/metrics.h"
#include "log/log.h"

/* ---- what the parts ask ---- */

static bool is_ours(void *arg, const struct ingress *ingress)
{
    const struct feedback *f = arg;
    const char *why;
    return compile_is_ours(f->pipeline->compile, ingress, &why);
}

static enum err each_diag(void *arg, diag_fn *fn, void *fn_arg)
{
    const struct feedback *f = arg;
    return pipeline_each_diag(f->pipeline, fn, fn_arg);
}

static bool judge_is_ours(const void *arg, const struct ingress *in)
{
    const char *why;
    return compile_is_ours(arg, in, &why);
}

static enum err judge(const void *arg, const struct ingress *candidate, diag_fn *fn, void *fn_arg)
{
    return compile_judge(arg, candidate, fn, fn_arg);
}

/* ---- the begin ---- */

static void complain(const char *what, enum err e)
{
    log_line(LOG_ERROR, "%s error=\"%s\"", what, e == E_SYS ? strerror(errno) : err_text(e));
}

/* Our own namespace, else the kubeconfig's. */
static struct str election_namespace(const struct feedback *f)
{
    const struct kube_config *config = f->pipeline->config;
    if (f->options.status.pod_namespace.n > 0) {
        return f->options.status.pod_namespace;
    }
    return config->namespace_name != NULL ? str_from_cstr(config->namespace_name) : STR("default");
}

static void status_begin(struct feedback *f)
{
    struct pipeline *p = f->pipeline;
    f->options.status.election_namespace = election_namespace(f);
    enum err e =
        status_open(p->loop, p->client, p->store, &f->options.status, &f->callbacks, &f->status);
    if (e != E_OK) {
        complain("status and Events are not written; is --election-id the name of an object?", e);
        return;
    }
    diagnostics_on_new(&p->diagnostics, status_on_diag, f->status);
    status_on_synced(f->status);
}

static void admission_begin(struct feedback *f)
{
    struct pipeline *p = f->pipeline;
    f->admission_options = (struct admission_options){
        .judge = {.arg = p->compile, .is_ours = judge_is_ours, .judge = judge},
        .certificates = f->options.webhook,
    };
    f->admission_options.certificates.shared.kube = p->client;
    if (f->options.webhook.certificate_file == NULL && p->client == NULL) {
        log_line(LOG_ERROR, "there is no webhook: a directory of manifests has no Secret for its "
                            "certificate; give --validating-webhook-certificate and -key");
        return;
    }
    enum err e = admission_open(p->loop, f->webhook_fd, &f->admission_options, &f->admission);
    if (e != E_OK) {
        complain("there is no webhook", e);
    }
}

void feedback_on_commit(struct feedback *f)
{
    if (f->has_begun || !f->pipeline->has_whole) {
        return;
    }
    f->has_begun = true;
    if (f->pipeline->api != NULL) {
        status_begin(f);
    }
    if (f->webhook_fd >= 0) {
        admission_begin(f);
    }
}

/* ---- life ---- */

void feedback_init(struct feedback *f, struct pipeline *pipeline,
                   const struct feedback_options *options, int webhook_fd)
{
    *f = (struct feedback){
        .pipeline = pipeline,
        .options = *options,
        .callbacks = {.is_ours = is_ours, .each_diag = each_diag, .arg = f},
        .webhook_fd = webhook_fd
    };
}

void feedback_close(struct feedback *f, void (*on_closed)(void *arg), void *arg)
{
    admission_close(f->admission);
    f->admission = NULL;
    if (f->status == NULL) {
        on_closed(arg);
        return;
    }
    status_close(f->status, on_closed, arg);
}

void feedback_fini(struct feedback *f)
{
    if (f->pipeline == NULL) {
        return;
    }
    diagnostics_on_new(&f->pipeline->diagnostics, NULL, NULL);
    admission_close(f->admission);
    status_free(f->status);
    f->admission = NULL;
    f->status = NULL;
}

/* ---- metrics ---- */

struct emission {
    struct buf *out;
    const char *last; /* family whose HELP and TYPE are there */
};

static void emit_status_metric(void *arg, const struct status_metric *m)
{
    struct emission *e = arg;
    if (e->last == NULL || strcmp(e->last, m->name) != 0) {
        buf_addf(e->out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                 m->is_gauge ? "gauge" : "counter");
        e->last = m->name;
    }
    metrics_sample(e->out, m->name, m->labels, m->value);
}

void feedback_emit_metrics(const struct feedback *f, struct buf *out)
{
    struct emission emission = {.out = out};
    if (f->status != NULL) {
        status_each_metric(f->status, emit_status_metric, &emission);
    }
    admission_emit_metrics(f->admission, out);
}
