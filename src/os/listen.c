/* Listening sockets. */
#include "os/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"

struct endpoint {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } u;
    socklen_t n;
};

static struct endpoint endpoint_v4(struct in_addr address, uint16_t port)
{
    struct endpoint e = {.n = sizeof(e.u.v4)};
    e.u.v4 =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address};
    return e;
}

static struct endpoint endpoint_v6(struct in6_addr address, uint16_t port)
{
    struct endpoint e = {.n = sizeof(e.u.v6)};
    e.u.v6 = (struct sockaddr_in6){
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = address};
    return e;
}

static enum err options_set(int fd, const struct listen_options *o, sa_family_t family)
{
    int on = 1;
    int v6_only = o->is_v6_only ? 1 : 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
        return E_SYS;
    }
    /* set either way: the default is the machine's (net.ipv6.bindv6only) */
    if (family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only)) < 0) {
        return E_SYS;
    }
    return E_OK;
}

static enum err socket_start(int fd, const struct listen_options *o, struct endpoint *at,
                             uint16_t *ret_port)
{
    TRY(options_set(fd, o, at->u.any.sa_family));
    int backlog = o->backlog == 0 ? LISTEN_BACKLOG : (int)(o->backlog & INT32_MAX);
    if (bind(fd, &at->u.any, at->n) < 0 || listen(fd, backlog) < 0 ||
        getsockname(fd, &at->u.any, &at->n) < 0) {
        return E_SYS;
    }
    /* sin_port and sin6_port are at the same place */
    *ret_port = ntohs(at->u.v4.sin_port);
    return E_OK;
}

static enum err endpoint_listen(const struct listen_options *o, struct endpoint at, int *ret_fd,
                                uint16_t *ret_port)
{
    int fd = socket(at.u.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return E_SYS;
    }
    enum err e = socket_start(fd, o, &at, ret_port);
    if (e != E_OK) {
        int saved = errno;
        (void)close(fd); /* the first error counts */
        errno = saved;
        return e;
    }
    *ret_fd = fd;
    return E_OK;
}

enum err listen_open(const struct listen_options *o, int *ret_fd, uint16_t *ret_port)
{
    struct in_addr v4 = {.s_addr = htonl(INADDR_ANY)};
    struct in6_addr v6 = in6addr_any;
    if (o->address == NULL || o->address[0] == '\0') {
        enum err e = endpoint_listen(o, endpoint_v6(v6, o->port), ret_fd, ret_port);
        if (e != E_SYS || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL)) {
            return e;
        }
        return endpoint_listen(o, endpoint_v4(v4, o->port), ret_fd, ret_port);
    }
    if (inet_pton(AF_INET, o->address, &v4) == 1) {
        return endpoint_listen(o, endpoint_v4(v4, o->port), ret_fd, ret_port);
    }
    if (inet_pton(AF_INET6, o->address, &v6) == 1) {
        return endpoint_listen(o, endpoint_v6(v6, o->port), ret_fd, ret_port);
    }
    return E_PROTO;
}
