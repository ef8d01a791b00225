/* One child: start, talk, end, start again.
 *
 *   waiting (pid 0, restart armed) -> running (pid, control_fd) -> gone (pid 0)
 *
 * While a child runs, its restart timer guards the time between the end of its socket and its own.
 * The socket may end before the process or after it; each is tidied up where it is noticed. The
 * last messages of a dead controller are read before its socket is closed: what it published
 * counts.
 */
#include "supervisor/supervisor_priv.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/vec.h"
#include "log/log.h"
#include "os/spawn.h"

#define TIMEOUT_LONELY (500 * USEC_PER_MS) /* from the end of its socket to its own */

enum {
    MESSAGES_PER_TICK = 64,
    LAST_MESSAGES_MAX = 4096, /* of a dead child; an orphan of it may hold the socket, too */
    ARGV_FIXED = 3,
    ARGV_MAX = 1024,
    KEEP_MAX = LISTENERS_MAX + 5,
    RESTART_DOUBLINGS_MAX = 20
};

/* ---- the control socket ---- */

static void control_close(struct child *c)
{
    if (c->control_fd >= 0) {
        loop_unwatch(c->supervisor->loop, &c->watch);
        (void)close(c->control_fd); /* nothing is buffered */
        c->control_fd = -1;
    }
}

void child_kill(struct child *c)
{
    if (c->pid > 0) {
        (void)kill(c->pid, SIGKILL); /* not reaped yet, so the number is still its own */
    }
}

static void child_distrust(struct child *c, const char *why)
{
    log_line(LOG_ERROR, "%s is killed: %s", c->name, why);
    control_close(c);
    child_kill(c);
}

static enum err segment_take(struct child *c, enum control_stream stream,
                             const struct control_message *m, int fd)
{
    struct supervisor *s = c->supervisor;
    size_t keep_n;
    if (c->role != HERITAGE_CONTROLLER) {
        (void)close(fd); /* nobody wants it */
        return E_PROTO;
    }
    TRY(segment_log_add(&s->logs[stream], m, fd, &keep_n));
    supervisor_on_segment(s, stream, keep_n);
    return E_OK;
}

static void cursors_reset(struct child *c)
{
    for (int stream = 0; stream < CONTROL_STREAMS_N; stream++) {
        c->cursors[stream] = 0;
    }
}

static enum err message_take(struct child *c, const struct control_message *m, int fd)
{
    if (m->type == CONTROL_SEGMENT || m->type == CONTROL_SECRET) {
        return segment_take(c, m->type == CONTROL_SECRET ? CONTROL_SECRETS : CONTROL_ROUTES, m, fd);
    }
    if (fd >= 0) {
        (void)close(fd); /* no other message has one */
        return E_PROTO;
    }
    if (m->type == CONTROL_READY) {
        supervisor_on_ready(c->supervisor, c);
        return E_OK;
    }
    if (m->type == CONTROL_RESYNC && c->role == HERITAGE_WORKER) {
        cursors_reset(c);
        child_feed(c);
        return E_OK;
    }
    return E_PROTO;
}

/* Up to max messages. E_OK: there may be more. */
static enum err messages_take(struct child *c, size_t max)
{
    for (size_t i = 0; i < max && c->control_fd >= 0; i++) {
        struct control_message m;
        int fd;
        TRY(control_receive(c->control_fd, &m, &fd));
        TRY(message_take(c, &m, fd));
    }
    return E_OK;
}

static void on_lonely(struct timer *t)
{
    child_distrust(container_of(t, struct child, restart), "it closed its control socket");
}

/* Mostly the process is on its way out and its end comes next. */
static void control_ended(struct child *c)
{
    control_close(c);
    if (c->supervisor->phase == PHASE_RUNNING) { /* else the phase's deadline sees to it */
        loop_arm(c->supervisor->loop, &c->restart, TIMEOUT_LONELY, on_lonely);
    }
}

static void on_control(struct watch *w, uint32_t events)
{
    struct child *c = container_of(w, struct child, watch);
    if ((events & EPOLLOUT) != 0) {
        child_feed(c);
    }
    enum err e = c->control_fd < 0 ? E_OK : messages_take(c, MESSAGES_PER_TICK);
    if (e == E_CLOSED) {
        control_ended(c);
    } else if (e != E_OK && e != E_AGAIN) {
        child_distrust(c, e == E_PROTO ? "it broke the control protocol" : err_text(e));
    }
}

