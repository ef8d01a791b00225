/* lintel explain: asks admin/explain, here over manifests or a cluster's objects, or there over a
 * running Lintel. */
#include "admin/explain.h"

#include "admin/params.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/offline.h"
#include "cli/out.h"

#include <unistd.h>

enum { TARGET_BYTES = 32 * 1024 };

static bool is_json(const struct cli_args *a)
{
    return cli_number(a, CLI_OPT_output) == 1;
}

/* ---- a running Lintel ---- */

static void emit_target(struct buf *out, const struct cli_args *a)
{
    buf_add_str(out, STR("/debug/explain"));
    params_add(out, true, "url", str_from_cstr(a->arguments[0]));
    params_add(out, false, "method", cli_text(a, CLI_OPT_request));
    if (cli_is_given(a, CLI_OPT_listener)) {
        params_add(out, false, "listener", cli_text(a, CLI_OPT_listener));
    }
    params_add(out, false, "output", cli_text(a, CLI_OPT_output));
    for (size_t i = 0; i < a->field_n; i++) {
        params_add(out, false, "header", a->fields[i]);
    }
    if (!is_json(a) && out_has_color(STDOUT_FILENO)) {
        params_add(out, false, "color", STR("1"));
    }
}

static int print_answer(const struct ask_answer *answer)
{
    if (answer->status != 200) {
        out_complain("the server answers with status %u: %.*s", answer->status,
                     STR_ARG(answer->body));
        return EXIT_BAD;
    }
    if (out_write(STDOUT_FILENO, answer->body) != E_OK) {
        out_complain("cannot write to standard output");
        return EXIT_BAD;
    }
    return answer->is_served ? EXIT_WELL : EXIT_BAD;
}

static int explain_there(const struct cli_args *a)
{
    struct buf target;
    struct ask_answer answer = {0};
    int status = EXIT_BAD;
    buf_init(&target, TARGET_BYTES);
    emit_target(&target, a);
    if (target.bad) {
        out_complain("the request is too large to be asked about");
    } else if (ask(&answer, cli_text(a, CLI_OPT_server), buf_str(&target)) == E_OK) {
        status = print_answer(&answer);
    }
    ask_fini(&answer);
    buf_fini(&target);
    return status;
}

/* ---- manifests, or a cluster ---- */

static int print_explanation(const struct cli_args *a, const struct explanation *e)
{
    struct buf out;
    buf_init(&out, CLI_OUT_BYTES_MAX);
    if (is_json(a)) {
        explain_emit_json(&out, e);
    } else {
        explain_emit_text(&out, e, out_has_color(STDOUT_FILENO));
    }
    int status = out_result(&out);
    buf_fini(&out);
    bool is_served = e->reason == REASON_none || e->reason == REASON_redirect;
    return is_served ? status : EXIT_BAD;
}

static bool is_ours(const void *arg, const struct ingress *ingress, const char **ret_why)
{
    return compile_is_ours(arg, ingress, ret_why);
}

static int explain_world_of(const struct cli_args *a, const struct offline *o)
{
    struct field fields[CLI_FIELDS_MAX];
    struct explain_world world = {.snapshot = offline_snapshot(o),
                                  .store = o->store,
                                  .is_ours = is_ours,
                                  .is_ours_arg = o->compile,
                                  .is_offline = true,
                                  .has_no_secrets = o->client != NULL};
    struct explain_request r = {.listener = cli_text(a, CLI_OPT_listener),
                                .method = cli_text(a, CLI_OPT_request),
                                .fields = fields,
                                .field_n = a->field_n};
    struct explanation e;

    for (size_t i = 0; i < a->field_n; i++) {
        fields[i] = (struct field){0};
        (void)str_cut(a->fields[i], ':', &fields[i].name, &fields[i].value); /* was checked */
        fields[i].value = str_trim(fields[i].value);
    }
    if (explain_request_set_url(&r, str_from_cstr(a->arguments[0])) != E_OK) {
        out_complain("\"%s\" is no URL; write http://HOST/PATH", a->arguments[0]);
        return EXIT_USAGE;
    }
    if (explain_init(&e, &world, &r) != E_OK) {
        out_complain("the explanation does not fit into memory");
        return EXIT_BAD;
    }
    int status = print_explanation(a, &e);
    explain_fini(&e);
    return status;
}

static int explain_here(const struct cli_args *a)
{
    struct offline o = {0};
    struct compile_options options = command_compile_options(a);
    const char *path = cli_text(a, CLI_OPT_manifests).p;
    struct offline_source source = command_offline_source(a, &path, 1);
    int status = EXIT_BAD;
    if (offline_open(&o, &source, &options) == E_OK) {
        status = explain_world_of(a, &o);
    }
    offline_close(&o);
    return status;
}

int command_explain(const struct cli_args *a)
{
    bool is_here = cli_is_given(a, CLI_OPT_manifests) || cli_is_given(a, CLI_OPT_kubeconfig);
    if (!command_source_is_right(a)) {
        return EXIT_USAGE;
    }
    if (is_here == cli_is_given(a, CLI_OPT_server)) {
        out_complain("explain needs one of --manifests DIR, --kubeconfig FILE and --server ADDR: "
                     "what shall it look at?");
        return EXIT_USAGE;
    }
    return is_here ? explain_here(a) : explain_there(a);
}
