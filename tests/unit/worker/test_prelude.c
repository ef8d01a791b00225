/* PROXY headers ahead of HTTP, and ClientHellos of hosts that are passed through, over real TCP
 * connections: whatever way the bytes come, who is behind sees the client they tell of and every
 * byte that is his; what is no header is refused and counted; nothing waits for ever. */
#include "worker/prelude.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../lib/snapshot_make.h"
#include "base/mem.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2_TCP4   SIGNATURE "\x21\x11\0\x0c\xcb\0\x71\x09\xcb\0\x71\x01\x1f\x90\0\x50"
#define V1_TCP4   "PROXY TCP4 203.0.113.9 203.0.113.1 8080 80\r\n"
#define REQUEST   "GET / HTTP/1.0\r\n\r\n"

enum { SEGMENTS_MAX = 8 };

struct world {
    struct loop *loop;
    struct buf segments[SEGMENTS_MAX];
    int segment_n;
    struct snapshot snapshot;
    struct snap_settings settings;
    struct http_budget budget;
    struct http1_context context;
    struct http1_server server, tls; /* tls: takes any bytes for TLS */
    struct transport_opener opener;
    struct tcp_context tcp;
    struct tcp_server tunnels;
    struct http_handler handler;
    struct prelude prelude;
    struct stats_page *stats;
    int listen_fd;
    uint16_t port;
    size_t request_n, rejected_n;
    struct http_peer peer; /* of the last request, or of what was rejected */
    enum reason why;
    struct str start; /* of what was rejected */
    char text[4096];  /* what came through tunnels */
    size_t text_n, tunnel_n;
    char name[256], service[256]; /* of the last tunnel */
};

static struct world *tunnel_world;

static void on_tunnel_body(struct http_stream *s, struct str data, bool is_end)
{
    struct world *w = tunnel_world;
    assert_true(data.n <= sizeof(w->text) - w->text_n);
    mem_copy(w->text + w->text_n, data.p, data.n);
    w->text_n += data.n;
    if (is_end) {
        s->ops->release(s);
    } else {
        s->ops->pull(s);
    }
}

static void on_tunnel_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    (void)s;
    (void)why;
    (void)is_unsent;
}

static void on_tunnel(struct world *w, struct http_stream *s, const struct http_request *r)
{
    static const struct http_stream_events events = {.on_body = on_tunnel_body,
                                                     .on_closed = on_tunnel_closed};
    s->events = &events;
    w->tunnel_n++;
    w->peer = *r->peer;
    (void)snprintf(w->name, sizeof(w->name), "%.*s", STR_ARG(r->authority));
    (void)snprintf(w->service, sizeof(w->service), "%.*s", STR_ARG(r->tunnel->service));
    assert_int_equal(r->tunnel->service_hash, hash_str(r->tunnel->service));
    tunnel_world = w;
    s->ops->pull(s);
}

static void on_request(struct http_handler *h, struct http_stream *s, const struct http_request *r,
                       struct str body, bool is_end)
{
    struct world *w = container_of(h, struct world, handler);
    struct http_response response = {.status = 204};
    static const struct http_stream_events events = {0};
    (void)body;
    if (r->tunnel != NULL) {
        on_tunnel(w, s, r);
        return;
    }
    assert_true(is_end && str_eq(r->target, STR("/")));
    s->events = &events;
    w->request_n++;
    w->peer = *r->peer;
    assert_int_equal(s->ops->send_response(s, &response, STR_EMPTY, true), E_OK);
    s->ops->release(s);
}

static void on_rejected(struct http_handler *h, const struct http_peer *peer, struct str start,
                        enum reason why)
{
    struct world *w = container_of(h, struct world, handler);
    w->start.n = start.n < 8 ? start.n : 8;
    mem_copy(w->text, start.p, w->start.n);
    w->start.p = w->text;
    w->rejected_n++;
    w->peer = *peer;
    w->why = why;
}

static struct make_set set;

/* The whole state; with a host that is passed through or without. */
static void snapshot_set(struct world *w, bool has_passthrough)
{
    struct snapshot_fault fault = {0};
    struct buf *segment = &w->segments[w->segment_n++];
    assert_true(w->segment_n < SEGMENTS_MAX);
    assert_int_equal(make_global(make_next(&set), "ingress"), E_OK);
    assert_int_equal(make_tls_host(make_next(&set), "ingress", "", ""), E_OK);
    if (has_passthrough) {
        assert_int_equal(make_tls_host(make_next(&set), "ingress", "*.example.com", "ns/pass/443"),
                         E_OK);
    }
    buf_init(segment, 1 << 20);
    assert_int_equal(make_segment(&set, segment, 0, (uint64_t)w->segment_n), E_OK);
    make_clear(&set);
    struct snapshot_segment *s = make_open(segment->p, segment->n, &fault);
    assert_non_null(s);
    assert_int_equal(snapshot_apply(&w->snapshot, s, NULL, NULL), E_OK);
    snapshot_segment_unref(s);
}

