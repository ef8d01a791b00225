/* One walk, two forms: JSON, and indented lines "name: value" with "- " before each item of a list
 * (which happens to be YAML). */
#include "snapshot/dump.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/mem.h"
#include "snapshot/filters.h"
#include "snapshot/write.h"

/* ---- the two forms ---- */

struct dump {
    struct buf *out;
    enum snapshot_dump_form form;
    size_t depth;
    bool is_first; /* nothing yet in this list or item */
    bool is_dash;  /* text: "- " is written, the first value follows on the line */
};

static void add_quoted(struct buf *out, struct str s)
{
    buf_add_char(out, '"');
    for (size_t n; s.n > 0; s = str_from(s, n == 0 ? 1 : n)) {
        unsigned char c = (unsigned char)s.p[0];
        n = str_utf8_n(s);
        if (n == 0) {
            buf_add_str(out, STR("\\ufffd"));
        } else if (c == '"' || c == '\\') {
            buf_add_char(out, '\\');
            buf_add_char(out, (char)c);
        } else if (c < ' ' || c == 0x7f) {
            buf_addf(out, "\\u%04x", c);
        } else {
            buf_add(out, s.p, n);
        }
    }
    buf_add_char(out, '"');
}

/* What stands before a value; name is NULL in a list. */
static void lead(struct dump *d, const char *name)
{
    bool is_json = d->form == SNAPSHOT_DUMP_JSON;
    if (is_json && !d->is_first) {
        buf_add_char(d->out, ',');
    }
    if (!is_json && !d->is_dash) {
        if (d->depth > 0 || !d->is_first) {
            buf_add_char(d->out, '\n');
        }
        for (size_t i = 0; i < d->depth; i++) {
            buf_add_str(d->out, STR("  "));
        }
    }
    d->is_first = false;
    d->is_dash = !is_json && name == NULL;
    if (d->is_dash) {
        buf_add_str(d->out, STR("- "));
    } else if (name != NULL) {
        buf_addf(d->out, is_json ? "\"%s\":" : "%s:", name);
    }
}

static void scalar_lead(struct dump *d, const char *name)
{
    lead(d, name);
    if (d->form == SNAPSHOT_DUMP_TEXT && name != NULL) {
        buf_add_char(d->out, ' ');
    }
    d->is_dash = false;
}

static void add_str(struct dump *d, const char *name, struct str s)
{
    scalar_lead(d, name);
    add_quoted(d->out, s);
}

static void add_word(struct dump *d, const char *name, const char *word)
{
    add_str(d, name, str_from_cstr(word));
}

static void add_u64(struct dump *d, const char *name, uint64_t value)
{
    scalar_lead(d, name);
    buf_add_u64(d->out, value);
}

static void add_bool(struct dump *d, const char *name, bool value)
{
    scalar_lead(d, name);
    buf_add_str(d->out, value ? STR("true") : STR("false"));
}

static void list_begin(struct dump *d, const char *name)
{
    lead(d, name);
    if (d->form == SNAPSHOT_DUMP_JSON) {
        buf_add_char(d->out, '[');
    }
    d->depth++;
    d->is_first = true;
}

static void list_end(struct dump *d)
{
    if (d->form == SNAPSHOT_DUMP_JSON) {
        buf_add_char(d->out, ']');
    } else if (d->is_first) {
        buf_add_str(d->out, STR(" []"));
    }
    d->depth--;
    d->is_first = false;
}

static void item_begin(struct dump *d, const char *name)
{
    lead(d, name);
    if (d->form == SNAPSHOT_DUMP_JSON) {
        buf_add_char(d->out, '{');
        d->is_first = true;
    }
    d->depth++;
}

static void item_end(struct dump *d)
{
    if (d->form == SNAPSHOT_DUMP_JSON) {
        buf_add_char(d->out, '}');
    }
    d->depth--;
    d->is_first = false;
}

/* ---- what shards hold ---- */

static void add_text(struct dump *d, const char *name, const void *shard, struct snap_str s)
{
    add_str(d, name, snap_str_get(shard, s));
}

