/* From bytes to a verified segment: mapping, the header, steps, counting, damage. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../lib/snapshot_make.h"
#include "../../lib/snapshot_walk.h"
#include "base/mem.h"

static const struct make_rule rules[] = {
    {"/",          false, 1, 0, {{0}}                                                    },
    {"/shop",      true,  2, 0, {{0}}                                                    },
    {"/shop",      false, 3, 0, {{0}}                                                    },
    {"/shop/cart", false, 4, 2, {{SNAP_IF_METHOD, "", "POST"}, {SNAP_IF_QUERY, "a", "b"}}},
};
static const struct make_host hosts[] = {
    {"a.example.com", rules, 4, 9, false},
    {"*.example.com", rules, 1, 0, true },
    {"",              rules, 0, 9, false},
};

static struct make_set set;

/* A segment of every kind of shard; one is deleted when it has a base. */
static struct buf good(uint64_t base, uint64_t generation)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(make_global(make_next(&set), "ingress"), E_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(make_host(make_next(&set), "ingress", &hosts[i]), E_OK);
    }
    assert_int_equal(make_service(make_next(&set), "shop", "web", "80", 3, 1), E_OK);
    if (base > 0) {
        struct buf *b = make_next(&set);
        snap_shard_deleted(b, SNAP_SERVICE, STR("shop/old/80"));
        assert_int_equal(snap_shard_end(b), E_OK);
    }
    assert_int_equal(make_segment(&set, &out, base, generation), E_OK);
    make_clear(&set);
    struct buf exact; /* a block of just that size, so that a sanitizer sees a byte too many */
    buf_init(&exact, out.n);
    buf_add_str(&exact, buf_str(&out));
    assert_int_equal(exact.cap, out.n);
    buf_fini(&out);
    return exact;
}

