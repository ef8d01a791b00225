/* Connecting without blocking. */
#include "event/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"

static socklen_t address_make(const struct ip *ip, uint16_t port, struct sockaddr_storage *ret)
{
    if (ip->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)ret;
        *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
        mem_copy(&in->sin_addr, ip->bytes, sizeof(in->sin_addr));
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ret;
    *in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
    mem_copy(&in6->sin6_addr, ip->bytes, sizeof(in6->sin6_addr));
    return sizeof(*in6);
}

static enum err err_of(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case EADDRNOTAVAIL: /* no local port left */
        return E_LIMIT;
    case ECONNREFUSED:
    case ENETUNREACH:
    case EHOSTUNREACH:
        return E_REFUSED;
    default:
        return E_SYS;
    }
}

static void option_set(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof(value)); /* slower without, not wrong */
}

enum err dial_begin(const struct ip *ip, uint16_t port, int *ret_fd)
{
    struct sockaddr_storage address;
    socklen_t address_n = address_make(ip, port, &address);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_of(errno);
    }
    option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (connect(fd, (struct sockaddr *)&address, address_n) != 0 && errno != EINPROGRESS) {
        enum err e = err_of(errno);
        (void)close(fd); /* never connected */
        return e;
    }
    *ret_fd = fd;
    return E_OK;
}

int dial_outcome(int fd)
{
    int error = 0;
    socklen_t n = sizeof(error);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 ? errno : error;
}

void dial_watch_peer(int fd)
{
    enum { PROBES = 3 };
    int seconds = (int)(TIMEOUT_UPSTREAM_PEER / USEC_PER_SEC);
    option_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    option_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds / 2);
    option_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds / (2 * PROBES));
    option_set(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
    option_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, seconds * 1000);
}
