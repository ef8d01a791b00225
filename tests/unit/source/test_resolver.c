/* source/resolver: against a small DNS server on the loopback, in the same loop. Time is real, so
 * the options are short. */
#include "source/resolver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

/* ---- the server ---- */

enum { ANSWER_A = 1, ANSWER_AAAA = 28, RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3, RECORDS_MAX = 8 };

struct record {
    const char *name;    /* NULL: unused */
    const char *address; /* v4 or v6 */
};

struct server {
    struct loop *loop;
    struct watch watch;
    int fd;
    uint32_t ttl;
    int rcode; /* other than 0: for every name */
    bool is_silent;
    struct record records[RECORDS_MAX];
    size_t query_n;
};

/* The question's name as text; returns its length in the message, 0 when it does not fit. */
static size_t question_name(const uint8_t *at, size_t n, char *text, size_t cap)
{
    size_t i = 0, out = 0;
    while (i < n && at[i] != 0) {
        size_t label = at[i++];
        if (label > 63 || i + label >= n || out + label + 2 > cap) {
            return 0;
        }
        mem_copy(text + out, at + i, label);
        out += label;
        i += label;
        text[out++] = '.';
    }
    text[out == 0 ? 0 : out - 1] = 0;
    return i + 1;
}

static size_t add_record(uint8_t *out, uint16_t type, uint32_t ttl, const char *address)
{
    size_t bytes = type == ANSWER_A ? 4 : 16;
    uint8_t head[12] = {0xc0, 12, 0, (uint8_t)type, 0, 1, 0, 0, 0, 0, 0, (uint8_t)bytes};
    head[8] = (uint8_t)(ttl >> 8);
    head[9] = (uint8_t)ttl;
    mem_copy(out, head, sizeof(head));
    assert_int_equal(inet_pton(type == ANSWER_A ? AF_INET : AF_INET6, address, out + 12), 1);
    return sizeof(head) + bytes;
}

static size_t add_records(const struct server *s, uint8_t *message, size_t n, const char *name,
                          uint16_t type)
{
    bool is_known = false;
    for (size_t i = 0; i < RECORDS_MAX; i++) {
        const struct record *r = &s->records[i];
        if (r->name == NULL || strcasecmp(r->name, name) != 0) {
            continue;
        }
        is_known = true;
        if ((strchr(r->address, ':') == NULL) == (type == ANSWER_A)) {
            n += add_record(message + n, type, s->ttl, r->address);
            message[7]++;
        }
    }
    if (!is_known) {
        message[3] |= RCODE_NXDOMAIN;
    }
    return n;
}

static void on_query(struct watch *w, uint32_t events)
{
    (void)events;
    struct server *s = container_of(w, struct server, watch);
    uint8_t message[1024];
    char name[256];
    struct sockaddr_in from;
    socklen_t from_n = sizeof(from);
    ssize_t got = recvfrom(s->fd, message, 512, 0, (struct sockaddr *)&from, &from_n);
    if (got < 17) {
        return;
    }
    s->query_n++;
    if (s->is_silent) {
        return;
    }
    size_t name_n = question_name(message + 12, (size_t)got - 12, name, sizeof(name));
    size_t n = 12 + name_n + 4;
    uint16_t type = message[12 + name_n + 1];
    message[2] |= 0x80; /* a response, nothing but the question in it so far */
    message[3] = (uint8_t)(0x80 | s->rcode);
    memset(message + 6, 0, 6);
    n = s->rcode == 0 ? add_records(s, message, n, name, type) : n;
    (void)sendto(s->fd, message, n, 0, (struct sockaddr *)&from, from_n);
}

/* ---- the bench ---- */

struct bench {
    struct loop *loop;
    struct store *store;
    struct server server;
    struct resolver_options options;
    char servers[32];
    struct resolver *r;
    size_t batches;
};

static void on_batch(void *arg)
{
    ((struct bench *)arg)->batches++;
}

