/* The access log: the text that ingress-nginx's users parse, JSON whatever bytes come, and what
 * happens when its reader is slow. */
#include "log/access.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "document/json.h"

#define WALL (1767323045 * USEC_PER_SEC) /* 2026-01-02T03:04:05Z */

enum { TEXT_BYTES = 2 * ACCESS_LOG_BYTES_MAX };

struct pipe_end {
    int read_fd, write_fd;
    char text[TEXT_BYTES];
    size_t n;
};

static struct pipe_end *open_pipe(int flags)
{
    static struct pipe_end end; /* NOLINT: too large for the stack */
    int pair[2];
    assert_int_equal(pipe2(pair, O_CLOEXEC | O_NONBLOCK | flags), 0);
    end = (struct pipe_end){.read_fd = pair[0], .write_fd = pair[1]};
    return &end;
}

static void close_pipe(struct pipe_end *p)
{
    close(p->read_fd);
    close(p->write_fd);
}

/* One read; with O_DIRECT that is one write of the other side. False when there is nothing. */
static bool read_some(struct pipe_end *p, size_t *ret_n)
{
    ssize_t n = read(p->read_fd, p->text + p->n, TEXT_BYTES - p->n);
    *ret_n = n > 0 ? (size_t)n : 0;
    p->n += *ret_n;
    return n > 0;
}

static struct str read_all(struct pipe_end *p)
{
    size_t n;
    while (read_some(p, &n)) {
    }
    return str_make(p->text, p->n);
}

static struct access_entry full_entry(void)
{
    struct access_entry e = {
        .method = STR("GET"),
        .target = STR("/a?b=c"),
        .authority = STR("shop.test"),
        .referer = STR("http://r/"),
        .user_agent = STR("curl/8"),
        .request_id = STR("0123456789abcdef0123456789abcdef"),
        .version = 11,
        .status = 200,
        .request_bytes = 77,
        .body_bytes = 5,
        .duration = 1234 * USEC_PER_MS,
        .route_namespace = STR("default"),
        .route_name = STR("shop"),
        .upstream_name = STR("default-web-80"),
        .has_upstream = true,
        .upstream_port = 8080,
        .upstream_status = 200,
        .upstream_bytes = 5,
        .upstream_duration = 12 * USEC_PER_MS,
    };
    assert_int_equal(ip_parse(STR("192.0.2.1"), &e.client), E_OK);
    assert_int_equal(ip_parse(STR("10.0.0.9"), &e.upstream_ip), E_OK);
    return e;
}

/* What one entry becomes, with its line end. */
static struct str line_of(const struct access_entry *e, enum access_log_format format)
{
    static char text[PIPE_BUF + 1]; /* NOLINT */
    struct pipe_end *p = open_pipe(0);
    struct access_log l;
    assert_int_equal(access_log_init(&l, p->write_fd, format), E_OK);
    access_log_write(&l, e, WALL);
    assert_int_equal(l.line_n + l.dropped_n, 1);
    access_log_flush(&l);
    struct str line = read_all(p);
    assert_true(line.n <= PIPE_BUF);
    mem_copy(text, line.p, line.n);
    access_log_fini(&l);
    close_pipe(p);
    return str_make(text, line.n);
}

static void expect_text(const struct access_entry *e, const char *text)
{
    struct str line = line_of(e, ACCESS_LOG_TEXT);
    if (!str_eq(line, str_from_cstr(text))) {
        print_error("is   %.*swant %s", STR_ARG(line), text);
        fail();
    }
}

/* ---- text ---- */

/* Source: ingress-nginx, docs/user-guide/nginx-configuration/log-format.md, upstreaminfo. */
static void text_is_ingress_nginx_s(void **state)
{
    struct access_entry e = full_entry();
    (void)state;
    expect_text(&e, "192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] \"GET /a?b=c HTTP/1.1\" 200 5 "
                    "\"http://r/\" \"curl/8\" 77 1.234 [default-web-80] [] 10.0.0.9:8080 5 0.012 "
                    "200 0123456789abcdef0123456789abcdef\n");
}

