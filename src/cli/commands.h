/* cli/commands.h: what each command does. All give the exit status: 0 well, 1 not, 2 for a command
 * line that cannot be meant. */
#pragma once

#include "cli/args.h"
#include "cli/offline.h"
#include "cli/top_sample.h"

enum { EXIT_WELL = 0, EXIT_BAD = 1, EXIT_USAGE = 2 };

typedef int command_fn(const struct cli_args *a);

command_fn command_run, command_check, command_explain, command_dump, command_top, command_version,
    command_generate, command_status, command_backends, command_certs;

/* The whole of main(). controller: what the hidden command of that name does; it lives on the floor
 * of cli/ and is brought in from above. */
int cli_main(int argc, char **argv, command_fn *controller);

/* The compiler's options as the command line says them; borrowed from a. */
struct compile_options command_compile_options(const struct cli_args *a);
/* What of the cluster they take; without client and callbacks. */
struct api_options command_api_options(const struct cli_args *a);
/* NULL when the option has no value. */
const char *command_text(const struct cli_args *a, enum cli_option_id id);
/* The paths, or the cluster of --kubeconfig when that is given. */
struct offline_source command_offline_source(const struct cli_args *a, const char *const *paths,
                                             size_t path_n);
/* False, and says why, when options about the source of objects do not fit together. */
bool command_source_is_right(const struct cli_args *a);
/* False, and says so, when neither manifests nor a cluster are named. */
bool command_source_is_there(const struct cli_args *a);
/* Loads the objects and reports on them: what the command gives. */
typedef int command_report_fn(const struct cli_args *a, const struct offline *o);
int command_with_objects(const struct cli_args *a, command_report_fn *report);
/* What --server says of itself. On failure says why on standard error. */
enum err command_ask_top(const struct cli_args *a, struct top_sample *ret);
