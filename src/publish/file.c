/* The snapshot file. */
#include "publish/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "os/memfd.h"
#include "snapshot/write.h"

/* ---- loading ---- */

static enum err file_fill(int fd, struct buf *out)
{
    for (;;) {
        if (!buf_reserve(out, 1)) {
            return out->n == out->max ? E_LIMIT : E_NOMEM;
        }
        ssize_t n = read(fd, out->p + out->n, out->cap - out->n);
        if (n < 0 && errno != EINTR) {
            return E_SYS;
        }
        if (n == 0) {
            return E_OK;
        }
        out->n += n > 0 ? (size_t)n : 0;
    }
}

static enum err file_read(const char *path, struct buf *out)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? E_NOTFOUND : E_SYS;
    }
    enum err e = fstat(fd, &st) < 0 ? E_SYS : E_OK;
    if (e == E_OK && st.st_size > SNAPSHOT_SEGMENT_BYTES_MAX) {
        e = E_LIMIT;
    }
    if (e == E_OK) {
        (void)buf_reserve(out, (size_t)st.st_size + 1); /* file_fill() sees what is missing */
        e = file_fill(fd, out);
    }
    (void)close(fd); /* only read */
    return e;
}

static enum err segment_verify(struct snapshot_segment *segment, struct snapshot_fault *fault)
{
    enum err e;
    do {
        e = snapshot_segment_verify(segment, SNAPSHOT_SEGMENT_BYTES_MAX, fault);
    } while (e == E_AGAIN);
    if (e == E_OK && snapshot_segment_header(segment)->base_generation != 0) {
        *fault = (struct snapshot_fault){"not a whole state", UINT32_MAX};
        return E_PROTO;
    }
    return e;
}

static enum err segment_add(struct publish *p, const struct snapshot_segment *segment)
{
    const struct snap_header *header = snapshot_segment_header(segment);
    for (uint32_t i = 0; i < header->shard_n; i++) {
        TRY(publish_add(p, snapshot_segment_shard(segment, i)));
    }
    return E_OK;
}

static enum err bytes_load(struct publish *p, const struct buf *bytes, struct snapshot_fault *fault)
{
    struct snapshot_segment *segment = NULL;
    bool is_new;
    TRY(snapshot_segment_borrow(bytes->p, bytes->n, &segment, fault));
    enum err e = segment_verify(segment, fault);
    if (e == E_OK) {
        e = segment_add(p, segment);
    }
    if (e == E_OK) {
        e = publish_commit(p, true, &is_new);
    }
    snapshot_segment_unref(segment);
    return e;
}

enum err publish_load(struct publish *p, const char *path, struct snapshot_fault *fault)
{
    struct buf bytes;
    *fault = (struct snapshot_fault){"cannot be read", UINT32_MAX};
    buf_init(&bytes, (size_t)SNAPSHOT_SEGMENT_BYTES_MAX + 1);
    enum err e = file_read(path, &bytes);
    if (e == E_OK) {
        e = bytes_load(p, &bytes, fault);
    }
    buf_fini(&bytes);
    return e;
}

/* ---- saving ---- */

static enum err state_emit(const struct snapshot *state, struct buf *out)
{
    size_t n = 0;
    const struct snap_shard **shards = mem_calloc(state->shards.n + 1, sizeof(*shards));
    if (shards == NULL) {
        return E_NOMEM;
    }
    map_each(slot, &state->shards)
    {
        const struct snapshot_entry *entry = slot->value;
        shards[n++] = entry->shard;
    }
    enum err e = snapshot_segment_write(out, shards, n, 0, state->generation);
    mem_free(shards);
    return e;
}

static enum err file_write(const char *path, const struct buf *bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return E_SYS;
    }
    enum err e = memfd_write(fd, bytes->p, bytes->n);
    if (e == E_OK && fsync(fd) < 0) {
        e = E_SYS;
    }
    int saved = errno;
    if (close(fd) < 0 && e == E_OK) {
        return E_SYS; /* some file systems say only now that the disk is full */
    }
    errno = saved;
    return e;
}

/* The rename itself survives a power cut only once the directory is on disk. */
static enum err directory_sync(const char *path)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    if (!str_to_cstr(n == 0 ? STR(".") : str_make(path, n), directory, sizeof(directory))) {
        errno = ENAMETOOLONG;
        return E_SYS;
    }
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return E_SYS;
    }
    enum err e = fsync(fd) < 0 && errno != EINVAL ? E_SYS : E_OK; /* EINVAL: it has no such thing */
    int saved = errno;
    (void)close(fd); /* only read */
    errno = saved;
    return e;
}

static enum err file_replace(const char *path, const struct buf *bytes)
{
    char fresh[PATH_MAX];
    int n = snprintf(fresh, sizeof(fresh), "%s.new", path);
    if (n < 0 || n >= (int)sizeof(fresh)) {
        errno = ENAMETOOLONG;
        return E_SYS;
    }
    enum err e = file_write(fresh, bytes);
    if (e == E_OK && rename(fresh, path) < 0) {
        e = E_SYS;
    }
    if (e != E_OK) {
        int saved = errno;
        (void)unlink(fresh); /* may not even exist */
        errno = saved;
        return e;
    }
    return directory_sync(path);
}

enum err publish_save(const struct publish *p, const char *path)
{
    const struct snapshot *state = publish_state(p);
    struct buf bytes;
    if (state->generation == 0) {
        return E_NOTFOUND;
    }
    buf_init(&bytes, SNAPSHOT_SEGMENT_BYTES_MAX);
    enum err e = state_emit(state, &bytes);
    if (e == E_OK) {
        e = file_replace(path, &bytes);
    }
    buf_fini(&bytes);
    return e;
}
