/* cli/args.h: a command line to values, with precise errors.
 * Every mistake says which option, what was given, what would be right. Nothing is ignored: an
 * unknown option, a surplus argument and an option given twice are errors. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "cli/guise.h"

enum { CLI_FIELDS_MAX = 64, CLI_ERROR_BYTES_MAX = 4096 };

struct cli_value {
    bool is_given;
    struct str text; /* as given, or the fallback; NUL-terminated */
    uint64_t number; /* PORT, COUNT; DURATION in microseconds; CHOICE: its index; FLAG: 0 or 1 */
};

struct cli_args {
    const struct cli_guise *guise;     /* by the name of the program */
    const struct cli_command *command; /* NULL: none was named (lintel --help) */
    struct cli_value values[CLI_OPTIONS_N];
    struct str fields[CLI_FIELDS_MAX]; /* the values of the option of type FIELD */
    size_t field_n;
    char **arguments; /* points into argv, which is reordered */
    size_t argument_n;
};

/* argv[0] is the program's name. Borrows argv and reorders it. On E_PROTO error holds one or two
 * lines for the user, without the final line end; with --help the rest of the line is not checked.
 */
enum err cli_args_parse(struct cli_args *ret, int argc, char **argv, struct buf *error);

static inline bool cli_flag(const struct cli_args *a, enum cli_option_id id)
{
    return a->values[id].number != 0;
}

static inline uint64_t cli_number(const struct cli_args *a, enum cli_option_id id)
{
    return a->values[id].number;
}

static inline struct str cli_text(const struct cli_args *a, enum cli_option_id id)
{
    return a->values[id].text;
}

static inline bool cli_is_given(const struct cli_args *a, enum cli_option_id id)
{
    return a->values[id].is_given;
}
