/* Callbacks of libcurl only watch, arm and mark. */
#include "kube/multi.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "base/mem.h"

/* ---- libcurl as a whole ---- */

static void *on_calloc(size_t n, size_t size)
{
    return mem_calloc(n > 0 ? n : 1, size > 0 ? size : 1);
}

static void *on_malloc(size_t size)
{
    return mem_alloc(size > 0 ? size : 1);
}

static void *on_realloc(void *p, size_t size)
{
    return mem_resize(p, size > 0 ? size : 1, 1);
}

static char *on_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = mem_alloc(n);
    if (copy != NULL) {
        mem_copy(copy, text, n);
    }
    return copy;
}

enum err kube_curl_open(void)
{
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, on_malloc, mem_free, on_realloc, on_strdup,
                             on_calloc) != CURLE_OK) {
        return E_NOMEM;
    }
    int wanted = CURL_VERSION_SSL | CURL_VERSION_HTTP2;
    if ((curl_version_info(CURLVERSION_NOW)->features & wanted) != wanted) {
        curl_global_cleanup();
        return E_REFUSED;
    }
    return E_OK;
}

void kube_curl_close(void)
{
    curl_global_cleanup();
}

/* ---- sockets and the timer ---- */

struct kube_socket {
    struct watch watch;
    struct list link;
    struct kube_multi *multi;
    usec_t heard_at; /* something came */
};

/* libcurl told us of the ends: tell the owner, outside of libcurl. */
static void collect(struct kube_multi *m)
{
    int left;
    for (CURLMsg *msg; m->curl != NULL && (msg = curl_multi_info_read(m->curl, &left)) != NULL;) {
        if (msg->msg == CURLMSG_DONE) {
            m->on_done(m->arg, msg->easy_handle, msg->data.result);
        }
    }
}

/* Level-triggered sockets come again; the timer does not. */
static void act(struct kube_multi *m, curl_socket_t fd, int events)
{
    int running;
    CURLMcode code = curl_multi_socket_action(m->curl, fd, events, &running);
    collect(m);
    if (code != CURLM_OK) {
        m->on_broken(m->arg);
    }
}

static void on_event(struct watch *w, uint32_t events)
{
    struct kube_socket *s = container_of(w, struct kube_socket, watch);
    struct kube_multi *m = s->multi;
    bool has_failed = (events & (EPOLLERR | EPOLLHUP)) != 0; /* reading says what it was */
    bool is_readable = (events & EPOLLIN) != 0 || has_failed;
    bool is_writable = (events & EPOLLOUT) != 0 || has_failed;
    if (is_readable) {
        s->heard_at = loop_now(m->loop);
    }
    act(m, w->fd, (is_readable ? CURL_CSELECT_IN : 0) | (is_writable ? CURL_CSELECT_OUT : 0));
    /* s may be gone */
}

static void socket_free(struct kube_socket *s)
{
    list_del(&s->link);
    s->multi->socket_n--;
    mem_free(s);
}

/* A failure makes libcurl unusable: on_broken. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *arg_of_socket)
{
    struct kube_multi *m = arg;
    struct kube_socket *s = arg_of_socket;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL) {
            loop_unwatch(m->loop, &s->watch);
            socket_free(s);
        }
        return 0;
    }
    if (s == NULL) {
        s = mem_calloc(1, sizeof(*s));
        if (s == NULL) {
            return -1;
        }
        s->multi = m;
        s->heard_at = loop_now(m->loop);
        list_append(&m->sockets, &s->link);
        m->socket_n++;
        (void)curl_multi_assign(m->curl, fd, s); /* libcurl knows fd: it just told us */
    }
    uint32_t events = ((what & CURL_POLL_IN) != 0 ? (uint32_t)EPOLLIN : 0) |
                      ((what & CURL_POLL_OUT) != 0 ? (uint32_t)EPOLLOUT : 0);
    return loop_watch_level(m->loop, &s->watch, fd, events, on_event) == E_OK ? 0 : -1;
}

static void on_kick(struct deferred *d)
{
    act(container_of(d, struct kube_multi, kick), CURL_SOCKET_TIMEOUT, 0);
}

static void on_timer_fired(struct timer *t)
{
    act(container_of(t, struct kube_multi, timer), CURL_SOCKET_TIMEOUT, 0);
}

/* 0 is frequent, and the wheel would make 8 ms of it. */
static int on_timer(CURLM *curl, long ms, void *arg)
{
    struct kube_multi *m = arg;
    (void)curl;
    loop_disarm(m->loop, &m->timer);
    loop_undefer(&m->kick);
    if (ms == 0) {
        loop_defer(m->loop, &m->kick, on_kick);
    } else if (ms > 0) {
        loop_arm(m->loop, &m->timer, (usec_t)ms * USEC_PER_MS, on_timer_fired);
    }
    return 0;
}

void kube_multi_init(struct kube_multi *m)
{
    list_init(&m->sockets);
}

enum err kube_multi_open(struct kube_multi *m)
{
    CURLM *curl = curl_multi_init();
    if (curl == NULL) {
        return E_NOMEM;
    }
    /* these only store */
    (void)curl_multi_setopt(curl, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(curl, CURLMOPT_SOCKETDATA, m);
    (void)curl_multi_setopt(curl, CURLMOPT_TIMERFUNCTION, on_timer);
    (void)curl_multi_setopt(curl, CURLMOPT_TIMERDATA, m);
    m->curl = curl;
    return E_OK;
}

void kube_multi_close(struct kube_multi *m)
{
    if (m->curl == NULL) {
        return;
    }
    (void)curl_multi_cleanup(m->curl); /* nothing is left to be said */
    m->curl = NULL;
    list_each(node, &m->sockets)
    {
        struct kube_socket *s = container_of(node, struct kube_socket, link);
        loop_forget(m->loop, &s->watch); /* libcurl has closed it */
        socket_free(s);
    }
    loop_disarm(m->loop, &m->timer);
    loop_undefer(&m->kick);
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
void kube_multi_cut_silent(struct kube_multi *m, CURL *easy, usec_t heard_at)
{
    long port = 0;
    if (curl_easy_getinfo(easy, CURLINFO_LOCAL_PORT, &port) != CURLE_OK || port <= 0) {
        return; /* not connected yet */
    }
    list_each(node, &m->sockets)
    {
        struct kube_socket *s = container_of(node, struct kube_socket, link);
        if (s->heard_at <= heard_at && local_port(s->watch.fd) == port) {
            (void)shutdown(s->watch.fd, SHUT_RDWR); /* fails when it is over already */
        }
    }
}
