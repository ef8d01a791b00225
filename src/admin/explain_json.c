/* An explanation for programs. The schema only grows. */
#include "admin/explain.h"
#include "document/json_write.h"

static void emit_owner(struct json *j, const struct explain_owner *o)
{
    json_name(j, "owner");
    json_object(j);
    json_name_cstr(j, "kind", o->name.n > 0 ? "Ingress" : "Option");
    json_name_str(j, "namespace", o->namespace_name);
    json_name_str(j, "name", o->name);
    json_name_str(j, "field", o->field);
    json_name_str(j, "file", o->file);
    json_name_u64(j, "line", o->line);
    json_end_object(j);
}

static void emit_request(struct json *j, const struct explanation *e)
{
    json_name(j, "request");
    json_object(j);
    json_name_str(j, "scheme", e->scheme);
    json_name_str(j, "listener", e->listener);
    json_name_str(j, "method", e->request->method);
    json_name_str(j, "authority", e->request->authority);
    json_name_str(j, "target", e->request->target);
    if (e->is_understood) {
        json_name_str(j, "table", e->query.table);
        json_name_str(j, "host", e->query.host);
        json_name_str(j, "path", e->query.path);
        json_name_str(j, "query", e->query.query);
    }
    json_end_object(j);
}

static void emit_result(struct json *j, const struct explanation *e)
{
    json_name(j, "result");
    json_object(j);
    json_name_bool(j, "isForwarded", e->reason == REASON_none);
    json_name_bool(j, "isPassedThrough", e->is_passed_through);
    json_name_cstr(j, "reason", reason_name(e->reason));
    json_name_u64(j, "status", e->status);
    json_name_cstr(j, "text", reason_text(e->reason));
    json_end_object(j);
}

static void emit_rule(struct json *j, const struct explain_candidate *c)
{
    json_name_str(j, "host", snap_str_get(c->host, c->host->host));
    json_name_cstr(j, "hostKind", explain_host_kind_name(c->host));
    json_name_cstr(j, "pathType", c->path_type);
    json_name_str(j, "path", snap_str_get(c->host, c->route->path));
    emit_owner(j, &c->owner);
}

static void emit_match(struct json *j, const struct explanation *e)
{
    json_name(j, "match");
    if (e->winner == NULL) {
        json_null(j);
        return;
    }
    json_object(j);
    emit_rule(j, e->winner);
    json_name_bool(j, "isDefault", e->match.is_default);
    json_end_object(j);
}

static void emit_certificate(struct json *j, const struct explain_certificate *c)
{
    json_object(j);
    json_name_str(j, "secret", c->secret);
    json_name_bool(j, "isOwn", c->secret.n == 0);
    if (c->certificate != NULL) {
        int64_t end = c->certificate->not_after;
        json_name_cstr(j, "keyAlgorithm", explain_key_kind_name(c->certificate));
        json_name_u64(j, "notAfter", end > 0 ? (uint64_t)end : 0);
    }
    if (c->ingress != NULL) {
        json_name_str(j, "namespace", c->ingress->object.namespace_name);
        json_name_str(j, "ingress", c->ingress->object.name);
    }
    json_end_object(j);
}

static void emit_client(struct json *j, const struct snap_tls_host *h)
{
    json_name(j, "client");
    if (h == NULL) {
        json_null(j);
        return;
    }
    json_object(j);
    json_name_cstr(j, "verify", explain_client_verify_name(h));
    json_name_bool(j, "isDenied", h->is_denied);
    json_name_str(j, "secret", snap_str_get(h, h->authority.key));
    json_name_u64(j, "depth", h->depth);
    json_name_str(j, "namePattern", snap_str_get(h, h->name_pattern));
    json_name_str(j, "errorPage", snap_str_get(h, h->error_page));
    json_end_object(j);
}

static void emit_tls(struct json *j, const struct explanation *e)
{
    const struct explain_tls *t = &e->tls;
    json_name(j, "tls");
    json_object(j);
    json_name_bool(j, "isUsed", t->is_used);
    json_name_bool(j, "areSecretsRead", !e->world->has_no_secrets);
    json_name_str(j, "serverName", t->server_name);
    json_name_str(j, "host", t->pattern);
    json_name_bool(j, "isDefault", t->is_default);
    json_name_bool(j, "isRefused", t->is_refused);
    json_name_bool(j, "isMisdirected", t->is_misdirected);
    json_name_bool(j, "hasHttp2", t->has_http2);
    json_name(j, "certificates");
    json_array(j);
    for (uint32_t i = 0; i < t->certificate_n; i++) {
        emit_certificate(j, &t->certificates[i]);
    }
    json_end_array(j);
    emit_client(j, t->wanted);
    json_end_object(j);
}

static void emit_ssl_redirect(struct json *j, const struct explanation *e,
                              const struct explain_filter *f)
{
    const struct snap_filter_ssl_redirect *r = f->config;
    json_name_u64(j, "status", r->status);
    json_name_cstr(j, "cause", explain_ssl_cause(r));
    if (f->effect == EXPLAIN_ANSWERS) {
        json_name_str(j, "location", e->location);
    }
}

static void emit_redirect(struct json *j, const struct explanation *e,
                          const struct explain_filter *f)
{
    const struct snap_filter_redirect *r = f->config;
    json_name_u64(j, "status", r->status);
    json_name_str(j, "location", snap_str_get(e->match.host, r->location));
}

