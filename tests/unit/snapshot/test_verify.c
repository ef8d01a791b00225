/* Each rule of schema.h: one field of a good shard is changed, and the verifier says which rule
 * that breaks. The table is the list of rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../lib/snapshot_make.h"
#include "../../lib/snapshot_walk.h"
#include "base/limits.h"
#include "base/mem.h"
#include "snapshot/verify.h"

static const struct make_rule rules[] = {
    {"/",          false, 1, 1, {{SNAP_IF_HEADER, "x", "y"}}  },
    {"/shop",      true,  2, 0, {{0}}                         },
    {"/shop",      false, 3, 1, {{SNAP_IF_METHOD, "", "POST"}}},
    {"/shop/cart", false, 4, 0, {{0}}                         },
    {"/shop/",     true,  5, 0, {{0}}                         },
    {"/shopping",  true,  6, 0, {{0}}                         },
};
static const struct make_host exact = {"a.example.com", rules, 6, 9, false};
static const struct make_host label = {"*.example.com", rules, 6, 9, false};
static const struct make_host suffix = {"**.example.com", rules, 6, 9, false};
static const struct make_host any = {"", rules, 6, 9, false};

enum which { GLOBAL, EXACT, LABEL, SUFFIX, ANY, SERVICE, DELETED };

static void make(enum which which, struct buf *b)
{
    buf_init(b, 1 << 20);
    switch (which) {
    case GLOBAL:
        assert_int_equal(make_global(b, "ingress"), E_OK);
        return;
    case EXACT:
        assert_int_equal(make_host(b, "ingress", &exact), E_OK);
        return;
    case LABEL:
        assert_int_equal(make_host(b, "ingress", &label), E_OK);
        return;
    case SUFFIX:
        assert_int_equal(make_host(b, "ingress", &suffix), E_OK);
        return;
    case ANY:
        assert_int_equal(make_host(b, "ingress", &any), E_OK);
        return;
    case SERVICE:
        assert_int_equal(make_service(b, "shop", "web", "80", 3, 1), E_OK);
        return;
    case DELETED:
        snap_shard_deleted(b, SNAP_SERVICE, STR("shop/web/80"));
        assert_int_equal(snap_shard_end(b), E_OK);
        return;
    }
}

/* Where a field is: in the root (array 0) or in item i of the array whose struct snap_array is at
 * that offset of the root. A number that is too large for the field is cut. */
struct edit {
    enum which which;
    size_t array, item_bytes, i;
    size_t field, field_bytes;
    uint64_t value;
    const char *want;
};

#define ROOT(which, type, name, value, want)                                                       \
    {                                                                                              \
        which, 0, 0, 0, offsetof(type, name), sizeof(((type *)0)->name), value, want               \
    }
#define ITEM(which, root, array, i, type, name, value, want)                                       \
    {                                                                                              \
        which, offsetof(root, array), sizeof(type), i, offsetof(type, name),                       \
            sizeof(((type *)0)->name), value, want                                                 \
    }
#define SHARD(which, name, value, want) ROOT(which, struct snap_shard, name, value, want)
#define HOST(which, name, value, want)  ROOT(which, struct snap_host, name, value, want)
#define PATH(i, name, value, want)                                                                 \
    ITEM(EXACT, struct snap_host, paths, i, struct snap_path, name, value, want)
#define ROUTE(i, name, value, want)                                                                \
    ITEM(EXACT, struct snap_host, routes, i, struct snap_route, name, value, want)
#define CONDITION(i, name, value, want)                                                            \
    ITEM(EXACT, struct snap_host, conditions, i, struct snap_condition, name, value, want)
#define BACKEND(i, name, value, want)                                                              \
    ITEM(EXACT, struct snap_host, backends, i, struct snap_backend, name, value, want)
#define FILTER_AT(name, value, want)                                                               \
    ITEM(EXACT, struct snap_host, filters, 0, struct snap_filter, name, value, want)
#define SERVE(name, value, want) ROOT(SERVICE, struct snap_service, name, value, want)
#define ENDPOINT(i, name, value, want)                                                             \
    ITEM(SERVICE, struct snap_service, endpoints, i, struct snap_endpoint, name, value, want)

