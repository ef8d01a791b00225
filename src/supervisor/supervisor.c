/* Start, signals, and the order in which things end:
 *
 *   running --SIGTERM--> draining --workers gone--> stopping --controller gone--> exit 0
 *                           |  second SIGTERM/SIGINT, or the phase's deadline |
 *                           '------------------> killing --all gone--> exit 1 <'
 */
#include "supervisor/supervisor.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "log/log.h"
#include "os/descriptors.h"
#include "os/listen.h"
#include "os/memfd.h"
#include "os/proc.h"
#include "supervisor/supervisor_priv.h"

#define KILL_WAIT (5 * USEC_PER_SEC) /* for processes stuck in the kernel */

/* ---- the end ---- */

static bool are_workers_gone(const struct supervisor *s)
{
    for (uint32_t i = 0; i < s->worker_n; i++) {
        if (s->workers[i].pid > 0) {
            return false;
        }
    }
    return true;
}

static void on_kill_wait(struct timer *t)
{
    struct supervisor *s = container_of(t, struct supervisor, deadline);
    loop_stop(s->loop);
}

static void kill_all(struct supervisor *s, const char *why)
{
    log_line(LOG_ERROR, "killing what still runs: %s", why);
    s->phase = PHASE_KILLING;
    s->exit_status = 1;
    for (uint32_t i = 0; i < s->worker_n; i++) {
        loop_disarm(s->loop, &s->workers[i].restart);
        child_kill(&s->workers[i]);
    }
    loop_disarm(s->loop, &s->controller.restart);
    child_kill(&s->controller);
    loop_arm(s->loop, &s->deadline, KILL_WAIT, on_kill_wait);
}

static void on_deadline(struct timer *t)
{
    kill_all(container_of(t, struct supervisor, deadline), "they did not end in time");
}

static void controller_stop(struct supervisor *s)
{
    s->phase = PHASE_STOPPING;
    loop_disarm(s->loop, &s->deadline);
    loop_arm(s->loop, &s->deadline, s->options->controller_exit, on_deadline);
    s->controller.owes_drain = true;
    child_feed(&s->controller);
}

/* Called whenever something may have ended. */
static void end_advance(struct supervisor *s)
{
    bool are_gone = are_workers_gone(s);
    if (s->phase == PHASE_DRAINING && are_gone) {
        controller_stop(s);
    }
    if (s->phase != PHASE_RUNNING && s->phase != PHASE_DRAINING && are_gone &&
        s->controller.pid == 0) {
        loop_stop(s->loop);
    }
}

static void descriptor_close(int fd)
{
    if (fd >= 0) {
        (void)close(fd); /* going away */
    }
}

/* The grace time is over: with the workers' copies closed as well, new clients are refused at once
 * instead of waiting in a queue that nobody empties. */
static void on_grace(struct timer *t)
{
    struct supervisor *s = container_of(t, struct supervisor, grace);
    for (uint32_t i = 0; i < s->options->listener_n; i++) {
        if (s->options->listeners[i].role == HERITAGE_WORKER) {
            descriptor_close(s->listeners[i].fd);
            s->listeners[i].fd = -1;
        }
    }
}

static void drain_begin(struct supervisor *s, const char *why)
{
    const struct supervisor_options *o = s->options;
    log_line(LOG_INFO, "draining: %s grace_ms=%llu drain_ms=%llu", why,
             (unsigned long long)(o->shutdown_grace / USEC_PER_MS),
             (unsigned long long)(o->drain / USEC_PER_MS));
    s->phase = PHASE_DRAINING;
    stats_set(&s->stats->is_draining, 1); /* /readyz says so from now on */
    loop_disarm(s->loop, &s->controller.restart);
    loop_arm(s->loop, &s->deadline, o->shutdown_grace + o->drain + o->drain_margin, on_deadline);
    loop_arm(s->loop, &s->grace, o->shutdown_grace, on_grace);
    for (uint32_t i = 0; i < s->worker_n; i++) {
        struct child *c = &s->workers[i];
        loop_disarm(s->loop, &c->restart);
        c->owes_drain = c->pid > 0;
        child_feed(c);
    }
    end_advance(s);
}

