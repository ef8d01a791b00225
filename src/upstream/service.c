/* Services and their endpoints over generations. A service is made at its first request and freed
 * when its shard is gone. An endpoint belongs to its service until it leaves; then it lives on
 * alone until its last busy connection is gone. */
#include "upstream/upstream_priv.h"

/* ---- endpoints ---- */

static struct upstream_endpoint *endpoint_new(struct service *service,
                                              const struct snap_endpoint *from)
{
    struct upstream_endpoint *e = mem_calloc(1, sizeof(*e));
    if (e == NULL) {
        return NULL;
    }
    e->set = service->set;
    e->service = service;
    e->ip.family = from->family;
    mem_copy(e->ip.bytes, from->address, sizeof(e->ip.bytes));
    e->port = from->port;
    e->slot = SLOT_NONE;
    list_init(&e->link);
    pool_init(e);
    return e;
}

void endpoint_end_if_over(struct upstream_endpoint *e)
{
    if (e->service == NULL && e->conn_n == 0) {
        list_del(&e->link);
        list_push(&e->set->over, &e->link);
    }
}

/* e has left its service, whose tables are made anew after this. */
static void endpoint_leave(struct upstream_endpoint *e)
{
    health_leave(e);
    e->service = NULL;
    e->slot = SLOT_NONE;
    list_push(&e->set->gone, &e->link);
    pool_close_idle(e);
    endpoint_end_if_over(e);
}

static int endpoint_cmp(const struct upstream_endpoint *e, const struct snap_endpoint *s)
{
    struct ip ip = {.family = s->family};
    mem_copy(ip.bytes, s->address, sizeof(ip.bytes));
    int order = ip_cmp(&e->ip, &ip);
    return order != 0 ? order : (int)e->port - (int)s->port;
}

void service_sweep(struct upstream_set *s)
{
    for (struct list *it; (it = list_pop(&s->over)) != NULL;) {
        struct upstream_endpoint *e = container_of(it, struct upstream_endpoint, link);
        pool_fini(e);
        mem_free(e);
    }
}

/* ---- changes ---- */

static enum policy policy_of(const struct snap_service *shard)
{
    const struct snap_endpoint *endpoints = snap_array_get(shard, shard->endpoints);
    switch ((enum snap_balance)shard->balance) {
    case SNAP_BALANCE_ROUND_ROBIN:
        break;
    case SNAP_BALANCE_LEAST_CONN:
        return LEAST_CONN;
    case SNAP_BALANCE_LATENCY:
        return LATENCY;
    }
    for (uint32_t i = 1; i < shard->endpoints.n; i++) {
        if (endpoints[i].weight != endpoints[0].weight) {
            return WEIGHTED;
        }
    }
    return ROTATE;
}

/* Fills list with the shard's endpoints, those there are and new ones: both are sorted alike. The
 * others leave. Returns how many there are: fewer than the shard's when memory ran out. */
static uint32_t endpoints_merge(struct service *service, const struct snap_service *shard,
                                struct upstream_endpoint **list)
{
    const struct snap_endpoint *from = snap_array_get(shard, shard->endpoints);
    struct upstream_endpoint **known = service->endpoints, **end = known + service->endpoint_n;
    uint32_t n = 0;
    for (uint32_t i = 0; i < shard->endpoints.n; i++) {
        while (known < end && endpoint_cmp(*known, &from[i]) < 0) {
            endpoint_leave(*known++);
        }
        bool is_known = known < end && endpoint_cmp(*known, &from[i]) == 0;
        struct upstream_endpoint *e = is_known ? *known++ : endpoint_new(service, &from[i]);
        if (e != NULL) {
            if (e->weight != from[i].weight) { /* its next turn was worked out by the old one */
                e->weight = from[i].weight;
                e->slot = SLOT_NONE;
            }
            list[n++] = e;
        }
    }
    while (known < end) {
        endpoint_leave(*known++);
    }
    return n;
}

