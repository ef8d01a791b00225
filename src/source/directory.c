/* A directory as a source: opening and closing, batches of work, timers.
 *
 *   notices, timers --> what to look at (lists of struct directory) --> work, in the loop's
 *   deferred part, WORK_TICK_MAX at a time --> nothing left: what was given up expires --> on_batch
 *
 * Notices are directory_watch.c's, what the tree looks like is directory_tree.c's, how a file is
 * read is directory_file.c's, which file an object comes from is claims.c's. */
#include "source/directory.h"

#include "base/mem.h"
#include "source/directory_priv.h"

#include <limits.h>
#include <stdlib.h>

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

/* ---- work ---- */

usec_t directory_removal_deadline(const struct directory *d)
{
    usec_t delay = DIRECTORY_REMOVE_DELAY + (d->is_polling ? d->options.check_every : 0);
    return d->loop == NULL ? 1 : loop_now(d->loop) + delay;
}

/* One file or one directory. False when there was nothing to do. */
static bool work_one(struct directory *d)
{
    if (d->is_rescan_due) {
        d->is_rescan_due = d->is_incomplete = false;
        tree_check_roots(d);
        tree_rescan(d);
        return true;
    }
    if (d->is_link_check_due) {
        d->is_link_check_due = false;
        tree_check_roots(d);
        tree_check_links(d);
        return true;
    }
    if (!list_is_empty(&d->scans)) {
        tree_scan(d, container_of(d->scans.next, struct dir_node, queue));
        return true;
    }
    if (!list_is_empty(&d->loads)) {
        file_load(d, container_of(d->loads.next, struct file_node, queue));
        return true;
    }
    return false;
}

/* False when the tick's share was over before the work was. */
static bool work_some(struct directory *d)
{
    usec_t begin = clock_monotonic(); /* not the tick's time: this measures itself */
    while (work_one(d)) {
        if (clock_monotonic() - begin >= WORK_TICK_MAX) {
            return false;
        }
    }
    return true;
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
    d->batch_begin = 0;
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
    usec_t now = loop_now(d->loop);
    d->batch_begin = d->batch_begin == 0 ? now : d->batch_begin;
    if (work_some(d) && !expire(d)) {
        batch_end(d);
        return;
    }
    directory_wake(d);
    if (now - d->batch_begin >= DIRECTORY_BATCH_MAX) {
        batch_end(d); /* changes come faster than they are read: do not wait for the end of them */
    }
}

void directory_wake(struct directory *d)
{
    if (d->loop != NULL && !d->is_loading) {
        loop_defer(d->loop, &d->work, work_run);
    }
}

/* Now and then: what no notice tells. */
static void check_due(struct timer *t)
{
    struct directory *d = container_of(t, struct directory, check_timer);
    for (struct list *it; (it = list_pop(&d->retries)) != NULL;) {
        list_append(&d->loads, it);
    }
    d->is_link_check_due = true;
    d->is_rescan_due |= d->is_polling || d->is_incomplete;
    directory_wake(d);
    loop_arm(d->loop, &d->check_timer, d->options.check_every, check_due);
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
        (void)work_one(d);
    }
    TRY(loads_sort(d, &total));
    for (size_t done = 0; work_one(d) && !d->is_out_of_memory;) {
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
    d->options.check_every = options->check_every == 0 ? DIRECTORY_CHECK : options->check_every;
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
    TRY(watch_start(d));
    TRY(load_all(d));
    d->is_over_limit = d->is_leaving_out;
    d->is_loading = d->is_changed = false;
    if (d->loop != NULL) {
        loop_arm(d->loop, &d->check_timer, d->options.check_every, check_due);
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
    }
    watch_stop(d);
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
    struct diag whole[] = {watch_polling_diag(d), directory_limit_diag(d)};
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
