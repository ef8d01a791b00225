/* A channel over one end of a socket pair: what is received, kept, sent and held. */
#include "http1/channel.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { IN_MAX = RECEIVE_BYTES + 100 };

struct world {
    struct loop *loop;
    struct snap_settings settings;
    struct http_budget budget;
    struct http1_context context;
    struct http1_channel channel;
    int fd; /* the peer's end */
};

static void on_event(struct watch *w, uint32_t events)
{
    (void)w;
    (void)events;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    int pair[2];
    w->settings = snap_settings_default;
    w->budget.max = UINT64_MAX;
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(http1_context_init(&w->context, w->loop, &w->settings, &w->budget), E_OK);
    channel_init(&w->channel, &w->context, IN_MAX);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(transport_plain_open(&w->channel.transport, w->loop, pair[0], on_event), E_OK);
    w->fd = pair[1];
    w->channel.is_readable = true;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    channel_close(&w->channel, false);
    assert_int_equal(w->budget.used, 0);
    http1_context_fini(&w->context);
    loop_free(w->loop);
    (void)close(w->fd);
    free(w);
    return 0;
}

static void say(struct world *w, const char *text)
{
    assert_int_equal(send(w->fd, text, strlen(text), 0), strlen(text));
    w->channel.is_readable = true;
}

static void assert_str(struct str s, const char *text)
{
    assert_int_equal(s.n, strlen(text));
    assert_memory_equal(s.p, text, s.n);
}

static void what_is_used_leaves_no_buffer(void **state)
{
    struct world *w = *state;
    struct str bytes;
    say(w, "hello");
    assert_int_equal(channel_receive(&w->channel, &bytes), E_OK);
    assert_str(bytes, "hello");
    assert_ptr_equal(bytes.p, w->context.receive); /* nothing was copied */
    assert_true(w->context.is_receive_busy);
    assert_int_equal(channel_keep(&w->channel, STR_EMPTY), E_OK);
    assert_false(w->context.is_receive_busy);
    assert_null(w->channel.in.p);
    assert_int_equal(channel_kept(&w->channel).n, 0);
}

static void the_rest_comes_again_in_front(void **state)
{
    struct world *w = *state;
    struct str bytes;
    say(w, "GET / HT");
    assert_int_equal(channel_receive(&w->channel, &bytes), E_OK);
    assert_int_equal(channel_keep(&w->channel, str_from(bytes, 4)), E_OK);
    assert_str(channel_kept(&w->channel), "/ HT");
    assert_int_equal(w->budget.used, 4);
    say(w, "TP/1.1");
    assert_int_equal(channel_receive(&w->channel, &bytes), E_OK);
    assert_str(bytes, "/ HTTP/1.1");
    assert_int_equal(channel_keep(&w->channel, str_from(bytes, 2)), E_OK);
    assert_str(channel_kept(&w->channel), "HTTP/1.1");
    assert_int_equal(channel_keep(&w->channel, STR_EMPTY), E_OK);
    assert_int_equal(w->budget.used, 0);
}

static void a_drained_socket_is_not_asked_again(void **state)
{
    struct world *w = *state;
    struct str bytes;
    say(w, "x");
    assert_int_equal(channel_receive(&w->channel, &bytes), E_OK);
    (void)channel_keep(&w->channel, STR_EMPTY);
    assert_false(w->channel.is_readable); /* a short read */
    say(w, "y");
    w->channel.is_readable = false; /* before the event */
    assert_int_equal(channel_receive(&w->channel, &bytes), E_AGAIN);
}

static void the_end_is_told_after_the_bytes(void **state)
{
    struct world *w = *state;
    struct str bytes;
    say(w, "last");
    (void)shutdown(w->fd, SHUT_WR);
    w->channel.has_hangup = true; /* the event told both */
    assert_int_equal(channel_receive(&w->channel, &bytes), E_OK);
    assert_int_equal(channel_keep(&w->channel, bytes), E_OK);
    assert_int_equal(channel_receive(&w->channel, &bytes), E_CLOSED);
    assert_true(w->channel.is_at_end);
    assert_str(channel_kept(&w->channel), "last");
}

/* in_max bytes fit, one more does not. */
static void what_is_kept_is_bounded(void **state)
{
    struct world *w = *state;
    struct str bytes = STR_EMPTY;
    char *piece = malloc(IN_MAX);
    memset(piece, 'x', IN_MAX);
    for (size_t at = 0; at < IN_MAX;) {
        size_t n = IN_MAX - at < 30000 ? IN_MAX - at : 30000;
        assert_int_equal(send(w->fd, piece, n, 0), n);
        w->channel.is_readable = true;
        assert_int_equal(channel_receive(&w->channel, &bytes), E_OK);
        assert_int_equal(channel_keep(&w->channel, bytes), E_OK);
        at += n;
    }
    assert_int_equal(channel_kept(&w->channel).n, IN_MAX);
    say(w, "y");
    assert_int_equal(channel_receive(&w->channel, &bytes), E_LIMIT);
    assert_int_equal(channel_kept(&w->channel).n, IN_MAX);
    free(piece);
}

