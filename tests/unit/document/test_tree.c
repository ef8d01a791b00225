/* Trees: building, looking up, whole numbers. */
#include "document/tree.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct tree_node leaf(enum tree_kind kind, struct str text)
{
    return (struct tree_node){.p = text.p, .n = (uint32_t)text.n, .line = 1, .kind = (uint8_t)kind};
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        struct str text;
        bool is_good;
        int64_t value;
    } cases[] = {
        {STR_INIT("0"),                    true,  0        },
        {STR_INIT("80"),                   true,  80       },
        {STR_INIT("-7"),                   true,  -7       },
        {STR_INIT("+7"),                   true,  7        },
        {STR_INIT("0x1F"),                 true,  31       },
        {STR_INIT("0o17"),                 true,  15       },
        {STR_INIT("017"),                  true,  15       },
        {STR_INIT("0b101"),                true,  5        },
        {STR_INIT("1_000"),                true,  1000     },
        {STR_INIT("9223372036854775807"),  true,  INT64_MAX},
        {STR_INIT("9223372036854775808"),  false, 0        },
        {STR_INIT("-9223372036854775808"), true,  INT64_MIN},
        {STR_INIT("-9223372036854775809"), false, 0        },
        {STR_INIT("08"),                   false, 0        },
        {STR_INIT("1.0"),                  false, 0        },
        {STR_INIT("1e3"),                  false, 0        },
        {STR_INIT("0x"),                   false, 0        },
        {STR_INIT("-"),                    false, 0        },
        {STR_INIT(""),                     false, 0        },
        {STR_INIT(".inf"),                 false, 0        },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t value = 0;
        struct tree_node node = leaf(TREE_NUMBER, cases[i].text);
        assert_int_equal(tree_to_int(&node, &value), cases[i].is_good);
        assert_true(value == cases[i].value);
    }
    struct tree_node text = leaf(TREE_STRING, STR("80"));
    int64_t value;
    assert_false(tree_to_int(&text, &value));
}

/* {a: x, b: null, a: [y]} */
static enum err build(struct tree *t)
{
    TRY(tree_begin(t, TREE_MAPPING, 1));
    TRY(tree_add_scalar(t, leaf(TREE_STRING, STR("a"))));
    TRY(tree_add_scalar(t, leaf(TREE_STRING, STR("x"))));
    TRY(tree_add_scalar(t, leaf(TREE_STRING, STR("b"))));
    TRY(tree_add_scalar(t, leaf(TREE_NULL, STR("null"))));
    TRY(tree_add_scalar(t, leaf(TREE_STRING, STR("a"))));
    TRY(tree_begin(t, TREE_SEQUENCE, 2));
    TRY(tree_add_scalar(t, leaf(TREE_STRING, STR("y"))));
    TRY(tree_end(t));
    return tree_end(t);
}

static void building(void **state)
{
    (void)state;
    struct tree t;
    tree_init(&t);
    for (int round = 0; round < 2; round++) {
        assert_false(tree_is_complete(&t));
        assert_int_equal(build(&t), E_OK);
        assert_true(tree_is_complete(&t));
        const struct tree_node *root = tree_root(&t);
        assert_true(root->kind == TREE_MAPPING && root->n == 3 && root->height == 2);
        assert_int_equal(root->weight, 8);
        const struct tree_node *a = tree_get(root, STR("a"));
        assert_true(a != NULL && a->kind == TREE_SEQUENCE && a->n == 1 && a->line == 2);
        assert_true(str_eq(tree_text(tree_item(a, 0)), STR("y")));
        assert_true(str_eq(tree_text(tree_key(root, 1)), STR("b")));
        assert_int_equal(tree_value(root, 1)->kind, TREE_NULL);
        assert_null(tree_get(root, STR("b")));
        assert_null(tree_get(root, STR("c")));
        assert_null(tree_get(NULL, STR("a")));
        assert_null(tree_get(a, STR("a")));
        assert_int_equal(tree_get_string(root, STR("a")).n, 0);
        tree_reset(&t);
    }
    tree_fini(&t);
}

static void allocation_failures(void **state)
{
    (void)state;
    enum err e = E_NOMEM;
    for (size_t i = 1; e != E_OK; i++) {
        struct tree t;
        tree_init(&t);
        mem_fail_from(i);
        e = build(&t);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
        assert_true(e == E_NOMEM || i > 2);
        tree_fini(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(building),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