static void text_without_what_did_not_come(void **state)
{
    struct access_entry e = full_entry();
    (void)state;
    e.upstream_status = 0;
    e.referer = e.user_agent = STR_EMPTY;
    e.reason = REASON_upstream_timeout;
    e.status = 504;
    expect_text(&e, "192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] \"GET /a?b=c HTTP/1.1\" 504 5 "
                    "\"-\" \"-\" 77 1.234 [default-web-80] [] 10.0.0.9:8080 5 0.012 - "
                    "0123456789abcdef0123456789abcdef upstream_timeout\n");
    e = (struct access_entry){.client = e.client,
                              .target = STR("\x16\x03\x01"),
                              .version = 11,
                              .status = 400,
                              .reason = REASON_bad_request};
    expect_text(&e, "192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] \"\\x16\\x03\\x01\" 400 0 \"-\" "
                    "\"-\" 0 0.000 [] [] - - - - - bad_request\n");
}

static void text_of_ipv6_and_other_versions(void **state)
{
    struct access_entry e = full_entry();
    (void)state;
    assert_int_equal(ip_parse(STR("2001:db8::1"), &e.client), E_OK);
    assert_int_equal(ip_parse(STR("2001:db8::2"), &e.upstream_ip), E_OK);
    e.version = 20;
    e.duration = 1499; /* rounded */
    e.upstream_duration = 500;
    expect_text(&e, "2001:db8::1 - - [02/Jan/2026:03:04:05 +0000] \"GET /a?b=c HTTP/2.0\" 200 5 "
                    "\"http://r/\" \"curl/8\" 77 0.001 [default-web-80] [] [2001:db8::2]:8080 5 "
                    "0.001 200 0123456789abcdef0123456789abcdef\n");
}

static void text_of_a_tunnel(void **state)
{
    struct access_entry e = full_entry();
    (void)state;
    e.method = STR("TCP");
    e.target = e.authority = STR("a.example");
    e.referer = e.user_agent = STR_EMPTY;
    e.version = 0;
    e.reason = REASON_tunnel_idle;
    expect_text(&e, "192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] \"TCP a.example tcp/passthrough\" "
                    "200 5 \"-\" \"-\" 77 1.234 [default-web-80] [] 10.0.0.9:8080 5 0.012 200 "
                    "0123456789abcdef0123456789abcdef tunnel_idle\n");
}

static void text_escapes_as_nginx_does(void **state)
{
    struct access_entry e = full_entry();
    (void)state;
    e.target = STR("/\"\\\n\x7f\xe9 ");
    e.user_agent = STR("a\"b");
    expect_text(&e,
                "192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] \"GET "
                "/\\x22\\x5C\\x0A\\x7F\\xE9  HTTP/1.1\" 200 5 \"http://r/\" \"a\\x22b\" 77 1.234 "
                "[default-web-80] [] 10.0.0.9:8080 5 0.012 200 "
                "0123456789abcdef0123456789abcdef\n");
}

static void time_goes_on(void **state)
{
    struct pipe_end *p = open_pipe(0);
    struct access_log l;
    struct access_entry e = full_entry();
    (void)state;
    assert_int_equal(access_log_init(&l, p->write_fd, ACCESS_LOG_TEXT), E_OK);
    access_log_write(&l, &e, WALL);
    access_log_write(&l, &e, WALL + USEC_PER_SEC - 1);
    access_log_write(&l, &e, WALL + USEC_PER_SEC);
    access_log_flush(&l);
    struct str text = read_all(p), line;
    const char *const seconds[] = {":05 +0000]", ":05 +0000]", ":06 +0000]"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(str_cut(text, '\n', &line, &text));
        assert_non_null(memmem(line.p, line.n, seconds[i], 10));
    }
    access_log_fini(&l);
    close_pipe(p);
}

/* ---- JSON ---- */

struct reading {
    size_t documents, mistakes;
    char target[2 * PIPE_BUF];
    size_t target_n;
};

static enum err on_document(void *arg, const struct tree_node *root)
{
    struct reading *r = arg;
    struct str target = tree_get_string(root, STR("target"));
    r->documents++;
    r->target_n = target.n;
    mem_copy(r->target, target.p, target.n);
    assert_int_equal(root->kind, TREE_MAPPING);
    assert_non_null(tree_get(root, STR("status")));
    assert_non_null(tree_get(root, STR("request_time")));
    return E_OK;
}

static void on_mistake(void *arg, const struct diag *d)
{
    struct reading *r = arg;
    print_error("%.*s: %.*s\n", STR_ARG(d->what), STR_ARG(d->why));
    r->mistakes++;
}