static enum err open_plain(struct transport_opener *o, struct transport *t, struct loop *loop,
                           int fd, watch_fn *on_event)
{
    (void)o;
    return transport_plain_open(t, loop, fd, on_event);
}

static void world_init(struct world *w)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t n = sizeof(in);
    *w = (struct world){
        .handler = {on_request, on_rejected}
    };
    snapshot_init(&w->snapshot);
    snapshot_set(w, false);
    w->settings = snap_settings_default;
    w->settings.use_proxy_protocol = 1;
    w->budget.max = UINT64_MAX;
    w->stats = aligned_alloc(64, sizeof(*w->stats));
    memset(w->stats, 0, sizeof(*w->stats));
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    w->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(w->listen_fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(w->listen_fd, 64), 0);
    assert_int_equal(getsockname(w->listen_fd, (struct sockaddr *)&in, &n), 0);
    w->port = ntohs(in.sin_port);
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(http1_context_init(&w->context, w->loop, &w->settings, &w->budget), E_OK);
    http1_server_init(&w->server, &w->context, &w->handler, w->stats);
    http1_server_init(&w->tls, &w->context, &w->handler, w->stats);
    w->opener.open = open_plain;
    w->tls.opener = &w->opener;
    assert_int_equal(tcp_context_init(&w->tcp, w->loop, &w->settings, &w->budget, w->stats), E_OK);
    tcp_server_init(&w->tunnels, &w->tcp, &w->handler);
    prelude_init(&w->prelude, w->loop, &w->snapshot, &w->settings, w->stats, &w->tunnels);
}

static void world_fini(struct world *w)
{
    prelude_fini(&w->prelude);
    http1_server_fini(&w->server);
    http1_server_fini(&w->tls);
    tcp_server_fini(&w->tunnels);
    assert_int_equal(loop_step(w->loop, 0), E_OK);
    assert_int_equal(w->prelude.conn_n + w->server.conn_n + w->tls.conn_n + w->tunnels.conn_n, 0);
    assert_int_equal(stats_get(&w->stats->conns_idle), 0);
    assert_int_equal(stats_get(&w->stats->conns_active), 0);
    http1_context_fini(&w->context);
    tcp_context_fini(&w->tcp);
    loop_free(w->loop);
    snapshot_fini(&w->snapshot);
    for (int i = 0; i < w->segment_n; i++) {
        buf_fini(&w->segments[i]);
    }
    (void)close(w->listen_fd);
    free(w->stats);
}

static void run(struct world *w)
{
    for (int i = 0; i < 4; i++) {
        assert_int_equal(loop_step(w->loop, 0), E_OK);
    }
}

/* Both ends of a new connection. */
static int connect_pair(const struct world *w, int *ret_accepted)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(w->port)};
    int one = 1;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
    *ret_accepted = accept4(w->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(*ret_accepted >= 0);
    return fd;
}

/* From 10.1.2.3, whose word is taken, or from 192.0.2.7, whose is not. */
static struct http_peer peer_make(bool is_trusted)
{
    struct http_peer peer = {
        .ip = {4, {10, 1, 2, 3}},
          .port = 1111, .local_port = 8000, .listener = STR("http")
    };
    if (!is_trusted) {
        peer.ip = (struct ip){
            4, {192, 0, 2, 7}
        };
    }
    return peer;
}

static int visit_from(struct world *w, bool is_trusted)
{
    struct http_peer peer = peer_make(is_trusted);
    int accepted;
    int fd = connect_pair(w, &accepted);
    assert_int_equal(prelude_accept(&w->prelude, &w->server, accepted, &peer), E_OK);
    run(w);
    return fd;
}

/* Many small segments wait in the sender for acknowledgements that the kernel puts off. */
static void run_until(struct world *w, const size_t *what, size_t is)
{
    for (int i = 0; i < 400 && *what != is; i++) {
        assert_int_equal(loop_step(w->loop, 5 * USEC_PER_MS), E_OK);
    }
    assert_int_equal(*what, is);
}

static void say(struct world *w, int fd, struct str bytes)
{
    assert_int_equal(send(fd, bytes.p, bytes.n, MSG_NOSIGNAL), bytes.n);
    run(w);
}

