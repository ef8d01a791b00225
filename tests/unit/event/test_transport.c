/* Plain TCP as a transport: what each call gives when the peer reads, does not read, ends, resets.
 */
#include "event/transport.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

struct conn { /* a transport and the raw socket of its peer */
    struct transport transport;
    struct loop *loop;
    int peer;
    int event_n;
};

static void on_event(struct watch *w, uint32_t events)
{
    (void)events;
    container_of(w, struct conn, transport.watch)->event_n++;
}

/* Over TCP on the loopback: Unix sockets know no reset. */
static int conn_setup(void **state)
{
    struct conn *c = calloc(1, sizeof(*c));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(address);
    assert_non_null(c);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, n), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &n), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, n), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    c->peer = accept(listener, NULL, NULL);
    assert_true(c->peer >= 0);
    (void)close(listener);
    assert_int_equal(loop_new(&c->loop), E_OK);
    assert_int_equal(transport_plain_open(&c->transport, c->loop, fd, on_event), E_OK);
    *state = c;
    return 0;
}

static int conn_teardown(void **state)
{
    struct conn *c = *state;
    c->transport.ops->close(&c->transport, false);
    if (c->peer >= 0) {
        (void)close(c->peer);
    }
    loop_free(c->loop);
    free(c);
    return 0;
}

static enum err receive(struct conn *c, char *p, size_t room, size_t *ret_n)
{
    return c->transport.ops->receive(&c->transport, p, room, ret_n);
}

static enum err send_one(struct conn *c, const char *p, size_t n, size_t *ret_n)
{
    struct iovec part = {(void *)(uintptr_t)p, n};
    return c->transport.ops->send(&c->transport, &part, 1, ret_n);
}

/* The loopback delivers at once, but not while the writer's call runs. */
static enum err receive_soon(struct conn *c, char *p, size_t room, size_t *ret_n)
{
    enum err e = E_AGAIN;
    for (int i = 0; i < 1000 && (e = receive(c, p, room, ret_n)) == E_AGAIN; i++) {
        assert_int_equal(loop_step(c->loop, 10 * USEC_PER_MS), E_OK);
    }
    return e;
}

static void receiving(void **state)
{
    struct conn *c = *state;
    char bytes[8];
    size_t n = 99;
    assert_int_equal(receive(c, bytes, sizeof(bytes), &n), E_AGAIN);
    assert_int_equal(n, 99);
    assert_int_equal(write(c->peer, "hello", 5), 5);
    assert_int_equal(receive_soon(c, bytes, 3, &n), E_OK);
    assert_int_equal(n, 3);
    assert_int_equal(receive(c, bytes + 3, 5, &n), E_OK);
    assert_int_equal(n, 2); /* less than asked for: drained */
    assert_memory_equal(bytes, "hello", 5);
    assert_int_equal(receive(c, bytes, sizeof(bytes), &n), E_AGAIN);
}

static void the_end_of_the_stream(void **state)
{
    struct conn *c = *state;
    char bytes[8];
    size_t n = 99;
    assert_int_equal(write(c->peer, "bye", 3), 3);
    assert_int_equal(shutdown(c->peer, SHUT_WR), 0);
    assert_int_equal(receive_soon(c, bytes, sizeof(bytes), &n), E_OK);
    assert_int_equal(n, 3);
    assert_int_equal(receive_soon(c, bytes, sizeof(bytes), &n), E_CLOSED);
    assert_int_equal(n, 3);
}

