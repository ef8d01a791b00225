/* Memory files: sealed means sealed. */
#include "os/memfd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_write_and_seal(void **state)
{
    char back[6] = {0};
    int fd;
    (void)state;
    assert_int_equal(memfd_make("test", &fd), E_OK);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(memfd_write(fd, "abc", 3), E_OK);
    assert_int_equal(memfd_write(fd, "de", 2), E_OK);
    assert_false(memfd_is_sealed(fd));
    assert_int_equal(memfd_seal(fd), E_OK);
    assert_true(memfd_is_sealed(fd));
    assert_int_equal(pread(fd, back, sizeof(back), 0), 5);
    assert_string_equal(back, "abcde");
    assert_int_equal(memfd_write(fd, "x", 1), E_SYS);
    assert_int_equal(ftruncate(fd, 1), -1);
    assert_true(mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    assert_int_equal(memfd_seal(fd), E_SYS); /* not even sealed again */
    close(fd);
}

static void test_seal_refused_while_mapped_writable(void **state)
{
    int fd;
    (void)state;
    assert_int_equal(memfd_make("test", &fd), E_OK);
    assert_int_equal(memfd_write(fd, "abc", 3), E_OK);
    void *p = mmap(NULL, 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(memfd_seal(fd), E_SYS);
    assert_false(memfd_is_sealed(fd));
    munmap(p, 3);
    close(fd);
}

static void test_seal_size_leaves_writing(void **state)
{
    int fd;
    (void)state;
    assert_int_equal(memfd_make("test", &fd), E_OK);
    assert_int_equal(ftruncate(fd, 100), 0);
    assert_int_equal(memfd_seal_size(fd), E_OK);
    assert_false(memfd_is_sealed(fd));
    assert_int_equal(ftruncate(fd, 101), -1);
    assert_int_equal(ftruncate(fd, 99), -1);
    assert_int_equal(pwrite(fd, "x", 1, 99), 1);
    close(fd);
}

static void test_other_files_are_not_sealed(void **state)
{
    int fd = open("/dev/null", O_RDONLY);
    (void)state;
    assert_false(memfd_is_sealed(fd));
    assert_false(memfd_is_sealed(-1));
    close(fd);
}

/* Nobody but the maker can change it, and he can for everybody. */
static void test_a_secret_is_wiped_for_everybody(void **state)
{
    int fd;
    void *map;
    char text[5] = "";
    (void)state;
    assert_int_equal(memfd_make_secret("test", "hush!", 5, &fd, &map), E_OK);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(fd, 4), -1);
    assert_true(mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    const char *reader = mmap(NULL, 5, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_memory_equal(reader, "hush!", 5);
    memfd_wipe_secret(map, 5);
    assert_memory_equal(reader, "\0\0\0\0", 5);
    assert_int_equal(pread(fd, text, 5, 0), 5);
    assert_memory_equal(text, "\0\0\0\0", 5);
    memfd_wipe_secret(NULL, 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_and_seal),
        cmocka_unit_test(test_seal_refused_while_mapped_writable),
        cmocka_unit_test(test_seal_size_leaves_writing),
        cmocka_unit_test(test_other_files_are_not_sealed),
        cmocka_unit_test(test_a_secret_is_wiped_for_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
