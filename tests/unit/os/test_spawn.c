/* Spawning: the new program has the descriptors it was meant to have, and the signals. This test is
 * its own double: started with arguments it reports what it finds. */
#include "os/spawn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int exit_of(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* ---- what the double does ---- */

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* argv[2] must be open, argv[3] must not. */
static int double_descriptors(char **argv)
{
    return is_open((int)strtol(argv[2], NULL, 10)) && !is_open((int)strtol(argv[3], NULL, 10)) ? 42
                                                                                               : 1;
}

static int double_signals(void)
{
    sigset_t mask;
    struct sigaction is_int, is_term, is_hup, is_usr1, is_pipe;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    sigaction(SIGINT, NULL, &is_int);
    sigaction(SIGTERM, NULL, &is_term);
    sigaction(SIGHUP, NULL, &is_hup);
    sigaction(SIGUSR1, NULL, &is_usr1);
    sigaction(SIGPIPE, NULL, &is_pipe);
    for (int s = 1; s < 32; s++) {
        if (sigismember(&mask, s) == 1) {
            return 1;
        }
    }
    bool is_right = is_int.sa_handler == SIG_IGN && is_term.sa_handler == SIG_IGN &&
                    is_hup.sa_handler == SIG_IGN && is_usr1.sa_handler == SIG_DFL &&
                    is_pipe.sa_handler == SIG_DFL;
    return is_right ? 43 : 2;
}

/* ---- tests ---- */

static enum err start(const char *path, const char *const *argv, const int *keep, size_t keep_n,
                      pid_t *ret)
{
    const struct spawn_options o = {path, argv, keep, keep_n};
    return spawn(&o, ret);
}

static void number_write(char *text, size_t cap, int n)
{
    snprintf(text, cap, "%d", n);
}

static void test_only_kept_descriptors_survive(void **state)
{
    char kept[16], other[16];
    int kept_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int other_fd = open("/dev/null", O_RDONLY); /* not close-on-exec, and yet it must not leak */
    pid_t pid;
    (void)state;
    number_write(kept, sizeof(kept), kept_fd);
    number_write(other, sizeof(other), other_fd);
    const char *argv[] = {"double", "descriptors", kept, other, NULL};
    assert_int_equal(start("/proc/self/exe", argv, &kept_fd, 1, &pid), E_OK);
    assert_int_equal(exit_of(pid), 42);
    assert_true((fcntl(kept_fd, F_GETFD) & FD_CLOEXEC) != 0); /* ours is as it was */
    close(kept_fd);
    close(other_fd);
}

static void test_signals_start_afresh(void **state)
{
    const char *argv[] = {"double", "signals", NULL};
    sigset_t set, old;
    pid_t pid;
    (void)state;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &old);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(start("/proc/self/exe", argv, NULL, 0, &pid), E_OK);
    assert_int_equal(exit_of(pid), 43);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

static void test_failed_exec_says_why_and_leaves_no_child(void **state)
{
    const char *argv[] = {"double", NULL};
    int bad = 1000;
    pid_t pid = -7;
    (void)state;
    assert_int_equal(start("/nonexistent/program", argv, NULL, 0, &pid), E_SYS);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(start("/dev/null", argv, NULL, 0, &pid), E_SYS);
    assert_int_equal(errno, EACCES);
    assert_int_equal(start("/proc/self/exe", argv, &bad, 1, &pid), E_SYS);
    assert_int_equal(errno, EBADF);
    assert_int_equal(pid, -7);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[0], "double") == 0) {
        return strcmp(argv[1], "signals") == 0 ? double_signals() : double_descriptors(argv);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_kept_descriptors_survive),
        cmocka_unit_test(test_signals_start_afresh),
        cmocka_unit_test(test_failed_exec_says_why_and_leaves_no_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
