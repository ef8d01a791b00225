/* HTTP/1 to an endpoint over TLS: when a connection stands, what a failed handshake says about the
 * request, and which ends let it go elsewhere. OpenSSL's own server behind a loopback socket. */
#include "http1/client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../lib/pki.h"
#include "base/mem.h"
#include "tls/client.h"
#include "tls/library.h"

enum { TEXT_MAX = 1 << 20, TICKS_MAX = 5000, TICK = 1000 };

struct world {
    struct loop *loop;
    struct stats_page *stats;
    struct snap_settings settings;
    struct http_budget budget;
    struct http1_context context;
    struct http1_dialer dialer;
    struct tls_shared shared;
    struct tls_client *client;
    struct pki root, site;
    struct str root_der;
    SSL_CTX *server_context;
    SSL *server;
    int listener, fd; /* the server's */
    uint16_t port;
    /* What the pool and the stream's owner were told. */
    struct http_conn *conn;
    struct http_stream *stream;
    uint32_t connected_n, free_n;
    bool is_conn_closed, has_connected, is_stream_closed, is_unsent, is_whole, is_writable;
    enum reason why;
    uint16_t status;
    char body[TEXT_MAX];
    size_t body_n;
};

/* ---- the pool ---- */

static void on_connected(struct http_conn *c)
{
    ((struct world *)c->owner)->connected_n++;
}

static void on_free(struct http_conn *c)
{
    ((struct world *)c->owner)->free_n++;
}

static void on_conn_closed(struct http_conn *c, enum reason why, bool has_connected)
{
    struct world *w = c->owner;
    (void)why;
    w->is_conn_closed = true;
    w->has_connected = has_connected;
    w->conn = NULL;
}

static const struct http_conn_events conn_events = {on_connected, on_free, on_free, on_conn_closed};

/* ---- the owner of the stream ---- */

static void take(struct world *w, struct str data, bool is_end)
{
    assert_true(data.n <= TEXT_MAX - w->body_n);
    mem_copy(w->body + w->body_n, data.p, data.n);
    w->body_n += data.n;
    w->is_whole = is_end;
    if (is_end) {
        w->stream->ops->release(w->stream);
        w->stream = NULL;
    } else {
        w->stream->ops->pull(w->stream);
    }
}

static void on_response(struct http_stream *s, const struct http_response *r, struct str body,
                        bool is_end)
{
    struct world *w = s->owner;
    w->status = r->status;
    take(w, body, is_end);
}

static void on_body(struct http_stream *s, struct str data, bool is_end)
{
    take(s->owner, data, is_end);
}

static void on_writable(struct http_stream *s)
{
    ((struct world *)s->owner)->is_writable = true;
}

static void on_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    struct world *w = s->owner;
    w->is_stream_closed = true;
    w->is_unsent = is_unsent;
    w->why = why;
    w->stream = NULL;
}

static const struct http_stream_events stream_events = {
    .on_response = on_response,
    .on_body = on_body,
    .on_writable = on_writable,
    .on_closed = on_closed,
};

/* ---- the world ---- */

static void server_make(struct world *w)
{
    SSL_CTX_free(w->server_context);
    w->server_context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_cert_and_key(w->server_context, w->site.x, w->site.key, NULL, 1),
                     1);
}

static void client_make(struct world *w, const char *name)
{
    struct tls_client_options o = {.authorities = &w->root_der,
                                   .authority_n = 1,
                                   .is_verified = true,
                                   .name = str_from_cstr(name)};
    const char *why;
    tls_client_free(w->client);
    assert_int_equal(tls_client_new(&w->shared, w->stats, &o, &why, &w->client), E_OK);
    w->dialer.opener = &w->client->opener;
}

