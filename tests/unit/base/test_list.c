/* The intrusive list. */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 5 };

struct item {
    int number;
    struct list link;
};

static void check(struct list *head, const int *want, int n)
{
    int i = 0;
    list_each(it, head)
    {
        assert_true(i < n);
        assert_int_equal(container_of(it, struct item, link)->number, want[i]);
        assert_ptr_equal(it->next->prev, it);
        assert_ptr_equal(it->prev->next, it);
        i++;
    }
    assert_int_equal(i, n);
    assert_int_equal(list_is_empty(head), n == 0);
}

static void order(void **state)
{
    (void)state;
    struct list head;
    struct item items[NODES] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
    list_init(&head);
    check(&head, NULL, 0);
    list_append(&head, &items[1].link);
    list_append(&head, &items[2].link);
    list_push(&head, &items[0].link);
    list_append(&head, &items[3].link);
    check(&head, (const int[]){0, 1, 2, 3}, 4);
    list_del(&items[2].link);
    check(&head, (const int[]){0, 1, 3}, 3);
    assert_ptr_equal(list_pop(&head), &items[0].link);
    assert_false(list_is_linked(&items[0].link));
    check(&head, (const int[]){1, 3}, 2);
    (void)list_pop(&head);
    (void)list_pop(&head);
    assert_null(list_pop(&head));
}

static void a_node_knows_whether_it_is_linked(void **state)
{
    (void)state;
    struct list head;
    struct item zeroed = {0};
    list_init(&head);
    assert_false(list_is_linked(&zeroed.link));
    list_del(&zeroed.link); /* safe */
    assert_false(list_is_linked(&zeroed.link));
    list_del(&zeroed.link);
    list_append(&head, &zeroed.link);
    assert_true(list_is_linked(&zeroed.link));
    list_del(&zeroed.link);
    assert_false(list_is_linked(&zeroed.link));
    assert_true(list_is_empty(&head));
}

static void the_body_may_unlink_and_free(void **state)
{
    (void)state;
    struct list head;
    list_init(&head);
    for (int i = 0; i < NODES; i++) {
        struct item *item = calloc(1, sizeof(*item));
        assert_non_null(item);
        item->number = i;
        list_append(&head, &item->link);
    }
    int sum = 0;
    list_each(it, &head)
    {
        struct item *item = container_of(it, struct item, link);
        sum += item->number;
        list_del(it);
        free(item);
    }
    assert_int_equal(sum, 10);
    assert_true(list_is_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order),
        cmocka_unit_test(a_node_knows_whether_it_is_linked),
        cmocka_unit_test(the_body_may_unlink_and_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
