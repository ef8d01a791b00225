/* Dialers over TLS from shards made by hand: which are the same, what they take from the snapshots,
 * when they cannot, and when they are gone. OpenSSL's own server behind a loopback socket. */
#include "worker/upstream_tls.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
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
#include "../../lib/snapshot_make.h"
#include "base/limits.h"
#include "base/mem.h"
#include "log/log.h"
#include "tls/library.h"

enum { SEGMENTS_MAX = 32, TICKS_MAX = 5000, TICK = 1000 };

#define KEY_NAME "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct world {
    struct loop *loop;
    struct stats_page *stats;
    struct snap_settings settings;
    struct http_budget budget;
    struct http1_context http1;
    struct http2_context http2;
    struct tls_shared shared;
    struct snapshot routes, secrets;
    struct upstream_tls tls;
    struct make_set *set;
    struct buf segments[SEGMENTS_MAX];
    size_t segment_n;
    struct pki root, site, ours;
    SSL_CTX *server_context;
    SSL *server;
    int listener, fd;
    uint16_t port;
    struct http_conn *conn;
    bool is_connected, is_closed;
    enum reason why;
    bool is_stream_closed, is_unsent;
    enum reason stream_why;
};

/* ---- the pool ---- */

static void on_connected(struct http_conn *c)
{
    ((struct world *)c->owner)->is_connected = true;
}

static void on_free(struct http_conn *c)
{
    (void)c;
}

static void on_closed(struct http_conn *c, enum reason why, bool has_connected)
{
    struct world *w = c->owner;
    (void)has_connected;
    w->is_closed = true;
    w->why = why;
    w->conn = NULL;
}

static const struct http_conn_events conn_events = {on_connected, on_free, on_free, on_closed};

static void on_stream_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    struct world *w = s->owner;
    w->is_stream_closed = true;
    w->is_unsent = is_unsent;
    w->stream_why = why;
}

/* Nothing else happens to a stream that sends nothing. */
static const struct http_stream_events stream_events = {.on_closed = on_stream_closed};

/* ---- shards ---- */

struct service {
    const char *name, *tls_name, *ciphers, *authority, *certificate;
    uint8_t is_verified, depth, sends_name, is_broken, min_version, max_version, protocol;
    uint64_t stamp;
    uint32_t endpoint_n;
};

static const struct service usual = {.name = "web",
                                     .tls_name = "a.example",
                                     .ciphers = "",
                                     .authority = "default/ca",
                                     .certificate = "",
                                     .is_verified = 1,
                                     .sends_name = 1,
                                     .protocol = SNAP_HTTP1,
                                     .stamp = 1,
                                     .endpoint_n = 1};

static void add_service(struct world *w, const struct service *s)
{
    struct buf *b = make_next(w->set);
    char key[100];
    (void)snprintf(key, sizeof(key), "default/%s/443", s->name);
    snap_shard_begin(b, SNAP_SERVICE, sizeof(struct snap_service), str_from_cstr(key));
    struct snap_service made = {.status = SNAP_SERVICE_OK,
                                .protocol = s->protocol,
                                .is_tls = 1,
                                .is_verified = s->is_verified,
                                .depth = s->depth,
                                .sends_name = s->sends_name,
                                .is_broken = s->is_broken,
                                .min_version = s->min_version,
                                .max_version = s->max_version,
                                .stamp = s->stamp};
    made.namespace_name = snap_add_str(b, STR("default"));
    made.name = snap_add_str(b, str_from_cstr(s->name));
    made.port = snap_add_str(b, STR("443"));
    made.variant = snap_add_str(b, STR_EMPTY);
    made.tls_name = snap_add_str(b, str_from_cstr(s->tls_name));
    made.ciphers = snap_add_str(b, str_from_cstr(s->ciphers));
    made.authority = snap_add_str(b, str_from_cstr(s->authority));
    made.certificate = snap_add_str(b, str_from_cstr(s->certificate));
    made.endpoints = snap_add_array(b, s->endpoint_n, sizeof(struct snap_endpoint));
    assert_false(b->bad);
    for (uint32_t i = 0; i < s->endpoint_n; i++) {
        snap_at(b, made.endpoints.offset, struct snap_endpoint)[i] = (struct snap_endpoint){
            .family = 4, .port = (uint16_t)(1 + i), .weight = 1, .address = {10, 0, 0, 1}
        };
    }
    made.shard = *snap_at(b, 0, struct snap_shard);
    *snap_at(b, 0, struct snap_service) = made;
    assert_int_equal(snap_shard_end(b), E_OK);
}