static void read_json(struct reading *r, struct str line)
{
    const struct tree_sink sink = {.arg = r, .on_document = on_document, .on_diag = on_mistake};
    *r = (struct reading){0};
    assert_true(line.n > 0 && line.p[line.n - 1] == '\n');
    assert_int_equal(str_find(line, '\n'), line.n - 1); /* one line */
    assert_int_equal(json_parse(line, &sink), E_OK);
    assert_int_equal(r->documents, 1);
    assert_int_equal(r->mistakes, 0);
}

static void json_line(void **state)
{
    struct access_entry e = full_entry();
    (void)state;
    struct str line = line_of(&e, ACCESS_LOG_JSON);
    const char *want =
        "{\"time\":\"2026-01-02T03:04:05Z\",\"remote_addr\":\"192.0.2.1\",\"method\":\"GET\","
        "\"host\":\"shop.test\",\"target\":\"/a?b=c\",\"protocol\":\"HTTP/1.1\",\"status\":200,"
        "\"request_length\":77,\"body_bytes_sent\":5,\"request_time\":1.234,"
        "\"referer\":\"http://r/\",\"user_agent\":\"curl/8\",\"namespace\":\"default\","
        "\"ingress\":\"shop\",\"upstream\":\"default-web-80\",\"upstream_addr\":\"10.0.0.9:8080\","
        "\"upstream_status\":200,\"upstream_response_length\":5,\"upstream_response_time\":0.012,"
        "\"request_id\":\"0123456789abcdef0123456789abcdef\",\"reason\":\"none\"}\n";
    assert_true(str_eq(line, str_from_cstr(want)));
}

static void entry_use_tls(struct access_entry *e)
{
    e->is_tls = true;
    e->tls_version = STR("TLSv1.3");
    e->tls_cipher = STR("TLS_AES_256_GCM_SHA384");
    e->server_name = STR("shop.test");
    e->client_verdict = STR("FAILED:certificate has expired");
}

/* By the names of nginx' variables; the text format knows nothing of it. */
static void json_line_over_tls(void **state)
{
    struct access_entry e = full_entry(), plain = full_entry();
    (void)state;
    entry_use_tls(&e);
    const char *want = "\"ssl_protocol\":\"TLSv1.3\",\"ssl_cipher\":\"TLS_AES_256_GCM_SHA384\","
                       "\"ssl_server_name\":\"shop.test\",\"ssl_session_reused\":\".\","
                       "\"ssl_client_verify\":\"FAILED:certificate has expired\",\"request_id\"";
    struct str line = line_of(&e, ACCESS_LOG_JSON);
    assert_non_null(memmem(line.p, line.n, want, strlen(want)));
    e.is_session_reused = true;
    line = line_of(&e, ACCESS_LOG_JSON);
    want = "\"ssl_session_reused\":\"r\"";
    assert_non_null(memmem(line.p, line.n, want, strlen(want)));
    char text[PIPE_BUF + 1];
    struct str plain_line = line_of(&plain, ACCESS_LOG_TEXT);
    mem_copy(text, plain_line.p, plain_line.n);
    text[plain_line.n] = '\0';
    expect_text(&e, text);
}

static void json_with_every_byte(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        struct str s = str_make(&c, 1);
        struct access_entry e = full_entry();
        struct reading r;
        e.method = e.target = e.authority = e.referer = e.user_agent = e.request_id = s;
        e.route_namespace = e.route_name = e.upstream_name = s;
        read_json(&r, line_of(&e, ACCESS_LOG_JSON));
        const char latin[] = {(char)(0xc0 | byte >> 6), (char)(0x80 | (byte & 0x3f))};
        assert_true(byte < 0x80 ? r.target_n == 1 && r.target[0] == c
                                : r.target_n == 2 && memcmp(r.target, latin, 2) == 0);
    }
}

/* ---- the length of a line ---- */

