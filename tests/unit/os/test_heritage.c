/* Heritage and control messages: what goes in comes out, what is damaged is refused. */
#include "os/heritage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/memfd.h"

static struct heritage sample(void)
{
    return (struct heritage){.magic = HERITAGE_MAGIC,
                             .bytes = sizeof(struct heritage),
                             .role = HERITAGE_WORKER,
                             .index = 1,
                             .worker_n = 2,
                             .control_fd = 7,
                             .stats_fd = 8,
                             .log_fd = -1,
                             .listener_n = 1,
                             .listeners = {{"http", 9, 8080, 0}},
                             .shutdown_grace_us = 10,
                             .drain_us = 11};
}

static void test_pass_and_take(void **state)
{
    struct heritage h = sample(), back;
    int fd;
    (void)state;
    h.magic = h.bytes = 0; /* filled in by pass */
    assert_int_equal(heritage_pass(&h, &fd), E_OK);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0); /* survives exec */
    assert_true(memfd_is_sealed(fd));
    assert_int_equal(heritage_take(fd, &back), E_OK);
    h = sample();
    assert_memory_equal(&h, &back, sizeof(h));
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed */
}

static enum err take_of(const void *p, size_t n, bool is_sealed)
{
    struct heritage back;
    int fd;
    assert_int_equal(memfd_make("test", &fd), E_OK);
    assert_int_equal(memfd_write(fd, p, n), E_OK);
    if (is_sealed) {
        assert_int_equal(memfd_seal(fd), E_OK);
    }
    enum err e = heritage_take(fd, &back);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed also on failure */
    return e;
}

static void test_take_refuses_size_and_seal(void **state)
{
    char bytes[sizeof(struct heritage) + 1] = {0};
    struct heritage h = sample();
    (void)state;
    mem_copy(bytes, &h, sizeof(h));
    assert_int_equal(take_of(bytes, sizeof(h), true), E_OK);
    assert_int_equal(take_of(bytes, sizeof(h), false), E_PROTO);
    assert_int_equal(take_of(bytes, sizeof(h) - 1, true), E_PROTO);
    assert_int_equal(take_of(bytes, sizeof(h) + 1, true), E_PROTO);
    assert_int_equal(take_of(bytes, 0, true), E_PROTO);
}

static void test_take_refuses_ranges(void **state)
{
    (void)state;
#define WITH(field, value, expected)                                                               \
    do {                                                                                           \
        struct heritage h = sample();                                                              \
        h.field = (value);                                                                         \
        assert_int_equal(take_of(&h, sizeof(h), true), expected);                                  \
    } while (0)
    WITH(magic, HERITAGE_MAGIC + 1, E_PROTO);
    WITH(bytes, sizeof(struct heritage) + 1, E_PROTO);
    WITH(role, 0, E_PROTO);
    WITH(role, 3, E_PROTO);
    WITH(role, HERITAGE_CONTROLLER, E_OK);
    WITH(listener_n, LISTENERS_MAX, E_OK);
    WITH(listener_n, LISTENERS_MAX + 1, E_PROTO);
    WITH(worker_n, WORKERS_MAX, E_OK);
    WITH(worker_n, WORKERS_MAX + 1, E_PROTO);
    WITH(index, 2, E_PROTO); /* of two workers */
#undef WITH
    struct heritage back;
    assert_int_equal(heritage_take(-1, &back), E_SYS);
}

/* ---- control messages ---- */

