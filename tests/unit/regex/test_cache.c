/* Patterns are compiled once, those that are none too, and never more of them than allowed. */
#include "regex/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

enum { MAX = 4 };

static struct regex *get(struct regex_cache *c, const char *pattern)
{
    return regex_cache_get(c, str_from_cstr(pattern));
}

/* True when looking it up compiles nothing. */
static bool is_kept(struct regex_cache *c, const char *pattern)
{
    size_t before = mem_calls();
    (void)get(c, pattern);
    return mem_calls() == before;
}

static void compiled_once(void **state)
{
    struct regex_cache c;
    (void)state;
    regex_cache_init(&c, MAX);
    struct regex *r = get(&c, "CN=a");
    assert_non_null(r);
    assert_true(regex_finds(r, STR("O=x,CN=a")));
    assert_ptr_equal(get(&c, "CN=a"), r);
    assert_true(is_kept(&c, "CN=a"));
    char text[] = "CN=b"; /* the caller's text may go */
    struct regex *b = get(&c, text);
    text[3] = 'c';
    assert_ptr_equal(get(&c, "CN=b"), b);
    assert_ptr_not_equal(get(&c, text), b);
    assert_int_equal(c.n, 3);
    regex_cache_fini(&c);
}

/* A client may cause it to be asked for again and again. */
static void what_is_none_is_remembered(void **state)
{
    static const char *const patterns[] = {"(", "CN=[", ""};
    struct regex_cache c;
    char text[REGEX_PATTERN_BYTES_MAX + 1];
    (void)state;
    memset(text, 'a', sizeof(text));
    regex_cache_init(&c, MAX);
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        assert_int_equal(get(&c, patterns[i]) == NULL, patterns[i][0] != '\0');
        assert_true(is_kept(&c, patterns[i]));
    }
    struct str too_long = str_make(text, sizeof(text));
    assert_null(regex_cache_get(&c, too_long));
    size_t before = mem_calls();
    assert_null(regex_cache_get(&c, too_long));
    assert_int_equal(mem_calls(), before);
    regex_cache_fini(&c);
}

static void never_more_than_allowed(void **state)
{
    struct regex_cache c;
    char pattern[16];
    (void)state;
    regex_cache_init(&c, MAX);
    for (int i = 0; i < 10 * MAX; i++) {
        (void)snprintf(pattern, sizeof(pattern), i % 2 == 0 ? "p%d" : "p%d(", i);
        assert_int_equal(get(&c, pattern) != NULL, i % 2 == 0);
        assert_int_equal(c.n, (size_t)i % MAX + 1);
        assert_int_equal(c.patterns.n, c.n);
        assert_true(is_kept(&c, pattern));
    }
    assert_false(is_kept(&c, "p0")); /* dropped, and back as it is needed */
    assert_true(is_kept(&c, "p0"));
    regex_cache_fini(&c);
}

/* Nothing is remembered of a failure that passes. */
static void when_memory_is_out(void **state)
{
    enum { NTH_MAX = 100 };
    struct regex_cache c;
    struct regex *r = NULL;
    size_t nth = 1;
    (void)state;
    regex_cache_init(&c, MAX);
    for (; nth < NTH_MAX && r == NULL; nth++) {
        mem_fail_from(nth);
        r = get(&c, "CN=(a|b)*");
        mem_fail_from(0);
        assert_int_equal(c.n, r != NULL);
        assert_int_equal(c.patterns.n, r != NULL);
    }
    assert_non_null(r);
    assert_true(nth > 4);
    assert_true(regex_finds(r, STR("CN=ab")));
    regex_cache_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compiled_once),
        cmocka_unit_test(what_is_none_is_remembered),
        cmocka_unit_test(never_more_than_allowed),
        cmocka_unit_test(when_memory_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
