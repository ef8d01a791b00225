/* Entry point of the lintel executable: the command line, the supervisor and the controller. */
#include "cli/commands.h"
#include "cli/out.h"
#include "controller/controller.h"
#include "log/log.h"
#include "wire/uri.h"

#include "os/proc.h"
#include <stdlib.h>

enum { DESCRIPTOR_MAX = 1 << 20 };

/* Where we run, as the pod's environment says; empty when that is not to count. */
static struct str node_name(const struct cli_args *a)
{
    struct str name = str_from_cstr(getenv("NODE_NAME"));
    bool is_used = cli_flag(a, CLI_OPT_enable_topology_aware_routing);
    return is_used && dns_subdomain_is_valid(name) ? name : STR_EMPTY;
}

/* The hidden command that the supervisor starts: argument 1 is the heritage. */
static int run_controller(const struct cli_args *a)
{
    uint64_t fd;
    log_init("controller", (enum log_level)cli_number(a, CLI_OPT_log_level));
    proc_name_set("lintel-control");
    if (!str_to_u64(str_from_cstr(a->arguments[0]), DESCRIPTOR_MAX, &fd)) {
        out_complain("the controller is started by 'lintel run', not by hand");
        return EXIT_USAGE;
    }
    struct controller_options o = {
        .manifests = command_text(a, CLI_OPT_manifests),
        .kubeconfig = command_text(a, CLI_OPT_kubeconfig),
        .context = command_text(a, CLI_OPT_context),
        .snapshot_file = command_text(a, CLI_OPT_snapshot_file),
        .api = command_api_options(a),
        .compile = command_compile_options(a),
    };
    o.api.node_name = o.compile.node_name = node_name(a);
    return controller_main((int)fd, &o);
}

int main(int argc, char **argv)
{
    return cli_main(argc, argv, run_controller);
}
