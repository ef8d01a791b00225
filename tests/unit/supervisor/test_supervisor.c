/* The supervisor with real processes. This executable is also the controller and the workers
 * (main() tells by argv): such a double connects to the test's socket, says who it is, then does
 * what the test says and reports what comes in on its control socket. So each test is a story told
 * by one side, without sleeps:
 *
 *   test --fork--> supervisor --exec--> doubles --connect--> test
 */
#include "supervisor/supervisor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "log/log.h"
#include "os/memfd.h"
#include "stats/stats.h"

#define PATH_VARIABLE "LINTEL_TEST_SOCKET"
#define PATIENCE_MS   10000

/* ---- what test and double say to each other: packets of this ---- */

enum word {
    HELLO = 1, /* double: a = role, b = index, c = pid */
    GOT,       /* double: a control message came: a = type, b = generation, c = bytes of its fd */
    CLOSED,    /* double: the control socket ended */
    DO_EXIT,   /* test: a = status */
    DO_SEND,   /* test: a = type, b = generation, c = base, d = keep_n */
    DO_PAUSE,  /* test: do not read the control socket; answered with PAUSED */
    DO_RESUME, /* test */
    DO_FORK,   /* test: leave a grandchild behind that exits when told; answered with FORKED */
    DO_CLOSE,  /* test: close the control socket */
    DO_ASK,    /* test: answered with ANSWER */
    PAUSED,
    ANSWER, /* double: a = restarts counted, b = is_draining, c = port of its listener, d =
               listeners */
    FORKED, /* double: c = pid of the grandchild */
};

struct packet {
    uint64_t word, a, b, c, d;
};

/* ---- the double ---- */

static int double_connect(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", getenv(PATH_VARIABLE));
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)(const void *)&at, sizeof(at)) < 0) {
        _exit(99);
    }
    return fd;
}

static void say(int fd, enum word word, uint64_t a, uint64_t b, uint64_t c)
{
    struct packet p = {word, a, b, c, 0};
    if (send(fd, &p, sizeof(p), MSG_NOSIGNAL) < 0) {
        _exit(98); /* the test is gone */
    }
}

static bool double_report(int control, int test)
{
    struct control_message m;
    int fd;
    enum err e = control_receive(control, &m, &fd);
    if (e == E_OK) {
        uint64_t bytes = fd < 0 ? 0 : (uint64_t)lseek(fd, 0, SEEK_END);
        close(fd);
        say(test, GOT, m.type, m.generation, bytes);
        return true;
    }
    if (e == E_CLOSED) {
        say(test, CLOSED, 0, 0, 0);
        return false;
    }
    return true;
}

static void double_send(int control, const struct packet *p)
{
    struct control_message m = {(uint32_t)p->a, (uint32_t)p->d, p->b, p->c};
    int fd = -1;
    if (m.type == CONTROL_SEGMENT ||
        m.type == CONTROL_SECRET) { /* as many bytes as its generation, for the test to see */
        char byte = 'x';
        if (memfd_make("test", &fd) != E_OK || ftruncate(fd, (off_t)p->b) < 0 ||
            pwrite(fd, &byte, 1, 0) != 1) {
            _exit(97);
        }
    }
    enum err e;
    while ((e = control_send(control, &m, fd)) == E_AGAIN) { /* the supervisor is behind */
        struct pollfd room = {.fd = control, .events = POLLOUT};
        poll(&room, 1, PATIENCE_MS);
    }
    if (e != E_OK) {
        _exit(96);
    }
    close(fd);
}

static void double_fork(int test)
{
    pid_t pid = fork();
    if (pid == 0) {
        pause(); /* until the test kills it */
        _exit(0);
    }
    say(test, FORKED, 0, 0, (uint64_t)pid);
}

/* The supervisor writes it down once it has made the process, which may ask before. */
static bool is_announced(const stats_value *pid)
{
    for (int ms = 0; ms < PATIENCE_MS; ms++) {
        if (stats_get(pid) == (uint64_t)getpid()) {
            return true;
        }
        usleep(1000);
    }
    return false;
}