static void peer_reset(struct conn *c)
{
    struct linger linger = {.l_onoff = 1};
    assert_int_equal(setsockopt(c->peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    assert_int_equal(close(c->peer), 0);
    c->peer = -1;
}

/* A reset is not an end: a body that ends with the connection must not pass for whole. */
static void a_reset(void **state)
{
    struct conn *c = *state;
    char bytes[8];
    size_t n = 99;
    peer_reset(c);
    assert_int_equal(receive_soon(c, bytes, sizeof(bytes), &n), E_SYS);
    assert_int_equal(n, 99);
}

static void sending_to_one_who_is_gone(void **state)
{
    struct conn *c = *state;
    size_t n = 99;
    peer_reset(c);
    assert_int_equal(loop_step(c->loop, USEC_PER_SEC), E_OK);
    assert_int_equal(send_one(c, "x", 1, &n), E_CLOSED); /* and no SIGPIPE */
    assert_int_equal(send_one(c, "x", 1, &n), E_CLOSED);
    assert_int_equal(n, 99);
}

static void sending_parts(void **state)
{
    struct conn *c = *state;
    char a[] = "ab", b[] = "", d[] = "cde", bytes[8];
    struct iovec parts[] = {
        {a, 2},
        {b, 0},
        {d, 3}
    };
    size_t n = 99;
    assert_int_equal(c->transport.ops->send(&c->transport, parts, 3, &n), E_OK);
    assert_int_equal(n, 5);
    assert_int_equal(recv(c->peer, bytes, 5, MSG_WAITALL), 5);
    assert_memory_equal(bytes, "abcde", 5);
}

/* Until the socket is full: E_AGAIN tells how much went; when the peer reads, an event comes and
 * the rest goes; nothing is lost. */
static void a_slow_reader(void **state)
{
    struct conn *c = *state;
    enum { BLOCK = 1 << 20, BLOCKS_MAX = 64 };
    static char block[BLOCK];
    size_t n = 0, sent_n = 0, read_n = 0;
    enum err e = E_OK;
    for (int i = 0; i < BLOCKS_MAX && e == E_OK; i++) {
        e = send_one(c, block, sizeof(block), &n);
        sent_n += n;
        assert_true(n <= sizeof(block) && (e != E_OK || n == sizeof(block)));
    }
    assert_int_equal(e, E_AGAIN);
    while ((e = send_one(c, block, sizeof(block), &n)) == E_AGAIN && n > 0) {
        sent_n += n;
    }
    assert_int_equal(e, E_AGAIN);
    assert_int_equal(n, 0);
    assert_int_equal(loop_step(c->loop, 0), E_OK);
    int before = c->event_n;
    while (read_n < sent_n) {
        ssize_t got = recv(c->peer, block, sizeof(block), 0);
        assert_true(got > 0);
        read_n += (size_t)got;
    }
    for (int i = 0; i < 1000 && c->event_n == before; i++) {
        assert_int_equal(loop_step(c->loop, 10 * USEC_PER_MS), E_OK);
    }
    assert_true(c->event_n > before);
    assert_int_equal(send_one(c, "x", 1, &n), E_OK);
    assert_int_equal(recv(c->peer, block, 2, 0), 1);
}

static void finishing_goes_on_reading(void **state)
{
    struct conn *c = *state;
    char bytes[8];
    size_t n;
    c->transport.ops->finish(&c->transport);
    assert_int_equal(recv(c->peer, bytes, sizeof(bytes), 0), 0);
    assert_int_equal(write(c->peer, "x", 1), 1);
    assert_int_equal(receive_soon(c, bytes, sizeof(bytes), &n), E_OK);
}

static void closing(void **state)
{
    struct conn *c = *state;
    char bytes[8];
    c->transport.ops->close(&c->transport, false);
    assert_int_equal(c->transport.watch.fd, -1);
    assert_int_equal(recv(c->peer, bytes, sizeof(bytes), 0), 0);
    int before = c->event_n;
    assert_int_equal(loop_step(c->loop, 0), E_OK);
    assert_int_equal(c->event_n, before);
    c->transport.ops->close(&c->transport, false); /* again: nothing happens */
}

static void closing_with_a_reset(void **state)
{
    struct conn *c = *state;
    char bytes[8];
    c->transport.ops->close(&c->transport, true);
    assert_int_equal(recv(c->peer, bytes, sizeof(bytes), 0), -1);
}

static void opening_takes_the_descriptor(void **state)
{
    struct conn *c = *state;
    struct transport t;
    char path[] = "/tmp/test_transport_XXXXXX";
    int fd = mkstemp(path); /* epoll refuses regular files */
    assert_true(fd >= 0);
    (void)unlink(path);
    assert_int_equal(transport_plain_open(&t, c->loop, fd, on_event), E_SYS);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    t.ops->close(&t, false); /* safe */
}

int main(void)
{
#define CONN_TEST(f) cmocka_unit_test_setup_teardown(f, conn_setup, conn_teardown)
    const struct CMUnitTest tests[] = {
        CONN_TEST(receiving),
        CONN_TEST(the_end_of_the_stream),
        CONN_TEST(a_reset),
        CONN_TEST(sending_to_one_who_is_gone),
        CONN_TEST(sending_parts),
        CONN_TEST(a_slow_reader),
        CONN_TEST(finishing_goes_on_reading),
        CONN_TEST(closing),
        CONN_TEST(closing_with_a_reset),
        CONN_TEST(opening_takes_the_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
