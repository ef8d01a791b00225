/* Entry point of the lintel executable: the command line, the supervisor and the controller. */
#include "cli/commands.h"
#include "cli/out.h"
#include "controller/controller.h"
#include "log/log.h"
#include "os/proc.h"
#include "wire/uri.h"

#include <stdlib.h>

enum { DESCRIPTOR_MAX = 1 << 20 };

/* Where we run, as the pod's environment says; empty when that is not to count. */
static struct str node_name(const struct cli_args *a)
{
    struct str name = str_from_cstr(getenv("NODE_NAME"));
    bool is_used = cli_flag(a, CLI_OPT_enable_topology_aware_routing);
    return is_used && dns_subdomain_is_valid(name) ? name : STR_EMPTY;
}

static struct certificates_options webhook_options(const struct cli_args *a)
{
    struct certificates_options o = {
        .certificate_file = command_text(a, CLI_OPT_validating_webhook_certificate),
        .key_file = command_text(a, CLI_OPT_validating_webhook_key),
        .shared = {.configuration = cli_text(a, CLI_OPT_validating_webhook_configuration)},
    };
    (void)str_cut(cli_text(a, CLI_OPT_validating_webhook_secret), '/', &o.shared.secret_namespace,
                  &o.shared.secret); /* was checked, or both are empty */
    return o;
}

/* A name from the environment; what is no name counts as not given. */
static struct str pod_name(const char *variable)
{
    struct str name = str_from_cstr(getenv(variable));
    return dns_subdomain_is_valid(name) ? name : STR_EMPTY;
}

static struct status_options status_options(const struct cli_args *a)
{
    struct status_options o = {
        .pod_namespace = pod_name("POD_NAMESPACE"),
        .pod = pod_name("POD_NAME"),
        .controller = cli_text(a, CLI_OPT_controller_class),
        .publish_status_address = cli_text(a, CLI_OPT_publish_status_address),
        .updates_status = cli_flag(a, CLI_OPT_update_status),
        .clears_on_shutdown = cli_flag(a, CLI_OPT_update_status_on_shutdown),
        .reports_internal_ip = cli_flag(a, CLI_OPT_report_node_internal_ip_address),
        .has_sync_events = !cli_flag(a, CLI_OPT_disable_sync_events),
        .has_election = !cli_flag(a, CLI_OPT_disable_leader_election),
        .election_id = cli_text(a, CLI_OPT_election_id),
        .election_ttl = cli_number(a, CLI_OPT_election_ttl),
    };
    (void)str_cut(cli_text(a, CLI_OPT_publish_service), '/', &o.publish_service_namespace,
                  &o.publish_service); /* was checked, or both are empty */
    return o;
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
        .feedback = {.status = status_options(a), .webhook = webhook_options(a)},
    };
    (void)ip_prefixes_parse(cli_text(a, CLI_OPT_ocsp_responder_cidr), o.ocsp.responders,
                            TRUSTED_PREFIXES_MAX, &o.ocsp.responder_n); /* was checked */
    o.api.node_name = o.compile.node_name = node_name(a);
    return controller_main((int)fd, &o);
}

int main(int argc, char **argv)
{
    return cli_main(argc, argv, run_controller);
}
