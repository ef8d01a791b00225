/* The listener for TLS put together: which protocol speaks behind the handshake, and what a change
 * of the configuration, of a certificate or of an authority does to connections to come. */
#include "worker/https.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../lib/pki.h"
#include "../../lib/snapshot_state.h"
#include "../../lib/snapshot_tls.h"
#include "base/mem.h"
#include "http/answer.h"
#include "tls/library.h"
#include "tls/sessions.h"

enum { STEPS_MAX = 20 };

struct world {
    struct loop *loop;
    struct http_budget budget;
    struct snap_settings settings;
    struct stats_page *stats;
    struct tls_shared shared;
    struct http1_context http1;
    struct http2_context http2;
    struct http2_server server2;
    struct http_handler handler;
    struct make_state routes, secrets;
    struct heritage heritage;
    struct https https;
    struct pki leaf;
    SSL_CTX *client_context;
    unsigned version; /* of the last request */
    char server_name[64];
    size_t rejected_n;
};

static void on_request(struct http_handler *h, struct http_stream *s, const struct http_request *r,
                       struct str body, bool is_end)
{
    struct world *w = container_of(h, struct world, handler);
    struct http_response response = {.status = 200, .body = HTTP_BODY_LENGTH, .body_n = 5};
    (void)body, (void)is_end;
    w->version = r->version;
    assert_true(r->peer->is_tls && r->peer->tls != NULL);
    assert_true(str_to_cstr(r->peer->tls->server_name, w->server_name, sizeof(w->server_name)));
    s->events = NULL;
    (void)s->ops->send_response(s, &response, STR("hello"), true);
    s->ops->release(s);
}

static void on_rejected(struct http_handler *h, const struct http_peer *peer, struct str start,
                        enum reason why)
{
    struct world *w = container_of(h, struct world, handler);
    (void)peer, (void)start, (void)why;
    w->rejected_n++;
}

static struct https_parts parts_of(struct world *w)
{
    return (struct https_parts){.heritage = &w->heritage,
                                .routes = &w->routes.s,
                                .secrets = &w->secrets.s,
                                .settings = &w->settings,
                                .stats = w->stats,
                                .shared = &w->shared,
                                .http1 = &w->http1,
                                .handler = &w->handler,
                                .server2 = &w->server2};
}

static void on_change(void *arg, enum snap_kind kind, struct str key,
                      const struct snapshot_entry *entry)
{
    struct world *w = arg;
    if (kind == SNAP_GLOBAL && entry != NULL) { /* as the worker takes them */
        w->settings = ((const struct snap_global *)(const void *)entry->shard)->settings;
    }
    https_changed(&w->https, kind, key);
}

static void apply(struct world *w)
{
    if (w->secrets.set->n > 0) {
        make_state_apply(&w->secrets, on_change, w);
    }
    if (w->routes.set->n > 0) {
        make_state_apply(&w->routes, on_change, w);
    }
    https_settle(&w->https);
}

