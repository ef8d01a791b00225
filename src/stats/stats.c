/* The shared area of counters: a memfd whose size is sealed, so that nobody can cut it under the
 * others' feet. */
#include "stats/stats.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/memfd.h"
#include "stats/endpoints.h"

enum kind { counter = 0, gauge = 1 }; /* the words of counters.def */

const struct stats_counter stats_counters[] = {
#define COUNTER(field, type, metric, labels, help)                                                 \
    {metric, labels, help, (type) == gauge, offsetof(struct stats_page, field)},
#include "stats/counters.def"
#undef COUNTER
};
const uint32_t stats_counter_n = sizeof(stats_counters) / sizeof(stats_counters[0]);

const struct stats_histogram stats_histograms[] = {
#define DURATIONS(field, metric, labels, help)                                                     \
    {metric, labels, help, offsetof(struct stats_page, field)},
#include "stats/durations.def"
#undef DURATIONS
};
const uint32_t stats_histogram_n = sizeof(stats_histograms) / sizeof(stats_histograms[0]);

static size_t area_bytes(uint32_t worker_n)
{
    return stats_endpoint_offset(worker_n) + worker_n * sizeof(struct stats_endpoint_region);
}

static enum err area_map(int fd, size_t bytes, struct stats_area **ret)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return E_SYS;
    }
    *ret = p;
    return E_OK;
}

static enum err area_size(int fd, size_t bytes)
{
    if (ftruncate(fd, (off_t)bytes) < 0) {
        return E_SYS;
    }
    TRY(memfd_seal_size(fd));
    return fcntl(fd, F_SETFD, 0) == 0 ? E_OK : E_SYS; /* survives exec */
}

enum err stats_create(uint32_t worker_n, struct stats_area **ret, int *ret_fd)
{
    int fd;
    struct stats_area *area = NULL;
    must(worker_n <= WORKERS_MAX);
    TRY(memfd_make("lintel-stats", &fd));
    enum err e = area_size(fd, area_bytes(worker_n));
    if (e == E_OK) {
        e = area_map(fd, area_bytes(worker_n), &area);
    }
    if (e != E_OK) {
        (void)close(fd); /* e says what went wrong */
        return e;
    }
    area->magic = STATS_MAGIC;
    area->bytes = (uint32_t)area_bytes(worker_n);
    area->worker_n = worker_n;
    area->is_per_host = 1;
    *ret = area;
    *ret_fd = fd;
    return E_OK;
}

static bool area_is_sound(const struct stats_area *area, size_t bytes)
{
    return area->magic == STATS_MAGIC && area->bytes == bytes && area->worker_n <= WORKERS_MAX &&
           area_bytes(area->worker_n) == bytes;
}

enum err stats_open(int fd, struct stats_area **ret)
{
    struct stat st;
    struct stats_area *area = NULL;
    if (fstat(fd, &st) < 0) {
        return E_SYS;
    }
    size_t bytes = (size_t)st.st_size;
    if (bytes < area_bytes(0) || bytes > area_bytes(WORKERS_MAX)) {
        return E_PROTO;
    }
    TRY(area_map(fd, bytes, &area));
    if (!area_is_sound(area, bytes)) {
        (void)munmap(area, bytes); /* never used */
        return E_PROTO;
    }
    *ret = area;
    return E_OK;
}

void stats_close(struct stats_area *s)
{
    if (s != NULL) {
        (void)munmap(s, area_bytes(s->worker_n)); /* fails only for an address that is not ours */
    }
}

void stats_page_clear_gauges(struct stats_page *page)
{
    for (uint32_t i = 0; i < stats_counter_n; i++) {
        if (stats_counters[i].is_gauge) {
            stats_set((stats_value *)(void *)((char *)page + stats_counters[i].offset), 0);
        }
    }
    stats_set(&page->pid, 0);
}
