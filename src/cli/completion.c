/* Completion scripts from the tables: what each command takes, and for each value what can be
 * completed: directories, files or the words of a choice. */
#include "cli/completion.h"

#include "cli/table.h"

typedef void each_option_fn(struct buf *out, const struct cli_command *c,
                            const struct cli_option *o);

static void each_option(struct buf *out, const struct cli_command *c, each_option_fn *fn)
{
    for (size_t i = 0; i < CLI_OPTIONS_N; i++) {
        if (cli_option_is_in(&cli_options[i], c)) {
            fn(out, c, &cli_options[i]);
        }
    }
}

bool cli_completion_takes_files(const struct cli_command *c)
{
    return c->argument_high > 0 && c != &cli_commands[CLI_explain];
}

/* "text json off" from "text|json|off". */
static void add_words(struct buf *out, const char *choices)
{
    for (const char *p = choices; *p != 0; p++) {
        buf_add_char(out, *p == '|' ? ' ' : *p);
    }
}

/* Text inside single quotes; a shell reads '\'' as one quote. extra: characters that get a
 * backslash besides. */
static void add_quoted(struct buf *out, const char *text, struct str extra)
{
    for (const char *p = text; *p != 0; p++) {
        if (*p == '\'') {
            buf_add_str(out, STR("'\\''"));
            continue;
        }
        if (str_find(extra, *p) < extra.n) {
            buf_add_char(out, '\\');
        }
        buf_add_char(out, *p);
    }
}

static void add_command_words(struct buf *out)
{
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        if (!cli_commands[i].is_hidden) {
            buf_addf(out, "%s%s", i > 0 ? " " : "", cli_commands[i].name);
        }
    }
}

/* ---- bash ---- */

static void bash_word(struct buf *out, const struct cli_command *c, const struct cli_option *o)
{
    (void)c;
    buf_addf(out, " --%s", o->name);
}

/* "--a|-b) COMPREPLY=(...); return ;;" for a value that can be completed. */
static void bash_value(struct buf *out, const struct cli_command *c, const struct cli_option *o)
{
    (void)c;
    if (o->type == CLI_FLAG) {
        return;
    }
    buf_addf(out, "            --%s", o->name);
    if (o->letter != 0) {
        buf_addf(out, "|-%c", o->letter);
    }
    buf_add_str(out, STR(") mapfile -t COMPREPLY < <(compgen "));
    if (o->type == CLI_CHOICE) {
        buf_add_str(out, STR("-W \""));
        add_words(out, o->argument);
        buf_add_char(out, '"');
    } else {
        buf_addf(out, "%s",
                 o->type == CLI_DIRECTORY ? "-d"
                 : o->type == CLI_FILE    ? "-f"
                                          : "-W \"\"");
    }
    buf_add_str(out, STR(" -- \"$cur\"); return ;;\n"));
}

static void bash_command(struct buf *out, const struct cli_command *c)
{
    buf_addf(out, "    %s)\n        case \"$prev\" in\n", c->name);
    each_option(out, c, bash_value);
    buf_add_str(out, STR("        esac\n        words=\""));
    each_option(out, c, bash_word);
    buf_addf(out, "\"\n        files=%s\n        ;;\n",
             cli_completion_takes_files(c) ? "yes" : "no");
}

static void emit_bash(struct buf *out)
{
    buf_add_str(out, STR("# bash completion for lintel; made by 'lintel generate completion bash'\n"
                         "_lintel()\n{\n"
                         "    local cur=\"${COMP_WORDS[COMP_CWORD]}\"\n"
                         "    local prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
                         "    local words=\"\" files=no\n"
                         "    COMPREPLY=()\n"
                         "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                         "        mapfile -t COMPREPLY < <(compgen -W \""));
    add_command_words(out);
    buf_add_str(out, STR("\" -- \"$cur\")\n        return\n    fi\n"
                         "    case \"${COMP_WORDS[1]}\" in\n"));
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        if (!cli_commands[i].is_hidden) {
            bash_command(out, &cli_commands[i]);
        }
    }
    buf_add_str(out, STR("    esac\n"
                         "    if [ \"$files\" = yes ] && [ \"${cur#-}\" = \"$cur\" ]; then\n"
                         "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
                         "    else\n"
                         "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
                         "    fi\n}\ncomplete -o filenames -F _lintel lintel\n"));
}

