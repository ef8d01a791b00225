/* The state: applying segments whole or not at all, and telling what changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../lib/snapshot_make.h"
#include "../../lib/snapshot_walk.h"
#include "base/mem.h"

static struct make_set set;

/* Services "n/<name>/80" with so many endpoints; 0 endpoints = a deletion. A NULL name ends it. */
struct item {
    const char *name;
    uint32_t endpoint_n;
};

struct piece {
    struct buf bytes;
    struct snapshot_segment *segment;
};

static void open_set(struct piece *p, uint64_t base, uint64_t generation)
{
    struct snapshot_fault fault = {0};
    buf_init(&p->bytes, 64 << 20);
    assert_int_equal(make_segment(&set, &p->bytes, base, generation), E_OK);
    p->segment = make_open(p->bytes.p, p->bytes.n, &fault);
    assert_non_null(p->segment);
    make_clear(&set);
}

static struct piece piece(uint64_t base, uint64_t generation, const struct item *items)
{
    struct piece p;
    for (; items->name != NULL; items++) {
        char key[100];
        struct buf *b = make_next(&set);
        if (items->endpoint_n > 0) {
            assert_int_equal(make_service(b, "n", items->name, "80", items->endpoint_n, 1), E_OK);
        } else {
            (void)snprintf(key, sizeof(key), "n/%s/80", items->name);
            snap_shard_deleted(b, SNAP_SERVICE, str_from_cstr(key));
            assert_int_equal(snap_shard_end(b), E_OK);
        }
    }
    open_set(&p, base, generation);
    return p;
}

/* Drops the test's own reference; the state may still hold some. */
static void piece_fini(struct piece *p)
{
    snapshot_segment_unref(p->segment);
    buf_fini(&p->bytes);
}

/* clang-format off */
#define ITEMS(...) ((const struct item[]){__VA_ARGS__, {NULL, 0}})
#define NOTHING    ((const struct item[]){{NULL, 0}})
/* clang-format on */

struct told {
    const struct snapshot *s;
    char text[2000];
    uint64_t generation;
};

static void tell(void *arg, enum snap_kind kind, struct str key, const struct snapshot_entry *entry)
{
    struct told *t = arg;
    size_t n = strlen(t->text);
    t->generation = t->s->generation;
    assert_ptr_equal(snapshot_find(t->s, kind, key, hash_str(key)), entry);
    (void)snprintf(t->text + n, sizeof(t->text) - n, "%c%.*s ", entry == NULL ? '-' : '+',
                   STR_ARG(key));
}

static uint32_t endpoints_of(const struct snapshot *s, const char *name)
{
    char text[100];
    (void)snprintf(text, sizeof(text), "n/%s/80", name);
    struct str key = str_from_cstr(text);
    const struct snapshot_entry *e = snapshot_find(s, SNAP_SERVICE, key, hash_str(key));
    return e == NULL ? 0 : ((const struct snap_service *)e->shard)->endpoints.n;
}

static void test_apply(void **state)
{
    (void)state;
    struct snapshot s;
    snapshot_init(&s);
    struct piece whole = piece(0, 5, ITEMS({"a", 1}, {"b", 2}, {"c", 3}));
    struct piece delta = piece(5, 6, ITEMS({"a", 1}, {"b", 0}, {"c", 4}, {"d", 1}, {"x", 0}));
    struct piece merged = piece(5, 7, ITEMS({"a", 1}, {"b", 0}, {"c", 4}, {"d", 2}));
    struct piece again = piece(0, 8, ITEMS({"d", 2}, {"e", 1}));
    struct told told = {&s, "", 0};

    assert_int_equal(snapshot_apply(&s, delta.segment, tell, &told), E_REFUSED); /* no base yet */
    assert_int_equal(snapshot_apply(&s, whole.segment, tell, &told), E_OK);
    assert_string_equal(told.text, "+n/a/80 +n/b/80 +n/c/80 ");
    assert_int_equal(told.generation, 5);
    assert_int_equal(snapshot_apply(&s, whole.segment, tell, &told), E_REFUSED);

    told.text[0] = '\0';
    assert_int_equal(snapshot_apply(&s, delta.segment, tell, &told), E_OK);
    assert_string_equal(told.text, "-n/b/80 +n/c/80 +n/d/80 ");
    assert_int_equal(s.shards.n, 3);

    told.text[0] = '\0'; /* from 5 to 7, although the state is at 6 already */
    assert_int_equal(snapshot_apply(&s, merged.segment, tell, &told), E_OK);
    assert_string_equal(told.text, "+n/d/80 ");
    assert_int_equal(s.generation, 7);

    told.text[0] = '\0';
    assert_int_equal(snapshot_apply(&s, again.segment, tell, &told), E_OK);
    assert_true(strcmp(told.text, "+n/e/80 -n/a/80 -n/c/80 ") == 0 ||
                strcmp(told.text, "+n/e/80 -n/c/80 -n/a/80 ") == 0);
    assert_int_equal(s.shards.n, 2);
    assert_int_equal(endpoints_of(&s, "d"), 2);
    assert_int_equal(endpoints_of(&s, "a"), 0);

    snapshot_fini(&s);
    piece_fini(&whole);
    piece_fini(&delta);
    piece_fini(&merged);
    piece_fini(&again);
}

