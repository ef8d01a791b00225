/* The tree of what is below the roots: directories, links to them, manifest files; scanning and
 * watching directories. A directory is watched first and scanned then, so nothing slips through.
 * Gone files stay in the tree until their claims are over, gone directories until they are empty.
 * A directory that is one of its own ancestors (by device and inode) is not entered. */
#include "base/mem.h"
#include "source/directory_priv.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

/* ---- nodes ---- */

struct node_key {
    struct str path;
    enum node_type type;
};

static bool node_eq(const void *value, const void *key_arg)
{
    const struct node *node = value;
    const struct node_key *key = key_arg;
    return node->type == key->type && str_eq(node->path, key->path);
}

static struct node *node_find(const struct directory *d, struct str path, enum node_type type)
{
    return map_get(&d->nodes, hash_str(path), node_eq, &(struct node_key){path, type});
}

static struct file_node *file_of(struct node *node)
{
    return node != NULL && node->type == NODE_FILE ? container_of(node, struct file_node, node)
                                                   : NULL;
}

static struct dir_node *dir_of(struct node *node)
{
    return node != NULL && node->type == NODE_DIRECTORY ? container_of(node, struct dir_node, node)
                                                        : NULL;
}

/* Both types begin with the node; the path stands behind. */
static enum err node_new(struct directory *d, enum node_type type, struct str path,
                         struct dir_node *parent, struct node **ret)
{
    size_t size = type == NODE_FILE ? sizeof(struct file_node) : sizeof(struct dir_node);
    TRY(map_reserve(&d->nodes, 1));
    struct node *node = mem_calloc(1, size + path.n + 1);
    if (node == NULL) {
        return E_NOMEM;
    }
    char *text = (char *)node + size;
    mem_copy(text, path.p, path.n);
    node->type = type;
    node->path = str_make(text, path.n);
    node->hash = hash_str(path);
    node->parent = parent;
    must(map_add(&d->nodes, node->hash, node) == E_OK); /* room was made */
    if (parent != NULL) {
        list_append(&parent->children, &node->sibling);
    }
    *ret = node;
    return E_OK;
}

static void node_free(struct directory *d, struct node *node)
{
    must(map_del(&d->nodes, node->hash, node));
    list_del(&node->sibling);
    list_del(&node->in_links);
    diag_list_free(node->diags);
    mem_free(node);
}

/* ---- going away ---- */

void tree_file_gone(struct directory *d, struct file_node *f)
{
    if (f->node.is_gone) {
        return;
    }
    f->node.is_gone = true;
    d->file_n--;
    d->is_incomplete |= d->is_over_limit; /* there is room for one that was left out */
    list_del(&f->node.in_links);
    node_clear_diags(d, &f->node);
    claims_give_up(d->claims, &f->source, directory_removal_deadline(d));
    file_queue(f, &d->gone);
    directory_wake(d);
}

/* Frees dir and those above it when nothing is left in them. */
static void dir_reap(struct directory *d, struct dir_node *dir)
{
    while (dir != NULL && dir->node.is_gone && list_is_empty(&dir->children)) {
        struct dir_node *parent = dir->node.parent;
        if (parent == NULL) {
            return; /* a root waits to come back */
        }
        node_free(d, &dir->node);
        dir = parent;
    }
}

/* node may be freed; NULL: nothing to do. Recursion ends at DIRECTORY_DEPTH_MAX. */
static void node_gone(struct directory *d, struct node *node)
{
    if (file_of(node) != NULL) {
        tree_file_gone(d, file_of(node));
        return;
    }
    struct dir_node *dir = dir_of(node);
    if (dir == NULL || node->is_gone || node->parent == NULL) {
        return; /* what becomes of a root is check_root()'s */
    }
    d->dir_n--;
    watch_leave(d, dir);
    list_del(&dir->queue);
    list_del(&node->in_links);
    list_each(it, &dir->children)
    {
        node_gone(d, container_of(it, struct node, sibling));
    }
    node->is_gone = true; /* not before: a child must not free it */
    dir_reap(d, dir);
}

void tree_reap(struct directory *d)
{
    list_each(it, &d->gone)
    {
        struct file_node *f = container_of(it, struct file_node, queue);
        if (!claim_source_is_empty(&f->source)) {
            return; /* those behind it went later */
        }
        struct dir_node *parent = f->node.parent;
        list_del(&f->queue);
        node_free(d, &f->node);
        dir_reap(d, parent);
    }
}

/* ---- coming in ---- */

