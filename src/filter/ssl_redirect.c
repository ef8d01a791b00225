/* Filter ssl_redirect: sends plain requests to https. Compile half, which decides for which routes:
 * compile/filter_ssl_redirect.c; for users: docs/filters/ssl_redirect.md. */
#include "base/buf.h"
#include "filter/filter.h"
#include "wire/uri.h"

filter_request_fn filter_ssl_redirect_request;

static bool is_below(struct str path, struct str above, bool is_by_prefix)
{
    if (!str_has_prefix(path, above)) {
        return false;
    }
    return is_by_prefix || path.n == above.n || above.p[above.n - 1] == '/' ||
           path.p[above.n] == '/';
}

/* True below what --no-tls-redirect-locations names. Asked of the path that routes are matched
 * against, so that "/.well-known/acme-challenge/../secret" does not count as a challenge. */
static bool stays_plain(const struct filter_request *r, const struct snap_filter_ssl_redirect *f)
{
    const struct snap_global *g = r->global;
    struct str path, query, normal;
    (void)str_cut(r->request->target, '?', &path, &query); /* a query may be missing */
    if (g == NULL || path.n > FILTER_SCRATCH_BYTES ||
        uri_normalize(path, r->scratch, &normal) != E_OK) {
        return false;
    }
    const struct snap_str *plain = snap_array_get(g, g->plain_paths);
    for (uint32_t i = 0; i < g->plain_paths.n; i++) {
        if (is_below(normal, snap_str_get(g, plain[i]), f->is_by_prefix != 0)) {
            return true;
        }
    }
    return false;
}

/* Without its port. host is one that host_parse() takes. */
static struct str host_name(struct str host)
{
    size_t end = host.p[0] == '[' ? str_find(host, ']') + 1 : str_find(host, ':');
    return str_first(host, end);
}

/* The host that the client used; empty: it named none. */
static struct str host_find(const struct filter_request *r)
{
    if (host_is_valid(r->host)) {
        return host_name(r->host);
    }
    struct str own = r->request->authority; /* what a proxy said is no host */
    return host_is_valid(own) ? host_name(own) : STR_EMPTY;
}

static struct str location_make(const struct filter_request *r,
                                const struct snap_filter_ssl_redirect *f, struct str host)
{
    struct str target = r->request->target;
    struct wr w = wr_make(r->scratch, FILTER_SCRATCH_BYTES);
    if (f->drops_slash && str_has_suffix(target, STR("/"))) {
        target.n--;
    }
    if (str_eq(target, STR("*"))) { /* no path at all means the same: RFC 9112 section 3.2.4 */
        target = STR_EMPTY;
    }
    wr_str(&w, STR("https://"));
    wr_str(&w, host);
    if (f->tells_port && r->https_port != 0) {
        wr_char(&w, ':');
        wr_u64(&w, r->https_port);
    }
    wr_str(&w, target);
    return w.bad ? STR_EMPTY : str_make(r->scratch, wr_n(&w));
}

enum filter_verdict filter_ssl_redirect_request(const struct snap_shard *shard, const void *config,
                                                const struct filter_request *r,
                                                struct filter_answer *ret)
{
    const struct snap_filter_ssl_redirect *f = config;
    (void)shard; /* all of it is in the struct */
    if (str_eq(r->scheme, STR("https")) || stays_plain(r, f)) {
        return FILTER_PASS;
    }
    struct str host = host_find(r);
    if (host.n == 0) { /* HTTP/1.0: nowhere to send it to, and nothing to be served in plain */
        *ret = (struct filter_answer){.reason = REASON_bad_request, .location = STR_EMPTY};
        return FILTER_ANSWER;
    }
    struct str location = location_make(r, f, host);
    *ret = location.n == 0
               ? (struct filter_answer){.reason = REASON_target_too_long, .location = STR_EMPTY}
               : (struct filter_answer){(uint16_t)f->status, REASON_redirect, location};
    return FILTER_ANSWER;
}
