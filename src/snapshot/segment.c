/* One segment: mapped or borrowed, checked step by step, counted.
 *
 *   CHECKSUM --> SHARDS --> GOOD       nothing behind the header is believed before GOOD
 *       '-----------'-----> BAD        and stays so
 *
 * The header and the size of the table are checked when it is mapped. Each step looks at one block
 * of the checksum or one shard: bytes are read at most a constant number of times. */
#include "snapshot/snapshot.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "base/mem.h"
#include "snapshot/verify.h"
#include "snapshot/write.h"

enum { CHECKSUM_FROM = offsetof(struct snap_header, version), CHECKSUM_BLOCK = 64 * 1024 };

enum stage { STAGE_CHECKSUM, STAGE_SHARDS, STAGE_GOOD, STAGE_BAD };

struct snapshot_segment {
    const char *p;
    size_t n;
    size_t ref_n;
    bool is_mapped, is_locked;
    enum stage stage;
    size_t at;         /* first byte not looked at in this stage */
    uint64_t checksum; /* of the blocks before at */
    uint32_t shard;    /* the next one to verify */
    struct snapshot_fault fault;
};

static uint64_t checksum_add(uint64_t checksum, const char *p, size_t n)
{
    uint64_t pair[2] = {checksum, hash_bytes(p, n)};
    return hash_bytes(pair, sizeof(pair));
}

static size_t block_at(size_t at, size_t n)
{
    return n - at < CHECKSUM_BLOCK ? n - at : CHECKSUM_BLOCK;
}

uint64_t snapshot_checksum(const void *segment, size_t n)
{
    const char *p = segment;
    uint64_t checksum = 0;
    for (size_t at = CHECKSUM_FROM; at < n; at += block_at(at, n)) {
        checksum = checksum_add(checksum, p + at, block_at(at, n));
    }
    return checksum;
}

static const char *header_fault(const struct snap_header *h, size_t n)
{
    if (!str_eq(str_make(h->magic, sizeof(h->magic)), STR(SNAP_MAGIC))) {
        return "not a snapshot";
    }
    if (h->version != SNAP_VERSION) {
        return "made by another version";
    }
    if (h->bytes != n || n > SNAPSHOT_SEGMENT_BYTES_MAX) {
        return "wrong size";
    }
    if (h->shard_n > (n - sizeof(*h)) / sizeof(struct snap_ref)) {
        return "the table does not fit";
    }
    if (h->generation <= h->base_generation) {
        return "the generation is not after its base";
    }
    return NULL;
}

static enum err refuse(struct snapshot_fault *fault, enum err e, const char *what)
{
    *fault = (struct snapshot_fault){what, UINT32_MAX};
    return e;
}

static enum err segment_make(const void *p, size_t n, bool is_mapped, struct snapshot_segment **ret,
                             struct snapshot_fault *fault)
{
    must((uintptr_t)p % SNAP_ALIGN == 0);
    const char *what = n < sizeof(struct snap_header) ? "too short" : header_fault(p, n);
    if (what != NULL) {
        return refuse(fault, E_PROTO, what);
    }
    struct snapshot_segment *s = mem_alloc(sizeof(*s));
    if (s == NULL) {
        return refuse(fault, E_NOMEM, "out of memory");
    }
    *s = (struct snapshot_segment){
        .p = p, .n = n, .ref_n = 1, .is_mapped = is_mapped, .at = CHECKSUM_FROM};
    *ret = s;
    return E_OK;
}

enum err snapshot_segment_borrow(const void *p, size_t n, struct snapshot_segment **ret,
                                 struct snapshot_fault *fault)
{
    return segment_make(p, n, false, ret, fault);
}

/* The size of a file that may be mapped. */
static enum err map_size(int fd, size_t max_bytes, enum snapshot_origin origin, size_t *ret_n,
                         struct snapshot_fault *fault)
{
    const int write_seal = origin == SNAPSHOT_SECRET ? F_SEAL_FUTURE_WRITE : F_SEAL_WRITE;
    const int needed = write_seal | F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat st;
    if (origin != SNAPSHOT_FILE) {
        int seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0 || (seals & needed) != needed) {
            return refuse(fault, E_REFUSED, "not a sealed memfd");
        }
    }
    if (fstat(fd, &st) != 0) {
        return refuse(fault, E_SYS, "fstat");
    }
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(struct snap_header)) {
        return refuse(fault, E_PROTO, "too short");
    }
    if ((uint64_t)st.st_size > max_bytes) {
        return refuse(fault, E_LIMIT, "too large");
    }
    *ret_n = (size_t)st.st_size;
    return E_OK;
}

enum err snapshot_segment_map(int fd, size_t max_bytes, enum snapshot_origin origin,
                              struct snapshot_segment **ret, struct snapshot_fault *fault)
{
    size_t n = 0;
    TRY(map_size(fd, max_bytes, origin, &n, fault));
    /* Private: a shared mapping of a write-sealed memfd needs Linux 6.7. */
    void *p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        return refuse(fault, E_SYS, "mmap");
    }
    enum err e = segment_make(p, n, true, ret, fault);
    if (e != E_OK) {
        (void)munmap(p, n); /* cannot fail on our own mapping */
        return e;
    }
    if (origin == SNAPSHOT_SECRET) {
        (void)madvise(p, n, MADV_DONTDUMP); /* every kernel that has memfd has it */
        (*ret)->is_locked = mlock(p, n) == 0;
    }
    return E_OK;
}

