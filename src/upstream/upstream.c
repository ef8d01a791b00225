/* Services, endpoints and their connections.
 * An endpoint belongs to its service until it leaves; then it lives on alone until its last busy
 * connection is gone. A service is made at its first request and freed when its shard is gone. */
#include "upstream/upstream.h"

#include "base/limits.h"
#include "base/mem.h"
#include "wire/ip.h"

struct upstream_endpoint {
    struct upstream_set *set;
    struct ip ip;
    uint16_t port;
    bool is_gone; /* left the service */
    uint32_t weight;
    int64_t credit; /* of smooth weighted round robin */
    uint32_t conn_n, idle_n;
    struct list idle; /* connections that can take a stream; the warmest in front */
    struct list busy;
};

struct service {
    struct str key; /* owned, behind the struct */
    uint64_t hash;
    struct upstream_endpoint **endpoints; /* sorted as in the shard */
    uint32_t endpoint_n;
    uint32_t next; /* round robin */
    bool is_weighted;
};

struct upstream_set {
    const struct snapshot *snapshot;
    struct http_dialer *dialer;
    struct stats_page *stats;
    struct map services;
    uint32_t seed;
};

/* ---- endpoints and connections ---- */

static void endpoint_free_if_over(struct upstream_endpoint *e)
{
    if (e->is_gone && e->conn_n == 0) {
        mem_free(e);
    }
}

static void conn_was_idle(struct upstream_endpoint *e, struct http_conn *c)
{
    if (c->stream_n == 0) {
        e->idle_n--;
        stats_sub(&e->set->stats->upstream_idle, 1);
    } else {
        stats_sub(&e->set->stats->upstream_busy, 1);
    }
}

static void conn_drop(struct upstream_endpoint *e, struct http_conn *c)
{
    list_del(&c->link);
    conn_was_idle(e, c);
    e->conn_n--;
}

static void endpoint_close_idle(struct upstream_endpoint *e)
{
    for (struct list *it; (it = list_pop(&e->idle)) != NULL;) {
        struct http_conn *c = container_of(it, struct http_conn, link);
        conn_drop(e, c);
        c->ops->close(c);
    }
}

/* The endpoint has left its service. */
static void endpoint_leave(struct upstream_endpoint *e)
{
    e->is_gone = true;
    endpoint_close_idle(e);
    endpoint_free_if_over(e);
}

static void on_connected(struct http_conn *c)
{
    (void)c; /* counted by the dialer; the pool treats connecting and connected alike */
}

static void on_free(struct http_conn *c)
{
    struct upstream_endpoint *e = c->owner;
    struct stats_page *stats = e->set->stats;
    list_del(&c->link);
    if (e->is_gone || e->idle_n >= UPSTREAM_IDLE_PER_ENDPOINT_MAX) {
        stats_sub(&stats->upstream_busy, 1);
        e->conn_n--;
        c->ops->close(c);
        endpoint_free_if_over(e);
        return;
    }
    list_push(&e->idle, &c->link);
    e->idle_n++;
    stats_sub(&stats->upstream_busy, 1);
    stats_add(&stats->upstream_idle, 1);
}

static void on_closed(struct http_conn *c, enum reason why, bool has_connected)
{
    struct upstream_endpoint *e = c->owner;
    (void)why;
    (void)has_connected;
    conn_drop(e, c);
    endpoint_free_if_over(e);
}

static const struct http_conn_events conn_events = {
    .on_connected = on_connected,
    .on_free = on_free,
    .on_closed = on_closed,
};

static struct upstream_endpoint *endpoint_new(struct upstream_set *s,
                                              const struct snap_endpoint *from)
{
    struct upstream_endpoint *e = mem_calloc(1, sizeof(*e));
    if (e == NULL) {
        return NULL;
    }
    e->set = s;
    e->ip.family = from->family;
    mem_copy(e->ip.bytes, from->address, sizeof(e->ip.bytes));
    e->port = from->port;
    list_init(&e->idle);
    list_init(&e->busy);
    return e;
}

static int endpoint_cmp(const struct upstream_endpoint *e, const struct snap_endpoint *s)
{
    struct ip ip = {.family = s->family};
    mem_copy(ip.bytes, s->address, sizeof(ip.bytes));
    int order = ip_cmp(&e->ip, &ip);
    return order != 0 ? order : (int)e->port - (int)s->port;
}

/* ---- services ---- */

static bool service_eq(const void *value, const void *key)
{
    const struct service *v = value;
    const struct str *k = key;
    return str_eq(v->key, *k);
}

/* Merges the shard's endpoints with those there are: both are sorted alike. When memory runs out in
 * between, the endpoints that could not be made are left out. */
static enum err service_set_endpoints(struct upstream_set *s, struct service *service,
                                      const struct snap_service *shard)
{
    uint32_t n = shard == NULL ? 0 : shard->endpoints.n;
    const struct snap_endpoint *from = n == 0 ? NULL : snap_array_get(shard, shard->endpoints);
    struct upstream_endpoint **list =
        n == 0 ? NULL : mem_calloc(n, sizeof(struct upstream_endpoint *));
    if (n > 0 && list == NULL) {
        return E_NOMEM;
    }
    uint32_t made = 0, old = 0;
    service->is_weighted = false;
    for (uint32_t i = 0; i < n; i++) {
        while (old < service->endpoint_n && endpoint_cmp(service->endpoints[old], &from[i]) < 0) {
            endpoint_leave(service->endpoints[old++]);
        }
        bool is_known =
            old < service->endpoint_n && endpoint_cmp(service->endpoints[old], &from[i]) == 0;
        struct upstream_endpoint *e =
            is_known ? service->endpoints[old++] : endpoint_new(s, &from[i]);
        if (e != NULL) {
            e->weight = from[i].weight;
            service->is_weighted = service->is_weighted || e->weight != from[0].weight;
            list[made++] = e;
        }
    }
    while (old < service->endpoint_n) {
        endpoint_leave(service->endpoints[old++]);
    }
    mem_free(service->endpoints);
    service->endpoints = list;
    service->endpoint_n = made;
    return E_OK;
}

