/* lintel run: options to the supervisor's struct, and on to the controller's command line. */
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/out.h"
#include "cli/value.h"
#include "log/access.h"
#include "log/log.h"
#include "supervisor/supervisor.h"
#include "tls/context.h"
#include "wire/uri.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PASSED_BYTES_MAX = 64 * 1024 };

static bool is_flag(enum cli_option_id id)
{
    return cli_options[id].type == CLI_FLAG;
}

/* As --ssl-protocols lists them. */
static const struct {
    uint8_t low, high;
} tls_versions[] = {
    {12, 13},
    {13, 13},
    {12, 12},
};

static enum hsts_subdomains hsts_subdomains_of(const struct cli_args *a)
{
    if (!cli_is_given(a, CLI_OPT_hsts_include_subdomains)) {
        return HSTS_SUBDOMAINS_BY_CLASS;
    }
    return cli_flag(a, CLI_OPT_hsts_include_subdomains) ? HSTS_SUBDOMAINS_ON : HSTS_SUBDOMAINS_OFF;
}

static struct https_policy https_policy_of(const struct cli_args *a)
{
    static const uint16_t codes[] = {301, 302, 307, 308}; /* as in options.def */
    struct https_policy policy = {
        .is_redirecting = cli_flag(a, CLI_OPT_ssl_redirect),
        .is_forcing = cli_flag(a, CLI_OPT_force_ssl_redirect),
        .keeps_slash = cli_flag(a, CLI_OPT_preserve_trailing_slash),
        .tells_port = cli_flag(a, CLI_OPT_use_port_in_redirects),
        .redirect_status = codes[cli_number(a, CLI_OPT_http_redirect_code)],
        .has_hsts = cli_flag(a, CLI_OPT_hsts),
        .has_hsts_preload = cli_flag(a, CLI_OPT_hsts_preload),
        .hsts_subdomains = hsts_subdomains_of(a),
        .hsts_max_age_s = cli_number(a, CLI_OPT_hsts_max_age),
    };
    (void)uri_paths_parse(cli_text(a, CLI_OPT_no_tls_redirect_locations), policy.plain_paths,
                          PLAIN_PATHS_MAX, &policy.plain_path_n); /* was checked */
    return policy;
}

/* A compile_given_fn over the command line. */
static bool is_option_given(const void *arg, struct str name)
{
    const struct cli_args *a = arg;
    const struct cli_option *o = cli_option_find(a->command, name);
    return o != NULL && cli_is_given(a, (enum cli_option_id)(o - cli_options));
}