/* Whatever a client sends, and however much: there is a line, and it is whole. */
static void no_request_stays_out_of_the_log(void **state)
{
    static char many[32 * 1024];
    static const char bytes[] = {'a', '"', '\x01', '\xff'};
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        struct access_entry e = full_entry();
        struct str s = str_make(many, sizeof(many));
        memset(many, bytes[i], sizeof(many));
        e.method = e.target = e.authority = e.referer = e.user_agent = e.request_id = s;
        e.route_namespace = e.route_name = e.upstream_name = s;
        e.status = e.upstream_status = 65535;
        e.request_bytes = e.body_bytes = e.upstream_bytes = UINT64_MAX;
        e.duration = e.upstream_duration = UINT64_MAX / 2;
        e.reason = REASON_version_not_supported;
        e.upstream_port = 65535;
        assert_int_equal(ip_parse(STR("1111:2222:3333:4444:5555:6666:7777:8888"), &e.client), E_OK);
        e.upstream_ip = e.client;
        e.has_grpc_status = e.is_tls = true;
        e.grpc_status = UINT8_MAX;
        e.tls_version = e.tls_cipher = e.server_name = e.client_verdict = s;
        struct reading r;
        read_json(&r, line_of(&e, ACCESS_LOG_JSON));
        struct str line = line_of(&e, ACCESS_LOG_TEXT);
        assert_true(line.n > 1000 && line.p[line.n - 1] == '\n');
        assert_true(str_has_suffix(line, STR(" version_not_supported\n")));
    }
}

static void cut_at_the_room(void **state)
{
    static char many[2000];
    (void)state;
    memset(many, 'a', sizeof(many));
    for (size_t n = 1280; n <= 1281; n++) {
        struct access_entry e = full_entry();
        struct reading r;
        e.target = str_make(many, n);
        read_json(&r, line_of(&e, ACCESS_LOG_JSON));
        assert_int_equal(r.target_n, 1280);
    }
    for (size_t n = 1274; n <= 1275; n++) { /* an escape of 6 bytes is whole or not there */
        struct access_entry e = full_entry();
        struct reading r;
        many[n] = '\x01';
        e.target = str_make(many, n + 1);
        read_json(&r, line_of(&e, ACCESS_LOG_JSON));
        assert_int_equal(r.target_n, n == 1274 ? 1275 : 1275);
        assert_int_equal(r.target[1274], n == 1274 ? 1 : 'a');
        many[n] = 'a';
    }
}

/* ---- slow readers ---- */

static size_t count_whole_lines(struct str text, const char *line)
{
    struct str one;
    size_t n = 0;
    while (text.n > 0) {
        assert_true(str_cut(text, '\n', &one, &text)); /* each has its end */
        assert_true(str_eq(one, str_first(str_from_cstr(line), strlen(line) - 1)));
        n++;
    }
    return n;
}

static void lines_that_find_no_room_are_counted(void **state)
{
    struct access_log l;
    struct access_entry e = full_entry();
    char line[PIPE_BUF + 1];
    struct str text = line_of(&e, ACCESS_LOG_TEXT);
    (void)state;
    assert_true(str_to_cstr(text, line, sizeof(line)));
    struct pipe_end *p = open_pipe(0);
    int size = fcntl(p->write_fd, F_SETPIPE_SZ, PIPE_BUF);
    assert_true(size >= PIPE_BUF);
    assert_int_equal(access_log_init(&l, p->write_fd, ACCESS_LOG_TEXT), E_OK);
    size_t fits = ACCESS_LOG_BYTES_MAX / text.n;
    for (size_t i = 0; i < fits; i++) {
        access_log_write(&l, &e, WALL);
    }
    assert_int_equal(l.line_n, fits);
    assert_int_equal(l.dropped_n, 0);
    access_log_write(&l, &e, WALL); /* n + 1 */
    assert_int_equal(l.dropped_n, 1);
    access_log_flush(&l); /* the pipe takes only a little */
    assert_true(l.n > 0 && l.n < fits * text.n);
    access_log_write(&l, &e, WALL); /* there is room again */
    assert_int_equal(l.line_n, fits + 1);
    size_t n;
    while (l.n > 0) {
        assert_true(read_some(p, &n)); /* nobody waits for ever */
        access_log_flush(&l);
    }
    assert_int_equal(count_whole_lines(read_all(p), line), fits + 1);
    access_log_fini(&l);
    close_pipe(p);
}

/* A pipe in packet mode shows each write by itself. */
static void writes_are_whole_lines_of_at_most_pipe_buf(void **state)
{
    struct access_log l;
    struct access_entry e = full_entry();
    size_t n, write_n = 0;
    (void)state;
    struct pipe_end *p = open_pipe(O_DIRECT);
    assert_int_equal(access_log_init(&l, p->write_fd, ACCESS_LOG_JSON), E_OK);
    assert_false(access_log_is_full(&l));
    while (!access_log_is_full(&l)) {
        access_log_write(&l, &e, WALL);
    }
    assert_true(l.n <= PIPE_BUF);
    for (size_t i = 0; i < 100; i++) {
        access_log_write(&l, &e, WALL);
    }
    access_log_flush(&l);
    while (read_some(p, &n)) {
        assert_true(n <= PIPE_BUF);
        assert_int_equal(p->text[p->n - 1], '\n');
        access_log_flush(&l);
        write_n++;
    }
    assert_true(write_n > 10 && l.n == 0);
    access_log_fini(&l);
    close_pipe(p);
}

