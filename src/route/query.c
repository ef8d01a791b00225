/* From what a request says to what routes are matched against. */
#include "route/query.h"

#include "wire/uri.h"

/* The authority that counts, without checking it. */
static struct str effective_authority(struct str given, struct str of_target)
{
    return of_target.n > 0 ? of_target : given;
}

/* Writes at most authority.n bytes at out. */
static enum err prepare_host(struct str authority, char *out, struct str *ret)
{
    uint16_t port;
    if (authority.n == 0) {
        *ret = STR_EMPTY;
        return E_OK;
    }
    return host_parse(authority, out, ret, &port);
}

/* Writes at most path.n bytes at out. */
static enum err prepare_path(struct str path, char *out, struct str *ret)
{
    if (str_eq(path, STR("*"))) { /* OPTIONS * : RFC 9112 section 3.2.4 */
        *ret = path;
        return E_OK;
    }
    return uri_normalize(path, out, ret);
}

enum err route_query_prepare(struct str table, struct str method, struct str authority,
                             struct str target, char *scratch, size_t room, struct route_query *ret)
{
    struct route_query q = {.table = table, .method = method};
    struct str of_target, path;

    if (authority.n > room || target.n > room - authority.n) {
        return E_LIMIT;
    }
    TRY(uri_split(target, &of_target, &path, &q.query));
    authority = effective_authority(authority, of_target);
    TRY(prepare_host(authority, scratch, &q.host));
    TRY(prepare_path(path, scratch + q.host.n, &q.path));
    *ret = q;
    return E_OK;
}

struct str route_table(const struct snapshot *s, struct str listener)
{
    const struct snapshot_entry *e = snapshot_find(s, SNAP_GLOBAL, STR_EMPTY, hash_str(STR_EMPTY));
    if (e == NULL) {
        return STR_EMPTY;
    }
    const struct snap_global *global = (const struct snap_global *)(const void *)e->shard;
    const struct snap_listener *listeners = snap_array_get(global, global->listeners);
    for (uint32_t i = 0; i < global->listeners.n; i++) {
        if (str_eq(snap_str_get(global, listeners[i].name), listener)) {
            return snap_str_get(global, listeners[i].table);
        }
    }
    return STR_EMPTY;
}
