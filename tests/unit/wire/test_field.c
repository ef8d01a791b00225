/* Well-known field names. */
#include "wire/field.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    enum field_name id;
    struct str text;
} names[] = {
#define FIELD(id, text) {FIELD_##id, STR_INIT(text)},
#include "wire/field_names.def"
#undef FIELD
};

enum { NAMES_N = sizeof(names) / sizeof(names[0]), NAME_MAX = 32 };

/* A name that is missing in the slots of field.c fails here. */
static void every_name_is_found_in_any_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < NAMES_N; i++) {
        char upper[NAME_MAX];
        assert_true(names[i].text.n < sizeof(upper));
        for (size_t k = 0; k < names[i].text.n; k++) {
            char c = names[i].text.p[k];
            upper[k] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        }
        if (field_name_id(names[i].text) != names[i].id ||
            field_name_id((struct str){upper, names[i].text.n}) != names[i].id) {
            fail_msg("%s", names[i].text.p);
        }
        assert_true(str_eq(field_name_text(names[i].id), names[i].text));
    }
}

static void near_misses_are_other(void **state)
{
    (void)state;
    for (size_t i = 0; i < NAMES_N; i++) {
        char text[NAME_MAX];
        struct str name = {text, names[i].text.n};
        for (size_t k = 0; k < name.n; k++) {
            static const unsigned char flips[] = {0x01, 0x10, 0x40, 0x80};
            for (size_t f = 0; f < sizeof(flips); f++) {
                memcpy(text, names[i].text.p, name.n);
                text[k] = (char)(text[k] ^ flips[f]);
                assert_true(field_name_id(name) != names[i].id);
            }
            if (names[i].text.p[k] == '-') { /* the case bit of what is not a letter */
                memcpy(text, names[i].text.p, name.n);
                text[k] = '-' ^ 0x20;
                assert_int_equal(field_name_id(name), FIELD_OTHER);
            }
        }
        assert_true(field_name_id(str_first(names[i].text, name.n - 1)) != names[i].id);
        assert_true(field_name_id(str_from(names[i].text, 1)) != names[i].id);
    }
}

static void others(void **state)
{
    (void)state;
    assert_int_equal(field_name_id(STR("")), FIELD_OTHER);
    assert_int_equal(field_name_id(STR("x")), FIELD_OTHER);
    assert_int_equal(field_name_id(STR("cookie")), FIELD_OTHER);
    assert_int_equal(field_name_id(STR("x-original-forwarded-for-")), FIELD_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_found_in_any_case),
        cmocka_unit_test(near_misses_are_other),
        cmocka_unit_test(others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
