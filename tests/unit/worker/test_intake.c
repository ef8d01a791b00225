/* Segments over a control socket into a snapshot: good, damaged, with a gap, large, and the end of
 * the supervisor. */
#include "worker/intake.h"

#include "../../lib/snapshot_make.h"
#include "os/memfd.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct loop *loop;
    struct snapshot snapshot, secrets;
    struct stats_page *stats;
    struct intake intake;
    int fds[2]; /* ours, the intake's */
    int applied, drained, orphaned, reopened, changed;
};

static void on_applied(void *arg)
{
    ((struct world *)arg)->applied++;
}

static void on_drain(void *arg, bool is_orphaned)
{
    struct world *w = arg;
    w->drained++;
    w->orphaned += is_orphaned ? 1 : 0;
}

static void on_log_reopen(void *arg, int fd)
{
    ((struct world *)arg)->reopened++;
    (void)close(fd); /* ours by contract */
}

static const struct intake_events events = {on_applied, on_drain, on_log_reopen};

static void on_change(void *arg, enum snap_kind kind, struct str key,
                      const struct snapshot_entry *entry)
{
    (void)kind;
    (void)key;
    (void)entry;
    ((struct world *)arg)->changed++;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    w->stats = aligned_alloc(64, sizeof(*w->stats));
    memset(w->stats, 0, sizeof(*w->stats));
    snapshot_init(&w->snapshot);
    snapshot_init(&w->secrets);
    struct snapshot *const snapshots[] = {&w->snapshot, &w->secrets};
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, w->fds), 0);
    assert_int_equal(
        intake_open(&w->intake, w->loop, w->fds[1], snapshots, w->stats, on_change, &events, w),
        E_OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    intake_close(&w->intake);
    snapshot_fini(&w->snapshot);
    snapshot_fini(&w->secrets);
    loop_free(w->loop);
    (void)close(w->fds[0]);
    (void)close(w->fds[1]);
    free(w->stats);
    free(w);
    return 0;
}

static int ticks(struct world *w, int max)
{
    int n = 0;
    do {
        assert_int_equal(loop_step(w->loop, 0), E_OK);
        n++;
    } while (n < max && (w->intake.segment != NULL || w->intake.is_readable));
    return n;
}

/* A segment with one service of endpoint_n endpoints. damage: flip that byte, 0 = none. */
static void bytes_make(struct buf *out, const struct buf *shard, uint64_t base, uint64_t generation)
{
    const struct snap_shard *list[] = {snap_at(shard, 0, struct snap_shard)};
    buf_init(out, SNAPSHOT_SHARD_BYTES_MAX);
    assert_int_equal(snapshot_segment_write(out, list, 1, base, generation), E_OK);
}

static int segment(uint64_t base, uint64_t generation, uint32_t endpoint_n, size_t damage,
                   bool is_sealed)
{
    struct buf shard, out;
    int fd;
    buf_init(&shard, SNAPSHOT_SHARD_BYTES_MAX);
    assert_int_equal(make_service(&shard, "shop", "web", "80", endpoint_n, 1), E_OK);
    bytes_make(&out, &shard, base, generation);
    assert_true(damage < out.n);
    if (damage > 0) {
        out.p[damage] = (char)(out.p[damage] ^ 1);
    }
    assert_int_equal(memfd_make("test", &fd), E_OK);
    assert_int_equal(memfd_write(fd, out.p, out.n), E_OK);
    if (is_sealed) {
        assert_int_equal(memfd_seal(fd), E_OK);
    }
    buf_fini(&shard);
    buf_fini(&out);
    return fd;
}

static void give(struct world *w, uint64_t base, uint64_t generation, int fd)
{
    struct control_message m = {
        .type = CONTROL_SEGMENT, .generation = generation, .base_generation = base};
    assert_int_equal(control_send(w->fds[0], &m, fd), E_OK);
    if (fd >= 0) {
        (void)close(fd);
    }
}

static const struct str key_name =
    STR_INIT("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");

static void key_make(struct buf *shard)
{
    buf_init(shard, SNAPSHOT_SHARD_BYTES_MAX);
    snap_shard_begin(shard, SNAP_KEY, sizeof(struct snap_key), key_name);
    struct snap_str key = snap_add_str(shard, STR("the key"));
    snap_at(shard, 0, struct snap_key)->key = key;
    assert_int_equal(snap_shard_end(shard), E_OK);
}

