/* Keys of tickets: from the bytes of a Secret to a shard that the verifier takes. */
#include "tls/ticket_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../lib/snapshot_make.h"

static void test_bytes_are_keys(void **state)
{
    char bytes[2 * TICKET_KEY_BYTES];
    struct snap_ticket_key keys[SNAP_TICKET_KEYS_MAX];
    uint32_t n;
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)i;
    }
    assert_int_equal(ticket_keys_parse(str_make(bytes, sizeof(bytes)), keys, &n), E_OK);
    assert_int_equal(n, 2);
    for (uint32_t i = 0; i < n; i++) {
        const char *p = bytes + (size_t)i * TICKET_KEY_BYTES;
        assert_memory_equal(keys[i].name, p, 16);
        assert_memory_equal(keys[i].mac, p + 16, 32);
        assert_memory_equal(keys[i].cipher, p + 48, 32);
    }
}

static void test_other_lengths_are_refused(void **state)
{
    static const char bytes[(SNAP_TICKET_KEYS_MAX + 1) * TICKET_KEY_BYTES];
    struct snap_ticket_key keys[SNAP_TICKET_KEYS_MAX];
    uint32_t n;
    (void)state;
    for (size_t i = 0; i <= sizeof(bytes); i++) {
        enum err wanted = i == 0 || i % TICKET_KEY_BYTES != 0           ? E_PROTO
                          : i / TICKET_KEY_BYTES > SNAP_TICKET_KEYS_MAX ? E_LIMIT
                                                                        : E_OK;
        assert_int_equal(ticket_keys_parse(str_make(bytes, i), keys, &n), wanted);
    }
}

static void test_the_shard(void **state)
{
    struct snap_ticket_key keys[SNAP_TICKET_KEYS_MAX];
    struct buf b, segment;
    struct snapshot_fault fault;
    (void)state;
    for (uint32_t i = 0; i < SNAP_TICKET_KEYS_MAX; i++) {
        assert_int_equal(ticket_key_make(&keys[i]), E_OK);
    }
    buf_init(&b, SNAPSHOT_SHARD_BYTES_MAX);
    buf_init(&segment, SNAPSHOT_SHARD_BYTES_MAX);
    assert_int_equal(ticket_keys_emit(&b, keys, SNAP_TICKET_KEYS_MAX), E_OK);
    const struct snap_shard *shard = snap_at(&b, 0, const struct snap_shard);
    assert_int_equal(snapshot_segment_write(&segment, &shard, 1, 0, 1), E_OK);
    struct snapshot_segment *opened = make_open(segment.p, segment.n, &fault);
    assert_non_null(opened);
    snapshot_segment_unref(opened);
    const struct snap_tickets *t = snap_at(&b, 0, const struct snap_tickets);
    assert_int_equal(t->keys.n, SNAP_TICKET_KEYS_MAX);
    assert_memory_equal(snap_array_get(t, t->keys), keys, sizeof(keys));
    buf_fini(&b);
    buf_fini(&segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_are_keys),
        cmocka_unit_test(test_other_lengths_are_refused),
        cmocka_unit_test(test_the_shard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
