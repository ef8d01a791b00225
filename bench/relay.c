/* The floor: forwards bytes between a client connection and a connection to one backend, without
 * looking at them. Four socket calls and a share of an epoll_wait for each request, as any proxy
 * needs that is built on epoll. Usage: relay PORT BACKEND_PORT. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 64 * 1024, EVENTS = 256, BACKLOG = 4096 };

struct side {
    int fd;
    struct side *other; /* NULL for the listener */
    int is_dead;
};

static char buffer[BUFFER];

static struct sockaddr_in loopback(long port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return in;
}

static void watch(int epoll_fd, struct side *s)
{
    struct epoll_event event = {.events = EPOLLIN | (s->other ? EPOLLET | EPOLLRDHUP : 0),
                                .data.ptr = s};
    int one = 1;
    (void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &event) != 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

static void open_pair(int epoll_fd, int client, long backend_port)
{
    struct sockaddr_in in = loopback(backend_port);
    struct side *pair = calloc(2, sizeof(*pair));
    int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (pair == NULL || upstream < 0 ||
        connect(upstream, (struct sockaddr *)&in, sizeof(in)) != 0) {
        perror("connect");
        exit(1);
    }
    pair[0] = (struct side){client, &pair[1], 0};
    pair[1] = (struct side){upstream, &pair[0], 0};
    watch(epoll_fd, &pair[0]);
    watch(epoll_fd, &pair[1]);
}

/* Sends all of it; waiting is fine here: the floor is about small messages. */
static int send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0) {
            return -1;
        }
        p += sent;
        n -= (size_t)sent;
    }
    return 0;
}

static void forward(struct side *s)
{
    for (;;) {
        ssize_t n = recv(s->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n > 0 && send_all(s->other->fd, buffer, (size_t)n) == 0) {
            if (n == sizeof(buffer)) {
                continue;
            }
            return;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (!s->is_dead) {
            s->is_dead = s->other->is_dead = 1; /* the pair leaks: it is a benchmark */
            (void)close(s->fd);
            (void)close(s->other->fd);
        }
        return;
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    struct side listener = {0};
    int one = 1, epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (argc != 3) {
        (void)fputs("usage: relay PORT BACKEND_PORT\n", stderr);
        return 2;
    }
    long backend_port = strtol(argv[2], NULL, 10);
    struct sockaddr_in in = loopback(strtol(argv[1], NULL, 10));
    listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener.fd, (struct sockaddr *)&in, sizeof(in)) != 0 ||
        listen(listener.fd, BACKLOG) != 0) {
        perror("listen");
        return 1;
    }
    watch(epoll_fd, &listener);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct side *s = events[i].data.ptr;
            if (s->other == NULL) {
                open_pair(epoll_fd, accept(s->fd, NULL, NULL), backend_port);
            } else if (!s->is_dead) {
                forward(s);
            }
        }
    }
}
