/* Log lines, read back from a pipe in the place of stderr. */
#include "log/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES_MAX = 4096 };

struct capture {
    int read_fd, real_stderr;
    char text[65536 + 1];
    size_t n;
};

static void capture_begin(struct capture *c)
{
    int pair[2];
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    c->read_fd = pair[0];
    c->real_stderr = dup(STDERR_FILENO);
    dup2(pair[1], STDERR_FILENO);
    close(pair[1]);
}

static void capture_read(struct capture *c)
{
    ssize_t n = read(c->read_fd, c->text, sizeof(c->text) - 1);
    c->n = n < 0 ? 0 : (size_t)n;
    c->text[c->n] = '\0';
}

static void capture_end(struct capture *c)
{
    capture_read(c);
    dup2(c->real_stderr, STDERR_FILENO);
    close(c->real_stderr);
    close(c->read_fd);
}

/* "2026-01-02T03:04:05Z " */
static bool starts_with_time(const char *p)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:ddZ ";
    for (size_t i = 0; shape[i] != '\0'; i++) {
        bool is_right = shape[i] == 'd' ? isdigit((unsigned char)p[i]) != 0 : p[i] == shape[i];
        if (!is_right) {
            return false;
        }
    }
    return true;
}

static void test_shape(void **state)
{
    struct capture c;
    (void)state;
    log_init("worker 3", LOG_INFO);
    capture_begin(&c);
    log_line(LOG_WARN, "cannot %s n=%d", "x", 7);
    capture_end(&c);
    assert_true(starts_with_time(c.text));
    assert_string_equal(c.text + 21, "WARN worker 3 cannot x n=7\n");
}

static void test_levels(void **state)
{
    struct capture c;
    (void)state;
    log_init("a", LOG_WARN);
    capture_begin(&c);
    log_line(LOG_INFO, "no");
    log_line(LOG_DEBUG, "no");
    log_line(LOG_ERROR, "yes");
    capture_end(&c);
    assert_string_equal(c.text + 21, "ERROR a yes\n");
    log_init("a", LOG_DEBUG);
    capture_begin(&c);
    log_line(LOG_DEBUG, "yes");
    capture_end(&c);
    assert_string_equal(c.text + 21, "DEBUG a yes\n");
}

static void test_name_is_cut(void **state)
{
    struct capture c;
    (void)state;
    log_init("0123456789012345678901234567890123456789", LOG_INFO);
    capture_begin(&c);
    log_line(LOG_INFO, "m");
    capture_end(&c);
    assert_string_equal(c.text + 21, "INFO 0123456789012345678901234567890 m\n");
}

static void test_control_characters_cannot_forge_a_line(void **state)
{
    struct capture c;
    (void)state;
    log_init("a", LOG_INFO);
    capture_begin(&c);
    log_line(LOG_INFO, "host=%s", "x\n2026 ERROR a\r\t\x1b[0m\x7f\xc3\xa4");
    capture_end(&c);
    assert_string_equal(c.text + 21, "INFO a host=x?2026 ERROR a???[0m?\xc3\xa4\n");
}

/* A line of exactly n bytes, newline included, when not cut. */
static size_t line_of(size_t n)
{
    static const char begin[] = "2026-01-02T03:04:05Z INFO a ";
    char text[8192];
    struct capture c;
    memset(text, 'x', sizeof(text));
    text[n - strlen(begin) - 1] = '\0';
    capture_begin(&c);
    log_line(LOG_INFO, "%s", text);
    capture_end(&c);
    assert_int_equal(c.text[c.n - 1], '\n');
    assert_ptr_equal(strchr(c.text, '\n'), c.text + c.n - 1); /* one line */
    return c.n;
}

static void test_long_lines_are_cut(void **state)
{
    (void)state;
    log_init("a", LOG_INFO);
    assert_int_equal(line_of(100), 100);
    assert_int_equal(line_of(LINE_BYTES_MAX), LINE_BYTES_MAX);
    assert_int_equal(line_of(LINE_BYTES_MAX + 1), LINE_BYTES_MAX);
    assert_int_equal(line_of(8000), LINE_BYTES_MAX);
}

static void test_full_stderr_does_not_block(void **state)
{
    struct capture c;
    char text[3000];
    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_init("a", LOG_INFO);
    capture_begin(&c);
    for (int i = 0; i < 100; i++) { /* far more than a pipe holds; would hang here */
        log_line(LOG_INFO, "%d %s", i, text);
    }
    capture_read(&c);
    assert_non_null(strstr(c.text, "INFO a 0 xxx"));
    assert_null(strstr(c.text, "INFO a 99 xxx"));
    log_line(LOG_INFO, "again");
    capture_end(&c);
    assert_non_null(strstr(c.text, "WARN a log lines were lost, stderr was full lost="));
    assert_non_null(strstr(c.text, "INFO a again\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_name_is_cut),
        cmocka_unit_test(test_control_characters_cannot_forge_a_line),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_full_stderr_does_not_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
