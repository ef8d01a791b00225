/* Plain TCP. */
#include "event/transport.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static enum err plain_receive(struct transport *t, void *p, size_t room, size_t *ret_n)
{
    ssize_t n = recv(t->watch.fd, p, room, 0);
    if (n > 0) {
        *ret_n = (size_t)n;
        return E_OK;
    }
    if (n == 0) {
        t->is_at_end = true;
        return E_CLOSED;
    }
    /* A reset is not an end: a body that ends with the connection would pass for whole. */
    return errno == EAGAIN ? E_AGAIN : E_SYS;
}

static enum err plain_send(struct transport *t, struct iovec *parts, int part_n, size_t *ret_n)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)part_n};
    size_t total = 0;
    for (int i = 0; i < part_n; i++) {
        total += parts[i].iov_len;
    }
    ssize_t n = part_n == 1 ? send(t->watch.fd, parts[0].iov_base, total, MSG_NOSIGNAL)
                            : sendmsg(t->watch.fd, &message, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        return errno == EPIPE || errno == ECONNRESET ? E_CLOSED : E_SYS;
    }
    *ret_n = n < 0 ? 0 : (size_t)n;
    t->sent_n += *ret_n;
    return *ret_n == total ? E_OK : E_AGAIN;
}

static uint64_t plain_taken(struct transport *t)
{
    struct tcp_info info = {0};
    socklen_t n = sizeof(info);
    if (getsockopt(t->watch.fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0) {
        return 0; /* not TCP */
    }
    return info.tcpi_bytes_acked;
}

static void plain_finish(struct transport *t)
{
    (void)shutdown(t->watch.fd, SHUT_WR); /* the peer may be gone already */
}

static void plain_close(struct transport *t, bool has_reset)
{
    int fd = t->watch.fd;
    if (fd < 0) {
        return;
    }
    if (has_reset) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)); /* best effort */
    }
    /* No epoll_ctl: a descriptor that nobody else holds leaves epoll when it is closed. Events of
     * this tick that are still to come are dropped by loop_forget(). */
    loop_forget(t->loop, &t->watch);
    (void)close(fd);
}

const struct transport_ops transport_plain_ops = {
    .receive = plain_receive,
    .send = plain_send,
    .taken = plain_taken,
    .finish = plain_finish,
    .close = plain_close,
};

enum err transport_plain_open(struct transport *t, struct loop *loop, int fd, watch_fn *on_event)
{
    *t = (struct transport){
        .watch = {.fd = -1}, .loop = loop, .ops = &transport_plain_ops, .is_open = true};
    enum err e = loop_watch(loop, &t->watch, fd, on_event);
    if (e != E_OK) {
        (void)close(fd); /* ours by contract */
    }
    return e;
}

enum err transport_move(struct transport *from, struct transport *to, watch_fn *on_event)
{
    int fd = from->watch.fd;
    loop_unwatch(from->loop, &from->watch);
    *to = *from;
    *from = (struct transport){.watch = {.fd = -1}};
    watch_fn *on_socket = to->ops->adopt == NULL ? on_event : to->ops->adopt(to, on_event);
    enum err e = loop_watch(to->loop, &to->watch, fd, on_socket);
    if (e != E_OK) {
        to->watch.fd = fd; /* so that it is closed */
        to->ops->close(to, false);
        to->ops = NULL;
    }
    return e;
}
