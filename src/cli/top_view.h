/* cli/top_view.h: what `lintel top` shows of the time between two samples: lines for people, JSON
 * for programs. */
#pragma once

#include "cli/top_sample.h"

struct top_view {
    struct str server;
    struct top_sample *sample;     /* after top_sample_since() */
    const uint64_t *reason_totals; /* since the start */
    usec_t interval;               /* > 0 */
};

/* Lines of at most columns characters, at most rows of them (0 = any number), each ending in
 * "\n". What is from the configuration is printable ASCII here, whatever it was: a path shall not
 * move the cursor. */
void top_view_text(struct buf *out, const struct top_view *v, size_t columns, size_t rows,
                   bool has_color);
/* One line. */
void top_view_json(struct buf *out, const struct top_view *v);
