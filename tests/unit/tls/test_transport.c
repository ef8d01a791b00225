/* TLS as a transport, against OpenSSL's own client over a socket pair: the contract of
 * event/transport.h, whatever way the bytes come in pieces. */
#include "tls/server.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tls/library.h"

enum { LARGE = 1 << 20, STEPS_MAX = 200000 };

struct world {
    struct loop *loop;
    struct buf ca, chain, key;
    struct tls_certificate *certificate;
    struct tls_context *context;
    struct tls_shared shared;
    struct tls_server server;
    struct transport transport;
    uint32_t events; /* since they were last looked at */
    bool is_readable;
    SSL_CTX *client_context;
    SSL *client;
    int fd; /* the client's end */
};

static void on_event(struct watch *w, uint32_t events)
{
    struct world *world = container_of(w, struct world, transport.watch);
    world->events |= events;
    world->is_readable = world->is_readable || (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0;
}

static void context_make(struct world *w, unsigned alpn, bool has_tickets)
{
    enum tls_fault fault;
    struct tls_context_options o = {
        .certificate = w->certificate, .alpn = alpn, .has_tickets = has_tickets};
    tls_context_free(w->context);
    w->context = NULL;
    assert_int_equal(tls_context_new(&o, &fault, &w->context), E_OK);
    w->server.context = w->context;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    static const struct str names[] = {STR_INIT("a.example")};
    struct tls_make make = {.common_name = "test", .names = names, .name_n = 1};
    enum tls_fault fault;
    make.not_before = (int64_t)time(NULL) - 60;
    make.not_after = make.not_before + 3600;
    buf_init(&w->ca, LARGE);
    buf_init(&w->chain, LARGE);
    buf_init(&w->key, LARGE);
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(tls_certificate_make(&make, &w->ca, &w->chain, &w->key), E_OK);
    assert_int_equal(
        tls_certificate_parse(buf_str(&w->chain), buf_str(&w->key), &fault, &w->certificate), E_OK);
    assert_int_equal(tls_shared_init(&w->shared), E_OK);
    tls_server_init(&w->server, &w->shared);
    context_make(w, TLS_ALPN_HTTP1, false);
    w->client_context = SSL_CTX_new(TLS_client_method());
    BIO *bio = BIO_new_mem_buf(w->ca.p, (int)w->ca.n);
    X509 *ca = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(w->client_context), ca), 1);
    X509_free(ca);
    (void)BIO_free(bio);
    SSL_CTX_set_verify(w->client_context, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_mode(w->client_context,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    w->fd = -1;
    *state = w;
    return 0;
}

static void disconnect(struct world *w)
{
    if (w->transport.ops != NULL) {
        w->transport.ops->close(&w->transport, false);
        w->transport.ops = NULL;
    }
    if (w->client != NULL) { /* else OpenSSL drops its session */
        SSL_set_shutdown(w->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(w->client);
    w->client = NULL;
    if (w->fd >= 0) {
        (void)close(w->fd);
        w->fd = -1;
    }
}

static int teardown(void **state)
{
    struct world *w = *state;
    disconnect(w);
    SSL_CTX_free(w->client_context);
    tls_server_fini(&w->server);
    tls_shared_fini(&w->shared);
    tls_context_free(w->context);
    tls_certificate_free(w->certificate);
    buf_fini(&w->ca);
    buf_fini(&w->chain);
    buf_wipe(&w->key);
    loop_free(w->loop);
    free(w);
    return 0;
}

static void connect_raw(struct world *w, int buffer)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    for (int i = 0; buffer > 0 && i < 2; i++) {
        assert_int_equal(setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)), 0);
    }
    w->fd = pair[1];
    w->events = 0;
    w->is_readable = false;
    assert_int_equal(
        w->server.opener.open(&w->server.opener, &w->transport, w->loop, pair[0], on_event), E_OK);
    assert_false(w->transport.is_open);
}

static void client_make(struct world *w)
{
    w->client = SSL_new(w->client_context);
    assert_int_equal(SSL_set_fd(w->client, w->fd), 1);
    assert_int_equal(SSL_set1_host(w->client, "a.example"), 1);
    SSL_set_connect_state(w->client);
}

