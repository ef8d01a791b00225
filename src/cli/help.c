/* --help from the tables. */
#include "cli/help.h"

enum { COLUMNS = 80, OPTION_INDENT = 8, COMMAND_INDENT = 12 };

static void pad(struct buf *out, size_t n)
{
    for (; n > 0; n--) {
        buf_add_char(out, ' ');
    }
}

/* Words of one paragraph, each line indented; the cursor stands at column at. */
static void emit_wrapped(struct buf *out, struct str text, size_t indent, size_t at)
{
    struct str word;
    bool is_first = true;
    while (text.n > 0) {
        (void)str_cut(text, ' ', &word, &text); /* the last one has no blank behind it */
        if (!is_first && at + 1 + word.n > COLUMNS) {
            buf_add_char(out, '\n');
            pad(out, indent);
            at = indent;
        } else if (!is_first) {
            buf_add_char(out, ' ');
            at++;
        }
        buf_add_str(out, word);
        at += word.n;
        is_first = false;
    }
    buf_add_char(out, '\n');
}

static void emit_paragraphs(struct buf *out, struct str text)
{
    struct str line;
    while (text.n > 0) {
        (void)str_cut(text, '\n', &line, &text); /* the last one has no line end behind it */
        emit_wrapped(out, line, 0, 0);
    }
}

static void emit_default(struct buf *text, const struct cli_option *o)
{
    if (o->fallback[0] != 0) {
        buf_addf(text, " Default: %s.", o->fallback);
    }
}

static void emit_option(struct buf *out, struct buf *scratch, const struct cli_option *o)
{
    buf_add_str(out, STR("  "));
    if (o->letter != 0) {
        buf_addf(out, "-%c, ", o->letter);
    }
    buf_addf(out, "--%s%s%s\n", o->name, o->argument[0] != 0 ? " " : "", o->argument);
    buf_reset(scratch);
    buf_add_str(scratch, str_from_cstr(o->help));
    emit_default(scratch, o);
    pad(out, OPTION_INDENT);
    emit_wrapped(out, buf_str(scratch), OPTION_INDENT, OPTION_INDENT);
}

static void emit_options(struct buf *out, const struct cli_command *c)
{
    struct buf scratch;
    buf_init(&scratch, (size_t)COLUMNS * COLUMNS);
    buf_add_str(out, STR("\nOptions:\n"));
    for (size_t i = 0; i < CLI_OPTIONS_N; i++) {
        if (cli_option_is_in(&cli_options[i], c)) {
            emit_option(out, &scratch, &cli_options[i]);
        }
    }
    out->bad = out->bad || scratch.bad;
    buf_fini(&scratch);
}

/* Examples begin with "lintel", which is then what the user types. */
static void emit_examples(struct buf *out, const struct cli_guise *g, const struct cli_command *c)
{
    if (c->example[0].line == NULL) {
        return;
    }
    buf_add_str(out, STR("\nExamples:\n"));
    for (const struct cli_example *e = c->example; e->line != NULL; e++) {
        buf_addf(out, "  %s%s\n", g->name, e->line + sizeof("lintel") - 1);
        pad(out, OPTION_INDENT);
        emit_wrapped(out, str_from_cstr(e->meaning), OPTION_INDENT, OPTION_INDENT);
    }
}

static void emit_command(struct buf *out, const struct cli_guise *g, const struct cli_command *c)
{
    buf_addf(out, "Usage: %s %s [OPTION...]%s%s\n\n", g->name, c->name,
             c->arguments[0] != 0 ? " " : "", c->arguments);
    emit_wrapped(out, str_from_cstr(c->summary), 0, 0);
    buf_add_char(out, '\n');
    emit_paragraphs(out, str_from_cstr(c->description));
    emit_options(out, c);
    emit_examples(out, g, c);
    buf_add_str(out, STR("\nExit status:\n"));
    struct str rest = str_from_cstr(c->exits), line;
    while (rest.n > 0) {
        (void)str_cut(rest, '\n', &line, &rest); /* as above */
        buf_addf(out, "  %.*s\n", STR_ARG(line));
    }
}

static void emit_overview(struct buf *out, const struct cli_guise *g)
{
    buf_addf(out, "Usage: %s COMMAND [OPTION...] [ARGUMENT...]\n\n", g->name);
    buf_add_str(out, STR("A Kubernetes ingress controller, with its own proxy.\n\nCommands:\n"));
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        const struct cli_command *c = &cli_commands[i];
        if (cli_guise_shows(g, c)) {
            size_t n = str_from_cstr(c->name).n;
            buf_addf(out, "  %s", c->name);
            pad(out, COMMAND_INDENT - 2 - n);
            emit_wrapped(out, str_from_cstr(c->summary), COMMAND_INDENT, COMMAND_INDENT);
        }
    }
    buf_addf(out, "\n'%s COMMAND --help' explains a command, 'man lintel-COMMAND' too.\n", g->name);
}

void cli_help_emit(struct buf *out, const struct cli_guise *g, const struct cli_command *c)
{
    if (c == NULL) {
        emit_overview(out, g);
    } else {
        emit_command(out, g, c);
    }
}