static void listen_make(struct world *w)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(in);
    w->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(w->listener, (struct sockaddr *)&in, n), 0);
    assert_int_equal(getsockname(w->listener, (struct sockaddr *)&in, &n), 0);
    assert_int_equal(listen(w->listener, 8), 0);
    w->port = ntohs(in.sin_port);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    w->fd = -1;
    w->settings = snap_settings_default;
    w->budget.max = UINT64_MAX;
    w->stats = aligned_alloc(_Alignof(struct stats_page), sizeof(*w->stats));
    memset(w->stats, 0, sizeof(*w->stats));
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(http1_context_init(&w->context, w->loop, &w->settings, &w->budget), E_OK);
    http1_dialer_init(&w->dialer, &w->context, w->stats);
    assert_int_equal(tls_shared_init(&w->shared), E_OK);
    w->root = pki_make(&(struct pki_options){.name = "root", .is_authority = true}, NULL);
    w->site =
        pki_make(&(struct pki_options){.name = "a", .alternatives = "DNS:a.example"}, &w->root);
    w->root_der = pki_der(&w->root);
    server_make(w);
    client_make(w, "a.example");
    listen_make(w);
    *state = w;
    return 0;
}

static void server_end(struct world *w)
{
    SSL_free(w->server);
    w->server = NULL;
    if (w->fd >= 0) {
        (void)close(w->fd);
        w->fd = -1;
    }
    ERR_clear_error();
}

static void tick(struct world *w)
{
    assert_int_equal(loop_step(w->loop, TICK), E_OK);
}

static void hang_up(struct world *w)
{
    if (w->conn != NULL) {
        w->conn->ops->close(w->conn);
        w->conn = NULL;
    }
    tick(w); /* frees it */
    server_end(w);
    assert_int_equal(w->client->conn_n, 0);
    assert_int_equal(w->dialer.dialer.conn_n, 0);
    assert_int_equal(w->budget.used, 0);
}

static int teardown(void **state)
{
    struct world *w = *state;
    hang_up(w);
    (void)close(w->listener);
    tls_client_free(w->client);
    tls_shared_fini(&w->shared);
    SSL_CTX_free(w->server_context);
    pki_der_free(&w->root_der);
    pki_free(&w->root);
    pki_free(&w->site);
    http1_context_fini(&w->context);
    loop_free(w->loop);
    free(w->stats);
    free(w);
    return 0;
}

/* ---- what happens ---- */

static enum err dial(struct world *w)
{
    struct ip ip = {
        4, {127, 0, 0, 1}
    };
    w->is_conn_closed = false;
    w->connected_n = w->free_n = 0;
    return w->dialer.dialer.dial(&w->dialer.dialer, &ip, w->port, &conn_events, w, &w->conn);
}

static enum err ask(struct world *w, const char *method, struct str body, bool is_end)
{
    struct http_request r = {.method = str_from_cstr(method),
                             .authority = STR("a"),
                             .target = STR("/"),
                             .body = body.n > 0 || !is_end ? HTTP_BODY_STREAM : HTTP_BODY_NONE};
    w->stream = w->conn->ops->open(w->conn);
    w->stream->events = &stream_events;
    w->stream->owner = w;
    w->is_stream_closed = w->is_unsent = w->is_whole = w->is_writable = false;
    w->why = REASON_none;
    w->status = 0;
    w->body_n = 0;
    return w->stream->ops->send_request(w->stream, &r, body, is_end);
}

/* The server's end of a connection that was dialed. */
static void serve(struct world *w)
{
    for (int i = 0; i < TICKS_MAX && w->fd < 0; i++) {
        tick(w);
        w->fd = accept(w->listener, NULL, NULL);
    }
    assert_true(w->fd >= 0);
    assert_int_equal(fcntl(w->fd, F_SETFL, O_NONBLOCK), 0);
    w->server = SSL_new(w->server_context);
    assert_int_equal(SSL_set_fd(w->server, w->fd), 1);
    SSL_set_accept_state(w->server);
}

/* The handshake as the server sees it; false: it failed. */
static bool shake(struct world *w)
{
    int ok = 0;
    for (int i = 0; i < TICKS_MAX && ok != 1; i++) {
        tick(w);
        ok = SSL_do_handshake(w->server);
        if (ok != 1 && SSL_get_error(w->server, ok) != SSL_ERROR_WANT_READ) {
            ERR_clear_error();
            return false;
        }
    }
    return ok == 1;
}

