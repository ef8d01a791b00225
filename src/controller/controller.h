/* controller/controller.h: the controller process: keeps the configuration up to date and answers
 * on the health port. Born from the supervisor's heritage; ends when that says so or is gone. */
#pragma once

#include "compile/compile.h"
#include "controller/feedback.h"
#include "source/api.h"

struct controller_options {
    const char *manifests;     /* directory; NULL: a Kubernetes API server */
    const char *kubeconfig;    /* NULL: we run in a pod */
    const char *context;       /* of kubeconfig; NULL: its current-context */
    struct api_options api;    /* but for client and callbacks */
    const char *snapshot_file; /* NULL = none */
    struct compile_options compile;
    struct ocsp_options ocsp;
    struct feedback_options feedback;
};

/* heritage_fd: argument 1 of os/heritage.h; taken. Borrows options. Gives the exit status: 0 after
 * CONTROL_DRAIN or when the supervisor is gone, 1 when it could not start. Context: its own
 * process, one thread. */
int controller_main(int heritage_fd, const struct controller_options *options);
