/* The health port's sockets. */
#include "admin/listener.h"

#include "base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

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
    *peer = (struct http_peer){.listener = STR("health")};
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = at;
        peer->ip.family = 4;
        mem_copy(peer->ip.bytes, &v4->sin_addr, 4);
        peer->port = ntohs(v4->sin_port);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = at;
        bool is_mapped = is_v4_mapped(v6->sin6_addr.s6_addr);
        peer->ip.family = is_mapped ? 4 : 6;
        mem_copy(peer->ip.bytes, v6->sin6_addr.s6_addr + (is_mapped ? 12 : 0), is_mapped ? 4 : 16);
        peer->port = ntohs(v6->sin6_port);
    }
}

static void serve(struct admin_listener *l, int fd, const struct sockaddr_storage *from)
{
    struct http_peer peer;
    if (l->server.conn_n >= ADMIN_CONNECTIONS_MAX) {
        l->refused++;
        (void)close(fd); /* the peer sees the end of the connection */
        return;
    }
    peer_fill(&peer, from);
    (void)http1_server_accept(&l->server, fd, &peer); /* on failure fd is closed */
}

/* Out of descriptors: the connection stays in the kernel's queue, and the level-triggered watch
 * would wake us at once and for ever. */
static void pause_accepting(struct admin_listener *l)
{
    loop_unwatch(l->loop, &l->watch);
    loop_arm(l->loop, &l->retry, ACCEPT_RETRY, l->retry.on_fire);
}

static void accept_some(struct admin_listener *l)
{
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

static void on_connection(struct watch *w, uint32_t events)
{
    (void)events;
    accept_some(container_of(w, struct admin_listener, watch));
}

static void on_retry(struct timer *t)
{
    struct admin_listener *l = container_of(t, struct admin_listener, retry);
    if (loop_watch_listener(l->loop, &l->watch, l->fd, on_connection) != E_OK) {
        loop_arm(l->loop, t, ACCEPT_RETRY, on_retry);
    }
}

enum err admin_listener_open(struct admin_listener *l, struct loop *loop, int fd,
                             const struct admin_views *views)
{
    *l = (struct admin_listener){
        .loop = loop, .fd = fd, .watch = {.fd = -1}, .retry = {.on_fire = on_retry}};
    l->budget.max = ADMIN_MEMORY_MAX;
    TRY(http1_context_init(&l->context, loop, &snap_settings_default, &l->budget));
    admin_handler_init(&l->handler, views);
    http1_server_init(&l->server, &l->context, &l->handler.http, &l->stats);
    enum err e = loop_watch_listener(loop, &l->watch, fd, on_connection);
    if (e != E_OK) {
        http1_context_fini(&l->context);
    }
    return e;
}

void admin_listener_close(struct admin_listener *l)
{
    loop_disarm(l->loop, &l->retry);
    loop_unwatch(l->loop, &l->watch);
    http1_server_fini(&l->server);
    http1_context_fini(&l->context);
}
