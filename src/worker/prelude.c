/* A visit is a connection on its way:
 *
 *   HEADER ──whole PROXY header──> HELLO ──whole ClientHello──> READY ──> a server, or a tunnel
 *      │                             │  └──no ClientHello, or too long a one──^  (the server)
 *      └──broken, too long───────────┴──too late, ended──> closed
 *
 * with HEADER and HELLO only where they are wanted. It begins on the stack: most of what is looked
 * for has come by the time the connection is accepted. One that has to wait gets memory, a timer
 * and a watch, and leaves them behind when it goes on: the server watches the socket anew and is
 * told of what lies there. Edge-triggered events and looking without taking: each segment that
 * arrives is an edge, whether or not what came before was read, so nothing is missed. A sender that
 * dribbles is looked at only when what is known to be needed has come: SO_RCVLOWAT. An end behind a
 * part comes as a hang-up, whatever that says; then what is there is all there will be. */
#include "worker/prelude.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/trust.h"
#include "route/query.h"
#include "route/tls_host.h"
#include "wire/client_hello.h"
#include "wire/proxy_header.h"

enum step { HEADER, HELLO, READY };

struct visit {
    int fd;
    enum step step;
    struct http1_server *server;
    struct http_peer peer;
    size_t low;      /* SO_RCVLOWAT */
    bool has_begun;  /* bytes of what is waited for have come */
    bool has_hangup; /* no more will */
};

/* Where a visit leads to. */
struct goal {
    const struct snap_tls_host *host; /* that is passed through; NULL: to the server */
    struct snapshot_segment *segment; /* that it lies in; borrowed */
    struct client_hello hello;        /* with host: who was asked for */
};

struct conn {
    struct watch watch;
    struct prelude *prelude;
    struct list link;
    struct timer timer;
    struct deferred work;
    struct visit visit;
};

static watch_fn conn_on_event;
static timer_fn conn_on_timer;

/* ---- the socket ---- */

/* What has come, at most room bytes, without taking it. Errors: E_AGAIN, E_CLOSED, E_SYS. */
static enum err visit_look(struct visit *v, char *p, size_t room, struct str *ret)
{
    ssize_t n = recv(v->fd, p, room, MSG_PEEK);
    if (n > 0) {
        v->has_begun = true;
        *ret = str_make(p, (size_t)n);
        return E_OK;
    }
    if (n == 0) {
        return E_CLOSED;
    }
    return errno == EAGAIN ? E_AGAIN : E_SYS;
}

static enum err visit_take(struct visit *v, char *p, size_t n)
{
    return recv(v->fd, p, n, 0) == (ssize_t)n ? E_OK : E_SYS;
}

/* The next event when so many bytes lie there. */
static void visit_set_low(struct visit *v, size_t n)
{
    int low = (int)n;
    if (v->low != n) {
        (void)setsockopt(v->fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)); /* more events */
        v->low = n;
    }
}

/* have_n bytes are there, need_n will be wanted at least. */
static void visit_wait_for(struct visit *v, size_t have_n, size_t need_n)
{
    if (need_n > have_n + 1) { /* else the next byte may be the last one */
        visit_set_low(v, need_n);
    }
}

/* ---- the PROXY header ---- */

static const struct snap_global *global_of(const struct snapshot *s)
{
    const struct snapshot_entry *e = snapshot_find(s, SNAP_GLOBAL, STR_EMPTY, hash_str(STR_EMPTY));
    return e == NULL ? NULL : (const struct snap_global *)(const void *)e->shard;
}

static bool wants_header(const struct prelude *p, const struct http_peer *peer)
{
    if (p->settings->use_proxy_protocol == 0) {
        return false;
    }
    const struct snap_global *global = global_of(p->snapshot);
    return global != NULL && http_trusts(global, &peer->ip);
}

/* ingress-nginx takes a connection that came to port 443 for one with TLS. */
enum { PORT_HTTPS = 443 };

static void peer_replace(struct http_peer *peer, const struct proxy_header *h)
{
    peer->is_tls_ahead = h->is_tls;
    if (h->is_local) {
        return;
    }
    peer->is_tls_ahead = h->is_tls || h->destination_port == PORT_HTTPS;
    peer->ip = ip_unmapped(&h->source); /* senders map when the two families differ */
    peer->port = h->source_port;
    peer->local_ip = ip_unmapped(&h->destination);
    peer->local_port = h->destination_port;
}

static void header_refuse(struct visit *v, struct str start, stats_value *counter)
{
    struct http_handler *handler = v->server->handler;
    stats_add(counter, 1);
    handler->on_rejected(handler, &v->peer, start, REASON_bad_proxy_header);
}

