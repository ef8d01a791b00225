/* lintel check: compiles manifests, or what a cluster has, and prints what is wrong with them. */
#include "admin/handler.h"
#include "cli/commands.h"
#include "cli/offline.h"
#include "cli/out.h"
#include "document/json_write.h"

#include <unistd.h>

struct tally {
    size_t errors, warnings, objects, files;
    size_t names; /* that were not looked up */
};

static struct tally count(const struct offline *o, const struct diag_list *list)
{
    struct tally t = {.files = o->file_n};
    for (size_t i = 0; i < diag_list_n(list); i++) {
        if (diag_list_get(list, i)->severity == DIAG_ERROR) {
            t.errors++;
        } else {
            t.warnings++;
        }
    }
    for (int kind = 0; kind < OBJECT_KINDS_N; kind++) {
        t.objects += store_n(o->store, (enum object_kind)kind);
    }
    return t;
}

static void emit_count(struct buf *out, const char *glue, size_t n, const char *what)
{
    buf_addf(out, "%s%zu %s%s", glue, n, what, n == 1 ? "" : "s");
}

static void emit_text(struct buf *out, const struct diag_list *list, const struct tally *t)
{
    bool has_color = out_has_color(STDOUT_FILENO);
    for (size_t i = 0; i < diag_list_n(list); i++) {
        const struct diag *d = diag_list_get(list, i);
        if (has_color) {
            buf_add_str(out, d->severity == DIAG_ERROR ? STR("\033[31m") : STR("\033[33m"));
        }
        diag_emit_text(out, d);
        buf_add_str(out, has_color ? STR("\033[0m\n") : STR("\n"));
    }
    if (diag_list_dropped(list) > 0) {
        emit_count(out, "", diag_list_dropped(list), "further diagnostic");
        buf_add_str(out, STR(" not shown\n"));
    }
    emit_count(out, "", t->files, "file");
    emit_count(out, ", ", t->objects, "object");
    emit_count(out, ": ", t->errors, "error");
    emit_count(out, ", ", t->warnings, "warning");
    if (t->names > 0) {
        emit_count(out, "; ", t->names, "external name");
        buf_add_str(out, STR(" not looked up"));
    }
    buf_add_char(out, '\n');
}

static void emit_json(struct buf *out, const struct diag_list *list, const struct tally *t)
{
    struct json j = json_make(out, true);
    json_object(&j);
    json_name_u64(&j, "files", t->files);
    json_name_u64(&j, "objects", t->objects);
    json_name_u64(&j, "errors", t->errors);
    json_name_u64(&j, "warnings", t->warnings);
    json_name_u64(&j, "namesNotLookedUp", t->names);
    json_name_u64(&j, "omitted", diag_list_dropped(list));
    json_name(&j, "diagnostics");
    json_array(&j);
    for (size_t i = 0; i < diag_list_n(list); i++) {
        admin_diag_json(&j, diag_list_get(list, i));
    }
    json_end_array(&j);
    json_end_object(&j);
    json_finish(&j);
}

static int report(const struct cli_args *a, const struct offline *o)
{
    struct diag_list *list;
    struct buf out;
    size_t names;
    if (offline_diagnostics(o, &list, &names) != E_OK) {
        out_complain("out of memory");
        return EXIT_BAD;
    }
    struct tally t = count(o, list);
    t.names = names;
    buf_init(&out, CLI_OUT_BYTES_MAX);
    if (cli_number(a, CLI_OPT_output) == 0) {
        emit_text(&out, list, &t);
    } else {
        emit_json(&out, list, &t);
    }
    int status = out_result(&out);
    buf_fini(&out);
    bool is_bad = t.errors > 0 || diag_list_dropped(list) > 0 ||
                  (cli_flag(a, CLI_OPT_strict) && t.warnings > 0);
    diag_list_free(list);
    return is_bad ? EXIT_BAD : status;
}

int command_check(const struct cli_args *a)
{
    struct offline o = {0};
    struct compile_options options = command_compile_options(a);
    struct offline_source source =
        command_offline_source(a, (const char *const *)a->arguments, a->argument_n);
    if (!command_source_is_right(a)) {
        return EXIT_USAGE;
    }
    if (cli_is_given(a, CLI_OPT_kubeconfig) == (a->argument_n > 0)) {
        out_complain("check: PATH... is missing: name manifests, or a cluster with --kubeconfig "
                     "FILE, but not both");
        return EXIT_USAGE;
    }
    int status = offline_open(&o, &source, &options) == E_OK ? report(a, &o) : EXIT_BAD;
    offline_close(&o);
    return status;
}