#define OUT_STR   "text outside the shard"
#define NO_NUL    "text without NUL"
#define OUT_ARRAY "array outside the shard"
#define ALIGN     "not aligned"
#define OUT_RANGE "range outside its array"
#define NOT_ZERO  "reserved bytes are not zero"
#define NUMBER    "unknown number"
#define BOOL      "neither 0 nor 1"

static const struct edit edits[] = {
    SHARD(EXACT, kind, 0, "unknown kind"),
    SHARD(EXACT, kind, SNAP_TICKETS + 1, "unknown kind"),
    SHARD(EXACT, is_deleted, 2, "neither deleted nor not"),
    SHARD(DELETED, is_deleted, 0, "too short for its kind"),
    SHARD(DELETED, key.n, UINT32_MAX, OUT_STR),
    SHARD(DELETED, key.n, 10, NO_NUL),
    SHARD(EXACT, key.offset, UINT32_MAX, OUT_STR),
    SHARD(EXACT, key_hash, 1, "wrong hash of the key"),

    ROOT(GLOBAL, struct snap_global, listeners.n, 1000, OUT_ARRAY),
    ROOT(GLOBAL, struct snap_global, listeners.n, UINT32_MAX, OUT_ARRAY),
    ROOT(GLOBAL, struct snap_global, listeners.offset, UINT32_MAX - 7, OUT_ARRAY),
    ROOT(GLOBAL, struct snap_global, listeners.offset, 4, ALIGN),
    ITEM(GLOBAL, struct snap_global, listeners, 0, struct snap_listener, name.n, 9999, OUT_STR),
    ITEM(GLOBAL, struct snap_global, listeners, 0, struct snap_listener, table.n, 9999, OUT_STR),

    ROOT(GLOBAL, struct snap_global, settings.keep_alive, 0, "a setting is out of its range"),
    ROOT(GLOBAL, struct snap_global, settings.use_forwarded_headers, 2,
         "a setting is out of its range"),
    ITEM(GLOBAL, struct snap_global, trusted, 0, struct snap_prefix, family, 5,
         "not an address prefix"),
    ITEM(GLOBAL, struct snap_global, trusted, 0, struct snap_prefix, bits, 33,
         "not an address prefix"),
    ITEM(GLOBAL, struct snap_global, trusted, 0, struct snap_prefix, bits, 6,
         "an address prefix has host bits"),
    ITEM(GLOBAL, struct snap_global, trusted, 0, struct snap_prefix, zero[0], 1, NOT_ZERO),
    ROOT(GLOBAL, struct snap_global, plain_paths.n, 1000, OUT_ARRAY),
    ITEM(GLOBAL, struct snap_global, plain_paths, 0, struct snap_str, n, 9999, OUT_STR),
    ITEM(GLOBAL, struct snap_global, plain_paths, 0, struct snap_str, n, 0, NO_NUL),

    HOST(EXACT, table.n, 3, NO_NUL),
    HOST(EXACT, host.offset, UINT32_MAX, OUT_STR),
    HOST(EXACT, kind, 0, NUMBER),
    HOST(EXACT, kind, 5, NUMBER),
    HOST(EXACT, kind, SNAP_HOST_LABEL, "host differs from its kind"),
    HOST(EXACT, kind, SNAP_HOST_SUFFIX, "host differs from its kind"),
    HOST(EXACT, kind, SNAP_HOST_ANY, "host differs from its kind"),
    HOST(LABEL, kind, SNAP_HOST_EXACT, "host is not a lower-case name"),
    HOST(SUFFIX, kind, SNAP_HOST_LABEL, "host differs from its kind"),
    HOST(ANY, kind, SNAP_HOST_EXACT, "host differs from its kind"),
    HOST(EXACT, order, 0, NUMBER),
    HOST(EXACT, order, 2, NUMBER),
    HOST(EXACT, falls_through, 2, BOOL),
    HOST(EXACT, zero, 1ULL << 32, NOT_ZERO),
    HOST(EXACT, zero2, 1, NOT_ZERO),
    HOST(EXACT, paths.offset, 12, ALIGN),
    HOST(EXACT, routes.n, 1000, OUT_ARRAY),
    HOST(EXACT, conditions.n, 1000, OUT_ARRAY),
    HOST(EXACT, filters.n, 1000, OUT_ARRAY),
    HOST(EXACT, backends.n, 1000, OUT_ARRAY),
    HOST(EXACT, default_route, 8, "no such default route"),
    HOST(EXACT, default_route, UINT32_MAX, "no such default route"),
    HOST(EXACT, default_route, 1, "default route with conditions"),

    /* The nodes: "" /shop /shop/ /shop/cart /shopping. */
    PATH(1, path.n, 4, NO_NUL),
    PATH(0, zero, 1, NOT_ZERO),
    PATH(0, parent, 1, "wrong parent of a path"),
    PATH(3, parent, 4, "wrong parent of a path"),
    PATH(3, parent, 5, "wrong parent of a path"),
    PATH(3, parent, UINT32_MAX, "wrong parent of a path"),
    PATH(3, parent, 1, "wrong parent of a path"), /* not the longest */
    PATH(3, parent, 3, "wrong parent of a path"), /* "/shop/" is above "/shop//x" only */
    PATH(4, parent, 2, "wrong parent of a path"),
    PATH(2, parent, 0, "wrong parent of a path"),
    PATH(2, prefix.n, 1, "prefix with a trailing '/'"),
    PATH(1, exact.first, 8, OUT_RANGE),
    PATH(1, prefix.n, UINT32_MAX, OUT_RANGE),
    PATH(1, prefix.n, 7, OUT_RANGE),
    PATH(1, prefix.n, 4, "ranges share items"),

    ROUTE(0, owner_namespace.n, 999999, OUT_STR),
    ROUTE(0, owner_name.n, 999999, OUT_STR),
    ROUTE(0, path.n, 999999, OUT_STR),
    ROUTE(0, zero, 1, NOT_ZERO),
    ROUTE(0, weight_sum, 2, "weights do not add up"),
    ROUTE(0, conditions.first, 2, OUT_RANGE),
    ROUTE(1, conditions.n, 1, "ranges share items"),
    ROUTE(0, backends.n, 0, "weights do not add up"),
    ROUTE(0, backends.first, 8, OUT_RANGE),
    ROUTE(0, filters.n, 4, OUT_RANGE),
    ROUTE(0, filters.n, 2, "filters out of order"),
    ROUTE(1, filters.n, 1, "ranges share items"),

    CONDITION(0, kind, 0, NUMBER),
    CONDITION(0, kind, 4, NUMBER),
    CONDITION(0, kind, SNAP_IF_METHOD, "condition with a name it must not have, or without one"),
    CONDITION(1, kind, SNAP_IF_HEADER, "condition with a name it must not have, or without one"),
    CONDITION(0, zero, 1, NOT_ZERO),
    CONDITION(0, name.n, 99999, OUT_STR),
    CONDITION(0, value.n, 99999, OUT_STR),

    BACKEND(0, service.n, 99999, OUT_STR),
    BACKEND(0, service_hash, 5, "wrong hash of a service"),
    BACKEND(0, zero, 1, NOT_ZERO),
    BACKEND(0, weight, UINT32_MAX, "weights do not add up"),
    BACKEND(0, log_name.n, 99999, OUT_STR),
    BACKEND(0, secure.n, 99999, OUT_STR),
    BACKEND(0, secure_hash, 5, "wrong hash of a service"),

    FILTER_AT(kind, 0, "unknown filter"),
    FILTER_AT(kind, 2, "unknown filter"),
    FILTER_AT(kind, SNAP_FILTER_NUMBERS, "unknown filter"),
    FILTER_AT(kind, UINT32_MAX, "unknown filter"),
    FILTER_AT(offset, UINT32_MAX - 7, OUT_ARRAY),
    FILTER_AT(offset, 4, ALIGN),

    SERVE(namespace_name.n, 0, NO_NUL),
    SERVE(port.n, 0, NO_NUL),
    SERVE(name.offset, 0, "key differs from namespace, name, port and variant"),
    SERVE(status, 0, NUMBER),
    SERVE(status, 7, NUMBER),
    SERVE(status, SNAP_SERVICE_MISSING, "endpoints of a service that is not there"),
    SERVE(protocol, 0, NUMBER),
    SERVE(protocol, 4, NUMBER),
    SERVE(balance, SNAP_BALANCE_LATENCY + 1, NUMBER),
    SERVE(balance, UINT8_MAX, NUMBER),
    SERVE(zero, 1, NOT_ZERO),
    SERVE(endpoints.n, 1000, OUT_ARRAY),

    ENDPOINT(0, family, 5, "unknown address family"),
    ENDPOINT(0, zero, 1, NOT_ZERO),
    ENDPOINT(0, port, 0, "endpoint without port or weight"),
    ENDPOINT(0, weight, 0, "endpoint without port or weight"),
    ENDPOINT(0, weight, UINT32_MAX, "endpoint weights are too large"),
    ENDPOINT(0, address[4], 1, NOT_ZERO),
    ENDPOINT(0, address[15], 1, NOT_ZERO),
    ENDPOINT(0, family, 6, "endpoints are not sorted"),
    ENDPOINT(1, address[3], 1, "endpoints are not sorted"), /* twice the same */
    ENDPOINT(1, address[3], 0, "endpoints are not sorted"),
};

