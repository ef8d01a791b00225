/* libcurl's sockets and its one timer in the event loop, by the interface made for that
 * (curl_multi_socket_action). Callbacks of libcurl only watch, arm and mark. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "base/mem.h"
#include "kube/client_priv.h"

struct kube_socket {
    struct watch watch;
    struct list link;
    struct kube_client *client;
    usec_t heard_at; /* something came */
};

/* libcurl told us of the ends: tell the owners, outside of libcurl. */
static void collect(struct kube_client *c)
{
    int left;
    for (CURLMsg *m; c->multi != NULL && (m = curl_multi_info_read(c->multi, &left)) != NULL;) {
        struct kube_call *call = NULL;
        if (m->msg != CURLMSG_DONE) {
            continue;
        }
        CURLcode code = m->data.result;
        (void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&call); /* was set */
        if (!call->is_cancelled) {
            call_finish(call, code);
        }
    }
}

/* Level-triggered sockets come again; the timer does not. */
static void act(struct kube_client *c, curl_socket_t fd, int events)
{
    int running;
    CURLMcode code = curl_multi_socket_action(c->multi, fd, events, &running);
    collect(c);
    if (code != CURLM_OK) {
        c->is_broken = true;
        loop_defer(c->loop, &c->pump, c->pump.run);
    }
}

static void on_event(struct watch *w, uint32_t events)
{
    struct kube_socket *s = container_of(w, struct kube_socket, watch);
    struct kube_client *c = s->client;
    bool has_failed = (events & (EPOLLERR | EPOLLHUP)) != 0; /* reading says what it was */
    bool is_readable = (events & EPOLLIN) != 0 || has_failed;
    bool is_writable = (events & EPOLLOUT) != 0 || has_failed;
    if (is_readable) {
        s->heard_at = loop_now(c->loop);
    }
    act(c, w->fd, (is_readable ? CURL_CSELECT_IN : 0) | (is_writable ? CURL_CSELECT_OUT : 0));
    /* s may be gone */
}

static void socket_free(struct kube_socket *s)
{
    list_del(&s->link);
    s->client->socket_n--;
    mem_free(s);
}

/* A failure makes libcurl unusable: pump() starts afresh. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *arg_of_socket)
{
    struct kube_client *c = arg;
    struct kube_socket *s = arg_of_socket;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL) {
            loop_unwatch(c->loop, &s->watch);
            socket_free(s);
        }
        return 0;
    }
    if (s == NULL) {
        s = mem_calloc(1, sizeof(*s));
        if (s == NULL) {
            return -1;
        }
        s->client = c;
        s->heard_at = loop_now(c->loop);
        list_append(&c->sockets, &s->link);
        c->socket_n++;
        (void)curl_multi_assign(c->multi, fd, s); /* libcurl knows fd: it just told us */
    }
    uint32_t events = ((what & CURL_POLL_IN) != 0 ? (uint32_t)EPOLLIN : 0) |
                      ((what & CURL_POLL_OUT) != 0 ? (uint32_t)EPOLLOUT : 0);
    return loop_watch_level(c->loop, &s->watch, fd, events, on_event) == E_OK ? 0 : -1;
}

static void on_kick(struct deferred *d)
{
    act(container_of(d, struct kube_client, kick), CURL_SOCKET_TIMEOUT, 0);
}

static void on_timer_fired(struct timer *t)
{
    act(container_of(t, struct kube_client, timer), CURL_SOCKET_TIMEOUT, 0);
}

/* 0 is frequent, and the wheel would make 8 ms of it. */
static int on_timer(CURLM *multi, long ms, void *arg)
{
    struct kube_client *c = arg;
    (void)multi;
    loop_disarm(c->loop, &c->timer);
    loop_undefer(&c->kick);
    if (ms == 0) {
        loop_defer(c->loop, &c->kick, on_kick);
    } else if (ms > 0) {
        loop_arm(c->loop, &c->timer, (usec_t)ms * USEC_PER_MS, on_timer_fired);
    }
    return 0;
}

enum err multi_open(struct kube_client *c)
{
    CURLM *multi = curl_multi_init();
    if (multi == NULL) {
        return E_NOMEM;
    }
    /* these only store */
    (void)curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, c);
    (void)curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
    (void)curl_multi_setopt(multi, CURLMOPT_TIMERDATA, c);
    (void)curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    (void)curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)KUBE_CALLS_MAX);
    c->multi = multi;
    return E_OK;
}

/* All calls have been taken off before. */
void multi_close(struct kube_client *c)
{
    if (c->multi == NULL) {
        return;
    }
    (void)curl_multi_cleanup(c->multi); /* nothing is left to be said */
    c->multi = NULL;
    list_each(node, &c->sockets)
    {
        struct kube_socket *s = container_of(node, struct kube_socket, link);
        loop_forget(c->loop, &s->watch); /* libcurl has closed it */
        socket_free(s);
    }
    loop_disarm(c->loop, &c->timer);
    loop_undefer(&c->kick);
}

static uint16_t local_port(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof(a);
    if (getsockname(fd, (struct sockaddr *)&a, &n) < 0) {
        return 0;
    }
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&a)->sin6_port
                                         : ((struct sockaddr_in *)(void *)&a)->sin_port);
}

/* libcurl would go on using a half-open HTTP/2 connection; from a socket that was shut down it
 * learns that it is over, for all calls on it. While a call runs, its port is all that libcurl
 * tells of its connection. */
void multi_cut_silent(struct kube_client *c, CURL *easy, usec_t heard_at)
{
    long port = 0;
    if (curl_easy_getinfo(easy, CURLINFO_LOCAL_PORT, &port) != CURLE_OK || port <= 0) {
        return; /* not connected yet */
    }
    list_each(node, &c->sockets)
    {
        struct kube_socket *s = container_of(node, struct kube_socket, link);
        if (s->heard_at <= heard_at && local_port(s->watch.fd) == port) {
            (void)shutdown(s->watch.fd, SHUT_RDWR); /* fails when it is over already */
        }
    }
}
