/* cli/help, cli/man, cli/completion: everything that is derived from the tables names every option
 * and every command, and nothing that is hidden. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/completion.h"
#include "cli/help.h"
#include "cli/man.h"

#include <string.h>

enum { PAGE_BYTES = 1 << 20, COLUMNS = 80 };

typedef void emit_fn(struct buf *out, const struct cli_command *c);

static void start(struct buf *b, emit_fn *emit, const struct cli_command *c)
{
    buf_init(b, PAGE_BYTES);
    emit(b, c);
    assert_false(b->bad);
    assert_true(b->n > 0 && b->p[b->n - 1] == '\n');
    buf_add_char(b, 0);
}

static void help_emit(struct buf *out, const struct cli_command *c)
{
    cli_help_emit(out, cli_guise_of("lintel"), c);
}

static void help_names_every_option(void **state)
{
    (void)state;
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        struct buf b;
        start(&b, help_emit, &cli_commands[i]);
        assert_memory_equal(b.p, "Usage: lintel ", 14);
        for (size_t o = 0; o < CLI_OPTIONS_N; o++) {
            char name[64] = "  --";
            strncat(name, cli_options[o].name, sizeof(name) - 8);
            strncat(name, cli_options[o].argument[0] != 0 ? " " : "\n", 2);
            bool is_named = strstr(b.p, name + 2) != NULL;
            assert_int_equal(is_named, cli_option_is_in(&cli_options[o], &cli_commands[i]));
        }
        buf_fini(&b);
    }
}

static void help_fits_a_terminal(void **state)
{
    (void)state;
    for (size_t i = 0; i <= CLI_COMMANDS_N; i++) {
        struct buf b;
        start(&b, help_emit, i < CLI_COMMANDS_N ? &cli_commands[i] : NULL);
        struct str rest = str_make(b.p, b.n - 1), line;
        while (str_cut(rest, '\n', &line, &rest)) {
            assert_true(line.n <= COLUMNS);
            assert_true(line.n == 0 || line.p[line.n - 1] != ' ');
        }
        buf_fini(&b);
    }
}

static void overviews_hide_what_is_hidden(void **state)
{
    emit_fn *const emits[] = {help_emit, cli_man_emit};
    (void)state;
    for (size_t e = 0; e < 2; e++) {
        struct buf b;
        start(&b, emits[e], NULL);
        for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
            if (!cli_commands[i].is_hidden) {
                assert_non_null(strstr(b.p, cli_commands[i].name));
            } else {
                assert_null(strstr(b.p, cli_commands[i].summary));
            }
        }
        buf_fini(&b);
    }
}

static void manuals_have_their_sections(void **state)
{
    static const char *const sections[] = {"NAME",    "SYNOPSIS",    "DESCRIPTION",
                                           "OPTIONS", "EXIT STATUS", "SEE ALSO"};
    (void)state;
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        struct buf b;
        const char *at;
        start(&b, cli_man_emit, &cli_commands[i]);
        assert_memory_equal(b.p, ".TH LINTEL-", 11);
        at = b.p;
        for (size_t s = 0; s < sizeof(sections) / sizeof(sections[0]); s++) {
            char head[64] = "\n.SH ";
            strncat(head, sections[s], sizeof(head) - 8);
            at = strstr(at, head); /* in this order */
            assert_non_null(at);
        }
        buf_fini(&b);
    }
}

/* A line of text that begins with a dot would be taken for a request. */
static void manuals_are_escaped(void **state)
{
    static const char *const requests[] = {".TH", ".SH", ".TP", ".PP", ".BR"};
    (void)state;
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        struct buf b;
        start(&b, cli_man_emit, &cli_commands[i]);
        struct str rest = str_make(b.p, b.n - 1), line;
        while (str_cut(rest, '\n', &line, &rest)) {
            assert_true(line.n > 0); /* an empty line is a paragraph by accident */
            bool is_known = line.p[0] != '.';
            for (size_t r = 0; r < sizeof(requests) / sizeof(requests[0]); r++) {
                is_known = is_known || str_has_prefix(line, str_from_cstr(requests[r]));
            }
            assert_true(is_known && line.p[0] != '\'');
        }
        assert_null(strstr(b.p, "--")); /* written as \-\- */
        buf_fini(&b);
    }
}

static void completions_name_every_option(void **state)
{
    (void)state;
    for (int shell = CLI_BASH; shell <= CLI_FISH; shell++) {
        struct buf b;
        buf_init(&b, PAGE_BYTES);
        cli_completion_emit(&b, (enum cli_shell)shell);
        assert_false(b.bad);
        buf_add_char(&b, 0);
        for (size_t o = 0; o < CLI_OPTIONS_N; o++) {
            assert_non_null(strstr(b.p, cli_options[o].name));
        }
        for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
            assert_true(cli_commands[i].is_hidden || strstr(b.p, cli_commands[i].name) != NULL);
        }
        assert_null(strstr(b.p, "controller)")); /* no case for it */
        assert_null(strstr(b.p, "seen_subcommand_from controller"));
        buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_names_every_option),
        cmocka_unit_test(help_fits_a_terminal),
        cmocka_unit_test(overviews_hide_what_is_hidden),
        cmocka_unit_test(manuals_have_their_sections),
        cmocka_unit_test(manuals_are_escaped),
        cmocka_unit_test(completions_name_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
