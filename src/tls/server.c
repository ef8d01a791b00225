/* The server's side: turns, and what a handshake has agreed on. */
#include "tls/server.h"

#include <stddef.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/mem.h"
#include "tls/sites_priv.h"

static struct site_conn *site_of(struct tls_conn *c)
{
    return container_of(c, struct site_conn, conn);
}

/* ---- turns ---- */

/* False: this tick has had all of its turns. */
static bool turn_take(struct tls_server *s, usec_t now)
{
    s->turns = s->tick == now ? s->turns : 0;
    s->tick = now;
    if (s->turns >= TLS_HANDSHAKES_PER_TICK) {
        return false;
    }
    s->turns++;
    return true;
}

static void on_work(struct deferred *d)
{
    struct tls_server *s = container_of(d, struct tls_server, work);
    while (!list_is_empty(&s->waiting) && turn_take(s, loop_now(s->loop))) {
        struct site_conn *c = container_of(list_pop(&s->waiting), struct site_conn, waiting);
        c->is_its_turn = true;
        c->conn.on_event(&c->conn.transport->watch, EPOLLIN); /* c may be gone now */
    }
    if (!list_is_empty(&s->waiting)) {
        loop_defer(s->loop, &s->work, on_work); /* in the next tick, behind everybody else */
    }
}

static bool server_may_shake(struct tls_conn *conn)
{
    struct site_conn *c = site_of(conn);
    struct tls_server *s = c->server;
    if (c->is_its_turn) {
        c->is_its_turn = false;
        return true;
    }
    s->loop = conn->transport->loop;
    if (list_is_empty(&s->waiting) && turn_take(s, loop_now(s->loop))) {
        return true;
    }
    if (!list_is_linked(&c->waiting)) {
        list_append(&s->waiting, &c->waiting);
    }
    loop_defer(s->loop, &s->work, on_work);
    return false;
}

/* ---- what was agreed on ---- */

bool site_conn_name(struct site_conn *c, struct str name, const struct snap_tls_host *host)
{
    mem_free(c->name); /* a second ClientHello: RFC 8446 section 4.1.4 */
    c->name = mem_alloc(name.n + 1);
    if (c->name == NULL) {
        return false;
    }
    mem_copy(c->name, name.p, name.n);
    c->info.server_name = str_make(c->name, name.n);
    c->info.policy = host == NULL ? 0 : host->policy;
    c->asks_client = host != NULL && host->verify != SNAP_VERIFY_OFF;
    c->passes_certificate = host != NULL && host->passes_certificate != 0;
    return true;
}

static void shaking_end(struct site_conn *c)
{
    if (c->is_shaking) {
        c->is_shaking = false;
        c->server->shaking_n--;
    }
    list_del(&c->waiting);
}

/* ---- counting ---- */

#define COUNTER_AT(field) offsetof(struct stats_page, field)

static void count(const struct site_conn *c, size_t at)
{
    struct stats_page *stats = c->server->stats;
    if (stats != NULL) {
        stats_add((stats_value *)(void *)((char *)stats + at), 1);
    }
}

static size_t alpn_counter(const struct site_conn *c)
{
    switch (tls_transport_alpn(c->conn.transport)) {
    case TLS_ALPN_HTTP1:
        return COUNTER_AT(tls_alpn_http1);
    case TLS_ALPN_HTTP2:
        return COUNTER_AT(tls_alpn_http2);
    default: /* nothing was chosen */
        return COUNTER_AT(tls_alpn_none);
    }
}

static size_t client_counter(const struct transport_client *client)
{
    if (!client->has_certificate) {
        return COUNTER_AT(tls_client_none);
    }
    return client->is_verified ? COUNTER_AT(tls_client_success) : COUNTER_AT(tls_client_failed);
}

static void count_duration(const struct site_conn *c)
{
    struct stats_page *stats = c->server->stats;
    if (stats != NULL) {
        stats_durations_add(c->info.is_resumed ? &stats->tls_shaken_resumed
                                               : &stats->tls_shaken_full,
                            tls_conn_shakes_for(&c->conn));
    }
}

static void count_shaken(struct site_conn *c)
{
    const struct transport_tls *info = &c->info;
    bool is_13 = SSL_version(c->conn.ssl) == TLS1_3_VERSION;
    count(c, info->is_resumed ? COUNTER_AT(tls_resumed) : COUNTER_AT(tls_handshakes));
    count_duration(c);
    count(c, is_13 ? COUNTER_AT(tls_version_13) : COUNTER_AT(tls_version_12));
    count(c, alpn_counter(c));
    if (info->client != NULL) {
        count(c, client_counter(info->client));
    }
    count(c, COUNTER_AT(tls_conns));
    c->is_counted = true;
}