/* Reads until text has come, all of it NUL-terminated in body. */
static void expect(struct world *w, const char *text)
{
    static char got[TEXT_MAX];
    size_t n = 0;
    for (int i = 0; i < TICKS_MAX; i++) {
        tick(w);
        int read_n = SSL_read(w->server, got + n, (int)(sizeof(got) - 1 - n));
        ERR_clear_error();
        n += read_n > 0 ? (size_t)read_n : 0;
        got[n] = '\0';
        if (strstr(got, text) != NULL) {
            return;
        }
    }
    fail_msg("no \"%s\" in: %s", text, got);
}

static void say(struct world *w, const char *text)
{
    assert_int_equal(SSL_write(w->server, text, (int)strlen(text)), strlen(text));
}

#define UNTIL(w, cond)                                                                             \
    do {                                                                                           \
        for (int i_ = 0; i_ < TICKS_MAX && !(cond); i_++) {                                        \
            tick(w);                                                                               \
        }                                                                                          \
        assert_true(cond);                                                                         \
    } while (0)

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

/* A request that is answered, on a connection that goes idle then. */
static void warm_up(struct world *w)
{
    assert_int_equal(dial(w), E_OK);
    assert_int_equal(ask(w, "GET", STR_EMPTY, true), E_AGAIN);
    serve(w);
    assert_true(shake(w));
    expect(w, "\r\n\r\n");
    say(w, ANSWER);
    UNTIL(w, w->is_whole);
    assert_int_equal(w->free_n, 1);
}

static void assert_failed(struct world *w, enum reason why, bool is_unsent)
{
    UNTIL(w, w->is_stream_closed);
    assert_int_equal(w->why, why);
    assert_int_equal(w->is_unsent, is_unsent);
    assert_true(w->is_conn_closed);
}

/* ---- tests ---- */

static void a_request_waits_for_the_handshake(void **state)
{
    struct world *w = *state;
    char p[8];
    assert_int_equal(dial(w), E_OK);
    assert_int_equal(ask(w, "GET", STR_EMPTY, true), E_AGAIN);
    serve(w);
    for (int i = 0; i < 20; i++) {
        tick(w);
    }
    assert_int_equal(w->connected_n, 0); /* TCP stands, TLS does not */
    assert_int_equal(stats_get(&w->stats->upstream_connects), 0);
    assert_int_equal(w->stream->connected, 0);
    assert_true(shake(w));
    expect(w, "GET / HTTP/1.1\r\n");
    assert_int_equal(w->connected_n, 1);
    assert_int_equal(stats_get(&w->stats->upstream_connects), 1);
    assert_true(w->stream->connected > 0);
    assert_true(w->is_writable);
    assert_true(SSL_read(w->server, p, sizeof(p)) <= 0); /* nothing more */
    ERR_clear_error();
    say(w, ANSWER);
    UNTIL(w, w->is_whole);
    assert_int_equal(w->status, 200);
    assert_memory_equal(w->body, "hi", 2);
}

/* Kept alive over tickets and new keys, which are no answer to anything. */
static void kept_alive(void **state)
{
    struct world *w = *state;
    warm_up(w);
    assert_int_equal(SSL_key_update(w->server, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    assert_int_equal(SSL_do_handshake(w->server), 1);
    assert_int_equal(SSL_new_session_ticket(w->server), 1);
    assert_int_equal(SSL_do_handshake(w->server), 1);
    for (int i = 0; i < 20; i++) {
        tick(w);
    }
    assert_false(w->is_conn_closed);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(w, "GET", STR_EMPTY, true), E_OK);
        expect(w, "\r\n\r\n");
        say(w, ANSWER);
        UNTIL(w, w->is_whole);
    }
    assert_int_equal(stats_get(&w->stats->upstream_connects), 1);
    assert_int_equal(stats_get(&w->stats->upstream_handshakes), 1);
    hang_up(w);
    warm_up(w);
    assert_int_equal(stats_get(&w->stats->upstream_handshakes_resumed), 1);
}

