/* controller/diagnostics: once when it comes up, once when it is mended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "controller/diagnostics.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Standard error goes to a file, so that the lines can be counted. */
struct scene {
    struct diagnostics d;
    int saved, file;
    const char *now[4]; /* what is wrong at present, by the name of a file */
    enum err e;
};

static int open_scene(void **state)
{
    static struct scene s; /* NOLINT: the fixture of this file */
    s = (struct scene){0};
    diagnostics_init(&s.d);
    s.file = memfd_create("log", 0);
    s.saved = dup(STDERR_FILENO);
    assert_true(s.file >= 0 && s.saved >= 0);
    assert_true(dup2(s.file, STDERR_FILENO) >= 0);
    assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, O_APPEND), 0);
    *state = &s;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    diagnostics_fini(&s->d);
    dup2(s->saved, STDERR_FILENO);
    close(s->saved);
    close(s->file);
    return 0;
}

/* Lines of the log with the word. */
static size_t logged(struct scene *s, const char *word)
{
    static char text[1 << 20];
    ssize_t n = pread(s->file, text, sizeof(text) - 1, 0);
    size_t found = 0;
    text[n < 0 ? 0 : n] = 0;
    for (const char *p = text; (p = strstr(p, word)) != NULL; p += strlen(word)) {
        found++;
    }
    return found;
}

static void add(struct scene *s, const char *file)
{
    const struct diag d = {.severity = DIAG_ERROR,
                           .reason = DIAG_InvalidHost,
                           .file = str_from_cstr(file),
                           .what = STR("is bad"),
                           .why = STR("why")};
    diagnostics_add(&s->d, &d);
}

static enum err each(void *arg, diag_fn *fn, void *fn_arg)
{
    struct scene *s = arg;
    (void)fn_arg;
    assert_ptr_equal(fn, diagnostics_add);
    for (size_t i = 0; i < 4; i++) {
        if (s->now[i] != NULL) {
            add(s, s->now[i]);
        }
    }
    return s->e;
}

static void once_until_it_is_mended(void **state)
{
    struct scene *s = *state;
    add(s, "one.yaml");
    add(s, "one.yaml");
    add(s, "two.yaml");
    assert_int_equal(logged(s, "one.yaml"), 1);
    assert_int_equal(s->d.total, 2);
    s->now[0] = "one.yaml";
    diagnostics_sweep(&s->d, each, s);
    assert_int_equal(logged(s, "mended: two.yaml"), 1);
    assert_int_equal(logged(s, "one.yaml"), 1);
    add(s, "two.yaml");
    assert_int_equal(logged(s, "two.yaml"), 3); /* came, went, came again */
    assert_int_equal(s->d.total, 3);
}

static void a_sweep_that_fails_forgets_nothing(void **state)
{
    struct scene *s = *state;
    add(s, "one.yaml");
    s->e = E_NOMEM;
    diagnostics_sweep(&s->d, each, s);
    assert_int_equal(logged(s, "mended"), 0);
    assert_int_equal(s->d.known.n, 1);
}

static void many_are_one_line_with_a_number(void **state)
{
    struct scene *s = *state;
    char name[32];
    for (int i = 0; i < DIAGNOSTICS_LOGGED_MAX; i++) {
        (void)snprintf(name, sizeof(name), "file-%d.yaml", i);
        add(s, name);
    }
    assert_int_equal(logged(s, "file-"), DIAGNOSTICS_LOGGED_MAX);
    add(s, "file-last.yaml");
    assert_int_equal(logged(s, "file-last"), 0);
    assert_int_equal(s->d.total, DIAGNOSTICS_LOGGED_MAX + 1);
    s->e = E_NOMEM;
    diagnostics_sweep(&s->d, each, s);
    assert_int_equal(logged(s, "1 more diagnostics"), 1);
    add(s, "file-new.yaml"); /* the next time has room again */
    assert_int_equal(logged(s, "file-new"), 1);
}

static void without_memory_it_is_logged_all_the_same(void **state)
{
    struct scene *s = *state;
    add(s, "first.yaml"); /* makes the scratch buffer */
    for (size_t n = 1; n < 4; n++) {
        mem_fail_from(n);
        add(s, "one.yaml");
        mem_fail_from(0);
    }
    assert_true(logged(s, "one.yaml") >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(once_until_it_is_mended, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_sweep_that_fails_forgets_nothing, open_scene,
                                        close_scene),
        cmocka_unit_test_setup_teardown(many_are_one_line_with_a_number, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(without_memory_it_is_logged_all_the_same, open_scene,
                                        close_scene),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
