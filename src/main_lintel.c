/* Entry point of the lintel executable: the command line, the supervisor and the controller. */
#include "cli/commands.h"
#include "cli/out.h"
#include "controller/controller.h"
#include "log/log.h"
#include "os/proc.h"

enum { DESCRIPTOR_MAX = 1 << 20 };

/* The hidden command that the supervisor starts: argument 1 is the heritage. */
static int run_controller(const struct cli_args *a)
{
    uint64_t fd;
    struct str snapshot_file = cli_text(a, CLI_OPT_snapshot_file);
    log_init("controller", (enum log_level)cli_number(a, CLI_OPT_log_level));
    proc_name_set("lintel-control");
    if (!str_to_u64(str_from_cstr(a->arguments[0]), DESCRIPTOR_MAX, &fd)) {
        out_complain("the controller is started by 'lintel run', not by hand");
        return EXIT_USAGE;
    }
    struct controller_options o = {
        .manifests = cli_text(a, CLI_OPT_manifests).p,
        .snapshot_file = snapshot_file.n > 0 ? snapshot_file.p : NULL,
        .compile = command_compile_options(a),
    };
    return controller_main((int)fd, &o);
}

int main(int argc, char **argv)
{
    return cli_main(argc, argv, run_controller);
}
