/* Times, sizes and switches. */
#include "wire/quantity.h"

static usec_t unit_take(struct str *text)
{
    static const struct {
        struct str name;
        usec_t unit;
    } units[] = {
        {STR_INIT("ms"), USEC_PER_MS        },
        {STR_INIT("us"), 1                  },
        {STR_INIT("s"),  USEC_PER_SEC       },
        {STR_INIT("m"),  60 * USEC_PER_SEC  },
        {STR_INIT("h"),  3600 * USEC_PER_SEC},
    };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (str_has_prefix(*text, units[i].name)) {
            *text = str_from(*text, units[i].name.n);
            return units[i].unit;
        }
    }
    return 0;
}

enum err duration_parse(struct str text, usec_t *ret)
{
    usec_t sum = 0;
    uint64_t number;
    if (str_to_u64(text, UINT64_MAX / USEC_PER_SEC, &number)) {
        *ret = number * USEC_PER_SEC;
        return E_OK;
    }
    do {
        size_t digits = 0;
        while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9') {
            digits++;
        }
        if (!str_to_u64(str_first(text, digits), UINT64_MAX, &number)) {
            return E_PROTO;
        }
        text = str_from(text, digits);
        usec_t unit = unit_take(&text);
        if (unit == 0 || __builtin_mul_overflow(number, unit, &number) ||
            __builtin_add_overflow(sum, number, &sum)) {
            return E_PROTO;
        }
    } while (text.n > 0);
    *ret = sum;
    return E_OK;
}

static uint64_t factor_of(char c)
{
    switch (ascii_lower(c)) {
    case 'k':
        return (uint64_t)1 << 10;
    case 'm':
        return (uint64_t)1 << 20;
    case 'g':
        return (uint64_t)1 << 30;
    default: /* a digit, or nothing that is right */
        return 1;
    }
}

enum err size_parse(struct str text, uint64_t *ret)
{
    uint64_t value, factor = text.n == 0 ? 1 : factor_of(text.p[text.n - 1]);
    if (!str_to_u64(str_first(text, text.n - (factor > 1)), UINT64_MAX, &value) ||
        __builtin_mul_overflow(value, factor, &value)) {
        return E_PROTO;
    }
    *ret = value;
    return E_OK;
}

enum err switch_parse(struct str text, bool *ret)
{
    static const struct str words[] = {STR_INIT("1"),     STR_INIT("t"),     STR_INIT("T"),
                                       STR_INIT("TRUE"),  STR_INIT("true"),  STR_INIT("True"),
                                       STR_INIT("0"),     STR_INIT("f"),     STR_INIT("F"),
                                       STR_INIT("FALSE"), STR_INIT("false"), STR_INIT("False")};
    enum { WORDS_N = sizeof(words) / sizeof(words[0]) };
    for (size_t i = 0; i < WORDS_N; i++) {
        if (str_eq(text, words[i])) {
            *ret = i < WORDS_N / 2;
            return E_OK;
        }
    }
    return E_PROTO;
}
