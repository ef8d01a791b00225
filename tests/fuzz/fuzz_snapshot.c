/* Map, verify, apply, walk, dump and match whatever bytes come: nothing may read outside them.
 * First byte below 128: the rest is a list of edits (operation, two bytes of place, value) of a
 * good segment. From 128 on: the rest is the segment itself. Either way the header, the sizes and
 * the hashes of the keys are mended first, so that a change reaches what is behind them. */
#include <stdint.h>
#include <stdlib.h>

#include "../lib/snapshot_make.h"
#include "../lib/snapshot_tls.h"
#include "../lib/snapshot_walk.h"
#include "base/mem.h"
#include "route/match.h"
#include "route/tls_host.h"
#include "snapshot/dump.h"

enum { SEGMENT_MAX = 1 << 16, EDIT_BYTES = 4 };

/* ---- a good segment ---- */

static const struct make_rule rules[] = {
    {"/",    false, 1, 0, {{0}}                                                   },
    {"/a",   true,  2, 0, {{0}}                                                   },
    {"/a",   false, 3, 2, {{SNAP_IF_METHOD, "", "GET"}, {SNAP_IF_QUERY, "q", "1"}}},
    {"/a/b", false, 4, 1, {{SNAP_IF_HEADER, "x", "1"}}                            },
    {"/a/",  true,  5, 0, {{0}}                                                   },
};
static const struct make_host hosts[] = {
    {"a.b.c", rules, 5, 9, false},
    {"*.b.c", rules, 2, 0, true },
    {"**.c",  rules, 1, 9, false},
    {"",      rules, 0, 9, false},
};

