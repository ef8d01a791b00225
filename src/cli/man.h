/* cli/man.h: manual pages in roff, as man(7) has it. */
#pragma once

#include "base/buf.h"
#include "cli/table.h"

/* lintel-COMMAND(1), or lintel(1) when c is NULL. */
void cli_man_emit(struct buf *out, const struct cli_command *c);
