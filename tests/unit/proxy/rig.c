#include "rig.h"

#include "base/mem.h"
#include "http1/client.h"
#include "http1/server.h"
#include "proxy/proxy.h"
#include "snapshot/filters.h"
#include "snapshot/write.h"
#include "tcp/client.h"
#include "tcp/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct rig {
    struct loop *loop;
    struct stats_page *stats;
    struct snapshot snapshot;
    struct snap_settings settings;
    struct http_budget budget;
    struct http1_context http1;
    struct http1_server server;
    struct http1_dialer dialer;
    struct tcp_context tcp;
    struct tcp_server tunnels;
    struct tcp_dialer tcp_dialer;
    struct upstream_dialers dialers;
    uint8_t protocol; /* of the service: enum snap_protocol */
    struct upstream_set *upstreams;
    struct stats_endpoint_table *endpoints;
    struct proxy proxy;
    struct access_log log;
    struct buf segments[RIG_GENERATIONS_MAX];
    struct snapshot_segment *next; /* prepared, not applied yet */
    int segment_n;
    bool has_tls;
    int listen_fd[RIG_ENDPOINTS];
    uint16_t port[RIG_ENDPOINTS];
    char text[RIG_TEXT_MAX + 1];
};

int rig_inside;

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void step(struct rig *r)
{
    rig_inside++;
    enum err e = loop_step(r->loop, 0);
    rig_inside--;
    check(e == E_OK);
}

