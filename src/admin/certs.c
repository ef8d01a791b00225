/* The page. Rows in a fixed order: Ingresses by namespace and name, their entries of spec.tls, then
 * the hosts of rules that get a certificate without being listed, then authorities and what is for
 * endpoints; the default one comes last.
 *
 * Between two turns anything may change, so nothing is kept but the names of the Ingresses and how
 * far it has got. */
#include "admin/certs_priv.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/limits.h"
#include "base/mem.h"

struct name {
    struct str namespace_name, name;
};

enum stage { STAGE_ENTRIES, STAGE_RULES, STAGE_AUTHORITY, STAGE_UPSTREAM };

struct certs_page {
    struct arena arena; /* has the names' texts */
    struct name *names; /* of all Ingresses there were, sorted */
    size_t n, cap;
    bool is_short; /* no memory for all names */
    struct json json;
    bool is_begun, is_ended;
    /* what comes next */
    size_t at; /* of names; n: the default certificate */
    enum stage stage;
    uint32_t item, host; /* of spec.tls or spec.rules; host of the entry */
};

/* ---- the list ---- */

static void add_name(void *arg, const struct object *o)
{
    struct certs_page *p = arg;
    struct name *to = &p->names[p->n];
    must(p->n < p->cap);
    bool is_kept = arena_str(&p->arena, o->namespace_name, &to->namespace_name) &&
                   arena_str(&p->arena, o->name, &to->name);
    p->n += is_kept;
    p->is_short = p->is_short || !is_kept;
}

static int name_order(const void *a, const void *b)
{
    const struct name *x = a, *y = b;
    int order = str_cmp(x->namespace_name, y->namespace_name);
    return order != 0 ? order : str_cmp(x->name, y->name);
}

enum err certs_page_new(const struct certs_world *world, struct certs_page **ret)
{
    const struct store *store = world->world.store;
    struct certs_page *p = mem_calloc(1, sizeof(*p));
    if (p == NULL) {
        return E_NOMEM;
    }
    arena_init(&p->arena, SIZE_MAX);
    p->cap = store_n(store, OBJECT_INGRESS);
    p->names = mem_calloc(p->cap + 1, sizeof(*p->names));
    if (p->names != NULL) {
        store_each(store, OBJECT_INGRESS, add_name, p);
    }
    if (p->names == NULL || p->is_short) {
        certs_page_free(p);
        return E_NOMEM;
    }
    qsort(p->names, p->n, sizeof(*p->names), name_order);
    *ret = p;
    return E_OK;
}

void certs_page_free(struct certs_page *p)
{
    if (p != NULL) {
        arena_fini(&p->arena);
        mem_free(p->names);
        mem_free(p);
    }
}

/* ---- one after the other ---- */

/* NULL: it is gone, or not ours. */
static const struct ingress *ingress_now(const struct certs *c, const struct name *name)
{
    const struct explain_world *w = &c->w->world;
    const char *why;
    const struct ingress *in = (const struct ingress *)(const void *)store_get(
        w->store, OBJECT_INGRESS, name->namespace_name, name->name);
    return in != NULL && w->is_ours(w->is_ours_arg, in, &why) ? in : NULL;
}

static void ingress_next(struct certs_page *p)
{
    p->at++;
    p->stage = STAGE_ENTRIES;
    p->item = p->host = 0;
}

static void stage_next(struct certs_page *p)
{
    p->stage++;
    p->item = p->host = 0;
}

/* An entry without hosts is one row, too. */
static void entry_show(struct certs_page *p, struct certs *c, const struct ingress *in)
{
    if (p->item >= in->tls_n) {
        stage_next(p);
        return;
    }
    const struct ingress_tls *t = &in->tls[p->item];
    if (t->host_n == 0 || p->host < t->host_n) {
        certs_show_host(c, in, t->secret, t->host_n == 0 ? STR_EMPTY : t->hosts[p->host]);
    }
    if (++p->host >= t->host_n) {
        p->item++;
        p->host = 0;
    }
}

static void rule_show(struct certs_page *p, struct certs *c, const struct ingress *in)
{
    if (p->item >= in->rule_n) {
        stage_next(p);
        return;
    }
    certs_show_rule(c, in, p->item++);
}

static void ingress_show(struct certs_page *p, struct certs *c, const struct ingress *in)
{
    switch (p->stage) {
    case STAGE_ENTRIES:
        entry_show(p, c, in);
        break;
    case STAGE_RULES:
        rule_show(p, c, in);
        break;
    case STAGE_AUTHORITY:
        certs_show_authority(c, in);
        stage_next(p);
        break;
    case STAGE_UPSTREAM:
        certs_show_upstream(c, in);
        ingress_next(p);
        break;
    }
}

static void part_show(struct certs_page *p, struct certs *c)
{
    const struct ingress *in = p->at < p->n ? ingress_now(c, &p->names[p->at]) : NULL;
    if (in != NULL) {
        ingress_show(p, c, in);
    } else if (p->at < p->n) {
        ingress_next(p);
    } else {
        certs_show_default(c);
        json_end_array(c->json);
        json_finish(c->json);
        p->is_ended = true;
    }
}

/* ---- the whole ---- */

static void page_begin(struct certs_page *p, struct buf *out)
{
    if (!p->is_begun) {
        p->json = json_make(out, true);
        json_array(&p->json);
        p->is_begun = true;
    }
    p->json.out = out;
}

enum err certs_page_step(struct certs_page *p, const struct certs_world *world, usec_t turn,
                         struct buf *out, bool *ret_more)
{
    struct certs c = {.w = world, .json = &p->json};
    usec_t begun = clock_monotonic();
    page_begin(p, out);
    while (!p->is_ended && !out->bad && c.err == E_OK) {
        part_show(p, &c);
        if (clock_monotonic() - begun >= turn) {
            break;
        }
    }
    *ret_more = !p->is_ended;
    return out->bad ? E_NOMEM : c.err;
}

enum err certs_emit(struct buf *out, const struct certs_world *world)
{
    struct certs_page *p;
    bool is_more = true;
    TRY(certs_page_new(world, &p));
    enum err e = E_OK;
    while (e == E_OK && is_more) {
        e = certs_page_step(p, world, CERTS_TURN, out, &is_more);
    }
    certs_page_free(p);
    return e;
}
