/* Source -> store -> compile -> publish, driven by the loop. */
#include "controller/pipeline.h"

#include "log/log.h"
#include "source/manifest.h"
#include "tls/certificate.h"

#include <errno.h>
#include <string.h>

enum { CONFIG_DIAG_BYTES_MAX = 4096 };

/* ---- diagnostics ---- */

enum err pipeline_each_diag(void *pipeline, diag_fn *fn, void *fn_arg)
{
    struct pipeline *p = pipeline;
    if (p->directory != NULL) {
        TRY(directory_each_diag(p->directory, fn, fn_arg));
    }
    if (p->api != NULL) {
        api_each_diag(p->api, fn, fn_arg);
    }
    if (p->compile != NULL) {
        compile_each_diag(p->compile, fn, fn_arg);
    }
    ocsp_each_diag(p->ocsp, fn, fn_arg);
    return E_OK;
}

static void on_sweep(struct timer *t)
{
    struct pipeline *p = container_of(t, struct pipeline, sweep);
    diagnostics_sweep(&p->diagnostics, pipeline_each_diag, p);
}

static void on_source_diag(void *arg, const struct diag *d)
{
    struct pipeline *p = arg;
    diagnostics_add(&p->diagnostics, d);
}

static void on_refused(void *arg, enum snap_kind kind, struct str key, const char *what)
{
    (void)arg;
    log_line(LOG_ERROR,
             "a bug of Lintel: the compiler made a bad shard; its last good content "
             "stays in use kind=%d key=%.*s what=\"%s\"",
             (int)kind, STR_ARG(key), what);
}

/* ---- a run ---- */

static void complain(struct pipeline *p, const char *what, enum err e)
{
    if (!p->has_complained) {
        p->has_complained = true;
        log_line(LOG_ERROR,
                 "%s; the last good configuration stays in use, trying again "
                 "error=\"%s\"",
                 what, e == E_SYS ? strerror(errno) : err_text(e));
    }
}

static void note_published(struct pipeline *p, bool is_new)
{
    p->has_complained = false;
    p->lag_last = clock_monotonic() - p->pending_since;
    if (p->lag_last > p->lag_most && p->runs > 1) { /* the first load is no change */
        p->lag_most = p->lag_last;
    }
    if (is_new) {
        saved_changed(&p->saved);
    }
    loop_arm(p->loop, &p->sweep, PIPELINE_SWEEP, on_sweep);
}

/* From now on the objects are served, not what was saved. */
static void note_whole(struct pipeline *p)
{
    if (!p->has_whole && p->api != NULL) {
        log_line(LOG_INFO, "the objects of the API server are read ms=%llu",
                 (unsigned long long)((clock_monotonic() - p->opened_at) / USEC_PER_MS));
    }
    p->has_whole = true;
}

static void want_name(void *arg, struct str name)
{
    enum err e = resolver_want(arg, name);
    if (e != E_OK && e != E_PROTO) { /* E_PROTO: the compiler has a diagnostic for that */
        log_line(LOG_ERROR,
                 "a name of an ExternalName Service is not resolved name=%.*s "
                 "error=\"%s\"",
                 STR_ARG(name), err_text(e));
    }
}

/* Tells the resolver which names the routes need now. */
static void want_names(struct pipeline *p)
{
    if (p->resolver != NULL) {
        resolver_begin(p->resolver);
        compile_each_external_name(p->compile, want_name, p->resolver);
        resolver_end(p->resolver);
    }
}

struct wanting {
    struct api *api;
    enum err err;
};

static void want_secret(void *arg, struct str namespace_name, struct str name)
{
    struct wanting *w = arg;
    enum err e = api_secret_want(w->api, namespace_name, name);
    if (e == E_LIMIT && w->err == E_OK) {
        log_line(LOG_ERROR,
                 "there are too many Secrets; this one and others are not read "
                 "secret=%.*s/%.*s",
                 STR_ARG(namespace_name), STR_ARG(name));
    }
    w->err = e == E_OK ? w->err : e;
}

