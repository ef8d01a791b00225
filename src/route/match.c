/* Which route serves a request.
 * Hosts, most specific first: exact, one label, suffixes from the longest to the shortest, any. A
 * kind that no live host has is not looked for. In a host: the greatest node <= the path, then up
 * its parents; a node counts when it is a whole number of the path's first elements.
 * Query parameters are read as application/x-www-form-urlencoded, as the application behind will
 * read them; the first parameter of the name counts. */
#include "route/match.h"

#include "base/mem.h"
#include "snapshot/path.h"

/* ---- hosts ---- */

enum {
    HOST_NAME_MAX = 253,                             /* RFC 1035 section 2.3.4, as text */
    KEY_HEAD = SNAP_TABLE_BYTES_MAX + sizeof("/**.") /* what stands before a name in a key */
};

/* The matching hosts, one after the other. The key is built in place: the table and the stars are
 * written so that they end where the rest of the name begins; what they overwrite is not needed
 * any more. */
struct hosts {
    const struct snapshot *s;
    struct str table;
    size_t name, end; /* of the host in key */
    size_t rest;      /* where the rest that the last suffix matched begins */
    enum snap_host_kind kind;
    bool is_done;
    char key[KEY_HEAD + HOST_NAME_MAX];
};

static void hosts_begin(struct hosts *it, const struct snapshot *s, const struct route_query *q)
{
    it->s = s;
    it->table = q->table;
    it->name = it->end = it->rest = KEY_HEAD;
    it->kind = SNAP_HOST_EXACT;
    it->is_done = q->table.n > SNAP_TABLE_BYTES_MAX;
    if (q->host.n <= HOST_NAME_MAX) { /* else only "any" can match */
        mem_copy(it->key + KEY_HEAD, q->host.p, q->host.n);
        it->end += q->host.n;
    }
}

static const struct snapshot_entry *hosts_find(struct hosts *it, enum snap_host_kind kind,
                                               struct str stars, size_t rest)
{
    size_t from = rest - stars.n - 1 - it->table.n;
    mem_copy(it->key + from, it->table.p, it->table.n);
    it->key[from + it->table.n] = '/';
    mem_copy(it->key + rest - stars.n, stars.p, stars.n);
    struct str key = str_make(it->key + from, it->end - from);
    const struct snapshot_entry *e = snapshot_find(it->s, SNAP_HOST, key, hash_str(key));
    /* A client may send "*.a.b", too. */
    return e != NULL && ((const struct snap_host *)e->shard)->kind == kind ? e : NULL;
}

/* Where the labels behind the one at `from` begin; the end when there are none. */
static size_t hosts_rest(const struct hosts *it, size_t from)
{
    size_t dot = from + str_find(str_make(it->key + from, it->end - from), '.');
    return dot == from || dot == it->end ? it->end : dot + 1;
}

static const struct snapshot_entry *hosts_suffix(struct hosts *it)
{
    while (it->rest != it->end) {
        const struct snapshot_entry *e = hosts_find(it, SNAP_HOST_SUFFIX, STR("**."), it->rest);
        it->rest = hosts_rest(it, it->rest);
        if (e != NULL) {
            return e;
        }
    }
    return NULL;
}

/* The next host of the present kind, or NULL; goes on to the next kind when there can be no more.
 */
static const struct snapshot_entry *hosts_step(struct hosts *it)
{
    enum snap_host_kind kind = it->kind;
    bool has_kind = it->s->host_n[kind] > 0;
    switch (kind) {
    case SNAP_HOST_EXACT:
        it->kind = SNAP_HOST_LABEL;
        return has_kind && it->name != it->end ? hosts_find(it, kind, STR_EMPTY, it->name) : NULL;
    case SNAP_HOST_LABEL:
        it->kind = SNAP_HOST_SUFFIX;
        it->rest = hosts_rest(it, it->name);
        return has_kind && it->rest != it->end ? hosts_find(it, kind, STR("*."), it->rest) : NULL;
    case SNAP_HOST_SUFFIX: {
        const struct snapshot_entry *e = has_kind ? hosts_suffix(it) : NULL;
        it->kind = e == NULL ? SNAP_HOST_ANY : kind;
        return e;
    }
    case SNAP_HOST_ANY:
        it->is_done = true;
        return has_kind ? hosts_find(it, kind, STR_EMPTY, it->end) : NULL;
    }
    return NULL;
}

