/* Diagnostics: the reason table, the one text form, and a list that keeps copies.
 * Parts of a diagnostic come from manifests: control characters are written as \xNN, so that no
 * manifest can forge a line of a log. */
#include "document/diag.h"

#include "base/arena.h"
#include "base/mem.h"
#include "base/vec.h"

#include <stdlib.h>

enum { DIAG_LIST_BYTES_MAX = 256 << 20 };

struct diag_list {
    struct diag *items;
    size_t n, cap, max, dropped;
    struct arena arena;
};

const char *diag_reason_name(enum diag_reason reason)
{
    static const char *const names[DIAG_REASONS_N] = {
#define REASON(name, text) [DIAG_##name] = #name,
#include "document/diag_reasons.def"
#undef REASON
    };
    return names[reason];
}

static void add_printable(struct buf *b, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c != 0x7f) {
            buf_add_char(b, (char)c);
        } else {
            buf_add_str(b, STR("\\x"));
            buf_add_char(b, hex[c >> 4]);
            buf_add_char(b, hex[c & 15]);
        }
    }
}

static void add_part(struct buf *b, const char *before, struct str s, const char *after)
{
    if (s.n > 0) {
        buf_add_str(b, str_from_cstr(before));
        add_printable(b, s);
        buf_add_str(b, str_from_cstr(after));
    }
}

static void add_place(struct buf *b, const struct diag *d)
{
    add_part(b, "", d->file, ":");
    if (d->file.n > 0 && d->line > 0) {
        buf_add_u64(b, d->line);
        buf_add_char(b, ':');
    }
    if (d->file.n > 0) {
        buf_add_char(b, ' ');
    }
    buf_add_str(b, d->severity == DIAG_ERROR ? STR("error: ") : STR("warning: "));
}

static void add_object(struct buf *b, const struct diag *d)
{
    if (d->kind.n == 0) {
        return;
    }
    add_printable(b, d->kind);
    if (d->name.n > 0) {
        buf_add_char(b, ' ');
        add_part(b, "", d->namespace_name, "/");
        add_printable(b, d->name);
    }
    buf_add_str(b, STR(": "));
}

void diag_emit_text(struct buf *b, const struct diag *d)
{
    add_place(b, d);
    add_object(b, d);
    add_part(b, "", d->field, ": ");
    add_printable(b, d->what);
    add_part(b, ": ", d->why, "");
    add_part(b, "; ", d->mend, "");
    buf_add_str(b, STR(" ("));
    buf_add_str(b, str_from_cstr(diag_reason_name(d->reason)));
    buf_add_char(b, ')');
}

enum err diag_list_new(size_t max, struct diag_list **ret)
{
    struct diag_list *l = mem_calloc(1, sizeof(*l));
    if (l == NULL) {
        return E_NOMEM;
    }
    l->max = max;
    arena_init(&l->arena, DIAG_LIST_BYTES_MAX);
    *ret = l;
    return E_OK;
}

void diag_list_free(struct diag_list *l)
{
    if (l != NULL) {
        arena_fini(&l->arena);
        mem_free(l->items);
        mem_free(l);
    }
}

static bool keep(struct arena *a, struct str *s)
{
    if (s->n == 0) {
        *s = STR_EMPTY;
        return true;
    }
    return arena_str(a, *s, s);
}

void diag_list_add(void *list, const struct diag *d)
{
    struct diag_list *l = list;
    struct diag copy = *d;
    struct arena *a = &l->arena;
    bool is_kept = l->n < l->max && VEC_ROOM(l->items, l->n, l->cap, l->max) == E_OK &&
                   keep(a, &copy.file) && keep(a, &copy.kind) && keep(a, &copy.namespace_name) &&
                   keep(a, &copy.name) && keep(a, &copy.field) && keep(a, &copy.what) &&
                   keep(a, &copy.why) && keep(a, &copy.mend);
    if (is_kept) {
        l->items[l->n++] = copy;
    } else {
        l->dropped++;
    }
}

size_t diag_list_n(const struct diag_list *l)
{
    return l->n;
}

size_t diag_list_dropped(const struct diag_list *l)
{
    return l->dropped;
}

const struct diag *diag_list_get(const struct diag_list *l, size_t i)
{
    must(i < l->n);
    return &l->items[i];
}

static int diag_cmp(const void *x, const void *y)
{
    const struct diag *a = x, *b = y;
    const int orders[] = {
        str_cmp(a->file, b->file),
        (a->line > b->line) - (a->line < b->line),
        str_cmp(a->kind, b->kind),
        str_cmp(a->namespace_name, b->namespace_name),
        str_cmp(a->name, b->name),
        str_cmp(a->field, b->field),
        (a->reason > b->reason) - (a->reason < b->reason),
        str_cmp(a->what, b->what),
    };
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        if (orders[i] != 0) {
            return orders[i];
        }
    }
    return 0;
}

void diag_list_sort(struct diag_list *l)
{
    if (l->n > 0) {
        qsort(l->items, l->n, sizeof(*l->items), diag_cmp);
    }
}