static enum err receive(struct world *w, void *p, size_t room, size_t *ret_n)
{
    if (!w->is_readable) {
        return E_AGAIN;
    }
    enum err e = w->transport.ops->receive(&w->transport, p, room, ret_n);
    w->is_readable = e == E_OK && (*ret_n == room || (w->events & EPOLLRDHUP) != 0);
    return e;
}

static enum err send_all(struct world *w, const void *p, size_t n, size_t *ret_n)
{
    struct iovec part = {(void *)(uintptr_t)p, n};
    return w->transport.ops->send(&w->transport, &part, 1, ret_n);
}

/* One tick of the server, without waiting. */
static void step(struct world *w)
{
    assert_int_equal(loop_step(w->loop, 0), E_OK);
}

/* The handshake; extra: bytes the server received behind it. */
static void shake(struct world *w)
{
    char p[8];
    size_t n;
    client_make(w);
    for (int i = 0; i < STEPS_MAX && !(SSL_is_init_finished(w->client) && w->transport.is_open);
         i++) {
        (void)SSL_do_handshake(w->client);
        step(w);
        assert_int_equal(receive(w, p, sizeof(p), &n), E_AGAIN);
    }
    assert_true(SSL_is_init_finished(w->client));
    assert_true(w->transport.is_open);
    ERR_clear_error();
}

static void client_write(struct world *w, const void *p, size_t n)
{
    assert_int_equal(SSL_write(w->client, p, (int)n), n);
}

static enum err receive_soon(struct world *w, void *p, size_t room, size_t *ret_n)
{
    enum err e = E_AGAIN;
    for (int i = 0; i < 100 && (e = receive(w, p, room, ret_n)) == E_AGAIN; i++) {
        step(w);
    }
    return e;
}

/* ---- the plain contract ---- */

static void both_ways(void **state)
{
    struct world *w = *state;
    char p[100];
    size_t n = 99;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        connect_raw(w, 0);
        assert_int_equal(SSL_CTX_set_max_proto_version(w->client_context, version), 1);
        shake(w);
        assert_int_equal(SSL_version(w->client), version);
        client_write(w, "hello", 5);
        assert_int_equal(receive_soon(w, p, 3, &n), E_OK);
        assert_int_equal(n, 3);
        assert_int_equal(receive(w, p + 3, sizeof(p) - 3, &n), E_OK);
        assert_int_equal(n, 2); /* less than asked for: drained */
        assert_memory_equal(p, "hello", 5);
        n = 99;
        w->is_readable = true;
        assert_int_equal(receive(w, p, sizeof(p), &n), E_AGAIN);
        assert_int_equal(n, 99);
        struct iovec parts[] = {
            {(void *)(uintptr_t) "abc", 3},
            {(void *)(uintptr_t) "",    0},
            {(void *)(uintptr_t) "def", 3}
        };
        uint64_t before = w->transport.sent_n;
        assert_int_equal(w->transport.ops->send(&w->transport, parts, 3, &n), E_OK);
        assert_int_equal(n, 6);
        assert_true(w->transport.sent_n >= before + 6);
        assert_int_equal(SSL_read(w->client, p, sizeof(p)), 6); /* one record */
        assert_memory_equal(p, "abcdef", 6);
        disconnect(w);
    }
}

/* Everything of many records with one receive(), and no event lost on the way. */
static void many_records_at_once(void **state)
{
    struct world *w = *state;
    enum { RECORDS = 40 };
    char p[4096];
    size_t n;
    connect_raw(w, 0);
    shake(w);
    for (char i = 0; i < RECORDS; i++) {
        client_write(w, &i, 1);
    }
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_OK);
    assert_int_equal(n, RECORDS);
    for (char i = 0; i < RECORDS; i++) {
        assert_int_equal(p[(int)i], i);
    }
}

