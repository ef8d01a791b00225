/* The descriptor limit, and outputs opened anew. */
#include "os/descriptors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_raise_goes_to_the_hard_limit(void **state)
{
    struct rlimit limit;
    uint64_t got = 0;
    (void)state;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(descriptors_raise(&got), E_OK);
    assert_int_equal(got, limit.rlim_max);
    getrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(limit.rlim_cur, limit.rlim_max);
}

static void test_pipe_gets_its_own_flags(void **state)
{
    char block[4096] = {0};
    int pair[2], fd;
    bool is_shared = true;
    ssize_t n;
    (void)state;
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(output_reopen(pair[1], &fd, &is_shared), E_OK);
    assert_false(is_shared);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(fcntl(pair[1], F_GETFL) & O_NONBLOCK, 0); /* as it was */
    while ((n = write(fd, block, sizeof(block))) > 0) {
    }
    assert_int_equal(errno, EAGAIN); /* full: refused at once, not waited for */
    close(fd);
    close(pair[0]);
    close(pair[1]);
}

static void test_file_is_appended_to(void **state)
{
    char path[] = "/tmp/lintel-test-XXXXXX", text[8] = {0};
    int file = mkstemp(path), fd;
    bool is_shared = true;
    (void)state;
    assert_true(file >= 0);
    assert_int_equal(write(file, "ab", 2), 2);
    assert_int_equal(output_reopen(file, &fd, &is_shared), E_OK);
    assert_false(is_shared);
    assert_int_equal(write(fd, "cd", 2), 2);
    assert_int_equal(pread(file, text, sizeof(text), 0), 4);
    assert_string_equal(text, "abcd");
    unlink(path);
    close(fd);
    close(file);
}

static void test_socket_is_shared_and_said_so(void **state)
{
    int pair[2], fd;
    bool is_shared = false;
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(output_reopen(pair[0], &fd, &is_shared), E_OK);
    assert_true(is_shared);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(output_reopen(-1, &fd, &is_shared), E_SYS);
    close(fd);
    close(pair[0]);
    close(pair[1]);
}

static void test_append_makes_the_file_and_keeps_what_is_there(void **state)
{
    char folder[] = "/tmp/lintel-test-XXXXXX", path[64], text[16];
    int fd;
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/access.log", folder);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(output_append(path, &fd), E_OK);
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal(write(fd, "line\n", 5), 5);
        close(fd);
    }
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof(text)), 10);
    close(fd);
    unlink(path);
    rmdir(folder);
    assert_int_equal(output_append(path, &fd), E_SYS); /* its folder is gone */
    assert_int_equal(errno, ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raise_goes_to_the_hard_limit),
        cmocka_unit_test(test_pipe_gets_its_own_flags),
        cmocka_unit_test(test_file_is_appended_to),
        cmocka_unit_test(test_socket_is_shared_and_said_so),
        cmocka_unit_test(test_append_makes_the_file_and_keeps_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
