/* One file of a directory: is it new, is it complete, read it, pass its objects to the claims. */
#include "base/mem.h"
#include "source/directory_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Two writes closer together than this may leave the same time stamps. */
#define STAMP_GRAIN (20 * USEC_PER_MS)

enum {
    READ_BYTES = 64 * 1024,
    CONTENT_KEPT_MAX = 1 << 20, /* of the read buffer, between files */
};

/* ---- diagnostics ---- */

void directory_tell(struct directory *d, const struct diag *diag)
{
    if (d->options.on_diag != NULL) {
        d->options.on_diag(d->options.arg, diag);
    }
}

static void tell_claims(void *arg, const struct diag *diag)
{
    directory_tell(arg, diag);
}

static void node_keep(struct directory *d, struct node *node, const struct diag *diag)
{
    if (node->diags == NULL && diag_list_new(NODE_DIAGS_MAX, &node->diags) != E_OK) {
        node->diags = NULL; /* told all the same, just not listed later */
    }
    if (node->diags != NULL) {
        diag_list_add(node->diags, diag);
    }
    d->is_changed = true;
    directory_tell(d, diag);
}

void node_report(struct directory *d, struct node *node, enum diag_severity severity,
                 enum diag_reason reason, struct str what, struct str why, struct str mend)
{
    node_keep(d, node,
              &(struct diag){.severity = severity,
                             .reason = reason,
                             .file = node->path,
                             .what = what,
                             .why = why,
                             .mend = mend});
}

void node_report_errno(struct directory *d, struct node *node, int error, struct str mend)
{
    if (node->error == error) {
        return;
    }
    node_clear_diags(d, node);
    node->error = error;
    char text[128];
    struct str why = str_from_cstr(strerror_r(error, text, sizeof(text)));
    node_report(d, node, DIAG_ERROR, DIAG_UnreadableFile, STR("cannot be read"), why, mend);
}

void node_clear_diags(struct directory *d, struct node *node)
{
    d->is_changed |= node->diags != NULL;
    diag_list_free(node->diags);
    node->diags = NULL;
    node->error = 0;
}

/* ---- is it new, is it complete ---- */

