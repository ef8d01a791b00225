/* An HTTP/2 server of any kind against the client: bytes in pieces whose size the first byte tells,
 * to a connection with requests of every sort on it. Whatever comes, no stream is told twice that
 * it is over, a response has one head, the pool's figures are right, all memory is given back, and
 * the budget ends at zero. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "http2/client.h"
#include "snapshot/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { OWNERS_MAX = 64, AT_ONCE = 8, TURNS = 4, BIG = 200 * 1000 };

struct owner {
    struct http_stream *stream; /* NULL: over */
    unsigned way;
    bool has_responded, has_ended;
    uint64_t length, got; /* with has_length */
    bool has_length;
};

static struct {
    struct transport_opener opener;
    struct loop *loop;
    struct http_conn *conn; /* NULL: it is gone */
    struct owner owners[OWNERS_MAX];
    size_t owner_n;
    int fd; /* the server's */
    char big[BIG];
} world;

/* ---- the owners of streams ---- */

static void owner_release(struct owner *o)
{
    struct http_stream *s = o->stream;
    o->stream = NULL;
    s->ops->release(s);
}

static void owner_take(struct owner *o, struct str data, bool is_end)
{
    must(o->stream != NULL && !o->has_ended);
    o->got += data.n;
    must(!o->has_length || (o->got <= o->length && (!is_end || o->got == o->length)));
    o->has_ended = is_end;
    if (o->way % 7 == 3) { /* enough of it */
        owner_release(o);
    } else if (is_end && o->way % 7 != 4) {
        owner_release(o);
    } else if (!is_end && o->way % 7 != 5) {
        o->stream->ops->pull(o->stream);
    }
}

static void on_response(struct http_stream *s, const struct http_response *r, struct str body,
                        bool is_end)
{
    struct owner *o = s->owner;
    must(o->stream == s && !o->has_responded && r->status >= 101 && r->status <= 999);
    must(r->is_tunnel == (r->status == 101) && r->field_n <= HEAD_FIELDS_MAX + 3);
    o->has_responded = true;
    o->has_length = r->body == HTTP_BODY_LENGTH;
    o->length = r->body_n;
    owner_take(o, body, is_end);
}

static void on_interim(struct http_stream *s, const struct http_response *r)
{
    struct owner *o = s->owner;
    must(o->stream == s && !o->has_responded && r->status > 101 && r->status < 200);
}

static void on_body(struct http_stream *s, struct str data, bool is_end)
{
    struct owner *o = s->owner;
    must(o->stream == s && o->has_responded);
    owner_take(o, data, is_end);
}

static void on_writable(struct http_stream *s)
{
    struct owner *o = s->owner;
    must(o->stream == s);
    (void)s->ops->send_body(s, STR("end"), true); /* the server may be gone */
}

static void on_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    struct owner *o = s->owner;
    (void)why;
    must(o->stream == s && !(is_unsent && o->has_responded));
    o->stream = NULL;
}

static const struct http_stream_events events = {
    .on_response = on_response,
    .on_interim = on_interim,
    .on_body = on_body,
    .on_writable = on_writable,
    .on_closed = on_closed,
};

/* ---- requests ---- */

static void request_send(struct owner *o)
{
    static const struct field fields[] = {
        {STR_INIT("X-A"),               STR_INIT("b"),                        FIELD_OTHER, 0},
        {STR_INIT("Sec-WebSocket-Key"), STR_INIT("dGhlIHNhbXBsZSBub25jZQ=="), FIELD_OTHER, 0},
    };
    unsigned kind = o->way % 4;
    struct http_request r = {.method = kind == 1 ? STR("HEAD") : STR("POST"),
                             .authority = STR("a.test"),
                             .target = STR("/"),
                             .fields = fields,
                             .field_n = 2,
                             .is_head = kind == 1,
                             .upgrade = kind == 3 ? STR("websocket") : STR_EMPTY,
                             .body = kind == 2 ? HTTP_BODY_STREAM : HTTP_BODY_NONE};
    struct str body = kind == 2 ? str_make(world.big, BIG) : STR_EMPTY;
    enum err e = o->stream->ops->send_request(o->stream, &r, body, kind != 2);
    must(e == E_OK || e == E_AGAIN);
    if (o->way % 7 != 5) {
        o->stream->ops->pull(o->stream);
    }
}