static void bench_init(struct bench *b)
{
    *b = (struct bench){.server = {.ttl = 1}};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof(address);
    assert_int_equal(store_new(&b->store), E_OK);
    assert_int_equal(loop_new(&b->loop), E_OK);
    b->server.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(b->server.fd, (struct sockaddr *)&address, n), 0);
    assert_int_equal(getsockname(b->server.fd, (struct sockaddr *)&address, &n), 0);
    assert_int_equal(loop_watch_level(b->loop, &b->server.watch, b->server.fd, EPOLLIN, on_query),
                     E_OK);
    snprintf(b->servers, sizeof(b->servers), "127.0.0.1:%d", ntohs(address.sin_port));
    b->options = (struct resolver_options){.servers = b->servers,
                                           .ttl_min = 50 * USEC_PER_MS,
                                           .ttl_max = 100 * USEC_PER_MS,
                                           .retry_min = 20 * USEC_PER_MS,
                                           .retry_max = 80 * USEC_PER_MS,
                                           .timeout = 50 * USEC_PER_MS,
                                           .tries = 2,
                                           .on_batch = on_batch,
                                           .arg = b};
}

static void start(struct bench *b)
{
    assert_int_equal(resolver_new(b->loop, b->store, &b->options, &b->r), E_OK);
}

static void bench_fini(struct bench *b)
{
    resolver_free(b->r);
    loop_unwatch(b->loop, &b->server.watch);
    close(b->server.fd);
    store_free(b->store);
    loop_free(b->loop);
}

static void serve(struct bench *b, size_t i, const char *name, const char *address)
{
    b->server.records[i] = (struct record){name, address};
}

static void want(struct bench *b, const char *name)
{
    resolver_begin(b->r);
    assert_int_equal(resolver_want(b->r, str_from_cstr(name)), E_OK);
    resolver_end(b->r);
}

/* "1.2.3.4 ::1", "none", "refused", or "unknown" before there is anything in the store. */
static const char *result(const struct bench *b, const char *name, char *text, size_t cap)
{
    const struct resolution *r =
        (const void *)store_get(b->store, OBJECT_RESOLUTION, STR_EMPTY, str_from_cstr(name));
    if (r == NULL || r->address_n == 0) {
        return r == NULL ? "unknown" : r->is_refused ? "refused" : "none";
    }
    struct wr w = wr_make(text, cap - 1);
    for (uint32_t i = 0; i < r->address_n; i++) {
        wr_str(&w, i == 0 ? STR_EMPTY : STR(" "));
        ip_emit(&w, &r->addresses[i]);
    }
    text[wr_n(&w)] = 0;
    return text;
}

static void await(struct bench *b, const char *name, const char *expected)
{
    char text[512];
    usec_t end = clock_monotonic() + 5 * USEC_PER_SEC;
    while (strcmp(result(b, name, text, sizeof(text)), expected) != 0 && clock_monotonic() < end) {
        assert_int_equal(loop_step(b->loop, 10 * USEC_PER_MS), E_OK);
    }
    assert_string_equal(result(b, name, text, sizeof(text)), expected);
}

static void run_for(struct bench *b, usec_t time)
{
    for (usec_t end = clock_monotonic() + time; clock_monotonic() < end;) {
        assert_int_equal(loop_step(b->loop, 10 * USEC_PER_MS), E_OK);
    }
}

static void await_queries(struct bench *b, size_t n)
{
    usec_t end = clock_monotonic() + 5 * USEC_PER_SEC;
    while (b->server.query_n < n && clock_monotonic() < end) {
        assert_int_equal(loop_step(b->loop, 10 * USEC_PER_MS), E_OK);
    }
    assert_true(b->server.query_n >= n);
}

/* ---- tests ---- */

static void both_families_sorted_and_unique(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    serve(&b, 0, "db.example.com", "10.0.0.9");
    serve(&b, 1, "db.example.com", "fd00::1");
    serve(&b, 2, "db.example.com", "10.0.0.2");
    serve(&b, 3, "db.example.com", "10.0.0.9");
    start(&b);
    want(&b, "DB.Example.com."); /* lower case, no trailing dot */
    await(&b, "db.example.com", "10.0.0.2 10.0.0.9 fd00::1");
    run_for(&b, 20 * USEC_PER_MS);
    assert_int_equal(b.batches, 1);
    assert_int_equal(resolver_n(b.r), 1);
    bench_fini(&b);
}

