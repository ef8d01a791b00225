/* admin/listener: real connections to the health port: answers, the maximum, clients that go away.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admin/listener.h"
#include "os/listen.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STEPS_MAX = 2000, ANSWER_BYTES = 8 << 20, DUMP_BYTES = 4 << 20 };

struct scene {
    struct loop *loop;
    struct stats_area *stats;
    struct snapshot snapshot;
    struct store *store;
    size_t turns; /* of pages of certificates */
    struct admin_views views;
    struct admin_listener listener;
    int fd;
    uint16_t port;
};

static void no_metrics(void *arg, struct metrics_input *in)
{
    (void)arg;
    (void)in;
}

static struct explain_world empty_world(void *arg)
{
    struct scene *s = arg;
    return (struct explain_world){.snapshot = &s->snapshot};
}

static bool is_not_ours(const void *arg, const struct ingress *ingress, const char **ret_why)
{
    (void)arg, (void)ingress;
    *ret_why = "of somebody else";
    return false;
}

static struct certs_world certs_world(void *arg)
{
    struct scene *s = arg;
    s->turns++;
    return (struct certs_world){
        .world = {.snapshot = &s->snapshot, .store = s->store, .is_ours = is_not_ours}
    };
}

static void large_dump(void *arg, bool is_json, struct buf *out)
{
    (void)arg;
    (void)is_json;
    for (size_t i = 0; i < DUMP_BYTES; i++) {
        buf_add_char(out, (char)('a' + i % 26));
    }
}

static enum err no_diag(void *arg, diag_fn *fn, void *fn_arg)
{
    (void)arg;
    (void)fn;
    (void)fn_arg;
    return E_OK;
}

static int open_scene(void **state)
{
    static struct scene s; /* NOLINT: the fixture of this file */
    struct listen_options o = {.address = "127.0.0.1"};
    int fd;
    s = (struct scene){0};
    assert_int_equal(loop_new(&s.loop), E_OK);
    assert_int_equal(stats_create(1, &s.stats, &fd), E_OK);
    close(fd);
    snapshot_init(&s.snapshot);
    assert_int_equal(store_new(&s.store), E_OK);
    assert_int_equal(listen_open(&o, &s.fd, &s.port), E_OK);
    s.views = (struct admin_views){.arg = &s,
                                   .stats = s.stats,
                                   .metrics = no_metrics,
                                   .world = empty_world,
                                   .dump = large_dump,
                                   .certs = certs_world,
                                   .each_diag = no_diag};
    assert_int_equal(admin_listener_open(&s.listener, s.loop, s.fd, &s.views), E_OK);
    *state = &s;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    admin_listener_close(&s->listener);
    loop_free(s->loop);
    close(s->fd);
    store_free(s->store);
    snapshot_fini(&s->snapshot);
    stats_close(s->stats);
    return 0;
}

static int dial(const struct scene *s)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(s->port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)(void *)&to, sizeof(to)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void step(struct scene *s)
{
    assert_int_equal(loop_step(s->loop, USEC_PER_MS), E_OK);
}

/* Steps the loop and reads until the peer ends. */
static void read_all(struct scene *s, int fd, struct buf *ret)
{
    buf_init(ret, ANSWER_BYTES);
    for (int i = 0; i < STEPS_MAX; i++) {
        step(s);
        assert_true(buf_reserve(ret, 65536));
        ssize_t n = recv(fd, ret->p + ret->n, 65536, MSG_DONTWAIT);
        if (n == 0) {
            return;
        }
        ret->n += n > 0 ? (size_t)n : 0;
    }
    fail_msg("no end after %zu bytes", ret->n);
}

