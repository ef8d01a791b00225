/* The client's identity, and fields to the next hop. */
#include "proxy/forward.h"

#include "base/buf.h"
#include "base/mem.h"
#include "event/transport.h"
#include "http/trust.h"
#include "wire/http1.h"

/* Not forwarded from a client besides the hop-by-hop ones: what we say ourselves, and Proxy, which
 * CGI programs take for a setting (CVE-2016-5385). */
static const bool replaced[FIELD_NAMES_N] = {
    [FIELD_expect] = true, /* answered by us: RFC 9110 section 10.1.1 */
    [FIELD_proxy] = true,
    [FIELD_x_forwarded_for] = true,
    [FIELD_x_forwarded_host] = true,
    [FIELD_x_forwarded_port] = true,
    [FIELD_x_forwarded_proto] = true,
    [FIELD_x_forwarded_scheme] = true,
    [FIELD_x_original_forwarded_for] = true,
    [FIELD_x_real_ip] = true,
    [FIELD_x_request_id] = true,
    [FIELD_x_scheme] = true,
};

/* ---- origin ---- */

/* From right to left over X-Forwarded-For, as long as the ones who say it are trusted. What is no
 * address ends the walk. */
static void find_client(const struct snap_global *g, struct str list, struct ip *client)
{
    while (list.n > 0 && http_trusts(g, client)) {
        size_t at = list.n;
        while (at > 0 && list.p[at - 1] != ',') {
            at--;
        }
        struct ip ip;
        if (ip_parse(str_trim(str_from(list, at)), &ip) != E_OK) {
            return;
        }
        *client = ip;
        list = str_first(list, at == 0 ? 0 : at - 1);
    }
}

static struct str first_item(struct str list)
{
    struct str head, rest;
    (void)str_cut(list, ',', &head, &rest); /* one item has no comma */
    return str_trim(head);
}

static void believe(const struct http_request *r, const struct snap_global *g,
                    struct forward_origin *o)
{
    struct str value;
    uint64_t port;
    find_client(g, o->forwarded_for, &o->client);
    if (http_field_get(r->fields, r->field_n, FIELD_x_forwarded_proto, &value)) {
        value = first_item(value);
        if (str_eq_nocase(value, STR("https")) || str_eq_nocase(value, STR("http"))) {
            o->scheme = value.n == 5 ? STR("https") : STR("http");
        }
    }
    if (http_field_get(r->fields, r->field_n, FIELD_x_forwarded_host, &value) &&
        first_item(value).n > 0) {
        o->host = first_item(value);
    }
    if (http_field_get(r->fields, r->field_n, FIELD_x_forwarded_port, &value) &&
        str_to_u64(first_item(value), UINT16_MAX, &port)) {
        o->port = first_item(value);
    }
}

void forward_origin_find(const struct http_request *r, const struct snap_global *global,
                         struct forward_origin *ret)
{
    *ret = (struct forward_origin){
        .client = r->peer->ip,
        .scheme = r->peer->is_tls || r->peer->is_tls_ahead ? STR("https") : STR("http"),
        .host = r->authority,
    };
    (void)http_field_get(r->fields, r->field_n, FIELD_x_forwarded_for, &ret->forwarded_for);
    if (global != NULL && global->settings.use_forwarded_headers != 0 &&
        http_trusts(global, &r->peer->ip)) {
        ret->is_believed = true;
        believe(r, global, ret);
    }
}

/* ---- fields ---- */

/* True when a Connection field says more than what nearly everybody says. */
static bool connection_names(const struct field *fields, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (fields[i].id == FIELD_connection &&
            !str_eq_nocase(fields[i].value, STR("keep-alive")) &&
            !str_eq_nocase(fields[i].value, STR("close"))) {
            return true;
        }
    }
    return false;
}

/* Fields that Connection names are for this hop only: RFC 9110 section 7.6.1. Host and the framing
 * fields cannot be named away. */
