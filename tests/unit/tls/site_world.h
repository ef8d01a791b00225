/* The server's side of TLS as a worker puts it together, with any number of connections at a time:
 * names, certificates and keys come from snapshots made by hand, the clients are OpenSSL's own. An
 * owner of a connection reads whenever an event says so, as HTTP does. */
#pragma once

#include "tls/server.h"

#include <errno.h>
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
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../lib/pki.h"
#include "../../lib/snapshot_state.h"
#include "../../lib/snapshot_tls.h"
#include "base/limits.h"
#include "base/mem.h"
#include "route/tls_host.h"
#include "tls/library.h"
#include "tls/sessions.h"

enum { SITE_STEPS_MAX = 1000, SITE_SERVED_MAX = 8 };

struct site_world {
    struct loop *loop;
    struct tls_shared shared;
    struct stats_page *stats;
    struct make_state routes, secrets;
    struct snap_settings settings;
    struct tls_served *served;
    struct tls_sites sites;
    struct tls_context *context;
    struct tls_server server;
    struct pki root, leaf; /* root has signed leaf, which is for everything below */
    SSL_CTX *client_context;
};

/* One connection: our transport and the client at its other end. */
struct site_end {
    struct site_world *world;
    struct transport transport;
    SSL *client;
    int fd;            /* the client's */
    bool is_done;      /* the server has nothing more to say */
    enum err last;     /* of the last receive() that gave no bytes */
    uint32_t events_n; /* that the owner was told of */
    char got[64];
    size_t got_n;
};

/* ---- what the snapshots hold ---- */

static inline const char *site_key_name(unsigned n)
{
    static char text[MAKE_KEY_NAME_BYTES + 1];
    (void)snprintf(text, sizeof(text), "%064x", n);
    return text;
}

static inline enum snap_key_kind site_key_kind(const struct pki *p)
{
    return EVP_PKEY_is_a(p->key, "RSA")       ? SNAP_KEY_RSA
           : EVP_PKEY_is_a(p->key, "ED25519") ? SNAP_KEY_ED25519
                                              : SNAP_KEY_EC;
}

/* Certificate "shop/NAME"; its key is number key_n. intermediate may be NULL. */
static inline void site_add_certificate(struct site_world *w, const char *name, const struct pki *p,
                                        const struct pki *intermediate, unsigned key_n)
{
    struct str ders[2] = {pki_der(p), STR_EMPTY};
    uint32_t n = 1;
    if (intermediate != NULL) {
        ders[n++] = pki_der(intermediate);
    }
    const struct make_secret s = {.name = name,
                                  .texts = ders,
                                  .text_n = n,
                                  .key_name = site_key_name(key_n),
                                  .key_kind = site_key_kind(p)};
    assert_int_equal(make_certificate(make_next(w->routes.set), &s), E_OK);
    for (uint32_t i = 0; i < n; i++) {
        pki_der_free(&ders[i]);
    }
}

static inline void site_add_key(struct site_world *w, const struct pki *p, unsigned key_n)
{
    struct str der = pki_der_key(p);
    assert_int_equal(make_key(make_next(w->secrets.set), site_key_name(key_n), der), E_OK);
    pki_der_free(&der);
}

/* Authority "shop/NAME"; list may be NULL. */
static inline void site_add_authority(struct site_world *w, const char *name, const struct pki *p,
                                      X509_CRL *list)
{
    struct str der = pki_der(p), revoked = STR_EMPTY;
    if (list != NULL) {
        revoked = pki_der_revocations(list);
    }
    const struct make_secret s = {
        .name = name, .texts = &der, .text_n = 1, .more = &revoked, .more_n = list != NULL};
    assert_int_equal(make_authority(make_next(w->routes.set), &s), E_OK);
    pki_der_free(&der);
    pki_der_free(&revoked);
}

static inline void site_add_host(struct site_world *w, const struct make_site *s)
{
    assert_int_equal(make_site(make_next(w->routes.set), s), E_OK);
}

static inline void site_on_change(void *arg, enum snap_kind kind, struct str key,
                                  const struct snapshot_entry *entry)
{
    struct site_world *w = arg;
    (void)entry;
    tls_served_forget(w->served, kind, key);
}

