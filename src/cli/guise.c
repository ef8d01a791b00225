/* The names of the executable as a table, and look-ups in it. */
#include "cli/guise.h"

#define BIT(command) (1U << CLI_##command)
/* Serving is for the image, the hidden ones for the build and the supervisor. */
#define FOR_USERS (UINT32_MAX & ~(BIT(run) | BIT(generate) | BIT(controller)))

static const struct cli_guise guises[] = {
    {"lintel",                  "lintel",         UINT32_MAX, false},
    {"kubectl-lintel",          "kubectl lintel", FOR_USERS,  false},
    {"kubectl_complete-lintel", "kubectl lintel", FOR_USERS,  true },
};

const struct cli_guise *cli_guise_of(const char *argv0)
{
    struct str file = STR_EMPTY, rest = str_from_cstr(argv0);
    while (rest.n > 0) {
        (void)str_cut(rest, '/', &file, &rest); /* the last one has no slash behind it */
    }
    for (size_t i = 0; i < sizeof(guises) / sizeof(guises[0]); i++) {
        if (str_eq(file, str_from_cstr(guises[i].file))) {
            return &guises[i];
        }
    }
    return &guises[0];
}

bool cli_guise_has(const struct cli_guise *g, const struct cli_command *c)
{
    return (g->commands >> (c - cli_commands) & 1) != 0;
}

bool cli_guise_shows(const struct cli_guise *g, const struct cli_command *c)
{
    return cli_guise_has(g, c) && !c->is_hidden;
}
