/* Texts of enum err, and the end of the road for a violated guarantee. */
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

const char *err_text(enum err e)
{
    switch (e) {
    case E_OK:
        return "ok";
    case E_AGAIN:
        return "not complete yet";
    case E_CLOSED:
        return "closed by the peer";
    case E_PROTO:
        return "malformed";
    case E_LIMIT:
        return "over a limit";
    case E_NOMEM:
        return "out of memory";
    case E_NOTFOUND:
        return "not found";
    case E_REFUSED:
        return "refused";
    case E_TIMEOUT:
        return "timed out";
    case E_SYS:
        return "system call failed";
    }
    return "unknown error";
}

void must_failed(const char *file, int line, const char *what)
{
    (void)fprintf(stderr, "lintel: bug: %s:%d: %s does not hold\n", file, line, what);
    abort();
}
