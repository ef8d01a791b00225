/* The lookup of one server name. */
#include "route/tls_host.h"

#include "base/buf.h"

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