static void dump_trusted(struct dump *d, const struct snap_global *g)
{
    const struct snap_prefix *p = snap_array_get(g, g->trusted);
    list_begin(d, "trusted");
    for (uint32_t i = 0; i < g->trusted.n; i++) {
        char text[INET6_ADDRSTRLEN] = "";
        (void)inet_ntop(p[i].family == 4 ? AF_INET : AF_INET6, p[i].address, text,
                        sizeof(text)); /* the room is enough */
        item_begin(d, NULL);
        add_word(d, "address", text);
        add_u64(d, "bits", p[i].bits);
        item_end(d);
    }
    list_end(d);
}

static void dump_plain_paths(struct dump *d, const struct snap_global *g)
{
    const struct snap_str *paths = snap_array_get(g, g->plain_paths);
    list_begin(d, "plain_paths");
    for (uint32_t i = 0; i < g->plain_paths.n; i++) {
        item_begin(d, NULL);
        add_text(d, "path", g, paths[i]);
        item_end(d);
    }
    list_end(d);
}

static void dump_global(struct dump *d, const struct snap_global *g)
{
    const struct snap_listener *l = snap_array_get(g, g->listeners);
    list_begin(d, "listeners");
    for (uint32_t i = 0; i < g->listeners.n; i++) {
        item_begin(d, NULL);
        add_text(d, "name", g, l[i].name);
        add_text(d, "table", g, l[i].table);
        item_end(d);
    }
    list_end(d);
    dump_trusted(d, g);
    dump_plain_paths(d, g);
    add_text(d, "ssl_ciphers", g, g->ssl_ciphers);
    add_text(d, "ssl_groups", g, g->ssl_groups);
    add_u64(d, "ssl_min_version", g->ssl_min_version);
    add_u64(d, "ssl_max_version", g->ssl_max_version);
#define SETTING(id, name, type, argument, text, value, low, high, help)                            \
    add_u64(d, name, g->settings.id);
#include "snapshot/settings.def"
#undef SETTING
    add_text(d, "ssl_ciphers", g, g->ssl_ciphers);
    add_text(d, "ssl_groups", g, g->ssl_groups);
    add_u64(d, "ssl_min_version", g->ssl_min_version);
    add_u64(d, "ssl_max_version", g->ssl_max_version);
}

static const char *host_kind_text(enum snap_host_kind kind)
{
    switch (kind) {
    case SNAP_HOST_EXACT:
        return "exact";
    case SNAP_HOST_LABEL:
        return "label";
    case SNAP_HOST_SUFFIX:
        return "suffix";
    case SNAP_HOST_ANY:
        return "any";
    }
    return "?";
}

static const char *condition_text(enum snap_condition_kind kind)
{
    switch (kind) {
    case SNAP_IF_METHOD:
        return "method";
    case SNAP_IF_HEADER:
        return "header";
    case SNAP_IF_QUERY:
        return "query";
    }
    return "?";
}

static const char *status_text(enum snap_service_status status)
{
    switch (status) {
    case SNAP_SERVICE_OK:
        return "ok";
    case SNAP_SERVICE_MISSING:
        return "missing";
    case SNAP_SERVICE_NO_PORT:
        return "no_port";
    case SNAP_SERVICE_REFUSED:
        return "refused";
    case SNAP_SERVICE_UNRESOLVED:
        return "unresolved";
    case SNAP_SERVICE_UNSUPPORTED:
        return "unsupported";
    }
    return "?";
}

static const char *balance_text(enum snap_balance balance)
{
    switch (balance) {
    case SNAP_BALANCE_ROUND_ROBIN:
        return "round_robin";
    case SNAP_BALANCE_LEAST_CONN:
        return "least_conn";
    case SNAP_BALANCE_LATENCY:
        return "ewma";
    }
    return "?";
}

static const char *ssl_cause_text(enum snap_ssl_cause cause)
{
    switch (cause) {
    case SNAP_SSL_BY_TLS:
        return "tls";
    case SNAP_SSL_BY_TLS_ANNOTATION:
        return "tls, annotation ssl-redirect";
    case SNAP_SSL_BY_FORCE:
        return "--force-ssl-redirect";
    case SNAP_SSL_BY_FORCE_ANNOTATION:
        return "annotation force-ssl-redirect";
    }
    return "?";
}

