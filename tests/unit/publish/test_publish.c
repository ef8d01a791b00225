/* From changes to segments: the state that workers get equals a model, the log stays short, nothing
 * is lost when the socket is full or memory runs out. */
#include "publish/publish.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "base/limits.h"
#include "world.h"

enum { KEYS = 300, LOG_MAX = 64 };

/* ---- the other side: a log of live segments as the supervisor keeps it, and workers ---- */

struct far_end {
    int fd;
    int fds[LOG_MAX];
    size_t n;
    uint64_t bytes; /* of all segments received */
};

struct replica {
    struct snapshot state;
    size_t cursor;
};

static size_t far_end_take(struct far_end *far, const struct control_message *m, int fd)
{
    assert_int_equal(m->type, CONTROL_SEGMENT);
    assert_true(m->keep_n <= far->n && m->keep_n < LOG_MAX);
    while (far->n > m->keep_n) {
        close(far->fds[--far->n]);
    }
    far->fds[far->n++] = fd;
    far->bytes += (uint64_t)lseek(fd, 0, SEEK_END);
    return m->keep_n;
}

/* Everything that waits in the socket; true when there was something. */
static bool far_end_receive2(struct far_end *far, struct replica *a, struct replica *b)
{
    struct control_message m;
    bool has_come = false;
    int fd;
    while (control_receive(far->fd, &m, &fd) == E_OK) {
        size_t keep_n = far_end_take(far, &m, fd);
        a->cursor = a->cursor < keep_n ? a->cursor : keep_n;
        b->cursor = b->cursor < keep_n ? b->cursor : keep_n;
        has_come = true;
    }
    return has_come;
}

static bool far_end_receive(struct far_end *far, struct replica *r)
{
    return far_end_receive2(far, r, r);
}

static void far_end_close(struct far_end *far)
{
    while (far->n > 0) {
        close(far->fds[--far->n]);
    }
    close(far->fd);
}

static void segment_apply(struct snapshot *to, int fd)
{
    struct snapshot_segment *segment;
    struct snapshot_fault fault;
    enum err e;
    assert_int_equal(snapshot_segment_map(fd, 1 << 30, SNAPSHOT_SEALED, &segment, &fault), E_OK);
    do {
        e = snapshot_segment_verify(segment, 4096, &fault);
    } while (e == E_AGAIN);
    assert_int_equal(e, E_OK);
    assert_int_equal(snapshot_apply(to, segment, NULL, NULL), E_OK);
    snapshot_segment_unref(segment);
}

/* A worker takes what it has not had yet. */
static void replica_catch_up(struct replica *r, const struct far_end *far)
{
    while (r->cursor < far->n) {
        segment_apply(&r->state, far->fds[r->cursor++]);
    }
}

static void state_is(const struct snapshot *s, const int *model)
{
    size_t n = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        assert_int_equal(world_value(s, i), model[i]);
        n += model[i] >= 0;
    }
    assert_int_equal(s->shards.n, n);
}

static void late_joiner_is(const struct far_end *far, const int *model)
{
    struct replica late = {0};
    snapshot_init(&late.state);
    replica_catch_up(&late, far);
    state_is(&late.state, model);
    snapshot_fini(&late.state);
}

/* ---- stage ---- */

struct stage {
    struct stats_area *stats;
    struct publish *publish;
    struct far_end far;
    int near_fd, stats_fd;
    unsigned refused_n;
    char refused_key[64];
};

static void on_refused(void *arg, enum snap_kind kind, struct str key, const char *what)
{
    struct stage *s = arg;
    assert_int_equal(kind, SNAP_SERVICE);
    assert_non_null(what);
    s->refused_n++;
    assert_true(str_to_cstr(key, s->refused_key, sizeof(s->refused_key)));
}

