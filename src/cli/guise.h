/* cli/guise.h: the names under which the one executable is called, and what it is then: lintel
 * itself, or the plugin that kubectl finds by its name and that has the commands for users only.
 * Source: https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/ */
#pragma once

#include "cli/table.h"

struct cli_guise {
    const char *file;   /* the executable's name */
    const char *name;   /* what its user types */
    uint32_t commands;  /* bit 1 << enum cli_command_id */
    bool is_completing; /* kubectl asks what could come next: cli/complete.h */
};

/* By the last part of argv[0]; lintel for a name that is not known, as /proc/self/exe. */
const struct cli_guise *cli_guise_of(const char *argv0);
bool cli_guise_has(const struct cli_guise *g, const struct cli_command *c);
/* As above, and help tells of it. */
bool cli_guise_shows(const struct cli_guise *g, const struct cli_command *c);
