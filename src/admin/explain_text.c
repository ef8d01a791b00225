/* An explanation for people.
 *
 *   GET shop.example.com/cart
 *   -> Service default/cart, port 80: one of 2 endpoints
 *
 *     listener   http, table ingress
 *     host       shop.example.com
 *     ...
 *
 * Text from manifests and requests is printed with control characters replaced, so that it cannot
 * steer the terminal. */
#include "admin/explain.h"

#include "base/clock.h"
#include "wire/date.h"

enum {
    LABEL_COLUMNS = 11,
    LOSERS_SHOWN_MAX = 12,
    ENDPOINTS_SHOWN_MAX = 20,
    ADDRESS_COLUMNS = 24,
};

enum ink { INK_PLAIN, INK_BOLD, INK_GOOD, INK_BAD, INK_FAINT };

struct painter {
    struct buf *out;
    bool has_color;
};

static void ink(const struct painter *p, enum ink i)
{
    static const char *const codes[] = {
        [INK_PLAIN] = "\033[0m", [INK_BOLD] = "\033[1m",  [INK_GOOD] = "\033[32m",
        [INK_BAD] = "\033[31m",  [INK_FAINT] = "\033[2m",
    };
    if (p->has_color) {
        buf_add_str(p->out, str_from_cstr(codes[i]));
    }
}

/* Foreign text. */
static void add_safe(const struct painter *p, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool is_control = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f;
        buf_add_char(p->out, is_control ? '?' : s.p[i]);
    }
}

static void add(const struct painter *p, const char *s)
{
    buf_add_str(p->out, str_from_cstr(s));
}

static void label(const struct painter *p, const char *name)
{
    ink(p, INK_FAINT);
    buf_addf(p->out, "  %-*s", LABEL_COLUMNS, name);
    ink(p, INK_PLAIN);
}

static void add_plural(const struct painter *p, size_t n, const char *what)
{
    buf_addf(p->out, "%zu %s%s", n, what, n == 1 ? "" : "s");
}

static void add_owner(const struct painter *p, const struct explain_owner *o)
{
    if (o->name.n > 0) {
        add(p, "Ingress ");
        add_safe(p, o->namespace_name);
        add(p, "/");
        add_safe(p, o->name);
        add(p, " ");
    }
    add_safe(p, o->field);
    if (o->file.n > 0) {
        ink(p, INK_FAINT);
        add(p, "  ");
        add_safe(p, o->file);
        if (o->line > 0) {
            buf_addf(p->out, ":%u", o->line);
        }
        ink(p, INK_PLAIN);
    }
}

static void add_host(const struct painter *p, struct str host)
{
    if (host.n == 0) {
        add(p, "(every host)");
    } else {
        add_safe(p, host);
    }
}

/* "shop.example.com Prefix /cart" */
static void add_rule(const struct painter *p, const struct explain_candidate *c)
{
    struct str path = snap_str_get(c->host, c->route->path);
    add_host(p, snap_str_get(c->host, c->host->host));
    buf_addf(p->out, " %s", c->path_type);
    if (path.n > 0) {
        add(p, " ");
        add_safe(p, path);
    }
}

/* ---- the headline ---- */

static const struct explain_backend *first_usable(const struct explanation *e)
{
    for (size_t i = 0; i < e->backend_n; i++) {
        if (e->backends[i].backend->weight > 0 && e->backends[i].usable_n > 0) {
            return &e->backends[i];
        }
    }
    return NULL;
}

static void emit_forwarded(const struct painter *p, const struct explanation *e)
{
    const struct explain_backend *b = first_usable(e);
    ink(p, INK_GOOD);
    add(p, "-> Service ");
    add_safe(p, b->namespace_name);
    add(p, "/");
    add_safe(p, b->name);
    add(p, ", port ");
    add_safe(p, b->port);
    add(p, ": one of ");
    add_plural(p, b->usable_n, "endpoint");
    if (e->backend_n > 1) {
        buf_addf(p->out, " (or one of %zu further backends, by weight)", e->backend_n - 1);
    }
    ink(p, INK_PLAIN);
    add(p, "\n");
}

static void emit_headline(const struct painter *p, const struct explanation *e)
{
    ink(p, INK_BOLD);
    add_safe(p, e->request->method);
    add(p, " ");
    add_safe(p, e->request->authority);
    add_safe(p, e->request->target);
    ink(p, INK_PLAIN);
    add(p, "\n");
    if (e->reason == REASON_none) {
        emit_forwarded(p, e);
        return;
    }
    if (e->tls.is_refused) {
        ink(p, INK_BAD);
        add(p, "-> the TLS handshake is refused");
        ink(p, INK_PLAIN);
        add(p, "\n");
        return;
    }
    ink(p, e->reason == REASON_redirect ? INK_GOOD : INK_BAD);
    if (e->is_passed_through) {
        add(p, "-> connection closed, ");
    } else {
        buf_addf(p->out, "-> %u ", e->status);
    }
    buf_addf(p->out, "%s: %s", reason_name(e->reason), reason_text(e->reason));
    ink(p, INK_PLAIN);
    add(p, "\n");
}

