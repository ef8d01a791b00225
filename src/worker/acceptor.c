/* Accepting. When descriptors run out, accepting pauses: connections wait in the kernel's queue,
 * those that stand go on, and it is tried again a moment later. */
#include "worker/acceptor.h"

#include "base/mem.h"
#include "log/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAUSE (50 * USEC_PER_MS)

static watch_fn acceptor_on_event;
static timer_fn acceptor_on_pause;

static bool peer_of(const struct sockaddr_storage *from, const struct heritage_listener *listener,
                    struct http_peer *ret)
{
    struct http_peer peer = {.local_port = listener->port,
                             .listener = str_from_cstr(listener->name)};
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)from;
        peer.ip.family = 4;
        peer.port = ntohs(in->sin_port);
        mem_copy(peer.ip.bytes, &in->sin_addr, 4);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)from;
        peer.ip.family = 6;
        peer.port = ntohs(in6->sin6_port);
        mem_copy(peer.ip.bytes, &in6->sin6_addr, 16);
        peer.ip = ip_unmapped(&peer.ip); /* a dual-stack socket shows IPv4 clients like this */
    } else {
        return false;
    }
    *ret = peer;
    return true;
}

static void acceptor_pause(struct acceptor *a, stats_value *limit, const char *why)
{
    stats_add(limit, 1);
    if (!a->is_paused) { /* one line for each time, however long it lasts */
        log_line(LOG_WARN, "accepting pauses listener=%s: %s; existing connections go on",
                 a->listener->name, why);
    }
    a->is_paused = true;
    loop_unwatch(a->loop, &a->watch);
    loop_arm(a->loop, &a->pause, PAUSE, acceptor_on_pause);
}

/* False when there is nothing more to accept now. */
static bool accept_one(struct acceptor *a)
{
    struct sockaddr_storage from;
    socklen_t from_n = sizeof(from);
    struct http_peer peer;
    int fd =
        accept4(a->listener->fd, (struct sockaddr *)&from, &from_n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            acceptor_pause(a, &a->server->stats->limit_descriptors, "out of descriptors");
        }
        return errno == ECONNABORTED || errno == EINTR;
    }
    a->is_paused = false;
    bool is_ip = peer_of(&from, a->listener, &peer);
    peer.is_tls = a->server->opener != NULL;
    if (!is_ip || prelude_accept(a->prelude, a->server, fd, &peer) != E_OK) {
        stats_add(&a->server->stats->accept_failed, 1);
    } else {
        stats_add(&a->server->stats->accepted, 1);
    }
    return true;
}

static bool is_at_max(const struct acceptor *a)
{
    return a->conn_n(a->arg) >= a->server->context->settings->max_worker_connections;
}

/* At the maximum new connections wait in the kernel's queue. */
static bool acceptor_is_full(struct acceptor *a)
{
    if (!is_at_max(a)) {
        return false;
    }
    acceptor_pause(a, &a->server->stats->limit_connections, "max-worker-connections is reached");
    return true;
}

static void acceptor_on_event(struct watch *w, uint32_t events)
{
    struct acceptor *a = container_of(w, struct acceptor, watch);
    (void)events; /* reading is all there is */
    for (int i = 0; i < ACCEPT_BATCH && !acceptor_is_full(a) && accept_one(a); i++) {
    }
}

static void acceptor_on_pause(struct timer *t)
{
    struct acceptor *a = container_of(t, struct acceptor, pause);
    if (is_at_max(a) ||
        loop_watch_listener(a->loop, &a->watch, a->listener->fd, acceptor_on_event) != E_OK) {
        loop_arm(a->loop, &a->pause, PAUSE, acceptor_on_pause);
        return;
    }
}

void acceptor_init(struct acceptor *a, struct loop *loop, struct http1_server *server,
                   acceptor_conn_n_fn *conn_n, const void *arg, struct prelude *prelude,
                   const struct heritage_listener *listener)
{
    *a = (struct acceptor){.watch = {.fd = -1},
                           .loop = loop,
                           .server = server,
                           .conn_n = conn_n,
                           .arg = arg,
                           .prelude = prelude,
                           .listener = listener};
}

enum err acceptor_start(struct acceptor *a)
{
    TRY(loop_watch_listener(a->loop, &a->watch, a->listener->fd, acceptor_on_event));
    a->is_open = true;
    return E_OK;
}

void acceptor_stop(struct acceptor *a)
{
    if (!a->is_open) {
        return;
    }
    a->is_open = false;
    while (accept_one(a)) {
    }
    loop_disarm(a->loop, &a->pause);
    loop_unwatch(a->loop, &a->watch);
    (void)close(a->listener->fd); /* the last process that does so makes the port refuse */
}
