/* Objects from manifest text, for tests. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "model/store.h"
#include "source/manifest.h"

struct objects {
    struct object **items;
    size_t n;
    size_t diag_n; /* what the decoder complained about */
};

static inline void objects_take(void *arg, struct object *o)
{
    struct objects *l = arg;
    l->items = realloc(l->items, (l->n + 1) * sizeof(*l->items));
    l->items[l->n++] = o;
}

static inline void objects_diag(void *arg, const struct diag *d)
{
    struct objects *l = arg;
    struct buf b;
    buf_init(&b, 1 << 20);
    diag_emit_text(&b, d);
    fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&b)));
    buf_fini(&b);
    l->diag_n++;
}

/* Appends; diagnostics are printed and counted. */
static inline bool objects_parse(struct objects *l, const char *file, struct str text)
{
    return manifest_parse(str_from_cstr(file), text, objects_take, objects_diag, l) == E_OK;
}

/* Frees those that are left; one that was given away is NULL. */
static inline void objects_fini(struct objects *l)
{
    for (size_t i = 0; i < l->n; i++) {
        object_free(l->items[i]);
    }
    free(l->items);
    *l = (struct objects){0};
}

/* The object, which the caller owns from now on. */
static inline struct object *objects_give(struct objects *l, size_t i)
{
    struct object *o = l->items[i];
    l->items[i] = NULL;
    return o;
}

/* Puts all of them into the store; false when anything is wrong with one. */
static inline bool objects_put(struct store *store, const char *file, struct str text)
{
    struct objects objects = {0};
    bool is_good = objects_parse(&objects, file, text) && objects.diag_n == 0;
    for (size_t i = 0; i < objects.n; i++) {
        is_good = store_put(store, objects_give(&objects, i)) == E_OK && is_good;
    }
    objects_fini(&objects);
    return is_good;
}

/* The only object of the text, which the caller owns; NULL: there are more or none. */
static inline struct object *objects_only(const char *yaml)
{
    struct objects objects = {0};
    bool is_good = objects_parse(&objects, "test.yaml", str_from_cstr(yaml)) && objects.n == 1;
    struct object *o = is_good ? objects_give(&objects, 0) : NULL;
    objects_fini(&objects);
    return o;
}

/* What a DNS name resolves to; addresses apart by blanks, "refused" for is_refused. */
static inline struct object *objects_resolution(struct str name, struct str addresses)
{
    struct arena arena;
    struct str word;
    arena_init(&arena, 1 << 20);
    struct resolution *r = arena_calloc(&arena, 1, sizeof(*r));
    r->addresses = arena_calloc(&arena, addresses.n + 1, sizeof(*r->addresses));
    r->object.kind = OBJECT_RESOLUTION;
    r->object.namespace_name = r->object.uid = r->object.file = STR_EMPTY;
    (void)arena_str(&arena, name, &r->object.name);
    for (bool has_more = true; has_more;) {
        has_more = str_cut(addresses, ' ', &word, &addresses);
        if (str_eq(word, STR("refused"))) {
            r->is_refused = true;
        } else if (word.n > 0 && ip_parse(word, &r->addresses[r->address_n]) == E_OK) {
            r->address_n++;
        }
    }
    r->object.arena = arena; /* last: it counts what was allocated */
    return &r->object;
}
