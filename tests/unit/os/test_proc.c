/* /proc figures against what getrusage() says of ourselves. */
#include "os/proc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIECE = 32 << 20 };

static void test_memory_grows_with_use(void **state)
{
    struct proc_usage before, after;
    (void)state;
    assert_int_equal(proc_usage_read(getpid(), &before), E_OK);
    assert_true(before.resident_bytes >= before.shared_bytes);
    char *p = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    memset(p, 1, PIECE);
    assert_int_equal(proc_usage_read(getpid(), &after), E_OK);
    assert_true(after.resident_bytes >= before.resident_bytes + PIECE / 10 * 9);
    assert_true(after.resident_bytes < before.resident_bytes + PIECE * 2);
    munmap(p, PIECE);
}

static void test_cpu_is_that_of_the_clock(void **state)
{
    struct proc_usage usage;
    (void)state;
    while (clock_cpu() < 200 * USEC_PER_MS) {
    }
    assert_int_equal(proc_usage_read(getpid(), &usage), E_OK);
    usec_t own = clock_cpu();
    assert_true(usage.cpu + 50 * USEC_PER_MS > own && usage.cpu < own + 50 * USEC_PER_MS);
}

static void test_names_with_parentheses_and_blanks(void **state)
{
    struct proc_usage plain, odd;
    (void)state;
    assert_int_equal(proc_usage_read(getpid(), &plain), E_OK);
    assert_int_equal(prctl(PR_SET_NAME, "a) 1 2 (b"), 0);
    assert_int_equal(proc_usage_read(getpid(), &odd), E_OK);
    assert_true(odd.cpu >= plain.cpu && odd.cpu < plain.cpu + USEC_PER_SEC);
}

static void test_gone_process(void **state)
{
    struct proc_usage usage = {.cpu = 7};
    pid_t pid = fork();
    (void)state;
    if (pid == 0) {
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    assert_int_equal(proc_usage_read(pid, &usage), E_NOTFOUND);
    assert_int_equal(usage.cpu, 7);
}

static void test_locked_memory_goes_as_far_as_it_may(void **state)
{
    struct rlimit after;
    (void)state;
    bool is_enough = proc_locked_raise();
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &after), 0);
    assert_true(is_enough == (after.rlim_cur >= PROC_LOCKED_BYTES));
    assert_true(is_enough || after.rlim_cur == after.rlim_max);
}

static void test_cpu_number_follows_affinity(void **state)
{
    cpu_set_t old, one;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(old), &old), 0);
    assert_true(proc_cpu_n() >= 1 && proc_cpu_n() <= (uint32_t)CPU_COUNT(&old));
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_int_equal(proc_cpu_n(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof(old), &old), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_grows_with_use),
        cmocka_unit_test(test_cpu_is_that_of_the_clock),
        cmocka_unit_test(test_names_with_parentheses_and_blanks),
        cmocka_unit_test(test_gone_process),
        cmocka_unit_test(test_locked_memory_goes_as_far_as_it_may),
        cmocka_unit_test(test_cpu_number_follows_affinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