/* ---- zsh ---- */

/* "'--name[help]:DIR:_files -/'" as _arguments takes it. */
static void zsh_option(struct buf *out, const struct cli_command *c, const struct cli_option *o)
{
    (void)c;
    buf_add_str(out, STR(" \\\n            "));
    if (o->letter != 0) {
        buf_addf(out, "%s{-%c,--%s}'[", o->type == CLI_FIELD ? "'*'" : "", o->letter, o->name);
    } else {
        buf_addf(out, "'--%s[", o->name);
    }
    add_quoted(out, o->help, STR("[]:\\"));
    buf_add_char(out, ']');
    if (o->type != CLI_FLAG) {
        buf_add_char(out, ':');
        buf_addf(out, "%s:", o->type == CLI_CHOICE ? "value" : o->name);
    }
    if (o->type == CLI_CHOICE) {
        buf_add_char(out, '(');
        add_words(out, o->argument);
        buf_add_char(out, ')');
    } else if (o->type == CLI_DIRECTORY || o->type == CLI_FILE) {
        buf_add_str(out, o->type == CLI_FILE ? STR("_files") : STR("_files -/"));
    }
    buf_add_char(out, '\'');
}

static void emit_zsh(struct buf *out)
{
    buf_add_str(out, STR("#compdef lintel\n"
                         "# zsh completion for lintel; made by 'lintel generate completion zsh'\n"
                         "_lintel() {\n    local -a commands\n    commands=(\n"));
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        if (!cli_commands[i].is_hidden) {
            buf_addf(out, "        '%s:", cli_commands[i].name);
            add_quoted(out, cli_commands[i].summary, STR(":\\"));
            buf_add_str(out, STR("'\n"));
        }
    }
    buf_add_str(out, STR("    )\n    if (( CURRENT == 2 )); then\n"
                         "        _describe command commands\n        return\n    fi\n"
                         "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n"
                         "    case $command in\n"));
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        const struct cli_command *c = &cli_commands[i];
        if (!c->is_hidden) {
            buf_addf(out, "    %s)\n        _arguments", c->name);
            each_option(out, c, zsh_option);
            buf_addf(out, "%s ;;\n",
                     cli_completion_takes_files(c) ? " \\\n            '*:path:_files'" : "");
        }
    }
    buf_add_str(out, STR("    esac\n}\n_lintel \"$@\"\n"));
}

/* ---- fish ---- */

static void fish_option(struct buf *out, const struct cli_command *c, const struct cli_option *o)
{
    buf_addf(out, "complete -c lintel -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
    if (o->letter != 0) {
        buf_addf(out, " -s %c", o->letter);
    }
    if (o->type == CLI_CHOICE) {
        buf_add_str(out, STR(" -x -a '"));
        add_words(out, o->argument);
        buf_add_char(out, '\'');
    } else if (o->type == CLI_DIRECTORY) {
        buf_add_str(out, STR(" -x -a '(__fish_complete_directories)'"));
    } else if (o->type != CLI_FLAG) {
        buf_add_str(out, o->type == CLI_FILE ? STR(" -r -F") : STR(" -x"));
    }
    buf_add_str(out, STR(" -d '"));
    add_quoted(out, o->help, STR("\\"));
    buf_add_str(out, STR("'\n"));
}

static void emit_fish(struct buf *out)
{
    buf_add_str(out, STR("# fish completion for lintel; made by 'lintel generate completion fish'\n"
                         "complete -c lintel -f\n"));
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        const struct cli_command *c = &cli_commands[i];
        if (c->is_hidden) {
            continue;
        }
        buf_addf(out, "complete -c lintel -n __fish_use_subcommand -a %s -d '", c->name);
        add_quoted(out, c->summary, STR("\\"));
        buf_add_str(out, STR("'\n"));
        each_option(out, c, fish_option);
        if (cli_completion_takes_files(c)) {
            buf_addf(out, "complete -c lintel -n '__fish_seen_subcommand_from %s' -F\n", c->name);
        }
    }
}

void cli_completion_emit(struct buf *out, enum cli_shell shell)
{
    switch (shell) {
    case CLI_BASH:
        emit_bash(out);
        break;
    case CLI_ZSH:
        emit_zsh(out);
        break;
    case CLI_FISH:
        emit_fish(out);
        break;
    }
}
