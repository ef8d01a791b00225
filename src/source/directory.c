/* A directory as a source: opening and closing, batches of work, notices, timers.
 *
 *   notices, timers --> what to look at (lists of struct directory) --> work, in the loop's
 *   deferred part, WORK_PER_TICK at a time --> nothing left: what was given up expires --> on_batch
 *
 * What the tree looks like is directory_tree.c's, how a file is read is directory_file.c's, which
 * file an object comes from is claims.c's. */
#include "source/directory.h"

#include "base/mem.h"
#include "os/inotify.h"
#include "source/directory_priv.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* ---- what is wrong with the whole ---- */

struct diag directory_limit_diag(const struct directory *d)
{
    return (struct diag){.severity = DIAG_ERROR,
                         .reason = DIAG_LimitReached,
                         .file = d->roots[0],
                         .what = STR("is left out, and maybe others with it"),
                         .why = STR("there are more manifest files than Lintel takes"),
                         .mend = STR("put several objects into one file")};
}

static struct diag polling_diag(const struct directory *d)
{
    return (struct diag){.severity = DIAG_WARNING,
                         .reason = DIAG_LimitReached,
                         .file = d->roots[0],
                         .what = STR("is looked through every second for changes"),
                         .why = STR("the kernel has no inotify watches left for it"),
                         .mend = STR("raise fs.inotify.max_user_watches and max_user_instances")};
}

void directory_start_polling(struct directory *d)
{
    if (!d->is_polling) {
        struct diag diag = polling_diag(d);
        d->is_polling = true;
        directory_tell(d, &diag);
    }
}

/* ---- work ---- */

usec_t directory_removal_deadline(const struct directory *d)
{
    usec_t delay = DIRECTORY_REMOVE_DELAY + (d->is_polling ? DIRECTORY_CHECK : 0);
    return d->loop == NULL ? 1 : loop_now(d->loop) + delay;
}

/* One piece of work; returns what it cost, 0 when there was none. */
static size_t work_one(struct directory *d)
{
    if (d->is_rescan_due) {
        d->is_rescan_due = d->is_incomplete = false;
        tree_check_roots(d);
        tree_rescan(d);
        return 1;
    }
    if (d->is_link_check_due) {
        d->is_link_check_due = false;
        tree_check_roots(d);
        tree_check_links(d);
        return 1;
    }
    if (!list_is_empty(&d->scans)) {
        return tree_scan(d, container_of(d->scans.next, struct dir_node, queue));
    }
    if (!list_is_empty(&d->loads)) {
        file_load(d, container_of(d->loads.next, struct file_node, queue));
        return 1;
    }
    return 0;
}

/* False when the budget did not suffice. */
static bool work_some(struct directory *d, size_t budget)
{
    for (size_t spent = 0; spent < budget;) {
        size_t cost = work_one(d);
        if (cost == 0) {
            return true;
        }
        spent += cost;
    }
    return false;
}

/* Drops what was given up and is due, but never while a root is away. True: there is new work. */
static bool expire(struct directory *d)
{
    usec_t due = claims_next_deadline(d->claims);
    if (due != 0 && due <= loop_now(d->loop)) {
        tree_check_roots(d);
        if (d->root_gone_n == 0 && claims_expire(d->claims, loop_now(d->loop))) {
            d->is_changed = true;
        }
    }
    tree_reap(d);
    return !list_is_empty(&d->scans) || !list_is_empty(&d->loads);
}

static void expire_due(struct timer *t)
{
    directory_wake(container_of(t, struct directory, expire_timer));
}

static void settle_due(struct timer *t)
{
    struct directory *d = container_of(t, struct directory, settle_timer);
    struct list waiting;
    list_init(&waiting);
    for (struct list *it; (it = list_pop(&d->waiting)) != NULL;) {
        list_append(&waiting, it);
    }
    for (struct list *it; (it = list_pop(&waiting)) != NULL;) { /* back or on into loads */
        tree_check_node(d, &container_of(it, struct file_node, queue)->node);
    }
    directory_wake(d);
}

static void arm_timers(struct directory *d)
{
    usec_t now = loop_now(d->loop);
    usec_t due = claims_next_deadline(d->claims);
    if (due != 0 && d->root_gone_n == 0) {
        loop_arm(d->loop, &d->expire_timer, due > now ? due - now : 0, expire_due);
    }
    if (!list_is_empty(&d->waiting) && !list_is_linked(&d->settle_timer.link)) {
        loop_arm(d->loop, &d->settle_timer, DIRECTORY_SETTLE / 4, settle_due);
    }
}