/* ---- the request as it is compared ---- */

static void emit_query(const struct painter *p, const struct explanation *e)
{
    add(p, "\n");
    label(p, "listener");
    add_safe(p, e->listener);
    if (e->query.table.n > 0) {
        add(p, ", table ");
        add_safe(p, e->query.table);
    } else if (e->is_understood) {
        add(p, ", which has no routes");
    }
    if (!str_eq(e->scheme, e->listener)) {
        add(p, ", for a client that uses ");
        add_safe(p, e->scheme);
    }
    add(p, "\n");
    if (!e->is_understood) {
        return;
    }
    label(p, "host");
    if (e->query.host.n == 0) {
        add(p, "(none)");
    }
    add_safe(p, e->query.host);
    add(p, "\n");
    label(p, "path");
    add_safe(p, e->query.path);
    add(p, "\n");
}

/* ---- TLS ---- */

static void add_expiry(const struct painter *p, int64_t not_after)
{
    enum { DAY_S = 24 * 3600, DATE_BYTES = 40 };
    char date[DATE_BYTES];
    struct wr w = wr_make(date, sizeof(date));
    int64_t left = not_after - (int64_t)(clock_wall() / USEC_PER_SEC);
    date_emit_rfc3339(&w, not_after);
    ink(p, left < 0 ? INK_BAD : INK_PLAIN);
    buf_addf(p->out, left < 0 ? ", has ended on %.*s" : ", ends on %.*s", (int)wr_n(&w), date);
    if (left >= 0) {
        buf_addf(p->out, " (%lld days)", (long long)(left / DAY_S));
    }
    ink(p, INK_PLAIN);
}

static void emit_certificate(const struct painter *p, const struct explain_certificate *c)
{
    label(p, "shows");
    if (c->secret.n == 0) {
        add(p, "one of Lintel's own making, which nobody trusts");
    } else {
        add(p, "Secret ");
        add_safe(p, c->secret);
    }
    if (c->certificate != NULL) {
        buf_addf(p->out, ", %s", explain_key_kind_name(c->certificate));
        add_expiry(p, c->certificate->not_after);
    }
    if (c->ingress != NULL) {
        add(p, ", named by Ingress ");
        add_safe(p, c->ingress->object.namespace_name);
        add(p, "/");
        add_safe(p, c->ingress->object.name);
    }
    add(p, "\n");
}

/* Why it is these certificates. */
static void emit_handshake(const struct painter *p, const struct explain_tls *t,
                           bool has_no_secrets)
{
    label(p, "handshake");
    if (t->server_name.n == 0) {
        add(p, "for no name");
    } else {
        add(p, "for ");
        add_safe(p, t->server_name);
    }
    if (t->is_refused) {
        add(p, ": refused, as nobody has the name (--ssl-reject-handshake)\n");
        return;
    }
    if (has_no_secrets) {
        add(p, ": Secrets of a cluster are not read here; ask lintel certs, or a running Lintel\n");
        return;
    }
    if (t->is_default) {
        add(p, ", which nobody has a certificate for: the default one is shown");
    } else {
        add(p, ", shown what there is for ");
        add_safe(p, t->pattern);
    }
    add(p, t->has_http2 ? "; HTTP/2 or HTTP/1.1\n" : "; HTTP/1.1, as --use-http2 is off\n");
    for (uint32_t i = 0; i < t->certificate_n; i++) {
        emit_certificate(p, &t->certificates[i]);
    }
    if (t->certificate_n == 0) {
        emit_certificate(p, &(struct explain_certificate){.secret = STR_EMPTY});
    }
}

static void emit_client(const struct painter *p, const struct snap_tls_host *h)
{
    label(p, "client");
    if (h->is_denied) {
        ink(p, INK_BAD);
        add(p, "nobody gets in: what auth-tls-secret needs is not there, or an annotation of "
               "auth-tls is wrong\n");
        ink(p, INK_PLAIN);
        return;
    }
    add(p,
        h->verify == SNAP_VERIFY_REQUIRED ? "has to show a certificate" : "may show a certificate");
    if (h->verify != SNAP_VERIFY_OPTIONAL_NO_CA) {
        add(p, " signed by one in Secret ");
        add_safe(p, snap_str_get(h, h->authority.key));
        buf_addf(p->out, ", depth %u", h->depth);
    }
    if (h->name_pattern.n > 0) {
        add(p, ", whose subject has ");
        add_safe(p, snap_str_get(h, h->name_pattern));
    }
    if (h->error_page.n > 0) {
        add(p, "; else it is sent to ");
        add_safe(p, snap_str_get(h, h->error_page));
    }
    add(p, "\n");
}

