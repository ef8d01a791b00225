/* cli/ask.h: a question to the health port of a running Lintel: one GET, blocking, with a timeout.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

enum { ASK_BYTES_MAX = 65 << 20 };

#define ASK_TIMEOUT_S 10

struct ask_answer {
    uint16_t status;
    struct buf bytes; /* head and body */
    struct str body;  /* points into bytes */
    bool is_served;   /* x-lintel-outcome: served */
};

/* server: "127.0.0.1:10254". On failure says what is wrong on standard error. Release with
 * ask_fini() in any case. */
enum err ask(struct ask_answer *ret, struct str server, struct str target);
void ask_fini(struct ask_answer *a);
/* The same, for views that answer with 200 or not at all; else says so, too: E_REFUSED. */
enum err ask_view(struct ask_answer *ret, struct str server, struct str target);
