/* admission/admission.h: the validating admission webhook: an HTTPS port of its own, which only API
 * servers need to reach, answers reviews of Ingresses from the compiler's own diagnostics. Nothing
 * is run, rendered or waited for. See docs/webhook.md.
 * Context: controller's loop. */
#pragma once

#include "admission/certificates.h"
#include "admission/handler.h"

struct admission;

struct admission_options {
    struct admission_judge judge;
    struct certificates_options certificates;
};

/* Serves on the listening, non-blocking socket fd; borrows it, and the texts of options. Errors:
 * E_REFUSED (the certificate's files; it was logged why), E_NOMEM, E_SYS. */
enum err admission_open(struct loop *loop, int fd, const struct admission_options *options,
                        struct admission **ret);
/* Accepts no more, cuts what is open. a may be NULL. Before the kube client is freed. */
void admission_close(struct admission *a);

const struct admission_counters *admission_counters(const struct admission *a);
/* When the certificate that is served ends, seconds since 1970; 0: none is served. */
int64_t admission_not_after(const struct admission *a);
/* Adds its metrics in the Prometheus text format. a may be NULL: nothing. */
void admission_emit_metrics(const struct admission *a, struct buf *out);