struct look {        /* how to look at something */
    bool is_certain; /* a notice says that its content is complete */
    bool is_deep;    /* into directories known already, too */
};

static void dir_queue(struct directory *d, struct dir_node *dir, struct look how)
{
    dir->is_deep |= how.is_deep;
    dir->is_certain |= how.is_certain;
    list_del(&dir->queue);
    list_append(&d->scans, &dir->queue);
    directory_wake(d);
}

static void dir_refuse(struct directory *d, struct dir_node *dir, int error, struct str what,
                       struct str mend)
{
    if (dir->node.error != error) {
        node_clear_diags(d, &dir->node);
        node_report(d, &dir->node, DIAG_ERROR, DIAG_LimitReached, what,
                    STR("directories are followed to a depth of 32, each once on the way"), mend);
        dir->node.error = error;
    }
}

/* True when dir may be entered. */
static bool dir_is_allowed(struct directory *d, struct dir_node *dir)
{
    const struct identity *self = &dir->node.identity;
    if (dir->depth > DIRECTORY_DEPTH_MAX) {
        dir_refuse(d, dir, ENAMETOOLONG, STR("lies too deep"), STR("move it up"));
        return false;
    }
    for (const struct dir_node *up = dir->node.parent; up != NULL; up = up->node.parent) {
        if (up->node.identity.dev == self->dev && up->node.identity.ino == self->ino) {
            dir_refuse(d, dir, ELOOP, STR("is a link to a directory above it"),
                       STR("remove the link"));
            return false;
        }
    }
    return true;
}

static void dir_check(struct directory *d, struct dir_node *dir, const struct stat *st,
                      struct look how)
{
    struct identity *id = &dir->node.identity;
    bool is_other = dir->node.is_gone || id->dev != st->st_dev || id->ino != st->st_ino;
    d->dir_n += dir->node.is_gone;
    dir->node.is_gone = false;
    *id = identity_of(st);
    if (!dir_is_allowed(d, dir)) {
        return;
    }
    bool is_unwatched = dir->watched == NULL && d->inotify_fd >= 0;
    if (is_other || is_unwatched) {
        watch_enter(d, dir);
    }
    bool is_failed = dir->node.error != 0;
    if (is_other || how.is_deep || is_failed || (is_unwatched && dir->watched != NULL)) {
        how.is_deep |= is_other;
        dir_queue(d, dir, how);
    }
}

static void leave_out(struct directory *d, struct str path)
{
    d->is_leaving_out = true;
    if (!d->is_over_limit) {
        d->is_over_limit = d->is_changed = true;
        struct diag diag = directory_limit_diag(d);
        diag.file = path;
        directory_tell(d, &diag);
    }
}

static bool is_full(const struct directory *d, enum node_type type)
{
    size_t max = d->options.files_max != 0 ? d->options.files_max : MANIFEST_FILES_MAX;
    return (type == NODE_FILE ? d->file_n : d->dir_n) >= max;
}

static struct file_node *file_add(struct directory *d, struct str path, struct dir_node *parent)
{
    struct node *node;
    if (is_full(d, NODE_FILE)) {
        leave_out(d, path);
        return NULL;
    }
    if (node_new(d, NODE_FILE, path, parent, &node) != E_OK) {
        d->is_incomplete = d->is_out_of_memory = true;
        return NULL;
    }
    struct file_node *f = file_of(node);
    claim_source_init(&f->source, node->path);
    list_init(&f->queue);
    d->file_n++;
    return f;
}

static struct dir_node *dir_add(struct directory *d, struct str path, struct dir_node *parent)
{
    struct node *node;
    if (is_full(d, NODE_DIRECTORY)) {
        leave_out(d, path);
        return NULL;
    }
    if (node_new(d, NODE_DIRECTORY, path, parent, &node) != E_OK) {
        d->is_incomplete = d->is_out_of_memory = true;
        return NULL;
    }
    struct dir_node *dir = dir_of(node);
    list_init(&dir->children);
    list_init(&dir->queue);
    dir->depth = parent == NULL ? 0 : parent->depth + 1;
    d->dir_n++;
    return dir;
}

/* ---- one name ---- */

bool name_is_hidden(struct str name)
{
    return name.n == 0 || name.p[0] == '.' || name.p[0] == '#';
}

static bool name_is_manifest(struct str name)
{
    return str_has_suffix(name, STR(".yaml")) || str_has_suffix(name, STR(".yml")) ||
           str_has_suffix(name, STR(".json"));
}