static void stage_open(struct stage *s)
{
    int pair[2];
    *s = (struct stage){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(stats_create(1, &s->stats, &s->stats_fd), E_OK);
    s->near_fd = pair[0];
    s->far.fd = pair[1];
    const struct publish_options o = {
        .control_fd = s->near_fd, .stats = s->stats, .on_refused = on_refused, .arg = s};
    assert_int_equal(publish_new(&o, &s->publish), E_OK);
}

static void stage_close(struct stage *s)
{
    publish_free(s->publish);
    far_end_close(&s->far);
    close(s->near_fd);
    close(s->stats_fd);
    stats_close(s->stats);
}

static void commit(struct stage *s, bool is_whole, bool is_new_expected)
{
    bool is_new = !is_new_expected;
    assert_int_equal(publish_commit(s->publish, is_whole, &is_new), E_OK);
    assert_int_equal(is_new, is_new_expected);
}

/* ---- tests ---- */

static void test_generations_go_on_from_the_counters(void **state)
{
    struct stage s;
    struct control_message m;
    int fd;
    (void)state;
    stage_open(&s);
    stats_set(&s.stats->generation, 41); /* of the controller before us */
    assert_int_equal(world_add(s.publish, 1, 1), E_OK);
    commit(&s, true, true);
    assert_int_equal(publish_state(s.publish)->generation, 42);
    assert_int_equal(stats_get(&s.stats->generation), 42);
    assert_true(stats_get(&s.stats->generation_published_us) > 0);
    assert_int_equal(control_receive(s.far.fd, &m, &fd), E_OK);
    assert_int_equal(m.keep_n, 0);
    assert_int_equal(m.base_generation, 0);
    assert_int_equal(m.generation, 42);
    close(fd);
    stage_close(&s);
}

static void test_nothing_changed_sends_nothing(void **state)
{
    struct stage s;
    struct replica r = {0};
    (void)state;
    stage_open(&s);
    snapshot_init(&r.state);
    commit(&s, false, false);
    commit(&s, true, true); /* an empty cluster is a state, too: workers wait for it */
    assert_true(far_end_receive(&s.far, &r));
    commit(&s, true, false);
    assert_int_equal(world_add(s.publish, 1, 1), E_OK);
    commit(&s, false, true);
    assert_true(far_end_receive(&s.far, &r));
    assert_int_equal(world_add(s.publish, 1, 1), E_OK); /* the same bytes */
    assert_int_equal(world_delete(s.publish, 2), E_OK); /* was never there */
    commit(&s, false, false);
    assert_false(far_end_receive(&s.far, &r));
    assert_int_equal(publish_state(s.publish)->generation, 2);
    snapshot_fini(&r.state);
    stage_close(&s);
}

static void test_last_addition_of_a_key_counts(void **state)
{
    struct stage s;
    (void)state;
    stage_open(&s);
    assert_int_equal(world_add(s.publish, 1, 1), E_OK);
    assert_int_equal(world_delete(s.publish, 1), E_OK);
    assert_int_equal(world_add(s.publish, 1, 3), E_OK);
    assert_int_equal(world_add(s.publish, 2, 3), E_OK);
    assert_int_equal(world_delete(s.publish, 2), E_OK);
    commit(&s, false, true);
    assert_int_equal(world_value(publish_state(s.publish), 1), 3);
    assert_int_equal(world_value(publish_state(s.publish), 2), -1);
    stage_close(&s);
}

static void test_whole_commit_deletes_the_rest(void **state)
{
    struct stage s;
    struct replica r = {0};
    (void)state;
    stage_open(&s);
    snapshot_init(&r.state);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(world_add(s.publish, i, i), E_OK);
    }
    commit(&s, true, true);
    assert_true(far_end_receive(&s.far, &r));
    replica_catch_up(&r, &s.far);
    for (unsigned i = 3; i < 10; i++) {
        assert_int_equal(world_add(s.publish, i, i), E_OK);
    }
    commit(&s, true, true);
    assert_true(far_end_receive(&s.far, &r));
    replica_catch_up(&r, &s.far);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(world_value(&r.state, i), i < 3 ? -1 : (int)i);
    }
    snapshot_fini(&r.state);
    stage_close(&s);
}

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*seed >> 33);
}