static enum err send_text(struct world *w, const char *p, size_t n)
{
    union {
        const char *p;
        void *base;
    } u = {p};
    struct iovec part = {u.base, n};
    return channel_send(&w->channel, &part, 1);
}

static size_t read_all(struct world *w, char *to)
{
    size_t n = 0;
    for (ssize_t got; (got = recv(w->fd, to + n, 1 << 20, 0)) > 0;) {
        n += (size_t)got;
    }
    return n;
}

static void what_does_not_fit_is_held_in_order(void **state)
{
    struct world *w = *state;
    int small = 4096;
    enum { N = 100 * 1000 };
    char *bytes = malloc(N + 1), *got = calloc(1, 2 << 20);
    size_t n = 0;
    for (size_t i = 0; i < N; i++) {
        bytes[i] = (char)('a' + i % 26);
    }
    (void)setsockopt(w->channel.transport.watch.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    assert_int_equal(send_text(w, bytes, N), E_AGAIN);
    assert_false(channel_is_flushed(&w->channel));
    assert_int_equal(w->budget.used, w->channel.out.n);
    assert_int_equal(send_text(w, "end", 3), E_AGAIN); /* behind, although there may be room */
    for (int turn = 0; turn < 1000 && !channel_is_flushed(&w->channel); turn++) {
        n += read_all(w, got + n);
        enum err e = channel_flush(&w->channel);
        assert_true(e == E_OK || e == E_AGAIN);
    }
    n += read_all(w, got + n);
    assert_int_equal(n, N + 3);
    assert_memory_equal(got, bytes, N);
    assert_memory_equal(got + N, "end", 3);
    assert_null(w->channel.out.p);
    free(bytes);
    free(got);
}

/* CONN_PENDING_BYTES_MAX can be held, one byte more cannot. */
static void what_is_held_is_bounded(void **state)
{
    struct world *w = *state;
    char *bytes = calloc(1, CONN_PENDING_BYTES_MAX + 1);
    struct iovec part = {bytes, CONN_PENDING_BYTES_MAX};
    assert_int_equal(channel_hold(&w->channel, &part, 1, 0), E_AGAIN);
    part.iov_len = 1;
    assert_int_equal(channel_hold(&w->channel, &part, 1, 0), E_LIMIT);
    channel_drop_held(&w->channel);
    assert_true(channel_is_flushed(&w->channel));
    free(bytes);
}

static void holding_skips_what_was_sent(void **state)
{
    struct world *w = *state;
    char a[] = "abc", b[] = "defg";
    struct iovec parts[2] = {
        {a, 3},
        {b, 4}
    };
    assert_int_equal(channel_hold(&w->channel, parts, 2, 5), E_AGAIN);
    assert_str(buf_str(&w->channel.out), "fg");
}

static void a_peer_that_is_gone_shows(void **state)
{
    struct world *w = *state;
    struct str bytes;
    (void)close(w->fd);
    w->fd = dup(STDERR_FILENO);
    assert_int_equal(send_text(w, "x", 1), E_CLOSED);
    assert_int_equal(channel_receive(&w->channel, &bytes), E_CLOSED);
}

static void memory_may_run_out(void **state)
{
    struct world *w = *state;
    struct str bytes;
    char text[] = "held";
    struct iovec part = {text, 4};
    say(w, "kept");
    assert_int_equal(channel_receive(&w->channel, &bytes), E_OK);
    mem_fail_from(1);
    enum err keep = channel_keep(&w->channel, bytes);
    enum err hold = channel_hold(&w->channel, &part, 1, 0);
    mem_fail_from(0);
    assert_int_equal(keep, E_NOMEM);
    assert_int_equal(hold, E_NOMEM);
}

static void a_context_needs_its_memory(void **state)
{
    struct world *w = *state;
    struct http1_context x;
    for (size_t nth = 1; nth <= 4; nth++) {
        mem_fail_from(nth);
        enum err e = http1_context_init(&x, w->loop, &w->settings, &w->budget);
        mem_fail_from(0);
        assert_int_equal(e, nth <= 3 ? E_NOMEM : E_OK);
        if (e == E_OK) {
            http1_context_fini(&x);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_used_leaves_no_buffer, setup, teardown),
        cmocka_unit_test_setup_teardown(the_rest_comes_again_in_front, setup, teardown),
        cmocka_unit_test_setup_teardown(a_drained_socket_is_not_asked_again, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_is_told_after_the_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_kept_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_held_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_held_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(holding_skips_what_was_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(a_peer_that_is_gone_shows, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_may_run_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_context_needs_its_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
