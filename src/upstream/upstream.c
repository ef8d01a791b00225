/* The set of services, and one try of a request: which endpoint, which connection, how it went. */
#include "upstream/upstream_priv.h"

/* ---- what others see ---- */

static void outcome_show(struct upstream_endpoint *e, enum upstream_outcome outcome, usec_t elapsed,
                         usec_t now)
{
    struct stats_endpoint *to = e->shown;
    stats_add(&to->outcomes[outcome], 1);
    if (outcome == UPSTREAM_ANSWERED) {
        stats_add(&to->latency_sum, elapsed);
    } else if (outcome != UPSTREAM_ABANDONED) {
        stats_set(&to->failed_at, now);
        stats_set(&to->failed_how, outcome);
    }
}

/* ---- opening ---- */

/* The connection was refused at once. */
static void on_refused(struct upstream_endpoint *e, bool is_probe, usec_t now)
{
    outcome_show(e, UPSTREAM_CONNECT_FAILED, 0, now);
    health_failed(e, is_probe, now);
}

/* One request finds out whether an ejected endpoint is back. E_REFUSED: it is not, or there is none
 * whose time is over. */
static enum err open_probe(struct service *service, const struct upstream_ask *ask,
                           struct upstream_pick *ret)
{
    if (ask->avoid != NULL) { /* it has failed once, that is enough for one request */
        return E_REFUSED;
    }
    struct upstream_endpoint *e = health_probe(service, ask->now);
    if (e == NULL) {
        return E_REFUSED;
    }
    enum err err = pool_open(e, ask, ret);
    if (err == E_REFUSED) {
        on_refused(e, true, ask->now);
    } else if (err != E_OK) {
        health_probe_void(e, ask->now);
    }
    return err;
}

/* The ready one that follows avoid in the order of the shard: a request that is refused by one
 * after the other meets each once, whatever others ask for in between. */
static const struct upstream_endpoint *next_ready(const struct service *service,
                                                  const struct upstream_ask *ask)
{
    uint32_t at = 0, n = service->endpoint_n;
    while (at < n && service->endpoints[at] != ask->avoid) {
        at++;
    }
    for (uint32_t i = 1; at < n && i < n; i++) {
        const struct upstream_endpoint *e = service->endpoints[(at + i) % n];
        if (e->slot != SLOT_NONE) {
            return e;
        }
    }
    return NULL;
}

static uint32_t first_slot(struct service *service, const struct upstream_ask *ask)
{
    const struct upstream_endpoint *next = ask->is_next ? next_ready(service, ask) : NULL;
    return next != NULL ? next->slot : balance_pick(service, ask->avoid, ask->now)->slot;
}

/* By the service's policy; when that one refuses at once, those beside it, each once. Who refused
 * is told to health.c at the end, since that may change service.ready. */
static enum err open_ready(struct service *service, const struct upstream_ask *ask,
                           struct upstream_pick *ret)
{
    struct upstream_endpoint *refused[UPSTREAM_REFUSALS_MAX];
    uint32_t refused_n = 0, n = service->ready_n;
    uint32_t first = first_slot(service, ask);
    enum err err = E_REFUSED;
    for (uint32_t i = 0; err == E_REFUSED && i < n && refused_n < UPSTREAM_REFUSALS_MAX; i++) {
        uint32_t slot = first + i < n ? first + i : first + i - n;
        struct upstream_endpoint *e = service->ready[slot];
        if (e == ask->avoid && (i > 0 || ask->is_elsewhere)) {
            continue;
        }
        err = pool_open(e, ask, ret);
        if (err == E_REFUSED) {
            refused[refused_n++] = e;
        }
    }
    for (uint32_t i = 0; i < refused_n; i++) {
        on_refused(refused[i], false, ask->now);
    }
    return err;
}

enum err upstream_open(struct upstream_set *s, const struct upstream_ask *ask,
                       struct upstream_pick *ret)
{
    struct service *service;
    if (s->is_closing) {
        return E_NOTFOUND;
    }
    TRY(service_get(s, ask->service, ask->service_hash, &service));
    if (service->ready_n == 0) {
        return E_NOTFOUND;
    }
    enum err err = E_REFUSED;
    if (service->ejected_n > 0) {
        err = open_probe(service, ask, ret);
    }
    return err == E_REFUSED ? open_ready(service, ask, ret) : err;
}

/* ---- reporting ---- */

enum upstream_outcome upstream_outcome_of(enum reason why)
{
    if (why == REASON_connect_refused || why == REASON_connect_timeout ||
        why == REASON_upstream_tls || why == REASON_upstream_certificate) {
        return UPSTREAM_CONNECT_FAILED;
    }
    if (why == REASON_upstream_reset) {
        return UPSTREAM_RESET;
    }
    return why == REASON_upstream_timeout ? UPSTREAM_TIMEOUT : UPSTREAM_ABANDONED;
}

void upstream_report(struct upstream_pick *pick, enum upstream_outcome outcome, usec_t elapsed)
{
    struct upstream_endpoint *e = pick->unreported;
    usec_t now = pick->began + elapsed;
    pick->unreported = NULL;
    if (e == NULL) {
        return;
    }
    if (outcome == UPSTREAM_RESET && pick->is_reused) { /* it had died while it was idle */
        outcome = UPSTREAM_ABANDONED;
    }
    outcome_show(e, outcome, elapsed, now);
    if (e->service == NULL) {
        return;
    }
    switch (outcome) {
    case UPSTREAM_ANSWERED:
        balance_measure(e, elapsed, true, now);
        health_succeeded(e, pick->is_probe, now);
        return;
    case UPSTREAM_TIMEOUT:
        balance_measure(e, elapsed, false, now);
        health_failed(e, pick->is_probe, now);
        return;
    case UPSTREAM_CONNECT_FAILED:
    case UPSTREAM_RESET:
        health_failed(e, pick->is_probe, now);
        return;
    case UPSTREAM_ABANDONED:
        if (pick->is_probe) {
            health_probe_void(e, now);
        }
        return;
    }
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

enum err upstream_set_new(const struct snapshot *snapshot, struct upstream_dialers *dialers,
                          const struct snap_settings *settings, struct stats_page *stats,
                          struct stats_endpoint_table *shown, uint32_t seed,
                          struct upstream_set **ret)
{
    struct upstream_set *s = mem_calloc(1, sizeof(*s));
    if (s == NULL) {
        return E_NOMEM;
    }
    s->snapshot = snapshot;
    s->dialers = dialers;
    s->settings = settings;
    s->stats = stats;
    s->shown = shown;
    s->seed = seed;
    s->random = seed;
    map_init(&s->services);
    list_init(&s->gone);
    list_init(&s->over);
    list_init(&s->idle);
    *ret = s;
    return E_OK;
}

void upstream_set_free(struct upstream_set *s)
{
    if (s == NULL) {
        return;
    }
    s->is_closing = true;
    map_each(slot, &s->services)
    {
        service_free(slot->value);
    }
    while (!list_is_empty(&s->gone)) { /* the last connection's end moves it to s->over */
        struct upstream_endpoint *e = container_of(s->gone.next, struct upstream_endpoint, link);
        pool_close_all(e);
        endpoint_end_if_over(e);
    }
    service_sweep(s);
    map_fini(&s->services);
    mem_free(s);
}