/* [base, generation): which states a segment can be applied to. */
static void test_generations(void **state)
{
    (void)state;
    for (uint64_t at = 1; at < 8; at++) {
        struct snapshot s;
        snapshot_init(&s);
        struct piece whole = piece(0, at, ITEMS({"a", 1}));
        struct piece delta = piece(3, 6, ITEMS({"b", 1}));
        assert_int_equal(snapshot_apply(&s, whole.segment, NULL, NULL), E_OK);
        enum err want = at >= 3 && at < 6 ? E_OK : E_REFUSED;
        assert_int_equal(snapshot_apply(&s, delta.segment, NULL, NULL), want);
        assert_int_equal(s.generation, want == E_OK ? 6 : at);
        assert_int_equal(s.shards.n, want == E_OK ? 2 : 1);
        snapshot_fini(&s);
        piece_fini(&whole);
        piece_fini(&delta);
    }
}

static void test_empty_segments(void **state)
{
    (void)state;
    struct snapshot s;
    snapshot_init(&s);
    struct piece nothing = piece(0, 1, NOTHING), some = piece(1, 2, ITEMS({"a", 1}));
    struct piece still = piece(2, 3, NOTHING), gone = piece(0, 4, NOTHING);
    assert_int_equal(snapshot_apply(&s, nothing.segment, NULL, NULL), E_OK);
    assert_int_equal(snapshot_apply(&s, some.segment, NULL, NULL), E_OK);
    assert_int_equal(snapshot_apply(&s, still.segment, NULL, NULL), E_OK);
    assert_int_equal(s.shards.n, 1);
    assert_int_equal(snapshot_apply(&s, gone.segment, NULL, NULL), E_OK);
    assert_int_equal(s.shards.n, 0);
    assert_int_equal(s.generation, 4);
    snapshot_fini(&s);
    piece_fini(&nothing);
    piece_fini(&some);
    piece_fini(&still);
    piece_fini(&gone);
}

/* An entry stays where it is while its key lives, and holds the newest segment. */
static void test_entries_are_stable(void **state)
{
    (void)state;
    struct snapshot s;
    snapshot_init(&s);
    struct piece whole = piece(0, 1, ITEMS({"a", 1}, {"b", 1}));
    struct piece same = piece(0, 2, ITEMS({"a", 1}, {"b", 2}));
    struct str key = STR("n/a/80");
    assert_int_equal(snapshot_apply(&s, whole.segment, NULL, NULL), E_OK);
    const struct snapshot_entry *e = snapshot_find(&s, SNAP_SERVICE, key, hash_str(key));
    assert_ptr_equal(e->segment, whole.segment);
    snapshot_segment_unref(whole.segment); /* only the state holds it now */
    struct snapshot_segment *old = snapshot_segment_ref(e->segment);
    assert_int_equal(snapshot_apply(&s, same.segment, NULL, NULL), E_OK);
    assert_ptr_equal(snapshot_find(&s, SNAP_SERVICE, key, hash_str(key)), e);
    assert_ptr_equal(e->segment, same.segment);
    snapshot_segment_unref(old); /* the last one: a sanitizer would see a second */
    buf_fini(&whole.bytes);
    assert_null(snapshot_find(&s, SNAP_HOST, key, hash_str(key)));
    snapshot_fini(&s);
    piece_fini(&same);
}