static void alpn(void **state)
{
    struct world *w = *state;
    static const struct {
        unsigned server;
        const char *client;
        unsigned chosen;
    } cases[] = {
        {TLS_ALPN_HTTP1,                  "\x02h2\x08http/1.1", TLS_ALPN_HTTP1},
        {TLS_ALPN_HTTP1 | TLS_ALPN_HTTP2, "\x08http/1.1\x02h2", TLS_ALPN_HTTP2},
        {TLS_ALPN_HTTP2 | TLS_ALPN_HTTP1, "\x08http/1.0",       0             },
        {0,                               "\x08http/1.1",       0             },
        {TLS_ALPN_HTTP1,                  NULL,                 0             },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        context_make(w, cases[i].server, false);
        const char *list = cases[i].client == NULL ? "" : cases[i].client;
        assert_int_equal(SSL_CTX_set_alpn_protos(w->client_context, (const unsigned char *)list,
                                                 (unsigned)strlen(list)),
                         0);
        connect_raw(w, 0);
        shake(w);
        assert_int_equal(tls_transport_alpn(&w->transport), cases[i].chosen);
        disconnect(w);
    }
}

static void protocols_of_others(void **state)
{
    struct world *w = *state;
    static const char *const offers[] = {"\x02h2",
                                         "\x03"
                                         "ftp",
                                         "\x02h3\x0a"
                                         "acme-tls/1"};
    char p[8];
    size_t n;
    for (size_t i = 0; i < sizeof(offers) / sizeof(offers[0]); i++) {
        assert_int_equal(SSL_CTX_set_alpn_protos(w->client_context,
                                                 (const unsigned char *)offers[i],
                                                 (unsigned)strlen(offers[i])),
                         0);
        connect_raw(w, 0);
        client_make(w);
        (void)SSL_do_handshake(w->client);
        assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_PROTO);
        assert_int_equal(SSL_do_handshake(w->client), -1);
        assert_int_equal(ERR_GET_REASON(ERR_get_error()),
                         SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
        ERR_clear_error();
        disconnect(w);
    }
}

/* ---- pieces ---- */

/* The client's bytes reach the server through a relay that passes on `piece` bytes at a time. */
static void relay_pass(int from, int to, size_t piece)
{
    char p[65536];
    ssize_t n = recv(from, p, piece < sizeof(p) ? piece : sizeof(p), 0);
    if (n > 0) {
        assert_int_equal(send(to, p, (size_t)n, 0), n);
    }
}

/* The same bytes, whether they come whole or one by one. */
static void fragments(void **state)
{
    struct world *w = *state;
    static const size_t pieces[] = {1, 2, 5, 6, 100, 16384};
    static char sent[40000], got[50000];
    for (size_t i = 0; i < sizeof(sent); i++) {
        sent[i] = (char)(i * 7);
    }
    for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++) {
        int pair[2];
        size_t got_n = 0, sent_n = 0;
        connect_raw(w, 0);
        int server = w->fd;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        w->fd = pair[0];
        client_make(w);
        for (int i = 0; i < STEPS_MAX && got_n < sizeof(sent); i++) {
            size_t n;
            if (sent_n < sizeof(sent)) {
                int wrote = SSL_write(w->client, sent + sent_n, (int)(sizeof(sent) - sent_n));
                sent_n += wrote > 0 ? (size_t)wrote : 0;
                ERR_clear_error();
            }
            relay_pass(pair[1], server, pieces[k]);
            step(w);
            while (receive(w, got + got_n, sizeof(got) - got_n, &n) == E_OK) {
                got_n += n;
            }
            relay_pass(server, pair[1], pieces[k]);
        }
        assert_int_equal(got_n, sizeof(sent));
        assert_memory_equal(got, sent, sizeof(sent));
        assert_int_equal(w->server.shaken, k + 1);
        (void)close(server);
        (void)close(pair[1]);
        disconnect(w);
    }
}

/* With little room for the plain bytes: nothing is lost between two calls. */
static void little_room(void **state)
{
    struct world *w = *state;
    static const size_t rooms[] = {1, 7, 16384, 20000, 40000, 65536};
    static char sent[100000], got[200000];
    for (size_t i = 0; i < sizeof(sent); i++) {
        sent[i] = (char)(i * 13);
    }
    for (size_t k = 0; k < sizeof(rooms) / sizeof(rooms[0]); k++) {
        size_t got_n = 0, sent_n = 0, n;
        connect_raw(w, 1 << 20);
        shake(w);
        while (sent_n < sizeof(sent)) {
            int wrote = SSL_write(w->client, sent + sent_n, (int)(sizeof(sent) - sent_n));
            assert_true(wrote > 0);
            sent_n += (size_t)wrote;
        }
        for (int i = 0; i < STEPS_MAX && got_n < sizeof(sent); i++) {
            step(w);
            while (receive(w, got + got_n, rooms[k], &n) == E_OK) {
                got_n += n;
            }
        }
        assert_int_equal(got_n, sizeof(sent));
        assert_memory_equal(got, sent, sizeof(sent));
        disconnect(w);
    }
}

