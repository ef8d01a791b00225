/* os/proc.h: what /proc says about a process, and what the kernel lets it have. */
#pragma once

#include "base/clock.h"
#include "base/err.h"

#include <sys/types.h>

struct proc_usage {
    uint64_t resident_bytes;
    uint64_t shared_bytes; /* of these: files and shared memory, snapshots among them */
    usec_t cpu;            /* user + system, in clock ticks of usually 10 ms */
};

/* Errors: E_NOTFOUND (no such process, or nothing to be seen of it), E_PROTO, E_SYS. */
enum err proc_usage_read(pid_t pid, struct proc_usage *ret);

/* What ps shows as the name of this process; cut at 15 bytes. */
void proc_name_set(const char *name);

/* Raises what this process and its children may keep off the swap: to PROC_LOCKED_BYTES where that
 * is allowed, else as far as it is. False: to less than that. */
bool proc_locked_raise(void);
#define PROC_LOCKED_BYTES ((uint64_t)256 << 20)

/* CPUs this process may use, at least 1: the affinity mask, cut by the container's quota (cgroup v2
 * cpu.max, rounded up). */
uint32_t proc_cpu_n(void);