static void emit_hsts(struct json *j, const struct explanation *e, const struct explain_filter *f)
{
    const struct snap_filter_hsts *h = f->config;
    json_name_str(j, "value", snap_str_get(e->match.host, h->value));
}

static void emit_filter(struct json *j, const struct explanation *e, const struct explain_filter *f)
{
    json_object(j);
    switch ((enum snap_filter_kind)f->filter->kind) {
#define FILTER(name, number, halves)                                                               \
    case SNAP_FILTER_##name:                                                                       \
        json_name_cstr(j, "name", #name);                                                          \
        json_name_cstr(j, "effect", explain_effect_name(f->effect));                               \
        emit_##name(j, e, f);                                                                      \
        break;
#include "snapshot/filters.def"
#undef FILTER
    }
    json_end_object(j);
}

static void emit_filters(struct json *j, const struct explanation *e)
{
    json_name(j, "filters");
    json_array(j);
    for (size_t i = 0; i < e->filter_n; i++) {
        emit_filter(j, e, &e->filters[i]);
    }
    json_end_array(j);
}

static void emit_endpoint(struct json *j, const struct explain_endpoint *p)
{
    char text[IP_TEXT_MAX];
    struct wr w = wr_make(text, sizeof(text));
    json_object(j);
    if (p->ip.family != 0) {
        ip_emit(&w, &p->ip);
    }
    json_name_str(j, "address", str_make(text, wr_n(&w)));
    if (p->why_not == NULL) {
        json_name_u64(j, "port", p->port);
        json_name_u64(j, "weight", p->weight);
    } else {
        json_name_cstr(j, "whyNot", p->why_not);
    }
    json_name_str(j, "slice", p->slice);
    json_name_str(j, "pod", p->pod);
    json_name_str(j, "node", p->node);
    json_name_str(j, "zone", p->zone);
    json_end_object(j);
}

static void emit_service_tls(struct json *j, const struct snap_service *s)
{
    json_name(j, "tls");
    json_object(j);
    json_name_bool(j, "isBroken", s->is_broken != 0);
    json_name_bool(j, "isVerified", s->is_verified != 0);
    json_name_u64(j, "depth", s->depth);
    json_name_str(j, "name", snap_str_get(s, s->tls_name));
    json_name_bool(j, "sendsName", s->sends_name != 0);
    json_name_str(j, "authority", snap_str_get(s, s->authority));
    json_name_str(j, "certificate", snap_str_get(s, s->certificate));
    json_end_object(j);
}

static void emit_backend(struct json *j, const struct explanation *e,
                         const struct explain_backend *b)
{
    json_object(j);
    json_name_str(j, "namespace", b->namespace_name);
    json_name_str(j, "service", b->name);
    json_name_str(j, "port", b->port);
    json_name_u64(j, "weight", b->backend->weight);
    if (b->service != NULL) {
        json_name_cstr(j, "protocol", snap_service_speech(b->service));
        if (b->service->is_tls != 0) {
            emit_service_tls(j, b->service);
        }
    }
    json_name_cstr(j, "state", explain_service_state(e, b));
    json_name(j, "endpoints");
    json_array(j);
    for (uint32_t i = 0; i < b->usable_n; i++) {
        emit_endpoint(j, &b->endpoints[i]);
    }
    json_end_array(j);
    json_name(j, "unusable");
    json_array(j);
    for (uint32_t i = b->usable_n; i < b->endpoint_n; i++) {
        emit_endpoint(j, &b->endpoints[i]);
    }
    json_end_array(j);
    json_end_object(j);
}

static void emit_backends(struct json *j, const struct explanation *e)
{
    json_name(j, "backends");
    json_array(j);
    for (size_t i = 0; i < e->backend_n; i++) {
        emit_backend(j, e, &e->backends[i]);
    }
    json_end_array(j);
}

static void emit_candidates(struct json *j, const struct explanation *e)
{
    json_name(j, "candidates");
    json_array(j);
    for (size_t i = 0; i < e->candidate_n; i++) {
        json_object(j);
        json_name_cstr(j, "verdict", explain_verdict_name(e->candidates[i].verdict));
        emit_rule(j, &e->candidates[i]);
        json_end_object(j);
    }
    json_end_array(j);
    json_name_u64(j, "candidatesOmitted", e->candidate_dropped);
}

static void emit_misses(struct json *j, const struct explanation *e)
{
    json_name(j, "nearestMisses");
    json_array(j);
    for (size_t i = 0; i < e->miss_n; i++) {
        const struct explain_miss *m = &e->misses[i];
        json_object(j);
        json_name_str(j, "host", m->host);
        json_name_str(j, "path", m->path);
        json_name_cstr(j, "why", m->why);
        if (m->owner.name.n > 0) {
            emit_owner(j, &m->owner);
        }
        json_end_object(j);
    }
    json_end_array(j);
}

void explain_emit_json(struct buf *out, const struct explanation *e)
{
    struct json j = json_make(out, true);
    json_object(&j);
    emit_request(&j, e);
    emit_result(&j, e);
    emit_tls(&j, e);
    emit_match(&j, e);
    emit_filters(&j, e);
    emit_backends(&j, e);
    emit_candidates(&j, e);
    emit_misses(&j, e);
    json_end_object(&j);
    json_finish(&j);
}