static void asked_anew_when_the_ttl_is_over(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    serve(&b, 0, "db.example.com", "10.0.0.1");
    start(&b);
    want(&b, "db.example.com");
    await(&b, "db.example.com", "10.0.0.1");
    size_t asked = b.server.query_n;
    await_queries(&b, asked + 2);
    run_for(&b, 20 * USEC_PER_MS);
    assert_int_equal(b.batches, 1); /* the same answer changes nothing */
    serve(&b, 0, "db.example.com", "10.0.0.2");
    await(&b, "db.example.com", "10.0.0.2");
    bench_fini(&b);
}

/* TTL 0 waits ttl_min, a day waits ttl_max. */
static void ttl_is_clamped(void **state)
{
    (void)state;
    for (int is_long = 0; is_long < 2; is_long++) {
        struct bench b;
        bench_init(&b);
        b.server.ttl = is_long ? 60000 : 0;
        b.options.ttl_min = is_long ? 1 : 300 * USEC_PER_MS;
        b.options.ttl_max = 300 * USEC_PER_MS;
        serve(&b, 0, "db.example.com", "10.0.0.1");
        start(&b);
        want(&b, "db.example.com");
        await(&b, "db.example.com", "10.0.0.1");
        assert_int_equal(b.server.query_n, 2); /* A and AAAA */
        usec_t begin = clock_monotonic();
        await_queries(&b, 3);
        usec_t waited = clock_monotonic() - begin;
        assert_true(waited > 200 * USEC_PER_MS && waited < 2 * USEC_PER_SEC);
        bench_fini(&b);
    }
}

static void addresses_that_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "127.0.0.1", "127.8.9.1",        "0.0.0.0", "169.254.169.254", "224.0.0.1",
        "::1",       "::ffff:127.0.0.1", "fe80::1", "ff02::1",         "::"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct bench b;
        bench_init(&b);
        serve(&b, 0, "evil.example.com", bad[i]);
        start(&b);
        want(&b, "evil.example.com");
        await(&b, "evil.example.com", "refused");
        serve(&b, 1, "evil.example.com", "10.0.0.1"); /* the good ones among them count */
        await(&b, "evil.example.com", "10.0.0.1");
        bench_fini(&b);
    }
}

/* No query leaves for them. */
static void names_that_are_no_names(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    want(&b, "localhost");
    await(&b, "localhost", "refused");
    want(&b, "db.LocalHost");
    await(&b, "db.localhost", "refused");
    want(&b, "127.0.0.1");
    await(&b, "127.0.0.1", "none");
    want(&b, "10.1.2.3");
    await(&b, "10.1.2.3", "none");
    want(&b, "fd00::1");
    await(&b, "fd00::1", "none");
    assert_int_equal(b.server.query_n, 0);
    resolver_begin(b.r);
    assert_int_equal(resolver_want(b.r, STR_EMPTY), E_PROTO);
    assert_int_equal(resolver_want(b.r, STR(".")), E_PROTO);
    assert_int_equal(resolver_want(b.r, STR("a b")), E_PROTO);
    assert_int_equal(resolver_want(b.r, STR("a\0b")), E_PROTO);
    char text[254];
    memset(text, 'a', sizeof(text));
    assert_int_equal(resolver_want(b.r, str_make(text, 254)), E_PROTO);
    assert_int_equal(resolver_want(b.r, str_make(text, 253)), E_OK);
    resolver_end(b.r);
    assert_int_equal(resolver_n(b.r), 1);
    bench_fini(&b);
}

static void no_such_name_is_believed_the_second_time(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    want(&b, "db.example.com");
    await(&b, "db.example.com", "none"); /* nothing good known: at once */
    serve(&b, 0, "db.example.com", "10.0.0.1");
    await(&b, "db.example.com", "10.0.0.1");
    size_t asked = b.server.query_n;
    serve(&b, 0, NULL, NULL);
    await_queries(&b, asked + 2); /* A and AAAA of the first denial */
    char text[64];
    assert_string_equal(result(&b, "db.example.com", text, sizeof(text)), "10.0.0.1");
    await(&b, "db.example.com", "none");
    assert_true(b.server.query_n >= asked + 4);
    bench_fini(&b);
}

