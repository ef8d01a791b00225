/* cli/complete.h: what could come next on a command line, in the form in which kubectl asks the
 * completions of its plugins for it: a word a line, and what it means behind a tab; then a colon
 * and a number that tells the shell what else to do. */
#pragma once

#include "base/buf.h"
#include "cli/guise.h"

/* words: what was typed behind the plugin's name; the last one is being typed and may be empty. */
void cli_complete_emit(struct buf *out, const struct cli_guise *g, char *const *words, size_t n);
