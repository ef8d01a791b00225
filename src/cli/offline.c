/* Objects to a snapshot in this very process. */
#include "cli/offline.h"

#include "cli/out.h"
#include "log/log.h"
#include "publish/publish.h"
#include "source/directory.h"
#include "source/manifest.h"
#include "stats/stats.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { DIAGNOSTICS_MAX = 1 << 20, CONFIG_DIAG_BYTES_MAX = 4096 };

#define PROGRESS_AFTER   (500 * USEC_PER_MS) /* shorter work shows none */
#define PROGRESS_EVERY   (100 * USEC_PER_MS)
#define CLUSTER_DEADLINE (120 * USEC_PER_SEC) /* for all lists */

struct progress {
    usec_t start, shown;
    bool is_terminal;
};

/* total 0: nobody knows. */
static void on_progress(void *arg, size_t done, size_t total)
{
    struct progress *p = arg;
    usec_t now = clock_monotonic();
    if (!p->is_terminal || now - p->start < PROGRESS_AFTER || now - p->shown < PROGRESS_EVERY) {
        return;
    }
    struct buf line;
    buf_init(&line, 128);
    if (total > 0) {
        buf_addf(&line, "\r\033[Kreading manifests: %zu of %zu", done, total);
    } else {
        buf_addf(&line, "\r\033[Kreading from the cluster: %zu objects", done);
    }
    (void)out_write(STDERR_FILENO, buf_str(&line)); /* only decoration */
    buf_fini(&line);
    p->shown = now;
}

static void end_progress(const struct progress *p)
{
    if (p->shown > 0) {
        (void)out_write(STDERR_FILENO, STR("\r\033[K")); /* only decoration */
    }
}

/* ---- manifests ---- */

/* The first path that does not exist, for a message. */
static const char *missing_path(const struct offline_source *source)
{
    for (size_t i = 0; i < source->path_n; i++) {
        if (access(source->paths[i], R_OK) != 0) {
            return source->paths[i];
        }
    }
    return source->paths[0];
}

static enum err load_manifests(struct offline *o, const struct offline_source *source,
                               struct progress *progress)
{
    struct directory_options d = {
        .parse = manifest_parse, .on_progress = on_progress, .arg = progress};
    enum err e = directory_open(NULL, source->paths, source->path_n, o->store, &d, &o->directory);
    int error = errno;
    end_progress(progress);
    if (e != E_OK) {
        out_complain("%s: cannot be read: %s", missing_path(source),
                     e == E_NOTFOUND || e == E_SYS ? strerror(error) : err_text(e));
        return e;
    }
    o->file_n = directory_file_n(o->directory);
    return E_OK;
}

/* ---- a cluster ---- */

static void tell_config(void *arg, const struct diag *d)
{
    struct buf text;
    (void)arg;
    buf_init(&text, CONFIG_DIAG_BYTES_MAX);
    diag_emit_text(&text, d);
    out_complain("%.*s", STR_ARG(buf_str(&text)));
    buf_fini(&text);
}

static size_t object_n(const struct api *a)
{
    size_t n = 0;
    for (int i = 0; i < API_RESOURCES_N; i++) {
        struct api_figures f;
        api_figures(a, (enum api_resource)i, &f);
        n += f.objects;
    }
    return n;
}

/* Until every list is there. Errors: E_REFUSED (told why), E_TIMEOUT, E_SYS. */
static enum err lists_wait(struct offline *o, struct progress *progress)
{
    while (!api_is_synced(o->api) && api_trouble(o->api) == NULL) {
        if (clock_monotonic() - progress->start > CLUSTER_DEADLINE) {
            return E_TIMEOUT;
        }
        TRY(loop_step(o->loop, PROGRESS_EVERY));
        on_progress(progress, object_n(o->api), 0);
    }
    return api_is_synced(o->api) ? E_OK : E_REFUSED;
}

static enum err api_start(struct offline *o, const struct offline_source *source)
{
    struct api_options options = source->api;
    TRY(kube_config_load(source->kubeconfig, source->context, tell_config, NULL, &o->config));
    TRY(loop_new(&o->loop));
    TRY(kube_client_new(o->loop, o->config, &o->client));
    options.client = o->client;
    return api_open(o->loop, o->store, &options, &o->api);
}

