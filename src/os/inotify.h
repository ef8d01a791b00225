/* os/inotify.h: the kernel's notices of changes in directories.
 * A directory is watched by what it is (its inode), not by its path: two paths to one directory get
 * one number. Notices that were under way when a watch ended still come; their number is unknown.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <sys/inotify.h> /* IN_CLOSE_WRITE and its like */

/* Non-blocking, close-on-exec. Errors: E_LIMIT (too many for this user), E_SYS (not available). */
enum err inotify_open(int *ret_fd);
/* Watches what changes in the directory that path leads to (symbolic links are followed) and what
 * happens to itself. Errors: E_NOTFOUND (gone, or no directory), E_LIMIT (out of watches),
 * E_REFUSED (no permission to read it), E_SYS. */
enum err inotify_watch_directory(int fd, const char *path, int *ret_watch);
void inotify_unwatch(int fd, int watch);

/* watch is -1 for IN_Q_OVERFLOW; name is empty when it is about the watched directory itself. */
typedef void inotify_fn(void *arg, int watch, uint32_t mask, struct str name);
/* Reads what is there, a bounded part of it when there is much: then the descriptor stays readable.
 * Errors: E_SYS. */
enum err inotify_each(int fd, inotify_fn *fn, void *arg);
