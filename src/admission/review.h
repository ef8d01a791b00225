/* admission/review.h: one AdmissionReview in, one out; pure. Validating only: an Ingress of ours
 * that is created or changed is decoded and judged as if it were there; everything else is allowed
 * untouched, what is being deleted too. Deep inspection of strings, as ingress-nginx does it, is
 * not needed: nothing that users write ever becomes text of a configuration.
 * Source: admission.k8s.io/v1 AdmissionReview. */
#pragma once

#include "base/buf.h"
#include "document/diag.h"
#include "model/object.h"

/* The compiler, as seen from here; folders of one floor do not know each other. */
struct admission_judge {
    const void *arg;
    /* By its class alone: only class, annotations and names of in are set. */
    bool (*is_ours)(const void *arg, const struct ingress *in);
    /* As compile_judge(). */
    enum err (*judge)(const void *arg, const struct ingress *candidate, diag_fn *fn, void *fn_arg);
};

enum review_verdict {
    REVIEW_ALLOWED,
    REVIEW_REFUSED,
    REVIEW_IGNORED, /* allowed without a look: not ours, or not an Ingress that is written */
    REVIEW_VERDICTS_N
};

/* Adds the answer to out. Errors: E_PROTO (no AdmissionReview that we know; *ret_why says what is
 * wrong with it), E_LIMIT (ADMISSION_VALUES_MAX), E_NOMEM. */
enum err review_answer(const struct admission_judge *judge, struct str body, struct buf *out,
                       enum review_verdict *ret_verdict, const char **ret_why);