/* Whether the other side has ended; what it sent before is read. */
static bool is_over(struct world *w, int fd)
{
    char room[4096];
    ssize_t n;
    run(w);
    while ((n = recv(fd, room, sizeof(room), MSG_DONTWAIT)) > 0) {
    }
    return n == 0 || errno != EAGAIN;
}

static void expect_peer(const struct http_peer *p, const char *ip, uint16_t port,
                        const char *local_ip, uint16_t local_port)
{
    struct ip want = {0};
    assert_int_equal(ip_parse(str_from_cstr(ip), &want), E_OK);
    assert_int_equal(ip_cmp(&p->ip, &want), 0);
    assert_int_equal(p->port, port);
    assert_int_equal(p->local_port, local_port);
    if (local_ip == NULL) {
        assert_int_equal(p->local_ip.family, 0);
    } else {
        assert_int_equal(ip_parse(str_from_cstr(local_ip), &want), E_OK);
        assert_int_equal(ip_cmp(&p->local_ip, &want), 0);
    }
    assert_true(str_eq(p->listener, STR("http")));
}

/* ---- what is taken ---- */

static void nothing_is_wanted(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    for (int i = 0; i < 2; i++) {
        w.settings.use_proxy_protocol = (uint64_t)i; /* off, or on and not believed */
        int fd = visit_from(&w, i == 0);
        assert_int_equal(w.prelude.conn_n, 0);
        assert_int_equal(w.server.conn_n, 1);
        say(&w, fd, STR(REQUEST));
        expect_peer(&w.peer, i == 0 ? "10.1.2.3" : "192.0.2.7", 1111, NULL, 8000);
        (void)close(fd);
        run(&w);
    }
    assert_int_equal(w.request_n, 2);
    world_fini(&w);
}

/* Somebody whose word is not taken may not say it: the bytes are a bad request. */
static void not_from_anybody(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    int fd = visit_from(&w, false);
    say(&w, fd, STR(V1_TCP4 REQUEST));
    assert_int_equal(w.request_n, 0);
    assert_int_equal(w.rejected_n, 1);
    assert_int_equal(w.why, REASON_bad_request);
    expect_peer(&w.peer, "192.0.2.7", 1111, NULL, 8000);
    (void)close(fd);
    world_fini(&w);
}

/* clang-format off */
static const struct {
    struct str header;
    const char *ip, *local_ip; /* NULL: the connection's own */
    uint16_t port, local_port;
    bool is_tls_ahead;
} headers[] = {
    {STR_INIT(V1_TCP4), "203.0.113.9", "203.0.113.1", 8080, 80, false},
    {STR_INIT(V2_TCP4), "203.0.113.9", "203.0.113.1", 8080, 80, false},
    {STR_INIT("PROXY TCP4 203.0.113.9 203.0.113.1 8080 443\r\n"), "203.0.113.9", "203.0.113.1", 8080, 443, true},
    {STR_INIT("PROXY TCP6 2001:db8::9 2001:db8::1 8080 8443\r\n"), "2001:db8::9", "2001:db8::1", 8080, 8443, false},
    {STR_INIT("PROXY TCP6 ::ffff:203.0.113.9 2001:db8::1 8080 80\r\n"), "203.0.113.9", "2001:db8::1", 8080, 80, false},
    {STR_INIT("PROXY UNKNOWN\r\n"), "10.1.2.3", NULL, 1111, 8000, false},
    {STR_INIT("PROXY UNKNOWN 203.0.113.9 203.0.113.1 8080 443\r\n"), "10.1.2.3", NULL, 1111, 8000, false},
    {STR_INIT(SIGNATURE "\x20\0\0\0"), "10.1.2.3", NULL, 1111, 8000, false},
    {STR_INIT(SIGNATURE "\x21\0\0\0"), "10.1.2.3", NULL, 1111, 8000, false},
    {STR_INIT(SIGNATURE "\x21\x11\0\x14\xcb\0\x71\x09\xcb\0\x71\x01\x1f\x90\0\x50\x20\0\5\1\0\0\0\0"), "203.0.113.9", "203.0.113.1", 8080, 80, true},
};
/* clang-format on */

enum { HEADERS_N = sizeof(headers) / sizeof(headers[0]) };