static enum err load_cluster(struct offline *o, const struct offline_source *source,
                             struct progress *progress)
{
    log_init("lintel", LOG_ERROR); /* what is wrong is told here */
    enum err e = api_start(o, source);
    if (e != E_OK) {
        out_complain("%s: cannot be used: %s", source->kubeconfig,
                     e == E_NOTFOUND || e == E_SYS ? strerror(errno) : err_text(e));
        return e;
    }
    e = lists_wait(o, progress);
    end_progress(progress);
    if (e != E_OK) {
        const char *why = api_trouble(o->api);
        out_complain("the cluster cannot be read: %s", why != NULL ? why : err_text(e));
    }
    return e;
}

/* ---- the whole ---- */

/* A compile_shard_fn: secrets are nobody's to see. */
static enum err shard_take(void *publish, const struct snap_shard *shard)
{
    return shard->kind >= SNAP_SECRET_FIRST ? E_OK : publish_add(publish, shard);
}

/* Secrets of a cluster are not read here. */
static bool is_secret_unknown(const void *arg, struct str namespace_name, struct str name)
{
    (void)arg, (void)namespace_name, (void)name;
    return true;
}

static enum err build(struct offline *o)
{
    int fd;
    bool is_new;
    TRY(stats_create(0, &o->stats, &fd));
    (void)close(fd); /* the map stays */
    struct publish_options p = {.control_fd = -1, .stats = o->stats};
    TRY(publish_new(&p, &o->publish));
    TRY(compile_run(o->compile, shard_take, o->publish));
    return publish_commit(o->publish, true, &is_new);
}

enum err offline_open(struct offline *o, const struct offline_source *source,
                      const struct compile_options *options)
{
    struct progress progress = {.start = clock_monotonic(),
                                .is_terminal = isatty(STDERR_FILENO) == 1};
    *o = (struct offline){.options = *options};
    TRY(store_new(&o->store));
    enum err e = source->kubeconfig != NULL ? load_cluster(o, source, &progress)
                                            : load_manifests(o, source, &progress);
    TRY(e);
    e = compile_new(o->store, &o->options, &o->compile);
    if (e == E_OK) {
        if (o->api != NULL) {
            compile_on_pending(o->compile, is_secret_unknown, NULL);
        }
        compile_set_time(o->compile, (int64_t)(clock_wall() / USEC_PER_SEC));
        compile_hide_classes(o->compile, o->api != NULL && api_are_classes_hidden(o->api));
        e = build(o);
    }
    if (e != E_OK) {
        out_complain("compiling failed: %s", err_text(e));
    }
    return e;
}

enum err offline_refresh(struct offline *o)
{
    bool is_new;
    compile_on_pending(o->compile, NULL, NULL);
    TRY(compile_run(o->compile, shard_take, o->publish));
    return publish_commit(o->publish, false, &is_new);
}

void offline_close(struct offline *o)
{
    publish_free(o->publish);
    stats_close(o->stats);
    compile_free(o->compile);
    directory_close(o->directory);
    api_close(o->api);
    kube_client_free(o->client);
    kube_config_free(o->config);
    loop_free(o->loop);
    store_free(o->store);
    *o = (struct offline){0};
}

const struct snapshot *offline_snapshot(const struct offline *o)
{
    return publish_state(o->publish);
}

/* No name was looked up: that one has no address says nothing. */
static bool is_for_want_of_resolver(const struct diag *d)
{
    return d->reason == DIAG_ExternalNameUnresolved && d->severity == DIAG_WARNING;
}

struct filter {
    struct diag_list *list;
    size_t skipped;
};

static void add_unless_unresolved(void *arg, const struct diag *d)
{
    struct filter *f = arg;
    if (is_for_want_of_resolver(d)) {
        f->skipped++;
    } else {
        diag_list_add(f->list, d);
    }
}

enum err offline_diagnostics(const struct offline *o, struct diag_list **ret, size_t *ret_names)
{
    struct diag_list *list;
    TRY(diag_list_new(DIAGNOSTICS_MAX, &list));
    enum err e =
        o->directory == NULL ? E_OK : directory_each_diag(o->directory, diag_list_add, list);
    if (e != E_OK) {
        diag_list_free(list);
        return e;
    }
    if (o->api != NULL) {
        api_each_diag(o->api, diag_list_add, list);
    }
    struct filter filter = {.list = list};
    compile_each_diag(o->compile, add_unless_unresolved, &filter);
    diag_list_sort(list);
    *ret = list;
    *ret_names = filter.skipped;
    return E_OK;
}
