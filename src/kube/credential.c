/* Credentials: read whole, kept while the file is the same, wiped at the end.
 * kubelet replaces a token by renaming a link, so the inode tells; a file that is missing for the
 * moment leaves the last content in use. */
#include "kube/credential.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"

static struct blob *blob_make(size_t n)
{
    struct blob *b = mem_alloc(sizeof(*b) + n + 1);
    if (b != NULL) {
        *b = (struct blob){.refs = 1, .n = n};
        b->bytes[n] = '\0';
    }
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    if (b != NULL) {
        b->refs++;
    }
    return b;
}

void blob_unref(struct blob *b)
{
    if (b != NULL && --b->refs == 0) {
        explicit_bzero(b->bytes, b->n);
        mem_free(b);
    }
}

/* Up to want bytes; the file may have become shorter. */
static enum err fill(int fd, struct blob *b, size_t want)
{
    b->n = 0;
    while (b->n < want) {
        ssize_t n = read(fd, b->bytes + b->n, want - b->n);
        if (n < 0 && errno != EINTR) {
            return E_SYS;
        }
        if (n == 0) {
            break;
        }
        b->n += n > 0 ? (size_t)n : 0;
    }
    b->bytes[b->n] = '\0';
    return E_OK;
}

static enum err read_open(int fd, struct blob **ret)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return E_SYS;
    }
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return E_SYS;
    }
    if (st.st_size > KUBE_CREDENTIAL_BYTES_MAX) {
        return E_LIMIT;
    }
    struct blob *b = blob_make((size_t)st.st_size);
    if (b == NULL) {
        return E_NOMEM;
    }
    enum err e = fill(fd, b, (size_t)st.st_size);
    if (e != E_OK) {
        blob_unref(b);
        return e;
    }
    *ret = b;
    return E_OK;
}

enum err blob_read(const char *path, struct blob **ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR ? E_NOTFOUND : E_SYS;
    }
    enum err e = read_open(fd, ret);
    int error = errno;
    (void)close(fd); /* only read */
    errno = error;
    return e;
}

enum err credential_init(struct credential *c, const char *text, const char *path)
{
    *c = (struct credential){.path = path};
    if (path != NULL || text == NULL) {
        return E_OK;
    }
    struct str s = str_from_cstr(text);
    c->blob = blob_make(s.n);
    if (c->blob == NULL) {
        return E_NOMEM;
    }
    mem_copy(c->blob->bytes, s.p, s.n);
    return E_OK;
}

void credential_fini(struct credential *c)
{
    blob_unref(c->blob);
    *c = (struct credential){0};
}

/* True when the file is not the one that was read. */
static bool has_changed(struct credential *c)
{
    struct stat st;
    if (stat(c->path, &st) < 0) {
        return false;
    }
    int64_t changed_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if (c->blob != NULL && st.st_ino == c->inode && changed_ns == c->changed_ns &&
        (uint64_t)st.st_size == c->size) {
        return false;
    }
    c->inode = st.st_ino;
    c->size = (uint64_t)st.st_size;
    c->changed_ns = changed_ns;
    return true;
}

struct blob *credential_get(struct credential *c, usec_t now)
{
    bool is_due = c->looked_at == 0 || now - c->looked_at >= KUBE_CREDENTIAL_LOOK;
    if (c->path == NULL || !is_due) {
        return c->blob;
    }
    c->looked_at = now;
    struct blob *fresh;
    if (!has_changed(c)) {
        return c->blob;
    }
    if (blob_read(c->path, &fresh) != E_OK) {
        c->changed_ns = 0; /* again at the next look */
        return c->blob;
    }
    blob_unref(c->blob);
    c->blob = fresh;
    return c->blob;
}

void credential_doubt(struct credential *c)
{
    c->looked_at = 0;
    c->changed_ns = 0;
}
