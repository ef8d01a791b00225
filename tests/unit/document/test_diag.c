/* Diagnostics: their text, and the list that keeps copies. */
#include "document/diag.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct diag full = {.severity = DIAG_ERROR,
                                 .reason = DIAG_InvalidHost,
                                 .file = STR_INIT("d/a.yaml"),
                                 .line = 7,
                                 .kind = STR_INIT("Ingress"),
                                 .namespace_name = STR_INIT("default"),
                                 .name = STR_INIT("web"),
                                 .field = STR_INIT("spec.rules[0].host"),
                                 .what = STR_INIT("is \"a:80\""),
                                 .why = STR_INIT("a host has no port"),
                                 .mend = STR_INIT("drop the port")};

static void expect(const struct diag *d, const char *want)
{
    struct buf b;
    buf_init(&b, 4096);
    diag_emit_text(&b, d);
    buf_add_char(&b, '\0');
    assert_string_equal(b.p, want);
    buf_fini(&b);
}

static void text(void **state)
{
    (void)state;
    struct diag d = full;
    expect(&d,
           "d/a.yaml:7: error: Ingress default/web: spec.rules[0].host: is \"a:80\": a host has "
           "no port; drop the port (InvalidHost)");
    d.severity = DIAG_WARNING;
    d.line = 0;
    d.mend = d.field = STR_EMPTY;
    expect(&d, "d/a.yaml: warning: Ingress default/web: is \"a:80\": a host has no port "
               "(InvalidHost)");
    d.file = d.namespace_name = d.why = STR_EMPTY;
    expect(&d, "warning: Ingress web: is \"a:80\" (InvalidHost)");
    d.name = STR_EMPTY;
    expect(&d, "warning: Ingress: is \"a:80\" (InvalidHost)");
    d.kind = STR_EMPTY;
    d.what = STR("a\nb\x7f\x1b[0m\xc3\xa9");
    expect(&d, "warning: a\\x0ab\\x7f\\x1b[0m\xc3\xa9 (InvalidHost)");
}

static void reasons(void **state)
{
    (void)state;
    assert_string_equal(diag_reason_name(DIAG_UnreadableFile), "UnreadableFile");
    assert_string_equal(diag_reason_name(DIAG_LimitReached), "LimitReached");
    for (int i = 0; i < DIAG_REASONS_N; i++) {
        assert_true(strlen(diag_reason_name((enum diag_reason)i)) > 3);
    }
}

static void list_copies_and_drops(void **state)
{
    (void)state;
    struct diag_list *l;
    char name[] = "web";
    struct diag d = full;
    d.name = (struct str){name, 3};
    assert_int_equal(diag_list_new(2, &l), E_OK);
    diag_list_add(l, &d);
    name[0] = 'x';
    diag_list_add(l, &d);
    assert_int_equal(diag_list_dropped(l), 0); /* n */
    diag_list_add(l, &d);
    assert_int_equal(diag_list_dropped(l), 1); /* n + 1 */
    assert_int_equal(diag_list_n(l), 2);
    assert_true(str_eq(diag_list_get(l, 0)->name, STR("web")));
    assert_true(str_eq(diag_list_get(l, 1)->name, STR("xeb")));
    assert_int_equal(diag_list_get(l, 1)->line, 7);
    diag_list_free(l);
    diag_list_free(NULL);
}

static void sorting(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        uint32_t line;
        const char *name, *field;
    } in[] = {
        {"b", 1,  "a", "a"},
        {"a", 10, "a", "a"},
        {"a", 9,  "b", "a"},
        {"a", 9,  "a", "b"},
        {"a", 9,  "a", "a"},
    };
    struct diag_list *l;
    assert_int_equal(diag_list_new(10, &l), E_OK);
    diag_list_sort(l);
    for (size_t i = 0; i < 5; i++) {
        diag_list_add(l, &(struct diag){.file = str_from_cstr(in[i].file),
                                        .line = in[i].line,
                                        .name = str_from_cstr(in[i].name),
                                        .field = str_from_cstr(in[i].field)});
    }
    diag_list_sort(l);
    for (size_t i = 0; i < 5; i++) {
        const struct diag *d = diag_list_get(l, i);
        assert_int_equal(d->line, in[4 - i].line);
        assert_true(str_eq(d->file, str_from_cstr(in[4 - i].file)));
        assert_true(str_eq(d->field, str_from_cstr(in[4 - i].field)));
    }
    diag_list_free(l);
}

static void allocation_failures(void **state)
{
    (void)state;
    for (size_t i = 1; i < 20; i++) {
        struct diag_list *l = NULL;
        mem_fail_from(i);
        enum err e = diag_list_new(100, &l);
        for (size_t j = 0; e == E_OK && j < 50; j++) {
            diag_list_add(l, &full);
        }
        mem_fail_from(0);
        assert_int_equal(e, i == 1 ? E_NOMEM : E_OK);
        if (e == E_OK) {
            assert_int_equal(diag_list_n(l) + diag_list_dropped(l), 50);
            assert_true(i > 3 || diag_list_dropped(l) > 0);
        }
        diag_list_free(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text),
        cmocka_unit_test(reasons),
        cmocka_unit_test(sorting),
        cmocka_unit_test(list_copies_and_drops),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
