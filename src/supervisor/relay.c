/* The log of live segments: a stack of descriptors whose top is replaced by merged ones.
 * A worker's cursor counts the segments it was sent. When a merge replaces some of these, the
 * cursor falls back to what stayed, and the worker gets the merged one: its state, made by the old
 * ones, is between the merged one's base and its generation, which is all that applying it asks
 * for. */
#include "supervisor/supervisor_priv.h"

#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/vec.h"

static void log_cut(struct segment_log *log, size_t n)
{
    while (log->n > n) {
        (void)close(log->items[--log->n].fd); /* workers hold their own */
    }
}

void segment_log_fini(struct segment_log *log)
{
    log_cut(log, 0);
    mem_free(log->items);
    *log = (struct segment_log){0};
}

/* Numbers only: what is inside is the workers' business. */
static bool segment_follows(const struct segment_log *log, const struct control_message *m)
{
    if (m->keep_n > log->n || m->generation <= log->generation) {
        return false;
    }
    uint64_t base = m->keep_n == 0 ? 0 : log->items[m->keep_n - 1].message.generation;
    return m->base_generation == base;
}

enum err segment_log_add(struct segment_log *log, const struct control_message *m, int fd,
                         size_t *ret_keep_n)
{
    enum err e = segment_follows(log, m) ? E_OK : E_PROTO;
    if (e == E_OK) {
        e = VEC_ROOM(log->items, log->n, log->cap, SEGMENTS_LIVE_MAX);
    }
    if (e != E_OK) {
        (void)close(fd); /* ours by contract */
        return e;
    }
    log_cut(log, m->keep_n);
    log->items[log->n++] = (struct segment){fd, *m};
    log->generation = m->generation;
    *ret_keep_n = m->keep_n;
    return E_OK;
}