/* ---- children ---- */

void supervisor_on_segment(struct supervisor *s, enum control_stream stream, size_t keep_n)
{
    for (uint32_t i = 0; i < s->worker_n; i++) {
        struct child *c = &s->workers[i];
        size_t *cursor = &c->cursors[stream];
        *cursor = *cursor < keep_n ? *cursor : keep_n;
        child_feed(c);
    }
}

void supervisor_on_ready(struct supervisor *s, struct child *c)
{
    bool are_all = s->controller.is_ready || c == &s->controller;
    c->is_ready = true;
    for (uint32_t i = 0; i < s->worker_n; i++) {
        are_all = are_all && s->workers[i].is_ready;
    }
    if (are_all && !s->was_in_service) {
        s->was_in_service = true;
        log_line(LOG_INFO, "in service workers=%u generation=%llu", s->worker_n,
                 (unsigned long long)s->logs[CONTROL_ROUTES].generation);
    }
}

void supervisor_on_hopeless(struct supervisor *s, int exit_status)
{
    kill_all(s, "the controller refuses its options");
    s->exit_status = exit_status;
}

static struct child *child_find(struct supervisor *s, pid_t pid)
{
    if (s->controller.pid == pid) {
        return &s->controller;
    }
    for (uint32_t i = 0; i < s->worker_n; i++) {
        if (s->workers[i].pid == pid) {
            return &s->workers[i];
        }
    }
    return NULL;
}

/* Everyone who ended; orphans of our children come to us as their reaper. */
static void children_reap(struct supervisor *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct child *c = child_find(s, pid);
        if (c == NULL) {
            log_line(LOG_DEBUG, "reaped an orphan pid=%d", (int)pid);
        } else {
            child_ended(c, status);
        }
    }
    end_advance(s);
}

/* ---- signals ---- */

static void end_asked(struct supervisor *s, const char *name)
{
    switch (s->phase) {
    case PHASE_RUNNING:
        drain_begin(s, name);
        return;
    case PHASE_DRAINING:
    case PHASE_STOPPING:
        kill_all(s, "a second signal came");
        return;
    case PHASE_KILLING:
        return;
    }
}

/* For whoever rotates the file: what was renamed gets its last lines, then a new one begins. */
static void access_log_reopen(struct supervisor *s)
{
    const char *path = s->options->access_log_file;
    int fd;
    if (s->log_fd < 0 || path == NULL) {
        log_line(LOG_INFO, "SIGHUP: nothing to reload, changes are taken in as they come");
        return;
    }
    if (output_append(path, &fd) != E_OK) {
        log_line(LOG_ERROR, "SIGHUP: cannot open the access log: %s; going on with the old file=%s",
                 strerror(errno), path);
        return;
    }
    (void)close(s->log_fd); /* the workers have their own */
    s->log_fd = fd;
    log_line(LOG_INFO, "SIGHUP: the access log is opened anew file=%s", path);
    for (uint32_t i = 0; i < s->worker_n; i++) {
        struct child *c = &s->workers[i];
        c->owes_log = c->pid > 0;
        child_feed(c);
    }
}

static void on_signals(struct watch *w, uint32_t events)
{
    struct supervisor *s = container_of(w, struct supervisor, signals);
    struct signalfd_siginfo info;
    (void)events;
    while (read(w->fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) {
            children_reap(s);
        } else if (info.ssi_signo == SIGHUP) {
            access_log_reopen(s);
        } else {
            end_asked(s, info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
        }
    }
}

static enum err signals_open(struct supervisor *s)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGCHLD); /* a valid set and valid signals: none of these can fail */
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) {
        return E_SYS;
    }
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (s->signal_fd < 0) {
        return E_SYS;
    }
    return loop_watch_level(s->loop, &s->signals, s->signal_fd, EPOLLIN, on_signals);
}

/* ---- start ---- */

