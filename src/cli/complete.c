/* Answers to kubectl's question, from the tables. Source: ShellCompDirective of
 * https://pkg.go.dev/github.com/spf13/cobra, which kubectl and its plugins share. */
#include "cli/complete.h"

#include "cli/completion.h"

enum directive {
    DIRECTIVE_FILES = 0,
    DIRECTIVE_NO_FILES = 4,
    DIRECTIVE_FOLDERS = 16,
};

/* lead and word together are one possibility, when what was typed is how they begin. */
static void offer(struct buf *out, struct str typed, const char *lead, struct str word,
                  const char *meaning)
{
    size_t before = out->n;
    buf_addf(out, "%s%.*s", lead, STR_ARG(word));
    if (!out->bad && !str_has_prefix(str_from(buf_str(out), before), typed)) {
        out->n = before;
        return;
    }
    buf_addf(out, "\t%s\n", meaning);
}

static enum directive complete_command(struct buf *out, const struct cli_guise *g, struct str typed)
{
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        if (cli_guise_shows(g, &cli_commands[i])) {
            offer(out, typed, "", str_from_cstr(cli_commands[i].name), cli_commands[i].summary);
        }
    }
    return DIRECTIVE_NO_FILES;
}

static enum directive complete_option(struct buf *out, const struct cli_command *c,
                                      struct str typed)
{
    for (size_t i = 0; i < CLI_OPTIONS_N; i++) {
        if (cli_option_is_in(&cli_options[i], c)) {
            offer(out, typed, "--", str_from_cstr(cli_options[i].name), cli_options[i].help);
        }
    }
    return DIRECTIVE_NO_FILES;
}

static enum directive complete_value(struct buf *out, const struct cli_option *o, struct str typed)
{
    struct str rest = str_from_cstr(o->argument), word;
    if (o->type == CLI_FILE) {
        return DIRECTIVE_FILES;
    }
    if (o->type == CLI_DIRECTORY) {
        return DIRECTIVE_FOLDERS;
    }
    while (o->type == CLI_CHOICE && rest.n > 0) {
        (void)str_cut(rest, '|', &word, &rest); /* the last one has no bar behind it */
        offer(out, typed, "", word, "");
    }
    return DIRECTIVE_NO_FILES;
}

/* The option whose value comes next, when word is one that needs a value; or NULL. */
static const struct cli_option *option_waiting(const struct cli_command *c, struct str word)
{
    const struct cli_option *o = NULL;
    if (word.n > 2 && str_has_prefix(word, STR("--"))) {
        o = cli_option_find(c, str_from(word, 2));
    } else if (word.n == 2 && word.p[0] == '-') {
        o = cli_option_find_letter(c, word.p[1]);
    }
    return o != NULL && o->type != CLI_FLAG ? o : NULL;
}

static enum directive complete_word(struct buf *out, const struct cli_guise *g, char *const *words,
                                    size_t n)
{
    struct str typed = n > 0 ? str_from_cstr(words[n - 1]) : STR_EMPTY;
    if (n <= 1) {
        return complete_command(out, g, typed);
    }
    const struct cli_command *c = cli_command_find(str_from_cstr(words[0]));
    if (c == NULL || !cli_guise_has(g, c)) {
        return DIRECTIVE_NO_FILES;
    }
    const struct cli_option *o = option_waiting(c, str_from_cstr(words[n - 2]));
    if (o != NULL) {
        return complete_value(out, o, typed);
    }
    if (typed.n > 0 && typed.p[0] == '-') {
        return complete_option(out, c, typed);
    }
    return cli_completion_takes_files(c) ? DIRECTIVE_FILES : DIRECTIVE_NO_FILES;
}

void cli_complete_emit(struct buf *out, const struct cli_guise *g, char *const *words, size_t n)
{
    enum directive directive = complete_word(out, g, words, n);
    buf_addf(out, ":%d\n", (int)directive);
}