static enum err segments_send(struct child *c, enum control_stream stream)
{
    const struct segment_log *log = &c->supervisor->logs[stream];
    size_t *cursor = &c->cursors[stream];
    while (*cursor < log->n) {
        const struct segment *segment = &log->items[*cursor];
        TRY(control_send(c->control_fd, &segment->message, segment->fd));
        ++*cursor;
    }
    return E_OK;
}

/* Everything owed, until the socket is full. Secrets come first: what is served may need them. */
static enum err child_send(struct child *c)
{
    static const struct control_message drain = {.type = CONTROL_DRAIN};
    static const struct control_message reopen = {.type = CONTROL_LOG_REOPEN};
    if (c->owes_drain) {
        TRY(control_send(c->control_fd, &drain, -1));
        c->owes_drain = false;
    }
    if (c->owes_log) {
        TRY(control_send(c->control_fd, &reopen, c->supervisor->log_fd));
        c->owes_log = false;
    }
    if (c->role != HERITAGE_WORKER) {
        return E_OK;
    }
    TRY(segments_send(c, CONTROL_SECRETS));
    return segments_send(c, CONTROL_ROUTES);
}

void child_feed(struct child *c)
{
    if (c->control_fd < 0) {
        return;
    }
    enum err e = child_send(c);
    uint32_t events = e == E_AGAIN ? EPOLLIN | EPOLLOUT : EPOLLIN;
    if (e == E_CLOSED) {
        return; /* reading will find out, after its last messages */
    }
    if (e == E_OK || e == E_AGAIN) {
        e = loop_watch_level(c->supervisor->loop, &c->watch, c->control_fd, events, on_control);
    }
    if (e != E_OK) {
        child_distrust(c, strerror(errno));
    }
}

/* ---- start ---- */

static size_t heritage_fill(const struct child *c, int control_fd, struct heritage *h, int *keep)
{
    const struct supervisor *s = c->supervisor;
    size_t keep_n = 0;
    *h = (struct heritage){.role = c->role,
                           .index = c->index,
                           .worker_n = s->worker_n,
                           .control_fd = control_fd,
                           .stats_fd = s->stats_fd,
                           .log_fd = c->role == HERITAGE_WORKER ? s->log_fd : -1,
                           .sessions_fd = c->role == HERITAGE_WORKER ? s->sessions_fd : -1,
                           .log_format = s->options->access_log_format,
                           .log_level = s->options->log_level,
                           .shutdown_grace_us = s->options->shutdown_grace,
                           .drain_us = s->options->drain};
    keep[keep_n++] = h->control_fd;
    keep[keep_n++] = h->stats_fd;
    if (h->log_fd >= 0) {
        keep[keep_n++] = h->log_fd;
    }
    if (h->sessions_fd >= 0) {
        keep[keep_n++] = h->sessions_fd;
    }
    for (uint32_t i = 0; i < s->options->listener_n; i++) {
        if (s->options->listeners[i].role == c->role) {
            h->listeners[h->listener_n++] = s->listeners[i];
            keep[keep_n++] = s->listeners[i].fd;
        }
    }
    return keep_n;
}

static enum err program_start(struct child *c, int heritage_fd, int *keep, size_t keep_n)
{
    const struct supervisor_options *o = c->supervisor->options;
    bool is_worker = c->role == HERITAGE_WORKER;
    char number[16];
    const char *argv[ARGV_FIXED + ARGV_MAX + 1] = {"lintel-worker", number};
    keep[keep_n++] = heritage_fd;
    (void)snprintf(number, sizeof(number), "%d", heritage_fd); /* always fits */
    if (!is_worker) {
        argv[0] = "lintel";
        argv[1] = "controller";
        argv[2] = number;
        for (size_t i = 0; o->controller_argv != NULL && o->controller_argv[i] != NULL; i++) {
            if (i == ARGV_MAX) {
                errno = E2BIG;
                return E_SYS;
            }
            argv[ARGV_FIXED + i] = o->controller_argv[i];
        }
    }
    const struct spawn_options how = {
        .path = is_worker ? o->worker_path : o->controller_path,
        .argv = argv,
        .keep = keep,
        .keep_n = keep_n,
    };
    return spawn(&how, &c->pid);
}

