/* lintel version: which Lintel this is. */
#include "cli/commands.h"
#include "cli/out.h"
#include "document/json_write.h"
#include "snapshot/schema.h"

#include <gnu/libc-version.h>
#include <xxhash.h>
#include <yajl/yajl_version.h>
#include <yaml.h>

enum { VERSION_BYTES_MAX = 4096 };

struct library {
    const char *name;
    char version[32];
};

enum { LIBRARIES_N = 4 };

static void set_version(struct library *l, const char *name, unsigned major, unsigned minor,
                        unsigned patch)
{
    struct wr w = wr_make(l->version, sizeof(l->version) - 1);
    l->name = name;
    wr_u64(&w, major);
    wr_char(&w, '.');
    wr_u64(&w, minor);
    wr_char(&w, '.');
    wr_u64(&w, patch);
    l->version[wr_n(&w)] = 0;
}

/* As linked, not as compiled against. */
static void libraries_fill(struct library *list)
{
    int major, minor, patch;
    unsigned yajl = (unsigned)yajl_version(), xxh = XXH_versionNumber();
    struct wr w = wr_make(list[0].version, sizeof(list[0].version) - 1);
    list[0].name = "glibc";
    wr_str(&w, str_from_cstr(gnu_get_libc_version()));
    list[0].version[wr_n(&w)] = 0;
    yaml_get_version(&major, &minor, &patch);
    set_version(&list[1], "libyaml", (unsigned)major, (unsigned)minor, (unsigned)patch);
    set_version(&list[2], "yajl", yajl / 10000, yajl / 100 % 100, yajl % 100);
    set_version(&list[3], "xxhash", xxh / 10000, xxh / 100 % 100, xxh % 100);
}

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZER "address"
#else
#define SANITIZER "none"
#endif

static void emit_json(struct buf *out, const struct library *list)
{
    struct json j = json_make(out, true);
    json_object(&j);
    json_name_cstr(&j, "version", LINTEL_VERSION);
    json_name_cstr(&j, "compiler", COMPILER);
    json_name_cstr(&j, "sanitizer", SANITIZER);
    json_name_u64(&j, "snapshotVersion", SNAP_VERSION);
    json_name(&j, "libraries");
    json_object(&j);
    for (size_t i = 0; i < LIBRARIES_N; i++) {
        json_name_cstr(&j, list[i].name, list[i].version);
    }
    json_end_object(&j);
    json_end_object(&j);
    json_finish(&j);
}

static void emit_text(struct buf *out, const struct library *list)
{
    buf_addf(out, "lintel %s\ncompiler %s, sanitizer %s, snapshot version %d\nlibraries",
             LINTEL_VERSION, COMPILER, SANITIZER, SNAP_VERSION);
    for (size_t i = 0; i < LIBRARIES_N; i++) {
        buf_addf(out, "%s %s %s", i > 0 ? "," : "", list[i].name, list[i].version);
    }
    buf_add_char(out, '\n');
}

int command_version(const struct cli_args *a)
{
    struct library list[LIBRARIES_N] = {0};
    struct buf out;
    libraries_fill(list);
    buf_init(&out, VERSION_BYTES_MAX);
    if (cli_number(a, CLI_OPT_output) == 1) {
        emit_json(&out, list);
    } else {
        emit_text(&out, list);
    }
    int status = out_result(&out);
    buf_fini(&out);
    return status;
}
