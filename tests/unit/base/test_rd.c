/* The reading cursor, the texts of errors and reasons. */
#include "base/rd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/reason.h"

static void reading(void **state)
{
    (void)state;
    struct rd r = rd_make("\x01\x02\x03xyz", 6);
    assert_int_equal(rd_u8(&r), 1);
    assert_int_equal(rd_be16(&r), 0x0203);
    assert_int_equal(rd_left(&r), 3);
    assert_memory_equal(rd_take(&r, 3), "xyz", 3);
    assert_non_null(rd_take(&r, 0));
    assert_false(r.bad);
}

static void the_error_sticks(void **state)
{
    (void)state;
    struct rd r = rd_make("\x01\x02", 2);
    assert_null(rd_take(&r, 3));
    assert_true(r.bad);
    assert_int_equal(rd_u8(&r), 0); /* although a byte is there */
    assert_int_equal(rd_be16(&r), 0);
    assert_null(rd_take(&r, 0));
    r = rd_make("\x01", 1);
    assert_null(rd_take(&r, SIZE_MAX));
    r = rd_make("\x01", 1);
    assert_int_equal(rd_be16(&r), 0);
    assert_true(r.bad);
}

static void every_error_has_its_text(void **state)
{
    (void)state;
    for (int e = E_OK; e <= E_SYS; e++) {
        for (int other = E_OK; other < e; other++) {
            assert_string_not_equal(err_text((enum err)e), err_text((enum err)other));
        }
    }
    assert_string_equal(err_text((enum err)(E_SYS + 1)), "unknown error");
}

/* Reasons are names for logs and metrics: lower case, unique, with a status that fits. */
static void every_reason_is_complete(void **state)
{
    (void)state;
    for (int r = 0; r < REASONS_N; r++) {
        const char *name = reason_name((enum reason)r);
        uint16_t status = reason_status((enum reason)r);
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        assert_true(status == 0 || (status >= 200 && status <= 599));
        assert_int_equal(reason_text((enum reason)r)[strlen(reason_text((enum reason)r)) - 1], '.');
        for (int other = 0; other < r; other++) {
            assert_string_not_equal(name, reason_name((enum reason)other));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading),
        cmocka_unit_test(the_error_sticks),
        cmocka_unit_test(every_error_has_its_text),
        cmocka_unit_test(every_reason_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
