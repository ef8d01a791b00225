/* The snapshot file: what is saved comes back; a damaged or missing one changes nothing. */
#include "publish/publish.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "world.h"

struct desk {
    struct stats_area *stats;
    int stats_fd;
    struct publish *publish;
    char directory[32], path[64], fresh[64];
};

static void publisher_open(struct desk *d)
{
    const struct publish_options o = {.control_fd = -1, .stats = d->stats};
    assert_int_equal(publish_new(&o, &d->publish), E_OK);
}

static void desk_open(struct desk *d)
{
    *d = (struct desk){.directory = "/tmp/lintel-test-XXXXXX"};
    assert_non_null(mkdtemp(d->directory));
    snprintf(d->path, sizeof(d->path), "%s/snapshot", d->directory);
    snprintf(d->fresh, sizeof(d->fresh), "%s/snapshot.new", d->directory);
    assert_int_equal(stats_create(1, &d->stats, &d->stats_fd), E_OK);
    publisher_open(d);
}

static void desk_close(struct desk *d)
{
    publish_free(d->publish);
    stats_close(d->stats);
    close(d->stats_fd);
    unlink(d->path);
    assert_int_equal(access(d->fresh, F_OK), -1); /* never left behind */
    assert_int_equal(rmdir(d->directory), 0);
}

/* Services 0 .. n-1 with i endpoints each, saved. */
static void saved(struct desk *d, unsigned n)
{
    bool is_new;
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(world_add(d->publish, i, i), E_OK);
    }
    assert_int_equal(publish_commit(d->publish, true, &is_new), E_OK);
    assert_int_equal(publish_save(d->publish, d->path), E_OK);
}

static void restart(struct desk *d)
{
    publish_free(d->publish);
    publisher_open(d);
}

