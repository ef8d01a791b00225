/* Passive health: what requests tell about endpoints.
 *
 *   ready ──UPSTREAM_FAILURES_MAX failures in a row──> ejected ──time is over──> probing
 *     ^                                                   ^                        │ │
 *     │                                                   └── failed: twice as long ┘ │
 *     └───────────────────────────── answered ────────────────────────────────────────┘
 *
 * The first ejection lasts UPSTREAM_EJECT_MIN, each further one twice the last, up to
 * UPSTREAM_EJECT_MAX; an endpoint that has been back for that long begins anew. While it is probing
 * one request at a time goes there; when no outcome is ever told, another one after
 * UPSTREAM_PROBE_AGAIN. Only the probe decides: what comes late of requests from before does not
 * count. At most UPSTREAM_EJECT_PERCENT of a service's endpoints are ejected, so that a fault that
 * all share (or that is ours) does not leave nobody, and the only endpoint always stays. */
#include "upstream/upstream_priv.h"

static uint32_t ejected_max(const struct service *service)
{
    return (uint32_t)((uint64_t)service->endpoint_n * UPSTREAM_EJECT_PERCENT / 100);
}

static void state_show(struct upstream_endpoint *e, enum stats_endpoint_state state)
{
    if (e->shown != NULL) {
        stats_set(&e->shown->state, state);
    }
}

/* service.ejected stays sorted. Most often the new one goes last. */
static void until_set(struct upstream_endpoint *e, usec_t until, enum stats_endpoint_state state)
{
    struct list *head = &e->service->ejected;
    struct list *before = head->prev;
    e->until = until;
    while (before != head && container_of(before, struct upstream_endpoint, link)->until > until) {
        before = before->prev;
    }
    list_add_between(&e->link, before, before->next);
    stats_set(&e->shown->until, until);
    state_show(e, state);
}

static void until_move(struct upstream_endpoint *e, usec_t until, enum stats_endpoint_state state)
{
    list_del(&e->link);
    until_set(e, until, state);
}

/* How long the next ejection lasts. */
static usec_t ejection_next(struct upstream_endpoint *e)
{
    usec_t time = UPSTREAM_EJECT_MIN;
    for (uint8_t i = 0; i < e->ejection_n && time < UPSTREAM_EJECT_MAX; i++) {
        time *= 2;
    }
    e->ejection_n += e->ejection_n < UINT8_MAX ? 1 : 0;
    stats_add(&e->set->stats->upstream_ejections, 1);
    return time < UPSTREAM_EJECT_MAX ? time : UPSTREAM_EJECT_MAX;
}

static void eject(struct upstream_endpoint *e, usec_t now)
{
    struct service *service = e->service;
    if (e->ejection_n > 0 && now >= e->back_at + UPSTREAM_EJECT_MAX) {
        e->ejection_n = 0;
    }
    balance_leave(service, e);
    e->is_ejected = true;
    service->ejected_n++;
    stats_add(&e->set->stats->upstream_ejected, 1);
    until_set(e, now + ejection_next(e), STATS_ENDPOINT_EJECTED);
    pool_close_idle(e); /* so that the probe is a new connection, and tells something */
}

/* Not ejected any more; not ready yet. */
static void reprieve(struct upstream_endpoint *e)
{
    list_del(&e->link);
    e->is_ejected = false;
    e->failure_n = 0;
    e->service->ejected_n--;
    stats_sub(&e->set->stats->upstream_ejected, 1);
    state_show(e, STATS_ENDPOINT_OK);
}

void health_succeeded(struct upstream_endpoint *e, bool is_probe, usec_t now)
{
    if (!e->is_ejected) {
        e->failure_n = 0;
    } else if (is_probe) {
        reprieve(e);
        e->back_at = now;
        balance_join(e->service, e);
    }
}

void health_failed(struct upstream_endpoint *e, bool is_probe, usec_t now)
{
    if (e->is_ejected) {
        if (is_probe) {
            until_move(e, now + ejection_next(e), STATS_ENDPOINT_EJECTED);
        }
        return;
    }
    e->failure_n += e->failure_n < UPSTREAM_FAILURES_MAX ? 1 : 0;
    if (e->failure_n < UPSTREAM_FAILURES_MAX) {
        return;
    }
    if (e->service->ejected_n < ejected_max(e->service)) {
        eject(e, now);
    } else {
        stats_add(&e->set->stats->limit_upstream_ejected, 1);
    }
}

void health_probe_void(struct upstream_endpoint *e, usec_t now)
{
    if (e->is_ejected) {
        until_move(e, now, STATS_ENDPOINT_EJECTED);
    }
}

struct upstream_endpoint *health_probe(struct service *service, usec_t now)
{
    if (list_is_empty(&service->ejected)) {
        return NULL;
    }
    struct upstream_endpoint *e =
        container_of(service->ejected.next, struct upstream_endpoint, link);
    if (now < e->until) {
        return NULL;
    }
    until_move(e, now + UPSTREAM_PROBE_AGAIN, STATS_ENDPOINT_PROBING);
    return e;
}

void health_leave(struct upstream_endpoint *e)
{
    if (e->is_ejected) {
        reprieve(e);
    }
    state_show(e, STATS_ENDPOINT_DRAINING);
}

void health_fit(struct service *service)
{
    while (service->ejected_n > ejected_max(service)) {
        reprieve(container_of(service->ejected.next, struct upstream_endpoint, link));
    }
}