static void double_answer(const struct heritage *h, int test)
{
    struct stats_area *stats;
    struct sockaddr_in6 at = {0};
    socklen_t n = sizeof(at);
    if (stats_open(h->stats_fd, &stats) != E_OK ||
        stats_get(&stats->supervisor_pid) != (uint64_t)getppid()) {
        _exit(91);
    }
    bool is_worker = h->role == HERITAGE_WORKER;
    struct stats_page *page = &stats->workers[h->index];
    if (!is_announced(is_worker ? &page->pid : &stats->controller_pid)) {
        _exit(90);
    }
    struct packet p = {
        .word = ANSWER,
        .a = stats_get(is_worker ? &page->restarts : &stats->controller_restarts),
        .b = stats_get(&stats->is_draining),
        .d = h->listener_n,
    };
    if (h->listener_n > 0 &&
        getsockname(h->listeners[0].fd, (struct sockaddr *)(void *)&at, &n) == 0 &&
        ntohs(at.sin6_port) == h->listeners[0].port) {
        p.c = h->listeners[0].port;
    }
    stats_close(stats);
    if (send(test, &p, sizeof(p), MSG_NOSIGNAL) < 0) {
        _exit(98);
    }
}

static int double_run(const char *heritage_fd)
{
    struct heritage h;
    if (heritage_take((int)strtol(heritage_fd, NULL, 10), &h) != E_OK) {
        return 95;
    }
    int test = double_connect();
    struct pollfd polls[2] = {
        {.fd = test,         .events = POLLIN},
        {.fd = h.control_fd, .events = POLLIN}
    };
    say(test, HELLO, h.role, h.index, (uint64_t)getpid());
    for (;;) {
        struct packet p;
        poll(polls, 2, -1);
        if (polls[1].revents != 0 && !double_report(h.control_fd, test)) {
            polls[1].fd = -1;
        }
        if (polls[0].revents == 0) {
            continue;
        }
        if (recv(test, &p, sizeof(p), 0) != sizeof(p)) {
            return 94;
        }
        switch ((enum word)p.word) {
        case DO_EXIT:
            return (int)p.a;
        case DO_SEND:
            double_send(h.control_fd, &p);
            break;
        case DO_PAUSE:
            polls[1].fd = -1;
            say(test, PAUSED, 0, 0, 0);
            break;
        case DO_RESUME:
            polls[1].fd = h.control_fd;
            break;
        case DO_FORK:
            double_fork(test);
            break;
        case DO_ASK:
            double_answer(&h, test);
            break;
        case DO_CLOSE:
            polls[1].fd = -1;
            close(h.control_fd);
            break;
        case HELLO:
        case GOT:
        case CLOSED:
        case PAUSED:
        case ANSWER:
        case FORKED:
            return 93;
        }
    }
}

/* ---- the test's side ---- */

struct actor {
    int fd;
    uint64_t role, index;
    pid_t pid;
};

struct stage {
    char path[64];
    int listen_fd;
    pid_t supervisor;
};

static void stage_start(struct stage *s, const struct supervisor_options *options)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char directory[] = "/tmp/lintel-test-XXXXXX";
    assert_non_null(mkdtemp(directory));
    snprintf(s->path, sizeof(s->path), "%s/socket", directory);
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", s->path);
    s->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listen_fd, (const struct sockaddr *)(const void *)&at, sizeof(at)), 0);
    assert_int_equal(listen(s->listen_fd, 16), 0);
    setenv(PATH_VARIABLE, s->path, 1);
    fflush(NULL);
    s->supervisor = fork();
    if (s->supervisor == 0) {
        struct supervisor_options o = *options;
        if (o.worker_path == NULL) {
            o.worker_path = "/proc/self/exe";
        }
        log_init("supervisor", LOG_DEBUG);
        _exit(supervisor_run(&o));
    }
}

static struct packet hear(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    struct packet p = {0};
    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    assert_int_equal(recv(fd, &p, sizeof(p), 0), sizeof(p));
    return p;
}

