/* os/spawn.h: starts another program with exactly the descriptors it is meant to have. */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <sys/types.h>

struct spawn_options {
    const char *path;        /* of the executable */
    const char *const *argv; /* NULL-terminated, argv[0] included */
    const int *keep;         /* descriptors that survive, under their numbers, besides 0, 1, 2 */
    size_t keep_n;
};

/* Starts it with an empty signal mask, every signal at its default but SIGINT, SIGTERM and SIGHUP,
 * which are ignored: a terminal or an init system sends those to the whole group, and only the
 * parent decides what they mean (it tells its children on their control sockets).
 * Returns once the new program runs. Errors: E_SYS (errno also for a failed exec: ENOENT, EACCES,
 * ENOEXEC ...). Context: a process with one thread; blocks until exec. */
enum err spawn(const struct spawn_options *o, pid_t *ret_pid);