static void emit_tls(const struct painter *p, const struct explanation *e)
{
    const struct explain_tls *t = &e->tls;
    if (t->is_used) {
        emit_handshake(p, t, e->world->has_no_secrets);
    }
    if (t->wanted != NULL && t->wanted->is_denied && e->world->has_no_secrets) {
        label(p, "client");
        add(p, "is asked for a certificate, by a Secret that is not read here\n");
    } else if (t->wanted != NULL) {
        emit_client(p, t->wanted);
    }
    if (t->is_misdirected) {
        label(p, "verdict");
        add(p, "misdirected: no certificate of that handshake is for the host, or its client was "
               "asked for "
               "something else\n");
    }
}

/* ---- the winner ---- */

static void add_location(const struct painter *p, struct str location)
{
    add(p, " to ");
    add_safe(p, location);
}

static void emit_ssl_redirect(const struct painter *p, const struct explanation *e,
                              const struct explain_filter *f)
{
    const struct snap_filter_ssl_redirect *r = f->config;
    bool is_https = str_eq(e->scheme, STR("https"));
    buf_addf(p->out, "ssl_redirect %u", r->status);
    switch (f->effect) {
    case EXPLAIN_ANSWERS:
        if (e->location.n > 0) {
            add_location(p, e->location);
        }
        buf_addf(p->out, ": %s", explain_ssl_cause(r));
        return;
    case EXPLAIN_PASSES:
        add(p, is_https ? ": passes, the client uses https"
                        : ": passes, the path is one of --no-tls-redirect-locations");
        return;
    case EXPLAIN_NOT_REACHED:
        add(p, ": not reached");
        return;
    case EXPLAIN_CHANGES: /* only of responses */
        return;
    }
}

static void emit_hsts(const struct painter *p, const struct explanation *e,
                      const struct explain_filter *f)
{
    const struct snap_filter_hsts *h = f->config;
    add(p, "hsts ");
    add_safe(p, snap_str_get(e->match.host, h->value));
    if (f->effect != EXPLAIN_CHANGES) {
        add(p, ": passes, the client does not use https");
    }
}

static void emit_redirect(const struct painter *p, const struct explanation *e,
                          const struct explain_filter *f)
{
    const struct snap_filter_redirect *r = f->config;
    buf_addf(p->out, "redirect %u", r->status);
    add_location(p, snap_str_get(e->match.host, r->location));
    if (f->effect == EXPLAIN_NOT_REACHED) {
        add(p, ": not reached");
    }
}

static void emit_filter(const struct painter *p, const struct explanation *e,
                        const struct explain_filter *f)
{
    label(p, "filter");
    switch ((enum snap_filter_kind)f->filter->kind) {
#define FILTER(name, number, halves)                                                               \
    case SNAP_FILTER_##name:                                                                       \
        emit_##name(p, e, f);                                                                      \
        break;
#include "snapshot/filters.def"
#undef FILTER
    }
    add(p, "\n");
}

static void emit_winner(const struct painter *p, const struct explanation *e)
{
    label(p, "matched");
    add_rule(p, e->winner);
    add(p, "\n");
    label(p, "rule");
    add_owner(p, &e->winner->owner);
    add(p, "\n");
    for (size_t i = 0; i < e->filter_n; i++) {
        emit_filter(p, e, &e->filters[i]);
    }
}

static void add_detail(const struct painter *p, const char *name, struct str value)
{
    if (value.n > 0) {
        buf_addf(p->out, "  %s ", name);
        add_safe(p, value);
    }
}

static void emit_endpoint(const struct painter *p, const struct explain_endpoint *t)
{
    char text[IP_TEXT_MAX + 16];
    struct wr w = wr_make(text, sizeof(text));
    if (t->ip.family == 6 && t->port > 0) {
        wr_char(&w, '[');
    }
    if (t->ip.family != 0) {
        ip_emit(&w, &t->ip);
    }
    if (t->ip.family == 6 && t->port > 0) {
        wr_char(&w, ']');
    }
    if (t->port > 0) {
        wr_char(&w, ':');
        wr_u64(&w, t->port);
    }
    buf_addf(p->out, "    %-*.*s", ADDRESS_COLUMNS, (int)wr_n(&w), text);
    if (t->why_not != NULL) {
        ink(p, INK_BAD);
        buf_addf(p->out, "  %s", t->why_not);
        ink(p, INK_PLAIN);
    }
    ink(p, INK_FAINT);
    add_detail(p, "pod", t->pod);
    add_detail(p, "slice", t->slice);
    add_detail(p, "node", t->node);
    add_detail(p, "zone", t->zone);
    ink(p, INK_PLAIN);
    add(p, "\n");
}