struct compile_options command_compile_options(const struct cli_args *a)
{
    struct compile_options o = {
        .controller = cli_text(a, CLI_OPT_controller_class),
        .ingress_class = cli_text(a, CLI_OPT_ingress_class),
        .is_class_by_name = cli_flag(a, CLI_OPT_ingress_class_by_name),
        .is_classless_watched = cli_flag(a, CLI_OPT_watch_ingress_without_class),
        .is_external_name_disabled = cli_flag(a, CLI_OPT_disable_svc_external_name),
        .has_passthrough = cli_flag(a, CLI_OPT_enable_ssl_passthrough),
    };
    (void)str_cut(cli_text(a, CLI_OPT_default_backend_service), '/', &o.default_namespace,
                  &o.default_service); /* was checked, or both are empty */
    (void)str_cut(cli_text(a, CLI_OPT_default_ssl_certificate), '/',
                  &o.default_certificate_namespace,
                  &o.default_certificate); /* was checked, or both are empty */
    (void)str_cut(cli_text(a, CLI_OPT_ssl_session_ticket_secret), '/', &o.ticket_secret_namespace,
                  &o.ticket_secret); /* was checked, or both are empty */
    o.ssl_ciphers = cli_text(a, CLI_OPT_ssl_ciphers);
    o.ssl_groups = cli_text(a, CLI_OPT_ssl_ecdh_curve);
    o.ssl_min_version = tls_versions[cli_number(a, CLI_OPT_ssl_protocols)].low;
    o.ssl_max_version = tls_versions[cli_number(a, CLI_OPT_ssl_protocols)].high;
    o.has_settings = true;
    o.settings = snap_settings_default;
#define SETTING(id, name, type, argument, text, value, low, high, help)                            \
    o.settings.id = is_flag(CLI_OPT_##id) ? cli_flag(a, CLI_OPT_##id) : cli_number(a, CLI_OPT_##id);
#include "snapshot/settings.def"
#undef SETTING
    (void)str_cut(cli_text(a, CLI_OPT_configmap), '/', &o.config_namespace,
                  &o.config_map); /* was checked, or both are empty */
    o.is_given = is_option_given;
    o.given_arg = a;
    o.has_https = true;
    o.https = https_policy_of(a);
    (void)ip_prefixes_parse(cli_text(a, CLI_OPT_proxy_real_ip_cidr), o.trusted,
                            TRUSTED_PREFIXES_MAX, &o.trusted_n); /* was checked */
    return o;
}

struct api_options command_api_options(const struct cli_args *a)
{
    struct api_options o = {
        .namespace_name = cli_text(a, CLI_OPT_watch_namespace),
        .namespace_selector = cli_text(a, CLI_OPT_watch_namespace_selector),
    };
    (void)str_cut(cli_text(a, CLI_OPT_configmap), '/', &o.config_map_namespace,
                  &o.config_map); /* was checked, or both are empty */
    return o;
}

const char *command_text(const struct cli_args *a, enum cli_option_id id)
{
    return cli_text(a, id).n > 0 ? cli_text(a, id).p : NULL;
}

struct offline_source command_offline_source(const struct cli_args *a, const char *const *paths,
                                             size_t path_n)
{
    return (struct offline_source){.paths = paths,
                                   .path_n = path_n,
                                   .kubeconfig = command_text(a, CLI_OPT_kubeconfig),
                                   .context = command_text(a, CLI_OPT_context),
                                   .api = command_api_options(a)};
}

bool command_source_is_right(const struct cli_args *a)
{
    static const struct {
        enum cli_option_id one, other;
    } rivals[] = {
        {CLI_OPT_manifests,       CLI_OPT_kubeconfig              },
        {CLI_OPT_manifests,       CLI_OPT_context                 },
        {CLI_OPT_watch_namespace, CLI_OPT_watch_namespace_selector},
    };
    for (size_t i = 0; i < sizeof(rivals) / sizeof(rivals[0]); i++) {
        if (cli_is_given(a, rivals[i].one) && cli_is_given(a, rivals[i].other)) {
            out_complain("%s: --%s and --%s exclude each other", a->command->name,
                         cli_options[rivals[i].one].name, cli_options[rivals[i].other].name);
            return false;
        }
    }
    if (cli_is_given(a, CLI_OPT_context) && !cli_is_given(a, CLI_OPT_kubeconfig)) {
        out_complain("%s: --context is one of a --kubeconfig FILE, which is missing",
                     a->command->name);
        return false;
    }
    return true;
}

bool command_source_is_there(const struct cli_args *a)
{
    bool is_there = cli_is_given(a, CLI_OPT_manifests) || cli_is_given(a, CLI_OPT_kubeconfig);
    if (!is_there) {
        out_complain(
            "%s needs one of --manifests DIR and --kubeconfig FILE: what shall it look at?",
            a->command->name);
    }
    return is_there;
}

int command_with_objects(const struct cli_args *a, command_report_fn *report)
{
    struct offline o = {0};
    struct compile_options options = command_compile_options(a);
    const char *path = cli_text(a, CLI_OPT_manifests).p;
    struct offline_source source = command_offline_source(a, &path, 1);
    int status = EXIT_BAD;
    if (!command_source_is_right(a) || !command_source_is_there(a)) {
        return EXIT_USAGE;
    }
    if (offline_open(&o, &source, &options) == E_OK) {
        status = report(a, &o);
    }
    offline_close(&o);
    return status;
}

enum err command_ask_top(const struct cli_args *a, struct top_sample *ret)
{
    struct ask_answer answer;
    struct str server = cli_text(a, CLI_OPT_server);
    enum err e = ask_view(&answer, server, STR("/debug/top"));
    if (e == E_OK) {
        e = top_sample_parse(answer.body, ret);
        if (e != E_OK) {
            out_complain("%.*s: the answer cannot be understood: %s", STR_ARG(server), err_text(e));
        }
    }
    ask_fini(&answer);
    return e;
}

/* ---- what the controller gets ---- */

/* The options that were given and that the controller knows, written out again. */
struct passed {
    struct buf text;
    const char *argv[CLI_OPTIONS_N + 1]; /* points into text */
};

static bool is_passed(const struct cli_args *a, size_t option)
{
    return a->values[option].is_given &&
           cli_option_is_in(&cli_options[option], &cli_commands[CLI_controller]);
}

static enum err passed_fill(struct passed *p, const struct cli_args *a)
{
    size_t offsets[CLI_OPTIONS_N], n = 0;
    buf_init(&p->text, PASSED_BYTES_MAX);
    for (size_t i = 0; i < CLI_OPTIONS_N; i++) {
        if (is_passed(a, i)) {
            offsets[n++] = p->text.n;
            buf_addf(&p->text, "--%s=%.*s%c", cli_options[i].name, STR_ARG(a->values[i].text), 0);
        }
    }
    if (p->text.bad) {
        return E_LIMIT;
    }
    for (size_t i = 0; i < n; i++) {
        p->argv[i] = p->text.p + offsets[i];
    }
    p->argv[n] = NULL;
    return E_OK;
}

/* ---- run ---- */

/* A typing mistake shall not look like a directory that will come. */
static bool is_directory(const char *path)
{
    DIR *d = opendir(path);
    if (d == NULL) {
        out_complain("run: --manifests is \"%s\": %s; name a directory of manifests", path,
                     strerror(errno));
        return false;
    }
    (void)closedir(d); /* only read */
    return true;
}

/* Who is asked for the objects must be sure before anything is started; what is in a kubeconfig or
 * a token is the controller's to read. */
static int check_source(const struct cli_args *a)
{
    const char *kubeconfig = command_text(a, CLI_OPT_kubeconfig);
    if (!command_source_is_right(a)) {
        return EXIT_USAGE;
    }
    if (cli_is_given(a, CLI_OPT_manifests)) {
        return is_directory(cli_text(a, CLI_OPT_manifests).p) ? EXIT_WELL : EXIT_BAD;
    }
    if (kubeconfig != NULL && access(kubeconfig, R_OK) != 0) {
        out_complain("run: --kubeconfig is \"%s\": %s; name a kubeconfig file", kubeconfig,
                     strerror(errno));
        return EXIT_BAD;
    }
    if (kubeconfig == NULL && getenv("KUBERNETES_SERVICE_HOST") == NULL) {
        out_complain("run: where shall the Ingresses come from? Give --manifests DIR for a "
                     "directory of manifests, or --kubeconfig FILE for a cluster; without both it "
                     "is the cluster in whose pod this runs, but this is no pod: "
                     "KUBERNETES_SERVICE_HOST is not set");
        return EXIT_USAGE;
    }
    return EXIT_WELL;
}

/* The webhook's certificate comes from two files or from a configuration and a Secret. */
static bool is_webhook_right(const struct cli_args *a)
{
    bool has_file = cli_is_given(a, CLI_OPT_validating_webhook_certificate);
    bool has_key = cli_is_given(a, CLI_OPT_validating_webhook_key);
    bool has_configuration = cli_is_given(a, CLI_OPT_validating_webhook_configuration);
    bool has_secret = cli_is_given(a, CLI_OPT_validating_webhook_secret);
    if (cli_text(a, CLI_OPT_validating_webhook).n == 0) {
        return true; /* off: then the rest says nothing */
    }
    if (has_file != has_key || has_configuration != has_secret || has_file == has_configuration) {
        out_complain("run: --validating-webhook needs a certificate: give either "
                     "--validating-webhook-certificate and --validating-webhook-key, or "
                     "--validating-webhook-configuration and --validating-webhook-secret");
        return false;
    }
    if (has_configuration && cli_is_given(a, CLI_OPT_manifests)) {
        out_complain("run: --validating-webhook-configuration is an object of a cluster; with "
                     "--manifests give --validating-webhook-certificate and "
                     "--validating-webhook-key");
        return false;
    }
    return true;
}

/* Better now than in each worker. */
static bool is_tls_right(const struct cli_args *a)
{
    const struct compile_options c = command_compile_options(a);
    bool is_right = tls_words_are_known(c.ssl_ciphers, c.ssl_groups);
    if (!is_right) {
        out_complain(
            "run: OpenSSL does not know what --ssl-ciphers or --ssl-ecdh-curve says; write "
            "ciphers as `openssl ciphers` lists them, separated by colons, and groups as "
            "X25519:P-256");
    }
    return is_right;
}

static uint32_t access_log_format(const struct cli_args *a)
{
    static const enum access_log_format formats[] = {ACCESS_LOG_TEXT, ACCESS_LOG_JSON,
                                                     ACCESS_LOG_OFF}; /* as in options.def */
    return formats[cli_number(a, CLI_OPT_access_log)];
}

static int run(const struct cli_args *a, const struct passed *passed)
{
    char webhook_host[CLI_BIND_HOST_BYTES] = "";
    uint16_t webhook_port = 0;
    struct str webhook = cli_text(a, CLI_OPT_validating_webhook);
    (void)cli_bind_parse(webhook, webhook_host, &webhook_port); /* was checked, or it is off */
    const struct supervisor_listener listeners[] = {
        {"http",                   HERITAGE_WORKER, cli_text(a,                        CLI_OPT_bind_address).p,
         (uint16_t)cli_number(a, CLI_OPT_http_port)},
        {"https",      HERITAGE_WORKER,                     cli_text(a,                                                CLI_OPT_bind_address).p,
         (uint16_t)cli_number(a, CLI_OPT_https_port)},
        {"health", HERITAGE_CONTROLLER,                    cli_text(a,                                  CLI_OPT_healthz_host).p,
         (uint16_t)cli_number(a, CLI_OPT_healthz_port)},
        {"webhook",     HERITAGE_CONTROLLER,webhook_host,webhook_port                                                                               },
    };
    struct str file = cli_text(a, CLI_OPT_access_log_file);
    struct supervisor_options o = {
        .listeners = listeners,
        .listener_n = sizeof(listeners) / sizeof(listeners[0]) - (webhook.n == 0 ? 1 : 0),
        .worker_n = (uint32_t)cli_number(a, CLI_OPT_workers),
        .access_log_format = access_log_format(a),
        .log_level = (uint32_t)cli_number(a, CLI_OPT_log_level),
        .is_access_log_on = access_log_format(a) != ACCESS_LOG_OFF,
        .access_log_file = file.n > 0 ? file.p : NULL,
        .has_no_host_metrics = !cli_flag(a, CLI_OPT_metrics_per_host),
        .controller_argv = passed->argv,
        .session_bytes = cli_number(a, CLI_OPT_ssl_session_cache_size),
        .shutdown_grace = cli_number(a, CLI_OPT_shutdown_grace_period),
        .drain = cli_number(a, CLI_OPT_drain_timeout),
    };
    return supervisor_run(&o);
}

int command_run(const struct cli_args *a)
{
    struct passed passed;
    int status = check_source(a);
    if (status != EXIT_WELL) {
        return status;
    }
    if (!is_webhook_right(a) || !is_tls_right(a)) {
        return EXIT_USAGE;
    }
    log_init("supervisor", (enum log_level)cli_number(a, CLI_OPT_log_level));
    if (passed_fill(&passed, a) == E_OK) {
        status = run(a, &passed);
    } else {
        out_complain("run: the options are too long");
        status = EXIT_BAD;
    }
    buf_fini(&passed.text);
    return status;
}
