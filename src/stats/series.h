/* stats/series.h: what requests cost, by route, method, status and reason, in shared memory.
 *
 * Each worker writes a region of its own; the controller reads them all and adds up what has the
 * same labels. A region holds SERIES_MAX series and no more: when it is full, what is new goes to
 * one series named "_other" and is counted, so that neither clients nor the churn of routes let it
 * grow. Labels come from the configuration, a list of methods and the status: never from bytes
 * that a client made up.
 *
 *   series:  free ──series_record──> written ──> live ──controller: retired──> free, or new life
 *
 * Who decides that a series is over is the reader, because only it sees all workers: it marks the
 * lives of equal series in all regions at once and shows them no more, so that no sum ever falls.
 * The writer reuses a marked one when it needs room, or begins a new life from zero when a request
 * comes after all. A life is a version number: labels change only while it says "being written",
 * so that a reader that saw the same version before and after has seen one thing.
 *
 * Not here: what it looks like in /metrics (admin/metrics_series.h). */
#pragma once

#include "base/clock.h"
#include "base/hash.h"
#include "base/reason.h"
#include "stats/stats.h"

struct snap_host;
struct snap_route;
struct snap_backend;

/* ---- shared memory ---- */

enum {
    SERIES_SIZES_N = 10, /* bounds; one more bucket for what is larger */
    SERIES_TEXT_BYTES = 752
};

extern const uint64_t series_size_bounds[SERIES_SIZES_N]; /* 256 B .. 64 MB, inclusive */

struct series_sizes {
    stats_value sum;
    stats_value counts[SERIES_SIZES_N + 1];
};

struct series_figures {
    struct stats_durations duration;                  /* of every request */
    struct stats_durations connect, header, response; /* of those that an endpoint got */
    struct series_sizes request_size, response_size;
};

enum series_method {
    SERIES_OTHER, /* every method that is not in the list */
    SERIES_GET,
    SERIES_HEAD,
    SERIES_POST,
    SERIES_PUT,
    SERIES_DELETE,
    SERIES_CONNECT,
    SERIES_OPTIONS,
    SERIES_TRACE,
    SERIES_PATCH,
    SERIES_METHODS_N
};

struct series_labels {
    uint16_t status;
    uint8_t method; /* enum series_method */
    uint8_t reason; /* enum reason */
    uint16_t namespace_n, ingress_n, service_n, host_n, path_n, zero;
    char text[SERIES_TEXT_BYTES]; /* the five, one after the other */
};

struct series {
    alignas(64) stats_value version; /* life * 4 + 0 free, 1 being written, 2 live */
    stats_value retired;             /* by the controller: the version whose life is over */
    stats_value used;                /* monotonic time of the last request */
    stats_value hash;                /* of the labels but the reason */
    stats_value route_hash;          /* of the five texts */
    stats_value labels[sizeof(struct series_labels) / sizeof(uint64_t)];
    struct series_figures figures;
};

struct series_region {
    alignas(64) stats_value used_n; /* items that were ever used: readers need not look further */
    stats_value live_n;
    stats_value folded;              /* requests that went to "_other" because there was no room */
    struct series_figures totals;    /* of all requests, whatever became of their series */
    struct series items[SERIES_MAX]; /* the first is "_other" */
};

/* Where the regions begin in the area: on a page of their own. */
#define STATS_SERIES_OFFSET ((sizeof(struct stats_area) + 4095) & ~(size_t)4095)

/* The region of a worker, index < worker_n. */
struct series_region *series_region(const struct stats_area *area, uint32_t index);

/* ---- the writer: a worker ---- */

struct series_table;

/* Goes on with what an earlier process of that worker left. Borrows area. Errors: E_NOMEM. */
enum err series_table_new(struct stats_area *area, uint32_t index, struct series_table **ret);
void series_table_free(struct series_table *t); /* t may be NULL */

/* Whose request it was. The pointers are only compared, and read when they were not seen before:
 * (generation, address) names the bytes, so generation is that of the segment they lie in. */
struct series_key {
    const struct snap_host *host;       /* NULL: no route */
    const struct snap_route *route;     /* NULL: no route */
    const struct snap_backend *backend; /* NULL: none was picked */
    uint64_t generation;                /* 0 without a route */
    struct str method;                  /* as received */
    uint16_t status;                    /* 499 when the client left before there was one */
    enum reason reason;
};

#define SERIES_NONE UINT64_MAX /* it did not come to that */

struct series_sample {
    usec_t now;      /* monotonic */
    usec_t duration; /* from the first byte of the request to the last of the response */
    usec_t connect;  /* of the last try; 0 on a kept-alive connection; or SERIES_NONE, as below */
    usec_t header;   /* from the try's begin to the response head */
    usec_t response; /* from the try's begin to the end of the response */
    uint64_t request_bytes, response_bytes; /* head and body; body */
};

/* Counts one request. No allocation, no formatting, no system call; below 100 ns on a route that
 * was seen lately. */
void series_record(struct series_table *t, const struct series_key *k,
                   const struct series_sample *s);

/* ---- the reader: the controller ---- */

struct series_ref { /* one life of one series */
    uint64_t group; /* what it is sorted by: hash or route_hash */
    uint64_t version;
    uint16_t worker, slot;
};

struct series_set {
    struct series_ref *refs; /* sorted by group: equal series of several workers are neighbours */
    size_t n;
};

enum series_order { SERIES_BY_LABELS, SERIES_BY_ROUTE };

/* Everything that is live and not retired. Release with series_set_fini(). Errors: E_NOMEM. */
enum err series_set_init(struct series_set *s, const struct stats_area *area,
                         enum series_order order);
void series_set_fini(struct series_set *s);
/* Index behind the last one of the group that begins at first. */
size_t series_set_group(const struct series_set *s, size_t first);

/* Its place, which another life may have taken meanwhile: see series_is_same(). */
const struct series *series_get(const struct stats_area *area, const struct series_ref *r);
/* True when everything read since series_set_init() belongs to that life. */
bool series_is_same(const struct series *s, const struct series_ref *r);
/* False when that life is over. */
bool series_labels_read(const struct series *s, const struct series_ref *r,
                        struct series_labels *ret);

struct series_texts {
    struct str namespace_name, ingress, service, host, path;
};

/* Points into l. */
struct series_texts series_texts(const struct series_labels *l);
const char *series_method_name(enum series_method m);
/* Bytes of shared memory are judged like any other: 0 is SERIES_OTHER, too. */
enum series_method series_method_of(const struct series_labels *l);

/* Is there still such an Ingress? */
typedef bool series_present_fn(const void *arg, struct str namespace_name, struct str ingress);

/* Ends the lives of series that nobody used for SERIES_IDLE_MAX, or for SERIES_GONE_MAX when their
 * Ingress is gone. Errors: E_NOMEM. */
enum err series_retire(struct stats_area *area, usec_t now, series_present_fn *is_present,
                       const void *arg);