static void count_failure(const struct site_conn *c, enum tls_obstacle obstacle)
{
    static const size_t counters[] = {
        [TLS_OBSTACLE_CLOSED] = COUNTER_AT(tls_failed_closed),
        [TLS_OBSTACLE_NOT_TLS] = COUNTER_AT(tls_failed_not_tls),
        [TLS_OBSTACLE_VERSION] = COUNTER_AT(tls_failed_version),
        [TLS_OBSTACLE_CIPHER] = COUNTER_AT(tls_failed_cipher),
        [TLS_OBSTACLE_ALPN] = COUNTER_AT(tls_failed_alpn),
        [TLS_OBSTACLE_REFUSED] = COUNTER_AT(tls_failed_refused),
        [TLS_OBSTACLE_ALERT] = COUNTER_AT(tls_failed_alert),
        [TLS_OBSTACLE_MALFORMED] = COUNTER_AT(tls_failed_malformed),
        [TLS_OBSTACLE_MEMORY] = COUNTER_AT(tls_failed_memory),
        [TLS_OBSTACLE_ABANDONED] = COUNTER_AT(tls_failed_abandoned),
    };
    _Static_assert(sizeof(counters) / sizeof(counters[0]) == TLS_OBSTACLES_N, "one for each");
    count(c, COUNTER_AT(tls_failed));
    count(c, counters[obstacle]);
}

/* ---- the handshake's end ---- */

static enum err server_shaken(struct tls_conn *conn)
{
    struct site_conn *c = site_of(conn);
    struct transport_tls *info = &c->info;
    shaking_end(c);
    c->server->shaken++;
    staples_drop(conn->ssl);
    info->version = str_from_cstr(SSL_get_version(conn->ssl));
    info->cipher = str_from_cstr(SSL_CIPHER_get_name(SSL_get_current_cipher(conn->ssl)));
    info->is_resumed = SSL_session_reused(conn->ssl) == 1;
    if (c->asks_client) {
        c->visitor = visitor_new(SSL_get0_peer_certificate(conn->ssl),
                                 SSL_get_verify_result(conn->ssl), c->passes_certificate);
        if (c->visitor == NULL) {
            return E_NOMEM;
        }
        info->client = visitor_client(c->visitor);
    }
    conn->transport->tls = info;
    count_shaken(c);
    return E_OK;
}

static void server_broken(struct tls_conn *conn)
{
    const struct site_conn *c = site_of(conn);
    if (c->is_shaking) {
        count_failure(c, conn->fault == E_NOMEM ? TLS_OBSTACLE_MEMORY : conn->trouble.obstacle);
    }
    if (conn->news_n > TLS_NEWS_MAX) {
        count(c, COUNTER_AT(limit_tls_messages));
    }
}

static void server_closing(struct tls_conn *conn)
{
    struct site_conn *c = site_of(conn);
    if (c->is_shaking && conn->fault == E_OK && conn->ssl != NULL) {
        count_failure(c, TLS_OBSTACLE_ABANDONED);
    }
    if (c->is_counted && c->server->stats != NULL) {
        stats_sub(&c->server->stats->tls_conns, 1);
    }
    shaking_end(c);
    mem_free(c->name);
    visitor_free(c->visitor);
}

static const struct tls_side server_side = {
    .may_shake = server_may_shake,
    .shaken = server_shaken,
    .broken = server_broken,
    .closing = server_closing,
};

/* ---- life ---- */

static enum err conn_new(struct tls_server *s, struct site_conn **ret)
{
    if (s->context == NULL) {
        return E_NOTFOUND;
    }
    if (s->shaking_n >= TLS_HANDSHAKES_MAX) {
        if (s->stats != NULL) {
            stats_add(&s->stats->limit_tls_handshakes, 1);
        }
        return E_LIMIT;
    }
    struct site_conn *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        return E_NOMEM;
    }
    c->conn.shared = s->shared;
    c->conn.side = &server_side;
    c->server = s;
    c->is_shaking = true;
    list_init(&c->waiting);
    s->shaking_n++;
    *ret = c;
    return E_OK;
}

static enum err server_open(struct transport_opener *o, struct transport *t, struct loop *loop,
                            int fd, watch_fn *on_event)
{
    struct tls_server *s = container_of(o, struct tls_server, opener);
    struct site_conn *c;
    enum err e = conn_new(s, &c);
    if (e != E_OK) {
        (void)close(fd); /* ours by contract */
        return e;
    }
    TRY(tls_conn_open(&c->conn, s->context->ssl, t, loop, fd, on_event));
    s->opened++;
    return E_OK;
}

void tls_server_init(struct tls_server *s, struct tls_shared *shared)
{
    *s = (struct tls_server){.opener = {.open = server_open}, .shared = shared};
    list_init(&s->waiting);
}

void tls_server_fini(struct tls_server *s)
{
    loop_undefer(&s->work);
    *s = (struct tls_server){0};
}