/* The next double that appears. */
static struct actor meet(struct stage *s)
{
    struct pollfd ready = {.fd = s->listen_fd, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    struct packet p = hear(fd);
    assert_int_equal(p.word, HELLO);
    return (struct actor){fd, p.a, p.b, (pid_t)p.c};
}

/* The controller and n workers, in whatever order they come. */
static void meet_all(struct stage *s, struct actor *controller, struct actor *workers, uint64_t n)
{
    for (uint64_t i = 0; i <= n; i++) {
        struct actor a = meet(s);
        if (a.role == HERITAGE_CONTROLLER) {
            *controller = a;
        } else {
            assert_true(a.index < n);
            workers[a.index] = a;
        }
    }
}

static void tell(const struct actor *a, struct packet p)
{
    assert_int_equal(send(a->fd, &p, sizeof(p), MSG_NOSIGNAL), sizeof(p));
}

static void publish(const struct actor *controller, uint64_t keep_n, uint64_t base,
                    uint64_t generation)
{
    tell(controller, (struct packet){DO_SEND, CONTROL_SEGMENT, generation, base, keep_n});
}

static void publish_secret(const struct actor *controller, uint64_t keep_n, uint64_t base,
                           uint64_t generation)
{
    tell(controller, (struct packet){DO_SEND, CONTROL_SECRET, generation, base, keep_n});
}

static void expect_piece(const struct actor *a, enum control_type type, uint64_t generation)
{
    struct packet p = hear(a->fd);
    assert_int_equal(p.word, GOT);
    assert_int_equal(p.a, type);
    assert_int_equal(p.b, generation);
    assert_int_equal(p.c, generation); /* the descriptor is that very segment's */
}

static void expect_segment(const struct actor *a, uint64_t generation)
{
    expect_piece(a, CONTROL_SEGMENT, generation);
}

static void expect_drain(const struct actor *a)
{
    struct packet p = hear(a->fd);
    assert_int_equal(p.word, GOT);
    assert_int_equal(p.a, CONTROL_DRAIN);
}

static void leave(const struct actor *a, uint64_t status)
{
    tell(a, (struct packet){DO_EXIT, status, 0, 0, 0});
    close(a->fd);
}

static bool has_news(int fd, int patience_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    return poll(&ready, 1, patience_ms) == 1;
}

/* The supervisor's exit status; fails when it takes too long. */
static int stage_end(struct stage *s)
{
    usec_t until = clock_monotonic() + PATIENCE_MS * USEC_PER_MS;
    int status;
    while (waitpid(s->supervisor, &status, WNOHANG) == 0) {
        assert_true(clock_monotonic() < until);
        (void)poll(NULL, 0, 1);
    }
    close(s->listen_fd);
    unlink(s->path);
    *strrchr(s->path, '/') = '\0';
    rmdir(s->path);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* SIGTERM, and everybody does what is expected. */
static void finish(struct stage *s, const struct actor *controller, const struct actor *workers,
                   size_t n)
{
    kill(s->supervisor, SIGTERM);
    for (size_t i = 0; i < n; i++) {
        expect_drain(&workers[i]);
        leave(&workers[i], 0);
    }
    expect_drain(controller);
    leave(controller, 0);
    assert_int_equal(stage_end(s), 0);
}

static bool is_alive(pid_t pid)
{
    return kill(pid, 0) == 0;
}

static struct packet ask(const struct actor *a)
{
    tell(a, (struct packet){DO_ASK, 0, 0, 0, 0});
    struct packet p = hear(a->fd);
    assert_int_equal(p.word, ANSWER);
    return p;
}

/* ---- restarts ---- */

static void test_restart_at_once_then_later(void **state)
{
    const struct supervisor_options o = {.worker_n = 2, .restart_delay_min = 200 * USEC_PER_MS};
    struct actor controller, workers[2];
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, workers, 2);
    usec_t start = clock_monotonic();
    kill(workers[1].pid, SIGKILL);
    close(workers[1].fd);
    workers[1] = meet(&s); /* the same place */
    usec_t first = clock_monotonic() - start;
    assert_int_equal(workers[1].index, 1);
    assert_true(first < 100 * USEC_PER_MS); /* DESIGN section 5 */
    usec_t waits[3];
    for (int i = 0; i < 3; i++) {
        start = clock_monotonic();
        leave(&workers[1], 3);
        workers[1] = meet(&s);
        waits[i] = clock_monotonic() - start;
    }
    assert_true(waits[0] >= 200 * USEC_PER_MS && waits[0] < 390 * USEC_PER_MS);
    assert_true(waits[1] >= 400 * USEC_PER_MS && waits[1] < 790 * USEC_PER_MS);
    assert_true(waits[2] >= 800 * USEC_PER_MS && waits[2] < 1590 * USEC_PER_MS);
    assert_false(has_news(workers[0].fd, 0)); /* the other one did not notice */
    finish(&s, &controller, workers, 2);
}

static void test_delay_has_a_maximum_and_is_forgiven(void **state)
{
    const struct supervisor_options o = {.worker_n = 1,
                                         .restart_delay_min = 100 * USEC_PER_MS,
                                         .restart_delay_max = 150 * USEC_PER_MS,
                                         .restart_stable = 300 * USEC_PER_MS};
    struct actor controller, worker;
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    for (int i = 0; i < 5; i++) { /* the fifth would wait 800 ms without the maximum */
        usec_t start = clock_monotonic();
        leave(&worker, 1);
        worker = meet(&s);
        assert_true(clock_monotonic() - start < 400 * USEC_PER_MS);
    }
    (void)poll(NULL, 0, 350); /* stays up: this is the passing of time, not a wait for an event */
    usec_t start = clock_monotonic();
    leave(&worker, 1);
    worker = meet(&s);
    assert_true(clock_monotonic() - start < 100 * USEC_PER_MS);
    finish(&s, &controller, &worker, 1);
}

static void test_controller_comes_back(void **state)
{
    static const char *const argv[] = {"--one", "--two", NULL};
    const struct supervisor_options o = {.worker_n = 1, .controller_argv = argv};
    struct actor controller, worker;
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    publish(&controller, 0, 0, 4);
    expect_segment(&worker, 4);
    kill(controller.pid, SIGKILL);
    close(controller.fd);
    controller = meet(&s);
    assert_int_equal(controller.role, HERITAGE_CONTROLLER);
    publish(&controller, 0, 0, 7); /* a new history */
    expect_segment(&worker, 7);
    finish(&s, &controller, &worker, 1);
}

static void test_last_words_of_a_controller_count(void **state)
{
    const struct supervisor_options o = {.worker_n = 1};
    struct actor controller, worker;
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    publish(&controller, 0, 0, 1);
    publish(&controller, 1, 1, 2);
    publish(&controller, 2, 2, 3);
    leave(&controller, 1);
    expect_segment(&worker, 1);
    expect_segment(&worker, 2);
    expect_segment(&worker, 3);
    controller = meet(&s);
    finish(&s, &controller, &worker, 1);
}

static void test_listeners_and_counters_outlive_children(void **state)
{
    static const struct supervisor_listener listeners[] = {
        {"http",   HERITAGE_WORKER,     NULL,        0},
        {"health", HERITAGE_CONTROLLER, "127.0.0.1", 0},
    };
    const struct supervisor_options o = {
        .worker_n = 2, .listeners = listeners, .listener_n = 2, .is_access_log_on = true};
    struct actor controller, workers[2];
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, workers, 2);
    struct packet of_worker = ask(&workers[0]), of_controller = ask(&controller);
    assert_int_equal(of_worker.d, 1);
    assert_true(of_worker.c != 0);
    assert_int_equal(ask(&workers[1]).c, of_worker.c); /* one socket for all */
    assert_int_equal(of_controller.d, 1);
    assert_true(of_controller.c != 0 && of_controller.c != of_worker.c);
    assert_int_equal(of_worker.a, 0);
    leave(&workers[0], 1);
    workers[0] = meet(&s);
    assert_int_equal(ask(&workers[0]).a, 1);
    assert_int_equal(ask(&workers[0]).c, of_worker.c);
    assert_int_equal(ask(&workers[1]).a, 0);
    leave(&controller, 1);
    controller = meet(&s);
    assert_int_equal(ask(&controller).a, 1);
    assert_int_equal(ask(&controller).b, 0);
    kill(s.supervisor, SIGTERM);
    expect_drain(&workers[0]);
    assert_int_equal(ask(&controller).b, 1); /* /readyz is off before a worker is told */
    leave(&workers[0], 0);
    expect_drain(&workers[1]);
    leave(&workers[1], 0);
    expect_drain(&controller);
    leave(&controller, 0);
    assert_int_equal(stage_end(&s), 0);
}