static void the_last_good_addresses_stay(void **state)
{
    (void)state;
    for (int is_silent = 0; is_silent < 2; is_silent++) {
        struct bench b;
        bench_init(&b);
        serve(&b, 0, "db.example.com", "10.0.0.1");
        start(&b);
        want(&b, "db.example.com");
        await(&b, "db.example.com", "10.0.0.1");
        b.server.is_silent = is_silent;
        b.server.rcode = is_silent ? 0 : RCODE_SERVFAIL;
        await_queries(&b, b.server.query_n + 12);
        char text[64];
        assert_string_equal(result(&b, "db.example.com", text, sizeof(text)), "10.0.0.1");
        b.server.is_silent = false;
        b.server.rcode = 0;
        serve(&b, 0, "db.example.com", "10.0.0.2");
        await(&b, "db.example.com", "10.0.0.2");
        bench_fini(&b);
    }
}

static void a_silent_server(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.server.is_silent = true;
    start(&b);
    want(&b, "db.example.com");
    await(&b, "db.example.com", "none"); /* after the timeouts */
    assert_true(b.server.query_n >= 2);
    b.server.is_silent = false;
    serve(&b, 0, "db.example.com", "10.0.0.1");
    await(&b, "db.example.com", "10.0.0.1"); /* tried again */
    bench_fini(&b);
}

static void retries_back_off(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.retry_min = 40 * USEC_PER_MS;
    b.options.retry_max = 10 * USEC_PER_SEC;
    start(&b);
    want(&b, "db.example.com"); /* denied each time: two queries */
    await_queries(&b, 2);
    usec_t begin = clock_monotonic();
    await_queries(&b, 8); /* three more rounds: 40 + 80 + 160 ms */
    assert_true(clock_monotonic() - begin > 250 * USEC_PER_MS);
    bench_fini(&b);
}

static void a_name_is_dropped(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    serve(&b, 0, "a.example.com", "10.0.0.1");
    serve(&b, 1, "b.example.com", "10.0.0.2");
    start(&b);
    resolver_begin(b.r);
    assert_int_equal(resolver_want(b.r, STR("a.example.com")), E_OK);
    assert_int_equal(resolver_want(b.r, STR("b.example.com")), E_OK);
    assert_int_equal(resolver_want(b.r, STR("B.example.com")), E_OK);
    resolver_end(b.r);
    assert_int_equal(resolver_n(b.r), 2);
    await(&b, "a.example.com", "10.0.0.1");
    await(&b, "b.example.com", "10.0.0.2");
    size_t batches = b.batches;
    want(&b, "a.example.com");
    await(&b, "b.example.com", "unknown");
    run_for(&b, 10 * USEC_PER_MS);
    assert_int_equal(b.batches, batches + 1);
    assert_int_equal(resolver_n(b.r), 1);
    run_for(&b, 250 * USEC_PER_MS); /* no late answer brings it back */
    await(&b, "b.example.com", "unknown");
    await(&b, "a.example.com", "10.0.0.1");
    bench_fini(&b);
}

static void dropped_and_wanted_while_asking(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    serve(&b, 0, "a.example.com", "10.0.0.1");
    b.server.is_silent = true;
    start(&b);
    want(&b, "a.example.com");
    await_queries(&b, 1);
    resolver_begin(b.r);
    resolver_end(b.r); /* dropped while c-ares holds it */
    want(&b, "a.example.com");
    b.server.is_silent = false;
    await(&b, "a.example.com", "10.0.0.1");
    b.server.is_silent = true;
    size_t asked = b.server.query_n;
    await_queries(&b, asked + 1);
    resolver_begin(b.r);
    resolver_end(b.r);
    await(&b, "a.example.com", "unknown");
    run_for(&b, 250 * USEC_PER_MS);
    await(&b, "a.example.com", "unknown");
    assert_int_equal(store_n(b.store, OBJECT_RESOLUTION), 0);
    bench_fini(&b);
}

