/* The stream of secrets under a fake clock: keys come at once, go a while after nothing names them,
 * and keys of tickets are ours only where no Secret brings some. */
#include "controller/keyring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../lib/snapshot_make.h"
#include "../../lib/snapshot_tls.h"
#include "base/limits.h"
#include "base/mem.h"

static usec_t the_time;

usec_t clock_monotonic(void)
{
    return the_time;
}

usec_t clock_wall(void)
{
    return the_time;
}

usec_t clock_cpu(void)
{
    return the_time;
}

struct world {
    struct loop *loop;
    struct keyring keyring;
    struct stats_area *stats;
    int stats_fd;
    size_t due_n;
};

static void on_due(void *arg)
{
    struct world *w = arg;
    w->due_n++;
    assert_int_equal(keyring_commit(&w->keyring, false), E_OK);
}

static void on_due_of(void *keyring)
{
    assert_int_equal(keyring_commit(keyring, false), E_OK);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    the_time = 1000 * USEC_PER_SEC; /* the machine has just started */
    assert_int_equal(stats_create(1, &w->stats, &w->stats_fd), E_OK);
    const struct publish_options options = {.control_fd = -1, .stats = w->stats};
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(keyring_init(&w->keyring, w->loop, &options, on_due, w), E_OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    keyring_fini(&w->keyring);
    stats_close(w->stats);
    close(w->stats_fd);
    loop_free(w->loop);
    free(w);
    return 0;
}

/* So many seconds pass, one after the other. */
static void pass(struct world *w, usec_t seconds)
{
    for (usec_t i = 0; i < seconds; i++) {
        the_time += USEC_PER_SEC;
        assert_int_equal(loop_step(w->loop, 0), E_OK);
    }
}

static const char *key_name(char c)
{
    static char text[MAKE_KEY_NAME_BYTES + 1];
    memset(text, c, MAKE_KEY_NAME_BYTES);
    return text;
}

static enum err add(struct world *w, struct buf *b)
{
    enum err e = keyring_add(&w->keyring, snap_at(b, 0, const struct snap_shard));
    buf_fini(b);
    return e;
}

static void add_key(struct world *w, char c, const char *bytes)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    assert_int_equal(make_key(&b, key_name(c), str_from_cstr(bytes)), E_OK);
    assert_int_equal(add(w, &b), E_OK);
}

static void drop(struct world *w, enum snap_kind kind, const char *key)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    snap_shard_deleted(&b, kind, str_from_cstr(key));
    assert_int_equal(snap_shard_end(&b), E_OK);
    assert_int_equal(add(w, &b), E_OK);
}

static void drop_key(struct world *w, char c)
{
    drop(w, SNAP_KEY, key_name(c));
}

static void add_tickets(struct world *w, const char *keys)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    assert_int_equal(make_tickets(&b, (const uint8_t *)keys, (uint32_t)strlen(keys)), E_OK);
    assert_int_equal(add(w, &b), E_OK);
}

static void commit(struct world *w)
{
    assert_int_equal(keyring_commit(&w->keyring, false), E_OK);
}

/* What the workers have; NULL: nothing of that key. */
static const struct snap_shard *find(const struct world *w, enum snap_kind kind, const char *key)
{
    struct str s = str_from_cstr(key);
    const struct snapshot_entry *e =
        snapshot_find(publish_state(w->keyring.publish), kind, s, hash_str(s));
    return e == NULL ? NULL : e->shard;
}

static bool has_key(const struct world *w, char c, const char *bytes)
{
    const struct snap_shard *s = find(w, SNAP_KEY, key_name(c));
    return s != NULL && str_eq(snap_str_get(s, ((const struct snap_key *)(const void *)s)->key),
                               str_from_cstr(bytes));
}

static const struct snap_tickets *tickets(const struct world *w)
{
    return (const void *)find(w, SNAP_TICKETS, "");
}

/* ---- keys ---- */

static void keys_come_at_once_and_go_later(void **state)
{
    struct world *w = *state;
    add_key(w, 'a', "first");
    add_key(w, 'b', "second");
    commit(w);
    assert_true(has_key(w, 'a', "first") && has_key(w, 'b', "second"));
    drop_key(w, 'a');
    commit(w);
    pass(w, SECRET_KEPT / USEC_PER_SEC - 1);
    assert_true(has_key(w, 'a', "first")); /* who is behind may still need it */
    assert_int_equal(w->due_n, 0);
    pass(w, 12);
    assert_false(has_key(w, 'a', "first"));
    assert_true(has_key(w, 'b', "second"));
    assert_int_equal(w->due_n, 1);
}

/* Each in its own time; the second one must not go with the first. */
static void each_goes_in_its_own_time(void **state)
{
    struct world *w = *state;
    add_key(w, 'a', "first");
    add_key(w, 'b', "second");
    commit(w);
    drop_key(w, 'a');
    pass(w, 30);
    drop_key(w, 'b');
    pass(w, 41);
    assert_false(has_key(w, 'a', "first"));
    assert_true(has_key(w, 'b', "second"));
    pass(w, 31);
    assert_false(has_key(w, 'b', "second"));
    assert_int_equal(w->due_n, 2);
    pass(w, 200);
    assert_int_equal(w->due_n, 2);
}

