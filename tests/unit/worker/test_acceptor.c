/* Accepting from a real listening socket, with and without descriptors left. */
#include "worker/acceptor.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct loop *loop;
    struct snap_settings settings;
    struct http_budget budget;
    struct http1_context context;
    struct http1_server server;
    size_t other_n; /* connections that another server has */
    struct http_handler handler;
    struct heritage_listener listener;
    struct snapshot snapshot;
    struct prelude prelude;
    struct acceptor acceptor;
    struct stats_page *stats;
};

static void on_request(struct http_handler *h, struct http_stream *s, const struct http_request *r,
                       struct str body, bool is_end)
{
    (void)h;
    (void)r;
    (void)body;
    (void)is_end;
    s->ops->release(s);
}

static void on_rejected(struct http_handler *h, const struct http_peer *peer, struct str start,
                        enum reason why)
{
    (void)h;
    (void)peer;
    (void)start;
    (void)why;
}

static size_t conn_n(const void *arg)
{
    const struct world *w = arg;
    return w->server.conn_n + w->other_n;
}

static void world_init(struct world *w)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t n = sizeof(in);
    *w = (struct world){
        .handler = {on_request, on_rejected}
    };
    w->settings = snap_settings_default;
    w->budget.max = UINT64_MAX;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    w->stats = aligned_alloc(64, sizeof(*w->stats));
    memset(w->stats, 0, sizeof(*w->stats));
    w->listener = (struct heritage_listener){.name = "http"};
    w->listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(w->listener.fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(w->listener.fd, 64), 0);
    assert_int_equal(getsockname(w->listener.fd, (struct sockaddr *)&in, &n), 0);
    w->listener.port = ntohs(in.sin_port);
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(http1_context_init(&w->context, w->loop, &w->settings, &w->budget), E_OK);
    http1_server_init(&w->server, &w->context, &w->handler, w->stats);
    snapshot_init(&w->snapshot);
    prelude_init(&w->prelude, w->loop, &w->snapshot, &w->settings, w->stats, NULL);
    acceptor_init(&w->acceptor, w->loop, &w->server, conn_n, w, &w->prelude, &w->listener);
    assert_int_equal(acceptor_start(&w->acceptor), E_OK);
}

static void world_fini(struct world *w)
{
    acceptor_stop(&w->acceptor);
    prelude_fini(&w->prelude);
    http1_server_fini(&w->server);
    (void)loop_step(w->loop, 0);
    http1_context_fini(&w->context);
    loop_free(w->loop);
    (void)close(w->listener.fd); /* closed already by a stop; then this fails */
    free(w->stats);
}

static int connect_to(const struct world *w)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(w->listener.port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    return fd;
}

/* Ticks for about a second at most, until n connections stand. */
static bool waits_for(struct world *w, size_t n)
{
    for (int i = 0; i < 200 && w->server.conn_n != n; i++) {
        assert_int_equal(loop_step(w->loop, 5 * USEC_PER_MS), E_OK);
    }
    return w->server.conn_n == n;
}

static void connections_are_taken_with_their_peer(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    int a = connect_to(&w), b = connect_to(&w);
    assert_true(waits_for(&w, 2));
    assert_int_equal(stats_get(&w.stats->accepted), 2);
    (void)close(a);
    (void)close(b);
    assert_true(waits_for(&w, 0));
    world_fini(&w);
}

static void at_the_maximum_new_ones_wait(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    w.settings.max_worker_connections = 2;
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = connect_to(&w); /* the kernel takes all */
    }
    assert_true(waits_for(&w, 2));
    for (int i = 0; i < 30; i++) {
        (void)loop_step(w.loop, 5 * USEC_PER_MS);
        assert_int_equal(w.server.conn_n, 2);
    }
    assert_true(stats_get(&w.stats->limit_connections) > 0);
    (void)close(fds[0]); /* room for one */
    for (int i = 0; i < 200 && stats_get(&w.stats->accepted) < 3; i++) {
        (void)loop_step(w.loop, 5 * USEC_PER_MS);
    }
    assert_int_equal(stats_get(&w.stats->accepted), 3);
    (void)close(fds[1]);
    (void)close(fds[2]);
    world_fini(&w);
}

static void stopping_takes_what_waits_in_the_queue(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    int a = connect_to(&w), b = connect_to(&w);
    acceptor_stop(&w.acceptor);
    assert_int_equal(w.server.conn_n, 2);
    acceptor_stop(&w.acceptor); /* again: nothing */
    (void)close(a);
    (void)close(b);
    world_fini(&w);
}

/* In a child of its own: the limit is the process's. Returns the line that failed, 0 = none. */
static int run_out_of_descriptors(void)
{
    struct world w;
    struct rlimit limit;
    world_init(&w);
    int first = connect_to(&w);
    if (!waits_for(&w, 1)) {
        return __LINE__;
    }
    int second = connect_to(&w); /* needs a descriptor for accept() */
    int next = dup(0);
    (void)close(next);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    struct rlimit small = {(rlim_t)next, limit.rlim_max};
    (void)setrlimit(RLIMIT_NOFILE, &small);
    for (int i = 0; i < 30; i++) {
        (void)loop_step(w.loop, 5 * USEC_PER_MS);
    }
    if (w.server.conn_n != 1 || stats_get(&w.stats->limit_descriptors) == 0) {
        return __LINE__; /* it waits, and is counted */
    }
    if (stats_get(&w.stats->limit_descriptors) > 20) {
        return __LINE__; /* it pauses between tries instead of spinning */
    }
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (!waits_for(&w, 2)) {
        return __LINE__; /* and recovers by itself */
    }
    (void)close(first);
    (void)close(second);
    world_fini(&w);
    return 0;
}

static void out_of_descriptors_it_pauses_and_recovers(void **state)
{
    int status;
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        int line = run_out_of_descriptors();
        _exit(line == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_taken_with_their_peer),
        cmocka_unit_test(at_the_maximum_new_ones_wait),
        cmocka_unit_test(stopping_takes_what_waits_in_the_queue),
        cmocka_unit_test(out_of_descriptors_it_pauses_and_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