static void batch_end(struct directory *d)
{
    d->is_over_limit = d->is_leaving_out;
    arm_timers(d);
    if (d->is_changed) {
        d->is_changed = false;
        if (d->options.on_batch != NULL) {
            d->options.on_batch(d->options.arg);
        }
    }
}

static void work_run(struct deferred *deferred)
{
    struct directory *d = container_of(deferred, struct directory, work);
    if (!work_some(d, WORK_PER_TICK) || expire(d)) {
        directory_wake(d);
    } else {
        batch_end(d);
    }
}

void directory_wake(struct directory *d)
{
    if (d->loop != NULL && !d->is_loading) {
        loop_defer(d->loop, &d->work, work_run);
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

static bool watch_eq(const void *value, const void *key)
{
    return ((const struct watched *)value)->watch == *(const int *)key;
}

static void on_notice(void *arg, int watch, uint32_t mask, struct str name)
{
    struct directory *d = arg;
    if ((mask & IN_Q_OVERFLOW) != 0) {
        d->is_rescan_due = d->is_link_check_due = true;
        directory_wake(d);
        return;
    }
    struct watched *w = map_get(&d->watches, (uint64_t)watch, watch_eq, &watch);
    if (w != NULL) {
        d->dispatching = w;
        watched_happened(d, w, mask, name);
        d->dispatching = NULL;
        tree_drop_watched(d, w);
    }
}

static void on_inotify(struct watch *watch, uint32_t events)
{
    (void)events;
    struct directory *d = container_of(watch, struct directory, inotify);
    if (inotify_each(d->inotify_fd, on_notice, d) != E_OK) {
        directory_start_polling(d);
    }
}

/* Every DIRECTORY_CHECK: what no notice tells. */
static void check_due(struct timer *t)
{
    struct directory *d = container_of(t, struct directory, check_timer);
    for (struct list *it; (it = list_pop(&d->retries)) != NULL;) {
        list_append(&d->loads, it);
    }
    d->is_link_check_due = true;
    d->is_rescan_due |= d->is_polling || d->is_incomplete;
    directory_wake(d);
    loop_arm(d->loop, &d->check_timer, DIRECTORY_CHECK, check_due);
}

/* ---- life ---- */

static enum err roots_copy(struct directory *d, const char *const *paths, size_t path_n)
{
    d->roots = arena_calloc(&d->arena, path_n, sizeof(*d->roots));
    if (d->roots == NULL) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < path_n; i++) {
        struct str path = str_from_cstr(paths[i]);
        while (path.n > 1 && path.p[path.n - 1] == '/') {
            path.n--;
        }
        if (path.n >= PATH_MAX) {
            return E_LIMIT;
        }
        if (!arena_str(&d->arena, path, &d->roots[i])) {
            return E_NOMEM;
        }
    }
    d->root_n = path_n;
    return E_OK;
}

static enum err notices_start(struct directory *d)
{
    if (d->loop == NULL) {
        return E_OK;
    }
    if (inotify_open(&d->inotify_fd) != E_OK) {
        directory_start_polling(d);
        return E_OK;
    }
    return loop_watch_level(d->loop, &d->inotify, d->inotify_fd, EPOLLIN, on_inotify);
}

static int compare_files(const void *a, const void *b)
{
    const struct file_node *const *left = a;
    const struct file_node *const *right = b;
    return str_cmp((*left)->node.path, (*right)->node.path);
}

static size_t list_count(const struct list *l)
{
    size_t n = 0;
    for (const struct list *it = l->next; it != l; it = it->next) {
        n++;
    }
    return n;
}

/* By path, so that the first of two places is mostly read first. */
static enum err loads_sort(struct directory *d, size_t *ret_n)
{
    size_t n = list_count(&d->loads);
    *ret_n = n;
    if (n == 0) {
        return E_OK;
    }
    struct file_node **files = mem_calloc(n, sizeof(struct file_node *));
    if (files == NULL) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        files[i] = container_of(list_pop(&d->loads), struct file_node, queue);
    }
    qsort(files, n, sizeof(struct file_node *), compare_files);
    for (size_t i = 0; i < n; i++) {
        list_append(&d->loads, &files[i]->queue);
    }
    mem_free(files);
    return E_OK;
}

static enum err load_all(struct directory *d)
{
    size_t total;
    for (size_t i = 0; i < d->root_n; i++) {
        TRY(tree_add_root(d, d->roots[i]));
    }
    while (!list_is_empty(&d->scans)) {
        (void)work_one(d); /* its cost does not matter here */
    }
    TRY(loads_sort(d, &total));
    for (size_t done = 0; work_one(d) != 0 && !d->is_out_of_memory;) {
        done++;
        if (d->options.on_progress != NULL) {
            d->options.on_progress(d->options.arg, done, done > total ? done : total);
        }
    }
    return d->is_out_of_memory ? E_NOMEM : E_OK;
}