static void a_reader_that_is_gone_costs_lines_only(void **state)
{
    struct access_log l;
    struct access_entry e = full_entry();
    (void)state;
    assert_int_equal(access_log_init(&l, 1000, ACCESS_LOG_TEXT), E_OK); /* no such descriptor */
    for (size_t i = 0; i < 10000; i++) {
        access_log_write(&l, &e, WALL);
        access_log_flush(&l);
    }
    assert_int_equal(l.line_n + l.dropped_n, 10000);
    assert_true(l.dropped_n > 0);
    access_log_fini(&l);
}

/* ---- the rest ---- */

static void moved_to_another_file(void **state)
{
    struct access_log l;
    struct access_entry e = full_entry();
    int other[2];
    char text[PIPE_BUF];
    (void)state;
    struct pipe_end *p = open_pipe(0);
    assert_int_equal(pipe2(other, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(access_log_init(&l, p->write_fd, ACCESS_LOG_TEXT), E_OK);
    access_log_write(&l, &e, WALL);
    access_log_move(&l, other[1]);
    struct str first = read_all(p);
    assert_true(first.n > 0 && l.n == 0); /* what came before is in the old one */
    access_log_write(&l, &e, WALL);
    access_log_flush(&l);
    assert_int_equal(read(other[0], text, sizeof(text)), first.n);
    access_log_fini(&l);
    close_pipe(p);
    close(other[0]);
    close(other[1]);
}

static void off(void **state)
{
    struct access_log l;
    struct access_entry e = full_entry();
    size_t before = mem_calls();
    (void)state;
    assert_int_equal(access_log_init(&l, -1, ACCESS_LOG_TEXT), E_OK);
    assert_int_equal(l.format, ACCESS_LOG_OFF);
    access_log_write(&l, &e, WALL);
    access_log_flush(&l);
    access_log_fini(&l);
    assert_int_equal(access_log_init(&l, 1, ACCESS_LOG_OFF), E_OK);
    access_log_write(&l, &e, WALL);
    assert_int_equal(l.line_n + l.dropped_n + l.n, 0);
    access_log_fini(&l);
    assert_int_equal(mem_calls(), before);
}

static void out_of_memory(void **state)
{
    struct access_log l;
    (void)state;
    mem_fail_from(1);
    assert_int_equal(access_log_init(&l, 1, ACCESS_LOG_JSON), E_NOMEM);
    mem_fail_from(0);
    access_log_fini(&l);
}

static void lines_cost_no_allocation(void **state)
{
    struct access_log l;
    struct access_entry e = full_entry();
    (void)state;
    struct pipe_end *p = open_pipe(0);
    assert_int_equal(access_log_init(&l, p->write_fd, ACCESS_LOG_JSON), E_OK);
    size_t before = mem_calls();
    for (size_t i = 0; i < 100; i++) {
        access_log_write(&l, &e, WALL + i * USEC_PER_SEC);
        access_log_flush(&l);
    }
    assert_int_equal(mem_calls(), before);
    access_log_fini(&l);
    close_pipe(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_ingress_nginx_s),
        cmocka_unit_test(text_without_what_did_not_come),
        cmocka_unit_test(text_of_ipv6_and_other_versions),
        cmocka_unit_test(text_of_a_tunnel),
        cmocka_unit_test(text_escapes_as_nginx_does),
        cmocka_unit_test(time_goes_on),
        cmocka_unit_test(json_line),
        cmocka_unit_test(json_line_over_tls),
        cmocka_unit_test(json_with_every_byte),
        cmocka_unit_test(no_request_stays_out_of_the_log),
        cmocka_unit_test(cut_at_the_room),
        cmocka_unit_test(lines_that_find_no_room_are_counted),
        cmocka_unit_test(writes_are_whole_lines_of_at_most_pipe_buf),
        cmocka_unit_test(a_reader_that_is_gone_costs_lines_only),
        cmocka_unit_test(moved_to_another_file),
        cmocka_unit_test(off),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(lines_cost_no_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
