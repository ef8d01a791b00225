/* cli/args: command lines to values, and what is said about wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/args.h"

#include <string.h>

enum { WORDS_MAX = 80, LINE_BYTES = 8192 };

struct line {
    char text[LINE_BYTES];
    char *argv[WORDS_MAX];
    int argc;
    struct cli_args args;
    struct buf error;
    enum err e;
};

/* Parses words separated by '|'. */
static void parse(struct line *l, const char *words)
{
    char *rest = l->text;
    *l = (struct line){0};
    must(str_to_cstr(str_from_cstr(words), l->text, sizeof(l->text)));
    while (rest != NULL) {
        l->argv[l->argc++] = strsep(&rest, "|");
    }
    buf_init(&l->error, CLI_ERROR_BYTES_MAX);
    l->e = cli_args_parse(&l->args, l->argc, l->argv, &l->error);
    buf_add_char(&l->error, 0);
}

static void finish(struct line *l)
{
    buf_fini(&l->error);
}

static void options_in_every_form(void **state)
{
    struct line l;
    (void)state;
    parse(&l, "lintel|run|--manifests|dir|--http-port=8080|--ingress-class-by-name|"
              "--watch-ingress-without-class=false|--drain-timeout|1m30s|--access-log|json");
    assert_int_equal(l.e, E_OK);
    assert_ptr_equal(l.args.command, &cli_commands[CLI_run]);
    assert_string_equal(cli_text(&l.args, CLI_OPT_manifests).p, "dir");
    assert_int_equal(cli_number(&l.args, CLI_OPT_http_port), 8080);
    assert_true(cli_flag(&l.args, CLI_OPT_ingress_class_by_name));
    assert_false(cli_flag(&l.args, CLI_OPT_watch_ingress_without_class));
    assert_true(cli_is_given(&l.args, CLI_OPT_watch_ingress_without_class));
    assert_int_equal(cli_number(&l.args, CLI_OPT_drain_timeout), 90 * USEC_PER_SEC);
    assert_int_equal(cli_number(&l.args, CLI_OPT_access_log), 1);
    finish(&l);
}

static void defaults(void **state)
{
    struct line l;
    (void)state;
    parse(&l, "lintel|run");
    assert_int_equal(l.e, E_OK);
    assert_int_equal(cli_number(&l.args, CLI_OPT_http_port), 80);
    assert_int_equal(cli_number(&l.args, CLI_OPT_healthz_port), 10254);
    assert_int_equal(cli_number(&l.args, CLI_OPT_workers), 0);
    assert_int_equal(cli_number(&l.args, CLI_OPT_drain_timeout), TIMEOUT_DRAIN);
    assert_int_equal(cli_number(&l.args, CLI_OPT_shutdown_grace_period), 0);
    assert_int_equal(cli_number(&l.args, CLI_OPT_access_log), 0);
    assert_int_equal(cli_number(&l.args, CLI_OPT_log_level), 2);
    assert_string_equal(cli_text(&l.args, CLI_OPT_ingress_class).p, "lintel");
    assert_string_equal(cli_text(&l.args, CLI_OPT_controller_class).p,
                        "lintel.dev/ingress-controller");
    assert_false(cli_is_given(&l.args, CLI_OPT_http_port));
    assert_int_equal(cli_text(&l.args, CLI_OPT_manifests).n, 0);
    finish(&l);
}

static void arguments_and_options_mix(void **state)
{
    struct line l;
    (void)state;
    parse(&l, "lintel|check|a|-o|json|b|-ojson");
    assert_int_equal(l.e, E_PROTO); /* given twice */
    finish(&l);
    parse(&l, "lintel|check|a|-ojson|b|--|--strict|-");
    assert_int_equal(l.e, E_OK);
    assert_int_equal(l.args.argument_n, 4);
    assert_string_equal(l.args.arguments[0], "a");
    assert_string_equal(l.args.arguments[1], "b");
    assert_string_equal(l.args.arguments[2], "--strict");
    assert_string_equal(l.args.arguments[3], "-");
    assert_false(cli_flag(&l.args, CLI_OPT_strict));
    finish(&l);
}