static void expect_header(struct world *w, size_t i)
{
    assert_int_equal(w->request_n, 1);
    assert_int_equal(w->rejected_n, 0);
    expect_peer(&w->peer, headers[i].ip, headers[i].port, headers[i].local_ip,
                headers[i].local_port);
    assert_int_equal(w->peer.is_tls_ahead, headers[i].is_tls_ahead);
    bool is_local = headers[i].local_ip == NULL;
    assert_int_equal(stats_get(&w->stats->proxy_headers_taken), is_local ? 0 : 1);
    assert_int_equal(stats_get(&w->stats->proxy_headers_local), is_local ? 1 : 0);
    assert_int_equal(stats_get(&w->stats->bytes_in), headers[i].header.n + STR(REQUEST).n);
    w->request_n = 0;
    w->stats->proxy_headers_taken = w->stats->proxy_headers_local = w->stats->bytes_in = 0;
}

/* Header and request as one run of bytes, cut at one place: before the connection is accepted comes
 * what is in front of it. */
static void split_at_each_offset(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    for (size_t i = 0; i < HEADERS_N; i++) {
        char bytes[512];
        size_t n = headers[i].header.n;
        memcpy(bytes, headers[i].header.p, n);
        memcpy(bytes + n, REQUEST, STR(REQUEST).n);
        n += STR(REQUEST).n;
        for (size_t at = 0; at <= n; at++) {
            struct http_peer peer = peer_make(true);
            int accepted;
            int fd = connect_pair(&w, &accepted);
            assert_int_equal(send(fd, bytes, at, 0), at);
            assert_int_equal(prelude_accept(&w.prelude, &w.server, accepted, &peer), E_OK);
            run(&w);
            if (at < n) {
                say(&w, fd, str_make(bytes + at, n - at));
            }
            expect_header(&w, i);
            (void)close(fd);
            run(&w);
        }
    }
    world_fini(&w);
}

static void byte_by_byte(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    for (size_t i = 0; i < HEADERS_N; i++) {
        int fd = visit_from(&w, true);
        for (size_t at = 0; at < headers[i].header.n; at++) {
            assert_int_equal(w.prelude.conn_n, 1);
            say(&w, fd, str_make(headers[i].header.p + at, 1));
        }
        run_until(&w, &w.prelude.conn_n, 0);
        assert_int_equal(w.server.conn_n, 1);
        for (size_t at = 0; at < STR(REQUEST).n; at++) { /* each is an event again */
            say(&w, fd, str_make(REQUEST + at, 1));
        }
        run_until(&w, &w.request_n, 1);
        expect_header(&w, i);
        (void)close(fd);
        run(&w);
    }
    world_fini(&w);
}

/* Behind a long header, which is waited for as a whole, a short request is noticed. */
static void a_long_header_and_a_short_request(void **state)
{
    static char header[PROXY_V2_BYTES_MAX];
    struct world w;
    (void)state;
    world_init(&w);
    struct str start = STR(V2_TCP4 "\x04\x0f\xe1");
    memcpy(header, start.p, start.n);
    header[14] = (PROXY_V2_BYTES_MAX - 16) >> 8, header[15] = (char)(PROXY_V2_BYTES_MAX - 16);
    int fd = visit_from(&w, true);
    say(&w, fd, str_make(header, 20));
    say(&w, fd, str_make(header + 20, PROXY_V2_BYTES_MAX - 21));
    assert_int_equal(w.prelude.conn_n, 1);
    say(&w, fd, str_make(header + PROXY_V2_BYTES_MAX - 1, 1));
    assert_int_equal(w.prelude.conn_n, 0);
    say(&w, fd, STR(REQUEST));
    assert_int_equal(w.request_n, 1);
    expect_peer(&w.peer, "203.0.113.9", 8080, "203.0.113.1", 80);
    (void)close(fd);
    world_fini(&w);
}

/* An end behind header and request is for the server. */
static void an_end_behind_the_request(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    int fd = visit_from(&w, true);
    assert_int_equal(send(fd, V1_TCP4 REQUEST, STR(V1_TCP4 REQUEST).n, 0), STR(V1_TCP4 REQUEST).n);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    run(&w);
    assert_int_equal(w.request_n, 1);
    assert_true(is_over(&w, fd));
    (void)close(fd);
    world_fini(&w);
}

/* ---- what is not ---- */

static void expect_refused(struct world *w, int fd, const stats_value *counter)
{
    assert_int_equal(stats_get(counter), 1);
    assert_int_equal(w->rejected_n, 1);
    assert_int_equal(w->why, REASON_bad_proxy_header);
    expect_peer(&w->peer, "10.1.2.3", 1111, NULL, 8000);
    assert_int_equal(w->prelude.conn_n + w->server.conn_n + w->request_n, 0);
    assert_true(is_over(w, fd));
    (void)close(fd);
    w->rejected_n = 0;
}