static void service_free(struct service *service)
{
    for (uint32_t i = 0; i < service->endpoint_n; i++) {
        endpoint_leave(service->endpoints[i]);
    }
    mem_free(service->endpoints);
    mem_free(service);
}

/* Made at the first request for it. */
static enum err service_new(struct upstream_set *s, struct str key, uint64_t hash,
                            struct service **ret)
{
    const struct snapshot_entry *entry = snapshot_find(s->snapshot, SNAP_SERVICE, key, hash);
    if (entry == NULL) {
        return E_NOTFOUND;
    }
    struct service *service = mem_calloc(1, sizeof(*service) + key.n);
    if (service == NULL) {
        return E_NOMEM;
    }
    char *text = (char *)(service + 1);
    mem_copy(text, key.p, key.n);
    service->key = str_make(text, key.n);
    service->hash = hash;
    service->next = s->seed;
    enum err e = service_set_endpoints(s, service, (const struct snap_service *)entry->shard);
    if (e == E_OK) {
        e = map_add(&s->services, hash, service);
    }
    if (e != E_OK) {
        service_free(service);
        return e;
    }
    *ret = service;
    return E_OK;
}

static struct upstream_endpoint *pick_weighted(struct service *service)
{
    /* Smooth weighted round robin: everyone earns its weight, the richest serves and pays the sum.
     */
    struct upstream_endpoint *best = NULL;
    int64_t sum = 0;
    for (uint32_t i = 0; i < service->endpoint_n; i++) {
        struct upstream_endpoint *e = service->endpoints[i];
        e->credit += e->weight;
        sum += e->weight;
        if (best == NULL || e->credit > best->credit) {
            best = e;
        }
    }
    best->credit -= sum;
    return best;
}

static struct upstream_endpoint *pick(struct service *service)
{
    if (service->is_weighted) {
        return pick_weighted(service);
    }
    service->next = service->next + 1 < service->endpoint_n ? service->next + 1 : 0;
    return service->endpoints[service->next];
}

/* ---- opening ---- */

static enum err endpoint_open(struct upstream_endpoint *e, bool fresh, struct upstream_pick *ret)
{
    struct upstream_set *s = e->set;
    struct http_conn *c;
    bool is_reused = !fresh && !list_is_empty(&e->idle);
    if (is_reused) {
        c = container_of(e->idle.next, struct http_conn, link);
        list_del(&c->link);
        e->idle_n--;
        stats_sub(&s->stats->upstream_idle, 1);
    } else {
        TRY(s->dialer->dial(s->dialer, &e->ip, e->port, &conn_events, e, &c));
        e->conn_n++;
    }
    list_push(&e->busy, &c->link);
    stats_add(&s->stats->upstream_busy, 1);
    struct http_stream *stream = c->ops->open(c);
    must(stream != NULL); /* an HTTP/1 connection holds its one stream itself */
    stats_add(&s->stats->upstream_reuses, is_reused ? 1 : 0);
    *ret = (struct upstream_pick){stream, e, is_reused};
    return E_OK;
}

enum err upstream_open(struct upstream_set *s, struct str key, uint64_t key_hash, bool fresh,
                       struct upstream_pick *ret)
{
    struct service *service = map_get(&s->services, key_hash, service_eq, &key);
    if (service == NULL) {
        TRY(service_new(s, key, key_hash, &service));
    }
    if (service->endpoint_n == 0) {
        return E_NOTFOUND;
    }
    enum err e = E_REFUSED;
    for (uint32_t i = 0; i < service->endpoint_n && e == E_REFUSED; i++) {
        e = endpoint_open(pick(service), fresh, ret);
    }
    return e;
}

struct ip upstream_endpoint_ip(const struct upstream_endpoint *e)
{
    return e->ip;
}

uint16_t upstream_endpoint_port(const struct upstream_endpoint *e)
{
    return e->port;
}

/* ---- the set ---- */

enum err upstream_set_new(const struct snapshot *snapshot, struct http_dialer *dialer,
                          struct stats_page *stats, uint32_t seed, struct upstream_set **ret)
{
    struct upstream_set *s = mem_calloc(1, sizeof(*s));
    if (s == NULL) {
        return E_NOMEM;
    }
    *s =
        (struct upstream_set){.snapshot = snapshot, .dialer = dialer, .stats = stats, .seed = seed};
    map_init(&s->services);
    *ret = s;
    return E_OK;
}

void upstream_set_free(struct upstream_set *s)
{
    if (s == NULL) {
        return;
    }
    map_each(slot, &s->services)
    {
        service_free(slot->value);
    }
    map_fini(&s->services);
    mem_free(s);
}

void upstream_set_update(struct upstream_set *s, struct str key, const struct snap_service *shard)
{
    uint64_t hash = hash_str(key);
    struct service *service = map_get(&s->services, hash, service_eq, &key);
    if (service == NULL) {
        return; /* nobody has asked for it yet */
    }
    if (shard == NULL) {
        (void)map_del(&s->services, hash, service); /* it is there */
        service_free(service);
    } else if (service_set_endpoints(s, service, shard) != E_OK) {
        /* Out of memory: better none than those that may be gone; the next request makes it anew.
         */
        stats_add(&s->stats->limit_memory, 1);
        (void)map_del(&s->services, hash, service);
        service_free(service);
    }
}
