/* lintel generate: manual pages and completion scripts, for the build. */
#include "cli/commands.h"
#include "cli/completion.h"
#include "cli/man.h"
#include "cli/out.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, PAGE_BYTES_MAX = 1 << 20, PAGE_MODE = 0644 };

static enum err write_file(const char *path, struct str content)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, PAGE_MODE);
    if (fd < 0) {
        return E_SYS;
    }
    enum err e = out_write(fd, content);
    return close(fd) == 0 ? e : E_SYS;
}

/* c NULL: lintel.1 */
static enum err write_page(const char *directory, const struct cli_command *c)
{
    char path[PATH_BYTES];
    struct wr w = wr_make(path, sizeof(path) - 1);
    struct buf page;
    wr_str(&w, str_from_cstr(directory));
    wr_str(&w, STR("/lintel"));
    if (c != NULL) {
        wr_char(&w, '-');
        wr_str(&w, str_from_cstr(c->name));
    }
    wr_str(&w, STR(".1"));
    path[wr_n(&w)] = 0;
    buf_init(&page, PAGE_BYTES_MAX);
    cli_man_emit(&page, c);
    enum err e = w.bad || page.bad ? E_LIMIT : write_file(path, buf_str(&page));
    if (e != E_OK) {
        out_complain("%s: cannot be written: %s", path, e == E_SYS ? strerror(errno) : err_text(e));
    }
    buf_fini(&page);
    return e;
}

static int generate_man(const char *directory)
{
    if (write_page(directory, NULL) != E_OK) {
        return EXIT_BAD;
    }
    for (size_t i = 0; i < CLI_COMMANDS_N; i++) {
        if (!cli_commands[i].is_hidden && write_page(directory, &cli_commands[i]) != E_OK) {
            return EXIT_BAD;
        }
    }
    return EXIT_WELL;
}

static int generate_completion(struct str name)
{
    static const struct {
        struct str name;
        enum cli_shell shell;
    } shells[] = {
        {STR_INIT("bash"), CLI_BASH},
        {STR_INIT("zsh"),  CLI_ZSH },
        {STR_INIT("fish"), CLI_FISH},
    };
    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
        if (str_eq(name, shells[i].name)) {
            struct buf out;
            buf_init(&out, PAGE_BYTES_MAX);
            cli_completion_emit(&out, shells[i].shell);
            int status = out_result(&out);
            buf_fini(&out);
            return status;
        }
    }
    out_complain("generate completion: \"%.*s\" is none of bash, zsh and fish", STR_ARG(name));
    return EXIT_USAGE;
}

int command_generate(const struct cli_args *a)
{
    struct str what = str_from_cstr(a->arguments[0]);
    if (str_eq(what, STR("man"))) {
        return generate_man(a->arguments[1]);
    }
    if (str_eq(what, STR("completion"))) {
        return generate_completion(str_from_cstr(a->arguments[1]));
    }
    out_complain("generate: \"%.*s\" is none of man and completion", STR_ARG(what));
    return EXIT_USAGE;
}