static void an_answer(void **state)
{
    struct scene *s = *state;
    struct buf b;
    int fd = dial(s);
    say(fd, "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    read_all(s, fd, &b);
    assert_true(str_has_prefix(buf_str(&b), STR("HTTP/1.1 200 ")));
    assert_true(str_has_suffix(buf_str(&b), STR("\r\n\r\nok\n")));
    buf_fini(&b);
    close(fd);
}

static void head_has_no_body(void **state)
{
    struct scene *s = *state;
    struct buf b;
    int fd = dial(s);
    say(fd, "HEAD /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    read_all(s, fd, &b);
    assert_true(str_has_suffix(buf_str(&b), STR("\r\n\r\n")));
    buf_add_char(&b, 0);
    assert_non_null(strstr(b.p, "content-length: 3\r\n"));
    buf_fini(&b);
    close(fd);
}

/* More than a connection may hold back: sent in pieces as the client takes them. */
static void a_large_answer(void **state)
{
    struct scene *s = *state;
    struct buf b;
    int fd = dial(s);
    say(fd, "GET /debug/dump HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    read_all(s, fd, &b);
    assert_true(b.n > DUMP_BYTES);
    for (size_t i = 0; i < DUMP_BYTES; i++) {
        assert_int_equal(b.p[b.n - DUMP_BYTES + i], (char)('a' + i % 26));
    }
    buf_fini(&b);
    close(fd);
}

static void a_client_that_goes_away_in_mid_answer(void **state)
{
    struct scene *s = *state;
    int fd = dial(s);
    say(fd, "GET /debug/dump HTTP/1.1\r\nhost: a\r\n\r\n");
    for (int i = 0; i < 5; i++) {
        step(s);
    }
    close(fd);
    for (int i = 0; i < STEPS_MAX && s->listener.server.conn_n > 0; i++) {
        step(s);
    }
    assert_int_equal(s->listener.server.conn_n, 0);
}

/* Bytes and end reach the server in one event: the end must be seen, not waited for. */
static void a_client_that_says_half_a_word(void **state)
{
    struct scene *s = *state;
    int first = dial(s);
    for (int i = 0; i < 5; i++) {
        step(s);
    }
    assert_int_equal(s->listener.server.conn_n, 1);
    say(first, "GET /hea");
    close(first);
    for (int i = 0; i < STEPS_MAX && s->listener.server.conn_n > 0; i++) {
        step(s);
    }
    assert_int_equal(s->listener.server.conn_n, 0);
}

static void connections_have_a_maximum(void **state)
{
    struct scene *s = *state;
    int fds[ADMIN_CONNECTIONS_MAX + 1];
    char c;
    for (int i = 0; i <= ADMIN_CONNECTIONS_MAX; i++) {
        fds[i] = dial(s);
        step(s);
    }
    for (int i = 0; i < 5; i++) {
        step(s);
    }
    assert_int_equal(s->listener.server.conn_n, ADMIN_CONNECTIONS_MAX);
    assert_int_equal(s->listener.listener.refused, 1);
    assert_int_equal(recv(fds[ADMIN_CONNECTIONS_MAX], &c, 1, 0), 0);
    assert_int_equal(recv(fds[0], &c, 1, MSG_DONTWAIT), -1);
    for (int i = 0; i <= ADMIN_CONNECTIONS_MAX; i++) {
        close(fds[i]);
    }
}

/* ---- scrapes: made while they are sent ---- */

/* Some megabytes of series: more than a socket holds. */
static void fill_series(const struct scene *s)
{
    struct series_table *table;
    const struct series_sample sample = {.duration = 1000};
    assert_int_equal(series_table_new(s->stats, 0, &table), E_OK);
    for (uint16_t status = 100; status < 350; status++) {
        const struct series_key k = {.method = STR("GET"), .status = status};
        series_record(table, &k, &sample);
    }
    series_table_free(table);
}

static const char scrape_request[] =
    "GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

static void a_scrape_is_made_piece_by_piece(void **state)
{
    struct scene *s = *state;
    struct buf b;
    s->views.loop = s->loop;
    fill_series(s);
    int fd = dial(s);
    say(fd, scrape_request);
    read_all(s, fd, &b);
    buf_add_char(&b, 0);
    assert_true(b.n > (3 << 20));
    assert_non_null(strstr(b.p, "transfer-encoding: chunked\r\n"));
    assert_non_null(strstr(b.p, "lintel_route_answers_total"));
    assert_true(str_has_suffix(str_first(buf_str(&b), b.n - 1), STR("\r\n0\r\n\r\n")));
    assert_int_equal(s->listener.handler.scrape_n, 0);
    buf_fini(&b);
    close(fd);
}

static void scrapes_have_a_maximum(void **state)
{
    struct scene *s = *state;
    int fds[METRICS_SCRAPES_MAX + 1];
    struct buf b;
    s->views.loop = s->loop;
    fill_series(s);
    for (uint32_t i = 0; i < METRICS_SCRAPES_MAX; i++) { /* nobody reads */
        fds[i] = dial(s);
        say(fds[i], scrape_request);
        for (int n = 0; n < STEPS_MAX && s->listener.handler.scrape_n <= i; n++) {
            step(s);
        }
    }
    assert_int_equal(s->listener.handler.scrape_n, METRICS_SCRAPES_MAX);
    int more = dial(s);
    say(more, scrape_request);
    read_all(s, more, &b);
    assert_true(str_has_prefix(buf_str(&b), STR("HTTP/1.1 503 ")));
    buf_fini(&b);
    close(more);
    close(fds[0]); /* in mid-scrape: its place is free */
    for (int n = 0; n < STEPS_MAX && s->listener.handler.scrape_n == METRICS_SCRAPES_MAX; n++) {
        step(s);
    }
    fds[0] = dial(s);
    say(fds[0], scrape_request);
    read_all(s, fds[0], &b);
    assert_true(str_has_prefix(buf_str(&b), STR("HTTP/1.1 200 ")));
    buf_fini(&b);
    for (uint32_t i = 0; i < METRICS_SCRAPES_MAX; i++) {
        close(fds[i]);
    }
}

/* ---- certificates: made in turns, then sent ---- */

static const char certs_request[] =
    "GET /debug/certs HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

static void add_ingress(struct scene *s, unsigned number)
{
    char text[32];
    struct arena arena;
    struct wr w = wr_make(text, sizeof(text));
    wr_u64(&w, number);
    arena_init(&arena, 4096);
    struct ingress *in = arena_calloc(&arena, 1, sizeof(*in));
    assert_non_null(in);
    in->object.kind = OBJECT_INGRESS;
    in->object.namespace_name = STR("default");
    assert_true(arena_str(&arena, str_make(text, wr_n(&w)), &in->object.name));
    in->object.arena = arena;
    assert_int_equal(store_put(s->store, &in->object), E_OK);
}

/* So many that no page of them is made in one turn, on whatever machine. */
static void fill_ingresses(struct scene *s)
{
    enum { INGRESSES = 100000 };
    for (unsigned i = 0; i < INGRESSES; i++) {
        add_ingress(s, i);
    }
}

/* However many ask, each tick has one turn; and one that goes away is forgotten. */
static void pages_of_certificates_take_turns(void **state)
{
    enum { CLIENTS = 4 };
    struct scene *s = *state;
    struct buf b;
    int fds[CLIENTS];
    s->views.loop = s->loop;
    fill_ingresses(s);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = dial(s);
        say(fds[i], certs_request);
    }
    for (int i = 0; i < STEPS_MAX && list_is_empty(&s->listener.handler.making); i++) {
        step(s);
    }
    assert_false(list_is_empty(&s->listener.handler.making));
    close(fds[0]);
    for (int i = 0; i < 3; i++) {
        size_t before = s->turns, asked = s->listener.server.conn_n;
        step(s);
        assert_true(s->turns <= before + 1 + (s->listener.server.conn_n - asked));
    }
    for (int i = 1; i < CLIENTS; i++) {
        read_all(s, fds[i], &b);
        assert_true(str_has_prefix(buf_str(&b), STR("HTTP/1.1 200 ")));
        assert_true(str_has_suffix(buf_str(&b), STR("\n]\n")));
        buf_fini(&b);
        close(fds[i]);
    }
    assert_true(list_is_empty(&s->listener.handler.making));
    assert_true(s->turns > CLIENTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_answer, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(head_has_no_body, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_large_answer, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_client_that_goes_away_in_mid_answer, open_scene,
                                        close_scene),
        cmocka_unit_test_setup_teardown(a_client_that_says_half_a_word, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(connections_have_a_maximum, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_scrape_is_made_piece_by_piece, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(scrapes_have_a_maximum, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(pages_of_certificates_take_turns, open_scene, close_scene),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
