/* An HTTP/2 client of any kind against the server: bytes behind the preface, in pieces whose size
 * the first byte tells (an odd one: and it reads nothing before its end), to a handler whose way of
 * answering depends on the path. Whatever comes, no stream is told twice that it is over, all
 * memory is given back, and the budget ends at zero. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "http2/server.h"
#include "snapshot/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { OWNERS_MAX = 4096, TURNS = 2, LAST_TURNS = 8, BIG = 200 * 1000 };

struct owner {
    struct http_stream *stream; /* NULL: over */
    char way;
    bool has_responded;
};

static struct {
    struct http_handler handler;
    struct owner owners[OWNERS_MAX];
    size_t owner_n;
    char big[BIG];
} world;

static void owner_release(struct owner *o)
{
    struct http_stream *s = o->stream;
    o->stream = NULL;
    s->ops->release(s);
}

static void owner_answer(struct owner *o, struct str body, bool is_end)
{
    must(o->stream->ops->room(o->stream) > 0);
    static const struct field fields[] = {
        {STR_INIT("X-A"), STR_INIT("b"), FIELD_OTHER, 0}
    };
    struct http_response r = {.status = o->way == 'n' ? 204 : 200,
                              .fields = fields,
                              .field_n = 1,
                              .body = o->way == 'n' ? HTTP_BODY_NONE : HTTP_BODY_STREAM};
    o->has_responded = true;
    (void)o->stream->ops->send_response(o->stream, &r, body, is_end); /* the client may be gone */
}

static void on_body(struct http_stream *s, struct str data, bool is_end)
{
    struct owner *o = s->owner;
    must(o->stream == s);
    if (!o->has_responded) {
        owner_answer(o, data, is_end);
    } else {
        (void)s->ops->send_body(s, data, is_end); /* the client may be gone */
    }
    if (is_end || o->way == 'c') {
        owner_release(o);
    } else {
        s->ops->pull(s);
    }
}

static void on_writable(struct http_stream *s)
{
    struct owner *o = s->owner;
    must(o->stream == s);
    if (o->way == 'b') {
        s->to_send = (struct http_trailers){s->received.fields, s->received.n};
        (void)s->ops->send_body(s, STR("end"), true); /* the client may be gone */
        owner_release(o);
    }
}

static void on_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    struct owner *o = s->owner;
    (void)why;
    must(o->stream == s && !is_unsent);
    o->stream = NULL;
}

static const struct http_stream_events events = {
    .on_body = on_body, .on_writable = on_writable, .on_closed = on_closed};

static void on_request(struct http_handler *h, struct http_stream *s, const struct http_request *r,
                       struct str body, bool is_end)
{
    (void)h;
    must(r->head.n <= 3 * HEAD_BYTES_MAX && r->field_n <= HEAD_FIELDS_MAX + 2);
    for (uint32_t i = 0; i < r->field_n; i++) { /* the seam's promise: all of it in one run */
        must(r->fields[i].name.p >= r->head.p &&
             r->fields[i].value.p + r->fields[i].value.n <= r->head.p + r->head.n);
    }
    if (world.owner_n == OWNERS_MAX) {
        s->ops->release(s);
        return;
    }
    struct owner *o = &world.owners[world.owner_n++];
    *o = (struct owner){s, r->target.n > 1 ? r->target.p[1] : 'a', false};
    s->events = &events;
    s->owner = o;
    switch (o->way) {
    case 'h': /* never */
        return;
    case 'r': /* unanswered */
        owner_release(o);
        return;
    case 'b': /* more than any window */
        owner_answer(o, str_make(world.big, BIG), false);
        return;
    case 'e': /* back what comes, as it comes */
    case 'c': /* the same, cut off */
        if (!is_end) {
            owner_answer(o, body, false);
            s->ops->pull(s);
            return;
        }
        break;
    default:
        break;
    }
    owner_answer(o, body, true);
    owner_release(o);
}

static void on_rejected(struct http_handler *h, const struct http_peer *peer, struct str start,
                        enum reason why)
{
    (void)h;
    must(peer != NULL && start.n <= HEAD_BYTES_MAX && reason_status(why) >= 400);
}

static void turn(struct loop *loop, int fd, int turns, bool reads)
{
    char sink[65536];
    for (int i = 0; i < turns; i++) {
        must(loop_step(loop, 0) == E_OK);
        while (reads && recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0) {
        }
    }
}

static void feed(struct loop *loop, int fd, const uint8_t *p, size_t n, size_t piece, bool reads)
{
    while (n > 0) {
        size_t m = n < piece ? n : piece;
        ssize_t sent = send(fd, p, m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent <= 0) {
            return; /* it has had enough of us */
        }
        p += sent;
        n -= (size_t)sent;
        turn(loop, fd, TURNS, reads);
    }
}

/* The server takes the transport over before anything can happen. */
static void on_early_event(struct watch *w, uint32_t ev)
{
    (void)w;
    (void)ev;
    must(false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct stats_page stats;
    struct snap_settings settings = snap_settings_default;
    struct http_budget budget = {.max = 1 << 30};
    struct http2_context context;
    struct http2_server server;
    struct http_peer peer = {.ip = {.family = 4}};
    struct transport transport;
    struct loop *loop;
    int fds[2];
    size_t piece = n > 0 ? (size_t)data[0] * 64 + 1 : 1;
    world.handler = (struct http_handler){on_request, on_rejected};
    world.owner_n = 0;
    must(loop_new(&loop) == E_OK);
    must(http2_context_init(&context, loop, &settings, &budget, &stats) == E_OK);
    must(http2_server_init(&server, &context, &world.handler, &stats) == E_OK);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    must(transport_plain_open(&transport, loop, fds[0], on_early_event) == E_OK);
    struct str preface = STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0");
    must(http2_server_take(&server, &transport, &peer, preface) == E_OK);
    feed(loop, fds[1], data, n, piece, n == 0 || data[0] % 2 == 0);
    turn(loop, fds[1], LAST_TURNS, true);
    http2_server_fini(&server);
    turn(loop, fds[1], LAST_TURNS, true);
    for (size_t i = 0; i < world.owner_n; i++) {
        must(world.owners[i].stream == NULL);
    }
    must(budget.used == 0 && server.conn_n == 0);
    http2_context_fini(&context);
    loop_free(loop);
    (void)close(fds[1]); /* ours alone */
    return 0;
}
