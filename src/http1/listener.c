/* Accepting for a server of few connections. */
#include "http1/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"

#define ACCEPT_RETRY (100 * USEC_PER_MS)

static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291 section 2.5.5.2 */

static bool is_v4_mapped(const uint8_t *bytes)
{
    for (size_t i = 0; i < sizeof(v4_mapped); i++) {
        if (bytes[i] != v4_mapped[i]) {
            return false;
        }
    }
    return true;
}

static void peer_fill(struct http_peer *peer, const struct sockaddr_storage *from)
{
    const void *at = from;
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = at;
        peer->ip.family = 4;
        mem_copy(peer->ip.bytes, &v4->sin_addr, 4);
        peer->port = ntohs(v4->sin_port);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = at;
        const uint8_t *bytes = v6->sin6_addr.s6_addr;
        bool is_mapped = is_v4_mapped(bytes);
        peer->ip.family = is_mapped ? 4 : 6;
        mem_copy(peer->ip.bytes, bytes + (is_mapped ? sizeof(v4_mapped) : 0), is_mapped ? 4 : 16);
        peer->port = ntohs(v6->sin6_port);
    }
}

static void serve(struct http1_listener *l, int fd, const struct sockaddr_storage *from)
{
    struct http_peer peer = {.listener = l->name, .is_tls = l->server->opener != NULL};
    if (l->server->conn_n >= l->conn_max) {
        l->refused++;
        (void)close(fd); /* the peer sees the end of the connection */
        return;
    }
    peer_fill(&peer, from);
    if (http1_server_accept(l->server, fd, &peer) != E_OK) {
        l->refused++; /* fd is closed */
    }
}

static timer_fn on_retry;

/* Out of descriptors: the connection stays in the kernel's queue, and the level-triggered watch
 * would wake us at once and for ever. */
static void pause_accepting(struct http1_listener *l)
{
    loop_unwatch(l->loop, &l->watch);
    loop_arm(l->loop, &l->retry, ACCEPT_RETRY, on_retry);
}

static void on_connection(struct watch *w, uint32_t events)
{
    struct http1_listener *l = container_of(w, struct http1_listener, watch);
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage from;
        socklen_t n = sizeof(from);
        int fd = accept4(l->fd, (struct sockaddr *)(void *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            serve(l, fd, &from);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(l);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return; /* EAGAIN; what is left over wakes us again */
        }
    }
}

static void on_retry(struct timer *t)
{
    struct http1_listener *l = container_of(t, struct http1_listener, retry);
    if (loop_watch_listener(l->loop, &l->watch, l->fd, on_connection) != E_OK) {
        loop_arm(l->loop, t, ACCEPT_RETRY, on_retry);
    }
}

enum err http1_listener_open(struct http1_listener *l, struct loop *loop, int fd,
                             struct http1_server *server, struct str name, size_t conn_max)
{
    *l = (struct http1_listener){.watch = {.fd = -1},
                                 .loop = loop,
                                 .server = server,
                                 .name = name,
                                 .fd = fd,
                                 .conn_max = conn_max};
    return loop_watch_listener(loop, &l->watch, fd, on_connection);
}

void http1_listener_close(struct http1_listener *l)
{
    if (l->loop != NULL) {
        loop_disarm(l->loop, &l->retry);
        loop_unwatch(l->loop, &l->watch);
    }
}