static void dump_filter_ssl_redirect(struct dump *d, const struct snap_host *h, const void *config)
{
    const struct snap_filter_ssl_redirect *f = config;
    (void)h; /* all of it is in the struct */
    add_u64(d, "status", f->status);
    add_word(d, "cause", ssl_cause_text((enum snap_ssl_cause)f->cause));
    add_bool(d, "drops_slash", f->drops_slash != 0);
    add_bool(d, "tells_port", f->tells_port != 0);
    add_bool(d, "is_by_prefix", f->is_by_prefix != 0);
}

static void dump_filter_redirect(struct dump *d, const struct snap_host *h, const void *config)
{
    const struct snap_filter_redirect *f = config;
    add_u64(d, "status", f->status);
    add_text(d, "location", h, f->location);
}

static void dump_filter_hsts(struct dump *d, const struct snap_host *h, const void *config)
{
    add_text(d, "value", h, ((const struct snap_filter_hsts *)config)->value);
}

static void dump_filter(struct dump *d, const struct snap_host *h, const struct snap_filter *f)
{
    const void *config = (const char *)h + f->offset;
    item_begin(d, NULL);
    switch ((enum snap_filter_kind)f->kind) {
#define FILTER(name, number, halves)                                                               \
    case SNAP_FILTER_##name:                                                                       \
        add_word(d, "filter", #name);                                                              \
        dump_filter_##name(d, h, config);                                                          \
        break;
#include "snapshot/filters.def"
#undef FILTER
    }
    item_end(d);
}

static void dump_conditions(struct dump *d, const struct snap_host *h, struct snap_range range)
{
    const struct snap_condition *c = snap_array_get(h, h->conditions);
    list_begin(d, "conditions");
    for (uint32_t i = range.first; i < range.first + range.n; i++) {
        item_begin(d, NULL);
        add_word(d, "kind", condition_text((enum snap_condition_kind)c[i].kind));
        add_text(d, "name", h, c[i].name);
        add_text(d, "value", h, c[i].value);
        item_end(d);
    }
    list_end(d);
}

static void dump_backends(struct dump *d, const struct snap_host *h, struct snap_range range)
{
    const struct snap_backend *b = snap_array_get(h, h->backends);
    list_begin(d, "backends");
    for (uint32_t i = range.first; i < range.first + range.n; i++) {
        item_begin(d, NULL);
        add_text(d, "service", h, b[i].service);
        if (b[i].secure_hash != b[i].service_hash) {
            add_text(d, "secure", h, b[i].secure);
        }
        add_u64(d, "weight", b[i].weight);
        add_text(d, "log_name", h, b[i].log_name);
        item_end(d);
    }
    list_end(d);
}

static void dump_route(struct dump *d, const char *name, const struct snap_host *h,
                       const struct snap_route *r)
{
    const struct snap_filter *f = snap_array_get(h, h->filters);
    item_begin(d, name);
    add_text(d, "namespace", h, r->owner_namespace);
    add_text(d, "name", h, r->owner_name);
    add_bool(d, "is_default_backend", r->rule == SNAP_DEFAULT_RULE);
    if (r->rule != SNAP_DEFAULT_RULE) {
        add_u64(d, "rule", r->rule);
        add_u64(d, "path_index", r->path_index);
    }
    add_text(d, "path", h, r->path);
    dump_conditions(d, h, r->conditions);
    list_begin(d, "filters");
    for (uint32_t i = r->filters.first; i < r->filters.first + r->filters.n; i++) {
        dump_filter(d, h, &f[i]);
    }
    list_end(d);
    dump_backends(d, h, r->backends);
    item_end(d);
}

static void dump_routes(struct dump *d, const char *name, const struct snap_host *h,
                        struct snap_range range)
{
    const struct snap_route *r = snap_array_get(h, h->routes);
    list_begin(d, name);
    for (uint32_t i = range.first; i < range.first + range.n; i++) {
        dump_route(d, NULL, h, &r[i]);
    }
    list_end(d);
}

static void dump_host(struct dump *d, const struct snap_host *h)
{
    const struct snap_path *p = snap_array_get(h, h->paths);
    const struct snap_route *r = snap_array_get(h, h->routes);
    add_text(d, "table", h, h->table);
    add_text(d, "host", h, h->host);
    add_word(d, "host_kind", host_kind_text((enum snap_host_kind)h->kind));
    add_bool(d, "falls_through", h->falls_through);
    list_begin(d, "paths");
    for (uint32_t i = 0; i < h->paths.n; i++) {
        item_begin(d, NULL);
        add_text(d, "path", h, p[i].path);
        dump_routes(d, "exact", h, p[i].exact);
        dump_routes(d, "prefix", h, p[i].prefix);
        item_end(d);
    }
    list_end(d);
    if (h->default_route != 0) {
        dump_route(d, "default_route", h, &r[h->default_route - 1]);
    }
}

static void dump_endpoint(struct dump *d, const struct snap_endpoint *e)
{
    char text[INET6_ADDRSTRLEN] = "";
    (void)inet_ntop(e->family == 4 ? AF_INET : AF_INET6, e->address, text,
                    sizeof(text)); /* the room is enough */
    item_begin(d, NULL);
    add_word(d, "address", text);
    add_u64(d, "port", e->port);
    add_u64(d, "weight", e->weight);
    item_end(d);
}

const char *snap_service_speech(const struct snap_service *s)
{
    switch ((enum snap_protocol)s->protocol) {
    case SNAP_HTTP1:
        return s->is_tls != 0 ? "https" : "http";
    case SNAP_HTTP2:
        return s->is_tls != 0 ? "h2" : "h2c";
    case SNAP_TCP:
        return "tcp";
    }
    return "?";
}

void snap_service_emit_tls(const struct snap_service *s, struct buf *out)
{
    struct str name = snap_str_get(s, s->tls_name);
    struct str certificate = snap_str_get(s, s->certificate);
    if (s->is_tls == 0) {
        return;
    }
    if (s->is_broken) {
        buf_add_str(out, STR("unable: what TLS needs is not there"));
        return;
    }
    buf_add_str(out, s->is_verified ? STR("verified by ") : STR("not verified"));
    buf_add_str(out, s->is_verified ? snap_str_get(s, s->authority) : STR_EMPTY);
    if (s->is_verified && name.n > 0) {
        buf_addf(out, " for %.*s", STR_ARG(name));
    }
    if (s->sends_name) {
        buf_addf(out, ", asks for %.*s", STR_ARG(name));
    }
    if (certificate.n > 0) {
        buf_addf(out, ", shows %.*s", STR_ARG(certificate));
    }
}

static const char *protocol_text(enum snap_protocol protocol)
{
    switch (protocol) {
    case SNAP_HTTP1:
        return "http1";
    case SNAP_HTTP2:
        return "http2";
    case SNAP_TCP:
        return "tcp";
    }
    return "?";
}

static void dump_service_tls(struct dump *d, const struct snap_service *s)
{
    add_bool(d, "is_verified", s->is_verified);
    add_u64(d, "depth", s->depth);
    add_bool(d, "sends_name", s->sends_name);
    add_bool(d, "is_broken", s->is_broken);
    add_u64(d, "min_version", s->min_version);
    add_u64(d, "max_version", s->max_version);
    add_text(d, "tls_name", s, s->tls_name);
    add_text(d, "ciphers", s, s->ciphers);
    add_text(d, "authority", s, s->authority);
    add_text(d, "certificate", s, s->certificate);
}

static void dump_service(struct dump *d, const struct snap_service *s)
{
    const struct snap_endpoint *e = snap_array_get(s, s->endpoints);
    add_text(d, "namespace", s, s->namespace_name);
    add_text(d, "name", s, s->name);
    add_text(d, "port", s, s->port);
    if (s->variant.n > 0) {
        add_text(d, "variant", s, s->variant);
    }
    add_word(d, "status", status_text((enum snap_service_status)s->status));
    add_word(d, "balance", balance_text((enum snap_balance)s->balance));
    if (s->protocol != SNAP_HTTP1) {
        add_word(d, "protocol", protocol_text((enum snap_protocol)s->protocol));
    }
    if (s->proxy_protocol != 0) {
        add_u64(d, "proxy_protocol", s->proxy_protocol);
    }
    if (s->is_tls) {
        add_bool(d, "is_tls", true);
        dump_service_tls(d, s);
    }
    list_begin(d, "endpoints");
    for (uint32_t i = 0; i < s->endpoints.n; i++) {
        dump_endpoint(d, &e[i]);
    }
    list_end(d);
}

static const char *verify_text(enum snap_client_verify verify)
{
    switch (verify) {
    case SNAP_VERIFY_OFF:
        return "off";
    case SNAP_VERIFY_REQUIRED:
        return "required";
    case SNAP_VERIFY_OPTIONAL:
        return "optional";
    case SNAP_VERIFY_OPTIONAL_NO_CA:
        return "optional_no_ca";
    }
    return "?";
}

static void dump_client_verify(struct dump *d, const struct snap_tls_host *h)
{
    add_word(d, "verify", verify_text((enum snap_client_verify)h->verify));
    add_u64(d, "depth", h->depth);
    add_bool(d, "is_denied", h->is_denied);
    add_bool(d, "passes_certificate", h->passes_certificate);
    add_text(d, "authority", h, h->authority.key);
    add_text(d, "name_pattern", h, h->name_pattern);
    add_text(d, "error_page", h, h->error_page);
}

static void dump_tls_host(struct dump *d, const struct snap_tls_host *h)
{
    const struct snap_named *c = snap_array_get(h, h->certificates);
    add_text(d, "table", h, h->table);
    add_text(d, "host", h, h->host);
    add_word(d, "host_kind", host_kind_text((enum snap_host_kind)h->kind));
    list_begin(d, "certificates");
    for (uint32_t i = 0; i < h->certificates.n; i++) {
        scalar_lead(d, NULL);
        add_quoted(d->out, snap_str_get(h, c[i].key));
    }
    list_end(d);
    if (h->policy != 0) {
        dump_client_verify(d, h);
    }
    if (h->passthrough.key.n > 0) {
        add_text(d, "passthrough", h, h->passthrough.key);
    }
}

static const char *key_kind_text(enum snap_key_kind kind)
{
    switch (kind) {
    case SNAP_KEY_RSA:
        return "RSA";
    case SNAP_KEY_EC:
        return "EC";
    case SNAP_KEY_ED25519:
        return "ED25519";
    case SNAP_KEY_ED448:
        return "ED448";
    }
    return "?";
}

static void add_time(struct dump *d, const char *name, int64_t seconds)
{
    add_u64(d, name, seconds > 0 ? (uint64_t)seconds : 0);
}

static void dump_certificate(struct dump *d, const struct snap_certificate *c)
{
    const struct snap_str *names = snap_array_get(c, c->names);
    add_text(d, "namespace", c, c->namespace_name);
    add_text(d, "name", c, c->name);
    add_word(d, "key_kind", key_kind_text((enum snap_key_kind)c->key_kind));
    add_text(d, "key_name", c, c->key_name);
    add_time(d, "not_before", c->not_before);
    add_time(d, "not_after", c->not_after);
    add_u64(d, "chain_n", c->chain.n);
    list_begin(d, "names");
    for (uint32_t i = 0; i < c->names.n; i++) {
        scalar_lead(d, NULL);
        add_quoted(d->out, snap_str_get(c, names[i]));
    }
    list_end(d);
}

static void dump_authority(struct dump *d, const struct snap_authority *a)
{
    add_text(d, "namespace", a, a->namespace_name);
    add_text(d, "name", a, a->name);
    add_u64(d, "certificates_n", a->certificates.n);
    add_u64(d, "revocations_n", a->revocations.n);
}

static void dump_staple(struct dump *d, const struct snap_staple *s)
{
    add_time(d, "until", s->until);
    add_u64(d, "response_bytes", s->response.n);
}

static const char *kind_text(enum snap_kind kind)
{
    switch (kind) {
    case SNAP_GLOBAL:
        return "global";
    case SNAP_HOST:
        return "host";
    case SNAP_SERVICE:
        return "service";
    case SNAP_TLS_HOST:
        return "tls_host";
    case SNAP_CERTIFICATE:
        return "certificate";
    case SNAP_AUTHORITY:
        return "authority";
    case SNAP_STAPLE:
        return "staple";
    case SNAP_KEY:
        return "key";
    case SNAP_TICKETS:
        return "tickets";
    }
    return "?";
}

static void dump_content(struct dump *d, const struct snap_shard *shard)
{
    switch ((enum snap_kind)shard->kind) {
    case SNAP_GLOBAL:
        dump_global(d, (const struct snap_global *)shard);
        return;
    case SNAP_HOST:
        dump_host(d, (const struct snap_host *)shard);
        return;
    case SNAP_SERVICE:
        dump_service(d, (const struct snap_service *)shard);
        return;
    case SNAP_TLS_HOST:
        dump_tls_host(d, (const struct snap_tls_host *)shard);
        return;
    case SNAP_CERTIFICATE:
        dump_certificate(d, (const struct snap_certificate *)shard);
        return;
    case SNAP_AUTHORITY:
        dump_authority(d, (const struct snap_authority *)shard);
        return;
    case SNAP_STAPLE:
        dump_staple(d, (const struct snap_staple *)shard);
        return;
    case SNAP_KEY: /* secrets are nobody's to see */
    case SNAP_TICKETS:
        return;
    }
}

static void dump_shard(struct dump *d, const struct snap_shard *shard)
{
    item_begin(d, NULL);
    add_word(d, "kind", kind_text((enum snap_kind)shard->kind));
    add_text(d, "key", shard, shard->key);
    add_u64(d, "bytes", shard->bytes);
    add_bool(d, "is_deleted", shard->is_deleted);
    if (!shard->is_deleted) {
        dump_content(d, shard);
    }
    item_end(d);
}

/* ---- the whole ---- */

static struct dump dump_begin(struct buf *out, enum snapshot_dump_form form)
{
    if (form == SNAPSHOT_DUMP_JSON) {
        buf_add_char(out, '{');
    }
    return (struct dump){.out = out, .form = form, .is_first = true};
}

static void dump_end(struct dump *d)
{
    buf_add_str(d->out, d->form == SNAPSHOT_DUMP_JSON ? STR("}\n") : STR("\n"));
}

void snapshot_dump_segment(struct buf *out, const struct snapshot_segment *s,
                           enum snapshot_dump_form form)
{
    const struct snap_header *h = snapshot_segment_header(s);
    struct dump d = dump_begin(out, form);
    add_u64(&d, "generation", h->generation);
    add_u64(&d, "base_generation", h->base_generation);
    add_u64(&d, "bytes", h->bytes);
    list_begin(&d, "shards");
    for (uint32_t i = 0; i < h->shard_n; i++) {
        dump_shard(&d, snapshot_segment_shard(s, i));
    }
    list_end(&d);
    dump_end(&d);
}

static int shard_sort_cmp(const void *a, const void *b)
{
    return snap_shard_cmp(*(const struct snap_shard *const *)a,
                          *(const struct snap_shard *const *)b);
}

enum err snapshot_dump_state(struct buf *out, const struct snapshot *s,
                             enum snapshot_dump_form form)
{
    size_t n = 0;
    const struct snap_shard **shards = mem_calloc(s->shards.n + 1, sizeof(*shards));
    if (shards == NULL) {
        return E_NOMEM;
    }
    map_each(slot, &s->shards)
    {
        shards[n++] = ((const struct snapshot_entry *)slot->value)->shard;
    }
    qsort(shards, n, sizeof(*shards), shard_sort_cmp);
    struct dump d = dump_begin(out, form);
    add_u64(&d, "generation", s->generation);
    list_begin(&d, "shards");
    for (size_t i = 0; i < n; i++) {
        dump_shard(&d, shards[i]);
    }
    list_end(&d);
    dump_end(&d);
    mem_free(shards);
    return E_OK;
}