static void test_hosts_are_counted(void **state)
{
    (void)state;
    static const struct make_host hosts[] = {
        {"a",    NULL, 0, 0, false},
        {"b",    NULL, 0, 0, false},
        {"*.a",  NULL, 0, 0, false},
        {"**.a", NULL, 0, 0, false},
        {"",     NULL, 0, 0, false},
    };
    struct snapshot s;
    struct piece whole, delta, none = {0};
    snapshot_init(&s);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(make_host(make_next(&set), "t", &hosts[i]), E_OK);
    }
    open_set(&whole, 0, 1);
    assert_int_equal(make_host(make_next(&set), "t", &hosts[0]), E_OK); /* again */
    assert_int_equal(make_host(make_next(&set), "u", &hosts[2]), E_OK);
    struct buf *b = make_next(&set);
    snap_shard_deleted(b, SNAP_HOST, STR("t/**.a"));
    assert_int_equal(snap_shard_end(b), E_OK);
    open_set(&delta, 1, 2);
    none = piece(0, 3, NOTHING);

    assert_int_equal(snapshot_apply(&s, whole.segment, NULL, NULL), E_OK);
    const uint32_t first[] = {0, 2, 1, 1, 1}, second[] = {0, 2, 2, 0, 1}, third[5] = {0};
    assert_memory_equal(s.host_n, first, sizeof(first));
    assert_int_equal(snapshot_apply(&s, delta.segment, NULL, NULL), E_OK);
    assert_memory_equal(s.host_n, second, sizeof(second));
    assert_int_equal(snapshot_apply(&s, none.segment, NULL, NULL), E_OK);
    assert_memory_equal(s.host_n, third, sizeof(third));
    snapshot_fini(&s);
    piece_fini(&whole);
    piece_fini(&delta);
    piece_fini(&none);
}

/* A host may begin to pass through, or end it, under the same key. */
static void test_passthrough_is_counted(void **state)
{
    (void)state;
    static const struct {
        uint64_t base;
        const char *of_a, *of_b; /* service, "" = terminated, "-" = deleted, NULL = not in it */
        uint32_t want;
    } steps[] = {
        {0, "n/a/80", "",       1},
        {1, NULL,     "n/b/80", 2},
        {2, "n/c/80", NULL,     2}, /* to another one */
        {3, "",       NULL,     1},
        {4, "n/a/80", "-",      1},
        {0, "n/a/80", NULL,     1}, /* the same, in a whole state */
        {0, NULL,     "n/b/80", 1}, /* a is dropped */
        {7, NULL,     "-",      0},
    };
    struct snapshot s;
    struct piece pieces[sizeof(steps) / sizeof(*steps)];
    snapshot_init(&s);
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        const char *const services[] = {steps[i].of_a, steps[i].of_b};
        const char *const keys[] = {"t/a", "t/b"};
        for (size_t k = 0; k < 2; k++) {
            if (services[k] != NULL && strcmp(services[k], "-") == 0) {
                struct buf *b = make_next(&set);
                snap_shard_deleted(b, SNAP_TLS_HOST, str_from_cstr(keys[k]));
                assert_int_equal(snap_shard_end(b), E_OK);
            } else if (services[k] != NULL) {
                assert_int_equal(make_tls_host(make_next(&set), "t", keys[k] + 2, services[k]),
                                 E_OK);
            }
        }
        open_set(&pieces[i], steps[i].base, i + 1);
        assert_int_equal(snapshot_apply(&s, pieces[i].segment, NULL, NULL), E_OK);
        assert_int_equal(s.passthrough_n, steps[i].want);
    }
    snapshot_fini(&s);
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        piece_fini(&pieces[i]);
    }
}

/* Whichever allocation fails: the state is as it was, and the same segment works later. */
static void test_no_memory(void **state)
{
    (void)state;
    struct piece whole = piece(0, 1, ITEMS({"a", 1}, {"b", 2}, {"c", 3}));
    static struct make_set many;
    for (int i = 0; i < 40; i++) {
        char name[20];
        (void)snprintf(name, sizeof(name), "s%d", i);
        assert_int_equal(make_service(make_next(&many), "n", name, "80", 1, 1), E_OK);
    }
    struct buf *gone = make_next(&many);
    snap_shard_deleted(gone, SNAP_SERVICE, STR("n/a/80"));
    assert_int_equal(snap_shard_end(gone), E_OK);
    assert_int_equal(make_service(make_next(&many), "n", "b", "80", 7, 1), E_OK);
    struct buf bytes;
    struct snapshot_fault fault = {0};
    buf_init(&bytes, 1 << 20);
    assert_int_equal(make_segment(&many, &bytes, 1, 2), E_OK);
    struct snapshot_segment *delta = make_open(bytes.p, bytes.n, &fault);
    struct snapshot s;
    snapshot_init(&s);
    assert_int_equal(snapshot_apply(&s, whole.segment, NULL, NULL), E_OK);
    enum err e = E_NOMEM;
    size_t failed = 0;
    for (size_t nth = 1; e != E_OK; nth++) {
        struct told told = {&s, "", 0};
        mem_fail_from(nth);
        e = snapshot_apply(&s, delta, tell, &told);
        mem_fail_from(0);
        if (e != E_OK) {
            failed++;
            assert_int_equal(e, E_NOMEM);
            assert_string_equal(told.text, "");
            assert_int_equal(s.generation, 1);
            assert_int_equal(s.shards.n, 3);
            assert_int_equal(endpoints_of(&s, "a"), 1);
            assert_int_equal(endpoints_of(&s, "b"), 2);
        }
    }
    assert_true(failed >= 42); /* the plan, 40 entries, the table */
    assert_int_equal(s.shards.n, 42);
    assert_int_equal(endpoints_of(&s, "b"), 7);
    snapshot_fini(&s);
    snapshot_segment_unref(delta);
    buf_fini(&bytes);
    make_clear(&many);
    piece_fini(&whole);
}

