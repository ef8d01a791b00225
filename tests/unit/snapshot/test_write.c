/* Writing shards and segments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../lib/snapshot_make.h"
#include "base/limits.h"
#include "base/mem.h"

static const struct make_rule rules[] = {
    {"/",          false, 1, 0, {{0}}                         },
    {"/shop",      true,  2, 0, {{0}}                         },
    {"/shop/cart", false, 3, 1, {{SNAP_IF_METHOD, "", "POST"}}},
};
static const struct make_host host = {"a.example.com", rules, 3, 9, false};

static void fill(struct make_set *set)
{
    assert_int_equal(make_global(make_next(set), "ingress"), E_OK);
    assert_int_equal(make_host(make_next(set), "ingress", &host), E_OK);
    assert_int_equal(make_service(make_next(set), "shop", "web", "80", 3, 1), E_OK);
    assert_int_equal(make_service(make_next(set), "shop", "api", "http", 2, 2), E_OK);
}

static void test_any_order_gives_the_same_bytes(void **state)
{
    (void)state;
    static struct make_set set;
    struct buf first, again;
    buf_init(&first, 1 << 20);
    buf_init(&again, 1 << 20);
    fill(&set);
    assert_int_equal(make_segment(&set, &first, 0, 7), E_OK);
    for (unsigned seed = 1; seed < 50; seed++) {
        for (size_t i = set.n - 1; i > 0; i--) {
            size_t j = (seed * 2654435761U >> i) % (i + 1);
            struct buf swap = set.shards[i];
            set.shards[i] = set.shards[j];
            set.shards[j] = swap;
        }
        assert_int_equal(make_segment(&set, &again, 0, 7), E_OK);
        assert_int_equal(again.n, first.n);
        assert_memory_equal(again.p, first.p, first.n);
    }
    struct snapshot_fault fault = {0};
    struct snapshot_segment *s = make_open(first.p, first.n, &fault);
    assert_non_null(s);
    snapshot_segment_unref(s);
    make_clear(&set);
    buf_fini(&first);
    buf_fini(&again);
}

/* The layout is a format: whoever changes these bytes changes SNAP_VERSION. */
static void test_bytes_are_the_same_as_ever(void **state)
{
    (void)state;
    static struct make_set set;
    struct buf out;
    buf_init(&out, 1 << 20);
    fill(&set);
    assert_int_equal(make_segment(&set, &out, 0, 7), E_OK);
    assert_int_equal(SNAP_VERSION, 7);
    assert_int_equal(snap_at(&out, 0, struct snap_header)->checksum, 0x7feba696109d8e19);
    assert_int_equal(out.n, 1744);
    make_clear(&set);
    buf_fini(&out);
}

static void test_a_segment_is_refused(void **state)
{
    (void)state;
    static struct make_set set;
    struct buf out;
    buf_init(&out, 1 << 20);
    fill(&set);
    assert_int_equal(make_service(make_next(&set), "shop", "web", "80", 1, 1), E_OK);
    assert_int_equal(make_segment(&set, &out, 0, 1), E_PROTO); /* twice the same key */
    buf_fini(&set.shards[--set.n]);
    struct buf *gone = make_next(&set);
    snap_shard_deleted(gone, SNAP_SERVICE, STR("shop/old/80"));
    assert_int_equal(snap_shard_end(gone), E_OK);
    assert_int_equal(make_segment(&set, &out, 0, 1), E_PROTO); /* nothing to delete from */
    assert_int_equal(make_segment(&set, &out, 1, 2), E_OK);
    size_t n = out.n;
    struct buf tight;
    buf_init(&tight, n - 1);
    assert_int_equal(make_segment(&set, &tight, 1, 2), E_LIMIT);
    buf_fini(&tight);
    buf_init(&tight, n);
    assert_int_equal(make_segment(&set, &tight, 1, 2), E_OK);
    buf_fini(&tight);
    make_clear(&set);
    buf_fini(&out);
}

