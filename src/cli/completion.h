/* cli/completion.h: completion scripts for the shells. */
#pragma once

#include "base/buf.h"
#include "cli/table.h"

enum cli_shell { CLI_BASH, CLI_ZSH, CLI_FISH };

/* Arguments of c are paths. */
bool cli_completion_takes_files(const struct cli_command *c);
void cli_completion_emit(struct buf *out, enum cli_shell shell);