static void emit_endpoints(const struct painter *p, const struct explain_backend *b)
{
    for (uint32_t i = 0; i < b->endpoint_n; i++) {
        /* Those that may be picked stand first; show some of either sort. */
        uint32_t rank = i < b->usable_n ? i : i - b->usable_n;
        if (rank < ENDPOINTS_SHOWN_MAX) {
            emit_endpoint(p, &b->endpoints[i]);
        }
    }
    if (b->usable_n > ENDPOINTS_SHOWN_MAX) {
        buf_addf(p->out, "    and %u more\n", b->usable_n - ENDPOINTS_SHOWN_MAX);
    }
}

static void emit_backend(const struct painter *p, const struct explanation *e,
                         const struct explain_backend *b)
{
    bool is_only = e->backend_n == 1;
    label(p, "backend");
    add(p, "Service ");
    add_safe(p, b->namespace_name);
    add(p, "/");
    add_safe(p, b->name);
    add(p, ", port ");
    add_safe(p, b->port);
    if (!is_only) {
        buf_addf(p->out, ", weight %u", b->backend->weight);
    }
    if (b->service != NULL) {
        buf_addf(p->out, ", by %s", snap_service_speech(b->service));
        if (b->service->is_tls != 0) {
            ink(p, b->service->is_broken ? INK_BAD : INK_PLAIN);
            add(p, ", ");
            snap_service_emit_tls(b->service, p->out);
            ink(p, INK_PLAIN);
        }
    }
    if (b->service == NULL || b->service->status != SNAP_SERVICE_OK) {
        ink(p, INK_BAD);
        buf_addf(p->out, ": %s", explain_service_state(e, b));
        ink(p, INK_PLAIN);
    } else if (b->usable_n == 0) {
        ink(p, INK_BAD);
        add(p, b->endpoint_n == 0 ? ": it has no endpoints at all"
                                  : ": none of its endpoints can be used");
        ink(p, INK_PLAIN);
    }
    add(p, "\n");
    emit_endpoints(p, b);
}

/* ---- the others ---- */

static const char *verdict_text(enum route_verdict v)
{
    switch (v) {
    case ROUTE_WON:
        return "won";
    case ROUTE_LESS_SPECIFIC:
        return "matches too, less specific";
    case ROUTE_PATH_DIFFERS:
        return "path differs";
    case ROUTE_CONDITION_FAILS:
        return "a condition fails";
    }
    return "";
}

static void emit_losers(const struct painter *p, const struct explanation *e)
{
    size_t shown = 0, losers = e->candidate_n - 1 + e->candidate_dropped;
    if (losers == 0) {
        return;
    }
    add(p, "\n  Rules that lose:\n");
    for (size_t i = 0; i < e->candidate_n && shown < LOSERS_SHOWN_MAX; i++) {
        const struct explain_candidate *c = &e->candidates[i];
        if (c->verdict == ROUTE_WON) {
            continue;
        }
        buf_addf(p->out, "    %s: ", verdict_text(c->verdict));
        add_rule(p, c);
        add(p, "  ");
        add_owner(p, &c->owner);
        add(p, "\n");
        shown++;
    }
    if (losers > shown) {
        buf_addf(p->out, "    and %zu more\n", losers - shown);
    }
}

static void emit_misses(const struct painter *p, const struct explanation *e)
{
    if (e->miss_n == 0) {
        return;
    }
    add(p, "\n  Nearest misses:\n");
    for (size_t i = 0; i < e->miss_n; i++) {
        const struct explain_miss *m = &e->misses[i];
        add(p, "    ");
        add_host(p, m->host);
        add_safe(p, m->path);
        buf_addf(p->out, ": %s", m->why);
        if (m->owner.name.n > 0) {
            add(p, "  ");
            add_owner(p, &m->owner);
        }
        add(p, "\n");
    }
}

void explain_emit_text(struct buf *out, const struct explanation *e, bool has_color)
{
    struct painter p = {out, has_color};
    emit_headline(&p, e);
    emit_query(&p, e);
    if (e->is_understood && !e->is_passed_through) {
        emit_tls(&p, e);
    }
    if (e->winner != NULL) {
        emit_winner(&p, e);
    } else if (e->is_passed_through) {
        label(&p, "tls");
        add(&p, "passed through as it is, by the name in the handshake: no route, no filter\n");
    }
    for (size_t i = 0; i < e->backend_n; i++) {
        emit_backend(&p, e, &e->backends[i]);
    }
    if (e->winner != NULL) {
        emit_losers(&p, e);
    } else {
        emit_misses(&p, e);
    }
}
