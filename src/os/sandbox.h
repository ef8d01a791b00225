/* os/sandbox.h: takes from a worker everything it does not need. Once entered there is no way back.
 *
 *   identity      real, effective and saved user and group, no supplementary groups (as root only)
 *   capabilities  none: effective, permitted, inheritable, ambient, bounding
 *   new programs  no_new_privs
 *   files         Landlock: none; nor listening on further TCP ports, signals to outside, abstract
 *                 Unix sockets, as far as the kernel's Landlock knows these
 *   system calls  seccomp, an allow-list in three classes:
 *     allowed     what an event loop over inherited descriptors and TCP needs
 *     refused     everything else: files, bind, kill and the like with EPERM; the rest, calls
 *                 with arguments that are not on the list included, with ENOSYS, so that a library
 *                 takes its older way (a new libc must not end the process)
 *     fatal       what only an intruder calls (execve, ptrace, bpf, mount ...): SIGSYS at once
 *
 * Builds with AddressSanitizer also allow what its leak check needs: reading files, clone, ptrace;
 * there Landlock still refuses every file outside of /proc. */
#pragma once

#include "base/err.h"

#include <stdint.h>

enum { SANDBOX_NOBODY = 65534 };

struct sandbox_options {
    uint32_t uid, gid; /* taken on when started as root; SANDBOX_NOBODY unless configured */
};

/* Told once for each protection that this kernel or container does not offer: its name and errno.
 * The rest is still put in place. */
typedef void sandbox_report_fn(void *arg, const char *what, int error);

/* Call when every file is open and every limit set. Errors: E_REFUSED (root could be had again
 * after the drop: do not go on). Context: worker, one thread, before the first client byte. */
enum err sandbox_enter(const struct sandbox_options *o, sandbox_report_fn *report, void *arg);