static int listen_on(uint16_t *port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(*port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t n = sizeof(in);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    check(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
    check(bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(fd, 64) == 0);
    check(getsockname(fd, (struct sockaddr *)&in, &n) == 0);
    *port = ntohs(in.sin_port);
    return fd;
}

static void make_global(const struct rig *r, struct buf *b)
{
    snap_shard_begin(b, SNAP_GLOBAL, sizeof(struct snap_global), STR_EMPTY);
    struct snap_str name = snap_add_str(b, STR("http"));
    struct snap_str table = snap_add_str(b, STR("ingress"));
    struct snap_array listeners = snap_add_array(b, 1, sizeof(struct snap_listener));
    *snap_at(b, listeners.offset, struct snap_listener) = (struct snap_listener){name, table};
    struct snap_array trusted = snap_add_array(b, 1, sizeof(struct snap_prefix));
    *snap_at(b, trusted.offset, struct snap_prefix) = (struct snap_prefix){
        .family = 4, .bits = 24, .address = {192, 0, 2}
    };
    struct snap_str none = snap_add_str(b, STR_EMPTY);
    struct snap_array plain = snap_add_array(b, 1, sizeof(struct snap_str));
    struct snap_str path = snap_add_str(b, STR("/plain"));
    *snap_at(b, plain.offset, struct snap_str) = path;
    struct snap_global *g = snap_at(b, 0, struct snap_global);
    g->ssl_ciphers = g->ssl_groups = none;
    g->ssl_min_version = 12;
    g->ssl_max_version = 13;
    g->listeners = listeners;
    g->trusted = trusted;
    g->plain_paths = plain;
    g->settings = r->settings;
    check(snap_shard_end(b) == E_OK);
}

static struct snap_array make_filters(struct buf *b)
{
    struct snap_array filters = snap_add_array(b, 2, sizeof(struct snap_filter));
    struct snap_array redirect = snap_add_array(b, 1, sizeof(struct snap_filter_ssl_redirect));
    struct snap_array hsts = snap_add_array(b, 1, sizeof(struct snap_filter_hsts));
    struct snap_str value = snap_add_str(b, STR("max-age=9"));
    *snap_at(b, redirect.offset, struct snap_filter_ssl_redirect) =
        (struct snap_filter_ssl_redirect){.status = 308, .cause = SNAP_SSL_BY_TLS};
    snap_at(b, hsts.offset, struct snap_filter_hsts)->value = value;
    struct snap_filter *to = snap_at(b, filters.offset, struct snap_filter);
    to[0] = (struct snap_filter){SNAP_FILTER_ssl_redirect, redirect.offset};
    to[1] = (struct snap_filter){SNAP_FILTER_hsts, hsts.offset};
    return filters;
}

static void make_host(const struct rig *r, struct buf *b)
{
    static const struct str service = STR_INIT("ns/s/80");
    snap_shard_begin(b, SNAP_HOST, sizeof(struct snap_host), STR("ingress/a"));
    struct snap_str table = snap_add_str(b, STR("ingress"));
    struct snap_str host = snap_add_str(b, STR("a"));
    struct snap_str empty = snap_add_str(b, STR_EMPTY);
    struct snap_str ns = snap_add_str(b, STR("ns"));
    struct snap_str key = snap_add_str(b, service);
    struct snap_str log_name = snap_add_str(b, STR("ns-s-80"));
    struct snap_array paths = snap_add_array(b, 1, sizeof(struct snap_path));
    struct snap_array routes = snap_add_array(b, 1, sizeof(struct snap_route));
    struct snap_array backends = snap_add_array(b, 1, sizeof(struct snap_backend));
    struct snap_array filters = r->has_tls ? make_filters(b) : (struct snap_array){0};
    *snap_at(b, paths.offset, struct snap_path) = (struct snap_path){
        .path = empty, .prefix = {0, 1}
    };
    *snap_at(b, routes.offset, struct snap_route) = (struct snap_route){
        .owner_namespace = ns,
        .owner_name = ns,
        .path = empty,
        .filters = {0, filters.n},
        .backends = {0, 1        },
        .weight_sum = 1
    };
    *snap_at(b, backends.offset, struct snap_backend) =
        (struct snap_backend){key, hash_str(service), 1, 0, log_name, key, hash_str(service)};
    struct snap_host *h = snap_at(b, 0, struct snap_host);
    h->table = table;
    h->host = host;
    h->kind = SNAP_HOST_EXACT;
    h->order = SNAP_ORDER_STRICT;
    h->paths = paths;
    h->routes = routes;
    h->filters = filters;
    h->backends = backends;
    check(snap_shard_end(b) == E_OK);
}

static int port_cmp(const void *a, const void *b)
{
    return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

static void make_service(const struct rig *r, struct buf *b, int n)
{
    uint16_t ports[RIG_ENDPOINTS];
    snap_shard_begin(b, SNAP_SERVICE, sizeof(struct snap_service), STR("ns/s/80"));
    struct snap_str ns = snap_add_str(b, STR("ns"));
    struct snap_str name = snap_add_str(b, STR("s"));
    struct snap_str port = snap_add_str(b, STR("80"));
    struct snap_str none = snap_add_str(b, STR_EMPTY);
    struct snap_array endpoints = snap_add_array(b, (uint32_t)n, sizeof(struct snap_endpoint));
    memcpy(ports, r->port, sizeof(ports));
    qsort(ports, (size_t)n, sizeof(ports[0]), port_cmp);
    for (int i = 0; i < n; i++) {
        snap_at(b, endpoints.offset, struct snap_endpoint)[i] = (struct snap_endpoint){
            .family = 4, .port = ports[i], .weight = 1, .address = {127, 0, 0, 1}
        };
    }
    struct snap_service *s = snap_at(b, 0, struct snap_service);
    s->namespace_name = ns;
    s->name = name;
    s->port = port;
    s->variant = s->tls_name = s->ciphers = s->authority = s->certificate = none;
    s->status = SNAP_SERVICE_OK;
    s->protocol = r->protocol;
    s->endpoints = endpoints;
    check(snap_shard_end(b) == E_OK);
}

static void on_change(void *arg, enum snap_kind kind, struct str key,
                      const struct snapshot_entry *entry)
{
    struct rig *r = arg;
    if (kind == SNAP_SERVICE) {
        upstream_set_update(r->upstreams, key, entry == NULL ? NULL : (const void *)entry->shard);
    }
}

void rig_set_tls(struct rig *r)
{
    r->has_tls = true;
}

void rig_prepare_endpoints(struct rig *r, int n)
{
    struct buf shards[3];
    const struct snap_shard *list[3];
    struct snapshot_fault fault;
    check(r->next == NULL && r->segment_n < RIG_GENERATIONS_MAX);
    for (int i = 0; i < 3; i++) {
        buf_init(&shards[i], 1 << 20);
    }
    make_global(r, &shards[0]);
    make_host(r, &shards[1]);
    make_service(r, &shards[2], n);
    for (int i = 0; i < 3; i++) {
        list[i] = snap_at(&shards[i], 0, struct snap_shard);
    }
    struct buf *out = &r->segments[r->segment_n++];
    buf_init(out, 1 << 20);
    check(snapshot_segment_write(out, list, 3, 0, r->snapshot.generation + 1) == E_OK);
    check(snapshot_segment_borrow(out->p, out->n, &r->next, &fault) == E_OK);
    check(snapshot_segment_verify(r->next, 1 << 20, &fault) == E_OK);
    for (int i = 0; i < 3; i++) {
        buf_fini(&shards[i]);
    }
}

enum err rig_apply_endpoints(struct rig *r)
{
    rig_inside++;
    enum err e = snapshot_apply(&r->snapshot, r->next, on_change, r);
    rig_inside--;
    snapshot_segment_unref(r->next);
    r->next = NULL;
    return e;
}

void rig_set_endpoints(struct rig *r, int n)
{
    rig_prepare_endpoints(r, n);
    check(rig_apply_endpoints(r) == E_OK);
}

static struct http_dialer *dialers_take(struct upstream_dialers *d, const struct snap_service *s)
{
    struct rig *r = container_of(d, struct rig, dialers);
    return s->protocol == SNAP_TCP ? &r->tcp_dialer.dialer : &r->dialer.dialer;
}

static void dialers_give(struct upstream_dialers *d, struct http_dialer *dialer)
{
    struct rig *r = container_of(d, struct rig, dialers);
    check(dialer == &r->dialer.dialer || dialer == &r->tcp_dialer.dialer);
}

static struct stats_endpoint_region endpoint_region; /* emptied by each rig; large */

struct rig *rig_new(void)
{
    struct rig *r = calloc(1, sizeof(*r));
    check(r != NULL);
    r->stats = aligned_alloc(64, sizeof(*r->stats));
    check(r->stats != NULL);
    memset(r->stats, 0, sizeof(*r->stats));
    for (int i = 0; i < RIG_ENDPOINTS; i++) {
        r->listen_fd[i] = listen_on(&r->port[i]);
    }
    r->settings = snap_settings_default;
    r->budget.max = r->settings.worker_memory;
    snapshot_init(&r->snapshot);
    check(loop_new(&r->loop) == E_OK &&
          http1_context_init(&r->http1, r->loop, &r->settings, &r->budget) == E_OK);
    check(access_log_init(&r->log, -1, ACCESS_LOG_OFF) == E_OK);
    http1_dialer_init(&r->dialer, &r->http1, r->stats);
    r->dialers = (struct upstream_dialers){dialers_take, dialers_give};
    check(tcp_context_init(&r->tcp, r->loop, &r->settings, &r->budget, r->stats) == E_OK);
    tcp_dialer_init(&r->tcp_dialer, &r->tcp, 0);
    r->protocol = SNAP_HTTP1;
    check(stats_endpoint_table_new(&endpoint_region, &r->endpoints) == E_OK);
    check(upstream_set_new(&r->snapshot, &r->dialers, &r->settings, r->stats, r->endpoints, 0,
                           &r->upstreams) == E_OK);
    r->proxy = (struct proxy){
        .loop = r->loop,
        .snapshot = &r->snapshot,
        .upstreams = r->upstreams,
        .stats = r->stats,
        .log = &r->log,
        .settings = &r->settings,
        .budget = &r->budget,
    };
    check(proxy_init(&r->proxy) == E_OK);
    http1_server_init(&r->server, &r->http1, &r->proxy.handler, r->stats);
    tcp_server_init(&r->tunnels, &r->tcp, &r->proxy.handler);
    rig_set_endpoints(r, RIG_ENDPOINTS);
    return r;
}

void rig_free(struct rig *r)
{
    rig_inside++;
    http1_server_fini(&r->server);
    tcp_server_fini(&r->tunnels);
    upstream_set_free(r->upstreams);
    stats_endpoint_table_free(r->endpoints);
    rig_inside--;
    step(r);
    proxy_fini(&r->proxy);
    access_log_fini(&r->log);
    http1_context_fini(&r->http1);
    tcp_context_fini(&r->tcp);
    snapshot_fini(&r->snapshot);
    loop_free(r->loop);
    for (int i = 0; i < RIG_ENDPOINTS; i++) {
        rig_endpoint_close(r, i);
    }
    for (int i = 0; i < r->segment_n; i++) {
        buf_fini(&r->segments[i]);
    }
    free(r->stats);
    free(r);
}

struct http_dialer *rig_dialer(struct rig *r)
{
    return &r->dialer.dialer;
}

struct stats_page *rig_stats(struct rig *r)
{
    return r->stats;
}

struct snapshot *rig_snapshot(struct rig *r)
{
    return &r->snapshot;
}

void rig_drain(struct rig *r)
{
    rig_inside++;
    r->proxy.is_draining = true;
    http1_server_drain(&r->server);
    rig_inside--;
}

int rig_client_from(struct rig *r, const uint8_t *network, uint8_t address, int buffer_bytes)
{
    const struct http_peer peer = {
        .ip = {4, {network[0], network[1], network[2], address}},
        .port = 1234,
        .local_port = 80,
        .listener = STR("http")
    };
    int fds[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    for (int i = 0; i < 2 && buffer_bytes > 0; i++) {
        check(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes)) == 0);
    }
    rig_inside++;
    enum err e = http1_server_accept(&r->server, fds[0], &peer);
    rig_inside--;
    if (e != E_OK) { /* memory ran out, as some tests want it */
        (void)close(fds[1]);
        return -1;
    }
    return fds[1];
}

int rig_client(struct rig *r)
{
    int fd = rig_client_from(r, (const uint8_t[]){192, 0, 2}, 7, 0);
    check(fd >= 0);
    return fd;
}

void rig_speak_tcp(struct rig *r, uint8_t proxy_protocol)
{
    bool is_new = r->protocol != SNAP_TCP;
    r->tcp_dialer.proxy_protocol = proxy_protocol;
    r->protocol = SNAP_TCP;
    if (is_new) {
        rig_set_endpoints(r, RIG_ENDPOINTS);
    }
}

int rig_tunnel(struct rig *r, const char *name, int buffer_bytes)
{
    const struct http_peer peer = {
        .ip = {4, {192, 0, 2, 7}},
        .port = 1234,
        .local_port = 443,
        .local_ip = {4, {192, 0, 2, 1}},
        .listener = STR("https")
    };
    static const struct str service = STR_INIT("ns/s/80");
    const struct snapshot_entry *e =
        snapshot_find(&r->snapshot, SNAP_SERVICE, service, hash_str(service));
    int fds[2];
    check(e != NULL &&
          socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    for (int i = 0; i < 2 && buffer_bytes > 0; i++) {
        check(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes)) == 0);
    }
    const struct http_tunnel where = {snap_str_get(e->shard, e->shard->key), hash_str(service),
                                      e->segment};
    rig_inside++;
    enum err err = tcp_server_accept(&r->tunnels, fds[0], &peer, str_from_cstr(name), &where);
    rig_inside--;
    if (err != E_OK) { /* memory ran out, as some tests want it */
        (void)close(fds[1]);
        return -1;
    }
    return fds[1];
}

int rig_accept(struct rig *r, int i)
{
    rig_run(r);
    int fd = r->listen_fd[i] < 0
                 ? -1
                 : accept4(r->listen_fd[i], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    rig_run(r);
    return fd;
}

int rig_accept_any(struct rig *r, int *ret_i)
{
    for (*ret_i = 0; *ret_i < RIG_ENDPOINTS; (*ret_i)++) {
        int fd = rig_accept(r, *ret_i);
        if (fd >= 0) {
            return fd;
        }
    }
    return -1;
}

void rig_endpoint_close(struct rig *r, int i)
{
    if (r->listen_fd[i] >= 0) {
        (void)close(r->listen_fd[i]);
        r->listen_fd[i] = -1;
    }
}

void rig_run(struct rig *r)
{
    for (int i = 0; i < 20; i++) {
        step(r);
    }
}

void rig_send_n(struct rig *r, int fd, const char *p, size_t n)
{
    for (int idle = 0; n > 0 && idle < 1000;) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent > 0) {
            p += sent;
            n -= (size_t)sent;
            idle = 0;
        } else if (errno != EAGAIN) {
            break; /* the other side is gone: some tests want just that */
        } else {
            idle++;
        }
        rig_run(r);
    }
    rig_run(r);
}

