/* The table behind enum reason. */
#include "base/reason.h"

static const struct {
    const char *name;
    uint16_t status;
    const char *text;
} reasons[REASONS_N] = {
#define REASON(name, status, text) [REASON_##name] = {#name, status, text},
#include "base/reasons.def"
#undef REASON
};

const char *reason_name(enum reason r)
{
    return reasons[r].name;
}

uint16_t reason_status(enum reason r)
{
    return reasons[r].status;
}

const char *reason_text(enum reason r)
{
    return reasons[r].text;
}
