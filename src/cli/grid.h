/* cli/grid.h: tables for people: aligned columns, two blanks apart, with a head. */
#pragma once

#include "base/buf.h"

enum grid_color { GRID_PLAIN, GRID_GOOD, GRID_WARNING, GRID_BAD, GRID_HEAD };

enum {
    GRID_COLUMNS_MAX = 12,
    GRID_CELLS_MAX = 16 << 20,
    GRID_WIDTH_MAX = 60, /* of a column; longer cells are cut, those of the last column are not */
};

struct grid_cell {
    size_t at, n; /* in text */
    enum grid_color color;
};

struct grid {
    const char *const *heads;
    size_t column_n;
    struct grid_cell *cells;
    size_t n, cap;
    struct buf text;
};

/* heads: borrowed, one for each of at most GRID_COLUMNS_MAX columns. Release with grid_fini(). */
void grid_init(struct grid *g, const char *const *heads, size_t column_n);
void grid_fini(struct grid *g);
/* The next cell, row by row; an empty one shows as "-". Whatever is not printable ASCII becomes
 * '?': a name shall not move the cursor. */
void grid_add(struct grid *g, enum grid_color color, struct str text);
void grid_addf(struct grid *g, enum grid_color color, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds the rows, each behind indent blanks; nothing when there is none. out becomes bad when memory
 * ran out before. */
void grid_emit(struct buf *out, const struct grid *g, size_t indent, bool has_color);

/* text in a colour; for lines that are not in a table. */
void grid_paint(struct buf *out, enum grid_color color, bool has_color, struct str text);