/* Tells the source which Secrets the routes need now. */
static void want_secrets(struct pipeline *p)
{
    struct wanting w = {.api = p->api};
    uint64_t version = compile_secret_version(p->compile);
    if (p->api == NULL || version == p->secret_version) {
        return;
    }
    api_secrets_begin(p->api);
    compile_each_secret(p->compile, want_secret, &w);
    api_secrets_end(p->api);
    if (w.err != E_NOMEM) { /* else with the next run */
        p->secret_version = version;
    }
}

/* A compile_shard_fn: each to the stream that it belongs to. */
static enum err shard_take(void *arg, const struct snap_shard *shard)
{
    struct pipeline *p = arg;
    if (shard->kind >= SNAP_SECRET_FIRST) {
        return keyring_add(&p->keyring, shard);
    }
    TRY(ocsp_see(p->ocsp, shard));
    return publish_add(p->publish, shard);
}

/* At the start only: later, what is not known yet changes nothing for what is served. */
static bool is_waiting_for_secrets(const struct pipeline *p)
{
    return !p->has_whole && p->api != NULL && api_pending_n(p->api) > 0 &&
           loop_now(p->loop) - p->compiled_at < PIPELINE_SECRETS;
}

/* Keys first: routes may need them. */
static enum err commit(struct pipeline *p, bool *ret_is_new)
{
    p->is_held = is_waiting_for_secrets(p);
    if (p->is_held) {
        return E_AGAIN;
    }
    enum err e = keyring_commit(&p->keyring, !p->has_whole);
    return e == E_OK ? publish_commit(p->publish, !p->has_whole, ret_is_new) : e;
}

static enum err compile_and_commit(struct pipeline *p, bool *ret_is_new)
{
    if (p->api != NULL) {
        compile_hide_classes(p->compile, api_are_classes_hidden(p->api));
    }
    enum err e = compile_run(p->compile, shard_take, p);
    e = e == E_OK ? ocsp_settle(p->ocsp) : e;
    if (e != E_OK) {
        complain(p, "compiling failed", e);
        return e;
    }
    want_names(p);
    want_secrets(p);
    p->compiled_at = p->compiled_at == 0 ? loop_now(p->loop) : p->compiled_at;
    e = commit(p, ret_is_new);
    if (e != E_OK && e != E_AGAIN && e != E_CLOSED) {
        complain(p, "publishing failed", e);
    }
    return e;
}

static void on_run(struct deferred *d);

static void on_pause_over(struct timer *t)
{
    struct pipeline *p = container_of(t, struct pipeline, pause);
    loop_defer(p->loop, &p->work, on_run);
}

static void on_run(struct deferred *d)
{
    struct pipeline *p = container_of(d, struct pipeline, work);
    bool is_new = false;
    usec_t cpu = clock_cpu();

    p->is_pending = false;
    p->runs++;
    enum err e = compile_and_commit(p, &is_new);
    p->run_cpu += clock_cpu() - cpu;
    p->ran_at = loop_now(p->loop);
    if (e == E_OK) {
        note_whole(p);
        note_published(p, is_new);
        p->on_commit(p->arg, E_OK);
    } else if (e == E_CLOSED) {
        p->on_commit(p->arg, E_CLOSED);
    } else {
        p->is_pending = true; /* E_AGAIN: pipeline_flush() comes first, most likely */
        loop_arm(p->loop, &p->pause, PIPELINE_RETRY, on_pause_over);
    }
}

static void schedule(struct pipeline *p)
{
    usec_t now = loop_now(p->loop);
    if (p->is_held && !is_waiting_for_secrets(p)) {
        loop_defer(p->loop, &p->work, on_run);
        return;
    }
    if (p->is_pending) {
        return;
    }
    p->is_pending = true;
    p->pending_since = now;
    if (p->runs == 0 || now - p->ran_at >= PIPELINE_PAUSE) {
        loop_defer(p->loop, &p->work, on_run);
    } else {
        loop_arm(p->loop, &p->pause, p->ran_at + PIPELINE_PAUSE - now, on_pause_over);
    }
}

bool pipeline_is_waiting(const struct pipeline *p)
{
    return publish_is_waiting(p->keyring.publish) || publish_is_waiting(p->publish);
}

