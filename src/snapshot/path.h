/* snapshot/path.h: the order of the paths of a host, shared by whoever sorts them (compile/),
 * checks them (verify.c) and searches them (route/): bytewise, but '/' is lower than every other
 * byte, so that everything below a path follows it directly. */
#pragma once

#include "base/str.h"

/* Where the byte at index at stands: the end before '/', '/' before the rest. at <= s.n. */
static inline int snap_path_rank(struct str s, size_t at)
{
    return at == s.n ? 0 : s.p[at] == '/' ? 1 : 2 + (unsigned char)s.p[at];
}

/* Length of the common prefix; the first `from` bytes are known to be equal. */
static inline size_t snap_path_common(struct str a, struct str b, size_t from)
{
    size_t n = a.n < b.n ? a.n : b.n;
    while (from < n && a.p[from] == b.p[from]) {
        from++;
    }
    return from;
}

/* <0, 0, >0. */
static inline int snap_path_cmp(struct str a, struct str b)
{
    size_t common = snap_path_common(a, b, 0);
    return snap_path_rank(a, common) - snap_path_rank(b, common);
}

/* True when prefix, of which the first `common` bytes are those of path, is path or a whole number
 * of its elements: "/a" of "/a" and "/a/b", not of "/ab"; "" of everything that begins with '/'. */
static inline bool snap_path_is_above(struct str prefix, struct str path, size_t common)
{
    return prefix.n <= common && snap_path_rank(path, prefix.n) <= 1;
}
