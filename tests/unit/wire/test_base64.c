/* Base64 as Secret.data carries it. */
#include "wire/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    struct str text, bytes;
} good[] = {
    {STR_INIT(""),                   STR_INIT("")            },
    {STR_INIT("\r\n\n"),             STR_INIT("")            },
    {STR_INIT("Zg=="),               STR_INIT("f")           },
    {STR_INIT("Zm8="),               STR_INIT("fo")          },
    {STR_INIT("Zm9v"),               STR_INIT("foo")         },
    {STR_INIT("Zm9vYg=="),           STR_INIT("foob")        },
    {STR_INIT("Zm9vYmE="),           STR_INIT("fooba")       },
    {STR_INIT("Zm9vYmFy"),           STR_INIT("foobar")      },
    {STR_INIT("Zm\n9v\r\nYg=\n=\n"), STR_INIT("foob")        },
    {STR_INIT("AAAA"),               STR_INIT("\0\0\0")      },
    {STR_INIT("+/+/"),               STR_INIT("\xfb\xff\xbf")},
    {STR_INIT("////"),               STR_INIT("\xff\xff\xff")},
};

static void decodes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        size_t room = base64_room(good[i].text.n), n = 99;
        char *out = malloc(room);
        assert_non_null(out);
        assert_int_equal(base64_decode(good[i].text, out, &n), E_OK);
        assert_true(n <= room);
        assert_true(str_eq((struct str){out, n}, good[i].bytes));
        free(out);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const struct str bad[] = {
        STR_INIT("Z"),       STR_INIT("Zg"),      STR_INIT("Zg="),      STR_INIT("Zm9"),
        STR_INIT("="),       STR_INIT("A==="),    STR_INIT("Z==="),     STR_INIT("Zh=="),
        STR_INIT("Zm9="),    STR_INIT("Zg==="),   STR_INIT("Zg==Zg=="), STR_INIT("Zg=a"),
        STR_INIT("Zg==\nZ"), STR_INIT("Zm9 v"),   STR_INIT("Zm9\tv"),   STR_INIT("Zm-_"),
        STR_INIT("Zm9\0"),   STR_INIT("\xffm9v"), STR_INIT("Zg==\n="),  STR_INIT("Z\n"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char out[16];
        size_t n = 99;
        if (base64_decode(bad[i], out, &n) != E_PROTO || n != 99) {
            fail_msg("%zu: %s", i, bad[i].p);
        }
    }
}

/* Encodes in the plainest way. */
static size_t encode(const uint8_t *bytes, size_t n, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t at = 0;
    for (size_t bit = 0; bit < n * 8; bit += 6) {
        unsigned value = 0;
        for (size_t i = bit; i < bit + 6; i++) {
            value = value << 1 | (i < n * 8 ? bytes[i / 8] >> (7 - i % 8) & 1U : 0);
        }
        out[at++] = digits[value];
    }
    while (at % 4 != 0) {
        out[at++] = '=';
    }
    return at;
}

static void every_byte_at_every_length(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 256; n++) {
        uint8_t bytes[256];
        char encoded[400], out[400];
        size_t decoded_n = 0;
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (uint8_t)(i * 37 + n);
        }
        size_t encoded_n = encode(bytes, n, encoded);
        assert_int_equal(base64_decode((struct str){encoded, encoded_n}, out, &decoded_n), E_OK);
        assert_int_equal(decoded_n, n);
        assert_memory_equal(out, bytes, n);
        struct buf text;
        buf_init(&text, sizeof(encoded));
        base64_emit(&text, str_make((const char *)bytes, n));
        assert_int_equal(text.n, encoded_n);
        assert_memory_equal(text.p == NULL ? "" : text.p, encoded, encoded_n);
        buf_fini(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes),
        cmocka_unit_test(refuses),
        cmocka_unit_test(every_byte_at_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