static char *edit_at(struct buf *b, const struct edit *e)
{
    size_t at = e->field;
    if (e->array != 0) {
        at += snap_at(b, e->array, struct snap_array)->offset + e->i * e->item_bytes;
    }
    return b->p + at;
}

static void test_every_rule(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(edits) / sizeof(*edits); i++) {
        const struct edit *e = &edits[i];
        struct buf b;
        make(e->which, &b);
        assert_null(verify_copy(&b));
        mem_copy(edit_at(&b, e), &e->value, e->field_bytes < 8 ? e->field_bytes : 8);
        const char *what = verify_copy(&b);
        if (what == NULL || strcmp(what, e->want) != 0) {
            fail_msg("line %zu: %s instead of %s", i, what == NULL ? "accepted" : what, e->want);
        }
        buf_fini(&b);
    }
}

static void test_good_ones(void **state)
{
    (void)state;
    for (enum which which = GLOBAL; which <= DELETED; which++) {
        struct buf b;
        make(which, &b);
        assert_null(verify_copy(&b));
        buf_fini(&b);
    }
}

static const char *host_fault(const char *table, const char *pattern, uint8_t kind)
{
    const struct make_host m = {pattern, NULL, 0, 0, false};
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(make_host(&b, table, &m), E_OK);
    snap_at(&b, 0, struct snap_host)->kind = kind;
    const char *what = verify_copy(&b);
    buf_fini(&b);
    return what;
}