/* ---- any sequence of segments gives what one whole segment gives ---- */

enum { KEYS = 30, GENERATIONS = 60 };

static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed >> 11;
}

/* world[generation][key]: endpoints of that service then; 0 = it is not there. */
static uint32_t world[GENERATIONS + 1][KEYS];

static void world_fill(uint64_t *seed)
{
    for (size_t g = 1; g <= GENERATIONS; g++) {
        mem_copy(world[g], world[g - 1], sizeof(world[g]));
        for (uint64_t i = random_next(seed) % 4; i > 0; i--) {
            uint64_t n = random_next(seed) % 6;
            world[g][random_next(seed) % KEYS] = n < 2 ? 0 : (uint32_t)n;
        }
    }
}

/* True when the key was written between the two, even if it is back to what it was. */
static bool was_touched(size_t key, size_t base, size_t generation)
{
    for (size_t g = base + 1; g <= generation; g++) {
        if (world[g][key] != world[g - 1][key]) {
            return true;
        }
    }
    return false;
}

static struct piece world_piece(size_t base, size_t generation)
{
    struct piece p;
    char name[KEYS][8];
    for (size_t k = 0; k < KEYS; k++) {
        char key[40];
        (void)snprintf(name[k], sizeof(name[k]), "s%zu", k);
        if (base > 0 && !was_touched(k, base, generation)) {
            continue;
        }
        if (world[generation][k] > 0) {
            assert_int_equal(
                make_service(make_next(&set), "n", name[k], "80", world[generation][k], 1), E_OK);
        } else if (base > 0) {
            struct buf *b = make_next(&set);
            (void)snprintf(key, sizeof(key), "n/s%zu/80", k);
            snap_shard_deleted(b, SNAP_SERVICE, str_from_cstr(key));
            assert_int_equal(snap_shard_end(b), E_OK);
        }
    }
    open_set(&p, base, generation);
    return p;
}

static void count_told(void *arg, enum snap_kind kind, struct str key,
                       const struct snapshot_entry *entry)
{
    (void)kind, (void)key, (void)entry;
    ++*(size_t *)arg;
}

static size_t world_distance(size_t a, size_t b)
{
    size_t n = 0;
    for (size_t k = 0; k < KEYS; k++) {
        n += world[a][k] != world[b][k];
    }
    return n;
}

static void assert_world(const struct snapshot *s, size_t generation)
{
    struct piece fresh = world_piece(0, generation);
    assert_int_equal(s->generation, generation);
    assert_int_equal(s->shards.n, snapshot_segment_header(fresh.segment)->shard_n);
    for (uint32_t i = 0; i < s->shards.n; i++) {
        const struct snap_shard *want = snapshot_segment_shard(fresh.segment, i);
        struct str key = snap_str_get(want, want->key);
        const struct snapshot_entry *e = snapshot_find(s, SNAP_SERVICE, key, hash_str(key));
        assert_non_null(e);
        assert_int_equal(e->shard->bytes, want->bytes);
        assert_memory_equal(e->shard, want, want->bytes);
    }
    piece_fini(&fresh);
}

static void test_any_sequence(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int round = 0; round < 60; round++) {
        struct snapshot s;
        struct piece held[GENERATIONS + 2];
        size_t held_n = 0;
        snapshot_init(&s);
        world_fill(&seed);
        while (s.generation < GENERATIONS) {
            size_t at = s.generation;
            size_t to = at + 1 + random_next(&seed) % (GENERATIONS - at);
            to = random_next(&seed) % 4 == 0 ? to : at + 1;
            bool is_whole = at == 0 || random_next(&seed) % 10 == 0;
            size_t base = is_whole ? 0 : at - random_next(&seed) % at; /* 1..at */
            struct piece p = world_piece(base, to);
            size_t told = 0;
            assert_int_equal(snapshot_apply(&s, p.segment, count_told, &told), E_OK);
            assert_int_equal(told, world_distance(at, to));
            assert_world(&s, to);
            snapshot_segment_unref(p.segment); /* the bytes must stay, the reference need not */
            held[held_n++] = p;
        }
        snapshot_fini(&s);
        for (size_t i = 0; i < held_n; i++) {
            buf_fini(&held[i].bytes);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_empty_segments),
        cmocka_unit_test(test_entries_are_stable),
        cmocka_unit_test(test_hosts_are_counted),
        cmocka_unit_test(test_passthrough_is_counted),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_any_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