static void no_header(void **state)
{
    static const struct str cases[] = {
        STR_INIT(REQUEST), STR_INIT("PROXY TCP5 1.2.3.4\r\n"), STR_INIT("\x16\x03\x01\x02\0"),
        STR_INIT("\n"),    STR_INIT(SIGNATURE "\x31"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world w;
        world_init(&w);
        int fd = visit_from(&w, true);
        say(&w, fd, cases[i]);
        expect_refused(&w, fd, &w.stats->proxy_headers_invalid);
        world_fini(&w);
    }
}

static void too_long(void **state)
{
    struct world w;
    char line[PROXY_V1_BYTES_MAX + 1];
    (void)state;
    world_init(&w);
    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    int fd = visit_from(&w, true);
    say(&w, fd, str_make(line, PROXY_V1_BYTES_MAX - 1));
    assert_int_equal(w.rejected_n, 0);
    say(&w, fd, STR("x"));
    expect_refused(&w, fd, &w.stats->proxy_headers_too_long);
    fd = visit_from(&w, true);
    w.stats->proxy_headers_too_long = 0;
    say(&w, fd, STR(SIGNATURE "\x21\x11\x0f\xf1"));
    expect_refused(&w, fd, &w.stats->proxy_headers_too_long);
    world_fini(&w);
}

/* Behind a part of a header the end is the end, whichever came with which event. */
static void an_end_behind_a_part(void **state)
{
    (void)state;
    for (int is_at_once = 0; is_at_once < 2; is_at_once++) {
        struct world w;
        struct http_peer peer = peer_make(true);
        int accepted;
        world_init(&w);
        int fd = connect_pair(&w, &accepted);
        assert_int_equal(send(fd, V2_TCP4, 20, 0), 20);
        if (is_at_once) {
            assert_int_equal(shutdown(fd, SHUT_WR), 0);
        }
        assert_int_equal(prelude_accept(&w.prelude, &w.server, accepted, &peer), E_OK);
        run(&w);
        assert_int_equal(w.prelude.conn_n, is_at_once ? 0 : 1);
        if (!is_at_once) {
            assert_int_equal(shutdown(fd, SHUT_WR), 0);
            run(&w);
        }
        expect_refused(&w, fd, &w.stats->proxy_headers_cut);
        world_fini(&w);
    }
}

static void a_reset_behind_a_part(void **state)
{
    struct linger linger = {1, 0};
    struct world w;
    (void)state;
    world_init(&w);
    int fd = visit_from(&w, true);
    say(&w, fd, STR("PROXY TCP4"));
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    (void)close(fd);
    run(&w);
    assert_int_equal(w.prelude.conn_n, 0);
    assert_int_equal(w.rejected_n, 1);
    assert_int_equal(stats_get(&w.stats->proxy_headers_cut), 1);
    world_fini(&w);
}

/* Who looks whether the port is open has done nothing wrong. */
static void nothing_and_an_end(void **state)
{
    (void)state;
    for (int is_at_once = 0; is_at_once < 2; is_at_once++) {
        struct world w;
        struct http_peer peer = peer_make(true);
        int accepted;
        world_init(&w);
        int fd = connect_pair(&w, &accepted);
        if (is_at_once) {
            (void)close(fd);
        }
        assert_int_equal(prelude_accept(&w.prelude, &w.server, accepted, &peer), E_OK);
        run(&w);
        if (!is_at_once) {
            assert_int_equal(w.prelude.conn_n, 1);
            (void)close(fd);
            run(&w);
        }
        assert_int_equal(w.prelude.conn_n + w.server.conn_n, 0);
        assert_int_equal(w.rejected_n, 0);
        assert_int_equal(stats_get(&w.stats->proxy_headers_cut), 0);
        world_fini(&w);
    }
}

static void wait_until_over(struct world *w, int fd)
{
    for (int i = 0; i < 200 && w->prelude.conn_n > 0; i++) {
        assert_int_equal(loop_step(w->loop, 10 * USEC_PER_MS), E_OK);
    }
    assert_int_equal(w->prelude.conn_n, 0);
    assert_true(is_over(w, fd));
    (void)close(fd);
}

/* The time is for the whole header, not for each byte; silence is no line in the log. */
static void too_late(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    w.settings.proxy_protocol_header_timeout = 60 * USEC_PER_MS;
    int silent = visit_from(&w, true);
    wait_until_over(&w, silent);
    assert_int_equal(stats_get(&w.stats->timeout_proxy_header), 1);
    assert_int_equal(w.rejected_n, 0);
    int slow = visit_from(&w, true);
    usec_t began = loop_now(w.loop);
    for (size_t i = 0; w.prelude.conn_n > 0; i++) {
        assert_true(i < STR(V1_TCP4).n);
        (void)send(slow, V1_TCP4 + i, 1, MSG_NOSIGNAL);
        assert_int_equal(loop_step(w.loop, 5 * USEC_PER_MS), E_OK);
        assert_int_equal(loop_step(w.loop, 5 * USEC_PER_MS), E_OK);
    }
    assert_true(loop_now(w.loop) - began < 2 * USEC_PER_SEC);
    assert_int_equal(stats_get(&w.stats->timeout_proxy_header), 2);
    assert_int_equal(w.rejected_n, 1);
    assert_true(is_over(&w, slow));
    (void)close(slow);
    world_fini(&w);
}

/* ---- the end, and what can fail ---- */

static void draining(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    int silent = visit_from(&w, true), begun = visit_from(&w, true), idle = visit_from(&w, true);
    say(&w, begun, STR("PROXY "));
    say(&w, idle, STR("PROXY "));
    prelude_drain(&w.prelude);
    http1_server_drain(&w.server);
    assert_int_equal(w.prelude.conn_n, 2);
    assert_true(is_over(&w, silent));
    say(&w, begun, STR("UNKNOWN\r\n" REQUEST)); /* answered, then closed */
    assert_int_equal(w.request_n, 1);
    say(&w, idle, STR("UNKNOWN\r\n")); /* would only be idle */
    assert_true(is_over(&w, begun) && is_over(&w, idle));
    assert_int_equal(w.prelude.conn_n + w.server.conn_n, 0);
    (void)close(silent);
    (void)close(begun);
    (void)close(idle);
    world_fini(&w);
}

static void an_end_with_some_that_wait(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    int a = visit_from(&w, true), b = visit_from(&w, true);
    say(&w, b, STR("PROXY "));
    assert_int_equal(w.prelude.conn_n, 2);
    world_fini(&w);
    (void)close(a);
    (void)close(b);
}

static void no_memory(void **state)
{
    struct world w;
    size_t failed = 0;
    enum err e = E_NOMEM;
    (void)state;
    world_init(&w);
    for (size_t nth = 1; e != E_OK; nth++) {
        struct http_peer peer = peer_make(true);
        int accepted;
        int fd = connect_pair(&w, &accepted);
        mem_fail_from(nth);
        e = prelude_accept(&w.prelude, &w.server, accepted, &peer);
        mem_fail_from(0);
        if (e != E_OK) {
            failed++;
            assert_int_equal(e, E_NOMEM);
            assert_true(is_over(&w, fd));
        }
        (void)close(fd);
        run(&w);
    }
    assert_int_equal(failed, 1);
    assert_int_equal(stats_get(&w.stats->limit_memory), 1);
    /* the header comes, and then there is no memory for the server */
    int fd = visit_from(&w, true);
    mem_fail_from(1);
    say(&w, fd, STR(V1_TCP4));
    mem_fail_from(0);
    assert_int_equal(w.prelude.conn_n + w.server.conn_n, 0);
    assert_int_equal(stats_get(&w.stats->accept_failed), 1);
    assert_true(is_over(&w, fd));
    (void)close(fd);
    world_fini(&w);
}

/* ---- ClientHellos ---- */

static struct str file_read(const char *name)
{
    static char room[8192];
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/%s", HELLO_CORPUS_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(room, 1, sizeof(room), f);
    (void)fclose(f);
    return str_make(room, n);
}

/* One with a host that is passed through, without PROXY headers. */
static void tls_world_init(struct world *w)
{
    world_init(w);
    snapshot_set(w, true);
    w->settings.use_proxy_protocol = 0;
}

static int tls_visit(struct world *w, struct str first)
{
    struct http_peer peer = peer_make(true);
    int accepted;
    int fd = connect_pair(w, &accepted);
    assert_int_equal(send(fd, first.p, first.n, 0), first.n);
    assert_int_equal(prelude_accept(&w->prelude, &w->tls, accepted, &peer), E_OK);
    run(w);
    return fd;
}

static void expect_passed(struct world *w, struct str bytes, const char *name)
{
    run_until(w, &w->text_n, bytes.n);
    assert_int_equal(w->tunnel_n, 1);
    assert_memory_equal(w->text, bytes.p, bytes.n);
    assert_string_equal(w->name, name);
    assert_string_equal(w->service, "ns/pass/443");
    assert_int_equal(stats_get(&w->stats->client_hellos_passed), 1);
    assert_int_equal(w->prelude.conn_n + w->tls.conn_n, 0);
    w->tunnel_n = w->text_n = w->stats->client_hellos_passed = 0;
}

static void hello_leave(struct world *w, int fd)
{
    (void)close(fd);
    run_until(w, &w->tunnels.conn_n, 0);
}

/* Where nothing is passed through, or TLS is not spoken, nobody looks. */
static void no_hello_is_wanted(void **state)
{
    struct world w;
    (void)state;
    tls_world_init(&w);
    int plain = visit_from(&w, true);
    assert_int_equal(w.server.conn_n, 1);
    snapshot_set(&w, false);
    int tls = tls_visit(&w, STR_EMPTY);
    assert_int_equal(w.tls.conn_n, 1);
    assert_int_equal(w.prelude.conn_n, 0);
    (void)close(plain);
    (void)close(tls);
    world_fini(&w);
}

static void a_host_is_passed_through(void **state)
{
    static const char *const files[] = {"openssl_tls13", "openssl_tls12", "curl", "chromium", "go"};
    struct world w;
    (void)state;
    tls_world_init(&w);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct str hello = file_read(files[i]);
        int fd = tls_visit(&w, hello);
        expect_passed(&w, hello, "name.example.com");
        expect_peer(&w.peer, "10.1.2.3", 1111, "127.0.0.1", 8000);
        hello_leave(&w, fd);
    }
    world_fini(&w);
}