static void reload(void *arg, struct claim_source *source)
{
    struct directory *d = arg;
    file_queue(container_of(source, struct file_node, source), &d->loads);
    directory_wake(d);
}

static struct directory *directory_alloc(struct loop *loop, const struct directory_options *options)
{
    struct directory *d = mem_calloc(1, sizeof(*d));
    if (d == NULL) {
        return NULL;
    }
    d->loop = loop;
    d->options = *options;
    d->is_loading = true;
    d->inotify_fd = -1;
    d->inotify.fd = -1;
    struct list *heads[] = {&d->scans, &d->loads, &d->waiting, &d->retries, &d->gone, &d->links};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        list_init(heads[i]);
    }
    arena_init(&d->arena, SIZE_MAX / 2);
    buf_init(&d->content, CONTENT_BYTES_MAX);
    return d;
}

static enum err directory_start(struct directory *d, const char *const *paths, size_t path_n,
                                struct store *store)
{
    TRY(claims_new(store, reload, d, &d->claims));
    TRY(roots_copy(d, paths, path_n));
    TRY(notices_start(d));
    TRY(load_all(d));
    d->is_over_limit = d->is_leaving_out;
    d->is_loading = d->is_changed = false;
    if (d->loop != NULL) {
        loop_arm(d->loop, &d->check_timer, DIRECTORY_CHECK, check_due);
    }
    return E_OK;
}

enum err directory_open(struct loop *loop, const char *const *paths, size_t path_n,
                        struct store *store, const struct directory_options *options,
                        struct directory **ret)
{
    must(path_n > 0 && options->parse != NULL);
    struct directory *d = directory_alloc(loop, options);
    if (d == NULL) {
        return E_NOMEM;
    }
    enum err error = directory_start(d, paths, path_n, store);
    if (error != E_OK) {
        directory_close(d);
        return error;
    }
    *ret = d;
    return E_OK;
}

void directory_close(struct directory *d)
{
    if (d == NULL) {
        return;
    }
    if (d->loop != NULL) {
        loop_disarm(d->loop, &d->expire_timer);
        loop_disarm(d->loop, &d->settle_timer);
        loop_disarm(d->loop, &d->check_timer);
        loop_undefer(&d->work);
        loop_unwatch(d->loop, &d->inotify);
    }
    if (d->inotify_fd >= 0) {
        (void)close(d->inotify_fd); /* its watches go with it */
    }
    claims_free(d->claims);
    tree_free(d);
    arena_fini(&d->arena);
    buf_fini(&d->content);
    mem_free(d);
}

/* ---- looking at it ---- */

static int compare_nodes(const void *a, const void *b)
{
    const struct node *const *left = a;
    const struct node *const *right = b;
    return str_cmp((*left)->path, (*right)->path);
}

static void node_each_diag(const struct node *node, diag_fn *fn, void *arg)
{
    for (size_t i = 0; node->diags != NULL && i < diag_list_n(node->diags); i++) {
        fn(arg, diag_list_get(node->diags, i));
    }
    if (node->type == NODE_FILE && !node->is_gone) {
        const struct file_node *f = (const void *)node; /* it begins with the node */
        claims_each_duplicate(&f->source, fn, arg);
    }
}

enum err directory_each_diag(const struct directory *d, diag_fn *fn, void *arg)
{
    size_t n = 0;
    struct diag whole[] = {polling_diag(d), directory_limit_diag(d)};
    const struct node **nodes = mem_calloc(d->nodes.n + 1, sizeof(*nodes));
    if (nodes == NULL) {
        return E_NOMEM;
    }
    map_each(slot, &d->nodes)
    {
        nodes[n++] = slot->value;
    }
    qsort(nodes, n, sizeof(*nodes), compare_nodes);
    if (d->is_polling) {
        fn(arg, &whole[0]);
    }
    if (d->is_over_limit) {
        fn(arg, &whole[1]);
    }
    for (size_t i = 0; i < n; i++) {
        node_each_diag(nodes[i], fn, arg);
    }
    mem_free(nodes);
    return E_OK;
}

size_t directory_file_n(const struct directory *d)
{
    return d->file_n;
}

size_t directory_read_n(const struct directory *d)
{
    return d->read_n;
}

bool directory_is_polling(const struct directory *d)
{
    return d->is_polling;
}
