/* The endpoint's end of a tunnel. When it stands, the stream's owner gets a response that only says
 * so; then bytes flow both ways. Whoever wanted something else than a tunnel gets none. */
#include "tcp/client.h"

#include <errno.h>
#include <sys/epoll.h>

#include "base/limits.h"
#include "base/mem.h"
#include "event/dial.h"
#include "tcp/end.h"
#include "wire/proxy_header.h"

struct conn {
    struct tcp_end end; /* first */
    struct tcp_dialer *dialer;
    struct http_conn base; /* what the pool sees */
    bool is_pooled;        /* the pool knows it */
};

static struct conn *conn_of(struct tcp_end *e)
{
    return container_of(e, struct conn, end);
}

/* ---- what the machine calls ---- */

static void conn_leave_pool(struct conn *c, enum reason why, bool has_connected)
{
    if (c->is_pooled) {
        c->is_pooled = false;
        c->base.events->on_closed(&c->base, why, has_connected);
    }
}

/* Connections break on the way to an endpoint or later; what was sent before they stand went
 * nowhere.
 */
static void on_broken(struct tcp_end *e, enum reason why)
{
    const struct http_stream_events *events = e->stream.events;
    bool has_connected = e->stream.connected != 0;
    e->stream.events = NULL;
    conn_leave_pool(conn_of(e), why, has_connected);
    if (events != NULL) {
        events->on_closed(&e->stream, why, !has_connected);
    }
}

static void on_over(struct tcp_end *e)
{
    conn_of(e)->dialer->dialer.conn_n--;
}

static void conn_announce(struct conn *c)
{
    struct tcp_end *e = &c->end;
    const struct http_response response = {
        .status = 200, .body = HTTP_BODY_STREAM, .is_tunnel = true};
    if (e->stream.events != NULL) {
        e->is_calling = true;
        e->stream.events->on_response(&e->stream, &response, STR_EMPTY, false);
        e->is_calling = false;
    }
}

static bool on_connecting(struct tcp_end *e, uint32_t events)
{
    struct conn *c = conn_of(e);
    struct stats_page *stats = e->context->stats;
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
        return false;
    }
    int error = dial_outcome(e->transport.watch.fd);
    if (error != 0) {
        stats_add(&stats->upstream_connect_failures, 1);
        tcp_end_break(e, error == ETIMEDOUT ? REASON_connect_timeout : REASON_connect_refused);
        return false;
    }
    stats_add(&stats->upstream_connects, 1);
    e->state = TCP_OPEN;
    e->stream.connected = clock_monotonic(); /* the tick's time is too coarse for durations */
    tcp_end_wait(e);
    c->base.events->on_connected(&c->base);
    conn_announce(c);
    return e->state == TCP_OPEN;
}

static const struct tcp_end_ops end_ops = {
    .on_connecting = on_connecting,
    .on_broken = on_broken,
    .on_over = on_over,
    .broken = REASON_upstream_cut,
};

/* ---- the stream's operations ---- */

static struct str header_make(const struct conn *c, const struct http_peer *peer, char *room,
                              size_t n)
{
    struct wr w = wr_make(room, n);
    struct proxy_header h = {
        .version = c->dialer->proxy_protocol,
        .is_local = peer->local_ip.family == 0, /* half of the truth cannot be said */
        .source = peer->ip,
        .destination = peer->local_ip,
        .source_port = peer->port,
        .destination_port = peer->local_port,
    };
    if (h.version != 0) {
        proxy_header_emit(&w, &h);
    }
    return str_make(room, wr_n(&w));
}

/* Always before the connection stands: the pool has just dialed it for this stream. */
static enum err stream_send_request(struct http_stream *s, const struct http_request *r,
                                    struct str body, bool is_end)
{
    struct tcp_end *e = tcp_end_of(s);
    char room[PROXY_V1_BYTES_MAX];
    if (r->tunnel == NULL) {
        return E_PROTO; /* its bytes would mean something else there */
    }
    enum err err =
        tcp_end_send_body(s, header_make(conn_of(e), r->peer, room, sizeof(room)), false);
    if (err == E_OK || err == E_AGAIN) {
        err = tcp_end_send_body(s, body, is_end);
    }
    e->is_send_blocked = err == E_OK || err == E_AGAIN;
    return e->is_send_blocked ? E_AGAIN : err; /* on_writable comes when it stands */
}

static void stream_release(struct http_stream *s)
{
    struct conn *c = conn_of(tcp_end_of(s));
    bool has_connected = s->connected != 0;
    tcp_end_release(s);
    conn_leave_pool(c, REASON_none, has_connected);
}

static const struct http_stream_ops stream_ops = {
    .send_request = stream_send_request,
    .send_body = tcp_end_send_body,
    .pull = tcp_end_pull,
    .release = stream_release,
};

/* ---- what the pool calls ---- */

static struct http_stream *conn_open(struct http_conn *base)
{
    struct conn *c = container_of(base, struct conn, base);
    must(base->stream_n == 0);
    base->stream_n = 1;
    return &c->end.stream;
}

static void conn_close(struct http_conn *base)
{
    struct conn *c = container_of(base, struct conn, base);
    c->is_pooled = false; /* it knows */
    tcp_end_break(&c->end, REASON_none);
}

static const struct http_conn_ops conn_ops = {
    .open = conn_open,
    .close = conn_close,
};

/* ---- dialing ---- */

static enum err conn_connect(struct conn *c, const struct ip *ip, uint16_t port)
{
    int fd = -1;
    TRY(dial_begin(ip, port, &fd));
    return transport_plain_open(&c->end.transport, c->end.context->loop, fd, tcp_end_on_event);
}

static enum err dialer_dial(struct http_dialer *base, const struct ip *ip, uint16_t port,
                            const struct http_conn_events *events, void *owner,
                            struct http_conn **ret)
{
    struct tcp_dialer *d = container_of(base, struct tcp_dialer, dialer);
    struct stats_page *stats = d->context->stats;
    struct conn *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        stats_add(&stats->limit_memory, 1);
        return E_NOMEM;
    }
    tcp_end_init(&c->end, d->context, &end_ops, &stream_ops, TCP_CONNECTING);
    enum err e = conn_connect(c, ip, port);
    if (e != E_OK) {
        stats_add(e == E_LIMIT ? &stats->limit_descriptors : &stats->upstream_connect_failures, 1);
        mem_free(c);
        return e;
    }
    c->dialer = d;
    base->conn_n++;
    c->is_pooled = true;
    c->base = (struct http_conn){&conn_ops, events, owner, .stream_max = 1};
    tcp_end_wait(&c->end);
    *ret = &c->base;
    return E_OK;
}

void tcp_dialer_init(struct tcp_dialer *d, struct tcp_context *context, uint8_t proxy_protocol)
{
    *d = (struct tcp_dialer){
        .dialer = {dialer_dial}, .context = context, .proxy_protocol = proxy_protocol};
}