static void test_names(void **state)
{
    (void)state;
    char table[SNAP_TABLE_BYTES_MAX + 2] = "", name[SNAP_HOST_BYTES_MAX + 2] = "";
    memset(table, 't', SNAP_TABLE_BYTES_MAX);
    memset(name, 'n', SNAP_HOST_BYTES_MAX);
    assert_null(host_fault(table, name, SNAP_HOST_EXACT));
    name[SNAP_HOST_BYTES_MAX] = 'n';
    assert_string_equal(host_fault("t", name, SNAP_HOST_EXACT), "host is too long");
    table[SNAP_TABLE_BYTES_MAX] = 't';
    assert_string_equal(host_fault(table, "n", SNAP_HOST_EXACT),
                        "name of the table is too short or too long");
    assert_string_equal(host_fault("", "n", SNAP_HOST_EXACT),
                        "name of the table is too short or too long");
    assert_string_equal(host_fault("a/b", "n", SNAP_HOST_EXACT), "name of the table holds a '/'");
    static const char *const bad[] = {"A.b", "a.*", "a b", "a/b", "*a", "a\x7f", "a\xc3"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_string_equal(host_fault("t", bad[i], SNAP_HOST_EXACT),
                            "host is not a lower-case name");
    }
    assert_string_equal(host_fault("t", "*.", SNAP_HOST_LABEL), "host differs from its kind");
    assert_string_equal(host_fault("t", "**.", SNAP_HOST_SUFFIX), "host differs from its kind");
    assert_null(host_fault("t", "*.a", SNAP_HOST_LABEL));
    assert_null(host_fault("t", "**.a", SNAP_HOST_SUFFIX));
}

