/* A command line to values: one pass over argv, driven by the tables. */
#include "cli/args.h"

#include "base/nearest.h"
#include "cli/value.h"

struct parser {
    struct cli_args *args;
    char **argv;
    int argc, at;
    struct buf *error;
};

/* "lintel run: " */
static void say_command(const struct parser *p)
{
    const struct cli_command *c = p->args->command;
    buf_addf(p->error, "%s%s%s: ", p->args->guise->name, c == NULL ? "" : " ",
             c == NULL ? "" : c->name);
}

static void say_see_help(const struct parser *p)
{
    const struct cli_command *c = p->args->command;
    buf_addf(p->error, "\n'%s %s%s--help' lists what there is", p->args->guise->name,
             c == NULL ? "" : c->name, c == NULL ? "" : " ");
}

static enum err fail_unknown_command(struct parser *p, struct str word)
{
    const struct cli_guise *g = p->args->guise;
    struct nearest n = nearest_make(word);
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        if (cli_guise_shows(g, &cli_commands[i])) {
            nearest_offer(&n, str_from_cstr(cli_commands[i].name));
        }
    }
    buf_addf(p->error, "%s: there is no command '%.*s'", g->name, STR_ARG(word));
    if (n.best.n > 0) {
        buf_addf(p->error, "; did you mean '%s %.*s'?", g->name, STR_ARG(n.best));
    }
    say_see_help(p);
    return E_PROTO;
}

/* Which other commands know an option of that name. */
static void say_where_known(struct parser *p, struct str name)
{
    const struct cli_guise *g = p->args->guise;
    const char *glue = "; it is an option of ";
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        if (cli_guise_shows(g, &cli_commands[i]) &&
            cli_option_find(&cli_commands[i], name) != NULL) {
            buf_addf(p->error, "%s%s %s", glue, g->name, cli_commands[i].name);
            glue = ", ";
        }
    }
}

static enum err fail_unknown_option(struct parser *p, struct str name)
{
    struct nearest n = nearest_make(name);
    size_t before;
    for (size_t i = 0; i < CLI_OPTIONS_N; i++) {
        if (cli_option_is_in(&cli_options[i], p->args->command)) {
            nearest_offer(&n, str_from_cstr(cli_options[i].name));
        }
    }
    say_command(p);
    buf_addf(p->error, "there is no option --%.*s", STR_ARG(name));
    before = p->error->n;
    say_where_known(p, name);
    if (p->error->n == before && n.best.n > 0) {
        buf_addf(p->error, "; did you mean --%.*s?", STR_ARG(n.best));
    }
    say_see_help(p);
    return E_PROTO;
}

static enum err fail_option(struct parser *p, const struct cli_option *o, const char *what)
{
    say_command(p);
    buf_addf(p->error, "--%s: %s", o->name, what);
    return E_PROTO;
}

static enum err add_field(struct parser *p, const struct cli_option *o, struct str text)
{
    struct cli_args *a = p->args;
    if (a->field_n == CLI_FIELDS_MAX) {
        return fail_option(p, o, "given too often");
    }
    a->fields[a->field_n++] = text;
    return E_OK;
}

/* Sets option o to text, which the user wrote. */
static enum err set_option(struct parser *p, const struct cli_option *o, struct str text)
{
    struct cli_value *v = &p->args->values[o - cli_options];
    size_t before = p->error->n;

    if (v->is_given && o->type != CLI_FIELD) {
        return fail_option(p, o, "given twice; only one value can hold");
    }
    say_command(p);
    buf_addf(p->error, "--%s is \"%.*s\": ", o->name, STR_ARG(text));
    TRY(cli_value_parse(o, text, &v->number, p->error));
    p->error->n = before;
    v->is_given = true;
    v->text = text;
    return o->type == CLI_FIELD ? add_field(p, o, text) : E_OK;
}

/* Sets o to what follows it: attached (has_value) or the next word. */
static enum err take_value(struct parser *p, const struct cli_option *o, bool has_value,
                           struct str value)
{
    if (has_value) {
        return set_option(p, o, value);
    }
    if (o->type == CLI_FLAG) {
        return set_option(p, o, STR("true"));
    }
    if (p->at == p->argc) {
        say_command(p);
        buf_addf(p->error, "--%s needs a value: --%s %s", o->name, o->name, o->argument);
        return E_PROTO;
    }
    return set_option(p, o, str_from_cstr(p->argv[p->at++]));
}