/* ---- backpressure ---- */

/* A megabyte each way at once through small buffers: each side writes when it can. */
static void large_both_ways(void **state)
{
    struct world *w = *state;
    static char up[LARGE], down[LARGE], up_got[LARGE + 65536], down_got[LARGE];
    size_t up_n = 0, down_n = 0, up_got_n = 0, down_got_n = 0, n, blocked_n = 0;
    for (size_t i = 0; i < LARGE; i++) {
        up[i] = (char)(i * 3);
        down[i] = (char)(i * 5);
    }
    connect_raw(w, 8192);
    shake(w);
    w->events |= EPOLLOUT;
    for (int i = 0; i < STEPS_MAX && (up_got_n < LARGE || down_got_n < LARGE); i++) {
        int wrote = up_n < LARGE ? SSL_write(w->client, up + up_n, (int)(LARGE - up_n)) : 0;
        up_n += wrote > 0 ? (size_t)wrote : 0;
        int read_n = SSL_read(w->client, down_got + down_got_n, (int)(LARGE - down_got_n));
        down_got_n += read_n > 0 ? (size_t)read_n : 0;
        ERR_clear_error();
        step(w);
        while (receive(w, up_got + up_got_n, 65536, &n) == E_OK) {
            up_got_n += n;
        }
        if (down_n < LARGE && (w->events & EPOLLOUT) != 0) { /* only when an event says so */
            w->events &= ~(uint32_t)EPOLLOUT;
            enum err e = send_all(w, down + down_n, LARGE - down_n, &n);
            assert_true(e == E_OK || e == E_AGAIN);
            blocked_n += e == E_AGAIN;
            down_n += n;
        }
    }
    assert_int_equal(up_got_n, LARGE);
    assert_int_equal(down_got_n, LARGE);
    assert_memory_equal(up, up_got, LARGE);
    assert_memory_equal(down, down_got, LARGE);
    assert_true(blocked_n > 10);
}

/* The handshake itself does not fit the socket's buffer: it goes on when there is room. */
static void handshake_without_room(void **state)
{
    struct world *w = *state;
    char p[4096];
    size_t n;
    connect_raw(w, 0);
    client_make(w);
    (void)SSL_do_handshake(w->client); /* its hello is out */
    int full = 0;
    while (send(w->transport.watch.fd, p, sizeof(p), MSG_NOSIGNAL) > 0) {
        full++;
    }
    assert_true(full > 0);
    for (int i = 0; i < 10; i++) {
        step(w);
        assert_int_equal(receive(w, p, sizeof(p), &n), E_AGAIN);
    }
    while (recv(w->fd, p, sizeof(p), 0) > 0) { /* room again */
    }
    for (int i = 0; i < 100 && !w->transport.is_open; i++) {
        step(w);
        assert_int_equal(receive(w, p, sizeof(p), &n), E_AGAIN);
        (void)SSL_do_handshake(w->client);
    }
    assert_true(w->transport.is_open);
}

/* ---- ends ---- */

static void a_clean_end(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n = 99;
    connect_raw(w, 0);
    shake(w);
    assert_int_equal(SSL_shutdown(w->client), 0);
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_CLOSED);
    assert_int_equal(n, 99);
    /* Our half still works: RFC 8446 section 6.1. */
    assert_int_equal(send_all(w, "bye", 3, &n), E_OK);
    assert_int_equal(SSL_read(w->client, p, sizeof(p)), 3);
}

/* The end stands in the same bytes as the data, and no further event comes from the socket. */
static void an_end_behind_bytes(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n = 99;
    connect_raw(w, 0);
    shake(w);
    client_write(w, "bye", 3);
    assert_int_equal(SSL_shutdown(w->client), 0);
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_OK);
    assert_int_equal(n, 3);
    w->is_readable = false;
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_CLOSED);
}