void rig_send(struct rig *r, int fd, const char *text)
{
    rig_send_n(r, fd, text, strlen(text));
}

const char *rig_recv(struct rig *r, int fd)
{
    size_t n = 0;
    rig_run(r);
    for (int idle = 0; idle < 3 && n < RIG_TEXT_MAX;) {
        ssize_t got = recv(fd, r->text + n, RIG_TEXT_MAX - n, 0);
        if (got > 0) {
            n += (size_t)got;
            idle = 0;
        } else {
            idle++;
        }
        rig_run(r);
    }
    r->text[n] = '\0';
    return r->text;
}

bool rig_is_closed(struct rig *r, int fd)
{
    char c;
    rig_run(r);
    ssize_t n = recv(fd, &c, 1, MSG_PEEK);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

void rig_tick(struct rig *r)
{
    step(r);
}

void rig_log_to(struct rig *r, int fd)
{
    access_log_fini(&r->log);
    check(access_log_init(&r->log, fd, ACCESS_LOG_JSON) == E_OK);
}

void rig_log_flush(struct rig *r)
{
    access_log_flush(&r->log);
}

uint16_t rig_port(const struct rig *r, int i)
{
    return r->port[i];
}

struct snap_settings *rig_settings(struct rig *r)
{
    return &r->settings;
}

void rig_set_budget(struct rig *r, uint64_t bytes)
{
    r->budget.max = bytes;
}