static struct snap_array add_texts(struct buf *b, struct str text)
{
    struct snap_array array = snap_add_array(b, text.n > 0, sizeof(struct snap_str));
    struct snap_str added = snap_add_str(b, text);
    assert_false(b->bad);
    if (array.n > 0) {
        *snap_at(b, array.offset, struct snap_str) = added;
    }
    return array;
}

static void add_authority(struct world *w, const struct pki *authority)
{
    struct buf *b = make_next(w->set);
    struct str der = authority == NULL ? STR_EMPTY : pki_der(authority);
    snap_shard_begin(b, SNAP_AUTHORITY, sizeof(struct snap_authority), STR("default/ca"));
    struct snap_str namespace_name = snap_add_str(b, STR("default"));
    struct snap_str name = snap_add_str(b, STR("ca"));
    struct snap_array certificates = add_texts(b, der), revocations = add_texts(b, STR_EMPTY);
    struct snap_authority *root = snap_at(b, 0, struct snap_authority);
    root->namespace_name = namespace_name;
    root->name = name;
    root->certificates = certificates;
    root->revocations = revocations;
    assert_int_equal(snap_shard_end(b), E_OK);
    if (authority != NULL) {
        pki_der_free(&der);
    }
}

static void add_certificate(struct world *w)
{
    struct buf *b = make_next(w->set);
    struct str der = pki_der(&w->ours);
    snap_shard_begin(b, SNAP_CERTIFICATE, sizeof(struct snap_certificate), STR("default/ours"));
    struct snap_str namespace_name = snap_add_str(b, STR("default"));
    struct snap_str name = snap_add_str(b, STR("ours")), key = snap_add_str(b, STR(KEY_NAME));
    struct snap_array chain = add_texts(b, der), names = add_texts(b, STR_EMPTY);
    struct snap_certificate *root = snap_at(b, 0, struct snap_certificate);
    root->namespace_name = namespace_name;
    root->name = name;
    root->key_name = key;
    root->key_hash = hash_str(STR(KEY_NAME));
    root->key_kind = SNAP_KEY_EC;
    root->chain = chain;
    root->names = names;
    assert_int_equal(snap_shard_end(b), E_OK);
    pki_der_free(&der);
}

static void add_key(struct world *w)
{
    struct buf *b = make_next(w->set);
    struct str der = pki_der_key(&w->ours);
    snap_shard_begin(b, SNAP_KEY, sizeof(struct snap_key), STR(KEY_NAME));
    struct snap_str key = snap_add_str(b, der);
    snap_at(b, 0, struct snap_key)->key = key;
    assert_int_equal(snap_shard_end(b), E_OK);
    pki_der_free(&der);
}

static void apply(struct world *w, struct snapshot *to)
{
    struct buf *segment = &w->segments[w->segment_n++];
    struct snapshot_fault fault = {0};
    buf_init(segment, 1 << 20);
    assert_int_equal(make_segment(w->set, segment, to->generation, to->generation + 1), E_OK);
    make_clear(w->set);
    struct snapshot_segment *mapped = make_open(segment->p, segment->n, &fault);
    if (mapped == NULL) {
        fail_msg("%s", fault.what);
    }
    assert_int_equal(snapshot_apply(to, mapped, NULL, NULL), E_OK);
    snapshot_segment_unref(mapped);
}

static const struct snap_service *service_get(struct world *w, const char *name)
{
    char key[100];
    (void)snprintf(key, sizeof(key), "default/%s/443", name);
    struct str s = str_from_cstr(key);
    return (const struct snap_service *)(const void *)snapshot_find(&w->routes, SNAP_SERVICE, s,
                                                                    hash_str(s))
        ->shard;
}

static struct http_dialer *take(struct world *w, const struct service *s)
{
    add_service(w, s);
    apply(w, &w->routes);
    return upstream_tls_take(&w->tls, service_get(w, s->name));
}

/* ---- the world ---- */

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