static int memfd_of(const struct buf *b, size_t n, int seals)
{
    int fd = memfd_create("test", MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, b->p, n), n);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void test_map(void **state)
{
    (void)state;
    const int all = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
    struct buf b = good(0, 3);
    const struct {
        size_t n, max;
        int seals;
        enum snapshot_origin origin;
        enum err want;
    } cases[] = {
        {b.n,                            b.n,     all,                                               SNAPSHOT_SEALED, E_OK     },
        {b.n,                            b.n,     0,                                                 SNAPSHOT_FILE,   E_OK     },
        {b.n,                            b.n - 1, all,                                               SNAPSHOT_SEALED, E_LIMIT  },
        {b.n,                            b.n,     0,                                                 SNAPSHOT_SEALED, E_REFUSED},
        {b.n,                            b.n,     F_SEAL_WRITE | F_SEAL_GROW,                        SNAPSHOT_SEALED, E_REFUSED},
        {b.n,                            b.n,     F_SEAL_SHRINK | F_SEAL_GROW,                       SNAPSHOT_SEALED, E_REFUSED},
        {b.n,                            b.n,     F_SEAL_SHRINK | F_SEAL_WRITE,                      SNAPSHOT_SEALED, E_REFUSED},
        {b.n - 8,                        b.n,     all,                                               SNAPSHOT_SEALED, E_PROTO  },
        {sizeof(struct snap_header) - 1, b.n,     all,                                               SNAPSHOT_SEALED, E_PROTO  },
        {0,                              b.n,     all,                                               SNAPSHOT_SEALED, E_PROTO  },
        {b.n,                            b.n,     F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK, SNAPSHOT_SECRET, E_OK     },
        {b.n,                            b.n,     F_SEAL_FUTURE_WRITE | F_SEAL_GROW,                 SNAPSHOT_SECRET, E_REFUSED},
        {b.n,                            b.n,     F_SEAL_GROW | F_SEAL_SHRINK,                       SNAPSHOT_SECRET, E_REFUSED},
        {b.n,                            b.n,     F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK, SNAPSHOT_SEALED, E_REFUSED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct snapshot_segment *s = NULL;
        struct snapshot_fault fault = {0};
        int fd = memfd_of(&b, cases[i].n, cases[i].seals);
        enum err e = snapshot_segment_map(fd, cases[i].max, cases[i].origin, &s, &fault);
        (void)close(fd);
        assert_int_equal(e, cases[i].want);
        assert_true((e == E_OK) == (s != NULL) && (e == E_OK) == (fault.what == NULL));
        if (e == E_OK) {
            assert_int_equal(snapshot_segment_verify(s, SIZE_MAX, &fault), E_OK);
            assert_int_not_equal(walk_segment(s), 0);
            assert_true(snapshot_segment_is_locked(s) == (cases[i].origin == SNAPSHOT_SECRET));
        }
        snapshot_segment_unref(s);
    }
    buf_fini(&b);
}

static void test_map_refuses_what_is_no_file(void **state)
{
    (void)state;
    struct snapshot_segment *s = NULL;
    struct snapshot_fault fault = {0};
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(snapshot_segment_map(fds[0], 100, SNAPSHOT_SEALED, &s, &fault), E_REFUSED);
    assert_int_equal(snapshot_segment_map(fds[0], 100, SNAPSHOT_FILE, &s, &fault), E_PROTO);
    assert_int_equal(snapshot_segment_map(-1, 100, SNAPSHOT_FILE, &s, &fault), E_SYS);
    assert_null(s);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* The mapping goes with the last reference, not before. */
static void test_references(void **state)
{
    (void)state;
    struct buf b = good(0, 3);
    struct snapshot_segment *s = NULL;
    struct snapshot_fault fault = {0};
    int fd = memfd_of(&b, b.n, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
    assert_int_equal(snapshot_segment_map(fd, b.n, SNAPSHOT_SEALED, &s, &fault), E_OK);
    (void)close(fd);
    unsigned char pages[64];
    void *at = (void *)(uintptr_t)snapshot_segment_header(s);
    assert_ptr_equal(snapshot_segment_ref(s), s);
    snapshot_segment_unref(s);
    assert_int_equal(mincore(at, b.n, pages), 0);
    assert_int_equal(snapshot_segment_header(s)->generation, 3);
    snapshot_segment_unref(s);
    assert_int_equal(mincore(at, b.n, pages), -1);
    snapshot_segment_unref(NULL);
    buf_fini(&b);
}

static void test_header(void **state)
{
    (void)state;
    struct buf b = good(2, 3);
    struct snap_header *h = snap_at(&b, 0, struct snap_header);
    const struct snap_header saved = *h;
    struct snap_header bad[8];
    for (size_t i = 0; i < 8; i++) {
        bad[i] = saved;
    }
    bad[0].magic[7]++;
    bad[1].version++;
    bad[2].bytes--;
    bad[3].bytes++;
    bad[4].shard_n = UINT32_MAX;
    bad[5].generation = bad[5].base_generation;
    bad[6].generation = 0;
    bad[7].shard_n = (uint32_t)((b.n - sizeof(saved)) / sizeof(struct snap_ref)) + 1;
    struct snapshot_segment *s = NULL;
    struct snapshot_fault fault = {0};
    for (size_t i = 0; i < 8; i++) {
        *h = bad[i];
        assert_int_equal(snapshot_segment_borrow(b.p, b.n, &s, &fault), E_PROTO);
        assert_int_equal(fault.shard, UINT32_MAX);
        assert_null(s);
    }
    *h = saved;
    h->generation++; /* plausible, but not what was written */
    assert_null(make_open(b.p, b.n, &fault));
    assert_string_equal(fault.what, "wrong checksum");
    *h = saved;
    h->base_generation = 0; /* then it could not delete */
    h->checksum = snapshot_checksum(b.p, b.n);
    assert_null(make_open(b.p, b.n, &fault));
    assert_string_equal(fault.what, "deleted although there is nothing before");
    *h = saved;
    s = make_open(b.p, b.n, &fault);
    assert_non_null(s);
    snapshot_segment_unref(s);
    buf_fini(&b);
}

/* A budget of any size gives the same result; each call goes on. */
static void test_steps(void **state)
{
    (void)state;
    struct buf b = good(0, 3);
    for (size_t budget = 0; budget < 4 * b.n; budget += 1 + b.n / 7) {
        struct snapshot_segment *s = NULL;
        struct snapshot_fault fault = {0};
        size_t calls = 1;
        assert_int_equal(snapshot_segment_borrow(b.p, b.n, &s, &fault), E_OK);
        for (enum err e; (e = snapshot_segment_verify(s, budget, &fault)) != E_OK; calls++) {
            assert_int_equal(e, E_AGAIN);
        }
        assert_int_equal(snapshot_segment_verify(s, budget, &fault), E_OK);
        assert_true(budget > 2 * b.n ? calls == 1 : calls > 1);
        assert_true(budget > 0 || calls >= 6); /* the checksum and five shards, one by one */
        snapshot_segment_unref(s);
    }
    buf_fini(&b);
}

/* The checksum is the same however many blocks it takes, and sees a change in any of them. */
static void test_checksum_of_many_blocks(void **state)
{
    (void)state;
    struct buf out;
    struct snapshot_fault fault = {0};
    buf_init(&out, 16 << 20);
    assert_int_equal(make_service(make_next(&set), "shop", "web", "80", 20000, 1), E_OK);
    assert_int_equal(make_segment(&set, &out, 0, 1), E_OK);
    assert_true(out.n > 4 * 65536);
    for (size_t at = 100; at < out.n; at += 65536) {
        out.p[at] ^= 1;
        assert_null(make_open(out.p, out.n, &fault));
        assert_string_equal(fault.what, "wrong checksum");
        out.p[at] ^= 1;
    }
    struct snapshot_segment *s = make_open(out.p, out.n, &fault);
    assert_non_null(s);
    snapshot_segment_unref(s);
    make_clear(&set);
    buf_fini(&out);
}

/* Any one damaged byte, with a checksum that says nothing: refused, or harmless for every reader.
 */
static void test_every_byte_damaged(void **state)
{
    (void)state;
    static const unsigned char edits[] = {1, 2, 4, 8, 16, 32, 64, 128, 255};
    size_t refused = 0, harmless = 0;
    for (uint64_t base = 0; base < 2; base++) {
        struct buf b = good(base, 3);
        struct snap_header *h = snap_at(&b, 0, struct snap_header);
        for (size_t at = 0; at < b.n * sizeof(edits); at++) {
            struct snapshot_fault fault = {0};
            b.p[at / sizeof(edits)] ^= (char)edits[at % sizeof(edits)];
            h->checksum = snapshot_checksum(b.p, b.n);
            struct snapshot_segment *s = make_open(b.p, b.n, &fault);
            assert_true((s == NULL) == (fault.what != NULL));
            if (s != NULL) {
                (void)walk_segment(s); /* a sanitizer judges it */
                harmless++;
            } else {
                refused++;
            }
            snapshot_segment_unref(s);
            b.p[at / sizeof(edits)] ^= (char)edits[at % sizeof(edits)];
        }
        buf_fini(&b);
    }
    assert_true(refused > 1000 && harmless > 100);
    print_message("%zu refused, %zu harmless\n", refused, harmless);
}

/* Cut off anywhere, or with bytes behind it. */
static void test_every_length(void **state)
{
    (void)state;
    struct buf b = good(0, 3);
    struct snapshot_fault fault = {0};
    for (size_t n = 0; n < b.n; n++) {
        char *copy = malloc(n > 0 ? n : 1);
        mem_copy(copy, b.p, n);
        if (n >= sizeof(struct snap_header)) {
            struct snap_header *h = (struct snap_header *)(void *)copy;
            h->bytes = n;
            h->checksum = snapshot_checksum(copy, n);
        }
        assert_null(make_open(copy, n, &fault));
        free(copy);
    }
    struct buf more;
    buf_init(&more, b.n + 8);
    buf_add_str(&more, buf_str(&b));
    (void)buf_add_zero(&more, 8); /* not in the table */
    struct snap_header *h = snap_at(&more, 0, struct snap_header);
    h->bytes = more.n;
    h->checksum = snapshot_checksum(more.p, more.n);
    assert_null(make_open(more.p, more.n, &fault));
    buf_fini(&more);
    assert_string_equal(fault.what, "bytes behind the last shard");
    assert_int_equal(fault.shard, UINT32_MAX);
    buf_fini(&b);
}

static const char *mended_fault(struct buf *b, size_t n)
{
    struct snapshot_fault fault = {0};
    struct snap_header *h = snap_at(b, 0, struct snap_header);
    h->bytes = n;
    h->checksum = snapshot_checksum(b->p, n);
    struct snapshot_segment *s = make_open(b->p, n, &fault);
    snapshot_segment_unref(s);
    return fault.what;
}

/* Two shards of one size whose order, or difference, is lost. */
static void test_order(void **state)
{
    (void)state;
    struct buf b;
    char first[400];
    buf_init(&b, 1 << 20);
    assert_int_equal(make_service(make_next(&set), "n", "a", "80", 1, 1), E_OK);
    assert_int_equal(make_service(make_next(&set), "n", "b", "80", 1, 1), E_OK);
    assert_int_equal(make_segment(&set, &b, 0, 1), E_OK);
    make_clear(&set);
    assert_null(mended_fault(&b, b.n));
    struct snap_ref *refs = snap_at(&b, sizeof(struct snap_header), struct snap_ref);
    const uint64_t hashes[2] = {refs[0].key_hash, refs[1].key_hash};
    size_t n = refs[0].bytes;
    assert_true(n == refs[1].bytes && n <= sizeof(first));
    mem_copy(first, b.p + refs[0].offset, n);
    mem_copy(b.p + refs[0].offset, b.p + refs[1].offset, n);
    refs[0].key_hash = hashes[1];
    assert_string_equal(mended_fault(&b, b.n), "the table is not sorted"); /* b, b */
    mem_copy(b.p + refs[1].offset, first, n);
    refs[1].key_hash = hashes[0];
    assert_string_equal(mended_fault(&b, b.n), "the table is not sorted"); /* b, a */
    buf_fini(&b);
}

static void test_shard_sizes(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(make_service(make_next(&set), "n", "a", "80", 1, 1), E_OK);
    assert_int_equal(make_segment(&set, &b, 0, 1), E_OK);
    make_clear(&set);
    struct snap_ref *ref = snap_at(&b, sizeof(struct snap_header), struct snap_ref);
    const uint32_t bytes = ref->bytes;
    static const struct {
        int more; /* bytes than there should be */
        const char *want;
    } cases[] = {
        {0,  NULL               },
        {-4, "size out of range"},
        {8,  "size out of range"}
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        ref->bytes = bytes + (uint32_t)cases[i].more;
        snap_at(&b, ref->offset, struct snap_shard)->bytes = ref->bytes;
        const char *what = mended_fault(&b, cases[i].more < 0 ? b.n - 4 : b.n);
        assert_string_equal(what == NULL ? "" : what, cases[i].want == NULL ? "" : cases[i].want);
    }
    ref->bytes = bytes;
    assert_string_equal(mended_fault(&b, b.n), "differs from its reference");
    ref->bytes = sizeof(struct snap_shard) - 8;
    assert_string_equal(mended_fault(&b, b.n), "size out of range");
    buf_fini(&b);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct buf b = good(0, 3);
    struct snapshot_segment *s = NULL;
    struct snapshot_fault fault = {0};
    int fd = memfd_of(&b, b.n, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
    mem_fail_from(1);
    assert_int_equal(snapshot_segment_map(fd, b.n, SNAPSHOT_SEALED, &s, &fault), E_NOMEM);
    assert_int_equal(snapshot_segment_borrow(b.p, b.n, &s, &fault), E_NOMEM);
    mem_fail_from(0);
    assert_null(s);
    (void)close(fd);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_map_refuses_what_is_no_file),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_checksum_of_many_blocks),
        cmocka_unit_test(test_every_byte_damaged),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_shard_sizes),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
