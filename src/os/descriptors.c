/* The descriptor limit and the reopened output. */
#include "os/descriptors.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum err descriptors_raise(uint64_t *ret_limit)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return E_SYS;
    }
    if (limit.rlim_cur != limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
            return E_SYS;
        }
    }
    *ret_limit = limit.rlim_cur;
    return E_OK;
}

enum err output_reopen(int fd, int *ret_fd, bool *ret_is_shared)
{
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* always fits */
    int fresh = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    bool is_shared = fresh < 0;
    if (is_shared) {
        fresh = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    }
    if (fresh < 0) {
        return E_SYS;
    }
    *ret_fd = fresh;
    *ret_is_shared = is_shared;
    return E_OK;
}

enum err output_append(const char *path, int *ret_fd)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
    if (fd < 0) {
        return E_SYS;
    }
    *ret_fd = fd;
    return E_OK;
}