void pipeline_flush(struct pipeline *p)
{
    enum err e = publish_flush(p->keyring.publish);
    e = e == E_OK ? publish_flush(p->publish) : e;
    if (e == E_CLOSED) {
        p->on_commit(p->arg, E_CLOSED);
    } else if (e == E_OK && p->is_pending) {
        loop_defer(p->loop, &p->work, on_run);
    } else if (e != E_OK && e != E_AGAIN) {
        complain(p, "publishing failed", e);
    }
}

/* ---- the source ---- */

static void on_batch(void *arg)
{
    schedule(arg);
}

static void on_secret(void *arg, struct str namespace_name, struct str name)
{
    const struct pipeline *p = arg;
    compile_secret_missing(p->compile, namespace_name, name);
}

static bool is_secret_pending(const void *arg, struct str namespace_name, struct str name)
{
    return api_secret_is_pending(arg, namespace_name, name);
}

static enum err open_directory(struct pipeline *p)
{
    struct directory_options o = {
        .parse = manifest_parse, .on_diag = on_source_diag, .on_batch = on_batch, .arg = p};
    TRY(directory_open(p->loop, &p->options->manifests, 1, p->store, &o, &p->directory));
    log_line(LOG_INFO, "manifests are read directory=%s files=%zu ms=%llu", p->options->manifests,
             directory_file_n(p->directory),
             (unsigned long long)((clock_monotonic() - p->opened_at) / USEC_PER_MS));
    schedule(p);
    return E_OK;
}

static void on_config_diag(void *arg, const struct diag *d)
{
    const struct pipeline *p = arg;
    struct buf text;
    if (p->has_complained) {
        return;
    }
    buf_init(&text, CONFIG_DIAG_BYTES_MAX);
    diag_emit_text(&text, d);
    log_line(d->severity == DIAG_ERROR ? LOG_ERROR : LOG_WARN, "%.*s", STR_ARG(buf_str(&text)));
    buf_fini(&text);
}

static enum err open_client(struct pipeline *p)
{
    const struct pipeline_options *o = p->options;
    if (p->config == NULL) {
        TRY(o->kubeconfig != NULL
                ? kube_config_load(o->kubeconfig, o->context, on_config_diag, p, &p->config)
                : kube_config_in_cluster(NULL, on_config_diag, p, &p->config));
        log_line(LOG_INFO, "objects come from the API server server=%s", p->config->server);
    }
    return p->client != NULL ? E_OK : kube_client_new(p->loop, p->config, &p->client);
}

static enum err open_api(struct pipeline *p)
{
    struct api_options o = p->options->api;
    TRY(open_client(p));
    o.client = p->client;
    o.on_diag = on_source_diag;
    o.on_batch = on_batch;
    o.on_secret = on_secret;
    o.arg = p;
    TRY(api_open(p->loop, p->store, &o, &p->api));
    compile_on_pending(p->compile, is_secret_pending, p->api);
    return E_OK;
}

static void on_open_retry(struct timer *t);

void pipeline_start(struct pipeline *p)
{
    bool is_directory = p->options->manifests != NULL;
    p->opened_at = clock_monotonic();
    enum err e = is_directory ? open_directory(p) : open_api(p);
    if (e != E_OK) {
        complain(p,
                 is_directory ? "the directory of manifests cannot be read"
                              : "the configuration for the API server cannot be used",
                 e);
        loop_arm(p->loop, &p->open_retry, PIPELINE_RETRY, on_open_retry);
        return;
    }
    p->has_complained = false;
}

static void on_open_retry(struct timer *t)
{
    pipeline_start(container_of(t, struct pipeline, open_retry));
}

/* ---- life ---- */

/* Without c-ares everything but ExternalName Services works. */
static enum err start_resolver(struct pipeline *p)
{
    const struct resolver_options o = {.on_batch = on_batch, .arg = p};
    enum err e = resolver_new(p->loop, p->store, &o, &p->resolver);
    if (e == E_OK || e == E_NOMEM) {
        return e;
    }
    log_line(LOG_ERROR,
             "no names can be resolved; ExternalName Services stay without endpoints error=\"%s\"",
             err_text(e));
    return E_OK;
}

/* A saved_true_fn. */
static bool is_current(void *arg)
{
    const struct pipeline *p = arg;
    return p->has_whole && !p->is_pending && (p->api == NULL || api_trouble(p->api) == NULL);
}

/* Keys or responses of OCSP are to be committed. */
static void on_commit_due(void *arg)
{
    schedule(arg);
}

