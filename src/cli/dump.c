/* lintel dump: prints a snapshot, from manifests, a cluster, a running Lintel or a snapshot file.
 */
#include "snapshot/dump.h"

#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/offline.h"
#include "cli/out.h"
#include "publish/publish.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int print_snapshot(const struct cli_args *a, const struct snapshot *s)
{
    struct buf out;
    buf_init(&out, CLI_OUT_BYTES_MAX);
    bool is_json = cli_number(a, CLI_OPT_output) == 1;
    enum err e = snapshot_dump_state(&out, s, is_json ? SNAPSHOT_DUMP_JSON : SNAPSHOT_DUMP_TEXT);
    out.bad = out.bad || e != E_OK;
    int status = out_result(&out);
    buf_fini(&out);
    return status;
}

static int dump_objects(const struct cli_args *a)
{
    struct offline o = {0};
    struct compile_options options = command_compile_options(a);
    const char *path = cli_text(a, CLI_OPT_manifests).p;
    struct offline_source source = command_offline_source(a, &path, 1);
    int status = EXIT_BAD;
    if (offline_open(&o, &source, &options) == E_OK) {
        status = print_snapshot(a, offline_snapshot(&o));
    }
    offline_close(&o);
    return status;
}

static int dump_server(const struct cli_args *a)
{
    struct ask_answer answer = {0};
    int status = EXIT_BAD;
    struct str target = cli_number(a, CLI_OPT_output) == 1 ? STR("/debug/dump?output=json")
                                                           : STR("/debug/dump?output=text");
    if (ask(&answer, cli_text(a, CLI_OPT_server), target) == E_OK) {
        if (answer.status == 200 && out_write(STDOUT_FILENO, answer.body) == E_OK) {
            status = EXIT_WELL;
        } else {
            out_complain("the server answers with status %u: %.*s", answer.status,
                         STR_ARG(answer.body));
        }
    }
    ask_fini(&answer);
    return status;
}

static int dump_file(const struct cli_args *a)
{
    struct stats_area *stats;
    struct publish *publish = NULL;
    struct snapshot_fault fault = {0};
    const char *path = a->arguments[0];
    int fd, status = EXIT_BAD;

    if (stats_create(0, &stats, &fd) != E_OK) {
        out_complain("out of memory");
        return EXIT_BAD;
    }
    (void)close(fd); /* the map stays */
    struct publish_options o = {.control_fd = -1, .stats = stats};
    enum err e = publish_new(&o, &publish);
    if (e == E_OK) {
        e = publish_load(publish, path, &fault);
    }
    if (e == E_OK) {
        status = print_snapshot(a, publish_state(publish));
    } else {
        out_complain("%s: no snapshot can be read from it: %s", path,
                     fault.what != NULL ? fault.what
                     : e == E_SYS       ? strerror(errno)
                                        : err_text(e));
    }
    publish_free(publish);
    stats_close(stats);
    return status;
}

int command_dump(const struct cli_args *a)
{
    bool is_here = cli_is_given(a, CLI_OPT_manifests) || cli_is_given(a, CLI_OPT_kubeconfig);
    bool is_there = cli_is_given(a, CLI_OPT_server);
    if (!command_source_is_right(a)) {
        return EXIT_USAGE;
    }
    if (is_here + is_there + (int)a->argument_n != 1) {
        out_complain("dump needs one of --manifests DIR, --kubeconfig FILE, --server ADDR and "
                     "FILE: what shall it print?");
        return EXIT_USAGE;
    }
    return is_here ? dump_objects(a) : is_there ? dump_server(a) : dump_file(a);
}
