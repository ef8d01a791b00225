/* cli/grid: widths, cuts, colours, what is not printable, and memory that runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/mem.h"
#include "cli/grid.h"

enum { OUT_BYTES_MAX = 1 << 20 };

static const char *const heads[] = {"NAME", "STATE", "WHY"};

static void assert_text(struct grid *g, size_t indent, bool has_color, const char *wanted)
{
    struct buf out;
    buf_init(&out, OUT_BYTES_MAX);
    grid_emit(&out, g, indent, has_color);
    buf_add_char(&out, 0);
    assert_false(out.bad);
    assert_string_equal(out.p, wanted);
    buf_fini(&out);
    grid_fini(g);
}

static void columns_are_aligned(void **state)
{
    struct grid g;
    (void)state;
    grid_init(&g, heads, 3);
    grid_add(&g, GRID_PLAIN, STR("a-long-name"));
    grid_add(&g, GRID_PLAIN, STR("ok"));
    grid_add(&g, GRID_PLAIN, STR_EMPTY);
    grid_addf(&g, GRID_PLAIN, "b%d", 2);
    grid_add(&g, GRID_PLAIN, STR("not ready"));
    grid_add(&g, GRID_PLAIN, STR("x"));
    assert_text(&g, 2, false,
                "  NAME         STATE      WHY\n"
                "  a-long-name  ok         -\n"
                "  b2           not ready  x\n");
}

static void nothing_comes_of_no_rows(void **state)
{
    struct grid g;
    (void)state;
    grid_init(&g, heads, 3);
    assert_text(&g, 0, true, "");
}

static void colours_come_around_the_text_only(void **state)
{
    static const char *const two[] = {"A", "B"};
    struct grid g;
    (void)state;
    grid_init(&g, two, 2);
    grid_add(&g, GRID_BAD, STR("no"));
    grid_add(&g, GRID_GOOD, STR("yes"));
    assert_text(&g, 0, true,
                "\033[1mA\033[0m   \033[1mB\033[0m\n\033[31mno\033[0m  \033[32myes\033[0m\n");
}

static void a_name_cannot_move_the_cursor(void **state)
{
    static const char *const one[] = {"A"};
    struct grid g;
    (void)state;
    grid_init(&g, one, 1);
    grid_add(&g, GRID_PLAIN, STR("x\033[2J\n\xc3\xa4"));
    assert_text(&g, 0, false, "A\nx?[2J???\n");
}

static void long_cells_are_cut_but_for_the_last(void **state)
{
    static const char *const two[] = {"A", "B"};
    char text[GRID_WIDTH_MAX + 2];
    struct grid g;
    (void)state;
    memset(text, 'x', sizeof(text));
    for (size_t more = 0; more <= 1; more++) {
        struct buf out;
        buf_init(&out, OUT_BYTES_MAX);
        grid_init(&g, two, 2);
        grid_add(&g, GRID_PLAIN, str_make(text, GRID_WIDTH_MAX + more));
        grid_add(&g, GRID_PLAIN, str_make(text, sizeof(text)));
        grid_emit(&out, &g, 0, false);
        const char *row = memchr(out.p, '\n', out.n);
        assert_int_equal(row[GRID_WIDTH_MAX], more == 0 ? 'x' : '~');
        assert_true(str_has_suffix(buf_str(&out), STR("xx\n")));
        assert_int_equal(out.n - (size_t)(row + 1 - out.p), GRID_WIDTH_MAX + 2 + sizeof(text) + 1);
        buf_fini(&out);
        grid_fini(&g);
    }
}

static void memory_may_run_out(void **state)
{
    (void)state;
    for (size_t nth = 1;; nth++) {
        struct grid g;
        struct buf out;
        size_t before = mem_calls();
        buf_init(&out, OUT_BYTES_MAX);
        mem_fail_from(nth);
        grid_init(&g, heads, 3);
        grid_add(&g, GRID_PLAIN, STR("a"));
        grid_add(&g, GRID_PLAIN, STR("b"));
        grid_add(&g, GRID_PLAIN, STR("c"));
        grid_emit(&out, &g, 0, false);
        bool has_failed = mem_calls() - before >= nth;
        mem_fail_from(0);
        assert_int_equal(out.bad, has_failed);
        buf_fini(&out);
        grid_fini(&g);
        if (!has_failed) {
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_aligned),
        cmocka_unit_test(nothing_comes_of_no_rows),
        cmocka_unit_test(colours_come_around_the_text_only),
        cmocka_unit_test(a_name_cannot_move_the_cursor),
        cmocka_unit_test(long_cells_are_cut_but_for_the_last),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
