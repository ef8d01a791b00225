/* The hash table against a naive model, with hashes that collide on purpose; the hash function,
 * whose values the snapshot stores. */
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

enum { KEYS = 300, ROUNDS = 60000 };

struct item {
    int key;
    uint64_t hash;
};

static bool item_eq(const void *value, const void *key)
{
    return ((const struct item *)value)->key == *(const int *)key;
}

static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void check_all(const struct map *m, struct item *items, const bool *is_in)
{
    size_t n = 0, seen_n = 0;
    for (int k = 0; k < KEYS; k++) {
        void *found = map_get(m, items[k].hash, item_eq, &k);
        assert_ptr_equal(found, is_in[k] ? &items[k] : NULL);
        n += is_in[k];
    }
    map_each(slot, m)
    {
        const struct item *item = slot->value;
        assert_true(is_in[item->key] && slot->hash == item->hash);
        seen_n++;
    }
    assert_int_equal(m->n, n);
    assert_int_equal(seen_n, n);
    assert_true(m->n <= m->cap - m->cap / 4);
}

/* mask: how many different hashes there are; 0 puts all keys into one run. */
static void run_model(uint64_t mask, uint64_t top)
{
    static struct item items[KEYS];
    bool is_in[KEYS] = {false};
    uint64_t seed = 0x853c49e6748fea9bU ^ mask;
    struct map m;
    map_init(&m);
    for (int k = 0; k < KEYS; k++) {
        items[k] = (struct item){k, (random_next(&seed) & mask) | top};
    }
    for (int round = 0; round < ROUNDS; round++) {
        int k = (int)(random_next(&seed) % KEYS);
        bool is_growing = round / 2000 % 2 == 0; /* fill, then empty, again and again */
        if (!is_in[k] && (is_growing || random_next(&seed) % 4 == 0)) {
            assert_int_equal(map_add(&m, items[k].hash, &items[k]), E_OK);
            is_in[k] = true;
        } else if (!is_growing || random_next(&seed) % 4 == 0) {
            assert_int_equal(map_del(&m, items[k].hash, &items[k]), is_in[k]);
            is_in[k] = false;
        }
        if (round % 500 == 0) {
            check_all(&m, items, is_in);
        }
    }
    check_all(&m, items, is_in);
    map_fini(&m);
    assert_int_equal(m.cap, 0);
}

static void random_operations(void **state)
{
    (void)state;
    run_model(UINT64_MAX, 0);
    run_model(0xff, 0);
    run_model(0x3, 0);
    run_model(0, 0);
    run_model(0, UINT64_MAX); /* all at home in the last slot: runs wrap around */
    run_model(0x7, 0x1f8);
}

static void an_empty_map(void **state)
{
    (void)state;
    struct map m;
    int key = 1;
    map_init(&m);
    assert_null(map_get(&m, 5, item_eq, &key));
    assert_false(map_del(&m, 5, &key));
    map_each(slot, &m)
    {
        fail();
    }
    map_fini(&m);
}

static void equal_ones_may_be_added_twice(void **state)
{
    (void)state;
    struct item a = {1, 7}, b = {1, 7};
    struct map m;
    map_init(&m);
    assert_int_equal(map_add(&m, 7, &a), E_OK);
    assert_int_equal(map_add(&m, 7, &b), E_OK);
    assert_true(map_del(&m, 7, &a)); /* that very one */
    assert_ptr_equal(map_get(&m, 7, item_eq, &b.key), &b);
    assert_false(map_del(&m, 7, &a));
    map_fini(&m);
}

static void replacing(void **state)
{
    (void)state;
    struct item a = {1, 7}, b = {2, 7}, c = {1, 7};
    struct map m;
    map_init(&m);
    assert_int_equal(map_add(&m, 7, &a), E_OK);
    assert_int_equal(map_add(&m, 7, &b), E_OK);
    map_replace(&m, 7, &a, &c);
    assert_int_equal(m.n, 2);
    assert_ptr_equal(map_get(&m, 7, item_eq, &c.key), &c);
    assert_ptr_equal(map_get(&m, 7, item_eq, &b.key), &b);
    map_fini(&m);
}

static void reserved_room_cannot_fail(void **state)
{
    (void)state;
    static struct item items[KEYS];
    struct map m;
    map_init(&m);
    assert_int_equal(map_reserve(&m, KEYS), E_OK);
    mem_fail_from(1);
    for (int k = 0; k < KEYS; k++) {
        items[k] = (struct item){k, (uint64_t)k};
        assert_int_equal(map_add(&m, items[k].hash, &items[k]), E_OK);
    }
    mem_fail_from(0);
    assert_int_equal(map_reserve(&m, SIZE_MAX), E_NOMEM);
    assert_int_equal(map_reserve(&m, SIZE_MAX / 4), E_NOMEM);
    assert_int_equal(m.n, KEYS);
    map_fini(&m);
}

static void memory_runs_out(void **state)
{
    (void)state;
    static struct item items[KEYS];
    for (size_t nth = 1; nth <= 4; nth++) { /* 16, 32, 64, 128 slots */
        struct map m;
        int added_n = 0;
        map_init(&m);
        mem_fail_from(nth);
        for (int k = 0; k < KEYS; k++) {
            items[k] = (struct item){k, (uint64_t)k};
            if (map_add(&m, items[k].hash, &items[k]) != E_OK) {
                break;
            }
            added_n++;
        }
        mem_fail_from(0);
        assert_int_equal(added_n, nth == 1 ? 0 : 12 << (nth - 2));
        assert_int_equal(m.n, added_n); /* what was there is intact */
        for (int k = 0; k < KEYS; k++) {
            assert_ptr_equal(map_get(&m, (uint64_t)k, item_eq, &k), k < added_n ? &items[k] : NULL);
        }
        map_fini(&m);
    }
}

/* Published values of XXH3 with seed 0: they are part of the snapshot's format. */
static void hash_values_are_fixed(void **state)
{
    (void)state;
    assert_true(hash_bytes("", 0) == 0x2d06800538d394c2U);
    assert_true(hash_str(STR("shop.example.com")) == hash_bytes("shop.example.com", 16));
    assert_true(hash_str(STR("a")) != hash_str(STR("b")));
    assert_true(hash_str((struct str){NULL, 0}) == hash_str(STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations),
        cmocka_unit_test(an_empty_map),
        cmocka_unit_test(equal_ones_may_be_added_twice),
        cmocka_unit_test(replacing),
        cmocka_unit_test(reserved_room_cannot_fail),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(hash_values_are_fixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
