/* admin/metrics_priv.h: what the files of /metrics share. */
#pragma once

#include "admin/metrics.h"
#include "os/proc.h"

void metrics_head(struct buf *out, const char *metric, const char *type, const char *help);
/* Microseconds as "1.500000". */
void metrics_seconds(struct buf *out, usec_t value);
/* ingress-nginx's labels of every series into w, with a comma behind each. Cut when there is no
 * room: they come from our own environment and options. */
void metrics_constant_labels(struct wr *w, const struct metrics_identity *identity);
/* Where the objects come from, and how old they are: metrics_api.c. */
void metrics_api_emit(struct buf *out, const struct metrics_input *in);
/* Which certificates end when: metrics_certificates.c. */
void metrics_certificates_emit(struct buf *out, const struct metrics_input *in);
/* ingress-nginx's metrics that are not about routes: metrics_nginx.c. */
void metrics_nginx_emit(struct buf *out, const struct metrics_input *in);

/* The sum over the workers of the stats_value at offset in their pages. */
uint64_t metrics_sum(const struct stats_area *stats, size_t offset);
#define METRICS_SUM(stats, field) metrics_sum(stats, offsetof(struct stats_page, field))

/* For how long the worker has been behind the newest generation. */
usec_t metrics_worker_lag(const struct stats_area *stats, uint32_t index);

struct metrics_process {
    char name[32]; /* "supervisor", "controller", "worker-0" */
    uint64_t pid, restarts;
    struct proc_usage usage;
    bool is_seen; /* usage is known */
    bool is_worker;
};
enum { METRICS_PROCESSES_MAX = WORKERS_MAX + 2 };

/* Their number. list has room for METRICS_PROCESSES_MAX and is zeroed. Reads /proc. */
size_t metrics_processes(const struct stats_area *stats, struct metrics_process *list);
