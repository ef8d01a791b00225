/* cli/table.h: the commands and options of lintel as data. Everything users see of them is derived
 * from these tables: parsing (args.h), --help (help.h), manual pages (man.h), completions
 * (completion.h). A new option is one line of options.def; a new command one entry of table.c.
 * Strings are static. */
#pragma once

#include "base/limits.h"
#include "base/str.h"

enum cli_command_id {
    CLI_run,
    CLI_check,
    CLI_explain,
    CLI_status,
    CLI_backends,
    CLI_certs,
    CLI_dump,
    CLI_top,
    CLI_version,
    CLI_generate,   /* hidden: manual pages and completions */
    CLI_controller, /* hidden: how the supervisor starts the controller */
    CLI_COMMANDS_N
};

enum cli_type {
    CLI_FLAG, /* --x, --x=true, --x=false */
    CLI_STRING,
    CLI_DIRECTORY,
    CLI_FILE,
    CLI_PORT,
    CLI_COUNT,
    CLI_DURATION, /* 10s, 500ms, 1m30s; a bare number is seconds */
    CLI_SIZE,     /* bytes: 4096, 8k, 1m, 2g */
    CLI_CHOICE,
    CLI_ADDRESS,   /* an IP address */
    CLI_HOST_PORT, /* 127.0.0.1:10254, [::1]:10254 */
    CLI_BIND,      /* the same, or :8443 for every address, where port 0 takes any free one */
    CLI_OBJECT,    /* namespace/name */
    CLI_NAMESPACE, /* the name of one */
    CLI_PREFIXES,  /* address prefixes: 10.0.0.0/8,2001:db8::/32 */
    CLI_PATHS,     /* /a,/b/c: as routes are compared with; may be empty */
    CLI_TOKEN,     /* an HTTP token: RFC 9110 section 5.6.2 */
    CLI_FIELD,     /* 'Name: value'; may be given several times */
    CLI_TYPES_N
};

enum cli_option_id {
#define OPTION(id, letter, name, type, argument, fallback, low, high, commands, help) CLI_OPT_##id,
#include "cli/options.def"
#undef OPTION
    CLI_OPTIONS_N
};

struct cli_option {
    char letter; /* 0: none */
    const char *name;
    enum cli_type type;
    const char *argument; /* "" for a flag */
    const char *fallback; /* "" = none */
    uint64_t low, high;
    uint32_t commands; /* bit 1 << enum cli_command_id */
    const char *help;
};

struct cli_example {
    const char *line, *meaning;
};

struct cli_command {
    const char *name;
    const char *arguments; /* "[FILE]"; "" = takes none */
    uint32_t argument_low, argument_high;
    bool is_hidden;
    const char *summary;           /* one sentence */
    const char *description;       /* paragraphs, an empty line between two */
    const char *exits;             /* lines "0 when all is well", for the manual */
    struct cli_example example[4]; /* up to the first without a line */
};

enum { CLI_ARGUMENTS_MAX = 4096 };

extern const struct cli_option cli_options[CLI_OPTIONS_N];
extern const struct cli_command cli_commands[CLI_COMMANDS_N];

bool cli_option_is_in(const struct cli_option *o, const struct cli_command *c);
/* NULL when there is none. */
const struct cli_command *cli_command_find(struct str name);
/* By long name among the options of c; NULL when there is none. */
const struct cli_option *cli_option_find(const struct cli_command *c, struct str name);
const struct cli_option *cli_option_find_letter(const struct cli_command *c, char letter);