/* RFC 8446 section 6.1: an end without close_notify is a truncation. */
static void a_cut(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n = 99;
    connect_raw(w, 0);
    shake(w);
    client_write(w, "half", 4);
    assert_int_equal(shutdown(w->fd, SHUT_WR), 0);
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_OK);
    assert_int_equal(n, 4);
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_SYS);
    w->is_readable = true;
    assert_int_equal(receive(w, p, sizeof(p), &n), E_SYS); /* and stays so */
    assert_int_equal(send_all(w, "x", 1, &n), E_CLOSED);
    assert_int_equal(n, 4);
}

static void a_cut_in_the_handshake(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n;
    connect_raw(w, 0);
    client_make(w);
    (void)SSL_do_handshake(w->client);
    assert_int_equal(shutdown(w->fd, SHUT_WR), 0);
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_SYS);
    assert_false(w->transport.is_open);
    assert_int_equal(w->server.opened, 1);
    assert_int_equal(w->server.shaken, 0);
}

static void our_end(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n;
    connect_raw(w, 0);
    shake(w);
    w->transport.ops->finish(&w->transport);
    assert_int_equal(SSL_read(w->client, p, sizeof(p)), 0);
    assert_int_equal(SSL_get_error(w->client, 0), SSL_ERROR_ZERO_RETURN);
    client_write(w, "still", 5); /* the other half goes on */
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_OK);
    assert_int_equal(n, 5);
}

/* There is no room for close_notify: it follows when there is, and only then the FIN. */
static void our_end_without_room(void **state)
{
    struct world *w = *state;
    static char p[1 << 16];
    size_t n;
    enum err e = E_OK;
    connect_raw(w, 8192);
    shake(w);
    while (e == E_OK) {
        e = send_all(w, p, 1000, &n);
    }
    assert_int_equal(e, E_AGAIN);
    for (int i = 0; i < 100 && e == E_AGAIN; i++) { /* the pending record first */
        assert_true(SSL_read(w->client, p, sizeof(p)) > 0);
        e = send_all(w, p, 1000, &n);
    }
    assert_int_equal(e, E_OK);
    char byte = 0;
    while (send(w->transport.watch.fd, &byte, 0, MSG_NOSIGNAL) < 0) {
    }
    w->transport.ops->finish(&w->transport);
    int read_n = 1;
    for (int i = 0; i < 1000 && read_n != 0; i++) {
        step(w);
        read_n = SSL_read(w->client, p, sizeof(p));
        if (read_n < 0) {
            assert_int_equal(SSL_get_error(w->client, read_n), SSL_ERROR_WANT_READ);
        }
    }
    assert_int_equal(read_n, 0);
    assert_int_equal(SSL_get_error(w->client, 0), SSL_ERROR_ZERO_RETURN);
}

static void close_says_whether_it_was_clean(void **state)
{
    struct world *w = *state;
    char p[8];
    for (int has_reset = 0; has_reset < 2; has_reset++) {
        connect_raw(w, 0);
        shake(w);
        w->transport.ops->close(&w->transport, has_reset == 1);
        w->transport.ops = NULL;
        int n = SSL_read(w->client, p, sizeof(p));
        assert_true(n <= 0);
        assert_int_equal(SSL_get_error(w->client, n) == SSL_ERROR_ZERO_RETURN, has_reset == 0);
        ERR_clear_error();
        disconnect(w);
    }
}

/* ---- bad peers ---- */

static void garbage(void **state)
{
    struct world *w = *state;
    static const char *const texts[] = {"get / HTTP/1.1\r\nhost: a\r\n\r\n",
                                        "\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff",
                                        "\x17\x03\x03\x00\x01x"};
    char p[8];
    size_t n;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        size_t text_n = i == 0 ? strlen(texts[i]) : i == 1 ? 10 : 6;
        connect_raw(w, 0);
        assert_int_equal(write(w->fd, texts[i], text_n), text_n);
        assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_PROTO);
        w->is_readable = true;
        assert_int_equal(receive(w, p, sizeof(p), &n), E_PROTO);
        assert_int_equal(ERR_peek_error(), 0); /* nothing is left for others to find */
        disconnect(w);
    }
}