struct sight { /* what there is at a path */
    struct str path;
    struct stat st; /* of what a link leads to */
    enum { SIGHT_NOTHING, SIGHT_FILE, SIGHT_DIRECTORY, SIGHT_DANGLING, SIGHT_OTHER } what;
    bool is_link;
};

static struct sight look_at(struct str path)
{
    struct sight sight = {.path = path, .what = SIGHT_NOTHING};
    if (lstat(path.p, &sight.st) != 0) {
        return sight;
    }
    sight.is_link = S_ISLNK(sight.st.st_mode);
    if (sight.is_link && stat(path.p, &sight.st) != 0) {
        sight.what = SIGHT_DANGLING;
    } else if (S_ISDIR(sight.st.st_mode)) {
        sight.what = SIGHT_DIRECTORY;
    } else if (S_ISREG(sight.st.st_mode)) {
        sight.what = SIGHT_FILE;
    } else {
        sight.what = SIGHT_OTHER; /* a socket, a device: nothing to us */
    }
    return sight;
}

static void note_link(struct directory *d, struct node *node, bool is_link)
{
    list_del(&node->in_links);
    if (is_link) {
        list_append(&d->links, &node->in_links);
    }
}

/* There is a file, or a link that leads nowhere. */
static void see_file(struct directory *d, struct dir_node *dir, const struct sight *sight,
                     bool is_certain)
{
    struct file_node *f = file_of(node_find(d, sight->path, NODE_FILE));
    bool is_new = f == NULL;
    f = is_new ? file_add(d, sight->path, dir) : f;
    if (f == NULL) {
        return;
    }
    f->node.seen_at = dir == NULL ? 0 : dir->scan_n;
    note_link(d, &f->node, sight->is_link);
    if (sight->what == SIGHT_FILE) {
        file_check(d, f, &sight->st, is_certain);
    } else if (is_new || f->node.is_gone || f->node.error == 0) {
        file_check(d, f, &sight->st, true); /* cannot be opened: that will be told */
    }
}

static void see_dir(struct directory *d, struct dir_node *parent, const struct sight *sight,
                    struct look how)
{
    struct dir_node *dir = dir_of(node_find(d, sight->path, NODE_DIRECTORY));
    dir = dir == NULL ? dir_add(d, sight->path, parent) : dir;
    if (dir != NULL) {
        dir->node.seen_at = parent == NULL ? 0 : parent->scan_n;
        note_link(d, &dir->node, sight->is_link);
        dir_check(d, dir, &sight->st, how);
    }
}

static void see(struct directory *d, struct dir_node *dir, const struct sight *sight,
                bool is_manifest, struct look how)
{
    bool is_file = is_manifest && (sight->what == SIGHT_FILE || sight->what == SIGHT_DANGLING);
    if (is_file) {
        see_file(d, dir, sight, how.is_certain);
    } else {
        node_gone(d, node_find(d, sight->path, NODE_FILE));
    }
    if (sight->what == SIGHT_DIRECTORY) {
        see_dir(d, dir, sight, how);
    } else {
        node_gone(d, node_find(d, sight->path, NODE_DIRECTORY));
    }
}

/* False when it does not fit. text is PATH_MAX long. */
static bool path_join(struct str dir, struct str name, char *text, struct str *ret)
{
    struct wr w = wr_make(text, PATH_MAX);
    wr_str(&w, dir);
    if (!str_has_suffix(dir, STR("/"))) {
        wr_char(&w, '/');
    }
    wr_str(&w, name);
    size_t n = wr_n(&w);
    wr_char(&w, 0);
    *ret = str_make(text, n);
    return !w.bad;
}

static void check_name(struct directory *d, struct dir_node *dir, struct str name, struct look how)
{
    char text[PATH_MAX];
    struct str path;
    if (name_is_hidden(name)) {
        return;
    }
    if (!path_join(dir->node.path, name, text, &path)) {
        dir_refuse(d, dir, ENAMETOOLONG, STR("has a path that is too long in it"),
                   STR("shorten the names"));
        return;
    }
    struct sight sight = look_at(path);
    see(d, dir, &sight, name_is_manifest(name), how);
}

void tree_check_name(struct directory *d, struct dir_node *dir, struct str name, bool is_certain)
{
    check_name(d, dir, name, (struct look){.is_certain = is_certain});
}

/* ---- a whole directory ---- */

/* The nodes below dir that this scan has not seen. */
static void forget_unseen(struct directory *d, struct dir_node *dir)
{
    list_each(it, &dir->children)
    {
        struct node *node = container_of(it, struct node, sibling);
        if (node->seen_at != dir->scan_n && !node->is_gone) {
            node_gone(d, node);
        }
    }
}

