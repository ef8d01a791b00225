/* Times, sizes and switches: what is taken, and what it means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire/quantity.h"

static void durations(void **state)
{
    static const struct {
        const char *text;
        bool is_taken;
        usec_t value;
    } cases[] = {
        {"0",                         true,  0                      },
        {"60",                        true,  60 * USEC_PER_SEC      },
        {"60s",                       true,  60 * USEC_PER_SEC      },
        {"250ms",                     true,  250 * USEC_PER_MS      },
        {"7us",                       true,  7                      },
        {"1m30s",                     true,  90 * USEC_PER_SEC      },
        {"2h",                        true,  7200 * USEC_PER_SEC    },
        {"18446744073709",            true,  18446744073709000000ULL},
        {"18446744073710",            false, 0                      },
        {"18446744073709551615us",    true,  UINT64_MAX             },
        {"18446744073709551616us",    false, 0                      },
        {"18446744073709551615ms",    false, 0                      },
        {"18446744073709551615us1us", false, 0                      },
        {"",                          false, 0                      },
        {"s",                         false, 0                      },
        {"1d",                        false, 0                      },
        {"1m30",                      false, 0                      },
        {"-1s",                       false, 0                      },
        {"1 s",                       false, 0                      },
        {"1.5s",                      false, 0                      },
        {"1S",                        false, 0                      },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        usec_t value = 77;
        enum err e = duration_parse(str_from_cstr(cases[i].text), &value);
        if ((e == E_OK) != cases[i].is_taken || value != (e == E_OK ? cases[i].value : 77)) {
            fail_msg("\"%s\": %s", cases[i].text, err_text(e));
        }
    }
}

static void sizes(void **state)
{
    static const struct {
        const char *text;
        bool is_taken;
        uint64_t value;
    } cases[] = {
        {"0",                    true,  0                 },
        {"4096",                 true,  4096              },
        {"8k",                   true,  8192              },
        {"8K",                   true,  8192              },
        {"1m",                   true,  1 << 20           },
        {"2G",                   true,  (uint64_t)2 << 30 },
        {"18446744073709551615", true,  UINT64_MAX        },
        {"18446744073709551616", false, 0                 },
        {"17179869183g",         true,  0xffffffffc0000000},
        {"17179869184g",         false, 0                 },
        {"",                     false, 0                 },
        {"k",                    false, 0                 },
        {"1kb",                  false, 0                 },
        {"-1",                   false, 0                 },
        {"1 k",                  false, 0                 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t value = 77;
        enum err e = size_parse(str_from_cstr(cases[i].text), &value);
        if ((e == E_OK) != cases[i].is_taken || value != (e == E_OK ? cases[i].value : 77)) {
            fail_msg("\"%s\": %s", cases[i].text, err_text(e));
        }
    }
}

static void switches(void **state)
{
    static const char *const on[] = {"1", "t", "T", "TRUE", "true", "True"},
                             *const off[] = {"0", "f", "F", "FALSE", "false", "False"},
                             *const bad[] = {"", "yes", "no", "on", "tRUE", "true ", "10", "00"};
    bool flag = false;
    (void)state;
    for (size_t i = 0; i < sizeof(on) / sizeof(on[0]); i++) {
        assert_int_equal(switch_parse(str_from_cstr(on[i]), &flag), E_OK);
        assert_true(flag);
        assert_int_equal(switch_parse(str_from_cstr(off[i]), &flag), E_OK);
        assert_false(flag);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        flag = i % 2 == 0;
        assert_int_equal(switch_parse(str_from_cstr(bad[i]), &flag), E_PROTO);
        assert_int_equal(flag, i % 2 == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),
        cmocka_unit_test(sizes),
        cmocka_unit_test(switches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