/* From the first byte on, which is all that has come; the answer goes out as it is. */
static void plain_http(void **state)
{
    struct world *w = *state;
    char p[64];
    const char *text = NULL;
    size_t n;
    connect_raw(w, 0);
    assert_int_equal(w->transport.ops->why(&w->transport, &text), REASON_none);
    assert_int_equal(write(w->fd, "G", 1), 1);
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_PROTO);
    assert_int_equal(w->transport.ops->why(&w->transport, &text), REASON_plain_http);
    assert_false(w->transport.is_open);
    assert_int_equal(write(w->fd, "ET /", 4), 4);
    w->is_readable = true;
    assert_int_equal(receive(w, p, sizeof(p), &n), E_OK);
    assert_int_equal(n, 4);
    assert_int_equal(send_all(w, "HTTP", 4, &n), E_OK);
    w->transport.ops->finish(&w->transport);
    assert_int_equal(read(w->fd, p, sizeof(p)), 4);
    assert_memory_equal(p, "HTTP", 4);
    assert_int_equal(read(w->fd, p, sizeof(p)), 0);
}

static void broken_record(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n;
    connect_raw(w, 0);
    shake(w);
    assert_int_equal(write(w->fd,
                           "\x17\x03\x03\x00\x20"
                           "01234567890123456789012345678901",
                           37),
                     37);
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_PROTO);
}

static void old_versions(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n;
    SSL_CTX_set_security_level(w->client_context, 0);
    assert_int_equal(SSL_CTX_set_min_proto_version(w->client_context, TLS1_VERSION), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(w->client_context, TLS1_1_VERSION), 1);
    connect_raw(w, 0);
    client_make(w);
    (void)SSL_do_handshake(w->client);
    ERR_clear_error();
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_PROTO);
}

static void no_renegotiation(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n;
    assert_int_equal(SSL_CTX_set_max_proto_version(w->client_context, TLS1_2_VERSION), 1);
    connect_raw(w, 0);
    shake(w);
    assert_int_equal(SSL_renegotiate(w->client), 1);
    for (int i = 0; i < 10; i++) {
        (void)SSL_do_handshake(w->client);
        ERR_clear_error();
        step(w);
        enum err e = receive(w, p, sizeof(p), &n);
        assert_true(e == E_AGAIN || e == E_PROTO || e == E_SYS || e == E_CLOSED);
    }
    assert_false(SSL_is_init_finished(w->client));
}

static void new_keys(struct world *w, int n)
{
    for (int i = 0; i < n; i++) {
        assert_int_equal(SSL_key_update(w->client, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(w->client), 1);
    }
}

/* Messages that carry nothing for the owner are bounded; any byte for it sets the count back. */
static void new_keys_without_end(void **state)
{
    static struct stats_page stats; /* NOLINT: the connection outlives this function */
    struct world *w = *state;
    char p[8];
    size_t n;
    w->server.stats = &stats;
    connect_raw(w, 0);
    shake(w);
    assert_int_equal(stats_get(&stats.tls_conns), 1);
    for (int i = 0; i < 3; i++) {
        new_keys(w, TLS_NEWS_MAX);
        client_write(w, "hello", 5);
        assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_OK);
        assert_int_equal(n, 5);
    }
    assert_int_equal(stats_get(&stats.limit_tls_messages), 0);
    new_keys(w, TLS_NEWS_MAX + 1);
    client_write(w, "hello", 5);
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_PROTO);
    assert_int_equal(stats_get(&stats.limit_tls_messages), 1);
    w->is_readable = true;
    assert_int_equal(receive(w, p, sizeof(p), &n), E_PROTO);
    assert_int_equal(stats_get(&stats.limit_tls_messages), 1);
}

static void tickets(void **state)
{
    struct world *w = *state;
    char p[8];
    for (int has_tickets = 0; has_tickets < 2; has_tickets++) {
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            context_make(w, 0, has_tickets == 1);
            assert_int_equal(SSL_CTX_set_max_proto_version(w->client_context, version), 1);
            connect_raw(w, 0);
            shake(w);
            (void)SSL_read(w->client, p, sizeof(p)); /* TLS 1.3 sends them behind the handshake */
            ERR_clear_error();
            SSL_SESSION *session = SSL_get1_session(w->client);
            assert_int_equal(SSL_SESSION_has_ticket(session), has_tickets);
            disconnect(w);
            connect_raw(w, 0);
            client_make(w);
            assert_int_equal(SSL_set_session(w->client, session), 1);
            SSL *resumed = w->client;
            size_t n;
            for (int i = 0; i < 100 && !w->transport.is_open; i++) {
                (void)SSL_do_handshake(resumed);
                step(w);
                assert_int_equal(receive(w, p, sizeof(p), &n), E_AGAIN);
            }
            (void)SSL_do_handshake(resumed);
            assert_int_equal(SSL_session_reused(resumed), has_tickets);
            SSL_SESSION_free(session);
            disconnect(w);
        }
    }
}

