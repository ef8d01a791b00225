/* The log of live segments: what follows and what does not. */
#include "supervisor/supervisor_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"

static enum err add(struct segment_log *log, uint32_t keep_n, uint64_t base, uint64_t generation)
{
    const struct control_message m = {CONTROL_SEGMENT, keep_n, generation, base};
    size_t kept = 99;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    enum err e = segment_log_add(log, &m, fd, &kept);
    assert_int_equal(kept, e == E_OK ? keep_n : 99);
    /* held when taken, closed when refused */
    assert_int_equal(fcntl(fd, F_GETFD) >= 0, e == E_OK);
    return e;
}

static int lowest_free(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

static void test_log_follows_keep_n(void **state)
{
    struct segment_log log = {0};
    int free_before = lowest_free();
    (void)state;
    assert_int_equal(add(&log, 0, 0, 5), E_OK);
    assert_int_equal(add(&log, 1, 5, 6), E_OK);
    assert_int_equal(add(&log, 2, 6, 7), E_OK);
    assert_int_equal(log.n, 3);
    assert_int_equal(add(&log, 1, 5, 8), E_OK); /* merged the two newest */
    assert_int_equal(log.n, 2);
    assert_int_equal(log.items[1].message.generation, 8);
    assert_int_equal(add(&log, 0, 0, 9), E_OK); /* everything, as a new controller would */
    assert_int_equal(log.n, 1);
    segment_log_fini(&log);
    assert_int_equal(log.n, 0);
    assert_int_equal(lowest_free(), free_before);
}

static void test_what_does_not_follow_is_refused(void **state)
{
    struct segment_log log = {0};
    (void)state;
    assert_int_equal(add(&log, 1, 0, 5), E_PROTO); /* keeps what is not there */
    assert_int_equal(add(&log, 0, 1, 5), E_PROTO); /* starts in mid-history */
    assert_int_equal(add(&log, 0, 0, 5), E_OK);
    assert_int_equal(add(&log, 2, 5, 6), E_PROTO);
    assert_int_equal(add(&log, 1, 4, 6), E_PROTO); /* wrong base */
    assert_int_equal(add(&log, 1, 5, 5), E_PROTO); /* not newer */
    assert_int_equal(add(&log, 0, 0, 4), E_PROTO); /* older, even as a new history */
    assert_int_equal(log.n, 1);
    assert_int_equal(add(&log, 1, 5, 6), E_OK);
    segment_log_fini(&log);
}

static void test_maximum(void **state)
{
    struct segment_log log = {0};
    (void)state;
    for (uint32_t i = 0; i < SEGMENTS_LIVE_MAX; i++) {
        assert_int_equal(add(&log, i, i, i + 1), E_OK);
    }
    assert_int_equal(add(&log, SEGMENTS_LIVE_MAX, SEGMENTS_LIVE_MAX, SEGMENTS_LIVE_MAX + 1),
                     E_LIMIT);
    assert_int_equal(log.n, SEGMENTS_LIVE_MAX);
    segment_log_fini(&log);
}

static void test_failing_allocation(void **state)
{
    struct segment_log log = {0};
    (void)state;
    mem_fail_from(1);
    enum err e = add(&log, 0, 0, 1);
    mem_fail_from(0);
    assert_int_equal(e, E_NOMEM);
    assert_int_equal(add(&log, 0, 0, 1), E_OK);
    segment_log_fini(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_follows_keep_n),
        cmocka_unit_test(test_what_does_not_follow_is_refused),
        cmocka_unit_test(test_maximum),
        cmocka_unit_test(test_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
