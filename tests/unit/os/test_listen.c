/* Listening sockets: families, ports, what accepted sockets inherit. */
#include "os/listen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

/* A connection to port over the loopback of that family; -1 when refused. */
static int connect_to(sa_family_t family, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const void *at = family == AF_INET ? (const void *)&v4 : (const void *)&v6;
    if (connect(fd, at, family == AF_INET ? sizeof(v4) : sizeof(v6)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool is_reached(sa_family_t family, uint16_t port)
{
    int fd = connect_to(family, port);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static bool has_v6(void)
{
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_there =
        fd >= 0 && bind(fd, (const struct sockaddr *)(const void *)&at, sizeof(at)) == 0;
    close(fd);
    return is_there;
}

static void test_every_address_takes_both_families(void **state)
{
    struct listen_options o = {.port = 0};
    uint16_t port = 0;
    int fd;
    (void)state;
    assert_int_equal(listen_open(&o, &fd, &port), E_OK);
    assert_true(port != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true(is_reached(AF_INET, port));
    if (has_v6()) {
        assert_true(is_reached(AF_INET6, port));
    }
    close(fd);
    assert_false(is_reached(AF_INET, port));
}

static void test_one_address_only(void **state)
{
    struct listen_options o = {.address = "127.0.0.1"};
    uint16_t port;
    int fd;
    (void)state;
    assert_int_equal(listen_open(&o, &fd, &port), E_OK);
    assert_true(is_reached(AF_INET, port));
    assert_false(is_reached(AF_INET6, port));
    close(fd);
}

static void test_v6_only(void **state)
{
    struct listen_options o = {.address = "::", .is_v6_only = true};
    uint16_t port;
    int fd;
    (void)state;
    if (!has_v6()) {
        skip();
    }
    assert_int_equal(listen_open(&o, &fd, &port), E_OK);
    assert_true(is_reached(AF_INET6, port));
    assert_false(is_reached(AF_INET, port));
    close(fd);
    o.is_v6_only = false;
    assert_int_equal(listen_open(&o, &fd, &port), E_OK);
    assert_true(is_reached(AF_INET, port));
    close(fd);
}

static void test_accepted_sockets_do_not_delay(void **state)
{
    struct listen_options o = {.address = "127.0.0.1"};
    int fd, on = 0;
    socklen_t n = sizeof(on);
    uint16_t port;
    (void)state;
    assert_int_equal(listen_open(&o, &fd, &port), E_OK);
    int client = connect_to(AF_INET, port);
    int server = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(server >= 0);
    assert_int_equal(getsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
    assert_int_equal(on, 1);
    close(client);
    close(server);
    close(fd);
}

static void test_same_port_again_after_connections(void **state)
{
    struct listen_options o = {.address = "127.0.0.1"};
    uint16_t port;
    int fd;
    (void)state;
    assert_int_equal(listen_open(&o, &fd, &port), E_OK);
    int client = connect_to(AF_INET, port);
    int server = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    close(server); /* our side ends first and stays in TIME_WAIT */
    close(client);
    close(fd);
    o.port = port;
    assert_int_equal(listen_open(&o, &fd, &port), E_OK);
    assert_int_equal(port, o.port);
    close(fd);
}

static void test_errors_leave_outputs_untouched(void **state)
{
    struct listen_options o = {.address = "127.0.0.1"};
    uint16_t port, untouched = 7;
    int fd, fd2 = -7;
    (void)state;
    assert_int_equal(listen_open(&o, &fd, &port), E_OK);
    o.port = port;
    assert_int_equal(listen_open(&o, &fd2, &untouched), E_SYS);
    assert_int_equal(errno, EADDRINUSE);
    o = (struct listen_options){.address = "192.0.2.1"}; /* not ours: RFC 5737 */
    assert_int_equal(listen_open(&o, &fd2, &untouched), E_SYS);
    assert_int_equal(errno, EADDRNOTAVAIL);
    o.address = "localhost";
    assert_int_equal(listen_open(&o, &fd2, &untouched), E_PROTO);
    o.address = "127.0.0.1.";
    assert_int_equal(listen_open(&o, &fd2, &untouched), E_PROTO);
    assert_int_equal(fd2, -7);
    assert_int_equal(untouched, 7);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_address_takes_both_families),
        cmocka_unit_test(test_one_address_only),
        cmocka_unit_test(test_v6_only),
        cmocka_unit_test(test_accepted_sockets_do_not_delay),
        cmocka_unit_test(test_same_port_again_after_connections),
        cmocka_unit_test(test_errors_leave_outputs_untouched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
