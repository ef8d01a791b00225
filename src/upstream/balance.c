/* Whose turn it is: four ways to choose among the ready endpoints of a service.
 *
 *   ROTATE      round robin, all weights alike: the next one. O(1).
 *   WEIGHTED    round robin by weight: each endpoint's next turn is a moment of a virtual time that
 *               is 1 / weight after its last one; the earliest is next (earliest deadline first).
 *               The turns of an endpoint lie evenly among those of the others. O(log n).
 *   LEAST_CONN  the fewest requests under way for its weight; of equals the one that has waited
 *               longest. O(log n).
 *   LATENCY     two at random, the one that is expected to answer sooner: its latency times the
 *               requests that are in front (Mitzenmacher, "The power of two choices", 2001). O(1).
 *               Latency is a peak-sensitive moving average: it jumps up to a slower answer and
 * sinks towards faster ones, and towards 0 while nobody asks, so that an endpoint that was slow
 * once gets another chance.
 *
 * WEIGHTED and LEAST_CONN keep service.ready as a binary heap, the next one at slot 0. */
#include "upstream/upstream_priv.h"

#define STRIDE (UINT64_C(1) << 32) /* between two turns of weight 1 */

/* splitmix64 (Steele, Lea, Flood 2014): for balancing, never for secrets. */
static uint64_t random_next(struct upstream_set *s)
{
    uint64_t z = s->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Scales 32 random bits to 0..n-1. */
static uint32_t random_slot(uint32_t bits, uint32_t n)
{
    return (uint32_t)((uint64_t)bits * n >> 32);
}

static uint64_t stride_of(const struct upstream_endpoint *e)
{
    return STRIDE / e->weight; /* at least 1: a weight is less than 2^32 */
}

/* ---- the heap ---- */

static bool is_heap(const struct service *service)
{
    return service->policy == WEIGHTED || service->policy == LEAST_CONN;
}

/* True when a's turn comes before b's. */
static bool is_before(const struct service *service, const struct upstream_endpoint *a,
                      const struct upstream_endpoint *b)
{
    if (service->policy == LEAST_CONN) {
        uint64_t load_a = ((uint64_t)a->stream_n + 1) * b->weight;
        uint64_t load_b = ((uint64_t)b->stream_n + 1) * a->weight;
        if (load_a != load_b) {
            return load_a < load_b;
        }
    }
    return (int64_t)(a->turn - b->turn) < 0;
}

static void slot_set(struct service *service, uint32_t slot, struct upstream_endpoint *e)
{
    service->ready[slot] = e;
    e->slot = slot;
}

static void sift_up(struct service *service, struct upstream_endpoint *e)
{
    uint32_t slot = e->slot;
    while (slot > 0 && is_before(service, e, service->ready[(slot - 1) / 2])) {
        slot_set(service, slot, service->ready[(slot - 1) / 2]);
        slot = (slot - 1) / 2;
    }
    slot_set(service, slot, e);
}

/* The child of slot whose turn comes first; >= ready_n when it has none. */
static uint32_t child_of(const struct service *service, uint32_t slot)
{
    uint32_t child = 2 * slot + 1;
    if (child + 1 < service->ready_n &&
        is_before(service, service->ready[child + 1], service->ready[child])) {
        child++;
    }
    return child;
}

static void sift_down(struct service *service, struct upstream_endpoint *e)
{
    uint32_t slot = e->slot;
    for (uint32_t child; (child = child_of(service, slot)) < service->ready_n; slot = child) {
        if (!is_before(service, service->ready[child], e)) {
            break;
        }
        slot_set(service, slot, service->ready[child]);
    }
    slot_set(service, slot, e);
}

/* ---- membership ---- */

/* Its first turn comes within one round: at a random moment, so that endpoints that join together,
 * and the workers, do not march in step. */
static void turn_start(struct service *service, struct upstream_endpoint *e)
{
    e->turn = service->turn;
    if (service->policy == WEIGHTED) {
        e->turn += random_next(service->set) % stride_of(e);
    }
}

void balance_join(struct service *service, struct upstream_endpoint *e)
{
    turn_start(service, e);
    slot_set(service, service->ready_n++, e);
    if (is_heap(service)) {
        sift_up(service, e);
    }
}

void balance_leave(struct service *service, struct upstream_endpoint *e)
{
    struct upstream_endpoint *last = service->ready[--service->ready_n];
    if (last != e) {
        slot_set(service, e->slot, last);
        if (is_heap(service)) {
            sift_up(service, last);
            sift_down(service, last);
        }
    }
    e->slot = SLOT_NONE;
}

void balance_load_changed(struct upstream_endpoint *e)
{
    struct service *service = e->service;
    if (service != NULL && service->policy == LEAST_CONN && e->slot != SLOT_NONE) {
        sift_up(service, e);
        sift_down(service, e);
    }
}

void balance_start(struct service *service, enum policy policy)
{
    bool is_new_policy = service->policy != policy;
    service->policy = policy;
    service->ready_n = 0;
    for (uint32_t i = 0; i < service->endpoint_n; i++) {
        struct upstream_endpoint *e = service->endpoints[i];
        if (is_new_policy && e->shown != NULL) {
            stats_set(&e->shown->ewma, 0);
        }
        if (e->is_ejected) {
            continue;
        }
        if (e->slot == SLOT_NONE || is_new_policy) {
            turn_start(service, e);
        }
        slot_set(service, service->ready_n++, e);
    }
    for (uint32_t i = is_heap(service) ? service->ready_n / 2 : 0; i > 0; i--) {
        sift_down(service, service->ready[i - 1]);
    }
}

/* ---- latency ---- */

/* What is left of 1 after some time, halving each UPSTREAM_LATENCY_HALF: 2^-x, straight between the
 * whole powers, which is at most 6 % too high. */
static double fade(usec_t since, usec_t now)
{
    usec_t passed = now > since ? now - since : 0;
    usec_t halvings = passed / UPSTREAM_LATENCY_HALF;
    double part = (double)(passed % UPSTREAM_LATENCY_HALF) / (double)UPSTREAM_LATENCY_HALF;
    return halvings > 62 ? 0 : (1 - part / 2) / (double)(UINT64_C(1) << halvings);
}

void balance_measure(struct upstream_endpoint *e, usec_t sample, bool is_answer, usec_t now)
{
    struct service *service = e->service;
    if (service->policy != LATENCY) {
        return;
    }
    double value = (double)(sample > 0 ? sample : 1);
    double old_part = fade(e->measured_at, now);
    double old = e->latency * old_part;
    e->latency = value > old ? value : old + value * (1 - old_part);
    e->measured_at = now;
    stats_set(&e->shown->ewma, (uint64_t)e->latency);
    if (is_answer) {
        double mean_part = service->latency > 0 ? fade(service->measured_at, now) : 0;
        service->latency = service->latency * mean_part + value * (1 - mean_part);
        service->measured_at = now;
    }
}

/* What a request more would wait, relative to others. */
static double cost_of(const struct service *service, const struct upstream_endpoint *e, usec_t now)
{
    double latency = e->latency > 0 ? e->latency * fade(e->measured_at, now)
                                    : service->latency * fade(service->measured_at, now);
    return (latency + 1) * ((double)e->stream_n + 1) / (double)e->weight;
}

/* ---- picking ---- */

static struct upstream_endpoint *pick_rotate(struct service *service,
                                             const struct upstream_endpoint *avoid)
{
    do {
        service->next = service->next + 1 < service->ready_n ? service->next + 1 : 0;
    } while (service->ready_n > 1 && service->ready[service->next] == avoid);
    return service->ready[service->next];
}

static struct upstream_endpoint *pick_heap(struct service *service,
                                           const struct upstream_endpoint *avoid)
{
    bool is_second = service->ready_n > 1 && service->ready[0] == avoid;
    struct upstream_endpoint *e = service->ready[is_second ? child_of(service, 0) : 0];
    if (service->policy == WEIGHTED) {
        service->turn = e->turn;
        e->turn += stride_of(e);
    } else {
        e->turn = ++service->turn;
    }
    sift_down(service, e);
    return e;
}

static struct upstream_endpoint *pick_latency(struct service *service,
                                              const struct upstream_endpoint *avoid, usec_t now)
{
    if (service->ready_n == 1) {
        return service->ready[0];
    }
    uint64_t bits = random_next(service->set);
    uint32_t first = random_slot((uint32_t)bits, service->ready_n);
    uint32_t second = random_slot((uint32_t)(bits >> 32), service->ready_n - 1);
    second += second >= first ? 1 : 0;
    struct upstream_endpoint *a = service->ready[first], *b = service->ready[second];
    if (a == avoid || b == avoid) {
        return a == avoid ? b : a;
    }
    return cost_of(service, b, now) < cost_of(service, a, now) ? b : a;
}

struct upstream_endpoint *balance_pick(struct service *service,
                                       const struct upstream_endpoint *avoid, usec_t now)
{
    switch (service->policy) {
    case ROTATE:
        break;
    case WEIGHTED:
    case LEAST_CONN:
        return pick_heap(service, avoid);
    case LATENCY:
        return pick_latency(service, avoid, now);
    }
    return pick_rotate(service, avoid);
}