/* Connections of another dialer than before get no further request: see pool.c. */
static enum err service_set_dialer(struct service *service, const struct snap_service *shard)
{
    struct upstream_dialers *dialers = service->set->dialers;
    struct http_dialer *old = service->dialer, *dialer = dialers->take(dialers, shard);
    if (dialer == NULL) {
        return E_NOMEM;
    }
    service->dialer = dialer;
    for (uint32_t i = 0; old != dialer && i < service->endpoint_n; i++) {
        pool_close_idle(service->endpoints[i]);
    }
    if (old != NULL) {
        dialers->give(dialers, old);
    }
    return E_OK;
}

static enum err service_set_endpoints(struct service *service, const struct snap_service *shard)
{
    uint32_t room = shard->endpoints.n > 0 ? shard->endpoints.n : 1;
    struct upstream_endpoint **list = mem_calloc(room, 2 * sizeof(struct upstream_endpoint *));
    if (list == NULL) {
        return E_NOMEM;
    }
    uint32_t n = endpoints_merge(service, shard, list);
    mem_free(service->endpoints);
    service->endpoints = list;
    service->ready = list + room;
    service->endpoint_n = n;
    health_fit(service);
    balance_start(service, policy_of(shard));
    return n == shard->endpoints.n ? E_OK : E_NOMEM; /* the caller drops it: the next request tries
                                                        again, nobody else would */
}

static enum err service_set(struct service *service, const struct snap_service *shard)
{
    TRY(service_set_dialer(service, shard));
    return service_set_endpoints(service, shard);
}

/* ---- life ---- */

void service_free(struct service *service)
{
    struct upstream_dialers *dialers = service->set->dialers;
    for (uint32_t i = 0; i < service->endpoint_n; i++) {
        endpoint_leave(service->endpoints[i]);
    }
    if (service->dialer != NULL) {
        dialers->give(dialers, service->dialer);
    }
    mem_free(service->endpoints);
    mem_free(service);
}

static bool service_eq(const void *value, const void *key)
{
    const struct service *v = value;
    const struct str *k = key;
    return str_eq(v->key, *k);
}

static struct service *service_alloc(struct upstream_set *s, struct str key, uint64_t hash)
{
    struct service *service = mem_calloc(1, sizeof(*service) + key.n);
    if (service == NULL) {
        return NULL;
    }
    char *text = (char *)(service + 1);
    mem_copy(text, key.p, key.n);
    service->set = s;
    service->key = str_make(text, key.n);
    service->hash = hash;
    service->next = s->seed;
    list_init(&service->ejected);
    return service;
}

/* Nobody has seen it yet: its endpoints need not wait for the next update. */
static void service_discard(struct service *service)
{
    for (uint32_t i = 0; i < service->endpoint_n; i++) {
        mem_free(service->endpoints[i]);
    }
    service->endpoint_n = 0;
    service_free(service);
}

static enum err service_new(struct upstream_set *s, struct str key, uint64_t hash,
                            struct service **ret)
{
    const struct snapshot_entry *entry = snapshot_find(s->snapshot, SNAP_SERVICE, key, hash);
    if (entry == NULL) {
        return E_NOTFOUND;
    }
    TRY(map_reserve(&s->services, 1));
    struct service *service = service_alloc(s, key, hash);
    if (service == NULL) {
        return E_NOMEM;
    }
    enum err e = service_set(service, (const struct snap_service *)entry->shard);
    if (e == E_OK) {
        e = map_add(&s->services, hash, service);
    }
    if (e != E_OK) {
        service_discard(service);
        return e;
    }
    *ret = service;
    return E_OK;
}

enum err service_get(struct upstream_set *s, struct str key, uint64_t hash, struct service **ret)
{
    struct service *service = map_get(&s->services, hash, service_eq, &key);
    if (service == NULL) {
        return service_new(s, key, hash, ret);
    }
    *ret = service;
    return E_OK;
}

void upstream_set_update(struct upstream_set *s, struct str key, const struct snap_service *shard)
{
    uint64_t hash = hash_str(key);
    service_sweep(s);
    struct service *service = map_get(&s->services, hash, service_eq, &key);
    if (service == NULL) {
        return; /* nobody has asked for it yet */
    }
    if (shard != NULL && service_set(service, shard) == E_OK) {
        return;
    }
    if (shard != NULL) { /* better none than those that may be gone; the next request makes it anew
                          */
        stats_add(&s->stats->limit_memory, 1);
    }
    (void)map_del(&s->services, hash, service); /* it is there */
    service_free(service);
}
