/* Bookkeeping of diagnostics: each record owns those of its last compilation, and all stand in one
 * list, which is sorted when somebody asks. Sorting lists in place needs no memory, so that asking
 * cannot fail. */
#include "compile/compile_priv.h"

#include "base/mem.h"

struct diag_node {
    struct list all;   /* in diag_book.all */
    struct list owned; /* in node.diags or diag_batch.nodes */
    struct diag diag;
    char text[];
};

typedef int list_cmp_fn(const struct list *a, const struct list *b);

enum { SORT_BINS = 48 }; /* bin i holds 2^i nodes */

#define node_of(ptr, member)                                                                       \
    ((const struct diag_node *)(const void *)((const char *)(ptr)-offsetof(struct diag_node,       \
                                                                           member)))

static int number_cmp(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int diag_cmp(const struct diag *a, const struct diag *b)
{
    const int orders[] = {
        str_cmp(a->file, b->file),        number_cmp(a->line, b->line),
        str_cmp(a->kind, b->kind),        str_cmp(a->namespace_name, b->namespace_name),
        str_cmp(a->name, b->name),        str_cmp(a->field, b->field),
        number_cmp(a->reason, b->reason), str_cmp(a->what, b->what),
    };
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        if (orders[i] != 0) {
            return orders[i];
        }
    }
    return 0;
}

static int owned_cmp(const struct list *a, const struct list *b)
{
    return diag_cmp(&node_of(a, owned)->diag, &node_of(b, owned)->diag);
}

static int all_cmp(const struct list *a, const struct list *b)
{
    return diag_cmp(&node_of(a, all)->diag, &node_of(b, all)->diag);
}

/* Two chains ended by NULL into one; equal nodes keep their order, a's first. */
static struct list *chain_merge(struct list *a, struct list *b, list_cmp_fn *cmp)
{
    struct list *first = NULL, **end = &first;
    while (a != NULL && b != NULL) {
        struct list **smaller = cmp(a, b) <= 0 ? &a : &b;
        *end = *smaller;
        end = &(*smaller)->next;
        *smaller = *end;
    }
    *end = a != NULL ? a : b;
    return first;
}

static void list_sort(struct list *head, list_cmp_fn *cmp)
{
    struct list *bins[SORT_BINS] = {NULL};
    list_each(it, head)
    {
        struct list *chain = it;
        size_t i = 0;
        chain->next = NULL;
        for (; bins[i] != NULL; i++) {
            chain = chain_merge(bins[i], chain, cmp);
            bins[i] = NULL;
        }
        bins[i] = chain;
    }
    struct list *chain = NULL;
    for (size_t i = 0; i < SORT_BINS; i++) {
        chain = chain_merge(bins[i], chain, cmp);
    }
    list_init(head);
    while (chain != NULL) {
        struct list *next = chain->next;
        list_append(head, chain);
        chain = next;
    }
}

static struct str text_put(char **at, struct str s)
{
    struct str copy = {*at, s.n};
    mem_copy(*at, s.p, s.n);
    (*at)[s.n] = '\0';
    *at += s.n + 1;
    return copy;
}

static struct diag_node *diag_node_new(const struct diag *d)
{
    enum { COPIED = 5 };
    size_t text = d->file.n + d->namespace_name.n + d->name.n + d->field.n + d->what.n + COPIED;
    struct diag_node *n = mem_alloc(sizeof(*n) + text);
    if (n == NULL) {
        return NULL;
    }
    char *at = n->text;
    n->diag = *d;
    n->diag.file = text_put(&at, d->file);
    n->diag.namespace_name = text_put(&at, d->namespace_name);
    n->diag.name = text_put(&at, d->name);
    n->diag.field = text_put(&at, d->field);
    n->diag.what = text_put(&at, d->what);
    list_init(&n->all);
    list_init(&n->owned);
    return n;
}

void diag_batch_init(struct diag_batch *batch)
{
    list_init(&batch->nodes);
    batch->err = E_OK;
}

void diag_batch_add(struct diag_batch *batch, const struct diag *d)
{
    struct diag_node *n = batch->err == E_OK ? diag_node_new(d) : NULL;
    if (n == NULL) {
        batch->err = E_NOMEM;
        return;
    }
    list_append(&batch->nodes, &n->owned);
}

void diag_owner_clear(struct list *owner)
{
    for (struct list *it; (it = list_pop(owner)) != NULL;) {
        struct diag_node *n = container_of(it, struct diag_node, owned);
        list_del(&n->all);
        mem_free(n);
    }
}

void diag_batch_tell(struct diag_batch *batch, diag_fn *fn, void *arg)
{
    list_sort(&batch->nodes, owned_cmp);
    for (const struct list *it = batch->nodes.next; it != &batch->nodes; it = it->next) {
        fn(arg, &node_of(it, owned)->diag);
    }
}

void diag_batch_drop(struct diag_batch *batch)
{
    diag_owner_clear(&batch->nodes);
}

/* Both sorted: tells of what is in fresh only. */
static void tell_added(const struct diag_book *book, const struct list *fresh,
                       const struct list *old)
{
    const struct list *o = old->next;
    for (const struct list *f = fresh->next; f != fresh; f = f->next) {
        while (o != old && owned_cmp(o, f) < 0) {
            o = o->next;
        }
        if (o == old || owned_cmp(o, f) != 0) {
            book->on_diag(book->arg, &node_of(f, owned)->diag);
        }
    }
}

void diag_batch_tell_added(struct diag_batch *batch, const struct list *owner, diag_fn *fn,
                           void *arg)
{
    const struct diag_book book = {.on_diag = fn, .arg = arg};
    list_sort(&batch->nodes, owned_cmp);
    tell_added(&book, &batch->nodes, owner);
}

void diag_batch_commit(struct diag_batch *batch, struct diag_book *book, struct list *owner)
{
    must(batch->err == E_OK);
    if (!list_is_empty(&batch->nodes)) {
        list_sort(&batch->nodes, owned_cmp);
        if (book->on_diag != NULL) {
            tell_added(book, &batch->nodes, owner);
        }
    }
    diag_owner_clear(owner);
    for (struct list *it; (it = list_pop(&batch->nodes)) != NULL;) {
        list_append(owner, it);
        list_append(&book->all, &container_of(it, struct diag_node, owned)->all);
        book->is_sorted = false;
    }
}

void diag_book_init(struct diag_book *book)
{
    *book = (struct diag_book){.is_sorted = true};
    list_init(&book->all);
}

void diag_book_sort(struct diag_book *book)
{
    if (!book->is_sorted) {
        list_sort(&book->all, all_cmp);
        book->is_sorted = true;
    }
}

void diag_book_each(const struct diag_book *book, diag_fn *fn, void *arg)
{
    for (const struct list *it = book->all.next; it != &book->all; it = it->next) {
        /* Two ports of one Service may find the same fault in its slices. */
        if (it->prev == &book->all || all_cmp(it->prev, it) != 0) {
            fn(arg, &node_of(it, all)->diag);
        }
    }
}
