/* cli/completion.h: completion scripts for the shells. */
#pragma once

#include "base/buf.h"

enum cli_shell { CLI_BASH, CLI_ZSH, CLI_FISH };

void cli_completion_emit(struct buf *out, enum cli_shell shell);