/* Secrets come in segments of their own; for whoever reads shards that makes no difference. */
static void build_tls(struct make_set *set)
{
    static const char name[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const struct str texts[] = {STR("der"), STR("a.b.c")};
    const struct make_secret secret = {.name = "s",
                                       .texts = texts,
                                       .text_n = 2,
                                       .more = texts,
                                       .more_n = 2,
                                       .key_name = name,
                                       .key_kind = SNAP_KEY_EC};
    const struct make_site sites[] = {
        {.pattern = "a.b.c",    .certificates = {"shop/s"}},
        { .pattern = "",
         .verify = SNAP_VERIFY_OPTIONAL,
         .authority = "shop/s",
         .name_pattern = "CN=",
         .policy = 1},
    };
    must(make_site(make_next(set), &sites[0]) == E_OK);
    must(make_site(make_next(set), &sites[1]) == E_OK);
    must(make_certificate(make_next(set), &secret) == E_OK);
    must(make_authority(make_next(set), &secret) == E_OK);
    must(make_staple(make_next(set), "shop/s", STR("response")) == E_OK);
    must(make_key(make_next(set), name, STR("key")) == E_OK);
    must(make_tickets(make_next(set), (const uint8_t *)"AB", 2) == E_OK);
}

static void build(struct buf *out, bool is_delta)
{
    static struct make_set set;
    enum err e = make_global(make_next(&set), "t");
    for (size_t i = 0; i < 4 && e == E_OK; i++) {
        e = make_host(make_next(&set), "t", &hosts[i]);
    }
    must(e == E_OK && make_service(make_next(&set), "n", "s", "80", 3, 1) == E_OK);
    build_tls(&set);
    if (is_delta) {
        struct buf *b = make_next(&set);
        snap_shard_deleted(b, SNAP_SERVICE, STR("n/z/80"));
        must(snap_shard_end(b) == E_OK);
    }
    must(make_segment(&set, out, is_delta, 2) == E_OK);
    make_clear(&set);
}

static void edit(char *p, size_t n, const uint8_t *e)
{
    size_t at = ((size_t)e[1] << 8 | e[2]) % n;
    size_t word = at & ~(size_t)3;
    uint32_t value = e[3];
    switch (e[0] % 5) {
    case 0:
        p[at] = (char)e[3];
        return;
    case 1:
        p[at] ^= (char)(1 << e[3] % 8);
        return;
    case 2: /* a small number */
        break;
    case 3: /* a large one */
        value = UINT32_MAX - value;
        break;
    case 4: /* the same as elsewhere */
        mem_copy(&value, p + (at * 31 + e[3] * 4U) % (n - 4), 4);
        break;
    }
    mem_copy(p + (word + 4 <= n ? word : 0), &value, 4);
}

/* ---- mending ---- */

static void mend_shard(char *p, size_t n, struct snap_ref *ref, size_t at)
{
    struct snap_shard *s = (struct snap_shard *)(void *)(p + at);
    ref->offset = (uint32_t)at;
    s->bytes = ref->bytes;
    if ((uint64_t)s->key.offset + s->key.n < n - at) {
        s->key_hash = hash_bytes(p + at + s->key.offset, s->key.n);
    }
    ref->key_hash = s->key_hash;
}

static void mend(char *p, size_t n)
{
    struct snap_header *h = (struct snap_header *)(void *)p;
    struct snap_ref *refs = (struct snap_ref *)(void *)(p + sizeof(*h));
    mem_copy(h->magic, SNAP_MAGIC, sizeof(h->magic));
    h->version = SNAP_VERSION;
    h->bytes = n;
    h->base_generation &= 1;
    h->generation = h->base_generation + 1;
    size_t at = sizeof(*h) + h->shard_n * sizeof(*refs);
    for (uint32_t i = 0; at <= n && i < h->shard_n; i++) {
        if (n - at < sizeof(struct snap_shard) || refs[i].bytes % SNAP_ALIGN != 0) {
            break;
        }
        mend_shard(p, n, &refs[i], at);
        at += refs[i].bytes;
        if (at > n) {
            break;
        }
    }
    h->checksum = snapshot_checksum(p, n);
}

/* ---- using ---- */

static bool find_field(const void *arg, struct str name, struct str *ret_value)
{
    (void)arg;
    *ret_value = STR("1");
    return name.n == 1;
}

static void trace(void *arg, const struct snap_host *host, const struct snap_route *route,
                  enum route_verdict verdict)
{
    *(uint64_t *)arg += walk_route(host, route) + verdict;
}

static void ask(const struct snapshot *s, const struct snap_host *h, struct str path)
{
    struct str pattern = snap_str_get(h, h->host);
    struct route_match m, same;
    uint64_t sum = 0;
    struct route_query q = {.table = snap_str_get(h, h->table),
                            .host = str_from(pattern, h->kind == SNAP_HOST_LABEL ? 1 : 0),
                            .path = path,
                            .method = STR("GET"),
                            .query = STR("q=1"),
                            .field = find_field};
    route_match(s, &q, &m);
    route_explain(s, &q, &same, trace, &sum);
    must(m.route == same.route);
    for (uint32_t i = 0; m.route != NULL && i < 4; i++) {
        must((route_backend(&m, i) != NULL) == (i < m.route->weight_sum));
    }
}

static void ask_host(const struct snapshot *s, const struct snap_host *h)
{
    const struct snap_path *nodes = snap_array_get(h, h->paths);
    ask(s, h, STR("/a/b/c"));
    for (uint32_t i = 0; i < h->paths.n && i < 8; i++) {
        ask(s, h, snap_str_get(h, nodes[i].path));
    }
}

static void ask_names(const struct snapshot *s)
{
    static const char *const names[] = {"a.b.c", "x.b.c", ""};
    for (size_t i = 0; i < 3; i++) {
        struct snapshot_segment *segment = NULL;
        const struct snap_tls_host *h =
            route_tls_host(s, STR("ingress"), str_from_cstr(names[i]), &segment);
        must(h == NULL || (segment != NULL && h->shard.kind == SNAP_TLS_HOST));
    }
}

static void count(void *arg, enum snap_kind kind, struct str key,
                  const struct snapshot_entry *entry)
{
    (void)kind, (void)key, (void)entry;
    ++*(uint32_t *)arg;
}

static void use(struct snapshot_segment *segment)
{
    const struct snap_header *h = snapshot_segment_header(segment);
    struct snapshot s;
    uint32_t changes = 0;
    snapshot_init(&s);
    s.generation = h->base_generation;
    (void)walk_segment(segment);
    must(snapshot_apply(&s, segment, count, &changes) == E_OK && changes == s.shards.n);
    s.generation = h->base_generation; /* the same once more changes nothing */
    must(snapshot_apply(&s, segment, count, &changes) == E_OK && changes == s.shards.n);
    (void)walk_state(&s);
    ask_names(&s);
    map_each(slot, &s.shards)
    {
        const struct snap_shard *shard = ((const struct snapshot_entry *)slot->value)->shard;
        if (shard->kind == SNAP_HOST) {
            ask_host(&s, (const struct snap_host *)shard);
        }
    }
    for (int form = SNAPSHOT_DUMP_TEXT; form <= SNAPSHOT_DUMP_JSON; form++) {
        struct buf out;
        buf_init(&out, 1 << 20);
        snapshot_dump_segment(&out, segment, (enum snapshot_dump_form)form);
        buf_fini(&out);
    }
    snapshot_fini(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf whole, exact;
    if (n == 0 || n > SEGMENT_MAX) {
        return 0;
    }
    buf_init(&whole, SEGMENT_MAX);
    if (data[0] < 128) {
        build(&whole, data[0] & 1);
        for (size_t i = 1; i + EDIT_BYTES <= n; i += EDIT_BYTES) {
            edit(whole.p, whole.n, data + i);
        }
    } else {
        buf_add(&whole, data + 1, n - 1);
    }
    if (whole.n >= sizeof(struct snap_header)) {
        mend(whole.p, whole.n);
    }
    if (whole.n > 0) { /* a block of just that size */
        struct snapshot_fault fault = {0};
        buf_init(&exact, whole.n);
        buf_add_str(&exact, buf_str(&whole));
        struct snapshot_segment *s = make_open(exact.p, exact.n, &fault);
        must(n > 1 || data[0] >= 128 || s != NULL);
        if (s != NULL) {
            use(s);
        }
        snapshot_segment_unref(s);
        buf_fini(&exact);
    }
    buf_fini(&whole);
    return 0;
}