static const char key_name[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/* Certificate shop/leaf, of that common name. */
static void add_leaf(struct world *w, const char *name)
{
    pki_free(&w->leaf);
    w->leaf = pki_make(&(struct pki_options){.name = name}, NULL);
    struct str der = pki_der(&w->leaf), key = pki_der_key(&w->leaf);
    const struct make_secret s = {
        .name = "leaf", .texts = &der, .text_n = 1, .key_name = key_name, .key_kind = SNAP_KEY_EC};
    assert_int_equal(make_certificate(make_next(w->routes.set), &s), E_OK);
    assert_int_equal(make_key(make_next(w->secrets.set), key_name, key), E_OK);
    pki_der_free(&der);
    pki_der_free(&key);
}

/* Ciphers of TLS 1.2, which is then the only version; "": as they are by default. */
static struct snap_global *add_global(struct world *w, const char *ciphers)
{
    struct buf *b = make_next(w->routes.set);
    assert_int_equal(make_global(b, "ingress"), E_OK);
    size_t at = b->n;
    buf_add(b, ciphers, strlen(ciphers) + 1);
    buf_align(b, SNAP_ALIGN);
    struct snap_global *g = snap_at(b, 0, struct snap_global);
    g->shard.bytes = (uint32_t)b->n;
    g->ssl_ciphers = (struct snap_str){(uint32_t)at, (uint32_t)strlen(ciphers)};
    g->ssl_max_version = ciphers[0] != '\0' ? 12 : 13;
    return g;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    w->budget.max = 1 << 30;
    w->handler = (struct http_handler){.on_request = on_request, .on_rejected = on_rejected};
    w->settings = snap_settings_default;
    w->heritage = (struct heritage){.sessions_fd = -1, .index = 0, .worker_n = 1};
    w->stats = aligned_alloc(_Alignof(struct stats_page), sizeof(*w->stats));
    memset(w->stats, 0, sizeof(*w->stats));
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(tls_shared_init(&w->shared), E_OK);
    assert_int_equal(http1_context_init(&w->http1, w->loop, &w->settings, &w->budget), E_OK);
    assert_int_equal(http2_context_init(&w->http2, w->loop, &w->settings, &w->budget, w->stats),
                     E_OK);
    assert_int_equal(http2_server_init(&w->server2, &w->http2, &w->handler, w->stats), E_OK);
    make_state_init(&w->routes);
    make_state_init(&w->secrets);
    const struct https_parts parts = parts_of(w);
    assert_int_equal(https_init(&w->https, &parts), E_OK);
    w->client_context = SSL_CTX_new(TLS_client_method());
    *state = w;
    return 0;
}

/* With what most tests begin: names of all kinds are served. */
static int setup_serving(void **state)
{
    (void)setup(state);
    struct world *w = *state;
    add_leaf(w, "leaf");
    (void)add_global(w, "");
    assert_int_equal(make_site(make_next(w->routes.set),
                               &(struct make_site){.pattern = "", .certificates = {"shop/leaf"}}),
                     E_OK);
    apply(w);
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    SSL_CTX_free(w->client_context);
    http1_server_fini(&w->https.server);
    http2_server_fini(&w->server2);
    assert_int_equal(loop_step(w->loop, 0), E_OK);
    https_fini(&w->https);
    assert_int_equal(w->budget.used, 0);
    http1_context_fini(&w->http1);
    http2_context_fini(&w->http2);
    make_state_fini(&w->routes);
    make_state_fini(&w->secrets);
    tls_shared_fini(&w->shared);
    loop_free(w->loop);
    pki_free(&w->leaf);
    free(w->stats);
    free(w);
    return 0;
}

/* ---- clients ---- */

struct client {
    struct world *world;
    SSL *ssl;
    int fd;
};

static enum err client_open(struct world *w, struct client *c)
{
    const struct http_peer peer = {.is_tls = true, .listener = STR("https")};
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    *c = (struct client){.world = w, .fd = pair[1], .ssl = SSL_new(w->client_context)};
    assert_int_equal(SSL_set_fd(c->ssl, c->fd), 1);
    assert_int_equal(SSL_set_tlsext_host_name(c->ssl, "a.test"), 1);
    SSL_set_connect_state(c->ssl);
    return http1_server_accept(&w->https.server, pair[0], &peer);
}

static bool client_shake(struct client *c)
{
    for (int i = 0; i < STEPS_MAX; i++) {
        ERR_clear_error();
        int done = SSL_do_handshake(c->ssl);
        int error = SSL_get_error(c->ssl, done);
        assert_int_equal(loop_step(c->world->loop, 0), E_OK);
        if (done == 1 || error != SSL_ERROR_WANT_READ) {
            ERR_clear_error();
            return done == 1;
        }
    }
    return false;
}

/* True when "hello" comes back. */
static bool client_ask(struct client *c, struct str request)
{
    char got[4096];
    size_t n = 0, piece;
    assert_int_equal(SSL_write(c->ssl, request.p, (int)request.n), (int)request.n);
    for (int i = 0; i < STEPS_MAX; i++) {
        assert_int_equal(loop_step(c->world->loop, 0), E_OK);
        while (n < sizeof(got) && SSL_read_ex(c->ssl, got + n, sizeof(got) - n, &piece) == 1) {
            n += piece;
        }
        ERR_clear_error();
        if (memmem(got, n, "hello", 5) != NULL) {
            return true;
        }
    }
    return false;
}

static void client_close(struct client *c)
{
    SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->ssl);
    (void)close(c->fd);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(loop_step(c->world->loop, 0), E_OK);
    }
}

