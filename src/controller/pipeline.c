/* Directory -> store -> compile -> publish, driven by the loop. */
#include "controller/pipeline.h"

#include "log/log.h"
#include "source/manifest.h"

#include <errno.h>
#include <string.h>

/* ---- diagnostics ---- */

enum err pipeline_each_diag(void *pipeline, diag_fn *fn, void *fn_arg)
{
    struct pipeline *p = pipeline;
    if (p->directory != NULL) {
        TRY(directory_each_diag(p->directory, fn, fn_arg));
    }
    if (p->compile != NULL) {
        compile_each_diag(p->compile, fn, fn_arg);
    }
    return E_OK;
}

static void on_sweep(struct timer *t)
{
    struct pipeline *p = container_of(t, struct pipeline, sweep);
    diagnostics_sweep(&p->diagnostics, pipeline_each_diag, p);
}

static void on_directory_diag(void *arg, const struct diag *d)
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

/* ---- the snapshot file ---- */

static void save(struct pipeline *p)
{
    enum err e = publish_save(p->publish, p->options->snapshot_file);
    if (e == E_OK) {
        p->has_save_failed = false;
    } else if (!p->has_save_failed) {
        p->has_save_failed = true;
        log_line(LOG_WARN, "the snapshot file cannot be written file=%s error=\"%s\"",
                 p->options->snapshot_file, e == E_SYS ? strerror(errno) : err_text(e));
    }
}

static void on_save(struct timer *t)
{
    save(container_of(t, struct pipeline, save));
}

/* Serves what was saved until the objects are read. */
static enum err load(struct pipeline *p)
{
    struct snapshot_fault fault = {0};
    const char *file = p->options->snapshot_file;
    enum err e = publish_load(p->publish, file, &fault);
    switch (e) {
    case E_OK:
        log_line(LOG_INFO, "serving the saved snapshot until the objects are read file=%s", file);
        return E_OK;
    case E_NOTFOUND:
        return E_OK; /* the first start */
    case E_CLOSED:
        return E_CLOSED;
    case E_AGAIN:
    case E_PROTO:
    case E_LIMIT:
    case E_NOMEM:
    case E_REFUSED:
    case E_TIMEOUT:
    case E_SYS:
        log_line(LOG_WARN,
                 "the snapshot file cannot be used; starting without it file=%s "
                 "error=\"%s\"",
                 file, fault.what != NULL ? fault.what : err_text(e));
        return E_OK;
    }
    return E_OK;
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
    if (is_new && p->options->snapshot_file != NULL) {
        loop_arm(p->loop, &p->save, PIPELINE_SAVE_DELAY, on_save);
    }
    loop_arm(p->loop, &p->sweep, PIPELINE_SWEEP, on_sweep);
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

static enum err compile_and_commit(struct pipeline *p, bool *ret_is_new)
{
    enum err e = compile_run(p->compile, publish_add, p->publish);
    if (e != E_OK) {
        complain(p, "compiling failed", e);
        return e;
    }
    want_names(p);
    e = publish_commit(p->publish, !p->has_whole, ret_is_new);
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
        p->has_whole = true;
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

void pipeline_flush(struct pipeline *p)
{
    enum err e = publish_flush(p->publish);
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

static void on_open_retry(struct timer *t);

static enum err open_directory(struct pipeline *p)
{
    struct directory_options o = {
        .parse = manifest_parse, .on_diag = on_directory_diag, .on_batch = on_batch, .arg = p};
    return directory_open(p->loop, &p->options->manifests, 1, p->store, &o, &p->directory);
}

void pipeline_start(struct pipeline *p)
{
    usec_t start = clock_monotonic();
    enum err e = open_directory(p);
    if (e != E_OK) {
        complain(p, "the directory of manifests cannot be read", e);
        loop_arm(p->loop, &p->open_retry, PIPELINE_RETRY, on_open_retry);
        return;
    }
    p->has_complained = false;
    log_line(LOG_INFO, "manifests are read directory=%s files=%zu ms=%llu", p->options->manifests,
             directory_file_n(p->directory),
             (unsigned long long)((clock_monotonic() - start) / USEC_PER_MS));
    schedule(p);
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

static enum err make(struct pipeline *p)
{
    const struct pipeline_options *o = p->options;
    struct publish_options publish = {
        .control_fd = o->control_fd, .stats = o->stats, .on_refused = on_refused, .arg = p};
    TRY(publish_new(&publish, &p->publish));
    if (o->snapshot_file != NULL) {
        TRY(load(p));
    }
    TRY(store_new(&p->store));
    TRY(compile_new(p->store, &o->compile, &p->compile));
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
    if (list_is_linked(&p->save.link)) {
        save(p);
    }
    loop_disarm(p->loop, &p->pause);
    loop_disarm(p->loop, &p->open_retry);
    loop_disarm(p->loop, &p->sweep);
    loop_disarm(p->loop, &p->save);
    loop_undefer(&p->work);
    directory_close(p->directory);
    resolver_free(p->resolver);
    compile_free(p->compile);
    store_free(p->store);
    publish_free(p->publish);
    diagnostics_fini(&p->diagnostics);
    p->directory = NULL;
    p->resolver = NULL;
    p->compile = NULL;
    p->store = NULL;
    p->publish = NULL;
}
