/* cli/guise, cli/complete: the program by the name it is called by, and what kubectl is told when
 * it asks for completions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/args.h"
#include "cli/complete.h"
#include "cli/help.h"

#include <string.h>

enum { PAGE_BYTES = 1 << 20, WORDS_MAX = 8 };

static void a_name_is_the_last_part_of_a_path(void **state)
{
    static const struct {
        const char *argv0, *name;
        bool is_completing;
    } cases[] = {
        {"lintel",                    "lintel",         false},
        {"build/lintel",              "lintel",         false},
        {"/proc/self/exe",            "lintel",         false},
        {"",                          "lintel",         false},
        {"kubectl-lintel",            "kubectl lintel", false},
        {"/usr/bin/kubectl-lintel",   "kubectl lintel", false},
        {"kubectl-lintel/lintel",     "lintel",         false},
        {"kubectl-lintel2",           "lintel",         false},
        {"./kubectl_complete-lintel", "kubectl lintel", true },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct cli_guise *g = cli_guise_of(cases[i].argv0);
        assert_string_equal(g->name, cases[i].name);
        assert_int_equal(g->is_completing, cases[i].is_completing);
    }
}

static void the_plugin_has_what_users_need(void **state)
{
    (void)state;
    const struct cli_guise *lintel = cli_guise_of("lintel"),
                           *plugin = cli_guise_of("kubectl-lintel");
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        const struct cli_command *c = &cli_commands[i];
        assert_true(cli_guise_has(lintel, c));
        assert_int_equal(cli_guise_shows(lintel, c), !c->is_hidden);
        assert_int_equal(cli_guise_has(plugin, c), !c->is_hidden && i != CLI_run);
    }
}

/* Every example must begin so: help puts the other name in its place. */
static void examples_begin_with_lintel(void **state)
{
    (void)state;
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        for (const struct cli_example *e = cli_commands[i].example; e->line != NULL; e++) {
            assert_memory_equal(e->line, "lintel ", 7);
        }
    }
}

static void help_says_what_the_user_types(void **state)
{
    (void)state;
    for (size_t i = 0; i <= CLI_COMMANDS_N; i++) {
        struct buf b;
        buf_init(&b, PAGE_BYTES);
        cli_help_emit(&b, cli_guise_of("kubectl-lintel"),
                      i < CLI_COMMANDS_N ? &cli_commands[i] : NULL);
        buf_add_char(&b, 0);
        assert_false(b.bad);
        assert_memory_equal(b.p, "Usage: kubectl lintel ", 22);
        assert_null(strstr(b.p, "\n  lintel "));
        assert_true(i < CLI_COMMANDS_N || strstr(b.p, "\n  run") == NULL);
        buf_fini(&b);
    }
}

static void complain(struct buf *error, const char *program, const char *word)
{
    char *argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)word};
    struct cli_args args;
    buf_init(error, CLI_ERROR_BYTES_MAX);
    assert_int_equal(cli_args_parse(&args, 2, argv, error), E_PROTO);
    buf_add_char(error, 0);
}

static void complaints_say_what_the_user_types(void **state)
{
    struct buf error;
    (void)state;
    complain(&error, "kubectl-lintel", "explian");
    assert_non_null(strstr(error.p, "kubectl lintel: there is no command 'explian'"));
    assert_non_null(strstr(error.p, "did you mean 'kubectl lintel explain'?"));
    buf_fini(&error);
    complain(&error, "kubectl-lintel", "run");
    assert_non_null(strstr(error.p, "there is no command 'run'"));
    buf_fini(&error);
    complain(&error, "kubectl-lintel", "controller");
    buf_fini(&error);
    complain(&error, "kubectl-lintel", "explain");
    assert_non_null(
        strstr(error.p, "kubectl lintel explain: URL is missing: kubectl lintel explain"));
    buf_fini(&error);
}

/* words: separated by blanks; a blank at the end means that nothing of the next word is typed. */
static void ask(struct buf *out, const char *words)
{
    static char text[256];
    char *argv[WORDS_MAX];
    size_t n = 0;
    assert_true(strlen(words) < sizeof(text));
    (void)strncpy(text, words, sizeof(text) - 1);
    argv[n++] = text;
    for (char *p = text; *p != 0; p++) {
        if (*p == ' ') {
            *p = 0;
            assert_true(n < WORDS_MAX);
            argv[n++] = p + 1;
        }
    }
    buf_init(out, PAGE_BYTES);
    cli_complete_emit(out, cli_guise_of("kubectl_complete-lintel"), argv, n);
    buf_add_char(out, 0);
    assert_false(out->bad);
}

static void completions(void **state)
{
    static const struct {
        const char *words, *begin, *end;
    } cases[] = {
        {"",                     "check\t",              "\n:4\n"},
        {"ex",                   "explain\t",            "\n:4\n"},
        {"run",                  ":4\n",                 ":4\n"  },
        {"con",                  ":4\n",                 ":4\n"  },
        {"explain --serv",       "--server\t",           "\n:4\n"},
        {"explain --",           "--manifests\t",        "\n:4\n"},
        {"explain -o ",          "text\t\njson\t\n:4\n", ":4\n"  },
        {"explain --output j",   "json\t\n:4\n",         ":4\n"  },
        {"explain --server ",    ":4\n",                 ":4\n"  },
        {"explain --manifests ", ":16\n",                ":16\n" },
        {"explain ",             ":4\n",                 ":4\n"  },
        {"check ",               ":0\n",                 ":0\n"  },
        {"check --strict x",     ":0\n",                 ":0\n"  },
        {"run --snapshot-file ", ":4\n",                 ":4\n"  },
        {"nonsense ",            ":4\n",                 ":4\n"  },
        {"explain --nonsense x", ":4\n",                 ":4\n"  },
        {"explain --server= ",   ":4\n",                 ":4\n"  },
        {"explain - -",          "--",                   "\n:4\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out;
        size_t n = strlen(cases[i].end);
        ask(&out, cases[i].words);
        assert_memory_equal(out.p, cases[i].begin, strlen(cases[i].begin));
        assert_true(out.n > n);
        assert_string_equal(out.p + out.n - 1 - n, cases[i].end);
        buf_fini(&out);
    }
}

static void nothing_typed_at_all(void **state)
{
    struct buf out;
    (void)state;
    buf_init(&out, PAGE_BYTES);
    cli_complete_emit(&out, cli_guise_of("kubectl_complete-lintel"), NULL, 0);
    assert_true(str_has_prefix(buf_str(&out), STR("check\t")));
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_the_last_part_of_a_path),
        cmocka_unit_test(the_plugin_has_what_users_need),
        cmocka_unit_test(examples_begin_with_lintel),
        cmocka_unit_test(help_says_what_the_user_types),
        cmocka_unit_test(complaints_say_what_the_user_types),
        cmocka_unit_test(completions),
        cmocka_unit_test(nothing_typed_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
