/* Edge-triggered epoll, a hashed timer wheel, and a queue for the end of the tick.
 * The wheel: SLOTS slots of SLOT_US each. A timer sits in the slot of its deadline, or of an
 * earlier one: moving a deadline back is one store, and the slot's visit moves the timer on. A
 * deadline past the wheel's horizon sits in the last slot and moves on from there. */
#include "event/loop.h"

#include "base/mem.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS_MAX = 256, SLOTS = 1024, SLOT_US = 8192, SLOT_WORDS = SLOTS / 64 };

#define WAIT_MAX (3600 * USEC_PER_SEC)

struct loop {
    int epoll_fd;
    bool is_stopping;
    usec_t now;
    uint64_t slot_now; /* now / SLOT_US: slots before it have been visited */
    struct list slots[SLOTS];
    uint64_t used[SLOT_WORDS]; /* bit set: the slot may hold timers */
    struct list deferred;
    loop_tick_fn *on_tick;
    void *on_tick_arg;
    int event_n; /* of this tick, those from event_at on are still to be delivered */
    int event_at;
    struct epoll_event events[EVENTS_MAX];
};

enum err loop_new(struct loop **ret)
{
    struct loop *l = mem_calloc(1, sizeof(*l));
    if (l == NULL) {
        return E_NOMEM;
    }
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        mem_free(l);
        return E_SYS;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        list_init(&l->slots[i]);
    }
    list_init(&l->deferred);
    l->now = clock_monotonic();
    l->slot_now = l->now / SLOT_US;
    *ret = l;
    return E_OK;
}

void loop_free(struct loop *l)
{
    if (l != NULL) {
        (void)close(l->epoll_fd); /* nothing of ours depends on it */
        mem_free(l);
    }
}

usec_t loop_now(const struct loop *l)
{
    return l->now;
}

void loop_stop(struct loop *l)
{
    l->is_stopping = true;
}

void loop_on_tick(struct loop *l, loop_tick_fn *fn, void *arg)
{
    l->on_tick = fn;
    l->on_tick_arg = arg;
}

/* ---- descriptors ---- */

static enum err watch_control(struct loop *l, struct watch *w, int op, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = w};
    return epoll_ctl(l->epoll_fd, op, fd, &event) == 0 ? E_OK : E_SYS;
}

enum err loop_watch(struct loop *l, struct watch *w, int fd, watch_fn *on_event)
{
    TRY(watch_control(l, w, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET));
    *w = (struct watch){fd, on_event};
    return E_OK;
}

enum err loop_watch_listener(struct loop *l, struct watch *w, int fd, watch_fn *on_event)
{
    TRY(watch_control(l, w, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE));
    *w = (struct watch){fd, on_event};
    return E_OK;
}

enum err loop_watch_level(struct loop *l, struct watch *w, int fd, uint32_t events,
                          watch_fn *on_event)
{
    bool is_watched = w->on_event != NULL && w->fd == fd;
    TRY(watch_control(l, w, is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, events));
    *w = (struct watch){fd, on_event};
    return E_OK;
}

void loop_unwatch(struct loop *l, struct watch *w)
{
    if (w->on_event != NULL) {
        (void)watch_control(l, w, EPOLL_CTL_DEL, w->fd, 0); /* fails only for a closed fd: gone */
        loop_forget(l, w);
    }
}

void loop_forget(struct loop *l, struct watch *w)
{
    for (int i = l->event_at; i < l->event_n; i++) {
        if (l->events[i].data.ptr == w) {
            l->events[i].data.ptr = NULL;
        }
    }
    *w = (struct watch){.fd = -1};
}

/* ---- timers ---- */

static void timer_link(struct loop *l, struct timer *t)
{
    uint64_t slot = t->deadline / SLOT_US + 1; /* never early */
    if (slot <= l->slot_now) {
        slot = l->slot_now + 1;
    }
    if (slot - l->slot_now >= SLOTS) {
        slot = l->slot_now + SLOTS - 1;
    }
    t->slot = (uint32_t)(slot % SLOTS);
    list_append(&l->slots[t->slot], &t->link);
    l->used[t->slot / 64] |= (uint64_t)1 << (t->slot % 64);
}