static void a_certificate_for_another_name(void **state)
{
    struct world *w = *state;
    client_make(w, "b.example");
    assert_int_equal(dial(w), E_OK);
    assert_int_equal(ask(w, "POST", STR("body"), true), E_AGAIN);
    serve(w);
    assert_false(shake(w));
    assert_failed(w, REASON_upstream_certificate, true);
    assert_false(w->has_connected);
    assert_int_equal(w->connected_n, 0);
    assert_int_equal(stats_get(&w->stats->upstream_connect_failures), 1);
    assert_int_equal(stats_get(&w->stats->upstream_connects), 0);
}

static void an_endpoint_without_tls(void **state)
{
    struct world *w = *state;
    assert_int_equal(dial(w), E_OK);
    assert_int_equal(ask(w, "POST", STR("body"), true), E_AGAIN);
    serve(w);
    assert_int_equal(write(w->fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28), 28);
    assert_failed(w, REASON_upstream_tls, true);
}

static void an_endpoint_that_closes_in_the_handshake(void **state)
{
    struct world *w = *state;
    for (int has_reset = 0; has_reset < 2; has_reset++) {
        assert_int_equal(dial(w), E_OK);
        assert_int_equal(ask(w, "POST", STR("body"), true), E_AGAIN);
        serve(w);
        if (has_reset == 1) {
            struct linger linger = {.l_onoff = 1, .l_linger = 0};
            assert_int_equal(setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        }
        server_end(w);
        assert_failed(w, REASON_upstream_tls, true);
        hang_up(w);
    }
}

/* The time to connect runs for TCP, and from then on once more for the handshake. */
static void an_endpoint_that_stalls(void **state)
{
    struct world *w = *state;
    w->settings.proxy_connect_timeout = 60 * USEC_PER_MS;
    assert_int_equal(dial(w), E_OK);
    assert_int_equal(ask(w, "POST", STR("body"), true), E_AGAIN);
    serve(w);
    usec_t began = clock_monotonic();
    assert_failed(w, REASON_connect_timeout, true);
    assert_true(clock_monotonic() - began >= 50 * USEC_PER_MS);
    assert_int_equal(stats_get(&w->stats->timeout_upstream_handshake), 1);
    assert_int_equal(stats_get(&w->stats->timeout_upstream_connect), 0);
    assert_false(w->has_connected);
}

/* TLS 1.3: for us the handshake is complete, and the request is out, when the endpoint says that it
 * wants a certificate. It has seen nothing of the request. */
static void a_certificate_is_missing(void **state)
{
    struct world *w = *state;
    SSL_CTX_set_verify(w->server_context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    assert_int_equal(dial(w), E_OK);
    assert_int_equal(ask(w, "POST", STR("body"), true), E_AGAIN);
    serve(w);
    assert_false(shake(w));
    assert_failed(w, REASON_upstream_tls, true);
    assert_true(w->has_connected);
}

/* How a kept-alive connection ends while a request is under way to it, and whether the request, one
 * that must not be repeated, may go elsewhere. */
static void ends_under_a_request(void **state)
{
    struct world *w = *state;
    static const struct {
        bool has_notice; /* close_notify before the socket's end */
        bool was_read;   /* the request, by the endpoint */
    } cases[] = {
        {true,  false},
        {false, false}, /* as many servers do it */
        {true,  true },
        {false, true },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        warm_up(w);
        if (cases[i].was_read) {
            assert_int_equal(ask(w, "POST", STR("body"), true), E_OK);
            expect(w, "body");
        }
        if (cases[i].has_notice) {
            assert_int_equal(SSL_shutdown(w->server), 0);
        }
        server_end(w);
        if (!cases[i].was_read) { /* it meets a socket that is closed */
            assert_int_equal(ask(w, "POST", STR("body"), true), E_OK);
        }
        assert_failed(w, REASON_upstream_reset, !cases[i].was_read);
        hang_up(w);
    }
}

/* RFC 9112 section 9.8: without a length, only close_notify says that a body is whole. */
static void bodies_until_the_end(void **state)
{
    struct world *w = *state;
    for (int has_notice = 0; has_notice < 2; has_notice++) {
        assert_int_equal(dial(w), E_OK);
        assert_int_equal(ask(w, "GET", STR_EMPTY, true), E_AGAIN);
        serve(w);
        assert_true(shake(w));
        expect(w, "\r\n\r\n");
        say(w, "HTTP/1.1 200 OK\r\n\r\nsome of it");
        UNTIL(w, w->body_n == 10);
        if (has_notice == 1) {
            assert_int_equal(SSL_shutdown(w->server), 0);
        }
        assert_int_equal(shutdown(w->fd, SHUT_WR), 0);
        UNTIL(w, w->is_conn_closed);
        assert_int_equal(w->is_whole, has_notice == 1);
        assert_int_equal(w->is_stream_closed, has_notice == 0);
        assert_int_equal(w->why, has_notice == 1 ? REASON_none : REASON_upstream_cut);
        hang_up(w);
    }
}

/* More than the buffers take, held back while the handshake is on and behind it. */
static void a_large_body(void **state)
{
    struct world *w = *state;
    static char body[200000], got[300000];
    size_t n = 0;
    memset(body, 'x', sizeof(body));
    assert_int_equal(dial(w), E_OK);
    assert_int_equal(ask(w, "POST", str_make(body, sizeof(body)), false), E_AGAIN);
    serve(w);
    assert_true(shake(w));
    UNTIL(w, w->is_writable);
    assert_int_equal(w->stream->ops->send_body(w->stream, STR("the end"), true), E_OK);
    for (int i = 0; i < TICKS_MAX && strstr(got, "the end") == NULL; i++) {
        tick(w);
        int read_n = SSL_read(w->server, got + n, (int)(sizeof(got) - 1 - n));
        ERR_clear_error();
        n += read_n > 0 ? (size_t)read_n : 0;
    }
    assert_non_null(strstr(got, "the end"));
    assert_true(n > sizeof(body));
    say(w, ANSWER);
    UNTIL(w, w->is_whole);
}

/* The client has gone while the handshake was on: nothing is left behind. */
static void released_in_the_handshake(void **state)
{
    struct world *w = *state;
    assert_int_equal(dial(w), E_OK);
    assert_int_equal(ask(w, "GET", STR_EMPTY, true), E_AGAIN);
    serve(w);
    for (int i = 0; i < 5; i++) {
        tick(w);
    }
    w->stream->ops->release(w->stream);
    w->stream = NULL;
    assert_true(w->is_conn_closed);
    assert_false(w->has_connected);
    assert_int_equal(stats_get(&w->stats->upstream_connect_failures), 0);
}

static void when_memory_is_out(void **state)
{
    struct world *w = *state;
    bool was_whole = false;
    for (size_t nth = 1; nth < 20000 && !was_whole; nth += 1 + nth / 32) {
        mem_fail_from(nth);
        enum err e = dial(w);
        mem_fail_from(0);
        if (e != E_OK) { /* behind connect(), perhaps */
            assert_int_equal(e, E_NOMEM);
            for (int fd; (fd = accept(w->listener, NULL, NULL)) >= 0;) {
                (void)close(fd);
            }
            continue;
        }
        assert_int_equal(ask(w, "GET", STR_EMPTY, true), E_AGAIN);
        serve(w);
        for (int i = 0; i < 50 && !w->is_stream_closed && w->connected_n == 0; i++) {
            mem_fail_from(nth);
            tick(w);
            mem_fail_from(0);
            (void)SSL_do_handshake(w->server);
            ERR_clear_error();
        }
        assert_true(w->is_stream_closed || w->connected_n == 1);
        assert_true(!w->is_stream_closed || w->is_unsent);
        was_whole = w->connected_n == 1;
        hang_up(w);
    }
    assert_true(was_whole);
    assert_true(stats_get(&w->stats->limit_memory) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_request_waits_for_the_handshake),
        TEST(kept_alive),
        TEST(a_certificate_for_another_name),
        TEST(an_endpoint_without_tls),
        TEST(an_endpoint_that_closes_in_the_handshake),
        TEST(an_endpoint_that_stalls),
        TEST(a_certificate_is_missing),
        TEST(ends_under_a_request),
        TEST(bodies_until_the_end),
        TEST(a_large_body),
        TEST(released_in_the_handshake),
        TEST(when_memory_is_out),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* for the server */
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
