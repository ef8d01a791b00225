/* admission/handler.h: reviews over HTTP: a struct http_handler that gathers the body of a POST,
 * has it judged and answers. Everything a review costs happens in one go when its last byte is
 * there; nothing waits for anybody. */
#pragma once

#include "admission/review.h"
#include "base/clock.h"
#include "http/budget.h"
#include "http/stream.h"

enum { ADMISSION_BUCKETS_N = 11 };
/* Upper ends of the histogram's buckets, in microseconds; the last bucket has none. */
extern const usec_t admission_buckets[ADMISSION_BUCKETS_N - 1];

struct admission_counters {
    uint64_t reviews[REVIEW_VERDICTS_N];
    uint64_t failed;                    /* answered with an error instead of a review */
    uint64_t rejected;                  /* bytes that never became a request */
    uint64_t took[ADMISSION_BUCKETS_N]; /* from the last byte of a review to its answer */
    usec_t took_sum;
};

struct admission_handler {
    struct http_handler http; /* first */
    const struct admission_judge *judge;
    struct http_budget *budget;
    struct admission_counters counters;
};

/* Borrows all. */
void admission_handler_init(struct admission_handler *h, const struct admission_judge *judge,
                            struct http_budget *budget);