/* ---- relay ---- */

static void test_new_worker_and_resync_get_the_live_segments(void **state)
{
    const struct supervisor_options o = {.worker_n = 2};
    struct actor controller, workers[2];
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, workers, 2);
    publish(&controller, 0, 0, 10);
    publish(&controller, 1, 10, 11);
    publish(&controller, 1, 10, 12); /* in the place of 11 */
    publish(&controller, 2, 12, 13);
    for (int i = 0; i < 2; i++) {
        for (uint64_t generation = 10; generation <= 13; generation++) {
            expect_segment(&workers[i], generation);
        }
    }
    leave(&workers[0], 0); /* a worker has no reason to go: started again, whatever its status */
    workers[0] = meet(&s);
    expect_segment(&workers[0], 10);
    expect_segment(&workers[0], 12);
    expect_segment(&workers[0], 13);
    tell(&workers[1], (struct packet){DO_SEND, CONTROL_RESYNC, 0, 0, 0});
    expect_segment(&workers[1], 10);
    expect_segment(&workers[1], 12);
    expect_segment(&workers[1], 13);
    publish(&controller, 0, 0, 14);
    expect_segment(&workers[0], 14);
    expect_segment(&workers[1], 14);
    finish(&s, &controller, workers, 2);
}

/* Each has its own numbers; whoever is new gets the secrets first, since routes may need them. */
static void test_secrets_are_a_second_stream(void **state)
{
    const struct supervisor_options o = {.worker_n = 1};
    struct actor controller, worker;
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    publish_secret(&controller, 0, 0, 3);
    publish(&controller, 0, 0, 10);
    publish_secret(&controller, 1, 3, 4);
    publish_secret(&controller, 1, 3, 5); /* in the place of 4 */
    expect_piece(&worker, CONTROL_SECRET, 3);
    expect_segment(&worker, 10);
    expect_piece(&worker, CONTROL_SECRET, 4);
    expect_piece(&worker, CONTROL_SECRET, 5);
    leave(&worker, 0);
    worker = meet(&s);
    expect_piece(&worker, CONTROL_SECRET, 3);
    expect_piece(&worker, CONTROL_SECRET, 5);
    expect_segment(&worker, 10);
    tell(&worker, (struct packet){DO_SEND, CONTROL_RESYNC, 0, 0, 0});
    expect_piece(&worker, CONTROL_SECRET, 3);
    expect_piece(&worker, CONTROL_SECRET, 5);
    expect_segment(&worker, 10);
    finish(&s, &controller, &worker, 1);
}

