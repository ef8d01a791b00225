/* Manual pages from the tables. */
#include "cli/man.h"

/* Text that roff shall not take for anything else; empty lines become paragraphs. */
static void emit_text(struct buf *out, struct str s)
{
    bool is_at_start = true;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (is_at_start && c == '\n') {
            buf_add_str(out, STR(".PP"));
        } else if (is_at_start && (c == '.' || c == '\'')) {
            buf_add_str(out, STR("\\&"));
        }
        if (c == '\\') {
            buf_add_str(out, STR("\\e"));
        } else if (c == '-') {
            buf_add_str(out, STR("\\-"));
        } else {
            buf_add_char(out, c);
        }
        is_at_start = c == '\n';
    }
}

static void emit_cstr(struct buf *out, const char *s)
{
    emit_text(out, str_from_cstr(s));
}

static void emit_section(struct buf *out, const char *title)
{
    buf_addf(out, ".SH %s\n", title);
}

static void emit_line(struct buf *out, const char *s)
{
    emit_cstr(out, s);
    buf_add_char(out, '\n');
}

static void emit_option(struct buf *out, const struct cli_option *o)
{
    buf_add_str(out, STR(".TP\n"));
    if (o->letter != 0) {
        buf_addf(out, "\\fB\\-%c\\fR, ", o->letter);
    }
    buf_add_str(out, STR("\\fB\\-\\-"));
    emit_cstr(out, o->name);
    buf_add_str(out, STR("\\fR"));
    if (o->argument[0] != 0) {
        buf_add_str(out, STR(" \\fI"));
        emit_cstr(out, o->argument);
        buf_add_str(out, STR("\\fR"));
    }
    buf_add_char(out, '\n');
    emit_line(out, o->help);
    if (o->fallback[0] != 0) {
        buf_add_str(out, STR("Default: "));
        emit_cstr(out, o->fallback);
        buf_add_str(out, STR(".\n"));
    }
}

static void emit_examples(struct buf *out, const struct cli_command *c)
{
    if (c->example[0].line == NULL) {
        return;
    }
    emit_section(out, "EXAMPLES");
    for (const struct cli_example *e = c->example; e->line != NULL; e++) {
        buf_add_str(out, STR(".TP\n\\fB"));
        emit_cstr(out, e->line);
        buf_add_str(out, STR("\\fR\n"));
        emit_line(out, e->meaning);
    }
}

static void emit_exits(struct buf *out, const char *exits)
{
    struct str rest = str_from_cstr(exits), line, number;
    emit_section(out, "EXIT STATUS");
    while (rest.n > 0) {
        (void)str_cut(rest, '\n', &line, &rest);  /* the last one has no line end behind it */
        (void)str_cut(line, ' ', &number, &line); /* "0 when all is well" */
        buf_addf(out, ".TP\n%.*s\n", STR_ARG(number));
        emit_text(out, line);
        buf_add_char(out, '\n');
    }
}

/* The name behind "lintel-" in upper case is what man(7) shows in the corner. */
static void emit_title(struct buf *out, const char *name)
{
    buf_add_str(out, STR(".TH LINTEL"));
    for (const char *p = name; *p != 0; p++) {
        buf_add_char(out, *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p);
    }
    buf_add_str(out, STR(" 1 \"\" \"Lintel " LINTEL_VERSION "\" \"User Commands\"\n"));
}

static void emit_command(struct buf *out, const struct cli_command *c)
{
    struct buf name;
    buf_init(&name, 64);
    buf_addf(&name, "-%s%c", c->name, 0);
    if (name.bad) {
        out->bad = true;
        buf_fini(&name);
        return;
    }
    emit_title(out, name.p);
    buf_fini(&name);
    emit_section(out, "NAME");
    buf_addf(out, "lintel\\-%s \\- ", c->name);
    emit_line(out, c->summary);
    emit_section(out, "SYNOPSIS");
    buf_addf(out, "\\fBlintel %s\\fR [\\fIOPTION\\fR...] ", c->name);
    emit_line(out, c->arguments);
    emit_section(out, "DESCRIPTION");
    emit_line(out, c->description);
    emit_section(out, "OPTIONS");
    for (size_t i = 0; i < CLI_OPTIONS_N; i++) {
        if (cli_option_is_in(&cli_options[i], c)) {
            emit_option(out, &cli_options[i]);
        }
    }
    emit_examples(out, c);
    emit_exits(out, c->exits);
    emit_section(out, "SEE ALSO");
    buf_add_str(out, STR(".BR lintel (1)\n"));
}

static void emit_overview(struct buf *out)
{
    const char *glue = "";
    emit_title(out, "");
    emit_section(out, "NAME");
    buf_add_str(out, STR("lintel \\- Kubernetes ingress controller, with its own proxy\n"));
    emit_section(out, "SYNOPSIS");
    buf_add_str(out, STR("\\fBlintel\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...] "
                         "[\\fIARGUMENT\\fR...]\n"));
    emit_section(out, "DESCRIPTION");
    buf_add_str(out, STR("Lintel takes Ingresses, Services and EndpointSlices and serves HTTP by "
                         "them.\nIts commands:\n"));
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        if (!cli_commands[i].is_hidden) {
            buf_addf(out, ".TP\n\\fBlintel\\-%s\\fR(1)\n", cli_commands[i].name);
            emit_line(out, cli_commands[i].summary);
        }
    }
    emit_section(out, "SEE ALSO");
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        if (!cli_commands[i].is_hidden) {
            buf_addf(out, "%s.BR lintel\\-%s (1)", glue, cli_commands[i].name);
            glue = ",\n";
        }
    }
    buf_add_char(out, '\n');
}

void cli_man_emit(struct buf *out, const struct cli_command *c)
{
    if (c == NULL) {
        emit_overview(out);
    } else {
        emit_command(out, c);
    }
}