/* A segment with one shard, as that stream sends it. */
static void give_as(struct world *w, uint32_t type, struct buf *shard, uint64_t generation)
{
    struct control_message m = {.type = type, .generation = generation};
    struct buf out;
    void *map = NULL;
    int fd;
    bytes_make(&out, shard, 0, generation);
    if (type == CONTROL_SECRET) {
        assert_int_equal(memfd_make_secret("test", out.p, out.n, &fd, &map), E_OK);
    } else {
        assert_int_equal(memfd_make("test", &fd), E_OK);
        assert_int_equal(memfd_write(fd, out.p, out.n), E_OK);
        assert_int_equal(memfd_seal(fd), E_OK);
    }
    assert_int_equal(control_send(w->fds[0], &m, fd), E_OK);
    memfd_unmap_secret(map, out.n);
    (void)close(fd);
    buf_fini(&out);
    buf_fini(shard);
}

static bool has_asked_for_everything(struct world *w)
{
    struct control_message m;
    int fd;
    return control_receive(w->fds[0], &m, &fd) == E_OK && m.type == CONTROL_RESYNC;
}

static void a_good_segment_is_applied(void **state)
{
    struct world *w = *state;
    give(w, 0, 1, segment(0, 1, 2, 0, true));
    (void)ticks(w, 10);
    assert_int_equal(w->snapshot.generation, 1);
    assert_int_equal(w->applied, 1);
    assert_int_equal(w->changed, 1);
    assert_int_equal(stats_get(&w->stats->generation), 1);
    assert_int_equal(stats_get(&w->stats->segments_applied), 1);
    give(w, 1, 2, segment(1, 2, 3, 0, true));
    (void)ticks(w, 10);
    assert_int_equal(w->snapshot.generation, 2);
    assert_int_equal(w->changed, 2);
}

static void a_damaged_segment_leaves_the_old_state(void **state)
{
    struct world *w = *state;
    give(w, 0, 1, segment(0, 1, 2, 0, true));
    give(w, 1, 2, segment(1, 2, 2, 150, true)); /* a bit of a shard */
    give(w, 1, 2, segment(1, 2, 2, 3, true));   /* the magic */
    (void)ticks(w, 20);
    assert_int_equal(w->snapshot.generation, 1);
    assert_int_equal(stats_get(&w->stats->segments_refused), 2);
    give(w, 1, 2, segment(1, 2, 3, 0, true)); /* and the next good one is taken */
    (void)ticks(w, 20);
    assert_int_equal(w->snapshot.generation, 2);
}

static void what_others_could_still_change_is_refused(void **state)
{
    struct world *w = *state;
    give(w, 0, 1, segment(0, 1, 2, 0, false)); /* not sealed */
    give(w, 0, 1, -1);                         /* no descriptor */
    (void)ticks(w, 10);
    assert_int_equal(w->snapshot.generation, 0);
    assert_int_equal(stats_get(&w->stats->segments_refused), 2);
}

static void a_gap_asks_for_everything_once(void **state)
{
    struct world *w = *state;
    give(w, 0, 1, segment(0, 1, 2, 0, true));
    (void)ticks(w, 10);
    give(w, 5, 6, segment(5, 6, 2, 0, true)); /* 2..5 never came */
    give(w, 6, 7, segment(6, 7, 2, 0, true));
    (void)ticks(w, 10);
    assert_int_equal(w->snapshot.generation, 1);
    assert_int_equal(stats_get(&w->stats->segments_refused), 2);
    assert_true(has_asked_for_everything(w));
    assert_false(has_asked_for_everything(w));
    give(w, 0, 7, segment(0, 7, 2, 0, true)); /* the answer */
    give(w, 6, 7, segment(6, 7, 2, 0, true)); /* known already: no word about it */
    (void)ticks(w, 10);
    assert_int_equal(w->snapshot.generation, 7);
    assert_int_equal(stats_get(&w->stats->segments_refused), 2);
    give(w, 9, 10, segment(9, 10, 2, 0, true)); /* another gap may ask again */
    (void)ticks(w, 10);
    assert_true(has_asked_for_everything(w));
}

static void a_large_segment_is_verified_in_steps(void **state)
{
    struct world *w = *state;
    enum { ENDPOINTS = 60 * 1000 }; /* some 1.4 MB */
    give(w, 0, 1, segment(0, 1, ENDPOINTS, 0, true));
    int n = ticks(w, 1000);
    int least = (int)(ENDPOINTS * sizeof(struct snap_endpoint) / SNAPSHOT_VERIFY_STEP_BYTES);
    assert_true(n >= least && n < 10 * least + 20);
    assert_int_equal(w->snapshot.generation, 1);
}

