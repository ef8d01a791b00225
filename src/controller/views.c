/* What the health port shows of the pipeline. */
#include "controller/views.h"

#include <stdlib.h>

#include "snapshot/dump.h"

static void count_diag(void *arg, const struct diag *d)
{
    struct metrics_input *in = arg;
    in->diagnostics[d->reason][d->severity - DIAG_WARNING]++;
}

static void count_resolution(void *arg, const struct object *o)
{
    struct metrics_input *in = arg;
    const struct resolution *r = (const struct resolution *)(const void *)o;
    in->names++;
    in->names_unresolved += r->address_n == 0;
}

static void view_api(const struct pipeline *p, struct metrics_api *ret)
{
    const struct kube_counters *c = kube_client_counters(p->client);
    for (int i = 0; i < API_RESOURCES_N; i++) {
        struct api_figures f;
        api_figures(p->api, (enum api_resource)i, &f);
        must(ret->resource_n < METRICS_RESOURCES_MAX);
        if (f.is_followed) {
            ret->resources[ret->resource_n++] = (struct metrics_resource){
                .name = f.resource,
                .is_healthy = f.is_healthy,
                .objects = f.objects,
                .lists = f.lists,
                .watches = f.watches,
                .relists = f.relists,
                .failures = f.failures,
                .silence = f.silence,
            };
        }
    }
    ret->calls = c->calls;
    ret->failed_status = c->failed_status;
    ret->failed_transport = c->failed_transport;
    ret->throttled = c->throttled;
    ret->connects = c->connects;
    ret->bytes = c->received_bytes;
    ret->polled_n = api_polled_n(p->api);
}

struct certificate_call {
    metrics_certificate_fn *fn;
    void *arg;
};

static void on_certificate(void *arg, const struct compile_certificate *c)
{
    const struct certificate_call *call = arg;
    const struct metrics_certificate shown = {
        .namespace_name = c->namespace_name,
        .secret = c->secret,
        .host = c->host,
        .serial = c->serial,
        .issuer_organization = c->issuer_organization,
        .issuer_common_name = c->issuer_common_name,
        .issuer_serial = c->issuer_serial,
        .key_algorithm = c->key_algorithm,
        .not_after = c->not_after,
    };
    call->fn(call->arg, &shown);
}

static void each_certificate(void *compile, metrics_certificate_fn *fn, void *fn_arg)
{
    struct certificate_call call = {fn, fn_arg};
    compile_each_certificate(compile, on_certificate, &call);
}

static void view_metrics(void *arg, struct metrics_input *in)
{
    struct pipeline *p = arg;
    size_t segments;
    for (int kind = 0; kind < OBJECT_KINDS_N; kind++) {
        in->objects[kind] = store_n(p->store, (enum object_kind)kind);
    }
    store_each(p->store, OBJECT_RESOLUTION, count_resolution, in);
    (void)pipeline_each_diag(p, count_diag, in); /* out of memory: the numbers are too low */
    in->each_certificate = each_certificate;
    in->each_certificate_arg = p->compile;
    in->diagnostics_total = p->diagnostics.total;
    in->batches = p->runs;
    in->batch_cpu = p->run_cpu;
    in->lag_last = p->lag_last;
    in->lag_most = p->lag_most;
    in->identity = (struct metrics_identity){
        .class_name = p->options->compile.controller,
        .namespace_name = str_from_cstr(getenv("POD_NAMESPACE")),
        .pod = str_from_cstr(getenv("POD_NAME")),
    };
    publish_figures(p->publish, &segments, &in->snapshot_bytes);
    in->snapshot_segments = segments;
    in->saved_age = p->has_whole ? 0 : saved_age(&p->saved);
    if (p->api != NULL) {
        view_api(p, &in->api);
    }
    if (p->directory != NULL) {
        in->files = directory_file_n(p->directory);
        in->file_reads = directory_read_n(p->directory);
    }
}

static bool is_ours(const void *arg, const struct ingress *ingress, const char **ret_why)
{
    return compile_is_ours(arg, ingress, ret_why);
}

static struct explain_world view_world(void *arg)
{
    const struct pipeline *p = arg;
    return (struct explain_world){.snapshot = publish_state(p->publish),
                                  .store = p->store,
                                  .is_ours = is_ours,
                                  .is_ours_arg = p->compile};
}

static void view_dump(void *arg, bool is_json, struct buf *out)
{
    const struct pipeline *p = arg;
    enum err e = snapshot_dump_state(out, publish_state(p->publish),
                                     is_json ? SNAPSHOT_DUMP_JSON : SNAPSHOT_DUMP_TEXT);
    out->bad = out->bad || e != E_OK;
}

static bool staple_of(const void *ocsp, struct str namespace_name, struct str name,
                      struct certs_staple *ret)
{
    return ocsp_get(ocsp, namespace_name, name, ret);
}

static bool upstream_of(const void *compile, const struct ingress *in, struct certs_upstream *ret)
{
    struct compile_upstream_secret s;
    if (!compile_get_upstream_secret(compile, in, &s)) {
        return false;
    }
    *ret = (struct certs_upstream){s.namespace_name, s.name, s.is_verified, s.is_tls};
    return true;
}

static struct certs_world view_certs(void *arg)
{
    const struct pipeline *p = arg;
    return (struct certs_world){
        .world = view_world(arg),
        .default_namespace = p->options->compile.default_certificate_namespace,
        .default_certificate = p->options->compile.default_certificate,
        .now_s = (int64_t)(clock_wall() / USEC_PER_SEC),
        .staple = p->ocsp == NULL ? NULL : staple_of,
        .staple_arg = p->ocsp,
        .upstream = upstream_of,
    };
}

static void view_further(void *arg, struct buf *out)
{
    const struct feedback *f = arg;
    feedback_emit_metrics(f, out);
    ocsp_emit_metrics(f->pipeline->ocsp, out);
}

void views_init(struct admin_views *ret, struct pipeline *p, struct feedback *f)
{
    *ret = (struct admin_views){
        .arg = p,
        .stats = p->options->stats,
        .loop = p->loop,
        .metrics = view_metrics,
        .further_metrics = view_further,
        .further_arg = f,
        .world = view_world,
        .dump = view_dump,
        .certs = view_certs,
        .each_diag = pipeline_each_diag,
    };
}
