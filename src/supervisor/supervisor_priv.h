/* supervisor/supervisor_priv.h: what the files of supervisor/ share. */
#pragma once

#include "event/loop.h"
#include "os/heritage.h"
#include "stats/stats.h"
#include "supervisor/supervisor.h"

#include <sys/types.h>

/* ---- relay.c: the log of live segments ---- */

struct segment {
    int fd;
    struct control_message message;
};

struct segment_log {
    struct segment *items;
    size_t n, cap;
    uint64_t generation; /* newest ever seen */
};

void segment_log_fini(struct segment_log *log);
/* Takes fd, also on failure. *ret_keep_n is how many stayed before it: no cursor may be beyond.
 * Errors: E_PROTO (does not follow what is there), E_LIMIT, E_NOMEM. */
enum err segment_log_add(struct segment_log *log, const struct control_message *m, int fd,
                         size_t *ret_keep_n);

/* ---- child.c: one child process ---- */

struct child {
    struct supervisor *supervisor;
    enum heritage_role role;
    uint32_t index; /* of the worker */
    char name[24];  /* "worker 3" */
    pid_t pid;      /* 0 = not running */
    int control_fd; /* -1 = none */
    struct watch watch;
    struct timer restart;
    usec_t started;
    unsigned failure_n;                /* deaths since it last stayed up for long */
    size_t cursors[CONTROL_STREAMS_N]; /* segments of each log that it was sent */
    bool owes_drain;                   /* CONTROL_DRAIN is still to be sent */
    bool owes_log;                     /* same for CONTROL_LOG_REOPEN */
    bool is_ready;
};

/* Starts it. Errors: E_SYS (errno). */
enum err child_start(struct child *c);
/* The process is gone: logs why, tidies up, and unless draining starts it again now or later. */
void child_ended(struct child *c, int status);
/* Sends what is owed (drain message, segments) as far as the socket takes it. */
void child_feed(struct child *c);
void child_kill(struct child *c);
void child_fini(struct child *c);

/* ---- supervisor.c ---- */

enum phase {
    PHASE_RUNNING,
    PHASE_DRAINING, /* workers were told; waiting for their end */
    PHASE_STOPPING, /* the controller was told; waiting for its end */
    PHASE_KILLING   /* everything got SIGKILL */
};

struct supervisor {
    const struct supervisor_options *options; /* defaults filled in */
    struct loop *loop;
    enum phase phase;
    bool was_in_service; /* logged once */
    int exit_status;
    struct stats_area *stats;
    int stats_fd;
    int log_fd;
    int sessions_fd;
    int signal_fd;
    struct watch signals;
    struct timer deadline; /* of the phase */
    struct timer grace;    /* draining: until then connections are accepted */
    struct heritage_listener listeners[LISTENERS_MAX];
    struct segment_log logs[CONTROL_STREAMS_N];
    struct child controller;
    uint32_t worker_n;
    struct child workers[WORKERS_MAX];
};

/* A child reported CONTROL_READY. */
void supervisor_on_ready(struct supervisor *s, struct child *c);
/* The stream's log got a new segment behind keep_n others. */
void supervisor_on_segment(struct supervisor *s, enum control_stream stream, size_t keep_n);
/* The controller will never run: the end, with that exit status. */
void supervisor_on_hopeless(struct supervisor *s, int exit_status);