static bool is_named(const struct field *fields, uint32_t n, const struct field *f)
{
    for (uint32_t i = 0; i < n; i++) {
        if (fields[i].id == FIELD_connection && h1_list_has(fields[i].value, f->name)) {
            return f->id != FIELD_host && f->id != FIELD_content_length;
        }
    }
    return false;
}

/* X_Forwarded_For is X-Forwarded-For to a CGI program: a name that means one of ours when '_' is
 * read as '-' is a way around us. */
static bool is_disguised(const struct field *f)
{
    char name[32];
    if (f->id != FIELD_OTHER || f->name.n > sizeof(name) || str_find(f->name, '_') == f->name.n) {
        return false;
    }
    for (size_t i = 0; i < f->name.n; i++) {
        name[i] = f->name.p[i];
        if (name[i] == '_') {
            name[i] = '-';
        }
    }
    enum field_name id = field_name_id(str_make(name, f->name.n));
    return replaced[id] || http_field_is_hop_by_hop(id) || id == FIELD_host ||
           id == FIELD_content_length;
}

static bool is_of_certificate(const struct field *f)
{
    static const char ours[] = "ssl-client-";
    for (size_t i = 0; i < sizeof(ours) - 1; i++) {
        char c = i < f->name.n ? ascii_lower(f->name.p[i]) : '\0';
        if (c != ours[i] && !(ours[i] == '-' && c == '_')) {
            return false;
        }
    }
    return true;
}

/* What endpoints are told of a client's certificate is ours alone to say; only where the host asks
 * for none, a trusted proxy may have asked. */
static bool is_client_claim(const struct forward_origin *origin, const struct field *f)
{
    return (origin->certificate != NULL || !origin->is_believed) && is_of_certificate(f);
}

static void add(struct field *out, uint32_t *n, enum field_name id, struct str name,
                struct str value)
{
    out[(*n)++] = (struct field){.name = name, .value = value, .id = id};
}

/* The client's address, or with compute-full-forwarded-for what came and the peer's behind it. */
static struct str forwarded_for(const struct http_request *r, const struct forward_origin *origin,
                                const struct snap_global *global, struct forward_text *text,
                                struct str client)
{
    bool is_full = global != NULL && global->settings.compute_full_forwarded_for != 0;
    if (!is_full || origin->forwarded_for.n == 0) {
        return client;
    }
    struct wr w = wr_make(text->forwarded_for, sizeof(text->forwarded_for));
    wr_str(&w, origin->forwarded_for);
    wr_str(&w, STR(", "));
    ip_emit(&w, &r->peer->ip);
    return w.bad ? client : str_make(text->forwarded_for, wr_n(&w));
}

static void add_forwarded(const struct http_request *r, const struct forward_origin *origin,
                          const struct snap_global *global, struct str request_id,
                          struct forward_text *text, struct field *out, uint32_t *n)
{
    struct wr client = wr_make(text->client, sizeof(text->client));
    ip_emit(&client, &origin->client);
    struct wr port = wr_make(text->port, sizeof(text->port));
    wr_u64(&port, r->peer->local_port);
    struct str ip = str_make(text->client, wr_n(&client));
    add(out, n, FIELD_x_request_id, STR("X-Request-ID"), request_id);
    add(out, n, FIELD_x_real_ip, STR("X-Real-IP"), ip);
    add(out, n, FIELD_x_forwarded_for, STR("X-Forwarded-For"),
        forwarded_for(r, origin, global, text, ip));
    add(out, n, FIELD_x_forwarded_host, STR("X-Forwarded-Host"), origin->host);
    add(out, n, FIELD_x_forwarded_port, STR("X-Forwarded-Port"),
        origin->port.n > 0 ? origin->port : str_make(text->port, wr_n(&port)));
    add(out, n, FIELD_x_forwarded_proto, STR("X-Forwarded-Proto"), origin->scheme);
    add(out, n, FIELD_x_forwarded_scheme, STR("X-Forwarded-Scheme"), origin->scheme);
    add(out, n, FIELD_x_scheme, STR("X-Scheme"), origin->scheme);
    if (origin->forwarded_for.n > 0) {
        add(out, n, FIELD_x_original_forwarded_for, STR("X-Original-Forwarded-For"),
            origin->forwarded_for);
    }
    if (forward_takes_trailers(r)) {
        add(out, n, FIELD_te, STR("TE"), STR("trailers"));
    }
    if (r->upgrade.n > 0) {
        add(out, n, FIELD_upgrade, STR("Upgrade"), r->upgrade);
    }
}

