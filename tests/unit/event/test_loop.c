/* Descriptors and the end of the tick, over socket pairs. */
#include "event/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

struct end { /* one end of a socket pair */
    struct watch watch;
    struct loop *loop;
    int event_n;
    uint32_t events;   /* all that came */
    struct end *other; /* unwatched by the callback */
    bool closes_itself;
};

static void on_event(struct watch *w, uint32_t events)
{
    struct end *e = container_of(w, struct end, watch);
    e->event_n++;
    e->events |= events;
    if (e->other != NULL) {
        loop_unwatch(e->loop, &e->other->watch);
    }
    if (e->closes_itself) {
        int fd = w->fd;
        loop_forget(e->loop, w);
        (void)close(fd);
    }
}

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

static void step(struct loop *l)
{
    assert_int_equal(loop_step(l, 0), E_OK);
}

static int loop_setup(void **state)
{
    struct loop *l;
    assert_int_equal(loop_new(&l), E_OK);
    *state = l;
    return 0;
}

static int loop_teardown(void **state)
{
    loop_free(*state);
    return 0;
}

static void edge_triggered(void **state)
{
    struct loop *l = *state;
    struct end e = {.loop = l};
    int fds[2];
    pair(fds);
    assert_int_equal(loop_watch(l, &e.watch, fds[0], on_event), E_OK);
    step(l);
    assert_int_equal(e.event_n, 1);
    assert_int_equal(e.events, EPOLLOUT);
    step(l);
    assert_int_equal(e.event_n, 1); /* nothing new */
    assert_int_equal(write(fds[1], "x", 1), 1);
    step(l);
    assert_int_equal(e.event_n, 2);
    assert_true((e.events & EPOLLIN) != 0);
    step(l);
    assert_int_equal(e.event_n, 2); /* unread, but no edge */
    assert_int_equal(write(fds[1], "y", 1), 1);
    step(l);
    assert_int_equal(e.event_n, 3);
    assert_int_equal(close(fds[1]), 0);
    step(l);
    assert_int_equal(e.event_n, 4);
    assert_true((e.events & EPOLLRDHUP) != 0);
    loop_unwatch(l, &e.watch);
    assert_int_equal(e.watch.fd, -1);
    loop_unwatch(l, &e.watch); /* safe */
    (void)close(fds[0]);
}

