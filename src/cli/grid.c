/* Cells are kept until all widths are known. Colours come around the text of a cell, never around
 * the blanks behind it. */
#include "cli/grid.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/vec.h"

enum { TEXT_BYTES_MAX = 1 << 30, CELL_BYTES = 1024, GAP = 2 };

static const char *const paints[] = {
    [GRID_PLAIN] = "",       [GRID_GOOD] = "\033[32m", [GRID_WARNING] = "\033[33m",
    [GRID_BAD] = "\033[31m", [GRID_HEAD] = "\033[1m",
};

void grid_init(struct grid *g, const char *const *heads, size_t column_n)
{
    must(column_n > 0 && column_n <= GRID_COLUMNS_MAX);
    *g = (struct grid){.heads = heads, .column_n = column_n};
    buf_init(&g->text, TEXT_BYTES_MAX);
    for (size_t i = 0; i < column_n; i++) {
        grid_add(g, GRID_HEAD, str_from_cstr(heads[i]));
    }
}

void grid_fini(struct grid *g)
{
    mem_free(g->cells);
    buf_fini(&g->text);
    *g = (struct grid){0};
}

void grid_add(struct grid *g, enum grid_color color, struct str text)
{
    if (VEC_ROOM(g->cells, g->n, g->cap, GRID_CELLS_MAX) != E_OK) {
        g->text.bad = true;
        return;
    }
    text = text.n > 0 ? text : STR("-");
    g->cells[g->n++] = (struct grid_cell){g->text.n, text.n, color};
    for (size_t i = 0; i < text.n; i++) {
        bool is_printable = text.p[i] >= ' ' && text.p[i] <= '~';
        buf_add_char(&g->text, is_printable ? text.p[i] : '?');
    }
}

void grid_addf(struct grid *g, enum grid_color color, const char *format, ...)
{
    char text[CELL_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t kept = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    grid_add(g, color, str_make(text, kept));
}

void grid_paint(struct buf *out, enum grid_color color, bool has_color, struct str text)
{
    bool is_painted = has_color && color != GRID_PLAIN;
    buf_add_str(out, str_from_cstr(is_painted ? paints[color] : ""));
    buf_add_str(out, text);
    buf_add_str(out, is_painted ? STR("\033[0m") : STR_EMPTY);
}

static size_t column_width(const struct grid *g, size_t column)
{
    size_t width = 0;
    for (size_t i = column; i < g->n; i += g->column_n) {
        width = g->cells[i].n > width ? g->cells[i].n : width;
    }
    return width < GRID_WIDTH_MAX ? width : GRID_WIDTH_MAX;
}

static void blanks(struct buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_add_char(out, ' ');
    }
}

static void cell_emit(struct buf *out, const struct grid *g, size_t i, size_t width, bool has_color)
{
    const struct grid_cell *cell = &g->cells[i];
    struct str text = str_make(g->text.p + cell->at, cell->n);
    bool is_last = (i + 1) % g->column_n == 0;
    if (is_last || text.n <= width) {
        grid_paint(out, cell->color, has_color, text);
    } else {
        grid_paint(out, cell->color, has_color, str_first(text, width - 1));
        buf_add_char(out, '~');
    }
    if (is_last) {
        buf_add_char(out, '\n');
        return;
    }
    blanks(out, GAP + width - (text.n < width ? text.n : width));
}

void grid_emit(struct buf *out, const struct grid *g, size_t indent, bool has_color)
{
    size_t widths[GRID_COLUMNS_MAX];
    out->bad = out->bad || g->text.bad;
    if (g->text.bad || g->n <= g->column_n) {
        return;
    }
    for (size_t i = 0; i < g->column_n; i++) {
        widths[i] = column_width(g, i);
    }
    for (size_t i = 0; i < g->n; i++) {
        blanks(out, i % g->column_n == 0 ? indent : 0);
        cell_emit(out, g, i, widths[i % g->column_n], has_color);
    }
}