static void drain_and_reopen_are_passed_on(void **state)
{
    struct world *w = *state;
    struct control_message m = {.type = CONTROL_LOG_REOPEN};
    assert_int_equal(control_send(w->fds[0], &m, STDERR_FILENO), E_OK);
    m.type = CONTROL_DRAIN;
    assert_int_equal(control_send(w->fds[0], &m, -1), E_OK);
    (void)ticks(w, 10);
    assert_int_equal(w->reopened, 1);
    assert_int_equal(w->drained, 1);
    assert_int_equal(w->orphaned, 0);
}

static void a_supervisor_that_is_gone_means_drain(void **state)
{
    struct world *w = *state;
    give(w, 0, 1, segment(0, 1, 2, 0, true)); /* what it sent before still counts */
    (void)close(w->fds[0]);
    w->fds[0] = dup(STDERR_FILENO);
    (void)ticks(w, 10);
    assert_int_equal(w->snapshot.generation, 1);
    assert_int_equal(w->drained, 1);
    assert_int_equal(w->orphaned, 1);
    (void)ticks(w, 10);
    assert_int_equal(w->drained, 1); /* once */
}

static void a_malformed_message_is_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(send(w->fds[0], "xyz", 3, 0), 3);
    give(w, 0, 1, segment(0, 1, 2, 0, true));
    (void)ticks(w, 10);
    assert_int_equal(stats_get(&w->stats->segments_refused), 1);
    assert_int_equal(w->snapshot.generation, 1);
}

static void it_may_end_in_the_middle_of_a_segment(void **state)
{
    struct world *w = *state;
    give(w, 0, 1, segment(0, 1, 60 * 1000, 0, true));
    (void)ticks(w, 3);
    assert_non_null(w->intake.segment);
} /* teardown: nothing leaks */

static void secrets_are_a_stream_of_their_own(void **state)
{
    struct world *w = *state;
    struct buf shard;
    key_make(&shard);
    give_as(w, CONTROL_SECRET, &shard, 5);
    (void)ticks(w, 10);
    assert_int_equal(w->secrets.generation, 5);
    assert_int_equal(w->snapshot.generation, 0);
    assert_int_equal(w->applied, 0); /* there is nothing to serve yet */
    const struct snapshot_entry *entry =
        snapshot_find(&w->secrets, SNAP_KEY, key_name, hash_str(key_name));
    assert_non_null(entry);
    assert_true(str_eq(
        snap_str_get(entry->shard, ((const struct snap_key *)(const void *)entry->shard)->key),
        STR("the key")));
    give(w, 0, 1, segment(0, 1, 2, 0, true));
    (void)ticks(w, 10);
    assert_int_equal(w->snapshot.generation, 1);
    assert_int_equal(stats_get(&w->stats->segments_refused), 0);
}

static void no_stream_takes_what_belongs_to_the_other(void **state)
{
    struct world *w = *state;
    struct buf shard;
    key_make(&shard);
    give_as(w, CONTROL_SEGMENT, &shard, 1);
    buf_init(&shard, SNAPSHOT_SHARD_BYTES_MAX);
    assert_int_equal(make_service(&shard, "shop", "web", "80", 1, 1), E_OK);
    give_as(w, CONTROL_SECRET, &shard, 1);
    (void)ticks(w, 10);
    assert_int_equal(w->snapshot.generation, 0);
    assert_int_equal(w->secrets.generation, 0);
    assert_int_equal(stats_get(&w->stats->segments_refused), 2);
    struct control_message m = {.type = CONTROL_SECRET, .generation = 1};
    int fd = segment(0, 1, 2, 0, true); /* others could not wipe it */
    assert_int_equal(control_send(w->fds[0], &m, fd), E_OK);
    (void)close(fd);
    (void)ticks(w, 10);
    assert_int_equal(stats_get(&w->stats->segments_refused), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_good_segment_is_applied, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_segment_leaves_the_old_state, setup, teardown),
        cmocka_unit_test_setup_teardown(what_others_could_still_change_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_gap_asks_for_everything_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_segment_is_verified_in_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(drain_and_reopen_are_passed_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_supervisor_that_is_gone_means_drain, setup, teardown),
        cmocka_unit_test_setup_teardown(a_malformed_message_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(secrets_are_a_stream_of_their_own, setup, teardown),
        cmocka_unit_test_setup_teardown(no_stream_takes_what_belongs_to_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(it_may_end_in_the_middle_of_a_segment, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
