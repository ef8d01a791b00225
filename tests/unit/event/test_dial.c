/* Connecting: accepted, refused, without a descriptor left. */
#include "event/dial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"

static const struct ip loopback = {
    4, {127, 0, 0, 1}
};
static const struct ip loopback6 = {
    6, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
};

static int listen_at(int family, uint16_t *ret_port)
{
    struct sockaddr_in6 at6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    struct sockaddr_in at4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const void *at = family == AF_INET ? (const void *)&at4 : (const void *)&at6;
    socklen_t n = family == AF_INET ? sizeof(at4) : sizeof(at6);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, at, n) != 0) { /* a machine without IPv6 */
        (void)close(fd);
        return -1;
    }
    assert_int_equal(listen(fd, 8), 0);
    n = sizeof(at6);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at6, &n), 0);
    *ret_port = ntohs(at6.sin6_port); /* stands at the same place in both */
    return fd;
}

static int outcome(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    assert_int_equal(poll(&p, 1, 10000), 1);
    return dial_outcome(fd);
}

static void check_accepted(int family, const struct ip *ip)
{
    uint16_t port;
    int fd = -1, listener = listen_at(family, &port);
    if (listener < 0) {
        assert_int_equal(family, AF_INET6);
        return;
    }
    assert_int_equal(dial_begin(ip, port, &fd), E_OK);
    assert_int_equal(outcome(fd), 0);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    (void)close(fd);
    (void)close(listener);
}

static void test_accepted(void **state)
{
    (void)state;
    check_accepted(AF_INET, &loopback);
    check_accepted(AF_INET6, &loopback6);
}

/* Told by the event, not by the call. */
static void test_refused(void **state)
{
    uint16_t port;
    int fd = -1, listener = listen_at(AF_INET, &port);
    (void)state;
    (void)close(listener);
    assert_int_equal(dial_begin(&loopback, port, &fd), E_OK);
    assert_int_equal(outcome(fd), ECONNREFUSED);
    (void)close(fd);
}

static void test_no_descriptor(void **state)
{
    struct rlimit old, none;
    int fd = -1, next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){(rlim_t)next, old.rlim_max};
    (void)close(next);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(dial_begin(&loopback, 1, &fd), E_LIMIT);
    assert_int_equal(fd, -1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

/* The kernel has been told to look after the peer, and for how long. */
static void test_watching_the_peer(void **state)
{
    unsigned timeout = 0;
    int is_on = 0;
    socklen_t n = sizeof(timeout);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)state;
    dial_watch_peer(fd);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, &n), 0);
    assert_int_equal(timeout, TIMEOUT_UPSTREAM_PEER / USEC_PER_MS);
    n = sizeof(is_on);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &is_on, &n), 0);
    assert_true(is_on);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_descriptor),
        cmocka_unit_test(test_watching_the_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
