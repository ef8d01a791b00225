/* fork() and exec. Between the two only system calls: a pipe that exec closes carries errno back
 * when exec, or something before it, fails. */
#include "os/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

static void signals_reset(void)
{
    sigset_t none;
    for (int s = 1; s < NSIG; s++) {
        (void)signal(s, SIG_DFL); /* fails for SIGKILL, SIGSTOP and libc's own: as it should */
    }
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL); /* a valid set cannot fail */
}

static enum err descriptors_keep(const struct spawn_options *o)
{
    if (close_range(STDERR_FILENO + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0) {
        /* before Linux 5.11: whatever we opened is close-on-exec by itself */
    }
    for (size_t i = 0; i < o->keep_n; i++) {
        if (fcntl(o->keep[i], F_SETFD, 0) < 0) {
            return E_SYS;
        }
    }
    return E_OK;
}

static _Noreturn void child_run(const struct spawn_options *o, int report_fd)
{
    signals_reset();
    if (descriptors_keep(o) == E_OK) {
        /* exec takes char *const[] for history's sake and does not write to it */
        union {
            const char *const *in;
            char *const *out;
        } argv = {o->argv};
        (void)execv(o->path, argv.out); /* returns only when it failed; errno is sent below */
    }
    int saved = errno;
    ssize_t n = write(report_fd, &saved, sizeof(saved));
    (void)n; /* nobody left to tell */
    _exit(127);
}

/* The errno of a failed exec; 0 once the new program runs. */
static int exec_wait(int fd)
{
    int failure = 0;
    ssize_t n;
    do {
        n = read(fd, &failure, sizeof(failure));
    } while (n < 0 && errno == EINTR);
    return n == sizeof(failure) ? failure : 0;
}

static enum err child_await(pid_t pid, int report_fd)
{
    int failure = exec_wait(report_fd);
    if (failure == 0) {
        return E_OK;
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    errno = failure;
    return E_SYS;
}

enum err spawn(const struct spawn_options *o, pid_t *ret_pid)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0) {
        return E_SYS;
    }
    pid_t pid = fork();
    if (pid == 0) {
        child_run(o, report[1]);
    }
    (void)close(report[1]);
    enum err e = pid < 0 ? E_SYS : child_await(pid, report[0]);
    int saved = errno;
    (void)close(report[0]);
    if (e == E_OK) {
        *ret_pid = pid;
    }
    errno = saved;
    return e;
}
