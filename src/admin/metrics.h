/* admin/metrics.h: /metrics in the Prometheus text format, version 0.0.4.
 * Source: prometheus.io/docs/instrumenting/exposition_formats. */
#pragma once

#include "base/buf.h"
#include "document/diag.h"
#include "model/object.h"
#include "stats/stats.h"

/* The constant labels of ingress-nginx's metrics. Empty where there is nothing to say. */
struct metrics_identity {
    struct str class_name, namespace_name, pod;
};

struct metrics_resource { /* of a Kubernetes API server that is followed */
    const char *name;     /* "ingresses" */
    bool is_healthy;
    uint64_t objects, lists, watches, relists, failures;
    usec_t silence;
};

enum { METRICS_RESOURCES_MAX = 8 };

struct metrics_api { /* resource_n 0: objects come from elsewhere */
    struct metrics_resource resources[METRICS_RESOURCES_MAX];
    size_t resource_n;
    uint64_t calls, failed_status, failed_transport, throttled, connects, bytes;
    uint64_t polled_n;
};

/* In service for a host. Borrowed as long as nothing is compiled. */
struct metrics_certificate {
    struct str namespace_name, secret, host; /* host is empty: names that nobody has one for */
    struct str serial, issuer_organization, issuer_common_name, issuer_serial;
    const char *key_algorithm;
    int64_t not_after;
};
typedef void metrics_certificate_fn(void *arg, const struct metrics_certificate *c);

/* What the controller knows besides the stats area. */
struct metrics_input {
    const struct stats_area *stats;
    struct metrics_identity identity;
    /* Calls fn for each present diagnostic. Errors: E_NOMEM. NULL: unknown. */
    enum err (*each_diag)(void *arg, diag_fn *fn, void *fn_arg);
    void *each_diag_arg;
    /* Calls fn for each certificate in service. NULL: unknown. */
    void (*each_certificate)(void *arg, metrics_certificate_fn *fn, void *fn_arg);
    void *each_certificate_arg;
    uint64_t objects[OBJECT_KINDS_N];
    uint64_t diagnostics[DIAG_REASONS_N][2]; /* [reason][severity - 1]: present at this moment */
    uint64_t diagnostics_total;              /* seen since the start */
    uint64_t batches;                        /* compile runs */
    usec_t batch_cpu;                        /* CPU time of these */
    usec_t lag_last, lag_most;               /* from the change's notice to its publication */
    uint64_t snapshot_bytes, snapshot_segments;
    uint64_t files, file_reads;
    uint64_t names, names_unresolved; /* of ExternalName Services */
    usec_t saved_age;                 /* of the snapshot file while that is served */
    struct metrics_api api;
};

/* Adds all metrics but those of the routes (metrics_series.h): their number does not grow with the
 * configuration, but for METRICS_ORPHANS_MAX and METRICS_CERTIFICATES_MAX. CPU and memory come from
 * /proc: context: may read small files of /proc. */
void metrics_emit(struct buf *out, const struct metrics_input *in);

/* One sample line; labels is "a=\"b\"" or empty. For values that are no whole numbers, seconds. */
void metrics_sample(struct buf *out, const char *metric, const char *labels, uint64_t value);
/* The value of a label: '\\', '"' and line ends escaped. */
void metrics_label_escape(struct buf *out, struct str value);
