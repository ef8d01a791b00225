/* The sandbox, for real: a forked child enters it and tries. */
#include "os/sandbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_SANITIZER 1
#else
#define HAS_SANITIZER 0
#endif

enum { UID = 65534, OTHER_UID = 12345, STATUS_BYTES = 8192 };

typedef bool attempt_fn(void);

static void on_missing(void *arg, const char *what, int error)
{
    (void)arg;
    fprintf(stderr, "not on this kernel: %s: %s\n", what, strerror(error));
}

/* The wait status of a child that becomes uid (0 = stays), enters and runs attempt: exit code 0 is
 * true, 1 false. */
static int status_of(uid_t uid, attempt_fn *attempt)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        const struct sandbox_options o = {.uid = UID, .gid = UID};
        if (uid != 0 && (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)) {
            _exit(9);
        }
        if (sandbox_enter(&o, on_missing, NULL) != E_OK) {
            _exit(8);
        }
        _exit(attempt() ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void holds(attempt_fn *attempt)
{
    int status = status_of(0, attempt);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void is_fatal(attempt_fn *attempt)
{
    int status = status_of(0, attempt);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

/* ---- refused ---- */

static bool files_are_refused(void)
{
    struct stat st;
    bool is_shut = open("/etc/passwd", O_RDONLY) < 0 && open("/", O_RDONLY | O_DIRECTORY) < 0 &&
                   open("/tmp/lintel-sandbox-test", O_CREAT | O_WRONLY, 0600) < 0;
    bool is_stat_shut = HAS_SANITIZER || stat("/etc/passwd", &st) < 0;
    return is_shut && is_stat_shut && unlink("/etc/passwd") < 0 && mkdir("/tmp/lintel-x", 0700) < 0;
}

static bool sockets_are_refused(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) < 0 && socket(AF_UNIX, SOCK_DGRAM, 0) < 0 &&
           socket(AF_NETLINK, SOCK_RAW, 0) < 0 && socket(AF_PACKET, SOCK_RAW, 0) < 0 &&
           socket(AF_INET, SOCK_DGRAM, 0) < 0 && socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0 &&
           socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP) < 0;
}

static bool code_pages_are_refused(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
               MAP_FAILED &&
           p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) < 0;
}

static bool processes_are_refused(void)
{
    bool is_fork_shut = HAS_SANITIZER || fork() < 0;
    return is_fork_shut && kill(getppid(), 0) < 0 && setresuid(0, 0, 0) < 0;
}

static bool listening_is_refused(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return bind(fd, (const struct sockaddr *)(const void *)&at, sizeof(at)) < 0 &&
           listen(fd, 1) < 0;
}

static bool odd_arguments_are_refused(void)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) < 0 &&
           setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 &&
           fcntl(fd, F_SETLEASE, F_RDLCK) < 0 && syscall(SYS_memfd_create, "x", 0) < 0;
}

static bool unknown_calls_say_so(void)
{
    return syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno == ENOSYS && syscall(5000) < 0 &&
           errno == ENOSYS;
}

static void test_refused(void **state)
{
    (void)state;
    holds(files_are_refused);
    holds(sockets_are_refused);
    holds(code_pages_are_refused);
    holds(processes_are_refused);
    holds(listening_is_refused);
    holds(odd_arguments_are_refused);
    holds(unknown_calls_say_so);
}

/* ---- fatal ---- */

static bool execute(void)
{
    char name[] = "/bin/true";
    char *argv[] = {name, NULL};
    return execv(name, argv) < 0;
}

static bool trace(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0;
}

static bool unshare_users(void)
{
    return syscall(SYS_unshare, 0x10000000) < 0;
}

static void test_fatal(void **state)
{
    (void)state;
    is_fatal(execute);
    is_fatal(unshare_users);
    if (!HAS_SANITIZER) {
        is_fatal(trace);
    }
}

/* ---- allowed: what a worker does ---- */

static int listener(uint16_t *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (const struct sockaddr *)(const void *)&at, n), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)&at, &n), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

/* Made before the sandbox is entered, used inside: as a worker's inherited socket. */
static int inherited_fd;
static uint16_t inherited_port;

