/* supervisor/supervisor.h: the first process of `lintel run`, PID 1 in a container.
 *
 * Opens the listening sockets and the counters once, starts the controller and the workers, starts
 * them again when they die, and passes on what the controller publishes:
 *
 *   controller --CONTROL_SEGMENT--> log of live segments --from each one's cursor--> workers
 *
 * There are two such streams, each with a log and cursors of its own: what requests are served by,
 * and secrets (CONTROL_SECRET), which are sent first.
 * The log holds the segments that still count (control_message.keep_n), so that a new worker, or
 * one that asks with CONTROL_RESYNC, gets the whole state without the controller. A worker whose
 * socket is full gets the rest when it has room and never holds up the others. A restarted
 * controller begins a new history: its first segment has base_generation 0 and keep_n 0; the last
 * generation stands in stats_area.generation.
 *
 * Contract with the children (see also os/heritage.h, os/spawn.h):
 * - argv of the controller is "lintel" "controller" <heritage fd> and controller_argv; that of a
 *   worker "lintel-worker" <heritage fd>. SIGINT, SIGTERM and SIGHUP reach them ignored: only the
 *   control socket tells them what to do.
 * - CONTROL_READY once in service; a worker after its first generation.
 * - CONTROL_LOG_REOPEN after SIGHUP, when the access log goes to a file: the file's new descriptor.
 * - CONTROL_DRAIN: a worker goes on accepting for heritage.shutdown_grace_us, then finishes what is
 *   in flight for at most drain_us and exits 0. The controller gets it when the workers are gone
 *   and exits 0 at once; until then it answers /readyz by stats_area.is_draining.
 * - The control socket closed (E_CLOSED): the supervisor is gone. A worker drains itself as after
 *   CONTROL_DRAIN, the controller exits. No PR_SET_PDEATHSIG: it would cut off the requests in
 *   flight.
 * - A controller that exits with SUPERVISOR_EXIT_USAGE before it was ever in service ends
 * everything: its options will not get better by trying again.
 * - A child that closes its control socket while it runs, or breaks the protocol, is killed.
 * Here nothing from outside is parsed. */
#pragma once

#include "base/clock.h"
#include "os/heritage.h"

#include <stddef.h>

enum { SUPERVISOR_EXIT_USAGE = 2 }; /* the exit status that all our commands have for bad options */

struct supervisor_listener {
    const char *name; /* as in struct heritage_listener: "http", "health" */
    enum heritage_role role;
    const char *address; /* NULL or "" = every address of both families */
    uint16_t port;       /* 0 = any free one */
};

struct supervisor_options {
    const struct supervisor_listener *listeners;
    uint32_t listener_n;
    uint32_t worker_n;    /* 0 = one for each CPU this process may use */
    size_t session_bytes; /* memory for TLS sessions of all workers; 0 = none are kept */
    bool is_access_log_on;
    const char *access_log_file;        /* appended to, opened anew on SIGHUP; NULL = stdout */
    bool has_no_host_metrics;           /* series of requests lack the host */
    uint32_t access_log_format;         /* enum access_log_format, passed on */
    uint32_t log_level;                 /* enum log_level of the workers */
    const char *const *controller_argv; /* options for the controller, NULL-terminated; or NULL */
    usec_t shutdown_grace;              /* go on accepting for this long after SIGTERM */
    usec_t drain;                       /* then finish what is in flight; 0 = TIMEOUT_DRAIN */
    /* For tests; 0 or NULL = the named defaults. */
    const char *controller_path; /* the own executable */
    const char *worker_path;     /* "lintel-worker" beside the own executable */
    usec_t restart_delay_min, restart_delay_max, restart_stable;
    usec_t drain_margin, controller_exit;
};

/* Runs until SIGTERM or SIGINT and the end of all children. Gives the exit status: 0 after a clean
 * drain; 1 when it could not start (the log says why; SUPERVISOR_EXIT_USAGE when that was the
 * controller's options), or children had to be killed because a
 * second signal came or the drain took too long. Context: its own process, one thread. */
int supervisor_run(const struct supervisor_options *o);