static void a_hello_in_two_pieces(void **state)
{
    struct world w;
    (void)state;
    tls_world_init(&w);
    struct str hello = file_read("openssl_tls12");
    for (size_t at = 0; at <= hello.n; at++) {
        int fd = tls_visit(&w, str_first(hello, at));
        assert_int_equal(w.prelude.conn_n, at < hello.n ? 1 : 0);
        if (at < hello.n) {
            struct str rest = str_from(hello, at);
            assert_int_equal(send(fd, rest.p, rest.n, 0), rest.n);
        }
        expect_passed(&w, hello, "name.example.com");
        hello_leave(&w, fd);
    }
    world_fini(&w);
}

static void a_hello_byte_by_byte(void **state)
{
    struct world w;
    (void)state;
    tls_world_init(&w);
    struct str hello = file_read("openssl_tls12");
    int fd = tls_visit(&w, STR_EMPTY);
    for (size_t at = 0; at < hello.n; at++) {
        say(&w, fd, str_make(hello.p + at, 1));
    }
    expect_passed(&w, hello, "name.example.com");
    say(&w, fd, STR("more")); /* each is an event again */
    run_until(&w, &w.text_n, 4);
    hello_leave(&w, fd);
    world_fini(&w);
}

/* What TLS ends here for: another name, none, no ClientHello, one that we cannot see the end of. */
static void others_go_to_the_server(void **state)
{
    static char endless[CLIENT_HELLO_BYTES_MAX + 100] = "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc";
    struct world w;
    (void)state;
    tls_world_init(&w);
    int unnamed = tls_visit(&w, file_read("openssl_noname"));
    assert_int_equal(stats_get(&w.stats->client_hellos_terminated), 1);
    assert_int_equal(w.rejected_n, 1); /* by the server, which is none of TLS really */
    assert_int_equal(w.start.p[0], 0x16);
    struct str hello = file_read("openssl_tls12"); /* as if for somebody else */
    char other[512];
    mem_copy(other, hello.p, hello.n);
    for (size_t i = 0; i + 4 < hello.n; i++) {
        other[i] = memcmp(other + i, "name", 4) == 0 && other[i + 4] == '.' ? '.' : other[i];
    }
    int invalid = tls_visit(&w, str_make(other, hello.n)); /* ".ame.example.com" */
    assert_int_equal(stats_get(&w.stats->client_hellos_terminated), 2);
    int plain = tls_visit(&w, STR(REQUEST));
    assert_int_equal(stats_get(&w.stats->client_hellos_unreadable), 1);
    assert_int_equal(w.request_n, 1);
    int large = tls_visit(&w, str_make(endless, sizeof(endless)));
    assert_int_equal(stats_get(&w.stats->client_hellos_too_long), 1);
    assert_int_equal(w.tunnel_n + w.prelude.conn_n, 0);
    (void)close(unnamed);
    (void)close(invalid);
    (void)close(plain);
    (void)close(large);
    world_fini(&w);
}

