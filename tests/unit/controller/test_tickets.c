/* Keys of tickets that nobody brings: when a new one comes and how long the old ones stay. */
#include "controller/tickets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool is_same(const struct snap_ticket_key *a, const struct snap_ticket_key *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static void test_a_new_one_comes_in_time(void **state)
{
    struct tickets t = {0};
    bool is_new;
    (void)state;
    assert_int_equal(tickets_renew(&t, 5, &is_new), E_OK);
    assert_true(is_new);
    struct snap_ticket_key first = t.keys[0];
    assert_int_equal(t.n, 1);
    assert_int_equal(tickets_renew(&t, 4 + TICKETS_ROTATED, &is_new), E_OK);
    assert_false(is_new);
    assert_int_equal(tickets_renew(&t, 5 + TICKETS_ROTATED, &is_new), E_OK);
    assert_true(is_new);
    assert_int_equal(t.n, 2);
    assert_true(is_same(&t.keys[1], &first));
    assert_false(is_same(&t.keys[0], &first));
}

/* A ticket is good for a day at most: --ssl-session-timeout. */
static void test_the_oldest_makes_room_when_its_tickets_have_ended(void **state)
{
    struct tickets t = {0};
    bool is_new;
    usec_t now = 0;
    (void)state;
    assert_int_equal(tickets_renew(&t, now, &is_new), E_OK);
    struct snap_ticket_key first = t.keys[0];
    for (uint32_t i = 1; i < TICKETS_KEPT; i++) {
        now += TICKETS_ROTATED;
        assert_int_equal(tickets_renew(&t, now, &is_new), E_OK);
        assert_true(is_same(&t.keys[i], &first));
    }
    now += TICKETS_ROTATED;
    assert_true(now - TICKETS_ROTATED >= 86400 * USEC_PER_SEC); /* since it made the last one */
    assert_int_equal(tickets_renew(&t, now, &is_new), E_OK);
    assert_int_equal(t.n, TICKETS_KEPT);
    for (uint32_t i = 0; i < t.n; i++) {
        assert_false(is_same(&t.keys[i], &first));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_one_comes_in_time),
        cmocka_unit_test(test_the_oldest_makes_room_when_its_tickets_have_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