static bool serve_works(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(inherited_port)};
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int v6 = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    int on = 1, error = -1;
    socklen_t n = sizeof(error);
    char text[5] = {0};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool is_connected =
        connect(client, (const struct sockaddr *)(const void *)&at, sizeof(at)) == 0 ||
        errno == EINPROGRESS;
    bool is_waited = epoll_ctl(epoll, EPOLL_CTL_ADD, inherited_fd, &event) == 0 &&
                     epoll_wait(epoll, &event, 1, 1000) == 1;
    int server = accept4(inherited_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct iovec parts[2] = {
        {text,                       0},
        {(void *)(uintptr_t) "pong", 4}
    };
    return is_connected && is_waited && server >= 0 && v6 >= 0 &&
           setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
           getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && error == 0 &&
           send(client, "ping", 4, MSG_NOSIGNAL) == 4 && recv(server, text, 4, 0) == 4 &&
           writev(server, parts, 2) == 4 && recv(client, text, 4, 0) == 4 &&
           memcmp(text, "pong", 4) == 0 && shutdown(server, SHUT_WR) == 0 && close(server) == 0 &&
           close(client) == 0;
}

static bool memory_and_time_work(void)
{
    struct timespec now;
    struct stat st;
    char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p != MAP_FAILED && munmap(p, 1 << 20) == 0 && clock_gettime(CLOCK_REALTIME, &now) == 0 &&
           fstat(inherited_fd, &st) == 0 && fcntl(inherited_fd, F_GETFL) >= 0;
}

static bool abort_works(void)
{
    signal(SIGABRT, SIG_DFL);
    abort();
}

static void test_allowed(void **state)
{
    (void)state;
    inherited_fd = listener(&inherited_port);
    holds(serve_works);
    holds(memory_and_time_work);
    close(inherited_fd);
    int status = status_of(0, abort_works);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* ---- what the kernel says of the process ---- */

static int status_fd; /* of the child's own /proc/self/status, opened before */

static bool status_has(const char *text, const char *line)
{
    const char *at = strstr(text, line);
    return at != NULL && at[strlen(line)] == '\n';
}

static bool status_is_locked(const char *const *lines)
{
    char text[STATUS_BYTES];
    ssize_t n = pread(status_fd, text, sizeof(text) - 1, 0);
    text[n < 0 ? 0 : n] = '\0';
    for (; *lines != NULL; lines++) {
        if (!status_has(text, *lines)) {
            fprintf(stderr, "not in /proc/self/status: %s\n", *lines);
            return false;
        }
    }
    return true;
}

static bool root_is_locked(void)
{
    static const char *const lines[] = {"NoNewPrivs:\t1",
                                        "Seccomp:\t2",
                                        "CapInh:\t0000000000000000",
                                        "CapPrm:\t0000000000000000",
                                        "CapEff:\t0000000000000000",
                                        "CapBnd:\t0000000000000000",
                                        "CapAmb:\t0000000000000000",
                                        "Uid:\t65534\t65534\t65534\t65534",
                                        "Gid:\t65534\t65534\t65534\t65534",
                                        "Groups:\t ",
                                        NULL};
    return status_is_locked(lines);
}

static bool other_is_locked(void)
{
    static const char *const lines[] = {"NoNewPrivs:\t1",
                                        "Seccomp:\t2",
                                        "CapPrm:\t0000000000000000",
                                        "CapEff:\t0000000000000000",
                                        "Uid:\t12345\t12345\t12345\t12345",
                                        NULL};
    return status_is_locked(lines);
}

/* status_of() with /proc/self/status of the child opened first. */
static int status_of_status(uid_t uid, attempt_fn *attempt)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        const struct sandbox_options o = {.uid = UID, .gid = UID};
        status_fd = open("/proc/self/status", O_RDONLY);
        if (uid != 0 && (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)) {
            _exit(9);
        }
        _exit(sandbox_enter(&o, on_missing, NULL) == E_OK && attempt() ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_kernel_agrees(void **state)
{
    (void)state;
    if (geteuid() == 0) {
        assert_int_equal(status_of_status(0, root_is_locked), 0);
        assert_int_equal(status_of_status(OTHER_UID, other_is_locked), 0);
        assert_int_equal(status_of(OTHER_UID, files_are_refused), 0);
    }
}

/* exit() instead of _exit(): in a sanitizer build the leak check runs inside the sandbox. */
static bool leave(void)
{
    exit(0);
}

static void test_ends_cleanly(void **state)
{
    (void)state;
    fflush(NULL); /* so that the child does not print it again */
    holds(leave);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_fatal),
        cmocka_unit_test(test_allowed),      cmocka_unit_test(test_kernel_agrees),
        cmocka_unit_test(test_ends_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