static const struct str ask1 = STR_INIT("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
static const struct str ask2 = STR_INIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
                                        "\0\0\13\1\5\0\0\0\1\x82\x87\x84\x41\x06"
                                        "a.test");

/* A whole connection; the version that its request came by, 0: the handshake failed. */
static unsigned visit(struct world *w, const char *protocols)
{
    struct client c;
    const unsigned char *chosen;
    unsigned n;
    assert_int_equal(SSL_CTX_set_alpn_protos(w->client_context, (const unsigned char *)protocols,
                                             (unsigned)strlen(protocols)),
                     0);
    w->version = 0;
    if (client_open(w, &c) == E_OK && client_shake(&c)) {
        SSL_get0_alpn_selected(c.ssl, &chosen, &n);
        assert_true(client_ask(&c, n == 2 ? ask2 : ask1));
        assert_string_equal(w->server_name, "a.test");
        assert_int_equal(w->server2.conn_n, n == 2);
        assert_int_equal(w->https.server.conn_n, n != 2);
    }
    client_close(&c);
    assert_int_equal(w->server2.conn_n + w->https.server.conn_n, 0);
    return w->version;
}

/* ---- protocols ---- */

static void the_handshake_says_which_protocol(void **state)
{
    struct world *w = *state;
    assert_int_equal(visit(w, "\x02h2\x08http/1.1"), 20);
    assert_int_equal(visit(w, "\x08http/1.1"), 11);
    assert_int_equal(visit(w, ""), 11);
    assert_int_equal(visit(w, "\x02h3"), 0); /* refused: RFC 7301 section 3.2 */
    add_global(w, "")->settings.use_http2 = 0;
    apply(w);
    assert_int_equal(visit(w, "\x02h2\x08http/1.1"), 11);
    assert_int_equal(visit(w, "\x02h2"), 0);
}

/* Who has agreed on HTTP/1.1 does not speak HTTP/2 all the same, nor the other way round. */
static void nobody_changes_the_protocol(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *protocols;
        const struct str *request;
    } cases[] = {
        {"\x08http/1.1", &ask2},
        {"\x02h2",       &ask1},
    };
    for (size_t i = 0; i < 2; i++) {
        struct client c;
        assert_int_equal(SSL_CTX_set_alpn_protos(w->client_context,
                                                 (const unsigned char *)cases[i].protocols,
                                                 (unsigned)strlen(cases[i].protocols)),
                         0);
        assert_int_equal(client_open(w, &c), E_OK);
        assert_true(client_shake(&c));
        assert_false(client_ask(&c, *cases[i].request));
        assert_int_equal(w->version, 0);
        assert_int_equal(w->rejected_n, 1); /* HTTP/2 has answers of its own */
        client_close(&c);
    }
}

/* ---- configuration ---- */

static void nobody_is_served_before_there_is_one(void **state)
{
    struct world *w = *state;
    struct client c;
    char p;
    assert_int_equal(client_open(w, &c), E_NOTFOUND);
    assert_int_equal(read(c.fd, &p, 1), 0);
    client_close(&c);
    https_changed(&w->https, SNAP_GLOBAL, STR_EMPTY); /* has gone, or was never there */
    assert_null(w->https.context);
}