static enum err child_spawn(struct child *c, int control_fd)
{
    struct heritage h;
    int keep[KEEP_MAX];
    int heritage_fd;
    size_t keep_n = heritage_fill(c, control_fd, &h, keep);
    TRY(heritage_pass(&h, &heritage_fd));
    enum err e = program_start(c, heritage_fd, keep, keep_n);
    int saved = errno;
    (void)close(heritage_fd); /* the child has it */
    errno = saved;
    return e;
}

static void pid_announce(const struct child *c)
{
    struct stats_area *stats = c->supervisor->stats;
    stats_set(c->role == HERITAGE_WORKER ? &stats->workers[c->index].pid : &stats->controller_pid,
              (uint64_t)c->pid);
}

enum err child_start(struct child *c)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
        return E_SYS;
    }
    enum err e = child_spawn(c, pair[1]);
    int saved = errno;
    (void)close(pair[1]); /* the child's end */
    errno = saved;
    if (e != E_OK) {
        (void)close(pair[0]); /* never used */
        errno = saved;
        return e;
    }
    c->control_fd = pair[0];
    c->started = clock_monotonic();
    cursors_reset(c);
    c->is_ready = false;
    c->owes_drain = false;
    c->owes_log = false; /* it was born with the newest */
    pid_announce(c);
    child_feed(c); /* also watches the socket */
    return E_OK;
}

/* ---- end, and start again ---- */

static void restart_schedule(struct child *c, const char *why);

static void restart_now(struct child *c)
{
    if (child_start(c) != E_OK) {
        restart_schedule(c, strerror(errno));
    }
}

static void on_restart(struct timer *t)
{
    restart_now(container_of(t, struct child, restart));
}

/* The first time at once, then after a delay that doubles. */
static usec_t restart_delay(struct child *c)
{
    const struct supervisor_options *o = c->supervisor->options;
    unsigned n = c->failure_n++;
    if (n == 0) {
        return 0;
    }
    unsigned doublings = n - 1 < RESTART_DOUBLINGS_MAX ? n - 1 : RESTART_DOUBLINGS_MAX;
    usec_t delay = o->restart_delay_min << doublings;
    return delay < o->restart_delay_max ? delay : o->restart_delay_max;
}

static void restart_schedule(struct child *c, const char *why)
{
    usec_t delay = restart_delay(c);
    log_line(LOG_ERROR, "%s ended: %s restart_in_ms=%llu", c->name, why,
             (unsigned long long)(delay / USEC_PER_MS));
    loop_arm(c->supervisor->loop, &c->restart, delay, on_restart);
}

static void status_describe(int status, char *text, size_t cap)
{
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        (void)snprintf(text, cap, "signal=SIG%s", name == NULL ? "?" : name); /* cut if need be */
    } else {
        (void)snprintf(text, cap, "exit_code=%d", WEXITSTATUS(status)); /* always fits */
    }
}

static void death_count(struct child *c, bool is_restarted)
{
    struct stats_area *stats = c->supervisor->stats;
    uint64_t n = is_restarted ? 1 : 0;
    if (c->role == HERITAGE_WORKER) {
        stats_page_clear_gauges(&stats->workers[c->index]);
        stats_add(&stats->workers[c->index].restarts, n);
    } else {
        stats_set(&stats->controller_pid, 0);
        stats_add(&stats->controller_restarts, n);
    }
}

void child_ended(struct child *c, int status)
{
    struct supervisor *s = c->supervisor;
    bool is_restarted = s->phase == PHASE_RUNNING;
    char why[64];
    c->pid = 0;
    loop_disarm(s->loop, &c->restart);
    (void)messages_take(
        c, LAST_MESSAGES_MAX); /* its last words; how they end does not matter any more */
    control_close(c);
    death_count(c, is_restarted);
    status_describe(status, why, sizeof(why));
    if (!is_restarted) {
        log_line(status == 0 ? LOG_INFO : LOG_WARN, "%s ended: %s", c->name, why);
        return;
    }
    if (c->role == HERITAGE_CONTROLLER && !s->was_in_service && WIFEXITED(status) &&
        WEXITSTATUS(status) == SUPERVISOR_EXIT_USAGE) {
        supervisor_on_hopeless(s, SUPERVISOR_EXIT_USAGE);
        return;
    }
    if (clock_monotonic() - c->started >= s->options->restart_stable) {
        c->failure_n = 0;
    }
    restart_schedule(c, why);
}

void child_fini(struct child *c)
{
    loop_disarm(c->supervisor->loop, &c->restart);
    control_close(c);
}
