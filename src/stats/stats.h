/* stats/stats.h: counters in shared memory. The supervisor makes the area; each worker writes its
 * own page, the controller reads them all; a restarted worker goes on in the same page, so counters
 * never fall. Single writer, relaxed atomics: an increment is one plain add. */
#pragma once

#include "base/err.h"
#include "base/limits.h"
#include "base/reason.h"
#include "stats/durations.h"
#include "stats/value.h"

#include <stdalign.h>
#include <stdint.h>

struct stats_page {
    alignas(64) stats_value pid; /* of the worker, 0 = not running */
    stats_value restarts;        /* written by the supervisor */
#define COUNTER(field, type, metric, labels, help) stats_value field;
#include "stats/counters.def"
#undef COUNTER
#define DURATIONS(field, metric, labels, help) struct stats_durations field;
#include "stats/durations.def"
#undef DURATIONS
    stats_value reasons[REASONS_N]; /* responses of Lintel's own, and cut-off requests, by reason */
};

struct stats_area {
    uint32_t magic, bytes; /* STATS_MAGIC, of the whole area, series included */
    uint32_t worker_n;
    uint32_t is_per_host; /* 1: series have the route's host as a label; set before the workers
                             start */
    stats_value supervisor_pid, controller_pid; /* written by the supervisor */
    stats_value controller_restarts;
    stats_value generation;              /* newest that the controller published */
    stats_value generation_published_us; /* wall clock */
    stats_value secret_generation;       /* the same of the stream of secrets */
    stats_value is_draining;             /* 1 once SIGTERM has come */
    struct stats_page workers[WORKERS_MAX];
    /* Behind it, at STATS_SERIES_OFFSET, a struct series_region for each worker (series.h), then a
     * struct stats_endpoint_region for each (endpoints.h). */
};
#define STATS_MAGIC 0x4c4e5354U

/* Room for the regions is address space only until it is used.
 * A new area in a memfd that survives exec. The supervisor keeps both. Errors: E_SYS. */
enum err stats_create(uint32_t worker_n, struct stats_area **ret, int *ret_fd);
/* Maps an inherited one. Errors: E_PROTO, E_SYS. */
enum err stats_open(int fd, struct stats_area **ret);
void stats_close(struct stats_area *s); /* s may be NULL */
/* For the supervisor, once a worker is gone: what was true of it at a moment (gauges, pid) is 0
 * now. Counters stay. */
void stats_page_clear_gauges(struct stats_page *page);

/* The table of counters.def, for whoever prints it. */
struct stats_counter {
    const char *metric, *labels, *help;
    bool is_gauge;
    uint32_t offset; /* of the stats_value in struct stats_page */
};
extern const struct stats_counter stats_counters[];
extern const uint32_t stats_counter_n;

/* The table of durations.def, the same way. */
struct stats_histogram {
    const char *metric, *labels, *help;
    uint32_t offset; /* of the struct stats_durations in struct stats_page */
};
extern const struct stats_histogram stats_histograms[];
extern const uint32_t stats_histogram_n;
