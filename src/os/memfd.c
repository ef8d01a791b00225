/* Anonymous files. Old kernels do not know MFD_NOEXEC_SEAL and say EINVAL: asked again without. */
#include "os/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

enum {
    SEALS_SIZE = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
    SEALS_ALL = SEALS_SIZE | F_SEAL_WRITE,
};

enum err memfd_make(const char *name, int *ret_fd)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) {
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    if (fd < 0) {
        return E_SYS;
    }
    *ret_fd = fd;
    return E_OK;
}

enum err memfd_write(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t done = write(fd, at, n);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return E_SYS;
        }
        at += done;
        n -= (size_t)done;
    }
    return E_OK;
}

enum err memfd_seal(int fd)
{
    return fcntl(fd, F_ADD_SEALS, SEALS_ALL) == 0 ? E_OK : E_SYS;
}

enum err memfd_seal_size(int fd)
{
    return fcntl(fd, F_ADD_SEALS, SEALS_SIZE) == 0 ? E_OK : E_SYS;
}

enum err memfd_make_shared(const char *name, size_t n, int *ret_fd)
{
    int fd = -1;
    TRY(memfd_make(name, &fd));
    if (ftruncate(fd, (off_t)n) < 0 || memfd_seal_size(fd) != E_OK) {
        int saved = errno;
        (void)close(fd); /* the first error counts */
        errno = saved;
        return E_SYS;
    }
    *ret_fd = fd;
    return E_OK;
}

/* ---- secrets ---- */

void memfd_unmap_secret(void *map, size_t n)
{
    if (map != NULL) {
        (void)munmap(map, n); /* cannot fail on our own mapping */
    }
}

void memfd_wipe_secret(void *map, size_t n)
{
    if (map != NULL) {
        explicit_bzero(map, n);
        memfd_unmap_secret(map, n);
    }
}

static enum err secret_fill(int fd, const void *p, size_t n, void **ret_map)
{
    if (ftruncate(fd, (off_t)n) < 0) {
        return E_SYS;
    }
    void *map = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        return E_SYS;
    }
    (void)madvise(map, n, MADV_DONTDUMP); /* every kernel that has memfd has it */
    (void)mlock(map, n);                  /* the readers say it when that is not allowed */
    mem_copy(map, p, n);
    if (fcntl(fd, F_ADD_SEALS, SEALS_SIZE | F_SEAL_FUTURE_WRITE) < 0) {
        memfd_wipe_secret(map, n);
        return E_SYS;
    }
    *ret_map = map;
    return E_OK;
}

enum err memfd_make_secret(const char *name, const void *p, size_t n, int *ret_fd, void **ret_map)
{
    int fd = -1;
    TRY(memfd_make(name, &fd));
    enum err e = secret_fill(fd, p, n, ret_map);
    if (e != E_OK) {
        int saved = errno;
        (void)close(fd); /* the first error counts */
        errno = saved;
        return e;
    }
    *ret_fd = fd;
    return E_OK;
}

bool memfd_is_sealed(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & SEALS_ALL) == SEALS_ALL;
}