static void more_names_than_asked_for_at_a_time(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.ttl_min = b.options.ttl_max = 60 * USEC_PER_SEC;
    b.options.retry_min = b.options.retry_max = 60 * USEC_PER_SEC;
    start(&b);
    resolver_begin(b.r);
    for (int i = 0; i < 3 * RESOLVER_PARALLEL_MAX; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%d.example.com", i);
        assert_int_equal(resolver_want(b.r, str_from_cstr(name)), E_OK);
    }
    resolver_end(b.r);
    usec_t end = clock_monotonic() + 5 * USEC_PER_SEC;
    while (store_n(b.store, OBJECT_RESOLUTION) < 3 * RESOLVER_PARALLEL_MAX &&
           clock_monotonic() < end) {
        assert_int_equal(loop_step(b.loop, 10 * USEC_PER_MS), E_OK);
    }
    assert_int_equal(store_n(b.store, OBJECT_RESOLUTION), 3 * RESOLVER_PARALLEL_MAX);
    bench_fini(&b);
}

static void so_many_are_asked_for_at_a_time(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.timeout = 10 * USEC_PER_SEC;
    b.server.is_silent = true;
    start(&b);
    resolver_begin(b.r);
    for (int i = 0; i <= RESOLVER_PARALLEL_MAX; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%d.example.com", i);
        assert_int_equal(resolver_want(b.r, str_from_cstr(name)), E_OK);
    }
    resolver_end(b.r);
    run_for(&b, 200 * USEC_PER_MS);
    assert_int_equal(b.server.query_n, 2 * RESOLVER_PARALLEL_MAX); /* A and AAAA */
    bench_fini(&b);                                                /* while c-ares holds them */
}

static void limit_of_names(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    resolver_begin(b.r);
    for (int i = 0; i <= RESOLVER_NAMES_MAX; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%d.example.com", i);
        assert_int_equal(resolver_want(b.r, str_from_cstr(name)),
                         i < RESOLVER_NAMES_MAX ? E_OK : E_LIMIT);
    }
    assert_int_equal(resolver_want(b.r, STR("n0.example.com")), E_OK); /* has it already */
    bench_fini(&b);
}

static void servers_that_are_malformed(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.servers = "not an address";
    assert_int_equal(resolver_new(b.loop, b.store, &b.options, &b.r), E_PROTO);
    assert_null(b.r);
    bench_fini(&b);
}

static void without_memory(void **state)
{
    (void)state;
    enum err error = E_NOMEM;
    size_t nth = 1;
    struct bench b;
    bench_init(&b);
    serve(&b, 0, "db.example.com", "10.0.0.1");
    for (; error != E_OK; nth++) {
        assert_true(nth < 200);
        assert_null(b.r);
        mem_fail_from(nth);
        error = resolver_new(b.loop, b.store, &b.options, &b.r);
        mem_fail_from(0);
    }
    assert_true(nth > 3);
    for (nth = 1; nth < 40; nth++) { /* later: every failure is made good in time */
        resolver_begin(b.r);
        resolver_end(b.r);
        mem_fail_from(nth);
        resolver_begin(b.r);
        error = resolver_want(b.r, STR("db.example.com"));
        resolver_end(b.r);
        for (int i = 0; i < 3; i++) {
            (void)!loop_step(b.loop, 5 * USEC_PER_MS);
        }
        mem_fail_from(0);
        if (error == E_OK) {
            await(&b, "db.example.com", "10.0.0.1");
        } else {
            assert_int_equal(error, E_NOMEM);
        }
    }
    bench_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_families_sorted_and_unique),
        cmocka_unit_test(asked_anew_when_the_ttl_is_over),
        cmocka_unit_test(ttl_is_clamped),
        cmocka_unit_test(addresses_that_are_refused),
        cmocka_unit_test(names_that_are_no_names),
        cmocka_unit_test(no_such_name_is_believed_the_second_time),
        cmocka_unit_test(the_last_good_addresses_stay),
        cmocka_unit_test(a_silent_server),
        cmocka_unit_test(retries_back_off),
        cmocka_unit_test(a_name_is_dropped),
        cmocka_unit_test(dropped_and_wanted_while_asking),
        cmocka_unit_test(more_names_than_asked_for_at_a_time),
        cmocka_unit_test(so_many_are_asked_for_at_a_time),
        cmocka_unit_test(limit_of_names),
        cmocka_unit_test(servers_that_are_malformed),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
