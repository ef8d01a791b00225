/* The client's end of a tunnel. Not a byte of it is read before the handler pulls, so what the
 * client has sent waits in the kernel until an endpoint is there to take it: connecting can be
 * tried as often as it takes. */
#include "tcp/server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tcp/end.h"

struct conn {
    struct tcp_end end; /* first */
    struct tcp_server *server;
    struct list link;
    struct http_peer peer;
    struct http_tunnel where;
    size_t name_n;
    char name[SERVER_NAME_BYTES_MAX];
};

static struct conn *conn_of(struct tcp_end *e)
{
    return container_of(e, struct conn, end);
}

/* ---- what the machine calls ---- */

static bool on_connecting(struct tcp_end *e, uint32_t events)
{
    (void)e;
    (void)events;
    return true; /* it was accepted: it stands */
}

static void on_broken(struct tcp_end *e, enum reason why)
{
    const struct http_stream_events *events = e->stream.events;
    e->stream.events = NULL;
    if (events != NULL) {
        events->on_closed(&e->stream, why, false);
    }
}

static void on_over(struct tcp_end *e)
{
    struct conn *c = conn_of(e);
    list_del(&c->link);
    c->server->conn_n--;
    stats_sub(&e->context->stats->conns_active, 1);
    stats_sub(&e->context->stats->tunnels, 1);
}

static const struct tcp_end_ops end_ops = {
    .on_connecting = on_connecting,
    .on_broken = on_broken,
    .on_over = on_over,
    .broken = REASON_client_abort,
    .is_client = true,
};

/* ---- the stream's operations ---- */

/* There is no head to send. What is no tunnel is an answer of our own, which nobody would
 * understand: the release that follows cuts the connection. */
static enum err stream_send_response(struct http_stream *s, const struct http_response *r,
                                     struct str body, bool is_end)
{
    return r->is_tunnel ? tcp_end_send_body(s, body, is_end) : E_OK;
}

static void stream_send_interim(struct http_stream *s, const struct http_response *r)
{
    (void)s;
    (void)r; /* nothing of the kind exists here */
}

static const struct http_stream_ops stream_ops = {
    .send_response = stream_send_response,
    .send_interim = stream_send_interim,
    .send_body = tcp_end_send_body,
    .pull = tcp_end_pull,
    .release = tcp_end_release,
};

/* ---- accepting ---- */

/* Endpoints may be told where the client came to, by a PROXY header of ours. */
static void local_ip_find(int fd, struct http_peer *peer)
{
    struct sockaddr_storage at = {0};
    socklen_t n = sizeof(at);
    if (peer->local_ip.family != 0 || getsockname(fd, (struct sockaddr *)&at, &n) != 0) {
        return;
    }
    if (at.ss_family == AF_INET) {
        peer->local_ip.family = 4;
        mem_copy(peer->local_ip.bytes, &((struct sockaddr_in *)(void *)&at)->sin_addr, 4);
    } else if (at.ss_family == AF_INET6) {
        peer->local_ip.family = 6;
        mem_copy(peer->local_ip.bytes, &((struct sockaddr_in6 *)(void *)&at)->sin6_addr, 16);
        peer->local_ip = ip_unmapped(&peer->local_ip);
    }
}

static struct conn *conn_new(struct tcp_server *s, const struct http_peer *peer, struct str name,
                             const struct http_tunnel *where)
{
    struct conn *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        stats_add(&s->context->stats->limit_memory, 1);
        return NULL;
    }
    tcp_end_init(&c->end, s->context, &end_ops, &stream_ops, TCP_OPEN);
    c->server = s;
    c->peer = *peer;
    c->where = *where;
    c->name_n = str_first(name, sizeof(c->name)).n;
    mem_copy(c->name, name.p, c->name_n);
    return c;
}

/* The log wants a line that looks like one of a request. */
static struct http_request request_of(const struct conn *c)
{
    struct str name = str_make(c->name, c->name_n);
    return (struct http_request){
        .head = name,
        .method = STR("TCP"),
        .authority = name,
        .target = name.n > 0 ? name : STR("-"),
        .body = HTTP_BODY_STREAM,
        .peer = &c->peer,
        .tunnel = &c->where,
    };
}

static void conn_begin(struct conn *c)
{
    struct tcp_server *s = c->server;
    struct http_request request = request_of(c);
    list_append(&s->conns, &c->link);
    s->conn_n++;
    stats_add(&s->context->stats->conns_active, 1);
    stats_add(&s->context->stats->tunnels, 1);
    s->handler->on_request(s->handler, &c->end.stream, &request, STR_EMPTY, false);
}

enum err tcp_server_accept(struct tcp_server *s, int fd, const struct http_peer *peer,
                           struct str name, const struct http_tunnel *where)
{
    struct conn *c = conn_new(s, peer, name, where);
    if (c == NULL) {
        (void)close(fd); /* ours by contract */
        return E_NOMEM;
    }
    local_ip_find(fd, &c->peer);
    enum err e = transport_plain_open(&c->end.transport, s->context->loop, fd, tcp_end_on_event);
    if (e != E_OK) {
        mem_free(c);
        return e;
    }
    conn_begin(c);
    return E_OK;
}

/* ---- the server ---- */

void tcp_server_init(struct tcp_server *s, struct tcp_context *context,
                     struct http_handler *handler)
{
    *s = (struct tcp_server){.context = context, .handler = handler};
    list_init(&s->conns);
}

void tcp_server_fini(struct tcp_server *s)
{
    while (!list_is_empty(&s->conns)) {
        struct conn *c = container_of(s->conns.next, struct conn, link);
        tcp_end_break(&c->end, REASON_draining);
    }
}