/* What was added is there from now on. */
static inline void site_apply(struct site_world *w)
{
    if (w->routes.set->n > 0) {
        make_state_apply(&w->routes, site_on_change, w);
    }
    if (w->secrets.set->n > 0) {
        make_state_apply(&w->secrets, site_on_change, w);
    }
}

/* ---- life ---- */

static inline const struct snap_tls_host *site_find(void *arg, struct str name)
{
    const struct site_world *w = arg;
    struct snapshot_segment *segment;
    return route_tls_host(&w->routes.s, STR("ingress"), name, &segment);
}

static inline void site_context(struct site_world *w)
{
    enum tls_fault fault;
    const struct tls_context_options o = {.sites = &w->sites};
    tls_context_free(w->context);
    w->context = NULL;
    assert_int_equal(tls_context_new(&o, &fault, &w->context), E_OK);
    w->server.context = w->context;
}

static inline int site_setup(void **state)
{
    struct site_world *w = calloc(1, sizeof(*w));
    w->stats = aligned_alloc(_Alignof(struct stats_page), sizeof(*w->stats));
    memset(w->stats, 0, sizeof(*w->stats));
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(tls_shared_init(&w->shared), E_OK);
    make_state_init(&w->routes);
    make_state_init(&w->secrets);
    assert_int_equal(tls_served_new(&w->routes.s, &w->secrets.s, SITE_SERVED_MAX, &w->served),
                     E_OK);
    w->settings = snap_settings_default;
    w->sites = (struct tls_sites){.find = site_find,
                                  .arg = w,
                                  .served = w->served,
                                  .secrets = &w->secrets.s,
                                  .settings = &w->settings,
                                  .stats = w->stats};
    tls_server_init(&w->server, &w->shared);
    w->server.stats = w->stats;
    site_context(w);
    w->root = pki_make(&(struct pki_options){.name = "root", .is_authority = true}, NULL);
    w->leaf = pki_make(
        &(struct pki_options){.name = "leaf", .alternatives = "DNS:a.test", .uses = "serverAuth"},
        &w->root);
    w->client_context = SSL_CTX_new(TLS_client_method());
    *state = w;
    return 0;
}

static inline int site_teardown(void **state)
{
    struct site_world *w = *state;
    SSL_CTX_free(w->client_context);
    assert_int_equal(w->server.shaking_n, 0);
    tls_server_fini(&w->server);
    tls_context_free(w->context);
    tls_served_free(w->served);
    tls_sessions_close(w->sites.sessions);
    make_state_fini(&w->routes);
    make_state_fini(&w->secrets);
    tls_shared_fini(&w->shared);
    pki_free(&w->root);
    pki_free(&w->leaf);
    loop_free(w->loop);
    free(w->stats);
    free(w);
    return 0;
}

/* What most tests begin with: leaf for every name. */
static inline void site_usual(struct site_world *w)
{
    site_add_certificate(w, "leaf", &w->leaf, NULL, 1);
    site_add_key(w, &w->leaf, 1);
    site_add_host(w, &(struct make_site){.pattern = "", .certificates = {"shop/leaf"}});
    site_apply(w);
}

/* ---- connections ---- */

static inline void site_on_event(struct watch *watch, uint32_t events)
{
    struct site_end *e = container_of(watch, struct site_end, transport.watch);
    enum err got = E_OK;
    size_t n;
    (void)events;
    e->events_n++;
    while (got == E_OK && e->got_n < sizeof(e->got)) {
        got = e->transport.ops->receive(&e->transport, e->got + e->got_n, sizeof(e->got) - e->got_n,
                                        &n);
        e->got_n += got == E_OK ? n : 0;
    }
    e->last = got;
}

/* The server's end alone; whether it was taken. */
static inline enum err site_open(struct site_world *w, struct site_end *e)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    *e = (struct site_end){.world = w, .fd = pair[1], .last = E_AGAIN};
    enum err opened =
        w->server.opener.open(&w->server.opener, &e->transport, w->loop, pair[0], site_on_event);
    if (opened != E_OK) {
        e->transport.ops = NULL;
    }
    return opened;
}