static void random_changes(struct stage *s, int *model, uint64_t *seed)
{
    unsigned n = 1 + next_random(seed) % (next_random(seed) % 10 == 0 ? 100 : 3);
    for (unsigned i = 0; i < n; i++) {
        unsigned key = next_random(seed) % KEYS;
        if (next_random(seed) % 4 == 0) {
            model[key] = -1;
            assert_int_equal(world_delete(s->publish, key), E_OK);
        } else {
            model[key] = (int)(next_random(seed) % 20);
            assert_int_equal(world_add(s->publish, key, (uint32_t)model[key]), E_OK);
        }
    }
}

static unsigned log2_of(uint64_t n)
{
    return n == 0 ? 0 : 63 - (unsigned)__builtin_clzll(n);
}

/* Each segment is at most half as large as the one before it and none is smaller than its header:
 * that bounds their number. */
static void log_is_short(const struct stage *s)
{
    size_t n;
    uint64_t bytes;
    publish_figures(s->publish, &n, &bytes);
    assert_int_equal(n, s->far.n);
    assert_true(n <= log2_of(bytes / sizeof(struct snap_header)) + 1);
    for (size_t i = 0; i + 1 < s->far.n; i++) {
        off_t older = lseek(s->far.fds[i], 0, SEEK_END);
        assert_true(older >= 2 * lseek(s->far.fds[i + 1], 0, SEEK_END));
    }
}

static void one_random_history(uint64_t seed)
{
    struct stage s;
    struct replica quick = {0}, slow = {0};
    int model[KEYS];
    stage_open(&s);
    snapshot_init(&quick.state);
    snapshot_init(&slow.state);
    for (unsigned i = 0; i < KEYS; i++) {
        model[i] = -1;
    }
    for (unsigned round = 0; round < 150; round++) {
        bool is_new;
        random_changes(&s, model, &seed);
        assert_int_equal(publish_commit(s.publish, false, &is_new), E_OK);
        (void)far_end_receive2(&s.far, &quick, &slow);
        replica_catch_up(&quick, &s.far);
        state_is(&quick.state, model);
        state_is(publish_state(s.publish), model);
        if (next_random(&seed) % 8 == 0) {
            replica_catch_up(&slow, &s.far);
            state_is(&slow.state, model);
            late_joiner_is(&s.far, model);
        }
        log_is_short(&s);
    }
    replica_catch_up(&slow, &s.far);
    state_is(&slow.state, model);
    snapshot_fini(&quick.state);
    snapshot_fini(&slow.state);
    stage_close(&s);
}

static void test_random_histories_equal_a_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        one_random_history(seed);
    }
}

/* A change of one shard costs what changed times a logarithm, not the whole state. */
static void test_small_changes_are_cheap(void **state)
{
    enum { ROUNDS = 400 };
    struct stage s;
    struct replica r = {0};
    size_t n;
    uint64_t whole;
    (void)state;
    stage_open(&s);
    for (unsigned i = 0; i < 3000; i++) {
        assert_int_equal(world_add(s.publish, i, 10), E_OK);
    }
    commit(&s, true, true);
    (void)far_end_receive(&s.far, &r);
    publish_figures(s.publish, &n, &whole);
    uint64_t shard_bytes = whole / 3000;
    s.far.bytes = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_int_equal(world_add(s.publish, i, 11), E_OK);
        commit(&s, false, true);
        (void)far_end_receive(&s.far, &r);
    }
    assert_true(s.far.bytes < ROUNDS * shard_bytes * 2 * (log2_of(ROUNDS) + 1));
    s.far.bytes = 0;
    for (unsigned i = 0; i < ROUNDS; i++) { /* always the same one */
        assert_int_equal(world_add(s.publish, 7, i), E_OK);
        commit(&s, false, true);
        (void)far_end_receive(&s.far, &r);
    }
    publish_figures(s.publish, &n, &whole);
    assert_true(n <= log2_of(whole / sizeof(struct snap_header)) + 1);
    stage_close(&s);
}