static void tls_start(struct world *w)
{
    upstream_tls_init(&w->tls, &w->http1, &w->http2, &w->shared, &w->routes, &w->secrets, w->stats);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    w->set = calloc(1, sizeof(*w->set));
    w->fd = -1;
    w->settings = snap_settings_default;
    w->budget.max = UINT64_MAX;
    w->stats = aligned_alloc(_Alignof(struct stats_page), sizeof(*w->stats));
    memset(w->stats, 0, sizeof(*w->stats));
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(http1_context_init(&w->http1, w->loop, &w->settings, &w->budget), E_OK);
    assert_int_equal(http2_context_init(&w->http2, w->loop, &w->settings, &w->budget, w->stats),
                     E_OK);
    assert_int_equal(tls_shared_init(&w->shared), E_OK);
    snapshot_init(&w->routes);
    snapshot_init(&w->secrets);
    tls_start(w);
    w->root = pki_make(&(struct pki_options){.name = "root", .is_authority = true}, NULL);
    w->site =
        pki_make(&(struct pki_options){.name = "a", .alternatives = "DNS:a.example"}, &w->root);
    w->ours = pki_make(&(struct pki_options){.name = "ours", .uses = "clientAuth"}, &w->root);
    w->server_context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_cert_and_key(w->server_context, w->site.x, w->site.key, NULL, 1),
                     1);
    listen_make(w);
    *state = w;
    return 0;
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
    SSL_free(w->server);
    w->server = NULL;
    if (w->fd >= 0) {
        (void)close(w->fd);
        w->fd = -1;
    }
    ERR_clear_error();
}

static int teardown(void **state)
{
    struct world *w = *state;
    hang_up(w);
    upstream_tls_fini(&w->tls);
    tls_shared_fini(&w->shared);
    (void)close(w->listener);
    SSL_CTX_free(w->server_context);
    pki_free(&w->root);
    pki_free(&w->site);
    pki_free(&w->ours);
    snapshot_fini(&w->routes);
    snapshot_fini(&w->secrets);
    for (size_t i = 0; i < w->segment_n; i++) {
        buf_fini(&w->segments[i]);
    }
    http1_context_fini(&w->http1);
    http2_context_fini(&w->http2);
    loop_free(w->loop);
    free(w->stats);
    free(w->set);
    free(w);
    return 0;
}

static enum err dial(struct world *w, struct http_dialer *d)
{
    struct ip ip = {
        4, {127, 0, 0, 1}
    };
    w->is_connected = w->is_closed = false;
    w->why = REASON_none;
    return d->dial(d, &ip, w->port, &conn_events, w, &w->conn);
}

/* Both sides, until the connection stands or is closed, or the server has done n steps. */
static void shake_until(struct world *w, int n)
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
    for (int i = 0; i < n && !w->is_connected && !w->is_closed; i++) {
        (void)SSL_do_handshake(w->server);
        ERR_clear_error();
        tick(w);
    }
    for (int i = 0; i < 100 && SSL_do_handshake(w->server) != 1; i++) {
        ERR_clear_error();
        tick(w);
    }
}

static void shake(struct world *w)
{
    shake_until(w, TICKS_MAX);
}

static void assert_connects(struct world *w, struct http_dialer *d)
{
    assert_int_equal(dial(w, d), E_OK);
    shake(w);
    assert_true(w->is_connected);
}

/* Nobody has even tried to connect. */
static void assert_unable(struct world *w, struct http_dialer *d)
{
    assert_int_equal(dial(w, d), E_PROTO);
    tick(w);
    assert_int_equal(accept(w->listener, NULL, NULL), -1);
}

/* ---- tests ---- */

static void a_connection(void **state)
{
    struct world *w = *state;
    add_authority(w, &w->root);
    struct http_dialer *d = take(w, &usual);
    assert_connects(w, d);
    assert_string_equal(SSL_get_servername(w->server, TLSEXT_NAMETYPE_host_name), "a.example");
    hang_up(w);
    upstream_tls_give(&w->tls, d);
}