static void level_triggered(void **state)
{
    struct loop *l = *state;
    struct end e = {.loop = l};
    int fds[2];
    pair(fds);
    assert_int_equal(loop_watch_level(l, &e.watch, fds[0], EPOLLIN, on_event), E_OK);
    step(l);
    assert_int_equal(e.event_n, 0); /* writable, but nobody asked */
    assert_int_equal(write(fds[1], "x", 1), 1);
    step(l);
    step(l);
    assert_int_equal(e.event_n, 2);
    assert_int_equal(loop_watch_level(l, &e.watch, fds[0], EPOLLOUT, on_event), E_OK);
    e.events = 0;
    step(l);
    assert_int_equal(e.event_n, 3);
    assert_int_equal(e.events, EPOLLOUT);
    loop_unwatch(l, &e.watch);
    step(l);
    assert_int_equal(e.event_n, 3);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void listeners(void **state)
{
    struct loop *l = *state;
    struct end e = {.loop = l};
    int fds[2];
    pair(fds);
    assert_int_equal(loop_watch_listener(l, &e.watch, fds[0], on_event), E_OK);
    assert_int_equal(write(fds[1], "x", 1), 1);
    step(l);
    step(l);
    assert_int_equal(e.event_n, 2); /* level: who took too little is told again */
    loop_unwatch(l, &e.watch);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* Both ends have an event in one tick, and whichever comes first takes the other out: no callback
 * follows on what was unwatched, even though its event was already fetched. */
static void unwatched_during_the_tick(void **state)
{
    struct loop *l = *state;
    struct end a = {.loop = l}, b = {.loop = l, .other = &a};
    int fds[2];
    a.other = &b;
    pair(fds);
    assert_int_equal(loop_watch(l, &a.watch, fds[0], on_event), E_OK);
    assert_int_equal(loop_watch(l, &b.watch, fds[1], on_event), E_OK);
    step(l);
    assert_int_equal(a.event_n + b.event_n, 1);
    assert_int_equal(a.watch.fd == -1, a.event_n == 0);
    loop_unwatch(l, &a.watch);
    loop_unwatch(l, &b.watch);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void closed_in_its_own_callback(void **state)
{
    struct loop *l = *state;
    struct end e = {.loop = l, .closes_itself = true};
    int fds[2];
    pair(fds);
    assert_int_equal(loop_watch(l, &e.watch, fds[0], on_event), E_OK);
    step(l);
    assert_int_equal(e.event_n, 1);
    assert_int_equal(e.watch.fd, -1);
    assert_int_equal(send(fds[1], "x", 1, MSG_NOSIGNAL), -1);
    step(l);
    assert_int_equal(e.event_n, 1); /* closing took it out of epoll */
    (void)close(fds[1]);
}

/* More ready descriptors than one epoll_wait() gives: all get their event, in some ticks. */
static void many_descriptors(void **state)
{
    struct loop *l = *state;
    enum { PAIRS = 200 };
    static struct end ends[2 * PAIRS];
    int fds[2 * PAIRS];
    for (size_t i = 0; i < PAIRS; i++) {
        pair(fds + 2 * i);
    }
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        ends[i] = (struct end){.loop = l};
        assert_int_equal(loop_watch(l, &ends[i].watch, fds[i], on_event), E_OK);
    }
    step(l);
    step(l);
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        assert_int_equal(ends[i].event_n, 1);
        loop_unwatch(l, &ends[i].watch);
        (void)close(fds[i]);
    }
}

static void bad_descriptors(void **state)
{
    struct loop *l = *state;
    struct end e = {.loop = l};
    assert_int_equal(loop_watch(l, &e.watch, -1, on_event), E_SYS);
    assert_null(e.watch.on_event); /* untouched */
    loop_unwatch(l, &e.watch);
}

/* ---- end of tick ---- */

struct job {
    struct deferred deferred;
    struct loop *loop;
    int run_n;
    struct job *takes_out, *queues;
};

static void on_run(struct deferred *d)
{
    struct job *j = container_of(d, struct job, deferred);
    assert_false(list_is_linked(&d->link)); /* it may be freed */
    j->run_n++;
    if (j->takes_out != NULL) {
        loop_undefer(&j->takes_out->deferred);
    }
    if (j->queues != NULL) {
        loop_defer(j->loop, &j->queues->deferred, on_run);
    }
}

static void deferred_runs_once(void **state)
{
    struct loop *l = *state;
    struct job a = {.loop = l}, b = {.loop = l};
    loop_undefer(&a.deferred); /* safe */
    loop_defer(l, &a.deferred, on_run);
    loop_defer(l, &a.deferred, on_run);
    loop_defer(l, &b.deferred, on_run);
    loop_undefer(&b.deferred);
    assert_int_equal(a.run_n, 0);
    step(l);
    step(l);
    assert_int_equal(a.run_n, 1);
    assert_int_equal(b.run_n, 0);
}

static void queued_while_running_waits_for_the_next_tick(void **state)
{
    struct loop *l = *state;
    struct job a = {.loop = l}, b = {.loop = l};
    a.queues = &a;
    loop_defer(l, &a.deferred, on_run);
    usec_t before = clock_monotonic();
    for (int i = 1; i <= 10; i++) { /* with something queued the wait is none at all */
        assert_int_equal(loop_step(l, 60 * USEC_PER_SEC), E_OK);
        assert_int_equal(a.run_n, i);
    }
    assert_true(clock_monotonic() - before < 30 * USEC_PER_SEC);
    a.queues = &b;
    step(l);
    assert_int_equal(a.run_n, 11);
    assert_int_equal(b.run_n, 0);
    step(l);
    assert_int_equal(b.run_n, 1);
}

static void taken_out_by_another(void **state)
{
    struct loop *l = *state;
    struct job a = {.loop = l}, b = {.loop = l};
    a.takes_out = &b;
    loop_defer(l, &a.deferred, on_run);
    loop_defer(l, &b.deferred, on_run);
    step(l);
    step(l);
    assert_int_equal(a.run_n, 1);
    assert_int_equal(b.run_n, 0);
}

/* ---- order within a tick ---- */

struct trace {
    char text[16];
    struct loop *loop;
    struct watch watch;
    struct timer timer;
    struct deferred deferred;
};

static void add(struct trace *t, char c)
{
    size_t n = strlen(t->text);
    assert_true(n + 1 < sizeof(t->text));
    t->text[n] = c;
}

static void trace_event(struct watch *w, uint32_t events)
{
    (void)events;
    add(container_of(w, struct trace, watch), 'e');
}

static void trace_timer(struct timer *t)
{
    add(container_of(t, struct trace, timer), 't');
}

static void trace_deferred(struct deferred *d)
{
    add(container_of(d, struct trace, deferred), 'd');
}

static void trace_tick(void *arg)
{
    struct trace *t = arg;
    add(t, '.');
    if (strlen(t->text) > 8) {
        loop_stop(t->loop);
    }
    loop_defer(t->loop, &t->deferred, trace_deferred); /* keeps the loop from waiting */
}

static void events_timers_deferred_tick(void **state)
{
    struct loop *l = *state;
    struct trace t = {.loop = l};
    int fds[2];
    pair(fds);
    loop_on_tick(l, trace_tick, &t);
    loop_defer(l, &t.deferred, trace_deferred);
    loop_arm(l, &t.timer, 0, trace_timer);
    usec_t due = loop_now(l) + 2 * 8192;
    while (clock_monotonic() < due) { /* past the timer's slot */
    }
    assert_int_equal(loop_watch(l, &t.watch, fds[0], trace_event), E_OK);
    assert_int_equal(loop_run(l), E_OK);
    assert_string_equal(t.text, "etd.d.d.d.");
    loop_unwatch(l, &t.watch);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void making_one(void **state)
{
    (void)state;
    struct loop *l = NULL;
    loop_free(NULL);
    mem_fail_from(1);
    assert_int_equal(loop_new(&l), E_NOMEM);
    mem_fail_from(0);
    assert_null(l);
}

int main(void)
{
#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, loop_setup, loop_teardown)
    const struct CMUnitTest tests[] = {
        LOOP_TEST(edge_triggered),
        LOOP_TEST(level_triggered),
        LOOP_TEST(listeners),
        LOOP_TEST(unwatched_during_the_tick),
        LOOP_TEST(closed_in_its_own_callback),
        LOOP_TEST(many_descriptors),
        LOOP_TEST(bad_descriptors),
        LOOP_TEST(deferred_runs_once),
        LOOP_TEST(queued_while_running_waits_for_the_next_tick),
        LOOP_TEST(taken_out_by_another),
        LOOP_TEST(events_timers_deferred_tick),
        cmocka_unit_test(making_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