static int64_t ns_of(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct identity identity_of(const struct stat *st)
{
    return (struct identity){st->st_dev, st->st_ino, st->st_size, ns_of(st->st_mtim),
                             ns_of(st->st_ctim)};
}

bool identity_eq(const struct identity *a, const struct identity *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

/* ctime, because tools set mtime; a time in the future (another machine's clock) counts as old. */
static bool is_older_than(const struct stat *st, usec_t age)
{
    int64_t elapsed_ns = (int64_t)clock_wall() * 1000 - ns_of(st->st_ctim);
    return elapsed_ns < 0 || elapsed_ns >= (int64_t)age * 1000;
}

static bool is_complete(const struct directory *d, const struct file_node *f, const struct stat *st)
{
    bool is_swapped = list_is_linked(&f->node.in_links) && f->node.identity.ino != st->st_ino;
    if (d->is_loading || is_swapped) {
        return true; /* nobody to wait for; links are swapped when what they lead to is there */
    }
    return is_older_than(st, st->st_size == 0 ? DIRECTORY_SETTLE_EMPTY : DIRECTORY_SETTLE);
}

void file_queue(struct file_node *f, struct list *queue)
{
    list_del(&f->queue);
    list_append(queue, &f->queue);
}

static bool is_changed(const struct file_node *f, const struct stat *st)
{
    struct identity now = identity_of(st);
    return !f->is_settled || !identity_eq(&now, &f->node.identity);
}

void file_check(struct directory *d, struct file_node *f, const struct stat *st, bool is_certain)
{
    if (f->node.is_gone) {
        f->node.is_gone = false;
        f->is_settled = false;
        d->file_n++;
        file_queue(f, &d->waiting);
    }
    if (!is_certain && !is_changed(f, st)) {
        return;
    }
    file_queue(f, is_certain || is_complete(d, f, st) ? &d->loads : &d->waiting);
    directory_wake(d);
}

/* ---- read it ---- */

struct load { /* one file on its way through the parser */
    struct directory *d;
    struct file_node *f;
    enum err error;
    bool is_broken;
};

static void load_object(void *arg, struct object *o)
{
    struct load *load = arg;
    struct directory *d = load->d;
    enum err error = claims_put(d->claims, &load->f->source, o, tell_claims, d);
    if (error != E_OK) {
        load->error = error;
    }
}

static void load_diag(void *arg, const struct diag *diag)
{
    struct load *load = arg;
    load->is_broken |= diag->severity == DIAG_ERROR;
    node_keep(load->d, &load->f->node, diag);
}

/* Everything behind fd into d->content. Errors: E_LIMIT, E_NOMEM, E_SYS. */
static enum err content_read(struct directory *d, int fd)
{
    struct buf *b = &d->content;
    buf_reset(b);
    for (;;) {
        if (!buf_reserve(b, READ_BYTES)) {
            return E_NOMEM;
        }
        ssize_t n = read(fd, b->p + b->n, b->cap - b->n);
        if (n < 0 && errno != EINTR) {
            return E_SYS;
        }
        if (n == 0) {
            return E_OK;
        }
        b->n += n > 0 ? (size_t)n : 0;
        if (b->n > MANIFEST_FILE_BYTES_MAX) {
            return E_LIMIT;
        }
    }
}

/* E_NOTFOUND: it is no regular file (any more). */
static enum err file_read(struct directory *d, const struct file_node *f, struct stat *ret_st)
{
    int fd = open(f->node.path.p, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return errno == ENOENT && !list_is_linked(&f->node.in_links) ? E_NOTFOUND : E_SYS;
    }
    enum err error = E_SYS;
    if (fstat(fd, ret_st) != 0) {
        goto out;
    }
    if (!S_ISREG(ret_st->st_mode)) {
        error = E_NOTFOUND;
    } else if (ret_st->st_size > MANIFEST_FILE_BYTES_MAX) {
        error = E_LIMIT;
    } else {
        error = content_read(d, fd);
    }
out:;
    int saved = errno;
    (void)close(fd); /* read only: nothing to lose */
    errno = saved;
    return error;
}

static enum err file_parse(struct directory *d, struct file_node *f)
{
    struct load load = {d, f, E_OK, false};
    node_clear_diags(d, &f->node);
    enum err error =
        d->options.parse(f->node.path, buf_str(&d->content), load_object, load_diag, &load);
    error = error == E_OK ? load.error : error;
    bool is_broken = load.is_broken || error != E_OK;
    claims_settle(d->claims, &f->source, is_broken, directory_removal_deadline(d));
    return error;
}

/* What was good stays; tried again later. */
static void file_keep(struct directory *d, struct file_node *f)
{
    f->is_settled = false;
    claims_settle(d->claims, &f->source, true, 0);
    file_queue(f, &d->retries);
}

static void file_fail(struct directory *d, struct file_node *f, enum err error, int number)
{
    file_keep(d, f);
    if (error == E_SYS) {
        node_report_errno(d, &f->node, number,
                          STR("make it readable for the controller, or remove it"));
    } else if (error == E_LIMIT && f->node.error != EFBIG) {
        node_clear_diags(d, &f->node);
        f->node.error = EFBIG;
        node_report(d, &f->node, DIAG_ERROR, DIAG_LimitReached, STR("is too large"),
                    STR("a manifest file has at most 64 MiB"), STR("split the file"));
    }
    d->is_out_of_memory |= error == E_NOMEM;
}

void file_load(struct directory *d, struct file_node *f)
{
    struct stat st;
    list_del(&f->queue);
    errno = 0;
    enum err error = file_read(d, f, &st);
    if (error == E_NOTFOUND) {
        tree_file_gone(d, f);
        return;
    }
    d->is_changed = true;
    if (error == E_OK) {
        d->read_n++;
        f->node.identity = identity_of(&st);
        f->is_settled = is_older_than(&st, STAMP_GRAIN);
        error = file_parse(d, f);
    }
    if (error != E_OK) {
        file_fail(d, f, error, errno);
    }
    if (d->content.cap > CONTENT_KEPT_MAX) {
        buf_fini(&d->content);
        buf_init(&d->content, CONTENT_BYTES_MAX);
    }
}
