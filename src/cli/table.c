/* The commands and options of lintel as data, and look-ups in them. */
#include "cli/table.h"

#define IN(command) (1U << CLI_##command)
#define IN_CLASS                                                                                   \
    (IN(run) | IN(controller) | IN(check) | IN(explain) | IN(dump) | IN(status) | IN(backends) |   \
     IN(certs))
#define IN_ALL UINT32_MAX

const struct cli_option cli_options[CLI_OPTIONS_N] = {
#define OPTION(id, letter, name, type, argument, fallback, low, high, commands, help)              \
    {letter, name, CLI_##type, argument, fallback, low, high, commands, help},
#include "cli/options.def"
#undef OPTION
};

/* clang-format 14 ends with a signal on this table. */
/* clang-format off */
const struct cli_command cli_commands[CLI_COMMANDS_N] = {
    [CLI_run] = {
        .name = "run",
        .arguments = "",
        .summary = "Serve the Ingresses: start the supervisor, the controller, the workers.",
        .description =
            "Runs in the foreground until SIGTERM or SIGINT. The supervisor opens the listening "
            "sockets, then starts the controller, which turns Ingresses into routes, and the "
            "workers, which serve the requests. Each change applies under running traffic, "
            "without a reload.\n\n"
            "The objects come from a directory of manifests (--manifests), from the cluster of a "
            "kubeconfig (--kubeconfig), or, without both, from the cluster in whose pod this "
            "runs.\n\n"
            "On SIGTERM readiness goes off; after --shutdown-grace-period no more connections are "
            "accepted; requests in flight finish within --drain-timeout. A second SIGTERM ends at "
            "once.\n\n"
            "Messages go to standard error, the access log to standard output.",
        .exits = "0 after SIGTERM, with everything finished.\n"
                 "1 when it could not start, or not everything could be finished.\n"
                 "2 for a wrong command line.",
        .example = {{"lintel run --manifests ./manifests --http-port 8080",
                     "Serve the Ingresses of a directory, without a cluster."},
                    {"lintel run --kubeconfig ~/.kube/config --http-port 8080",
                     "Serve those of a cluster, from outside of it."}},
    },
    [CLI_check] = {
        .name = "check",
        .arguments = "[PATH...]",
        .argument_high = CLI_ARGUMENTS_MAX,
        .summary = "Check manifests, or the objects of a cluster, without serving them.",
        .description =
            "Reads the files and directories, compiles them as run would and prints what is "
            "wrong: file and line, object, field, what, why and how to mend it. All paths together "
            "are one configuration, so a Service may stand in another file than the Ingress that "
            "names it. With --kubeconfig instead of paths it checks what a cluster has.",
        .exits = "0 when there is no error (warnings may have been printed).\n"
                 "1 when there are errors; with --strict also for warnings.\n"
                 "2 for a wrong command line.",
        .example = {{"lintel check manifests/", "Check every manifest below a directory."},
                    {"lintel check -o json a.yaml b.yaml", "The same for programs."},
                    {"lintel check --kubeconfig ~/.kube/config",
                     "Check what the current context's cluster has."}},
    },
    [CLI_explain] = {
        .name = "explain",
        .arguments = "URL",
        .argument_low = 1,
        .argument_high = 1,
        .summary = "Tell which route a request takes, and why.",
        .description =
            "Prints the whole decision for one request: the listener, host and path as they are "
            "compared, the rule that wins and the Ingress it is from, the rules that lose and why, "
            "the filters, the Service and the endpoints it may pick from; for https, the certificates "
            "of the handshake and what clients are asked for. Where no route matches "
            "it names the nearest misses. The decision is made by the code that the workers "
            "run.\n\n"
            "URL is http://HOST/PATH, https://HOST/PATH, HOST/PATH or /PATH.",
        .exits = "0 when the request reaches an endpoint or a filter answers it.\n"
                 "1 when Lintel would refuse it.\n"
                 "2 for a wrong command line.",
        .example = {{"lintel explain --manifests ./manifests http://shop.example.com/cart",
                     "Which Service gets this request?"},
                    {"lintel explain --kubeconfig ~/.kube/config shop.example.com/cart",
                     "The same for the Ingresses of a cluster."},
                    {"lintel explain --server 127.0.0.1:10254 -X POST shop.example.com/cart",
                     "Ask the Lintel that is running."}},
    },
    [CLI_status] = {
        .name = "status",
        .arguments = "",
        .summary = "Tell on one page what is served and what is wrong.",
        .description =
            "Counts Ingresses, hosts, routes, Services and endpoints, tells at which addresses the "
            "Ingresses are published, which of them lack one, and the first diagnostics. With "
            "--kubeconfig also who leads and which pods of Lintel are ready, as far as the user "
            "may read that.\n\n"
            "With --server it asks a running Lintel for its generation, its workers, its readiness "
            "and how it gets along with the API server; alone, or beside one of the others.",
        .exits = "0 when there is no error and, with --server, Lintel is ready.\n"
                 "1 when there are errors, or it could not be told.\n"
                 "2 for a wrong command line.",
        .example = {{"lintel status --kubeconfig ~/.kube/config", "What of a cluster is served?"},
                    {"lintel status --server 127.0.0.1:10254", "How is the Lintel that runs here?"},
                    {"lintel status -o json --manifests ./manifests", "The same for programs."}},
    },
    [CLI_backends] = {
        .name = "backends",
        .arguments = "[HOST|NAMESPACE/SERVICE]",
        .argument_high = 1,
        .summary = "List the Services in use, their endpoints and who leads to them.",
        .description =
            "For each Service port that an Ingress uses: its endpoints with state, zone, node and "
            "pod, whether requests go there and why not, then the rules that lead to it. HOST or "
            "NAMESPACE/SERVICE picks some of them.\n\n"
            "With --server, too, each endpoint has the state that the workers of a running Lintel "
            "see and how many of its requests failed.",
        .exits = "0 when each Service has an endpoint.\n"
                 "1 when one has none, or nothing was found.\n"
                 "2 for a wrong command line.",
        .example = {{"lintel backends --kubeconfig ~/.kube/config shop.example.com",
                     "Where do requests for this host go?"},
                    {"lintel backends --manifests ./manifests default/web",
                     "Which endpoints does this Service have?"}},
    },
    [CLI_certs] = {
        .name = "certs",
        .arguments = "",
        .summary = "List the certificates in use, until when they last, what is wrong.",
        .description =
            "For each host that gets a certificate, listed in spec.tls of an Ingress or found by its "
            "rules: the Secret, the names of the certificate in it, subject, issuer, kind of key "
            "and when it ends, and what keeps it from being served: a missing Secret, a key of "
            "another certificate, a name that is not covered. A host with keys of two kinds has two "
            "rows. Then the default certificate. A second table has the authorities of Ingresses that "
            "ask clients for certificates, and for TLS to endpoints the certificate that they are "
            "shown and the authorities that they are verified by: of several the one that ends "
            "next. A running Lintel with --enable-ocsp adds what the authority says of each "
            "certificate.\n\n"
            "Secrets of a cluster are fetched by name, just those that Ingresses of ours refer to. "
            "Nothing of a private key is shown.",
        .exits = "0 when every host has its certificate.\n"
                 "1 when one has none that can be used, or ends within --expiring-within.\n"
                 "2 for a wrong command line.",
        .example = {{"lintel certs --kubeconfig ~/.kube/config", "What ends soon?"},
                    {"lintel certs --server 127.0.0.1:10254 --expiring-within 720h",
                     "Does the running Lintel serve anything that ends within 30 days?"}},
    },
    [CLI_dump] = {
        .name = "dump",
        .arguments = "[FILE]",
        .argument_high = 1,
        .summary = "Print the routing tables that the workers use.",
        .description =
            "Prints a snapshot: listeners, hosts, paths, routes, Services and endpoints. It comes "
            "from manifests (--manifests), from the objects of a cluster (--kubeconfig), from a "
            "running Lintel (--server) or from a snapshot file.",
        .exits = "0 when it was printed.\n"
                 "1 when it could not be read.\n"
                 "2 for a wrong command line.",
        .example = {{"lintel dump --manifests ./manifests", "What would the workers get?"},
                    {"lintel dump -o json --server 127.0.0.1:10254",
                     "What has the running Lintel published?"}},
    },
    [CLI_top] = {
        .name = "top",
        .arguments = "",
        .summary = "Watch requests, routes, endpoints, reasons and processes live.",
        .description =
            "Asks the health port of a running Lintel (127.0.0.1:10254 without --server) once each "
            "interval and shows what happened in between: requests per second, latencies, status "
            "classes and the busiest routes, why Lintel answered by itself, what the processes "
            "cost.\n\n"
            "On a terminal it stays until q or Ctrl-C; elsewhere it prints one view after the "
            "other. Percentiles are estimated from buckets.",
        .exits = "0 when it was ended, or with --once when the view was printed.\n"
                 "1 when Lintel could not be asked.\n"
                 "2 for a wrong command line.",
        .example = {{"lintel top", "Watch the Lintel of this machine."},
                    {"lintel top --once -o json", "One second of it for programs."}},
    },
    [CLI_version] = {
        .name = "version",
        .arguments = "",
        .summary = "Print the version, the build and the libraries.",
        .description = "Prints which Lintel this is.",
        .exits = "0 always.\n"
                 "2 for a wrong command line.",
        .example = {{"lintel version -o json", "The version for programs."}},
    },
    [CLI_generate] = {
        .name = "generate",
        .arguments = "man DIR | completion bash|zsh|fish",
        .argument_low = 2,
        .argument_high = 2,
        .is_hidden = true,
        .summary = "Write the manual pages or a completion script.",
        .description = "Used by the build. Manual pages are written into DIR; completions go to "
                       "standard output.",
        .exits = "0 when they were written.\n"
                 "1 when they could not be written.",
    },
    [CLI_controller] = {
        .name = "controller",
        .arguments = "HERITAGE",
        .argument_low = 1,
        .argument_high = 1,
        .is_hidden = true,
        .summary = "The controller process; started by the supervisor.",
        .description = "Not for use by hand.",
        .exits = "0 after the drain message.",
    },
};
/* clang-format on */

bool cli_option_is_in(const struct cli_option *o, const struct cli_command *c)
{
    return (o->commands >> (c - cli_commands) & 1) != 0;
}

const struct cli_command *cli_command_find(struct str name)
{
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        if (str_eq(name, str_from_cstr(cli_commands[i].name))) {
            return &cli_commands[i];
        }
    }
    return NULL;
}

const struct cli_option *cli_option_find(const struct cli_command *c, struct str name)
{
    for (size_t i = 0; i < CLI_OPTIONS_N; i++) {
        const struct cli_option *o = &cli_options[i];
        if (cli_option_is_in(o, c) && str_eq(name, str_from_cstr(o->name))) {
            return o;
        }
    }
    return NULL;
}

const struct cli_option *cli_option_find_letter(const struct cli_command *c, char letter)
{
    for (size_t i = 0; i < CLI_OPTIONS_N; i++) {
        const struct cli_option *o = &cli_options[i];
        if (cli_option_is_in(o, c) && o->letter == letter && letter != 0) {
            return o;
        }
    }
    return NULL;
}
