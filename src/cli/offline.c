/* Manifests to a snapshot in this very process. */
#include "cli/offline.h"

#include "cli/out.h"
#include "publish/publish.h"
#include "source/directory.h"
#include "source/manifest.h"
#include "stats/stats.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { DIAGNOSTICS_MAX = 1 << 20 };

#define PROGRESS_AFTER (500 * USEC_PER_MS) /* shorter work shows none */
#define PROGRESS_EVERY (100 * USEC_PER_MS)

struct progress {
    usec_t start, shown;
    bool is_terminal;
};

static void on_progress(void *arg, size_t done, size_t total)
{
    struct progress *p = arg;
    usec_t now = clock_monotonic();
    if (!p->is_terminal || now - p->start < PROGRESS_AFTER || now - p->shown < PROGRESS_EVERY) {
        return;
    }
    struct buf line;
    buf_init(&line, 128);
    buf_addf(&line, "\r\033[Kreading manifests: %zu of %zu", done, total);
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

static enum err load(struct offline *o, const char *const *paths, size_t path_n)
{
    struct progress progress = {.start = clock_monotonic(),
                                .is_terminal = isatty(STDERR_FILENO) == 1};
    struct directory_options d = {
        .parse = manifest_parse, .on_progress = on_progress, .arg = &progress};
    enum err e = directory_open(NULL, paths, path_n, o->store, &d, &o->directory);
    int error = errno;
    end_progress(&progress);
    errno = error;
    return e;
}

static enum err build(struct offline *o)
{
    int fd;
    bool is_new;
    TRY(stats_create(0, &o->stats, &fd));
    (void)close(fd); /* the map stays */
    struct publish_options p = {.control_fd = -1, .stats = o->stats};
    TRY(publish_new(&p, &o->publish));
    TRY(compile_run(o->compile, publish_add, o->publish));
    return publish_commit(o->publish, true, &is_new);
}

/* The first path that does not exist, for a message. */
static const char *missing_path(const char *const *paths, size_t path_n)
{
    for (size_t i = 0; i < path_n; i++) {
        if (access(paths[i], R_OK) != 0) {
            return paths[i];
        }
    }
    return paths[0];
}

enum err offline_open(struct offline *o, const char *const *paths, size_t path_n,
                      const struct compile_options *options)
{
    *o = (struct offline){.options = *options};
    TRY(store_new(&o->store));
    enum err e = load(o, paths, path_n);
    if (e != E_OK) {
        const char *path = missing_path(paths, path_n);
        out_complain("%s: cannot be read: %s", path,
                     e == E_NOTFOUND || e == E_SYS ? strerror(errno) : err_text(e));
        return e;
    }
    o->file_n = directory_file_n(o->directory);
    e = compile_new(o->store, &o->options, &o->compile);
    if (e == E_OK) {
        e = build(o);
    }
    if (e != E_OK) {
        out_complain("compiling failed: %s", err_text(e));
    }
    return e;
}

void offline_close(struct offline *o)
{
    publish_free(o->publish);
    stats_close(o->stats);
    compile_free(o->compile);
    directory_close(o->directory);
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
    enum err e = directory_each_diag(o->directory, diag_list_add, list);
    if (e != E_OK) {
        diag_list_free(list);
        return e;
    }
    struct filter filter = {.list = list};
    compile_each_diag(o->compile, add_unless_unresolved, &filter);
    diag_list_sort(list);
    *ret = list;
    *ret_names = filter.skipped;
    return E_OK;
}