/* Of other endpoints the same, of anything else another. */
static void which_are_the_same(void **state)
{
    struct world *w = *state;
    struct http_dialer *d = take(w, &usual), *taken[13];
    struct service s = usual;
    s.endpoint_n = 3;
    assert_ptr_equal(take(w, &s), d);
    upstream_tls_give(&w->tls, d);
    struct service others[13];
    for (size_t i = 0; i < 12; i++) {
        others[i] = usual;
    }
    others[0].stamp = 2;
    others[1].name = "api";
    others[2].tls_name = "b.example";
    others[3].ciphers = "HIGH";
    others[4].authority = "default/cb";
    others[5].certificate = "default/ours";
    others[6].is_verified = 0;
    others[7].depth = 1;
    others[8].sends_name = 0;
    others[9].min_version = 13;
    others[10].max_version = 12;
    others[11].tls_name = "a.exampl";
    others[11].ciphers = "e"; /* the same letters in a row */
    others[12].protocol = SNAP_HTTP2;
    for (size_t i = 0; i < 12; i++) {
        taken[i] = take(w, &others[i]);
        assert_non_null(taken[i]);
        assert_ptr_not_equal(taken[i], d);
        for (size_t k = 0; k < i; k++) {
            assert_ptr_not_equal(taken[i], taken[k]);
        }
    }
    for (size_t i = 0; i < 12; i++) {
        upstream_tls_give(&w->tls, taken[i]);
    }
    upstream_tls_give(&w->tls, d);
}

static void what_it_does_not_speak(void **state)
{
    struct world *w = *state;
    struct service s = usual;
    s.protocol = SNAP_TCP;
    struct http_dialer *d = take(w, &s);
    assert_int_equal(dial(w, d), E_REFUSED);
    upstream_tls_give(&w->tls, d);
    s.is_broken = 1;
    d = take(w, &s);
    assert_unable(w, d);
    upstream_tls_give(&w->tls, d);
}

static void an_authority_that_comes_later(void **state)
{
    struct world *w = *state;
    struct http_dialer *d = take(w, &usual);
    assert_unable(w, d);
    add_authority(w, &w->root);
    apply(w, &w->routes);
    assert_connects(w, d);
    hang_up(w);
    upstream_tls_give(&w->tls, d);
}

/* Neither do those of the system vouch, nor nobody. */
static void no_authority(void **state)
{
    struct world *w = *state;
    struct service s = usual;
    s.authority = "";
    struct http_dialer *d = take(w, &s);
    assert_unable(w, d);
    upstream_tls_give(&w->tls, d);
    add_authority(w, NULL); /* which names nobody */
    d = take(w, &usual);
    assert_int_equal(dial(w, d), E_OK);
    shake(w);
    assert_true(w->is_closed);
    assert_int_equal(w->why, REASON_upstream_certificate);
    hang_up(w);
    upstream_tls_give(&w->tls, d);
}

static void our_certificate(void **state)
{
    struct world *w = *state;
    struct service s = usual;
    assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(w->server_context), w->root.x), 1);
    SSL_CTX_set_verify(w->server_context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    add_authority(w, &w->root);
    s.certificate = "default/ours";
    struct http_dialer *d = take(w, &s);
    assert_unable(w, d);
    add_certificate(w);
    apply(w, &w->routes);
    assert_unable(w, d); /* its key comes by another way */
    add_key(w);
    apply(w, &w->secrets);
    assert_connects(w, d);
    assert_int_equal(X509_cmp(SSL_get0_peer_certificate(w->server), w->ours.x), 0);
    hang_up(w);
    upstream_tls_give(&w->tls, d);
}

static void another_key_under_its_name(void **state)
{
    struct world *w = *state;
    struct service s = usual;
    struct pki ours = w->ours;
    add_authority(w, &w->root);
    add_certificate(w);
    s.certificate = "default/ours";
    struct http_dialer *d = take(w, &s);
    w->ours = w->site;
    add_key(w);
    w->ours = ours;
    apply(w, &w->secrets);
    assert_unable(w, d);
    upstream_tls_give(&w->tls, d);
}

/* ---- life ---- */

static void wait_for_sweep(struct world *w)
{
    usec_t until = clock_monotonic() + UPSTREAM_TLS_SWEEP + 100 * USEC_PER_MS;
    while (clock_monotonic() < until) {
        assert_int_equal(loop_step(w->loop, 20 * USEC_PER_MS), E_OK);
    }
}

static void until_the_last_connection_is_gone(void **state)
{
    struct world *w = *state;
    add_authority(w, &w->root);
    struct http_dialer *d = take(w, &usual);
    assert_connects(w, d);
    upstream_tls_give(&w->tls, d);
    wait_for_sweep(w);
    assert_int_equal(w->tls.dialers.n, 1);
    assert_false(w->is_closed);
    hang_up(w);
    wait_for_sweep(w);
    assert_int_equal(w->tls.dialers.n, 0);
}