void loop_arm(struct loop *l, struct timer *t, usec_t delay, timer_fn *on_fire)
{
    usec_t deadline = l->now + delay;
    t->on_fire = on_fire;
    if (list_is_linked(&t->link)) {
        bool is_later = deadline >= t->deadline;
        t->deadline = deadline;
        if (is_later) {
            return;
        }
        list_del(&t->link);
    }
    t->deadline = deadline;
    timer_link(l, t);
}

void loop_disarm(struct loop *l, struct timer *t)
{
    (void)l;
    list_del(&t->link);
}

static void slot_visit(struct loop *l, uint32_t slot)
{
    struct list due;
    list_init(&due);
    for (struct list *it; (it = list_pop(&l->slots[slot])) != NULL;) {
        list_append(&due, it);
    }
    l->used[slot / 64] &= ~((uint64_t)1 << (slot % 64));
    for (struct list *it; (it = list_pop(&due)) != NULL;) {
        struct timer *t = container_of(it, struct timer, link);
        if (t->deadline > l->now) {
            timer_link(l, t);
        } else {
            t->on_fire(t);
        }
    }
}

static void timers_run(struct loop *l)
{
    uint64_t target = l->now / SLOT_US;
    if (target - l->slot_now >= SLOTS) { /* slept past the whole wheel: each slot once */
        l->slot_now = target - SLOTS;
    }
    while (l->slot_now < target) {
        l->slot_now++;
        uint32_t slot = (uint32_t)(l->slot_now % SLOTS);
        if ((l->used[slot / 64] >> (slot % 64) & 1) != 0) {
            slot_visit(l, slot);
        }
    }
}

/* Time until the next slot that may hold timers, at most max. */
static usec_t timers_wait(const struct loop *l, usec_t max)
{
    for (uint64_t ahead = 1; ahead < SLOTS;) {
        uint64_t at = (l->slot_now + ahead) % SLOTS;
        uint64_t word = l->used[at / 64] >> (at % 64);
        if (word == 0) {
            ahead += 64 - at % 64;
            continue;
        }
        ahead += (uint64_t)__builtin_ctzll(word);
        usec_t due = (l->slot_now + ahead) * SLOT_US;
        usec_t wait = due > l->now ? due - l->now : 0;
        return wait < max ? wait : max;
    }
    return max;
}

/* ---- end of tick ---- */

void loop_defer(struct loop *l, struct deferred *d, deferred_fn *run)
{
    d->run = run;
    if (!list_is_linked(&d->link)) {
        list_append(&l->deferred, &d->link);
    }
}

void loop_undefer(struct deferred *d)
{
    list_del(&d->link);
}

static void deferred_run(struct loop *l)
{
    struct list batch;
    list_init(&batch);
    for (struct list *it; (it = list_pop(&l->deferred)) != NULL;) {
        list_append(&batch, it);
    }
    for (struct list *it; (it = list_pop(&batch)) != NULL;) {
        struct deferred *d = container_of(it, struct deferred, link);
        d->run(d);
    }
}

/* ---- the loop ---- */

enum err loop_step(struct loop *l, usec_t max_wait)
{
    max_wait = max_wait < WAIT_MAX ? max_wait : WAIT_MAX; /* epoll takes an int of milliseconds */
    usec_t wait = list_is_empty(&l->deferred) ? timers_wait(l, max_wait) : 0;
    int wait_ms = (int)((wait + USEC_PER_MS - 1) / USEC_PER_MS);
    int n = epoll_wait(l->epoll_fd, l->events, EVENTS_MAX, wait_ms);
    if (n < 0 && errno != EINTR) {
        return E_SYS;
    }
    l->now = clock_monotonic();
    l->event_n = n < 0 ? 0 : n;
    for (l->event_at = 0; l->event_at < l->event_n;) {
        const struct epoll_event *event = &l->events[l->event_at++];
        struct watch *w = event->data.ptr;
        if (w != NULL) {
            w->on_event(w, event->events);
        }
    }
    timers_run(l);
    deferred_run(l);
    if (l->on_tick != NULL) {
        l->on_tick(l->on_tick_arg);
    }
    return E_OK;
}

enum err loop_run(struct loop *l)
{
    l->is_stopping = false;
    while (!l->is_stopping) {
        TRY(loop_step(l, 10 * USEC_PER_SEC));
    }
    return E_OK;
}
