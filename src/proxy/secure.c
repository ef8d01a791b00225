/* The host of the request against the name of the handshake. */
#include "proxy/secure.h"

#include "event/transport.h"
#include "route/tls_host.h"

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
    if (r->snapshot->policy_n + r->snapshot->passthrough_n == 0 && tls->policy == 0 &&
        str_eq(tls->server_name, r->host)) {
        return; /* nearly always */
    }
    const struct route_arrival arrival = {r->snapshot, r->table, r->host, tls->server_name,
                                          tls->policy};
    const struct snap_tls_host *wanted = route_wanted(&arrival);
    if (!route_is_right_arrival(&arrival, wanted)) {
        ret->reason = REASON_misdirected;
    } else if (policy_of(wanted) != 0) {
        judge_client(wanted, tls, patterns, ret);
    }
}