static void ask(void)
{
    struct http_conn *c = world.conn;
    while (c != NULL && world.owner_n < OWNERS_MAX && c->stream_n < c->stream_max &&
           c->stream_n < AT_ONCE) {
        struct owner *o = &world.owners[world.owner_n];
        *o = (struct owner){.way = (unsigned)world.owner_n++};
        o->stream = c->ops->open(c);
        must(o->stream != NULL);
        o->stream->events = &events;
        o->stream->owner = o;
        request_send(o);
    }
}

/* ---- the pool ---- */

static void on_connected(struct http_conn *c)
{
    must(c == world.conn);
}

static void on_free(struct http_conn *c)
{
    must(c == world.conn && c->stream_n < AT_ONCE);
}

static void on_conn_closed(struct http_conn *c, enum reason why, bool has_connected)
{
    (void)why;
    (void)has_connected;
    must(c == world.conn);
    world.conn = NULL;
}

static const struct http_conn_events conn_events = {
    .on_connected = on_connected,
    .on_free = on_free,
    .on_capacity = on_connected,
    .on_closed = on_conn_closed,
};

/* A pair of sockets in place of the one that is being connected. */
static enum err open_pair(struct transport_opener *opener, struct transport *t, struct loop *loop,
                          int fd, watch_fn *on_event)
{
    int fds[2];
    (void)opener;
    (void)close(fd); /* never connected */
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    world.fd = fds[1];
    return transport_plain_open(t, loop, fds[0], on_event);
}

/* ---- the server ---- */

static void turn(void)
{
    char sink[65536];
    for (int i = 0; i < TURNS; i++) {
        must(loop_step(world.loop, 0) == E_OK);
        while (recv(world.fd, sink, sizeof(sink), MSG_DONTWAIT) > 0) {
        }
    }
}

static void feed(const uint8_t *p, size_t n, size_t piece)
{
    while (n > 0) {
        size_t m = n < piece ? n : piece;
        ssize_t sent = send(world.fd, p, m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent <= 0) {
            return; /* it has had enough of us */
        }
        p += sent;
        n -= (size_t)sent;
        turn();
        ask();
    }
}

static void owners_end(void)
{
    for (size_t i = 0; i < world.owner_n; i++) {
        if (world.owners[i].stream != NULL) {
            owner_release(&world.owners[i]);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct stats_page stats;
    static const struct ip ip = {
        4, {127, 0, 0, 1}
    };
    struct snap_settings settings = snap_settings_default;
    struct http_budget budget = {.max = 1 << 30};
    struct http2_context context;
    struct http2_dialer dialer;
    size_t piece = n > 0 ? (size_t)data[0] * 64 + 1 : 1;
    world.opener.open = open_pair;
    world.owner_n = 0;
    must(loop_new(&world.loop) == E_OK);
    must(http2_context_init(&context, world.loop, &settings, &budget, &stats) == E_OK);
    must(http2_dialer_init(&dialer, &context, &stats, &world.opener) == E_OK);
    must(dialer.dialer.dial(&dialer.dialer, &ip, 9, &conn_events, NULL, &world.conn) == E_OK);
    ask();
    turn();
    if (n > 0) {
        feed(data + 1, n - 1, piece);
    }
    if (n % 2 == 0) { /* the server ends; or we do */
        must(shutdown(world.fd, SHUT_WR) == 0);
        turn();
        owners_end();
        turn();
    }
    if (world.conn != NULL) {
        world.conn->ops->close(world.conn);
        world.conn = NULL;
    }
    turn();
    for (size_t i = 0; i < world.owner_n; i++) {
        must(world.owners[i].stream == NULL);
    }
    must(budget.used == 0 && dialer.dialer.conn_n == 0);
    http2_dialer_fini(&dialer);
    http2_context_fini(&context);
    loop_free(world.loop);
    (void)close(world.fd); /* ours alone */
    return 0;
}