/* A key that is not what the fields say, with the right hash. */
static void test_keys(void **state)
{
    (void)state;
    static const struct {
        enum which which;
        const char *key, *want;
    } cases[] = {
        {EXACT,   "ingress/b.example.com",  "key differs from table and host"                   },
        {EXACT,   "ingress/a.example.com/", "key differs from table and host"                   },
        {EXACT,   "ingressXa.example.com",  "key differs from table and host"                   },
        {EXACT,   "ingress",                "key differs from table and host"                   },
        {SERVICE, "shop/web/8",             "key differs from namespace, name, port and variant"},
        {SERVICE, "shop/web/800",           "key differs from namespace, name, port and variant"},
        {SERVICE, "shop/web",               "key differs from namespace, name, port and variant"},
        {SERVICE, "shop/web/",              "key differs from namespace, name, port and variant"},
        {SERVICE, "shop/bew/80",            "key differs from namespace, name, port and variant"},
        {SERVICE, "",                       "key differs from namespace, name, port and variant"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct buf b;
        struct str key = str_from_cstr(cases[i].key);
        make(cases[i].which, &b);
        struct snap_shard *shard = snap_at(&b, 0, struct snap_shard);
        shard->key = (struct snap_str){(uint32_t)b.n, (uint32_t)key.n};
        shard->key_hash = hash_str(key);
        buf_add_str(&b, key);
        buf_add_char(&b, '\0');
        assert_string_equal(verify_copy(&b), cases[i].want);
        buf_fini(&b);
    }
}

static const char *redirect_fault(uint32_t status, const char *location)
{
    struct buf b;
    make(EXACT, &b);
    struct snap_filter filter =
        *snap_at(&b, snap_at(&b, 0, struct snap_host)->filters.offset, struct snap_filter);
    struct snap_filter_redirect *f = snap_at(&b, filter.offset, struct snap_filter_redirect);
    f->status = status;
    f->location = (struct snap_str){(uint32_t)b.n, (uint32_t)strlen(location)};
    buf_add(&b, location, strlen(location) + 1);
    const char *what = verify_copy(&b);
    buf_fini(&b);
    return what;
}

/* The route gets the given filters in place of its own. */
static void filters_put(struct buf *b, const struct snap_filter *filters, uint32_t n)
{
    buf_align(b, SNAP_ALIGN);
    struct snap_array at = {(uint32_t)b->n, n};
    buf_add(b, filters, n * sizeof(*filters));
    struct snap_host *h = snap_at(b, 0, struct snap_host);
    struct snap_route *routes = snap_at(b, h->routes.offset, struct snap_route);
    h->filters = at;
    for (uint32_t i = 0; i < h->routes.n; i++) {
        routes[i].filters = (struct snap_range){0, i == 0 ? n : 0};
    }
}

static const char *ssl_redirect_fault(struct snap_filter_ssl_redirect f)
{
    struct buf b;
    make(EXACT, &b);
    buf_align(&b, SNAP_ALIGN);
    struct snap_filter filter = {SNAP_FILTER_ssl_redirect, (uint32_t)b.n};
    buf_add(&b, &f, sizeof(f));
    filters_put(&b, &filter, 1);
    const char *what = verify_copy(&b);
    buf_fini(&b);
    return what;
}

static void test_ssl_redirect(void **state)
{
    static const uint32_t good[] = {301, 302, 307, 308}, bad[] = {0, 300, 303, 306, 309, 65837};
    struct snap_filter_ssl_redirect f = {308, SNAP_SSL_BY_FORCE_ANNOTATION, 1, 1, 1};
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        f.status = good[i];
        assert_null(ssl_redirect_fault(f));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        f.status = bad[i];
        assert_string_equal(ssl_redirect_fault(f), "not a redirect status");
    }
    f.status = 301;
    f.cause = 0;
    assert_string_equal(ssl_redirect_fault(f), NUMBER);
    f.cause = SNAP_SSL_BY_FORCE_ANNOTATION + 1;
    assert_string_equal(ssl_redirect_fault(f), NUMBER);
    f = (struct snap_filter_ssl_redirect){301, SNAP_SSL_BY_TLS, 2, 0, 0};
    assert_string_equal(ssl_redirect_fault(f), BOOL);
    f = (struct snap_filter_ssl_redirect){301, SNAP_SSL_BY_TLS, 0, 2, 0};
    assert_string_equal(ssl_redirect_fault(f), BOOL);
    f = (struct snap_filter_ssl_redirect){301, SNAP_SSL_BY_TLS, 0, 0, 2};
    assert_string_equal(ssl_redirect_fault(f), BOOL);
}