static void test_full_socket_keeps_order_and_loses_nothing(void **state)
{
    struct stage s;
    struct replica r = {0};
    bool is_new;
    unsigned key = 0;
    (void)state;
    stage_open(&s);
    snapshot_init(&r.state);
    while (!publish_is_waiting(s.publish)) {
        assert_int_equal(world_add(s.publish, key++, 1), E_OK);
        commit(&s, false, true);
        assert_true(key < 5000);
    }
    uint64_t generation = publish_state(s.publish)->generation;
    assert_int_equal(publish_flush(s.publish), E_AGAIN);
    assert_int_equal(world_add(s.publish, key++, 1), E_OK);
    assert_int_equal(publish_commit(s.publish, false, &is_new), E_AGAIN);
    assert_int_equal(publish_state(s.publish)->generation, generation);
    assert_true(far_end_receive(&s.far, &r));
    assert_int_equal(publish_flush(s.publish), E_OK);
    assert_false(publish_is_waiting(s.publish));
    commit(&s, false, true); /* what was added meanwhile */
    assert_true(far_end_receive(&s.far, &r));
    replica_catch_up(&r, &s.far);
    for (unsigned i = 0; i < key; i++) {
        assert_int_equal(world_value(&r.state, i), 1);
    }
    snapshot_fini(&r.state);
    stage_close(&s);
}

/* ---- secrets ---- */

static void key_add(struct stage *s, char digit, const char *text)
{
    char name[64];
    struct buf b;
    memset(name, digit, sizeof(name));
    buf_init(&b, 1 << 20);
    snap_shard_begin(&b, SNAP_KEY, sizeof(struct snap_key), str_make(name, sizeof(name)));
    struct snap_str key = snap_add_str(&b, str_from_cstr(text));
    snap_at(&b, 0, struct snap_key)->key = key;
    assert_int_equal(snap_shard_end(&b), E_OK);
    assert_int_equal(publish_add(s->publish, snap_at(&b, 0, const struct snap_shard)), E_OK);
    buf_fini(&b);
}

static bool memory_has(int fd, const char *text)
{
    char bytes[4096];
    ssize_t n = pread(fd, bytes, sizeof(bytes), 0);
    assert_true(n > 0 && n < (ssize_t)sizeof(bytes));
    return memmem(bytes, (size_t)n, text, strlen(text)) != NULL;
}

/* Its own numbers and messages; what was replaced is overwritten, but not before those that are
 * behind have caught up. */
static void test_secrets(void **state)
{
    struct stage s;
    struct control_message m;
    int fds[2];
    (void)state;
    stage_open(&s);
    publish_free(s.publish);
    const struct publish_options o = {.control_fd = s.near_fd, .is_secret = true, .stats = s.stats};
    assert_int_equal(publish_new(&o, &s.publish), E_OK);
    stats_set(&s.stats->secret_generation, 7);
    key_add(&s, 'a', "the first key");
    commit(&s, true, true);
    assert_int_equal(control_receive(s.far.fd, &m, &fds[0]), E_OK);
    assert_int_equal(m.type, CONTROL_SECRET);
    assert_int_equal(m.generation, 8);
    assert_int_equal(stats_get(&s.stats->secret_generation), 8);
    assert_int_equal(stats_get(&s.stats->generation), 0);
    key_add(&s, 'b', "the second key"); /* merged with the first */
    commit(&s, false, true);
    assert_int_equal(control_receive(s.far.fd, &m, &fds[1]), E_OK);
    usec_t now = clock_monotonic();
    publish_wipe(s.publish, now);
    assert_true(memory_has(fds[0], "the first key"));
    publish_wipe(s.publish, now + SECRET_KEPT + USEC_PER_SEC);
    assert_false(memory_has(fds[0], "the first key"));
    assert_true(memory_has(fds[1], "the first key") && memory_has(fds[1], "the second key"));
    publish_free(s.publish); /* the workers go on without us */
    s.publish = NULL;
    assert_true(memory_has(fds[1], "the first key"));
    close(fds[0]);
    close(fds[1]);
    stage_close(&s);
}

