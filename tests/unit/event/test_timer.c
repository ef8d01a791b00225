/* Timers under a fake clock: this file stands in for clock_monotonic() and epoll_wait(), so that
 * waiting takes no time and every moment is exact. */
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

enum { SLOT_US = 8192, HORIZON_SLOTS = 1024, LATE_MAX_US = SLOT_US + 1000, TIMERS = 400 };

static usec_t fake_now;
static int last_wait_ms;

usec_t clock_monotonic(void)
{
    return fake_now;
}

/* Nothing ready: the time to wait passes at once. */
int epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
    long n = syscall(SYS_epoll_pwait, fd, events, max, 0, NULL, 8);
    last_wait_ms = timeout_ms;
    if (n == 0) {
        fake_now += (usec_t)timeout_ms * USEC_PER_MS;
    }
    return (int)n;
}

struct probe {
    struct timer timer;
    struct loop *loop;
    usec_t fired_at; /* 0: not yet */
    int fired_n;
    struct probe *other; /* for callbacks that touch another timer */
    usec_t again;        /* re-arm from the callback after this; 0: no */
};

static void on_fire(struct timer *t)
{
    struct probe *p = container_of(t, struct probe, timer);
    assert_false(list_is_linked(&t->link)); /* it may be armed again, or freed */
    assert_true(loop_now(p->loop) >= t->deadline);
    p->fired_at = loop_now(p->loop);
    p->fired_n++;
    if (p->other != NULL) {
        loop_disarm(p->loop, &p->other->timer);
    }
    if (p->again != 0) {
        loop_arm(p->loop, t, p->again, on_fire);
    }
}

static struct loop *loop_start(usec_t now)
{
    struct loop *l;
    fake_now = now;
    assert_int_equal(loop_new(&l), E_OK);
    return l;
}

/* Ticks until the clock reaches end. */
static void run_until(struct loop *l, usec_t end)
{
    while (fake_now < end) {
        usec_t left = end - fake_now;
        assert_int_equal(loop_step(l, left), E_OK);
    }
}

static void check_fired(const struct probe *p, usec_t due)
{
    assert_int_equal(p->fired_n, 1);
    assert_true(p->fired_at >= due);
    assert_true(p->fired_at <= due + LATE_MAX_US);
}

static void fires_once_not_early_not_late(void **state)
{
    (void)state;
    static const usec_t delays[] = {
        0, 1, 8191, 8192, 8193, 100000, 8000000, 8388608, 10 * USEC_PER_SEC};
    static const usec_t starts[] = {0, 1, 8191, 8192, 123456789, (usec_t)1 << 45};
    for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
        for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
            struct loop *l = loop_start(starts[s]);
            struct probe p = {.loop = l};
            loop_arm(l, &p.timer, delays[i], on_fire);
            run_until(l, starts[s] + delays[i] + 10 * LATE_MAX_US);
            check_fired(&p, starts[s] + delays[i]);
            loop_free(l);
        }
    }
}

/* The wheel is 1024 slots of 8 ms: delays around it and far past it. */
static void past_the_horizon(void **state)
{
    (void)state;
    usec_t horizon = (usec_t)HORIZON_SLOTS * SLOT_US;
    usec_t delays[] = {horizon - SLOT_US, horizon - 1,     horizon,           horizon + 1,
                       horizon + SLOT_US, 3 * horizon + 5, 240 * USEC_PER_SEC};
    for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
        struct loop *l = loop_start(777);
        struct probe p = {.loop = l};
        loop_arm(l, &p.timer, delays[i], on_fire);
        run_until(l, 777 + delays[i] + 10 * LATE_MAX_US);
        check_fired(&p, 777 + delays[i]);
        loop_free(l);
    }
}

static void fires_in_the_order_of_slots(void **state)
{
    (void)state;
    struct loop *l = loop_start(5);
    struct probe probes[TIMERS];
    for (size_t i = 0; i < TIMERS; i++) {
        probes[i] = (struct probe){.loop = l};
        loop_arm(l, &probes[i].timer, (i * 7919 % TIMERS) * 50000, on_fire);
    }
    run_until(l, TIMERS * 50000 + LATE_MAX_US * 2);
    for (size_t i = 0; i < TIMERS; i++) {
        check_fired(&probes[i], 5 + (i * 7919 % TIMERS) * 50000);
    }
    loop_free(l);
}