static const char *hsts_fault(const char *value)
{
    struct buf b;
    make(EXACT, &b);
    struct snap_filter_hsts f = {
        {(uint32_t)b.n, (uint32_t)strlen(value)}
    };
    buf_add(&b, value, strlen(value) + 1);
    buf_align(&b, SNAP_ALIGN);
    struct snap_filter filter = {SNAP_FILTER_hsts, (uint32_t)b.n};
    buf_add(&b, &f, sizeof(f));
    filters_put(&b, &filter, 1);
    const char *what = verify_copy(&b);
    buf_fini(&b);
    return what;
}

static void test_hsts(void **state)
{
    static const char *const bad[] = {"a\r\nb: c", "a\n", "\t", "\x7f", "\xc3\xa4"};
    (void)state;
    assert_null(hsts_fault("max-age=31536000; includeSubDomains; preload"));
    assert_string_equal(hsts_fault(""), "field without a value");
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_string_equal(hsts_fault(bad[i]), "value of a field is not printable ASCII");
    }
}

/* What all filters of a route may add to a response is bounded by each being there once. */
static void test_filters_are_in_order(void **state)
{
    (void)state;
    for (int turn = 0; turn < 3; turn++) {
        struct buf b;
        make(EXACT, &b);
        const struct snap_host *h = snap_at(&b, 0, struct snap_host);
        struct snap_filter redirect = *snap_at(&b, h->filters.offset, struct snap_filter);
        struct snap_filter_ssl_redirect f = {301, SNAP_SSL_BY_TLS, 0, 0, 0};
        buf_align(&b, SNAP_ALIGN);
        struct snap_filter ssl_redirect = {SNAP_FILTER_ssl_redirect, (uint32_t)b.n};
        buf_add(&b, &f, sizeof(f));
        struct snap_filter both[2] = {turn == 1 ? redirect : ssl_redirect,
                                      turn == 1 ? ssl_redirect : redirect};
        both[1] = turn == 2 ? both[0] : both[1];
        filters_put(&b, both, 2);
        if (turn == 0) {
            assert_null(verify_copy(&b));
        } else {
            assert_string_equal(verify_copy(&b), "filters out of order");
        }
        buf_fini(&b);
    }
}

static void test_redirect(void **state)
{
    (void)state;
    assert_null(redirect_fault(300, "https://a.b/~?x=%20"));
    assert_null(redirect_fault(308, "/"));
    assert_string_equal(redirect_fault(299, "/"), "not a redirect status");
    assert_string_equal(redirect_fault(309, "/"), "not a redirect status");
    assert_string_equal(redirect_fault(301, ""), "redirect to nowhere");
    static const char *const bad[] = {"/a b", "/\r\nx: y", "/\t", "/\x7f", "/\xc3\xa4"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_string_equal(redirect_fault(301, bad[i]), "location is not printable ASCII");
    }
}

/* Two nodes with the given paths; the second is not below the first. */
static const char *paths_fault(const char *first, const char *second, bool is_exact)
{
    struct make_rule two[] = {
        {"/a", is_exact, 1, 0, {{0}}},
        {"/b", is_exact, 2, 0, {{0}}}
    };
    const struct make_host m = {"h", two, 2, 0, false};
    const char *texts[] = {first, second};
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(make_host(&b, "t", &m), E_OK);
    for (uint32_t i = 0; i < 2; i++) {
        struct snap_path *nodes =
            snap_at(&b, snap_at(&b, 0, struct snap_host)->paths.offset, struct snap_path);
        nodes[i].path = (struct snap_str){(uint32_t)b.n, (uint32_t)strlen(texts[i])};
        buf_add(&b, texts[i], strlen(texts[i]) + 1);
    }
    const char *what = verify_copy(&b);
    buf_fini(&b);
    return what;
}