static void test_an_empty_segment(void **state)
{
    (void)state;
    struct buf out;
    struct snapshot_fault fault = {0};
    buf_init(&out, 1 << 20);
    assert_int_equal(snapshot_segment_write(&out, NULL, 0, 0, 1), E_OK);
    struct snapshot_segment *s = make_open(out.p, out.n, &fault);
    assert_non_null(s);
    assert_int_equal(snapshot_segment_header(s)->shard_n, 0);
    snapshot_segment_unref(s);
    buf_fini(&out);
}

static void test_equal_strings_are_stored_once(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    snap_shard_begin(&b, SNAP_SERVICE, sizeof(struct snap_service), STR("a/b/c"));
    struct snap_str first = snap_add_str(&b, STR("hello"));
    size_t n = b.n;
    assert_int_equal(snap_add_str(&b, STR("hello")).offset, first.offset);
    assert_int_equal(snap_add_str(&b, STR("lo")).offset, first.offset + 3); /* a tail is as good */
    assert_int_equal(snap_add_str(&b, STR("")).n, 0);
    assert_int_equal(b.n, n);
    assert_int_not_equal(snap_add_str(&b, STR("hell")).offset, first.offset); /* no NUL behind */
    /* The zero bytes of an array are not a string: they will be overwritten. */
    struct snap_array a = snap_add_array(&b, 4, 8);
    struct snap_str empty = snap_add_str(&b, STR(""));
    assert_true(empty.offset >= a.offset + 32);
    assert_true(snap_add_str(&b, STR("hello")).offset > empty.offset); /* an array is between */
    buf_fini(&b);
}

static void test_a_shard_has_a_limit(void **state)
{
    (void)state;
    struct buf b;
    const size_t max = 4096, head = sizeof(struct snap_shard) + 8; /* "k" and its padding */
    const size_t fits = max - head - 2 * SNAP_ALIGN;
    for (size_t over = 0; over < 2; over++) {
        buf_init(&b, max);
        snap_shard_begin(&b, SNAP_SERVICE, sizeof(struct snap_shard), STR("k"));
        struct snap_array a = snap_add_array(&b, (uint32_t)(fits / 8 + over), 8);
        assert_int_equal(a.n, over == 0 ? fits / 8 : 0);
        if (over == 0) {
            assert_false(b.bad);
            (void)snap_add_str(&b, STR("")); /* the last thing that fits */
        }
        assert_int_equal(snap_shard_end(&b), over == 0 ? E_OK : E_LIMIT);
        buf_fini(&b);
    }
    buf_init(&b, 16);
    snap_shard_begin(&b, SNAP_SERVICE, sizeof(struct snap_shard), STR("k"));
    assert_true(b.bad);
    assert_int_equal(snap_add_array(&b, 5, 8).n, 0);
    assert_int_equal(snap_shard_end(&b), E_LIMIT);
    buf_fini(&b);
}

static void test_no_memory(void **state)
{
    (void)state;
    static struct make_set set;
    struct buf out;
    enum err e = E_NOMEM;
    buf_init(&out, 1 << 20);
    for (size_t nth = 1; e != E_OK; nth++) {
        assert_true(nth < 100);
        mem_fail_from(nth);
        e = make_host(make_next(&set), "ingress", &host);
        if (e == E_OK) {
            e = make_segment(&set, &out, 0, 1);
        }
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
        assert_true(nth > 1 || e == E_NOMEM);
        make_clear(&set);
    }
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order_gives_the_same_bytes),
        cmocka_unit_test(test_bytes_are_the_same_as_ever),
        cmocka_unit_test(test_a_segment_is_refused),
        cmocka_unit_test(test_an_empty_segment),
        cmocka_unit_test(test_equal_strings_are_stored_once),
        cmocka_unit_test(test_a_shard_has_a_limit),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