/* The names and words of ingress-nginx. */
static void add_certificate(const struct transport_client *c, struct field *out, uint32_t *n)
{
    add(out, n, FIELD_OTHER, STR("ssl-client-verify"), c->verdict);
    if (c->has_certificate) {
        add(out, n, FIELD_OTHER, STR("ssl-client-subject-dn"), c->subject);
        add(out, n, FIELD_OTHER, STR("ssl-client-issuer-dn"), c->issuer);
    }
    if (c->certificate.n > 0) {
        add(out, n, FIELD_OTHER, STR("ssl-client-cert"), c->certificate);
    }
}

/* RFC 9112 section 3.2.2: the authority of an absolute target replaces Host. */
static bool is_host_kept(const struct http_request *r, const struct field *f, bool has_host)
{
    return !has_host && str_eq(f->value, r->authority);
}

uint32_t forward_request_fields(const struct http_request *r, const struct forward_origin *origin,
                                const struct snap_global *global, struct str request_id,
                                struct forward_text *text, struct field *out)
{
    uint32_t n = 0;
    bool has_host = false;
    bool is_naming = connection_names(r->fields, r->field_n);
    for (uint32_t i = 0; i < r->field_n; i++) {
        const struct field *f = &r->fields[i];
        if (replaced[f->id] || http_field_is_hop_by_hop(f->id) || is_disguised(f) ||
            (is_naming && is_named(r->fields, r->field_n, f)) || is_client_claim(origin, f)) {
            continue;
        }
        if (f->id == FIELD_host) {
            if (!is_host_kept(r, f, has_host)) {
                continue;
            }
            has_host = true;
        }
        out[n++] = *f;
    }
    if (!has_host) {
        add(out, &n, FIELD_host, STR("Host"), r->authority);
    }
    add_forwarded(r, origin, global, request_id, text, out, &n);
    if (origin->certificate != NULL) {
        add_certificate(origin->certificate, out, &n);
    }
    return n;
}

uint32_t forward_response_fields(const struct http_response *r, struct field *out)
{
    uint32_t n = 0;
    bool is_naming = connection_names(r->fields, r->field_n);
    for (uint32_t i = 0; i < r->field_n; i++) {
        const struct field *f = &r->fields[i];
        bool is_kept = r->is_tunnel && f->id == FIELD_upgrade; /* RFC 9110 section 7.8 */
        if (is_kept || (!http_field_is_hop_by_hop(f->id) &&
                        !(is_naming && is_named(r->fields, r->field_n, f)))) {
            out[n++] = *f;
        }
    }
    return n;
}

bool forward_may_upgrade(struct str upgrade)
{
    static const struct str refused[] = {STR_INIT("h2"), STR_INIT("HTTP/"), STR_INIT("TLS")};
    struct str item;
    while (upgrade.n > 0) {
        (void)str_cut(upgrade, ',', &item, &upgrade); /* the last one has no comma behind it */
        item = str_trim(item);
        for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
            if (str_eq_nocase(str_first(item, refused[i].n), refused[i])) {
                return false;
            }
        }
    }
    return true;
}

struct http_trailers forward_trailers(const struct http_trailers *in, struct field *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->n; i++) {
        const struct field *f = &in->fields[i];
        if (f->id == FIELD_OTHER && !is_disguised(f) && !is_of_certificate(f)) {
            out[n++] = *f;
        }
    }
    return (struct http_trailers){out, n};
}

bool forward_takes_trailers(const struct http_request *r)
{
    struct str te;
    return http_field_get(r->fields, r->field_n, FIELD_te, &te) && h1_list_has(te, STR("trailers"));
}
