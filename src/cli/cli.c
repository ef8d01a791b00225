/* The whole of main(): command line in, exit status out. */
#include "cli/commands.h"
#include "cli/complete.h"
#include "cli/help.h"
#include "cli/out.h"

#include <unistd.h>

static command_fn *find_command(enum cli_command_id id, command_fn *controller)
{
    switch (id) {
    case CLI_run:
        return command_run;
    case CLI_check:
        return command_check;
    case CLI_explain:
        return command_explain;
    case CLI_status:
        return command_status;
    case CLI_backends:
        return command_backends;
    case CLI_certs:
        return command_certs;
    case CLI_dump:
        return command_dump;
    case CLI_top:
        return command_top;
    case CLI_version:
        return command_version;
    case CLI_generate:
        return command_generate;
    case CLI_controller:
        return controller;
    case CLI_COMMANDS_N:
        break;
    }
    must(false); /* the parser gives one of these */
    return NULL;
}

static int show_help(const struct cli_args *a)
{
    struct buf out;
    buf_init(&out, CLI_OUT_BYTES_MAX);
    cli_help_emit(&out, a->guise, a->command);
    int status = out_result(&out);
    buf_fini(&out);
    return status;
}

static int complete(const struct cli_guise *g, int argc, char **argv)
{
    struct buf out;
    buf_init(&out, CLI_OUT_BYTES_MAX);
    cli_complete_emit(&out, g, argv + 1, (size_t)argc - 1);
    int status = out_result(&out);
    buf_fini(&out);
    return status;
}

int cli_main(int argc, char **argv, command_fn *controller)
{
    const struct cli_guise *g = cli_guise_of(argc > 0 ? argv[0] : "");
    struct cli_args args;
    struct buf error;
    if (argc > 0 && g->is_completing) {
        return complete(g, argc, argv);
    }
    buf_init(&error, CLI_ERROR_BYTES_MAX);
    enum err e = cli_args_parse(&args, argc, argv, &error);
    if (e != E_OK) {
        buf_add_char(&error, '\n');
        (void)out_write(STDERR_FILENO, buf_str(&error)); /* nobody else to tell */
    }
    buf_fini(&error);
    if (e != E_OK) {
        return EXIT_USAGE;
    }
    if (cli_flag(&args, CLI_OPT_help)) {
        return show_help(&args);
    }
    enum cli_command_id id = (enum cli_command_id)(args.command - cli_commands);
    return find_command(id, controller)(&args);
}