static void test_round_trip(void **state)
{
    struct snapshot_fault fault;
    struct desk d;
    struct stat st;
    bool is_new;
    (void)state;
    desk_open(&d);
    saved(&d, 20);
    assert_int_equal(stat(d.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    restart(&d);
    assert_int_equal(publish_load(d.publish, d.path, &fault), E_OK);
    assert_int_equal(publish_state(d.publish)->generation, 2); /* a new one, not that of the file */
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(world_value(publish_state(d.publish), i), (int)i);
    }
    /* the first whole compile afterwards takes away what is gone since and sends only changes */
    for (unsigned i = 1; i < 20; i++) {
        assert_int_equal(world_add(d.publish, i, i), E_OK);
    }
    assert_int_equal(publish_commit(d.publish, true, &is_new), E_OK);
    assert_true(is_new);
    assert_int_equal(world_value(publish_state(d.publish), 0), -1);
    assert_int_equal(world_value(publish_state(d.publish), 19), 19);
    desk_close(&d);
}

static void test_save_replaces_and_same_state_is_same_bytes(void **state)
{
    char before[8192], after[8192];
    struct snapshot_fault fault;
    struct desk d;
    bool is_new;
    (void)state;
    desk_open(&d);
    saved(&d, 5);
    int old = open(d.path, O_RDONLY | O_CLOEXEC);
    ssize_t before_n = pread(old, before, sizeof(before), 0);
    assert_int_equal(world_add(d.publish, 9, 9), E_OK);
    assert_int_equal(publish_commit(d.publish, false, &is_new), E_OK);
    assert_int_equal(publish_save(d.publish, d.path), E_OK);
    assert_int_equal(pread(old, after, sizeof(after), 0), before_n); /* readers keep the old one */
    assert_memory_equal(before, after, (size_t)before_n);
    close(old);
    restart(&d);
    assert_int_equal(publish_load(d.publish, d.path, &fault), E_OK);
    assert_int_equal(world_value(publish_state(d.publish), 9), 9);
    desk_close(&d);
}

static void test_nothing_to_save_or_load(void **state)
{
    struct snapshot_fault fault;
    struct desk d;
    (void)state;
    desk_open(&d);
    assert_int_equal(publish_save(d.publish, d.path), E_NOTFOUND);
    assert_int_equal(publish_load(d.publish, d.path, &fault), E_NOTFOUND);
    assert_int_equal(publish_load(d.publish, d.directory, &fault), E_SYS);
    assert_int_equal(errno, EISDIR);
    assert_int_equal(publish_state(d.publish)->generation, 0);
    desk_close(&d);
}

static void test_failed_save_keeps_the_old_file(void **state)
{
    struct snapshot_fault fault;
    struct desk d;
    bool is_new;
    (void)state;
    desk_open(&d);
    saved(&d, 3);
    assert_int_equal(mkdir(d.fresh, 0700), 0); /* in the way */
    assert_int_equal(world_add(d.publish, 9, 9), E_OK);
    assert_int_equal(publish_commit(d.publish, false, &is_new), E_OK);
    assert_int_equal(publish_save(d.publish, d.path), E_SYS);
    assert_int_equal(rmdir(d.fresh), 0);
    restart(&d);
    assert_int_equal(publish_load(d.publish, d.path, &fault), E_OK);
    assert_int_equal(world_value(publish_state(d.publish), 2), 2);
    assert_int_equal(world_value(publish_state(d.publish), 9), -1);
    desk_close(&d);
}

/* Every byte flipped, every length cut: refused, and the state stays as it was. */
static void test_damage(void **state)
{
    char bytes[4096];
    struct snapshot_fault fault;
    struct desk d;
    (void)state;
    desk_open(&d);
    saved(&d, 3);
    int fd = open(d.path, O_RDWR | O_CLOEXEC);
    ssize_t n = pread(fd, bytes, sizeof(bytes), 0);
    assert_true(n > 100 && n < (ssize_t)sizeof(bytes));
    for (ssize_t i = 0; i < n; i++) {
        /* the generation's own eight bytes are not covered by the checksum and may be any number */
        bool is_generation = i >= (ssize_t)offsetof(struct snap_header, generation) &&
                             i < (ssize_t)offsetof(struct snap_header, base_generation);
        char flipped = (char)(bytes[i] ^ 0x40);
        assert_int_equal(pwrite(fd, &flipped, 1, i), 1);
        restart(&d);
        fault.what = NULL;
        enum err e = publish_load(d.publish, d.path, &fault);
        assert_true(e == E_PROTO || (is_generation && e == E_OK));
        assert_non_null(fault.what);
        assert_int_equal(publish_state(d.publish)->generation == 0, e != E_OK);
        assert_int_equal(pwrite(fd, &bytes[i], 1, i), 1);
    }
    for (ssize_t cut = n - 1; cut >= 0; cut--) {
        assert_int_equal(ftruncate(fd, cut), 0);
        restart(&d);
        assert_int_equal(publish_load(d.publish, d.path, &fault), E_PROTO);
    }
    close(fd);
    desk_close(&d);
}

static void test_failing_allocations(void **state)
{
    struct snapshot_fault fault;
    struct desk d;
    enum err e = E_NOMEM;
    (void)state;
    desk_open(&d);
    saved(&d, 3);
    for (size_t n = 1; e != E_OK; n++) {
        mem_fail_from(n);
        e = publish_save(d.publish, d.path);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
        assert_true(n < 100);
    }
    e = E_NOMEM;
    for (size_t n = 1; e != E_OK; n++) {
        restart(&d);
        mem_fail_from(n);
        e = publish_load(d.publish, d.path, &fault);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
        assert_true(n < 200);
    }
    assert_int_equal(world_value(publish_state(d.publish), 2), 2);
    desk_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_save_replaces_and_same_state_is_same_bytes),
        cmocka_unit_test(test_nothing_to_save_or_load),
        cmocka_unit_test(test_failed_save_keeps_the_old_file),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
