/* os/descriptors.h: how many descriptors a process may open, and the output it shares. */
#pragma once

#include "base/err.h"

#include <stdint.h>

/* Raises the soft limit to the hard one; children inherit it. *ret_limit is what holds now.
 * Errors: E_SYS. */
enum err descriptors_raise(uint64_t *ret_limit);

/* The file behind fd (a standard output) opened anew: appending, non-blocking, close-on-exec, so
 * that a slow reader never blocks us and the flags of the shared descriptor stay as they are. What
 * cannot be opened anew (a socket, a pipe of another user) is duplicated and *ret_is_shared is
 * true: it blocks as the original does. Errors: E_SYS. */
enum err output_reopen(int fd, int *ret_fd, bool *ret_is_shared);

/* A file that several processes append lines to: made when it is not there, appending, close-on-
 * exec; non-blocking, which says something about a FIFO only. Errors: E_SYS. */
enum err output_append(const char *path, int *ret_fd);