/* bytes are what lies there. */
static enum err header_judge(struct prelude *p, struct visit *v, struct str bytes)
{
    struct stats_page *stats = p->stats;
    struct proxy_header h;
    char room[PROXY_V2_BYTES_MAX];
    size_t n = 0;
    enum err e = proxy_header_parse(bytes, &h, &n);
    if (e == E_AGAIN && !v->has_hangup) {
        visit_wait_for(v, bytes.n, n);
        return E_AGAIN;
    }
    if (e != E_OK) {
        header_refuse(v, bytes,
                      e == E_AGAIN   ? &stats->proxy_headers_cut
                      : e == E_LIMIT ? &stats->proxy_headers_too_long
                                     : &stats->proxy_headers_invalid);
        return E_REFUSED;
    }
    TRY(visit_take(v, room, n));
    stats_add(h.is_local ? &stats->proxy_headers_local : &stats->proxy_headers_taken, 1);
    stats_add(&stats->bytes_in, n);
    peer_replace(&v->peer, &h);
    return E_OK;
}

static enum err header_step(struct prelude *p, struct visit *v)
{
    char room[PROXY_V2_BYTES_MAX];
    struct str bytes;
    enum err e = visit_look(v, room, sizeof(room), &bytes);
    if (e != E_OK && e != E_AGAIN && v->has_begun) { /* reset */
        header_refuse(v, STR_EMPTY, &p->stats->proxy_headers_cut);
    }
    return e != E_OK ? e : header_judge(p, v, bytes);
}

/* ---- the ClientHello ---- */

static bool wants_hello(const struct prelude *p, const struct http1_server *server)
{
    return server->opener != NULL && p->tunnels != NULL && p->snapshot->passthrough_n > 0;
}

static void goal_find(struct prelude *p, const struct visit *v, struct goal *goal)
{
    struct str name = str_make(goal->hello.name, goal->hello.name_n);
    struct str table = route_table(p->snapshot, v->peer.listener);
    const struct snap_tls_host *host = route_tls_host(p->snapshot, table, name, &goal->segment);
    bool is_passed = host != NULL && host->passthrough.key.n > 0;
    goal->host = is_passed ? host : NULL;
    stats_add(is_passed ? &p->stats->client_hellos_passed : &p->stats->client_hellos_terminated, 1);
}

/* What is no ClientHello, or one that we cannot see the end of, is for the server: TLS has answers
 * to that, and we have none. */
static enum err hello_judge(struct prelude *p, struct visit *v, struct str bytes, struct goal *goal)
{
    struct stats_page *stats = p->stats;
    char scratch[CLIENT_HELLO_BYTES_MAX];
    size_t n = 0;
    enum err e = client_hello_parse(bytes, scratch, &goal->hello, &n);
    if (e == E_AGAIN && !v->has_hangup) {
        visit_wait_for(v, bytes.n, n);
        return E_AGAIN;
    }
    if (e == E_AGAIN) {
        stats_add(&stats->client_hellos_cut, 1);
        return E_REFUSED;
    }
    if (e == E_OK) {
        goal_find(p, v, goal);
    } else {
        stats_add(e == E_LIMIT ? &stats->client_hellos_too_long : &stats->client_hellos_unreadable,
                  1);
    }
    return E_OK;
}

static enum err hello_step(struct prelude *p, struct visit *v, struct goal *goal)
{
    char room[CLIENT_HELLO_BYTES_MAX];
    struct str bytes;
    enum err e = visit_look(v, room, sizeof(room), &bytes);
    if (e != E_OK && e != E_AGAIN && v->has_begun) { /* reset */
        stats_add(&p->stats->client_hellos_cut, 1);
    }
    return e != E_OK ? e : hello_judge(p, v, bytes, goal);
}

/* ---- a visit ---- */

static void visit_enter(struct visit *v, enum step to)
{
    v->step = to;
    v->has_begun = false;
    visit_set_low(v, 1);
}

/* As far as it gets now. E_OK: ready for its goal. Errors: E_AGAIN (it waits), E_CLOSED, E_REFUSED,
 * E_SYS: it is to be closed. */
static enum err visit_advance(struct prelude *p, struct visit *v, struct goal *goal)
{
    goal->host = NULL;
    if (v->step == HEADER) {
        TRY(header_step(p, v));
        visit_enter(v, HELLO);
    }
    if (wants_hello(p, v->server)) { /* as of now: the configuration may have changed */
        TRY(hello_step(p, v, goal));
    }
    visit_enter(v, READY);
    return E_OK;
}

/* A server that drains has closed its idle connections: one that comes to it now without a request
 * would be one more. */
static bool is_too_late(struct visit *v)
{
    char c;
    struct str bytes;
    return v->server->is_draining && visit_look(v, &c, 1, &bytes) != E_OK;
}

static enum err visit_end(struct prelude *p, struct visit *v, const struct goal *goal)
{
    if (is_too_late(v)) {
        (void)close(v->fd);
        return E_OK;
    }
    if (goal->host == NULL) {
        return http1_server_accept(v->server, v->fd, &v->peer);
    }
    const struct http_tunnel where = {
        .service = snap_str_get(goal->host, goal->host->passthrough.key),
        .service_hash = goal->host->passthrough.hash,
        .segment = goal->segment,
    };
    struct str name = str_make(goal->hello.name, goal->hello.name_n);
    return tcp_server_accept(p->tunnels, v->fd, &v->peer, name, &where);
}

