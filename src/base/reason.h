/* base/reason.h: the fixed list of reasons for every response that Lintel makes itself and every
 * request that it cuts off: in the access log, in metrics and in the x-lintel-reason field. */
#pragma once

#include <stdint.h>

enum reason {
#define REASON(name, status, text) REASON_##name,
#include "base/reasons.def"
#undef REASON
    REASONS_N
};

const char *reason_name(enum reason r); /* "no_route" */
uint16_t reason_status(enum reason r);  /* 0: no response can say it */
const char *reason_text(enum reason r);