static void taken_again(void **state)
{
    struct world *w = *state;
    add_authority(w, &w->root);
    struct http_dialer *d = take(w, &usual);
    upstream_tls_give(&w->tls, d);
    assert_ptr_equal(upstream_tls_take(&w->tls, service_get(w, "web")), d);
    wait_for_sweep(w);
    assert_int_equal(w->tls.dialers.n, 1);
    assert_connects(w, d);
    hang_up(w);
    upstream_tls_give(&w->tls, d);
}

/* ---- the log ---- */

static size_t lines_of(int fd, char *text, size_t room)
{
    size_t n = 0;
    ssize_t got = pread(fd, text, room - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++) {
        n++;
    }
    return n;
}

/* Each request may fail, and one line tells of it. */
static void one_line_in_a_while(void **state)
{
    struct world *w = *state;
    static char text[1 << 16];
    struct service s = usual;
    char path[] = "/tmp/test_upstream_tls.XXXXXX";
    int file = mkstemp(path), saved = dup(STDERR_FILENO);
    assert_true(file >= 0);
    (void)unlink(path);
    add_authority(w, &w->root);
    s.tls_name = "b.example";
    struct http_dialer *d = take(w, &s);
    assert_int_equal(dup2(file, STDERR_FILENO), STDERR_FILENO);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(dial(w, d), E_OK);
        shake(w);
        hang_up(w);
    }
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(w->why, REASON_upstream_certificate);
    assert_int_equal(lines_of(file, text, sizeof(text)), 1);
    assert_non_null(strstr(text, "the certificate is for another name endpoint=127.0.0.1 port="));
    assert_non_null(strstr(text, "service=default/web/443"));
    assert_int_equal(stats_get(&w->stats->upstream_handshake_failures), 3);
    (void)close(file);
    (void)close(saved);
    upstream_tls_give(&w->tls, d);
}

/* ---- HTTP/2 ---- */

static const unsigned char h2[] = "\2h2", h1[] = "\10http/1.1";

/* Takes what it was told to take, whatever the client offers; nothing: knows nothing of ALPN. */
static int on_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_n,
                   const unsigned char *offered, unsigned offered_n, void *chosen)
{
    const unsigned char *name = chosen;
    (void)ssl;
    assert_int_equal(offered_n, sizeof(h2) - 1);
    assert_memory_equal(offered, h2, offered_n);
    if (name == NULL) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *ret = name + 1;
    *ret_n = name[0];
    return SSL_TLSEXT_ERR_OK;
}

static struct http_dialer *take_http2(struct world *w, const unsigned char *chosen)
{
    struct service s = usual;
    s.protocol = SNAP_HTTP2;
    add_authority(w, &w->root);
    SSL_CTX_set_alpn_select_cb(w->server_context, on_alpn, (void *)(uintptr_t)chosen);
    return take(w, &s);
}

/* The preface and SETTINGS came, and are answered with SETTINGS. */
static void greet(struct world *w)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const char settings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    char got[1024];
    size_t n = 0;
    for (int i = 0; i < TICKS_MAX && n == 0; i++) {
        (void)SSL_read_ex(w->server, got, sizeof(got), &n);
        ERR_clear_error();
        tick(w);
    }
    assert_true(n > sizeof(preface) + sizeof(settings));
    assert_memory_equal(got, preface, sizeof(preface) - 1);
    assert_int_equal(SSL_write(w->server, settings, sizeof(settings)), sizeof(settings));
    for (int i = 0; i < TICKS_MAX && !w->is_connected; i++) {
        tick(w);
    }
}

/* With ALPN, and as many gRPC servers do it, without; not a moment before its SETTINGS. */
static void http2(void **state)
{
    struct world *w = *state;
    const unsigned char *chosen[] = {h2, NULL};
    for (size_t i = 0; i < 2; i++) {
        struct http_dialer *d = take_http2(w, chosen[i]);
        assert_int_equal(dial(w, d), E_OK);
        assert_int_equal(d->conn_n, 1);
        shake_until(w, 100);
        assert_false(w->is_connected || w->is_closed);
        greet(w);
        assert_true(w->is_connected);
        hang_up(w);
        assert_int_equal(d->conn_n, 0);
        upstream_tls_give(&w->tls, d);
    }
    assert_int_equal(stats_get(&w->stats->upstream_connects), 2);
    assert_int_equal(stats_get(&w->stats->upstream_handshakes), 1);
    assert_int_equal(stats_get(&w->stats->upstream_handshakes_resumed), 1);
}