/* The slow one's socket fills up with the same pair of segments being merged again and again; it
 * holds up nobody, and when it reads on it ends with the newest state, nothing replaced sent twice.
 */
static void test_slow_worker_gets_the_rest_later(void **state)
{
    enum { ROUNDS = 2000 };
    const struct supervisor_options o = {.worker_n = 2};
    struct actor controller, workers[2];
    struct stage s;
    uint64_t last = 0, heard = 0;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, workers, 2);
    tell(&workers[0], (struct packet){DO_PAUSE, 0, 0, 0, 0});
    assert_int_equal(hear(workers[0].fd).word, PAUSED);
    publish(&controller, 0, 0, 1);
    expect_segment(&workers[1], 1);
    for (uint64_t generation = 2; generation <= ROUNDS; generation++) {
        publish(&controller, 1, 1, generation);
        expect_segment(&workers[1], generation);
    }
    tell(&workers[0], (struct packet){DO_RESUME, 0, 0, 0, 0});
    while (last < ROUNDS) {
        struct packet p = hear(workers[0].fd);
        assert_int_equal(p.word, GOT);
        assert_true(p.b > last);
        assert_int_equal(p.c, p.b);
        last = p.b;
        heard++;
    }
    assert_true(heard > 2 && heard < ROUNDS); /* its socket was full, the middle was skipped */
    assert_false(has_news(workers[0].fd, 50));
    finish(&s, &controller, workers, 2);
}

static void test_broken_protocol_is_killed(void **state)
{
    const struct supervisor_options o = {.worker_n = 1, .restart_delay_min = USEC_PER_MS};
    struct actor controller, worker;
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    publish(&controller, 0, 0, 5);
    expect_segment(&worker, 5);
    publish(&controller, 3, 5, 6); /* keeps three of one */
    close(controller.fd);
    controller = meet(&s);
    assert_int_equal(controller.role, HERITAGE_CONTROLLER);
    publish(&worker, 0, 0, 9); /* not for a worker to say */
    close(worker.fd);
    worker = meet(&s);
    assert_int_equal(worker.role, HERITAGE_WORKER);
    expect_segment(&worker, 5);
    tell(&worker, (struct packet){DO_CLOSE, 0, 0, 0, 0});
    struct actor next = meet(&s);
    assert_int_equal(next.role, HERITAGE_WORKER);
    close(worker.fd);
    expect_segment(&next, 5);
    finish(&s, &controller, &next, 1);
}

/* ---- the end ---- */