static void pair_open(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static const struct control_message segment = {CONTROL_SEGMENT, 3, 17, 12};

static void test_message_with_descriptor(void **state)
{
    struct control_message back;
    char text[3];
    int pair[2], fd, got = -2;
    (void)state;
    pair_open(pair);
    assert_int_equal(memfd_make("test", &fd), E_OK);
    assert_int_equal(memfd_write(fd, "hi!", 3), E_OK);
    assert_int_equal(control_send(pair[0], &segment, fd), E_OK);
    assert_int_equal(control_receive(pair[1], &back, &got), E_OK);
    assert_memory_equal(&back, &segment, sizeof(back));
    assert_true(got >= 0);
    assert_true((fcntl(got, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(pread(got, text, 3, 0), 3);
    assert_memory_equal(text, "hi!", 3);
    close(got);
    close(fd);
    close(pair[0]);
    close(pair[1]);
}

static void test_order_again_and_closed(void **state)
{
    struct control_message m = {.type = CONTROL_READY}, back;
    int pair[2], fd = -2;
    (void)state;
    pair_open(pair);
    assert_int_equal(control_receive(pair[1], &back, &fd), E_AGAIN);
    assert_int_equal(control_send(pair[0], &m, -1), E_OK);
    m.type = CONTROL_RESYNC;
    assert_int_equal(control_send(pair[0], &m, -1), E_OK);
    close(pair[0]); /* what was sent before is still there */
    assert_int_equal(control_receive(pair[1], &back, &fd), E_OK);
    assert_int_equal(back.type, CONTROL_READY);
    assert_int_equal(fd, -1);
    assert_int_equal(control_receive(pair[1], &back, &fd), E_OK);
    assert_int_equal(back.type, CONTROL_RESYNC);
    assert_int_equal(control_receive(pair[1], &back, &fd), E_CLOSED);
    assert_int_equal(control_send(pair[1], &m, -1), E_CLOSED); /* and no SIGPIPE */
    close(pair[1]);
}

static void test_full_socket_is_again_and_loses_nothing(void **state)
{
    struct control_message m = {.type = CONTROL_SEGMENT}, back;
    uint64_t sent = 0, received = 0;
    int pair[2], fd, got;
    enum err e;
    (void)state;
    pair_open(pair);
    assert_int_equal(memfd_make("test", &fd), E_OK);
    do {
        m.generation = sent + 1;
        e = control_send(pair[0], &m, fd);
        sent += e == E_OK;
    } while (e == E_OK);
    assert_int_equal(e, E_AGAIN);
    assert_true(sent > 1);
    while (control_receive(pair[1], &back, &got) == E_OK) {
        assert_int_equal(back.generation, ++received);
        close(got);
    }
    assert_int_equal(received, sent);
    close(fd);
    close(pair[0]);
    close(pair[1]);
}

/* n bytes and fd_n copies of fd as one packet. */
static void raw_send(int socket, const void *p, size_t n, int fd, size_t fd_n)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * 8)];
        struct cmsghdr align;
    } ancillary = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)p, .iov_len = n};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_n > 0) {
        message.msg_control = ancillary.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_n);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int) * fd_n);
        for (size_t i = 0; i < fd_n; i++) {
            mem_copy(CMSG_DATA(head) + i * sizeof(int), &fd, sizeof(fd));
        }
    }
    assert_int_equal(sendmsg(socket, &message, 0), (ssize_t)n);
}

static int lowest_free(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

static void test_damaged_messages_are_refused_and_leak_nothing(void **state)
{
    char bytes[sizeof(struct control_message) + 1] = {0};
    struct control_message m = segment, back;
    int pair[2], fd, got = -2;
    (void)state;
    pair_open(pair);
    assert_int_equal(memfd_make("test", &fd), E_OK);
    int free_before = lowest_free();
    mem_copy(bytes, &m, sizeof(m));
    raw_send(pair[0], bytes, sizeof(m), fd, 1); /* sound */
    raw_send(pair[0], bytes, sizeof(m) - 1, fd, 1);
    raw_send(pair[0], bytes, sizeof(m) + 1, fd, 1);
    raw_send(pair[0], bytes, sizeof(m), fd, 0); /* a segment without its descriptor */
    raw_send(pair[0], bytes, sizeof(m), fd, 2);
    raw_send(pair[0], bytes, sizeof(m), fd, 8);
    m.type = CONTROL_LOG_REOPEN; /* without what to log to */
    raw_send(pair[0], &m, sizeof(m), -1, 0);
    m.type = 0;
    raw_send(pair[0], &m, sizeof(m), -1, 0);
    m.type = CONTROL_SECRET + 1;
    raw_send(pair[0], &m, sizeof(m), fd, 1);
    assert_int_equal(control_receive(pair[1], &back, &got), E_OK);
    close(got);
    got = -2;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(control_receive(pair[1], &back, &got), E_PROTO);
        assert_int_equal(got, -2); /* untouched */
    }
    assert_int_equal(control_receive(pair[1], &back, &got), E_AGAIN);
    assert_int_equal(lowest_free(), free_before);
    close(fd);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pass_and_take),
        cmocka_unit_test(test_take_refuses_size_and_seal),
        cmocka_unit_test(test_take_refuses_ranges),
        cmocka_unit_test(test_message_with_descriptor),
        cmocka_unit_test(test_order_again_and_closed),
        cmocka_unit_test(test_full_socket_is_again_and_loses_nothing),
        cmocka_unit_test(test_damaged_messages_are_refused_and_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
