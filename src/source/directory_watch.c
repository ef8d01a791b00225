/* Notices of changes: which directories are watched, and what to look at when the kernel tells.
 * One directory may be reached by several paths; inotify gives it one number, so each number has a
 * list of directories. When notices cannot be had for one of them, the whole is polled. */
#include "base/mem.h"
#include "os/inotify.h"
#include "source/directory_priv.h"

#include <sys/epoll.h>
#include <unistd.h>

/* ---- without notices ---- */

struct diag watch_polling_diag(const struct directory *d)
{
    return (struct diag){.severity = DIAG_WARNING,
                         .reason = DIAG_LimitReached,
                         .file = d->roots[0],
                         .what = STR("is looked through every second for changes"),
                         .why = STR("the kernel has no inotify watches left for it"),
                         .mend = STR("raise fs.inotify.max_user_watches and max_user_instances")};
}

static void start_polling(struct directory *d)
{
    if (!d->is_polling) {
        struct diag diag = watch_polling_diag(d);
        d->is_polling = true;
        directory_tell(d, &diag);
    }
}

/* ---- which directories ---- */

static void watched_drop(struct directory *d, struct watched *w)
{
    if (!list_is_empty(&w->dirs)) {
        return;
    }
    if (w->watch >= 0) {
        inotify_unwatch(d->inotify_fd, w->watch);
        must(map_del(&d->watches, (uint64_t)w->watch, w));
    }
    d->watch_n--;
    mem_free(w);
}

void watch_leave(struct directory *d, struct dir_node *dir)
{
    struct watched *w = dir->watched;
    dir->watched = NULL;
    list_del(&dir->in_watched);
    if (w != NULL && w != d->dispatching) {
        watched_drop(d, w);
    }
}

static bool watched_eq(const void *value, const void *key)
{
    return ((const struct watched *)value)->watch == *(const int *)key;
}

static enum err watched_for(struct directory *d, int watch, struct watched **ret)
{
    struct watched *w = map_get(&d->watches, (uint64_t)watch, watched_eq, &watch);
    if (w != NULL) {
        *ret = w;
        return E_OK;
    }
    TRY(map_reserve(&d->watches, 1));
    w = mem_calloc(1, sizeof(*w));
    if (w == NULL) {
        return E_NOMEM;
    }
    w->watch = watch;
    list_init(&w->dirs);
    must(map_add(&d->watches, (uint64_t)watch, w) == E_OK); /* room was made */
    d->watch_n++;
    *ret = w;
    return E_OK;
}

static enum err dir_watch(struct directory *d, struct dir_node *dir)
{
    int watch;
    struct watched *w;
    if (d->options.watches_max != 0 && d->watch_n >= d->options.watches_max) {
        return E_LIMIT;
    }
    TRY(inotify_watch_directory(d->inotify_fd, dir->node.path.p, &watch));
    enum err error = watched_for(d, watch, &w);
    if (error != E_OK) {
        inotify_unwatch(d->inotify_fd, watch);
        return error;
    }
    if (dir->watched != w) {
        watch_leave(d, dir);
        dir->watched = w;
        list_append(&w->dirs, &dir->in_watched);
    }
    return E_OK;
}

void watch_enter(struct directory *d, struct dir_node *dir)
{
    if (d->inotify_fd < 0) {
        return;
    }
    switch (dir_watch(d, dir)) {
    case E_OK:
    case E_NOTFOUND: /* its parent tells */
    case E_REFUSED:  /* the scan tells */
        return;
    case E_NOMEM:
        d->is_incomplete = d->is_out_of_memory = true;
        return;
    case E_LIMIT:
    case E_SYS:
    case E_AGAIN:
    case E_CLOSED:
    case E_PROTO:
    case E_TIMEOUT:
        start_polling(d);
        return;
    }
}

/* ---- notices ---- */

/* The kernel has ended the watch: the directory is gone or unmounted. */
static void watch_ended(struct directory *d, struct watched *w)
{
    must(map_del(&d->watches, (uint64_t)w->watch, w));
    w->watch = -1;
    for (struct list *it; (it = list_pop(&w->dirs)) != NULL;) {
        struct dir_node *dir = container_of(it, struct dir_node, in_watched);
        dir->watched = NULL;
        tree_check_node(d, &dir->node);
    }
}

static void watched_happened(struct directory *d, struct watched *w, uint32_t mask, struct str name)
{
    bool is_certain = (mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0;
    if ((mask & IN_IGNORED) != 0) {
        watch_ended(d, w);
        return;
    }
    if (name.n > 0 && name_is_hidden(name)) {
        d->is_link_check_due = true; /* visible links may lead through it: ..data */
        directory_wake(d);
        return;
    }
    list_each(it, &w->dirs)
    {
        struct dir_node *dir = container_of(it, struct dir_node, in_watched);
        if (name.n == 0) {
            tree_check_node(d, &dir->node);
        } else {
            tree_check_name(d, dir, name, is_certain);
        }
    }
}

static void on_notice(void *arg, int watch, uint32_t mask, struct str name)
{
    struct directory *d = arg;
    if ((mask & IN_Q_OVERFLOW) != 0) {
        d->is_rescan_due = d->is_link_check_due = true;
        directory_wake(d);
        return;
    }
    struct watched *w = map_get(&d->watches, (uint64_t)watch, watched_eq, &watch);
    if (w != NULL) {
        d->dispatching = w;
        watched_happened(d, w, mask, name);
        d->dispatching = NULL;
        watched_drop(d, w);
    }
}

static void on_inotify(struct watch *watch, uint32_t events)
{
    (void)events;
    struct directory *d = container_of(watch, struct directory, inotify);
    if (inotify_each(d->inotify_fd, on_notice, d) != E_OK) {
        start_polling(d);
    }
}

/* ---- life ---- */

enum err watch_start(struct directory *d)
{
    if (d->loop == NULL) {
        return E_OK;
    }
    if (inotify_open(&d->inotify_fd) != E_OK) {
        start_polling(d);
        return E_OK;
    }
    return loop_watch_level(d->loop, &d->inotify, d->inotify_fd, EPOLLIN, on_inotify);
}

void watch_stop(struct directory *d)
{
    if (d->inotify_fd >= 0) {
        loop_unwatch(d->loop, &d->inotify);
        (void)close(d->inotify_fd); /* its watches go with it */
    }
    map_each(slot, &d->watches)
    {
        mem_free(slot->value);
    }
    map_fini(&d->watches);
}
