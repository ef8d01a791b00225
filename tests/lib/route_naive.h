/* Which route serves a request, by the words of the specification and without any cleverness: every
 * host and every rule is looked at. Works on the descriptions of snapshot_make.h, not on a
 * snapshot. What the real matcher is compared with. */
#pragma once

#include <string.h>

#include "route/match.h"
#include "snapshot_make.h"

/* The i-th label or element of s between separators; false when there is none. */
static inline bool naive_part(struct str s, char sep, size_t i, struct str *ret)
{
    bool is_more = true;
    struct str rest = s;
    for (size_t j = 0; j <= i; j++) {
        if (!is_more) {
            return false;
        }
        is_more = str_cut(rest, sep, ret, &rest);
    }
    return true;
}

static inline size_t naive_parts(struct str s, char sep)
{
    size_t n = 1;
    for (size_t i = 0; i < s.n; i++) {
        n += s.p[i] == sep;
    }
    return n;
}

/* 0: the pattern does not match; else the more specific the greater. */
static inline size_t naive_host(struct str pattern, struct str host)
{
    const size_t exact = 1000000, label = 500000;
    struct str stars, name, first, rest;
    if (pattern.n == 0) {
        return 1;
    }
    if (pattern.p[0] != '*') {
        return str_eq(pattern, host) ? exact : 0;
    }
    (void)str_cut(pattern, '.', &stars, &name);
    if (!str_cut(host, '.', &first, &rest) || first.n == 0) {
        return 0;
    }
    if (stars.n == 1) {
        return str_eq(name, rest) ? label : 0;
    }
    size_t labels = naive_parts(name, '.'), all = naive_parts(host, '.');
    if (labels >= all) {
        return 0;
    }
    for (size_t i = 0; i < all; i++) {
        struct str a, b = STR_EMPTY;
        if (!naive_part(host, '.', i, &a) || a.n == 0 ||
            (i >= all - labels &&
             (!naive_part(name, '.', i - (all - labels), &b) || !str_eq(a, b)))) {
            return 0;
        }
    }
    return 1 + labels;
}

/* Every element of the prefix, without its trailing slash, is the same one of the path. */
static inline bool naive_prefix(struct str prefix, struct str path)
{
    while (prefix.n > 0 && prefix.p[prefix.n - 1] == '/') {
        prefix.n--;
    }
    size_t n = naive_parts(prefix, '/');
    for (size_t i = 0; i < n; i++) {
        struct str a, b;
        if (!naive_part(prefix, '/', i, &a) || !naive_part(path, '/', i, &b) || !str_eq(a, b)) {
            return false;
        }
    }
    return true;
}

static inline bool naive_path(const struct make_rule *r, struct str path)
{
    struct str want = str_from_cstr(r->path);
    return r->is_exact ? str_eq(want, path) : naive_prefix(want, path);
}

/* Plain names and values only. */
static inline bool naive_query(struct str query, struct str name, struct str want)
{
    struct str pair, key, value;
    for (size_t i = 0; naive_part(query, '&', i, &pair); i++) {
        (void)str_cut(pair, '=', &key, &value);
        if (str_eq(key, name)) {
            return str_eq(value, want);
        }
    }
    return false;
}

static inline bool naive_conditions(const struct make_rule *r, const struct route_query *q)
{
    for (uint32_t i = 0; i < r->condition_n; i++) {
        struct str name = str_from_cstr(r->conditions[i].name), got = STR_EMPTY;
        struct str want = str_from_cstr(r->conditions[i].value);
        bool holds = false;
        switch (r->conditions[i].kind) {
        case SNAP_IF_METHOD:
            holds = str_eq(q->method, want);
            break;
        case SNAP_IF_HEADER:
            holds = q->field(q->field_arg, name, &got) && str_eq(got, want);
            break;
        case SNAP_IF_QUERY:
            holds = naive_query(q->query, name, want);
            break;
        }
        if (!holds) {
            return false;
        }
    }
    return true;
}

/* True when a comes before b: the longer path, then exact, then the order of writing. */
static inline bool naive_is_better(const struct make_rule *a, const struct make_rule *b)
{
    size_t x = make_rule_path(a).n, y = make_rule_path(b).n;
    return x != y ? x > y : a->is_exact != b->is_exact ? a->is_exact : a < b;
}

static inline const struct make_rule *naive_rule(const struct make_host *h,
                                                 const struct route_query *q)
{
    const struct make_rule *best = NULL;
    for (uint32_t i = 0; i < h->rule_n; i++) {
        const struct make_rule *r = &h->rules[i];
        if (naive_path(r, q->path) && naive_conditions(r, q) &&
            (best == NULL || naive_is_better(r, best))) {
            best = r;
        }
    }
    return best;
}

/* The most specific matching host below a limit. */
static inline const struct make_host *naive_next_host(const struct make_host *hosts, size_t n,
                                                      struct str host, size_t *limit)
{
    const struct make_host *best = NULL;
    size_t best_rank = 0;
    for (size_t i = 0; i < n; i++) {
        size_t rank = naive_host(str_from_cstr(hosts[i].pattern), host);
        if (rank > best_rank && rank < *limit) {
            best = &hosts[i];
            best_rank = rank;
        }
    }
    *limit = best_rank;
    return best;
}

/* The id of the route; 0 = none. */
static inline uint32_t naive_match(const struct make_host *hosts, size_t n,
                                   const struct route_query *q, bool *ret_is_default)
{
    uint32_t fallback = 0;
    size_t limit = SIZE_MAX;
    *ret_is_default = false;
    for (const struct make_host *h; (h = naive_next_host(hosts, n, q->host, &limit)) != NULL;) {
        const struct make_rule *r = naive_rule(h, q);
        if (r != NULL) {
            return r->id;
        }
        if (fallback == 0) {
            fallback = h->default_id;
        }
        if (h->is_final) {
            break;
        }
    }
    *ret_is_default = fallback != 0;
    return fallback;
}