/* word is what stands behind "--". */
static enum err parse_long(struct parser *p, struct str word)
{
    struct str name, value;
    bool has_value = str_cut(word, '=', &name, &value);
    const struct cli_option *o = cli_option_find(p->args->command, name);
    if (o == NULL) {
        return fail_unknown_option(p, name);
    }
    return take_value(p, o, has_value, value);
}

/* word is what stands behind "-", at least one byte: -oVALUE, -o VALUE, -h. */
static enum err parse_short(struct parser *p, struct str word)
{
    const struct cli_option *o = cli_option_find_letter(p->args->command, word.p[0]);
    if (o == NULL || (o->type == CLI_FLAG && word.n > 1)) {
        if (cli_option_find(p->args->command, word) != NULL) {
            say_command(p);
            buf_addf(p->error, "-%.*s needs two dashes: --%.*s", STR_ARG(word), STR_ARG(word));
            return E_PROTO;
        }
        say_command(p);
        buf_addf(p->error, "there is no option -%.*s", STR_ARG(word));
        say_see_help(p);
        return E_PROTO;
    }
    return take_value(p, o, word.n > 1, str_from(word, 1));
}

/* Options anywhere; what is none is moved to the front of argv. */
static enum err parse_words(struct parser *p)
{
    struct cli_args *a = p->args;
    bool has_options_ended = false;
    a->arguments = p->argv + p->at;
    while (p->at < p->argc && !cli_flag(a, CLI_OPT_help)) {
        char *word = p->argv[p->at++];
        struct str s = str_from_cstr(word);
        if (has_options_ended || s.n < 2 || s.p[0] != '-') {
            a->arguments[a->argument_n++] = word;
        } else if (str_eq(s, STR("--"))) {
            has_options_ended = true;
        } else if (s.p[1] == '-') {
            TRY(parse_long(p, str_from(s, 2)));
        } else {
            TRY(parse_short(p, str_from(s, 1)));
        }
    }
    return E_OK;
}

static enum err check_arguments(struct parser *p)
{
    const struct cli_args *a = p->args;
    const struct cli_command *c = a->command;
    if (cli_flag(a, CLI_OPT_help) ||
        (a->argument_n >= c->argument_low && a->argument_n <= c->argument_high)) {
        return E_OK;
    }
    say_command(p);
    if (a->argument_n < c->argument_low) {
        buf_addf(p->error, "%s is missing: %s %s %s", c->arguments, a->guise->name, c->name,
                 c->arguments);
    } else {
        buf_addf(p->error, "'%s' is one argument too many", a->arguments[c->argument_high]);
        say_see_help(p);
    }
    return E_PROTO;
}

static enum err set_fallbacks(struct parser *p)
{
    for (size_t i = 0; i < CLI_OPTIONS_N; i++) {
        const struct cli_option *o = &cli_options[i];
        struct cli_value *v = &p->args->values[i];
        if (!v->is_given) {
            v->text = str_from_cstr(o->fallback);
        }
        if (!v->is_given && v->text.n > 0) {
            TRY(cli_value_parse(o, v->text, &v->number, p->error));
        }
    }
    return E_OK;
}

/* lintel, lintel --help, lintel --version, lintel COMMAND. */
static enum err parse_command(struct parser *p)
{
    const struct cli_guise *g = p->args->guise;
    if (p->at == p->argc) {
        buf_addf(p->error, "%s: a command is missing", g->name);
        say_see_help(p);
        return E_PROTO;
    }
    struct str word = str_from_cstr(p->argv[p->at++]);
    if (str_eq(word, STR("--help")) || str_eq(word, STR("-h")) || str_eq(word, STR("help"))) {
        p->args->values[CLI_OPT_help].number = 1;
        if (p->at == p->argc) {
            return E_OK;
        }
        word = str_from_cstr(p->argv[p->at]); /* "lintel help run" */
    } else if (str_eq(word, STR("--version"))) {
        word = STR("version");
    }
    const struct cli_command *c = cli_command_find(word);
    if (c == NULL || !cli_guise_has(g, c)) {
        return fail_unknown_command(p, word);
    }
    p->args->command = c;
    return E_OK;
}

enum err cli_args_parse(struct cli_args *ret, int argc, char **argv, struct buf *error)
{
    struct parser p = {ret, argv, argc, argc > 0 ? 1 : 0, error};
    *ret = (struct cli_args){.guise = cli_guise_of(argc > 0 ? argv[0] : "")};
    TRY(parse_command(&p));
    if (cli_flag(ret, CLI_OPT_help)) {
        return E_OK;
    }
    TRY(parse_words(&p));
    TRY(check_arguments(&p));
    return set_fallbacks(&p);
}
