/* Results to standard output, complaints to standard error. */
#include "cli/out.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COMPLAINT_BYTES = 2048 };

enum err out_write(int fd, struct str s)
{
    while (s.n > 0) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno != EINTR) {
            return E_SYS;
        }
        s = str_from(s, n > 0 ? (size_t)n : 0);
    }
    return E_OK;
}

int out_result(const struct buf *b)
{
    if (b->bad) {
        out_complain("the result does not fit into memory");
        return 1;
    }
    if (out_write(STDOUT_FILENO, buf_str(b)) != E_OK) {
        out_complain("cannot write to standard output: %s", strerror(errno));
        return 1;
    }
    return 0;
}

void out_complain(const char *format, ...)
{
    char text[COMPLAINT_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n >= (int)sizeof(text)) {
        n = sizeof(text) - 1;
    }
    (void)out_write(STDERR_FILENO, STR("lintel: ")); /* nobody else to tell */
    (void)out_write(STDERR_FILENO, str_make(text, n < 0 ? 0 : (size_t)n));
    (void)out_write(STDERR_FILENO, STR("\n"));
}

bool out_has_color(int fd)
{
    const char *off = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) == 1 && (off == NULL || off[0] == 0) &&
           (term == NULL || !str_eq(str_from_cstr(term), STR("dumb")));
}
