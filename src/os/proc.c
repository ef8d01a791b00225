/* Reads /proc/PID/stat and /proc/PID/statm. Source: proc(5). */
#include "os/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/str.h"

enum { PROC_FILE_BYTES = 1024, STAT_UTIME = 14, STAT_STIME = 15, STATM_RESIDENT = 2 };

static enum err file_read(const char *path, char *text, size_t cap, struct str *ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? E_NOTFOUND : E_SYS;
    }
    ssize_t n = read(fd, text, cap);
    int saved = errno;
    (void)close(fd); /* only read */
    errno = saved;
    if (n <= 0) {
        return n == 0 || saved == ESRCH ? E_NOTFOUND : E_SYS;
    }
    *ret = str_make(text, (size_t)n);
    return E_OK;
}

static enum err pid_file_read(pid_t pid, const char *name, char *text, size_t cap, struct str *ret)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name); /* always fits */
    return file_read(path, text, cap, ret);
}

/* Field number of blank-separated text, the first is 1. */
static bool field_get(struct str text, unsigned number, uint64_t *ret)
{
    struct str field = STR_EMPTY;
    for (unsigned i = 0; i < number; i++) {
        (void)str_cut(text, ' ', &field, &text); /* the last field has no blank behind it */
    }
    return str_to_u64(field, UINT64_MAX, ret);
}

/* Field 2 is the name in parentheses and may hold anything: fields count from the last ")". */
static struct str stat_from_state(struct str stat)
{
    size_t at = stat.n;
    while (at > 0 && stat.p[at - 1] != ')') {
        at--;
    }
    return str_from(stat, at + 1); /* starts at field 3 */
}

enum err proc_usage_read(pid_t pid, struct proc_usage *ret)
{
    char stat_text[PROC_FILE_BYTES], statm_text[PROC_FILE_BYTES];
    struct str stat, statm;
    uint64_t user, system, resident, shared;
    TRY(pid_file_read(pid, "stat", stat_text, sizeof(stat_text), &stat));
    TRY(pid_file_read(pid, "statm", statm_text, sizeof(statm_text), &statm));
    stat = stat_from_state(stat);
    if (!field_get(stat, STAT_UTIME - 2, &user) || !field_get(stat, STAT_STIME - 2, &system) ||
        !field_get(statm, STATM_RESIDENT, &resident) ||
        !field_get(statm, STATM_RESIDENT + 1, &shared)) {
        return E_PROTO;
    }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t ticks = (uint64_t)sysconf(_SC_CLK_TCK);
    *ret = (struct proc_usage){resident * page, shared * page,
                               (user + system) * (USEC_PER_SEC / ticks)};
    return E_OK;
}

/* "<quota> <period>" or "max <period>"; UINT32_MAX when there is no quota. */
static uint32_t quota_cpu_n(struct str text)
{
    struct str quota_text, period_text, rest;
    uint64_t quota, period;
    (void)str_cut(text, '\n', &text, &rest); /* without a newline it is the whole line */
    if (!str_cut(text, ' ', &quota_text, &period_text) ||
        !str_to_u64(quota_text, UINT32_MAX, &quota) ||
        !str_to_u64(period_text, UINT32_MAX, &period) || period == 0) {
        return UINT32_MAX;
    }
    uint64_t n = (quota + period - 1) / period;
    return n == 0 ? 1 : (uint32_t)n;
}

void proc_name_set(const char *name)
{
    (void)prctl(PR_SET_NAME, name); /* only for people */
}

bool proc_locked_raise(void)
{
    const struct rlimit wanted = {PROC_LOCKED_BYTES, PROC_LOCKED_BYTES};
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0) {
        return false;
    }
    if (limit.rlim_max < PROC_LOCKED_BYTES && setrlimit(RLIMIT_MEMLOCK, &wanted) == 0) {
        return true;
    }
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur >= PROC_LOCKED_BYTES;
}

uint32_t proc_cpu_n(void)
{
    char text[PROC_FILE_BYTES];
    struct str quota;
    cpu_set_t set;
    uint32_t n = 1;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        n = (uint32_t)CPU_COUNT(&set);
    }
    if (file_read("/sys/fs/cgroup/cpu.max", text, sizeof(text), &quota) == E_OK) {
        uint32_t most = quota_cpu_n(quota);
        n = n < most ? n : most;
    }
    return n;
}