/* ---- those that wait ---- */

static void conn_free(struct deferred *d)
{
    mem_free(container_of(d, struct conn, work));
}

/* Out of everything; the descriptor is the caller's. */
static void conn_leave(struct conn *c)
{
    struct prelude *p = c->prelude;
    loop_unwatch(p->loop, &c->watch);
    loop_disarm(p->loop, &c->timer);
    list_del(&c->link);
    p->conn_n--;
    stats_sub(&p->stats->conns_idle, 1);
    loop_defer(p->loop, &c->work, conn_free);
}

static void conn_close(struct conn *c)
{
    int fd = c->visit.fd;
    conn_leave(c);
    (void)close(fd);
}

static void conn_arm(struct conn *c)
{
    const struct snap_settings *s = c->prelude->settings;
    loop_arm(c->prelude->loop, &c->timer,
             c->visit.step == HEADER ? s->proxy_protocol_header_timeout : s->client_header_timeout,
             conn_on_timer);
}

static void conn_run(struct conn *c)
{
    struct goal goal;
    enum step before = c->visit.step;
    enum err e = visit_advance(c->prelude, &c->visit, &goal);
    if (e == E_AGAIN) {
        if (c->visit.step != before) {
            conn_arm(c);
        }
        return;
    }
    if (e != E_OK) {
        conn_close(c);
        return;
    }
    conn_leave(c); /* c itself stays until the end of the tick */
    if (visit_end(c->prelude, &c->visit, &goal) != E_OK) {
        stats_add(&c->prelude->stats->accept_failed, 1);
    }
}

static void conn_on_event(struct watch *w, uint32_t events)
{
    struct conn *c = container_of(w, struct conn, watch);
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        c->visit.has_hangup = true;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        conn_run(c);
    }
}

static void conn_on_timer(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, timer);
    struct stats_page *stats = c->prelude->stats;
    if (c->visit.step != HEADER) {
        stats_add(&stats->timeout_client_handshake, 1);
    } else if (c->visit.has_begun) {
        header_refuse(&c->visit, STR_EMPTY, &stats->timeout_proxy_header);
    } else { /* nobody has said anything: no line in the log */
        stats_add(&stats->timeout_proxy_header, 1);
    }
    conn_close(c);
}

static enum err conn_new(struct prelude *p, const struct visit *v)
{
    struct conn *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        stats_add(&p->stats->limit_memory, 1);
        (void)close(v->fd); /* ours by contract */
        return E_NOMEM;
    }
    c->prelude = p;
    c->visit = *v;
    enum err e = loop_watch(p->loop, &c->watch, v->fd, conn_on_event);
    if (e != E_OK) {
        (void)close(v->fd);
        mem_free(c);
        return e;
    }
    list_append(&p->conns, &c->link);
    p->conn_n++;
    stats_add(&p->stats->conns_idle, 1);
    conn_arm(c);
    return E_OK;
}

/* ---- all of them ---- */

void prelude_init(struct prelude *p, struct loop *loop, const struct snapshot *snapshot,
                  const struct snap_settings *settings, struct stats_page *stats,
                  struct tcp_server *tunnels)
{
    *p = (struct prelude){.loop = loop,
                          .snapshot = snapshot,
                          .settings = settings,
                          .stats = stats,
                          .tunnels = tunnels};
    list_init(&p->conns);
}

static enum err visit_begin(struct prelude *p, struct visit *v)
{
    struct goal goal;
    enum err e = visit_advance(p, v, &goal);
    if (e == E_AGAIN) {
        return conn_new(p, v);
    }
    if (e == E_OK) {
        return visit_end(p, v, &goal);
    }
    (void)close(v->fd); /* counted, or closed by the client before it said anything */
    return E_OK;
}

enum err prelude_accept(struct prelude *p, struct http1_server *server, int fd,
                        const struct http_peer *peer)
{
    bool has_header = wants_header(p, peer);
    if (!has_header && !wants_hello(p, server)) {
        return http1_server_accept(server, fd, peer);
    }
    struct visit v = {
        .fd = fd, .step = has_header ? HEADER : HELLO, .server = server, .peer = *peer, .low = 1};
    return visit_begin(p, &v);
}

void prelude_drain(struct prelude *p)
{
    list_each(it, &p->conns)
    {
        struct conn *c = container_of(it, struct conn, link);
        if (!c->visit.has_begun) {
            conn_close(c);
        }
    }
}

void prelude_fini(struct prelude *p)
{
    while (!list_is_empty(&p->conns)) {
        struct conn *c = container_of(p->conns.next, struct conn, link);
        conn_close(c);
        loop_undefer(&c->work);
        mem_free(c);
    }
}
