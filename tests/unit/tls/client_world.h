/* A TLS client under test at one end of a connection, OpenSSL's own server at the other, driven by
 * hand: what both test files of the client share. */
#pragma once

#include "tls/client.h"

#include <errno.h>
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

#include "../../lib/pki.h"
#include "base/mem.h"
#include "tls/library.h"

enum { WORLD_STEPS_MAX = 1000 };

struct world {
    struct loop *loop;
    struct tls_shared shared;
    struct stats_page *stats;
    struct tls_client *client;
    struct transport transport;
    uint32_t events; /* since they were last looked at */
    bool is_readable;
    struct tls_failure failure; /* the last one that was told */
    uint32_t failure_n;
    struct pki root, site; /* root has signed site, for a.example */
    struct str root_der;
    SSL_CTX *server_context;
    SSL *server;
    int fd; /* the server's end */
};

static inline void world_on_event(struct watch *watch, uint32_t events)
{
    struct world *w = container_of(watch, struct world, transport.watch);
    w->events |= events;
    w->is_readable = w->is_readable || (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0;
}

static inline void world_on_failure(struct tls_client *c, const struct tls_failure *f)
{
    struct world *w = c->owner;
    w->failure = *f;
    w->failure_n++;
}

/* What is usual: site's certificate by root, for a.example. */
static inline struct tls_client_options world_options(struct world *w)
{
    return (struct tls_client_options){.authorities = &w->root_der,
                                       .authority_n = 1,
                                       .is_verified = true,
                                       .sends_name = true,
                                       .name = STR("a.example")};
}

static inline void world_client(struct world *w, const struct tls_client_options *o)
{
    const char *why = "none";
    tls_client_free(w->client);
    w->client = NULL;
    if (tls_client_new(&w->shared, w->stats, o, &why, &w->client) != E_OK) {
        fail_msg("%s", why);
    }
    w->client->on_failure = world_on_failure;
    w->client->owner = w;
}

/* What the server shows; its chain is site alone. */
static inline void world_site(struct world *w, const struct pki *site)
{
    assert_int_equal(SSL_CTX_use_cert_and_key(w->server_context, site->x, site->key, NULL, 1), 1);
}

static inline void world_server(struct world *w)
{
    SSL_CTX_free(w->server_context);
    w->server_context = SSL_CTX_new(TLS_server_method());
    (void)SSL_CTX_set_mode(w->server_context,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    world_site(w, &w->site);
}

static inline int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    w->fd = -1;
    w->stats = aligned_alloc(_Alignof(struct stats_page), sizeof(*w->stats));
    memset(w->stats, 0, sizeof(*w->stats));
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(tls_shared_init(&w->shared), E_OK);
    w->root = pki_make(&(struct pki_options){.name = "root", .is_authority = true}, NULL);
    w->site = pki_make(&(struct pki_options){.name = "a.example",
                                             .alternatives = "DNS:a.example,DNS:*.b.example,"
                                                             "IP:10.0.0.1,IP:fd00::1",
                                             .uses = "serverAuth"},
                       &w->root);
    w->root_der = pki_der(&w->root);
    world_server(w);
    struct tls_client_options o = world_options(w);
    world_client(w, &o);
    *state = w;
    return 0;
}

static inline void world_disconnect(struct world *w)
{
    if (w->transport.ops != NULL) {
        w->transport.ops->close(&w->transport, false);
        w->transport.ops = NULL;
    }
    if (w->server != NULL) { /* else OpenSSL drops its session */
        SSL_set_shutdown(w->server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(w->server);
    w->server = NULL;
    if (w->fd >= 0) {
        (void)close(w->fd);
        w->fd = -1;
    }
    assert_int_equal(ERR_peek_error(), 0);
}

static inline int world_teardown(void **state)
{
    struct world *w = *state;
    world_disconnect(w);
    tls_client_free(w->client);
    tls_shared_fini(&w->shared);
    SSL_CTX_free(w->server_context);
    pki_der_free(&w->root_der);
    pki_free(&w->root);
    pki_free(&w->site);
    loop_free(w->loop);
    free(w->stats);
    free(w);
    return 0;
}

/* client and server: the ends of a connection, both taken. */
static inline void world_open(struct world *w, int client, int server)
{
    w->fd = server;
    w->events = 0;
    w->is_readable = false;
    assert_int_equal(
        w->client->opener.open(&w->client->opener, &w->transport, w->loop, client, world_on_event),
        E_OK);
    assert_false(w->transport.is_open);
    assert_int_equal(w->client->conn_n, 1);
}

static inline void world_connect(struct world *w)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    world_open(w, pair[0], pair[1]);
}

static inline void world_serve(struct world *w)
{
    w->server = SSL_new(w->server_context);
    assert_int_equal(SSL_set_fd(w->server, w->fd), 1);
    SSL_set_accept_state(w->server);
}

/* One tick of the client, without waiting. */
static inline void world_step(struct world *w)
{
    assert_int_equal(loop_step(w->loop, 0), E_OK);
}

static inline enum err world_receive(struct world *w, void *p, size_t room, size_t *ret_n)
{
    if (!w->is_readable) {
        return E_AGAIN;
    }
    enum err e = w->transport.ops->receive(&w->transport, p, room, ret_n);
    w->is_readable = e == E_OK && (*ret_n == room || (w->events & EPOLLRDHUP) != 0);
    return e;
}

static inline enum err world_receive_soon(struct world *w, void *p, size_t room, size_t *ret_n)
{
    enum err e = E_AGAIN;
    for (int i = 0; i < 100 && e == E_AGAIN; i++) {
        world_step(w);
        e = world_receive(w, p, room, ret_n);
    }
    return e;
}

static inline enum err world_send(struct world *w, const char *text)
{
    struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
    size_t n;
    return w->transport.ops->send(&w->transport, &part, 1, &n);
}

/* Both sides as far as they come; what the client's last receive() gave, E_AGAIN when it is done.
 */
static inline enum err world_run(struct world *w)
{
    char p[8];
    size_t n;
    enum err e = E_AGAIN;
    for (int i = 0; i < 50 && e == E_AGAIN; i++) {
        world_step(w);
        e = world_receive(w, p, sizeof(p), &n);
        (void)SSL_do_handshake(w->server);
        ERR_clear_error();
    }
    return e;
}

/* A connection and its handshake, which succeeds. */
static inline void world_shake(struct world *w)
{
    world_connect(w);
    world_serve(w);
    enum err e = world_run(w);
    if (e != E_AGAIN || !w->transport.is_open) {
        fail_msg("%s: %s", err_text(e), w->failure.text);
    }
    assert_true(SSL_is_init_finished(w->server));
}

/* Why the transport has failed; NULL: the handshake has not. */
static inline const char *world_why(struct world *w, enum reason *ret)
{
    const char *text = NULL;
    *ret = w->transport.ops->why(&w->transport, &text);
    return text;
}
