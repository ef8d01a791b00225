/* status/line.h: writes to the API that wait for their turn: a few are under way, the others stand
 * in line. Answers are not read, only judged.
 *
 *   waiting ──its turn──> under way ──done, or refused for good──> out (on_end)
 *      ^ └─nothing to do any more──> out        │
 *      └── failed in a way that may pass ───────┘  the whole line stands still for a while
 *
 * The line stands still after a failure because what makes one write fail (the API server is away,
 * is overloaded, forbids it) makes the next one fail, too. */
#pragma once

#include "base/list.h"
#include "event/loop.h"
#include "kube/client.h"

struct line;

struct line_job { /* embedded in its owner; zeroed memory is in no line */
    struct list link;
    struct kube_call *call; /* NULL: it waits, or is in no line */
    struct line *line;      /* NULL: in no line */
    uint32_t tries;
    bool is_again; /* under way, and wanted once more after that */
};

enum line_verdict {
    LINE_DONE,      /* it was written, or never will be */
    LINE_ANEW,      /* at the end of the line; it will be another request */
    LINE_AGAIN,     /* at the end of the line, after a pause that doubles */
    LINE_FORBIDDEN, /* the first one again, after the longest pause */
};

struct line_ops {
    /* Writes j's request: path goes into path, the body into body. False: there is nothing to do
     * any more. */
    bool (*make)(void *arg, struct line_job *j, struct kube_request *request, struct buf *path,
                 struct buf *body);
    /* Of an answer that is none of success, or of none. */
    enum line_verdict (*judge)(void *arg, struct line_job *j, const struct kube_result *result);
    /* j is out; it may be freed, or added again. result: of the last try; NULL: none was needed. */
    void (*on_end)(void *arg, struct line_job *j, const struct kube_result *result);
};

struct line {
    struct loop *loop;
    struct kube_client *client;
    const struct line_ops *ops;
    void *arg;
    uint32_t under_way_max;
    struct list waiting, under_way;
    size_t waiting_n, under_way_n;
    uint64_t retries;
    usec_t pause; /* after the next failure; 0: the shortest */
    struct timer pause_timer;
    struct deferred work;
    struct buf path, body;
};

/* Borrows all. */
void line_init(struct line *l, struct loop *loop, struct kube_client *client,
               const struct line_ops *ops, void *arg, uint32_t under_way_max);
/* Ends the calls under way; no callback follows, jobs are out. Safe on zeroed memory. */
void line_fini(struct line *l);
/* At the end of the line. One that waits stays where it is; one under way is written once more. */
void line_add(struct line *l, struct line_job *j);
/* Takes it out without on_end. Safe on one that is in no line. */
void line_del(struct line_job *j);
bool line_job_is_in(const struct line_job *j);
bool line_is_empty(const struct line *l);
/* True for what may pass: no answer, 401 (the token is read again), 408, 429, 5xx. */
bool line_may_pass(const struct kube_result *result);
