/* admin/metrics_series.h: the series of requests (stats/series.h) in /metrics, made piece by piece:
 * some thousand series with seven histograms each are tens of megabytes, which neither stand in
 * memory at once nor hold up the controller's loop. Names and labels as ingress-nginx has them,
 * where it has them. */
#pragma once

#include "admin/metrics.h"
#include "stats/series.h"

enum { METRICS_LABELS_BYTES = 4096 };

struct metrics_scrape {
    const struct stats_area *stats;
    struct series_set set; /* as it was when the scrape began; what ends meanwhile is left out */
    size_t family, at;
    bool is_begun;       /* the family's HELP is written */
    struct str constant; /* labels of every series, with a comma behind; in text */
    char text[METRICS_LABELS_BYTES / 4];
};

/* Borrows stats; copies identity. Errors: E_NOMEM. */
enum err metrics_scrape_init(struct metrics_scrape *s, const struct stats_area *stats,
                             const struct metrics_identity *identity);
void metrics_scrape_fini(struct metrics_scrape *s);
/* Adds to out until it holds about bytes; false when that was all. */
bool metrics_scrape_step(struct metrics_scrape *s, struct buf *out, size_t bytes);

/* The sums over all routes: few series, no labels, finer buckets. */
void metrics_totals_emit(struct buf *out, const struct stats_area *stats);
/* Durations that are not about requests: stats/durations.def. */
void metrics_durations_emit(struct buf *out, const struct stats_area *stats);