/* name may be NULL. */
static inline void site_client(struct site_end *e, const char *name)
{
    e->client = SSL_new(e->world->client_context);
    assert_int_equal(SSL_set_fd(e->client, e->fd), 1);
    if (name != NULL) {
        assert_int_equal(SSL_set_tlsext_host_name(e->client, name), 1);
    }
    SSL_set_connect_state(e->client);
}

static inline void site_connect(struct site_world *w, struct site_end *e, const char *name)
{
    assert_int_equal(site_open(w, e), E_OK);
    site_client(e, name);
}

static inline void site_step(struct site_world *w)
{
    assert_int_equal(loop_step(w->loop, 0), E_OK);
}

/* The reason of the first error that OpenSSL met on the client's side; 0: none. */
static inline int site_client_reason(void)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    ERR_clear_error();
    return reason;
}

/* As far as it goes. 0: the handshake is complete on both sides; else the client's reason, or -1:
 * the server broke it off without a word. */
static inline int site_shake(struct site_end *e)
{
    for (int i = 0; i < 50; i++) {
        ERR_clear_error();
        int done = SSL_do_handshake(e->client);
        int error = SSL_get_error(e->client, done);
        if (done != 1 && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
            int reason = site_client_reason();
            return reason == 0 ? -1 : reason;
        }
        site_step(e->world);
        if (done == 1 && e->transport.is_open) {
            return 0;
        }
        if (e->last != E_AGAIN && e->last != E_OK) { /* the alert may still be on its way */
            char p;
            (void)SSL_read(e->client, &p, 1);
            int reason = site_client_reason();
            return reason == 0 ? -1 : reason;
        }
    }
    return -1;
}

/* The handshake's alert as site_shake() gives it. */
#define SITE_ALERT(name) (SSL_AD_REASON_OFFSET + (name))

static inline void site_close(struct site_end *e)
{
    if (e->transport.ops != NULL) {
        e->transport.ops->close(&e->transport, false);
        e->transport.ops = NULL;
    }
    if (e->client != NULL) { /* else OpenSSL drops its session */
        SSL_set_shutdown(e->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(e->client);
    e->client = NULL;
    (void)close(e->fd);
    ERR_clear_error();
}

/* Bytes both ways, so that what follows a handshake of TLS 1.3 has come. */
static inline void site_exchange(struct site_end *e)
{
    char p[4];
    size_t n;
    struct iovec part = {(void *)(uintptr_t) "tell", 4};
    e->got_n = 0;
    assert_int_equal(SSL_write(e->client, "ask", 3), 3);
    site_step(e->world);
    assert_int_equal(e->got_n, 3);
    assert_int_equal(e->transport.ops->send(&e->transport, &part, 1, &n), E_OK);
    assert_int_equal(SSL_read(e->client, p, sizeof(p)), 4);
}

/* A whole connection that asks for name with a session (or NULL); *ret_session, if wanted, is to be
 * freed. True: it was resumed. */
static inline bool site_resume(struct site_world *w, const char *name, SSL_SESSION *session,
                               SSL_SESSION **ret_session)
{
    struct site_end e;
    site_connect(w, &e, name);
    if (session != NULL) {
        assert_int_equal(SSL_set_session(e.client, session), 1);
    }
    assert_int_equal(site_shake(&e), 0);
    site_exchange(&e);
    bool is_resumed = SSL_session_reused(e.client) == 1;
    assert_int_equal(e.transport.tls->is_resumed, is_resumed);
    if (ret_session != NULL) {
        *ret_session = SSL_get1_session(e.client);
    }
    site_close(&e);
    return is_resumed;
}

/* The client speaks this version alone. */
static inline void site_version(struct site_world *w, int version)
{
    assert_int_equal(SSL_CTX_set_min_proto_version(w->client_context, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(w->client_context, version), 1);
}

/* The common name that the server has shown. */
static inline const char *site_shown(const struct site_end *e)
{
    static char text[64];
    text[0] = '\0';
    X509 *x = SSL_get0_peer_certificate(e->client);
    if (x != NULL) {
        (void)X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, text,
                                        sizeof(text));
    }
    return text;
}