static enum err listener_open(struct supervisor *s, uint32_t i)
{
    const struct supervisor_listener *l = &s->options->listeners[i];
    struct heritage_listener *to = &s->listeners[i];
    const struct listen_options how = {.address = l->address, .port = l->port};
    const char *address = l->address == NULL || l->address[0] == '\0' ? "*" : l->address;
    int fd;
    uint16_t port;
    enum err e = listen_open(&how, &fd, &port);
    if (e != E_OK) {
        log_line(LOG_ERROR, "cannot listen: %s listener=%s address=%s port=%u",
                 e == E_SYS ? strerror(errno) : "not an IP address", l->name, address, l->port);
        return e;
    }
    (void)snprintf(to->name, sizeof(to->name), "%s", l->name); /* names are ours and short */
    to->fd = fd;
    to->port = port;
    log_line(LOG_INFO, "listening listener=%s address=%s port=%u", l->name, address, port);
    return E_OK;
}

static enum err listeners_open(struct supervisor *s)
{
    must(s->options->listener_n <= LISTENERS_MAX);
    for (uint32_t i = 0; i < s->options->listener_n; i++) {
        if (listener_open(s, i) != E_OK) {
            return E_REFUSED; /* it said why */
        }
    }
    return E_OK;
}

static enum err access_log_open(struct supervisor *s)
{
    const char *path = s->options->access_log_file;
    bool is_shared;
    if (!s->options->is_access_log_on) {
        return E_OK;
    }
    if (path != NULL) {
        if (output_append(path, &s->log_fd) != E_OK) {
            log_line(LOG_ERROR, "cannot open the access log: %s file=%s", strerror(errno), path);
            return E_REFUSED; /* said why */
        }
        return E_OK;
    }
    TRY(output_reopen(STDOUT_FILENO, &s->log_fd, &is_shared));
    if (is_shared) {
        log_line(LOG_WARN, "stdout cannot be opened anew: a slow reader of the access log will "
                           "hold up the workers");
    }
    return E_OK;
}

static enum err resources_open(struct supervisor *s)
{
    uint64_t limit;
    TRY(loop_new(&s->loop));
    TRY(signals_open(s));
    TRY(descriptors_raise(&limit));
    (void)proc_locked_raise(); /* workers say it when their keys do not fit */
    TRY(stats_create(s->worker_n, &s->stats, &s->stats_fd));
    if (s->options->session_bytes > 0) {
        TRY(memfd_make_shared("lintel-sessions", s->options->session_bytes, &s->sessions_fd));
    }
    s->stats->is_per_host = s->options->has_no_host_metrics ? 0 : 1;
    stats_set(&s->stats->supervisor_pid, (uint64_t)getpid());
    TRY(access_log_open(s));
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
        return E_SYS;
    }
    log_line(LOG_INFO, "starting workers=%u descriptors=%llu", s->worker_n,
             (unsigned long long)limit);
    return E_OK;
}

static enum err first_start(struct child *c, const char *path)
{
    enum err e = child_start(c);
    if (e != E_OK) {
        log_line(LOG_ERROR, "cannot start: %s process=%s path=%s", strerror(errno), c->name, path);
    }
    return e;
}

static enum err children_start(struct supervisor *s)
{
    TRY(first_start(&s->controller, s->options->controller_path));
    for (uint32_t i = 0; i < s->worker_n; i++) {
        TRY(first_start(&s->workers[i], s->options->worker_path));
    }
    return E_OK;
}

static void children_init(struct supervisor *s)
{
    s->controller = (struct child){.supervisor = s,
                                   .role = HERITAGE_CONTROLLER,
                                   .name = "controller",
                                   .control_fd = -1,
                                   .watch.fd = -1};
    for (uint32_t i = 0; i < s->worker_n; i++) {
        struct child *c = &s->workers[i];
        *c = (struct child){
            .supervisor = s, .role = HERITAGE_WORKER, .index = i, .control_fd = -1, .watch.fd = -1};
        (void)snprintf(c->name, sizeof(c->name), "worker %u", i); /* below WORKERS_MAX: fits */
    }
}

