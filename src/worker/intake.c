/* Receives, verifies and applies segments. */
#include "worker/intake.h"

#include "log/log.h"

#include <sys/epoll.h>
#include <unistd.h>

static deferred_fn intake_on_work;

static struct snapshot *snapshot_of(const struct intake *i)
{
    return i->snapshots[i->stream];
}

static void intake_refuse(struct intake *i, const char *what, const char *why)
{
    stats_add(&i->stats->segments_refused, 1);
    log_line(LOG_ERROR, "snapshot segment refused stream=%s generation=%llu what=\"%s\" why=\"%s\"",
             i->stream == CONTROL_SECRETS ? "secrets" : "routes",
             (unsigned long long)snapshot_of(i)->generation, what, why);
}

static void intake_drop(struct intake *i)
{
    snapshot_segment_unref(i->segment);
    i->segment = NULL;
}

/* Everything again, at most once until something was applied: a gap can only come from us. */
static void intake_resync(struct intake *i)
{
    struct control_message m = {.type = CONTROL_RESYNC};
    if (!i->is_resyncing && control_send(i->control_fd, &m, -1) == E_OK) {
        i->is_resyncing = true;
    }
}

/* The table is sorted by kind, and secret kinds are the last ones. */
static bool is_of_its_stream(const struct intake *i)
{
    uint32_t n = snapshot_segment_header(i->segment)->shard_n;
    if (n == 0) {
        return true;
    }
    return i->stream == CONTROL_SECRETS
               ? snapshot_segment_shard(i->segment, 0)->kind >= SNAP_SECRET_FIRST
               : snapshot_segment_shard(i->segment, n - 1)->kind < SNAP_SECRET_FIRST;
}

static void intake_check_lock(struct intake *i)
{
    if (i->stream == CONTROL_SECRETS && !snapshot_segment_is_locked(i->segment) &&
        !i->is_unlocked_told) {
        i->is_unlocked_told = true;
        log_line(LOG_WARN, "private keys may be swapped out: RLIMIT_MEMLOCK is too low for them");
    }
}

static void intake_apply(struct intake *i)
{
    if (!is_of_its_stream(i)) {
        intake_refuse(i, "holds what belongs to the other stream", err_text(E_PROTO));
        return;
    }
    intake_check_lock(i);
    enum err e = snapshot_apply(snapshot_of(i), i->segment, i->on_change, i->arg);
    if (e == E_REFUSED) {
        intake_resync(i);
    }
    if (e != E_OK) {
        intake_refuse(i, "cannot be applied", err_text(e));
        return;
    }
    i->is_resyncing = false;
    stats_add(&i->stats->segments_applied, 1);
    if (i->stream == CONTROL_SECRETS) {
        return;
    }
    stats_set(&i->stats->generation, snapshot_of(i)->generation);
    stats_set(&i->stats->generation_applied_us, clock_wall());
    i->events->on_applied(i->arg);
}

static void intake_map(struct intake *i, const struct control_message *m, int fd)
{
    struct snapshot_fault fault = {.what = "no descriptor"};
    enum err e = E_PROTO;
    bool is_secret = m->type == CONTROL_SECRET;
    i->stream = is_secret ? CONTROL_SECRETS : CONTROL_ROUTES;
    if (m->generation > snapshot_of(i)->generation &&
        fd >= 0) { /* else: known already, after a resync */
        e = snapshot_segment_map(fd, SNAPSHOT_SEGMENT_BYTES_MAX,
                                 is_secret ? SNAPSHOT_SECRET : SNAPSHOT_SEALED, &i->segment,
                                 &fault);
        if (e != E_OK) {
            intake_refuse(i, fault.what, err_text(e));
        }
    }
    if (fd >= 0) {
        (void)close(fd); /* the mapping stays */
    }
}

static void intake_message(struct intake *i, const struct control_message *m, int fd)
{
    switch ((enum control_type)m->type) {
    case CONTROL_SEGMENT:
    case CONTROL_SECRET:
        intake_map(i, m, fd);
        return;
    case CONTROL_DRAIN:
        i->events->on_drain(i->arg, false);
        return;
    case CONTROL_LOG_REOPEN:
        i->events->on_log_reopen(i->arg, fd);
        return;
    case CONTROL_READY:
    case CONTROL_RESYNC:
        return; /* nobody sends us these */
    }
}

static void intake_receive(struct intake *i)
{
    struct control_message m;
    int fd;
    enum err e = control_receive(i->control_fd, &m, &fd);
    if (e == E_OK) {
        intake_message(i, &m, fd);
        return;
    }
    if (e == E_PROTO) {
        intake_refuse(i, "control message", "malformed");
        return;
    }
    i->is_readable = false;
    if (e != E_AGAIN) {
        loop_unwatch(i->loop, &i->watch);
        i->events->on_drain(i->arg, true);
    }
}

/* One piece of work each tick, so that requests never wait for a large segment. */
static void intake_work(struct intake *i)
{
    struct snapshot_fault fault;
    if (i->segment == NULL) {
        intake_receive(i);
    } else {
        enum err e = snapshot_segment_verify(i->segment, SNAPSHOT_VERIFY_STEP_BYTES, &fault);
        if (e == E_OK) {
            intake_apply(i);
        } else if (e != E_AGAIN) {
            intake_refuse(i, fault.what, err_text(e));
        }
        if (e != E_AGAIN) {
            intake_drop(i);
        }
    }
    if (i->segment != NULL || i->is_readable) {
        loop_defer(i->loop, &i->work, intake_on_work);
    }
}

static void intake_on_work(struct deferred *d)
{
    intake_work(container_of(d, struct intake, work));
}

static void intake_on_event(struct watch *w, uint32_t events)
{
    struct intake *i = container_of(w, struct intake, watch);
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        i->is_readable = true;
        intake_work(i);
    }
}

enum err intake_open(struct intake *i, struct loop *loop, int control_fd,
                     struct snapshot *const snapshots[CONTROL_STREAMS_N], struct stats_page *stats,
                     snapshot_change_fn *on_change, const struct intake_events *events, void *arg)
{
    *i = (struct intake){
        .loop = loop,
        .watch = {.fd = -1                   },
        .control_fd = control_fd,
        .snapshots = { snapshots[CONTROL_ROUTES], snapshots[CONTROL_SECRETS]},
        .on_change = on_change,
        .events = events,
        .arg = arg,
        .stats = stats,
    };
    return loop_watch(loop, &i->watch, control_fd, intake_on_event);
}

void intake_close(struct intake *i)
{
    loop_unwatch(i->loop, &i->watch);
    loop_undefer(&i->work);
    intake_drop(i);
}
