/* The lookup of one server name, and whether a request belongs to the handshake before it. */
#include "route/tls_host.h"

#include "base/buf.h"
#include "wire/uri.h"

enum { KEY_BYTES_MAX = SNAP_TABLE_BYTES_MAX + 1 + SNAP_HOST_BYTES_MAX };

/* The host whose pattern is star and rest, of that kind: a client may send "*.a.b" for a name. */
static const struct snapshot_entry *host_find(const struct snapshot *s, struct str table,
                                              struct str star, struct str rest,
                                              enum snap_host_kind kind)
{
    char bytes[KEY_BYTES_MAX];
    struct wr w = wr_make(bytes, sizeof(bytes));
    wr_str(&w, table);
    wr_char(&w, '/');
    wr_str(&w, star);
    wr_str(&w, rest);
    if (w.bad) { /* longer than any key */
        return NULL;
    }
    struct str key = str_make(bytes, wr_n(&w));
    const struct snapshot_entry *e = snapshot_find(s, SNAP_TLS_HOST, key, hash_str(key));
    return e != NULL && ((const struct snap_tls_host *)e->shard)->kind == kind ? e : NULL;
}

static const struct snapshot_entry *host_of_name(const struct snapshot *s, struct str table,
                                                 struct str name)
{
    struct str label, rest;
    const struct snapshot_entry *e = host_find(s, table, STR_EMPTY, name, SNAP_HOST_EXACT);
    if (e == NULL && str_cut(name, '.', &label, &rest) && label.n > 0 && rest.n > 0) {
        e = host_find(s, table, STR("*."), rest, SNAP_HOST_LABEL);
    }
    return e;
}

const struct snap_tls_host *route_tls_host(const struct snapshot *s, struct str table,
                                           struct str name, struct snapshot_segment **ret)
{
    const struct snapshot_entry *e = name.n == 0 ? NULL : host_of_name(s, table, name);
    if (e == NULL) {
        e = host_find(s, table, STR_EMPTY, STR_EMPTY, SNAP_HOST_ANY);
    }
    if (e == NULL) {
        return NULL;
    }
    *ret = e->segment;
    return (const struct snap_tls_host *)e->shard;
}

/* ---- the right connection ---- */

static const struct snap_tls_host *host_of(const struct route_arrival *r, struct str name)
{
    struct snapshot_segment *segment;
    return route_tls_host(r->snapshot, r->table, name, &segment);
}

static bool certificate_covers(const struct route_arrival *r, const struct snap_named *which,
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
static bool is_covered(const struct route_arrival *r, const struct snap_tls_host *shown)
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

const struct snap_tls_host *route_wanted(const struct route_arrival *r)
{
    return host_of(r, r->host);
}

bool route_is_right_arrival(const struct route_arrival *r, const struct snap_tls_host *wanted)
{
    uint64_t policy = wanted == NULL ? 0 : wanted->policy;
    if (wanted != NULL && wanted->passthrough.key.n > 0) {
        return false; /* its TLS does not end here: a new connection leads to its endpoints */
    }
    if (policy != r->policy) {
        return false; /* its client was asked for something else, or for nothing */
    }
    if (r->server_name.n == 0 || str_eq(r->server_name, r->host)) {
        return true;
    }
    return is_covered(r, host_of(r, r->server_name));
}
