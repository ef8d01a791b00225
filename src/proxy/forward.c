/* Fields to the next hop. */
#include "proxy/forward.h"

#include "base/buf.h"
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

/* Fields that Connection names are for this hop only; host and the framing fields cannot be named
 * away. */
static bool is_named(struct str connection, const struct field *f)
{
    return f->id != FIELD_host && f->id != FIELD_content_length && h1_list_has(connection, f->name);
}

/* True when Connection says more than what nearly everybody says. */
static bool has_names(struct str connection)
{
    return connection.n > 0 && !str_eq_nocase(connection, STR("keep-alive")) &&
           !str_eq_nocase(connection, STR("close"));
}

static void add(struct field *out, uint32_t *n, enum field_name id, struct str name,
                struct str value)
{
    out[(*n)++] = (struct field){.name = name, .value = value, .id = id};
}

static void add_forwarded(const struct http_request *r, struct str request_id,
                          struct forward_text *text, struct field *out, uint32_t *n)
{
    const struct http_peer *peer = r->peer;
    struct str scheme = peer->is_tls ? STR("https") : STR("http");
    struct wr client = wr_make(text->client, sizeof(text->client));
    ip_emit(&client, &peer->ip);
    struct wr port = wr_make(text->port, sizeof(text->port));
    wr_u64(&port, peer->local_port);
    struct str ip = str_make(text->client, wr_n(&client));
    add(out, n, FIELD_x_request_id, STR("X-Request-ID"), request_id);
    add(out, n, FIELD_x_real_ip, STR("X-Real-IP"), ip);
    add(out, n, FIELD_x_forwarded_for, STR("X-Forwarded-For"), ip);
    add(out, n, FIELD_x_forwarded_host, STR("X-Forwarded-Host"), r->authority);
    add(out, n, FIELD_x_forwarded_port, STR("X-Forwarded-Port"), str_make(text->port, wr_n(&port)));
    add(out, n, FIELD_x_forwarded_proto, STR("X-Forwarded-Proto"), scheme);
    add(out, n, FIELD_x_forwarded_scheme, STR("X-Forwarded-Scheme"), scheme);
    add(out, n, FIELD_x_scheme, STR("X-Scheme"), scheme);
}

uint32_t forward_request_fields(const struct http_request *r, struct str request_id,
                                struct forward_text *text, struct field *out)
{
    uint32_t n = 0;
    bool has_host = false;
    struct str connection = STR_EMPTY;
    (void)http_field_get(r->fields, r->field_n, FIELD_connection, &connection); /* stays empty */
    bool is_naming = has_names(connection);
    for (uint32_t i = 0; i < r->field_n; i++) {
        const struct field *f = &r->fields[i];
        if (replaced[f->id] || http_field_is_hop_by_hop(f->id) ||
            (is_naming && is_named(connection, f))) {
            continue;
        }
        if (f->id == FIELD_host) {
            /* RFC 9112 section 3.2.2: the authority of an absolute target replaces Host. */
            if (has_host || !str_eq(f->value, r->authority)) {
                continue;
            }
            has_host = true;
        }
        out[n++] = *f;
    }
    if (!has_host) {
        add(out, &n, FIELD_host, STR("Host"), r->authority);
    }
    add_forwarded(r, request_id, text, out, &n);
    return n;
}

uint32_t forward_response_fields(const struct http_response *r, struct field *out)
{
    uint32_t n = 0;
    struct str connection = STR_EMPTY;
    (void)http_field_get(r->fields, r->field_n, FIELD_connection, &connection); /* stays empty */
    bool is_naming = has_names(connection);
    for (uint32_t i = 0; i < r->field_n; i++) {
        const struct field *f = &r->fields[i];
        if (!http_field_is_hop_by_hop(f->id) && !(is_naming && is_named(connection, f))) {
            out[n++] = *f;
        }
    }
    return n;
}
