/* The paths of one host: put in order, conflicts decided.
 * Precedence: the older Ingress, then namespace, then name, then the order inside the Ingress.
 * Source: networking.k8s.io/v1 HTTPIngressPath, and what ingress-nginx does with duplicates. */
#include "compile/compile_priv.h"

#include "base/limits.h"
#include "base/vec.h"
#include "snapshot/path.h"
#include "wire/uri.h"

#include <stdlib.h>

const struct finding path_is_invalid = {
    DIAG_ERROR, DIAG_InvalidPath,
    "a path begins with '/' and each '%' has two hex digits behind it; the path is left out",
    "write it as requests have it, like /a/b"};

/* ---- order ---- */

static int number_cmp(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

int ingress_cmp(const struct ingress_node *a, const struct ingress_node *b)
{
    int order = number_cmp(a->object->object.created_s, b->object->object.created_s);
    for (size_t i = 0; order == 0 && i < 2; i++) {
        order = str_cmp(a->node.key.part[i], b->node.key.part[i]);
    }
    return order;
}

bool ingress_is_same(const struct ingress_node *a, const struct ingress_node *b)
{
    return str_eq(a->node.key.part[0], b->node.key.part[0]) &&
           str_eq(a->node.key.part[1], b->node.key.part[1]);
}

static int link_cmp(const void *a, const void *b)
{
    const struct link *x = *(const struct link *const *)a;
    const struct link *y = *(const struct link *const *)b;
    int order = ingress_cmp(x->ingress, y->ingress);
    return order != 0 ? order : number_cmp(x->rule, y->rule);
}

static int candidate_cmp(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    int order = snap_path_cmp(x->path, y->path);
    if (order == 0) {
        order = number_cmp(y->is_exact, x->is_exact);
    }
    if (order == 0) {
        order = number_cmp(x->order, y->order);
    }
    return order != 0 ? order : number_cmp(x->place.path, y->place.path);
}

static enum err links_order(struct host_work *w, const struct host_node *host)
{
    w->link_n = 0;
    list_each(it, &host->links)
    {
        TRY(VEC_ROOM(w->links, w->link_n, w->link_cap, SIZE_MAX));
        w->links[w->link_n++] = container_of(it, struct link, in_host);
    }
    if (w->link_n > 1) {
        qsort(w->links, w->link_n, sizeof(*w->links), link_cmp);
    }
    return E_OK;
}

/* ---- candidates ---- */

enum err path_normalize(struct arena *arena, const struct ingress_path *path, struct str *ret)
{
    struct str normal;
    if (path->path.n == 0 && path->type != PATH_EXACT) {
        *ret = STR_EMPTY;
        return E_OK;
    }
    char *room = arena_alloc(arena, path->path.n);
    if (room == NULL) {
        return E_NOMEM;
    }
    TRY(uri_normalize(path->path, room, &normal));
    while (path->type != PATH_EXACT && str_has_suffix(normal, STR("/"))) {
        normal.n--;
    }
    *ret = normal;
    return E_OK;
}

static enum err candidate_add(struct host_work *w, const struct candidate *candidate)
{
    TRY(VEC_ROOM(w->candidates, w->candidate_n, w->candidate_cap, UINT32_MAX / 2));
    w->candidates[w->candidate_n++] = *candidate;
    return E_OK;
}

static enum err path_gather(struct compile *c, uint32_t order, uint32_t index,
                            struct diag_batch *batch)
{
    const struct link *link = c->host.links[order];
    const struct ingress *in = link->ingress->object;
    const struct ingress_path *path = &in->rules[link->rule].paths[index];
    struct candidate candidate = {
        .written = path->path,
        .backend = &path->backend,
        .place = {link->rule, index},
        .order = order,
        .is_exact = path->type == PATH_EXACT,
    };
    enum err e = path_normalize(&c->host.paths, path, &candidate.path);
    if (e == E_PROTO) {
        place_field(c, candidate.place, ".path");
        buf_addf(what_begin(c), "is \"%.*s\"", STR_ARG(shown(path->path)));
        finding_add(c, batch, &in->object, place_line(in, candidate.place), &path_is_invalid);
        return E_OK;
    }
    TRY(e);
    return candidate_add(&c->host, &candidate);
}

/* A rule without http sends everything of its host to the default backend of its Ingress. */
static enum err whole_host_gather(struct compile *c, uint32_t order)
{
    const struct link *link = c->host.links[order];
    const struct ingress *in = link->ingress->object;
    if (in->default_backend.type == BACKEND_NONE) {
        return E_OK;
    }
    struct candidate candidate = {
        .path = STR_EMPTY,
        .written = STR_EMPTY,
        .backend = &in->default_backend,
        .place = {link->rule, SNAP_DEFAULT_RULE},
        .order = order,
    };
    return candidate_add(&c->host, &candidate);
}

static enum err link_gather(struct compile *c, uint32_t order, struct diag_batch *batch)
{
    const struct link *link = c->host.links[order];
    if (link->rule == SNAP_DEFAULT_RULE) {
        return E_OK;
    }
    const struct ingress_rule *rule = &link->ingress->object->rules[link->rule];
    if (rule->path_n == 0) {
        return whole_host_gather(c, order);
    }
    for (uint32_t i = 0; i < rule->path_n; i++) {
        TRY(path_gather(c, order, i, batch));
    }
    return E_OK;
}

/* ---- conflicts ---- */

static void tell_conflict(struct compile *c, struct diag_batch *batch,
                          const struct candidate *winner, const struct candidate *loser)
{
    const struct link *won = c->host.links[winner->order];
    const struct ingress *in = c->host.links[loser->order]->ingress->object;
    struct buf *what = what_begin(c);
    struct str written = loser->written.n == 0 ? STR("/") : shown(loser->written);
    place_field(c, winner->place, "");
    buf_addf(what, "\"%.*s\" (%s) of host \"%.*s\" is taken by ", STR_ARG(written),
             loser->is_exact ? "Exact" : "Prefix", STR_ARG(won->host->node.key.part[0]));
    if (won->ingress->object == in) {
        buf_addf(what, "%.*s of the same Ingress", STR_ARG(buf_str(&c->field)));
    } else {
        buf_addf(what, "Ingress %.*s/%.*s, %.*s", STR_ARG(won->ingress->node.key.part[0]),
                 STR_ARG(won->ingress->node.key.part[1]), STR_ARG(buf_str(&c->field)));
    }
    place_field(c, loser->place, loser->place.path == SNAP_DEFAULT_RULE ? "" : ".path");
    finding_add(c, batch, &in->object, place_line(in, loser->place),
                &conflict_findings[CONFLICT_path]);
}

/* Keeps the first of each (path, type) and counts the distinct paths. */
static void conflicts_settle(struct compile *c, struct diag_batch *batch)
{
    struct host_work *w = &c->host;
    size_t kept = 0;
    w->node_n = 0;
    must(w->candidates != NULL || w->candidate_n == 0);
    for (size_t i = 0; i < w->candidate_n; i++) {
        const struct candidate *last = kept > 0 ? &w->candidates[kept - 1] : NULL;
        bool is_same_path = last != NULL && str_eq(last->path, w->candidates[i].path);
        if (is_same_path && last->is_exact == w->candidates[i].is_exact) {
            tell_conflict(c, batch, last, &w->candidates[i]);
            continue;
        }
        w->node_n += !is_same_path;
        w->candidates[kept++] = w->candidates[i];
    }
    w->candidate_n = kept;
}

/* ---- the default backend ---- */

static bool has_default(const struct link *l)
{
    return l->ingress->object->default_backend.type != BACKEND_NONE;
}

static bool is_ruleless(const struct link *l)
{
    return l->ingress->object->rule_n == 0;
}

/* For the host "" an Ingress without rules comes before those that add a default to their rules:
 * the API gives the latter the requests that match none of their rules. */
static const struct link *default_find(const struct host_work *w, bool is_any_host)
{
    const struct link *first = NULL;
    for (size_t i = 0; i < w->link_n; i++) {
        if (!has_default(w->links[i])) {
            continue;
        }
        if (!is_any_host || is_ruleless(w->links[i])) {
            return w->links[i];
        }
        first = first == NULL ? w->links[i] : first;
    }
    return first;
}

bool default_is_same(const struct ingress *a, const struct ingress *b)
{
    const struct ingress_backend *x = &a->default_backend;
    const struct ingress_backend *y = &b->default_backend;
    return x->type == y->type && str_eq(a->object.namespace_name, b->object.namespace_name) &&
           str_eq(x->service, y->service) && str_eq(x->port.name, y->port.name) &&
           x->port.number == y->port.number && str_eq(x->resource_kind, y->resource_kind) &&
           str_eq(x->resource_name, y->resource_name);
}

/* True when l, which is the last link of its Ingress, wants the default of this host in so many
 * words. An Ingress with rules for other hosts does not complain about the host "". */
static bool wants_default(const struct host_work *w, size_t at, bool is_any_host)
{
    const struct ingress_node *ingress = w->links[at]->ingress;
    bool is_last = at + 1 == w->link_n || w->links[at + 1]->ingress != ingress;
    bool has_rule =
        w->links[at]->rule != SNAP_DEFAULT_RULE || (at > 0 && w->links[at - 1]->ingress == ingress);
    return is_last && has_default(w->links[at]) &&
           (!is_any_host || has_rule || is_ruleless(w->links[at]));
}

static void default_settle(struct compile *c, const struct host_node *host,
                           struct diag_batch *batch)
{
    struct host_work *w = &c->host;
    bool is_any_host = host->node.key.part[0].n == 0;
    struct place place = {SNAP_DEFAULT_RULE, SNAP_DEFAULT_RULE};
    w->fallback = default_find(w, is_any_host);
    for (size_t i = 0; w->fallback != NULL && i < w->link_n; i++) {
        const struct ingress_node *winner = w->fallback->ingress;
        const struct ingress_node *other = w->links[i]->ingress;
        if (wants_default(w, i, is_any_host) && !default_is_same(winner->object, other->object)) {
            place_field(c, place, "");
            buf_addf(what_begin(c), "for host \"%.*s\" Ingress %.*s/%.*s sets another one",
                     STR_ARG(host->node.key.part[0]), STR_ARG(winner->node.key.part[0]),
                     STR_ARG(winner->node.key.part[1]));
            finding_add(c, batch, &other->object->object, place_line(other->object, place),
                        &conflict_findings[CONFLICT_default_backend]);
        }
    }
}

enum err host_gather(struct compile *c, const struct host_node *host, struct diag_batch *batch)
{
    struct host_work *w = &c->host;
    w->candidate_n = 0;
    TRY(links_order(w, host));
    for (size_t i = 0; i < w->link_n; i++) {
        TRY(link_gather(c, (uint32_t)i, batch));
    }
    if (w->candidate_n > 1) {
        qsort(w->candidates, w->candidate_n, sizeof(*w->candidates), candidate_cmp);
    }
    conflicts_settle(c, batch);
    default_settle(c, host, batch);
    return batch->err;
}
