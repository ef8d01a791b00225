/* The struct a child is born with, and the messages on its control socket. */
#include "os/heritage.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/memfd.h"

/* ---- heritage ---- */

static enum err heritage_fill(int fd, const struct heritage *h)
{
    TRY(memfd_write(fd, h, sizeof(*h)));
    TRY(memfd_seal(fd));
    return fcntl(fd, F_SETFD, 0) == 0 ? E_OK : E_SYS; /* survives exec */
}

enum err heritage_pass(const struct heritage *h, int *ret_fd)
{
    struct heritage copy = *h;
    int fd;
    copy.magic = HERITAGE_MAGIC;
    copy.bytes = sizeof(copy);
    TRY(memfd_make("lintel-heritage", &fd));
    enum err e = heritage_fill(fd, &copy);
    if (e != E_OK) {
        (void)close(fd); /* e says what went wrong */
        return e;
    }
    *ret_fd = fd;
    return E_OK;
}

static bool heritage_is_sound(const struct heritage *h)
{
    bool is_role = h->role == HERITAGE_CONTROLLER || h->role == HERITAGE_WORKER;
    return h->magic == HERITAGE_MAGIC && h->bytes == sizeof(*h) && is_role &&
           h->listener_n <= LISTENERS_MAX && h->worker_n <= WORKERS_MAX &&
           (h->role != HERITAGE_WORKER || h->index < h->worker_n);
}

static enum err heritage_read(int fd, struct heritage *ret)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return E_SYS;
    }
    if (!memfd_is_sealed(fd) || st.st_size != sizeof(*ret)) {
        return E_PROTO;
    }
    ssize_t n = pread(fd, ret, sizeof(*ret), 0);
    if (n < 0) {
        return E_SYS;
    }
    return n == sizeof(*ret) && heritage_is_sound(ret) ? E_OK : E_PROTO;
}

enum err heritage_take(int fd, struct heritage *ret)
{
    struct heritage h;
    enum err e = heritage_read(fd, &h);
    if (e == E_OK) {
        *ret = h;
    }
    (void)close(fd); /* only read */
    return e;
}

/* ---- control messages ---- */

static enum err err_of_errno(void)
{
    switch (errno) {
    case EAGAIN:
    case EINTR:
    case ENOBUFS:
        return E_AGAIN;
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
        return E_CLOSED;
    default:
        return E_SYS;
    }
}

/* Room for more descriptors than a message may carry, so that surplus ones are seen and closed. */
enum { CONTROL_FDS_ROOM = 4 };

union control_ancillary {
    char bytes[CMSG_SPACE(sizeof(int) * CONTROL_FDS_ROOM)];
    struct cmsghdr align;
};

enum err control_send(int socket, const struct control_message *m, int fd)
{
    struct control_message copy = *m;
    struct iovec part = {.iov_base = &copy, .iov_len = sizeof(copy)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union control_ancillary ancillary = {0};
    if (fd >= 0) {
        message.msg_control = ancillary.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(fd));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(fd));
        mem_copy(CMSG_DATA(head), &fd, sizeof(fd));
    }
    ssize_t n = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? err_of_errno() : E_OK; /* a packet goes whole or not at all */
}

/* The descriptors of a message into fds; gives their number. */
static int fds_take(struct msghdr *message, int fds[CONTROL_FDS_ROOM])
{
    int n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here && n < CONTROL_FDS_ROOM; i++) {
            mem_copy(&fds[n++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
        }
    }
    return n;
}

static bool control_is_sound(const struct control_message *m, int fd_n)
{
    switch ((enum control_type)m->type) {
    case CONTROL_SEGMENT:
    case CONTROL_SECRET:
    case CONTROL_LOG_REOPEN:
        return fd_n == 1;
    case CONTROL_DRAIN:
    case CONTROL_READY:
    case CONTROL_RESYNC:
        return fd_n <= 1;
    }
    return false;
}

enum err control_receive(int socket, struct control_message *ret, int *ret_fd)
{
    struct control_message m;
    struct iovec part = {.iov_base = &m, .iov_len = sizeof(m)};
    union control_ancillary ancillary;
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = ancillary.bytes,
                             .msg_controllen = sizeof(ancillary.bytes)};
    int fds[CONTROL_FDS_ROOM];
    ssize_t n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0) {
        return err_of_errno();
    }
    int fd_n = fds_take(&message, fds);
    bool is_whole = n == sizeof(m) && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
    if (!is_whole || !control_is_sound(&m, fd_n)) {
        for (int i = 0; i < fd_n; i++) {
            (void)close(fds[i]); /* nobody asked for it */
        }
        return n == 0 ? E_CLOSED : E_PROTO;
    }
    *ret = m;
    *ret_fd = fd_n == 1 ? fds[0] : -1;
    return E_OK;
}
