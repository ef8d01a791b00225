/* The host of the request against the name of the handshake. */
#include "proxy/secure.h"

#include "base/hash.h"
#include "event/transport.h"
#include "route/tls_host.h"
#include "wire/uri.h"

/* Told of where a client was not even asked: what a request claims must not pass for the truth. */
static const struct transport_client nobody = {
    .verdict = {.p = "NONE", .n = 4}
};

static const struct snap_tls_host *host_of(const struct secure_request *r, struct str name)
{
    struct snapshot_segment *segment;
    return route_tls_host(r->snapshot, r->table, name, &segment);
}

static uint64_t policy_of(const struct snap_tls_host *h)
{
    return h == NULL ? 0 : h->policy;
}

/* ---- the right connection ---- */

static bool certificate_covers(const struct secure_request *r, const struct snap_named *which,
                               const struct snap_tls_host *shown)
{
    struct str key = snap_str_get(shown, which->key);
    const struct snapshot_entry *e = snapshot_find(r->snapshot, SNAP_CERTIFICATE, key, which->hash);
    if (e == NULL) {
        return false;
    }
    const struct snap_certificate *c = (const struct snap_certificate *)(const void *)e->shard;
    const struct snap_str *names = snap_array_get(c, c->names);
    for (uint32_t i = 0; i < c->names.n; i++) {
        if (host_is_covered(r->host, snap_str_get(c, names[i]))) {
            return true;
        }
    }
    return false;
}

/* One of the certificates that the handshake may have shown is for the request's host, too: then
 * its client was right to come on this connection (RFC 9113 section 9.1.1). */
static bool is_covered(const struct secure_request *r, const struct snap_tls_host *shown)
{
    if (shown != NULL && shown->certificates.n == 0) {
        shown = host_of(r, STR_EMPTY);
    }
    if (shown == NULL) {
        return false;
    }
    const struct snap_named *list = snap_array_get(shown, shown->certificates);
    for (uint32_t i = 0; i < shown->certificates.n; i++) {
        if (certificate_covers(r, &list[i], shown)) {
            return true;
        }
    }
    return false;
}

/* wanted: the host of the request, NULL when nothing is said about it. */
static bool is_right_connection(const struct secure_request *r, const struct snap_tls_host *wanted)
{
    const struct transport_tls *tls = r->peer->tls;
    if (policy_of(wanted) != tls->policy) {
        return false; /* its client was asked for something else, or for nothing */
    }
    if (tls->server_name.n == 0 || str_eq(tls->server_name, r->host)) {
        return true;
    }
    return is_covered(r, host_of(r, tls->server_name));
}

/* ---- the client ---- */

static void refuse(const struct snap_tls_host *h, enum reason reason, struct secure_verdict *ret)
{
    struct str page = snap_str_get(h, h->error_page);
    *ret = (struct secure_verdict){.reason = reason, .location = STR_EMPTY};
    if (page.n > 0) {
        ret->status = 302;
        ret->location = page;
    }
}

static bool is_good(const struct snap_tls_host *h, const struct transport_client *c)
{
    return c->is_verified || (h->verify == SNAP_VERIFY_OPTIONAL_NO_CA && c->is_unsigned_only);
}

static bool has_name(const struct snap_tls_host *h, const struct transport_client *c,
                     struct regex_cache *patterns)
{
    struct str pattern = snap_str_get(h, h->name_pattern);
    if (pattern.n == 0) {
        return true;
    }
    struct regex *regex = regex_cache_get(patterns, pattern);
    return regex != NULL && regex_finds(regex, c->subject);
}

static void judge_client(const struct snap_tls_host *h, const struct transport_tls *tls,
                         struct regex_cache *patterns, struct secure_verdict *ret)
{
    const struct transport_client *c = tls->client;
    if (h->is_denied) {
        ret->reason = REASON_denied;
        return;
    }
    if (h->verify == SNAP_VERIFY_OFF) {
        return;
    }
    if (c == NULL || !c->has_certificate) {
        if (h->verify == SNAP_VERIFY_REQUIRED || h->name_pattern.n > 0) {
            refuse(h, REASON_no_client_certificate, ret);
            return;
        }
    } else if (!is_good(h, c)) {
        refuse(h, REASON_bad_client_certificate, ret);
        return;
    } else if (!has_name(h, c, patterns)) {
        ret->reason = REASON_denied;
        return;
    }
    ret->client = c == NULL ? &nobody : c; /* NULL: the connection is older than the authority */
}

/* Without TLS nobody can show a certificate: hosts that insist on one are not served so, and of the
 * others no endpoint believes what such a request claims. */
static void judge_plain(const struct secure_request *r, struct secure_verdict *ret)
{
    const struct snap_tls_host *h = r->snapshot->policy_n == 0 ? NULL : host_of(r, r->host);
    if (h == NULL || policy_of(h) == 0) {
        return;
    }
    ret->client = &nobody;
    if (h->is_denied || h->verify == SNAP_VERIFY_REQUIRED || h->name_pattern.n > 0) {
        ret->reason = REASON_denied;
        ret->may_be_sent_on = true;
    }
}

/* ---- both ---- */

void secure_judge(const struct secure_request *r, struct regex_cache *patterns,
                  struct secure_verdict *ret)
{
    const struct transport_tls *tls = r->peer->tls;
    *ret = (struct secure_verdict){.reason = REASON_none, .location = STR_EMPTY};
    if (tls == NULL) {
        judge_plain(r, ret);
        return;
    }
    if (r->snapshot->policy_n == 0 && tls->policy == 0 && str_eq(tls->server_name, r->host)) {
        return; /* nearly always */
    }
    const struct snap_tls_host *wanted = host_of(r, r->host);
    if (!is_right_connection(r, wanted)) {
        ret->reason = REASON_misdirected;
    } else if (policy_of(wanted) != 0) {
        judge_client(wanted, tls, patterns, ret);
    }
}