static void test_closed_socket(void **state)
{
    struct stage s;
    bool is_new;
    (void)state;
    stage_open(&s);
    close(s.far.fd);
    s.far.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(world_add(s.publish, 1, 1), E_OK);
    assert_int_equal(publish_commit(s.publish, false, &is_new), E_CLOSED);
    stage_close(&s);
}

static void damaged_add(struct stage *s, unsigned i)
{
    struct buf b;
    char name[16];
    (void)snprintf(name, sizeof(name), "s%u", i);
    buf_init(&b, 1 << 20);
    assert_int_equal(make_service(&b, "shop", name, "80", 5, 1), E_OK);
    snap_at(&b, 0, struct snap_service)->status = 99;
    assert_int_equal(publish_add(s->publish, snap_at(&b, 0, const struct snap_shard)), E_OK);
    buf_fini(&b);
}

static void test_faulty_shards_are_left_out(void **state)
{
    struct stage s;
    (void)state;
    stage_open(&s);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(world_add(s.publish, i, 1), E_OK);
    }
    commit(&s, true, true);
    assert_int_equal(world_add(s.publish, 1, 2), E_OK);
    damaged_add(&s, 2);
    damaged_add(&s, 4);
    assert_int_equal(world_add(s.publish, 5, 2), E_OK);
    commit(&s, false, true);
    assert_int_equal(s.refused_n, 2);
    assert_true(strcmp(s.refused_key, "shop/s2/80") == 0 ||
                strcmp(s.refused_key, "shop/s4/80") == 0);
    static const int expected[] = {1, 2, 1, 1, 1, 2}; /* 2 and 4: their last good content */
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(world_value(publish_state(s.publish), i), expected[i]);
    }
    damaged_add(&s, 0);
    commit(&s, false, false); /* nothing is left of it */
    assert_int_equal(s.refused_n, 3);
    stage_close(&s);
}

/* The n-th allocation fails, for each n until it succeeds: nothing is lost, nothing is sent twice.
 */
static void test_failing_allocations(void **state)
{
    (void)state;
    bool is_done = false;
    for (size_t n = 1; !is_done; n++) {
        struct stage s;
        bool is_new = false;
        stage_open(&s);
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(world_add(s.publish, i, 1), E_OK);
        }
        commit(&s, true, true);
        assert_int_equal(world_add(s.publish, 1, 2), E_OK);
        assert_int_equal(world_delete(s.publish, 2), E_OK);
        assert_int_equal(world_add(s.publish, 3, 1), E_OK);
        mem_fail_from(n);
        enum err e = publish_commit(s.publish, true, &is_new);
        mem_fail_from(0);
        is_done = e == E_OK;
        if (!is_done) {
            assert_int_equal(e, E_NOMEM);
            assert_int_equal(publish_state(s.publish)->generation, 1);
            assert_int_equal(world_value(publish_state(s.publish), 2), 1);
            commit(&s, true, true);
        }
        assert_int_equal(publish_state(s.publish)->generation, 2);
        static const int expected[] = {-1, 2, -1, 1};
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(world_value(publish_state(s.publish), i), expected[i]);
        }
        stage_close(&s);
        assert_true(n < 200);
    }
    struct publish *p = NULL;
    const struct publish_options o = {.control_fd = -1};
    mem_fail_from(1);
    enum err e = publish_new(&o, &p);
    mem_fail_from(0);
    assert_int_equal(e, E_NOMEM);
    publish_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generations_go_on_from_the_counters),
        cmocka_unit_test(test_nothing_changed_sends_nothing),
        cmocka_unit_test(test_last_addition_of_a_key_counts),
        cmocka_unit_test(test_whole_commit_deletes_the_rest),
        cmocka_unit_test(test_random_histories_equal_a_model),
        cmocka_unit_test(test_small_changes_are_cheap),
        cmocka_unit_test(test_full_socket_keeps_order_and_loses_nothing),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_closed_socket),
        cmocka_unit_test(test_faulty_shards_are_left_out),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