/* NULL when there are no more. */
static const struct snapshot_entry *hosts_next(struct hosts *it)
{
    while (!it->is_done) {
        const struct snapshot_entry *e = hosts_step(it);
        if (e != NULL) {
            return e;
        }
    }
    return NULL;
}

/* ---- conditions ---- */

static int hex_digit(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The first byte of a non-empty s as a form means it; *ret_n bytes were used. */
static char form_byte(struct str s, size_t *ret_n)
{
    *ret_n = 1;
    if (s.p[0] == '%' && s.n >= 3 && hex_digit(s.p[1]) >= 0 && hex_digit(s.p[2]) >= 0) {
        *ret_n = 3;
        return (char)(hex_digit(s.p[1]) * 16 + hex_digit(s.p[2]));
    }
    return s.p[0] == '+' ? ' ' : s.p[0];
}

static bool form_eq(struct str encoded, struct str plain)
{
    size_t n = 0;
    for (; encoded.n > 0 && plain.n > 0;
         encoded = str_from(encoded, n), plain = str_from(plain, 1)) {
        if (form_byte(encoded, &n) != plain.p[0]) {
            return false;
        }
    }
    return encoded.n == 0 && plain.n == 0;
}

/* The first parameter of that name, still encoded; without '=' its value is empty. */
static bool query_find(struct str query, struct str name, struct str *ret_value)
{
    struct str pair, key, value;
    for (bool is_more = query.n > 0; is_more;) {
        is_more = str_cut(query, '&', &pair, &query);
        (void)str_cut(pair, '=', &key, &value); /* no '=': the value is empty */
        if (form_eq(key, name)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool condition_holds(const struct snap_host *h, const struct snap_condition *c,
                            const struct route_query *q)
{
    struct str name = snap_str_get(h, c->name);
    struct str want = snap_str_get(h, c->value);
    struct str got = STR_EMPTY;
    switch ((enum snap_condition_kind)c->kind) {
    case SNAP_IF_METHOD:
        return str_eq(q->method, want);
    case SNAP_IF_HEADER:
        return q->field != NULL && q->field(q->field_arg, name, &got) && str_eq(got, want);
    case SNAP_IF_QUERY:
        return query_find(q->query, name, &got) && form_eq(got, want);
    }
    return false;
}

static bool conditions_hold(const struct snap_host *h, const struct snap_route *r,
                            const struct route_query *q)
{
    const struct snap_condition *c = snap_array_get(h, h->conditions);
    c += r->conditions.first;
    for (uint32_t i = 0; i < r->conditions.n; i++) {
        if (!condition_holds(h, &c[i], q)) {
            return false;
        }
    }
    return true;
}

/* ---- paths ---- */

static const struct snap_path *paths_of(const struct snap_host *h)
{
    return snap_array_get(h, h->paths);
}

static const struct snap_route *routes_of(const struct snap_host *h)
{
    return snap_array_get(h, h->routes);
}

static const struct snap_route *default_of(const struct snap_host *h)
{
    return h->default_route == 0 ? NULL : routes_of(h) + (h->default_route - 1);
}

/* How many nodes are <= path; *ret_common: the length of what the last of them has in common with
 * it. All nodes between two known ones begin with what both have in common with the path, so no
 * byte is compared twice. */
static uint32_t path_search(const struct snap_host *h, struct str path, size_t *ret_common)
{
    const struct snap_path *nodes = paths_of(h);
    uint32_t low = 0, high = h->paths.n;
    size_t low_common = 0, high_common = 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct str node = snap_str_get(h, nodes[middle].path);
        size_t common =
            snap_path_common(node, path, low_common < high_common ? low_common : high_common);
        if (snap_path_rank(node, common) <= snap_path_rank(path, common)) {
            low = middle + 1;
            low_common = common;
        } else {
            high = middle;
            high_common = common;
        }
    }
    *ret_common = low_common;
    return low;
}

static const struct snap_route *first_that_holds(const struct snap_host *h, struct snap_range range,
                                                 const struct route_query *q)
{
    const struct snap_route *r = routes_of(h) + range.first;
    for (uint32_t i = 0; i < range.n; i++) {
        if (conditions_hold(h, &r[i], q)) {
            return &r[i];
        }
    }
    return NULL;
}

static const struct snap_route *node_route(const struct snap_host *h, const struct snap_path *node,
                                           const struct route_query *q)
{
    const struct snap_route *r = NULL;
    if (node->path.n == q->path.n) {
        r = first_that_holds(h, node->exact, q);
    }
    return r != NULL ? r : first_that_holds(h, node->prefix, q);
}

/* The route of this host whose path and conditions match, or NULL. */
static const struct snap_route *path_route(const struct snap_host *h, const struct route_query *q)
{
    const struct snap_path *nodes = paths_of(h);
    size_t common = 0;
    uint32_t i = path_search(h, q->path, &common);
    for (; i > 0; i = nodes[i - 1].parent) {
        const struct snap_path *node = &nodes[i - 1];
        if (snap_path_is_above(snap_str_get(h, node->path), q->path, common)) {
            const struct snap_route *r = node_route(h, node, q);
            if (r != NULL) {
                return r;
            }
        }
    }
    return NULL;
}

/* ---- the whole ---- */

static struct route_match match_make(const struct snapshot_entry *e, const struct snap_route *route,
                                     bool is_default)
{
    return (struct route_match){(const struct snap_host *)e->shard, route, e->segment, is_default};
}

void route_match(const struct snapshot *s, const struct route_query *q, struct route_match *ret)
{
    struct hosts it;
    hosts_begin(&it, s, q);
    *ret = (struct route_match){0};
    for (const struct snapshot_entry *e; (e = hosts_next(&it)) != NULL;) {
        const struct snap_host *h = (const struct snap_host *)e->shard;
        const struct snap_route *r = path_route(h, q);
        if (r != NULL) {
            *ret = match_make(e, r, false);
            return;
        }
        if (ret->route == NULL && h->default_route != 0) {
            *ret = match_make(e, default_of(h), true);
        }
        if (!h->falls_through) {
            return;
        }
    }
}

const struct snap_backend *route_backend(const struct route_match *m, uint32_t ticket)
{
    const struct snap_backend *b = snap_array_get(m->host, m->host->backends);
    b += m->route->backends.first;
    for (uint32_t i = 0; i < m->route->backends.n; i++) {
        if (ticket < b[i].weight) {
            return &b[i];
        }
        ticket -= b[i].weight;
    }
    return NULL;
}

/* ---- explain ---- */

struct explain {
    const struct route_query *q;
    const struct route_match *won;
    route_trace_fn *trace;
    void *arg;
};

static void explain_routes(const struct explain *x, const struct snap_host *h,
                           struct snap_range range, bool is_path_equal)
{
    const struct snap_route *r = routes_of(h) + range.first;
    for (uint32_t i = 0; i < range.n; i++) {
        enum route_verdict verdict = ROUTE_LESS_SPECIFIC;
        if (!is_path_equal) {
            verdict = ROUTE_PATH_DIFFERS;
        } else if (!conditions_hold(h, &r[i], x->q)) {
            verdict = ROUTE_CONDITION_FAILS;
        } else if (&r[i] == x->won->route && !x->won->is_default) {
            verdict = ROUTE_WON;
        }
        x->trace(x->arg, h, &r[i], verdict);
    }
}

static void explain_host(const struct explain *x, const struct snap_host *h)
{
    const struct snap_path *nodes = paths_of(h);
    for (uint32_t i = h->paths.n; i > 0; i--) { /* the more specific ones first */
        struct str path = snap_str_get(h, nodes[i - 1].path);
        size_t common = snap_path_common(path, x->q->path, 0);
        bool is_above = snap_path_is_above(path, x->q->path, common);
        explain_routes(x, h, nodes[i - 1].exact, is_above && path.n == x->q->path.n);
        explain_routes(x, h, nodes[i - 1].prefix, is_above);
    }
    const struct snap_route *r = default_of(h);
    if (r != NULL) {
        bool has_won = x->won->is_default && r == x->won->route;
        x->trace(x->arg, h, r, has_won ? ROUTE_WON : ROUTE_LESS_SPECIFIC);
    }
}

void route_explain(const struct snapshot *s, const struct route_query *q, struct route_match *ret,
                   route_trace_fn *trace, void *arg)
{
    struct hosts it;
    struct explain x = {q, ret, trace, arg};
    route_match(s, q, ret);
    hosts_begin(&it, s, q);
    for (const struct snapshot_entry *e; (e = hosts_next(&it)) != NULL;) {
        explain_host(&x, (const struct snap_host *)e->shard);
    }
}
