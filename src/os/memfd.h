/* os/memfd.h: bytes in an anonymous file that go to another process as a descriptor. */
#pragma once

#include "base/err.h"

#include <stddef.h>

/* Close-on-exec, never executable where the kernel can promise that (F_SEAL_EXEC, 6.3). The name is
 * only for people: /proc/PID/maps. Errors: E_SYS. */
enum err memfd_make(const char *name, int *ret_fd);
/* Appends n bytes. Errors: E_SYS. Context: any; blocks only for memory. */
enum err memfd_write(int fd, const void *p, size_t n);
/* From now on nobody can write, resize or unseal it; existing writable maps forbid it. Errors:
 * E_SYS. */
enum err memfd_seal(int fd);
/* From now on nobody can resize it; writing goes on. For shared memory. Errors: E_SYS. */
enum err memfd_seal_size(int fd);
/* True when memfd_seal() was done. False for files that cannot be sealed, too. */
bool memfd_is_sealed(int fd);

/* A memfd of n zero bytes whose size stays, for several processes to write to. Errors: E_SYS. */
enum err memfd_make_shared(const char *name, size_t n, int *ret_fd);
/* A memfd that holds n bytes of p and that nobody can write any more but its maker, through
 * *ret_map (n bytes, in memory that is not swapped out where that is allowed, and not dumped).
 * Errors: E_SYS. */
enum err memfd_make_secret(const char *name, const void *p, size_t n, int *ret_fd, void **ret_map);
/* Lets go of it without a change. map may be NULL. */
void memfd_unmap_secret(void *map, size_t n);
/* Overwrites what such a memfd holds, for everybody who has it, and unmaps it. map may be NULL. */
void memfd_wipe_secret(void *map, size_t n);
