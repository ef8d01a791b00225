/* cli/help.h: --help: plain text, at most 80 columns. */
#pragma once

#include "base/buf.h"
#include "cli/guise.h"

/* Of the program itself when c is NULL. */
void cli_help_emit(struct buf *out, const struct cli_guise *g, const struct cli_command *c);