static void test_drain_order(void **state)
{
    const struct supervisor_options o = {.worker_n = 2};
    struct actor controller, workers[2];
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, workers, 2);
    kill(s.supervisor, SIGTERM);
    expect_drain(&workers[0]);
    expect_drain(&workers[1]);
    publish(&controller, 0, 0, 3); /* configuration goes on during the grace time */
    expect_segment(&workers[0], 3);
    expect_segment(&workers[1], 3);
    leave(&workers[0], 0);
    assert_false(has_news(controller.fd, 100)); /* one worker is left */
    assert_false(has_news(s.listen_fd, 0));     /* nobody is started again */
    leave(&workers[1], 0);
    expect_drain(&controller);
    leave(&controller, 0);
    assert_int_equal(stage_end(&s), 0);
}

static void test_drain_reaches_a_full_worker_first(void **state)
{
    const struct supervisor_options o = {.worker_n = 1};
    struct actor controller, worker;
    struct stage s;
    uint64_t last = 0;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    tell(&worker, (struct packet){DO_PAUSE, 0, 0, 0, 0});
    assert_int_equal(hear(worker.fd).word, PAUSED);
    publish(&controller, 0, 0, 1);
    for (uint64_t generation = 2; generation <= 1000; generation++) {
        publish(&controller, 1, 1, generation);
    }
    tell(&controller, (struct packet){DO_FORK, 0, 0, 0, 0}); /* a barrier: all was sent */
    pid_t orphan = (pid_t)hear(controller.fd).c;
    kill(orphan, SIGKILL);
    kill(s.supervisor, SIGINT);
    tell(&worker, (struct packet){DO_RESUME, 0, 0, 0, 0});
    for (;;) {
        struct packet p = hear(worker.fd);
        if (p.a == CONTROL_DRAIN) {
            break;
        }
        assert_true(p.b > last);
        last = p.b;
    }
    leave(&worker, 0);
    expect_drain(&controller);
    leave(&controller, 0);
    assert_int_equal(stage_end(&s), 0);
}

static void test_second_signal_kills(void **state)
{
    const struct supervisor_options o = {.worker_n = 1};
    struct actor controller, worker;
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    kill(s.supervisor, SIGTERM);
    expect_drain(&worker);
    kill(s.supervisor, SIGINT);
    assert_int_equal(stage_end(&s), 1);
    assert_false(is_alive(worker.pid));
    assert_false(is_alive(controller.pid));
    close(worker.fd);
    close(controller.fd);
}

static void test_drain_deadline_kills(void **state)
{
    const struct supervisor_options o = {.worker_n = 1,
                                         .shutdown_grace = 50 * USEC_PER_MS,
                                         .drain = 50 * USEC_PER_MS,
                                         .drain_margin = 50 * USEC_PER_MS};
    struct actor controller, worker;
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    usec_t start = clock_monotonic();
    kill(s.supervisor, SIGTERM);
    expect_drain(&worker);
    assert_int_equal(stage_end(&s), 1);
    assert_true(clock_monotonic() - start >= 150 * USEC_PER_MS);
    close(worker.fd);
    close(controller.fd);
}

static void test_controller_deadline_kills(void **state)
{
    const struct supervisor_options o = {.worker_n = 1, .controller_exit = 50 * USEC_PER_MS};
    struct actor controller, worker;
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    kill(s.supervisor, SIGTERM);
    expect_drain(&worker);
    leave(&worker, 0);
    expect_drain(&controller);
    assert_int_equal(stage_end(&s), 1);
    close(controller.fd);
}

static void test_hangup_and_terminal_signals_leave_children_alone(void **state)
{
    const struct supervisor_options o = {.worker_n = 1};
    struct actor controller, worker;
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    kill(s.supervisor, SIGHUP);
    kill(worker.pid, SIGINT); /* as a terminal does to the whole group */
    kill(worker.pid, SIGTERM);
    kill(controller.pid, SIGINT);
    publish(&controller, 0, 0, 1);
    expect_segment(&worker, 1);
    finish(&s, &controller, &worker, 1);
}

static void test_children_see_the_supervisor_die(void **state)
{
    const struct supervisor_options o = {.worker_n = 1};
    struct actor controller, worker;
    struct stage s;
    int status;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    kill(s.supervisor, SIGKILL);
    assert_int_equal(hear(worker.fd).word, CLOSED);
    assert_int_equal(hear(controller.fd).word, CLOSED);
    leave(&worker, 0);
    leave(&controller, 0);
    waitpid(s.supervisor, &status, 0);
    close(s.listen_fd);
    unlink(s.path);
    *strrchr(s.path, '/') = '\0';
    rmdir(s.path);
}