/* ---- the context's life ---- */

static void a_context_is_replaced(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n;
    connect_raw(w, 0);
    shake(w);
    context_make(w, 0, false); /* the old one is gone but for the connection */
    client_write(w, "hello", 5);
    assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_OK);
    disconnect(w);
    w->server.context = NULL;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(
        w->server.opener.open(&w->server.opener, &w->transport, w->loop, pair[0], on_event),
        E_NOTFOUND);
    assert_int_equal(fcntl(pair[0], F_GETFD), -1); /* it was taken */
    w->transport.ops = NULL;
    (void)close(pair[1]);
}

/* ---- memory and costs ---- */

/* Each allocation fails once, those of OpenSSL too: never a crash, never a leak, the connection
 * either works or is refused. */
static void when_memory_is_out(void **state)
{
    struct world *w = *state;
    enum { NTH_MAX = 5000 };
    bool was_whole = false;
    for (size_t nth = 1; nth < NTH_MAX && !was_whole; nth++) {
        int pair[2];
        char p[100];
        size_t n;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        w->fd = pair[1];
        client_make(w); /* the client's memory is not what is tested */
        (void)SSL_do_handshake(w->client);
        w->is_readable = false;
        w->events = 0;
        mem_fail_from(nth);
        enum err e =
            w->server.opener.open(&w->server.opener, &w->transport, w->loop, pair[0], on_event);
        for (int i = 0; e == E_OK && i < 3; i++) {
            step(w);
            e = receive(w, p, sizeof(p), &n);
            e = e == E_AGAIN ? E_OK : e;
            mem_fail_from(0);
            (void)SSL_do_handshake(w->client);
            ERR_clear_error();
        }
        mem_fail_from(0);
        was_whole = e == E_OK && w->transport.is_open;
        assert_true(e == E_OK || e == E_NOMEM || e == E_PROTO || e == E_SYS);
        if (w->transport.own == NULL) {
            w->transport.ops = NULL; /* it was refused, and the socket closed */
        }
        disconnect(w);
        w->transport = (struct transport){.watch = {.fd = -1}};
    }
    assert_true(was_whole);
}

/* Once warm: OpenSSL's record buffers come and go, and a few small things; ours is nothing. */
static void a_request_allocates_little(void **state)
{
    struct world *w = *state;
    enum { REQUESTS = 100, CALLS_MAX = 8 };
    char p[64];
    size_t n, calls = 0;
    connect_raw(w, 0);
    shake(w);
    for (int i = 0; i < REQUESTS; i++) {
        client_write(w, "hello", 5);
        size_t before = mem_calls();
        assert_int_equal(receive_soon(w, p, sizeof(p), &n), E_OK);
        assert_int_equal(n, 5);
        assert_int_equal(send_all(w, "hello", 5, &n), E_OK);
        calls += mem_calls() - before;
        assert_int_equal(SSL_read(w->client, p, sizeof(p)), 5);
    }
    assert_true(calls > 0); /* they are counted */
    assert_true(calls <= REQUESTS * CALLS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(both_ways),
        TEST(many_records_at_once),
        TEST(alpn),
        TEST(protocols_of_others),
        TEST(fragments),
        TEST(little_room),
        TEST(large_both_ways),
        TEST(handshake_without_room),
        TEST(a_clean_end),
        TEST(an_end_behind_bytes),
        TEST(a_cut),
        TEST(a_cut_in_the_handshake),
        TEST(our_end),
        TEST(our_end_without_room),
        TEST(close_says_whether_it_was_clean),
        TEST(garbage),
        TEST(plain_http),
        TEST(broken_record),
        TEST(old_versions),
        TEST(no_renegotiation),
        TEST(new_keys_without_end),
        TEST(tickets),
        TEST(a_context_is_replaced),
        TEST(when_memory_is_out),
        TEST(a_request_allocates_little),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* for the client */
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