static void a_header_and_a_hello(void **state)
{
    struct world w;
    char bytes[1024];
    (void)state;
    tls_world_init(&w);
    w.settings.use_proxy_protocol = 1;
    struct str hello = file_read("openssl_tls12"), header = STR(V2_TCP4);
    mem_copy(bytes, header.p, header.n);
    mem_copy(bytes + header.n, hello.p, hello.n);
    size_t n = header.n + hello.n;
    for (size_t at = 0; at <= n; at++) {
        int fd = tls_visit(&w, str_make(bytes, at));
        if (at < n) {
            say(&w, fd, str_make(bytes + at, n - at));
        }
        expect_passed(&w, hello, "name.example.com");
        expect_peer(&w.peer, "203.0.113.9", 8080, "203.0.113.1", 80);
        hello_leave(&w, fd);
    }
    world_fini(&w);
}

/* While somebody dribbles, the configuration changes: what counts is what is so at the end. */
static void a_change_in_the_middle(void **state)
{
    struct world w;
    (void)state;
    tls_world_init(&w);
    struct str hello = file_read("openssl_tls12");
    int fd = tls_visit(&w, str_first(hello, 100));
    snapshot_set(&w, false);
    say(&w, fd, str_from(hello, 100));
    assert_int_equal(w.tunnel_n, 0);
    assert_int_equal(w.rejected_n, 1); /* the server got it */
    (void)close(fd);
    world_fini(&w);
}