static void assert_http2_fails(struct world *w, const unsigned char *chosen, enum reason why)
{
    struct http_dialer *d = take_http2(w, chosen);
    assert_int_equal(dial(w, d), E_OK);
    struct http_stream *s = w->conn->ops->open(w->conn);
    s->events = &stream_events;
    s->owner = w;
    w->is_stream_closed = false;
    shake(w);
    assert_true(w->is_closed);
    assert_true(w->is_stream_closed && w->is_unsent);
    assert_int_equal(w->stream_why, why);
    hang_up(w);
    upstream_tls_give(&w->tls, d);
}

static void http2_that_is_not_wanted(void **state)
{
    struct world *w = *state;
    assert_http2_fails(w, h1, REASON_upstream_tls);
    assert_int_equal(stats_get(&w->stats->upstream_handshake_failures), 1);
    assert_int_equal(stats_get(&w->stats->upstream_connect_failures), 1);
}

static void http2_with_a_bad_certificate(void **state)
{
    struct world *w = *state;
    assert_int_equal(SSL_CTX_use_cert_and_key(w->server_context, w->ours.x, w->ours.key, NULL, 1),
                     1);
    assert_http2_fails(w, h2, REASON_upstream_certificate);
}

/* The time for the handshake is over: what waits may go elsewhere. */
static void http2_that_takes_too_long(void **state)
{
    struct world *w = *state;
    w->settings.proxy_connect_timeout = 20 * USEC_PER_MS;
    struct http_dialer *d = take_http2(w, h2);
    assert_int_equal(dial(w, d), E_OK);
    for (int i = 0; i < TICKS_MAX && !w->is_closed; i++) {
        tick(w);
    }
    assert_true(w->is_closed);
    assert_int_equal(stats_get(&w->stats->timeout_upstream_handshake), 1);
    assert_int_equal(stats_get(&w->stats->timeout_upstream_connect), 0);
    hang_up(w);
    upstream_tls_give(&w->tls, d);
}

/* ---- memory ---- */

static void check_memory(struct world *w, uint8_t protocol)
{
    struct service s = usual;
    s.protocol = protocol;
    add_authority(w, &w->root);
    add_certificate(w);
    s.certificate = "default/ours";
    add_service(w, &s);
    apply(w, &w->routes);
    add_key(w);
    apply(w, &w->secrets);
    bool was_whole = false;
    for (size_t nth = 1; nth < 20000 && !was_whole; nth += 1 + nth / 64) {
        mem_fail_from(nth);
        struct http_dialer *d = upstream_tls_take(&w->tls, service_get(w, "web"));
        mem_fail_from(0);
        if (d == NULL) {
            continue;
        }
        mem_fail_from(nth);
        enum err e = dial(w, d);
        mem_fail_from(0);
        was_whole = e == E_OK;
        assert_true(e == E_OK || e == E_NOMEM || e == E_PROTO);
        hang_up(w);
        upstream_tls_give(&w->tls, d);
        if (!was_whole) { /* begin anew */
            upstream_tls_fini(&w->tls);
            tls_start(w);
        }
    }
    assert_true(was_whole);
    assert_true(stats_get(&w->stats->limit_memory) > 0);
}

static void when_memory_is_out(void **state)
{
    check_memory(*state, SNAP_HTTP1);
}

static void when_memory_is_out_in_http2(void **state)
{
    check_memory(*state, SNAP_HTTP2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_connection),
        TEST(which_are_the_same),
        TEST(what_it_does_not_speak),
        TEST(an_authority_that_comes_later),
        TEST(no_authority),
        TEST(our_certificate),
        TEST(another_key_under_its_name),
        TEST(until_the_last_connection_is_gone),
        TEST(taken_again),
        TEST(one_line_in_a_while),
        TEST(when_memory_is_out),
        TEST(when_memory_is_out_in_http2),
        TEST(http2),
        TEST(http2_that_is_not_wanted),
        TEST(http2_with_a_bad_certificate),
        TEST(http2_that_takes_too_long),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* for the server */
    log_init("test", LOG_WARN);
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
