/* event/loop.h: one thread's event loop: descriptors (edge-triggered epoll), timers, work put off
 * to the end of the tick. Time is read once per tick. Nothing here blocks but the wait itself. */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"

#include <stdint.h>

struct loop;

/* ---- descriptors ---- */

struct watch;
/* events: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR as epoll gave them. */
typedef void watch_fn(struct watch *w, uint32_t events);

struct watch { /* embedded in its owner; container_of() leads back */
    int fd;    /* -1 when not watched */
    watch_fn *on_event;
};

/* Registers fd once, edge-triggered, for reading, writing and hang-up: no epoll_ctl call per
 * request. Borrows fd: close it after loop_unwatch(). Errors: E_SYS. */
enum err loop_watch(struct loop *l, struct watch *w, int fd, watch_fn *on_event);
/* For listening sockets that several workers share: level-triggered, exclusive wake-up, reading
 * only. */
enum err loop_watch_listener(struct loop *l, struct watch *w, int fd, watch_fn *on_event);
/* Level-triggered with the given events (EPOLLIN | EPOLLOUT); for descriptors of libraries, pipes
 * and control sockets. Calling it again on a watched w changes the events. */
enum err loop_watch_level(struct loop *l, struct watch *w, int fd, uint32_t events,
                          watch_fn *on_event);
/* Safe at any time, also inside a callback of this tick and when not watched. No callback follows.
 */
void loop_unwatch(struct loop *l, struct watch *w);
/* The same without the system call, for a descriptor that is closed right after and that no other
 * process or dup() shares: closing takes it out of epoll. */
void loop_forget(struct loop *l, struct watch *w);

/* ---- timers ---- */

struct timer;
typedef void timer_fn(struct timer *t);

struct timer { /* zeroed memory is a disarmed timer */
    struct list link;
    usec_t deadline; /* when to fire; may be later than the slot it sits in */
    uint32_t slot;
    timer_fn *on_fire;
};

/* Fires once, delay from this tick's time, up to 8 ms late. Arming an armed timer moves it; to a
 * later time that is one store. */
void loop_arm(struct loop *l, struct timer *t, usec_t delay, timer_fn *on_fire);
void loop_disarm(struct loop *l, struct timer *t);

/* ---- end of tick ---- */

struct deferred;
typedef void deferred_fn(struct deferred *d);

struct deferred { /* zeroed memory is not queued */
    struct list link;
    deferred_fn *run;
};

/* Runs once at the end of this tick, after all events and timers: where objects are freed and work
 * that used up its budget goes on. Queueing a queued one again does nothing. What is queued while
 * these run waits for the next tick, which then follows without waiting. */
void loop_defer(struct loop *l, struct deferred *d, deferred_fn *run);
void loop_undefer(struct deferred *d);

/* ---- the loop ---- */

enum err loop_new(struct loop **ret); /* E_NOMEM, E_SYS */
void loop_free(struct loop *l);       /* l may be NULL */
/* Until loop_stop(). Errors: E_SYS (epoll itself failed). */
enum err loop_run(struct loop *l);
/* One tick: waits up to max_wait, then runs what is due. For tests and for stepping. */
enum err loop_step(struct loop *l, usec_t max_wait);
void loop_stop(struct loop *l);
/* The time of this tick: monotonic. */
usec_t loop_now(const struct loop *l);
/* Called after every tick's work, before the wait; for flushing what was gathered. NULL = none. */
typedef void loop_tick_fn(void *arg);
void loop_on_tick(struct loop *l, loop_tick_fn *fn, void *arg);