static void test_paths(void **state)
{
    (void)state;
    static const char unsorted[] = "paths are not sorted";
    assert_null(paths_fault("/a", "/b", false));
    assert_null(paths_fault("/a/", "/a.", true));
    assert_string_equal(paths_fault("/b", "/a", false), unsorted);
    assert_string_equal(paths_fault("/a", "/a", false), unsorted);
    assert_string_equal(paths_fault("/a!", "/a/b", false), unsorted); /* '/' is the lowest */
    assert_string_equal(paths_fault("/ab", "/a", false), unsorted);
    assert_string_equal(paths_fault("/a", "/a/b", false), "wrong parent of a path");
    assert_string_equal(paths_fault("/a", "b", false), "path does not begin with '/'");
    assert_string_equal(paths_fault("/a", "", false), unsorted);
    assert_string_equal(paths_fault("", "/a", true), "path does not begin with '/'");
    assert_string_equal(paths_fault("/a", "/b/", false), "prefix with a trailing '/'");
    assert_null(paths_fault("/a", "/b/", true));
}

/* The last byte that may be used, and the first that may not. */
static void test_ends(void **state)
{
    (void)state;
    struct buf b;
    make(GLOBAL, &b);
    struct snap_global *g = snap_at(&b, 0, struct snap_global);
    const struct snap_array saved = g->listeners;
    uint32_t end = (uint32_t)b.n;
    g->listeners = (struct snap_array){end, 0};
    assert_null(verify_copy(&b));
    g->listeners = (struct snap_array){end + 8, 0};
    assert_string_equal(verify_copy(&b), OUT_ARRAY);
    g->listeners = (struct snap_array){end - 8, 1};
    assert_string_equal(verify_copy(&b), OUT_ARRAY);
    g->listeners = (struct snap_array){end - 16, 1}; /* in the shard, but not a listener */
    assert_string_not_equal(verify_copy(&b), OUT_ARRAY);
    g->listeners = saved;
    struct snap_listener *l = snap_at(&b, saved.offset, struct snap_listener);
    l->name = (struct snap_str){end - 1, 0};
    assert_null(verify_copy(&b));
    l->name = (struct snap_str){end, 0};
    assert_string_equal(verify_copy(&b), OUT_STR);
    l->name = (struct snap_str){end - 1, 1};
    assert_string_equal(verify_copy(&b), OUT_STR);
    buf_fini(&b);
}

/* Many small things that all name one long text: refused instead of taking hours. */
static void test_work_is_bounded(void **state)
{
    (void)state;
    enum { FILTERS = 4000, TEXT = 100000 };
    const struct make_host m = {"h", NULL, 0, 0, false};
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(make_host(&b, "t", &m), E_OK);
    struct snap_host *h = snap_at(&b, 0, struct snap_host);
    struct snap_filter one = *snap_at(&b, h->filters.offset, struct snap_filter);
    struct snap_str text = {(uint32_t)b.n, TEXT};
    snap_at(&b, one.offset, struct snap_filter_redirect)->location = text;
    size_t at = buf_add_zero(&b, TEXT + 1);
    memset(b.p + at, 'x', TEXT);
    buf_align(&b, SNAP_ALIGN);
    snap_at(&b, 0, struct snap_host)->filters = (struct snap_array){(uint32_t)b.n, FILTERS};
    for (size_t i = 0; i < FILTERS; i++) {
        buf_add(&b, &one, sizeof(one));
    }
    assert_string_equal(verify_copy(&b), "too much work to check");
    snap_at(&b, 0, struct snap_host)->filters.n = 64; /* as much as is taken */
    assert_null(verify_copy(&b));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_rule),
        cmocka_unit_test(test_good_ones),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_ssl_redirect),
        cmocka_unit_test(test_redirect),
        cmocka_unit_test(test_hsts),
        cmocka_unit_test(test_filters_are_in_order),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_work_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