static void test_orphans_are_reaped(void **state)
{
    const struct supervisor_options o = {.worker_n = 1};
    struct actor controller, worker;
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    tell(&controller, (struct packet){DO_FORK, 0, 0, 0, 0});
    struct packet forked = hear(controller.fd);
    assert_int_equal(forked.word, FORKED);
    leave(&controller, 0);
    controller = meet(&s);
    kill((pid_t)forked.c, SIGKILL);
    usec_t until = clock_monotonic() + PATIENCE_MS * USEC_PER_MS;
    while (is_alive((pid_t)forked.c)) { /* a zombie counts as alive until it is reaped */
        assert_true(clock_monotonic() < until);
        (void)poll(NULL, 0, 1);
    }
    finish(&s, &controller, &worker, 1);
}

/* ---- start ---- */

static void test_missing_worker_program_ends_it(void **state)
{
    const struct supervisor_options o = {.worker_n = 2, .worker_path = "/nonexistent/worker"};
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    assert_int_equal(stage_end(&s), 1);
}

static void test_refused_options_end_it_unless_it_was_in_service(void **state)
{
    const struct supervisor_options o = {.worker_n = 1};
    struct actor controller, worker;
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    leave(&controller, SUPERVISOR_EXIT_USAGE);
    assert_int_equal(stage_end(&s), SUPERVISOR_EXIT_USAGE);
    assert_false(is_alive(worker.pid));
    close(worker.fd);

    stage_start(&s, &o);
    meet_all(&s, &controller, &worker, 1);
    tell(&worker, (struct packet){DO_SEND, CONTROL_READY, 0, 0, 0});
    tell(&controller, (struct packet){DO_SEND, CONTROL_READY, 0, 0, 0});
    publish(&controller, 0, 0, 1); /* a barrier: READY was sent before it */
    expect_segment(&worker, 1);
    assert_int_equal(ask(&worker).a, 0); /* and the worker's, too */
    publish(&controller, 1, 1, 2);
    expect_segment(&worker, 2);
    leave(&controller, SUPERVISOR_EXIT_USAGE);
    controller = meet(&s); /* traffic goes on with the last state */
    finish(&s, &controller, &worker, 1);
}

static void test_taken_port_ends_it(void **state)
{
    struct supervisor_listener listener = {"http", HERITAGE_WORKER, "not an address", 0};
    const struct supervisor_options o = {.worker_n = 1, .listeners = &listener, .listener_n = 1};
    struct stage s;
    (void)state;
    stage_start(&s, &o);
    assert_int_equal(stage_end(&s), 1);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[0], "lintel-worker") == 0) {
        return double_run(argv[1]);
    }
    if (argc > 2 && strcmp(argv[1], "controller") == 0) {
        bool is_passed_on =
            argc == 3 || (argc == 5 && strcmp(argv[3], "--one") == 0 && argv[5] == NULL);
        return is_passed_on ? double_run(argv[2]) : 92;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restart_at_once_then_later),
        cmocka_unit_test(test_delay_has_a_maximum_and_is_forgiven),
        cmocka_unit_test(test_controller_comes_back),
        cmocka_unit_test(test_last_words_of_a_controller_count),
        cmocka_unit_test(test_listeners_and_counters_outlive_children),
        cmocka_unit_test(test_new_worker_and_resync_get_the_live_segments),
        cmocka_unit_test(test_secrets_are_a_second_stream),
        cmocka_unit_test(test_slow_worker_gets_the_rest_later),
        cmocka_unit_test(test_broken_protocol_is_killed),
        cmocka_unit_test(test_drain_order),
        cmocka_unit_test(test_drain_reaches_a_full_worker_first),
        cmocka_unit_test(test_second_signal_kills),
        cmocka_unit_test(test_drain_deadline_kills),
        cmocka_unit_test(test_controller_deadline_kills),
        cmocka_unit_test(test_hangup_and_terminal_signals_leave_children_alone),
        cmocka_unit_test(test_children_see_the_supervisor_die),
        cmocka_unit_test(test_orphans_are_reaped),
        cmocka_unit_test(test_missing_worker_program_ends_it),
        cmocka_unit_test(test_refused_options_end_it_unless_it_was_in_service),
        cmocka_unit_test(test_taken_port_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