static void on_clock(struct timer *t)
{
    struct pipeline *p = container_of(t, struct pipeline, clock);
    compile_set_time(p->compile, (int64_t)(clock_wall() / USEC_PER_SEC));
    loop_arm(p->loop, t, PIPELINE_CLOCK, on_clock);
    if (p->runs > 0 && compile_is_dirty(p->compile)) {
        schedule(p);
    }
}

/* For names that nobody has a certificate for: clients see at once that it is nobody's. */
static enum err own_certificate_make(struct pipeline *p)
{
    enum { BYTES_MAX = 64 << 10, DAY_S = 24 * 3600 };
    static const struct str names[] = {STR_INIT("lintel.invalid")};
    int64_t now = (int64_t)(clock_wall() / USEC_PER_SEC);
    const struct tls_make make = {.common_name = "Lintel default certificate",
                                  .names = names,
                                  .name_n = 1,
                                  .not_before = now - DAY_S,
                                  .not_after = now + (int64_t)365 * DAY_S};
    struct buf authority;
    buf_init(&authority, BYTES_MAX);
    buf_init(&p->own_chain, BYTES_MAX);
    buf_init(&p->own_key, BYTES_MAX);
    enum err e = tls_certificate_make(&make, &authority, &p->own_chain, &p->own_key);
    buf_fini(&authority);
    p->compile_options.own_chain = buf_str(&p->own_chain);
    p->compile_options.own_key = buf_str(&p->own_key);
    return e;
}

static enum err ocsp_start(struct pipeline *p)
{
    const struct ocsp_parts parts = {.loop = p->loop,
                                     .store = p->store,
                                     .publish = p->publish,
                                     .options = &p->options->ocsp,
                                     .on_due = on_commit_due,
                                     .on_diag = on_source_diag,
                                     .arg = p};
    return ocsp_new(&parts, &p->ocsp);
}

static enum err make(struct pipeline *p)
{
    const struct pipeline_options *o = p->options;
    p->compile_options = o->compile;
    TRY(own_certificate_make(p));
    struct publish_options publish = {
        .control_fd = o->control_fd, .stats = o->stats, .on_refused = on_refused, .arg = p};
    TRY(keyring_init(&p->keyring, p->loop, &publish, on_commit_due, p));
    TRY(publish_new(&publish, &p->publish));
    saved_init(&p->saved, p->loop, p->publish, o->snapshot_file, is_current, p);
    TRY(saved_load(&p->saved));
    TRY(store_new(&p->store));
    TRY(ocsp_start(p));
    TRY(compile_new(p->store, &p->compile_options, &p->compile));
    on_clock(&p->clock);
    compile_on_diag(p->compile, diagnostics_add, &p->diagnostics);
    return start_resolver(p);
}

enum err pipeline_init(struct pipeline *p, struct loop *loop,
                       const struct pipeline_options *options, pipeline_fn *on_commit, void *arg)
{
    *p = (struct pipeline){.loop = loop, .options = options, .on_commit = on_commit, .arg = arg};
    diagnostics_init(&p->diagnostics);
    enum err e = make(p);
    if (e != E_OK) {
        pipeline_fini(p);
    }
    return e;
}

void pipeline_fini(struct pipeline *p)
{
    saved_fini(&p->saved);
    loop_disarm(p->loop, &p->pause);
    loop_disarm(p->loop, &p->open_retry);
    loop_disarm(p->loop, &p->sweep);
    loop_disarm(p->loop, &p->clock);
    loop_undefer(&p->work);
    directory_close(p->directory);
    api_close(p->api);
    kube_client_free(p->client);
    kube_config_free(p->config);
    resolver_free(p->resolver);
    compile_free(p->compile);
    ocsp_free(p->ocsp);
    store_free(p->store);
    publish_free(p->publish);
    keyring_fini(&p->keyring);
    buf_fini(&p->own_chain);
    buf_wipe(&p->own_key);
    diagnostics_fini(&p->diagnostics);
    p->directory = NULL;
    p->api = NULL;
    p->client = NULL;
    p->config = NULL;
    p->resolver = NULL;
    p->compile = NULL;
    p->ocsp = NULL;
    p->store = NULL;
    p->publish = NULL;
}