static void hellos_that_never_come(void **state)
{
    struct world w;
    (void)state;
    tls_world_init(&w);
    struct str part = str_first(file_read("openssl_tls12"), 100);
    int cut = tls_visit(&w, part), nothing = tls_visit(&w, STR_EMPTY);
    assert_int_equal(shutdown(cut, SHUT_WR), 0);
    assert_int_equal(shutdown(nothing, SHUT_WR), 0);
    run(&w);
    assert_int_equal(stats_get(&w.stats->client_hellos_cut), 1);
    assert_true(is_over(&w, cut) && is_over(&w, nothing));
    (void)close(cut);
    (void)close(nothing);
    w.settings.client_header_timeout = 50 * USEC_PER_MS;
    int slow = tls_visit(&w, part);
    wait_until_over(&w, slow);
    w.settings.use_proxy_protocol = 1; /* each has a time of its own */
    w.settings.proxy_protocol_header_timeout = 50 * USEC_PER_MS;
    slow = tls_visit(&w, STR(V1_TCP4));
    wait_until_over(&w, slow);
    assert_int_equal(stats_get(&w.stats->timeout_client_handshake), 2);
    assert_int_equal(stats_get(&w.stats->timeout_proxy_header), 0);
    assert_int_equal(w.rejected_n, 0);
    world_fini(&w);
}

static void no_memory_for_a_tunnel(void **state)
{
    struct world w;
    (void)state;
    tls_world_init(&w);
    struct str hello = file_read("openssl_tls12");
    int fd = tls_visit(&w, str_first(hello, 100));
    struct str rest = str_from(hello, 100);
    assert_int_equal(send(fd, rest.p, rest.n, 0), rest.n);
    mem_fail_from(1);
    run(&w);
    mem_fail_from(0);
    assert_int_equal(stats_get(&w.stats->accept_failed), 1);
    assert_true(is_over(&w, fd));
    (void)close(fd);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_wanted),
        cmocka_unit_test(not_from_anybody),
        cmocka_unit_test(split_at_each_offset),
        cmocka_unit_test(byte_by_byte),
        cmocka_unit_test(a_long_header_and_a_short_request),
        cmocka_unit_test(an_end_behind_the_request),
        cmocka_unit_test(no_header),
        cmocka_unit_test(too_long),
        cmocka_unit_test(an_end_behind_a_part),
        cmocka_unit_test(a_reset_behind_a_part),
        cmocka_unit_test(nothing_and_an_end),
        cmocka_unit_test(too_late),
        cmocka_unit_test(draining),
        cmocka_unit_test(an_end_with_some_that_wait),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(no_hello_is_wanted),
        cmocka_unit_test(a_host_is_passed_through),
        cmocka_unit_test(a_hello_in_two_pieces),
        cmocka_unit_test(a_hello_byte_by_byte),
        cmocka_unit_test(others_go_to_the_server),
        cmocka_unit_test(a_header_and_a_hello),
        cmocka_unit_test(a_change_in_the_middle),
        cmocka_unit_test(hellos_that_never_come),
        cmocka_unit_test(no_memory_for_a_tunnel),
    };
    return cmocka_run_group_tests_name("worker/prelude", tests, NULL, NULL);
}