static void fields_may_come_several_times(void **state)
{
    struct line l;
    (void)state;
    parse(&l, "lintel|explain|-H|Host: a|--header=X: b|-X|POST|/");
    assert_int_equal(l.e, E_OK);
    assert_int_equal(l.args.field_n, 2);
    assert_string_equal(l.args.fields[0].p, "Host: a");
    assert_string_equal(l.args.fields[1].p, "X: b");
    assert_string_equal(cli_text(&l.args, CLI_OPT_request).p, "POST");
    finish(&l);
}

static void fields_have_a_maximum(void **state)
{
    char words[4096] = "lintel|explain|/";
    struct line l;
    (void)state;
    for (int i = 0; i < CLI_FIELDS_MAX; i++) {
        strncat(words, "|-Ha: b", sizeof(words) - strlen(words) - 1);
    }
    parse(&l, words);
    assert_int_equal(l.e, E_OK);
    finish(&l);
    strncat(words, "|-Ha: b", sizeof(words) - strlen(words) - 1);
    parse(&l, words);
    assert_int_equal(l.e, E_PROTO);
    assert_non_null(strstr(l.error.p, "too often"));
    finish(&l);
}

static void help_stops_the_checks(void **state)
{
    static const char *const lines[] = {
        "lintel|run|--help|--no-such-thing",
        "lintel|run|-h",
        "lintel|help|run",
        "lintel|explain|-h",
    };
    struct line l;
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        parse(&l, lines[i]);
        assert_int_equal(l.e, E_OK);
        assert_true(cli_flag(&l.args, CLI_OPT_help));
        assert_non_null(l.args.command);
        finish(&l);
    }
    parse(&l, "lintel|--help");
    assert_int_equal(l.e, E_OK);
    assert_null(l.args.command);
    finish(&l);
}

static void version_is_an_option_too(void **state)
{
    struct line l;
    (void)state;
    parse(&l, "lintel|--version");
    assert_int_equal(l.e, E_OK);
    assert_ptr_equal(l.args.command, &cli_commands[CLI_version]);
    finish(&l);
}

/* Each mistake, and words that the message must have. */
static void mistakes_are_told_precisely(void **state)
{
    static const struct {
        const char *line, *words[3];
    } cases[] = {
        {"lintel",                                   {"command is missing", "--help"}                            },
        {"lintel|chekc",                             {"no command 'chekc'", "did you mean 'lintel check'?"}      },
        {"lintel|controlle",                         {"no command 'controlle'"}                                  },
        {"lintel|help|nothing-like-it",              {"no command 'nothing-like-it'"}                            },
        {"lintel|run|--htp-port|1",
         {"lintel run: there is no option --htp-port", "did you mean --http-port?",
          "lintel run --help"}                                                                                   },
        {"lintel|run|--strict",                      {"there is no option --strict", "an option of lintel check"}},
        {"lintel|run|-manifests|d",                  {"two dashes", "--manifests"}                               },
        {"lintel|run|-q",                            {"there is no option -q"}                                   },
        {"lintel|run|-hx",                           {"there is no option -hx"}                                  },
        {"lintel|run|--http-port",                   {"--http-port needs a value", "PORT"}                       },
        {"lintel|run|--http-port|x",
         {"--http-port is \"x\"", "a port is a number from 0 to 65535"}                                          },
        {"lintel|run|--http-port|65536",             {"65536", "0 to 65535"}                                     },
        {"lintel|run|--workers=0",                   {"--workers is \"0\"", "from 1 to 64"}                      },
        {"lintel|run|--ingress-class=",              {"--ingress-class is \"\""}                                 },
        {"lintel|run|--ingress-class-by-name=maybe", {"maybe", "true or false"}                                  },
        {"lintel|run|extra",                         {"'extra' is one argument too many"}                        },
        {"lintel|run|--manifests|a|--manifests|b",   {"--manifests: given twice"}                                },
        {"lintel|explain",                           {"URL is missing"}                                          },
        {"lintel|explain|a|b",                       {"'b' is one argument too many"}                            },
        {"lintel|version|-o|xml",                    {"--output is \"xml\"", "one of text, json"}                },
    };
    struct line l;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        parse(&l, cases[i].line);
        assert_int_equal(l.e, E_PROTO);
        for (size_t w = 0; w < 3 && cases[i].words[w] != NULL; w++) {
            if (strstr(l.error.p, cases[i].words[w]) == NULL) {
                fail_msg("%s: \"%s\" is not in \"%s\"", cases[i].line, cases[i].words[w],
                         l.error.p);
            }
        }
        finish(&l);
    }
}