static void rules_change(void **state)
{
    struct world *w = *state;
    static const char only[] = "ECDHE-ECDSA-AES256-GCM-SHA384";
    assert_int_equal(SSL_CTX_set_cipher_list(w->client_context, "ECDHE-ECDSA-AES128-GCM-SHA256"),
                     1);
    SSL_CTX_set_max_proto_version(w->client_context, TLS1_2_VERSION);
    assert_int_equal(visit(w, ""), 11);
    struct client standing;
    assert_int_equal(client_open(w, &standing), E_OK);
    assert_true(client_shake(&standing));
    (void)add_global(w, only);
    apply(w);
    struct client c;
    assert_int_equal(client_open(w, &c), E_OK);
    assert_false(client_shake(&c));
    client_close(&c);
    assert_true(client_ask(&standing, ask1)); /* by the rules that it began with */
    client_close(&standing);
    assert_int_equal(SSL_CTX_set_cipher_list(w->client_context, only), 1);
    assert_int_equal(visit(w, ""), 11);
    SSL_CTX_set_max_proto_version(w->client_context, TLS1_3_VERSION);
    SSL_CTX_set_min_proto_version(w->client_context, TLS1_3_VERSION);
    assert_int_equal(visit(w, ""), 0); /* 1.2 only, the rules say */
    SSL_CTX_set_min_proto_version(w->client_context, TLS1_2_VERSION);
    const struct tls_context *before = w->https.context;
    (void)add_global(w, "nonsense"); /* the rules before stay */
    apply(w);
    assert_ptr_equal(w->https.context, before);
    assert_int_equal(visit(w, ""), 11);
}

/* ---- certificates ---- */

static void shown_is(struct world *w, const char *want)
{
    struct client c;
    char text[64] = "";
    assert_int_equal(client_open(w, &c), E_OK);
    assert_true(client_shake(&c));
    X509 *x = SSL_get0_peer_certificate(c.ssl);
    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, text, sizeof(text));
    assert_string_equal(text, want);
    client_close(&c);
}

static void certificates_are_renewed(void **state)
{
    struct world *w = *state;
    assert_int_equal(stats_get(&w->stats->tls_certificates), 0); /* only what is in use */
    shown_is(w, "leaf");
    https_settle(&w->https);
    assert_int_equal(stats_get(&w->stats->tls_certificates), 1);
    add_leaf(w, "newer");
    apply(w);
    assert_int_equal(stats_get(&w->stats->tls_certificates), 0);
    shown_is(w, "newer");
    https_changed(&w->https, SNAP_HOST, STR("shop/leaf")); /* nothing of ours */
    https_settle(&w->https);
    assert_int_equal(stats_get(&w->stats->tls_certificates), 1);
}

/* ---- sessions ---- */

static int memory_make(size_t bytes)
{
    int fd = memfd_create("sessions", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    return fd;
}

static void sessions(void **state)
{
    struct world *w = *state;
    struct https other;
    struct https_parts parts = parts_of(w);
    w->heritage.sessions_fd = memory_make(TLS_SESSION_BYTES - 1);
    assert_int_equal(https_init(&other, &parts), E_OK);
    assert_null(other.sessions); /* too small for one: none are kept */
    https_fini(&other);
    assert_int_equal(ftruncate(w->heritage.sessions_fd, TLS_SESSION_BYTES), 0);
    assert_int_equal(https_init(&other, &parts), E_OK);
    assert_non_null(other.sessions);
    assert_ptr_equal(other.sites.sessions, other.sessions);
    https_fini(&other);
    (void)close(w->heritage.sessions_fd);
    assert_int_equal(https_init(&other, &parts), E_SYS); /* no such descriptor */
    https_fini(&other);
}

static void when_memory_is_out(void **state)
{
    struct world *w = *state;
    struct https_parts parts = parts_of(w);
    enum err e = E_NOMEM;
    size_t nth = 1;
    w->heritage.sessions_fd = memory_make(1 << 16);
    for (; nth < 100 && e != E_OK; nth++) {
        struct https h;
        mem_fail_from(nth);
        e = https_init(&h, &parts);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
        https_fini(&h); /* half of it, as the worker does */
    }
    assert_int_equal(e, E_OK);
    assert_true(nth > 2);
    (void)close(w->heritage.sessions_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name)    cmocka_unit_test_setup_teardown(name, setup, teardown)
#define SERVING(name) cmocka_unit_test_setup_teardown(name, setup_serving, teardown)
        SERVING(the_handshake_says_which_protocol),
        SERVING(nobody_changes_the_protocol),
        TEST(nobody_is_served_before_there_is_one),
        SERVING(rules_change),
        SERVING(certificates_are_renewed),
        TEST(sessions),
        TEST(when_memory_is_out),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* for the client */
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