static void armed_again_later(void **state)
{
    (void)state;
    struct loop *l = loop_start(1000000);
    struct probe p = {.loop = l};
    loop_arm(l, &p.timer, 20000, on_fire);
    for (int i = 0; i < 100; i++) { /* a busy connection pushes its timeout back */
        run_until(l, fake_now + 10000);
        loop_arm(l, &p.timer, 20000, on_fire);
    }
    assert_int_equal(p.fired_n, 0);
    usec_t due = fake_now + 20000;
    run_until(l, due + 10 * LATE_MAX_US);
    check_fired(&p, due);
    loop_free(l);
}

static void armed_again_earlier(void **state)
{
    (void)state;
    struct loop *l = loop_start(1000000);
    struct probe p = {.loop = l};
    loop_arm(l, &p.timer, 60 * USEC_PER_SEC, on_fire);
    run_until(l, fake_now + 20000);
    loop_arm(l, &p.timer, 30000, on_fire);
    usec_t due = fake_now + 30000;
    run_until(l, due + 10 * LATE_MAX_US);
    check_fired(&p, due);
    run_until(l, fake_now + 70 * USEC_PER_SEC); /* the first arming is forgotten */
    assert_int_equal(p.fired_n, 1);
    loop_free(l);
}

static void later_and_then_earlier(void **state)
{
    (void)state;
    struct loop *l = loop_start(1000000);
    struct probe p = {.loop = l};
    loop_arm(l, &p.timer, 20000, on_fire);
    loop_arm(l, &p.timer, 20 * USEC_PER_SEC, on_fire);
    loop_arm(l, &p.timer, 50000, on_fire);
    run_until(l, 1000000 + 50000 + 10 * LATE_MAX_US);
    check_fired(&p, 1050000);
    loop_free(l);
}

static void disarmed(void **state)
{
    (void)state;
    struct loop *l = loop_start(0);
    struct probe p = {.loop = l};
    loop_disarm(l, &p.timer); /* never armed: nothing happens */
    loop_arm(l, &p.timer, 20000, on_fire);
    loop_disarm(l, &p.timer);
    run_until(l, USEC_PER_SEC);
    assert_int_equal(p.fired_n, 0);
    loop_arm(l, &p.timer, 20000, on_fire);
    usec_t due = fake_now + 20000;
    run_until(l, due + 10 * LATE_MAX_US);
    check_fired(&p, due);
    loop_free(l);
}

/* Two timers of one slot, each takes the other out: exactly one fires. */
static void disarmed_by_a_callback_of_the_same_slot(void **state)
{
    (void)state;
    struct loop *l = loop_start(0);
    struct probe a = {.loop = l}, b = {.loop = l, .other = &a};
    a.other = &b;
    loop_arm(l, &a.timer, 1000, on_fire);
    loop_arm(l, &b.timer, 1000, on_fire);
    run_until(l, USEC_PER_SEC);
    assert_int_equal(a.fired_n + b.fired_n, 1);
    loop_free(l);
}

static void armed_again_by_its_callback(void **state)
{
    (void)state;
    struct loop *l = loop_start(0);
    struct probe p = {.loop = l, .again = 100000};
    loop_arm(l, &p.timer, 100000, on_fire);
    run_until(l, 10 * USEC_PER_SEC);
    assert_in_range(p.fired_n, 90, 100); /* each period is up to a slot longer */
    loop_free(l);
}

