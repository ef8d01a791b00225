/* controller/diagnostics.h: what is wrong with objects and files, in the log: one line when it
 * comes up, one when it is mended, none in between, however often a file is read again. */
#pragma once

#include "base/hash.h"
#include "document/diag.h"

enum {
    DIAGNOSTICS_KEPT_MAX = 20 * 1000, /* known by text; more are logged without being remembered */
    DIAGNOSTICS_LOGGED_MAX = 200, /* lines for each sweep; the rest are one line with a number */
};

/* Calls fn for everything that is wrong now. Errors: E_NOMEM. */
typedef enum err diagnostics_each_fn(void *arg, diag_fn *fn, void *fn_arg);

struct diagnostics {
    struct map known;    /* of struct known, by hash of the text */
    struct buf text;     /* scratch */
    uint64_t sweep;      /* number of the present one */
    uint64_t total;      /* that came up since the start */
    uint64_t logged;     /* lines since the last sweep */
    uint64_t not_logged; /* over the maximum since the last sweep */
    diag_fn *on_new;     /* NULL: nobody */
    void *on_new_arg;
};

void diagnostics_init(struct diagnostics *d);
void diagnostics_fini(struct diagnostics *d);
/* A diag_fn: diagnostics is the struct. Logs what was not known. */
void diagnostics_add(void *diagnostics, const struct diag *diag);
/* Calls fn once for each that comes up from now on. NULL: nobody any more. */
void diagnostics_on_new(struct diagnostics *d, diag_fn *fn, void *arg);
/* Compares with what is wrong now and logs what has gone. For quiet moments: O(all). */
void diagnostics_sweep(struct diagnostics *d, diagnostics_each_fn *each, void *arg);