void tree_scan(struct directory *d, struct dir_node *dir)
{
    struct look how = {dir->is_certain, dir->is_deep};
    list_del(&dir->queue);
    dir->is_certain = dir->is_deep = false;
    DIR *stream = opendir(dir->node.path.p);
    if (stream == NULL) {
        d->is_incomplete |= errno != ENOENT;
        node_report_errno(d, &dir->node, errno, STR("make it readable, what it held stays"));
        return;
    }
    if (dir->node.error != 0) {
        node_clear_diags(d, &dir->node);
    }
    dir->scan_n++;
    errno = 0;
    for (const struct dirent *e; (e = readdir(stream)) != NULL; errno = 0) {
        check_name(d, dir, str_from_cstr(e->d_name), how);
    }
    int error = errno;
    (void)closedir(stream); /* read only: nothing to lose */
    if (error == 0) {
        forget_unseen(d, dir);
    } else {
        d->is_incomplete = true;
    }
}

/* ---- links and roots ---- */

static struct str last_name(struct str path)
{
    size_t at = path.n;
    while (at > 0 && path.p[at - 1] != '/') {
        at--;
    }
    return str_from(path, at);
}

void tree_check_node(struct directory *d, struct node *node)
{
    if (node->type == NODE_DIRECTORY && node->parent == NULL) {
        tree_check_roots(d);
        return;
    }
    struct sight sight = look_at(node->path);
    bool is_manifest = node->parent == NULL || name_is_manifest(last_name(node->path));
    see(d, node->parent, &sight, is_manifest, (struct look){0});
}

void tree_check_links(struct directory *d)
{
    struct list links;
    list_init(&links);
    for (struct list *it; (it = list_pop(&d->links)) != NULL;) {
        list_append(&links, it);
    }
    for (struct list *it; (it = list_pop(&links)) != NULL;) {
        list_append(&d->links, it);
        tree_check_node(d, container_of(it, struct node, in_links));
    }
}

/* What is below stays as it is until the root is back. */
static void root_gone(struct directory *d, struct dir_node *root)
{
    if (root->node.is_gone) {
        return;
    }
    root->node.is_gone = true;
    d->dir_n--;
    d->root_gone_n++;
    watch_leave(d, root);
    list_del(&root->queue);
    node_report_errno(d, &root->node, ENOENT,
                      STR("put it back; until then its last state is used"));
    directory_wake(d);
}

static void check_root(struct directory *d, struct str path)
{
    struct sight sight = look_at(path);
    struct dir_node *dir = dir_of(node_find(d, path, NODE_DIRECTORY));
    if (dir == NULL) {
        see(d, NULL, &sight, true, (struct look){0});
    } else if (sight.what != SIGHT_DIRECTORY) {
        root_gone(d, dir);
    } else {
        if (dir->node.is_gone) { /* back: its files get time to come back as well */
            d->root_gone_n--;
            claims_postpone(d->claims, directory_removal_deadline(d));
        }
        dir_check(d, dir, &sight.st, (struct look){0});
    }
}

void tree_check_roots(struct directory *d)
{
    for (size_t i = 0; i < d->root_n; i++) {
        check_root(d, d->roots[i]);
    }
}

void tree_rescan(struct directory *d)
{
    d->is_leaving_out = false;
    for (size_t i = 0; i < d->root_n; i++) {
        struct dir_node *dir = dir_of(node_find(d, d->roots[i], NODE_DIRECTORY));
        if (dir != NULL && !dir->node.is_gone) {
            dir_queue(d, dir, (struct look){.is_deep = true});
        }
    }
}

enum err tree_add_root(struct directory *d, struct str path)
{
    struct sight sight = look_at(path);
    switch (sight.what) {
    case SIGHT_NOTHING:
    case SIGHT_DANGLING:
        return errno == ENOENT || errno == ENOTDIR ? E_NOTFOUND : E_SYS;
    case SIGHT_FILE:
    case SIGHT_DIRECTORY:
        check_root(d, path);
        return d->is_out_of_memory ? E_NOMEM : E_OK;
    case SIGHT_OTHER:
        break;
    }
    return E_REFUSED;
}

void tree_free(struct directory *d)
{
    map_each(slot, &d->nodes)
    {
        struct node *node = slot->value;
        diag_list_free(node->diags);
        mem_free(node);
    }
    map_fini(&d->nodes);
}