static void one_that_comes_back_stays(void **state)
{
    struct world *w = *state;
    add_key(w, 'a', "first");
    commit(w);
    drop_key(w, 'a');
    pass(w, 30);
    add_key(w, 'a', "first");
    commit(w);
    pass(w, 200);
    assert_true(has_key(w, 'a', "first"));
    assert_int_equal(w->due_n, 0);
    drop_key(w, 'a'); /* told twice: the last time counts */
    pass(w, 30);
    drop_key(w, 'a');
    pass(w, 41);
    assert_true(has_key(w, 'a', "first"));
    pass(w, 31);
    assert_false(has_key(w, 'a', "first"));
    assert_int_equal(w->due_n, 1);
}

static void what_is_left_is_freed(void **state)
{
    struct world *w = *state;
    add_key(w, 'a', "first");
    commit(w);
    drop_key(w, 'a'); /* and the keyring ends before its time: see the sanitizer */
    assert_false(list_is_empty(&w->keyring.retired));
    struct keyring nothing = {0};
    keyring_fini(&nothing);
}

/* ---- tickets ---- */

static struct snap_ticket_key first_key(const struct world *w)
{
    const struct snap_tickets *t = tickets(w);
    return *(const struct snap_ticket_key *)snap_array_get(t, t->keys);
}

static bool is_same(const struct snap_ticket_key *a, const struct snap_ticket_key *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static void there_are_some_from_the_beginning(void **state)
{
    struct world *w = *state;
    commit(w);
    assert_non_null(tickets(w));
    assert_int_equal(tickets(w)->keys.n, 1);
    struct snap_ticket_key first = first_key(w);
    pass(w, TICKETS_ROTATED / USEC_PER_SEC - 20);
    assert_int_equal(tickets(w)->keys.n, 1);
    assert_int_equal(w->due_n, 0);
    pass(w, 40);
    assert_int_equal(w->due_n, 1);
    assert_int_equal(tickets(w)->keys.n, 2);
    struct snap_ticket_key second = first_key(w);
    assert_false(is_same(&first, &second));
    const struct snap_ticket_key *keys = snap_array_get(tickets(w), tickets(w)->keys);
    assert_true(is_same(&keys[1], &first)); /* still opens what it has made */
}

static void those_of_a_secret_come_first(void **state)
{
    struct world *w = *state;
    commit(w);
    struct snap_ticket_key ours = first_key(w);
    add_tickets(w, "AB");
    commit(w);
    assert_int_equal(tickets(w)->keys.n, 2);
    assert_int_equal(first_key(w).name[0], 'A');
    pass(w, TICKETS_ROTATED / USEC_PER_SEC + 20); /* they change when their owner changes them */
    assert_int_equal(first_key(w).name[0], 'A');
    assert_int_equal(w->due_n, 0);
    add_tickets(w, "C");
    commit(w);
    assert_int_equal(first_key(w).name[0], 'C');
    drop(w, SNAP_TICKETS, ""); /* the Secret is gone */
    commit(w);
    struct snap_ticket_key now = first_key(w);
    assert_true(is_same(&now, &ours));
    pass(w, 20); /* which were due meanwhile */
    assert_int_equal(tickets(w)->keys.n, 2);
    now = first_key(w);
    assert_false(is_same(&now, &ours));
}

/* ---- memory ---- */

/* Nothing is lost: what fails is tried again. */
static void when_memory_is_out(void **state)
{
    struct world *w = *state;
    struct keyring k;
    const struct publish_options options = {.control_fd = -1, .stats = w->stats};
    enum err e = E_NOMEM;
    size_t nth = 1;
    for (; nth < 100 && e != E_OK; nth++) {
        mem_fail_from(nth);
        e = keyring_init(&k, w->loop, &options, on_due_of, &k);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
        if (e == E_OK) { /* then there was none for its tickets */
            pass(w, 20);
            assert_non_null(snapshot_find(publish_state(k.publish), SNAP_TICKETS, STR_EMPTY,
                                          hash_str(STR_EMPTY)));
        }
        keyring_fini(&k);
    }
    assert_int_equal(e, E_OK);
    add_key(w, 'a', "first");
    commit(w);
    struct buf b;
    buf_init(&b, 1 << 16);
    snap_shard_deleted(&b, SNAP_KEY, str_from_cstr(key_name('a')));
    assert_int_equal(snap_shard_end(&b), E_OK);
    mem_fail_from(1);
    e = keyring_add(&w->keyring, snap_at(&b, 0, const struct snap_shard));
    mem_fail_from(0);
    assert_int_equal(e, E_NOMEM);
    assert_int_equal(add(w, &b), E_OK);
    pass(w, SECRET_KEPT / USEC_PER_SEC - 10);
    mem_fail_from(1);
    for (int i = 0; i < 30; i++) { /* it is time, and there is no memory to say so */
        the_time += USEC_PER_SEC;
        (void)loop_step(w->loop, 0);
    }
    mem_fail_from(0);
    assert_true(has_key(w, 'a', "first"));
    pass(w, 11);
    assert_false(has_key(w, 'a', "first"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(keys_come_at_once_and_go_later),
        TEST(each_goes_in_its_own_time),
        TEST(one_that_comes_back_stays),
        TEST(what_is_left_is_freed),
        TEST(there_are_some_from_the_beginning),
        TEST(those_of_a_secret_come_first),
        TEST(when_memory_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