bool snapshot_segment_is_locked(const struct snapshot_segment *s)
{
    return s->is_locked;
}

struct snapshot_segment *snapshot_segment_ref(struct snapshot_segment *s)
{
    s->ref_n++;
    return s;
}

void snapshot_segment_unref(struct snapshot_segment *s)
{
    if (s == NULL || --s->ref_n > 0) {
        return;
    }
    if (s->is_mapped) {
        (void)munmap((void *)(uintptr_t)s->p, s->n); /* cannot fail on our own mapping */
    }
    mem_free(s);
}

const struct snap_header *snapshot_segment_header(const struct snapshot_segment *s)
{
    return (const struct snap_header *)(const void *)s->p;
}

static const struct snap_ref *refs_of(const struct snapshot_segment *s)
{
    return (const struct snap_ref *)(const void *)(s->p + sizeof(struct snap_header));
}

static const struct snap_shard *shard_at(const struct snapshot_segment *s, uint32_t offset)
{
    return (const struct snap_shard *)(const void *)(s->p + offset);
}

const struct snap_shard *snapshot_segment_shard(const struct snapshot_segment *s, uint32_t i)
{
    must(s->stage == STAGE_GOOD && i < snapshot_segment_header(s)->shard_n);
    return shard_at(s, refs_of(s)[i].offset);
}

static const char *step_checksum(struct snapshot_segment *s)
{
    const struct snap_header *h = snapshot_segment_header(s);
    size_t n = block_at(s->at, s->n);
    s->checksum = checksum_add(s->checksum, s->p + s->at, n);
    s->at += n;
    if (s->at < s->n) {
        return NULL;
    }
    s->stage = STAGE_SHARDS;
    s->at = sizeof(*h) + h->shard_n * sizeof(struct snap_ref);
    return s->checksum == h->checksum ? NULL : "wrong checksum";
}

/* The place of shard i: right behind what comes before it. */
static const char *ref_fault(const struct snapshot_segment *s, const struct snap_ref *ref)
{
    if (ref->offset != s->at) {
        return "not right behind the shard before";
    }
    if (ref->bytes < sizeof(struct snap_shard) || ref->bytes > s->n - s->at ||
        ref->bytes % SNAP_ALIGN != 0 || ref->bytes > SNAPSHOT_SHARD_BYTES_MAX) {
        return "size out of range";
    }
    const struct snap_shard *shard = shard_at(s, ref->offset);
    if (shard->bytes != ref->bytes || shard->key_hash != ref->key_hash) {
        return "differs from its reference";
    }
    if (shard->is_deleted != 0 && snapshot_segment_header(s)->base_generation == 0) {
        return "deleted although there is nothing before";
    }
    return NULL;
}

static const char *step_shard(struct snapshot_segment *s, size_t *ret_bytes)
{
    const struct snap_ref *ref = &refs_of(s)[s->shard];
    const char *what = ref_fault(s, ref);
    if (what == NULL) {
        what = snap_shard_verify(shard_at(s, ref->offset), ref->bytes);
    }
    if (what == NULL && s->shard > 0 &&
        snap_shard_cmp(shard_at(s, ref[-1].offset), shard_at(s, ref->offset)) >= 0) {
        what = "the table is not sorted";
    }
    if (what != NULL) {
        return what;
    }
    s->at += ref->bytes;
    s->shard++;
    *ret_bytes = ref->bytes;
    return NULL;
}

/* One step; *ret_bytes is about what it looked at. */
static const char *step(struct snapshot_segment *s, size_t *ret_bytes)
{
    if (s->stage == STAGE_CHECKSUM) {
        *ret_bytes = block_at(s->at, s->n);
        return step_checksum(s);
    }
    if (s->shard < snapshot_segment_header(s)->shard_n) {
        return step_shard(s, ret_bytes);
    }
    if (s->at != s->n) {
        return "bytes behind the last shard";
    }
    s->stage = STAGE_GOOD;
    *ret_bytes = 0;
    return NULL;
}

enum err snapshot_segment_verify(struct snapshot_segment *s, size_t budget_bytes,
                                 struct snapshot_fault *fault)
{
    for (size_t done = 0, bytes = 0; s->stage < STAGE_GOOD; done += bytes) {
        if (done >= budget_bytes && done > 0) {
            return E_AGAIN;
        }
        bool is_shard = s->stage == STAGE_SHARDS && s->shard < snapshot_segment_header(s)->shard_n;
        const char *what = step(s, &bytes);
        if (what != NULL) {
            s->fault = (struct snapshot_fault){what, is_shard ? s->shard : UINT32_MAX};
            s->stage = STAGE_BAD;
        }
    }
    if (s->stage == STAGE_BAD) {
        *fault = s->fault;
        return E_PROTO;
    }
    return E_OK;
}
