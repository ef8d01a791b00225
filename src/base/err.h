/* base/err.h: the one error type of the tree, the macro that passes it on, and must().
 * Every run-time failure is an enum err; the attribute on the type makes an ignored one a warning.
 * must() states what our own code guarantees and stays on in release: never use it on bytes that
 * come from a peer, a file, the API or a snapshot. */
#pragma once

#include <stdbool.h>

#if defined(__clang__)
#define MUST_USE_TYPE __attribute__((warn_unused_result))
#else
#define MUST_USE_TYPE [[nodiscard]] /* gcc accepts it in -std=c17 */
#endif

enum MUST_USE_TYPE err {
    E_OK = 0,
    E_AGAIN,    /* would block or needs more input; an event is armed */
    E_CLOSED,   /* the peer ended cleanly */
    E_PROTO,    /* the peer, file or snapshot broke its format */
    E_LIMIT,    /* a configured maximum was reached */
    E_NOMEM,    /* out of memory */
    E_NOTFOUND, /* the thing named does not exist */
    E_REFUSED,  /* policy or the kernel says no; trying again will not help */
    E_TIMEOUT,  /* a named timeout passed */
    E_SYS,      /* a system call failed; errno says more */
};

/* Passes a failure to the caller. The only macro that returns: use it where nothing is held. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum err try_ = (expr);                                                                    \
        if (try_ != E_OK) {                                                                        \
            return try_;                                                                           \
        }                                                                                          \
    } while (0)

/* A short English text for logs, never NULL. */
const char *err_text(enum err e);

/* Ends the process with file, line and text; for violated guarantees of our own code. */
_Noreturn void must_failed(const char *file, int line, const char *what);

#define must(cond)                                                                                 \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0)) {                                                        \
            must_failed(__FILE__, __LINE__, #cond);                                                \
        }                                                                                          \
    } while (0)
