/* Thin over inotify(7): which notices are wanted, and the walk over a buffer of them. */
#include "os/inotify.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum {
    READ_BYTES = 32 * 1024,
    READS_MAX = 8, /* per call */
};

/* No IN_MODIFY: a file counts once its writer has closed it. IN_ATTRIB: it became readable. */
static const uint32_t wanted = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM |
                               IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF |
                               IN_ONLYDIR | IN_EXCL_UNLINK;

enum err inotify_open(int *ret_fd)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0) {
        return errno == EMFILE || errno == ENFILE ? E_LIMIT : E_SYS;
    }
    *ret_fd = fd;
    return E_OK;
}

enum err inotify_watch_directory(int fd, const char *path, int *ret_watch)
{
    int watch = inotify_add_watch(fd, path, wanted);
    if (watch >= 0) {
        *ret_watch = watch;
        return E_OK;
    }
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
        return E_NOTFOUND;
    case ENOSPC:
        return E_LIMIT;
    case EACCES:
        return E_REFUSED;
    default:
        return E_SYS;
    }
}

void inotify_unwatch(int fd, int watch)
{
    (void)inotify_rm_watch(fd, watch); /* fails only when the directory itself is gone */
}

static void events_walk(const char *at, size_t n, inotify_fn *fn, void *arg)
{
    struct inotify_event head;
    for (size_t i = 0; i + sizeof(head) <= n; i += sizeof(head) + head.len) {
        mem_copy(&head, at + i, sizeof(head)); /* the bytes are not aligned */
        const char *name = at + i + sizeof(head);
        fn(arg, head.wd, head.mask, str_make(name, strnlen(name, head.len)));
    }
}

enum err inotify_each(int fd, inotify_fn *fn, void *arg)
{
    char bytes[READ_BYTES];
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t n = read(fd, bytes, sizeof(bytes));
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR ? E_OK : E_SYS;
        }
        events_walk(bytes, (size_t)n, fn, arg);
    }
    return E_OK;
}
