/* Handshakes, by the example of RFC 6455 and by lengths around a block of SHA-1. */
#include "wire/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void check(struct str key, const char *accept)
{
    char got[WEBSOCKET_ACCEPT_BYTES + 1] = {0};
    websocket_accept(key, got);
    assert_string_equal(got, accept);
}

static void test_example(void **state)
{
    (void)state;
    check(STR("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void test_lengths(void **state)
{
    static const struct {
        size_t n;
        const char *accept;
    } rows[] = {
        {0,    "Kfh9QIsMVZcl6xEPYxPHzW8SZ8w="},
        {19,   "qQsxh2Nb/vsnD9od6HBiP6Igif0="},
        {20,   "7jD6MP55bPPoLSNhT1mD/AE8sjc="},
        {27,   "WWp/NRXr3+N4xy7O/17rN1JrRGc="},
        {28,   "atUL8kQGe4qplhq19Y5TKRw/Uj4="},
        {83,   "dkd2ySOIPSpsGLKtMj2xKG4ec9U="},
        {84,   "8HQbcddkUtTeWQOigWcTDmzRVvs="},
        {92,   "N6jQH9SY1VrfN6p4qvkUdTUUhwQ="},
        {1000, "4HJC4L551QMnEp8N9epJkCtSKYs="},
    };
    char key[1000];
    (void)state;
    memset(key, 'x', sizeof(key));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check(str_make(key, rows[i].n), rows[i].accept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
