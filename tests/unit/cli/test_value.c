/* cli/value: what each type of option takes, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/value.h"

static const struct {
    enum cli_type type;
    const char *text;
    bool is_taken;
    uint64_t number;
} cases[] = {
    {CLI_FLAG,      "true",                        true,  1                  },
    {CLI_FLAG,      "false",                       true,  0                  },
    {CLI_FLAG,      "yes",                         false, 0                  },
    {CLI_STRING,    "x",                           true,  0                  },
    {CLI_STRING,    "",                            false, 0                  },
    {CLI_DIRECTORY, "/a b",                        true,  0                  },
    {CLI_FILE,      "",                            false, 0                  },
    {CLI_PORT,      "0",                           true,  0                  },
    {CLI_PORT,      "65535",                       true,  65535              },
    {CLI_PORT,      "65536",                       false, 0                  },
    {CLI_PORT,      "-1",                          false, 0                  },
    {CLI_PORT,      "80 ",                         false, 0                  },
    {CLI_COUNT,     "1",                           true,  1                  },
    {CLI_COUNT,     "0",                           false, 0                  },
    {CLI_COUNT,     "99999999999999999999",        false, 0                  },
    {CLI_DURATION,  "30",                          true,  30 * USEC_PER_SEC  },
    {CLI_DURATION,  "0",                           true,  0                  },
    {CLI_DURATION,  "250ms",                       true,  250 * USEC_PER_MS  },
    {CLI_DURATION,  "7us",                         true,  7                  },
    {CLI_DURATION,  "1m30s",                       true,  90 * USEC_PER_SEC  },
    {CLI_DURATION,  "2h",                          true,  7200 * USEC_PER_SEC},
    {CLI_DURATION,  "",                            false, 0                  },
    {CLI_DURATION,  "s",                           false, 0                  },
    {CLI_DURATION,  "1x",                          false, 0                  },
    {CLI_DURATION,  "1m30",                        false, 0                  },
    {CLI_DURATION,  "-1s",                         false, 0                  },
    {CLI_DURATION,  "1.5s",                        false, 0                  },
    {CLI_DURATION,  "18446744073709551615h",       false, 0                  },
    {CLI_CHOICE,    "a",                           true,  0                  },
    {CLI_CHOICE,    "bb",                          true,  1                  },
    {CLI_CHOICE,    "c",                           true,  2                  },
    {CLI_CHOICE,    "b",                           false, 0                  },
    {CLI_CHOICE,    "a|bb",                        false, 0                  },
    {CLI_CHOICE,    "",                            false, 0                  },
    {CLI_ADDRESS,   "127.0.0.1",                   true,  0                  },
    {CLI_ADDRESS,   "::",                          true,  0                  },
    {CLI_ADDRESS,   "[::]",                        false, 0                  },
    {CLI_ADDRESS,   "localhost",                   false, 0                  },
    {CLI_ADDRESS,   "1.2.3",                       false, 0                  },
    {CLI_BIND,      ":8443",                       true,  0                  },
    {CLI_BIND,      ":0",                          true,  0                  },
    {CLI_BIND,      "192.0.2.1:8443",              true,  0                  },
    {CLI_BIND,      "[2001:db8::1]:8443",          true,  0                  },
    {CLI_BIND,      "",                            true,  0                  },
    {CLI_BIND,      ":",                           false, 0                  },
    {CLI_BIND,      ":65536",                      false, 0                  },
    {CLI_BIND,      "8443",                        false, 0                  },
    {CLI_BIND,      "localhost:8443",              false, 0                  },
    {CLI_BIND,      "2001:db8::1:8443",            false, 0                  },
    {CLI_HOST_PORT, "127.0.0.1:10254",             true,  0                  },
    {CLI_HOST_PORT, "[::1]:1",                     true,  0                  },
    {CLI_HOST_PORT, "localhost:1",                 true,  0                  },
    {CLI_HOST_PORT, "127.0.0.1",                   false, 0                  },
    {CLI_HOST_PORT, "127.0.0.1:",                  false, 0                  },
    {CLI_HOST_PORT, "127.0.0.1:0",                 false, 0                  },
    {CLI_HOST_PORT, "127.0.0.1:65536",             false, 0                  },
    {CLI_HOST_PORT, "::1:80",                      false, 0                  },
    {CLI_HOST_PORT, ":80",                         false, 0                  },
    {CLI_HOST_PORT, "a.example:80",                false, 0                  },
    {CLI_OBJECT,    "default/web",                 true,  0                  },
    {CLI_OBJECT,    "web",                         false, 0                  },
    {CLI_OBJECT,    "/web",                        false, 0                  },
    {CLI_OBJECT,    "default/",                    false, 0                  },
    {CLI_OBJECT,    "Default/web",                 false, 0                  },
    {CLI_OBJECT,    "a/b/c",                       false, 0                  },
    {CLI_NAMESPACE, "kube-system",                 true,  0                  },
    {CLI_NAMESPACE, "a/b",                         false, 0                  },
    {CLI_NAMESPACE, "a.b",                         false, 0                  },
    {CLI_NAMESPACE, "",                            false, 0                  },
    {CLI_PATHS,     "/.well-known/acme-challenge", true,  0                  },
    {CLI_PATHS,     "/a, /b/c ,/d%2F",             true,  0                  },
    {CLI_PATHS,     "",                            true,  0                  },
    {CLI_PATHS,     "/",                           true,  0                  },
    {CLI_PATHS,     "a",                           false, 0                  },
    {CLI_PATHS,     "/a,",                         true,  0                  },
    {CLI_PATHS,     "/a,,/b",                      false, 0                  },
    {CLI_PATHS,     "/a//b",                       false, 0                  },
    {CLI_PATHS,     "/a/../b",                     false, 0                  },
    {CLI_PATHS,     "/%61",                        false, 0                  },
    {CLI_PATHS,     "/%6",                         false, 0                  },
    {CLI_TOKEN,     "GET",                         true,  0                  },
    {CLI_TOKEN,     "BAD METHOD",                  false, 0                  },
    {CLI_TOKEN,     "",                            false, 0                  },
    {CLI_FIELD,     "Host: a",                     true,  0                  },
    {CLI_FIELD,     "x:",                          true,  0                  },
    {CLI_FIELD,     "no colon",                    false, 0                  },
    {CLI_FIELD,     ": a",                         false, 0                  },
    {CLI_FIELD,     "a b: c",                      false, 0                  },
    {CLI_FIELD,     "a: b\r\nc: d",                false, 0                  },
};

static void types(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cli_option o = {.type = cases[i].type,
                               .argument = "a|bb|c",
                               .low = cases[i].type == CLI_COUNT,
                               .high = cases[i].type == CLI_DURATION ? UINT64_MAX : 65535};
        uint64_t number = 77;
        struct buf error;
        buf_init(&error, 1024);
        enum err e = cli_value_parse(&o, str_from_cstr(cases[i].text), &number, &error);
        if ((e == E_OK) != cases[i].is_taken) {
            fail_msg("type %d \"%s\": %s", cases[i].type, cases[i].text, err_text(e));
        }
        assert_int_equal(number, cases[i].is_taken ? cases[i].number : 77);
        assert_int_equal(error.n > 0, !cases[i].is_taken); /* a refusal says why */
        buf_fini(&error);
    }
}

static void durations_have_a_range(void **state)
{
    struct cli_option o = {.type = CLI_DURATION, .low = USEC_PER_SEC, .high = 10 * USEC_PER_SEC};
    struct buf error;
    uint64_t number;
    (void)state;
    buf_init(&error, 1024);
    assert_int_equal(cli_value_parse(&o, STR("1s"), &number, &error), E_OK);
    assert_int_equal(cli_value_parse(&o, STR("10s"), &number, &error), E_OK);
    assert_int_equal(cli_value_parse(&o, STR("999999us"), &number, &error), E_PROTO);
    assert_int_equal(cli_value_parse(&o, STR("10000001us"), &number, &error), E_PROTO);
    buf_fini(&error);
}

static void hosts_lose_their_brackets(void **state)
{
    struct str host;
    uint16_t port;
    (void)state;
    assert_int_equal(cli_host_port_parse(STR("[::1]:8080"), &host, &port), E_OK);
    assert_true(str_eq(host, STR("::1")));
    assert_int_equal(port, 8080);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types),
        cmocka_unit_test(durations_have_a_range),
        cmocka_unit_test(hosts_lose_their_brackets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
