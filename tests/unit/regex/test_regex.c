/* Patterns that match, that are none, and that would take for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "regex/regex.h"

static void test_matches(void **state)
{
    static const struct {
        const char *pattern, *subject;
        bool is_found;
    } cases[] = {
        {"CN=alice",       "O=Shop,CN=alice",  true }, /* anywhere */
        {"^CN=alice$",     "O=Shop,CN=alice",  false},
        {"CN=(alice|bob)", "CN=bob,O=Shop",    true },
        {"CN=a.*e$",       "CN=alice",         true },
        {"CN=ALICE",       "CN=alice",         false},
        {"(?i)CN=ALICE",   "CN=alice",         true },
        {"",               "anything",         true },
        {"\\x{ff}",        "\xff is no UTF-8", true },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char fault[REGEX_FAULT_BYTES] = "";
        struct regex *r = NULL;
        assert_int_equal(regex_new(str_from_cstr(cases[i].pattern), fault, &r), E_OK);
        assert_int_equal(regex_finds(r, str_from_cstr(cases[i].subject)), cases[i].is_found);
        regex_free(r);
    }
    regex_free(NULL);
}

static void test_what_is_none_is_told(void **state)
{
    static const char *const patterns[] = {"(", "a{2,1}", "[z-a]", "\\C", "(*UTF)a", "*"};
    (void)state;
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        char fault[REGEX_FAULT_BYTES] = "";
        struct regex *r = NULL;
        enum err e = regex_new(str_from_cstr(patterns[i]), fault, &r);
        assert_int_equal(e, E_PROTO);
        assert_null(r);
        assert_non_null(strstr(fault, " at offset "));
    }
    char text[REGEX_PATTERN_BYTES_MAX + 1];
    memset(text, 'a', sizeof(text));
    struct regex *r = NULL;
    char fault[REGEX_FAULT_BYTES];
    assert_int_equal(regex_new(str_make(text, sizeof(text)), fault, &r), E_LIMIT);
    assert_int_equal(regex_new(str_make(text, sizeof(text) - 1), fault, &r), E_OK);
    regex_free(r);
}

/* Without limits this one takes 2^n steps. */
static void test_cost_is_bounded(void **state)
{
    char fault[REGEX_FAULT_BYTES], subject[64];
    struct regex *r = NULL;
    (void)state;
    memset(subject, 'a', sizeof(subject));
    assert_int_equal(regex_new(STR("^(a+)+$"), fault, &r), E_OK);
    assert_true(regex_finds(r, str_make(subject, 20)));
    subject[63] = 'b';
    usec_t before = clock_cpu();
    assert_false(regex_finds(r, str_make(subject, sizeof(subject))));
    assert_true(clock_cpu() - before < 2 * USEC_PER_SEC);
    regex_free(r);
}

static void test_memory_may_run_out(void **state)
{
    char fault[REGEX_FAULT_BYTES];
    enum err e = E_NOMEM;
    (void)state;
    for (size_t n = 1; e != E_OK; n++) {
        struct regex *r = NULL;
        assert_true(n < 100);
        mem_fail_from(n);
        e = regex_new(STR("a(b|c)*d"), fault, &r);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
        regex_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_what_is_none_is_told),
        cmocka_unit_test(test_cost_is_bounded),
        cmocka_unit_test(test_memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