/* As the supervisor starts it: the heritage, then the options that run passes on. */
static void the_controller_takes_what_run_passes_on(void **state)
{
    struct line l;
    (void)state;
    parse(&l, "lintel|controller|11|--manifests=x|--log-level=debug|--snapshot-file=f|"
              "--ingress-class=a|--default-backend-service=a/b");
    assert_int_equal(l.e, E_OK);
    assert_int_equal(l.args.argument_n, 1);
    assert_string_equal(l.args.arguments[0], "11");
    finish(&l);
}

static void hidden_commands_are_not_suggested(void **state)
{
    struct line l;
    (void)state;
    parse(&l, "lintel|generat");
    assert_null(strstr(l.error.p, "generate"));
    finish(&l);
}

/* The table itself: whatever is written into options.def and table.c must make sense. */
static void the_table_is_consistent(void **state)
{
    struct line l;
    (void)state;
    for (size_t i = 0; i < CLI_OPTIONS_N; i++) {
        const struct cli_option *o = &cli_options[i];
        struct str help = str_from_cstr(o->help);
        assert_true(o->commands != 0);
        assert_true(help.n > 10 && help.p[help.n - 1] == '.');
        assert_int_equal(o->argument[0] == 0, o->type == CLI_FLAG);
        assert_true(o->type != CLI_FLAG || o->fallback[0] == 0 ||
                    str_eq(str_from_cstr(o->fallback), STR("true")));
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(o->name, cli_options[k].name);
            assert_true(o->letter == 0 || o->letter != cli_options[k].letter);
        }
    }
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        const struct cli_command *c = &cli_commands[i];
        assert_true(c->name[0] != 0 && c->summary[0] != 0 && c->description[0] != 0);
        assert_true(c->exits[0] != 0 && c->argument_low <= c->argument_high);
        assert_int_equal(c->arguments[0] == 0, c->argument_high == 0);
        assert_ptr_equal(cli_command_find(str_from_cstr(c->name)), c);
    }
    /* Fallbacks are values that would be taken. */
    parse(&l, "lintel|run");
    assert_int_equal(l.e, E_OK);
    finish(&l);
}

/* The examples of help are command lines that parse. */
static void the_examples_parse(void **state)
{
    struct line l;
    char words[256];
    (void)state;
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        for (const struct cli_example *e = cli_commands[i].example; e->line != NULL; e++) {
            must(str_to_cstr(str_from_cstr(e->line), words, sizeof(words)));
            for (char *p = words; *p != 0; p++) {
                *p = *p == ' ' ? '|' : *p;
            }
            parse(&l, words);
            assert_int_equal(l.e, E_OK);
            assert_ptr_equal(l.args.command, &cli_commands[i]);
            finish(&l);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_in_every_form),
        cmocka_unit_test(defaults),
        cmocka_unit_test(arguments_and_options_mix),
        cmocka_unit_test(fields_may_come_several_times),
        cmocka_unit_test(fields_have_a_maximum),
        cmocka_unit_test(help_stops_the_checks),
        cmocka_unit_test(version_is_an_option_too),
        cmocka_unit_test(mistakes_are_told_precisely),
        cmocka_unit_test(the_controller_takes_what_run_passes_on),
        cmocka_unit_test(hidden_commands_are_not_suggested),
        cmocka_unit_test(the_table_is_consistent),
        cmocka_unit_test(the_examples_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
