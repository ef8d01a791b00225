/* controller/feedback.h: what the controller gives back besides a configuration: to the cluster the
 * status of Ingresses, Events and its vote on who leads; to API servers that ask, reviews of
 * Ingresses. All of it begins once the objects are there: before, an Ingress of ours might look as
 * if it were not. */
#pragma once

#include "admission/admission.h"
#include "controller/pipeline.h"
#include "status/status.h"

struct feedback_options {
    struct status_options
        status; /* empty pod names: not in a pod; the election's namespace is found */
    struct certificates_options webhook; /* but for shared.kube */
};

struct feedback {
    struct pipeline *pipeline;
    struct feedback_options options;
    struct status_callbacks callbacks;
    struct admission_options admission_options;
    struct status *status;       /* NULL: not begun, or the source is no cluster */
    struct admission *admission; /* NULL: not begun, or not wanted */
    int webhook_fd;              /* listening; -1: not wanted */
    bool has_begun;
};

/* Copies options; borrows their texts and pipeline for f's life, and webhook_fd. */
void feedback_init(struct feedback *f, struct pipeline *pipeline,
                   const struct feedback_options *options, int webhook_fd);
/* A generation was committed: the first one that was made of objects begins it. What cannot begin
 * is logged; the rest goes on without. */
void feedback_on_commit(struct feedback *f);
/* Before the end: what is left in the cluster is put in order, then on_closed is called, at once or
 * within TIMEOUT_STATUS_CLOSE. */
void feedback_close(struct feedback *f, void (*on_closed)(void *arg), void *arg);
/* At any time; before the pipeline ends. */
void feedback_fini(struct feedback *f);
/* Adds metrics in the Prometheus text format. */
void feedback_emit_metrics(const struct feedback *f, struct buf *out);