/* The process was stopped for longer than the wheel turns: what is due fires, the rest stays. */
static void after_a_long_sleep(void **state)
{
    (void)state;
    static const usec_t jumps[] = {8000000, 8388608, 8388608 + 8192, 100000000};
    for (size_t k = 0; k < sizeof(jumps) / sizeof(jumps[0]); k++) {
        struct loop *l = loop_start(99);
        struct probe probes[TIMERS];
        for (size_t i = 0; i < TIMERS; i++) {
            probes[i] = (struct probe){.loop = l};
            loop_arm(l, &probes[i].timer, i * USEC_PER_SEC / 2, on_fire);
        }
        fake_now += jumps[k];
        assert_int_equal(loop_step(l, 0), E_OK);
        for (size_t i = 0; i < TIMERS; i++) {
            usec_t due = 99 + i * USEC_PER_SEC / 2;
            assert_true(probes[i].fired_n == 0 || due <= fake_now);
            assert_true(probes[i].fired_n == 1 || due + LATE_MAX_US > fake_now);
        }
        run_until(l, 99 + TIMERS * USEC_PER_SEC / 2 + LATE_MAX_US);
        for (size_t i = 0; i < TIMERS; i++) {
            assert_int_equal(probes[i].fired_n, 1);
        }
        loop_free(l);
    }
}

static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Random arming and disarming against the plainest model: one due time per timer. */
static void random_operations(void **state)
{
    (void)state;
    struct loop *l = loop_start(424242);
    static struct probe probes[TIMERS];
    usec_t due[TIMERS] = {0}; /* 0: disarmed */
    uint64_t seed = 0x2545f4914f6cdd1dU;
    for (size_t i = 0; i < TIMERS; i++) {
        probes[i] = (struct probe){.loop = l};
    }
    for (int round = 0; round < 20000; round++) {
        size_t i = random_next(&seed) % TIMERS;
        if (random_next(&seed) % 4 == 0) {
            loop_disarm(l, &probes[i].timer);
            due[i] = 0;
        } else {
            usec_t delay = random_next(&seed) % (random_next(&seed) % 4 == 0 ? 20000000 : 200000);
            loop_arm(l, &probes[i].timer, delay, on_fire);
            due[i] = loop_now(l) + delay;
        }
        assert_int_equal(loop_step(l, random_next(&seed) % 30000), E_OK);
        for (size_t k = 0; k < TIMERS; k++) {
            if (probes[k].fired_n > 0) {
                assert_true(due[k] != 0 && due[k] <= fake_now);
                probes[k].fired_n = 0;
                due[k] = 0;
            }
            assert_true(due[k] == 0 || due[k] + LATE_MAX_US >= fake_now);
        }
    }
    loop_free(l);
}

/* Waiting is never cut short for nothing: no timer, the whole wait; a far one, few wake-ups. */
static void waits_as_long_as_possible(void **state)
{
    (void)state;
    struct loop *l = loop_start(0);
    assert_int_equal(loop_step(l, 5 * USEC_PER_SEC), E_OK);
    assert_int_equal(last_wait_ms, 5000);
    assert_int_equal(loop_step(l, 1), E_OK);
    assert_int_equal(last_wait_ms, 1);
    assert_int_equal(loop_step(l, 0), E_OK);
    assert_int_equal(last_wait_ms, 0);
    assert_int_equal(loop_step(l, UINT64_MAX), E_OK); /* clamped, not cut off by a conversion */
    assert_int_equal(last_wait_ms, 3600 * 1000);
    struct probe p = {.loop = l};
    loop_arm(l, &p.timer, 100 * USEC_PER_SEC, on_fire);
    int steps = 0;
    for (; p.fired_n == 0; steps++) {
        assert_int_equal(loop_step(l, 1000 * USEC_PER_SEC), E_OK);
    }
    assert_in_range(steps, 1, 14);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_once_not_early_not_late),
        cmocka_unit_test(past_the_horizon),
        cmocka_unit_test(fires_in_the_order_of_slots),
        cmocka_unit_test(armed_again_later),
        cmocka_unit_test(armed_again_earlier),
        cmocka_unit_test(later_and_then_earlier),
        cmocka_unit_test(disarmed),
        cmocka_unit_test(disarmed_by_a_callback_of_the_same_slot),
        cmocka_unit_test(armed_again_by_its_callback),
        cmocka_unit_test(after_a_long_sleep),
        cmocka_unit_test(random_operations),
        cmocka_unit_test(waits_as_long_as_possible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
