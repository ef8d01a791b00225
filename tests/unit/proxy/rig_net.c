#undef _FORTIFY_SOURCE /* its inline recv() would stand in the way of ours */
#include "rig_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { WAITING_MAX = 256, FDS_MAX = 1024 };

struct endpoint {
    uint16_t port;
    bool is_refusing;
    int waiting[WAITING_MAX];
    int waiting_n;
};

static struct {
    bool is_on;
    int buffer_bytes;
    usec_t now;
    struct endpoint endpoints[RIG_ENDPOINTS];
    enum net_fault fault;
    size_t fault_at;
    bool has_failed;
    int epoll_fd;
    struct epoll_event watched[FDS_MAX]; /* how a descriptor is watched, to wake it again */
} net = {.now = 1000 * USEC_PER_SEC};

/* ---- what tests call ---- */

void net_start(const struct rig *r, int buffer_bytes)
{
    net.is_on = true;
    net.buffer_bytes = buffer_bytes;
    net.fault_at = 0;
    net.has_failed = false;
    for (int i = 0; i < RIG_ENDPOINTS; i++) {
        net.endpoints[i] = (struct endpoint){.port = rig_port(r, i)};
    }
}

void net_stop(void)
{
    for (int i = 0; i < RIG_ENDPOINTS; i++) {
        for (int fd; (fd = net_accept(i)) >= 0;) {
            (void)close(fd);
        }
    }
    net.is_on = false;
    net.fault_at = 0;
    net.now = 1000 * USEC_PER_SEC;
}

int net_accept(int i)
{
    struct endpoint *e = &net.endpoints[i];
    if (e->waiting_n == 0) {
        return -1;
    }
    int fd = e->waiting[0];
    e->waiting_n--;
    for (int k = 0; k < e->waiting_n; k++) {
        e->waiting[k] = e->waiting[k + 1];
    }
    return fd;
}

void net_refuse(int i, bool is_refusing)
{
    net.endpoints[i].is_refusing = is_refusing;
}

void net_advance(usec_t by)
{
    net.now += by;
}

void net_fail_at(enum net_fault kind, size_t nth)
{
    net.fault = kind;
    net.fault_at = nth;
    net.has_failed = false;
}

bool net_has_failed(void)
{
    return net.has_failed;
}

/* ---- the clock ---- */

usec_t clock_monotonic(void)
{
    return net.now;
}

usec_t clock_wall(void)
{
    return 1700000000 * USEC_PER_SEC + net.now;
}

usec_t clock_cpu(void)
{
    return 0;
}

/* ---- system calls ---- */

static bool is_due(bool can_befall)
{
    if (rig_inside == 0 || net.fault_at == 0 || !can_befall || --net.fault_at > 0) {
        return false;
    }
    net.has_failed = true;
    return true;
}

static bool is_stream_fault(void)
{
    return net.fault != NET_DESCRIPTORS;
}

/* Edge-triggered epoll does not tell again of what was refused: changing the watch makes it. */
static void wake(int fd)
{
    if (fd < FDS_MAX && net.watched[fd].events != 0) {
        (void)syscall(SYS_epoll_ctl, net.epoll_fd, EPOLL_CTL_MOD, fd, &net.watched[fd]);
    }
}

static ssize_t fail(int error)
{
    errno = error;
    return -1;
}

int epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
    long e = syscall(SYS_epoll_ctl, epoll_fd, op, fd, event);
    if (rig_inside > 0 && e == 0 && fd < FDS_MAX) {
        net.epoll_fd = epoll_fd;
        net.watched[fd] = op == EPOLL_CTL_DEL ? (struct epoll_event){0} : *event;
    }
    return (int)e;
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
    if (is_due(is_stream_fault())) {
        switch (net.fault) {
        case NET_AGAIN:
            wake(fd);
            return fail(EAGAIN);
        case NET_PARTIAL:
            wake(fd);
            n = 1;
            break;
        case NET_RESET:
            return fail(ECONNRESET);
        case NET_END:
            return 0;
        case NET_DESCRIPTORS:
        case NET_FAULTS_N:
            break;
        }
    }
    return syscall(SYS_recvfrom, fd, p, n, flags, NULL, NULL);
}

/* Returns true when the call is over with *ret. */
static bool send_fault(int fd, const void *first, size_t first_n, int flags, ssize_t *ret)
{
    if (!is_due(is_stream_fault())) {
        return false;
    }
    switch (net.fault) {
    case NET_AGAIN:
        wake(fd);
        *ret = fail(EAGAIN);
        return true;
    case NET_PARTIAL:
        wake(fd);
        *ret = syscall(SYS_sendto, fd, first, first_n < 1 ? first_n : 1, flags, NULL, 0);
        return true;
    case NET_RESET:
        *ret = fail(ECONNRESET);
        return true;
    case NET_END:
        *ret = fail(EPIPE);
        return true;
    case NET_DESCRIPTORS:
    case NET_FAULTS_N:
        break;
    }
    return false;
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    ssize_t e;
    return send_fault(fd, p, n, flags, &e) ? e : syscall(SYS_sendto, fd, p, n, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    ssize_t e;
    return send_fault(fd, m->msg_iov[0].iov_base, m->msg_iov[0].iov_len, flags, &e)
               ? e
               : syscall(SYS_sendmsg, fd, m, flags);
}

int socket(int domain, int type, int protocol)
{
    if (is_due(net.fault == NET_DESCRIPTORS)) {
        return (int)fail(EMFILE);
    }
    return (int)syscall(SYS_socket, domain, type, protocol);
}

static struct endpoint *endpoint_of(const struct sockaddr *address)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
    for (int i = 0; i < RIG_ENDPOINTS && address->sa_family == AF_INET; i++) {
        if (net.endpoints[i].port == ntohs(in->sin_port)) {
            return &net.endpoints[i];
        }
    }
    return NULL;
}

int connect(int fd, const struct sockaddr *address, socklen_t address_n)
{
    int pair[2];
    struct endpoint *e = net.is_on && rig_inside > 0 ? endpoint_of(address) : NULL;
    if (e == NULL) {
        return (int)syscall(SYS_connect, fd, address, address_n);
    }
    if (is_due(net.fault == NET_DESCRIPTORS)) {
        return (int)fail(EADDRNOTAVAIL);
    }
    if (e->is_refusing || e->waiting_n == WAITING_MAX ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
        return (int)fail(ECONNREFUSED);
    }
    for (int i = 0; i < 2 && net.buffer_bytes > 0; i++) {
        (void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &net.buffer_bytes,
                         sizeof(net.buffer_bytes));
    }
    (void)dup3(pair[0], fd, O_CLOEXEC);
    (void)close(pair[0]);
    e->waiting[e->waiting_n++] = pair[1];
    return (int)fail(EINPROGRESS); /* as TCP would: the first event says that it stands */
}