static void supervisor_free(struct supervisor *s)
{
    if (s->loop != NULL) {
        child_fini(&s->controller);
        for (uint32_t i = 0; i < s->worker_n; i++) {
            child_fini(&s->workers[i]);
        }
        loop_unwatch(s->loop, &s->signals);
    }
    for (uint32_t i = 0; i < s->options->listener_n; i++) {
        descriptor_close(s->listeners[i].fd);
    }
    descriptor_close(s->signal_fd);
    descriptor_close(s->stats_fd);
    descriptor_close(s->log_fd);
    descriptor_close(s->sessions_fd);
    for (int stream = 0; stream < CONTROL_STREAMS_N; stream++) {
        segment_log_fini(&s->logs[stream]);
    }
    stats_close(s->stats);
    loop_free(s->loop);
    mem_free(s);
}

static struct supervisor *supervisor_new(const struct supervisor_options *o)
{
    struct supervisor *s = mem_calloc(1, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->options = o;
    s->worker_n = o->worker_n;
    s->stats_fd = s->log_fd = s->signal_fd = s->sessions_fd = -1;
    s->signals.fd = -1;
    for (size_t i = 0; i < LISTENERS_MAX; i++) {
        s->listeners[i].fd = -1;
    }
    children_init(s);
    return s;
}

/* ---- options ---- */

static void default_set(usec_t *value, usec_t normal)
{
    if (*value == 0) {
        *value = normal;
    }
}

/* "lintel-worker" in the directory of the own executable. */
static enum err worker_path_find(char *path, size_t cap)
{
    static const char name[] = "lintel-worker";
    ssize_t n = readlink("/proc/self/exe", path, cap);
    if (n < 0) {
        return E_SYS;
    }
    while (n > 0 && path[n - 1] != '/') {
        n--;
    }
    if ((size_t)n + sizeof(name) > cap) {
        errno = ENAMETOOLONG;
        return E_SYS;
    }
    mem_copy(path + n, name, sizeof(name));
    return E_OK;
}

static enum err defaults_fill(struct supervisor_options *o, char *path, size_t cap)
{
    default_set(&o->drain, TIMEOUT_DRAIN);
    default_set(&o->drain_margin, TIMEOUT_DRAIN_MARGIN);
    default_set(&o->controller_exit, TIMEOUT_CONTROLLER_EXIT);
    default_set(&o->restart_delay_min, RESTART_DELAY_MIN);
    default_set(&o->restart_delay_max, RESTART_DELAY_MAX);
    default_set(&o->restart_stable, RESTART_STABLE);
    if (o->worker_n == 0) {
        o->worker_n = proc_cpu_n();
    }
    o->worker_n = o->worker_n < WORKERS_MAX ? o->worker_n : WORKERS_MAX;
    if (o->controller_path == NULL) {
        o->controller_path = "/proc/self/exe";
    }
    if (o->worker_path == NULL) {
        TRY(worker_path_find(path, cap));
        o->worker_path = path;
    }
    return E_OK;
}

static enum err supervise(struct supervisor *s)
{
    TRY(resources_open(s));
    TRY(listeners_open(s));
    if (children_start(s) != E_OK) {
        kill_all(s, "not everything could be started");
        if (are_workers_gone(s) && s->controller.pid == 0) {
            return E_OK;
        }
    }
    return loop_run(s->loop);
}

int supervisor_run(const struct supervisor_options *o)
{
    struct supervisor_options options = *o;
    char worker_path[PATH_MAX];
    enum err e = defaults_fill(&options, worker_path, sizeof(worker_path));
    struct supervisor *s = e == E_OK ? supervisor_new(&options) : NULL;
    if (s == NULL) {
        log_line(LOG_ERROR, "cannot start: %s", e == E_SYS ? strerror(errno) : err_text(E_NOMEM));
        return 1;
    }
    e = supervise(s);
    int status = e == E_OK ? s->exit_status : 1;
    if (e != E_OK && e != E_REFUSED) {
        log_line(LOG_ERROR, "the supervisor failed: %s",
                 e == E_SYS ? strerror(errno) : err_text(e));
    } else if (status == 0) {
        log_line(LOG_INFO, "drained, bye");
    }
    supervisor_free(s);
    return status;
}
